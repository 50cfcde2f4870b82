"""Tables as plain rows: columns with kinds and units, values, and the words below. Pure; shows nothing.

A notebook makes a DataFrame of them, a terminal text or JSON. A value is what Python has for it; None is unknown, but
in a column of texts, where that is ''.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from pieces_nb.model import fields
from pieces_nb.model.rules import step_with
from pieces_nb.text import Part, clock, format_bytes

if TYPE_CHECKING:
    from pieces_nb.doctor import Check
    from pieces_nb.download.download import Download
    from pieces_nb.history import Entry
    from pieces_nb.machine import Machine
    from pieces_nb.model.engine import Engine
    from pieces_nb.model.models import Model
    from pieces_nb.workflows import PlanStep

Parts = tuple[Part, ...]

_GB = 1e9


class Kind(StrEnum):
    """What a column holds."""

    NAME = "name"  # of a model: a text that is cut rather than wrapped
    ID = "id"
    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"
    TIME = "time"
    STEP = "step"  # what to type, a `Step`
    WORDS = "words"  # sentences, which wrap; made of parts
    ANY = "any"


class Column(NamedTuple):
    """One column; `unit` of its numbers."""

    name: str
    kind: Kind = Kind.TEXT
    unit: str = ""


class Bar(NamedTuple):
    """A resource of the machine in bytes: what models take, what else is taken, what is free; None where unknown."""

    resource: str
    models: int
    other: int | None = None
    free: int | None = None

    @property
    def words(self) -> str:
        """The bar in words: `memory: 3.1 GB in models, 5.2 GB other, 8.0 GB free`."""
        words = [f"{format_bytes(self.models)} in models"]
        if self.other is not None and self.free is not None:
            words += [f"{format_bytes(self.other)} other", f"{format_bytes(self.free)} free"]
        return f"{self.resource}: {', '.join(words)}"


class Rows(NamedTuple):
    """A table. With `shows_index` its first column names the rows, as the fields of a snapshot do."""

    columns: tuple[Column, ...]
    body: Sequence[tuple[Any, ...]]
    caption: Parts
    when_empty: Parts = ()
    shows_index: bool = False
    bars: tuple[Bar, ...] = ()


# Models --------------------------------------------------------------------------------------------------------------

LIST_COLUMNS: tuple[Column, ...] = (
    Column("name", Kind.NAME),
    Column("state"),
    Column("size_gb", Kind.NUMBER, "GB"),
    Column("ram_gb", Kind.NUMBER, "GB"),
    Column("parameters_b", Kind.NUMBER, "1e9"),
    Column("quantization"),
    Column("provider"),
    Column("custom", Kind.FLAG),
    Column("id", Kind.ID),
)


def models(
    listed: Sequence[Model], *, server: str, wide: bool = False, when_empty: Parts = ("No models.",), note: str = ""
) -> Rows:
    """Return a row a model; with `wide`, after the columns of the list, one for every field on the wire."""
    columns, values = LIST_COLUMNS, [_listed(model) for model in listed]
    if wide:
        more, cells = _wire_fields(listed, leaving_out={column.name for column in LIST_COLUMNS})
        columns += more
        values = [row + found for row, found in zip(values, cells, strict=True)]
    count = "1 model" if len(listed) == 1 else f"{len(listed)} models"
    words = " · ".join(filter(None, (count, server, note)))
    return Rows(columns, values, (words,), when_empty)


def _listed(model: Model) -> tuple[Any, ...]:
    return (
        model.title,
        str(model.state),
        _gigabytes(model.size_bytes),
        _gigabytes(model.ram_bytes),
        model.parameters_b,
        model.quantization,
        model.provider,
        model.custom,
        model.id,
    )


def _wire_fields(
    listed: Sequence[Model], *, leaving_out: Iterable[str]
) -> tuple[tuple[Column, ...], list[tuple[Any, ...]]]:
    """Return a column for every field on the wire, and the models' values in them."""
    flat = [flattened(model.raw) for model in listed]
    names = [name for name in dict.fromkeys(name for row in flat for name in row) if name not in set(leaving_out)]
    kinds = {name: _kind(name, [row.get(name) for row in flat]) for name in names}
    values = [tuple(_or_unknown(row.get(name), kinds[name]) for name in names) for row in flat]
    return tuple(Column(name, kinds[name]) for name in names), values


