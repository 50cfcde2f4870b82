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

from pieces_nb import rows
from pieces_nb.history import Entry
from pieces_nb.machine import Machine
from pieces_nb.model.models import DownloadStatus, Model
from pieces_nb.rows import Column, Kind, Rows
from pieces_nb.text import Front, Step
from pieces_nb.views.frames import Table, frame_of
from pieces_nb.views.table_text import text_of
from pieces_nb.workflows import PlanStep

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


def listed(models: list[Model] = MODELS, *, wide: bool = False) -> pd.DataFrame:
    return frame_of(rows.models(models, server="here", wide=wide))


def wide(models: list[Model] = MODELS) -> pd.DataFrame:
    return listed(models, wide=True)


def snapshot(*models: Model) -> pd.DataFrame:
    return frame_of(rows.snapshot(models, server="here"))


def table(found: Rows | None = None) -> Table:
    return Table.of(rows.models(MODELS, server="here") if found is None else found)


def rendered(one: Table) -> str:
    return one._repr_html_()


# What is in it


def test_the_list_has_the_documented_columns_in_gigabytes_and_billions() -> None:
    frame = listed()
    assert tuple(frame.columns) == tuple(column.name for column in rows.LIST_COLUMNS)
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
    last = listed().iloc[1]
    assert [math.isnan(last[name]) for name in FLOATS] == [True] * 3
    assert [last[name] for name in ("quantization", "provider")] == ["", ""]


def test_no_models_are_zero_rows_with_the_same_columns_and_dtypes() -> None:
    empty, full = listed([]), listed()
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()
    assert [str(full[name].dtype) for name in FLOATS] == ["float64"] * 3
    assert full["custom"].dtype == bool
    assert empty[empty.size_gb < 1].empty


def test_the_wide_list_has_the_columns_of_the_list_first_and_then_every_field_dotted() -> None:
    frame = wide()
    assert list(frame.columns)[: len(rows.LIST_COLUMNS)] == list(listed().columns)
    assert set(frame.columns) >= {"id", "name", "cloud", "maxTokens.total", "bytes.value", "bytes.readable"}
    assert frame.loc[0, "bytes.value"] == 25_952_256
    assert frame.loc[1, "bytes.readable"] == ""
    assert len(wide([])) == 0


def test_columns_of_the_wide_list_have_the_dtype_of_their_field() -> None:
    frame = wide()
    assert frame["bytes.value"].dtype == "float64"
    assert frame["bytes.value"].sum() == 25_952_256
    assert frame.sort_values("bytes.value")["name"].tolist() == ["Phi-2", "GPT-4o"]
    assert frame["parameters_b"].dtype == "float64"
    assert str(frame["cloud"].dtype) == "boolean"  # one model does not say
    assert frame["cloud"].sum() == 1
    both = wide([Model({**PHI, "cloud": False}), Model({**GPT, "bytes": {"value": 7}, "parameters": 1})])
    assert [str(both[name].dtype) for name in ("cloud", "bytes.value")] == ["bool", "int64"]
    assert pd.api.types.is_string_dtype(both["bytes.readable"].dtype)


def test_a_field_that_no_model_fills_has_the_dtype_of_the_schema() -> None:
    frame = wide([Model({"id": "1", "foundation": None, "ram": {"value": None}, "cpu": None, "newer": None})])
    assert pd.api.types.is_string_dtype(frame["foundation"].dtype)
    assert frame["foundation"].tolist() == [""]
    assert frame["ram.value"].dtype == "float64"
    assert str(frame["cpu"].dtype) == "boolean"
    assert frame["newer"].dtype == object


def test_a_number_that_no_column_can_hold_stays_as_it_came() -> None:
    frame = wide([Model({"id": "1", "score": 10**400}), Model({"id": "2", "score": 5})])
    assert frame["score"].tolist() == [10**400, 5]


def test_a_snapshot_has_fields_down_and_a_column_a_model() -> None:
    frame = snapshot(*MODELS)
    assert list(frame.columns) == ["Phi-2", "GPT-4o"]
    assert frame.index.name == "field"
    assert frame.loc["maxTokens.total", "Phi-2"] == 2048
    assert frame.loc["cloud", "GPT-4o"] is True
    assert frame["Phi-2"].dtype == object


def test_a_row_of_numbers_in_a_snapshot_of_several_can_be_reckoned_with() -> None:
    frame = snapshot(*MODELS)
    assert frame.loc["bytes.value"].sum() == 25_952_256
    flipped: Any = frame.transpose()
    assert flipped.infer_objects()["bytes.value"].dtype == "float64"
    assert list(frame.loc["provider"]) == ["MICROSOFT", ""]


