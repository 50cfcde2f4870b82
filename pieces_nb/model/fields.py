"""The fields of a Model that a person may write: their types, how a text becomes a value, what must stay untouched.

Pure. Source: the Pieces OpenAPI schemas Model and SeededModel. A field that these do not have can be written as JSON
only: newer servers have more fields than this table.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pieces_nb.errors import BadArguments
from pieces_nb.text import ByFront, Part, printable

MAX_JSON_DEPTH = 64
REFUSED = ("id", "created", "custom", "downloaded", "downloading", "loaded", "bytes", "score")


_AS_JSON = ByFront(python="", notebook=" with `%%pieces_model`", terminal=" in a notebook, with `%%pieces_model`")


class Kind(NamedTuple):
    """What a field takes: a word for it, and whether null clears it."""

    word: str
    optional: bool = True


_FLAG, _NUMBER, _COUNT, _TEXT, _WORD = (
    Kind(word) for word in ("true or false", "number", "whole number", "text", "WORD")
)
FIELDS: dict[str, Kind] = {
    "name": Kind("text", optional=False),
    "description": _TEXT,
    "version": Kind("text", optional=False),
    "unique": _TEXT,
    "quantization": _TEXT,
    "parameters": _NUMBER,
    "provider": _WORD,
    "foundation": _WORD,
    "type": Kind("WORD", optional=False),
    "usage": Kind("WORD", optional=False),
    "cloud": Kind("true or false", optional=False),
    "cpu": _FLAG,
    "denied": _FLAG,
    "ram.value": _COUNT,
    "ram.readable": _TEXT,
    "maxTokens.total": _COUNT,
    "maxTokens.input": _COUNT,
    "maxTokens.output": _COUNT,
    **{
        f"capabilities.{what}": _FLAG
        for what in ("assets", "codebases", "documents", "images", "temporal", "videos", "websites")
    },
}
_GROUPS = (*dict.fromkeys(name.split(".")[0] for name in FIELDS if "." in name), "organization", "schema")


def read(field: str, text: str) -> Any:
    """Return the value that the text `VALUE` of `--set FIELD=VALUE` means; `null` clears an optional field."""
    kind = _kind(field)
    if text == "null":
        return _checked(field, None)
    match kind.word:
        case "text" | "WORD":
            return _checked(field, text)
        case "true or false":
            return _checked(field, {"true": True, "false": False}.get(text.casefold(), text))
        case _:
            return _checked(field, _number(text))


def _number(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _kind(field: str) -> Kind:
    if field.split(".")[0] in REFUSED:
        raise BadArguments(f"{printable(field, limit=60)} is set by Pieces OS and cannot be written.")
    if field in _GROUPS:
        parts = ", ".join(name for name in FIELDS if name.startswith(f"{field}.")) or "JSON"
        raise BadArguments(f"{field} has parts; set them one by one ({parts}), or give JSON", _AS_JSON, ".")
    if field not in FIELDS:
        raise BadArguments(f"{printable(field, limit=60)!r} is no field that can be set; ", *_nearest(field))
    return FIELDS[field]


def _nearest(field: str) -> tuple[Part, ...]:
    import difflib  # not at the top: most names are right

    begun = [name for name in FIELDS if len(field) > 1 and name.startswith(field)]
    if near := begun[:3] or difflib.get_close_matches(field, FIELDS, n=3, cutoff=0.75):
        names = f"did you mean {' or '.join(near)}? "
    else:
        names = f"there are {', '.join(FIELDS)}. "
    return (names, "Another one can be given as JSON", _AS_JSON, ".")


def _checked(field: str, value: Any) -> Any:
    kind = FIELDS[field]
    if value is None:
        if not kind.optional:
            raise BadArguments(f"{field} cannot be cleared: every model has one.")
        return None
    fits = {
        "text": isinstance(value, str) and (kind.optional or bool(value.strip())),
        "WORD": isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_]+", value) is not None,
        "true or false": isinstance(value, bool),
        "number": _is_number(value) and value >= 0,
        "whole number": _is_count(value),
    }
    if not fits[kind.word]:
        raise BadArguments(f"{field} takes {_article(kind.word)}, not {_shown(value)}.")
    return value.upper() if kind.word == "WORD" else int(value) if kind.word == "whole number" else value


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def _is_count(value: Any) -> bool:
    return _is_number(value) and 0 <= value < 2**63 and value == int(value)


def _article(word: str) -> str:
    if word == "WORD":
        return "one word such as META or BALANCED"
    return word if word == "true or false" else "some text" if word == "text" else f"a {word} from 0 up"


def check(changes: Mapping[str, Any], *, unknown: bool = False) -> dict[str, Any]:
    """Return typed changes (dotted or nested) as dotted ones, each value checked against its field's type.

    With `unknown`, fields that the table does not have pass as they are (JSON); the refused ones never do.
    """
    checked: dict[str, Any] = {}
    for name, value in _dotted(changes):
        if unknown and name not in FIELDS and name.split(".")[0] not in REFUSED:
            checked[name] = _object_or_null(name, value) if name in _GROUPS else value
        else:
            _kind(name)
            checked[name] = _checked(name, value)
    return checked


def _object_or_null(field: str, value: Any) -> Any:
    if value is not None and not isinstance(value, Mapping):
        raise BadArguments(f"{field} takes a JSON object, not {_shown(value)}.")
    return value


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, default=str, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):  # not JSON at all
        text = repr(value)
    return printable(text, limit=60)


def _dotted(changes: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in changes.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name in _GROUPS and value:
            yield from _dotted(value, f"{name}.")
        else:
            yield name, value


def apply(raw: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a raw model with the dotted changes in it; everything else stays, unknown fields too."""
    changed = copy.deepcopy(dict(raw))
    for name, value in changes.items():
        *path, last = name.split(".") if name in FIELDS or name.split(".")[0] in _GROUPS else [name]
        place = changed
        for step in path:
            if not isinstance(place.get(step), dict):
                place[step] = {}
            place = place[step]
        place[last] = value
    return changed


