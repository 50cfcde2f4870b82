"""Who hears an interrupt while something is awaited, and who has the signal afterwards."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from pieces_nb.download.interrupts import INTERRUPTS


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """The signals that the handler from before heard."""
    found: list[int] = []

    def before(number: int, _frame: FrameType | None) -> None:
        found.append(number)

    previous = signal.signal(signal.SIGINT, before)
    yield found
    signal.signal(signal.SIGINT, previous)


def test_an_interrupt_is_told_and_reaches_the_handler_from_before(heard: list[int]) -> None:
    with INTERRUPTS.watched() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
    assert heard == [signal.SIGINT]
    signal.raise_signal(signal.SIGINT)
    assert len(heard) == 2


def test_of_two_waits_the_last_gives_the_signal_back(heard: list[int]) -> None:
    with INTERRUPTS.watched() as outer:
        with INTERRUPTS.watched() as inner:
            pass
        signal.raise_signal(signal.SIGINT)
        assert outer()
        assert inner()
    assert heard == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) != INTERRUPTS._note


def test_another_threads_wait_hears_nothing_and_changes_nothing(heard: list[int]) -> None:
    told: list[bool] = []

    def wait() -> None:
        with INTERRUPTS.watched() as interrupted:
            signal.raise_signal(signal.SIGINT)
            told.append(interrupted())

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert told == [False]
    assert heard == [signal.SIGINT]


@pytest.mark.usefixtures("heard")
def test_a_handler_that_came_meanwhile_stays() -> None:
    with INTERRUPTS.watched():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.usefixtures("heard")
def test_an_ignored_interrupt_is_told_and_calls_nobody() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with INTERRUPTS.watched() as interrupted:
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_handler_that_was_put_over_ours_and_calls_it_is_called_once(heard: list[int]) -> None:
    with INTERRUPTS.watched():
        ours = signal.getsignal(signal.SIGINT)
        assert callable(ours)

        def over(number: int, frame: FrameType | None) -> None:
            heard.append(-number)
            ours(number, frame)

        signal.signal(signal.SIGINT, over)
    with INTERRUPTS.watched() as interrupted:
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
    assert heard == [-signal.SIGINT]
