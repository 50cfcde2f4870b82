"""The throttle: latest value wins, first and last of a burst pass, and all bars together keep within one budget."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pieces_nb.download.throttle import INTERVAL_S, MOST_PER_S, SLACK, Throttle, UpdateBudget


def throttle(bars: int = 1, budget: UpdateBudget | None = None) -> Throttle:
    budget = budget or UpdateBudget()
    for _ in range(bars):
        budget.join()
    return Throttle(budget)


def shown(one: Throttle, times: list[float]) -> list[float]:
    """The moments at which something was shown; something changes at every one."""
    found = []
    for now in times:
        one.changed()
        if one.due(now):
            found.append(now)
    return found


def test_the_first_change_is_shown_at_once() -> None:
    one = throttle()
    one.changed()
    assert one.due(100.0)


def test_nothing_new_is_not_shown_again() -> None:
    one = throttle()
    one.changed()
    assert one.due(100.0)
    assert not one.due(200.0)


def test_the_last_change_of_a_burst_is_shown_without_another_one() -> None:
    one = throttle()
    shown(one, [100.0, 100.05])
    assert one.wait_s(100.05, otherwise=9.0) == pytest.approx(INTERVAL_S - 0.05)
    assert one.due(100.0 + INTERVAL_S)


def test_there_is_nothing_to_wait_for_while_nothing_is_new() -> None:
    one = throttle()
    assert one.wait_s(0.0, otherwise=9.0) == 9.0
    one.changed()
    assert one.wait_s(0.0, otherwise=9.0) == 0.0


def test_a_burst_is_shown_ten_times_a_second() -> None:
    moments = shown(throttle(), [100 + tick / 1000 for tick in range(2000)])
    assert 19 <= len(moments) <= 21
    assert min(later - earlier for earlier, later in pairwise(moments)) >= INTERVAL_S - 1e-9


def test_hundred_bars_keep_within_the_budget_together_and_each_has_its_share() -> None:
    budget = UpdateBudget()
    bars = [throttle(budget=budget) for _ in range(100)]
    counts = [0] * 100
    for tick in range(1000):
        for index, bar in enumerate(bars):
            bar.changed()
            counts[index] += bar.due(100 + tick / 100)
    assert sum(counts) <= 10 * MOST_PER_S + MOST_PER_S * INTERVAL_S
    assert sum(counts) >= 0.9 * 10 * MOST_PER_S
    assert min(counts) >= 3


def test_of_hundreds_of_bars_in_step_none_comes_too_late_for_ever() -> None:
    budget = UpdateBudget()
    bars = [throttle(budget=budget) for _ in range(300)]
    counts = [0] * 300
    for tick in range(1600):
        for index, bar in enumerate(bars):
            bar.changed()
            counts[index] += bar.due(100 + tick / 100)
    assert min(counts) >= 2


def test_a_bar_that_has_left_gives_its_share_back() -> None:
    budget = UpdateBudget(interval_s=0.1, most_per_s=10)
    for _ in range(4):
        budget.join()
    assert budget.interval_s == pytest.approx(0.4 * SLACK)
    for _ in range(3):
        budget.leave()
    assert budget.interval_s == pytest.approx(0.1 * SLACK)


def test_silence_saves_up_no_more_than_a_tenth_of_a_second() -> None:
    budget = UpdateBudget(interval_s=0.1, most_per_s=50)
    budget.turn(0.0)
    assert sum(budget.turn(1000.0) == 1000.0 for _ in range(100)) == 5


def test_turns_that_cannot_be_now_come_one_after_the_other_at_the_budgets_rate() -> None:
    budget = UpdateBudget(interval_s=0.1, most_per_s=10)
    assert [budget.turn(50.0) for _ in range(4)] == pytest.approx([50.0, 50.1, 50.2, 50.3])
    assert budget.turn(50.4) == pytest.approx(50.4)


def test_a_bar_that_has_to_wait_is_told_for_how_long_and_need_not_ask_again() -> None:
    budget = UpdateBudget(interval_s=0.1, most_per_s=10)
    first, second = throttle(budget=budget), throttle(budget=budget)
    assert shown(first, [50.0]) == [50.0]
    assert shown(second, [50.0, 50.05]) == []
    assert second.wait_s(50.05, otherwise=9.0) == pytest.approx(0.05)
    assert shown(second, [50.11]) == [50.11]


def test_a_clock_that_goes_back_gives_no_updates_away() -> None:
    budget = UpdateBudget(interval_s=0.1, most_per_s=10)
    assert budget.turn(100.0) == 100.0
    assert budget.turn(50.0) > 50.0
    assert budget.turn(50.01) > 50.01


@given(st.lists(st.floats(0, 5), min_size=1, max_size=200))
def test_whatever_the_rhythm_the_budget_holds(gaps: list[float]) -> None:
    budget = UpdateBudget(interval_s=0.1, most_per_s=20)
    now = start = 1000.0
    turns = []
    for gap in gaps:
        now += gap / 10
        turns.append(budget.turn(now))
        assert turns[-1] >= now
    for number, turn in enumerate(sorted(turns), start=1):
        assert number <= (turn - start) * 20 + 2 + 1


def test_news_of_few_bars_is_never_left_unread() -> None:
    assert throttle(bars=4).rest_s(100.0) == 0


def test_news_of_many_bars_may_wait_for_a_part_of_their_turn_and_not_past_it() -> None:
    one = throttle(bars=100)
    rest_s = one.rest_s(100.0)
    assert 0 < rest_s < 100 / MOST_PER_S / 2
    one.changed()
    assert one.rest_s(100.0) == 0  # its turn is now
    assert one.due(100.0)
    one.changed()
    assert one.rest_s(100.0 + 100 / MOST_PER_S * SLACK - 0.01) == pytest.approx(0.01)
