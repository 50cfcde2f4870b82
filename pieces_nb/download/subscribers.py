"""Who looks at a download. Each view has a thread of its own: one that blocks, raises or exits delays only itself.

What a view has not seen is not kept: it is called with what is newest, and with the end last.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from pieces_nb.locks import Lock

log = logging.getLogger(__name__)


class _Subscriber:
    """One view and its thread, which is started with the first news and goes with the last."""

    def __init__(self, call: Callable[[], None], name: str) -> None:
        self._call = call
        self._name = name
        self._changed = threading.Condition()  # guards the five below
        self._thread: threading.Thread | None = None
        self._news = False
        self._busy = False
        self._held = False  # the end is near: no more calls but the last
        self._last = False

    def tell(self, *, last: bool = False) -> None:
        with self._changed:
            self._news = True
            self._last = self._last or last
            if self._thread is None:
                self._start()
            self._changed.notify_all()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            log.exception("no thread for a view of a download")
            self._news = False

    def _run(self) -> None:
        last = False
        while not last:
            with self._changed:
                self._changed.wait_for(lambda: self._last or (self._news and not self._held))
                last, news = self._last, self._news
                self._news, self._busy = False, True
            if news:
                self._show()
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _show(self) -> None:
        try:
            self._call()
        except BaseException:
            log.exception("a view of a download broke")

    def hold(self) -> None:
        with self._changed:
            self._held = True

    def drop(self) -> None:
        """Call it no more; a call under way ends by itself."""
        with self._changed:
            self._news, self._last = False, True
            self._changed.notify_all()

    def wait_until_told(self, deadline: float, *, calls_only: bool) -> None:
        """Wait for a call under way, and unless `calls_only` for the one to come, but not beyond the deadline."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._busy and (calls_only or not self._news),
                max(0.0, deadline - time.monotonic()),
            )


class Subscribers:
    """The views of one download. Thread-safe."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = Lock()  # guards the two below
        self._all: list[_Subscriber] = []
        self._finished = False

    def add(self, call: Callable[[], None]) -> Callable[[], None] | None:
        """Have `call` called at news; returns how to stop that, None if there will be none any more."""
        subscriber = _Subscriber(call, self._name)
        with self._lock:
            if self._finished:
                return None
            self._all.append(subscriber)

        def remove() -> None:
            with self._lock, suppress(ValueError):
                self._all.remove(subscriber)
            subscriber.drop()

        return remove

    def tell(self) -> None:
        """Say that there is news; returns at once."""
        with self._lock:
            subscribers = list(self._all)
        for subscriber in subscribers:
            subscriber.tell()

    def settle(self, within_s: float = 5.0) -> None:
        """Wait until all have heard the news, at most `within_s`."""
        with self._lock:
            subscribers = list(self._all)
        _wait_for(subscribers, within_s, calls_only=False)

    def hold(self, within_s: float) -> None:
        """Begin no more calls but the last, and wait for those under way, a view that blocks at most `within_s`."""
        with self._lock:
            subscribers = list(self._all)
        for subscriber in subscribers:
            subscriber.hold()
        _wait_for(subscribers, within_s, calls_only=True)

    def finish(self, within_s: float) -> None:
        """Tell all the last, and wait until they have heard it, at most `within_s`; nobody is told anything after."""
        with self._lock:
            self._finished = True
            subscribers, self._all = self._all, []
        for subscriber in subscribers:
            subscriber.tell(last=True)
        _wait_for(subscribers, within_s, calls_only=False)


def _wait_for(subscribers: list[_Subscriber], within_s: float, *, calls_only: bool) -> None:
    deadline = time.monotonic() + within_s
    for subscriber in subscribers:
        subscriber.wait_until_told(deadline, calls_only=calls_only)
