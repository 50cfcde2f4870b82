"""What a cell does that takes long, shown under it: a load says for how long it has been loading.

Watches the history, so it does not matter who acts, the magic or Python. Imports nothing heavy before something is to
be shown.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

from pieces_nb.history import HISTORY
from pieces_nb.text import Step, clock, format_duration, printable
from pieces_nb.views.outputs import NOTHING, LiveOutput, Standing, close_widgets, running_cell

if TYPE_CHECKING:
    from pieces_nb.history import Entry, Operation

_VERBS = {"load": "Loading"}  # what takes long without telling how far it is
_FIRST_S = 0.5  # what is done sooner needs no words
_EVERY_S = 1.0


class Line:
    """An operation under way as a line under its cell. It is gone with its end."""

    def __init__(
        self,
        operation: Operation,
        *,
        first_s: float = _FIRST_S,
        every_s: float = _EVERY_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        import ipywidgets

        self._operation = operation
        self._first_s, self._every_s = first_s, every_s
        self._now = now
        self._ended = threading.Event()
        self._html = ipywidgets.HTML()
        self._box = ipywidgets.VBox([self._html])
        self._output = LiveOutput(self._box, self._standing)
        self._ticking = threading.Thread(target=self._tick, name="pieces-nb-operation", daemon=True)

    def display(self) -> None:
        """Show it under the cell that this thread runs."""
        self._output.display()
        self._ticking.start()

    @property
    def words(self) -> str:
        took_s = int(self._now() - self._operation.began)
        took = f"{took_s} s" if took_s < 60 else format_duration(took_s)
        return f"{_VERBS[self._operation.verb]} {printable(self._operation.model, limit=60)} … {took}"

    def _standing(self) -> Standing:
        since = f"since {clock(self._operation.started)}"
        then = ("Whether it is in memory now says ", Step("list --loaded", "client.models()"), ".")
        return Standing([f"{self.words}, {since}"], "", then)

    def _tick(self) -> None:
        pause_s = self._first_s
        while not self._ended.wait(pause_s):
            self._html.value = f'<div style="line-height: 1.5">{escape(self.words)}</div>'
            self._output.keep()
            pause_s = self._every_s

    def close(self) -> None:
        self._ended.set()
        self._ticking.join()
        close_widgets(self._html, self._box)
        self._output.become(NOTHING)


class Lines:
    """The lines of the operations under way: a watcher of the history."""

    def __init__(self) -> None:
        self._lines: dict[int, Line] = {}

    def __call__(self, operation: Operation, entry: Entry | None) -> None:
        """Open a line, or close it; called in the thread that acts."""
        if entry is not None:
            line = self._lines.pop(operation.number, None)
            if line is not None:
                line.close()
        elif operation.verb in _VERBS and running_cell():
            line = Line(operation)
            line.display()
            self._lines[operation.number] = line


_watching: Any = None


def watch() -> None:
    """Show operations of cells from now on; a second call changes nothing."""
    global _watching
    if _watching is None:
        _watching = HISTORY.watch(Lines())