CALCULATED = ("downloading", "loaded")  # what the server works out anew; sent back, it would only be stale


def body(raw: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what to send for a model with the dotted changes in it: all of it but what the server calculates."""
    return {name: value for name, value in apply(raw, changes).items() if name not in CALCULATED}


def what_json_cannot_hold(value: Any, name: str = "") -> str:
    """Return the dotted name of the first number in `value` that is NaN or infinite, or that of a level too deep."""
    level: list[tuple[str, Any]] = [(name, value)]
    for _ in range(MAX_JSON_DEPTH + 1):
        if not level:
            return ""
        for where, one in level:
            if isinstance(one, float) and not math.isfinite(one):
                return where
        level = [inner for where, one in level for inner in _inside(where, one)]
    return level[0][0] if level else ""


def _inside(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    return ((f"{name}.{key}".lstrip("."), one) for key, one in pairs)


def too_deep(value: Any) -> bool:
    """Whether decoded JSON has objects and lists on more than `MAX_JSON_DEPTH` levels."""
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [inner for one in level for _, inner in _inside("", one)]
    return any(isinstance(one, Mapping | list) for one in level)


def value_at(raw: Mapping[str, Any], name: str) -> Any:
    """Return the value of a dotted field, None where there is none."""
    if name in raw:
        return raw[name]
    value: Any = raw
    for step in name.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return value


def seeded(name: str, changes: Mapping[str, Any], *, now: datetime) -> dict[str, Any]:
    """Return a SeededModel for a custom model of that name, with the fields every model needs filled in."""
    defaults = {
        "version": "1",
        "created": {"value": now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")},
        "cloud": False,
        "type": "BALANCED",
        "usage": "CODE_CONVERSATION",
        "custom": True,
    }
    return apply({**defaults, "name": name}, changes)
