"""How downloads look: a line of text, a live row in a notebook, a bar in a terminal. Asks no server.

In a notebook a row is one HTML widget (bar and words are one message to the front end), and beside it a Cancel button
while somebody can hear it. What stays in the saved notebook is text: at the end the widget goes from the output.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

from pieces_nb.download.download import Download, Downloads
from pieces_nb.download.throttle import TOTAL_INTERVAL_S
from pieces_nb.errors import PiecesError, StoppedWaiting, WaitTimeout
from pieces_nb.model.models import DownloadStatus
from pieces_nb.text import clock, format_bytes, format_duration, format_percentage, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

_SEPARATOR = " · "
_NAME_LIMIT = 60
WAITING_HINT = "■ stops waiting; %pieces_model cancel NAME stops the download"


# Words ---------------------------------------------------------------------------------------------------------------


def name_of(download: Download) -> str:
    return printable(download.model.title, limit=_NAME_LIMIT)


def record(download: Download) -> str:
    """Return the line that stays: model, outcome, size, duration, mean speed; of a running one, how far it is."""
    if not download.done:
        return f"{name_of(download)}: {progress_words(download)}"
    state = download.state
    if state.status is not DownloadStatus.COMPLETED:
        reason = f" ({state.reason})" if state.reason else ""
        return f"{name_of(download)}: {state.status}{reason} after {format_duration(state.duration_s)}"
    size = [format_bytes(state.size_bytes)] if state.size_bytes is not None else []
    if state.reason:
        return f"{name_of(download)}: {_SEPARATOR.join([f'{state.status}, {state.reason}', *size])}"
    speed = download.mean_bytes_per_s
    took = [f"{format_duration(state.duration_s)}"] + ([f"{format_bytes(speed)}/s"] if speed else [])
    return f"{name_of(download)}: {_SEPARATOR.join([str(state.status), *size, *took])}"


def progress_words(download: Download) -> str:
    """Return how far a download is: percentage, bytes, speed, time left, and in words what is the matter."""
    return _SEPARATOR.join([*_figures(download).values(), str(download.status), *_troubles(download)])


def _figures(download: Download) -> dict[str, str]:
    """Return what is known of: percentage, bytes, speed, left."""
    state = download.state
    figures = {}
    if state.percentage is not None:
        figures["percentage"] = format_percentage(state.percentage)
    if state.done_bytes is not None and state.size_bytes is not None:
        figures["bytes"] = f"{format_bytes(state.done_bytes)} of {format_bytes(state.size_bytes)}"
    if (speed := download.speed_bytes_per_s) is not None:
        figures["speed"] = f"{format_bytes(speed)}/s"
    if (left_s := download.time_left_s) is not None:
        figures["left"] = f"{format_duration(left_s)} left"
    return figures


def fitting_words(download: Download, limit: int) -> str:
    """Return `progress_words` in at most `limit` characters: what matters least goes first."""
    figures = _figures(download)
    words = [str(download.status), *_troubles(download)]
    if figures and words == [str(DownloadStatus.IN_PROGRESS)]:
        words = []  # the moving figures say so themselves
    for dispensable in ("bytes", "speed", "left"):
        if len(_SEPARATOR.join([*figures.values(), *words])) > limit:
            figures.pop(dispensable, None)
    return printable(_SEPARATOR.join([*figures.values(), *words]), limit=limit)


def _troubles(download: Download) -> Iterator[str]:
    state = download.state
    if state.silent_since is not None:
        yield f"no answer ({printable(state.heard, limit=120)})"
    if (since := download.stalled_since) is not None:
        socket = "the socket is open" if state.socket_open else "the socket is closed"
        yield f"stalled since {clock(since)}, {socket}"
    elif not state.socket_open and state.socket_words:
        yield f"reconnecting ({printable(state.socket_words, limit=80)})"
    if download.closed:
        yield "no longer followed"


def total_words(downloads: Sequence[Download]) -> str:
    """Return the sum of several: how many have ended, and the bytes of those whose size is known."""
    ended = sum(download.done for download in downloads)
    failed = sum(download.error is not None for download in downloads)
    words = [f"{ended} of {len(downloads)} ended" + (f", {failed} of them not completed" if failed else "")]
    sizes = [download.state.size_bytes for download in downloads]
    done = [download.state.done_bytes or 0.0 for download in downloads]
    if all(size is not None for size in sizes):
        words.append(f"{format_bytes(sum(done))} of {format_bytes(sum(size or 0 for size in sizes))}")
    speed = sum(download.speed_bytes_per_s or 0.0 for download in downloads)
    if speed > 0:
        words.append(f"{format_bytes(speed)}/s")
    return _SEPARATOR.join(words)


# HTML ----------------------------------------------------------------------------------------------------------------


def row_html(download: Download) -> str:
    """Return the row of one download: its name, the bar and the words beside it; or, at the end, its record."""
    if download.done:
        return _line_html(record(download))
    percentage = download.percentage
    value = f' value="{percentage:.1f}"' if percentage is not None else ""
    name = escape(name_of(download))
    return (
        '<div class="tex2jax_ignore mathjax_ignore" '
        'style="display: flex; flex-wrap: wrap; align-items: center; gap: 0 10px; line-height: 1.5">'
        f'<span style="flex: 0 1 15em; overflow-wrap: anywhere">{name}</span>'
        f'<progress max="100"{value} aria-label="download of {name}" '
        'style="flex: 0 0 10em; height: 1em; accent-color: var(--jp-brand-color1)"></progress>'
        '<span style="flex: 1 1 16em; font-variant-numeric: tabular-nums; overflow-wrap: anywhere">'
        f"{escape(progress_words(download))}</span></div>"
    )


def _line_html(text: str) -> str:
    return f'<div class="tex2jax_ignore mathjax_ignore" style="line-height: 1.5">{escape(text)}</div>'


def mimebundle(downloads: Sequence[Download]) -> dict[str, str]:
    """Return the records as text and as HTML: what every front end and every saved notebook can show."""
    lines = [record(download) for download in downloads]
    return {"text/plain": "\n".join(lines), "text/html": "".join(_line_html(line) for line in lines)}


# Live in a notebook --------------------------------------------------------------------------------------------------


def in_notebook() -> bool:
    """Whether a kernel runs this, so that widgets have a front end. A terminal's IPython has none."""
    if "IPython" not in sys.modules:
        return False  # `pieces-nb` in a terminal, which need not pay for its import
    from IPython.core.getipython import get_ipython

    return hasattr(get_ipython(), "kernel")


