"""Models → DataFrames. Shapes tables and says how they show; asks nobody for anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from pieces_nb.history import Entry
from pieces_nb.model.models import Model
from pieces_nb.text import clock, printable

if TYPE_CHECKING:
    from pieces_nb.download.download import Download
    from pieces_nb.workflows import Share, Step

_GB = 1e9
_MOST_ROWS = 60
_ONE_LINE = 50
_ID_CELL = re.compile(r"<td>(?=[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}</td>)", re.IGNORECASE)

LIST_COLUMNS = ("name", "state", "size_gb", "ram_gb", "parameters_b", "quantization", "provider", "custom", "id")
_TEXT = ("name", "state", "quantization", "provider", "id")
_NUMBERS = ("size_gb", "ram_gb", "parameters_b")


class Table(pd.DataFrame):
    """A DataFrame that shows with a line on where it came from. Every operation on it gives a plain DataFrame.

    Shown, it is plain text and HTML: no mathematics is set in cells, nothing in them is markup, control characters are
    replaced. The values themselves stay as they are.
    """

    _metadata = ["caption", "when_empty", "shows_index"]  # noqa: RUF012 - pandas' own protocol

    caption: str
    when_empty: str
    shows_index: bool

    @classmethod
    def of(cls, frame: pd.DataFrame, *, caption: str, when_empty: str = "", shows_index: bool = False) -> Table:
        table = cls(frame)
        table.caption = caption
        table.when_empty = when_empty
        table.shows_index = shows_index
        return table

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        return pd.DataFrame

    def __repr__(self) -> str:
        if self.empty and self.when_empty:
            return f"{self.when_empty}\n{self.caption}"
        with pd.option_context("display.max_colwidth", 60, "display.width", 160, "display.max_columns", 30):
            text = _shown(self).to_string(index=self.shows_index, max_rows=_MOST_ROWS, na_rep="", float_format=_figure)
        return f"{text}\n{self.caption}"

    def _repr_html_(self) -> str:
        caption = f'<div style="color: var(--jp-ui-font-color2, inherit)">{escape(self.caption)}</div>'
        if self.empty and self.when_empty:
            return f"<div>{escape(self.when_empty)}</div>{caption}"
        shown = _shown(self)
        with pd.option_context("display.max_colwidth", 300):
            # Without these classes a `$` in a cell would be typeset as mathematics.
            html = shown.to_html(
                index=self.shows_index,
                max_rows=_MOST_ROWS,
                na_rep="",
                float_format=_figure,
                border=0,
                classes=["dataframe", "tex2jax_ignore", "mathjax_ignore"],
            )
        if _longest(shown) <= _ONE_LINE:
            # A row of short texts is one line, but for ids: front ends break every name, whatever the table says.
            html = _ID_CELL.sub('<td style="font-size: 70%; max-width: 20ch">', html)
            html = html.replace("<td>", '<td style="white-space: nowrap">')
        return f"<div>{html}</div>{caption}"


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that will show, as a plain frame with printable texts."""
    frame = pd.DataFrame(table)
    if len(frame) > _MOST_ROWS + 1:
        half = _MOST_ROWS // 2 + 1
        frame = pd.concat([frame.head(half), frame.tail(half)]) if len(frame) > 2 * half else frame
    return frame.map(_cell).rename(index=_cell, columns=_cell)


def _longest(frame: pd.DataFrame) -> int:
    """Return the length of the longest text in a frame."""
    return max((len(cell) for row in frame.itertuples(index=False) for cell in row if isinstance(cell, str)), default=0)


def _figure(number: float) -> str:
    """Return four digits of a small number, every one of a large one: bytes are no 2.595e+07."""
    return f"{number:.0f}" if 1000 <= abs(number) < 1e15 else f"{number:.4g}"


def _cell(value: object) -> object:
    return printable(str(value)) if isinstance(value, str | list | dict) else value


def _gigabytes(size_bytes: int | None) -> float:
    return float("nan") if size_bytes is None else size_bytes / _GB


def list_frame(models: Sequence[Model]) -> pd.DataFrame:
    """Return one row a model: name state size_gb ram_gb parameters_b quantization provider custom id.

    Sizes are in units of 1e9 bytes, parameters in billions; an unknown number is NaN, an unknown text ''. No models
    are zero rows with the same columns and dtypes.
    """
    columns: dict[str, list[Any]] = {
        "name": [model.title for model in models],
        "state": [str(model.state) for model in models],
        "size_gb": [_gigabytes(model.size_bytes) for model in models],
        "ram_gb": [_gigabytes(model.ram_bytes) for model in models],
        "parameters_b": [float("nan") if (b := model.parameters_b) is None else b for model in models],
        "quantization": [model.quantization for model in models],
        "provider": [model.provider for model in models],
        "custom": [model.custom for model in models],
        "id": [model.id for model in models],
    }
    series = {
        name: pd.Series(values, dtype="str" if name in _TEXT else "bool" if name == "custom" else "float64")
        for name, values in columns.items()
    }
    return pd.DataFrame(series)


