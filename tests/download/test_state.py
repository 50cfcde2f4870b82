"""The download state machine, rule by rule. `now` is passed: nothing here waits."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pieces_nb.download import state as ds
from pieces_nb.download.state import (
    Broke,
    CancelAnswered,
    CancelAsked,
    CancelGivenUp,
    CancelRefused,
    CancelSent,
    CancelUnanswered,
    DownloadState,
    Event,
    FrameHeard,
    ModelGone,
    NoAnswer,
    Phase,
    Sign,
    SnapshotSeen,
    SocketLost,
    SocketOpened,
    StartAnswered,
    StartRefused,
    StartUnanswered,
    Thawed,
    TimePassed,
    Timing,
    advance,
    cancel_is_due,
    merged,
    start,
)
from pieces_nb.model.models import DownloadStatus, Model, ModelDownloadProgress
from pieces_nb.text import clock

SIZE = 200_000_000


def model(**fields: Any) -> Model:
    flags = {"downloading": False, "downloaded": False} | fields
    told = {name: value for name, value in flags.items() if value != "missing"}
    return Model({"id": "m-1", "name": "Phi-2", "bytes": {"value": SIZE}, **told})


IDLE = model()
RUNNING = model(downloading=True)
THERE = model(downloaded=True)
UNFLAGGED = model(downloading="missing")
SILENT = model(downloading="missing", downloaded="missing")
ENDS = ["FAILED", "CANCELED"]
GRACE = Timing().start_grace_s


def frame(status: str, percentage: object = None) -> FrameHeard:
    return FrameHeard(ModelDownloadProgress.from_wire({"status": status, "percentage": percentage}))


def play(state: DownloadState, *steps: tuple[float, Event]) -> DownloadState:
    for now, event in steps:
        state = advance(state, event, now=now)
    return state


def seen(which: Model, at: float) -> tuple[float, Event]:
    return at, SnapshotSeen(which, asked_at=at)


def every(which: Model, *seconds: float) -> list[tuple[float, Event]]:
    """Snapshots that all say the same."""
    return [seen(which, at) for at in seconds]


def posted(at: float = 0.0) -> DownloadState:
    """A download whose POST was answered at once."""
    return play(start(IDLE, now=at), (at, StartAnswered()))


def running(at: float = 0.0, percentage: float = 30.0) -> DownloadState:
    """A download whose socket is open, which a snapshot and a frame have shown alive."""
    return play(
        posted(at - 2),
        (at - 1, SocketOpened()),
        (at - 1, frame("INITIALIZED", 0)),
        seen(RUNNING, at),
        (at, frame("IN-PROGRESS", percentage)),
    )


def unflagged(at: float = 0.0) -> DownloadState:
    """The same from a server that never tells `downloading`."""
    return play(
        posted(at - GRACE),
        (at - 1, SocketOpened()),
        (at - 1, frame("INITIALIZED", 0)),
        seen(UNFLAGGED, at),
        (at, frame("IN-PROGRESS", 30)),
    )


def canceled(state: DownloadState, at: float) -> DownloadState:
    """Our cancel is sent and taken."""
    return play(state, (at, CancelAsked()), (at, CancelSent()), (at, CancelAnswered()))


def outcome(state: DownloadState) -> str:
    return str(state.status) if state.done else ""


# The phases ----------------------------------------------------------------------------------------------------------


def test_the_table_of_phases_leads_on_to_the_end_and_out_of_it_nowhere() -> None:
    assert ds.NEXT.keys() == set(Phase)
    assert ds.NEXT[Phase.ENDED] == {}
    assert all(ds.NEXT[phase][Sign.SETTLED] is Phase.ENDED for phase in Phase if phase is not Phase.ENDED)


def test_a_download_goes_through_its_phases() -> None:
    state = start(IDLE, now=0)
    phases = [state.phase]
    for now, event in [
        (1, StartAnswered()),
        seen(RUNNING, 2),
        (3, frame("COMPLETED")),
        seen(THERE, 4),
    ]:
        state = advance(state, event, now=now)
        phases.append(state.phase)
    assert phases == [Phase.STARTING, Phase.WAITING, Phase.RUNNING, Phase.ENDING, Phase.ENDED]


@pytest.mark.parametrize(
    ("value", "told"), [(True, True), (False, False), (None, None), ("true", None), (1, None), (0, None), ({}, None)]
)
def test_a_flag_has_three_values(value: object, told: bool | None) -> None:
    assert Model({"downloading": value}).flag("downloading") is told
    assert Model({}).flag("downloading") is None


# Rule 1: while the POST is open --------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["COMPLETED", *ENDS])
@pytest.mark.parametrize("until", [3, 12])
def test_a_post_in_flight_while_the_socket_repeats_the_old_end_ends_nothing(word: str, until: int) -> None:
    state = play(start(IDLE, now=0), (2, SocketOpened()))
    for at in range(2, until):
        old = [(at, frame("INITIALIZED", 0)), (at, frame("IN-PROGRESS", 50)), (at, frame(word, 60))]
        state = play(state, *old, seen(IDLE, at + 0.5))
        assert (state.phase, state.percentage, state.status) == (Phase.STARTING, None, "INITIALIZED")
    state = play(state, (until, StartAnswered()), *every(IDLE, until + 1, until + 9))
    assert not state.done
    state = play(state, seen(RUNNING, until + 9.5), (until + 9.6, frame("IN-PROGRESS", 5)))
    assert (state.phase, state.percentage) == (Phase.RUNNING, 5)


def test_the_grace_runs_from_the_answer_to_the_post() -> None:
    state = play(start(IDLE, now=0), *every(IDLE, *range(1, 100)), (100, StartAnswered()), *every(IDLE, 109, 119))
    assert not state.done
    assert outcome(play(state, seen(IDLE, 120))) == "FAILED"


def test_a_flag_that_was_told_only_while_the_post_was_open_does_not_say_that_it_never_began() -> None:
    state = play(start(IDLE, now=0), seen(IDLE, 1), (2, StartAnswered()), *every(UNFLAGGED, *range(3, 60)))
    assert not state.done
    assert outcome(play(state, seen(IDLE, 60))) == "FAILED"


def test_the_grace_runs_from_the_posts_timeout() -> None:
    state = play(start(IDLE, now=0), (10, StartUnanswered()), *every(IDLE, 12, 19))
    assert not state.done
    assert play(state, seen(RUNNING, 19.5)).phase is Phase.RUNNING


def test_a_snapshot_that_says_downloading_tells_of_the_begin_though_the_post_is_open() -> None:
    state = play(start(IDLE, now=0), (2, SocketOpened()), seen(RUNNING, 3), (4, frame("IN-PROGRESS", 5)))
    assert (state.phase, state.percentage) == (Phase.RUNNING, 5)
    assert outcome(play(state, (5, frame("FAILED")), seen(IDLE, 5.1))) == "FAILED"


def test_the_socket_waits_for_the_answer_and_for_one_snapshot_after_it() -> None:
    state = start(IDLE, now=0)
    assert state.connect_at == Timing().start_answer_s
    state = play(state, (0.1, StartAnswered()))
    assert state.connect_at == Timing().start_answer_s
    assert state.ask_at == 0.1
    assert play(start(IDLE, now=0), seen(RUNNING, 0.05)).connect_at == Timing().start_answer_s
    assert play(state, seen(IDLE, 0.2)).connect_at == 0.2


# Rule 2 and 8: how it ends -------------------------------------------------------------------------------------------


def test_completed_frame_ends_only_after_a_snapshot_that_agrees() -> None:
    state = play(running(), (5, frame("COMPLETED", 100)))
    assert (state.done, state.status, state.phase) == (False, "IN-PROGRESS", Phase.ENDING)
    assert state.ask_at <= 5
    state = play(state, seen(RUNNING, 5.1))
    assert not state.done
    state = play(state, seen(THERE, 5.4))
    assert (state.status, state.percentage, state.reason) == ("COMPLETED", 100, "")


@pytest.mark.parametrize("which", [IDLE, RUNNING, UNFLAGGED])
def test_downloaded_three_seconds_behind_completed_is_completed(which: Model) -> None:
    state = play(running(), (5, frame("COMPLETED", 100)), *every(which, 5.1, 6, 7, 8))
    assert not state.done
    assert outcome(play(state, seen(THERE, 8.1))) == "COMPLETED"


@pytest.mark.parametrize("which", [IDLE, UNFLAGGED])
def test_completed_waits_for_downloaded_the_whole_grace(which: Model) -> None:
    state = play(running(), (5, frame("COMPLETED", 100)), *every(which, 5.1, 14.9))
    assert not state.done
    state = play(state, seen(which, 15.1))
    assert state.status == "FAILED"
    assert "COMPLETED, but the model is not downloaded" in state.reason


@pytest.mark.parametrize("downloading", [False, "missing"])
def test_completed_where_downloaded_is_not_told_is_believed_after_the_grace(downloading: object) -> None:
    which = model(downloading=downloading, downloaded="missing")
    state = play(running(), (5, frame("COMPLETED", 100)), *every(which, 5.1, 14.9))
    assert not state.done
    assert outcome(play(state, seen(which, 15.1))) == "COMPLETED"


@pytest.mark.parametrize("word", ENDS)
def test_terminal_frame_ends_when_a_later_snapshot_is_idle(word: str) -> None:
    state = play(running(), (5, frame(word)), seen(IDLE, 5.1))
    assert (state.done, state.status) == (True, word)


@pytest.mark.parametrize("word", ENDS)
def test_a_snapshot_asked_before_the_terminal_frame_does_not_confirm_it(word: str) -> None:
    state = play(running(), (5, frame(word)), (5.1, SnapshotSeen(IDLE, asked_at=4.9)))
    assert not state.done


@pytest.mark.parametrize("word", ENDS)
def test_a_flag_that_lags_behind_the_end_delays_it_and_keeps_the_word(word: str) -> None:
    state = play(running(), (5, frame(word)), *every(RUNNING, 5.1, 6))
    assert not state.done
    assert outcome(play(state, seen(IDLE, 7))) == word
    state = play(state, *every(RUNNING, 8, 20), seen(IDLE, 21))
    assert not state.done
    assert outcome(play(state, seen(IDLE, 31.1))) == word


@pytest.mark.parametrize("word", ENDS)
def test_a_failed_frame_is_overruled_by_a_snapshot_that_says_downloaded(word: str) -> None:
    assert play(running(), (5, frame(word)), seen(THERE, 5.1)).status == "COMPLETED"


def test_a_frame_that_moves_on_takes_a_terminal_one_back() -> None:
    state = play(running(), (5, frame("FAILED")), (6, frame("IN-PROGRESS", 50)), seen(IDLE, 6.1))
    assert (state.done, state.percentage) == (False, 50)


def test_an_end_without_a_word_is_completed_when_it_is_there() -> None:
    state = play(running(), (5, SocketLost("closed")), *every(IDLE, 5, 6, 8))
    assert not state.done
    assert play(state, seen(THERE, 8.1)).status == "COMPLETED"


def test_an_end_without_a_word_is_failed_when_it_is_not_there_for_the_whole_grace() -> None:
    state = play(running(), (5, SocketLost("closed")), *every(IDLE, 5, 14.9))
    assert not state.done
    state = play(state, seen(IDLE, 15.1))
    assert (state.status, state.reason) == ("FAILED", "ended without saying why")


def test_an_end_that_a_reconnect_tells_of_is_believed() -> None:
    state = play(running(), (5, SocketLost("closed")), (6, SocketOpened()), (6, frame("CANCELED")), seen(IDLE, 6.1))
    assert outcome(state) == "CANCELED"


def test_a_server_that_went_away_says_so() -> None:
    state = start(IDLE, now=0, wall_at_zero=1_700_000_000)
    state = play(state, (0, StartAnswered()), seen(RUNNING, 1), (5, NoAnswer("refused")), (30, NoAnswer("refused")))
    assert state.outages == (ds.Outage(ds.wall_time(state, 5)),)
    state = play(state, seen(IDLE, 65), seen(IDLE, 76))
    assert outcome(state) == "FAILED"
    began, ended = (clock(ds.wall_time(state, at)) for at in (5, 65))
    assert state.reason == f"the server went away at {began} and was back at {ended}; the download did not survive it"


def test_an_outage_that_the_download_survived_explains_no_later_end() -> None:
    state = play(running(), (5, NoAnswer("refused")), seen(RUNNING, 30), *every(IDLE, 60, 71))
    assert state.reason == "ended without saying why"
    assert len(state.outages) == 1


def test_a_server_that_answers_nonsense_has_not_gone_away() -> None:
    state = play(running(), (5, NoAnswer("an error page", unreachable=False)))
    assert (state.silent_since, state.outages) == (5, ())


def test_a_model_that_disappears_is_failed_with_the_servers_words() -> None:
    state = play(running(), (5, ModelGone("no such model")))
    assert (state.status, state.reason) == ("FAILED", "the model is gone: no such model")


def test_a_crash_of_ours_does_not_read_as_a_model_that_is_gone() -> None:
    state = play(running(), (5, Broke("KeyError('x')")))
    assert (state.status, state.reason) == ("FAILED", "pieces_nb itself failed: KeyError('x')")


def test_an_ended_state_ignores_everything() -> None:
    ended = play(running(), seen(THERE, 5))
    events: list[Event] = [
        *(frame("IN-PROGRESS", 3), frame("RESET"), SnapshotSeen(IDLE, 9), ModelGone("x"), SocketLost("y")),
        *(CancelAsked(), CancelSent(), CancelAnswered(), CancelUnanswered(), CancelRefused(), CancelGivenUp()),
        StartRefused("z"),
        *(StartAnswered(), StartUnanswered(), NoAnswer("w"), TimePassed(), SocketOpened(), Thawed(8), Broke("v")),
    ]
    for event in events:
        assert advance(ended, event, now=99) is ended


# Rule 3: until it has begun ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["COMPLETED", *ENDS])
def test_an_old_terminal_frame_repeated_on_connect_ends_nothing(word: str) -> None:
    state = play(posted(), (0.1, SocketOpened()), (0.1, frame(word, 100)), *every(IDLE, 0.2, 9.9))
    assert not state.done
    assert state.percentage is None
    state = play(state, (9.95, frame("IN-PROGRESS", 1)), seen(RUNNING, 10.5))
    assert (state.done, state.status, state.percentage) == (False, "IN-PROGRESS", 1)


def test_an_old_history_that_comes_late_after_the_opening_is_old_all_the_same() -> None:
    history: list[tuple[float, Event]] = [
        (0.9, frame("INITIALIZED", 0)),
        (1.0, frame("IN-PROGRESS", 60)),
        (1.3, frame("FAILED")),
    ]
    state = play(posted(), (0.1, SocketOpened()), *history, *every(IDLE, 2, 9, 15))
    assert (state.done, state.phase) == (False, Phase.WAITING)


@pytest.mark.parametrize("word", ENDS)
def test_a_whole_old_history_repeated_on_connect_ends_nothing(word: str) -> None:
    history: list[tuple[float, Event]] = [
        (0.1, SocketOpened()),
        (0.1, frame("INITIALIZED", 0)),
        (0.1, frame("IN-PROGRESS", 60)),
        (0.1, frame(word)),
    ]
    state = play(posted(), *history, *every(IDLE, 0.2, 2, 5, 9))
    assert not state.done
    assert state.phase is Phase.WAITING
    state = play(state, seen(RUNNING, 9.5), (9.6, frame("IN-PROGRESS", 1)))
    assert (state.phase, state.percentage) == (Phase.RUNNING, 1)


@pytest.mark.parametrize("word", ENDS)
def test_an_old_history_repeated_again_and_again_ends_nothing_within_the_grace(word: str) -> None:
    state = play(posted(), (0.1, SocketOpened()))
    for second in range(1, 9):
        state = play(state, (second, frame("INITIALIZED")), (second, frame(word)), seen(IDLE, second + 0.1))
        assert not state.done
    assert play(state, seen(RUNNING, 9)).phase is Phase.RUNNING


def test_downloaded_ends_it_even_before_it_began() -> None:
    assert play(start(IDLE, now=0), seen(THERE, 0.1)).status == "COMPLETED"


def test_a_begin_twelve_seconds_after_the_answer_is_waited_for() -> None:
    state = play(posted(), *every(IDLE, 1, 9, 10.1, 12))
    assert not state.done
    assert play(state, seen(RUNNING, 12.5)).phase is Phase.RUNNING


def test_after_that_it_is_failed_with_the_last_words_heard() -> None:
    state = play(posted(), (0.1, SocketOpened()), (0.1, frame("CANCELED")), seen(IDLE, 20.0))
    assert (state.status, state.reason) == ("FAILED", "it never began: the server said CANCELED")


@pytest.mark.parametrize("which", [UNFLAGGED, SILENT])
def test_where_the_server_tells_nothing_at_all_it_is_followed_on_and_stalled_in_words(which: Model) -> None:
    state = play(posted(), *every(which, 5, 11, 21, 1000), (1000, TimePassed()))
    assert (state.done, state.stalled) == (False, True)
    assert outcome(play(state, seen(THERE, 2000))) == "COMPLETED"


def test_where_only_a_first_frame_tells_of_an_end_it_is_believed_after_the_grace() -> None:
    state = play(posted(), (0.1, SocketOpened()), (0.1, frame("FAILED")), *every(UNFLAGGED, 1, 19))
    assert not state.done
    assert outcome(play(state, seen(UNFLAGGED, 20.1))) == "FAILED"


def test_a_reset_told_after_an_old_end_is_no_word_of_that_end() -> None:
    state = play(posted(), (0.1, SocketOpened()), (0.1, frame("CANCELED")), (0.3, SocketLost("closed")))
    state = play(state, (11, SocketOpened()), (11, frame("RESET")), *every(UNFLAGGED, 12, 21, 30))
    assert outcome(state) == ""
    assert outcome(play(state, seen(THERE, 31))) == "COMPLETED"


def test_a_flag_false_for_eight_seconds_while_frames_move_ends_nothing() -> None:
    state = play(posted(), (0.1, SocketOpened()))
    for second in range(1, 9):
        state = play(state, (second, frame("IN-PROGRESS", second)), *every(IDLE, second + 0.2, second + 0.8))
        assert not state.done
    assert play(state, seen(RUNNING, 9)).percentage == 8


def test_live_frames_outweigh_an_idle_flag_until_they_are_silent_for_the_grace() -> None:
    state = play(running(), *((float(at), frame("IN-PROGRESS", at)) for at in range(31, 60)))
    state = play(state, *every(IDLE, 59.5, 69.4))
    assert not state.done
    assert outcome(play(state, seen(IDLE, 69.6))) == "FAILED"


def test_a_failure_that_the_flag_lags_behind_is_told_after_the_grace_and_in_its_own_word() -> None:
    frames: list[tuple[float, Event]] = [
        (1, frame("INITIALIZED")),
        (2, frame("IN-PROGRESS", 5)),
        (3, frame("CANCELED")),
    ]
    state = play(posted(), (0.1, SocketOpened()), *frames, *every(IDLE, 3.1, 5, 9.9))
    assert not state.done
    assert outcome(play(state, seen(IDLE, 10))) == "CANCELED"


def test_a_refused_start_is_believed_when_snapshots_go_on_saying_idle() -> None:
    state = play(start(IDLE, now=0), (0.1, StartRefused("the engine is missing")), *every(IDLE, 0.2, 1, 2))
    assert not state.done
    state = play(state, seen(IDLE, 2.3))
    assert (state.status, state.reason) == ("FAILED", "the engine is missing")


def test_a_refused_start_is_not_believed_when_a_snapshot_a_moment_later_says_downloading() -> None:
    state = play(start(IDLE, now=0), (0.1, StartRefused("already downloading")), seen(IDLE, 0.2), seen(RUNNING, 1))
    assert (state.done, state.status, state.refusal) == (False, "IN-PROGRESS", None)


def test_a_refused_start_joins_what_already_runs() -> None:
    state = play(start(IDLE, now=0), (0.1, StartRefused("already downloading")), seen(RUNNING, 0.2))
    assert (state.done, state.status) == (False, "IN-PROGRESS")


def test_a_refused_start_of_a_server_without_flags_is_believed_after_the_grace() -> None:
    state = play(start(IDLE, now=0), (0.1, StartRefused("no space left")), *every(UNFLAGGED, 1, 10))
    assert not state.done
    assert play(state, seen(UNFLAGGED, 10.2)).reason == "no space left"


def test_the_late_words_of_a_start_that_failed_are_the_reason() -> None:
    state = play(start(IDLE, now=0), seen(RUNNING, 1), (60, StartRefused("the engine is missing")))
    assert play(state, *every(IDLE, 60.1, 62.2)).reason == "the engine is missing"


def test_initialized_is_no_begin_by_itself_for_an_old_story_starts_so_too() -> None:
    state = play(posted(), (0.1, SocketOpened()), (5, frame("INITIALIZED", 0)), (9, frame("INITIALIZED", 0)))
    assert (state.phase, state.status) == (Phase.WAITING, "INITIALIZED")


@pytest.mark.parametrize("idle", [{}, {"status": "UNKNOWN"}, {"status": "NEW-WORD"}, {"status": 7}, [], None])
def test_what_says_nothing_is_not_life(idle: object) -> None:
    state = play(posted(), (0.1, SocketOpened()), (5, FrameHeard(ModelDownloadProgress.from_wire(idle))))
    assert not state.alive
    assert state.status == "INITIALIZED"


# Rule 0: late answers ------------------------------------------------------------------------------------------------


def test_a_late_answer_proves_nothing_about_now() -> None:
    state = play(running(), (3, frame("IN-PROGRESS", 40)), (20, SnapshotSeen(IDLE, asked_at=2)))
    assert state.phase is Phase.RUNNING
    state = play(state, seen(RUNNING, 21), (22, SnapshotSeen(IDLE, asked_at=20)))
    assert (state.phase, state.model) == (Phase.RUNNING, RUNNING)


def test_a_late_answer_that_says_downloaded_is_believed() -> None:
    state = play(running(), seen(RUNNING, 5), (6, SnapshotSeen(THERE, asked_at=4)))
    assert outcome(state) == "COMPLETED"


def test_a_late_failure_of_a_question_counts_nothing_when_a_newer_one_was_answered() -> None:
    state = play(running(), seen(RUNNING, 5), (12, NoAnswer("timed out", asked_at=4)))
    assert (state.silent_since, state.outages) == (None, ())


def test_a_stale_answer_after_a_freeze_does_not_say_that_it_never_began() -> None:
    """The clock that is passed stands still while we do: eight seconds of a stop are none of the grace."""
    state = play(posted(), seen(IDLE, 12.5), (12.6, Thawed(8.0)), (12.7, SnapshotSeen(IDLE, asked_at=12.5)))
    assert not state.done
    assert state.frozen_s == 8
    assert ds.real(state, 12.7) - ds.real(state, 12.5) == pytest.approx(8.2)
    assert state.ask_at <= 12.7 + 1


def test_two_failed_questions_around_a_freeze_are_no_loss() -> None:
    state = play(running(), (5, NoAnswer("timed out", asked_at=4.9)), (5, Thawed(400.0)))
    state = play(state, (5.3, NoAnswer("timed out", asked_at=5.2)))
    assert not state.done


def test_a_freeze_is_in_the_duration_and_not_in_the_speed() -> None:
    state = play(running(percentage=10), (1, frame("IN-PROGRESS", 11)), (1, Thawed(100.0)))
    state = play(state, (1.1, frame("IN-PROGRESS", 90)))
    assert ds.rate_per_s(state, now=1.1) is None
    state = play(state, (2.1, frame("IN-PROGRESS", 91)), seen(THERE, 3))
    assert state.duration_s == pytest.approx(3 + 2 + 100)


def test_many_freezes_stay_few_values_and_lose_no_second() -> None:
    state = running()
    for at in range(1, 200):
        state = advance(state, Thawed(1.0), now=float(at))
    assert len(state.freezes) <= 21
    assert state.frozen_s == 199


def test_the_duration_ends_with_the_evidence_and_not_with_its_processing() -> None:
    state = play(running(), (5, frame("COMPLETED")), (12, SnapshotSeen(THERE, asked_at=5.1)))
    assert state.ended_at == 5.1
    state = play(running(), (8, frame("IN-PROGRESS", 99)), (9, SnapshotSeen(THERE, asked_at=1)))
    assert state.ended_at == 8


# Rule 4: the socket --------------------------------------------------------------------------------------------------


def test_a_socket_that_closes_asks_the_snapshot_at_once() -> None:
    state = play(running(), (5, SocketLost("closed")))
    assert not state.done
    assert state.ask_at <= 5


def test_backoff_doubles_up_to_its_limit_and_starts_again_after_a_frame() -> None:
    state = running()
    waits = []
    for _ in range(7):
        state = play(state, (5, SocketLost("closed", jitter=1.0)))
        assert state.connect_at is not None
        waits.append(state.connect_at - 5)
    assert waits == [0.25, 0.5, 1, 2, 4, 5, 5]
    state = play(state, (6, SocketOpened()), (6, frame("IN-PROGRESS", 40)), (6, SocketLost("closed", jitter=1.0)))
    assert state.connect_at == 6.25
    assert state.reconnects == 1


def test_jitter_spreads_the_reconnects_over_half_the_backoff() -> None:
    for jitter, wait in ((0.0, 0.125), (1.0, 0.25)):
        assert play(running(), (5, SocketLost("closed", jitter=jitter))).connect_at == 5 + wait


def test_a_socket_that_is_silent_too_long_is_given_up() -> None:
    assert play(running(), seen(RUNNING, 59)).socket_open
    state = play(running(), seen(RUNNING, 60))
    assert not state.socket_open
    assert "silent for 1 min" in state.socket_words


def test_no_answer_for_lost_after_s_is_failed_and_says_since_when_and_where() -> None:
    state = start(IDLE, now=0, wall_at_zero=1_700_000_000)
    state = play(state, (0, StartAnswered()), (0, SocketOpened()), seen(RUNNING, 0), (60, frame("IN-PROGRESS", 37)))
    state = play(state, (61, NoAnswer("refused")), (360, NoAnswer("refused")))
    assert not state.done
    state = play(state, (361, NoAnswer("refused")))
    assert state.status == "FAILED"
    assert state.reason.startswith(f"no answer since {clock(ds.wall_time(state, 60))}, last seen 37 %")
    assert "refused" in state.reason


def test_frames_are_answers_too() -> None:
    state = play(running(), (61, NoAnswer("refused")), (200, frame("IN-PROGRESS", 50)), (361, NoAnswer("refused")))
    assert not state.done


def test_a_machine_that_slept_is_not_taken_for_a_server_that_is_lost() -> None:
    state = play(running(), (4000, NoAnswer("timed out")))
    assert not state.done
    assert play(state, seen(RUNNING, 4001)).silent_since is None


# Rule 5: percentages -------------------------------------------------------------------------------------------------


def test_percentage_never_goes_back_within_an_attempt() -> None:
    state = play(running(percentage=60), (1, frame("IN-PROGRESS", 20)), (2, frame("IN-PROGRESS", 40)))
    assert (state.percentage, state.attempt) == (60, 1)
    assert state.current.progress_at == 2  # rising again is life, though nothing to show


@pytest.mark.parametrize("odd", [-1, 101, math.nan, math.inf, 1e308, "37", None, True, [], {}])
def test_an_odd_percentage_changes_nothing(odd: object) -> None:
    state = play(running(percentage=30), (1, frame("IN-PROGRESS", odd)))
    assert state.percentage == 30


def test_zero_is_a_percentage_and_unknown_is_not_zero() -> None:
    assert posted().percentage is None
    assert play(posted(), (1, frame("IN-PROGRESS", 0))).percentage == 0


def test_a_percentage_is_not_stuck_at_the_stale_first_frames() -> None:
    state = play(posted(), seen(RUNNING, 0), (1, SocketOpened()), (1, frame("IN-PROGRESS", 60)))
    assert (state.percentage, state.attempt) == (60, 1)
    state = play(state, (2, frame("IN-PROGRESS", 3)), (3, frame("IN-PROGRESS", 4)))
    assert (state.percentage, state.attempt) == (4, 2)


def test_a_first_frame_that_proves_true_pins() -> None:
    state = play(posted(), seen(RUNNING, 0), (1, SocketOpened()), (1, frame("IN-PROGRESS", 60)))
    state = play(state, (2, frame("IN-PROGRESS", 61)), (3, frame("IN-PROGRESS", 5)))
    assert (state.percentage, state.attempt) == (61, 1)


def test_a_stale_first_frame_of_a_later_connection_does_not_stick_either() -> None:
    state = play(running(percentage=30), (5, SocketLost("closed")), (6, SocketOpened()), (6, frame("IN-PROGRESS", 90)))
    state = play(state, (7, frame("IN-PROGRESS", 40)))
    assert (state.percentage, state.attempt) == (40, 2)


def test_a_first_frame_before_the_begin_is_shown_once_it_has_begun() -> None:
    state = play(posted(), (1, SocketOpened()), (1, frame("IN-PROGRESS", 20)))
    assert (state.percentage, state.alive) == (None, False)
    assert play(state, seen(RUNNING, 2)).percentage == 20


def test_what_came_before_an_old_end_is_not_shown() -> None:
    state = play(posted(), (1, SocketOpened()), (1, frame("IN-PROGRESS", 60)), (1, frame("FAILED")), seen(RUNNING, 2))
    assert state.percentage is None


def test_a_percentage_that_rises_from_connection_to_connection_is_life() -> None:
    """A server that says one frame a connection, and whose flag lags."""
    state = play(posted(), (1, SocketOpened()), (1, frame("IN-PROGRESS", 20)), (1, SocketLost("closed")))
    assert not state.alive
    state = play(state, (2, SocketOpened()), (2, frame("IN-PROGRESS", 21)))
    assert (state.alive, state.percentage) == (True, 21)


def test_reset_starts_a_new_attempt_at_zero() -> None:
    state = play(running(percentage=60), (1, frame("RESET")))
    assert (state.attempt, state.percentage, state.alive) == (2, 0, False)
    state = play(state, (2, frame("IN-PROGRESS", 5)))
    assert state.percentage == 5


@pytest.mark.parametrize("percentage", [0, None])
def test_initialized_after_progress_starts_a_new_attempt(percentage: int | None) -> None:
    state = play(running(percentage=60), (1, frame("INITIALIZED", percentage)))
    assert (state.attempt, state.percentage, state.alive) == (2, 0, True)
    assert play(state, (2, frame("IN-PROGRESS", 5))).percentage == 5


def test_initialized_before_any_progress_starts_none() -> None:
    state = play(posted(), (1, frame("INITIALIZED", 0)), (2, frame("INITIALIZED", 0)), (3, frame("IN-PROGRESS", 1)))
    assert state.attempt == 1


def test_the_beginning_told_again_on_connect_starts_no_new_attempt() -> None:
    again: list[tuple[float, Event]] = [
        (6, SocketOpened()),
        (6, frame("INITIALIZED", 0)),
        (6, frame("IN-PROGRESS", 10)),
    ]
    state = play(running(percentage=60), (5, SocketLost("closed")), *again, (6, frame("IN-PROGRESS", 60)))
    assert (state.attempt, state.percentage) == (1, 60)
    assert play(state, (7, frame("IN-PROGRESS", 61))).percentage == 61


def test_a_restart_while_the_socket_was_closed_is_noticed() -> None:
    again: list[tuple[float, Event]] = [(6, SocketOpened()), (6, frame("INITIALIZED", 0)), (6, frame("IN-PROGRESS", 5))]
    state = play(running(percentage=60), (5, SocketLost("closed")), *again)
    live = play(state, (7, frame("IN-PROGRESS", 6)))
    assert (live.attempt, live.percentage) == (2, 6)
    closed = play(state, (6.1, SocketLost("closed")))
    assert (closed.attempt, closed.percentage) == (2, 5)


@pytest.mark.parametrize("which", [RUNNING, IDLE])
def test_a_snapshot_asked_before_a_reset_says_nothing_of_what_comes_after_it(which: Model) -> None:
    state = play(running(percentage=60), (5, frame("RESET")), (5.1, SnapshotSeen(which, asked_at=4.9)))
    assert (state.phase, state.current.record.seen) == (Phase.WAITING, None)


def test_repeated_resets_do_not_put_off_the_end_of_the_grace() -> None:
    resets = [(float(second), frame("RESET")) for second in range(1, 22)]
    assert play(running(), *resets, seen(IDLE, 21.5)).status == "FAILED"


def test_moved_is_counted_for_each_attempt() -> None:
    joined = play(start(RUNNING, now=0, joined=True), (1, SocketOpened()), (2, frame("IN-PROGRESS", 60)))
    assert joined.current.first_percentage == 60
    assert play(joined, (3, frame("RESET"))).current.first_percentage is None


@pytest.mark.parametrize(
    ("earlier", "later", "both"),
    [(10, 20, 20), (20, 20, 20), (None, 20, 20), (20, None, 20), (None, None, None)],
)
def test_of_two_frames_in_a_burst_one_says_it_all(earlier: Any, later: Any, both: Any) -> None:
    one, two = frame("IN-PROGRESS", earlier).progress, frame("IN-PROGRESS", later).progress
    assert merged(one, two) == frame("IN-PROGRESS", both).progress


def test_two_frames_that_differ_in_more_are_both_heard() -> None:
    assert merged(frame("IN-PROGRESS", 60).progress, frame("IN-PROGRESS", 3).progress) is None
    assert merged(frame("INITIALIZED", 0).progress, frame("IN-PROGRESS", 3).progress) is None


# Rule 6: stalls ------------------------------------------------------------------------------------------------------


def test_a_stall_says_since_when_and_blanks_speed_and_time_left() -> None:
    state = play(running(), (10, frame("IN-PROGRESS", 40)), (39.9, TimePassed()))
    assert not state.stalled
    assert ds.speed_bytes_per_s(state, now=39.9) is not None
    state = play(state, (40, TimePassed()))
    assert state.stalled_at == 10
    assert ds.speed_bytes_per_s(state, now=41) is None
    assert ds.time_left_s(state, now=41) is None
    assert not play(state, (100_000, TimePassed())).done
    assert not play(state, (50, frame("IN-PROGRESS", 41))).stalled


@pytest.mark.parametrize("repeated", [40, 20, None])
def test_frames_that_do_not_move_are_a_stall_all_the_same(repeated: int | None) -> None:
    state = play(running(percentage=30), (10, frame("IN-PROGRESS", 40)))
    state = play(state, *((float(now), frame("IN-PROGRESS", repeated)) for now in range(11, 41)))
    assert (state.stalled_at, state.done) == (10, False)


def test_without_an_answer_speed_and_time_left_are_blank() -> None:
    state = play(running(percentage=10), (1, frame("IN-PROGRESS", 20)))
    assert ds.time_left_s(state, now=2) is not None
    state = play(state, (2, NoAnswer("refused")))
    assert ds.speed_bytes_per_s(state, now=2) is None
    assert ds.time_left_s(state, now=2) is None


# Rule 7: cancel ------------------------------------------------------------------------------------------------------


def test_a_cancel_counts_when_a_snapshot_asked_after_its_answer_is_idle() -> None:
    state = play(running(), (5, CancelAsked()), (5, CancelSent()), (5.5, CancelAnswered()))
    assert state.ask_at <= 5.5
    assert not play(state, (5.6, SnapshotSeen(IDLE, asked_at=5.4))).done
    assert not play(state, seen(RUNNING, 5.6)).done
    assert play(state, seen(IDLE, 5.6)).status == "CANCELED"


def test_a_cancel_that_is_not_answered_counts_when_idle_goes_on() -> None:
    state = play(running(), (5, CancelAsked()), (5, CancelSent()), seen(IDLE, 5.6))
    assert not state.done
    assert play(state, seen(IDLE, 7.7)).status == "CANCELED"


def test_a_cancel_is_not_confirmed_by_a_flag_that_lags_since_the_begin() -> None:
    frames = [(1, frame("INITIALIZED")), (2, frame("IN-PROGRESS", 5))]
    state = canceled(play(posted(), (0.1, SocketOpened()), *frames, seen(IDLE, 2.1)), 3)
    state = play(state, *every(IDLE, 3.1, 4, 6, 12))
    assert not state.done
    assert outcome(play(state, seen(IDLE, 13.2))) == "CANCELED"


def test_a_download_that_ran_on_after_the_cancel_may_have_ended_otherwise() -> None:
    state = play(canceled(running(), 5), *every(RUNNING, 6, 8), *every(IDLE, 9, 11))
    assert not state.done
    assert outcome(play(state, seen(THERE, 12))) == "COMPLETED"
    assert outcome(play(state, seen(IDLE, 19.1))) == "CANCELED"


def test_a_cancel_that_came_too_late_is_completed() -> None:
    assert play(canceled(running(), 5), seen(THERE, 5.1)).status == "COMPLETED"


def test_a_cancel_after_the_end_does_not_explain_it() -> None:
    """The end came first, `downloaded` lags behind it."""
    state = play(canceled(play(running(), seen(IDLE, 4.5)), 5), *every(IDLE, 5.1, 6, 7))
    assert not state.done
    assert play(state, seen(THERE, 7.5)).status == "COMPLETED"


def test_a_snapshot_asked_just_before_the_cancel_and_answered_after_it_does_not_mean_that_it_had_ended() -> None:
    state = play(canceled(running(), 5), (5.1, SnapshotSeen(IDLE, asked_at=4.9)))
    assert not state.done
    assert play(state, seen(IDLE, 5.2)).status == "CANCELED"


def test_a_cancel_of_what_runs_again_after_an_idle_snapshot_explains_its_end() -> None:
    state = play(running(), seen(IDLE, 1), (2, frame("IN-PROGRESS", 50)))
    assert play(canceled(state, 3), seen(IDLE, 3.1)).status == "CANCELED"


def test_a_cancel_after_completed_waits_for_downloaded() -> None:
    state = play(canceled(play(running(), (4.5, frame("COMPLETED"))), 5), *every(IDLE, 5.1, 8))
    assert not state.done
    assert play(state, seen(THERE, 8.5)).status == "COMPLETED"


def test_a_refused_cancel_is_no_reason_to_call_it_canceled() -> None:
    state = play(running(), (5, CancelAsked()), (5, CancelSent()), (5.1, CancelRefused("no")), *every(IDLE, 5.2, 15.2))
    assert (state.status, state.reason) == ("FAILED", "ended without saying why")


def test_two_cancels_are_one() -> None:
    state = play(running(), (5, CancelAsked()), (5, CancelSent()), (5.1, CancelAsked()))
    assert not cancel_is_due(state, now=5.2)
    state = play(state, (5.3, CancelAnswered()), (5.4, CancelAsked()))
    assert not cancel_is_due(state, now=5.5)


def test_a_refused_second_cancel_does_not_erase_the_first() -> None:
    state = play(canceled(posted(), 0.5), seen(RUNNING, 1))
    assert cancel_is_due(state, now=1)
    state = play(state, (1, CancelSent()), (1.1, CancelRefused("nothing to cancel")), *every(IDLE, 1.2, 3.3))
    assert state.status == "CANCELED"


def test_a_refused_cancel_can_be_asked_for_again() -> None:
    state = play(running(), (5, CancelAsked()), (5, CancelSent()), (5.1, CancelRefused("no")), (6, CancelAsked()))
    assert cancel_is_due(state, now=6)


def test_a_cancel_that_was_given_up_is_sent_again_when_the_next_one_is_asked_for() -> None:
    """Who waits counts from before the state hears of it: that must not make two one."""
    state = play(running(), (5.2, CancelAsked()), (5.3, CancelSent()), (5.4, CancelAnswered()), *every(RUNNING, 6, 14))
    state = play(state, (15, CancelGivenUp()))
    assert not cancel_is_due(state, now=15)
    assert cancel_is_due(play(state, (15, CancelAsked())), now=15)


def test_a_cancel_whose_answer_hangs_is_sent_again_after_it_was_given_up() -> None:
    state = play(running(), (5, CancelAsked()), (5.2, CancelSent()), (15, CancelGivenUp()), (15, CancelAsked()))
    assert cancel_is_due(state, now=15)


def test_a_cancel_for_which_nobody_waits_any_more_is_spent_after_as_long() -> None:
    state = play(running(), (5, CancelAsked()), (5.2, CancelSent()), (14.9, CancelAsked()))
    assert not cancel_is_due(state, now=14.9)
    assert cancel_is_due(play(state, (15, CancelAsked())), now=15)


def test_a_cancel_that_is_sent_again_is_not_refused_by_the_answer_to_the_first() -> None:
    """The first came before the download had begun; what the server says of the second is not known yet."""
    state = play(posted(), (0.5, CancelAsked()), (0.5, CancelSent()), (0.6, CancelRefused("nothing to cancel")))
    state = play(state, seen(RUNNING, 3), (3, CancelSent()))
    assert state.cancel is not None
    assert state.cancel.refused is None
    assert not cancel_is_due(play(state, (3.1, CancelAsked())), now=3.1)  # two are one


def test_an_ignored_cancel_can_be_asked_for_again() -> None:
    state = play(canceled(running(), 5), *every(RUNNING, 6, 14), (16, CancelAsked()))
    assert cancel_is_due(state, now=16)


@pytest.mark.parametrize("how", ["a frame", "no word"])
def test_an_ignored_cancel_does_not_turn_a_later_failure_into_canceled(how: str) -> None:
    state = play(canceled(running(), 5), *every(RUNNING, 6, 14, 16), seen(RUNNING, 30))
    if how == "a frame":
        state = play(state, (31, frame("FAILED")))
    assert play(state, *every(IDLE, 31.1, 42)).status == "FAILED"


def test_a_failure_right_after_a_cancel_is_failed_when_a_frame_says_so() -> None:
    assert play(canceled(running(), 5), (5.5, frame("FAILED")), seen(IDLE, 5.6)).status == "FAILED"


def test_a_cancel_is_not_confirmed_while_the_post_is_open_and_sent_again_when_it_begins() -> None:
    state = play(start(IDLE, now=0), (1, CancelAsked()))
    assert not cancel_is_due(state, now=1.1)  # it must not overtake the start
    assert cancel_is_due(state, now=3)
    state = play(state, (3, CancelSent()), (3.1, CancelAnswered()), *every(IDLE, 3.2, 6, 11))
    assert (state.done, cancel_is_due(state, now=11)) == (False, False)
    state = play(state, (12, StartAnswered()), seen(RUNNING, 12.1))
    assert cancel_is_due(state, now=12.1)
    state = play(state, (12.1, CancelSent()), (12.2, CancelAnswered()), seen(IDLE, 12.3))
    assert state.status == "CANCELED"


@pytest.mark.parametrize("answer", [CancelAnswered(), CancelRefused("nothing to cancel"), CancelUnanswered()])
def test_a_cancel_sent_before_the_begin_is_sent_again_once_it_has_begun(answer: Event) -> None:
    state = play(posted(), (0.5, CancelAsked()), (0.5, CancelSent()), (0.6, answer), seen(IDLE, 1))
    assert not cancel_is_due(state, now=1)
    assert cancel_is_due(play(state, seen(RUNNING, 3)), now=3)


def test_a_cancel_of_what_then_never_begins_is_canceled_after_the_grace() -> None:
    state = play(canceled(posted(), 0.5), *every(IDLE, 1, 9.9))
    assert not state.done
    assert play(state, seen(IDLE, 10.1)).status == "CANCELED"


def test_a_cancel_whose_answer_does_not_come_settles_a_begin_that_does_not_come_only_after_both_graces() -> None:
    state = play(posted(), (0.5, CancelAsked()), (0.5, CancelSent()), *every(IDLE, 1, 10.1, 19))
    assert not state.done
    assert outcome(play(state, seen(IDLE, 20.1))) == "CANCELED"


def test_a_start_that_is_refused_because_of_our_cancel_is_canceled() -> None:
    state = play(start(IDLE, now=0), (1, CancelAsked()), (3, CancelSent()), (3.1, CancelAnswered()))
    state = play(state, (3.2, StartRefused("the download was canceled")), *every(IDLE, 3.3, 5.4))
    assert state.status == "CANCELED"


def test_a_start_that_was_refused_before_we_asked_to_cancel_is_failed() -> None:
    state = canceled(play(start(IDLE, now=0), (0.1, StartRefused("the engine is missing"))), 0.2)
    state = play(state, *every(IDLE, 0.3, 2.4))
    assert (state.status, state.reason) == ("FAILED", "the engine is missing")


@pytest.mark.parametrize("word", ["RESET", "UNKNOWN", "CANCELED"])
def test_whatever_is_said_after_a_cancel_it_is_canceled(word: str) -> None:
    assert play(canceled(running(), 5), (5.2, frame(word)), seen(IDLE, 5.3)).status == "CANCELED"


def test_an_old_end_does_not_hide_that_a_cancel_took_effect() -> None:
    state = play(start(RUNNING, now=0, joined=True), (1, SocketOpened()), (1, frame("FAILED")), seen(RUNNING, 1.1))
    assert play(canceled(state, 5), seen(IDLE, 5.1)).status == "CANCELED"


def test_where_no_flag_tells_a_canceled_after_our_cancel_ends_what_never_showed_that_it_began() -> None:
    state = play(posted(), (0.1, SocketOpened()), seen(SILENT, 0.2))
    state = play(canceled(state, 2), (3, frame("CANCELED")), *every(SILENT, 3.1, 12, 19))
    assert not state.done
    assert play(state, seen(SILENT, 21)).status == "CANCELED"


def test_a_failure_told_before_the_begin_and_idle_for_both_graces_is_one_though_downloaded_is_not_told() -> None:
    untold = model(downloaded="missing")
    state = play(posted(), (0.1, SocketOpened()), (0.1, frame("FAILED")), *every(untold, 0.2, 10, 19))
    assert not state.done
    state = play(state, seen(untold, 21))
    assert (state.status, state.reason) == ("FAILED", "it never began: the server said FAILED")


def test_an_old_end_that_each_connection_repeats_does_not_hide_it_either() -> None:
    state = play(start(RUNNING, now=0, joined=True), (1, SocketOpened()), (1, frame("FAILED")), seen(RUNNING, 1.1))
    state = play(state, (2, SocketLost("closed")), (3, SocketOpened()), (3, frame("FAILED")))
    assert play(canceled(state, 3.1), seen(IDLE, 3.2)).status == "CANCELED"


def test_an_end_that_a_later_connection_repeats_is_the_word_though_the_flag_lagged() -> None:
    state = play(start(RUNNING, now=0, joined=True), (1, SocketOpened()), (1, frame("CANCELED")), seen(RUNNING, 3.1))
    state = play(state, (3.2, SocketLost("closed")), (4, SocketOpened()), (4, frame("CANCELED")))
    state = play(state, *every(IDLE, 4.2, 5))
    assert not state.done
    assert play(state, seen(IDLE, 16)).status == "CANCELED"


def test_an_old_end_that_snapshots_denied_is_not_the_word_of_a_later_one() -> None:
    state = play(start(RUNNING, now=0, joined=True), (1, SocketOpened()), (1, frame("CANCELED")), seen(RUNNING, 3.1))
    state = play(state, *every(IDLE, 5, 5.1))
    assert not state.done
    assert play(state, seen(IDLE, 16)).status == "FAILED"


def test_where_no_flag_tells_a_canceled_frame_settles_it() -> None:
    state = play(canceled(unflagged(), 5), (5.2, frame("CANCELED")), *every(UNFLAGGED, 5.3))
    assert not state.done
    assert play(state, seen(UNFLAGGED, 7.3)).status == "CANCELED"


def test_a_first_frame_of_a_reconnect_may_be_old_where_no_flag_tells() -> None:
    state = play(unflagged(), (5, SocketLost("closed")), (6, SocketOpened()), (6, frame("FAILED")))
    state = play(state, *every(UNFLAGGED, 7, 9, 17))
    assert not state.done
    assert play(state, (18, frame("IN-PROGRESS", 50)), seen(UNFLAGGED, 40)).done is False
    assert play(state, seen(UNFLAGGED, 26.1)).status == "FAILED"


# Speed ---------------------------------------------------------------------------------------------------------------


def test_speed_and_time_left_follow_from_the_models_size() -> None:
    state = play(posted(), *((float(at), frame("IN-PROGRESS", 10 + 10 * at)) for at in range(3)))
    assert ds.rate_per_s(state, now=2) == pytest.approx(10)
    assert ds.speed_bytes_per_s(state, now=2) == pytest.approx(SIZE * 0.1)
    assert ds.time_left_s(state, now=2) == pytest.approx(7)
    assert state.done_bytes == SIZE * 0.3


def test_speed_is_of_the_last_ten_seconds() -> None:
    state = play(running(percentage=0), *((float(at), frame("IN-PROGRESS", at)) for at in range(1, 31)))
    state = play(state, *((float(at), frame("IN-PROGRESS", 30 + 2 * (at - 30))) for at in range(31, 42)))
    assert ds.rate_per_s(state, now=41) == pytest.approx(2)


def test_samples_stay_few_however_many_frames_come() -> None:
    state = running(percentage=0)
    for step in range(1, 5000):
        state = advance(state, frame("IN-PROGRESS", step / 100), now=step / 1000)
    assert len(state.samples) < 30
    assert ds.rate_per_s(state, now=5) == pytest.approx(10, rel=0.05)


def test_samples_are_kept_for_a_minute() -> None:
    state = running(percentage=0)
    for step in range(1, 4000):
        state = advance(state, frame("IN-PROGRESS", step / 50), now=step / 10)
    assert len(state.samples) < 130
    assert state.samples[-1].at - state.samples[0].at == pytest.approx(60, abs=1)


def test_the_speed_history_is_a_minute_of_bytes_a_second() -> None:
    state = running(percentage=0)
    for step in range(1, 901):
        state = advance(state, frame("IN-PROGRESS", step / 30), now=step / 10)
    history = ds.speed_history(state, points=12, now=90.0)
    assert len(history) == 12
    assert [ago for ago, _ in history] == pytest.approx([55 - 5 * index for index in range(12)])
    assert [speed for _, speed in history] == pytest.approx([SIZE / 100 / 3] * 12, rel=0.02)
    stalled = ds.speed_history(state, points=12, now=110.0)
    assert [speed for _, speed in stalled][-3:] == [0, 0, 0]
    assert ds.speed_history(posted(), points=12, now=5) == ()


# Each condition alone -------------------------------------------------------------------------------------------------
# A rule of many conditions has a test for each: what it is there for, in the one case in which it decides.


def reopened(state: DownloadState, at: float) -> DownloadState:
    """The socket broke, and is open again."""
    return play(state, (at - 0.2, SocketLost("closed")), (at, SocketOpened()))


UNTOLD = model(downloaded="missing")


def test_completed_as_the_first_word_of_what_never_began_is_no_completion_when_the_files_are_missing() -> None:
    state = play(posted(), (0.1, SocketOpened()), (0.1, frame("COMPLETED")), seen(IDLE, 20.2))
    assert (state.status, state.reason) == ("FAILED", "it never began: the server said COMPLETED")


def test_an_end_that_a_frame_tells_late_has_the_whole_grace_to_be_contradicted() -> None:
    state = play(posted(), (0.1, SocketOpened()), (15, frame("FAILED")), *every(IDLE, 15.1, 20.5, 24.9))
    assert not state.done
    assert outcome(play(state, seen(IDLE, 25.1))) == "FAILED"


def test_the_word_of_a_later_connection_is_heard_out_before_a_cancel_explains_what_never_began() -> None:
    state = play(reopened(play(posted(), (0.1, SocketOpened())), 2), (2.1, frame("COMPLETED")))
    state = play(canceled(state, 3), *every(UNTOLD, 4, 7, 10.1, 13))
    assert not state.done
    assert outcome(play(state, seen(UNTOLD, 20.1))) == "COMPLETED"


def test_completed_as_a_first_frame_where_no_flag_tells_has_both_graces() -> None:
    state = play(reopened(unflagged(), 5), (5, frame("COMPLETED")), *every(UNFLAGGED, 6, 16, 24.9))
    assert not state.done
    assert play(state, seen(UNFLAGGED, 25.1)).reason == "the server said COMPLETED, but the model is not downloaded"


def test_the_grace_of_what_ran_before_anybody_knew_counts_from_when_it_was_known() -> None:
    """The first answer took four seconds; the idle one after it was asked meanwhile."""
    state = play(start(IDLE, now=0), (5, SnapshotSeen(RUNNING, asked_at=1)), (5.1, SnapshotSeen(IDLE, asked_at=4)))
    state = play(state, *every(IDLE, 9, 14.5))
    assert not state.done
    assert outcome(play(state, seen(IDLE, 15.1))) == "FAILED"


def test_what_is_idle_without_a_word_has_not_failed_where_nothing_tells_if_the_files_are_there() -> None:
    state = play(running(), *every(UNTOLD, 1, 11.5, 30))
    assert not state.done
    assert outcome(play(state, seen(THERE, 31))) == "COMPLETED"


def test_an_end_told_on_reconnecting_is_this_downloads_when_snapshots_denied_it_only_for_a_moment() -> None:
    """Only what they deny for the whole grace was an earlier download's: a flag may lag so long."""
    state = play(reopened(running(), 5), (5, frame("CANCELED")), *every(RUNNING, 6, 8), *every(IDLE, 9, 18.9))
    assert not state.done
    assert outcome(play(state, seen(IDLE, 19.1))) == "CANCELED"