class Row:
    """One download as a row of widgets. Its HTML is written by the download's thread alone.

    Its Cancel cancels in a thread of its own; with `on_cancel`, whoever made the row does, and says `allow_cancel` if
    that fails.
    """

    def __init__(self, download: Download, *, button: bool, on_cancel: Callable[[], None] | None = None) -> None:
        import ipywidgets

        self.download = download
        self._on_cancel = on_cancel
        # The words wrap within their own width, so that they never move the button.
        self._html = ipywidgets.HTML(
            value=row_html(download), layout={"flex": "1 1 auto", "min_width": "0", "max_width": "75em"}
        )
        self._button: Any = None
        self.box = ipywidgets.HBox([self._html], layout={"align_items": "center"})
        if button and not download.done:
            self.add_button()
        self._unsubscribe = download.subscribe(self._show)

    def _show(self, download: Download) -> None:
        self._html.value = row_html(download)
        if download.done:
            self.drop_button()

    def add_button(self) -> None:
        """Give it its Cancel; not while a cell waits, when no click is heard."""
        import ipywidgets

        if self._button is None and not self.download.done:
            name = name_of(self.download)
            self._button = ipywidgets.Button(
                description="Cancel",
                tooltip=f"Cancel the download of {name}",
                layout={"width": "auto", "flex": "0 0 auto"},
            )
            self._button.on_click(self._clicked)
            self.box.children = (self._html, self._button)
            if self.download.done:  # it ended just now, in its own thread
                self.drop_button()

    def _clicked(self, button: Any) -> None:
        button.disabled = True
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
            self.allow_cancel(str(exc))

    def allow_cancel(self, why: str) -> None:
        """Let it be clicked again; `why` the last time failed."""
        button = self._button
        if button is not None:
            with suppress(Exception):  # it may be closed by now: the download has ended
                button.disabled = False
                button.description = "Cancel"
                button.tooltip = printable(why, limit=300)

    def drop_button(self) -> None:
        button, self._button = self._button, None
        if button is not None:
            self.box.children = (self._html,)
            close_widgets(button)

    def close(self) -> None:
        self._unsubscribe()
        self.drop_button()
        close_widgets(self._html, self.box)


