"""What takes long is shown under the cell that does it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import ipywidgets
import pytest

from pieces_nb.history import History
from pieces_nb.views import outputs
from pieces_nb.views.cells import Line, Lines
from tests.views.puppet import Page

DEADLINE_S = 30.0


@pytest.fixture
def history() -> Iterator[History]:
    history = History()
    stop = history.watch(Lines())
    yield history
    stop()


def test_a_load_says_that_it_loads_and_for_how_long(page: Page) -> None:
    history = History()
    began = history.begin("load", "<b>Phi-2</b>")
    line = Line(began, first_s=0.0, every_s=0.0, now=lambda: began.began + 4.2)
    told = threading.Event()
    line._html.observe(lambda _change: told.set(), "value")
    line.display()
    assert told.wait(DEADLINE_S)
    assert "Loading &lt;b&gt;Phi-2&lt;/b&gt; … 4 s" in line._html.value
    assert len(page.widgets) == 1
    line.close()
    assert page.bundles == [{"text/plain": ""}] * 2
    assert line._html.comm is None


def test_a_page_saved_while_it_loads_says_since_when(page: Page) -> None:
    history = History()
    began = history.begin("load", "Phi-2")
    line = Line(began, now=lambda: began.began + 250)
    line.display()
    assert page.text.startswith("Loading Phi-2 … 4 min 10 s, since ")
    assert "`%pieces_model list --loaded`" in page.text
    line.close()


def test_an_operation_of_a_cell_is_shown_and_gone_with_its_end_also_with_a_bad_one(
    page: Page, history: History
) -> None:
    shown = []

    def interrupted() -> None:
        with history.recording("load", "Phi-2"):
            shown.extend(page.widgets)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(shown) == 1
    assert page.widgets == []
    assert not [one for one in threading.enumerate() if one.name == "pieces-nb-operation"]
    assert all(outputs.VIEW not in bundle for bundle in page.bundles)


def test_what_another_thread_does_comes_under_no_cell(page: Page, history: History) -> None:
    page.cell = ""
    with history.recording("load", "Phi-2"):
        assert page.handles == []


def test_what_is_quick_or_shown_otherwise_has_no_line(page: Page, history: History) -> None:
    for verb in ("unload", "download", "update"):
        with history.recording(verb, "Phi-2"):
            assert page.handles == []


def test_no_widget_of_a_line_stays_open(page: Page, history: History) -> None:
    before = len(ipywidgets.widgets.widget._instances)
    with history.recording("load", "Phi-2"):
        assert len(ipywidgets.widgets.widget._instances) > before
    assert len(ipywidgets.widgets.widget._instances) == before
    assert page.widgets == []