def wide_frame(models: Sequence[Model]) -> pd.DataFrame:
    """Return one row a model and one column for every field on the wire, nested ones dotted, '' where missing."""
    rows = [_flat(model.raw) for model in models]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return pd.DataFrame([[row.get(name, "") for name in columns] for row in rows], columns=columns, dtype=object)


def snapshot_frame(models: Sequence[Model]) -> pd.DataFrame:
    """Return one column a model, headed by its name, indexed by the wire's fields, nested dotted (`bytes.value`)."""
    wide = wide_frame(models).T
    wide.columns = pd.Index([model.title for model in models])
    wide.index.name = "field"
    return wide


def progress_frame(downloads: Sequence[Download]) -> pd.DataFrame:
    """Return one row a download: name status percentage done_gb size_gb speed_mb_s time_left_s stalled_since id."""
    nothing = float("nan")

    def number(value: float | None, unit: float = 1.0) -> float:
        return nothing if value is None else value / unit

    columns = {
        "name": ("str", [download.model.title for download in downloads]),
        "status": ("str", [str(download.status) for download in downloads]),
        "percentage": ("float64", [number(download.percentage) for download in downloads]),
        "done_gb": ("float64", [number(download.state.done_bytes, _GB) for download in downloads]),
        "size_gb": ("float64", [number(download.state.size_bytes, _GB) for download in downloads]),
        "speed_mb_s": ("float64", [number(download.speed_bytes_per_s, 1e6) for download in downloads]),
        "time_left_s": ("float64", [number(download.time_left_s) for download in downloads]),
        "stalled_since": ("str", [clock(s) if (s := download.stalled_since) else "" for download in downloads]),
        "id": ("str", [download.model.id for download in downloads]),
    }
    return pd.DataFrame({name: pd.Series(values, dtype=dtype) for name, (dtype, values) in columns.items()})


def usage_frame(shares: Sequence[Share]) -> pd.DataFrame:
    """Return one row a share: name resource size_gb free_with."""
    return pd.DataFrame(
        {
            "name": pd.Series([share.name for share in shares], dtype="str"),
            "resource": pd.Series([share.resource for share in shares], dtype="str"),
            "size_gb": pd.Series([_gigabytes(share.size_bytes) for share in shares], dtype="float64"),
            "free_with": pd.Series([share.free_with for share in shares], dtype="str"),
        }
    )


def plan_frame(steps: Sequence[Step]) -> pd.DataFrame:
    """Return one row a step: step needed_gb available_gb verdict."""
    return pd.DataFrame(
        {
            "step": pd.Series([step.step for step in steps], dtype="str"),
            "needed_gb": pd.Series([_gigabytes(step.needed_bytes) for step in steps], dtype="float64"),
            "available_gb": pd.Series([_gigabytes(step.available_bytes) for step in steps], dtype="float64"),
            "verdict": pd.Series([step.verdict for step in steps], dtype="str"),
        }
    )


def history_frame(entries: Sequence[Entry]) -> pd.DataFrame:
    """Return one row an action: started verb model outcome seconds bytes mean_bytes_per_s reconnects error."""
    frame = pd.DataFrame(entries, columns=list(Entry._fields))
    dtypes = {"verb": "str", "model": "str", "outcome": "str", "error": "str", "seconds": "float64"}
    dtypes |= dict.fromkeys(("bytes", "mean_bytes_per_s", "reconnects"), "float64")
    frame["started"] = pd.to_datetime(frame["started"], utc=True).dt.floor("ms")
    frame["seconds"] = frame["seconds"].astype("float64").round(3)
    return frame.astype(dtypes)


def change_frame(before: Mapping[str, Any], after: Mapping[str, Any], fields: Sequence[str]) -> pd.DataFrame:
    """Return one row a field: its value before and after; '' where it has none."""
    old, new = _flat(before), _flat(after)
    seen = [name for name in dict.fromkeys([*old, *new]) if _touched(name, fields)]
    names = seen + [field for field in fields if not any(_touched(name, [field]) for name in seen)]
    rows = [[old.get(name, ""), new.get(name, "")] for name in names]
    return pd.DataFrame(rows, index=pd.Index(names, name="field"), columns=["old", "new"], dtype=object)


def _touched(name: str, fields: Sequence[str]) -> bool:
    return any(name == field or name.startswith(f"{field}.") for field in fields)


def _flat(raw: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a flat mapping with dotted names; null is '', a list stays one value, deeper than three levels too."""
    flat: dict[str, Any] = {}
    for key, value in raw.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value and name.count(".") < 2:
            flat.update(_flat(value, f"{name}."))
        else:
            flat[name] = "" if value is None else value
    return flat
