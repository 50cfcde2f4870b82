"""Columns that fit: which go, which are shortened, what never is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pieces_nb.rows import Kind
from pieces_nb.views.table_text import folded, lines_of
from pieces_nb.views.terminal.output import folded_below
from pieces_nb.views.text_table import Column, cells_of, lines, shortened

NAME = Column("name", ["Claude Sonnet 4 Chat Model (emulated)", "Phi-2"])
SIZE = Column("size_gb", ["", "1.60"], Kind.NUMBER)
ID = Column("id", ["e3010a70-0000-4000-8000-000000000013", "e3010a70-0000-4000-8000-000000000002"], Kind.ID)


def test_what_fits_is_left_as_it_is() -> None:
    rows, dropped = lines([NAME, SIZE, ID], width=120)

    assert dropped == []
    assert rows[1] == f"{NAME.cells[0]}           {ID.cells[0]}"
    assert rows[2] == f"{'Phi-2':<37}     1.60  {ID.cells[1]}"


def test_the_dispensable_go_before_texts_are_shortened() -> None:
    rows, dropped = lines([NAME, SIZE, ID], width=60, dispensable=["id"])

    assert dropped == ["id"]
    assert rows[1].startswith("Claude Sonnet 4 Chat Model (emulated)")


def test_texts_are_shortened_when_nothing_is_dispensable_any_more() -> None:
    rows, dropped = lines([NAME, SIZE], width=24)

    assert dropped == []
    assert rows[1] == "Claude Sonnet …"
    assert rows[2].endswith("1.60")


def test_a_number_and_a_whole_text_are_never_shortened() -> None:
    command = Column("free_with", ["pieces-nb unload Phi-2"], Kind.STEP)

    rows, dropped = lines([Column("name", ["Phi-2"]), command], width=23)
    assert (rows, dropped) == (["name", "Phi-2"], ["free_with"])


@pytest.mark.parametrize(
    ("text", "cells"),
    [("abc", 3), ("模型", 4), ("e\u0301", 1), ("🦙", 2), ("", 0), ("❤\ufe0f", 2), ("🇩🇪", 2), ("👍🏽", 2)],
)
def test_wide_and_combining_characters_count_as_a_terminal_shows_them(text: str, cells: int) -> None:
    assert cells_of(text) == cells


@pytest.mark.parametrize("emoji", ["❤\ufe0f", "🇩🇪", "👍🏽", "👩\u200d💻"])
def test_rows_with_an_emoji_of_several_characters_stand_in_line(emoji: str) -> None:
    assert cells_of(emoji) == 2
    rows, _ = lines([Column("name", [f"a {emoji} b", "plain"]), Column("state", ["here", "here"])], width=80)
    assert [cells_of(row.partition("here")[0]) for row in rows[1:]] == [8, 8]


def test_a_wide_text_is_cut_between_characters() -> None:
    assert shortened("模型模型模型", 6) == "模型…"


@given(
    names=st.lists(st.text(max_size=40).map(lambda text: " ".join(text.split())), min_size=1, max_size=5),
    sizes=st.lists(st.integers(0, 10**6), min_size=5, max_size=5),
    width=st.integers(20, 120),
)
def test_no_line_is_wider_than_asked(names: list[str], sizes: list[int], width: int) -> None:
    columns = [Column("name", names), Column("size", [str(size) for size in sizes[: len(names)]], Kind.NUMBER)]

    rows, _ = lines(columns, width=width)

    assert all(cells_of(row) <= width for row in rows)


CHINESE = "这是一个很长的中文模型名字的模型"


@pytest.mark.parametrize("between", [" · ", " "])
def test_a_caption_with_chinese_names_is_folded_by_what_a_terminal_shows(between: str) -> None:
    caption = between.join([CHINESE] * 4)
    assert len(caption) < 80 < cells_of(caption)

    shown = folded(caption, 80)
    assert max(map(cells_of, shown.splitlines())) <= 80
    assert shown.count(CHINESE) == 4


def test_a_line_of_a_page_with_chinese_names_is_folded_below_its_beginning() -> None:
    shown = folded_below(f"  模型  {' '.join([CHINESE] * 3)}", 80)

    assert max(map(cells_of, shown.splitlines())) <= 80
    assert shown.splitlines()[1] == f"{' ' * 8}{CHINESE}"


def test_no_long_word_of_a_sentence_in_a_table_is_broken() -> None:
    address = "http://127.0.0.1:39300/a-long-path-that-fits-no-line"
    told = lines_of(
        [Column("check", ["server"]), Column("seen", [f"Nothing at {address} answers."], Kind.WORDS)],
        shows_index=False,
        width=30,
        whole="--json",
    )

    assert told == ["server  Nothing at", f"        {address}", "        answers."]


def test_a_head_wider_than_half_of_the_width_stands_on_a_line_of_its_own() -> None:
    told = lines_of(
        [
            Column("ok", ["!", "✓"]),
            Column("check", ["Pieces OS answers", CHINESE[:4]]),
            Column("seen", ["It says nothing at all to anybody.", ""], Kind.WORDS),
            Column("next_step", ["Start it.", "None."], Kind.WORDS),
        ],
        shows_index=False,
        width=30,
        whole="--json",
    )

    assert told == [
        "!  Pieces OS answers",
        "  It says nothing at all to",
        "  anybody.",
        "  Start it.",
        f"✓  {CHINESE[:4]}",
        "  None.",
    ]
