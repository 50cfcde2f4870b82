"""How downloads look. A puppet plays the download: the events come from here, and the clock too."""

from __future__ import annotations

import gc
import io
import re
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import ipywidgets
import pytest

from pieces_nb.download import state as ds
from pieces_nb.download.download import Context, Download, Downloads
from pieces_nb.errors import CancelNotConfirmed, DownloadFailed, StoppedWaiting, WaitTimeout
from pieces_nb.model.models import DownloadStatus, Model, ModelDownloadProgress
from pieces_nb.text import clock
from pieces_nb.views import notebook as display
from pieces_nb.views.notebook import (
    LiveBlock,
    Row,
    TerminalBars,
    fitting_words,
    mimebundle,
    progress_words,
    record,
    row_html,
)
from pieces_nb.wire.http import Transport

SIZE = 200_000_000
EVIL = '<img src=x onerror=alert(1)>"\x1b[2J\n'
VIEW = "application/vnd.jupyter.widget-view+json"


class Puppet(Download):
    """A download without a thread: what it hears comes from the test, a second apart."""

    def __init__(self, name: str = "Phi-2", *, there: bool = False, size: int | None = SIZE) -> None:
        self.now = 1000.0
        self.raw: dict[str, Any] = {"id": "m-1", "name": name, "downloading": True, "downloaded": there}
        self.raw |= {} if size is None else {"bytes": {"value": size}}
        around = Context(Transport("http://127.0.0.1:9"), clock=lambda: self.now, wall_clock=lambda: self.now)
        super().__init__(Model(self.raw), around)
        self._follower.advance(ds.StartAnswered())

    def tell(self, *events: ds.Event, after_s: float = 1.0) -> Puppet:
        for event in events:
            self.now += after_s
            self._follower.advance(event)
        return self

    def at(self, *percentages: float) -> Puppet:
        frames = [ModelDownloadProgress(DownloadStatus.IN_PROGRESS, percentage) for percentage in percentages]
        return self.tell(*map(ds.FrameHeard, frames))

    def show(self) -> Puppet:
        self._subscribers.tell()
        self._subscribers.settle()
        return self

    def snapshot(self, **fields: Any) -> Puppet:
        return self.tell(ds.SnapshotSeen(Model({**self.raw, "downloading": False, **fields}), self.now + 1.0))

    def finish(self) -> Puppet:
        self._follower.finish()
        return self

    def complete(self) -> Puppet:
        return self.snapshot(downloaded=True).finish()

    def fail(self, words: str) -> Puppet:
        return self.tell(ds.ModelGone(words)).finish()


class Handle:
    """What IPython gives for a display with an id."""

    def __init__(self, bundle: dict[str, Any]) -> None:
        self.bundles = [bundle]

    def update(self, bundle: dict[str, Any], *, raw: bool) -> None:
        assert raw
        self.bundles.append(bundle)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Handle]:
    """The displays of a notebook, which this pretends to be."""
    handles: list[Handle] = []

    def fake(bundle: dict[str, Any], *, raw: bool, display_id: bool) -> Handle:
        assert raw
        assert display_id
        handles.append(Handle(bundle))
        return handles[-1]

    monkeypatch.setattr("IPython.display.display", fake)
    monkeypatch.setattr(display, "in_notebook", lambda: True)
    return handles


def open_widgets() -> int:
    return len(ipywidgets.widgets.widget._instances)


@pytest.fixture
def _no_widget_stays_open() -> Iterator[None]:
    gc.collect()
    before = open_widgets()
    yield
    assert open_widgets() == before


def buttons(widget: Any) -> list[ipywidgets.Button]:
    found = [widget] if isinstance(widget, ipywidgets.Button) else []
    return found + [button for child in getattr(widget, "children", ()) for button in buttons(child)]


def words_of(widget: Any) -> str:
    """All that is written in a block of widgets."""
    here = re.sub(r"<[^>]*>", " ", getattr(widget, "value", ""))
    return " ".join([unescape(here), *(words_of(child) for child in getattr(widget, "children", ()))])


# Words


