"""The form that updates a custom model: its texts, and what they change. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pieces_nb.errors import BadArguments
from pieces_nb.model import fields
from pieces_nb.model.models import Model

FLAG = "true or false"


class Change(NamedTuple):
    """A field's value before and after, as texts."""

    field: str
    old: str
    new: str


class Reading(NamedTuple):
    """What the form's texts mean: typed changes for `update`, the same to look at, and what is wrong."""

    values: dict[str, Any]
    changes: tuple[Change, ...]
    errors: tuple[str, ...]


def texts(model: Model) -> dict[str, str]:
    """Return each writable field as the text in its box; '' where it has no value."""
    return {name: as_text(fields.value_at(model.raw, name)) for name in fields.FIELDS}


def as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def read(before: Mapping[str, str], after: Mapping[str, str]) -> Reading:
    """Return what has changed. An emptied box clears the field; fields left alone are not written."""
    values: dict[str, Any] = {}
    changes, errors = [], []
    for name, text in after.items():
        if text == before[name]:
            continue
        try:
            values.update(fields.check({name: _value(name, text)}))
        except BadArguments as exc:
            errors.append(str(exc))
        else:
            changes.append(Change(name, before[name], as_text(values[name])))
    return Reading(values, tuple(changes), tuple(errors))


def _value(name: str, text: str) -> Any:
    if not text.strip() and fields.FIELDS[name].optional:
        return None
    # Here a text is what was typed, `null` included; on a command line that word clears.
    return text if fields.FIELDS[name].word in ("text", "WORD") else fields.read(name, text.strip())
