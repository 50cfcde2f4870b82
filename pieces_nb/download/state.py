"""Download state machine. No I/O, no threads, no clock: callers pass `now`.

`advance(state, event, now=…)` returns the state after an event. The state also says what its owner has to do next:
`ask_at` is when to read a snapshot, `connect_at` when to open the progress socket, `cancel_is_due` whether to cancel.

Times are seconds of a monotonic clock that stands still while this process is stopped, so that all waits are counted in
our own running time; `Thawed` tells of such a stop, and `real` undoes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple, assert_never

from pieces_nb.download.evidence import Evidence, Record, of_frame, of_refusal, of_snapshot
from pieces_nb.model.models import DownloadStatus, Model, ModelDownloadProgress
from pieces_nb.text import clock, format_duration, format_percentage, printable


@dataclass(frozen=True)
class Timing:
    """How long to wait for what, in seconds. The design's figures; tests scale them down."""

    start_grace_s: float = 10.0  # how far the server's flags and frames may lag behind the truth
    start_answer_s: float = 2.0  # how long the progress, or a cancel, waits for the answer to the start
    settle_s: float = 2.0  # how long "no longer downloading" goes on before a refusal or a cancel is believed
    stall_after_s: float = 30.0
    silent_after_s: float = 60.0  # a socket that says nothing for so long is opened anew
    lost_after_s: float = 300.0
    cancel_within_s: float = 10.0
    confirm_within_s: float = 30.0  # until a snapshot must confirm an unload, an update, a deletion
    poll_s: float = 5.0  # a snapshot this often while the socket is open and nothing moves
    poll_closed_s: float = 1.0  # while no socket is open
    poll_soon_s: float = 0.25  # while an end is about to be confirmed; a socket's first frames come as soon
    backoff_first_s: float = 0.25
    backoff_most_s: float = 5.0
    speed_window_s: float = 10.0


# The start was accepted: a server that queues it may begin later than its flags may lag. Twice the grace costs a wait
# only where nothing ever begins.
GRACES_TO_BEGIN = 2
HISTORY_WINDOWS = 6  # samples are kept for so many speed windows


# Phases --------------------------------------------------------------------------------------------------------------


class Phase(StrEnum):
    """Where an attempt stands."""

    STARTING = "starting"  # the POST is open: frames are history, idle proves nothing
    WAITING = "waiting"  # it is answered, and nothing says yet that the transfer has begun
    RUNNING = "running"
    ENDING = "ending"  # it was running; something newer says that it is over, and that is not sure yet
    ENDED = "ended"


class Sign(StrEnum):
    """What leads from one phase to another."""

    ANSWERED = "the POST was answered, refused or given up"
    ALIVE = "a snapshot says downloading, or a frame that is no repetition"
    DOUBTED = "a terminal frame, or an explicit `downloading: false`, newer than all that says it runs"
    RESTARTED = "RESET, or INITIALIZED after progress: an attempt of its own begins"
    SETTLED = "the evidence for an end has lasted long enough, or needs no time"


NEXT: dict[Phase, dict[Sign, Phase]] = {
    Phase.STARTING: {Sign.ANSWERED: Phase.WAITING, Sign.ALIVE: Phase.RUNNING, Sign.SETTLED: Phase.ENDED},
    Phase.WAITING: {Sign.ALIVE: Phase.RUNNING, Sign.SETTLED: Phase.ENDED},
    Phase.RUNNING: {Sign.DOUBTED: Phase.ENDING, Sign.RESTARTED: Phase.WAITING, Sign.SETTLED: Phase.ENDED},
    Phase.ENDING: {Sign.ALIVE: Phase.RUNNING, Sign.RESTARTED: Phase.WAITING, Sign.SETTLED: Phase.ENDED},
    Phase.ENDED: {},
}


# Events --------------------------------------------------------------------------------------------------------------


class FrameHeard(NamedTuple):
    """A frame was read from the socket. A hint."""

    progress: ModelDownloadProgress


class SnapshotSeen(NamedTuple):
    """A snapshot came back; it was asked for at `asked_at`. The truth as of then."""

    model: Model
    asked_at: float


class ModelGone(NamedTuple):
    """The server says that it has no such model (410)."""

    words: str


class NoAnswer(NamedTuple):
    """A snapshot was asked for and no usable one came; `unreachable` if no answer came at all."""

    words: str
    asked_at: float | None = None
    unreachable: bool = True


class StartAnswered(NamedTuple):
    """The POST that starts the download was answered, not with an error. What it has done a snapshot tells."""


class StartRefused(NamedTuple):
    """The POST that starts the download was answered with an error."""

    words: str


class StartUnanswered(NamedTuple):
    """The POST that starts the download was given up: whether it arrived a snapshot tells."""


class SocketOpened(NamedTuple):
    """The progress socket is open."""


class SocketLost(NamedTuple):
    """The socket closed, or did not open. `jitter` in 0…1 spreads the reconnects."""

    words: str
    jitter: float = 0.5


class TurnCame(NamedTuple):
    """One that was queued begins now."""


class CancelAsked(NamedTuple):
    """Somebody here wants it canceled."""


class CancelSent(NamedTuple):
    """We asked the server to cancel."""


class CancelAnswered(NamedTuple):
    """The server took that."""


class CancelUnanswered(NamedTuple):
    """That was given up: whether it took effect a snapshot tells."""


class CancelRefused(NamedTuple):
    """The server refused that."""

    words: str = ""


class Thawed(NamedTuple):
    """Our process stood still for so long; the caller's clock did too."""

    stopped_s: float


class Broke(NamedTuple):
    """Something of ours broke, and nobody follows it any more."""

    words: str


class TimePassed(NamedTuple):
    """Nothing but time."""


