"""A magic's line to arguments: split as a shell would, then expanded. Never looks at what the arguments mean.

The order matters. Values come from a server, and a value put into the line before it is split could bring flags of its
own (`--all --yes`). Put in afterwards, whatever it holds is one argument, and `Expanded` keeps it apart from what was
typed.
"""

from __future__ import annotations

import re
import shlex
import warnings
from types import CodeType, MappingProxyType
from typing import TYPE_CHECKING, Self

from pieces_nb.errors import BadArguments
from pieces_nb.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOTHING_DEFINED: Mapping[str, object] = MappingProxyType({})
_DOLLAR_NAME = re.compile(r"\$([^\W\d]\w*)")
# What may stand before an expanded value: `--timeout=`, `FIELD=`, `--set=FIELD=`.
_PREFIX = re.compile(r"(?:--[\w-]+=)?(?:[\w.-]+=)?")


class Expanded(str):
    """One argument whose value came from the namespace. As text it is `prefix` and the value, if that is a text.

    `value` keeps its type. `source` is what was typed, for messages: the `str()` of a foreign object may fail or be
    endless.
    """

    __slots__ = ("prefix", "source", "value")
    prefix: str
    source: str
    value: object

    def __new__(cls, value: object, *, source: str, prefix: str = "") -> Self:
        expanded = super().__new__(cls, prefix + (value if isinstance(value, str) else source))
        expanded.value, expanded.source, expanded.prefix = value, source, prefix
        return expanded


def split(line: str, namespace: Mapping[str, object] = _NOTHING_DEFINED) -> list[str]:
    """Return the arguments on `line`; those that were `{expression}` or `$name` are `Expanded`.

    Raises BadArguments for quotes without an end, a name that is not defined, an expression that fails. A terminal's
    arguments do not come this way: its shell has split and expanded them.
    """
    return [_expand(token, namespace) for token in _shell_words(line)]


def quote(text: str, *, opened: str = "") -> str:
    """Return what to type on one line so that `split` gives exactly `text` back, as a name and never as a flag.

    `opened` is the quote that the result has to begin with, if one was typed already.
    """
    plain = text.isprintable() and not text.startswith("-") and not is_expandable(text)
    # Quotes stop no expansion, hide no flag and cannot hold a line break: a Python literal in braces does all three.
    word = text if plain else "{" + repr(text) + "}"
    if opened == '"':
        return '"' + word.replace("\\", r"\\").replace('"', r"\"") + '"'
    quoted = shlex.quote(word)
    return f"'{quoted}'" if opened and quoted == word else quoted


def is_expandable(token: str) -> bool:
    """Say whether `split` would replace a part of this word by a value."""
    _, rest = _split_prefix(token)
    return bool(_DOLLAR_NAME.fullmatch(rest)) or _expression(rest) is not None


def _shell_words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        problem = "ends in a single backslash" if _ends_escaping(line) else "has a quote without its partner"
    raise BadArguments(f"The line {problem}: {_one_line(line)}")


def _ends_escaping(line: str) -> bool:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        list(lexer)
    except ValueError as exc:
        return "escaped" in str(exc)
    return False


def _expand(token: str, namespace: Mapping[str, object]) -> str:
    prefix, rest = _split_prefix(token)
    if name := _DOLLAR_NAME.fullmatch(rest):
        return Expanded(_look_up(name[1], namespace), source=rest, prefix=prefix)
    if code := _expression(rest):
        return Expanded(_evaluate(code, rest, namespace), source=rest, prefix=prefix)
    return token


def _split_prefix(token: str) -> tuple[str, str]:
    match = _PREFIX.match(token)
    end = match.end() if match else 0
    return token[:end], token[end:]


def _expression(text: str) -> CodeType | None:
    """Return the code of `{expression}`, or None where it is plain text, as the braces of JSON are."""
    if not (text.startswith("{") and text.endswith("}")):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            return compile(text[1:-1].strip(), "<%pieces_model>", "eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _look_up(name: str, namespace: Mapping[str, object]) -> object:
    if name in namespace:
        return namespace[name]
    raise BadArguments(f"${name}: the name {name!r} is not defined in this notebook.")


def _evaluate(code: CodeType, source: str, namespace: Mapping[str, object]) -> object:
    try:
        # A copy: an expression such as `(x := 1)` leaves nothing behind.
        return eval(code, dict(namespace))
    except Exception as exc:  # noqa: BLE001 - the user's expression may raise anything; the one-line error says what
        reason = f"{type(exc).__name__}: {_said_by(exc)}"
    raise BadArguments(f"{_one_line(source)} cannot be worked out: {_one_line(reason)}")


def _said_by(exc: Exception) -> str:
    try:
        return str(exc)
    except Exception:  # noqa: BLE001 - the exception is the user's too, its text may fail as well
        return "(its text cannot be shown)"


def _one_line(text: str) -> str:
    return printable(text, limit=200)
