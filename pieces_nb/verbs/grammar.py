"""What can be said to `%pieces_model` and to `pieces-nb`: arguments to one typed `Command`. Prints and does nothing.

Each verb is one `Verb`: its flags, how many names it takes, its help, and how its `Command` is made. argparse reads the
flags. It never sees a value from the notebook, only a placeholder for it, so that no value can be taken for a flag.
"""

from __future__ import annotations

import argparse
import difflib
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NoReturn

from pieces_nb.errors import BadArguments
from pieces_nb.text import printable
from pieces_nb.verbs.tokens import Expanded

# The models that a verb has a use for; completion offers those.
Fits = Literal[
    "none", "any", "local", "available", "downloading", "downloaded", "cached", "loaded", "custom", "servers"
]

MAX_JSON_DEPTH = 64


# What was said, one class for each verb


@dataclass(frozen=True, kw_only=True)
class Command:
    """Base of all. `json` and `url` are a terminal's."""

    json: bool = False
    url: str | None = None


@dataclass(frozen=True)
class Change:
    """One `--set FIELD=VALUE`. A `typed` text is still to be read by the field's type; other values have their own."""

    field: str
    value: object
    typed: bool = True


@dataclass(frozen=True)
class Overview(Command):
    """No verb: the status line and the table."""


@dataclass(frozen=True)
class Status(Command):
    """The status line."""


@dataclass(frozen=True)
class Connect(Command):
    """`to` is an address, `emulator`, or None: look for Pieces OS."""

    to: str | None


@dataclass(frozen=True)
class List(Command):
    """The table of models; every flag that is set narrows it, except `wide`."""

    pattern: str | None = None
    local: bool = False
    cloud: bool = False
    downloaded: bool = False
    downloading: bool = False
    loaded: bool = False
    custom: bool = False
    fits: bool = False
    wide: bool = False


@dataclass(frozen=True)
class Snapshot(Command):
    """At least one model."""

    models: tuple[str, ...]


@dataclass(frozen=True)
class Download(Command):
    """At least one model; `timeout_s` bounds the waiting, None leaves it to the setting."""

    models: tuple[str, ...]
    wait: bool = True
    timeout_s: float | None = None


@dataclass(frozen=True)
class Progress(Command):
    """No models: every download that runs."""

    models: tuple[str, ...] = ()
    watch: bool = False


@dataclass(frozen=True)
class Cancel(Command):
    """Either models or `all_models`."""

    models: tuple[str, ...] = ()
    all_models: bool = False


@dataclass(frozen=True)
class Load(Command):
    """One model; `force` skips the check of the RAM."""

    model: str
    force: bool = False


@dataclass(frozen=True)
class Unload(Command):
    """Either models or `all_models`."""

    models: tuple[str, ...] = ()
    all_models: bool = False


@dataclass(frozen=True)
class Update(Command):
    """Either `changes`, in their order, or `body`, the JSON of the cell."""

    model: str
    changes: tuple[Change, ...] = ()
    body: dict[str, Any] | None = None


@dataclass(frozen=True)
class Create(Command):
    """Either `changes`, in their order, or `body`, the JSON of the cell, or neither."""

    name: str
    changes: tuple[Change, ...] = ()
    body: dict[str, Any] | None = None


@dataclass(frozen=True)
class Delete(Command):
    """A custom model."""

    model: str
    yes: bool = False


@dataclass(frozen=True)
class DeleteCache(Command):
    """The downloaded files of a model."""

    model: str
    yes: bool = False


@dataclass(frozen=True)
class Ensure(Command):
    """Downloaded, and with `load` loaded too."""

    model: str
    load: bool = False
    force: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Usage(Command):
    """RAM and disk."""


@dataclass(frozen=True)
class History(Command):
    """What was done here."""


@dataclass(frozen=True)
class Panel(Command):
    """`model` is the one to show first."""

    model: str | None = None


@dataclass(frozen=True)
class Help(Command):
    """`text` is ready to print."""

    text: str


# What a verb is


@dataclass(frozen=True)
class Flag:
    """`value` is what the help calls the flag's value; a flag without one is either there or not."""

    name: str
    help: str
    value: str = ""
    repeats: bool = False


