"""Whether somebody pressed ■ or Ctrl-C just now.

An event loop that is interrupted only cancels its task, as anybody may, and the task cannot tell the difference. While
somebody awaits, the signal's handler is therefore wrapped: the wrapper notes the time and calls the handler it found.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from pieces_nb.locks import Lock

_FRESH_S = 2.0  # a task that is canceled so soon after the signal was canceled because of it


class _Interrupts:
    def __init__(self) -> None:
        self._lock = Lock()  # guards _waiting and the handler that is in place
        self._waiting = 0
        self._found: Any = None
        self._at = float("-inf")
        self._is_telling = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._at = time.monotonic()
        # One that somebody put in our place may call us in turn.
        if callable(self._found) and not self._is_telling:
            self._is_telling = True
            try:
                self._found(number, frame)
            finally:
                self._is_telling = False

    @contextmanager
    def watched(self) -> Iterator[Callable[[], bool]]:
        """Yield what tells whether an interrupt has just come; nothing is told outside the main thread."""
        since = time.monotonic()
        is_main = threading.current_thread() is threading.main_thread()
        if is_main:
            self._enter()
        try:
            yield lambda: is_main and self._at >= since and time.monotonic() - self._at < _FRESH_S
        finally:
            if is_main:
                self._leave()

    def _enter(self) -> None:
        with self._lock:
            self._waiting += 1
            current = signal.getsignal(signal.SIGINT)
            # One that is None was not set by Python and cannot be called, nor put back.
            if current is not None and current != self._note:
                self._found = current
                signal.signal(signal.SIGINT, self._note)

    def _leave(self) -> None:
        with self._lock:
            self._waiting -= 1
            # Somebody else may have put another in its place meanwhile: then that stays.
            if self._waiting == 0 and signal.getsignal(signal.SIGINT) == self._note:
                signal.signal(signal.SIGINT, self._found)


INTERRUPTS = _Interrupts()