StartEvent = StartAnswered | StartRefused | StartUnanswered
CancelEvent = CancelAsked | CancelSent | CancelAnswered | CancelUnanswered | CancelRefused
Event = (
    TurnCame
    | FrameHeard
    | SnapshotSeen
    | ModelGone
    | NoAnswer
    | StartEvent
    | SocketOpened
    | SocketLost
    | CancelEvent
    | Thawed
    | Broke
    | TimePassed
)


# State ---------------------------------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """A percentage and when it was first seen; speed is the slope between two."""

    at: float
    percentage: float


class Outage(NamedTuple):
    """A time in which the server did not answer; `ended` is None while it lasts."""

    began: datetime
    ended: datetime | None = None
    ended_at: float | None = None  # the same on the state's own clock

    @property
    def words(self) -> str:
        """`the server went away at 14:02 and was back at 14:03`."""
        back = f" and was back at {clock(self.ended)}" if self.ended is not None else ""
        return f"the server went away at {clock(self.began)}{back}"


class Cancel(NamedTuple):
    """Our wish to cancel, and what became of it."""

    asked_at: float
    sent_at: float | None = None
    sent_running: bool = False  # it was sent when the attempt had begun
    sent_flagged: bool = False  # and when a snapshot had said so
    sent_ended: bool = False  # it was sent when snapshots said already that it no longer ran
    in_flight: bool = False
    accepted_at: float | None = None
    refused: str | None = None  # the server's words to the last one sent


class Socket(NamedTuple):
    """The progress socket."""

    opened_at: float | None = None  # None while it is closed
    heard_at: float = 0.0  # when it opened or last said something
    was_open: bool = False
    first_at: float | None = None  # when the first frame with a status came over this connection
    peak: float | None = None  # the highest percentage heard before it opened
    words: str = ""  # why it is closed
    reconnects: int = 0
    backoff_s: float = 0.0


class Attempt(NamedTuple):
    """One attempt of the server's to transfer the model. RESET builds a new one."""

    started_at: float
    number: int = 1
    phase: Phase = Phase.STARTING
    grace_from: float | None = None  # since when it could have begun; None while the POST is open
    record: Record = Record()
    percentage: float | None = None
    is_pinned: bool = False  # not the first frame of a connection has shown it; that one may be old
    may_restart: bool = False  # a first frame said INITIALIZED: of a restart, or of the beginning told again
    peak: float | None = None  # the highest heard of it or, before a correction, of what was taken for it
    held: float | None = None  # what a first frame said before anything told that this attempt has begun
    raw_percentage: float | None = None  # the last one heard, which may have gone back
    first_percentage: float | None = None  # where it stood when it was joined; None for one that began here
    has_moved: bool = False  # a percentage rose while nothing else told that it has begun
    progress_at: float = 0.0  # when a percentage last rose
    stalled_at: float | None = None  # since when nothing moves, once that is `stall_after_s` ago
    samples: tuple[Sample, ...] = ()

    @property
    def has_begun(self) -> bool:
        return self.phase in (Phase.RUNNING, Phase.ENDING)

    @property
    def grace_at(self) -> float:
        """Since when it could have begun."""
        return self.started_at if self.grace_from is None else self.grace_from


class Freeze(NamedTuple):
    """Our process stood still; `at` is when on the clock that stood still too."""

    at: float
    stopped_s: float


class DownloadState(NamedTuple):
    """All that is known of one download. Percentages are 0–100.

    A tuple, not a dataclass: a new one is made at every step, and `_replace` takes a tenth of `replace`'s time.
    """

    model: Model
    started_at: float
    current: Attempt
    timing: Timing = Timing()
    joined: bool = False  # it ran already
    was_there: bool = False  # there was nothing to do
    queued: bool = False  # its turn has not come; True for ever if it ends before that
    wall_at_zero: float = 0.0  # the wall clock (seconds since 1970) when the monotonic one said 0
    freezes: tuple[Freeze, ...] = ()

    status: DownloadStatus = DownloadStatus.INITIALIZED
    ended_at: float | None = None
    reason: str = ""  # why it ended so; '' for a plain COMPLETED

    heard: str = ""  # the last words that could explain an end
    post_open: bool = True  # the POST that starts it has neither been answered nor been given up
    refusal: Evidence | None = None  # the server's error in answer to our POST, unless it ran after that
    cancel: Cancel | None = None
    socket: Socket = Socket()
    connect_at: float | None = None  # when to open the socket; None while it is open or being opened
    ask_at: float = 0.0  # when to ask for the next snapshot
    alive_at: float = float("-inf")  # of the newest evidence that it runs, of whatever attempt
    asked_at: float = float("-inf")  # of the newest snapshot that came back
    answered_at: float = 0.0  # the last usable word of the server
    silent_since: float | None = None  # when the first of the unanswered questions was asked
    outages: tuple[Outage, ...] = ()

    @property
    def done(self) -> bool:
        return self.ended_at is not None

    @property
    def phase(self) -> Phase:
        return self.current.phase

    @property
    def alive(self) -> bool:
        """Whether this attempt has begun."""
        return self.current.has_begun

    @property
    def attempt(self) -> int:
        return self.current.number

    @property
    def percentage(self) -> float | None:
        return self.current.percentage

    @property
    def raw_percentage(self) -> float | None:
        """The last one heard, which may have gone back."""
        return self.current.raw_percentage

    @property
    def verdict(self) -> DownloadStatus | None:
        """The end that a frame has told of, not confirmed yet."""
        verdict = self.current.record.verdict
        return verdict.status if verdict is not None and self.alive else None

    @property
    def seen_downloading(self) -> bool:
        """Whether a snapshot has said `downloading` of this attempt."""
        return self.current.record.flagged

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Percentages of this attempt over the last minute."""
        return self.current.samples

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
        return self.current.stalled_at is not None and not self.done

    @property
    def stalled_at(self) -> float | None:
        return self.current.stalled_at

    @property
    def socket_open(self) -> bool:
        return self.socket.opened_at is not None

    @property
    def socket_words(self) -> str:
        return self.socket.words

    @property
    def reconnects(self) -> int:
        return self.socket.reconnects

    @property
    def frozen_s(self) -> float:
        """How long this process has stood still meanwhile."""
        return sum(freeze.stopped_s for freeze in self.freezes)

    @property
    def duration_s(self) -> float:
        """Seconds from the start to the end, or to the server's last word."""
        until = self.ended_at if self.ended_at is not None else self.answered_at
        return max(0.0, real(self, until) - real(self, self.started_at))


