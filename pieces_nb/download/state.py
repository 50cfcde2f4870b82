"""Download state machine. No I/O, no threads, no clock: callers pass `now`, in seconds of a monotonic clock.

`advance(state, event, now=…)` returns the state after an event. The state also says what its owner has to do next:
`ask_at` is when to read a snapshot, `connect_at` when to open the progress socket.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, assert_never

from pieces_nb.model.models import DownloadStatus, Model, ModelDownloadProgress
from pieces_nb.text import clock, format_duration, format_percentage, printable


@dataclass(frozen=True)
class Timing:
    """How long to wait for what, in seconds. The design's figures; tests scale them down."""

    start_grace_s: float = 10.0  # until an attempt must have been seen alive
    start_answer_s: float = 2.0  # how long the progress, or a cancel, waits for the answer to the start
    settle_s: float = 2.0  # between "no longer downloading" and calling that an end without a word
    stall_after_s: float = 30.0
    silent_after_s: float = 60.0  # a socket that says nothing for so long is opened anew
    lost_after_s: float = 300.0
    cancel_within_s: float = 10.0
    confirm_within_s: float = 30.0  # until a snapshot must confirm an unload, an update, a deletion
    poll_s: float = 5.0  # a snapshot this often while the socket is open and nothing moves
    poll_closed_s: float = 1.0  # while no socket is open
    poll_soon_s: float = 0.25  # while an end is about to be confirmed
    backoff_first_s: float = 0.25
    backoff_most_s: float = 5.0
    speed_window_s: float = 10.0


# Events --------------------------------------------------------------------------------------------------------------


class FrameHeard(NamedTuple):
    """A frame came over the socket. A hint."""

    progress: ModelDownloadProgress


class SnapshotSeen(NamedTuple):
    """A snapshot came back; it was asked for at `asked_at`. The truth."""

    model: Model
    asked_at: float


class ModelGone(NamedTuple):
    """The server says that it has no such model (410)."""

    words: str


class NoAnswer(NamedTuple):
    """A snapshot was asked for and no usable one came."""

    words: str


class StartAnswered(NamedTuple):
    """The POST that starts the download was answered, not with an error. What it has done a snapshot tells."""


class StartRefused(NamedTuple):
    """The POST that starts the download was answered with an error."""

    words: str


class SocketOpened(NamedTuple):
    """The progress socket is open."""


class SocketLost(NamedTuple):
    """The socket closed, or did not open. `jitter` in 0…1 spreads the reconnects."""

    words: str
    jitter: float = 0.5


class CancelAsked(NamedTuple):
    """We asked the server to cancel."""


class CancelRefused(NamedTuple):
    """The server refused that."""


class TimePassed(NamedTuple):
    """Nothing but time."""


Event = (
    FrameHeard
    | SnapshotSeen
    | ModelGone
    | NoAnswer
    | StartAnswered
    | StartRefused
    | SocketOpened
    | SocketLost
    | CancelAsked
    | CancelRefused
    | TimePassed
)


# State ---------------------------------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """A percentage and when it was first seen; speed is the slope between two."""

    at: float
    percentage: float


class DownloadState(NamedTuple):
    """All that is known of one download. Times are of the caller's monotonic clock, percentages 0–100.

    A tuple, not a dataclass: a new one is made at every step, and `_replace` takes a tenth of `replace`'s time.
    """

    model: Model
    started_at: float
    timing: Timing = Timing()
    joined: bool = False  # it ran already
    wall_at_zero: float = 0.0  # the wall clock (seconds since 1970) when the monotonic one said 0

    status: DownloadStatus = DownloadStatus.INITIALIZED
    percentage: float | None = None
    first_percentage: float | None = None  # where it stood when it was joined; None for one that began here
    ended_at: float | None = None
    reason: str = ""  # why it ended so; '' for a plain COMPLETED

    # This attempt
    attempt: int = 1
    attempt_started_at: float = 0.0
    alive: bool = False  # a non-terminal frame, or a snapshot that said `downloading`
    seen_downloading: bool = False  # a snapshot said `downloading`
    raw_percentage: float | None = None  # the last one heard, which may have gone back
    progress_at: float = 0.0  # when a percentage last rose
    stalled_at: float | None = None  # since when nothing moves, once that is `stall_after_s` ago
    idle_at: float | None = None  # since when snapshots say neither downloading nor downloaded
    verdict: DownloadStatus | None = None  # a terminal frame that no snapshot agrees with yet
    verdict_at: float = 0.0
    refused: str | None = None  # the server's words to our POST
    refused_at: float = 0.0
    cancel_asked_at: float | None = None
    samples: tuple[Sample, ...] = ()

    # The line to the server
    heard: str = ""  # the last words that could explain an end
    socket_open: bool = False
    socket_heard_at: float = 0.0  # when it opened or last said something
    was_open: bool = False
    socket_words: str = ""  # why it is closed
    reconnects: int = 0
    connect_at: float | None = 0.0  # when to open the socket; None while it is open or being opened
    backoff_s: float = 0.0
    ask_at: float = 0.0  # when to ask for the next snapshot
    answered_at: float = 0.0  # the last usable word of the server
    silent_since: float | None = None  # when the first of the unanswered questions came back so

    @property
    def done(self) -> bool:
        return self.ended_at is not None

    @property
    def size_bytes(self) -> int | None:
        return self.model.size_bytes

    @property
    def done_bytes(self) -> float | None:
        """Bytes transferred, as far as the percentage tells."""
        if self.percentage is None or self.size_bytes is None:
            return None
        return self.size_bytes * self.percentage / 100

    @property
    def stalled(self) -> bool:
        return self.stalled_at is not None and not self.done

    @property
    def duration_s(self) -> float:
        """Seconds from the start to the end, or to the last event."""
        return max(0.0, (self.ended_at if self.ended_at is not None else self.answered_at) - self.started_at)


