"""How downloads look in a notebook. A puppet plays the download."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import ipywidgets
import pytest

from pieces_nb.download import state as ds
from pieces_nb.download.download import Downloads
from pieces_nb.errors import CancelNotConfirmed, DownloadFailed, StoppedWaiting, WaitTimeout
from pieces_nb.views import notebook, outputs
from pieces_nb.views.bars_html import mimebundle, row_html
from pieces_nb.views.notebook import DEAF_HINT, HEARD_HINT, LiveBlock, Row
from pieces_nb.views.words import record
from tests.views.puppet import EVIL, Page, Puppet, Waiting

VIEW = outputs.VIEW


def open_widgets() -> set[str]:
    return set(ipywidgets.widgets.widget._instances)


@pytest.fixture
def _no_widget_stays_open() -> Iterator[None]:
    before = open_widgets()
    yield
    assert open_widgets() <= before  # one of an earlier test may be closed meanwhile, as rubbish


def buttons(widget: Any) -> list[ipywidgets.Button]:
    found = [widget] if isinstance(widget, ipywidgets.Button) else []
    return found + [button for child in getattr(widget, "children", ()) for button in buttons(child)]


def words_of(widget: Any) -> str:
    """All that is written in a block of widgets."""
    here = re.sub(r"<[^>]*>", " ", getattr(widget, "value", ""))
    return " ".join([unescape(here), *(words_of(child) for child in getattr(widget, "children", ()))])


# HTML


@pytest.mark.parametrize("end", [Puppet.at, Puppet.complete, lambda one: one.fail(EVIL)], ids=["runs", "well", "fails"])
def test_nothing_that_a_server_says_is_markup(end: Callable[[Puppet], Puppet]) -> None:
    download = end(Puppet(EVIL).tell(ds.SocketOpened()).tell(ds.SocketLost(EVIL), ds.NoAnswer(EVIL)))
    for shown in (row_html(download), mimebundle([download])["text/html"]):
        assert "<img" not in shown
        assert "\x1b" not in shown
        assert '="x' not in shown
        assert "&lt;img" in shown
    assert "\n" not in mimebundle([download])["text/plain"]


def test_a_row_has_a_bar_with_a_name_for_screen_readers_and_the_percentage_as_text() -> None:
    html = row_html(Puppet().tell(ds.SocketOpened()).at(37.5))
    assert 'role="progressbar" aria-label="download of Phi-2" aria-valuemin="0" aria-valuemax="100"' in html
    assert 'aria-valuenow="37.5" aria-valuetext="37.5 % · 75.0 MB of 200 MB' in html
    assert ">37.5 % · " in html
    assert "#" not in html  # no fixed colours


def test_a_bar_without_a_percentage_is_indeterminate() -> None:
    html = row_html(Puppet())
    assert 'role="progressbar"' in html
    assert "aria-valuenow" not in html
    assert ">starting<" in html


def test_a_bar_at_nought_is_at_nought() -> None:
    assert 'aria-valuenow="0.0"' in row_html(Puppet().at(0))


def test_the_end_of_a_row_is_the_record() -> None:
    html = row_html(Puppet().at(50).complete())
    assert "progressbar" not in html
    assert "done · 200 MB" in html
    assert "mathjax_ignore" in html


def test_a_download_shows_as_text_and_html_without_a_kernel() -> None:
    download = Puppet().at(50).complete()
    assert download._repr_mimebundle_() == mimebundle([download])
    assert repr(download) == mimebundle([download])["text/plain"]
    both = Downloads([download, Puppet("B", there=True)])
    assert both._repr_mimebundle_()["text/plain"].splitlines() == [record(one) for one in both]


# A row of widgets


@pytest.mark.usefixtures("_no_widget_stays_open")
def test_a_row_follows_its_download_and_leaves_no_widget() -> None:
    download = Puppet().at(10)
    row = Row(download, button=True)
    (button,) = buttons(row.box)
    assert button.description == "Cancel"
    download.at(20).show()
    assert "20 %" in words_of(row.box)
    download.complete()
    assert "done" in words_of(row.box)
    assert buttons(row.box) == []
    row.close()


@pytest.mark.usefixtures("_no_widget_stays_open")
def test_a_row_of_what_has_ended_has_no_button() -> None:
    row = Row(Puppet().at(10).complete(), button=True)
    assert buttons(row.box) == []
    row.add_button()
    assert buttons(row.box) == []
    row.close()


def test_a_click_cancels_once_and_a_refusal_can_be_read_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Immediately:
        def __init__(self, *, target: Callable[[], None], name: str, daemon: bool) -> None:
            assert daemon
            assert name == "pieces-nb-cancel"
            self.start = target

    calls: list[str] = []

    class Refusing(Puppet):
        def cancel(self) -> None:
            calls.append(buttons(row.box)[0].description)
            raise CancelNotConfirmed("Phi-2: the server\nrefused")

    row = Row(Refusing().at(10), button=True)
    monkeypatch.setattr("threading.Thread", Immediately)
    (button,) = buttons(row.box)
    button.click()
    assert calls == ["Canceling…"]
    assert (button.disabled, button.description, button.tooltip) == (False, "Cancel", "Phi-2: the server refused")
    button.click()
    assert calls == ["Canceling…"] * 2
    row.close()


def test_a_click_can_be_left_to_whoever_made_the_row() -> None:
    clicks: list[bool] = []
    row = Row(Puppet().at(10), button=True, on_cancel=lambda: clicks.append(True))
    (button,) = buttons(row.box)
    button.click()
    button.click()
    assert (clicks, button.description, button.disabled) == ([True], "Canceling…", False)  # so it keeps the focus
    row.close()


def test_an_outage_is_told_with_its_beginning_and_its_end(page: Page) -> None:
    download = Puppet().at(10)
    row = Row(download, button=False)
    download.tell(ds.NoAnswer("Nothing answers", asked_at=download.now, unreachable=True)).show()
    assert "no answer since" in words_of(row.box)
    assert "the server went away" not in words_of(row.box)
    download.snapshot(downloading=True).at(20).show()
    assert re.search(r"the server went away at \d\d:\d\d and was back at \d\d:\d\d", words_of(row.box))
    assert page.handles == []
    download.complete()
    assert re.fullmatch(r"Phi-2: done · .* · the server went away at .* and was back at \d\d:\d\d", row.line)
    row.close()


class EndsAtTheWorstMoment(Row):
    """A row whose download ends as soon as it has a button."""

    @property
    def _button(self) -> Any:
        return self._has

    @_button.setter
    def _button(self, button: Any) -> None:
        self._has = button
        if button is not None:
            assert isinstance(self.download, Puppet)
            self.download.complete()


@pytest.mark.usefixtures("page")
def test_a_download_that_ends_while_its_row_gets_a_button_leaves_none() -> None:
    row = EndsAtTheWorstMoment(Puppet().at(10), button=True)
    assert buttons(row.box) == []
    row.close()


# A block in a notebook


@pytest.mark.usefixtures("_no_widget_stays_open")
def test_where_no_click_is_heard_a_waiting_block_has_no_button_and_says_what_stops_it(page: Page) -> None:
    download = Puppet().at(10)
    block = LiveBlock([download], waiting=True)
    block.display()
    assert buttons(block.box) == []
    assert DEAF_HINT.format(step="%pieces_model cancel Phi-2") in words_of(block.box)
    assert page.widgets == [block.box.model_id]
    download.complete()
    block.close()
    assert page.bundles == [{"text/plain": ""}] * 2


@pytest.mark.usefixtures("_no_widget_stays_open")
def test_where_clicks_are_heard_a_waiting_block_has_its_cancel(page: Page) -> None:
    page.clicks_are_heard = True
    block = LiveBlock([Puppet("A").at(10), Puppet("B").at(10)], waiting=True)
    block.display()
    assert [button.description for button in buttons(block.box)] == ["Cancel", "Cancel"]
    assert HEARD_HINT in words_of(block.box)
    block.close()


@pytest.mark.usefixtures("_no_widget_stays_open")
def test_a_cancel_appears_when_the_front_end_has_got_ready_to_hear_it(page: Page) -> None:
    looked = threading.Event()

    def wait(_timeout: float | None = None) -> bool:
        looked.set()
        return False

    block = LiveBlock([Puppet().at(10)], waiting=True)
    block._stopped_looking.wait = wait  # type: ignore[method-assign, assignment]  # to see it look
    block.display()
    assert looked.wait(30)
    assert buttons(block.box) == []
    page.clicks_are_heard = True
    (thread,) = [one for one in threading.enumerate() if one.name == "pieces-nb-clicks"]
    thread.join(30)
    assert len(buttons(block.box)) == 1
    assert HEARD_HINT in words_of(block.box)
    block.close()


def test_a_click_that_nobody_heard_before_the_stop_does_not_cancel_what_goes_on(page: Page) -> None:
    calls: list[str] = []

    class Noting(Puppet):
        def cancel(self) -> None:
            calls.append("canceled")

    page.clicks_are_heard = True
    block = LiveBlock([Noting().at(10)], waiting=True)
    block.display()
    (before,) = buttons(block.box)
    block.stop_waiting()
    (after,) = buttons(block.box)
    assert after is not before
    assert before.comm is None  # a message to it finds nobody
    before.click()
    assert (calls, before.description) == ([], "Cancel")
    block.close()


def test_after_waiting_was_stopped_there_is_a_button_and_the_end_is_the_record(page: Page) -> None:
    download = Puppet().at(10)
    block = LiveBlock([download], waiting=True)
    block.display()
    block.stop_waiting()
    assert len(buttons(block.box)) == 1
    assert "stops waiting" not in words_of(block.box)
    download.complete()
    assert page.text.strip() == record(download)
    assert page.widgets == []
    block.close()


def test_a_block_that_nobody_waits_for_becomes_the_record_once(page: Page) -> None:
    downloads = [Puppet("A").at(10), Puppet("B").at(20)]
    block = LiveBlock(downloads, waiting=False)
    block.display()
    assert len(buttons(block.box)) == 2
    assert page.text.startswith("A: 10 %")
    downloads[0].complete()
    assert page.widgets == [block.box.model_id]
    assert "1 of 2 ended" in words_of(block.box)
    downloads[1].fail("x")
    assert page.bundles == [mimebundle(downloads), {"text/plain": ""}]
    block.close()
    assert page.bundles == [mimebundle(downloads), {"text/plain": ""}]


def test_a_block_whose_downloads_end_while_it_is_built_is_the_record(page: Page) -> None:
    download = Puppet().at(10)
    block = LiveBlock([download], waiting=False)
    download.complete()
    block.display()
    assert page.bundles == [mimebundle([download]), {"text/plain": ""}]
    block.close()


def test_the_total_is_the_sum_of_what_the_rows_say(page: Page) -> None:
    downloads = [Puppet("A").at(10), Puppet("B").at(20)]
    block = LiveBlock(downloads, waiting=False)
    block.display()
    downloads[0].at(50)  # nobody has shown that yet
    downloads[1].at(40).show()
    assert "100 MB of 400 MB" in block._total_html()
    downloads[0].show()
    assert "180 MB of 400 MB" in block._total_html()
    assert 'aria-valuenow="45.0"' in block._total_html()
    block.close()
    assert page.widgets == []


def test_the_total_is_as_its_rows_are_if_they_are_alike() -> None:
    downloads = [Puppet("A").at(10), Puppet("B").at(20)]
    block = LiveBlock(downloads, waiting=False)
    assert 'data-condition="running"' in block._total_html()
    downloads[0].tell(ds.NoAnswer("gone")).show()
    assert 'data-condition="running"' in block._total_html()
    downloads[1].tell(ds.NoAnswer("gone")).show()
    assert 'data-condition="no answer"' in block._total_html()
    block.close()


# Once a cell


def test_what_has_ended_needs_no_widget(page: Page) -> None:
    with pytest.raises(NotImplementedError):
        Puppet(there=True)._ipython_display_()
    notebook.follow([Puppet(there=True)])
    assert page.handles == []


def test_a_running_download_as_a_cells_value_is_live(page: Page) -> None:
    download = Puppet().at(10)
    download._ipython_display_()
    assert len(page.widgets) == 1
    download.complete()
    assert page.widgets == []


def test_a_download_begun_and_shown_in_a_cell_is_shown_there_once_also_when_it_ends_at_once(page: Page) -> None:
    download = Puppet().at(10)
    notebook.follow([download])
    download._ipython_display_()
    with notebook.waiting([download]):
        pass
    assert len(page.widgets) == 1
    download.complete()
    download._ipython_display_()
    assert len(page.handles) == 2
    page.cell = "cell-2"
    with pytest.raises(NotImplementedError):
        download._ipython_display_()


def test_another_cell_that_waits_for_the_same_shows_it_too(page: Page) -> None:
    download = Puppet().at(10)
    notebook.follow([download])
    page.cell = "cell-2"
    with notebook.waiting([download]):
        assert len(page.widgets) == 2
        download.complete()
    assert page.bundles == [mimebundle([download]), *[{"text/plain": ""}] * 3]


def test_two_bars_of_one_download_share_its_rate_of_updates() -> None:
    now = [0.0]
    download = Puppet().at(10)
    rows = [Row(download, button=False, clock=lambda: now[0]) for _ in range(2)]
    shown: list[object] = []
    for row in rows:
        row._html.observe(lambda _change: shown.append(now[0]), "value")
    for tick in range(100):
        now[0] = tick / 10
        download.at(10 + tick / 2).show()
    assert 90 <= len(shown) <= 110
    for row in rows:
        row.close()


def test_outside_a_notebook_a_download_shows_as_text() -> None:
    with pytest.raises(NotImplementedError):
        Puppet().at(10)._ipython_display_()


# Waiting


@pytest.mark.usefixtures("_no_widget_stays_open")
def test_waiting_shows_a_block_and_takes_it_away(page: Page) -> None:
    download = Waiting()
    notebook.wait_shown([download], timeout_s=7.0)
    assert download.timeout == 7.0
    assert VIEW in page.handles[1].bundles[0]
    assert page.bundles == [{"text/plain": ""}] * 2


@pytest.mark.usefixtures("_no_widget_stays_open")
def test_a_failure_while_waiting_takes_the_block_away_too(page: Page) -> None:
    download = Waiting()
    download.outcome = DownloadFailed("x")
    download.fail("x")
    with pytest.raises(DownloadFailed):
        notebook.wait_shown([download, Puppet().at(1).complete()], timeout_s=None)
    assert page.widgets == []


@pytest.mark.parametrize("stop", [StoppedWaiting("■"), WaitTimeout("7 s")])
def test_after_an_interrupt_or_a_timeout_the_bar_lives_on(page: Page, stop: BaseException) -> None:
    download = Waiting()
    download.outcome = stop
    with pytest.raises(type(stop)):
        notebook.wait_shown([download], timeout_s=7.0)
    assert len(page.widgets) == 1
    download.complete()
    assert page.bundles == [mimebundle([download]), {"text/plain": ""}]


def test_a_download_that_python_code_waits_for_in_a_cell_is_shown(page: Page) -> None:
    download = Puppet().at(10)
    with pytest.raises(WaitTimeout):
        download.wait(timeout=0)
    assert len(page.widgets) == 1
    assert "10 %" in page.text
    download.complete()


def test_several_that_python_code_waits_for_are_one_block(page: Page) -> None:
    downloads = Downloads([Puppet("A").at(10), Puppet("B").at(10)])
    with pytest.raises(WaitTimeout):
        downloads.wait(timeout=0)
    assert len(page.widgets) == 1
    assert "A: 10 %" in page.text


def test_a_wait_outside_of_a_cell_shows_nothing_under_whichever_cell_ran_last(page: Page) -> None:
    page.cell = ""
    with pytest.raises(WaitTimeout):
        Puppet().at(10).wait(timeout=0)
    assert page.handles == []


def test_waiting_for_what_has_ended_shows_nothing(page: Page) -> None:
    notebook.wait_shown([Puppet(there=True)], timeout_s=None)
    with pytest.raises(DownloadFailed, match="1 of 2 downloads did not complete"):
        notebook.wait_shown([Puppet(there=True), Puppet().at(1).fail("x")], timeout_s=None)
    assert page.handles == []
