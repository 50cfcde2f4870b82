"""One argument, or the JSON of a cell, to its value. Knows no verb and no usage line."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple, NoReturn

from pieces_nb.errors import BadArguments
from pieces_nb.text import printable
from pieces_nb.verbs.tokens import Expanded


class Misuse(Exception):
    """What is wrong with the arguments of a verb, as it goes on behind the verb's name: "needs a MODEL"."""


class Change(NamedTuple):
    """One `--set FIELD=VALUE`. A `typed` text is still to be read by the field's type; other values have their own."""

    field: str
    value: object
    typed: bool = True


# One argument. `what` is the flag or operand as messages call it. ----------------------------------------------------


def text(given: str, what: str) -> str:
    """Return a text that is not empty."""
    if isinstance(given, Expanded) and not isinstance(given.value, str):
        raise Misuse(f"needs a text for {what}, and {shown(given)} is {_a(type(given.value).__name__)}")
    if not given.strip():
        raise Misuse(f"was given an empty {what}")
    return str(given)


def model(given: str, what: str) -> str:
    """Return what a model is called; an object of the notebook with an `id` stands for it."""
    if not isinstance(given, Expanded) or given.prefix or isinstance(given.value, str):
        return text(given, what)
    try:
        found = getattr(given.value, "id", None)
    except Exception:  # noqa: BLE001 - a property of a foreign object may raise anything; then it is no model
        found = None
    if not isinstance(found, str) or not found:
        raise Misuse(f"needs a name or a model, and {shown(given)} is {_a(type(given.value).__name__)}")
    return found


def seconds(given: str, what: str) -> float:
    """Return positive seconds."""
    found = _number(given)
    if found is None:
        raise Misuse(f"needs a number for {what}, not {shown(given)}")
    if found <= 0:
        raise Misuse(f"needs more than 0 seconds for {what}, not {shown(given)}")
    return found


def count(given: str, what: str) -> int:
    """Return a whole number from 1 up."""
    found = _number(given)
    if found is None or found < 1 or found != int(found):
        raise Misuse(f"needs a whole number from 1 up for {what}, not {shown(given)}")
    return int(found)


def change(given: str, what: str) -> Change:
    """Return the field and the value of FIELD=VALUE."""
    if isinstance(given, Expanded) and not given.prefix:
        raise Misuse(f"needs the FIELD of {what} typed, as in {what} FIELD={given.source}")
    if isinstance(given, Expanded):
        found = Change(given.prefix.removesuffix("=").strip(), given.value, typed=False)
    else:
        field, equals, value = given.partition("=")
        if not equals:
            raise Misuse(f"needs {what} FIELD=VALUE, and {shown(given)} has no '='")
        found = Change(field.strip(), value)
    if not found.field:
        raise Misuse(f"needs the name of a field before the '=' of {what} {shown(given)}")
    return found


def _number(given: str) -> float | None:
    value = given.value if isinstance(given, Expanded) else given
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def shown(given: str) -> str:
    """Return an argument as messages have it: what was typed, on one line, not too long."""
    if isinstance(given, Expanded):
        return _one_line(given.prefix + given.source)
    return repr(_one_line(given)) if given else "''"


def _a(type_name: str) -> str:
    return f"{'an' if type_name[:1] in 'aeiou' else 'a'} {type_name}"


def _one_line(text: str) -> str:
    return printable(text, limit=80)


# The cell ------------------------------------------------------------------------------------------------------------


def json_cell(cell: str) -> dict[str, Any]:
    """Return the JSON object in a cell. What is wrong is said with line and column where they are known."""
    try:
        found = json.loads(
            cell, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_without_duplicates
        )
    except BadArguments:
        raise
    except json.JSONDecodeError as exc:
        where = f"line {exc.lineno}, column {exc.colno}"
        problem = f"is not JSON at {where}: {exc.msg}" if cell.strip() else "is empty: it takes a JSON object"
    except RecursionError:
        problem = "nests its JSON too deeply"
    except ValueError:
        problem = "has a number with too many digits"
    else:
        return _checked_object(found)
    raise BadArguments(f"The cell {problem}.")


def _checked_object(found: object) -> dict[str, Any]:
    from pieces_nb.model import fields  # not at the top: few lines have a cell below them

    if not isinstance(found, dict):
        raise BadArguments('The cell takes a JSON object, such as {"description": "…"}.')
    if fields.too_deep(found):
        raise BadArguments(f"The cell nests its JSON too deeply: {fields.MAX_JSON_DEPTH} levels are the most.")
    return found


def _refuse_constant(constant: str) -> NoReturn:
    raise BadArguments(f"The cell has {constant}, which JSON does not know; null stands for no value.")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise BadArguments(f"The cell has a number that is too large: {_one_line(digits)}.")
    return number


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise BadArguments(f"The cell gives {shown(key)} twice in one object.")
        found[key] = value
    return found
