"""Tables → the texts of their cells, and lines of text that fit a width. Prints nothing, needs no pandas."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pieces_nb.rows import Bar, Kind
from pieces_nb.rows import Column as RowsColumn
from pieces_nb.text import Front, Step, printable, worded
from pieces_nb.views.text_table import Column, cells_of, lines, padded, wrapped

if TYPE_CHECKING:
    from pieces_nb.rows import Rows

# Which columns of our tables go first where there is no room for all.
_DISPENSABLE = (
    *("id", "quantization", "provider", "custom", "parameters_b", "ram_gb"),
    *("reconnects", "mean_bytes_per_s", "error", "bytes"),
    *("stalled_since", "done_gb", "size_gb", "available_gb", "speed_mb_s", "needed_gb", "started"),
)
_CELL_LIMIT = 500
_FIELD_CELLS = 24
_VALUE_CELLS = 24
_MOST_NAMED = 6
_BAR_CELLS = 30
_LEAST_BAR_CELLS = 10


def text_of(rows: Rows, *, front: Front, width: int) -> str:
    """Return rows as lines of at most `width` cells, then their bars and what their caption says."""
    below = [*(bar_text(bar, width) for bar in rows.bars), folded(worded(rows.caption, front), width)]
    if not rows.body and rows.when_empty:
        return "\n".join([folded(worded(rows.when_empty, front), width), *below])
    cells = zip(*rows.body, strict=True) if rows.body else ((),) * len(rows.columns)
    columns = [text_column(column, list(found), front) for column, found in zip(rows.columns, cells, strict=True)]
    return "\n".join([*lines_of(columns, shows_index=rows.shows_index, width=width, whole="--json"), *below])


def lines_of(columns: Sequence[Column], *, shows_index: bool, width: int, whole: str) -> list[str]:
    """Return columns of texts as lines of at most `width` cells, and which found no room; `whole` has those too."""
    if any(column.kind is Kind.WORDS for column in columns):
        return _told(columns, width)
    if shows_index:
        return _field_blocks(columns[0], columns[1:], width)
    rows, dropped = lines(columns, width=width, dispensable=_dispensable(columns, width))
    if dropped:
        most = _MOST_NAMED - 1
        few = len(dropped) <= _MOST_NAMED
        named = ", ".join(dropped) if few else f"{', '.join(dropped[:most])} and {len(dropped) - most} more"
        rows.append(folded(f"No room for: {named} ({whole} has them)", width))
    return rows


def _told(columns: Sequence[Column], width: int) -> list[str]:
    """Return a table with sentences as a paragraph a row, what is short before them or, if that is wide, above."""
    heads = [column for column in columns if column.kind is not Kind.WORDS]
    words = [column for column in columns if column.kind is Kind.WORDS]
    widths = [max(map(cells_of, column.cells), default=0) + 2 for column in heads]
    is_wide = sum(widths) > width // 2
    below = " " * (2 if is_wide else sum(widths))
    told = []
    for index in range(len(columns[0].cells)):
        head = "".join(padded(column.cells[index], size) for column, size in zip(heads, widths, strict=True))
        if is_wide:
            told += wrapped(head, width)
            head = below
        for sentence in filter(None, (column.cells[index] for column in words)):
            told += wrapped(sentence, width, first=head, below=below)
            head = below
    return told


def _dispensable(columns: Sequence[Column], width: int) -> Sequence[str]:
    steps = next((column for column in columns if column.kind is Kind.STEP), None)
    if steps is None:
        return _DISPENSABLE
    # A command names its model; half a command is good for nothing.
    return ("name", "size_gb") if steps.natural + len("resource") + 2 <= width else (steps.name,)


def _field_blocks(field: Column, models: Sequence[Column], width: int) -> list[str]:
    """Return a table of fields down and models across; as many models side by side as can be read."""
    beside = max(1, (width - _FIELD_CELLS) // (_VALUE_CELLS + 2))
    blocks = []
    for start in range(0, len(models), beside):
        rows, _ = lines([field, *models[start : start + beside]], width=width)
        blocks.append("\n".join(rows) + ("\n" if start + beside < len(models) else ""))
    return blocks


def bar_text(bar: Bar, width: int) -> str:
    """Return a bar as one line: `memory  ████▒▒▒······  3.1 GB in models, …`; its words alone where it is not known."""
    total = bar.models + (bar.other or 0) + (bar.free or 0)
    if bar.free is None or not total:
        return folded(bar.words, width)
    cells = max(_LEAST_BAR_CELLS, min(_BAR_CELLS, width - cells_of(bar.words) - 1))
    models = round(cells * bar.models / total)
    free = min(cells - models, round(cells * bar.free / total))
    drawn = "█" * models + "▒" * (cells - models - free) + "·" * free
    return folded(f"{drawn} {bar.words}", width)


# Cells ---------------------------------------------------------------------------------------------------------------


def text_column(column: RowsColumn, values: Sequence[Any], front: Front, *, limit: int = _CELL_LIMIT) -> Column:
    """Return a column's cells as printable texts of at most `limit` characters (0: all); unknown is ''."""
    texts = [printable(text, limit=limit) for text in _texts(column.kind, values, front)]
    return Column(printable(column.name, limit=limit), texts, kind=column.kind)