def test_after_a_stop_of_our_own_a_cancel_is_confirmed_by_the_grace_and_not_at_once() -> None:
    """Nobody saw whether it ran on for long after the server had taken the cancel."""
    state = play(canceled(running(), 5), (5.5, Thawed(100.0)), *every(IDLE, 5.6, 10, 15.5))
    assert not state.done
    assert outcome(play(state, seen(IDLE, 15.7))) == "CANCELED"


def test_completed_on_reconnecting_after_our_cancel_waits_for_the_files() -> None:
    state = play(reopened(canceled(running(), 4), 5), (5, frame("COMPLETED")), seen(IDLE, 5.1))
    assert not state.done
    assert outcome(play(state, seen(THERE, 6))) == "COMPLETED"


def test_a_snapshot_asked_before_the_end_was_told_does_not_deny_it() -> None:
    state = play(reopened(running(), 5), (5, frame("CANCELED")), (5.1, SnapshotSeen(RUNNING, asked_at=4.9)))
    assert outcome(play(state, seen(IDLE, 5.2))) == "CANCELED"


def test_a_snapshot_older_than_a_frame_does_not_make_the_frame_older() -> None:
    state = play(running(), (10, frame("IN-PROGRESS", 40)), (10.1, SnapshotSeen(RUNNING, asked_at=9)))
    state = play(state, (10.2, SnapshotSeen(IDLE, asked_at=9.5)))
    assert state.phase is Phase.RUNNING


