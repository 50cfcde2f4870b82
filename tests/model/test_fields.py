"""The fields a person may write: texts become typed values, and what cannot be is refused with one clear line."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pieces_nb.errors import BadArguments
from pieces_nb.model import fields
from pieces_nb.model.fields import FIELDS, REFUSED, apply, check, read, seeded, value_at
from pieces_nb.text import printable

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("name", "My model", "My model"),
        ("description", "Good at Fortran", "Good at Fortran"),
        ("description", "", ""),
        ("description", "null", None),
        ("description", "7", "7"),
        ("version", "2", "2"),
        ("parameters", "2.78", 2.78),
        ("parameters", "null", None),
        ("provider", "meta", "META"),
        ("type", "balanced", "BALANCED"),
        ("cpu", "true", True),
        ("cpu", "False", False),
        ("maxTokens.total", "4096", 4096),
        ("maxTokens.total", "4096.0", 4096),
        ("capabilities.images", "true", True),
    ],
)
def test_a_text_is_read_by_its_fields_type(field: str, text: str, value: Any) -> None:
    found = read(field, text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        ("name", "", "some text"),
        ("name", "  ", "some text"),
        ("name", "null", "cannot be cleared"),
        ("type", "null", "cannot be cleared"),
        ("provider", "two words", "one word"),
        ("parameters", "many", "a number from 0 up, not"),
        ("parameters", "-1", "a number from 0 up"),
        ("parameters", "NaN", "a number from 0 up"),
        ("parameters", "1e999", "a number from 0 up"),
        ("parameters", "true", "a number from 0 up"),
        ("parameters", "[1]", "a number from 0 up"),
        ("maxTokens.total", "1.5", "a whole number from 0 up"),
        ("maxTokens.total", "-1", "a whole number from 0 up"),
        ("cpu", "yes", "true or false"),
        ("cpu", "1", "true or false"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_and_told_what_it_takes(field: str, text: str, words: str) -> None:
    with pytest.raises(BadArguments, match=words):
        read(field, text)


@pytest.mark.parametrize("text", ["1" + "0" * 400, "9" * 5000, "1e300"])
def test_a_number_too_large_to_send_is_refused(text: str) -> None:
    with pytest.raises(BadArguments, match="a whole number from 0 up"):
        read("maxTokens.total", text)


def test_a_number_that_no_float_holds_is_refused() -> None:
    with pytest.raises(BadArguments, match="a number from 0 up"):
        check({"parameters": 10**400})


@pytest.mark.parametrize("field", REFUSED)
def test_what_pieces_os_sets_is_refused_as_text_as_value_and_as_json(field: str) -> None:
    with pytest.raises(BadArguments, match="set by Pieces OS"):
        read(field, "1")
    for changes in ({field: 1}, {f"{field}.value": 1}, {field: {"value": 1}}):
        with pytest.raises(BadArguments, match="set by Pieces OS"):
            check(changes, unknown=True)


def test_an_unknown_field_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadArguments, match=r"'descripton' is no field.*description.*JSON"):
        read("descripton", "x")
    with pytest.raises(BadArguments, match=r"'nam' is no field that can be set; did you mean name\?") as caught:
        check({"nam": "x"})
    assert "maxTokens" not in str(caught.value)
    with pytest.raises(BadArguments, match=r"'desc' is no field that can be set; did you mean description\?"):
        check({"desc": "x"})
    with pytest.raises(BadArguments, match=r"there are name, description.*maxTokens\.total"):
        check({"unheardOf": "x"})


@pytest.mark.parametrize("group", ["ram", "maxTokens", "capabilities", "organization", "schema"])
def test_a_field_with_parts_says_its_parts(group: str) -> None:
    with pytest.raises(BadArguments, match=f"{group} has parts"):
        read(group, "1")
    with pytest.raises(BadArguments, match=f"{group} has parts"):
        check({group: 5})


@pytest.mark.parametrize("field", ["\n\x1b[2Jx", "id.\n\x1b[2J", "x" * 10_000])
def test_a_hostile_field_name_stays_on_one_line(field: str) -> None:
    with pytest.raises(BadArguments) as caught:
        check({field: 1})
    assert str(caught.value) == printable(str(caught.value))
    assert len(str(caught.value)) < 1000


def test_nested_and_dotted_changes_are_the_same() -> None:
    assert check({"maxTokens": {"total": 5, "input": 3}, "cpu": True}) == {
        "maxTokens.total": 5,
        "maxTokens.input": 3,
        "cpu": True,
    }


def test_json_may_have_fields_that_nobody_knows_yet() -> None:
    changes = {"newField": {"deep": [1]}, "capabilities": {"audio": True}, "organization": None}
    assert check(changes, unknown=True) == {
        "newField": {"deep": [1]},
        "capabilities.audio": True,
        "organization": None,
    }


def test_json_of_a_wrong_type_in_a_known_field_is_refused() -> None:
    for changes in ({"cpu": "yes"}, {"maxTokens": {"total": "many"}}, {"name": None}):
        with pytest.raises(BadArguments):
            check(changes, unknown=True)


@pytest.mark.parametrize("value", [5, "x", [1], True])
def test_json_that_puts_a_number_where_parts_belong_is_refused(value: Any) -> None:
    with pytest.raises(BadArguments, match="maxTokens takes a JSON object, not"):
        check({"maxTokens": value}, unknown=True)


def test_a_change_leaves_everything_else_and_the_original_as_they_are() -> None:
    raw = {"id": "a", "unknown": {"x": [1]}, "maxTokens": {"schema": {"s": 1}, "total": 1}, "ram": None}
    before = json.dumps(raw)
    changed = apply(raw, {"maxTokens.total": 2, "ram.value": 7, "description": None, "a.b": 1})
    assert changed == {
        "id": "a",
        "unknown": {"x": [1]},
        "maxTokens": {"schema": {"s": 1}, "total": 2},
        "ram": {"value": 7},
        "description": None,
        "a.b": 1,
    }
    changed["unknown"]["x"].append(2)
    assert json.dumps(raw) == before


def test_a_value_is_found_by_its_dotted_name() -> None:
    raw = {"maxTokens": {"total": 5}, "a.b": 1, "name": "x"}
    assert [value_at(raw, name) for name in ("maxTokens.total", "a.b", "name")] == [5, 1, "x"]
    assert [value_at(raw, name) for name in ("maxTokens.input", "name.x", "none")] == [None] * 3


@given(st.dictionaries(st.sampled_from([*FIELDS, "maxTokens", "new", "x.y"]), json_values, max_size=4))
def test_whatever_passes_the_check_is_there_after_applying_it(changes: dict[str, Any]) -> None:
    try:
        checked = check(changes, unknown=True)
    except BadArguments:
        return
    changed = apply({"id": "a", "maxTokens": {"total": 1}}, checked)
    nested = {name for name in checked if any(other.startswith(f"{name}.") for other in checked)}
    for name, value in checked.items():
        assert name in nested or value_at(changed, name) == value


@given(st.sampled_from([name for name, kind in FIELDS.items() if kind.word != "text"]), st.text())
def test_any_text_is_read_or_refused(field: str, text: str) -> None:
    try:
        value = read(field, text)
    except BadArguments:
        return
    assert not isinstance(value, float) or math.isfinite(value)


def test_a_new_model_has_what_every_model_needs() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=timezone(timedelta(hours=1)))
    assert seeded("mine", {"foundation": "PHI_2", "maxTokens.total": 5}, now=now) == {
        "name": "mine",
        "version": "1",
        "created": {"value": "2026-01-02T02:04:05.678Z"},
        "cloud": False,
        "type": "BALANCED",
        "usage": "CODE_CONVERSATION",
        "custom": True,
        "foundation": "PHI_2",
        "maxTokens": {"total": 5},
    }
    assert seeded("mine", {"type": "SPEED"}, now=now.astimezone(UTC))["type"] == "SPEED"


def test_every_field_is_one_of_the_schema() -> None:
    from pieces_os_client.models import model as sdk

    aliases = {one.alias or name for name, one in sdk.Model.model_fields.items()}
    assert {name.split(".")[0] for name in FIELDS} | set(REFUSED) <= aliases
    assert set(fields._GROUPS) <= aliases