def real(state: DownloadState, at: float) -> float:
    """Return a moment of the state's clock on the one that does not stand still."""
    return at + sum(freeze.stopped_s for freeze in state.freezes if freeze.at < at)


def wall_time(state: DownloadState, at: float) -> datetime:
    """Return a moment of the state's clock as a time of day, in UTC."""
    return datetime.fromtimestamp(state.wall_at_zero + real(state, at), UTC)


def start(
    model: Model, *, now: float, timing: Timing | None = None, joined: bool = False, wall_at_zero: float = 0.0
) -> DownloadState:
    """Return the state of a download that begins now; `joined` if `model` is a snapshot in which it already runs."""
    timing = timing or Timing()
    state = DownloadState(
        model=model,
        started_at=now,
        current=Attempt(now, progress_at=now),
        timing=timing,
        wall_at_zero=wall_at_zero,
        connect_at=now + timing.start_answer_s,
        ask_at=now + timing.poll_soon_s,
        answered_at=now,
    )
    if not joined:
        return state
    record = Record().with_snapshot(Evidence(of_snapshot(model, asked_at=now).source, now, downloading=True))
    current = state.current._replace(phase=Phase.RUNNING, grace_from=now, record=record)
    return state._replace(
        joined=True, status=DownloadStatus.IN_PROGRESS, current=current, connect_at=now, post_open=False
    )


def queued(model: Model, *, now: float, timing: Timing | None = None, wall_at_zero: float = 0.0) -> DownloadState:
    """Return the state of a download that waits for its turn: it hears nothing but that, and a cancel."""
    state = start(model, now=now, timing=timing, wall_at_zero=wall_at_zero)
    return state._replace(queued=True, connect_at=None)


def already_there(model: Model, *, now: float, wall_at_zero: float = 0.0) -> DownloadState:
    """Return the ended state of a download that has nothing to do."""
    state = start(model, now=now, wall_at_zero=wall_at_zero)._replace(was_there=True)
    return _ended(state, DownloadStatus.COMPLETED, "was already downloaded", now)


def advance(state: DownloadState, event: Event, *, now: float) -> DownloadState:
    """Return the state after `event`.

    An ended state ignores everything. `percentage` never decreases within one attempt. Only a snapshot, or the lack of
    any for `lost_after_s`, ends a download.

    Source: Pieces OpenAPI, ModelDownloadProgress and Model; the rules of trust are ours.
    """
    if state.done:
        return state
    if state.queued:
        return _queued_on(state, event, now)
    match event:
        case FrameHeard(progress):
            state = _heard(state, progress, now)
        case SnapshotSeen(model, asked_at):
            state = _seen(state, model, asked_at, now)
        case ModelGone(words):
            state = _ended(state, DownloadStatus.FAILED, f"the model is gone: {words}", now)
        case NoAnswer():
            state = _unanswered(state, event, now)
        case StartAnswered() | StartRefused() | StartUnanswered():
            state = _start_answered(state, event, now)
        case SocketOpened():
            state = _socket_opened(state, now)
        case SocketLost():
            state = _socket_lost(state, event, now)
        case CancelAsked() | CancelSent() | CancelAnswered() | CancelUnanswered() | CancelRefused():
            state = _canceling(state, event, now)
        case Thawed(stopped_s):
            state = _thawed(state, stopped_s, now)
        case Broke(words):
            state = _ended(state, DownloadStatus.FAILED, f"pieces_nb itself failed: {words}", now)
        case TurnCame() | TimePassed():
            pass
        case _:
            assert_never(event)
    return state if state.done else _check_stall(state, now)


def _queued_on(state: DownloadState, event: Event, now: float) -> DownloadState:
    """Return the state of a queued one after `event`: nothing was asked of the server, so nothing has to confirm."""
    match event:
        case TurnCame():
            return start(state.model, now=now, timing=state.timing, wall_at_zero=state.wall_at_zero)
        case CancelAsked():
            return _ended(state._replace(started_at=now), DownloadStatus.CANCELED, "", now)
    return state


def _led(state: DownloadState, sign: Sign) -> DownloadState:
    """Return the state in the phase that the sign leads to; a sign that leads nowhere changes nothing."""
    phase = NEXT[state.phase].get(sign)
    return state if phase is None else state._replace(current=state.current._replace(phase=phase))


def _noted(state: DownloadState, record: Record) -> DownloadState:
    return state._replace(current=state.current._replace(record=record))


# The start -----------------------------------------------------------------------------------------------------------


def _start_answered(state: DownloadState, event: StartEvent, now: float) -> DownloadState:
    """The grace runs from here. The socket waits for one more snapshot: it makes the first frames plain."""
    answered_at = state.answered_at if isinstance(event, StartUnanswered) else now
    state = state._replace(post_open=False, ask_at=now, answered_at=answered_at)
    if isinstance(event, StartRefused):
        state = state._replace(refusal=of_refusal(event.words, at=now), heard=event.words)
    if state.current.grace_from is None:
        state = state._replace(current=state.current._replace(grace_from=now))
    return _led(state, Sign.ANSWERED)