def test_a_first_frame_that_says_it_runs_takes_no_end_back_that_came_in_the_midst() -> None:
    state = play(running(), (5, frame("CANCELED")))
    state = play(reopened(state, 5.4), (5.4, frame("IN-PROGRESS", 10)))
    assert outcome(play(state, seen(IDLE, 5.5))) == "CANCELED"


def test_a_first_frame_changes_no_end_that_came_in_the_midst() -> None:
    state = play(running(), (5, frame("CANCELED")))
    state = play(reopened(state, 5.4), (5.4, frame("FAILED")))
    assert outcome(play(state, seen(IDLE, 5.5))) == "CANCELED"


def test_an_end_that_the_first_connection_repeats_stays_denied() -> None:
    state = play(posted(), (1, SocketOpened()), (1, frame("FAILED")), seen(RUNNING, 1.1), (1.3, frame("FAILED")))
    state = play(state, seen(IDLE, 1.4))
    assert not state.done


def test_an_end_that_was_denied_for_long_does_not_count_anew_when_it_is_said_again() -> None:
    state = play(running(), (5, frame("FAILED")), *every(RUNNING, 5.5, 6.5, 7.5), (8, frame("FAILED")))
    state = play(state, *every(IDLE, 8.1, 12, 17.9))
    assert not state.done
    assert outcome(play(state, seen(IDLE, 18.2))) == "FAILED"


