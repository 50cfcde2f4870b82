"""The thread that follows one download: it asks, listens, and keeps the state. Shows nothing, decides nothing.

What it hears goes through `state.advance`, which decides. The thread is the only writer of the state; REST calls and
the opening of the socket run in short-lived daemon threads, whose outcomes come back through the inbox, so that nothing
the server does can hold the thread.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from pieces_nb.download import state as ds
from pieces_nb.download.calls import Calls, ModelCalls
from pieces_nb.download.throttle import INTERVAL_S, Throttle, UpdateBudget
from pieces_nb.errors import ModelNotFound, ModelStateError, PiecesError, PiecesServerError, PiecesUnreachable
from pieces_nb.locks import Lock
from pieces_nb.model.models import DownloadStatus, Model, ModelDownloadProgress
from pieces_nb.wire.http import Transport, decoded
from pieces_nb.wire.websocket import ProgressSocket, SocketEnded

log = logging.getLogger(__name__)

_SLICE_S = 0.2  # how long at most the thread sleeps or listens before it looks at its inbox
_BUSY_SLICE_S = 0.02  # the same while the socket is open and an answer is expected
_FREEZE_S = 0.5  # a step that takes so much longer than it may: this process must have stood still
_SHORTEST_S = 0.01  # never spin, not even while the shared budget of updates is spent
_HEARTBEAT_S = 1.0  # a bar is shown anew this often though no frame came: its speed falls
_MOST_QUESTIONS = 4  # snapshots under way at once: one that hangs does not hold up the next

Relocate = Callable[[str], "tuple[Transport, Model] | None"]


@dataclass(frozen=True)
class Context:
    """What a download needs of its client."""

    transport: Transport
    timing: ds.Timing = field(default_factory=ds.Timing)
    budget: UpdateBudget = field(default_factory=UpdateBudget)
    relocate: Relocate | None = None  # looks for the server elsewhere; None where the address was given
    calls: Calls = field(default_factory=ModelCalls)
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time


@dataclass(frozen=True)
class Listener:
    """Who is told: of news, that the end is near, and of the end. Called in the follower's thread."""

    news: Callable[[], None]
    ending: Callable[[], None]
    ended: Callable[[], None]


class _Moved(NamedTuple):
    """The server was found again at another address."""

    transport: Transport


class _SocketReady(NamedTuple):
    socket: ProgressSocket


class _Returned(NamedTuple):
    """A call came back."""

    kind: str
    began: float


_Mail = ds.Event | _Moved | _SocketReady | _Returned | None