def _alive(state: DownloadState, now: float) -> DownloadState:
    """Something says that it runs. What a first frame said before now is of this attempt."""
    before, state = state, _led(state, Sign.ALIVE)
    if before.phase is Phase.STARTING and state.current.grace_from is None:
        state = state._replace(current=state.current._replace(grace_from=now))
    if before.phase is Phase.WAITING:
        held = state.current.held
        state = state._replace(current=state.current._replace(held=None))
        return _moved(state, held, now, opening=True, is_first=True)
    return state


def _restarted(state: DownloadState, status: DownloadStatus, now: float) -> DownloadState:
    """A new attempt, of which nothing is known but that it is one."""
    attempt = Attempt(now, state.attempt + 1, grace_from=now, percentage=0.0, raw_percentage=0.0, progress_at=now)
    phase = NEXT[state.phase].get(Sign.RESTARTED)
    if phase is None:
        return state
    return state._replace(current=attempt._replace(phase=phase), status=status, refusal=None, ask_at=now)


# Frames --------------------------------------------------------------------------------------------------------------


def merged(earlier: ModelDownloadProgress, later: ModelDownloadProgress) -> ModelDownloadProgress | None:
    """Return one frame that says what two say, one right after the other; None if each has to be heard.

    Only a status that changes, or a percentage that goes back, makes a difference between them.
    """
    if earlier.status is not later.status:
        return None
    if earlier.percentage is None or later.percentage is None:
        return later if earlier.percentage is None else earlier
    return later if later.percentage >= earlier.percentage else None


def _heard(state: DownloadState, progress: ModelDownloadProgress, now: float) -> DownloadState:
    state = _heard_by_status(_answered(state, now), progress, now, opening=_is_opening(state, now))
    socket = state.socket._replace(heard_at=now)
    if socket.first_at is None and progress.status is not DownloadStatus.UNKNOWN:
        socket = socket._replace(first_at=now)
    return state._replace(socket=socket)


def _is_opening(state: DownloadState, now: float) -> bool:
    """Whether a frame is one of the first of its connection: it may repeat how an earlier download stood."""
    timing, socket = state.timing, state.socket
    if socket.opened_at is None:
        return False
    first_at = now if socket.first_at is None else socket.first_at
    return first_at - socket.opened_at < 4 * timing.poll_soon_s and now - first_at < 2 * timing.poll_soon_s


def _heard_by_status(
    state: DownloadState, progress: ModelDownloadProgress, now: float, *, opening: bool
) -> DownloadState:
    match progress.status:
        case DownloadStatus.COMPLETED | DownloadStatus.FAILED | DownloadStatus.CANCELED:
            return _heard_end(state, progress, now, opening=opening)
        case DownloadStatus.RESET:
            return _restarted(state, progress.status, now)
        case DownloadStatus.INITIALIZED | DownloadStatus.IN_PROGRESS:
            return _heard_life(state, progress, now, opening=opening)
        case DownloadStatus.UNKNOWN:
            # A status nobody knows changes nothing; a percentage beside it still is one, once there is an attempt.
            return _moved(state, progress.percentage, now, opening=opening) if state.alive else state
        case _:
            assert_never(progress.status)


def _heard_end(state: DownloadState, progress: ModelDownloadProgress, now: float, *, opening: bool) -> DownloadState:
    """Note the word and ask. While nothing has begun it may be an earlier download's."""
    first = opening and state.socket.reconnects == 0
    evidence = of_frame(progress, at=now, opening=opening or not state.alive, first=first)
    verdict = state.current.record.verdict
    state = _noted(state, state.current.record.with_end(evidence))._replace(heard=f"the server said {progress.status}")
    if opening:  # what came before it over this connection was as old as it may be
        state = state._replace(current=state.current._replace(held=None, is_pinned=False))
    is_news = state.alive and state.current.record.verdict is not verdict
    return _led(state, Sign.DOUBTED)._replace(
        ask_at=now if is_news else min(state.ask_at, now + state.timing.poll_soon_s)
    )


def _heard_life(state: DownloadState, progress: ModelDownloadProgress, now: float, *, opening: bool) -> DownloadState:
    """INITIALIZED or IN-PROGRESS. The first frames of a connection may be old; while the POST is open all may be."""
    state = state._replace(socket=state.socket._replace(backoff_s=0.0))
    if state.phase is Phase.STARTING:
        return _moved_unbegun(_noted(state, state.current.record.with_opening()), progress.percentage)
    attempt = state.current
    # Before anything tells that it has begun, INITIALIZED may be the beginning of an old story.
    is_weak = opening or (not state.alive and progress.status is DownloadStatus.INITIALIZED)
    if progress.status is DownloadStatus.INITIALIZED and state.alive and attempt.percentage:
        if not opening:
            state = _restarted(state, progress.status, now)
        else:
            state = state._replace(current=attempt._replace(may_restart=True))
    if is_weak and not _rises(state, progress.percentage):
        state = _noted(state, state.current.record.with_opening())
    else:
        evidence = of_frame(progress, at=now)
        state = state._replace(alive_at=now)
        state = _alive(_noted(state, state.current.record.with_life(evidence)), now)
    state = state._replace(status=progress.status)
    return _moved(state, progress.percentage, now, opening=opening)


def _rises(state: DownloadState, percentage: float | None) -> bool:
    """Whether a first frame says more than an earlier connection did: then it is no repetition."""
    known = state.socket.peak
    return percentage is not None and known is not None and percentage > known