def test_a_refusal_is_not_taken_back_by_a_snapshot_that_was_asked_before_it() -> None:
    state = play(start(IDLE, now=0), (0.5, StartRefused("the disk is full")))
    state = play(state, (0.6, SnapshotSeen(RUNNING, asked_at=0.3)), *every(IDLE, 0.7, 2.8))
    assert (state.status, state.reason) == ("FAILED", "the disk is full")


def test_the_silence_counts_from_the_first_question_though_its_failure_comes_last() -> None:
    state = play(running(), (11, NoAnswer("timed out", asked_at=10)), (12, NoAnswer("timed out", asked_at=5)))
    assert state.silent_since == 5


def test_a_frame_that_comes_long_after_the_socket_opened_is_no_repetition() -> None:
    assert play(posted(), (0.1, SocketOpened()), (5, frame("IN-PROGRESS", 3))).phase is Phase.RUNNING


def test_a_first_frame_that_says_no_more_than_the_connection_before_is_no_life() -> None:
    state = reopened(play(running(percentage=30), seen(IDLE, 4)), 5)
    assert play(state, (5, frame("IN-PROGRESS", 30))).phase is Phase.ENDING
    assert play(state, (5, frame("IN-PROGRESS", 31))).phase is Phase.RUNNING


def test_a_first_frame_that_goes_back_corrects_nothing_by_itself() -> None:
    state = play(posted(), seen(RUNNING, 0.5), (1, SocketOpened()), (1, frame("IN-PROGRESS", 50)))
    state = play(reopened(state, 2), (2, frame("IN-PROGRESS", 20)))
    assert (state.attempt, state.percentage) == (1, 50)
    state = play(state, (4, frame("IN-PROGRESS", 21)))
    assert (state.attempt, state.percentage) == (2, 21)


