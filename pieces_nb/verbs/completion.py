"""Tab on a line of `%pieces_model`: `complete` is pure, `install` connects it to IPython. Asks no server itself."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

from pieces_nb.verbs.tokens import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from IPython.core.completer import CompletionContext, SimpleMatcherResult

    from pieces_nb.verbs.grammar import Verb

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

# The states in which a verb has a use for a model; "any" and "custom" do not go by the state.
_STATES = {
    "local": ("available", "downloading", "downloaded", "loaded"),
    "available": ("available",),
    "downloading": ("downloading",),
    "downloaded": ("downloaded",),
    "cached": ("downloaded", "loaded"),
    "loaded": ("loaded",),
}


class Completions(NamedTuple):
    """`fragment` is the end of the line that each of `texts` can replace; `kind` says what they are."""

    fragment: str
    texts: tuple[str, ...] = ()
    kind: str = ""


class _Typed(NamedTuple):
    """What stands before the cursor: finished words, and the last one raw, read, and with its open quote."""

    words: list[str]
    fragment: str
    value: str
    opened: str


def is_ours(line_up_to_cursor: str) -> bool:
    """Say whether the cursor is among the arguments of `%pieces_model`."""
    return _LINE.match(line_up_to_cursor) is not None


def complete(
    line_up_to_cursor: str,
    models: Sequence[Any],
    fields: Iterable[str] = (),
    *,
    known: Iterable[Verb] | None = None,
    after: str = "",
) -> Completions | None:
    """Return what may stand for the last word; None where the line is not one of `%pieces_model`.

    `models` have `name`, `unique`, `id`, `state` and `custom`. `fields` are those that `--set` can change. `known` are
    the verbs. `after` is the rest of the line: a quote that the editor has closed already is not closed again.
    """
    line = _LINE.match(line_up_to_cursor)
    if line is None:
        return None
    typed = _read(line["rest"])
    kind, texts = _candidates(typed, models, fields, _by_name(known))
    closed = bool(typed.opened) and after.startswith(typed.opened)
    shown = [text.removesuffix(typed.opened) for text in texts] if closed else texts
    return Completions(typed.fragment, tuple(shown), kind)


def _by_name(known: Iterable[Verb] | None) -> dict[str, Verb]:
    # Not at the top: `%load_ext` needs no grammar.
    from pieces_nb.verbs.grammar import VERBS

    return {verb.name: verb for verb in (VERBS if known is None else known) if verb.name}


# The line


def _read(rest: str) -> _Typed:
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


def _unfinished(words: list[str], fragment: str) -> _Typed:
    match = _WORD.match(fragment)
    waiting = (match["open"] or "") if match else ""
    opened = waiting[:1].strip("\\")
    # A lone backslash at the end escapes nothing yet; between single quotes it never does.
    backslashes = len(waiting) - len(waiting.rstrip("\\"))
    finished = fragment[:-1] if backslashes % 2 and opened != "'" else fragment
    return _Typed(words, fragment, _unquoted(finished + opened), opened)


def _unquoted(word: str) -> str:
    try:
        return "".join(shlex.split(word))
    except ValueError:
        return word


# What fits


def _candidates(
    typed: _Typed, models: Sequence[Any], fields: Iterable[str], verbs: dict[str, Verb]
) -> tuple[str, list[str]]:
    """Return what the candidates are, and their texts, ready to insert."""
    if not typed.words:
        return "command", _beginning(typed, [*verbs, "help"])
    if typed.words == ["help"]:
        return "command", _beginning(typed, verbs)
    verb = verbs.get(typed.words[0])
    if verb is None:
        return "", []
    return _of_verb(verb, _Arguments(verb, typed.words[1:]), typed, models, fields)


def _of_verb(
    verb: Verb, given: _Arguments, typed: _Typed, models: Sequence[Any], fields: Iterable[str]
) -> tuple[str, list[str]]:
    if given.awaited == "--set":
        return "field", _fields(typed, fields, given, before="")
    if given.awaited:
        return "", []
    if not given.names_only and typed.value.startswith("--set=") and "--set" in given.known:
        return "field", _fields(typed, fields, given, before="--set=")
    if not given.names_only and typed.fragment.startswith("-"):
        return "flag", _beginning(typed, given.open_flags())
    kind, texts = _operands(verb, given, typed, models)
    if not texts and not typed.fragment and not given.names_only:
        return "flag", given.open_flags()
    return kind, texts


class _Arguments:
    """The finished words after the verb, sorted as the grammar does."""

    def __init__(self, verb: Verb, words: Iterable[str]) -> None:
        from pieces_nb.verbs.grammar import HELP

        self.known = {flag.name: flag for flag in (*verb.flags, HELP)}
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


def _operands(verb: Verb, given: _Arguments, typed: _Typed, models: Sequence[Any]) -> tuple[str, list[str]]:
    full = verb.most is not None and len(given.operands) >= verb.most
    if full or "--all" in given.flags:
        return "", []
    if verb.fits == "servers":
        return "server", _beginning(typed, ["emulator"])
    return "model", [quote(name, opened=typed.opened) for name in _names(verb, given, typed, models)]


def _names(verb: Verb, given: _Arguments, typed: _Typed, models: Sequence[Any]) -> Iterator[str]:
    taken = {operand.casefold() for operand in given.operands}
    how_often = _how_often(models)
    for model in models:
        if _fits(model, verb.fits) and taken.isdisjoint(name.casefold() for name in _names_of(model)):
            yield from _name_beginning(model, typed.value, how_often)


def _name_beginning(model: Any, beginning: str, how_often: dict[str, int]) -> Iterator[str]:
    """Give the first of name, `unique` and id that begins so, if it means this model alone."""
    start = beginning.casefold()
    for name in _names_of(model):
        if name.casefold().startswith(start) and how_often[name.casefold()] == 1:
            yield name
            return


def _names_of(model: Any) -> list[str]:
    found = (getattr(model, attribute, None) for attribute in ("name", "unique", "id"))
    return [name for name in found if isinstance(name, str) and name.strip()]


def _how_often(models: Sequence[Any]) -> dict[str, int]:
    """Count the models that go by a name."""
    counts: dict[str, int] = {}
    for model in models:
        for name in {name.casefold() for name in _names_of(model)}:
            counts[name] = counts.get(name, 0) + 1
    return counts


def _fits(model: Any, kind: str) -> bool:
    if kind == "custom":
        return bool(getattr(model, "custom", False))
    return kind == "any" or getattr(model, "state", "") in _STATES.get(kind, ())


def _fields(typed: _Typed, fields: Iterable[str], given: _Arguments, *, before: str) -> list[str]:
    """Return the fields not set yet, each with its `=`; an open quote stays open for the value."""
    wanted = [f"{before}{field}=" for field in fields if field not in given.fields]
    return [typed.opened + text for text in wanted if text.startswith(typed.value)]


def _beginning(typed: _Typed, words: Iterable[str]) -> list[str]:
    return [f"{typed.opened}{word}{typed.opened}" for word in words if word.startswith(typed.value)]


# IPython


def install(ip: Any, source: Callable[[], Sequence[Any]], fields: Iterable[str] = ()) -> None:
    """Complete lines of `%pieces_model` in this shell; `source` gives the models at once, from a cache."""
    from IPython.core.completer import context_matcher

    remove(ip)

    @context_matcher(identifier=_IDENTIFIER)  # type: ignore[untyped-decorator] # IPython leaves it untyped
    def pieces_model_matcher(context: CompletionContext) -> SimpleMatcherResult:
        return _answer(context, source, fields)

    ip.Completer.custom_matchers.append(pieces_model_matcher)


def remove(ip: Any) -> None:
    """Take the completion out of this shell again."""
    matchers = ip.Completer.custom_matchers
    matchers[:] = [matcher for matcher in matchers if getattr(matcher, "matcher_identifier", "") != _IDENTIFIER]


def _answer(
    context: CompletionContext, source: Callable[[], Sequence[Any]], fields: Iterable[str]
) -> SimpleMatcherResult:
    from IPython.core.completer import SimpleCompletion

    line = context.text_until_cursor
    if not is_ours(line):
        return {"completions": []}
    after = context.line_with_cursor[context.cursor_position :]
    found = complete(line, _models_from(source), fields, after=after) or Completions("")
    return {
        "completions": [SimpleCompletion(text, type=found.kind) for text in found.texts],
        "matched_fragment": found.fragment,
        "suppress": bool(found.texts),
        "ordered": True,
    }


def _models_from(source: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    try:
        return source()
    except Exception:  # noqa: BLE001 - Tab has no place for an error; verbs and flags complete without the models
        return ()