_KINDS_OF_FIELDS = {"true or false": Kind.FLAG, "number": Kind.NUMBER, "whole number": Kind.NUMBER}


def _kind(name: str, values: Iterable[Any]) -> Kind:
    """Return what a field holds, by its values; where it has none, by what the wire's schema says of it."""
    known = [value for value in values if value is not None]
    if not known:
        field = fields.FIELDS.get(name)
        return Kind.ANY if field is None else _KINDS_OF_FIELDS.get(field.word, Kind.TEXT)
    if all(isinstance(value, bool) for value in known):
        return Kind.FLAG
    if all(_is_number(value) for value in known):
        return Kind.NUMBER
    return Kind.TEXT if all(isinstance(value, str) for value in known) else Kind.ANY


def _is_number(value: Any) -> bool:
    """Whether a column of numbers can hold it: JSON has integers of any length."""
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63)


def _or_unknown(value: Any, kind: Kind) -> Any:
    return "" if value is None and kind is Kind.TEXT else value


def snapshot(seen: Sequence[Model], *, server: str) -> Rows:
    """Return a row a field on the wire, nested ones dotted (`bytes.value`), and a column a model, with its name."""
    columns, values = _wire_fields(seen, leaving_out=())
    across = [(column.name, *cells) for column, *cells in zip(columns, *values, strict=True)] if values else []
    heads = tuple(Column(model.title, Kind.ANY) for model in seen)
    return Rows((Column("field"), *heads), across, (server,), shows_index=True)


def changes(before: Model, after: Model, names: Iterable[str], *, server: str) -> Rows:
    """Return a row a changed field: its value before and after; '' where it has none."""
    old, new = flattened(before.raw), flattened(after.raw)
    wanted = list(names)
    touched = [name for name in dict.fromkeys([*old, *new]) if any(_belongs(name, field) for field in wanted)]
    touched += [field for field in wanted if not any(_belongs(name, field) for name in touched)]
    values = [(name, _or_nothing(old.get(name)), _or_nothing(new.get(name))) for name in touched]
    columns = (Column("field"), Column("old", Kind.ANY), Column("new", Kind.ANY))
    return Rows(columns, values, (f"{after.shown} · {server}",), shows_index=True)


def _belongs(name: str, field: str) -> bool:
    return name == field or name.startswith(f"{field}.")


def _or_nothing(value: Any) -> Any:
    return "" if value is None else value


