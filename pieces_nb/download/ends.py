"""When the evidence settles how a download has ended, and in which word. Pure; asks no clock, changes no state."""

from __future__ import annotations

from typing import NamedTuple, assert_never

from pieces_nb.download.evidence import Evidence, Record
from pieces_nb.download.values import GRACES_TO_BEGIN, Cancel, DownloadState, Phase, Timing
from pieces_nb.model.models import DownloadStatus


class End(NamedTuple):
    """How it ended, by the evidence."""

    status: DownloadStatus
    reason: str = ""


def _failed(reason: str) -> End:
    return End(DownloadStatus.FAILED, reason)


def end_of(state: DownloadState, asked_at: float) -> End | None:
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
    # Asked for before the start was answered, a flag of idleness says nothing about it.
    is_idle = record.idle is not None and record.idle.at >= attempt.grace_at
    idle_for_the_grace = is_idle and waited_s >= timing.start_grace_s
    was_taken = state.cancel is not None and state.cancel.accepted_at is not None
    if idle_for_the_grace and was_taken and (verdict is None or verdict.first) and _cancel_settled(state, asked_at):
        return End(DownloadStatus.CANCELED)
    if waited_s < GRACES_TO_BEGIN * timing.start_grace_s:
        return None
    if verdict is not None:
        if asked_at - verdict.at < timing.start_grace_s:
            return None
        is_new = attempt.has_moved or _came_after_our_cancel(state, verdict)
        if verdict.status is DownloadStatus.CANCELED and is_new:
            return End(DownloadStatus.CANCELED)
        if verdict.first and _cancel_settled(state, asked_at):
            return End(DownloadStatus.CANCELED)
        if verdict.status is DownloadStatus.COMPLETED and not _is_known_missing(record):
            return End(DownloadStatus.COMPLETED)
    # A frame that spoke of an end or a flag that says idle: one is enough only where the files are known to be missing.
    said = (verdict is not None) + is_idle
    if said < (1 if _is_known_missing(record) else 2):
        return None
    if _cancel_settled(state, asked_at):
        return End(DownloadStatus.CANCELED)
    return _failed(f"it never began: {state.heard or 'the server said nothing'}")


def _came_after_our_cancel(state: DownloadState, verdict: Evidence) -> bool:
    """Whether a cancel that the server has taken was sent before it."""
    cancel = state.cancel
    if cancel is None or cancel.sent_at is None or cancel.accepted_at is None:
        return False
    return cancel.sent_at <= verdict.at and _cancel_explains(state)


def _is_known_missing(record: Record) -> bool:
    """Whether the newest snapshot says that the files are not there; it may not tell."""
    return record.seen is not None and record.seen.downloaded is False


def _confirmed(state: DownloadState, asked_at: float) -> End | None:
    """FAILED or CANCELED, said by a frame, with which a snapshot asked after it agrees."""
    record, timing = state.current.record, state.timing
    verdict = record.verdict
    if verdict is None or verdict.status is DownloadStatus.COMPLETED:
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


# By our cancel -------------------------------------------------------------------------------------------------------


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
