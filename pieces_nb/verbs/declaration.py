"""What a verb is: one declaration beside its action. The parser, the help, Tab, the terminal and JSON go by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pieces_nb.text import Front
from pieces_nb.verbs import reading

Reader = Callable[[str, str], Any]


class Flag(NamedTuple):
    """`value` is what the help calls the flag's value; a flag without one is either there or not.

    The action has it as the keyword argument `parameter`, by default the name without its dashes: True or False, the
    value that `read` makes of it or None, or for one that `repeats` a tuple of them.
    """

    name: str
    help: str
    value: str = ""
    read: Reader = reading.text
    repeats: bool = False
    required: bool = False
    instead: bool = False  # of any operand
    named: str = ""

    @property
    def parameter(self) -> str:
        return self.named or self.name.strip("-").replace("-", "_")

    @property
    def words(self) -> str:
        """The flag and its value, as in the usage line."""
        return f"{self.name} {self.value}".rstrip()

    @property
    def usage(self) -> str:
        words = f"{self.words} …" if self.repeats else self.words
        return f"| {words}" if self.instead else words if self.required else f"[{words}]"


class Operand(NamedTuple):
    """What stands without a flag, from `least` to `most` times (None: any number).

    The action has it as the argument `parameter`: one value or None, where there may be more a tuple.
    """

    word: str
    parameter: str
    least: int = 1
    most: int | None = 1
    read: Reader = reading.model
    choices: str = ""  # beside any other value, in the usage line and for Tab

    @property
    def usage(self) -> str:
        word = f"{self.word} | {self.choices}" if self.choices else self.word
        more = self.most is None
        if self.least:
            return f"{word} [{word} …]" if more else word
        return f"[{word} …]" if more else f"[{word}]"

    @property
    def is_model(self) -> bool:
        return self.read is reading.model


MODEL = Operand("MODEL", "model")
MODELS = Operand("MODEL", "models", most=None)


class Verb(NamedTuple):
    """One verb. `action` gets a `Session` and the arguments, and returns what `front` says.

    `check` gets the arguments and returns what is wrong with them together, '' if nothing is.
    """

    name: str
    help: str
    action: Callable[..., Any]
    examples: tuple[str, ...] = ()
    operands: tuple[Operand, ...] = ()
    flags: tuple[Flag, ...] = ()
    check: Callable[..., str] | None = None
    takes_cell: bool = False
    only_in: Front | None = None
    elsewhere: str = ""  # what is said where it cannot be used
    takes_all: bool = False  # whatever comes after it, as `arguments`, unread
    usage_words: str = ""

    @property
    def usage(self) -> str:
        flags = [flag.usage for flag in self.flags]
        return self.usage_words or " ".join([operand.usage for operand in self.operands] + flags)


def declared(verbs: list[Verb], name: str, help: str, **options: Any) -> Callable[..., Any]:  # noqa: A002 - as in Verb
    """Declare the function below as a verb's action, and add that verb to `verbs`."""

    def declare(action: Callable[..., Any]) -> Callable[..., Any]:
        verbs.append(Verb(name, help, action, **options))
        return action

    return declare


def either_models_or_all(*, models: tuple[str, ...], all_models: bool) -> str:
    """Check: one of the two, not both."""
    if models and all_models:
        return "takes either MODEL or --all, not both"
    return "" if models or all_models else "needs a MODEL or --all"