def test_models_of_one_name_have_a_column_each() -> None:
    assert list(snapshot(Model(PHI), Model(PHI)).columns) == ["Phi-2", "Phi-2"]


def test_deep_nesting_and_lists_stay_one_value() -> None:
    frame = wide([Model({"a": {"b": {"c": {"d": 1}}}, "tags": [1, {"x": 2}], "empty": {}})])
    found = frame.loc[0, ["a.b.c", "tags", "empty"]].to_dict()
    assert found == {"a.b.c": {"d": 1}, "tags": [1, {"x": 2}], "empty": {}}


def changed(after: dict[str, Any], *names: str) -> pd.DataFrame:
    return frame_of(rows.changes(Model(PHI), Model(after), names, server="here"))


def test_a_change_shows_old_and_new_of_the_touched_fields_only() -> None:
    after = {**PHI, "maxTokens": {"total": 4096}, "description": "new", "name": "other"}
    assert changed(after, "maxTokens", "description").to_dict("index") == {
        "maxTokens.total": {"old": 2048, "new": 4096},
        "description": {"old": "", "new": "new"},
    }


def test_a_field_cleared_that_was_not_there_has_its_row() -> None:
    assert changed(PHI, "description").to_dict("index") == {"description": {"old": "", "new": ""}}


def download(**state: Any) -> Any:
    return SimpleNamespace(
        model=Model(PHI),
        status_words=str(DownloadStatus.IN_PROGRESS),
        percentage=37.5,
        state=SimpleNamespace(done_bytes=1e9, size_bytes=2_000_000_000),
        speed_bytes_per_s=8e6,
        time_left_s=12.5,
        stalled_since=None,
        **state,
    )


def progress(*downloads: Any) -> pd.DataFrame:
    return frame_of(rows.progress(downloads, server="here"))


def test_progress_has_a_row_a_download_in_the_units_of_its_columns() -> None:
    (row,) = progress(download()).to_dict("records")
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
    frame = progress(stalled)
    assert frame.dtypes.to_dict() == progress().dtypes.to_dict()
    assert re.fullmatch(r"\d\d:\d\d", str(frame.loc[0, "stalled_since"]))
    assert frame["percentage"].isna().all()


def history(*entries: Entry) -> Rows:
    return rows.history(entries)


def test_usage_plan_and_history_keep_their_dtypes_when_empty() -> None:
    usage = [rows.usage(models, Machine(), server="here") for models in (MODELS, [])]
    plan = [rows.plan(Model(PHI), steps, server="here") for steps in ([PlanStep("download", 5, None, "to do")], [])]
    for full, empty in (usage, plan):
        assert frame_of(full).dtypes.to_dict() == frame_of(empty).dtypes.to_dict()
    nothing, one = frame_of(history()), frame_of(history(Entry(datetime.now(UTC), "load", "Phi-2", "done", 1.5)))
    assert [kind.kind for kind in nothing.dtypes] == [kind.kind for kind in one.dtypes]
    assert list(one.columns) == list(Entry._fields)
    assert str(one["started"].dt.tz) == "UTC"


def test_usage_says_what_frees_it_in_the_words_of_whoever_asked() -> None:
    found = rows.usage([Model(PHI)], Machine(), server="here")
    assert Table.of(found, front=Front.NOTEBOOK)["free_with"].tolist() == ["%pieces_model delete-cache Phi-2"]
    assert Table.of(found)["free_with"].tolist() == ["client.delete_cache('Phi-2')"]


# How it shows


def long_names() -> Rows:
    models = [Model({"id": "e3010a70-0000-4000-8000-000000000002", "name": "n" * 600, "quantization": "q4"})]
    return rows.models(models, server="here")


def test_a_table_shows_its_caption_and_no_row_numbers() -> None:
    text = repr(table())
    assert text.splitlines()[-1] == "2 models · here"
    assert not re.search(r"^\s*0\b", text, re.MULTILINE)
    assert "NaN" not in text
    assert rendered(table()).endswith(">2 models · here</div>")


def test_an_empty_table_says_what_to_do() -> None:
    empty = table(rows.models([], server="here", when_empty=("No models. Create <one>.",)))
    assert repr(empty) == "No models. Create <one>.\n0 models · here"
    assert rendered(empty).startswith("<div>No models. Create &lt;one&gt;.</div>")


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&lt;"])
def test_nothing_in_a_table_is_markup(text: str) -> None:
    model = Model({"id": text, "name": text, text: text})
    for found in (
        rows.models([model], server=text),
        rows.models([model], server=text, wide=True),
        rows.snapshot([model], server=text),
    ):
        shown = rendered(table(found))
        assert "<script" not in shown
        assert "<img" not in shown
        assert html.escape(text) in shown or html.escape(text, quote=False) in shown


