"""Tab, by the verbs' declarations: `offers` says what may stand for a word, `complete` reads a line of `%pieces_model`.

Pure, but for `install`, which connects it to IPython. Asks no server itself.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

from pieces_nb.text import Front
from pieces_nb.verbs.tokens import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from IPython.core.completer import CompletionContext, SimpleMatcherResult

    from pieces_nb.model.models import Model
    from pieces_nb.verbs.declaration import Flag, Verb
    from pieces_nb.verbs.grammar import Grammar

_IDENTIFIER = "pieces_nb.pieces_model_matcher"
# At the beginning of a line, or after `x =`, where IPython knows one % only.
_LINE = re.compile(r"(?:\s*%{1,2}|.*?=\s*%)pieces_model[ \t](?P<rest>.*)", re.DOTALL)
_WORD = re.compile(
    r"""(?:[^ \t\r\n'"\\]|\\.|'[^']*'|"(?:\\.|[^"\\])*")*  # finished parts, as shlex reads them
        (?P<open>'[^']*\Z|"(?:\\.|[^"\\])*\\?\Z|\\\Z)?        # a quote or a backslash that waits for its end
    """,
    re.DOTALL | re.VERBOSE,
)
_BLANKS = re.compile(r"[ \t\r\n]*")


class Completions(NamedTuple):
    """`fragment` is the end of the line that each of `texts` can replace; `kind` says what they are."""

    fragment: str
    texts: tuple[str, ...] = ()
    kind: str = ""


class Typed(NamedTuple):
    """What stands before the cursor: finished words, and the last one raw, read, and with its open quote."""

    words: list[str]
    fragment: str
    value: str
    opened: str


def complete(line_up_to_cursor: str, models: Sequence[Model], *, after: str = "") -> Completions | None:
    """Return what may stand for the last word; None where the line is not one of `%pieces_model`.

    `after` is the rest of the line: a quote that the editor has closed already is not closed again.
    """
    line = _LINE.match(line_up_to_cursor)
    if line is None:
        return None
    typed = read_line(line["rest"])
    from pieces_nb.verbs.actions import grammar_for  # not at the top: `%load_ext` needs no verbs

    found = offers(grammar_for(Front.NOTEBOOK), typed.words, typed.value, lambda: models, quoted=bool(typed.opened))
    texts = [_inserted(text, found.kind, typed.opened) for text in found.texts]
    if typed.opened and after.startswith(typed.opened):
        texts = [text.removesuffix(typed.opened) for text in texts]
    return Completions(typed.fragment, tuple(texts), found.kind)


def _inserted(text: str, kind: str, opened: str) -> str:
    """Return what to insert, quoted so that it is read back; a value that is to follow goes into the same quotes."""
    if kind == "model":
        return quote(text, opened=opened)
    return f"{opened}{text}" if kind == "field" else f"{opened}{text}{opened}"


# The line


def read_line(rest: str) -> Typed:
    words: list[str] = []
    end = 0
    while True:
        start = _end_of(_BLANKS, rest, end)
        end = _end_of(_WORD, rest, start)
        if end == len(rest):
            return _unfinished(words, rest[start:])
        words.append(_unquoted(rest[start:end]))


def _end_of(pattern: re.Pattern[str], text: str, start: int) -> int:
    match = pattern.match(text, start)
    return match.end() if match else start


def _unfinished(words: list[str], fragment: str) -> Typed:
    match = _WORD.match(fragment)
    waiting = (match["open"] or "") if match else ""
    opened = waiting[:1].strip("\\")
    # A lone backslash at the end escapes nothing yet; between single quotes it never does.
    backslashes = len(waiting) - len(waiting.rstrip("\\"))
    finished = fragment[:-1] if backslashes % 2 and opened != "'" else fragment
    return Typed(words, fragment, _unquoted(finished + opened), opened)


def _unquoted(word: str) -> str:
    try:
        return "".join(shlex.split(word))
    except ValueError:
        return word


# What may stand there


class Offers(NamedTuple):
    """What may stand for a word, as plain texts: `kind` is command, flag, field, model or word, '' for nothing."""

    kind: str = ""
    texts: tuple[str, ...] = ()


def offers(
    grammar: Grammar, words: Sequence[str], value: str, models: Callable[[], Sequence[Model]], *, quoted: bool = False
) -> Offers:
    """Return what may stand for the word that begins with `value`, after the finished `words`.

    `models` gives them; it is called only where a model may stand.
    """
    leading, name, rest = grammar.split_at_verb(words)
    verbs = [verb for verb in grammar.offered if verb]
    if name is None:
        return _leading(grammar, leading, value, [*verbs, "help"])
    if name == "help":
        return Offers("command", _beginning(value, verbs)) if not rest else Offers()
    verb = grammar.offered.get(name)
    if verb is None:
        return Offers()
    given = _Arguments(grammar.flags_of(verb), rest)
    kind, texts = _of_verb(verb, given, value, models, quoted=quoted)
    return Offers(kind, tuple(texts))


def _leading(grammar: Grammar, leading: Sequence[str], value: str, verbs: Sequence[str]) -> Offers:
    """Return what may stand where no verb is yet: a verb, or a flag that every verb of a terminal has."""
    given = _Arguments(grammar.common, leading)
    if given.awaited:
        return Offers()
    if value.startswith("-"):
        return Offers("flag", _beginning(value, given.open_flags()))
    return Offers("command", _beginning(value, verbs))


def _of_verb(
    verb: Verb, given: _Arguments, value: str, models: Callable[[], Sequence[Model]], *, quoted: bool
) -> tuple[str, Iterable[str]]:
    if given.awaited == "--set":
        return "field", _fields(value, given)
    if given.awaited:
        return "", ()
    if not given.names_only and value.startswith("--set=") and "--set" in given.known:
        return "field", [f"--set={field}" for field in _fields(value.removeprefix("--set="), given)]
    if not given.names_only and value.startswith("-") and not quoted:
        return "flag", _beginning(value, given.open_flags())
    kind, texts = _operands(verb, given, value, models)
    if not texts and not value and not given.names_only and not quoted:
        return "flag", given.open_flags()
    return kind, texts


class _Arguments:
    """The finished words after the verb, sorted as the grammar does."""

    def __init__(self, flags: Iterable[Flag], words: Iterable[str]) -> None:
        self.known = {flag.name: flag for flag in flags}
        self.flags: list[str] = []
        self.fields: list[str] = []
        self.operands: list[str] = []
        self.names_only = False
        self.awaited = ""
        for word in words:
            self._take(word)

    def _take(self, word: str) -> None:
        if self.awaited or word.startswith("--set="):
            self._take_value(word.removeprefix("--set="))
        elif self.names_only or not word.startswith("-"):
            self.operands.append(word)
        elif word == "--":
            self.names_only = True
        else:
            self._take_flag(word)

    def _take_value(self, word: str) -> None:
        if self.awaited in ("", "--set"):
            self.fields.append(word.partition("=")[0])
        self.awaited = ""

    def _take_flag(self, word: str) -> None:
        name, equals, _ = word.partition("=")
        self.flags.append(name)
        if name in self.known and self.known[name].value and not equals:
            self.awaited = name

    def open_flags(self) -> list[str]:
        """Return the flags that can still be given: not twice, and no --all beside names."""
        return [
            name
            for name, flag in self.known.items()
            if (flag.repeats or name not in self.flags) and not (name == "--all" and self.operands)
        ]


def _operands(
    verb: Verb, given: _Arguments, value: str, models: Callable[[], Sequence[Model]]
) -> tuple[str, Sequence[str]]:
    place = min(len(given.operands), len(verb.operands) - 1)
    operand = verb.operands[place] if verb.operands else None
    full = operand is None or (operand.most is not None and len(given.operands) >= len(verb.operands))
    if full or operand is None or "--all" in given.flags:
        return "", ()
    if operand.choices:
        return "word", _beginning(value, operand.choices.split(" | "))
    return ("model", list(_names(verb, given, value, models()))) if operand.is_model else ("", ())


def _names(verb: Verb, given: _Arguments, value: str, models: Sequence[Model]) -> Iterator[str]:
    from pieces_nb.model.rules import why_not

    taken = {operand.casefold() for operand in given.operands}
    how_often = _how_often(models)
    for model in models:
        if why_not(model, verb.name) is None and taken.isdisjoint(name.casefold() for name in _names_of(model)):
            yield from _name_beginning(model, value, how_often)


def _name_beginning(model: Model, beginning: str, how_often: dict[str, int]) -> Iterator[str]:
    """Give the first of name, `unique` and id that begins so, if it means this model alone."""
    start = beginning.casefold()
    for name in _names_of(model):
        if name.casefold().startswith(start) and how_often[name.casefold()] == 1:
            yield name
            return


def _names_of(model: Model) -> list[str]:
    return [name for name in (model.name, model.unique, model.id) if name.strip()]


def _how_often(models: Sequence[Model]) -> dict[str, int]:
    """Count the models that go by a name."""
    counts: dict[str, int] = {}
    for model in models:
        for name in {name.casefold() for name in _names_of(model)}:
            counts[name] = counts.get(name, 0) + 1
    return counts


def _fields(value: str, given: _Arguments) -> list[str]:
    """Return the fields not set yet, each with its `=`."""
    from pieces_nb.model.fields import FIELDS

    return [f"{field}=" for field in FIELDS if field not in given.fields and f"{field}=".startswith(value)]


def _beginning(value: str, words: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for word in words if word.startswith(value))


# IPython


def install(ip: Any, source: Callable[[], Sequence[Model]]) -> None:
    """Complete lines of `%pieces_model` in this shell; `source` gives the models at once, from a cache."""
    from IPython.core.completer import context_matcher

    remove(ip)

    @context_matcher(identifier=_IDENTIFIER)  # type: ignore[untyped-decorator] # IPython leaves it untyped
    def pieces_model_matcher(context: CompletionContext) -> SimpleMatcherResult:
        return _answer(context, source)

    ip.Completer.custom_matchers.append(pieces_model_matcher)


def remove(ip: Any) -> None:
    """Take the completion out of this shell again."""
    matchers = ip.Completer.custom_matchers
    matchers[:] = [matcher for matcher in matchers if getattr(matcher, "matcher_identifier", "") != _IDENTIFIER]


def _answer(context: CompletionContext, source: Callable[[], Sequence[Model]]) -> SimpleMatcherResult:
    from IPython.core.completer import SimpleCompletion

    line = context.text_until_cursor
    if _LINE.match(line) is None:  # the models are asked for only where it is ours
        return {"completions": []}
    after = context.line_with_cursor[context.cursor_position :]
    found = complete(line, _models_from(source), after=after) or Completions("")
    return {
        "completions": [SimpleCompletion(text, type=found.kind) for text in found.texts],
        "matched_fragment": found.fragment,
        "suppress": bool(found.texts),
        "ordered": True,
    }


def _models_from(source: Callable[[], Sequence[Model]]) -> Sequence[Model]:
    try:
        return source()
    except Exception:  # noqa: BLE001 - Tab has no place for an error; verbs and flags complete without the models
        return ()
