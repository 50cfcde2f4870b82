"""The record of what this process did and does, whoever acted: magics, panel, Python. Counts nothing, asks nobody.

An `Operation` runs; when it ends it becomes an `Entry`. Views watch: a cell shows its own, a panel all.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from time import monotonic
from typing import NamedTuple

from pieces_nb.errors import told
from pieces_nb.locks import Lock
from pieces_nb.text import Front, printable

log = logging.getLogger(__name__)

RUNNING = "running"
LEFT = "left"  # it goes on, and nobody here follows it any more; never the outcome of an entry that is kept
_MOST = 10_000
_LONGEST_ERROR = 300


class Entry(NamedTuple):
    """One action. `seconds` until its outcome; `bytes` transferred, None where nothing is."""

    started: datetime  # UTC
    verb: str
    model: str
    outcome: str  # RUNNING, done, a download's status, or the name of an error
    seconds: float
    bytes: int | None = None
    mean_bytes_per_s: float | None = None
    reconnects: int | None = None
    error: str = ""


class Operation(NamedTuple):
    """An action under way. One value for its whole life: equal to no other, though verb and model are the same."""

    number: int
    verb: str
    model: str  # its title
    model_id: str
    started: datetime  # UTC
    began: float  # of time.monotonic
    thread_id: int  # of the thread that acts

    def entry(self, outcome: str = RUNNING, error: str = "") -> Entry:
        """Return the record of it as it stands, or with its outcome."""
        words = printable(error, limit=_LONGEST_ERROR)
        return Entry(self.started, self.verb, self.model, outcome, monotonic() - self.began, error=words)


Watcher = Callable[[Operation, "Entry | None"], None]


class History:
    """At most the last 10,000 actions, oldest first, and what runs. Thread-safe."""

    def __init__(self) -> None:
        self.front = Front.PYTHON  # in whose words errors are recorded
        self._entries: deque[Entry] = deque(maxlen=_MOST)
        self._count = 0
        self._lock = Lock()  # guards all here
        self.forget_what_runs()

    def forget_what_runs(self) -> None:
        """Go on with what has ended alone: in a child of `fork`, where nothing of the parent's runs or watches."""
        self._running: dict[int, Operation] = {}
        self._watchers: list[Watcher] = []

    def clear(self) -> None:
        """Forget what has ended."""
        with self._lock:
            self._entries.clear()

    def entries(self) -> list[Entry]:
        """Return what has ended, oldest first, and after it what runs."""
        with self._lock:
            return [*self._entries, *(operation.entry() for operation in self._running.values())]

    def running(self) -> list[Operation]:
        with self._lock:
            return list(self._running.values())

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Have `watcher(operation, None)` called when one begins, `watcher(operation, entry)` when it has ended.

        It is called in the thread that acts and must not block. Returns how to stop that.
        """
        with self._lock:
            self._watchers.append(watcher)

        def stop() -> None:
            with self._lock, suppress(ValueError):
                self._watchers.remove(watcher)

        return stop

    def begin(self, verb: str, model: str, *, model_id: str = "") -> Operation:
        with self._lock:
            self._count += 1
            operation = Operation(
                self._count, verb, model, model_id, datetime.now(UTC), monotonic(), threading.get_ident()
            )
            self._running[operation.number] = operation
        self._tell(operation, None)
        return operation

    def end(self, operation: Operation, entry: Entry) -> None:
        """Record how it ended; a second end is ignored."""
        with self._lock:
            if self._running.pop(operation.number, None) is None:
                return
            self._entries.append(entry)
        self._tell(operation, entry)

    def forget(self, operation: Operation) -> None:
        """Take it from what runs without an entry: nobody follows it any more. Watchers hear LEFT as its outcome."""
        with self._lock:
            if self._running.pop(operation.number, None) is None:
                return
        self._tell(operation, operation.entry(LEFT))

    @contextmanager
    def recording(self, verb: str, model: str, *, model_id: str = "") -> Iterator[Operation]:
        """Record what the block does: `done`, or the name and text of what it raises."""
        operation = self.begin(verb, model, model_id=model_id)
        outcome, error = "done", ""
        try:
            yield operation
        except BaseException as exc:
            outcome, error = type(exc).__name__, told(exc, self.front)
            raise
        finally:
            self.end(operation, operation.entry(outcome, error))

    def _tell(self, operation: Operation, entry: Entry | None) -> None:
        with self._lock:
            watchers = list(self._watchers)
        for watcher in watchers:
            try:
                watcher(operation, entry)
            except Exception:
                log.exception("a watcher of the history broke")


HISTORY = History()  # the one of this process
