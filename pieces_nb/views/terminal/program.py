"""One command line: parsed, run, its outcome as an exit code. 0 done, 1 failed, 2 wrong arguments, 130 interrupted.

The top of the process: what nobody caught ends here, as one line. Imports nothing heavy before it knows what to do.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

from pieces_nb import __version__
from pieces_nb.errors import BadArguments, PiecesError
from pieces_nb.verbs import grammar
from pieces_nb.views.terminal import ends, output
from pieces_nb.views.terminal.verbs import EXTRA
from pieces_nb.views.terminal.words import PROG, in_terminal


def main(arguments: Sequence[str]) -> int:
    """Run one command line and return the exit code. Raises nothing."""
    output.be_lenient()
    before_names = arguments[: arguments.index("--")] if "--" in arguments else arguments
    wants_json = "--json" in before_names
    try:
        with _logging():
            return _run(arguments)
    except BrokenPipeError:
        # `| head` has read enough; that is no failure.
        output.give_up(sys.stdout)
        output.give_up(sys.stderr)
        return 0
    except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001 - the top of the process
        return _report(exc, wants_json=wants_json)


def _run(arguments: Sequence[str]) -> int:
    match list(arguments):
        case ["--version"]:
            output.write(f"{PROG} {__version__}")
            return 0
        case ["emulator", *rest]:
            return _emulator(rest)
        case ["help", "emulator"]:
            return _emulator(["--help"])
        case ["demo", *rest]:
            from pieces_nb import demo

            return demo.main(rest)
    command = grammar.build_grammar(PROG, for_terminal=True, extra=EXTRA).parse(arguments)
    match command:
        case grammar.Help(text=text):
            if "--json" in arguments:
                output.write_json({"help": text})
            else:
                output.write(output.help_page(text))
        case grammar.Panel():
            raise BadArguments(
                f"panel needs a notebook; in a terminal there are {PROG} list, {PROG} download and {PROG} progress."
            )
        case grammar.History():
            raise BadArguments(
                f"history tells what was done in one session, and each {PROG} call is one of its own: "
                "there is none here. A notebook has it."
            )
        case _:
            from pieces_nb.views.terminal import execute

            execute.run(command)
    return 0


# Emulator ------------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage and leave the process."""

    def error(self, message: str) -> NoReturn:
        raise BadArguments(f"emulator: {message}; {PROG} help emulator lists its options.")


def _emulator(arguments: Sequence[str]) -> int:
    from pieces_nb.emulator import EmulatorError, cli

    parser = _Parser(
        prog=f"{PROG} emulator", usage="%(prog)s [OPTION …]", description="A stand-in for Pieces OS, until Ctrl-C."
    )
    cli.add_arguments(parser)
    try:
        given = parser.parse_args(arguments)
    except SystemExit:  # its help is printed
        return 0
    try:
        return cli.serve(given)
    except EmulatorError as exc:
        raise PiecesError(str(exc)) from exc


# Ends ----------------------------------------------------------------------------------------------------------------


def _report(exc: BaseException, *, wants_json: bool) -> int:
    """Say in one line what went wrong; of a fault of our own also where to find more."""
    with _undisturbed():
        if os.environ.get("PIECES_NB_DEBUG") == "1":
            traceback.print_exception(exc)
        try:
            if wants_json and not isinstance(exc, ends.Reported):
                output.write_json({"error": ends.as_object(exc)})
            elif not wants_json:
                output.tell(ends.message(exc))
        except OSError:  # nobody listens there either
            output.give_up(sys.stdout)
            output.give_up(sys.stderr)
    return ends.exit_code(exc)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no second Ctrl-C break into the last words."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        with suppress(TypeError):  # a handler that was not set from Python
            signal.signal(signal.SIGINT, before)


class _OneLine(logging.Formatter):
    """Warnings as lines like the others; tracebacks only where somebody asked for them."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{PROG}: {in_terminal(record.getMessage())}"


@contextmanager
def _logging() -> Iterator[None]:
    log = logging.getLogger("pieces_nb")
    handler = logging.StreamHandler()
    debugging = os.environ.get("PIECES_NB_DEBUG") == "1"
    if not debugging:
        handler.setFormatter(_OneLine())
    handler.setLevel(logging.DEBUG if debugging else logging.WARNING)
    level = log.level
    log.addHandler(handler)
    if debugging:
        log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
