"""The fields of a Model in request bodies: which are checked and which are not the caller's to set. Pure."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

from pieces_nb.emulator.errors import Refused

CALCULATED = frozenset(("id", "bytes", "downloaded", "downloading", "loaded", "score", "custom"))
NOT_OURS_TO_SET = CALCULATED | {"created"}

_TYPES = ("UNKNOWN", "BALANCED", "SPEED", "ACCURACY")


def text(value: object) -> str | None:
    """Return a non-empty text, or None."""
    return value if isinstance(value, str) and value else None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_size(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("value"), int)
        and not isinstance(value["value"], bool)
        and isinstance(value.get("readable"), str)
    )


def _is_time(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("value"), str):
        return False
    try:
        dt.datetime.fromisoformat(value["value"])
    except ValueError:
        return False
    return isinstance(value.get("readable", ""), str | None)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


_REQUIRED: dict[str, tuple[Callable[[object], bool], str]] = {
    "version": (_is_text, "text"),
    "created": (_is_time, "an object with a date-time as `value`"),
    "name": (text, "text that is not empty"),  # type: ignore[dict-item]  # Truth is all that is asked of it.
    "cloud": (_is_bool, "true or false"),
    "type": (lambda value: value in _TYPES, f"one of {', '.join(_TYPES)}"),
    "usage": (_is_text, "text"),
}
_OPTIONAL: dict[str, tuple[Callable[[object], bool], str]] = {
    **dict.fromkeys(("cpu", "denied", "custom", "downloaded", "downloading", "loaded"), (_is_bool, "true or false")),
    **dict.fromkeys(("id", "description", "foundation", "provider", "quantization", "unique"), (_is_text, "text")),
    **dict.fromkeys(("bytes", "ram"), (_is_size, "an object with a whole number `value` and a text `readable`")),
    **dict.fromkeys(("capabilities", "maxTokens", "organization", "schema", "score"), (_is_object, "an object")),
    "parameters": (_is_number, "a number"),
}


def checked(body: object, *, partial: bool) -> dict[str, Any]:
    """Return the body as an object whose known fields have the wire's types, or raise Refused 422.

    A partial body may lack required fields; none may set one to null.
    """
    if not isinstance(body, dict):
        raise Refused(422, "The body must be a JSON object, a model.")
    for name, (is_right, wanted) in _REQUIRED.items():
        if name not in body and not partial:
            raise Refused(422, f"The field {name} is missing; it must be {wanted}.")
        if name in body and not is_right(body[name]):
            raise Refused(422, f"The field {name} must be {wanted}.")
    for name, (is_right, wanted) in _OPTIONAL.items():
        if body.get(name) is not None and not is_right(body[name]):
            raise Refused(422, f"The field {name} must be {wanted}, or null.")
    return body


def items(state: dict[str, Any], name: str) -> list[Any]:
    """Return a list in the state file, empty where there is none."""
    value = state.get(name)
    return value if isinstance(value, list) else []


def is_stored_model(item: object) -> bool:
    """Tell whether an item of the state file is a model of ours."""
    if not isinstance(item, dict) or not isinstance(item.get("size"), int):
        return False
    model = item.get("model")
    return isinstance(model, dict) and isinstance(model.get("id"), str)


def identifiers(model_id: str, *, deleted: bool) -> str:
    """Return the frame that tells of one changed model."""
    item: dict[str, Any] = {"model": {"id": model_id}}
    if deleted:
        item["deleted"] = True
    return json.dumps({"iterable": [item]})