def start(
    model: Model, *, now: float, timing: Timing | None = None, joined: bool = False, wall_at_zero: float = 0.0
) -> DownloadState:
    """Return the state of a download that begins now; `joined` if `model` is a snapshot in which it already runs."""
    timing = timing or Timing()
    state = DownloadState(
        model=model,
        started_at=now,
        timing=timing,
        wall_at_zero=wall_at_zero,
        attempt_started_at=now,
        progress_at=now,
        connect_at=now,
        ask_at=now + timing.poll_soon_s,
        answered_at=now,
    )
    if joined:
        return state._replace(joined=True, status=DownloadStatus.IN_PROGRESS, alive=True, seen_downloading=True)
    return state


def already_there(model: Model, *, now: float, wall_at_zero: float = 0.0) -> DownloadState:
    """Return the ended state of a download that has nothing to do."""
    state = start(model, now=now, wall_at_zero=wall_at_zero)._replace(percentage=100.0, connect_at=None)
    return state._replace(status=DownloadStatus.COMPLETED, ended_at=now, reason="was already downloaded")


def advance(state: DownloadState, event: Event, *, now: float) -> DownloadState:
    """Return the state after `event`.

    An ended state ignores everything. `percentage` never decreases within one attempt; RESET starts a new attempt at 0.
    Only a snapshot, or the lack of any for `lost_after_s`, ends a download.

    Source: Pieces OpenAPI, ModelDownloadProgress and Model; the rules of trust are ours.
    """
    if state.done:
        return state
    match event:
        case FrameHeard(progress):
            state = _heard(state, progress, now)
        case SnapshotSeen(model, asked_at):
            state = _seen(state._replace(model=model, answered_at=now, silent_since=None), asked_at, now)
        case ModelGone(words):
            return _end(state, DownloadStatus.FAILED, f"the model is gone: {words}", now)
        case NoAnswer(words):
            state = _unanswered(state, words, now)
        case StartAnswered():
            state = state._replace(ask_at=now)
        case StartRefused(words):
            state = state._replace(refused=words, refused_at=now, heard=words, ask_at=now)
        case SocketOpened():
            reconnects = state.reconnects + state.was_open
            state = state._replace(
                socket_open=True,
                socket_heard_at=now,
                was_open=True,
                socket_words="",
                connect_at=None,
                reconnects=reconnects,
            )
        case SocketLost():
            state = _socket_lost(state, event, now)
        case CancelAsked():
            state = state._replace(cancel_asked_at=now, ask_at=now)
        case CancelRefused():
            state = state._replace(cancel_asked_at=None)
        case TimePassed():
            pass
        case _:
            assert_never(event)
    return state if state.done else _check_stall(state, now)


# Frames --------------------------------------------------------------------------------------------------------------


def _heard(state: DownloadState, progress: ModelDownloadProgress, now: float) -> DownloadState:
    state = state._replace(answered_at=now, socket_heard_at=now)
    match progress.status:
        case DownloadStatus.COMPLETED | DownloadStatus.FAILED | DownloadStatus.CANCELED:
            return _heard_terminal(state, progress.status, now)
        case DownloadStatus.RESET:
            return _new_attempt(state, now)
        case DownloadStatus.INITIALIZED | DownloadStatus.IN_PROGRESS:
            state = state._replace(status=progress.status, alive=True, verdict=None, backoff_s=0.0, silent_since=None)
            return _moved(state, progress.percentage, now)
        case DownloadStatus.UNKNOWN:
            # A status nobody knows changes nothing; a percentage beside it still is one, once there is an attempt.
            return _moved(state, progress.percentage, now) if state.alive else state
        case _:
            assert_never(progress.status)


