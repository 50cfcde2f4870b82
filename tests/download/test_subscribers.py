"""The views' threads: news when there is some, the end last and once, nobody delayed by another."""

from __future__ import annotations

import threading
import time

from pieces_nb.download.subscribers import Subscribers
from tests.waiting import until

DEADLINE_S = 20.0


def test_news_come_and_the_last_comes_once() -> None:
    views = Subscribers("pieces-nb-view-test")
    heard: list[str] = []
    views.add(lambda: heard.append("news"))
    views.tell()
    until(lambda: heard)
    views.finish(DEADLINE_S)
    told = len(heard)
    views.tell()
    views.finish(DEADLINE_S)
    assert len(heard) == told == 2


def test_once_the_end_is_near_no_call_begins_but_the_last() -> None:
    """A view that were called in between might see the end, and then be told of it again."""
    views = Subscribers("pieces-nb-view-test")
    heard: list[str] = []
    other = threading.Event()
    views.add(lambda: heard.append("news"))
    views.tell()
    until(lambda: heard)
    views.hold(DEADLINE_S)
    views.tell()
    views.add(other.set)
    views.tell()
    assert other.wait(DEADLINE_S)  # one that comes later is not held, and has been told by now
    assert len(heard) == 1
    views.finish(DEADLINE_S)
    assert len(heard) == 2


def test_holding_waits_for_the_call_under_way() -> None:
    views = Subscribers("pieces-nb-view-test")
    entered, go_on = threading.Event(), threading.Event()
    left: list[float] = []

    def view() -> None:
        entered.set()
        go_on.wait(DEADLINE_S)
        left.append(time.monotonic())

    views.add(view)
    views.tell()
    entered.wait(DEADLINE_S)
    threading.Timer(0.1, go_on.set).start()
    views.hold(DEADLINE_S)
    assert left
    views.finish(DEADLINE_S)


def test_a_view_that_blocks_holds_nobody_longer_than_it_may() -> None:
    views, go_on = Subscribers("pieces-nb-view-test"), threading.Event()
    entered = threading.Event()
    heard: list[str] = []

    def blocks() -> None:
        entered.set()
        go_on.wait(DEADLINE_S)

    views.add(blocks)
    views.add(lambda: heard.append("news"))
    views.tell()
    entered.wait(DEADLINE_S)
    began = time.monotonic()
    views.hold(0.1)
    views.finish(0.1)
    assert time.monotonic() - began < DEADLINE_S / 2
    until(lambda: heard)
    go_on.set()


def test_who_comes_too_late_is_told_so() -> None:
    views = Subscribers("pieces-nb-view-test")
    views.finish(0.0)
    assert views.add(lambda: None) is None