def flattened(raw: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a flat mapping with dotted names; a list stays one value, as does what is deeper than three levels."""
    flat: dict[str, Any] = {}
    for key, value in raw.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value and name.count(".") < 2:
            flat.update(flattened(value, f"{name}."))
        else:
            flat[name] = value
    return flat


# Downloads, the plan, what was done ----------------------------------------------------------------------------------

_PROGRESS_COLUMNS = (
    Column("name", Kind.NAME),
    Column("status"),
    Column("percentage", Kind.NUMBER, "%"),
    Column("done_gb", Kind.NUMBER, "GB"),
    Column("size_gb", Kind.NUMBER, "GB"),
    Column("speed_mb_s", Kind.NUMBER, "MB/s"),
    Column("time_left_s", Kind.NUMBER, "s"),
    Column("stalled_since"),
    Column("id", Kind.ID),
)


def progress(downloads: Sequence[Download], *, server: str) -> Rows:
    """Return a row a download."""
    values = [_progress(download) for download in downloads]
    return Rows(_PROGRESS_COLUMNS, values, (server,), ("Nothing is downloading.",))


def _progress(download: Download) -> tuple[Any, ...]:
    speed, since = download.speed_bytes_per_s, download.stalled_since
    return (
        download.model.title,
        download.status_words,
        download.percentage,
        _gigabytes(download.state.done_bytes),
        _gigabytes(download.state.size_bytes),
        None if speed is None else speed / 1e6,
        download.time_left_s,
        clock(since) if since else "",
        download.model.id,
    )


def plan(model: Model, steps: Sequence[PlanStep], *, server: str) -> Rows:
    """Return a row a step of `ensure`."""
    columns = (
        Column("step"),
        Column("needed_gb", Kind.NUMBER, "GB"),
        Column("available_gb", Kind.NUMBER, "GB"),
        Column("verdict"),
    )
    values = [
        (step.step, _gigabytes(step.needed_bytes), _gigabytes(step.available_bytes), step.verdict) for step in steps
    ]
    return Rows(columns, values, (f"{model.shown} is {model.state} · {server}",))


def history(entries: Sequence[Entry]) -> Rows:
    """Return a row an action, oldest first; times are in UTC, to the millisecond."""
    columns = (
        Column("started", Kind.TIME),
        Column("verb"),
        Column("model", Kind.NAME),
        Column("outcome"),
        Column("seconds", Kind.NUMBER, "s"),
        Column("bytes", Kind.NUMBER, "B"),
        Column("mean_bytes_per_s", Kind.NUMBER, "B/s"),
        Column("reconnects", Kind.NUMBER),
        Column("error"),
    )
    values = [
        tuple(
            entry._replace(
                started=entry.started.replace(microsecond=entry.started.microsecond // 1000 * 1000),
                seconds=round(entry.seconds, 3),
            )
        )
        for entry in entries
    ]
    return Rows(columns, values, ("What was done here, times in UTC",), ("Nothing was done yet.",))


# The server and what is under it -------------------------------------------------------------------------------------


def doctor(checks: Sequence[Check]) -> Rows:
    """Return a row a check: ✓, ✗ or – (nothing to say), what was seen, and what to do next."""
    columns = (Column("ok"), Column("check"), Column("seen", Kind.WORDS), Column("next_step", Kind.WORDS))
    values = [(check.mark, check.name, (check.seen,), check.step) for check in checks]
    wrong = sum(check.ok is False for check in checks)
    words = "Nothing is wrong here." if not wrong else f"{wrong} of {len(checks)} checks found something wrong."
    return Rows(columns, values, (words,))


def engine(found: Engine, *, server: str) -> Rows:
    """Return one row: name state version needed user_managed percentage."""
    columns = (
        Column("name"),
        Column("state"),
        Column("version"),
        Column("needed"),
        Column("user_managed", Kind.FLAG),
        Column("percentage", Kind.NUMBER, "%"),
    )
    under_way, there, wanted = found.under_way, found.installation, found.update_required
    row = (
        "Ollama",
        str(found.state),
        there.version if there is not None else "",
        coming.version if (coming := under_way or wanted) is not None else "",
        found.user_managed,
        under_way.percentage if under_way is not None else None,
    )
    return Rows(columns, [row] if found.known else [], (server,), ("This server has no calls for an engine.",))


# What models take ----------------------------------------------------------------------------------------------------


def usage(listed: Sequence[Model], machine: Machine, *, server: str) -> Rows:
    """Return what models take, memory first, each the biggest first, with what frees it; and a bar for each."""
    loaded = sorted((model for model in listed if model.loaded), key=lambda model: -(model.ram_bytes or 0))
    stored = sorted((model for model in listed if model.downloaded), key=lambda model: -(model.size_bytes or 0))
    values = [(model.title, "memory", _gigabytes(model.ram_bytes), step_with("unload", model)) for model in loaded]
    values += [
        (model.title, "disk", _gigabytes(model.size_bytes), step_with("delete-cache", model)) for model in stored
    ]
    bars = (
        _bar("memory", (model.ram_bytes for model in loaded), machine.total_memory_bytes, machine.free_memory_bytes),
        _bar("disk", (model.size_bytes for model in stored), machine.total_disk_bytes, machine.free_disk_bytes),
    )
    columns = (
        Column("name", Kind.NAME),
        Column("resource"),
        Column("size_gb", Kind.NUMBER, "GB"),
        Column("free_with", Kind.STEP),
    )
    return Rows(columns, values, (server,), ("No model is loaded and none is downloaded.",), bars=bars)


def _bar(resource: str, sizes: Iterable[int | None], total: int | None, free: int | None) -> Bar:
    in_models = sum(size or 0 for size in sizes)
    if total is None or free is None:
        return Bar(resource, in_models)
    return Bar(resource, in_models, max(0, total - free - in_models), free)


def _gigabytes(size_bytes: float | None) -> float | None:
    return None if size_bytes is None or not math.isfinite(size_bytes) else size_bytes / _GB