def test_frames_that_move_put_off_no_question_while_the_flag_denies_them() -> None:
    state = play(posted(), (0.1, SocketOpened()), (2, frame("IN-PROGRESS", 5)), seen(IDLE, 3))
    state = play(state, (3.2, frame("IN-PROGRESS", 6)))
    assert state.phase is Phase.RUNNING
    assert state.ask_at <= 3.25


def test_frames_that_move_put_off_no_question_while_a_cancel_may_be_confirmed() -> None:
    assert play(canceled(running(), 5), (5.1, frame("IN-PROGRESS", 40))).ask_at <= 5.1


def test_a_percentage_that_was_seen_to_rise_stays_when_the_socket_breaks_after_a_lower_one() -> None:
    state = play(running(percentage=30), (2, frame("IN-PROGRESS", 40)), (3, frame("IN-PROGRESS", 20)))
    state = play(state, (4, SocketLost("closed")))
    assert (state.attempt, state.percentage) == (1, 40)


# Whatever comes ------------------------------------------------------------------------------------------------------

PERCENTAGES = st.one_of(st.none(), st.floats(), st.integers(-5, 105), st.text(max_size=3), st.booleans())
WORDS = st.sampled_from([*DownloadStatus, "ODD", None])
FRAMES = st.builds(
    lambda word, p: FrameHeard(ModelDownloadProgress.from_wire({"status": word, "percentage": p})), WORDS, PERCENTAGES
)
MODELS = st.sampled_from([IDLE, RUNNING, THERE, UNFLAGGED, SILENT, model(downloading=True, downloaded=None)])
EVENTS = st.one_of(
    FRAMES,
    MODELS,
    st.sampled_from([NoAnswer("x"), SocketOpened(), SocketLost("x"), TimePassed(), Thawed(8.0)]),
    st.sampled_from(
        [CancelAsked(), CancelSent(), CancelAnswered(), CancelUnanswered(), CancelRefused("no"), CancelGivenUp()]
    ),
    st.sampled_from([StartAnswered(), StartUnanswered(), StartRefused("no"), ModelGone("gone")]),
)
STEPS = st.lists(st.tuples(st.floats(0, 400, allow_nan=False), st.floats(0, 20), EVENTS), max_size=40)