def close_widgets(*widgets: Any) -> None:
    """Close widgets and what they leave open themselves: their Layout and Style models."""
    for widget in widgets:
        for part in (getattr(widget, "style", None), getattr(widget, "layout", None), widget):
            if part is not None and hasattr(part, "close"):
                part.close()


class LiveBlock:
    """The rows of some downloads as one output, and under several a line with the total."""

    def __init__(self, downloads: Sequence[Download], *, waiting: bool) -> None:
        import ipywidgets

        self._downloads = list(downloads)
        self._handle: Any = None
        self._lock = threading.Lock()  # guards _ended, _total_at and the one writer of _total at a time
        self._ended = False
        self._rows = [Row(download, button=not waiting) for download in self._downloads]
        self._hint = ipywidgets.HTML(value=_hint_html(WAITING_HINT)) if waiting else None
        self._total = ipywidgets.HTML(value="") if len(self._downloads) > 1 else None
        self._total_at = float("-inf")
        extra = [widget for widget in (self._total, self._hint) if widget is not None]
        self.box = ipywidgets.VBox([*(row.box for row in self._rows), *extra])

    def display(self) -> None:
        """Show it as an output of its own; the text beside the widget is what a front end without widgets shows."""
        from IPython.display import display

        bundle = {
            "text/plain": "" if self._hint is not None else mimebundle(self._downloads)["text/plain"],
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2,
                "version_minor": 0,
                "model_id": self.box.model_id,
            },
        }
        if self._hint is None:
            bundle["text/html"] = mimebundle(self._downloads)["text/html"]
        self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]  # typed in part
        for download in self._downloads:
            download.subscribe(self._moved)

    def _moved(self, download: Download) -> None:
        if self._total is not None:
            with self._lock:
                now = time.monotonic()
                if download.done or now - self._total_at >= TOTAL_INTERVAL_S:
                    self._total_at = now
                    self._total.value = _line_html(total_words(self._downloads))
        if all(download.done for download in self._downloads):
            self._end()

    def _end(self) -> None:
        """Without somebody who waits, the output becomes the record; the widget shows it too, for a page reloaded."""
        with self._lock:
            if self._ended or self._hint is not None:
                return
            self._ended = True
        self._handle.update(mimebundle(self._downloads), raw=True)

    def stop_waiting(self) -> None:
        """The cell has stopped waiting: the bars live on, now with their buttons."""
        hint, self._hint = self._hint, None
        if hint is not None:
            self.box.children = tuple(child for child in self.box.children if child is not hint)
            close_widgets(hint)
        for row in self._rows:
            row.add_button()
        if all(download.done for download in self._downloads):
            self._end()

    def close(self) -> None:
        """Take it from the output and close every widget."""
        for row in self._rows:
            row.close()
        close_widgets(*(widget for widget in (self._total, self._hint, self.box) if widget is not None))
        if self._handle is not None:
            self._handle.update({"text/plain": ""}, raw=True)


def _hint_html(text: str) -> str:
    return f'<div style="color: var(--jp-ui-font-color2); line-height: 1.5">{escape(text)}</div>'


def display_live(downloads: Sequence[Download]) -> None:
    """Show downloads of which some run as live rows with buttons; leave the others to their mimebundle."""
    if all(download.done for download in downloads) or not in_notebook():
        raise NotImplementedError  # IPython's way to say: use the other representations
    LiveBlock(downloads, waiting=False).display()


