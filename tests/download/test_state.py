"""The download state machine, rule by rule. `now` is passed: nothing here waits."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pieces_nb.download import state as ds
from pieces_nb.download.state import (
    CancelAsked,
    CancelRefused,
    DownloadState,
    Event,
    FrameHeard,
    ModelGone,
    NoAnswer,
    SnapshotSeen,
    SocketLost,
    SocketOpened,
    StartRefused,
    TimePassed,
    Timing,
    advance,
    start,
)
from pieces_nb.model.models import DownloadStatus, Model, ModelDownloadProgress

SIZE = 200_000_000


def model(**fields: Any) -> Model:
    return Model({"id": "m-1", "name": "Phi-2", "bytes": {"value": SIZE}, **fields})


IDLE = model()
RUNNING = model(downloading=True)
THERE = model(downloaded=True)


def frame(status: str, percentage: object = None) -> FrameHeard:
    return FrameHeard(ModelDownloadProgress.from_wire({"status": status, "percentage": percentage}))


def play(state: DownloadState, *steps: tuple[float, Event]) -> DownloadState:
    for now, event in steps:
        state = advance(state, event, now=now)
    return state


def seen(which: Model, at: float) -> tuple[float, Event]:
    return at, SnapshotSeen(which, asked_at=at)


def running(at: float = 0.0, percentage: float = 30.0) -> DownloadState:
    """A download whose socket is open, which a snapshot and a frame have shown alive."""
    return play(
        start(IDLE, now=at),
        (at, SocketOpened()),
        seen(RUNNING, at),
        (at, frame("IN-PROGRESS", percentage)),
    )


# Rule 2 and 8: how it ends -------------------------------------------------------------------------------------------


def test_completed_frame_ends_only_after_a_snapshot_that_agrees() -> None:
    state = play(running(), (5, frame("COMPLETED", 100)))
    assert not state.done
    assert state.status == "IN-PROGRESS"
    assert state.ask_at <= 5
    state = play(state, seen(RUNNING, 5.1))
    assert not state.done
    state = play(state, seen(THERE, 5.4))
    assert (state.status, state.percentage, state.reason) == ("COMPLETED", 100, "")


@pytest.mark.parametrize("word", ["FAILED", "CANCELED"])
def test_terminal_frame_ends_when_a_later_snapshot_is_idle(word: str) -> None:
    state = play(running(), (5, frame(word)), seen(IDLE, 5.1))
    assert (state.done, state.status) == (True, word)


@pytest.mark.parametrize("word", ["FAILED", "CANCELED"])
def test_a_snapshot_asked_before_the_terminal_frame_does_not_confirm_it(word: str) -> None:
    state = play(running(), (5, frame(word)), (5.1, SnapshotSeen(IDLE, asked_at=4.9)))
    assert not state.done


def test_a_failed_frame_is_overruled_by_a_snapshot_that_says_downloaded() -> None:
    assert play(running(), (5, frame("FAILED")), seen(THERE, 5.1)).status == "COMPLETED"


def test_completed_that_no_snapshot_ever_agrees_with_is_failed() -> None:
    state = play(running(), (5, frame("COMPLETED", 100)), seen(IDLE, 5.1), seen(IDLE, 6))
    assert not state.done
    state = play(state, seen(IDLE, 7.2))
    assert state.status == "FAILED"
    assert "COMPLETED, but the model is not downloaded" in state.reason


def test_an_end_without_a_word_is_completed_when_it_is_there() -> None:
    assert play(running(), (5, SocketLost("closed")), seen(THERE, 5)).status == "COMPLETED"


def test_an_end_without_a_word_is_failed_when_it_is_not_there() -> None:
    state = play(running(), (5, SocketLost("closed")), seen(IDLE, 5), seen(IDLE, 6.9))
    assert not state.done
    state = play(state, seen(IDLE, 7.1))
    assert (state.status, state.reason) == ("FAILED", "ended without saying why")


def test_a_model_that_disappears_is_failed_with_the_servers_words() -> None:
    state = play(running(), (5, ModelGone("no such model")))
    assert state.status == "FAILED"
    assert "no such model" in state.reason


def test_an_ended_state_ignores_everything() -> None:
    ended = play(running(), seen(THERE, 5))
    events: list[Event] = [
        frame("IN-PROGRESS", 3),
        frame("RESET"),
        SnapshotSeen(IDLE, 9),
        ModelGone("x"),
        SocketLost("y"),
    ]
    for event in [*events, CancelAsked(), StartRefused("z"), NoAnswer("w"), TimePassed(), SocketOpened()]:
        assert advance(ended, event, now=99) is ended


# Rule 3: until it has been seen alive --------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["COMPLETED", "FAILED", "CANCELED"])
def test_an_old_terminal_frame_repeated_on_connect_ends_nothing(word: str) -> None:
    state = play(start(IDLE, now=0), (0.1, SocketOpened()), (0.1, frame(word, 100)), seen(IDLE, 0.2), seen(IDLE, 9.9))
    assert not state.done
    assert state.percentage is None
    state = play(state, (9.95, frame("IN-PROGRESS", 1)), seen(RUNNING, 10.5))
    assert (state.done, state.status, state.percentage) == (False, "IN-PROGRESS", 1)


def test_downloaded_ends_it_even_before_it_was_seen_alive() -> None:
    assert play(start(IDLE, now=0), seen(THERE, 0.1)).status == "COMPLETED"


def test_after_the_grace_it_is_failed_with_the_last_words_heard() -> None:
    state = play(start(IDLE, now=0), (0.1, frame("CANCELED")), seen(IDLE, 10.0))
    assert state.status == "FAILED"
    assert "CANCELED" in state.reason


def test_a_downloading_flag_that_lags_behind_the_first_frames_ends_nothing() -> None:
    state = play(start(IDLE, now=0), (0.1, frame("INITIALIZED")), seen(IDLE, 0.2), seen(IDLE, 3), seen(IDLE, 6))
    assert not state.done
    assert not play(state, seen(RUNNING, 9)).done


def test_a_failure_right_after_the_first_frame_is_believed() -> None:
    state = play(start(IDLE, now=0), (0.1, frame("INITIALIZED")), (0.2, frame("FAILED")), seen(IDLE, 0.3))
    assert state.status == "FAILED"


def test_a_refused_start_is_failed_with_the_servers_words_when_nothing_runs() -> None:
    state = play(start(IDLE, now=0), (0.1, StartRefused("the engine is missing")), seen(IDLE, 0.2))
    assert (state.status, state.reason) == ("FAILED", "the engine is missing")


def test_a_refused_start_joins_what_already_runs() -> None:
    state = play(start(IDLE, now=0), (0.1, StartRefused("already downloading")), seen(RUNNING, 0.2))
    assert (state.done, state.status) == (False, "IN-PROGRESS")


@pytest.mark.parametrize("idle", [{}, {"status": "UNKNOWN"}, {"status": "NEW-WORD"}, {"status": 7}, [], None])
def test_what_says_nothing_is_not_life(idle: object) -> None:
    state = advance(start(IDLE, now=0), FrameHeard(ModelDownloadProgress.from_wire(idle)), now=0.1)
    assert not state.alive
    assert state.status == "INITIALIZED"


# Rule 4: the line ----------------------------------------------------------------------------------------------------


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


def test_no_answer_for_lost_after_s_is_failed_and_says_since_when_and_where() -> None:
    state = start(IDLE, now=0, wall_at_zero=1_700_000_000)
    state = play(state, (0, SocketOpened()), seen(RUNNING, 0), (60, frame("IN-PROGRESS", 37)))
    state = play(state, (61, NoAnswer("refused")), (360, NoAnswer("refused")))
    assert not state.done
    state = play(state, (361, NoAnswer("refused")))
    assert state.status == "FAILED"
    assert state.reason.startswith("no answer since ")
    assert "last seen 37 %" in state.reason
    assert "refused" in state.reason


def test_a_machine_that_slept_is_not_taken_for_a_server_that_is_lost() -> None:
    state = play(running(), (4000, NoAnswer("timed out")))
    assert not state.done
    assert play(state, seen(RUNNING, 4001)).silent_since is None


# Rule 5: percentages -------------------------------------------------------------------------------------------------


def test_percentage_never_goes_back_within_an_attempt() -> None:
    state = play(running(percentage=60), (1, frame("IN-PROGRESS", 20)), (2, frame("IN-PROGRESS", 40)))
    assert state.percentage == 60
    assert state.progress_at == 2  # rising again is life, though nothing to show


@pytest.mark.parametrize("odd", [-1, 101, math.nan, math.inf, 1e308, "37", None, True, [], {}])
def test_an_odd_percentage_changes_nothing(odd: object) -> None:
    state = play(running(percentage=30), (1, frame("IN-PROGRESS", odd)))
    assert state.percentage == 30


def test_zero_is_a_percentage_and_unknown_is_not_zero() -> None:
    assert start(IDLE, now=0).percentage is None
    assert play(start(IDLE, now=0), (1, frame("IN-PROGRESS", 0))).percentage == 0


def test_reset_starts_a_new_attempt_at_zero() -> None:
    state = play(running(percentage=60), (1, frame("RESET")))
    assert (state.attempt, state.percentage, state.alive) == (2, 0, False)
    state = play(state, (2, frame("IN-PROGRESS", 5)))
    assert state.percentage == 5


def test_repeated_resets_do_not_put_off_the_end_of_the_grace() -> None:
    state = play(running(), *((float(second), frame("RESET")) for second in range(1, 12)), seen(IDLE, 11.5))
    assert state.status == "FAILED"


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


def test_a_cancel_counts_when_a_snapshot_read_after_it_is_idle() -> None:
    state = play(running(), (5, CancelAsked()))
    assert not state.done
    assert state.ask_at <= 5
    assert not play(state, (5.1, SnapshotSeen(IDLE, asked_at=4.9))).done
    assert not play(state, seen(RUNNING, 5.1)).done
    assert play(state, seen(IDLE, 5.1)).status == "CANCELED"


def test_a_cancel_that_came_too_late_is_completed() -> None:
    assert play(running(), (5, CancelAsked()), seen(THERE, 5.1)).status == "COMPLETED"


def test_a_refused_cancel_is_no_reason_to_call_it_canceled() -> None:
    state = play(running(), (5, CancelAsked()), (5.1, CancelRefused()), seen(IDLE, 5.2), seen(IDLE, 8))
    assert (state.status, state.reason) == ("FAILED", "ended without saying why")


def test_a_cancel_while_the_downloading_flag_lags_waits_until_it_is_settled() -> None:
    state = play(start(IDLE, now=0), (0.1, CancelAsked()), seen(IDLE, 0.2))
    assert not state.done
    assert play(state, seen(RUNNING, 1)).done is False
    assert play(state, seen(IDLE, 2.2)).status == "CANCELED"


@pytest.mark.parametrize("before", [[], [(0.1, frame("IN-PROGRESS", 1)), (5.1, frame("RESET"))]])
def test_a_start_that_is_refused_because_of_our_cancel_is_canceled(before: list[tuple[float, Event]]) -> None:
    state = play(start(IDLE, now=0), *before[:1], (5, CancelAsked()), *before[1:])
    state = play(state, (5.2, StartRefused("the download was canceled")), seen(IDLE, 5.3), seen(IDLE, 7.3))
    assert state.status == "CANCELED"


def test_a_start_that_was_refused_before_we_asked_to_cancel_is_failed() -> None:
    state = play(
        start(IDLE, now=0), (0.1, StartRefused("the engine is missing")), (0.2, CancelAsked()), seen(IDLE, 0.3)
    )
    assert (state.status, state.reason) == ("FAILED", "the engine is missing")


# Speed ---------------------------------------------------------------------------------------------------------------


def test_speed_and_time_left_follow_from_the_models_size() -> None:
    state = play(running(percentage=10), (1, frame("IN-PROGRESS", 15)), (2, frame("IN-PROGRESS", 20)))
    assert ds.rate_per_s(state, now=2) == pytest.approx(5)
    assert ds.speed_bytes_per_s(state, now=2) == pytest.approx(SIZE * 0.05)
    assert ds.time_left_s(state, now=2) == pytest.approx(16)
    assert state.done_bytes == SIZE * 0.2


def test_samples_stay_few_however_many_frames_come() -> None:
    state = running(percentage=0)
    for step in range(1, 5000):
        state = advance(state, frame("IN-PROGRESS", step / 100), now=step / 1000)
    assert len(state.samples) < 30
    assert ds.rate_per_s(state, now=5) == pytest.approx(10, rel=0.05)


# Whatever comes ------------------------------------------------------------------------------------------------------

PERCENTAGES = st.one_of(st.none(), st.floats(), st.integers(-5, 105), st.text(max_size=3), st.booleans())
WORDS = st.sampled_from([*DownloadStatus, "ODD", None])
EVENTS = st.one_of(
    st.builds(lambda word, p: FrameHeard(ModelDownloadProgress.from_wire({"status": word, "percentage": p})),
              WORDS, PERCENTAGES),
    st.sampled_from([IDLE, RUNNING, THERE, model(downloading=True, downloaded=None)]),
    st.sampled_from([NoAnswer("x"), SocketOpened(), SocketLost("x"), CancelAsked(), CancelRefused(), TimePassed()]),
    st.sampled_from([StartRefused("no"), ModelGone("gone")]),
)  # fmt: skip
STEPS = st.lists(st.tuples(st.floats(0, 400, allow_nan=False), EVENTS), max_size=40)


@settings(max_examples=300, deadline=None)
@given(steps=STEPS, joined=st.booleans())
def test_any_sequence_keeps_the_invariants(steps: list[tuple[float, Any]], joined: bool) -> None:
    state = start(RUNNING if joined else IDLE, now=0, joined=joined)
    now = 0.0
    for wait, given_event in steps:
        now += wait
        event = SnapshotSeen(given_event, asked_at=now) if isinstance(given_event, Model) else given_event
        before, state = state, advance(state, event, now=now)
        if before.done:
            assert state is before
        if state.attempt == before.attempt and before.percentage is not None:
            assert state.percentage is not None
            assert state.percentage >= before.percentage
        assert state.percentage is None or 0 <= state.percentage <= 100
        for figure in (ds.speed_bytes_per_s(state, now=now), ds.time_left_s(state, now=now), state.duration_s):
            assert figure is None or figure >= 0
        if state.done and not before.done:
            assert state.status.is_terminal
            assert isinstance(event, SnapshotSeen | ModelGone | NoAnswer)
            assert (state.status is DownloadStatus.COMPLETED) == state.model.downloaded
        if not state.done:
            assert not state.status.is_terminal


@settings(max_examples=100, deadline=None)
@given(steps=STEPS)
def test_whatever_came_before_an_idle_server_leads_to_an_end(steps: list[tuple[float, Any]]) -> None:
    """When nothing but idle snapshots follow, the grace and the settling bound the rest."""
    state = start(IDLE, now=0)
    now = 0.0
    for wait, given_event in steps:
        now += wait
        event = SnapshotSeen(given_event, asked_at=now) if isinstance(given_event, Model) else given_event
        state = advance(state, event, now=now)
    timing = Timing()
    for _ in range(4):
        now += max(timing.start_grace_s, timing.settle_s)
        state = advance(state, SnapshotSeen(IDLE, asked_at=now), now=now)
    assert state.done


def test_the_state_is_a_value() -> None:
    with pytest.raises(AttributeError):
        start(IDLE, now=0).percentage = 3  # type: ignore[misc]  # that is the point