def test_a_dollar_in_a_cell_is_no_mathematics() -> None:
    assert 'class="dataframe tex2jax_ignore mathjax_ignore"' in rendered(table())


def test_control_characters_are_shown_as_such_also_inside_lists_and_headings() -> None:
    evil = "a\x1b[2J\u202eb\nc"
    model = Model({"id": "x", "name": evil, "tags": [evil], "more": {"a": {"b": {"c": evil}}}, evil: evil})
    for found in (rows.models([model], server="here", wide=True), rows.snapshot([model], server="here")):
        one = table(found)
        for shown in (repr(one), rendered(one)):
            assert "\x1b" not in shown
            assert "\u202e" not in shown
    assert listed([model]).loc[0, "name"] == evil  # the value itself stays


def test_bytes_are_shown_in_full_and_gigabytes_in_three_digits() -> None:
    entry = Entry(datetime.now(UTC), "download", "Phi-2", "COMPLETED", 3.25, 25_952_256, 7_985_309.5, 0)
    text = repr(table(history(entry)))
    assert "25952256" in text
    assert "7985310" in text
    assert "3.25" in text
    assert "e+" not in text
    assert " 0.0260 " in repr(table())
    assert ">3.10<" in rendered(table())


def test_a_small_number_beside_a_large_one_is_not_shown_as_nothing() -> None:
    found = Rows((Column("size_gb", Kind.NUMBER),), [(120.5,), (0.004,), (0.0,), (None,)], ("here",))
    assert [line.strip() for line in repr(table(found)).splitlines()[1:5]] == ["120", "0.004", "0", ""]


def test_a_long_name_never_takes_the_room_of_another_column_and_is_whole_in_its_title() -> None:
    shown = rendered(table(long_names()))
    assert f'title="{"n" * 600}"' in shown
    assert max(map(len, re.findall(r">([^<]*)</td>", shown))) <= 40
    assert all("white-space: nowrap" in cell for cell in re.findall(r"<td[^>]*>", shown))
    assert "q4" in repr(table(long_names()))


def test_an_id_is_short_with_the_whole_in_its_title() -> None:
    assert 'title="e3010a70-0000-4000-8000-000000000002">e3010a70…</td>' in rendered(table(long_names()))


def test_names_stand_left_and_numbers_right() -> None:
    shown = rendered(table())
    assert '<td style="text-align: left; white-space: nowrap">Phi-2</td>' in shown
    assert '<td style="text-align: right; white-space: nowrap">3.10</td>' in shown
    assert '<th style="text-align: right; white-space: nowrap">size_gb</th>' in shown


def test_the_text_of_a_field_wraps() -> None:
    shown = rendered(table(rows.snapshot([Model({"id": "1", "description": "word " * 100})], server="here")))
    assert "white-space: nowrap" not in "".join(re.findall(r"<td[^>]*>", shown))
    assert '<th style="text-align: left; white-space: nowrap">description</th>' in shown


def test_a_long_command_wraps_instead_of_widening_the_page() -> None:
    loaded = Model({"id": "m-1", "name": "n" * 300, "loaded": True})
    cell = re.findall(r"<td[^>]*>client.unload", rendered(table(rows.usage([loaded], Machine(), server="here"))))
    assert "overflow-wrap: anywhere" in cell[0]


def test_usage_draws_memory_and_disk_as_one_bar_each_with_words_beside_it() -> None:
    loaded = Model({**PHI, "loaded": True})
    machine = Machine(8_000_000_000, 2_000_000_000, 100_000_000_000, 40_000_000_000)
    shown = rendered(table(rows.usage([loaded], machine, server="here")))
    assert shown.count('role="img"') == 2
    assert "memory: 3.1 GB in models, 2.9 GB other, 2.0 GB free" in shown
    assert "width: 38.8%" in shown  # 3.1 of 8
    elsewhere = rendered(table(rows.usage([loaded], Machine(), server="here")))
    assert 'role="img"' not in elsewhere
    assert "memory: 3.1 GB in models" in elsewhere


