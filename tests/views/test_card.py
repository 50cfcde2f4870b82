"""A model as a card: what is known of it, and nothing that is not."""

from __future__ import annotations

from pieces_nb.model.models import Model
from pieces_nb.views.card import card_html, facts


def test_what_is_known_is_told_in_peoples_words() -> None:
    model = Model(
        {
            "id": "m-1",
            "name": "Phi-2",
            "parameters": 2.78,
            "quantization": "q4_K_S",
            "maxTokens": {"total": 2048},
            "capabilities": {"text": True, "image": False},
            "bytes": {"value": 2_000_000_000},
            "ram": {"value": 3_000_000_000},
            "provider": "MICROSOFT",
            "custom": True,
        }
    )
    assert dict(facts(model)) == {
        "parameters": "2.78 billion",
        "quantization": "q4_K_S",
        "context": "2048 tokens",
        "can read": "text",
        "files": "2.0 GB",
        "memory": "3.0 GB",
        "provider": "MICROSOFT",
        "custom": "made here",
        "id": "m-1",
    }


def test_what_is_not_known_has_no_row() -> None:
    model = Model({"id": "m-1", "name": "<b>Phi</b>", "maxTokens": {"total": 0}, "capabilities": "text"})
    assert dict(facts(model)) == {"id": "m-1"}
    assert "&lt;b&gt;Phi&lt;/b&gt;" in card_html(model)
    assert "<b>Phi" not in card_html(model)
