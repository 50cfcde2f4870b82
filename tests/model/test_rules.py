"""Which state allows which verb, which models a filter lets through, and whether one fits."""

from __future__ import annotations

from typing import Any

import pytest

from pieces_nb.model import rules
from pieces_nb.model.models import Model
from pieces_nb.model.rules import Filter, why_not
from pieces_nb.text import Front, worded


def model(name: str = "m", **fields: Any) -> Model:
    flags = {"downloaded": False, "downloading": False, "loaded": False, "cloud": False, "custom": False}
    return Model({"id": f"id of {name}", "name": name} | flags | fields)


PHI = model("Phi-2", unique="phi:2.7b", provider="MICROSOFT", downloaded=True)
PHI_3 = model("Phi-3 Mini 128K", unique="phi3:3.8b", provider="MICROSOFT", downloading=True)
GPT = model("GPT-4o Chat Model", unique="gpt-4o", cloud=True)
GPT_MINI = model("GPT-4o Mini Chat Model", unique="gpt-4o-mini", cloud=True)
MINE = model("My Fine-Tune", unique="my-fine-tune:1b", custom=True, downloaded=True, loaded=True)
MODELS = [PHI, PHI_3, GPT, GPT_MINI, MINE]


@pytest.mark.parametrize(
    ("pattern", "flags", "found"),
    [
        ("", "", MODELS),
        ("PHI", "", [PHI, PHI_3]),
        ("4O-mini", "", [GPT_MINI]),
        ("mini phi", "", [PHI_3]),
        ("microsoft 128k", "", [PHI_3]),
        ("  ", "", MODELS),
        ("", "local", [PHI, PHI_3, MINE]),
        ("", "cloud", [GPT, GPT_MINI]),
        ("", "cloud local", []),
        ("", "downloaded", [PHI, MINE]),
        ("", "downloading", [PHI_3]),
        ("", "loaded", [MINE]),
        ("", "custom", [MINE]),
        ("phi", "downloaded", [PHI]),
    ],
)
def test_words_in_any_order_and_flags_narrow_the_list(pattern: str, flags: str, found: list[Model]) -> None:
    assert Filter(pattern, frozenset(flags.split())).of(MODELS) == found


def test_what_fits_is_local_and_known_to_be_small_enough_and_the_rest_is_told() -> None:
    models = [
        model("small", ram={"value": 3_000_000_000}),
        model("exact", ram={"value": 8_000_000_000}),
        model("large", ram={"value": 8_000_000_001}),
        model("unknown"),
        model("cloud", cloud=True),
    ]
    fits = Filter(flags=frozenset({"fits"}), total_memory_bytes=8_000_000_000)
    assert [one.name for one in fits.of(models)] == ["small", "exact"]
    assert rules.unfitting_words(models, 8_000_000_000) == (
        "this machine has 8.0 GB of memory · too large: large (8.0 GB) · 1 left out whose need of memory is not known"
    )


def test_many_that_are_too_large_are_counted() -> None:
    models = [model(f"m{number}", ram={"value": 10**12}) for number in range(7)]
    assert "m4 (1.0 TB) and 2 more" in rules.unfitting_words(models, 10**9)


def test_the_memory_of_another_machine_fits_nothing_and_tells_nothing() -> None:
    assert Filter(flags=frozenset({"fits"})).of([model("m", ram={"value": 1})]) == []
    assert rules.unfitting_words([model("m", ram={"value": 1})], None) == ""


@pytest.mark.parametrize(
    ("verb", "state", "predicate"),
    [
        ("download", {"cloud": True}, "runs in the cloud: there is nothing to download"),
        ("download", {"downloaded": True}, "is downloaded already"),
        ("download", {"downloading": True}, "is downloading already"),
        ("load", {"cloud": True}, "runs in the cloud: there is nothing to load"),
        ("load", {}, "is not downloaded"),
        ("load", {"downloading": True}, "is still downloading"),
        ("load", {"downloaded": True, "loaded": True}, "is loaded already"),
        ("unload", {"downloaded": True}, "is not loaded"),
        ("cancel", {}, "is not downloading; it is available"),
        ("delete-cache", {}, "has no downloaded files; it is available"),
        ("delete", {}, "is not a custom model: only those can be deleted"),
        ("update", {}, "is not a custom model: only those can be updated"),
    ],
)
def test_a_verb_that_cannot_be_says_why(verb: str, state: dict[str, Any], predicate: str) -> None:
    refusal = why_not(model(**state), verb)
    assert refusal is not None
    assert (refusal.predicate, refusal.words, refusal.certain) == (predicate, f"it {predicate}", True)


@pytest.mark.parametrize(
    ("verb", "state"),
    [
        ("download", {}),
        ("load", {"downloaded": True}),
        ("unload", {"downloaded": True, "loaded": True}),
        ("cancel", {"downloading": True}),
        ("delete-cache", {"downloaded": True}),
        ("delete", {"custom": True}),
        ("snapshot", {"cloud": True}),
    ],
)
def test_a_verb_that_can_be_is_not_refused(verb: str, state: dict[str, Any]) -> None:
    assert why_not(model(**state), verb) is None


def test_a_download_that_we_follow_runs_whatever_a_snapshot_says() -> None:
    assert why_not(model(), "cancel", followed=True) is None
    assert why_not(model(), "download", followed=True) is not None


@pytest.mark.parametrize("verb", ["load", "unload", "cancel", "delete-cache"])
def test_a_missing_flag_is_unknown_and_not_false(verb: str) -> None:
    refusal = why_not(Model({"id": "m", "name": "m"}), verb)
    assert refusal is not None
    assert not refusal.certain


def test_the_step_that_comes_first_is_told_in_everybodys_words() -> None:
    refusal = why_not(model("Phi-2"), "load")
    assert refusal is not None
    told = [worded(refusal.parts(model("Phi-2")), front) for front in (Front.PYTHON, Front.NOTEBOOK, Front.TERMINAL)]
    assert told == [
        "Phi-2 is not downloaded: `client.download('Phi-2')` comes first.",
        "Phi-2 is not downloaded: `%pieces_model download Phi-2` comes first.",
        "Phi-2 is not downloaded: `pieces-nb download Phi-2` comes first.",
    ]
