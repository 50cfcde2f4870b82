"""Text for people: what a server sends becomes one printable line; sizes, durations and percentages in few digits."""

from __future__ import annotations

import math
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pieces_nb.text import clock, format_bytes, format_duration, format_percentage, printable

# Format characters that are seen, or that shape the letters beside them (Arabic number signs, hieroglyphs, …).
SHAPING = {
    *(*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD),
    *(*range(0x13430, 0x13440), *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B)),
}


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_becomes_one_line_without_a_character_that_a_terminal_obeys(text: str) -> None:
    line = printable(text)
    assert line.splitlines() in ([], [line])
    assert [
        c for c in line if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and ord(c) not in SHAPING
    ] == []


@given(st.text(), st.integers(1, 40))
def test_a_limit_is_never_exceeded_and_a_cut_is_shown(text: str, limit: int) -> None:
    line = printable(text, limit=limit)
    assert len(line) <= limit
    assert line == printable(text) or line.endswith("…")


def test_white_space_is_one_blank_and_the_invisible_is_replaced() -> None:
    assert printable("  a\r\n\t b\x00c\x1b[31m \u202eevil ") == "a b\ufffdc\ufffd[31m \ufffdevil"


@pytest.mark.parametrize("hidden", ["\xad", "\u200b", "\u2066", "\ufeff", "\U000e0041", "\ud800"])
def test_names_that_look_alike_do_not_read_alike(hidden: str) -> None:
    assert printable(f"phi{hidden}-2") != "phi-2"


def test_text_of_people_stays_as_it_is() -> None:
    assert printable("Größe “7 B” – 模型 ✓") == "Größe “7 B” – 模型 ✓"


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (26_240_000, "26.2 MB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_950, "1.0 MB"),
        (6.1e9, "6.1 GB"),
        (2e12, "2.0 TB"),
        (5e15, "5000 TB"),
    ],
)
def test_sizes_are_decimal_with_three_digits(size_bytes: float, text: str) -> None:
    assert format_bytes(size_bytes) == text


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (9.97, "10 s"),
        (41.4, "41 s"),
        (59.4, "59 s"),
        (59.5, "1 min"),
        (200, "3 min 20 s"),
        (3599.6, "1 h"),
        (7500, "2 h 5 min"),
        (-1, ""),
        (math.nan, ""),
        (math.inf, ""),
    ],
)
def test_durations_have_two_units_at_most(duration_s: float, text: str) -> None:
    assert format_duration(duration_s) == text


@pytest.mark.parametrize(
    ("percentage", "text"), [(0, "0 %"), (37.0, "37 %"), (37.56, "37.5 %"), (99.99, "99.9 %"), (100, "100 %")]
)
def test_a_percentage_is_100_only_when_it_is(percentage: float, text: str) -> None:
    assert format_percentage(percentage) == text


@given(st.integers(0, 1000))
def test_a_tenth_of_a_percent_is_shown_as_it_came(tenths: int) -> None:
    assert format_percentage(tenths / 10) == f"{tenths / 10:g} %"


def test_a_time_of_day_is_local() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 59, tzinfo=UTC)
    assert clock(moment) == moment.astimezone().strftime("%H:%M")
