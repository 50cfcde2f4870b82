"""The panel's calls to the server, each in a daemon thread of its own, one at a time for each key."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from pieces_nb.locks import Lock
from pieces_nb.views.panel.events import Event

_CLOSES_WITHIN_S = 0.5
log = logging.getLogger(__name__)


class Calls:
    """Runs functions apart and delivers what they return. Nothing is started or delivered any more after `close()`;
    what runs ends at its own timeout.
    """

    def __init__(self, deliver: Callable[[Event], None]) -> None:
        self._deliver = deliver
        self._lock = Lock()  # guards the two below
        self._running: dict[str, threading.Thread] = {}
        self._closed = False

    def start(self, key: str, function: Callable[[], Event | None]) -> bool:
        """Run `function`, unless one with that key runs. It must return its errors too; None is nothing to deliver."""
        with self._lock:
            if self._closed or key in self._running:
                return False
            name = f"pieces-nb-panel-{key[:48]}"
            thread = threading.Thread(target=self._run, args=(key, function), name=name, daemon=True)
            self._running[key] = thread
            thread.start()
        return True

    def _run(self, key: str, function: Callable[[], Event | None]) -> None:
        outcome = None
        try:
            outcome = function()
        except Exception:  # the top of a thread
            log.exception("a call of the panel broke")
        finally:
            # Before the delivery: whoever takes it may start the next one with that key.
            with self._lock:
                del self._running[key]
                closed = self._closed
        if outcome is not None and not closed:
            self._deliver(outcome)

    def close(self) -> None:
        """Start nothing any more, and give what runs a moment to end."""
        with self._lock:
            self._closed = True
            threads = list(self._running.values())
        deadline = time.monotonic() + _CLOSES_WITHIN_S
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
