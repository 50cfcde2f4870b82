"""Columns of texts → lines that fit a width, for terminals and text consoles. Pure; knows neither models nor pandas.

What does not fit goes in this order: the columns that the caller can do without, then the length of texts, then the
last columns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pieces_nb.rows import Kind

_GAP = 2
_MOST_CELLS = 60  # of a text that others have to stand beside
_COMFORT = 24  # a text column keeps so many, as long as there is another column to drop
_LEAST = 5
_FIRST_COMBINING = "\u0300"  # what comes before takes one cell each, as do these of ours
_ONE_CELL = str.maketrans("", "", "…–“”█▒")
_WORD = re.compile(r"(\s*)(\S+)", re.ASCII)  # other blanks hold together what they stand between


@dataclass(frozen=True)
class Column:
    """One column; numbers are set to the right, and like ids and what is to be typed never shortened."""

    name: str
    cells: Sequence[str]
    kind: Kind = Kind.TEXT

    @property
    def number(self) -> bool:
        return self.kind is Kind.NUMBER

    @property
    def whole(self) -> bool:
        return self.kind in (Kind.NUMBER, Kind.ID, Kind.STEP)

    @cached_property
    def natural(self) -> int:
        return max(map(cells_of, (self.name, *self.cells)))


def cells_of(text: str) -> int:
    """Return how wide a terminal shows `text`: East Asian characters and emoji take two cells, combining ones none."""
    if max(text.translate(_ONE_CELL), default="") < _FIRST_COMBINING:
        return len(text)
    import wcwidth  # not at the top: it takes longer than all the rest of a table that is plain

    return max(0, wcwidth.wcswidth(text))


def shortened(text: str, limit: int) -> str:
    """Return `text` in at most `limit` cells, then with an ellipsis at its end."""
    if cells_of(text) <= limit:
        return text
    kept = 0
    while cells_of(text[: kept + 1]) < limit:
        kept += 1
    return text[:kept] + "…"


def wrapped(text: str, width: int, *, first: str = "", below: str = "") -> list[str]:
    """Return `text` as lines of at most `width` cells, broken between words alone; `first` and `below` begin them."""
    done: list[str] = []
    line, has_words = first, False
    for blanks, word in _WORD.findall(text):
        longer = f"{line}{' ' * len(blanks)}{word}"
        if has_words and cells_of(longer) > width:
            done.append(line)
            longer = f"{below}{word}"
        line, has_words = longer, True
    return [*done, line] if has_words else done


def lines(columns: Sequence[Column], *, width: int, dispensable: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Return header and rows, none wider than `width`, and the names of the columns that were dropped.

    `dispensable` names columns, the one to go first at its beginning.
    """
    kept, widths = _fitting(columns, width, dispensable)
    rows = [_line([column.name for column in kept], kept, widths)]
    rows += [_line(cells, kept, widths) for cells in zip(*(column.cells for column in kept), strict=True)]
    staying = {id(column) for column in kept}
    return rows, [column.name for column in columns if id(column) not in staying]


def padded(cell: str, width: int) -> str:
    return cell + " " * (width - cells_of(cell))


def _line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    padded = []
    for cell, column, width in zip(cells, columns, widths, strict=True):
        text = shortened(cell, width)
        blanks = " " * (width - cells_of(text))
        padded.append(blanks + text if column.number else text + blanks)
    return (" " * _GAP).join(padded).rstrip()


def _fitting(columns: Sequence[Column], width: int, dispensable: Sequence[str]) -> tuple[list[Column], list[int]]:
    kept = list(columns)
    comfort = max(12, min(_COMFORT, width // 3))
    for name in (*dispensable, None):
        if (widths := _widths(kept, width, comfort)) is not None:
            return kept, widths
        if len(kept) > 1:
            kept = [column for column in kept if column.name != name]
    while len(kept) > 1:
        for least in range(comfort, _LEAST - 1, -1):
            if (widths := _widths(kept, width, least)) is not None:
                return kept, widths
        kept.pop()
    return kept, [min(width, column.natural) for column in kept]


def _widths(columns: Sequence[Column], width: int, least: int) -> list[int] | None:
    """Return a width for each column, no text below `least` for want of room; None if they do not fit so."""
    room = width - _GAP * (len(columns) - 1)
    natural = [column.natural for column in columns]
    rigid = [column.whole for column in columns]
    widths = [size if stays else min(size, least) for stays, size in zip(rigid, natural, strict=True)]
    if sum(widths) > room:
        return None
    wanted = [size if len(columns) == 1 else min(size, _MOST_CELLS) for size in natural]
    # The last column may be longer than others: nothing stands to the right of it.
    wanted[-1] = natural[-1]
    for limit in range(least, max(natural, default=0) + 1):
        for index, want in enumerate(wanted):
            if widths[index] <= limit < want and sum(widths) < room:
                widths[index] += 1
    return widths