def _moved_unbegun(state: DownloadState, percentage: float | None) -> DownloadState:
    attempt = state.current
    if percentage is None:
        return state
    has_moved = attempt.has_moved or (attempt.raw_percentage is not None and percentage > attempt.raw_percentage)
    return state._replace(current=attempt._replace(raw_percentage=percentage, has_moved=has_moved))


def _moved(
    state: DownloadState, percentage: float | None, now: float, *, opening: bool, is_first: bool = False
) -> DownloadState:
    """Take in a percentage. One that went back is kept apart: its rising again is life, not progress to show."""
    attempt = state.current
    if percentage is None:
        return state
    if not attempt.has_begun:
        return state._replace(current=attempt._replace(held=percentage, peak=max(percentage, attempt.peak or 0.0)))
    before, shown = attempt.raw_percentage, attempt.percentage
    is_first = is_first or (opening and state.socket.first_at is None)
    if shown is not None and percentage < shown:
        was_old = not is_first and not attempt.is_pinned
        if was_old or (attempt.may_restart and not opening):
            return _corrected(state, percentage, now)
    elif not is_first:
        attempt = attempt._replace(is_pinned=True, may_restart=False)
    peak = percentage if attempt.peak is None else max(percentage, attempt.peak)
    attempt = attempt._replace(raw_percentage=percentage, peak=peak)
    if before is not None and percentage <= before:
        return state._replace(current=attempt)
    attempt = attempt._replace(progress_at=now, stalled_at=None)
    if shown is None or percentage > shown:
        attempt = attempt._replace(
            percentage=percentage,
            first_percentage=percentage if state.joined and shown is None else attempt.first_percentage,
            is_pinned=not is_first,
            samples=_sampled(state, percentage, now),
        )
    ask_at = max(state.ask_at, now + state.timing.poll_s) if _is_calm(state, now) else state.ask_at
    return state._replace(current=attempt, ask_at=ask_at)


def _corrected(state: DownloadState, percentage: float, now: float) -> DownloadState:
    """What was shown was old: an attempt of its own has that percentage, with all the evidence there is."""
    attempt = state.current
    return state._replace(
        current=attempt._replace(
            number=attempt.number + 1,
            percentage=percentage,
            raw_percentage=percentage,
            first_percentage=percentage if attempt.first_percentage is not None else None,
            is_pinned=True,
            may_restart=False,
            progress_at=now,
            stalled_at=None,
            samples=(Sample(now, percentage),),
        )
    )


def _is_calm(state: DownloadState, now: float) -> bool:
    """Whether nothing waits for a snapshot: frames that move are then word enough."""
    record = state.current.record
    return (
        state.phase is Phase.RUNNING
        and state.socket_open
        and (record.flagged or not record.is_told)
        and record.seen is not None
        and not _cancel_is_open(state, now)
    )


# Snapshots -----------------------------------------------------------------------------------------------------------


def _seen(state: DownloadState, model: Model, asked_at: float, now: float) -> DownloadState:
    evidence = of_snapshot(model, asked_at=asked_at)
    if evidence.downloaded:
        return _ended(state._replace(model=model), DownloadStatus.COMPLETED, "", asked_at)
    if asked_at < state.asked_at:
        return state  # a late answer: a newer question was answered before it
    state = _answered(state, now, asked_at=asked_at)._replace(model=model, asked_at=asked_at)
    if asked_at < state.current.started_at:
        return state._replace(ask_at=now)
    state = _noted(state, state.current.record.with_snapshot(evidence))
    if evidence.downloading:
        state = _seen_running(state, asked_at, now)
    elif state.current.record.idle is evidence:
        state = _led(state, Sign.DOUBTED)
    if (end := _end(state, asked_at)) is not None:
        return _ended(state, end.status, end.reason, asked_at)
    return _connecting(state, now)._replace(ask_at=_next_question(state, now))


def _seen_running(state: DownloadState, asked_at: float, now: float) -> DownloadState:
    if not state.alive:
        state = state._replace(status=DownloadStatus.IN_PROGRESS)
    state = _alive(state._replace(alive_at=max(asked_at, state.alive_at)), now)
    if state.refusal is not None and asked_at >= state.refusal.at:
        state = state._replace(refusal=None)
    silent_s = now - state.socket.heard_at
    if state.socket_open and silent_s >= state.timing.silent_after_s:
        return _socket_lost(state, SocketLost(f"the socket was silent for {format_duration(silent_s)}"), now)
    return state


def _connecting(state: DownloadState, now: float) -> DownloadState:
    """The socket that waited for the answer to the start, and for a snapshot after it, may open."""
    if state.post_open or state.connect_at is None or state.socket.was_open or state.socket.words:
        return state
    return state._replace(connect_at=min(state.connect_at, now))


def _next_question(state: DownloadState, now: float) -> float:
    timing, attempt = state.timing, state.current
    if state.phase is Phase.ENDING or _cancel_is_open(state, now):
        return now + timing.poll_soon_s
    if state.phase is Phase.WAITING and (state.refusal is not None or now - attempt.grace_at < timing.settle_s):
        return now + timing.poll_soon_s
    lags = attempt.record.is_told and not attempt.record.flagged
    if state.phase is not Phase.RUNNING or not state.socket_open or lags:
        return now + timing.poll_closed_s
    return max(now, attempt.progress_at) + timing.poll_s


def _answered(state: DownloadState, now: float, *, asked_at: float | None = None) -> DownloadState:
    """The server is there: an outage is over."""
    state = state._replace(answered_at=now if asked_at is None else max(asked_at, state.answered_at))
    if state.silent_since is None:
        return state
    outages = state.outages
    if outages and outages[-1].ended is None:
        # The time of the question: what it says of the download is of that moment too.
        outages = (*outages[:-1], outages[-1]._replace(ended=wall_time(state, now), ended_at=state.answered_at))
    return state._replace(silent_since=None, outages=outages)


