"""The downloads that one client follows: each model's running one, once. Begins them, lets them go when they end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from pieces_nb.download.download import Context, Download
from pieces_nb.errors import PiecesError
from pieces_nb.history import History, Operation
from pieces_nb.model.models import Model


class Registry:
    """Hands out only downloads that run: one that has ended, or that nobody follows any more, is not in it."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._lock = threading.Lock()  # guards _followed; held while one is begun, so that two calls begin one
        self._followed: dict[str, Download] = {}

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
                running = self._running(model.id)  # another thread may have been faster
                download = running or self._begun(model, context, joined=joined)
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
        with self._lock:
            if self._followed.get(download.model.id) is download:
                del self._followed[download.model.id]
        if not download.done:
            self._history.forget(operation)
            return
        entry = operation.entry(str(download.status), str(download.error or ""))
        self._history.end(
            operation,
            entry._replace(
                started=download.started,
                seconds=download.duration_s,
                bytes=download.moved_bytes,
                mean_bytes_per_s=download.mean_bytes_per_s,
                reconnects=download.state.reconnects,
            ),
        )

    def close(self) -> None:
        """Stop following all; they go on."""
        with self._lock:
            downloads = list(self._followed.values())
            self._followed.clear()
        for download in downloads:
            download.close()


def outlives(download: Download, look: Callable[[], Model], *, within_s: float, every_s: float) -> bool:
    """Whether a download goes on although a snapshot has called its model idle: its flag lags, or it is ending.

    It has ended, it moves, or a snapshot says again that it runs: whichever comes first tells.
    """
    told = threading.Event()
    before = download.percentage
    stop = download.subscribe(lambda one: told.set() if one.done or one.percentage != before else None)
    deadline = monotonic() + within_s
    try:
        while not told.wait(every_s) and monotonic() < deadline:
            if look().downloading:
                break
        return not download.done
    finally:
        stop()
