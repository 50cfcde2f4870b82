"""The record of what was done here: one `Entry` an action, oldest first. Keeps, counts nothing, asks nobody."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import NamedTuple

from pieces_nb.text import printable

_MOST = 10_000


class Entry(NamedTuple):
    """One action. `seconds` until its outcome; `bytes` transferred, None where nothing is."""

    started: datetime  # UTC
    verb: str
    model: str
    outcome: str
    seconds: float
    bytes: int | None = None
    mean_bytes_per_s: float | None = None
    reconnects: int | None = None
    error: str = ""


class History:
    """What one client did, at most the last 10,000 actions. Thread-safe."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_MOST)
        self._lock = threading.Lock()  # guards _entries

    def add(self, entry: Entry) -> None:
        with self._lock:
            self._entries.append(entry)

    def entries(self) -> list[Entry]:
        with self._lock:
            return list(self._entries)

    @contextmanager
    def recording(self, verb: str, model: str) -> Iterator[None]:
        """Record what the block does: `done`, or the name and text of what it raises."""
        started, began = datetime.now(UTC), monotonic()
        outcome, error = "done", ""
        try:
            yield
        except BaseException as exc:
            outcome, error = type(exc).__name__, printable(str(exc), limit=300)
            raise
        finally:
            self.add(Entry(started, verb, model, outcome, monotonic() - began, error=error))
