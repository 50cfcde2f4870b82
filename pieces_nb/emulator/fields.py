"""The fields in request bodies: which are checked and which are not the caller's to set. Pure.

The types are those that the official SDKs read; a field that they do not know may hold anything.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pieces_nb.emulator.errors import Refused

CALCULATED = frozenset(("id", "bytes", "downloaded", "downloading", "loaded", "score", "custom"))
NOT_OURS_TO_SET = CALCULATED | {"created"}

_TYPES = ("UNKNOWN", "BALANCED", "SPEED", "ACCURACY")
# What every client reads: fromisoformat alone takes week dates, and times without minutes.
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_VERSION = re.compile(r"v?(\d{1,9}\.\d{1,9}\.\d{1,9})", re.ASCII)


class Type(NamedTuple):
    """What a field may hold."""

    is_right: Callable[[object], bool]
    wanted: str


def text(value: object) -> str | None:
    """Return a non-empty text, or None."""
    return value if isinstance(value, str) and value else None


def uuid_text(value: object) -> str | None:
    """Return the text of a UUID, or None."""
    try:
        return str(uuid.UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def is_json(value: object) -> bool:
    """Tell whether JSON can say it: no NaN, no infinity, not nested without end."""
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return False
    return True


def _is_text(value: object) -> bool:
    # Half of a surrogate pair can be written in JSON, but most programs cannot read it as text.
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _is_date_time(value: object) -> bool:
    if not isinstance(value, str) or not _DATE_TIME.fullmatch(value):
        return False
    try:
        dt.datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


_TEXT = Type(_is_text, "text")
_NAME = Type(lambda value: bool(value) and _is_text(value), "text that is not empty")
_BOOL = Type(lambda value: isinstance(value, bool), "true or false")
_WHOLE = Type(_is_whole, "a whole number")
_NUMBER = Type(_is_number, "a number")
_ANYTHING = Type(lambda _: True, "")


def _object(wanted: str, required: Mapping[str, Type], optional: Mapping[str, Type] | None = None) -> Type:
    """Return the type of an object. What may be missing may be null, too."""
    optional = optional or {}

    def is_right(value: object) -> bool:
        return (
            isinstance(value, dict)
            and all(name in value and kind.is_right(value[name]) for name, kind in required.items())
            and all(value.get(name) is None or kind.is_right(value[name]) for name, kind in optional.items())
        )

    return Type(is_right, wanted)


_SCHEMA = _object("an object with a whole number `migration`", {"migration": _WHOLE}, {"semantic": _TEXT})
_SIZE = _object(
    "an object with a whole number `value` and a text `readable`",
    {"value": _WHOLE, "readable": _TEXT},
    {"schema": _SCHEMA},
)
_TIME = _object(
    "an object with a date-time as `value`",
    {"value": Type(_is_date_time, "a date-time")},
    {"readable": _TEXT, "schema": _SCHEMA},
)
_NULLABLE_NUMBER = Type(lambda value: value is None or _is_number(value), "a number or null")
_MAX_TOKENS = _object(
    "an object with a number `total`, and numbers as `input` and `output` if these are given",
    {"total": _NULLABLE_NUMBER},
    {"input": _NUMBER, "output": _NUMBER, "schema": _SCHEMA},
)
_CAPABILITIES = _object(
    "an object of true and false",
    {},
    {
        **dict.fromkeys(("assets", "codebases", "documents", "images", "temporal", "videos", "websites"), _BOOL),
        "schema": _SCHEMA,
    },
)
_ORGANIZATION = _object(
    "an object with a text `id`, without a `reference`",
    {"id": _TEXT},
    {"schema": _SCHEMA, "reference": Type(lambda value: value is None, "null")},
)
_SCORE = _object(
    "an object with the whole numbers `automatic` and `manual`",
    {"automatic": _WHOLE, "manual": _WHOLE},
    {**dict.fromkeys(("priority", "reference", "reuse", "searched", "update"), _WHOLE), "schema": _SCHEMA},
)
_REQUIRED: dict[str, Type] = {
    "version": _TEXT,
    "created": _TIME,
    "name": _NAME,
    "cloud": _BOOL,
    "type": Type(lambda value: value in _TYPES, f"one of {', '.join(_TYPES)}"),
    "usage": _TEXT,
}
_OPTIONAL: dict[str, Type] = {
    **dict.fromkeys(("cpu", "denied", "custom", "downloaded", "downloading", "loaded"), _BOOL),
    **dict.fromkeys(("id", "description", "foundation", "provider", "quantization", "unique"), _TEXT),
    **dict.fromkeys(("bytes", "ram"), _SIZE),
    "capabilities": _CAPABILITIES,
    "maxTokens": _MAX_TOKENS,
    "organization": _ORGANIZATION,
    "schema": _SCHEMA,
    "score": _SCORE,
    "parameters": _NUMBER,
}
_APPLICATION_REQUIRED: dict[str, Type] = {"name": _NAME, "platform": _NAME, "version": _NAME}
_APPLICATION_OPTIONAL: dict[str, Type] = {
    **dict.fromkeys(("automaticUnload", "onboarded"), _BOOL),
    **dict.fromkeys(("capabilities", "descriptor", "mechanism", "privacy"), _TEXT),
}


def checked(body: object, *, partial: bool) -> dict[str, Any]:
    """Return the body as an object whose known fields have the wire's types, or raise Refused 422.

    A partial body may lack required fields; none may set one to null.
    """
    if not isinstance(body, dict):
        raise Refused(422, "The body must be a JSON object, a model.")
    _check(body, _REQUIRED, _OPTIONAL, partial=partial)
    return body


def _check(
    body: Mapping[str, object],
    required: Mapping[str, Type],
    optional: Mapping[str, Type],
    *,
    partial: bool = False,
) -> None:
    for name, kind in required.items():
        if name not in body and not partial:
            raise Refused(422, f"The field {name} is missing; it must be {kind.wanted}.")
        if name in body and not kind.is_right(body[name]):
            raise Refused(422, f"The field {name} must be {kind.wanted}.")
    for name, kind in optional.items():
        if body.get(name) is not None and not kind.is_right(body[name]):
            raise Refused(422, f"The field {name} must be {kind.wanted}, or null.")


def application(body: object) -> dict[str, Any]:
    """Return the application that connects, of the body of that call; known fields only. Raises Refused 422."""
    found = body.get("application") if isinstance(body, dict) else None
    if not isinstance(found, dict):
        raise Refused(422, "The body must be a JSON object with an object `application`.")
    _check(found, _APPLICATION_REQUIRED, _APPLICATION_OPTIONAL)
    known = (*_APPLICATION_REQUIRED, *_APPLICATION_OPTIONAL)
    return {name: found[name] for name in known if found.get(name) is not None}


def engine_version(body: object) -> str | None:
    """Return the version of the engine that a body asks for, None if it asks for none. Raises Refused 422."""
    if body is None:
        return None
    if not isinstance(body, dict):
        raise Refused(422, "The body must be a JSON object with a text `version`.")
    _check(body, {"version": _NAME}, {})
    version = _VERSION.fullmatch(body["version"])
    if version is None:
        raise Refused(422, "The field version must be a version such as 0.12.6.")
    return version[1]


def stored_models(items: list[Any]) -> dict[str, dict[str, Any]]:
    """Return the models of a state file by id, without the fields that an earlier version should have refused."""
    found = {}
    for item in items:
        if _is_stored_model(item) and (model := _without_wrong_fields(item["model"])) is not None:
            found[model["id"]] = {"model": model, "size": item["size"]}
    return found


def stored_engine(item: object) -> dict[str, Any] | None:
    """Return what a state file says of the engine that was installed, None if that cannot be served."""
    if not isinstance(item, dict) or item.keys() != {"schema", "id", "version", "updated"}:
        return None
    types = {"schema": _SCHEMA, "id": _NAME, "version": Type(_is_version, ""), "updated": _TIME}
    return item if all(kind.is_right(item[name]) for name, kind in types.items()) and is_json(item) else None


def _is_version(value: object) -> bool:
    return isinstance(value, str) and _VERSION.fullmatch(value) is not None and not value.startswith("v")


def _without_wrong_fields(model: dict[str, Any]) -> dict[str, Any] | None:
    if not all(name in model and kind.is_right(model[name]) for name, kind in _REQUIRED.items()):
        return None
    return {
        name: value
        for name, value in model.items()
        if is_json(value) and (value is None or _OPTIONAL.get(name, _ANYTHING).is_right(value))
    }


def items(state: dict[str, Any], name: str) -> list[Any]:
    """Return a list in the state file, empty where there is none."""
    value = state.get(name)
    return value if isinstance(value, list) else []


def _is_stored_model(item: object) -> bool:
    """Tell whether an item of the state file is a model of ours."""
    if not isinstance(item, dict) or not _is_whole(item.get("size")) or item["size"] < 0:
        return False
    model = item.get("model")
    return isinstance(model, dict) and isinstance(model.get("id"), str)


def identifiers(model_id: str, *, deleted: bool) -> dict[str, Any]:
    """Return the frame that tells of one changed model."""
    item: dict[str, Any] = {"model": {"id": model_id}}
    if deleted:
        item["deleted"] = True
    return {"iterable": [item]}