@dataclass(frozen=True)
class Verb:
    """A verb; `make` turns what was given into its Command and has the last word on what is wrong."""

    name: str
    usage: str
    help: str
    examples: tuple[str, ...]
    make: Callable[[Given], Command]
    flags: tuple[Flag, ...] = ()
    # What the names are called in messages, and how many there can be. None: any number.
    operand: str = "MODEL"
    least: int = 0
    most: int | None = 0
    fits: Fits = "none"
    takes_cell: bool = False


class Given:
    """What was given to one verb, read by its `make`. A reading that fails is a BadArguments with the verb's usage."""

    def __init__(
        self, verb: Verb, *, usage: str, flags: dict[str, Any], operands: Sequence[str], cell: str | None = None
    ) -> None:
        self.verb = verb
        self.operands = tuple(operands)
        self.cell = cell
        self._usage = usage
        self._flags = flags

    def refuse(self, problem: str) -> NoReturn:
        raise BadArguments(f"{self.verb.name or 'That'} {problem}: {self._usage}")

    def has(self, flag: str) -> bool:
        return bool(self._flags.get(flag))

    def text(self, flag: str) -> str | None:
        """The value of a flag, or None where it is absent."""
        value = self._flags.get(flag)
        return None if value is None else self._as_text(value, flag)

    def number(self, flag: str, *, whole: bool = False, least: float = -math.inf) -> float | None:
        """The finite value of a flag, or None where it is absent."""
        given = self._flags.get(flag)
        if given is None:
            return None
        number = _number(given.value if isinstance(given, Expanded) else given)
        if number is None or number < least or (whole and number != int(number)):
            self.refuse(f"needs {'a whole' if whole else 'a'} number for {flag}, not {_shown(given)}")
        return number

    def seconds(self, flag: str) -> float | None:
        """The value of a flag as positive seconds, or None where it is absent."""
        seconds = self.number(flag)
        if seconds is not None and seconds <= 0:
            self.refuse(f"needs more than 0 seconds for {flag}, not {_shown(self._flags[flag])}")
        return seconds

    def changes(self) -> tuple[Change, ...]:
        """Every `--set`, in the order given."""
        return tuple(self._change(pair) for pair in self._flags.get("--set") or ())

    def body(self) -> dict[str, Any] | None:
        """The JSON object in the cell, or None where there is no cell."""
        if self.cell is None:
            return None
        if self.has("--set"):
            self.refuse("takes either --set or JSON in the cell, not both")
        return parse_json_cell(self.cell)

    def models(self) -> tuple[str, ...]:
        return tuple(self._model(operand) for operand in self.operands)

    def model(self) -> str:
        return self.models()[0]

    def model_or_none(self) -> str | None:
        return self.model() if self.operands else None

    def name(self) -> str:
        """The only operand as a text that is not the name of a model there is."""
        return self._as_text(self.operands[0], self.verb.operand)

    def name_or_none(self) -> str | None:
        return self.name() if self.operands else None

    def _change(self, pair: str) -> Change:
        expanded = pair if isinstance(pair, Expanded) else None
        if expanded and expanded.prefix:
            field, value, typed = expanded.prefix.removesuffix("="), expanded.value, False
        elif expanded:
            self.refuse(f"needs the FIELD of --set typed, as in --set FIELD={expanded.source}")
        else:
            field, equals, value = pair.partition("=")
            typed = True
            if not equals:
                self.refuse(f"needs --set FIELD=VALUE, and {_shown(pair)} has no '='")
        if not field.strip():
            self.refuse(f"needs the name of a field before the '=' of --set {_shown(pair)}")
        return Change(field.strip(), value, typed=typed)

    def _model(self, operand: str) -> str:
        if isinstance(operand, Expanded) and not operand.prefix and not isinstance(operand.value, str):
            return self._id_of(operand)
        return self._as_text(operand, self.verb.operand)

    def _id_of(self, operand: Expanded) -> str:
        try:
            found = getattr(operand.value, "id", None)
        except Exception:  # noqa: BLE001 - a property of a foreign object may raise anything; then it is no model
            found = None
        if not isinstance(found, str) or not found:
            self.refuse(f"needs a name or a model, and {_shown(operand)} is {_a(type(operand.value).__name__)}")
        return found

    def _as_text(self, given: str, what: str) -> str:
        if isinstance(given, Expanded) and not isinstance(given.value, str):
            self.refuse(f"needs a text for {what}, and {_shown(given)} is {_a(type(given.value).__name__)}")
        if not given.strip():
            self.refuse(f"was given an empty {what}")
        return str(given)


