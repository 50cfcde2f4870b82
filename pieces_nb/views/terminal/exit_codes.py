"""The exit code of an error, and the error as people and scripts get it. Prints nothing."""

from __future__ import annotations

import os
from typing import Any

from pieces_nb.errors import BadArguments, PiecesError, StoppedWaiting
from pieces_nb.text import PROGRAMS, Front, printable

FAILED = 1
WRONG = 2
INTERRUPTED = 130


class Reported(Exception):
    """An end that has been told already; its cause has the exit code."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


def exit_code(exc: BaseException) -> int:
    match exc:
        case Reported(cause=cause):
            return exit_code(cause)
        case BadArguments():
            return WRONG
        case KeyboardInterrupt():
            return INTERRUPTED
    return FAILED


def message(exc: BaseException) -> str:
    """Return one line, in a terminal's words; of a fault of our own it says where to find more."""
    match exc:
        case PiecesError() | StoppedWaiting():
            exc.front = Front.TERMINAL
            return str(exc)
        case KeyboardInterrupt():
            return "interrupted"
        case OSError():
            return (exc.strerror or str(exc)) + (f": {os.fsdecode(exc.filename)}" if exc.filename else "")
    return f"an error of {PROGRAMS[Front.TERMINAL]} itself: {exc!r} (PIECES_NB_DEBUG=1 shows where)"


def as_object(exc: BaseException) -> dict[str, Any]:
    """Return what JSON says of it."""
    return {"type": type(exc).__name__, "message": printable(message(exc))}
