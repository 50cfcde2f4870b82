"""Models → tables: columns, dtypes and units that hold with any input, a rendering that no cell breaks."""

from __future__ import annotations

import copy
import html
import math
import pickle
import re
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from pieces_nb.history import Entry
from pieces_nb.model.models import DownloadStatus, Model
from pieces_nb.views import frames as tables
from pieces_nb.views.frames import LIST_COLUMNS, Table
from pieces_nb.workflows import Share, Step

PHI: dict[str, Any] = {
    "id": "m-1",
    "name": "Phi-2",
    "bytes": {"value": 25_952_256, "readable": "26 MB"},
    "ram": {"value": 3_100_000_000},
    "parameters": 2.78,
    "quantization": "q4_K_S",
    "provider": "MICROSOFT",
    "downloaded": True,
    "maxTokens": {"total": 2048},
}
GPT: dict[str, Any] = {"id": "m-2", "name": "GPT-4o", "cloud": True, "parameters": None, "provider": None}
MODELS = [Model(PHI), Model(GPT)]
FLOATS = ["size_gb", "ram_gb", "parameters_b"]


def table(frame: pd.DataFrame | None = None, **options: Any) -> Table:
    return Table.of(tables.list_frame(MODELS) if frame is None else frame, **{"caption": "2 models · here", **options})


def rendered(one: Table) -> str:
    return one._repr_html_()


# What is in it


def test_the_list_has_the_documented_columns_in_gigabytes_and_billions() -> None:
    frame = tables.list_frame(MODELS)
    assert tuple(frame.columns) == LIST_COLUMNS
    first = frame.iloc[0].to_dict()
    assert first == {
        "name": "Phi-2",
        "state": "downloaded",
        "size_gb": 0.025952256,
        "ram_gb": 3.1,
        "parameters_b": 2.78,
        "quantization": "q4_K_S",
        "provider": "MICROSOFT",
        "custom": False,
        "id": "m-1",
    }


def test_the_unknown_is_nan_for_numbers_and_empty_for_texts() -> None:
    last = tables.list_frame(MODELS).iloc[1]
    assert [math.isnan(last[name]) for name in FLOATS] == [True] * 3
    assert [last[name] for name in ("quantization", "provider")] == ["", ""]


def test_no_models_are_zero_rows_with_the_same_columns_and_dtypes() -> None:
    empty, full = tables.list_frame([]), tables.list_frame(MODELS)
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()
    assert [str(full[name].dtype) for name in FLOATS] == ["float64"] * 3
    assert full["custom"].dtype == bool
    assert empty[empty.size_gb < 1].empty


def test_the_wide_list_has_every_field_dotted_and_gaps_are_empty() -> None:
    wide = tables.wide_frame(MODELS)
    assert wide.loc[0, "bytes.value"] == 25_952_256
    assert wide.loc[1, "bytes.value"] == ""
    assert wide.loc[1, "provider"] == ""
    assert set(wide.columns) >= {"id", "name", "cloud", "maxTokens.total", "bytes.readable"}
    assert tables.wide_frame([]).empty


def test_a_snapshot_has_fields_down_and_a_column_a_model() -> None:
    frame = tables.snapshot_frame(MODELS)
    assert list(frame.columns) == ["Phi-2", "GPT-4o"]
    assert frame.index.name == "field"
    assert frame.loc["maxTokens.total", "Phi-2"] == 2048
    assert frame.loc["cloud", "GPT-4o"] is True


def test_models_of_one_name_have_a_column_each() -> None:
    assert list(tables.snapshot_frame([Model(PHI), Model(PHI)]).columns) == ["Phi-2", "Phi-2"]


def test_deep_nesting_and_lists_stay_one_value() -> None:
    wide = tables.wide_frame([Model({"a": {"b": {"c": {"d": 1}}}, "tags": [1, {"x": 2}], "empty": {}})])
    assert wide.loc[0].to_dict() == {"a.b.c": {"d": 1}, "tags": [1, {"x": 2}], "empty": {}}


def test_a_change_shows_old_and_new_of_the_touched_fields_only() -> None:
    after = {**PHI, "maxTokens": {"total": 4096}, "description": "new", "name": "other"}
    frame = tables.change_frame(PHI, after, ["maxTokens", "description"])
    assert frame.to_dict("index") == {
        "maxTokens.total": {"old": 2048, "new": 4096},
        "description": {"old": "", "new": "new"},
    }


def test_a_field_cleared_that_was_not_there_has_its_row() -> None:
    frame = tables.change_frame(PHI, PHI, ["description"])
    assert frame.to_dict("index") == {"description": {"old": "", "new": ""}}


def download(**state: Any) -> Any:
    return SimpleNamespace(
        model=Model(PHI),
        status=DownloadStatus.IN_PROGRESS,
        percentage=37.5,
        state=SimpleNamespace(done_bytes=1e9, size_bytes=2_000_000_000),
        speed_bytes_per_s=8e6,
        time_left_s=12.5,
        stalled_since=None,
        **state,
    )


def test_progress_has_a_row_a_download_in_the_units_of_its_columns() -> None:
    (row,) = tables.progress_frame([download()]).to_dict("records")
    assert row == {
        "name": "Phi-2",
        "status": "IN-PROGRESS",
        "percentage": 37.5,
        "done_gb": 1.0,
        "size_gb": 2.0,
        "speed_mb_s": 8.0,
        "time_left_s": 12.5,
        "stalled_since": "",
        "id": "m-1",
    }