def told(steps: list[tuple[float, float, Any]]) -> list[tuple[float, Event]]:
    """The steps as events at their times; a snapshot was asked for some time before it came."""
    now, events = 0.0, []
    for wait, late, given_event in steps:
        now += wait
        is_model = isinstance(given_event, Model)
        event = SnapshotSeen(given_event, asked_at=max(0.0, now - late)) if is_model else given_event
        events.append((now, event))
    return events


@settings(max_examples=300, deadline=None)
@given(steps=STEPS, joined=st.booleans())
def test_any_sequence_keeps_the_invariants(steps: list[tuple[float, float, Any]], joined: bool) -> None:
    state = start(RUNNING if joined else IDLE, now=0, joined=joined)
    for now, event in told(steps):
        before, state = state, advance(state, event, now=now)
        if before.done:
            assert state is before
        if state.attempt == before.attempt and before.percentage is not None:
            assert state.percentage is not None
            assert state.percentage >= before.percentage
        assert state.percentage is None or 0 <= state.percentage <= 100
        for figure in (ds.speed_bytes_per_s(state, now=now), ds.time_left_s(state, now=now), state.duration_s):
            assert figure is None or figure >= 0
        assert all(speed >= 0 for _, speed in ds.speed_history(state, points=20, now=now))
        assert state.phase is before.phase or state.phase in ds.NEXT[before.phase].values()
        assert state.done == (state.phase is Phase.ENDED)
        if state.done and not before.done:
            assert state.status.is_terminal
            assert isinstance(event, SnapshotSeen | ModelGone | NoAnswer)
            assert state.started_at <= (state.ended_at or 0.0) <= now
            if state.status is not DownloadStatus.COMPLETED:
                assert not state.model.downloaded
        if not state.done:
            assert not state.status.is_terminal