# The verbs

_ALL_DOWNLOADS = Flag("--all", "every download that runs; each is named")
_ALL_LOADED = Flag("--all", "every loaded model; each is named")
_FORCE = Flag("--force", "also when the RAM looks too small")
_YES = Flag("--yes", "do it: without this nothing is deleted")
_SET = Flag("--set", "a field and its new value; null clears an optional field", value="FIELD=VALUE", repeats=True)

_LIST_FLAGS = (
    Flag("--local", "models that run on this machine"),
    Flag("--cloud", "models that run at a provider"),
    Flag("--downloaded", "files are here, loaded ones included"),
    Flag("--downloading", "a download runs"),
    Flag("--loaded", "in memory"),
    Flag("--custom", "made by you"),
    Flag("--fits", "this machine's RAM can hold it"),
    Flag("--wide", "every field the server sends"),
)


def _make_list(given: Given) -> Command:
    return List(given.name_or_none(), *(given.has(flag.name) for flag in _LIST_FLAGS))


def _make_cancel(given: Given) -> Command:
    _refuse_unless_names_or_all(given)
    return Cancel(given.models(), all_models=given.has("--all"))


def _make_unload(given: Given) -> Command:
    _refuse_unless_names_or_all(given)
    return Unload(given.models(), all_models=given.has("--all"))


def _refuse_unless_names_or_all(given: Given) -> None:
    if given.operands and given.has("--all"):
        given.refuse("takes either MODEL or --all, not both")
    if not given.operands and not given.has("--all"):
        given.refuse("needs a MODEL or --all")


def _make_update(given: Given) -> Command:
    changes, body = given.changes(), given.body()
    if not changes and not body:
        given.refuse("has nothing to change")
    return Update(given.model(), changes, body)