def _unanswered(state: DownloadState, event: NoAnswer, now: float) -> DownloadState:
    asked_at = now if event.asked_at is None else event.asked_at
    if asked_at < state.asked_at:
        return state
    # The time runs from the first question that stayed unanswered, not from the last answer: of the time before it
    # nobody knows whether the server would have answered.
    since = asked_at if state.silent_since is None else min(asked_at, state.silent_since)
    state = state._replace(silent_since=since, heard=event.words, ask_at=now + state.timing.poll_closed_s)
    if event.unreachable and not (state.outages and state.outages[-1].ended is None):
        state = state._replace(outages=(*state.outages[-19:], Outage(wall_time(state, asked_at))))
    if asked_at - since < state.timing.lost_after_s:
        return _connecting(state, now)
    return _ended(state, DownloadStatus.FAILED, _loss(state), now)


def _loss(state: DownloadState) -> str:
    seen = f", last seen {format_percentage(state.percentage)}" if state.percentage is not None else ""
    return f"no answer since {clock(wall_time(state, state.answered_at))}{seen} ({state.heard})"


# The end -------------------------------------------------------------------------------------------------------------


class End(NamedTuple):
    """How it ended, by the evidence."""

    status: DownloadStatus
    reason: str = ""


def _failed(reason: str) -> End:
    return End(DownloadStatus.FAILED, reason)


def _end(state: DownloadState, asked_at: float) -> End | None:
    """Return how it has ended if a snapshot asked for at `asked_at` settles that, None if it does not.

    Its `downloaded: true` has been looked for before.
    """
    match state.phase:
        case Phase.WAITING:
            return _canceled_now(state) or _refused(state, asked_at) or _never_began(state, asked_at)
        case Phase.ENDING:
            return (
                _confirmed(state, asked_at)
                or _canceled_now(state)
                or _refused(state, asked_at)
                or _unconfirmed(state, asked_at)
            )
        case Phase.STARTING | Phase.RUNNING:
            return None
        case Phase.ENDED:
            return None
        case _:
            assert_never(state.phase)


def _refused(state: DownloadState, asked_at: float) -> End | None:
    """The POST was answered with an error, and snapshots asked after that go on saying that nothing runs."""
    refusal, record = state.refusal, state.current.record
    if refusal is None:
        return None
    if record.idle is not None and record.idle_from is not None:
        settled = record.idle.at - max(refusal.at, record.idle_from.at) >= state.timing.settle_s
    else:
        since = max(refusal.at, record.positive_at)
        settled = not record.is_told and asked_at - since >= state.timing.start_grace_s
    if not settled:
        return None
    # An error in answer to the start, after we asked to cancel, may be so because of the cancel.
    cancel = state.cancel
    if cancel is not None and cancel.sent_at is not None and cancel.sent_at <= refusal.at:
        return End(DownloadStatus.CANCELED)
    return _failed(refusal.words)


def _never_began(state: DownloadState, asked_at: float) -> End | None:
    timing, attempt = state.timing, state.current
    record, waited_s = attempt.record, asked_at - attempt.grace_at
    verdict = record.verdict
    idle_for_the_grace = record.idle is not None and waited_s >= timing.start_grace_s
    if idle_for_the_grace and (verdict is None or verdict.first) and _cancel_settled(state, asked_at):
        return End(DownloadStatus.CANCELED)
    if waited_s < GRACES_TO_BEGIN * timing.start_grace_s:
        return None
    if verdict is not None:
        if asked_at - verdict.at < timing.start_grace_s:
            return None
        is_canceled = verdict.status is DownloadStatus.CANCELED and attempt.has_moved
        if is_canceled or (verdict.first and _cancel_settled(state, asked_at)):
            return End(DownloadStatus.CANCELED)
        if verdict.status is DownloadStatus.COMPLETED and not _is_known_missing(record):
            return End(DownloadStatus.COMPLETED)
    # Where no flag tells and no frame speaks of an end, nothing says that it does not run; or that it is not there.
    if (verdict is None and record.idle is None) or not _is_known_missing(record):
        return None
    return _failed(f"it never began: {state.heard or 'the server said nothing'}")


def _is_known_missing(record: Record) -> bool:
    """Whether the newest snapshot says that the files are not there; it may not tell."""
    return record.seen is not None and record.seen.downloaded is False


def _confirmed(state: DownloadState, asked_at: float) -> End | None:
    """FAILED or CANCELED, said by a frame, with which a snapshot asked after it agrees."""
    record, timing = state.current.record, state.timing
    verdict = record.verdict
    if verdict is None or verdict.status is DownloadStatus.COMPLETED or asked_at < verdict.at:
        return None
    if record.flagged and record.idle is not None and record.idle.at >= verdict.at:
        # One that snapshots denied for long, or a first frame that they denied at all, may be old: the silence decides.
        denied_s = 0.0 if record.denied_at is None else record.denied_at - verdict.at
        agreed = record.denied_at is None or (not verdict.opening and denied_s < timing.settle_s)
    elif record.is_told and record.idle is None:
        agreed = False
    else:
        # No flag ever said that it ran: it lags, or there is none. History may look like this too.
        wait_s = GRACES_TO_BEGIN * timing.start_grace_s if verdict.opening else timing.settle_s
        agreed = asked_at >= max(verdict.at + wait_s, state.current.grace_at + timing.start_grace_s)
    return End(_status_of(verdict), _reason_of(state)) if agreed else None


def _status_of(verdict: Evidence) -> DownloadStatus:
    return verdict.status or DownloadStatus.UNKNOWN


def _reason_of(state: DownloadState) -> str:
    return state.refusal.words if state.refusal is not None else ""


