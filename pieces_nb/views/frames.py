"""Rows → DataFrames, and how these show in a notebook or a text console. Asks nobody for anything."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from html import escape
from typing import Any

import pandas as pd

from pieces_nb.rows import Bar, Kind, Rows
from pieces_nb.rows import Column as RowsColumn
from pieces_nb.text import Front, Step, printable, worded
from pieces_nb.views.table_text import lines_of, text_column
from pieces_nb.views.text_table import Column

_MOST_ROWS = 60
_ELIDED = "..."
_TEXT_COLUMNS = 160  # of the text beside a notebook's HTML: whatever the front end, it is the same
_MOST_IN_TEXT = 60
_MOST_NAME = 28
_MOST_TEXT = 48
_ID_SHOWN = 8
_DTYPES = {
    **dict.fromkeys((Kind.NAME, Kind.ID, Kind.TEXT, Kind.STEP, Kind.WORDS), "str"),
    Kind.FLAG: "bool",
    Kind.NUMBER: "float64",
    Kind.TIME: "datetime64[ns, UTC]",
    Kind.ANY: "object",
}


def frame_of(rows: Rows, *, front: Front = Front.PYTHON) -> pd.DataFrame:
    """Return rows as a plain DataFrame. An unknown number is NaN; the dtypes are the same without any rows."""
    cells = list(zip(*rows.body, strict=True)) if rows.body else [()] * len(rows.columns)
    series = [_series(column, found, front) for column, found in zip(rows.columns, cells, strict=True)]
    names = pd.Index([column.name for column in rows.columns], dtype="str" if rows.columns else "object")
    frame = pd.concat(series, axis=1) if series else pd.DataFrame()
    frame.columns = names
    if not rows.shows_index:
        return frame
    # By place: a model may be called like the column of the fields.
    values = frame.iloc[:, 1:]
    values.index = pd.Index(frame.iloc[:, 0], name=rows.columns[0].name)
    return _with_gaps(values)


def _series(column: RowsColumn, values: Sequence[Any], front: Front) -> pd.Series[Any]:
    if column.kind is Kind.STEP:
        values = [value.typed(front) if isinstance(value, Step) else value for value in values]
    if column.kind is Kind.WORDS:
        values = [worded(parts, front) for parts in values]
    return pd.Series(list(values), dtype=_dtype(column.kind, values))


def _dtype(kind: Kind, values: Sequence[Any]) -> str:
    if kind is Kind.FLAG and any(value is None for value in values):
        return "boolean"
    if kind is Kind.NUMBER and values and all(isinstance(value, int) and abs(value) < 2**63 for value in values):
        return "int64"
    return _DTYPES[kind]


def _with_gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame of fields with NaN for what is missing where the others of the row are numbers; else ''."""

    def filled(row: Sequence[Any]) -> list[Any]:
        known = [value for value in row if value is not None]
        numbers = bool(known) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
        return [value if value is not None else float("nan") if numbers else "" for value in row]

    rows = [filled(row) for row in frame.itertuples(index=False, name=None)]
    return pd.DataFrame(rows, index=frame.index, columns=frame.columns, dtype=object)


class Table(pd.DataFrame):
    """A DataFrame that shows with a line on where it came from. Every operation on it gives a plain DataFrame.

    Shown, it is plain text and HTML: no mathematics is set in cells, nothing in them is markup, control characters are
    replaced. The values themselves stay as they are.
    """

    _metadata = ["caption", "when_empty", "shows_index", "bars", "kinds"]  # noqa: RUF012 - pandas' own protocol

    caption: str
    when_empty: str
    shows_index: bool
    bars: tuple[Bar, ...]
    kinds: dict[str, Kind]

    @classmethod
    def of(cls, rows: Rows, *, front: Front = Front.PYTHON) -> Table:
        """Return rows as a table whose next steps are told in the words of `front`."""
        table = cls(frame_of(rows, front=front))
        table.caption = worded(rows.caption, front)
        table.when_empty = worded(rows.when_empty, front)
        table.shows_index = rows.shows_index
        table.bars = rows.bars
        table.kinds = {column.name: column.kind for column in rows.columns}
        return table

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        return pd.DataFrame

    def __repr__(self) -> str:
        below = [*(bar.words for bar in self.bars), self.caption]
        if self.empty and self.when_empty:
            return "\n".join([self.when_empty, *below])
        columns, width = _columns(self, limit=_MOST_IN_TEXT), _console_width()
        lines = lines_of(columns, shows_index=self.shows_index, width=width, whole="the DataFrame")
        return "\n".join([*lines, *below])

    def _repr_html_(self) -> str:
        caption = f'<div style="color: var(--jp-ui-font-color2, inherit)">{escape(self.caption)}</div>'
        bars = "".join(bar_html(bar) for bar in self.bars)
        if self.empty and self.when_empty:
            return f"<div>{bars}{escape(self.when_empty)}</div>{caption}"
        return f"<div>{bars}{_html(_columns(self, limit=0), shows_index=self.shows_index)}</div>{caption}"


def _console_width() -> int:
    """Return the columns of a text console that shows this; a fixed number where a notebook may keep it."""
    with suppress(AttributeError, ValueError, OSError):
        if sys.stdout.isatty():
            return max(20, os.get_terminal_size(sys.stdout.fileno()).columns)
    return _TEXT_COLUMNS


# Cells ---------------------------------------------------------------------------------------------------------------


