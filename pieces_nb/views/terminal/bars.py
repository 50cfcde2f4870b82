"""Bars in a terminal: one a download and below several the total. They go when the waiting ends."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from pieces_nb.download.download import Download, Downloads
from pieces_nb.locks import Lock
from pieces_nb.text import printable
from pieces_nb.views.words import Condition, condition, figures_of, fitting_words, name_of, status_word, total_words

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

    Bar.set_lock(Lock(reentrant=True))  # tqdm's own one would take a semaphore of multiprocessing's
    return Bar


def can_move(file: Any) -> bool:
    """Whether bars can move there."""
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
        self._lock = Lock()  # guards _bars: after close() no late update may draw again
        self._bars: dict[int, Any] = {}
        self._total: Any = None
        self._stops: list[Callable[[], None]] = []
        if can_move(self._file):
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
        for download in self._downloads:
            if condition(download) is Condition.WAITING:
                self._show(download)  # it has no news before its turn

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
                bar.words = status_word(download.status) if download.done else fitting_words(download, words_limit)
                bar.refresh()
            if self._total is not None:
                self._total.ncols = width
                words = total_words([figures_of(one) for one in self._downloads])
                self._total.set_description_str(printable(words, limit=width), refresh=True)

    def close(self) -> None:
        for stop in self._stops:
            stop()
        with self._lock:
            bars, self._bars = [*self._bars.values(), self._total], {}
            self._total = None
        for bar in reversed(bars):  # the topmost last: tqdm leaves the cursor at the beginning of that line alone
            if bar is not None:
                bar.close()


def wait_shown(downloads: Sequence[Download], *, timeout_s: float | None) -> None:
    """Wait for downloads with bars on stderr meanwhile. Raises what `Downloads.wait` raises."""
    bars = TerminalBars(downloads) if not all(download.done for download in downloads) else None
    try:
        outcome(downloads, timeout_s=timeout_s)
    finally:
        if bars is not None:
            bars.close()


def outcome(downloads: Sequence[Download], *, timeout_s: float | None) -> None:
    """Wait, and raise of one what it raises itself, of several what `Downloads` says of all."""
    if len(downloads) == 1:
        downloads[0].wait(timeout_s)
    else:
        Downloads(downloads).wait(timeout_s)
