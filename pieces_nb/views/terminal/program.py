"""One command line: parsed, run, its outcome as an exit code. 0 done, 1 failed, 2 wrong arguments, 130 interrupted.

The top of the process: what nobody caught ends here, as one line. Imports nothing heavy before it knows what to do.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from pieces_nb import __version__
from pieces_nb.text import Front
from pieces_nb.verbs.actions import VERBS
from pieces_nb.verbs.grammar import Grammar
from pieces_nb.views.terminal import exit_codes, output, own_verbs, shells


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
    if arguments[:1] == ["--version"] or sorted(arguments) == ["--json", "--version"]:
        return _version(as_json="--json" in arguments)
    if arguments[:1] == [shells.CALL]:
        return shells.answer(arguments[1:])
    command = Grammar(Front.TERMINAL, (*VERBS, *own_verbs.VERBS)).parse(arguments)
    from pieces_nb.views.terminal import answer

    return answer.run(command)


def _version(*, as_json: bool) -> int:
    if as_json:
        output.write_json({"program": output.PROG, "version": __version__})
    else:
        output.write(f"{output.PROG} {__version__}")
    return 0


# Ends ----------------------------------------------------------------------------------------------------------------


def _report(exc: BaseException, *, wants_json: bool) -> int:
    """Say in one line what went wrong; of a fault of our own also where to find more."""
    with _undisturbed():
        if os.environ.get("PIECES_NB_DEBUG") == "1":
            traceback.print_exception(exc)
        try:
            if wants_json and not isinstance(exc, exit_codes.Reported):
                output.write_json({"error": exit_codes.as_object(exc)})
            elif not wants_json:
                output.tell(exit_codes.message(exc))
        except OSError:  # nobody listens there either
            output.give_up(sys.stdout)
            output.give_up(sys.stderr)
    return exit_codes.exit_code(exc)


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
        return f"{output.PROG}: {record.getMessage()}"


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