@pytest.mark.parametrize("listed", [[Model({**PHI, "loaded": True})], []], ids=["a model", "nothing"])
def test_usage_says_each_figure_of_the_machine_once(listed: list[Model]) -> None:
    machine = Machine(8_000_000_000, 2_000_000_000, 100_000_000_000, 40_000_000_000)
    found = rows.usage(listed, machine, server="here")
    shown = re.sub(r"<[^>]*>", " ", rendered(table(found)))
    for text in (shown, repr(table(found)), text_of(found, front=Front.TERMINAL, width=100)):
        assert text.count("2.0 GB free") == text.count("40.0 GB free") == text.count("here") == 1


def test_a_text_console_gets_its_own_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pieces_nb.views.frames._console_width", lambda: 50)
    lines = repr(table()).splitlines()
    assert max(map(len, lines)) <= 50
    assert lines[0].split()[:2] == ["name", "state"]


def test_a_long_table_is_shown_in_part_and_says_so() -> None:
    many = [Model({"id": str(number), "name": f"model {number}"}) for number in range(1000)]
    one = table(rows.models(many, server="here"))
    for shown in (repr(one), rendered(one)):
        assert "model 0" in shown
        assert "model 999" in shown
        assert "model 500" not in shown
        assert "..." in shown
    assert len(repr(one).splitlines()) < 70


def test_sixty_rows_are_shown_whole() -> None:
    some = [Model({"id": str(number), "name": f"model {number:02}"}) for number in range(60)]
    text = repr(table(rows.models(some, server="here")))
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


def test_a_table_that_was_changed_shows_what_is_in_it_now() -> None:
    one = table()
    one["size_gb"] = ["much", "little"]
    one["mine"] = [1.5, 2.5]
    assert "much" in repr(one)
    assert "mine" in rendered(one)


def test_a_table_can_be_copied_and_pickled() -> None:
    one = table()
    pd.testing.assert_frame_equal(pd.DataFrame(pickle.loads(pickle.dumps(one))), pd.DataFrame(one))
    pd.testing.assert_frame_equal(pd.DataFrame(copy.deepcopy(one)), pd.DataFrame(one))
    assert repr(pickle.loads(pickle.dumps(one))) == repr(one)


def test_a_model_shows_as_a_card() -> None:
    more = {"description": "Good <b>", "capabilities": {"images": True, "videos": False}}
    card = Model({**PHI, **more})._repr_html_()
    for fact in ("Phi-2", "downloaded", "2.78 billion", "2048 tokens", "images", "3.1 GB", "Good &lt;b&gt;"):
        assert fact in card
    assert "videos" not in card
    assert repr(Model(PHI)) == "Model('Phi-2', state='downloaded', id='m-1')"
    assert Model({"maxTokens": {"total": True}, "capabilities": [1]})._repr_html_()


def test_a_narrow_console_is_told_where_the_columns_are_that_it_has_no_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pieces_nb.views.frames._console_width", lambda: 80)
    said = repr(table())
    assert "No room for:" in said
    assert "(the DataFrame has them)" in said
    assert "--json" not in said


def test_the_history_at_80_columns_has_whole_verbs_models_and_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pieces_nb.views.frames._console_width", lambda: 80)
    done = Entry(datetime.now(UTC), "download", "Qwen 2.5 Coder 7B (emulated)", "COMPLETED", 3.3, 6455902, 1976363.0, 0)
    line = repr(table(history(done))).splitlines()[1]
    assert {"download", "COMPLETED", "3.30"} <= set(line.split())
    assert "Qwen 2.5 Coder 7B" in line


def test_a_bar_and_its_words_are_one_line_at_80_columns() -> None:
    loaded = Model({**PHI, "loaded": True})
    machine = Machine(25_300_000_000, 20_600_000_000, 271_000_000_000, 80_000_000_000)
    lines = text_of(rows.usage([loaded], machine, server="here"), front=Front.TERMINAL, width=80).splitlines()
    memory = next(line for line in lines if "memory: " in line)
    assert memory.endswith(" free")
    assert memory.startswith("███")
    assert "▒·" in memory


def test_no_sentence_and_no_command_is_cut_in_the_text_of_a_table() -> None:
    sentence = "Start Pieces OS on this machine, or name its address: " + "a word " * 20
    told = Rows((Column("check"), Column("step", Kind.WORDS)), [("Pieces OS", (sentence,))], caption=())
    command = Step("unload " + "x" * 90, "client.unload()")
    typed = Rows((Column("name"), Column("step", Kind.STEP)), [("Phi-2", command)], caption=())
    assert " ".join(repr(Table.of(told)).split()).endswith(sentence.strip())
    assert "%pieces_model unload " + "x" * 90 in repr(Table.of(typed, front=Front.NOTEBOOK))