def _texts(kind: Kind, values: Sequence[Any], front: Front) -> list[str]:
    if kind is Kind.NUMBER:
        decimals = _decimals(values)
        return ["" if _is_unknown(value) else _number(value, decimals) for value in values]
    if kind is Kind.FLAG and front is Front.TERMINAL:
        return ["yes" if value else "" if value is None else "no" for value in values]
    return [_cell(value, front) for value in values]


def _is_unknown(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _decimals(values: Iterable[Any]) -> int:
    """Return how many decimals give the largest number three digits; none for whole numbers."""
    known = [abs(value) for value in values if not _is_unknown(value)]
    if not known or all(value == int(value) for value in known):
        return 0
    return min(6, max(0, 2 - math.floor(math.log10(max(known)))))


def _number(value: float, decimals: int) -> str:
    shown = f"{value:.{decimals}f}"
    # Beside large ones a small number would be nothing at all.
    return shown if value == 0 or float(shown) != 0 else f"{value:.1g}"


def _cell(value: object, front: Front) -> str:
    """Return one value as a text."""
    match value:
        case Step():
            return value.typed(front)
        case tuple():
            return worded(value, front)
        case str():
            return value
        case bool():
            return str(value).lower() if front is Front.TERMINAL else str(value)
        case float():
            return f"{value:g}" if math.isfinite(value) else ""
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S")
        case dict() | list():
            return json.dumps(value, ensure_ascii=False, default=str)
        case None:
            return ""
    return str(value)


# JSON ----------------------------------------------------------------------------------------------------------------


def records_of(rows: Rows, front: Front) -> list[dict[str, Any]]:
    """Return one object a row, with the names of the columns; what is no number or no time is null."""
    names = [column.name for column in rows.columns]
    return [dict(zip(names, (plain(value, front) for value in row), strict=True)) for row in rows.body]


def plain(value: object, front: Front) -> Any:
    """Return a value that JSON has."""
    match value:
        case Step():
            return value.typed(front)
        case str() | bool() | int() | None:
            return value
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {str(key): plain(inner, front) for key, inner in value.items()}
        case list() | tuple():
            return [plain(inner, front) for inner in value]
        case datetime():
            return value.isoformat()
    return str(value)


# Long lines ----------------------------------------------------------------------------------------------------------


def folded(text: str, width: int) -> str:
    """Return a text as lines of at most `width` cells, broken between the clauses of a caption if that will do."""
    if cells_of(text) <= width:
        return text
    kept = [""]
    for clause in text.split(_BETWEEN):
        joined = f"{kept[-1]}{_BETWEEN}{clause}" if kept[-1] else clause
        if cells_of(joined) <= width:
            kept[-1] = joined
        else:
            kept.append(clause)
    return "\n".join(line for block in kept for line in wrapped(block, width))


_BETWEEN = " · "