@settings(max_examples=200, deadline=None)
@given(steps=STEPS, joined=st.booleans())
def test_no_snapshot_ends_it_without_evidence_newer_than_all_that_says_it_runs(
    steps: list[tuple[float, float, Any]], joined: bool
) -> None:
    state = start(RUNNING if joined else IDLE, now=0, joined=joined)
    alive_at = 0.0 if joined else -math.inf
    for now, event in told(steps):
        before, state = state, advance(state, event, now=now)
        match event:
            case SnapshotSeen(which, asked_at) if which.downloading and not which.downloaded:
                alive_at = max(alive_at, asked_at)
            case SnapshotSeen(which, asked_at) if state.done and not before.done and not which.downloaded:
                assert asked_at >= alive_at
                assert which.raw.get("downloading") is not True
                assert not before.post_open or before.seen_downloading or before.attempt > 1


@settings(max_examples=100, deadline=None)
@given(steps=STEPS)
def test_whatever_came_before_an_idle_server_leads_to_an_end(steps: list[tuple[float, float, Any]]) -> None:
    """When nothing but idle snapshots follow, the graces and the settling bound the rest."""
    events = told(steps)
    state = play(start(IDLE, now=0), *events)
    now = events[-1][0] if events else 0.0
    state = advance(state, StartAnswered(), now=now)
    for _ in range(5):
        now += 2 * max(GRACE, Timing().settle_s)
        state = advance(state, SnapshotSeen(IDLE, asked_at=now), now=now)
    assert state.done


def test_the_state_is_a_value() -> None:
    with pytest.raises(AttributeError):
        start(IDLE, now=0).status = 3  # type: ignore[misc,assignment]  # that is the point
