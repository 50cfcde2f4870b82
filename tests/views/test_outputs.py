"""What is live in a page, what a saved page keeps of it, and clicks that are heard."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import ipywidgets
import pytest

from pieces_nb.text import Step
from pieces_nb.views import outputs
from pieces_nb.views.outputs import KEEP_EVERY_S, LiveOutput, Standing, hears_clicks
from tests.views.puppet import EVIL, Page

THEN = (Step("progress --watch", "client.progress()"), " shows it live.")


def standing(line: str = "Phi-2: 10 %") -> Standing:
    return Standing([line], "http://127.0.0.1:39300", THEN)


@pytest.fixture
def box() -> ipywidgets.VBox:
    return ipywidgets.VBox([])


def test_the_page_keeps_what_stood_there_of_which_server_as_of_when_and_how_to_have_it_live(
    page: Page, box: ipywidgets.VBox
) -> None:
    LiveOutput(box, standing).display()
    words, widget = page.bundles
    assert words["text/plain"].startswith("Phi-2: 10 %\nAs of ")
    assert "http://127.0.0.1:39300. `%pieces_model progress --watch` shows it live." in words["text/plain"]
    assert "Phi-2: 10 %" in words["text/html"]
    assert outputs.VIEW not in words
    assert widget[outputs.VIEW]["model_id"] == box.model_id


def test_both_outputs_begin_and_end_empty_for_programs_that_compare_them(page: Page, box: ipywidgets.VBox) -> None:
    live = LiveOutput(box, standing)
    live.display()
    assert [handle.bundles[0]["text/plain"] for handle in page.handles] == ["", ""]
    live.become(outputs.NOTHING)
    assert page.bundles == [{"text/plain": ""}] * 2


def test_the_words_of_the_saved_page_are_never_older_than_some_seconds_and_cost_little(
    page: Page, box: ipywidgets.VBox
) -> None:
    now = [100.0]
    lines = ["Phi-2: 10 %"]
    live = LiveOutput(box, lambda: standing(lines[-1]), clock=lambda: now[0])
    live.display()
    for tick in range(1, 601):
        now[0] = 100 + tick / 10
        lines.append(f"Phi-2: tick {tick}")
        live.keep()
        age = tick - int(page.text.split()[2]) if "tick" in page.text else tick
        assert age <= (10 if tick <= 20 else 10 * KEEP_EVERY_S)
    assert len(page.handles[0].bundles) < 20


def test_after_the_end_nothing_writes_over_the_record(page: Page, box: ipywidgets.VBox) -> None:
    now = [100.0]
    live = LiveOutput(box, standing, clock=lambda: now[0])
    live.display()
    live.become({"text/plain": "the record"})
    now[0] += 60
    live.keep()
    live.become(outputs.NOTHING)
    assert page.bundles == [{"text/plain": "the record"}, {"text/plain": ""}]


def test_what_a_server_says_is_no_markup_in_a_saved_page(page: Page, box: ipywidgets.VBox) -> None:
    LiveOutput(box, lambda: Standing([EVIL], EVIL, THEN)).display()
    html = page.bundles[0]["text/html"]
    assert "<img" not in html
    assert "&lt;img" in html
    assert "mathjax_ignore" in html


def test_a_comm_that_remembers_the_busy_thread_is_told_to_leave_the_choice_to_the_front_end() -> None:
    class Remembering:
        def _reply_subshell_for(self, _data: object, _default: str | None) -> str | None:
            return None

    widget, other = (SimpleNamespace(comm=Remembering()) for _ in range(2))
    hears_clicks(widget)
    assert widget.comm._reply_subshell_for({}, "subshell-1") == "subshell-1"
    assert other.comm._reply_subshell_for({}, "subshell-1") is None


@pytest.mark.parametrize("comm", [None, object()])
def test_a_comm_of_another_kernel_is_left_as_it_is(comm: Any) -> None:
    hears_clicks(SimpleNamespace(comm=comm))


@pytest.fixture
def subshells(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads that the front end has open in a kernel that can have some."""
    found: list[str] = []
    manager = SimpleNamespace(list_subshell=lambda: found)
    kernel = SimpleNamespace(shell_channel_thread=SimpleNamespace(manager=manager))
    monkeypatch.setattr(outputs, "_kernel", lambda: kernel)
    monkeypatch.setattr(outputs, "_have_been_heard", False)
    return found


def test_clicks_are_heard_once_the_front_end_has_a_thread_for_them(
    subshells: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not outputs.clicks_are_heard()
    subshells.append("subshell-1")
    assert outputs.clicks_are_heard()
    monkeypatch.setattr(outputs, "_kernel", SimpleNamespace)  # ipykernel 6 has none
    assert not outputs.clicks_are_heard()


def test_the_doctor_remembers_that_clicks_were_heard_when_no_widget_is_open(
    subshells: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "in_notebook", lambda: True)
    assert outputs.check().ok is None
    subshells.append("subshell-1")
    assert outputs.clicks_are_heard()
    subshells.clear()
    assert outputs.check().ok is True


def test_outside_of_a_kernel_no_cell_runs() -> None:
    assert outputs.running_cell() == ""
