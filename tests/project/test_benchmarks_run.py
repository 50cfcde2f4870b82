"""The benchmarks' machinery: who is measured when, what the table says, and with what the command ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.benchmarks.__main__ import main
from tests.benchmarks.commands import commands
from tests.benchmarks.measure import Goal, Line, Spread, at_least, at_most, interleaved, ratios, table
from tests.benchmarks.server import Server, control
from tests.benchmarks.topics import completion


def line(value: float, goal: Goal | None) -> Line:
    return Line("how fast", Spread(value - 1, value, value + 1), "×", goal, "ours 2 ms")


def test_contestants_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []

    def position(function: Callable[[], object]) -> float:
        function()
        return len(order)

    contestants = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    figures = interleaved(contestants, repetitions=2, measure=position)
    assert order == ["a", "b"] * 3
    assert figures == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_a_spread_is_the_median_between_its_quartiles() -> None:
    assert Spread.of([1, 2, 3, 4, 5]) == (2, 3, 4)
    assert Spread.of([7.0]) == (7, 7, 7)


def test_ratios_are_those_of_each_round() -> None:
    assert ratios([10, 200, 30], [1, 20, 3]).median == 10


@pytest.mark.parametrize(
    ("goal", "verdict"),
    [
        (at_least(3), "reached"),
        (at_least(3.5), "missed, by less than the noise"),
        (at_least(9), "missed"),
        (at_most(3), "reached"),
        (at_most(2.5), "missed, by less than the noise"),
        (at_most(1), "missed"),
    ],
)
def test_a_verdict_is_about_the_median(goal: Goal, verdict: str) -> None:
    assert goal.verdict(Spread(2, 3, 4)) == verdict


def test_a_table_has_a_row_for_each_line() -> None:
    assert table([line(12.34, at_least(8)), line(1234.5, None)]).splitlines()[2:] == [
        "| how fast | 12.3 × | 11.3 – 13.3 | ≥ 8 × | reached | ours 2 ms |",
        "| how fast | 1,234 × | 1,234 – 1,236 |  |  | ours 2 ms |",
    ]


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--check"], 1), (["good", "--check"], 0)])
def test_a_missed_goal_is_an_error_only_when_asked(
    options: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = {"good": lambda: [line(9, at_least(8))], "bad": lambda: [line(3, at_least(8))]}
    assert main(options, topics=topics) == code
    printed = capsys.readouterr().out
    assert "| how fast | 9 ×" in printed
    assert "cores" in printed
    assert "Python 3" in printed


def test_an_unknown_name_says_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "no such figures: speed; there are imports, " in capsys.readouterr().err


def test_one_real_figure_comes_out() -> None:
    [line] = completion((100,), repetitions=2)
    assert "Tab with 100 models" in table([line])
    assert 0 < line.spread.median < 1_000


@pytest.mark.full
def test_the_commands_that_are_measured_do_what_they_are_measured_for() -> None:
    lines = commands(repetitions=1)
    assert all(0 < line.spread.median < 60_000 for line in lines)
    assert "a Tab that offers words" in table(lines)


def test_the_server_starts_and_goes() -> None:
    with Server() as server:
        control(server.url, "/benchmark/models/3")
    with pytest.raises(ConnectionError):
        control(server.url, "/benchmark/models/3")
