"""A command, run by the magic's verbs, with what comes of it as text or JSON. Parses nothing, decides no exit code."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from pieces_nb import trace
from pieces_nb.download.download import Download, Downloads
from pieces_nb.errors import BadArguments, ConfirmationRequired, PiecesError, StoppedWaiting, WaitTimeout
from pieces_nb.text import format_bytes
from pieces_nb.verbs import grammar
from pieces_nb.verbs.actions import Commands, Settings
from pieces_nb.views import notebook as display
from pieces_nb.views.terminal import ends, output
from pieces_nb.views.terminal.verbs import Trace
from pieces_nb.views.terminal.words import PROG, fold, in_terminal
from pieces_nb.wire.connection import EMULATOR, address_from_environment

_BEGUN_WITHIN_S = 5.0  # how long --no-wait waits for a sign that the server has begun


def run(command: grammar.Command) -> None:
    """Do it and print what comes of it. Raises what the verbs raise."""
    commands = Commands(prog=PROG, for_terminal=True, confirm=_confirm if output.can_ask() else None)
    commands.set_up(url=command.url or "", settings=Settings())
    try:
        match command:
            case grammar.Download():
                _download(commands, command)
            case Trace():
                _trace(command)
            case grammar.Connect(to=to) if EMULATOR in (to, to is None and _address(command)):
                raise BadArguments(
                    f"An emulator started by this command would end with it: `{PROG} emulator` in another terminal "
                    "starts one that stays, and says its address for --url or PIECES_OS_URL."
                )
            case _ if command.json:
                output.write_json(_as_json(commands, command))
            case _:
                _as_text(commands, command)
    finally:
        commands.close()


def _address(command: grammar.Command) -> str:
    return command.url or address_from_environment()


def _confirm(question: str) -> bool:
    if output.ask(question):
        return True
    raise ConfirmationRequired("Nothing is deleted.")


# Any verb ------------------------------------------------------------------------------------------------------------


def _as_text(commands: Commands, command: grammar.Command) -> None:
    said, value = _run_quietly(commands, command)
    width = output.width()
    if isinstance(command, grammar.Connect):
        said = [*said, "The next call looks anew: name this server with --url or in PIECES_OS_URL."]
    parts = [fold(in_terminal(line), width) for line in said]
    if value is not None:
        from pieces_nb.views.terminal import tables  # brings pandas, which the value has brought already

        parts.append(tables.text_of(value, width=width))
    output.write("\n".join(parts))


def _as_json(commands: Commands, command: grammar.Command) -> Any:
    from pieces_nb.views.terminal import tables

    match command:
        case grammar.Status():
            return _server(commands) | _counts(commands)
        case grammar.Overview():
            return {"server": _server(commands), "models": tables.records_of(commands.client.table())}
        case grammar.Connect():
            _run_quietly(commands, command)
            return _server(commands)
        case grammar.Snapshot(models=names):
            return [tables.plain(commands.client.get(name).raw) for name in names]
    said, value = _run_quietly(commands, command)
    return tables.records_of(value) if value is not None else {"message": " ".join(said)}


def _run_quietly(commands: Commands, command: grammar.Command) -> tuple[list[str], Any]:
    """Return the lines that a verb prints, and its value."""
    said = io.StringIO()
    with redirect_stdout(said):
        value = commands.run(command)
    return said.getvalue().splitlines(), value


def _server(commands: Commands) -> dict[str, Any]:
    found = commands.client.connect()
    return {
        "url": found.url,
        "version": found.version,
        "emulator": found.is_emulator,
        "other_ports": list(found.others),
    }


def _counts(commands: Commands) -> dict[str, int]:
    models = commands.client.models()
    return {
        "models": len(models),
        "downloaded": sum(model.downloaded for model in models),
        "loaded": sum(model.loaded for model in models),
        "downloading": sum(model.downloading for model in models),
    }


# Downloads -----------------------------------------------------------------------------------------------------------


def _download(commands: Commands, command: grammar.Download) -> None:
    """Wait for them here rather than in the verb: whatever the waiting ends in, what became of each is said."""
    if not command.wait and _address(command) == EMULATOR:
        raise BadArguments(
            f"--no-wait is no use with an emulator that ends with this command: `{PROG} emulator` is one that stays."
        )
    started = commands.run(replace(command, wait=False))
    downloads = list(started) if isinstance(started, Downloads) else [started] if isinstance(started, Download) else []
    failure: PiecesError | StoppedWaiting | None = None
    try:
        if command.wait:
            display.wait_shown(downloads, timeout_s=command.timeout_s)
        else:
            _see_begun(downloads)
    except (PiecesError, StoppedWaiting) as exc:
        failure = exc
    if command.json:
        found = [_outcome(download, failure) for download in downloads]
        output.write_json(found[0] if len(found) == 1 else found)
    else:
        _write_records(downloads, failed=failure is not None)
    if failure is not None:
        raise (ends.Reported(failure) if command.json else _in_this_process(command, failure))


def _see_begun(downloads: Sequence[Download]) -> None:
    """Return when the server has begun each download: a process that ends sooner may have asked for nothing.

    Raises the error of the first that could not begin.
    """
    begun = threading.Event()

    def look(_download: Download) -> None:
        if all(download.done or download.state.alive for download in downloads):
            begun.set()

    stops = [download.subscribe(look) for download in downloads]
    try:
        begun.wait(_BEGUN_WITHIN_S)
    except KeyboardInterrupt:
        raise StoppedWaiting(
            "Stopped before the server had said that it has begun; it may download all the same."
        ) from None
    finally:
        for stop in stops:
            stop()
    ended = [download for download in downloads if download.done]
    if len(downloads) > 1:
        Downloads(ended).wait(0)
    elif ended:
        ended[0].wait(0)


def _write_records(downloads: Sequence[Download], *, failed: bool) -> None:
    """Print a line for each; of a single one that failed, its error says it all."""
    if failed and len(downloads) == 1:
        return
    output.write("\n".join(display.record(download) for download in downloads))


def _outcome(download: Download, failure: BaseException | None) -> dict[str, Any]:
    error = download.error
    if error is None and not download.done and isinstance(failure, WaitTimeout | StoppedWaiting):
        return _fields(download) | {"error": ends.as_object(failure)}
    return _fields(download) | {"error": ends.as_object(error) if error is not None else None}


def _fields(download: Download) -> dict[str, Any]:
    return {
        "model": download.model.title,
        "id": download.model.id,
        "status": str(download.status),
        "percentage": download.percentage,
        "bytes": download.moved_bytes,
        "seconds": round(download.duration_s, 3),
    }


def _in_this_process(command: grammar.Command, failure: PiecesError | StoppedWaiting) -> PiecesError | StoppedWaiting:
    """Correct what is not true of an emulator in this process: nothing of it goes on."""
    going_on = isinstance(failure, StoppedWaiting | WaitTimeout)
    if going_on and _address(command) == EMULATOR:
        text = str(failure).partition("; the download goes on")[0]
        return type(failure)(f"{text}; the emulator of this command ends with it, and so does the download.")
    return failure


# Trace ---------------------------------------------------------------------------------------------------------------


def _trace(command: Trace) -> None:
    seen: list[Download] = []

    def wait(download: Download) -> None:
        seen.append(download)
        display.wait_shown([download], timeout_s=command.timeout_s)

    failure: PiecesError | StoppedWaiting | None = None
    try:
        trace.record(command.file, command.model, url=command.url, wait=wait)
    except (PiecesError, StoppedWaiting) as exc:
        if not seen:
            raise
        failure = exc
    size_bytes = Path(command.file).stat().st_size
    if command.json:
        output.write_json(_outcome(seen[0], failure) | {"file": command.file, "file_bytes": size_bytes})
    else:
        output.write(
            f"{display.record(seen[0])}\nRecorded in {command.file} ({format_bytes(size_bytes)}), without home folder "
            "and user name. Look it through before you pass it on."
        )
    if failure is not None:
        raise (ends.Reported(failure) if command.json else failure)
