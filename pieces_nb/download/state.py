"""Download state machine. No I/O, no threads, no clock: callers pass `now`.

`advance(state, event, now=…)` returns the state after an event. The state also says what its owner has to do next:
`ask_at` is when to read a snapshot, `connect_at` when to open the progress socket, `cancel_is_due` whether to cancel.
What a state is made of is in `values`, when it has ended in `ends`; both are told from here, too.
"""

from __future__ import annotations

from typing import assert_never

from pieces_nb.download.ends import end_of
from pieces_nb.download.evidence import Evidence, Record, of_frame, of_refusal, of_snapshot
from pieces_nb.download.speed import rate_per_s, sampled, speed_bytes_per_s, speed_history, time_left_s
from pieces_nb.download.values import (
    NEXT,
    Attempt,
    Broke,
    Cancel,
    CancelAnswered,
    CancelAsked,
    CancelEvent,
    CancelGivenUp,
    CancelRefused,
    CancelSent,
    CancelUnanswered,
    Doubted,
    DownloadState,
    Event,
    FrameHeard,
    Freeze,
    ModelGone,
    NoAnswer,
    Outage,
    Phase,
    Sample,
    Sign,
    SnapshotSeen,
    SocketLost,
    SocketOpened,
    StartAnswered,
    StartEvent,
    StartRefused,
    StartUnanswered,
    Thawed,
    TimePassed,
    Timing,
    TurnCame,
    real,
    wall_time,
)
from pieces_nb.model.models import DownloadStatus, Model, ModelDownloadProgress
from pieces_nb.text import clock, format_duration, format_percentage, printable

__all__ = [
    "NEXT",
    "Broke",
    "Cancel",
    "CancelAnswered",
    "CancelAsked",
    "CancelGivenUp",
    "CancelRefused",
    "CancelSent",
    "CancelUnanswered",
    "Doubted",
    "DownloadState",
    "Event",
    "FrameHeard",
    "ModelGone",
    "NoAnswer",
    "Outage",
    "Phase",
    "Sample",
    "Sign",
    "SnapshotSeen",
    "SocketLost",
    "SocketOpened",
    "StartAnswered",
    "StartRefused",
    "StartUnanswered",
    "Thawed",
    "TimePassed",
    "Timing",
    "TurnCame",
    "advance",
    "already_there",
    "cancel_is_due",
    "merged",
    "queued",
    "rate_per_s",
    "real",
    "speed_bytes_per_s",
    "speed_history",
    "start",
    "time_left_s",
    "time_tells",
    "wall_time",
]


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
    record = Record().with_snapshot(Evidence(now, downloading=True))
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
    return _ended(state, DownloadStatus.COMPLETED, "was already there", now)


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
        case CancelAsked() | CancelSent() | CancelAnswered() | CancelUnanswered() | CancelRefused() | CancelGivenUp():
            state = _canceling(state, event, now)
        case Thawed(stopped_s):
            state = _thawed(state, stopped_s, now)
        case Doubted():
            state = state._replace(ask_at=min(state.ask_at, now))
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
    if not before.alive:  # what was heard while the POST was open is history
        state = state._replace(current=state.current._replace(raw_percentage=None))
    if before.phase is Phase.WAITING:
        held = state.current.held
        state = state._replace(current=state.current._replace(held=None))
        return _moved(state, held, now, opening=True, is_first=True)
    return state


def _restarted(state: DownloadState, status: DownloadStatus, now: float) -> DownloadState:
    """A new attempt, of which nothing is known but that it is one. Before there was any, an end told before is old."""
    phase = NEXT[state.phase].get(Sign.RESTARTED)
    if phase is None:
        return _noted(state, state.current.record.with_opening())
    attempt = Attempt(now, state.attempt + 1, grace_from=now, percentage=0.0, raw_percentage=0.0, progress_at=now)
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
            samples=sampled(state, percentage, now),
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
    if (end := end_of(state, asked_at)) is not None:
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
            # Two are one, unless nothing is to be expected of the first any more.
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
                refused=None,
            )
        case CancelAnswered() if cancel is not None:
            cancel = cancel._replace(in_flight=False, accepted_at=now, refused=None)
        case CancelUnanswered() if cancel is not None:
            cancel = cancel._replace(in_flight=False)
        case CancelRefused(words) if cancel is not None:
            cancel = cancel._replace(in_flight=False, refused=words)
        case CancelGivenUp() if cancel is not None:
            return state._replace(cancel=cancel._replace(given_up=True))
    return state._replace(cancel=cancel, ask_at=now)


def _is_spent(state: DownloadState, cancel: Cancel, now: float) -> bool:
    """Whether nothing is to be expected of it any more, so that another is sent: this alone says so.

    It was refused for good, or somebody was told that it is not confirmed; where nobody waited to be told (an
    interrupt ends the waiting), as much time has passed.
    """
    if cancel.sent_at is None:
        return False
    is_refused = cancel.refused is not None and cancel.accepted_at is None and cancel.sent_running
    return is_refused or cancel.given_up or now - cancel.asked_at >= state.timing.cancel_within_s


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


def time_tells(state: DownloadState, *, now: float) -> bool:
    """Return whether `TimePassed` would change the state: nothing moves for so long that it is a stall."""
    attempt = state.current
    return attempt.stalled_at is None and now - attempt.progress_at >= state.timing.stall_after_s


def _check_stall(state: DownloadState, now: float) -> DownloadState:
    if not time_tells(state, now=now):
        return state
    return state._replace(current=state.current._replace(stalled_at=state.current.progress_at))


def _thawed(state: DownloadState, stopped_s: float, now: float) -> DownloadState:
    """Our process stood still. What moved meanwhile moved in a time that the samples do not have."""
    freezes = (*state.freezes, Freeze(now, stopped_s))
    if len(freezes) > 20:
        first, second, *rest = freezes
        freezes = (Freeze(first.at, first.stopped_s + second.stopped_s), *rest)
    return state._replace(freezes=freezes, current=state.current._replace(samples=()), ask_at=now)
