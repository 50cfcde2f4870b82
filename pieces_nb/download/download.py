"""`Download`: one download followed by a thread of its own. `Downloads`: several.

The way of a percentage: `_listen` reads a frame from the socket, `download_state.advance` makes a state of it,
`_publish` hands it to the views that subscribed, when the throttle says so. The thread is the only writer of the state;
REST calls and the opening of the socket run in short-lived daemon threads, whose outcomes come back through the inbox,
so that nothing the server does can hold the thread.
"""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from types import ModuleType
from typing import Any, NamedTuple, overload

from pieces_nb.download import state as ds
from pieces_nb.download.throttle import INTERVAL_S, Throttle, UpdateBudget
from pieces_nb.errors import (
    CancelNotConfirmed,
    DownloadCanceled,
    DownloadFailed,
    ModelNotFound,
    ModelStateError,
    PiecesError,
    PiecesServerError,
    PiecesUnreachable,
    StoppedWaiting,
    WaitTimeout,
)
from pieces_nb.model.models import DownloadStatus, Model, ModelDownloadProgress
from pieces_nb.text import format_percentage, printable
from pieces_nb.wire import endpoints
from pieces_nb.wire.http import Transport
from pieces_nb.wire.websocket import ProgressSocket, SocketEnded

log = logging.getLogger(__name__)

_SLICE_S = 0.2  # how long at most the thread sleeps or listens before it looks at its inbox
_BUSY_SLICE_S = 0.02  # the same while an answer is under way
_SHORTEST_S = 0.01  # never spin, not even while the shared budget of updates is spent
_WAIT_SLICE_S = 0.2  # a wait in slices is one that ■ can end
_HEARTBEAT_S = 1.0  # a bar is shown anew this often though no frame came: its speed falls

View = Callable[["Download"], None]
Relocate = Callable[[str], "tuple[Transport, Model] | None"]


@dataclass(frozen=True)
class Context:
    """What a download needs of its client."""

    transport: Transport
    timing: ds.Timing = field(default_factory=ds.Timing)
    budget: UpdateBudget = field(default_factory=UpdateBudget)
    relocate: Relocate | None = None  # looks for the server elsewhere; None where the address was given
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time


class _Moved(NamedTuple):
    """The server was found again at another address."""

    transport: Transport


class _SocketReady(NamedTuple):
    line: ProgressSocket


class _Answered(NamedTuple):
    """A call came back: `kind` is free for the next."""

    kind: str


_Mail = ds.Event | _Moved | _SocketReady | _Answered | None