VERBS: tuple[Verb, ...] = (
    Verb("", "", "The status line and the table of models.", ("",), lambda _: Overview()),
    Verb("status", "", "Which server answers, its version, and what runs there.", ("status",), lambda _: Status()),
    Verb(
        "connect",
        "[URL | emulator]",
        "Use the server at URL, or the emulator, a stand-in for Pieces OS. Without an argument, look for Pieces OS.",
        ("connect", "connect http://127.0.0.1:39300", "connect emulator"),
        lambda given: Connect(given.name_or_none()),
        operand="URL",
        most=1,
        fits="servers",
    ),
    Verb(
        "list",
        "[PATTERN] [--local] [--cloud] [--downloaded] [--downloading] [--loaded] [--custom] [--fits] [--wide]",
        "The table of models. PATTERN is a part of the name or of `unique`; flags narrow the table further.",
        ("list", "list llama --local", "list --downloaded --fits"),
        _make_list,
        _LIST_FLAGS,
        operand="PATTERN",
        most=1,
    ),
    Verb(
        "snapshot",
        "MODEL [MODEL …]",
        "Every field of a model as the server has it now; several models stand side by side.",
        ("snapshot phi-2", "snapshot phi-2 mistral"),
        lambda given: Snapshot(given.models()),
        least=1,
        most=None,
        fits="any",
    ),
    Verb(
        "download",
        "MODEL [MODEL …] [--no-wait] [--timeout S]",
        "Download models, several at once, with a bar for each. Interrupting ends the waiting; the download goes on.",
        ("download phi-2", "download phi-2 mistral --no-wait", "download phi-2 --timeout 600"),
        lambda given: Download(given.models(), wait=not given.has("--no-wait"), timeout_s=given.seconds("--timeout")),
        (
            Flag("--no-wait", "return at once; the bar stays live"),
            Flag("--timeout", "wait at most S seconds; the download goes on", value="S"),
        ),
        least=1,
        most=None,
        fits="available",
    ),
    Verb(
        "progress",
        "[MODEL …] [--watch]",
        "How far downloads are, also those started elsewhere or before the kernel restarted.",
        ("progress", "progress phi-2 --watch"),
        lambda given: Progress(given.models(), watch=given.has("--watch")),
        (Flag("--watch", "show live bars instead of one table"),),
        most=None,
        fits="any",
    ),
    Verb(
        "cancel",
        "MODEL [MODEL …] | --all",
        "Stop downloads. Returns when the server confirms it.",
        ("cancel phi-2", "cancel --all"),
        _make_cancel,
        (_ALL_DOWNLOADS,),
        most=None,
        fits="downloading",
    ),
    Verb(
        "load",
        "MODEL [--force]",
        "Bring a downloaded model into memory.",
        ("load phi-2",),
        lambda given: Load(given.model(), force=given.has("--force")),
        (_FORCE,),
        least=1,
        most=1,
        fits="downloaded",
    ),
    Verb(
        "unload",
        "MODEL [MODEL …] | --all",
        "Free the memory of loaded models.",
        ("unload phi-2", "unload --all"),
        _make_unload,
        (_ALL_LOADED,),
        most=None,
        fits="loaded",
    ),
    Verb(
        "update",
        "MODEL --set FIELD=VALUE …",
        "Change fields of a custom model and show old and new.",
        ("update my-model --set description='Good at Fortran'", "update my-model --set maxTokens.total=4096"),
        _make_update,
        (_SET,),
        least=1,
        most=1,
        fits="custom",
        takes_cell=True,
    ),
    Verb(
        "create",
        "NAME [--set FIELD=VALUE …]",
        "Register a custom model.",
        ("create my-model --set foundation=PHI_2",),
        lambda given: Create(given.name(), given.changes(), given.body()),
        (_SET,),
        operand="NAME",
        least=1,
        most=1,
        takes_cell=True,
    ),
    Verb(
        "delete",
        "MODEL [--yes]",
        "Delete a custom model. Takes the whole name.",
        ("delete my-model --yes",),
        lambda given: Delete(given.model(), yes=given.has("--yes")),
        (_YES,),
        least=1,
        most=1,
        fits="custom",
    ),
    Verb(
        "delete-cache",
        "MODEL [--yes]",
        "Delete the downloaded files of a model; it can be downloaded again. Takes the whole name.",
        ("delete-cache phi-2 --yes",),
        lambda given: DeleteCache(given.model(), yes=given.has("--yes")),
        (_YES,),
        least=1,
        most=1,
        fits="cached",
    ),
    Verb(
        "ensure",
        "MODEL [--load] [--force] [--dry-run]",
        "Check, download, load and verify what is still missing; does nothing when all is done.",
        ("ensure phi-2 --load", "ensure phi-2 --load --dry-run"),
        lambda given: Ensure(
            given.model(), load=given.has("--load"), force=given.has("--force"), dry_run=given.has("--dry-run")
        ),
        (Flag("--load", "load it as well"), _FORCE, Flag("--dry-run", "only say what would be done")),
        least=1,
        most=1,
        fits="local",
    ),
    Verb(
        "usage", "", "RAM and disk the models take, biggest first, and how to free each.", ("usage",), lambda _: Usage()
    ),
    Verb("history", "", "What was done here, with outcome and duration.", ("history",), lambda _: History()),
    Verb(
        "panel",
        "[MODEL]",
        "The interactive panel: choose, download, watch, load and update with buttons.",
        ("panel", "panel phi-2"),
        lambda given: Panel(given.model_or_none()),
        most=1,
        fits="any",
    ),
)

HELP = Flag("--help", "this text")
_TERMINAL_FLAGS = (
    Flag("--json", "print JSON instead of text"),
    Flag("--url", "the server to use, or 'emulator'", value="URL"),
)


# The grammar


def build_grammar(prog: str, *, for_terminal: bool = False, extra: Iterable[Verb] = ()) -> Grammar:
    """Return the grammar for `prog`, `%pieces_model` or `pieces-nb`; a terminal's has `--json` and `--url` as well."""
    return Grammar(prog, (*VERBS, *extra), common=_TERMINAL_FLAGS if for_terminal else ())