def test_a_running_download_says_percentage_bytes_speed_and_time_left() -> None:
    download = Puppet().tell(ds.SocketOpened()).at(10, 20, 30)
    assert progress_words(download) == "30 % · 60.0 MB of 200 MB · 20.0 MB/s · 7.0 s left · IN-PROGRESS"
    assert record(download) == f"Phi-2: {progress_words(download)}"


def test_what_is_not_known_is_not_said() -> None:
    assert progress_words(Puppet()) == "INITIALIZED"
    assert progress_words(Puppet(size=None).tell(ds.SocketOpened()).at(0)) == "0 % · IN-PROGRESS"


def test_a_stall_says_since_when_and_whether_the_socket_lives() -> None:
    download = Puppet().tell(ds.SocketOpened()).at(10, 20)
    download.tell(ds.TimePassed(), after_s=40)
    since = clock(ds.wall_time(download.state, 1003.0))
    assert progress_words(download) == (
        f"20 % · 40.0 MB of 200 MB · IN-PROGRESS · stalled since {since}, the socket is open"
    )
    download.tell(ds.SocketLost("the connection broke"))
    assert progress_words(download).endswith(f"stalled since {since}, the socket is closed")


def test_a_reconnect_and_a_silence_say_why() -> None:
    download = Puppet().tell(ds.SocketOpened()).at(10).tell(ds.SocketLost("the connection\nbroke"))
    assert progress_words(download).endswith("reconnecting (the connection broke)")
    download.tell(ds.NoAnswer("Nothing answers at 127.0.0.1:9"))
    assert "no answer (Nothing answers at 127.0.0.1:9)" in progress_words(download)


def test_a_download_that_nobody_follows_says_so() -> None:
    download = Puppet().at(10)
    download.close()
    assert progress_words(download).endswith("no longer followed")


def test_words_fit_their_place_and_lose_first_what_matters_least() -> None:
    download = Puppet().tell(ds.SocketOpened()).at(10, 20, 30)
    stalled = Puppet().at(10).tell(ds.TimePassed(), after_s=60)
    for limit in range(1, 90):
        assert len(fitting_words(download, limit)) <= limit
        assert len(fitting_words(stalled, limit)) <= limit
    assert [fitting_words(download, limit) for limit in (49, 48, 24, 22)] == [
        "30 % · 60.0 MB of 200 MB · 20.0 MB/s · 7.0 s left",
        "30 % · 20.0 MB/s · 7.0 s left",
        "30 % · 7.0 s left",
        "30 % · 7.0 s left",
    ]
    assert fitting_words(download, 10) == "30 %"
    assert "stalled since" in fitting_words(stalled, 40)


def test_a_finished_download_is_one_line_with_size_duration_and_mean_speed() -> None:
    assert record(Puppet().at(50).complete()) == "Phi-2: COMPLETED · 200 MB · 2.0 s · 100 MB/s"
    assert record(Puppet(size=None).at(50).complete()) == "Phi-2: COMPLETED · 2.0 s"
    assert record(Puppet(there=True)) == "Phi-2: COMPLETED, was already downloaded · 200 MB"


def test_a_failed_and_a_canceled_download_say_why_and_when() -> None:
    assert record(Puppet().at(50).fail("410: gone")) == "Phi-2: FAILED (the model is gone: 410: gone) after 2.0 s"
    canceled = Puppet().at(50).tell(ds.SnapshotSeen(Model({"id": "m-1", "name": "Phi-2", "downloading": True}), 1001))
    canceled.tell(ds.CancelAsked()).tell(ds.CancelSent(), ds.CancelAnswered(), after_s=0.0).snapshot().finish()
    assert record(canceled) == "Phi-2: CANCELED after 4.0 s"


def test_several_are_summed_in_words() -> None:
    downloads = [Puppet().at(50).complete(), Puppet().at(50).fail("x"), Puppet().at(25)]
    assert display.total_words(downloads) == "2 of 3 ended, 1 of them not completed · 350 MB of 600 MB"
    assert "of 400 MB" not in display.total_words([Puppet(), Puppet(size=None)])


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
    assert '<progress max="100" value="37.5" aria-label="download of Phi-2"' in html
    assert ">37.5 % · " in html
    assert "#" not in html  # no fixed colours


