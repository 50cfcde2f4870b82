"""A model as a card in a notebook: what matters first. Shapes HTML of one snapshot; asks nobody."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

from pieces_nb.model.fields import value_at
from pieces_nb.text import format_bytes, printable

if TYPE_CHECKING:
    from pieces_nb.model.models import Model

_MOST_TITLE = 120
_MOST_DESCRIPTION = 600


def card_html(model: Model) -> str:
    """Return the card: title and state, what is known of its size and abilities, what its maker says."""
    title = escape(printable(model.title, limit=_MOST_TITLE))
    rows = "".join(
        f'<tr><th style="text-align: left; white-space: nowrap">{escape(name)}</th>'
        f'<td style="text-align: left; overflow-wrap: anywhere">{escape(printable(value))}</td></tr>'
        for name, value in facts(model)
    )
    description = printable(model.description, limit=_MOST_DESCRIPTION)
    said = f'<div style="max-width: 75ch">{escape(description)}</div>' if description else ""
    return (
        '<div class="tex2jax_ignore mathjax_ignore" style="line-height: 1.5">'
        f"<div><b>{title}</b> · {model.state}</div>{said}<table>{rows}</table></div>"
    )


def facts(model: Model) -> Iterator[tuple[str, str]]:
    """Give what is known of a model, each with its name in people's words."""
    raw = model.raw
    if model.parameters_b is not None:
        yield "parameters", f"{model.parameters_b:.3g} billion"
    if model.quantization:
        yield "quantization", model.quantization
    if isinstance(tokens := value_at(raw, "maxTokens.total"), int) and tokens > 0:
        yield "context", f"{tokens} tokens"
    if abilities := _abilities(raw.get("capabilities")):
        yield "can read", abilities
    if model.size_bytes is not None:
        yield "files", format_bytes(model.size_bytes)
    if model.ram_bytes is not None:
        yield "memory", format_bytes(model.ram_bytes)
    if model.provider:
        yield "provider", model.provider
    if model.custom:
        yield "custom", "made here"
    yield "id", model.id


def _abilities(capabilities: Any) -> str:
    if not isinstance(capabilities, dict):
        return ""
    return ", ".join(name for name, able in capabilities.items() if able is True and isinstance(name, str))