class Grammar:
    """A parser for one `prog`. Keeps nothing between calls."""

    def __init__(self, prog: str, verbs: Iterable[Verb], *, common: tuple[Flag, ...] = ()) -> None:
        self.prog = prog
        self.verbs = {verb.name: verb for verb in verbs}
        self._common = common
        self._parsers = _argparse_parsers(prog, self.verbs.values(), common)

    def parse(self, arguments: Sequence[str], *, cell: str | None = None) -> Command:
        """Return what was said; `cell` is the text below `%%pieces_model`. Raises BadArguments, one line."""
        sealed = _Sealed(arguments)
        leading, name, rest = self._split_at_verb(sealed)
        if name is None and self._asks_help(leading, None):
            return Help(self.help())
        if name == "help":
            return self._help_command(sealed, rest)
        verb = self._verb(name or "", sealed)
        words = [*leading, *rest]
        if self._asks_help(words, verb):
            return Help(self.help(verb.name))
        return self._command(verb, words, sealed, cell)

    def flags_of(self, verb: Verb) -> tuple[Flag, ...]:
        return (*verb.flags, *self._common, HELP)

    def usage(self, name: str) -> str:
        """Return one line: what can be said with this verb."""
        return " ".join(part for part in (self.prog, name, self.verbs[name].usage) if part)

    def help(self, topic: str | None = None) -> str:
        """Return the page for one verb, or the overview."""
        return self._overview() if topic is None else self._parsers[topic].format_help().rstrip()

    def _overview(self) -> str:
        named = [verb for verb in self.verbs.values() if verb.name]
        width = max(len(verb.name) for verb in named) + 2
        lines = [f"{self.prog:<{width}}  {self.verbs[''].help}"]
        lines += [f"  {verb.name:<{width}}{_first_sentence(verb.help)}" for verb in named]
        lines += [f"  {'help':<{width}}This overview, or the page of one command."]
        common = [f"  {_flag_words(flag):<{width}}{flag.help}" for flag in self._common]
        return "\n".join([*lines, *common, f"One command in detail: {self.prog} help download"])

    def _split_at_verb(self, sealed: _Sealed) -> tuple[list[str], str | None, list[str]]:
        """Return the flags before the verb (a terminal allows `--json list`), the verb, and what follows it."""
        words = iter(sealed.words)
        leading: list[str] = []
        for word in words:
            if not word.startswith("-"):
                return leading, word, list(words)
            leading.append(word)
            if self._wants_value(word):
                leading.extend(value for value in [next(words, None)] if value is not None)
        return leading, None, []

    def _wants_value(self, word: str) -> bool:
        return any(word == flag.name and flag.value for flag in self._common)

    def _verb(self, name: str, sealed: _Sealed) -> Verb:
        if (opened := sealed.open(name)) is not name:
            raise BadArguments(f"The command itself has to be typed, not {_shown(opened)}. {self._choices()}")
        if name in self.verbs:
            return self.verbs[name]
        nearest = difflib.get_close_matches(name.lower(), [*filter(None, self.verbs), "help"], n=3, cutoff=0.5)
        hint = f"Did you mean {_either(nearest)}?" if nearest else self._choices()
        raise BadArguments(f"There is no command {_shown(name)}. {hint}")

    def _choices(self) -> str:
        return f"{self.prog} help lists the commands."

    def _asks_help(self, words: Sequence[str], verb: Verb | None) -> bool:
        """Say whether --help is among the flags; as the value of another flag, or after `--`, it is no flag."""
        valued = {flag.name for flag in (self.flags_of(verb) if verb else self._common) if flag.value}
        previous = ""
        for word in words:
            if word == "--":
                return False
            if word in ("-h", "--help") and previous not in valued:
                return True
            previous = word
        return False

    def _help_command(self, sealed: _Sealed, words: Sequence[str]) -> Help:
        topics = [word for word in words if not word.startswith("-")]
        if len(topics) > 1:
            raise BadArguments(f"help takes one command at most: {self.prog} help [COMMAND]")
        if not topics or topics == ["help"]:
            return Help(self.help())
        return Help(self.help(self._verb(topics[0], sealed).name))

    def _command(self, verb: Verb, words: Sequence[str], sealed: _Sealed, cell: str | None) -> Command:
        given = self._read(verb, words, sealed, cell)
        self._check_count(given)
        command = verb.make(given)
        if not self._common:
            return command
        return _for_terminal(command, json=given.has("--json"), url=given.text("--url"))

    def _read(self, verb: Verb, words: Sequence[str], sealed: _Sealed, cell: str | None) -> Given:
        refusing = Given(verb, usage=self.usage(verb.name), flags={}, operands=())
        if cell is not None and not verb.takes_cell:
            refusing.refuse("takes nothing in the cell, begin the line with one %")
        flags, operands = _sort_words(words, self.flags_of(verb), sealed, refusing)
        # Flags first, each joined to its value, then the names: every version of argparse reads that alike.
        found = vars(self._parsers[verb.name].parse_args([*flags, *operands]))
        values = {flag.name: _opened(found[flag.name], sealed) for flag in self.flags_of(verb) if flag is not HELP}
        opened = [sealed.open(operand) for operand in found["operands"]]
        return Given(verb, usage=self.usage(verb.name), flags=values, operands=opened, cell=cell)

    def _check_count(self, given: Given) -> None:
        verb, count = given.verb, len(given.operands)
        if count < verb.least:
            given.refuse(f"needs a {verb.operand}")
        if verb.most is not None and count > verb.most:
            allowed = f"only one {verb.operand}" if verb.most == 1 else "no names"
            given.refuse(f"takes {allowed}, and {_shown(given.operands[verb.most])} is one more")