def test_a_bar_without_a_percentage_is_indeterminate() -> None:
    assert '<progress max="100" aria-label' in row_html(Puppet())


def test_a_bar_at_nought_is_at_nought() -> None:
    assert 'value="0.0"' in row_html(Puppet().at(0))


def test_the_end_of_a_row_is_the_record() -> None:
    html = row_html(Puppet().at(50).complete())
    assert "<progress" not in html
    assert "COMPLETED · 200 MB" in html
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
    assert "COMPLETED" in words_of(row.box)
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
    row.close()


def test_a_click_can_be_left_to_whoever_made_the_row() -> None:
    clicks: list[bool] = []
    row = Row(Puppet().at(10), button=True, on_cancel=lambda: clicks.append(True))
    (button,) = buttons(row.box)
    button.click()
    assert (clicks, button.disabled) == ([True], True)
    row.close()


# A block in a notebook


@pytest.mark.usefixtures("_no_widget_stays_open")
def test_a_waiting_block_has_no_button_and_leaves_an_empty_output(shown: list[Handle]) -> None:
    download = Puppet().at(10)
    block = LiveBlock([download], waiting=True)
    block.display()
    assert buttons(block.box) == []
    assert "■ stops waiting; %pieces_model cancel NAME stops the download" in words_of(block.box)
    (handle,) = shown
    assert handle.bundles[0]["text/plain"] == ""
    assert handle.bundles[0][VIEW]["model_id"] == block.box.model_id
    download.complete()
    block.close()
    assert handle.bundles[-1] == {"text/plain": ""}


def test_after_waiting_was_stopped_there_is_a_button_and_the_end_is_the_record(shown: list[Handle]) -> None:
    download = Puppet().at(10)
    block = LiveBlock([download], waiting=True)
    block.display()
    block.stop_waiting()
    assert len(buttons(block.box)) == 1
    assert "stops waiting" not in words_of(block.box)
    download.complete()
    assert shown[0].bundles[1:] == [mimebundle([download])]
    assert VIEW not in shown[0].bundles[-1]
    block.close()


def test_a_block_that_nobody_waits_for_becomes_the_record_once(shown: list[Handle]) -> None:
    downloads = [Puppet("A").at(10), Puppet("B").at(20)]
    block = LiveBlock(downloads, waiting=False)
    block.display()
    assert len(buttons(block.box)) == 2
    assert shown[0].bundles[0]["text/plain"].startswith("A: 10 %")
    downloads[0].complete()
    assert len(shown[0].bundles) == 1
    assert "1 of 2 ended" in words_of(block.box)
    downloads[1].fail("x")
    assert shown[0].bundles[1:] == [mimebundle(downloads)]
    block.close()


def test_a_block_whose_downloads_end_while_it_is_built_is_the_record(shown: list[Handle]) -> None:
    download = Puppet().at(10)
    block = LiveBlock([download], waiting=False)
    download.complete()
    block.display()
    assert shown[0].bundles[-1] == mimebundle([download])
    block.close()


def test_what_has_ended_needs_no_widget(shown: list[Handle]) -> None:
    with pytest.raises(NotImplementedError):
        Puppet(there=True)._ipython_display_()
    assert shown == []


def test_a_running_download_as_a_cells_value_is_live(shown: list[Handle]) -> None:
    download = Puppet().at(10)
    download._ipython_display_()
    assert VIEW in shown[0].bundles[0]
    download.complete()
    assert VIEW not in shown[0].bundles[-1]


def test_outside_a_notebook_a_download_shows_as_text() -> None:
    with pytest.raises(NotImplementedError):
        Puppet().at(10)._ipython_display_()


# Waiting


class Waiting(Puppet):
    """A download whose wait ends as it is told."""

    outcome: BaseException | None = None

    def wait(self, timeout: float | None = None) -> Model:
        self.timeout = timeout
        if self.outcome is not None:
            raise self.outcome
        self.complete()
        return self.model


