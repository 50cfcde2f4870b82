"""Downloads live in a notebook: a row of widgets each, a block of rows for a cell. Asks no server.

A row is one HTML widget (bar and words are one message to the front end), and beside it a Cancel button while a click
is heard. What stays in the saved notebook is text: at the end the widgets go from the output.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from html import escape
from typing import Any
from weakref import WeakKeyDictionary

from pieces_nb.download.download import Download
from pieces_nb.download.throttle import INTERVAL_S, TOTAL_INTERVAL_S
from pieces_nb.errors import PiecesError, told
from pieces_nb.locks import Lock
from pieces_nb.text import Front, Step, printable
from pieces_nb.views.bars_html import Trail, bar_html, mimebundle, row_html
from pieces_nb.views.outputs import (
    NOTHING,
    LiveOutput,
    Standing,
    clicks_are_heard,
    close_widgets,
    hears_clicks,
    in_notebook,
    running_cell,
)
from pieces_nb.views.terminal import bars
from pieces_nb.views.words import (
    Condition,
    condition,
    figures_of,
    name_of,
    progress_words,
    record,
    total_percentage,
    total_words,
    with_note,
)

log = logging.getLogger(__name__)

DEAF_HINT = "■ stops waiting, and Cancel is there then; {step} stops the download"
_CANCEL_ONE = Step("cancel NAME", "client.cancel(…)")  # of several
HEARD_HINT = "Cancel stops the download; ■ only stops waiting"
_FEW = 3
_LOOK_S = 0.05  # how often to look whether clicks are heard by now
_LOOK_FOR_S = 5.0


# One download --------------------------------------------------------------------------------------------------------

_rows_lock = Lock()  # guards the next
_rows: WeakKeyDictionary[Download, int] = WeakKeyDictionary()  # how many rows show a download


class Row:
    """One download as a row of widgets. Its HTML is written by the download's thread alone.

    Its Cancel cancels in a thread of its own; with `on_cancel`, whoever made the row does, and says `allow_cancel` if
    that fails. `then` is called after each change that it shows: one thread does for a row and what sums rows up.
    """

    def __init__(
        self,
        download: Download,
        *,
        button: bool,
        on_cancel: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        import ipywidgets

        self.download = download
        self.figures = figures_of(download)  # as shown: a total is the sum of what its rows say
        self._on_cancel = on_cancel
        self.then: Callable[[Download], None] | None = None
        self._clock = clock
        self._trail = Trail()
        self._shown_at = float("-inf")
        # The words wrap within their own width, so that they never move the button.
        written, told = self._written()
        self._html = ipywidgets.HTML(value=written, placeholder=told, layout={"flex": "1 1 auto", "min_width": "0"})
        self._button: Any = None
        self._canceling = False
        self.box = ipywidgets.HBox([self._html], layout={"align_items": "center"})
        if button and not download.done:
            self.add_button()
        _count_row(download, +1)
        self._unsubscribe = download.subscribe(self._show)

    def _show(self, download: Download) -> None:
        now = self._clock()
        # Two bars of one download share its rate of updates.
        rows = _rows.get(download, 1)
        if rows > 1 and not download.done and now - self._shown_at < INTERVAL_S * (rows - 0.5):
            return
        self._shown_at = now
        written, told = self._written()
        with self._html.hold_sync():  # both in one message
            self._html.value = written
            self._html.placeholder = told
        if download.done:
            self.drop_button()
        if self.then is not None:
            self.then(download)

    def _written(self) -> tuple[str, str]:
        """Return the row as HTML, and for programs as JSON, which a page does not show: '' once it has ended."""
        download = self.download
        self.figures = figures_of(download)
        if download.done:
            return row_html(download, note=self.note), ""
        self._trail.note(download.percentage, now=self._clock())
        trail = self._trail.svg if condition(download) is Condition.RUNNING else ""
        words = progress_words(download)
        told = {"name": name_of(download), "percentage": download.percentage, "words": words}
        return row_html(download, trail=trail, note=self.note, words=words), json.dumps(told)

    @property
    def note(self) -> str:
        """The last outage of the server, once it is over, unless the record tells it anyhow."""
        outages = self.download.state.outages
        over = outages and (self.download.done or outages[-1].ended is not None)
        return outages[-1].words if over and outages[-1].words not in record(self.download) else ""

    @property
    def line(self) -> str:
        """The row as a line of text."""
        return with_note(record(self.download), self.note)

    def add_button(self) -> None:
        """Give it a Cancel that is heard; a new one, if it has one that was not."""
        import ipywidgets

        self.drop_button()
        if self.download.done:
            return
        button = ipywidgets.Button(
            description="Cancel",
            tooltip=f"Cancel the download of {name_of(self.download)}",
            layout={"width": "auto", "flex": "0 0 auto"},
        )
        hears_clicks(button)
        button.on_click(self._clicked)
        # In this order: once it is `_button`, the thread of a download that ends just now may close it.
        self.box.children = (self._html, button)
        self._button, self._canceling = button, False
        if self.download.done:
            self.drop_button()

    def _clicked(self, button: Any) -> None:
        if self._canceling or button is not self._button:
            return
        # It stays enabled: a button that its own click disables loses the focus.
        self._canceling = True
        button.description = "Canceling…"
        if self._on_cancel is not None:
            self._on_cancel()
            return
        # A cancel may take ten seconds; a callback that blocks would block the kernel.
        threading.Thread(target=self._cancel, name="pieces-nb-cancel", daemon=True).start()

    def _cancel(self) -> None:
        try:
            self.download.cancel()
        except PiecesError as exc:
            log.info("%s", exc)
            self.allow_cancel(told(exc, Front.NOTEBOOK))

    def allow_cancel(self, why: str) -> None:
        """Let it be clicked again; `why` the last time failed."""
        button = self._button
        if button is not None:
            with suppress(Exception):  # it may be closed by now: the download has ended
                self._canceling = False
                button.description = "Cancel"
                button.tooltip = printable(why, limit=300)

    def drop_button(self) -> None:
        button, self._button = self._button, None
        if button is not None:
            self.box.children = (self._html,)
            close_widgets(button)

    def close(self) -> None:
        self._unsubscribe()
        _count_row(self.download, -1)
        self.drop_button()
        close_widgets(self._html, self.box)


def _count_row(download: Download, change: int) -> None:
    with _rows_lock:
        _rows[download] = _rows.get(download, 0) + change


# Several, under a cell -----------------------------------------------------------------------------------------------


class LiveBlock:
    """The rows of some downloads as one output, and under several a row with the total.

    While a cell waits (`waiting`), a hint says what ■ and Cancel do, and there is no Cancel unless clicks are heard.
    """

    def __init__(self, downloads: Sequence[Download], *, waiting: bool) -> None:
        import ipywidgets

        self.downloads = list(downloads)
        self.cell = ""
        self._lock = Lock()  # guards _total_at and the one writer of _total at a time
        self._buttons_lock = Lock()  # guards the three below
        self._waiting = waiting
        self._has_buttons = not waiting or clicks_are_heard()
        self._hint = ipywidgets.HTML(value=self._hint_html()) if waiting else None
        self._stopped_looking = threading.Event()
        self._total = ipywidgets.HTML() if len(self.downloads) > 1 else None
        self._total_at = float("-inf")
        # Of few, the sum keeps step with its rows; of many, the budget of updates is the rows'.
        self._total_every_s = INTERVAL_S if len(self.downloads) <= _FEW else TOTAL_INTERVAL_S
        self._rows = [Row(download, button=self._has_buttons) for download in self.downloads]
        extra = [widget for widget in (self._total, self._hint) if widget is not None]
        self.box = ipywidgets.VBox([*(row.box for row in self._rows), *extra])
        self._output = LiveOutput(self.box, self._standing)

    def _standing(self) -> Standing:
        return Standing(
            [row.line for row in self._rows],
            self.downloads[0].server_url,
            (self.downloads[0].watch_step, " shows it live."),
        )

    def display(self) -> None:
        """Show it under the cell that this thread runs."""
        self.cell = running_cell()
        _blocks[:] = [*(block for block in _blocks if block.cell == self.cell), self]
        self._output.display()
        for row in self._rows:
            row.then = self._moved
        if all(download.done for download in self.downloads):
            self._end()
        if not self._has_buttons:
            threading.Thread(target=self._look_for_clicks, name="pieces-nb-clicks", daemon=True).start()

    def _look_for_clicks(self) -> None:
        """The front end is ready to be heard a moment after the first widget, or never."""
        deadline = time.monotonic() + _LOOK_FOR_S
        while time.monotonic() < deadline and not self._stopped_looking.wait(_LOOK_S):
            if clicks_are_heard():
                self._add_buttons()
                return

    def _add_buttons(self) -> None:
        with self._buttons_lock:
            if not self._has_buttons and not self._stopped_looking.is_set():
                self._has_buttons = True
                for row in self._rows:
                    row.add_button()
                if self._hint is not None:
                    self._hint.value = self._hint_html()

    def _hint_html(self) -> str:
        step = self.downloads[0].cancel_step if len(self.downloads) == 1 else _CANCEL_ONE
        words = HEARD_HINT if self._has_buttons else DEAF_HINT.format(step=step.typed(Front.NOTEBOOK))
        return f'<div style="color: var(--jp-ui-font-color2); line-height: 1.5">{escape(words)}</div>'

    def _moved(self, download: Download) -> None:
        self._output.keep()
        if self._total is not None:
            with self._lock:
                now = time.monotonic()
                if download.done or now - self._total_at >= self._total_every_s:
                    self._total_at = now
                    self._total.value = self._total_html()
        if all(download.done for download in self.downloads):
            self._end()

    def _total_html(self) -> str:
        figures = [row.figures for row in self._rows]
        return bar_html(
            f"{len(figures)} downloads",
            total_words(figures),
            percentage=total_percentage(figures),
            how=self._condition(),
            label=f"{len(figures)} downloads together",
        )

    def _condition(self) -> Condition:
        """How the running ones are, if they are all alike."""
        running = {condition(download) for download in self.downloads if not download.done}
        return running.pop() if len(running) == 1 else Condition.RUNNING if running else Condition.DONE

    def _end(self) -> None:
        """Without somebody who waits, the output becomes the record; the widget shows it too, for a page reloaded."""
        if not self._waiting and not self._output.ended:  # the views of all that end together come here
            self._output.become(mimebundle(self.downloads, notes=[row.note for row in self._rows]))

    def stop_waiting(self) -> None:
        """The cell has stopped waiting: the bars live on.

        Their buttons are new ones. A click on an old one that nobody has heard yet would come only now, and cancel the
        download of which the cell has just said that it goes on.
        """
        with self._buttons_lock:
            self._stopped_looking.set()
            self._waiting, self._has_buttons = False, True
            hint, self._hint = self._hint, None
            if hint is not None:
                self.box.children = tuple(child for child in self.box.children if child is not hint)
                close_widgets(hint)
            for row in self._rows:
                row.add_button()
        if all(download.done for download in self.downloads):
            self._end()

    def close(self) -> None:
        """Take it from the output and close every widget."""
        with self._buttons_lock:
            self._stopped_looking.set()
        _blocks[:] = [block for block in _blocks if block is not self]
        for row in self._rows:
            row.close()
        close_widgets(*(widget for widget in (self._total, self._hint, self.box) if widget is not None))
        self._output.become(NOTHING)


_blocks: list[LiveBlock] = []  # those of the cell that showed one last; only the thread that runs cells looks at it


def _shown_here(downloads: Sequence[Download]) -> bool:
    """Whether the running cell shows them all already."""
    cell = running_cell()
    shown = [download for block in _blocks if cell and block.cell == cell for download in block.downloads]
    return all(any(download is one for one in shown) for download in downloads)


# What others call ----------------------------------------------------------------------------------------------------


def follow(downloads: Sequence[Download]) -> None:
    """Show downloads live under the running cell, if one of them runs; they are shown once a cell, whoever asks."""
    if in_notebook() and not all(download.done for download in downloads) and not _shown_here(downloads):
        LiveBlock(downloads, waiting=False).display()


def display_live(downloads: Sequence[Download]) -> None:
    """Show downloads as the value of a cell: live, if one of them runs; else leave them to their mimebundle."""
    if in_notebook() and _shown_here(downloads) and downloads:
        return
    if all(download.done for download in downloads) or not in_notebook():
        raise NotImplementedError  # IPython's way to say: use the other representations
    follow(downloads)


@contextmanager
def waiting(downloads: Sequence[Download]) -> Iterator[None]:
    """Show downloads live while a cell waits for them in this block, unless it shows them already.

    If they have ended after it, nothing is left of that: the value of the cell is what stays. Else their bars live on.
    """
    block = _waiting_block(downloads)
    try:
        if block is not None:
            block.display()
        yield
    finally:
        if block is not None:
            if all(download.done for download in downloads):
                block.close()
            else:
                block.stop_waiting()


def _waiting_block(downloads: Sequence[Download]) -> LiveBlock | None:
    if all(download.done for download in downloads) or not running_cell() or _shown_here(downloads):
        return None
    return LiveBlock(downloads, waiting=True)


def wait_shown(downloads: Sequence[Download], *, timeout_s: float | None) -> None:
    """Wait for downloads, each shown live meanwhile, then take the bars away: the record is what stays.

    Raises what `Downloads.wait` raises. After `StoppedWaiting` and `WaitTimeout` a notebook's bars live on.
    """
    if in_notebook():
        bars.outcome(downloads, timeout_s=timeout_s)  # shows them itself: see `waiting`
    else:
        bars.wait_shown(downloads, timeout_s=timeout_s)
