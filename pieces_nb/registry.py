"""The downloads that one client follows: each model's running one, once. Begins them, lets them go when they end.

Its queues have no thread of their own: whoever ends a download begins the next.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import NamedTuple

from pieces_nb.download.download import Context, Download, Lifecycle
from pieces_nb.download.values import GRACES_TO_BEGIN, Phase
from pieces_nb.errors import PiecesError, PiecesUnreachable
from pieces_nb.history import Entry, History, Operation
from pieces_nb.locks import Lock
from pieces_nb.model.models import Model
from pieces_nb.wire.connection import is_closed


class _Queue(NamedTuple):
    """Downloads of which at most so many run at a time. What ran before it was made counts too."""

    downloads: tuple[Download, ...]
    at_most: int

    @property
    def waiting(self) -> Iterator[Download]:
        return (download for download in self.downloads if download.waits)

    @property
    def has_room(self) -> bool:
        return sum(download.lifecycle is Lifecycle.RUNNING for download in self.downloads) < self.at_most


class Registry:
    """Hands out only downloads that run or wait for their turn: not one that has ended or that nobody follows."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._lock = Lock()  # guards all below; held while one is begun, so that two calls begin one
        self._followed: dict[str, Download] = {}
        self._queues: list[_Queue] = []
        self._goes_on = False  # a thread looks for the next of the queues: no other need
        self._closed = False

    def running(self, model_id: str) -> Download | None:
        with self._lock:
            return self._running(model_id)

    def _running(self, model_id: str) -> Download | None:
        found = self._followed.get(model_id)
        return found if found is not None and not found.done and not found.closed else None

    def all_running(self) -> list[Download]:
        with self._lock:
            return [one for model_id in list(self._followed) if (one := self._running(model_id)) is not None]

    def follow(self, model: Model, context: Context, verb: str, *, joined: bool) -> Download:
        """Return the running download of a model, a new one if there is none; a joined one sends no POST."""
        if (running := self.running(model.id)) is not None:
            return running
        operation = self._history.begin(verb, model.title, model_id=model.id)
        try:
            with self._lock:
                self._check_open()
                running = self._running(model.id)  # another thread may have been faster
                download = running or self._begun(model, context, joined=joined)
        except PiecesUnreachable:
            self._history.forget(operation)
            raise
        except RuntimeError as exc:  # the process has no thread left to give
            words = f"{model.shown}: the download was not begun: {exc}."
            self._history.end(operation, operation.entry(PiecesError.__name__, words))
            raise PiecesError(words) from exc
        if running is not None:
            self._history.forget(operation)
            return running
        download.at_end(lambda download: self._let_go(download, operation))
        return download

    def _begun(self, model: Model, context: Context, *, joined: bool) -> Download:
        download = Download(model, context, joined=joined)
        download.start()
        if not download.done:
            self._followed[model.id] = download
        return download

    def _let_go(self, download: Download, operation: Operation) -> None:
        """Record a download that has ended, and let it go; or one that was closed."""
        if not download.done and not download.closed:
            return
        self._drop(download)
        if download.done:
            self._history.end(operation, _entry(download, operation))
        else:
            self._history.forget(operation)
        self._go_on()

    def _drop(self, download: Download) -> None:
        with self._lock:
            if self._followed.get(download.model.id) is download:
                del self._followed[download.model.id]

    # Queues ----------------------------------------------------------------------------------------------------------

    def wait_in_line(self, model: Model, context: Context) -> Download:
        """Return the download of a model: the one that is followed, or a new one that waits to be queued."""
        with self._lock:
            self._check_open()
            if (known := self._running(model.id)) is not None:
                return known
            download = self._followed[model.id] = Download(model, context, queued=True)
        download.at_end(self._left_line)
        return download

    def queue(self, downloads: Sequence[Download], *, at_most: int) -> None:
        """Let those that wait begin in this order, so that at most so many of all run at a time."""
        with self._lock:
            self._queues.append(_Queue(tuple(downloads), at_most))
        self._go_on()

    def begin(self, download: Download) -> None:
        """Begin one that waits for its turn, unless it has been canceled meanwhile. Without a thread it has FAILED."""
        operation = self._history.begin("download", download.model.title, model_id=download.model.id)
        try:
            begun = download.begin()
        except RuntimeError:
            begun = True  # and ended: its error says why
        if begun:
            download.at_end(lambda download: self._let_go(download, operation))
        else:
            self._history.forget(operation)

    def _left_line(self, download: Download) -> None:
        """Record one that has ended without having begun, and let it go; others `_let_go` does."""
        if not download.state.queued:
            return
        self._drop(download)
        if download.done:
            operation = self._history.begin("download", download.model.title, model_id=download.model.id)
            self._history.end(operation, _entry(download, operation))
        self._go_on()

    def _go_on(self) -> None:
        """Begin those whose turn has come, outside of the lock. One that ends meanwhile calls this again: in a loop,
        so that a long queue of which none can begin is no deep recursion.
        """
        with self._lock:
            if self._goes_on:
                return
            self._goes_on = True
        try:
            while (download := self._next()) is not None:
                self.begin(download)
        except BaseException:  # an interrupt: the next end goes on
            self._goes_on = False
            raise

    def _next(self) -> Download | None:
        """Return one for which each of its queues has room; None if there is none, and then nobody looks any more."""
        with self._lock:
            self._queues = [queue for queue in self._queues if any(queue.waiting)]
            for queue in self._queues:
                for download in queue.waiting:
                    if all(other.has_room for other in self._queues if download in other.downloads):
                        return download
            self._goes_on = False
            return None

    # The end ---------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop following all, for good; they go on. What waits for its turn does not begin any more."""
        with self._lock:
            self._closed = True
            downloads = list(self._followed.values())
            self._followed.clear()
            self._queues.clear()
        for download in downloads:
            download.close()

    def _check_open(self) -> None:
        """Raise for a call that is under way while all is closed: nobody would stop what it begins."""
        if self._closed:
            raise is_closed()


def _entry(download: Download, operation: Operation) -> Entry:
    """Return the record of a download that has ended."""
    return operation.entry(str(download.status), download.failure)._replace(
        started=download.started,
        seconds=download.duration_s,
        bytes=download.moved_bytes,
        mean_bytes_per_s=download.mean_bytes_per_s,
        reconnects=download.state.reconnects,
    )


def is_doubtful(download: Download, flag: bool | None) -> bool:
    """Whether it may be about to end; `flag` is the `downloading` of a snapshot that does not say that it runs."""
    state = download.state
    return state.phase is Phase.ENDING or state.refusal is not None or (state.alive and flag is False)


def outlives(download: Download, *, every_s: float) -> bool:
    """Whether a download that is in doubt goes on: its flag lags, or it is ending.

    It ends, or something newer than the doubt says that it runs, whichever comes first. Where neither does, no end is
    in sight: the server does not answer, or does not tell.
    """
    news = threading.Event()
    stop = download.subscribe(lambda _one: news.set())
    timing, since = download.state.timing, download.doubt()
    deadline = monotonic() + GRACES_TO_BEGIN * timing.start_grace_s + timing.settle_s + timing.poll_closed_s
    try:
        while download.lifecycle is Lifecycle.RUNNING and monotonic() < deadline:
            if download.state.alive_at > since:
                return True
            news.wait(every_s)
            news.clear()
        return download.lifecycle is Lifecycle.RUNNING
    finally:
        stop()
