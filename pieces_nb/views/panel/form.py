"""The form that updates a custom model: its texts, its choices, and what they change. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pieces_nb.errors import BadArguments
from pieces_nb.model import fields
from pieces_nb.model.models import Model

# What the Model API has for these; a value that is none of them, from a newer server, is offered beside them.
# Source: the Pieces OpenAPI schemas ModelTypeEnum and ModelUsageEnum.
_WORDS = {
    "type": ("UNKNOWN", "BALANCED", "SPEED", "ACCURACY"),
    "usage": (
        "UNKNOWN",
        "CODE_CONVERSATION",
        "CODE_GENERATION",
        "CODE_SEARCH",
        "CODE_CLASSIFICATION",
        "CODE_DESCRIPTION",
        "CODE_DISCOVERY",
        "CODE_EXTRACTIVE_LINKS",
        "CODE_EXTRACTIVE_TAGS",
        "CODE_FRAMEWORK",
        "CODE_RELATED_PEOPLE",
        "CODE_SEARCH_QUERIES",
        "CODE_TITLE",
        "OCR",
        "TAGIFY_CODE",
        "TAGIFY_COLOR_FROM_CODE",
        "TECHNICAL_ERROR",
        "TEXT_EMBEDDING",
        "TEXT_VS_CODE",
        "TEXT_VS_CODE_SEGMENTATION",
        "TLP_NEURAL_CODE_SEARCH",
        "TLP_TAG_SEARCH",
        "VIDEO_OCR",
    ),
}
_FLAGS = ("true", "false")


class Change(NamedTuple):
    """A field's value before and after, as texts."""

    field: str
    old: str
    new: str


class Reading(NamedTuple):
    """What the form's texts mean: typed changes for `update`, the same to look at, and what is wrong in which field."""

    values: dict[str, Any]
    changes: tuple[Change, ...]
    errors: dict[str, str]


def texts(model: Model) -> dict[str, str]:
    """Return each writable field as the text in its box; '' where it has no value."""
    return {name: as_text(fields.value_at(model.raw, name)) for name in fields.FIELDS}


def as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def choices(name: str, text: str) -> tuple[str, ...]:
    """Return the texts that a field can have, `text` among them; none where it is free."""
    kind = fields.FIELDS[name]
    offered = _FLAGS if kind.word == "true or false" else _WORDS.get(name, ())
    if not offered:
        return ()
    unset = ("",) if kind.optional or not text else ()
    return (*unset, *offered, *(() if text in (*unset, *offered) else (text,)))


def read(before: Mapping[str, str], after: Mapping[str, str]) -> Reading:
    """Return what has changed. An emptied box clears the field; fields left alone are not written."""
    values: dict[str, Any] = {}
    changes, errors = [], {}
    for name, text in after.items():
        if text == before[name]:
            continue
        try:
            value = fields.check({name: _value(name, text.strip())})[name]
        except BadArguments as exc:
            errors[name] = str(exc)
        else:
            if as_text(value) != before[name]:
                values[name] = value
                changes.append(Change(name, before[name], as_text(value)))
    return Reading(values, tuple(changes), errors)


def _value(name: str, text: str) -> Any:
    if not text and fields.FIELDS[name].optional:
        return None
    # Here a text is what was typed, `null` included; on a command line that word clears.
    return text if fields.FIELDS[name].word in ("text", "WORD") else fields.read(name, text)