def _columns(table: Table, *, limit: int) -> list[Column]:
    """Return the texts of the rows that will show, of a frame that may have been changed since it was made."""
    frame, elided = _some_rows(pd.DataFrame(table))
    named = [(str(frame.columns[place]), frame.iloc[:, place]) for place in range(frame.shape[1])]
    if table.shows_index:
        named.insert(0, (str(frame.index.name or ""), frame.index.to_series()))
    columns = [_column(name, series, table.kinds.get(name), limit=limit) for name, series in named]
    return [_elided(column) for column in columns] if elided else columns


def _some_rows(frame: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    half = _MOST_ROWS // 2
    if len(frame) <= _MOST_ROWS:
        return frame, False
    return pd.concat([frame.head(half), frame.tail(half)]), True


def _elided(column: Column) -> Column:
    half = _MOST_ROWS // 2
    cells = [*column.cells[:half], _ELIDED, *column.cells[half:]]
    return Column(column.name, cells, kind=column.kind)


def _column(name: str, series: pd.Series[Any], kind: Kind | None, *, limit: int) -> Column:
    kind = _kind(series, kind)
    # Half a sentence or half a command is good for nothing.
    limit = 0 if kind in (Kind.WORDS, Kind.STEP) else limit
    return text_column(RowsColumn(name, kind), _values(series), Front.NOTEBOOK, limit=limit)


def _kind(series: pd.Series[Any], kind: Kind | None) -> Kind:
    """Return what a column holds: what it was made with, unless somebody has put something else into it."""
    numeric = pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_bool_dtype(series.dtype)
    if kind is None or (kind is Kind.NUMBER) is not numeric:
        return Kind.NUMBER if numeric else Kind.ANY
    return kind


def _values(series: pd.Series[Any]) -> list[Any]:
    return [None if _is_missing(value) else value for value in series.tolist()]


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


# HTML ----------------------------------------------------------------------------------------------------------------

_LEFT, _RIGHT = "text-align: left", "text-align: right"


def _html(columns: Sequence[Column], *, shows_index: bool) -> str:
    """Return a table whose rows are one line each, but for the fields of a model and long commands: those wrap.

    Front ends set cells to the right and break names, unless a cell itself says otherwise.
    """
    heads = "".join(_head_html(column, column.name) for column in columns)
    cells = [_cells_html(column, wraps=shows_index or column.kind is Kind.WORDS) for column in columns]
    if shows_index:
        cells[0] = [_head_html(columns[0], field) for field in columns[0].cells]
    body = [f"<tr>{''.join(row)}</tr>" for row in zip(*cells, strict=True)]
    # Without these classes a `$` in a cell would be typeset as mathematics.
    return (
        '<table class="dataframe tex2jax_ignore mathjax_ignore">\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n" + "\n".join(body) + "\n</tbody>\n</table>"
    )


def _head_html(column: Column, text: str) -> str:
    shown = _cut(text)
    title = f' title="{escape(text)}"' if shown != text else ""
    return f'<th style="{_align(column)}; white-space: nowrap"{title}>{escape(shown)}</th>'


def _align(column: Column) -> str:
    return _RIGHT if column.number else _LEFT


def _cells_html(column: Column, *, wraps: bool) -> list[str]:
    return [_cell_html(column, text, wraps=wraps) for text in column.cells]


def _cell_html(column: Column, text: str, *, wraps: bool) -> str:
    if wraps or (column.kind is Kind.STEP and len(text) > _MOST_TEXT):
        return f'<td style="{_LEFT}; overflow-wrap: anywhere; max-width: 60ch">{escape(text)}</td>'
    shown = _short(column.kind, text)
    title = f' title="{escape(text)}"' if shown != text else ""
    return f'<td style="{_align(column)}; white-space: nowrap"{title}>{escape(shown)}</td>'


def _short(kind: Kind, text: str) -> str:
    match kind:
        case Kind.ID:
            return text if len(text) <= _ID_SHOWN + 1 else text[:_ID_SHOWN] + "…"
        case Kind.NAME:
            return _cut(text, _MOST_NAME)
        case Kind.STEP | Kind.NUMBER:
            return text
    return _cut(text)


def _cut(text: str, limit: int = _MOST_TEXT) -> str:
    return printable(text, limit=limit)


def bar_html(bar: Bar) -> str:
    """Return a bar with its words beside it; the words alone where the machine is not known."""
    total = bar.models + (bar.other or 0) + (bar.free or 0)
    drawn = "" if bar.free is None or not total else _segments(bar, total)
    return (
        '<div style="display: flex; flex-wrap: wrap; align-items: center; gap: 0 10px; line-height: 1.6">'
        f"{drawn}<span>{escape(bar.words)}</span></div>"
    )


def _segments(bar: Bar, total: int) -> str:
    parts: Iterable[tuple[int, str]] = (
        (bar.models, "var(--jp-brand-color1, #1976d2)"),
        (bar.other or 0, "var(--jp-border-color1, #bdbdbd)"),
    )
    inner = "".join(
        f'<span style="width: {100 * size / total:.1f}%; background: {colour}"></span>' for size, colour in parts
    )
    return (
        f'<span role="img" aria-label="{escape(bar.words)}" style="display: flex; flex: 0 0 16em; height: 0.8em; '
        f'border: 1px solid var(--jp-border-color1, #bdbdbd)">{inner}</span>'
    )
