"""DataFrames → text that fits the terminal, or JSON for scripts. Shapes values; prints nothing."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from pieces_nb.text import printable
from pieces_nb.views.terminal.text_table import Column, lines
from pieces_nb.views.terminal.words import command_in_terminal, fold, in_terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pieces_nb.views.frames import Table

# Which columns of our tables go first where there is no room for all.
_DISPENSABLE = (
    *("id", "quantization", "provider", "custom", "parameters_b", "ram_gb"),
    *("stalled_since", "done_gb", "size_gb", "available_gb", "speed_mb_s", "needed_gb"),
)
_COMMANDS = "free_with"  # the column of what to type
_CELL_LIMIT = 500
_FIELD_CELLS = 24
_VALUE_CELLS = 24


def text_of(table: Table, *, width: int) -> str:
    """Return the table as lines of at most `width` cells, then what its caption says."""
    if table.empty and table.when_empty:
        return "\n".join([fold(in_terminal(table.when_empty), width), fold(in_terminal(table.caption), width)])
    frame = _frame(table)
    if table.shows_index:
        return "\n".join([*_field_blocks(frame, width), fold(in_terminal(table.caption), width)])
    columns = [_column(str(name), frame.iloc[:, place]) for place, name in enumerate(frame.columns)]
    rows, dropped = lines(columns, width=width, dispensable=_dispensable(columns, width))
    notes = [fold(in_terminal(table.caption), width)]
    if dropped:
        named = ", ".join(dropped) if len(dropped) <= 6 else f"{', '.join(dropped[:5])} and {len(dropped) - 5} more"
        notes.append(fold(f"No room for: {named} (--json has them)", width))
    return "\n".join([*rows, *notes])


def _frame(table: Table) -> pd.DataFrame:
    frame = pd.DataFrame(table)
    if _COMMANDS in frame.columns:
        frame = frame.assign(**{_COMMANDS: frame[_COMMANDS].map(command_in_terminal)})
    return frame


def _dispensable(columns: Sequence[Column], width: int) -> Sequence[str]:
    commands = next((column for column in columns if column.name == _COMMANDS), None)
    if commands is None:
        return _DISPENSABLE
    # A command names its model; half a command is good for nothing.
    return ("name", "size_gb") if commands.natural + len("resource") + 2 <= width else (_COMMANDS,)


def _field_blocks(frame: pd.DataFrame, width: int) -> list[str]:
    """Return a table of fields down and models across; as many models side by side as can be read."""
    field = Column("field", [printable(str(name), limit=_CELL_LIMIT) for name in frame.index])
    beside = max(1, (width - _FIELD_CELLS) // (_VALUE_CELLS + 2))
    blocks = []
    for start in range(0, frame.shape[1], beside):
        places = range(start, min(start + beside, frame.shape[1]))
        columns = [_column(printable(str(frame.columns[place])), frame.iloc[:, place]) for place in places]
        rows, _ = lines([field, *columns], width=width)
        blocks.append("\n".join(rows) + ("\n" if start + beside < frame.shape[1] else ""))
    return blocks


def _column(name: str, series: pd.Series[Any]) -> Column:
    if series.dtype == bool:
        return Column(name, ["yes" if value else "no" for value in series])
    values = series.tolist()
    if pd.api.types.is_numeric_dtype(series.dtype):
        decimals = _decimals(values)
        return Column(name, ["" if pd.isna(value) else f"{value:.{decimals}f}" for value in values], number=True)
    return Column(printable(name), [_cell(value) for value in values], whole=name in (_COMMANDS, "id"))


def _decimals(values: Sequence[float]) -> int:
    """Return how many decimals give the largest number three digits; none for whole numbers."""
    known = [abs(value) for value in values if math.isfinite(value)]
    if not known or all(value == int(value) for value in known):
        return 0
    return min(6, max(0, 2 - math.floor(math.log10(max(known)))))


def _cell(value: object) -> str:
    match value:
        case str():
            return printable(value, limit=_CELL_LIMIT)
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}" if math.isfinite(value) else ""
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S") if not pd.isna(value) else ""
        case dict() | list():
            return printable(json.dumps(value, ensure_ascii=False), limit=_CELL_LIMIT)
        case None:
            return ""
    return printable(str(value), limit=_CELL_LIMIT)


# JSON ----------------------------------------------------------------------------------------------------------------


def records_of(table: Table) -> list[dict[str, Any]]:
    """Return one object a row with the table's columns, and for a table of fields its `field`; NaN is null."""
    frame = _frame(table)
    if table.shows_index:
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    values: Sequence[Sequence[object]] = [frame.iloc[:, place].tolist() for place in range(frame.shape[1])]
    return [dict(zip(names, map(plain, row), strict=True)) for row in zip(*values, strict=True)]


def plain(value: object) -> Any:
    """Return a value that JSON has: what is no number or no time becomes null."""
    match value:
        case str() | bool() | int() | None:
            return value
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {str(key): plain(inner) for key, inner in value.items()}
        case list():
            return [plain(inner) for inner in value]
        case datetime():
            return None if pd.isna(value) else value.isoformat()
    return None if value is pd.NaT else str(value)
