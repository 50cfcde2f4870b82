"""`Download`: the handle that users hold of one download. `Downloads`: of several.

A download is followed by a thread of its own (`follower`); a handle shows its state, waits, and asks for a cancel.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from types import ModuleType
from typing import Any, overload

from pieces_nb.download import state as ds
from pieces_nb.download.at_once import at_once
from pieces_nb.download.follower import Context, Follower, Listener
from pieces_nb.download.interrupts import INTERRUPTS
from pieces_nb.download.subscribers import Subscribers
from pieces_nb.errors import (
    CancelNotConfirmed,
    DownloadCanceled,
    DownloadFailed,
    ModelStateError,
    PiecesError,
    StoppedWaiting,
    WaitTimeout,
)
from pieces_nb.model.models import DownloadStatus, Model
from pieces_nb.settings import seconds_or_none
from pieces_nb.text import Part, Step, format_percentage, printable

__all__ = ["Context", "Download", "Downloads", "Lifecycle", "StoppedAwaiting", "View"]

_WAIT_SLICE_S = 0.2  # a wait in slices is one that ■ can end
_CANCEL_SLICE_S = 0.05
_VIEWS_WITHIN_S = 0.5  # how long the end waits for views that block
_WAITING = "waiting for its turn"

View = Callable[["Download"], None]


class Lifecycle(StrEnum):
    """What a `Download` is: not begun, followed, ended, or left alone before that."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"
    CLOSED = "closed"


class StoppedAwaiting(StoppedWaiting, asyncio.CancelledError):
    """■ or Ctrl-C ended an `await`; the download goes on. To asyncio it is the cancellation of the task that it is."""

    shows_one_line = True


