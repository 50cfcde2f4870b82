"""The speed of the last minute as a small line."""

from __future__ import annotations

import re

from pieces_nb.views.bars_html import TRAIL_S, Trail


def points(trail: Trail) -> int:
    found = re.search(r'points="([^"]*)"', trail.svg)
    return len(found[1].split()) if found else 0


def test_it_keeps_the_last_minute_and_takes_one_sample_a_second() -> None:
    trail = Trail()
    trail.note(None, now=0)
    assert trail.svg == ""
    for second in range(100):
        trail.note(second / 2, now=second)
        trail.note(second / 2 + 0.1, now=second + 0.5)
    assert TRAIL_S - 2 <= points(trail) <= TRAIL_S


def test_a_new_attempt_begins_a_new_line() -> None:
    trail = Trail()
    for second in range(10):
        trail.note(10.0 * second, now=second)
    before = points(trail)
    trail.note(0.0, now=10)
    assert points(trail) < before


def test_the_line_of_a_young_download_has_the_full_width() -> None:
    trail = Trail()
    for second in range(7):
        trail.note(10.0 * second, now=100 + second)
    found = re.findall(r"(\d+),\d+", trail.svg)
    assert [int(found[0]), int(found[-1])] == [0, 60]