def _unconfirmed(state: DownloadState, asked_at: float) -> End | None:
    """It ran, and for the whole grace nothing has said that it still does."""
    attempt, grace_s = state.current, state.timing.start_grace_s
    record, verdict = attempt.record, attempt.record.verdict
    quiet_from = max(record.positive_at, attempt.grace_at)
    if verdict is not None and verdict.status is DownloadStatus.COMPLETED and not _was_denied(record, state.timing):
        graces = GRACES_TO_BEGIN if verdict.opening and not record.is_told else 1
        if asked_at - max(quiet_from, verdict.at) < graces * grace_s:
            return None
        if not _is_known_missing(record):
            return End(DownloadStatus.COMPLETED)
        return _failed("the server said COMPLETED, but the model is not downloaded")
    if record.idle is None or record.idle_from is None:
        return None
    # Not from the last sign of life on: while frames are calm nobody asks for long.
    if record.idle.at - max(record.idle_from.at, quiet_from) < grace_s:
        return None
    if verdict is not None and not _was_denied(record, state.timing):
        return End(_status_of(verdict), _reason_of(state))
    if _cancel_explains(state):
        return End(DownloadStatus.CANCELED)
    if not _is_known_missing(record):
        return None  # it may have completed: nothing tells
    return _failed(_reason_of(state) or _outage_words(state) or "ended without saying why")


def _was_denied(record: Record, timing: Timing) -> bool:
    """Whether snapshots said for so long that it runs that a first frame's end was an earlier download's."""
    verdict, denied_at = record.verdict, record.denied_at
    if verdict is None or denied_at is None or not verdict.opening:
        return False
    return denied_at - verdict.at >= (timing.settle_s if verdict.first else timing.start_grace_s)


def _outage_words(state: DownloadState) -> str:
    """Say that the server was away between the last sign of life and now, if it was."""
    last = state.outages[-1] if state.outages else None
    if last is None or last.ended_at is None or last.ended_at <= state.current.record.positive_at:
        return ""
    return f"{last.words}; the download did not survive it"


def _ended(state: DownloadState, status: DownloadStatus, reason: str, at: float) -> DownloadState:
    """Return the ended state; `at` is of the evidence, but never before the last that said it runs."""
    state = _led(state, Sign.SETTLED)
    attempt = state.current._replace(stalled_at=None)
    if status is DownloadStatus.COMPLETED:
        attempt = attempt._replace(percentage=100.0)
    ended_at = max(at, attempt.record.positive_at, state.started_at)
    return state._replace(
        status=status, reason=printable(reason, limit=500), ended_at=ended_at, current=attempt, connect_at=None
    )


# Canceling -----------------------------------------------------------------------------------------------------------


def _canceling(state: DownloadState, event: CancelEvent, now: float) -> DownloadState:
    cancel = state.cancel
    match event:
        case CancelAsked():
            # Two are one, unless the first was refused or has been ignored.
            standing = cancel is not None and not _is_spent(state, cancel, now)
            return state if standing else state._replace(cancel=Cancel(now), ask_at=now)
        case CancelSent():
            record = state.current.record
            cancel = (cancel or Cancel(now))._replace(
                sent_at=now,
                sent_running=state.alive,
                sent_flagged=record.flagged,
                sent_ended=record.flagged and record.idle is not None,
                in_flight=True,
            )
        case CancelAnswered() if cancel is not None:
            cancel = cancel._replace(in_flight=False, accepted_at=now, refused=None)
        case CancelUnanswered() if cancel is not None:
            cancel = cancel._replace(in_flight=False)
        case CancelRefused(words) if cancel is not None:
            cancel = cancel._replace(in_flight=False, refused=words)
    return state._replace(cancel=cancel, ask_at=now)


def _is_spent(state: DownloadState, cancel: Cancel, now: float) -> bool:
    """Whether nothing is to be expected of it any more, so that another may be sent."""
    if cancel.sent_at is None or cancel.in_flight:
        return False
    if cancel.refused is not None and cancel.accepted_at is None and cancel.sent_running:
        return True
    return now - cancel.sent_at >= state.timing.cancel_within_s


def cancel_is_due(state: DownloadState, *, now: float) -> bool:
    """Return whether a cancel is to be sent now: not sent yet, or sent before there was anything to cancel."""
    cancel = state.cancel
    if cancel is None or cancel.in_flight or state.done:
        return False
    if cancel.sent_at is not None:
        return state.alive and not cancel.sent_running
    # It must not overtake the start. Yet that may be answered only when the transfer has ended.
    return state.phase is not Phase.STARTING or now - cancel.asked_at >= state.timing.start_answer_s


def _cancel_is_open(state: DownloadState, now: float) -> bool:
    """Whether a cancel may be confirmed any moment; later it still may, but nobody waits for it any more."""
    cancel = state.cancel
    return cancel is not None and now - (cancel.sent_at or cancel.asked_at) < state.timing.cancel_within_s


def _cancel_explains(state: DownloadState) -> bool:
    """Whether a cancel of ours can be why it has ended: taken by the server, and not ignored for so long as it may."""
    cancel = state.cancel
    if cancel is None or cancel.sent_at is None or cancel.sent_ended:
        return False
    if cancel.refused is not None and cancel.accepted_at is None:
        return False
    if state.alive_at > cancel.sent_at + state.timing.cancel_within_s:
        return False
    return _is_known_missing(state.current.record) or not _ran_on(state, cancel)


def _ran_on(state: DownloadState, cancel: Cancel) -> bool:
    """Whether it ran for a while after the server had taken our cancel, or may have."""
    since = cancel.accepted_at if cancel.accepted_at is not None else cancel.sent_at
    if since is None:
        return False
    # While this process stood still nobody looked.
    was_unseen = bool(state.freezes) and state.freezes[-1].at >= since
    return was_unseen or state.alive_at >= since + state.timing.settle_s


