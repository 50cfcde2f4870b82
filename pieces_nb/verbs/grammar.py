"""A line's words to a verb and its arguments, and the pages of help: all of it from the declarations. Does nothing.

What came from the notebook (`Expanded`) is never a flag and never the verb, whatever it holds.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pieces_nb.errors import BadArguments
from pieces_nb.text import PROGRAMS, Front
from pieces_nb.verbs import reading
from pieces_nb.verbs.declaration import Flag, Operand, Verb
from pieces_nb.verbs.front import Said
from pieces_nb.verbs.reading import Misuse, shown
from pieces_nb.verbs.tokens import Expanded

_PAGE_COLUMNS = 24  # where the words about a flag begin at the latest


class Command(NamedTuple):
    """What was said: a verb and the arguments of its action; `options` are those that every verb of a terminal has."""

    verb: Verb
    arguments: Mapping[str, Any]
    options: Mapping[str, Any]


HELP = Flag("--help", "this text")
_HELP_FLAGS = ("-h", HELP.name)
_TERMINAL_FLAGS = (
    Flag("--json", "print JSON instead of text"),
    Flag("--quiet", "no bars and no words on the way: only what comes of it"),
    Flag("--url", "the server to use, or 'emulator'", value="URL"),
)
_HELP_VERB = Verb(
    "help",
    "This overview, or the page of one command.",
    lambda _session, *, page: Said(tuple((line,) for line in page.splitlines()), {"help": page}),
)


class Grammar:
    """A parser for one front end. Keeps nothing between calls."""

    def __init__(self, front: Front, verbs: Iterable[Verb]) -> None:
        self.prog = PROGRAMS[front]
        self.verbs = {verb.name: verb for verb in verbs if verb.only_in in (None, front) or verb.elsewhere}
        self.offered = {name: verb for name, verb in self.verbs.items() if verb.only_in in (None, front)}
        self.common = _TERMINAL_FLAGS if front is Front.TERMINAL else ()
        self._front = front

    def parse(self, arguments: Sequence[str], *, cell: str | None = None) -> Command:
        """Return what was said; `cell` is the text below `%%pieces_model`. Raises BadArguments, one line."""
        leading, name, rest = self.split_at_verb(arguments)
        if name is None and self._asks_help(leading, self.common):
            return self._help(None, arguments)
        if name == _HELP_VERB.name and not isinstance(name, Expanded):
            return self._help(self._topic(rest), arguments)
        verb = self._verb(name or "")
        if verb.takes_all:
            return self._with_all(verb, leading, rest)
        words = [*leading, *rest]
        if self._asks_help(words, self.flags_of(verb)):
            return self._help(verb, arguments)
        return self._command(verb, words, cell)

    def flags_of(self, verb: Verb) -> tuple[Flag, ...]:
        return (*verb.flags, *self.common, HELP)

    def split_at_verb(self, arguments: Sequence[str]) -> tuple[list[str], str | None, list[str]]:
        """Return the flags before the verb (a terminal allows `--json list`), the verb, and what follows it."""
        words = iter(arguments)
        leading: list[str] = []
        for word in words:
            if not _is_flag(word):
                return leading, word, list(words)
            leading.append(word)
            if any(word == flag.name and flag.value for flag in self.common):
                leading.extend(value for value in [next(words, None)] if value is not None)
        return leading, None, []

    def _verb(self, name: str) -> Verb:
        if isinstance(name, Expanded):
            raise BadArguments(f"The command itself has to be typed, not {shown(name)}. {self._choices()}")
        if name in self.offered:
            return self.offered[name]
        if name in self.verbs:
            raise BadArguments(f"{name} {self.verbs[name].elsewhere.format(prog=self.prog)}")
        nearest = difflib.get_close_matches(name.lower(), [*filter(None, self.verbs), "help"], n=3, cutoff=0.5)
        hint = f"Did you mean {_either(nearest)}?" if nearest else self._choices()
        raise BadArguments(f"There is no command {shown(name)}. {hint}")

    def _choices(self) -> str:
        return f"{self.prog} help lists the commands."

    def _asks_help(self, words: Sequence[str], flags: Sequence[Flag]) -> bool:
        """Say whether --help is among the flags; as the value of another flag, or after `--`, it is no flag."""
        valued = {flag.name for flag in flags if flag.value}
        previous = ""
        for word in map(_typed, words):
            if word == "--":
                return False
            if word in _HELP_FLAGS and previous not in valued:
                return True
            previous = word
        return False

    # One verb's arguments --------------------------------------------------------------------------------------------

    def _with_all(self, verb: Verb, leading: Sequence[str], rest: Sequence[str]) -> Command:
        if leading:
            raise self._refusal(verb, "has to be the first word")
        return Command(verb, {"arguments": list(rest)}, {})

    def _command(self, verb: Verb, words: Sequence[str], cell: str | None) -> Command:
        try:
            if cell is not None and not verb.takes_cell:
                raise Misuse("takes nothing in the cell, begin the line with one %")
            flags, operands = _sorted(words, self.flags_of(verb))
            arguments = _operands(verb, operands) | _flags(verb.flags, flags)
            if verb.takes_cell:
                arguments["body"] = _body(cell, arguments)
            problem = verb.check(**arguments) if verb.check is not None else ""
            if problem:
                raise Misuse(problem)
            options = _flags(self.common, flags)
        except Misuse as exc:
            problem = str(exc)
        else:
            return Command(verb, arguments, options)
        raise self._refusal(verb, problem)

    def _refusal(self, verb: Verb, problem: str) -> BadArguments:
        if not verb.name:
            return BadArguments(f"{self.prog} {problem}. {self._choices()}")
        return BadArguments(f"{verb.name} {problem}: {self.usage(verb.name)}")

    # Help ------------------------------------------------------------------------------------------------------------

    def usage(self, name: str) -> str:
        """Return one line: what can be said with this verb."""
        return " ".join(part for part in (self.prog, name, self.verbs[name].usage) if part)

    def help(self, topic: str | None = None) -> str:
        """Return the page for one verb, or the overview."""
        return self._overview() if topic is None else "\n".join(self._page(self.verbs[topic]))

    def _help(self, verb: Verb | None, words: Sequence[str]) -> Command:
        if verb is not None and verb.takes_all:
            return Command(verb, {"arguments": [HELP.name]}, {})
        options = {flag.parameter: flag.name in map(_typed, words) for flag in self.common if not flag.value}
        return Command(_HELP_VERB, {"page": self.help(None if verb is None else verb.name)}, options)

    def _topic(self, words: Sequence[str]) -> Verb | None:
        topics = [word for word in words if not _is_flag(word)]
        if len(topics) > 1:
            raise BadArguments(f"help takes one command at most: {self.prog} help [COMMAND]")
        return self._verb(topics[0]) if topics and topics != [_HELP_VERB.name] else None

    def _overview(self) -> str:
        named = [verb for verb in self.offered.values() if verb.name]
        width = max(len(verb.name) for verb in named) + 2
        lines = [f"{self.prog:<{width}}  {self.verbs[''].help}"]
        lines += [f"  {verb.name:<{width}}{_first_sentence(verb.help)}" for verb in (*named, _HELP_VERB)]
        common = [f"  {flag.words:<{width}}{flag.help}" for flag in self.common]
        return "\n".join([*lines, *common, f"One command in detail: {self.prog} help download"])

    def _page(self, verb: Verb) -> Iterator[str]:
        yield from (f"usage: {self.usage(verb.name)}", "", verb.help, "", "options:")
        flags = [(flag.words, flag.help) for flag in (*verb.flags, *self.common)]
        flags.append((", ".join(_HELP_FLAGS), HELP.help))
        column = min(_PAGE_COLUMNS, max(len(words) for words, _ in flags) + 4)
        yield from (f"  {words:<{column - 4}}  {said}" for words, said in flags)
        yield from ("", "examples:", *(f"  {self.prog} {example}".rstrip() for example in verb.examples))
        if verb.takes_cell and self._front is Front.NOTEBOOK:
            yield f"  %{self.prog} {verb.name} my-model"
            yield '  {"description": "Good at Fortran", "maxTokens": {"total": 4096}}'


# Words ---------------------------------------------------------------------------------------------------------------


def _typed(word: str) -> str:
    """Return a word as it was typed; '' where its value came from the notebook."""
    return "" if isinstance(word, Expanded) else word


def _is_flag(word: str) -> bool:
    """Whether it was typed as a flag; `--set=FIELD={value}` was, though its value comes from the notebook."""
    typed = word.prefix if isinstance(word, Expanded) else word
    return typed.startswith("-") and typed != "-"


def _sorted(words: Sequence[str], flags: Sequence[Flag]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the values of each flag that was given ('' for one that has none), and the operands, in their order."""
    known = {flag.name: flag for flag in flags}
    found: dict[str, list[str]] = {}
    operands: list[str] = []
    rest = iter(words)
    for word in rest:
        if _typed(word) == "--":
            operands.extend(rest)
        elif _is_flag(word):
            name, value = _flag(word, rest, known)
            found.setdefault(name, []).append(value)
        else:
            operands.append(word)
    return found, operands