class Download:
    """A download that runs, or has ended, on the server; this object only follows it.

    Made by `ModelClient.download`. `wait()` or `await` it, `cancel()` it, or just look at it: `status`, `percentage`,
    `done`, `error`. Every method may be called from any thread.
    """

    def __init__(self, model: Model, context: Context, *, joined: bool = False, queued: bool = False) -> None:
        self._context = context
        self._joined = joined
        self._process = os.getpid()
        self._subscribers = Subscribers(f"pieces-nb-view-{model.id[:36]}")
        self._at_end: list[View] = []
        self._over = threading.Event()  # from here on `_at_end` is called
        self._finished = threading.Event()
        self._future: Future[None] = Future()
        self._future.set_running_or_notify_cancel()  # so that a canceled awaiter cannot cancel it
        listener = Listener(self._subscribers.tell, self._ending, self._ended)
        self._follower = Follower(model, context, listener, joined=joined, queued=queued)
        if self.done:
            self._over.set()
            self._subscribers.finish(0.0)
            self._release()

    # What it shows ---------------------------------------------------------------------------------------------------

    @property
    def state(self) -> ds.DownloadState:
        """Everything known, as one value."""
        return self._follower.state

    @property
    def lifecycle(self) -> Lifecycle:
        """Whether it waits for its turn, is followed, has ended, or was closed before that.

        A forked child follows nothing.
        """
        if self.state.done:
            return Lifecycle.ENDED
        if self._follower.stopped or self._is_forked:
            return Lifecycle.CLOSED
        return Lifecycle.QUEUED if self.state.queued else Lifecycle.RUNNING

    @property
    def _is_forked(self) -> bool:
        return os.getpid() != self._process

    @property
    def model(self) -> Model:
        """The model as the newest snapshot described it."""
        return self.state.model

    @property
    def status(self) -> DownloadStatus:
        """The wire's word: INITIALIZED, IN-PROGRESS, COMPLETED, FAILED, CANCELED or RESET."""
        return self.state.status

    @property
    def status_words(self) -> str:
        """The status; of one in a queue, for which the wire has no word, that it waits."""
        return _WAITING if self.lifecycle is Lifecycle.QUEUED else str(self.status)

    @property
    def percentage(self) -> float | None:
        """0–100; None while no percentage is known."""
        return self.state.percentage

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.state.done

    @property
    def closed(self) -> bool:
        """Whether nobody follows it any more although it has not ended."""
        return self.lifecycle is Lifecycle.CLOSED

    @property
    def waits(self) -> bool:
        """Whether its turn may still come: it was queued, and has neither begun nor been canceled or closed."""
        return self._follower.waits and not self._is_forked

    @property
    def server_url(self) -> str:
        """The address of the server that it follows."""
        return self._follower.server_url

    @property
    def joined(self) -> bool:
        """Whether it ran already when this program began to follow it."""
        return self._joined

    @property
    def error(self) -> PiecesError | None:
        """What `wait()` raises or would raise: `DownloadFailed`, `DownloadCanceled`; None while it runs or is well."""
        if not (words := self.failure):
            return None
        if self.status is DownloadStatus.CANCELED:
            return DownloadCanceled(words)
        return DownloadFailed(f"{words} ", self._context.calls.again_step(self.model), " tries again.")

    @property
    def failure(self) -> str:
        """What failed, as `error` says it, without what to do next; '' while it runs or is well."""
        state = self.state
        if not state.done or state.status is DownloadStatus.COMPLETED:
            return ""
        if state.status is DownloadStatus.CANCELED:
            return f"{self._title}: the download was canceled."
        why = (state.reason or state.heard or "without a word").removesuffix(".")
        return f"{self._title}: the download failed: {why}."

    @property
    def stalled_since(self) -> datetime | None:
        """Since when (UTC) nothing has moved, once that is `stall_after_s` ago, 30 s; None while it moves."""
        state = self.state
        return ds.wall_time(state, state.stalled_at) if state.stalled_at is not None else None

    @property
    def started(self) -> datetime:
        """When (UTC) this program began to follow it."""
        return ds.wall_time(self.state, self.state.started_at)

    @property
    def duration_s(self) -> float:
        """Seconds from then to the end, or to now."""
        state = self.state
        until = state.ended_at if state.ended_at is not None else self._follower.now()
        return ds.real(state, until) - ds.real(state, state.started_at)

    @property
    def speed_bytes_per_s(self) -> float | None:
        """Over the last ten seconds; None while unknown or stalled."""
        return ds.speed_bytes_per_s(self.state, now=self._follower.now())

    def speed_history(self, points: int = 60) -> tuple[tuple[float, float], ...]:
        """Return (seconds ago, bytes a second) over the last minute, the oldest first, at most `points`.

        Of this attempt alone; () while size or percentages are unknown.
        """
        return ds.speed_history(self.state, points=points, now=self._follower.now())

    @property
    def time_left_s(self) -> float | None:
        """At that speed; None while unknown or stalled."""
        return ds.time_left_s(self.state, now=self._follower.now())

    @property
    def moved_bytes(self) -> int | None:
        """Bytes transferred by this attempt while this program followed it, as far as size and percentages tell."""
        state = self.state
        if state.was_there:
            return 0
        if state.size_bytes is None or state.percentage is None:
            return None
        return round(state.size_bytes * max(0.0, state.percentage - (state.current.first_percentage or 0.0)) / 100)

    @property
    def mean_bytes_per_s(self) -> float | None:
        """Those over the time it took."""
        moved, duration_s = self.moved_bytes, self.duration_s
        return moved / duration_s if moved and duration_s > 0 else None

    @property
    def _title(self) -> str:
        return printable(self.model.title, limit=80)

    def __repr__(self) -> str:
        return str(_display().record(self))

    def _repr_mimebundle_(self, **_wanted: object) -> Any:
        return _display().mimebundle([self])

    def _ipython_display_(self) -> None:
        _display().display_live([self])

    # Following -------------------------------------------------------------------------------------------------------

    def start(self) -> Download:
        """Begin to follow it; called once, by the client. Raises `RuntimeError` if there is no thread to be had."""
        if not self.done:
            self._follower.start()
        return self

    def begin(self) -> bool:
        """Begin one that waits for its turn; False if it has begun, ended or been closed. Raises as `start` does."""
        return self._follower.begin()

    def subscribe(self, view: View) -> Callable[[], None]:
        """Have `view(download)` called at changes and at the end, in a thread of its own; returns how to stop that.

        The updates are throttled, the end is not: it always comes, last. If it has come already, `view` is called now.
        A view that blocks, raises or exits delays only itself; the end waits half a second for it.
        """
        remove = self._subscribers.add(lambda: view(self))
        if remove is None:
            view(self)
            return lambda: None
        return lambda: None if self._is_forked else remove()  # a child calls no view, and has no lock of one

    def doubt(self) -> float:
        """Have the server asked now whether it still runs; what is heard of it counts if it is newer than the result.

        That is a moment of the state's clock.
        """
        at = self._follower.now()
        self._follower.put(ds.Doubted())
        return at

    def at_end(self, call: View) -> None:
        """Have `call(download)` called when it has ended or is closed, before anybody who waits goes on.

        It must neither block nor raise. For the client's own books; `subscribe` is for everybody else.
        """
        self._at_end.append(call)
        if self._over.is_set():
            self._call_at_end()

    def _call_at_end(self) -> None:
        while self._at_end:
            try:
                call = self._at_end.pop()
            except IndexError:  # another thread has taken it
                return
            call(self)

    def _ending(self) -> None:
        self._subscribers.hold(_VIEWS_WITHIN_S)

    def _ended(self) -> None:
        """The end is shown before anybody who waits goes on; for a view that blocks nobody waits long."""
        self._over.set()
        self._call_at_end()
        self._subscribers.finish(_VIEWS_WITHIN_S)
        self._release()

    def _release(self) -> None:
        self._finished.set()
        self._future.set_result(None)

    def close(self) -> None:
        """Stop following it. The download itself goes on; its thread and sockets are gone when this returns.

        One that waits for its turn does not begin any more.
        """
        if not self._is_forked:
            self._follower.stop()

    # Waiting ---------------------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> Model:
        """Block until the end, at most `timeout` seconds, and return the final model.

        Raises `DownloadFailed`, `DownloadCanceled`; `WaitTimeout` and `StoppedWaiting` (■, Ctrl-C) leave it running.
        """
        timeout = seconds_or_none("timeout", timeout)
        try:
            # An interrupt may come while the bar is being drawn, too.
            with _display().waiting([self]):
                self._wait(timeout)
        except KeyboardInterrupt:
            raise StoppedWaiting(*_goes_on([self])) from None
        return self._outcome()

    def _wait(self, timeout: float | None) -> None:
        deadline = math.inf if timeout is None else self._context.clock() + timeout
        while not (self._is_forked or self._finished.wait(self._slice(deadline))):
            if self._context.clock() >= deadline:
                raise _waited([self], timeout)

    def _slice(self, deadline: float) -> float:
        return min(_WAIT_SLICE_S, max(0.0, deadline - self._context.clock()))

    def __await__(self) -> Generator[Any, None, Model]:
        return self._wait_in_loop().__await__()

    async def _wait_in_loop(self) -> Model:
        if self._is_forked:
            return self._outcome()
        future = asyncio.wrap_future(self._future)
        with INTERRUPTS.watched() as interrupted, _display().waiting([self]):
            try:
                # In slices: an event loop that sleeps to the end hears no interrupt before it.
                while not future.done():
                    await asyncio.wait({future}, timeout=_WAIT_SLICE_S)
            except asyncio.CancelledError:
                if not interrupted():
                    raise
                raise StoppedAwaiting(*_goes_on([self])) from None
        return self._outcome()

    def _outcome(self) -> Model:
        if not self.done:
            raise PiecesError(*self._unfollowed)
        if (error := self.error) is not None:
            raise error
        return self.model

    @property
    def _unfollowed(self) -> tuple[str | Step, ...]:
        """That nobody follows it, and why."""
        if self._is_forked:
            why = f"process {self._process} follows this download; this one, forked from it, does not"
        else:
            why = "nobody follows this download any more"
        return (f"{self._title}: {why}; ", self._context.calls.progress_step(), " finds it.")

    @property
    def cancel_step(self) -> Step:
        """How to cancel it, as a line to type and in Python."""
        return self._context.calls.cancel_step(self.model)

    @property
    def watch_step(self) -> Step:
        """How to see it move, as a line to type and in Python."""
        return self._context.calls.watch_step(self.model)

    @property
    def _so_far(self) -> str:
        percentage = self.percentage
        at = f" at {format_percentage(percentage)}" if percentage is not None else ""
        return f"{self._title}: {self.status_words}{at}"

    # Canceling -------------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Ask the server to cancel, and return when a snapshot confirms it. One that waits for its turn just ends.

        Raises `ModelStateError` if it has ended already, `CancelNotConfirmed` if it ends otherwise or not within 10 s.
        Source: `POST /model/{model}/download/cancel`.
        """
        match self.lifecycle:
            case Lifecycle.ENDED:
                if self.status is not DownloadStatus.CANCELED:
                    raise ModelStateError(f"{self._title} is not downloading: it ended in {self.status}.")
            case Lifecycle.CLOSED:
                self._cancel_unfollowed()
            case Lifecycle.QUEUED | Lifecycle.RUNNING:
                if self.withdraw():
                    return
                before = self.state.cancel
                self._follower.put(ds.CancelAsked())
                try:
                    self._confirm_cancel(before)
                except CancelNotConfirmed:
                    self._follower.put(ds.CancelGivenUp())  # before any that is asked for after this
                    raise
                except KeyboardInterrupt:
                    raise StoppedWaiting(
                        f"{self._title}: nobody waits any more for the cancel; the server may go on with it."
                    ) from None

    def withdraw(self) -> bool:
        """Cancel it if it waits for its turn; False if it has begun, ended or been closed."""
        return not self._is_forked and self._follower.withdraw()

    def _confirm_cancel(self, before: ds.Cancel | None) -> None:
        within_s = self._context.timing.cancel_within_s
        deadline = self._context.clock() + within_s
        while not self._finished.wait(min(_CANCEL_SLICE_S, self._slice(deadline))):
            if self._is_refused(before) and not self._finished.wait(self._context.timing.poll_soon_s):
                words = (self.state.cancel and self.state.cancel.refused) or ""
                text = f"{self._title}: the server refused to cancel: {words}"
                raise CancelNotConfirmed(text) from self._follower.cancel_error
            if self._context.clock() >= deadline and not self.done:
                raise CancelNotConfirmed(*self._unconfirmed(within_s))
        if not self.done:
            raise CancelNotConfirmed(
                f"{self._title}: asked to cancel, then closed before that was confirmed: ", *self._unfollowed[1:]
            )
        if self.status is not DownloadStatus.CANCELED:
            raise CancelNotConfirmed(f"{self._title}: it ended in {self.status} before the cancel took effect.")

    def _unconfirmed(self, within_s: float) -> tuple[str | Step, ...]:
        if not self.state.alive:
            words = "the server has not begun. The cancel is sent again when it does; "
        else:
            words = f"the server still says {self.status}. The download may go on; "
        return (
            f"{self._title}: asked to cancel, but {within_s:g} s later {words}",
            self._context.calls.progress_step(),
            " shows it.",
        )

    def _is_refused(self, before: ds.Cancel | None) -> bool:
        """Whether a cancel that was sent after `before` was refused for good: one sent too early is sent again."""
        cancel = self.state.cancel
        if cancel is None or cancel.refused is None or cancel.accepted_at is not None or not cancel.sent_running:
            return False
        return before is None or before.refused is None or before.sent_at != cancel.sent_at

    def _cancel_unfollowed(self) -> None:
        """Nobody follows it: the server knows whether it still runs, and somebody follows it for as long as this takes.

        A forked child has no other way either.
        """
        context = replace(self._context, transport=self._follower.transport)  # the server may have moved
        model = context.calls.snapshot(context.transport, self.model.id)
        if not model.downloading:
            raise ModelStateError(f"{self._title} is not downloading; it is {model.state}.")
        again = Download(model, context, joined=True).start()
        try:
            again.cancel()
        finally:
            again.close()


def _display() -> ModuleType:
    """Return the module that knows how a download looks: the one thing above that this module calls."""
    from pieces_nb.views import notebook as display

    return display


def _waited(downloads: Sequence[Download], timeout: float | None) -> WaitTimeout:
    return WaitTimeout(*_goes_on(downloads, f" after {timeout or 0:g} s of waiting"))


def _goes_on(downloads: Sequence[Download], after: str = "") -> tuple[str | Step, ...]:
    """Say of downloads that they go on, and how to stop them."""
    so_far = ", ".join(download._so_far for download in downloads)
    goes_on = f"{so_far}{after}; {_what_goes_on(downloads)}. "
    if len(downloads) == 1:
        return (goes_on, downloads[0].cancel_step, " stops it.")
    parts: list[str | Step] = [goes_on]
    for download in downloads:
        parts += [download.cancel_step, ", "]
    return (*parts[:-1], " stop them.")


def _what_goes_on(downloads: Sequence[Download]) -> str:
    """Say what becomes of downloads for which nobody waits any more: a queue ends with its process."""
    waiting = sum(download.lifecycle is Lifecycle.QUEUED for download in downloads)
    running = len(downloads) - waiting
    words = [f"the download{'s go' if running > 1 else ' goes'} on"] if running else []
    return " and ".join([*words, *(["what waits begins while this program runs"] if waiting else [])])


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

    @property
    def _running(self) -> list[Download]:
        alive = (Lifecycle.QUEUED, Lifecycle.RUNNING)
        return [download for download in self._downloads if download.lifecycle in alive]

    @property
    def _waiting_first(self) -> list[Download]:
        """Those that wait for their turn before those whose end would let them begin."""
        return sorted(self._downloads, key=lambda download: not download.waits)

    def wait(self, timeout: float | None = None) -> list[Model]:
        """Block until all have ended, at most `timeout` seconds in all; a failed one does not stop the others.

        Raises `DownloadFailed` that names those which did not complete (`DownloadCanceled` if they were all canceled).
        """
        timeout = seconds_or_none("timeout", timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            with _display().waiting(self):
                for download in self._downloads:
                    with suppress(DownloadFailed, DownloadCanceled):
                        download.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except WaitTimeout as exc:
            raise _waited(self._running or self._downloads, timeout) from exc.__cause__
        except KeyboardInterrupt:
            raise StoppedWaiting(*_goes_on(self._running or self._downloads)) from None
        return self._outcome()

    def __await__(self) -> Generator[Any, None, list[Model]]:
        return self._wait_in_loop().__await__()

    async def _wait_in_loop(self) -> list[Model]:
        with _display().waiting(self):
            for download in self._downloads:
                try:
                    await download
                except (DownloadFailed, DownloadCanceled):
                    continue
                except StoppedAwaiting:
                    raise StoppedAwaiting(*_goes_on(self._running or [download])) from None
        return self._outcome()

    def _outcome(self) -> list[Model]:
        errors = [error for download in self._downloads if (error := download.error) is not None]
        if not errors:
            return [download.model for download in self._downloads]
        parts: list[Part] = [f"{len(errors)} of {len(self)} downloads did not complete."]
        for error in errors:
            parts += [" ", *error.parts]
        all_canceled = all(isinstance(error, DownloadCanceled) for error in errors)
        raise DownloadCanceled(*parts) if all_canceled else DownloadFailed(*parts)

    def cancel(self) -> None:
        """Cancel those that run, all at once; what could not be confirmed is raised after all were tried.

        Those that wait for their turn are canceled before, so that none of them begins.
        """
        self.withdraw()
        at_once([download.cancel for download in self._downloads if not download.done])

    def withdraw(self) -> Downloads:
        """Cancel those that wait for their turn, and return them."""
        return Downloads([download for download in self._waiting_first if download.withdraw()])

    def close(self) -> None:
        """Stop following them; they go on. What waits for its turn does not begin any more."""
        for download in self._waiting_first:
            download.close()

    def __repr__(self) -> str:
        return "\n".join(repr(download) for download in self._downloads)

    def _repr_mimebundle_(self, **_wanted: object) -> Any:
        return _display().mimebundle(self)

    def _ipython_display_(self) -> None:
        _display().display_live(self)