@pytest.mark.usefixtures("_no_widget_stays_open")
def test_waiting_shows_a_block_and_takes_it_away(shown: list[Handle]) -> None:
    download = Waiting()
    display.wait_shown([download], timeout_s=7.0)
    assert download.timeout == 7.0
    assert [VIEW in bundle for bundle in shown[0].bundles] == [True, False]


@pytest.mark.usefixtures("_no_widget_stays_open")
def test_a_failure_while_waiting_takes_the_block_away_too(shown: list[Handle]) -> None:
    download = Waiting()
    download.outcome = DownloadFailed("x")
    with pytest.raises(DownloadFailed):
        display.wait_shown([download], timeout_s=None)
    assert shown[0].bundles[-1] == {"text/plain": ""}


@pytest.mark.parametrize("stop", [StoppedWaiting("■"), WaitTimeout("7 s")])
def test_after_an_interrupt_or_a_timeout_the_bar_lives_on(shown: list[Handle], stop: BaseException) -> None:
    download = Waiting()
    download.outcome = stop
    with pytest.raises(type(stop)):
        display.wait_shown([download], timeout_s=7.0)
    assert [VIEW in bundle for bundle in shown[0].bundles] == [True]
    download.complete()
    assert shown[0].bundles[-1] == mimebundle([download])


def test_waiting_for_what_has_ended_shows_nothing(shown: list[Handle]) -> None:
    display.wait_shown([Puppet(there=True)], timeout_s=None)
    with pytest.raises(DownloadFailed, match="1 of 2 downloads did not complete"):
        display.wait_shown([Puppet(there=True), Puppet().at(1).fail("x")], timeout_s=None)
    assert shown == []


# A terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm")


def lines_of(out: io.StringIO) -> list[str]:
    """What was drawn, line by line, less what moves the cursor."""
    return [re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]+", out.getvalue()) if line.strip()]


@pytest.mark.usefixtures("_eighty_columns")
def test_in_a_terminal_a_bar_moves_and_is_gone_at_the_end() -> None:
    out = Terminal()
    download = Puppet().tell(ds.SocketOpened()).at(10)
    bars = TerminalBars([download], file=out)
    download.at(20, 30).show()
    (last,) = [line for line in lines_of(out) if "30 %" in line][-1:]
    assert last.startswith("Phi-2 ")
    assert "|" in last
    assert "20.0 MB/s" in last
    assert max(map(len, lines_of(out))) < 80
    bars.close()
    drawn = out.getvalue()
    download.at(40).show()
    assert out.getvalue() == drawn
    assert drawn.endswith("\r")


@pytest.mark.usefixtures("_eighty_columns")
def test_several_bars_have_a_total_below() -> None:
    out = Terminal()
    downloads = [Puppet("A").at(10), Puppet("B").at(20)]
    bars = TerminalBars(downloads, file=out)
    downloads[0].complete()
    assert any(line.startswith("1 of 2 ended") for line in lines_of(out))
    assert any(line.startswith("A") and "COMPLETED" in line for line in lines_of(out))
    bars.close()


@pytest.mark.usefixtures("_eighty_columns")
def test_a_hostile_name_moves_no_cursor() -> None:
    out = Terminal()
    download = Puppet("evil\x1b[2J{bar}\n%s").at(10)
    bars = TerminalBars([download], file=out)
    download.at(20).show()
    bars.close()
    assert "\x1b[2J" not in out.getvalue()


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_where_there_is_no_terminal_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    monkeypatch.setenv("TERM", term)
    out = io.StringIO() if term == "xterm" else Terminal()
    download = Puppet().at(10)
    bars = TerminalBars([download], file=out)
    download.at(20).show()
    bars.close()
    assert out.getvalue() == ""


@pytest.mark.usefixtures("_eighty_columns")
def test_outside_a_notebook_waiting_draws_bars_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr("sys.stderr", out)
    display.wait_shown([Waiting()], timeout_s=None)
    assert any("COMPLETED" in line for line in lines_of(out))