def _flag(word: str, rest: Iterator[str], known: Mapping[str, Flag]) -> tuple[str, str]:
    name, equals, value = _split_flag(word)
    flag = known.get(name)
    if flag is None:
        raise Misuse(_unknown_flag(name, known))
    if not flag.value:
        if equals:
            raise Misuse(f"has a flag {name} that takes no value")
        return name, ""
    if equals:
        return name, value
    following = next(rest, None)
    if following is None or _typed(following) == "--" or _typed(following).partition("=")[0] in known:
        raise Misuse(f"needs {flag.value} after {name}")
    return name, following


def _split_flag(word: str) -> tuple[str, bool, str]:
    """Return the flag's name, whether a value is joined to it, and that value."""
    if not isinstance(word, Expanded):
        name, equals, value = word.partition("=")
        return name, bool(equals), value
    name, _, prefix = word.prefix.partition("=")
    return name, True, Expanded(word.value, source=word.source, prefix=prefix)


def _unknown_flag(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    hint = f" (did you mean {_either(nearest)}?)" if nearest else ""
    return f"knows no flag {shown(name)}{hint}"


def _flags(flags: Sequence[Flag], found: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return what the action gets for each flag; of one that was given twice the last counts."""
    arguments: dict[str, Any] = {}
    for flag in flags:
        given = found.get(flag.name, [])
        if not flag.value:
            arguments[flag.parameter] = bool(given)
        elif flag.repeats:
            arguments[flag.parameter] = tuple(flag.read(one, flag.name) for one in given)
        else:
            arguments[flag.parameter] = flag.read(given[-1], flag.name) if given else None
    return arguments


def _operands(verb: Verb, given: Sequence[str]) -> dict[str, Any]:
    """Return what the action gets for each operand; only the last may stand several times."""
    _check_count(verb, given)
    arguments: dict[str, Any] = {}
    rest = list(given)
    for operand in verb.operands:
        if operand.most is None:
            arguments[operand.parameter] = tuple(operand.read(one, operand.word) for one in rest)
        else:
            arguments[operand.parameter] = operand.read(rest.pop(0), operand.word) if rest else None
    return arguments


def _check_count(verb: Verb, given: Sequence[str]) -> None:
    least, most = sum(one.least for one in verb.operands), _most(verb.operands)
    together = " and a ".join(operand.word for operand in verb.operands)
    if len(given) < least:
        raise Misuse(f"{'needs' if len(verb.operands) == 1 else 'takes'} a {together}")
    if most is not None and len(given) > most:
        allowed = "no names" if not most else f"only one {together}" if most == 1 else f"a {together}"
        raise Misuse(f"takes {allowed}, and {shown(given[most])} is one more")


def _most(operands: Sequence[Operand]) -> int | None:
    counts = [operand.most for operand in operands]
    return None if None in counts else sum(count or 0 for count in counts)


def _body(cell: str | None, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the JSON object in the cell, or None where there is no cell."""
    if cell is None:
        return None
    if arguments.get("changes"):
        raise Misuse("takes either --set or JSON in the cell, not both")
    return reading.json_cell(cell)


def _first_sentence(text: str) -> str:
    return text.split(". ")[0].rstrip(".") + "."


def _either(words: Sequence[str]) -> str:
    return " or ".join(words)