class Follower:
    """Follows one download until it has ended or `stop` is called. `state` may be read from any thread."""

    def __init__(
        self, model: Model, context: Context, listener: Listener, *, joined: bool, queued: bool = False
    ) -> None:
        self._context = context
        self._listener = listener
        self.transport = context.transport  # to the address where the server is now
        self._calls = context.calls
        self._id = model.id
        self._title = model.title
        self._frozen_s = 0.0
        now = context.clock()
        wall_at_zero = context.wall_clock() - now
        if model.downloaded:
            self.state = ds.already_there(model, now=now, wall_at_zero=wall_at_zero)
        elif queued:
            self.state = ds.queued(model, now=now, timing=context.timing, wall_at_zero=wall_at_zero)
        else:
            self.state = ds.start(model, now=now, timing=context.timing, joined=joined, wall_at_zero=wall_at_zero)
        self.cancel_error: PiecesError | None = None  # the server's refusal of the last cancel
        self._newest = self.state  # the thread's own; `state` follows it, at the end when the views are ready for it
        self._posts = not joined
        self._looks_first = queued
        self._turn = Lock()  # held while a queued one is begun, canceled or closed: one of these happens
        self._inbox: queue.SimpleQueue[_Mail] = queue.SimpleQueue()
        self._socket: ProgressSocket | None = None  # the open one; the thread's own
        self._opening: ProgressSocket | None = None  # one that shakes hands; stop() shuts it
        self._under_way: dict[str, list[float]] = {}  # when the calls of a kind began; the thread's own
        self._stepped_at = now
        self._planned_s = _SLICE_S  # how long the step under way may take
        self._shown_at = now
        self._throttle = Throttle(context.budget)
        self._stopping = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self._name("download"), daemon=True)

    def _name(self, kind: str) -> str:
        return f"pieces-nb-{kind}-{self._id[:36]}"

    def now(self) -> float:
        """Return the time on the clock of the state: the one that stands still while this process does."""
        return self._context.clock() - self._frozen_s

    @property
    def server_url(self) -> str:
        """The address that it asks now."""
        return self.transport.url

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Begin; raises RuntimeError, with the state ended, if there is no thread to be had."""
        self._ended_by(self._start_thread())

    def _start_thread(self) -> RuntimeError | None:
        """Return why there is no thread to be had, None if it runs."""
        self._context.budget.join()
        try:
            self._thread.start()
        except RuntimeError as exc:
            return exc
        return None

    def _ended_by(self, failure: RuntimeError | None) -> None:
        if failure is not None:
            self.advance(ds.Broke(f"no thread could be started ({failure})"))
            self.finish()
            raise failure

    # In a queue: nobody's thread writes the state before its turn has come, so whoever holds _turn does. -------------

    @property
    def waits(self) -> bool:
        """Whether its turn may still come."""
        return self._newest.queued and not self._newest.done and not self.stopped

    def begin(self) -> bool:
        """Begin if it still waits for its turn; whether it did. Raises as `start` does."""
        with self._turn:
            if not self.waits:
                return False
            self.advance(ds.TurnCame())
            failure = self._start_thread()
        self._ended_by(failure)
        return True

    def withdraw(self) -> bool:
        """Cancel it if it still waits for its turn; whether it did. Nothing is sent."""
        with self._turn:
            if not self.waits:
                return False
            self.advance(ds.CancelAsked())
        self._tell_end()
        return True

    def put(self, event: ds.Event) -> None:
        """Hand in an event from another thread."""
        self._inbox.put(event)

    def stop(self) -> None:
        """Stop following. The thread and the sockets are gone when this returns, or within a second."""
        with self._turn:
            was_waiting = self.waits
            self._stopping.set()
        if was_waiting:
            self._tell_end()
            return
        self._inbox.put(None)
        for socket in (self._socket, self._opening):
            if socket is not None:
                socket.close()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout=1.0)

    # The thread ------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._stepped_at = self._context.clock()
            if self._posts:
                self._call("start", self._post_start)
            while not (self._newest.done or self._stopping.is_set()):
                self._step()
        except Exception as exc:  # the top of the thread: wait() raises what is stored here
            log.exception("the thread of a download broke")
            self.advance(ds.Broke(repr(exc)))
        finally:
            self.finish()

    def _step(self) -> None:
        self._look_at_the_clock()
        now = self.now()
        if ds.time_tells(self._newest, now=now):
            self.advance(ds.TimePassed())
        if now >= self._newest.ask_at and self._may_ask(now):
            self._call("snapshot", lambda: self._ask(now))
        if ds.cancel_is_due(self._newest, now=now):
            self.advance(ds.CancelSent())
            self._call("cancel", self._post_cancel)
        if self._wants_socket(now):
            self._opening = self._calls.open_progress(self.transport, self._id)
            self._call("socket", self._open_socket)
        self._listen()
        rest_s = self._rest_s() if self._socket is not None else self._pause_s()
        self._planned_s = _SLICE_S + rest_s
        self._read_inbox(block_s=rest_s)
        self._publish_if_due()

    def _look_at_the_clock(self) -> None:
        """Notice that this process stood still: what it waits for has had no time to come."""
        at = self._context.clock()
        gap_s, self._stepped_at = at - self._stepped_at, at
        stopped_s = gap_s - self._planned_s
        if stopped_s >= _FREEZE_S:
            self._frozen_s += stopped_s
            self.advance(ds.Thawed(stopped_s))

    def _may_ask(self, now: float) -> bool:
        """Whether another snapshot may be asked for while others are unanswered."""
        under_way = self._under_way.get("snapshot", [])
        if not under_way:
            return True
        return len(under_way) < _MOST_QUESTIONS and now - under_way[-1] >= self._context.timing.poll_closed_s

    def _wants_socket(self, now: float) -> bool:
        at = self._newest.connect_at
        return self._socket is None and "socket" not in self._under_way and at is not None and now >= at

    def _pause_s(self) -> float:
        """How long to listen or sleep: until the next update is due, shortly while an answer is about to come."""
        now = self.now()
        if self._socket is not None and self._expects_answer(now):
            return _BUSY_SLICE_S
        if self._socket is not None and self._rest_s() > 0:
            return 0.0  # among many bars: what is there is read at once, and the waiting is the rest after it
        asks_in_s = self._newest.ask_at - now if self._may_ask(now) else _SLICE_S
        pause_s = min(_SLICE_S, asks_in_s, self._throttle.wait_s(now, otherwise=_SLICE_S))
        return max(_SHORTEST_S, pause_s)

    def _expects_answer(self, now: float) -> bool:
        return any(now - began[-1] < 1.0 for began in self._under_way.values())

    def _rest_s(self) -> float:
        """How long to leave frames unread; no time while an answer is about to come or a question due."""
        now = self.now()
        if self._expects_answer(now):
            return 0.0
        return max(0.0, min(self._throttle.rest_s(now), self._newest.ask_at - now))

    def _listen(self) -> None:
        """Read what the socket has, at most until the next update is due.

        A frame that says nothing else than the one before waits until the burst pauses or an update is due.
        """
        socket = self._socket
        if socket is None:
            return
        until = self.now() + INTERVAL_S
        latest: ModelDownloadProgress | None = None
        try:
            raw = socket.read(self._pause_s())
            while raw is not None:
                progress = self._decoded(raw)
                both = progress if latest is None else ds.merged(latest, progress)
                if both is None and latest is not None:
                    self.advance(ds.FrameHeard(latest))
                latest = both or progress
                if not socket.has_ahead or self.now() >= until:
                    break
                raw = socket.read(0.0)
        except SocketEnded as exc:
            self._heard_last(latest)
            self._drop_socket()
            self.advance(ds.SocketLost(str(exc), jitter=random.random()))
            return
        self._heard_last(latest)

    def _decoded(self, raw: bytes) -> ModelDownloadProgress:
        try:
            return self._calls.decode(decoded(raw))
        except (ValueError, RecursionError):
            log.debug("a frame that is not JSON: %r", raw[:80])
            return ModelDownloadProgress(DownloadStatus.UNKNOWN)

    def _heard_last(self, latest: ModelDownloadProgress | None) -> None:
        if latest is not None:
            self.advance(ds.FrameHeard(latest))

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
            case _Returned(kind, began):
                self._under_way[kind].remove(began)
                if not self._under_way[kind]:
                    del self._under_way[kind]
            case _Moved(transport):
                log.info("%s goes on at %s", self._title, transport.url)
                self.transport = transport
            case _SocketReady(socket):
                self._socket, self._opening = socket, None
                self.advance(ds.SocketOpened())
            case _:
                self.advance(mail)

    def advance(self, event: ds.Event) -> None:
        """Take in an event; called by the thread alone, once it runs."""
        before = self._newest
        self._newest = ds.advance(before, event, now=self.now())
        if self._newest is not before:
            self._throttle.changed()
        if not self._newest.done:
            self.state = self._newest
        if before.socket_open and not self._newest.socket_open:
            self._drop_socket()  # it was silent too long

    def _publish_if_due(self) -> None:
        now = self.now()
        if now - self._shown_at >= _HEARTBEAT_S and not self._newest.stalled:
            self._throttle.changed()
        if not self._newest.done and self._throttle.due(now):
            self._shown_at = now
            self._listener.news()

    def finish(self) -> None:
        """Let go of all it has, and tell the end; called once, by the thread."""
        self._over.set()
        self._drop_socket()
        opening = self._opening
        if opening is not None:
            opening.close()
        self._context.budget.leave()
        self._tell_end()

    def _tell_end(self) -> None:
        # First the views are made ready: none shall see the end before the call that tells it.
        self._listener.ending()
        self.state = self._newest
        self._listener.ended()

    def _drop_socket(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.close()

    # Calls, each in a daemon thread of its own -----------------------------------------------------------------------

    def _call(self, kind: str, function: Callable[[], None]) -> None:
        """Run `function` apart; what it puts into the inbox is its outcome."""
        began = self.now()

        def run() -> None:
            try:
                function()
            except Exception as exc:  # the top of the thread: what broke is an answer that did not come
                log.exception("a call of a download broke")
                self._inbox.put(_failure(kind, f"pieces_nb itself failed: {exc!r}", began))
            finally:
                self._inbox.put(_Returned(kind, began))

        self._under_way.setdefault(kind, []).append(began)
        try:
            threading.Thread(target=run, name=self._name(kind), daemon=True).start()
        except RuntimeError as exc:  # no more threads to be had, at this moment
            self._inbox.put(_failure(kind, str(exc), began))
            self._inbox.put(_Returned(kind, began))

    def _post_start(self) -> None:
        if self._looks_first and self._has_begun_elsewhere():
            self._inbox.put(ds.StartAnswered())
            return
        try:
            self._calls.start(self.transport, self._id)
        except PiecesServerError as exc:
            self._inbox.put(ds.StartRefused(exc.text or str(exc)))
        except PiecesUnreachable as exc:
            log.info("start of %s: %s; the snapshot decides", self._title, exc)
            self._inbox.put(ds.StartUnanswered())
        except PiecesError as exc:
            log.info("start of %s: %s; the snapshot decides", self._title, exc)
            self._inbox.put(ds.StartAnswered())
        else:
            self._inbox.put(ds.StartAnswered())

    def _has_begun_elsewhere(self) -> bool:
        """Whether somebody else has downloaded the model, or begun to, while this one waited for its turn."""
        try:
            model = self._calls.snapshot(self.transport, self._id)
        except PiecesError:
            return False  # the POST will tell
        return model.downloaded or model.downloading

    def _post_cancel(self) -> None:
        try:
            self._calls.cancel(self.transport, self._id)
        except PiecesServerError as exc:
            self.cancel_error = exc
            self._inbox.put(ds.CancelRefused(exc.text or str(exc)))
        except PiecesUnreachable as exc:
            log.info("cancel of %s: %s; the snapshot decides", self._title, exc)
            self.cancel_error = exc
            self._inbox.put(ds.CancelUnanswered() if exc.connected else ds.CancelRefused(str(exc)))
        except ModelStateError as exc:  # nothing was sent
            self.cancel_error = exc
            self._inbox.put(ds.CancelRefused(str(exc)))
        except PiecesError as exc:
            log.info("cancel of %s: %s; the snapshot decides", self._title, exc)
            self._inbox.put(ds.CancelAnswered())
        else:
            self._inbox.put(ds.CancelAnswered())

    def _ask(self, asked_at: float) -> None:
        try:
            model = self._calls.snapshot(self.transport, self._id)
            end = self._calls.how_it_ended(self.transport, model)
        except ModelNotFound as exc:
            self._inbox.put(ds.ModelGone(str(exc)))
        except PiecesUnreachable as exc:
            self._look_elsewhere(exc, asked_at)
        except PiecesError as exc:
            self._inbox.put(ds.NoAnswer(str(exc), asked_at, unreachable=False))
        else:
            if end is not None:
                self._inbox.put(ds.FrameHeard(end))
            self._inbox.put(ds.SnapshotSeen(model, asked_at))

    def _look_elsewhere(self, exc: PiecesUnreachable, asked_at: float) -> None:
        """The address was found, not given: Pieces OS may have been started again on another port."""
        found = self._context.relocate(self._id) if self._context.relocate is not None else None
        self._inbox.put(ds.NoAnswer(str(exc), asked_at))
        if found is not None:
            transport, model = found
            self._inbox.put(_Moved(transport))
            self._inbox.put(ds.SnapshotSeen(model, asked_at))

    def _open_socket(self) -> None:
        socket = self._opening
        if socket is None:
            return
        try:
            socket.open()
        except SocketEnded as exc:
            self._inbox.put(ds.SocketLost(str(exc), jitter=random.random()))
        else:
            # Whoever is late here closes: the thread may have gone while the hands were shaken.
            if self._stopping.is_set() or self._over.is_set():
                socket.close()
            self._inbox.put(_SocketReady(socket))


def _failure(kind: str, words: str, began: float) -> ds.Event:
    """Return what it means that a call came to nothing by a fault of ours."""
    match kind:
        case "socket":
            return ds.SocketLost(words)
        case "start":
            return ds.StartRefused(words)
        case "cancel":
            return ds.CancelRefused(words)
    return ds.NoAnswer(words, began, unreachable=False)
