"""The verbs that only a terminal has. Imports nothing heavy: `help` has to be quick."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NoReturn

from pieces_nb.errors import BadArguments, PiecesError, StoppedWaiting
from pieces_nb.text import PROGRAMS, Front, format_bytes
from pieces_nb.verbs import reading
from pieces_nb.verbs.declaration import MODEL, Flag, Operand, Verb, declared
from pieces_nb.verbs.front import Ended, Said

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

    from pieces_nb.download.download import Download
    from pieces_nb.verbs.session import Session
    from pieces_nb.views.terminal.answer import Outcome

PROG = PROGRAMS[Front.TERMINAL]
VERBS: list[Verb] = []
verb = partial(declared, VERBS, only_in=Front.TERMINAL)


@verb(
    "trace",
    "Download a model and record in FILE what the server says. "
    "Home folder and user name are left out; the emulator replays it with --replay.",
    operands=(Operand("FILE", "file", read=reading.text), MODEL),
    flags=(Flag("--timeout", "record at most S seconds; the download goes on", value="S", read=reading.seconds),),
    examples=("trace phi-2.jsonl phi-2",),
)
def trace(session: Session, file: str, model: str, *, timeout: float | None) -> Outcome:
    from pathlib import Path

    from pieces_nb import trace
    from pieces_nb.views.terminal.answer import outcome_of
    from pieces_nb.views.words import record

    seen: list[Download] = []

    def wait(download: Download) -> None:
        seen.append(download)
        session.front_end.wait([download], timeout_s=timeout)

    failure: PiecesError | StoppedWaiting | None = None
    try:
        trace.record(file, model, url=session.url or None, wait=wait)
    except (PiecesError, StoppedWaiting) as exc:
        if not seen:
            raise
        failure = exc
    size_bytes = Path(file).stat().st_size
    outcome = outcome_of(seen, failure)
    recorded = (
        f"Recorded in {file} ({format_bytes(size_bytes)}), without home folder and user name. "
        "Look it through before you pass it on."
    )
    data = outcome.data[0] | {"file": file, "file_bytes": size_bytes}
    return outcome._replace(lines=(record(seen[0]), recorded), data=data)


@verb(
    "emulator",
    "Serve a stand-in for Pieces OS, until Ctrl-C.",
    takes_all=True,
    usage_words="[--port N] [--home DIR] [--rate BYTES_PER_S] …",
    examples=("emulator", "emulator --port 39400 --rate 2e6"),
)
def emulator(_session: Session, arguments: Sequence[str]) -> Ended:
    from pieces_nb.emulator import EmulatorError, cli

    parser = _emulators_parser()
    cli.add_arguments(parser)
    try:
        given = parser.parse_args(arguments)
    except SystemExit:  # its help is printed
        return Ended(0)
    try:
        return Ended(cli.serve(given))
    except EmulatorError as exc:
        raise PiecesError(str(exc)) from exc


def _emulators_parser() -> ArgumentParser:
    from argparse import ArgumentParser  # the emulator's own; no other verb needs it

    class Parser(ArgumentParser):
        """Raises where argparse would print its usage and leave the process."""

        def error(self, message: str) -> NoReturn:
            raise BadArguments(f"emulator: {message}; {PROG} help emulator lists its options.")

    return Parser(
        prog=f"{PROG} emulator", usage="%(prog)s [OPTION …]", description="A stand-in for Pieces OS, until Ctrl-C."
    )


@verb(
    "demo",
    "Run the quickstart notebook against the emulator, here in the terminal.",
    flags=(Flag("--lab", "open a copy of the notebooks in JupyterLab instead"),),
    examples=("demo", "demo --lab"),
)
def demo(_session: Session, *, lab: bool) -> Ended:
    import sys

    from pieces_nb import demo

    return Ended(demo.open_lab() if lab else demo.run_notebook(sys.stdout))


@verb(
    "completion",
    "Print what makes Tab complete commands, flags and model names in a shell: bash, zsh or fish.",
    operands=(Operand("SHELL", "shell", read=reading.text, choices="bash | zsh | fish"),),
    usage_words="bash | zsh | fish",
    examples=("completion bash >> ~/.bashrc", "completion zsh >> ~/.zshrc", "completion fish | source"),
)
def completion(_session: Session, shell: str) -> Said:
    from pieces_nb.views.terminal.shells import SCRIPTS

    if shell not in SCRIPTS:
        raise BadArguments(f"completion knows {', '.join(SCRIPTS)}, and not {reading.shown(shell)}.")
    script = SCRIPTS[shell]
    return Said(tuple((line,) for line in script.splitlines()), {"shell": shell, "script": script}, as_it_is=True)
