"""Models and progress frames from the wire: whatever a server sends, at most one cell is lost."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pieces_nb.errors import ProtocolError
from pieces_nb.model.models import DownloadStatus, Model, ModelDownloadProgress, ModelState, models_from_wire
from pieces_nb.verbs.tokens import split

NONSENSE: list[Any] = [None, 0, 7, -1.5, True, "", "text", [], [1], {}, {"value": None}, {"value": "7"}, 10**400]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
READ = [name for name in vars(Model) if isinstance(vars(Model)[name], property)]
WIRE = ["id", "name", "unique", "bytes", "ram", "parameters", "quantization", "provider", "description", "created"]
FLAGS = ["cloud", "custom", "downloaded", "downloading", "loaded"]


def test_every_field_is_read_as_the_schema_has_it() -> None:
    model = Model(
        {
            "id": "m-1",
            "name": "Phi-2",
            "unique": "phi:2.7b",
            "bytes": {"value": 26_214_400, "readable": "26.2 MB"},
            "ram": {"value": 3_100_000_000},
            "parameters": 2.78,
            "quantization": "q4_K_S",
            "provider": "MICROSOFT",
            "description": "small",
            "created": {"value": "2025-01-02T03:04:05.000Z"},
            "custom": True,
            "downloaded": True,
        }
    )
    assert (model.id, model.name, model.unique, model.title) == ("m-1", "Phi-2", "phi:2.7b", "Phi-2")
    assert (model.size_bytes, model.ram_bytes, model.parameters_b) == (26_214_400, 3_100_000_000, 2.78)
    assert (model.quantization, model.provider, model.description) == ("q4_K_S", "MICROSOFT", "small")
    assert model.created == datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (model.custom, model.downloaded, model.downloading, model.loaded, model.cloud) == (True, True) + (False,) * 3
    assert repr(model) == "Model('Phi-2', state='downloaded', id='m-1')"


@pytest.mark.parametrize("field", [*WIRE, *FLAGS])
@pytest.mark.parametrize("value", NONSENSE, ids=repr)
def test_a_field_of_a_wrong_type_costs_that_field_alone(field: str, value: Any) -> None:
    raw = {"id": "m-1", "name": "Phi-2", "provider": "META", field: value}
    model = Model.from_wire(raw)
    others = {name: getattr(model, name) for name in READ}
    assert isinstance(others["title"], str)
    assert model.raw is raw
    if field not in ("id", "name", "provider"):
        assert (model.id, model.name, model.provider) == ("m-1", "Phi-2", "META")


@pytest.mark.parametrize("value", ["true", 1, "yes", [True]])
def test_a_flag_is_true_only_if_it_is_true(value: Any) -> None:
    model = Model(dict.fromkeys(FLAGS, value))
    assert [getattr(model, name) for name in FLAGS] == [False] * 5


@pytest.mark.parametrize("value", [-1, 2**63, math.nan, math.inf, True, "7", None, 10**400])
def test_a_size_that_cannot_be_is_unknown(value: Any) -> None:
    assert Model({"bytes": {"value": value}}).size_bytes is None


@pytest.mark.parametrize(
    ("flags", "state"),
    [
        ({}, "available"),
        ({"downloading": True}, "downloading"),
        ({"downloaded": True}, "downloaded"),
        ({"downloaded": True, "downloading": True}, "downloaded"),
        ({"downloaded": True, "loaded": True}, "loaded"),
        ({"cloud": True, "downloaded": True, "loaded": True}, "cloud"),
    ],
)
def test_a_state_is_one_word(flags: dict[str, bool], state: str) -> None:
    assert Model(dict(flags)).state == state
    assert Model(dict(flags)).state in ModelState


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-01-02T03:04:05", datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2025-01-02T03:04:05+02:00", datetime(2025, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))),
        ("yesterday", None),
        ("", None),
    ],
)
def test_a_date_has_a_zone_or_is_unknown(text: str, moment: datetime | None) -> None:
    created = Model({"created": {"value": text}}).created
    assert created == moment
    assert created is None or created.tzinfo is not None


@pytest.mark.parametrize(
    ("raw", "title"), [({"name": "", "unique": "u", "id": "i"}, "u"), ({"name": None, "id": "i"}, "i"), ({}, "")]
)
def test_a_model_without_a_name_is_called_by_what_it_has(raw: dict[str, Any], title: str) -> None:
    assert Model(raw).title == title


@given(st.text(max_size=12))
def test_what_a_command_line_is_told_to_say_reads_back_as_one_name(name: str) -> None:
    model = Model({"id": "m-1", "name": name})
    (word,) = split(model.argument)
    assert word in (name, "m-1")
    assert not word.startswith("-")


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("phi-2", "phi-2"),
        ("Phi-2 (emulated)", '"Phi-2 (emulated)"'),
        ("--all", "m-1"),
        ('a"b', "m-1"),
        ("$HOME", "m-1"),
        ("{x}", "m-1"),
        ("`id`; ls", "m-1"),
    ],
)
def test_an_awkward_name_is_told_as_the_id(name: str, argument: str) -> None:
    assert Model({"id": "m-1", "name": name}).argument == argument


def test_a_quoted_name_that_begins_like_a_flag_is_told_as_the_id() -> None:
    assert Model({"id": "m-1", "name": "--all --yes"}).argument == "m-1"


def test_models_with_the_same_fields_are_equal_and_one_key() -> None:
    first, same, other = Model({"id": "a"}), Model({"id": "a"}), Model({"id": "a", "loaded": True})
    assert first == same
    assert first != other
    assert first != {"id": "a"}
    assert len({first, same, other}) == 2


@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, "null"), (True, "a boolean"), (3, "a number"), (1.5, "a number"), ("x", "a text"), ([], "a list")],
)
def test_an_answer_that_is_no_object_is_a_protocol_error_that_says_what_it_is(value: Any, kind: str) -> None:
    with pytest.raises(ProtocolError, match=f"The server answered with {kind} "):
        Model.from_wire(value)
    with pytest.raises(ProtocolError, match="where the Model API has a list of models"):
        models_from_wire({"iterable": value} if value != [] else [])


def test_a_bad_entry_in_the_list_costs_that_entry_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pieces_nb")  # a panel asks every few seconds: nobody wants to be warned so often
    models = models_from_wire({"iterable": [{"id": "a"}, None, "x", {"id": 7, "foundation": "NEW"}]})
    assert [model.id for model in models] == ["a", ""]
    assert "2 of 4 entries" in caplog.text


@given(json_values)
def test_any_json_is_a_model_or_a_protocol_error(value: Any) -> None:
    try:
        models = models_from_wire({"iterable": [value]})
    except ProtocolError:
        return
    for model in models:
        assert all(getattr(model, name) is not NotImplemented for name in READ)
        assert repr(model)


# Progress


@pytest.mark.parametrize("word", list(DownloadStatus))
def test_every_status_is_read_and_prints_as_the_wires_word(word: DownloadStatus) -> None:
    progress = ModelDownloadProgress.from_wire(json.loads(json.dumps({"status": word.value, "percentage": 37.5})))
    assert (progress.status, progress.percentage) == (word, 37.5)
    assert f"{progress.status}" == word.value


def test_three_statuses_are_terminal() -> None:
    assert [status for status in DownloadStatus if status.is_terminal] == ["COMPLETED", "FAILED", "CANCELED"]


@pytest.mark.parametrize("frame", [None, [], "COMPLETED", 7, {}, {"status": None}, {"status": ["COMPLETED"]}])
def test_a_frame_in_other_words_says_nothing(frame: Any) -> None:
    assert ModelDownloadProgress.from_wire(frame) == (DownloadStatus.UNKNOWN, None)


@pytest.mark.parametrize("percentage", [None, -0.1, 100.1, math.nan, math.inf, "50", True, [50], 10**400])
def test_a_percentage_that_cannot_be_is_none(percentage: Any) -> None:
    frame = {"status": "IN-PROGRESS", "percentage": percentage}
    assert ModelDownloadProgress.from_wire(frame) == (DownloadStatus.IN_PROGRESS, None)


@pytest.mark.parametrize("percentage", [0, 0.0, 100])
def test_nought_and_hundred_are_percentages(percentage: float) -> None:
    assert ModelDownloadProgress.from_wire({"percentage": percentage}).percentage == percentage