def test_progress_of_nothing_and_of_the_unknown_have_the_same_dtypes() -> None:
    stalled = download()
    stalled.percentage = stalled.speed_bytes_per_s = stalled.time_left_s = None
    stalled.state.done_bytes = stalled.state.size_bytes = None
    stalled.stalled_since = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    frame = tables.progress_frame([stalled])
    assert frame.dtypes.to_dict() == tables.progress_frame([]).dtypes.to_dict()
    assert re.fullmatch(r"\d\d:\d\d", str(frame.loc[0, "stalled_since"]))
    assert frame["percentage"].isna().all()


def test_usage_plan_and_history_keep_their_dtypes_when_empty() -> None:
    shares = [Share("Phi-2", "memory", None, "%pieces_model unload Phi-2")]
    steps = [Step("download", 5, None, "to do")]
    entries = [Entry(datetime.now(UTC), "load", "Phi-2", "done", 1.5)]
    assert tables.usage_frame(shares).dtypes.to_dict() == tables.usage_frame([]).dtypes.to_dict()
    assert tables.plan_frame(steps).dtypes.to_dict() == tables.plan_frame([]).dtypes.to_dict()
    empty, one = tables.history_frame([]), tables.history_frame(entries)
    assert [kind.kind for kind in empty.dtypes] == [kind.kind for kind in one.dtypes]
    assert list(one.columns) == list(Entry._fields)
    assert str(one["started"].dt.tz) == "UTC"


# How it shows


def test_a_table_shows_its_caption_and_no_row_numbers() -> None:
    text = repr(table())
    assert text.splitlines()[-1] == "2 models · here"
    assert not re.search(r"^\s*0\b", text, re.MULTILINE)
    assert "NaN" not in text
    assert rendered(table()).endswith(">2 models · here</div>")


def test_an_empty_table_says_what_to_do() -> None:
    empty = table(tables.list_frame([]), when_empty="No models. Create <one>.")
    assert repr(empty) == "No models. Create <one>.\n2 models · here"
    assert rendered(empty).startswith("<div>No models. Create &lt;one&gt;.</div>")


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&lt;"])
def test_nothing_in_a_table_is_markup(text: str) -> None:
    model = Model({"id": text, "name": text, text: text})
    for frame in (tables.list_frame([model]), tables.wide_frame([model]), tables.snapshot_frame([model])):
        shown = rendered(table(frame, caption=text, shows_index=True))
        assert "<script" not in shown
        assert "<img" not in shown
        assert html.escape(text) in shown or html.escape(text, quote=False) in shown


def test_a_dollar_in_a_cell_is_no_mathematics() -> None:
    assert 'class="dataframe dataframe tex2jax_ignore mathjax_ignore"' in rendered(table())


def test_control_characters_are_shown_as_such_also_inside_lists_and_headings() -> None:
    evil = "a\x1b[2J\u202eb\nc"
    model = Model({"id": "x", "name": evil, "tags": [evil], "more": {"a": {"b": {"c": evil}}}, evil: evil})
    for frame in (tables.wide_frame([model]), tables.snapshot_frame([model])):
        one = table(frame, shows_index=True)
        for shown in (repr(one), rendered(one)):
            assert "\x1b" not in shown
            assert "\u202e" not in shown
    assert tables.list_frame([model]).loc[0, "name"] == evil  # the value itself stays


def test_bytes_are_shown_in_full_and_gigabytes_in_four_digits() -> None:
    entry = Entry(datetime.now(UTC), "download", "Phi-2", "COMPLETED", 3.25, 25_952_256, 7_985_309.5, 0)
    text = repr(table(tables.history_frame([entry])))
    assert "25952256" in text
    assert "7985310" in text
    assert "3.25" in text
    assert "e+" not in text
    assert "0.02595" in repr(table())


def test_a_long_table_is_shown_in_part_and_says_so() -> None:
    many = [Model({"id": str(number), "name": f"model {number}"}) for number in range(1000)]
    one = table(tables.list_frame(many), caption="1000 models")
    for shown in (repr(one), rendered(one)):
        assert "model 0" in shown
        assert "model 999" in shown
        assert "model 500" not in shown
        assert "..." in shown
    assert len(repr(one).splitlines()) < 70


def test_sixty_rows_are_shown_whole() -> None:
    some = [Model({"id": str(number), "name": f"model {number:02}"}) for number in range(60)]
    text = repr(table(tables.list_frame(some)))
    assert all(f"model {number:02}" in text for number in range(60))


def test_showing_leaves_pandas_options_alone() -> None:
    names = ("display.max_colwidth", "display.width", "display.max_columns", "display.max_rows")
    before = [pd.get_option(name) for name in names]
    repr(table())
    rendered(table())
    assert [pd.get_option(name) for name in names] == before


def test_operations_give_plain_frames() -> None:
    one = table()
    for result in (one[one.size_gb < 1], one.copy(), one.sort_values("name"), one.T, one.head(1), one[["name"]]):
        assert type(result) is pd.DataFrame
    assert isinstance(one, pd.DataFrame)
    assert one.groupby("state")["size_gb"].sum()["downloaded"] == pytest.approx(0.025952256)


def test_a_table_can_be_copied_and_pickled() -> None:
    one = table()
    pd.testing.assert_frame_equal(pd.DataFrame(pickle.loads(pickle.dumps(one))), pd.DataFrame(one))
    pd.testing.assert_frame_equal(pd.DataFrame(copy.deepcopy(one)), pd.DataFrame(one))
    assert repr(pickle.loads(pickle.dumps(one))) == repr(one)
