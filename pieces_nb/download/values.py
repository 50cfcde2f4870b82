"""What the state of a download is made of: timing, phases, events, values. Nothing here decides.

Times are seconds of a monotonic clock that stands still while this process is stopped, so that all waits are counted in
our own running time; `Thawed` tells of such a stop, and `real` undoes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from pieces_nb.download.evidence import Evidence, Record
from pieces_nb.model.models import DownloadStatus, Model, ModelDownloadProgress
from pieces_nb.text import clock


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


class Doubted(NamedTuple):
    """Somebody has reason to think that it is over: the server is to be asked now."""


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


class CancelGivenUp(NamedTuple):
    """Somebody who asked for it waits for it no longer, and has said that it is not confirmed."""


class Thawed(NamedTuple):
    """Our process stood still for so long; the caller's clock did too."""

    stopped_s: float


class Broke(NamedTuple):
    """Something of ours broke, and nobody follows it any more."""

    words: str


class TimePassed(NamedTuple):
    """Nothing but time."""


StartEvent = StartAnswered | StartRefused | StartUnanswered
CancelEvent = CancelAsked | CancelSent | CancelAnswered | CancelUnanswered | CancelRefused | CancelGivenUp
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
    | Doubted
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
    given_up: bool = False  # somebody who waited for it has told its user that it is not confirmed


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