def _heard_terminal(state: DownloadState, status: DownloadStatus, now: float) -> DownloadState:
    """Note the verdict and ask. Before the attempt was seen alive it may be an earlier download's."""
    state = state._replace(heard=f"the server said {status}")
    if state.alive and state.verdict is not status:
        return state._replace(verdict=status, verdict_at=now, ask_at=now)
    return state._replace(ask_at=min(state.ask_at, now + state.timing.poll_soon_s))


def _new_attempt(state: DownloadState, now: float) -> DownloadState:
    if not state.alive:
        return state
    return state._replace(
        attempt=state.attempt + 1,
        attempt_started_at=now,
        status=DownloadStatus.RESET,
        percentage=0.0,
        raw_percentage=0.0,
        alive=False,
        seen_downloading=False,
        progress_at=now,
        stalled_at=None,
        idle_at=None,
        verdict=None,
        refused=None,
        samples=(),
        ask_at=now,
    )


def _moved(state: DownloadState, percentage: float | None, now: float) -> DownloadState:
    """Take in a percentage. One that went back is kept apart: its rising again is life, not progress to show."""
    if percentage is None:
        return state
    before = state.raw_percentage
    state = state._replace(raw_percentage=percentage)
    if before is not None and percentage <= before:
        return state
    state = state._replace(
        progress_at=now,
        stalled_at=None,
        ask_at=max(state.ask_at, now + state.timing.poll_s) if _is_calm(state, now) else state.ask_at,
    )
    if state.percentage is not None and percentage <= state.percentage:
        return state
    # Progress after an idle snapshot: the flag lagged. It can do so a bounded number of times, there are only 100 %.
    first = percentage if state.joined and state.percentage is None else state.first_percentage
    return state._replace(
        percentage=percentage,
        first_percentage=first,
        idle_at=None,
        samples=_sampled(state, percentage, now),
    )


def _is_calm(state: DownloadState, now: float) -> bool:
    """Whether nothing waits for a snapshot: frames that move are then word enough."""
    return state.socket_open and state.seen_downloading and state.verdict is None and not _cancel_is_due(state, now)


def _cancel_is_due(state: DownloadState, now: float) -> bool:
    """Whether a cancel may be confirmed any moment; later it still may, but nobody waits for it any more."""
    asked_at = state.cancel_asked_at
    return asked_at is not None and now - asked_at < state.timing.cancel_within_s


# Snapshots -----------------------------------------------------------------------------------------------------------


def _seen(state: DownloadState, asked_at: float, now: float) -> DownloadState:
    model = state.model
    if model.downloaded:
        return _end(state._replace(percentage=100.0), DownloadStatus.COMPLETED, "", now)
    state = _seen_running(state, asked_at, now) if model.downloading else _seen_idle(state, asked_at, now)
    return state if state.done else state._replace(ask_at=_next_question(state, now))


def _seen_running(state: DownloadState, asked_at: float, now: float) -> DownloadState:
    status = state.status if state.alive else DownloadStatus.IN_PROGRESS
    state = state._replace(status=status, alive=True, seen_downloading=True, idle_at=None)
    if asked_at >= state.refused_at:
        state = state._replace(refused=None)
    # The flag may lag behind a terminal frame as it may behind the start; after that the frame was an older one.
    if now - state.verdict_at >= state.timing.start_grace_s:
        state = state._replace(verdict=None)
    silent_s = now - state.socket_heard_at
    if state.socket_open and silent_s >= state.timing.silent_after_s:
        return _socket_lost(state, SocketLost(f"the socket was silent for {format_duration(silent_s)}"), now)
    return state


def _seen_idle(state: DownloadState, asked_at: float, now: float) -> DownloadState:
    """Neither downloading nor downloaded: an end, unless the server's flags only lag."""
    # A start that is answered with an error after we asked to cancel may be so because of the cancel.
    is_ours = state.cancel_asked_at is not None and state.refused_at >= state.cancel_asked_at
    if state.refused is not None and not state.alive and not is_ours:
        return _end(state, DownloadStatus.FAILED, state.refused, now)
    if state.verdict in (DownloadStatus.FAILED, DownloadStatus.CANCELED) and asked_at >= state.verdict_at:
        return _end(state, state.verdict, state.refused or "", now)
    state = state._replace(idle_at=now if state.idle_at is None else state.idle_at)
    if state.cancel_asked_at is not None and asked_at >= state.cancel_asked_at:
        settled = now - state.cancel_asked_at >= state.timing.settle_s
        return _end(state, DownloadStatus.CANCELED, "", now) if state.seen_downloading or settled else state
    if not _idle_long_enough(state, now):
        return state
    if state.verdict is DownloadStatus.COMPLETED:
        return _end(state, DownloadStatus.FAILED, "the server said COMPLETED, but the model is not downloaded", now)
    if not state.alive:
        return _end(state, DownloadStatus.FAILED, f"it never began: {state.heard or 'the server said nothing'}", now)
    return _end(state, DownloadStatus.FAILED, state.refused or "ended without saying why", now)