def wait_shown(downloads: Sequence[Download], *, timeout_s: float | None) -> None:
    """Wait for downloads, each shown live meanwhile, then take the bars away: the record is what stays.

    Raises what `Downloads.wait` raises. After `StoppedWaiting` and `WaitTimeout` a notebook's bars live on.
    """
    together = Downloads(downloads)
    if all(download.done for download in downloads):
        _raise_outcome(together, timeout_s)
        return
    if not in_notebook():
        bars = TerminalBars(downloads)
        try:
            _raise_outcome(together, timeout_s)
        finally:
            bars.close()
        return
    block = LiveBlock(downloads, waiting=True)
    block.display()
    try:
        _raise_outcome(together, timeout_s)
    except (StoppedWaiting, WaitTimeout):
        block.stop_waiting()
        raise
    except BaseException:
        block.close()
        raise
    block.close()


def _raise_outcome(downloads: Downloads, timeout_s: float | None) -> None:
    if len(downloads) == 1:
        downloads[0].wait(timeout_s)
    else:
        downloads.wait(timeout_s)


# In a terminal -------------------------------------------------------------------------------------------------------

_BAR_CELLS = 12  # a bar gets at least so many


@cache
def _bar_class() -> Any:
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]  # generic in the stubs alone
        monitor_interval = 0  # no thread of tqdm's
        words = ""

        @property
        def format_dict(self) -> dict[str, Any]:
            return {**super().format_dict, "words": self.words}

    Bar.set_lock(threading.RLock())  # tqdm's own one would take a semaphore of multiprocessing's
    return Bar


def _is_terminal(file: Any) -> bool:
    try:
        return bool(file.isatty()) and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # no file at all, or a closed one
        return False


def _terminal_size(file: Any) -> os.terminal_size:
    try:
        size = os.get_terminal_size(file.fileno())
    except (AttributeError, ValueError, OSError):
        size = os.terminal_size((0, 0))
    usual = shutil.get_terminal_size()
    return os.terminal_size((max(20, size.columns or usual.columns), max(3, size.lines or usual.lines)))


class TerminalBars:
    """tqdm's bars, one a download and below several the total; nothing where `file` (stderr) is no terminal.

    They go with `close()`: what stays is the record, which whoever waited shows.
    """

    def __init__(self, downloads: Sequence[Download], *, file: Any = None) -> None:
        self._file = sys.stderr if file is None else file
        self._downloads = list(downloads)
        self._lock = threading.Lock()  # guards _bars: after close() no late update may draw again
        self._bars: dict[int, Any] = {}
        self._total: Any = None
        self._stops: list[Callable[[], None]] = []
        if _is_terminal(self._file):
            self._open()

    def _open(self) -> None:
        columns, lines = _terminal_size(self._file)
        shown = self._downloads[: max(1, lines - 2)]
        self._name_cells = min(max(len(name_of(download)) for download in shown), max(8, columns // 4))
        with self._lock:
            for position, download in enumerate(shown):
                desc = printable(download.model.title, limit=self._name_cells).ljust(self._name_cells)
                self._bars[id(download)] = self._bar(position, "{desc} |{bar}| {words}", desc)
            if len(self._downloads) > 1:
                self._total = self._bar(len(shown), "{desc}", "")
        self._stops = [download.subscribe(self._show) for download in self._downloads]

    def _bar(self, position: int, bar_format: str, desc: str) -> Any:
        columns, lines = _terminal_size(self._file)
        return _bar_class()(
            total=100.0,
            desc=desc,
            bar_format=bar_format,
            file=self._file,
            leave=False,
            position=position,
            ncols=columns - 1,  # a full line would wrap in some terminals
            nrows=lines,
        )

    def _show(self, download: Download) -> None:
        """Called in the downloads' threads."""
        width = _terminal_size(self._file).columns - 1
        words_limit = max(1, width - self._name_cells - len(" || ") - _BAR_CELLS)
        with self._lock:
            bar = self._bars.get(id(download))
            if bar is not None:
                bar.n, bar.ncols = download.percentage or 0.0, width
                bar.words = str(download.status) if download.done else fitting_words(download, words_limit)
                bar.refresh()
            if self._total is not None:
                self._total.ncols = width
                self._total.set_description_str(printable(total_words(self._downloads), limit=width), refresh=True)

    def close(self) -> None:
        for stop in self._stops:
            stop()
        with self._lock:
            bars, self._bars = [*self._bars.values(), self._total], {}
            self._total = None
        for bar in reversed(bars):  # the topmost last: tqdm leaves the cursor at the beginning of that line alone
            if bar is not None:
                bar.close()