# Reading


class _Sealed:
    """Arguments as plain words, those that must not be read as flags replaced by placeholders."""

    def __init__(self, arguments: Sequence[str]) -> None:
        # Longer than any such run that was typed, so that no typed word can pass for a placeholder.
        self._marker = "\ue000"
        while any(self._marker in argument for argument in arguments):
            self._marker += "\ue000"
        self._kept: list[str] = []
        self.words = list(self._seal_all(arguments))

    def _seal_all(self, arguments: Sequence[str]) -> Iterable[str]:
        names_only = False
        for argument in arguments:
            if isinstance(argument, Expanded) or names_only:
                yield self._seal(argument)
            else:
                names_only = argument == "--"
                yield argument

    def _seal(self, argument: str) -> str:
        self._kept.append(argument)
        prefix = argument.prefix if isinstance(argument, Expanded) else ""
        return f"{prefix}{self._marker}{len(self._kept) - 1}"

    def open(self, word: str) -> str:
        """Return what a word of argparse's stands for. A flag that argparse split off is gone from the prefix."""
        prefix, marker, index = word.partition(self._marker)
        if not marker:
            return word
        kept = self._kept[int(index)]
        if isinstance(kept, Expanded):
            return Expanded(kept.value, source=kept.source, prefix=prefix)
        return kept


def _sort_words(
    words: Sequence[str], flags: Sequence[Flag], sealed: _Sealed, given: Given
) -> tuple[list[str], list[str]]:
    """Return flags, each joined to its value, and names, whatever order they came in."""
    known = {flag.name: flag for flag in flags}
    found: list[str] = []
    operands: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            operands.extend(rest)
        elif word.startswith("-") and word != "-":
            found.append(_joined(word, rest, known, sealed, given))
        else:
            operands.append(word)
    return found, operands


def _joined(word: str, rest: Iterable[str], known: dict[str, Flag], sealed: _Sealed, given: Given) -> str:
    name, equals, _ = word.partition("=")
    flag = known.get(name)
    if flag is None:
        given.refuse(_unknown_flag(sealed.open(name), known))
    if not flag.value:
        return word if not equals else given.refuse(f"has a flag {name} that takes no value")
    if equals:
        return word
    value = next(iter(rest), None)
    if value is None or value == "--" or value.partition("=")[0] in known:
        given.refuse(f"needs {flag.value} after {name}")
    return f"{name}={value}"


def _unknown_flag(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    hint = f" (did you mean {_either(nearest)}?)" if nearest else ""
    return f"knows no flag {_shown(name)}{hint}"


def _opened(value: Any, sealed: _Sealed) -> Any:
    """`value` is what argparse found: True or False, a word, or a list of words."""
    if isinstance(value, list):
        return [sealed.open(word) for word in value]
    return sealed.open(value) if isinstance(value, str) else value


def _for_terminal(command: Command, *, json: bool, url: str | None) -> Command:
    """Set what every command of a terminal has."""
    return replace(command, json=json, url=url)


def parse_json_cell(text: str) -> dict[str, Any]:
    """Return the JSON object in a cell. What is wrong is said with line and column where they are known."""
    try:
        found = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_without_duplicates
        )
    except BadArguments:
        raise
    except json.JSONDecodeError as exc:
        where = f"line {exc.lineno}, column {exc.colno}"
        problem = f"is not JSON at {where}: {exc.msg}" if text.strip() else "is empty: it takes a JSON object"
    except RecursionError:
        problem = "nests its JSON too deeply"
    except ValueError:
        problem = "has a number with too many digits"
    else:
        return _checked_object(found)
    raise BadArguments(f"The cell {problem}.")


