"""The verbs that only a terminal has. Imports nothing heavy: `help` has to be quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from pieces_nb.verbs.grammar import Command, Flag, Given, Verb


@dataclass(frozen=True)
class Trace(Command):
    """Record one download of `model` in `file`."""

    file: str
    model: str
    timeout_s: float | None = None


def _make_trace(given: Given) -> Command:
    if len(given.operands) != 2:
        given.refuse("takes a FILE and a MODEL")
    return Trace(given.operands[0], given.operands[1], timeout_s=given.seconds("--timeout"))


def _comes_first(given: Given) -> NoReturn:
    given.refuse("has to be the first word")


EXTRA = (
    Verb(
        "trace",
        "FILE MODEL [--timeout S]",
        "Download a model and record in FILE what the server says. "
        "Home folder and user name are left out; the emulator replays it with --replay.",
        ("trace phi-2.jsonl phi-2",),
        _make_trace,
        (Flag("--timeout", "record at most S seconds; the download goes on", value="S"),),
        operand="FILE and a MODEL",
        least=1,
        most=None,
    ),
    Verb(
        "emulator",
        "[--port N] [--home DIR] [--rate BYTES_PER_S] …",
        "Serve a stand-in for Pieces OS, until Ctrl-C.",
        ("emulator", "emulator --port 39400 --rate 2e6"),
        _comes_first,
    ),
    Verb("demo", "", "Open example notebooks on the emulator.", ("demo",), _comes_first),
)
