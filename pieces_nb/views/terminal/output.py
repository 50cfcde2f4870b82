"""Where a terminal's output goes: text or JSON on stdout, questions and errors on stderr. Decides no exit code."""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import suppress
from typing import Any, TextIO

from pieces_nb.text import PROGRAMS, Front, printable

PROG = PROGRAMS[Front.TERMINAL]


def width() -> int:
    """Return the columns that text may take: `COLUMNS`, or the terminal's, also where stdout is a pipe; else 80."""
    import shutil  # not at the top: Tab and JSON have no width

    for stream in (sys.__stderr__, sys.__stdin__):
        with suppress(AttributeError, ValueError, OSError):
            seen = os.get_terminal_size(stream.fileno())  # type: ignore[union-attr]  # None is an AttributeError
            if seen.columns > 0:
                return max(20, shutil.get_terminal_size(seen).columns)
    return max(20, shutil.get_terminal_size().columns)


def write(text: str) -> None:
    """Print to stdout, now: a pipe that is closed shows at once."""
    print(text, flush=True)


def folded_below(line: str, columns: int) -> str:
    """Return a long line of a page folded below its beginning."""
    from pieces_nb.views.text_table import cells_of, wrapped  # not at the top: Tab folds nothing

    if cells_of(line) <= columns:
        return line
    words = re.match(r"\s*(\S+ )*\S*\s{2,}|\s*", line)
    indent = min(cells_of(words[0]) if words else 0, columns // 2)
    return "\n".join(wrapped(line, columns, below=" " * indent))


def write_json(value: Any) -> None:
    # ASCII alone: valid whatever the locale says.
    write(json.dumps(value, indent=2, allow_nan=False))


def tell(text: str) -> None:
    """Print one line to stderr."""
    if sys.stderr is not None:
        print(f"{PROG}: {printable(text)}", file=sys.stderr, flush=True)


def can_ask() -> bool:
    """Whether a person is there to answer."""
    return all(_is_terminal(stream) for stream in (sys.stdin, sys.stderr))


def ask(question: str) -> bool:
    """Ask on stderr; only yes is a yes."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    answer = ""
    try:
        answer = sys.stdin.readline()
    finally:
        if not answer.endswith("\n"):  # Ctrl-C or Ctrl-D: what is said next begins a line
            print(file=sys.stderr)
    return answer.strip().lower() in ("y", "yes")


def give_up(stream: TextIO | None) -> None:
    """Nobody reads this stream any more: what is left in its buffer goes nowhere, instead of failing at the exit."""
    with suppress(AttributeError, ValueError, OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]  # None is an AttributeError
        os.close(nowhere)


def be_lenient() -> None:
    """Show what this terminal's encoding lacks as `?`, rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a stream of somebody else's has none


def _is_terminal(stream: TextIO | None) -> bool:
    with suppress(AttributeError, ValueError):
        return stream is not None and stream.isatty()
    return False
