"""MODEL → model: the levels in their order, and the nearest names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pieces_nb.errors import AmbiguousModel, ModelNotFound
from pieces_nb.model.models import Model
from pieces_nb.model.resolve import looks_like_id, nearest_names, resolve

ID = "e3010a70-0000-4000-8000-0000000000ab"


def model(name: str, unique: str = "", model_id: str = "", **flags: Any) -> Model:
    return Model({"id": model_id or f"id of {name}", "name": name, "unique": unique, **flags})


PHI = model("Phi-2", "phi:2.7b", ID, downloaded=True)
PHI_3 = model("Phi-3 Mini 128K", "phi3:3.8b", downloading=True)
GPT = model("GPT-4o Chat Model", "gpt-4o", cloud=True)
GPT_MINI = model("GPT-4o Mini Chat Model", "gpt-4o-mini", cloud=True)
MINE = model("My Fine-Tune", "my-fine-tune:1b", custom=True, downloaded=True, loaded=True)
MODELS = [PHI, PHI_3, GPT, GPT_MINI, MINE]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (ID, PHI),
        ("phi:2.7b", PHI),
        ("PHI:2.7B", PHI),
        ("phi-2", PHI),
        ("  Phi-2  ", PHI),
        ("GPT-4o", GPT),
        ("gpt-4o chat model", GPT),
        ("gpt-4o mini", GPT_MINI),
        ("phi-3", PHI_3),
        ("phi3", PHI_3),
        ("my fine", MINE),
    ],
)
def test_a_model_is_found_by_what_people_call_it(text: str, found: Model) -> None:
    assert resolve(text, MODELS) is found


def test_case_matters_in_ids() -> None:
    with pytest.raises(ModelNotFound):
        resolve(ID.upper(), MODELS)


def test_the_first_level_with_a_hit_decides() -> None:
    by_id = model("one", model_id="x")
    by_unique = model("two", unique="x")
    by_name = model("x")
    by_short_name = model("x Chat Model")
    by_beginning = model("xylophone")
    models = [by_beginning, by_short_name, by_name, by_unique, by_id]
    for expected in reversed(models):
        assert resolve("x", models) is expected
        models.remove(expected)


def test_a_whole_name_wins_over_a_longer_one_that_begins_so() -> None:
    assert resolve("GPT-4o", [GPT_MINI, GPT]) is GPT


def test_several_beginnings_are_ambiguous_and_all_are_told() -> None:
    with pytest.raises(AmbiguousModel, match="“phi” may be Phi-2, Phi-3 Mini 128K") as caught:
        resolve("phi", MODELS)
    assert caught.value.candidates == ("Phi-2", "Phi-3 Mini 128K")
    assert caught.value.model == "phi"


def test_where_things_are_deleted_a_beginning_is_not_enough() -> None:
    with pytest.raises(ModelNotFound, match=r"My Fine-Tune.*whole name") as caught:
        resolve("my fine", MODELS, beginnings=False)
    assert "My Fine-Tune" in caught.value.nearest
    assert resolve("my fine-tune", MODELS, beginnings=False) is MINE


def test_models_of_one_name_are_told_apart_by_unique_or_id() -> None:
    twins = [model("Twin", "twin:1b", "a"), model("Twin", "twin:2b", "b")]
    with pytest.raises(AmbiguousModel, match=r"Twin \(twin:1b\), Twin \(twin:2b\)"):
        resolve("twin", twins)
    clones = [model("Twin", "twin", "a"), model("Twin", "twin", "b")]
    with pytest.raises(AmbiguousModel, match=r"Twin \(a\), Twin \(b\)"):
        resolve("twin", clones)


def test_a_typo_lists_the_nearest_names() -> None:
    with pytest.raises(ModelNotFound, match=r"There is no model “fhi-2”\. The nearest: Phi-2") as caught:
        resolve("fhi-2", MODELS)
    assert caught.value.nearest[0] == "Phi-2"


def test_nothing_near_says_where_all_are() -> None:
    with pytest.raises(ModelNotFound, match=r"`client\.table\(\)` shows all"):
        resolve("zzzzzz", [PHI])


def test_a_server_without_models_is_said() -> None:
    with pytest.raises(ModelNotFound, match="no models at all"):
        resolve("phi-2", [])


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_text_is_no_beginning_of_everything(text: str) -> None:
    with pytest.raises(ModelNotFound):
        resolve(text, MODELS)


def test_a_hostile_name_stays_on_the_line() -> None:
    with pytest.raises(ModelNotFound) as caught:
        resolve("evil", [model("evi\x1b[2J\nFAKE: all is well", "x" * 5000)])
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_many_candidates_are_counted_not_listed() -> None:
    with pytest.raises(AmbiguousModel, match="m4 and 15 more"):
        resolve("m", [model(f"m{number}") for number in range(20)])


@given(st.lists(st.text(min_size=1).filter(str.strip), unique_by=str.casefold, min_size=1, max_size=5))
def test_every_model_can_be_called_by_its_id(names: list[str]) -> None:
    models = [model(name, model_id=f"{ID[:-2]}{index:02}") for index, name in enumerate(names)]
    for one in models:
        assert resolve(one.id, models) is one


def test_nearest_names_are_those_that_contain_it_first_and_five_at_most() -> None:
    models = [model(f"Llama 3.{number}") for number in range(9)] + [model("Code Llama")]
    assert len(nearest_names("llama", models)) == 5
    assert nearest_names("code", models)[0] == "Code Llama"


def test_only_uuids_look_like_ids() -> None:
    assert looks_like_id(f" {ID.upper()} ")
    assert not looks_like_id("phi-2")
    assert not looks_like_id(ID + "0")