def _checked_object(found: object) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise BadArguments('The cell takes a JSON object, such as {"description": "…"}.')
    if _depth_exceeds(found, MAX_JSON_DEPTH):
        raise BadArguments(f"The cell nests its JSON too deeply: {MAX_JSON_DEPTH} levels are the most.")
    return found


def _depth_exceeds(found: object, limit: int) -> bool:
    level = [found]
    for _ in range(limit):
        level = [child for parent in level for child in _children(parent)]
    return any(isinstance(item, dict | list) for item in level)


def _children(parent: object) -> Iterable[object]:
    if isinstance(parent, dict):
        return parent.values()
    return parent if isinstance(parent, list) else ()


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
            raise BadArguments(f"The cell gives {_shown(key)} twice in one object.")
        found[key] = value
    return found


# argparse


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print and leave the process."""

    def error(self, message: str) -> NoReturn:
        raise BadArguments(message)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise BadArguments(message or f"{self.prog} ended with {status}")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """The same page in every terminal and notebook."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=24, width=100)


def _argparse_parsers(prog: str, verbs: Iterable[Verb], common: Sequence[Flag]) -> dict[str, _Parser]:
    options: dict[str, Any] = {"add_help": False, "allow_abbrev": False, "formatter_class": _Formatter}
    if sys.version_info >= (3, 14):
        options["color"] = False
    return {verb.name: _verb_parser(verb, prog, common, options) for verb in verbs}


def _verb_parser(verb: Verb, prog: str, common: Sequence[Flag], options: dict[str, Any]) -> _Parser:
    words = [prog, verb.name, verb.usage]
    # argparse expands % in a usage, and a magic's name begins with one.
    usage = " ".join(filter(None, words)).replace("%", "%%")
    parser = _Parser(prog, usage=usage, description=verb.help, epilog=_examples(verb, prog, common), **options)
    parser.add_argument("operands", nargs="*", help=argparse.SUPPRESS)
    for flag in (*verb.flags, *common):
        _add_flag(parser, flag)
    parser.add_argument("-h", "--help", action="store_true", help=HELP.help)
    return parser


def _examples(verb: Verb, prog: str, common: Sequence[Flag]) -> str:
    lines = ["examples:", *(f"  {prog} {example}".rstrip() for example in verb.examples)]
    # Only a notebook has cells.
    if verb.takes_cell and not common:
        lines += [
            f"  %{prog} {verb.name} my-model",
            '  {"description": "Good at Fortran", "maxTokens": {"total": 4096}}',
        ]
    return "\n".join(lines)


def _add_flag(parser: argparse.ArgumentParser, flag: Flag) -> None:
    if not flag.value:
        parser.add_argument(flag.name, dest=flag.name, action="store_true", help=flag.help)
    elif flag.repeats:
        parser.add_argument(flag.name, dest=flag.name, action="append", metavar=flag.value, help=flag.help)
    else:
        parser.add_argument(flag.name, dest=flag.name, metavar=flag.value, help=flag.help)


# Words


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _shown(given: str) -> str:
    """An argument in a message: what was typed, on one line, not too long."""
    if isinstance(given, Expanded):
        return _one_line(given.prefix + given.source)
    return repr(_one_line(given)) if given else "''"


def _flag_words(flag: Flag) -> str:
    return f"{flag.name} {flag.value}".rstrip()


def _first_sentence(text: str) -> str:
    return text.split(". ")[0].rstrip(".") + "."


def _either(words: Sequence[str]) -> str:
    return " or ".join(words)


def _a(type_name: str) -> str:
    return f"{'an' if type_name[:1] in 'aeiou' else 'a'} {type_name}"


def _one_line(text: str) -> str:
    return printable(text, limit=80)