def _cancel_settled(state: DownloadState, asked_at: float) -> bool:
    """Whether it explains an end, and its answer is old enough to have taken effect."""
    cancel = state.cancel
    if cancel is None or not _cancel_explains(state):
        return False
    since = cancel.accepted_at if cancel.accepted_at is not None else cancel.sent_at
    return since is not None and asked_at - since >= state.timing.settle_s


def _canceled_now(state: DownloadState) -> End | None:
    """It ran when we asked to cancel, and a snapshot asked for after the server's answer says that it does not."""
    cancel, record = state.cancel, state.current.record
    if cancel is None or cancel.sent_at is None or not cancel.sent_running or not _cancel_explains(state):
        return None
    if record.idle is None or record.idle_from is None:
        return None
    if record.verdict is not None and (not record.verdict.opening or record.denied_at is None):
        return None  # a frame's own word comes first
    answered_at = cancel.accepted_at
    if not cancel.sent_flagged or _ran_on(state, cancel):
        return None  # its flag lags, or it may have ended otherwise: the grace decides
    if answered_at is not None and record.idle.at >= answered_at:
        return End(DownloadStatus.CANCELED)
    since = max(record.idle_from.at, record.positive_at, cancel.sent_at, answered_at or 0.0)
    return End(DownloadStatus.CANCELED) if record.idle.at - since >= state.timing.settle_s else None


# The socket, the stall, a stop of our own ----------------------------------------------------------------------------


def _socket_opened(state: DownloadState, now: float) -> DownloadState:
    socket = state.socket
    return state._replace(
        socket=socket._replace(
            opened_at=now,
            heard_at=now,
            was_open=True,
            first_at=None,
            peak=state.current.peak,
            words="",
            reconnects=socket.reconnects + socket.was_open,
        ),
        connect_at=None,
    )


def _socket_lost(state: DownloadState, event: SocketLost, now: float) -> DownloadState:
    timing, socket = state.timing, state.socket
    backoff = min(timing.backoff_most_s, max(timing.backoff_first_s, socket.backoff_s * 2))
    attempt = state.current
    if (attempt.may_restart or not attempt.is_pinned) and (attempt.raw_percentage or 0.0) < (attempt.percentage or 0.0):
        state = _corrected(state, attempt.raw_percentage or 0.0, now)  # the last that this connection said
    return state._replace(
        socket=socket._replace(opened_at=None, words=event.words, backoff_s=backoff),
        connect_at=now + backoff * (0.5 + event.jitter / 2),
        ask_at=min(state.ask_at, now),
    )


def _check_stall(state: DownloadState, now: float) -> DownloadState:
    attempt = state.current
    if attempt.stalled_at is None and now - attempt.progress_at >= state.timing.stall_after_s:
        return state._replace(current=attempt._replace(stalled_at=attempt.progress_at))
    return state


def _thawed(state: DownloadState, stopped_s: float, now: float) -> DownloadState:
    """Our process stood still. What moved meanwhile moved in a time that the samples do not have."""
    freezes = (*state.freezes, Freeze(now, stopped_s))
    if len(freezes) > 20:
        first, second, *rest = freezes
        freezes = (Freeze(first.at, first.stopped_s + second.stopped_s), *rest)
    return state._replace(freezes=freezes, current=state.current._replace(samples=()), ask_at=now)


# Speed ---------------------------------------------------------------------------------------------------------------


def _sampled(state: DownloadState, percentage: float, now: float) -> tuple[Sample, ...]:
    """Keep some twenty samples a speed window, of the last six windows, and the newest always."""
    window, samples = state.timing.speed_window_s, state.current.samples
    if samples and now - samples[0].at > HISTORY_WINDOWS * window:
        samples = tuple(sample for sample in samples if now - sample.at <= HISTORY_WINDOWS * window)
    if len(samples) >= 2 and samples[-1].at - samples[-2].at < window / 20:
        samples = samples[:-1]
    return (*samples, Sample(now, percentage))


def rate_per_s(state: DownloadState, *, now: float) -> float | None:
    """Return percentage points a second over the last seconds; None while stalled, unanswered, ended or not known."""
    samples = state.samples
    if state.stalled or state.done or state.silent_since is not None or len(samples) < 2:
        return None
    last = samples[-1]
    first = next(sample for sample in samples if last.at - sample.at <= state.timing.speed_window_s)
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


def speed_history(state: DownloadState, *, points: int, now: float) -> tuple[tuple[float, float], ...]:
    """Return (seconds ago, bytes a second) over the last minute, the oldest first, at most `points`; () if unknown."""
    samples, size = state.samples, state.size_bytes
    if size is None or len(samples) < 2 or points < 1:
        return ()
    until = state.ended_at if state.ended_at is not None else max(now, samples[-1].at)
    step = HISTORY_WINDOWS * state.timing.speed_window_s / points
    count = min(points, int((until - samples[0].at) / step) + 1)
    edges = [until - step * index for index in range(count, -1, -1)]
    marks = [_percentage_at(samples, edge) for edge in edges]
    return tuple(
        (now - end, size * (after - before) / 100 / step)
        for end, before, after in zip(edges[1:], marks, marks[1:], strict=False)
    )


def _percentage_at(samples: tuple[Sample, ...], at: float) -> float:
    """Return the percentage at a moment, between two samples on the line between them."""
    before = samples[0]
    for sample in samples:
        if sample.at >= at:
            span = sample.at - before.at
            share = (at - before.at) / span if span > 0 else 1.0
            return before.percentage + (sample.percentage - before.percentage) * min(max(share, 0.0), 1.0)
        before = sample
    return before.percentage