def _idle_long_enough(state: DownloadState, now: float) -> bool:
    """Until a snapshot has said `downloading`, that flag may lag behind the POST by the whole grace."""
    if state.seen_downloading:
        return state.idle_at is not None and now - state.idle_at >= state.timing.settle_s
    return now - state.attempt_started_at >= state.timing.start_grace_s


def _next_question(state: DownloadState, now: float) -> float:
    timing = state.timing
    if _cancel_is_due(state, now) or state.verdict is not None or state.idle_at is not None:
        return now + timing.poll_soon_s
    if not state.socket_open or not state.seen_downloading:
        return now + timing.poll_closed_s
    return max(now, state.progress_at) + timing.poll_s


def _unanswered(state: DownloadState, words: str, now: float) -> DownloadState:
    # The time runs from the first question that stayed unanswered, not from the last answer: a machine that
    # slept an hour has not been left without an answer for an hour.
    since = now if state.silent_since is None else state.silent_since
    state = state._replace(silent_since=since, heard=words, ask_at=now + state.timing.poll_closed_s)
    if now - since < state.timing.lost_after_s:
        return state
    return _end(state, DownloadStatus.FAILED, _loss(state), now)


def _loss(state: DownloadState) -> str:
    seen = f", last seen {format_percentage(state.percentage)}" if state.percentage is not None else ""
    return f"no answer since {clock(wall_time(state, state.answered_at))}{seen} ({state.heard})"


def wall_time(state: DownloadState, at: float) -> datetime:
    """Return a moment of the monotonic clock as a time of day, in UTC."""
    return datetime.fromtimestamp(state.wall_at_zero + at, UTC)


# The socket, the end, the stall --------------------------------------------------------------------------------------


def _socket_lost(state: DownloadState, event: SocketLost, now: float) -> DownloadState:
    timing = state.timing
    backoff = min(timing.backoff_most_s, max(timing.backoff_first_s, state.backoff_s * 2))
    return state._replace(
        socket_open=False,
        socket_words=event.words,
        backoff_s=backoff,
        connect_at=now + backoff * (0.5 + event.jitter / 2),
        ask_at=min(state.ask_at, now),
    )


def _end(state: DownloadState, status: DownloadStatus, reason: str, now: float) -> DownloadState:
    return state._replace(status=status, reason=printable(reason, limit=500), ended_at=now, stalled_at=None)


def _check_stall(state: DownloadState, now: float) -> DownloadState:
    if state.stalled_at is None and now - state.progress_at >= state.timing.stall_after_s:
        return state._replace(stalled_at=state.progress_at)
    return state


# Speed ---------------------------------------------------------------------------------------------------------------


def _sampled(state: DownloadState, percentage: float, now: float) -> tuple[Sample, ...]:
    """Keep some twenty samples of the last `speed_window_s`, and the newest always."""
    window = state.timing.speed_window_s
    kept = tuple(sample for sample in state.samples if now - sample.at <= window)
    if len(kept) >= 2 and kept[-1].at - kept[-2].at < window / 20:
        kept = kept[:-1]
    return (*kept, Sample(now, percentage))


def rate_per_s(state: DownloadState, *, now: float) -> float | None:
    """Return percentage points a second over the last seconds; None while stalled, unanswered, ended or not known."""
    if state.stalled or state.done or state.silent_since is not None or len(state.samples) < 2:
        return None
    first, last = state.samples[0], state.samples[-1]
    # Counting up to now, not up to the last sample, lets the speed fall while nothing comes.
    duration = max(now, last.at) - first.at
    return (last.percentage - first.percentage) / duration if duration > 0 else None


def speed_bytes_per_s(state: DownloadState, *, now: float) -> float | None:
    """Return bytes a second; None where the rate or the size is unknown."""
    rate = rate_per_s(state, now=now)
    return None if rate is None or state.size_bytes is None else state.size_bytes * rate / 100


def time_left_s(state: DownloadState, *, now: float) -> float | None:
    """Return seconds to go at the present rate; None where that is unknown."""
    rate = rate_per_s(state, now=now)
    if not rate or state.percentage is None:
        return None
    return (100 - state.percentage) / rate