class Download:
    """A download that runs, or has ended, on the server; this object only follows it.

    Made by `ModelClient.download`. `wait()` or `await` it, `cancel()` it, or just look at it: `status`, `percentage`,
    `done`, `error`. Every method may be called from any thread.
    """

    def __init__(self, model: Model, context: Context, *, joined: bool = False) -> None:
        self._context = context
        self._transport = context.transport
        self._clock = context.clock
        self._joined = joined
        now = self._clock()
        wall_at_zero = context.wall_clock() - now
        if model.downloaded:
            self._state = ds.already_there(model, now=now, wall_at_zero=wall_at_zero)
        else:
            self._state = ds.start(model, now=now, timing=context.timing, joined=joined, wall_at_zero=wall_at_zero)
        self._inbox: queue.SimpleQueue[_Mail] = queue.SimpleQueue()
        self._line: ProgressSocket | None = None  # the open socket; the thread's own
        self._opening: ProgressSocket | None = None  # a socket that shakes hands; close() shuts it
        self._pending: set[str] = set()  # the kinds of calls under way; the thread's own
        self._shown_at = now
        self._throttle = Throttle(context.budget)
        self._views_lock = threading.Lock()  # guards _views and _last_shown
        self._views: list[View] = []
        self._last_shown = False
        self._closing = threading.Event()
        self._started = threading.Event()  # the POST is answered, or there was none to send
        self._finished = threading.Event()
        self._future: Future[None] = Future()
        self._future.set_running_or_notify_cancel()  # so that a canceled awaiter cannot cancel it
        self._thread = threading.Thread(target=self._run, name=f"pieces-nb-download-{model.id[:36]}", daemon=True)
        if self._state.done:
            self._started.set()
            self._last_shown = True
            self._finish()

    # What it shows ---------------------------------------------------------------------------------------------------

    @property
    def state(self) -> ds.DownloadState:
        """Everything known, as one value."""
        return self._state

    @property
    def model(self) -> Model:
        """The model as the newest snapshot described it."""
        return self._state.model

    @property
    def status(self) -> DownloadStatus:
        """The wire's word: INITIALIZED, IN-PROGRESS, COMPLETED, FAILED, CANCELED or RESET."""
        return self._state.status

    @property
    def percentage(self) -> float | None:
        """0–100; None while no percentage is known."""
        return self._state.percentage

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._state.done

    @property
    def joined(self) -> bool:
        """Whether it ran already when this program began to follow it."""
        return self._joined

    @property
    def error(self) -> PiecesError | None:
        """What `wait()` raises or would raise: `DownloadFailed`, `DownloadCanceled`; None while it runs or is well."""
        state = self._state
        if not state.done or state.status is DownloadStatus.COMPLETED:
            return None
        title = printable(state.model.title, limit=80)
        if state.status is DownloadStatus.CANCELED:
            return DownloadCanceled(f"{title}: the download was canceled.")
        return DownloadFailed(f"{title}: the download FAILED: {state.reason or state.heard or 'without a word'}")

    @property
    def stalled_since(self) -> datetime | None:
        """Since when (UTC) nothing has moved, once that is 30 s ago; None while it moves."""
        state = self._state
        return ds.wall_time(state, state.stalled_at) if state.stalled_at is not None else None

    @property
    def started(self) -> datetime:
        """When (UTC) this program began to follow it."""
        return ds.wall_time(self._state, self._state.started_at)

    @property
    def duration_s(self) -> float:
        """Seconds from then to the end, or to now."""
        state = self._state
        return (state.ended_at if state.ended_at is not None else self._clock()) - state.started_at

    @property
    def speed_bytes_per_s(self) -> float | None:
        """Over the last ten seconds; None while unknown or stalled."""
        return ds.speed_bytes_per_s(self._state, now=self._clock())

    @property
    def time_left_s(self) -> float | None:
        """At that speed; None while unknown or stalled."""
        return ds.time_left_s(self._state, now=self._clock())

    @property
    def moved_bytes(self) -> int | None:
        """Bytes transferred while this program followed it, as far as size and percentages tell; None if unknown."""
        size, first = self._state.size_bytes, self._state.first_percentage
        if self._state.done and self._state.duration_s == 0:
            return 0
        if size is None or self._state.percentage is None:
            return None
        return round(size * max(0.0, self._state.percentage - (first or 0.0)) / 100)

    @property
    def mean_bytes_per_s(self) -> float | None:
        """Those over the time it took."""
        moved, duration_s = self.moved_bytes, self.duration_s
        return moved / duration_s if moved and duration_s > 0 else None

    @property
    def closed(self) -> bool:
        """Whether nobody follows it any more although it has not ended."""
        return self._closing.is_set() and not self.done

    def __repr__(self) -> str:
        return str(_display().record(self))

    def _repr_mimebundle_(self, **_wanted: object) -> Any:
        return _display().mimebundle([self])

    def _ipython_display_(self) -> None:
        _display().display_live([self])

    # What one does with it -------------------------------------------------------------------------------------------

    def start(self) -> Download:
        """Begin to follow it; called once, by the client."""
        if not self._state.done:
            self._context.budget.join()
            self._thread.start()
        return self

    def subscribe(self, view: View) -> Callable[[], None]:
        """Have `view(download)` called from the download's thread at changes, and at its end; returns how to stop that.

        The updates are throttled, the end is not: it always comes, last. If it has come already, `view` is called now.
        """
        with self._views_lock:
            late = self._last_shown
            if not late:
                self._views.append(view)
        if late:
            view(self)

        def unsubscribe() -> None:
            with self._views_lock, suppress(ValueError):
                self._views.remove(view)

        return unsubscribe

    def wait(self, timeout: float | None = None) -> Model:
        """Block until the end, at most `timeout` seconds, and return the final model.

        Raises `DownloadFailed`, `DownloadCanceled`; `WaitTimeout` and `StoppedWaiting` (■, Ctrl-C) leave it running.
        """
        try:
            deadline = None if timeout is None else self._clock() + timeout
            while not self._finished.wait(_WAIT_SLICE_S if deadline is None else self._slice(deadline)):
                if deadline is not None and self._clock() >= deadline:
                    raise WaitTimeout(f"{self._so_far()} after {timeout:g} s of waiting; the download goes on.")
        except KeyboardInterrupt:
            raise StoppedWaiting(
                f"{self._so_far()}; the download goes on. `%pieces_model cancel {self.model.argument}` stops it."
            ) from None
        return self._outcome()

    def _slice(self, deadline: float) -> float:
        return min(_WAIT_SLICE_S, max(0.0, deadline - self._clock()))

    def __await__(self) -> Generator[Any, None, Any]:
        return self._wait_in_loop().__await__()

    async def _wait_in_loop(self) -> Model:
        future = asyncio.wrap_future(self._future)
        # In slices: an event loop that sleeps to the end hears no interrupt before it.
        while not future.done():
            await asyncio.wait({future}, timeout=_WAIT_SLICE_S)
        return self._outcome()

    def _outcome(self) -> Model:
        if not self.done:
            title = printable(self.model.title, limit=80)
            raise PiecesError(f"{title}: nobody follows this download any more; `%pieces_model progress` finds it.")
        if (error := self.error) is not None:
            raise error
        return self.model

    def _so_far(self) -> str:
        percentage = self.percentage
        at = f" at {format_percentage(percentage)}" if percentage is not None else ""
        return f"{printable(self.model.title, limit=80)}: {self.status}{at}"

    def cancel(self) -> None:
        """Ask the server to cancel, and return when a snapshot confirms it.

        Raises `ModelStateError` if it has ended already, `CancelNotConfirmed` if it ends otherwise or not within 10 s.
        Source: `POST /model/{model}/download/cancel`.
        """
        title = printable(self.model.title, limit=80)
        if self.done:
            if self.status is DownloadStatus.CANCELED:
                return
            raise ModelStateError(f"{title} is not downloading: it ended in {self.status}.")
        within_s = self._context.timing.cancel_within_s
        deadline = self._clock() + within_s
        self._wait_for_start(min(within_s, self._context.timing.start_answer_s))
        self._inbox.put(ds.CancelAsked())
        refusals: list[PiecesServerError] = []
        # In a thread of its own: the snapshot may confirm it while the call hangs.
        threading.Thread(
            target=self._post_cancel, args=(refusals,), name=f"pieces-nb-cancel-{self.model.id[:36]}", daemon=True
        ).start()
        while not self._finished.wait(self._slice(deadline)):
            if refusals:
                self._inbox.put(ds.CancelRefused())
                if not self._finished.wait(self._context.timing.poll_soon_s):
                    words = refusals[0].text or str(refusals[0])
                    raise CancelNotConfirmed(f"{title}: the server refused to cancel: {words}") from refusals[0]
            elif self._clock() >= deadline:
                raise CancelNotConfirmed(
                    f"{title}: asked to cancel, but {within_s:g} s later the server still says {self.status}. "
                    "The download may go on; `%pieces_model progress` shows it."
                )
        if self.status is not DownloadStatus.CANCELED:
            raise CancelNotConfirmed(f"{title}: it ended in {self.status} before the cancel took effect.")

    def _post_cancel(self, refusals: list[PiecesServerError]) -> None:
        try:
            endpoints.cancel_download(self._transport, self.model.id)
        except PiecesServerError as exc:
            refusals.append(exc)
        except PiecesError as exc:
            log.info("cancel of %s: %s; the snapshot decides", self.model.title, exc)

    def _wait_for_start(self, most_s: float) -> None:
        """A cancel must not overtake the start. Yet the POST may be answered only when the transfer has ended."""
        deadline = self._clock() + most_s
        while not (self._state.alive or self._started.wait(self._slice(deadline)) or self._clock() >= deadline):
            pass

    def close(self) -> None:
        """Stop following it. The download itself goes on; its thread and sockets are gone when this returns."""
        self._closing.set()
        self._inbox.put(None)
        for line in (self._line, self._opening):
            if line is not None:
                line.close()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout=1.0)

    # The thread ------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._begin()
            while not (self._state.done or self._closing.is_set()):
                self._step()
        except Exception as exc:  # the top of the thread: wait() raises what is stored here
            log.exception("the thread of a download broke")
            self._advance(ds.ModelGone(f"pieces_nb itself failed: {exc!r}"))
        finally:
            self._closing_down()

    def _begin(self) -> None:
        if self._joined:
            self._started.set()
        else:
            self._call("start", self._post_start)

    def _step(self) -> None:
        now = self._clock()
        self._advance(ds.TimePassed())
        if now >= self._state.ask_at:
            self._call("snapshot", self._ask)
        if self._wants_socket(now):
            self._opening = endpoints.open_progress(self._transport, self.model.id)
            self._call("socket", self._open_socket)
        self._listen()
        self._read_inbox(block_s=self._rest_s() if self._line is not None else self._pause_s())
        self._publish_if_due()

    def _wants_socket(self, now: float) -> bool:
        at = self._state.connect_at
        if self._line is not None or "socket" in self._pending or at is None or now < at:
            return False
        return self._started.is_set() or now - self._state.started_at >= self._context.timing.start_answer_s

    def _pause_s(self) -> float:
        """How long to listen or sleep: until the next update is due, shortly while an answer is under way."""
        if self._pending:
            return _BUSY_SLICE_S
        now = self._clock()
        pause_s = min(_SLICE_S, self._state.ask_at - now, self._throttle.wait_s(now, otherwise=_SLICE_S))
        return max(_SHORTEST_S, pause_s)

    def _rest_s(self) -> float:
        """How long to leave frames unread; no time while an answer is under way or a question due."""
        now = self._clock()
        return 0.0 if self._pending else max(0.0, min(self._throttle.rest_s(now), self._state.ask_at - now))

    def _listen(self) -> None:
        """Read what the socket has, at most until the next update is due.

        A frame that only repeats the status is a step for the state machine when the burst pauses or an update is due,
        not before: of its percentages only the highest counts.
        """
        line = self._line
        if line is None:
            return
        until = self._clock() + INTERVAL_S
        latest: ModelDownloadProgress | None = None
        try:
            raw = line.read(self._pause_s())
            while raw is not None:
                progress = _decoded(raw)
                if latest is not None and progress.status is not latest.status:
                    self._advance(ds.FrameHeard(latest))
                    latest = None
                latest = progress if latest is None else _merged(latest, progress)
                if not line.has_ahead or self._clock() >= until:
                    break
                raw = line.read(0.0)
        except SocketEnded as exc:
            self._heard_last(latest)
            self._drop_line()
            self._advance(ds.SocketLost(str(exc), jitter=random.random()))
            return
        self._heard_last(latest)

    def _heard_last(self, latest: ModelDownloadProgress | None) -> None:
        if latest is not None:
            self._advance(ds.FrameHeard(latest))

    def _read_inbox(self, *, block_s: float) -> None:
        try:
            mail = self._inbox.get(timeout=block_s) if block_s > 0 else self._inbox.get_nowait()
            while True:
                self._take(mail)
                mail = self._inbox.get_nowait()
        except queue.Empty:
            pass

    def _take(self, mail: _Mail) -> None:
        match mail:
            case None:
                pass  # only to wake up
            case _Answered(kind):
                self._pending.discard(kind)
            case _Moved(transport):
                log.info("%s goes on at %s", self.model.title, transport.url)
                self._transport = transport
            case _SocketReady(line):
                self._line, self._opening = line, None
                self._advance(ds.SocketOpened())
            case _:
                self._advance(mail)

    def _advance(self, event: ds.Event) -> None:
        before = self._state
        self._state = ds.advance(before, event, now=self._clock())
        if self._state is not before:
            self._throttle.changed()
        if before.socket_open and not self._state.socket_open:
            self._drop_line()  # it was silent too long

    def _publish_if_due(self) -> None:
        now = self._clock()
        if now - self._shown_at >= _HEARTBEAT_S and not self._state.stalled:
            self._throttle.changed()
        if not self._state.done and self._throttle.due(now):
            self._publish()

    def _publish(self) -> None:
        self._shown_at = self._clock()
        with self._views_lock:
            views = list(self._views)
        for view in views:
            try:
                view(self)
            except Exception:
                log.exception("a view of a download broke")

    def _closing_down(self) -> None:
        self._drop_line()
        opening = self._opening
        if opening is not None:
            opening.close()
        self._context.budget.leave()
        self._started.set()
        # The end is shown before anybody who waits goes on; who subscribes from here on gets it from subscribe().
        with self._views_lock:
            self._last_shown = True
        self._publish()
        with self._views_lock:
            self._views.clear()
        self._finish()

    def _finish(self) -> None:
        self._finished.set()
        self._future.set_result(None)

    def _drop_line(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    # Calls, each in a daemon thread of its own -----------------------------------------------------------------------

    def _call(self, kind: str, function: Callable[[], None]) -> None:
        """Run `function` apart, unless one of its kind is under way; what it puts into the inbox is its outcome."""
        if kind in self._pending:
            return
        self._pending.add(kind)

        def run() -> None:
            try:
                function()
            except Exception as exc:  # the top of the thread: what broke is an answer that did not come
                log.exception("a call of a download broke")
                words = f"pieces_nb itself failed: {exc!r}"
                self._inbox.put(ds.SocketLost(words) if kind == "socket" else ds.NoAnswer(words))
            finally:
                self._inbox.put(_Answered(kind))

        threading.Thread(target=run, name=f"pieces-nb-{kind}-{self.model.id[:36]}", daemon=True).start()

    def _post_start(self) -> None:
        try:
            endpoints.download(self._transport, self.model.id)
        except PiecesServerError as exc:
            self._inbox.put(ds.StartRefused(exc.text or str(exc)))
        except PiecesError as exc:
            log.info("start of %s: %s; the snapshot decides", self.model.title, exc)
        else:
            self._inbox.put(ds.StartAnswered())
        finally:
            self._started.set()

    def _ask(self) -> None:
        asked_at = self._clock()
        try:
            model = endpoints.snapshot(self._transport, self.model.id)
        except ModelNotFound as exc:
            self._inbox.put(ds.ModelGone(str(exc)))
        except PiecesUnreachable as exc:
            self._look_elsewhere(exc, asked_at)
        except PiecesError as exc:
            self._inbox.put(ds.NoAnswer(str(exc)))
        else:
            self._inbox.put(ds.SnapshotSeen(model, asked_at))

    def _look_elsewhere(self, exc: PiecesUnreachable, asked_at: float) -> None:
        """The address was found, not given: Pieces OS may have been started again on another port."""
        found = self._context.relocate(self.model.id) if self._context.relocate is not None else None
        if found is None:
            self._inbox.put(ds.NoAnswer(str(exc)))
            return
        transport, model = found
        self._inbox.put(_Moved(transport))
        self._inbox.put(ds.SnapshotSeen(model, asked_at))

    def _open_socket(self) -> None:
        line = self._opening
        if line is None:
            return
        try:
            line.open()
        except SocketEnded as exc:
            self._inbox.put(ds.SocketLost(str(exc), jitter=random.random()))
        else:
            # Whoever is late here closes: the thread may have gone while the hands were shaken.
            if self._closing.is_set() or self._finished.is_set():
                line.close()
            self._inbox.put(_SocketReady(line))


def _display() -> ModuleType:
    """Return the module that knows how a download looks: the one thing above that this module calls."""
    from pieces_nb.views import notebook as display

    return display


def _decoded(raw: bytes) -> ModelDownloadProgress:
    try:
        return ModelDownloadProgress.from_wire(json.loads(raw))
    except (ValueError, RecursionError):
        log.debug("a frame that is no JSON: %r", raw[:80])
        return ModelDownloadProgress(DownloadStatus.UNKNOWN)


def _merged(earlier: ModelDownloadProgress, later: ModelDownloadProgress) -> ModelDownloadProgress:
    """Return one frame for two of the same status: the higher percentage counts."""
    if later.percentage is None or (earlier.percentage is not None and earlier.percentage > later.percentage):
        return earlier
    return later


class Downloads(Sequence[Download]):
    """Several downloads: a sequence of `Download`, with one `wait` and one `cancel` for all."""

    def __init__(self, downloads: Sequence[Download]) -> None:
        self._downloads = tuple(downloads)

    @overload
    def __getitem__(self, index: int) -> Download: ...
    @overload
    def __getitem__(self, index: slice) -> Downloads: ...
    def __getitem__(self, index: int | slice) -> Download | Downloads:
        found = self._downloads[index]
        return found if isinstance(found, Download) else Downloads(found)

    def __len__(self) -> int:
        return len(self._downloads)

    @property
    def done(self) -> bool:
        """Whether all have ended."""
        return all(download.done for download in self._downloads)

    @property
    def failed(self) -> list[Download]:
        """Those that ended in FAILED or CANCELED."""
        return [download for download in self._downloads if download.error is not None]

    def wait(self, timeout: float | None = None) -> list[Model]:
        """Block until all have ended, at most `timeout` seconds in all; a failed one does not stop the others.

        Raises `DownloadFailed` that names those which did not complete (`DownloadCanceled` if they were all canceled).
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for download in self._downloads:
            try:
                download.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
            except (DownloadFailed, DownloadCanceled):
                continue
        return self._outcome()

    def __await__(self) -> Generator[Any, None, Any]:
        return self._wait_in_loop().__await__()

    async def _wait_in_loop(self) -> list[Model]:
        for download in self._downloads:
            with suppress(DownloadFailed, DownloadCanceled):
                await download
        return self._outcome()

    def _outcome(self) -> list[Model]:
        errors = [download.error for download in self.failed]
        if not errors:
            return [download.model for download in self._downloads]
        text = f"{len(errors)} of {len(self)} downloads did not complete. " + " ".join(str(error) for error in errors)
        if all(isinstance(error, DownloadCanceled) for error in errors):
            raise DownloadCanceled(text)
        raise DownloadFailed(text)

    def cancel(self) -> None:
        """Cancel those that run; the first that cannot be confirmed is raised after all were tried."""
        first: PiecesError | None = None
        for download in self._downloads:
            if not download.done:
                try:
                    download.cancel()
                except PiecesError as exc:
                    first = first or exc
        if first is not None:
            raise first

    def close(self) -> None:
        """Stop following them; they go on."""
        for download in self._downloads:
            download.close()

    def __repr__(self) -> str:
        return "\n".join(repr(download) for download in self._downloads)

    def _repr_mimebundle_(self, **_wanted: object) -> Any:
        return _display().mimebundle(self)

    def _ipython_display_(self) -> None:
        _display().display_live(self)
