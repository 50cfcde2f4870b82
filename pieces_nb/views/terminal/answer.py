"""A command, run, and what comes of it as text or JSON. Parses nothing, decides no exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pieces_nb.errors import PiecesError, StoppedWaiting, WaitTimeout
from pieces_nb.rows import Rows
from pieces_nb.text import Front, worded
from pieces_nb.verbs.front import Downloading, Ended, Said
from pieces_nb.verbs.session import Session
from pieces_nb.views.table_text import folded, plain, records_of, text_of
from pieces_nb.views.terminal import exit_codes, output
from pieces_nb.views.terminal.front_end import TerminalFront

if TYPE_CHECKING:
    from pieces_nb.download.download import Download
    from pieces_nb.verbs.grammar import Command


class Outcome(NamedTuple):
    """Lines and data of something that has ended, and the failure it ended in, which is still to be reported."""

    lines: tuple[str, ...]
    data: Any
    failure: PiecesError | StoppedWaiting | None


def run(command: Command) -> int:
    """Do it, print what comes of it, and return the exit code. Raises what the verbs raise."""
    as_json = bool(command.options.get("json"))
    front_end = TerminalFront(quiet=bool(command.options.get("quiet")), for_scripts=as_json)
    session = Session(front_end)
    session.set_up(url=command.options.get("url") or "")
    try:
        value = session.run(command)
        if isinstance(value, Downloading):
            value = _followed(session, front_end, value)
    finally:
        session.close()
    return _written(value, as_json=as_json)


def _written(value: object, *, as_json: bool) -> int:
    match value:
        case Ended(exit_code=code):
            return code
        case Outcome(lines=lines, data=data, failure=failure):
            if as_json:
                output.write_json(data)
            elif lines:
                output.write("\n".join(lines))
            if failure is not None:
                raise (exit_codes.Reported(failure) if as_json else failure)
        case Rows() | Said():
            if as_json:
                output.write_json(_data(value))
            else:
                output.write("\n".join(_lines(value, output.width())))
    return 0


def _lines(value: Rows | Said, width: int) -> list[str]:
    if isinstance(value, Rows):
        return [text_of(value, front=Front.TERMINAL, width=width)]
    said = [worded(parts, Front.TERMINAL) for parts in value.lines]
    if not value.as_it_is:
        said = [_fold(line, width) for line in said]
    return said + ([] if value.table is None else _lines(value.table, width))


def _fold(line: str, width: int) -> str:
    return folded(line, width) if " · " in line else output.folded_below(line, width)


def _data(value: Rows | Said) -> Any:
    if isinstance(value, Rows):
        return records_of(value, Front.TERMINAL)
    if value.table is None or not value.table_name:
        return plain(value.data, Front.TERMINAL)
    return value.data | {value.table_name: records_of(value.table, Front.TERMINAL)}


# Downloads -----------------------------------------------------------------------------------------------------------


def _followed(session: Session, front_end: TerminalFront, asked: Downloading) -> Outcome:
    """Wait for downloads: whatever the waiting ends in, what became of each is said."""
    failure: PiecesError | StoppedWaiting | None = None
    try:
        if asked.waits:
            front_end.wait(asked.downloads, timeout_s=asked.timeout_s)
        else:
            front_end.see_begun(asked.downloads)
    except (PiecesError, StoppedWaiting) as exc:
        failure = exc
    except KeyboardInterrupt:  # just before the waiting, or just after it
        failure = StoppedWaiting(f"{_running(asked.downloads)}; the download goes on.")
    if failure is not None and session.names_emulator():
        failure = _in_this_process(failure, asked.downloads)
    return outcome_of(asked.downloads, failure)


def outcome_of(downloads: Sequence[Download], failure: PiecesError | StoppedWaiting | None) -> Outcome:
    """Return a line and an object for each; of a single one that failed, its error says it all."""
    from pieces_nb.views.words import record

    alone_and_failed = failure is not None and len(downloads) == 1
    lines = () if alone_and_failed else tuple(record(download) for download in downloads)
    return Outcome(lines, [_object(download, failure) for download in downloads], failure)


def _object(download: Download, failure: BaseException | None) -> dict[str, Any]:
    error: BaseException | None = download.error
    if error is None and not download.done and isinstance(failure, WaitTimeout | StoppedWaiting):
        error = failure
    return {
        "model": download.model.title,
        "id": download.model.id,
        "status": str(download.status),
        "percentage": download.percentage,
        "bytes": download.moved_bytes,
        "seconds": round(download.duration_s, 3),
        "error": exit_codes.as_object(error) if error is not None else None,
    }


def _in_this_process(
    failure: PiecesError | StoppedWaiting, downloads: Sequence[Download]
) -> PiecesError | StoppedWaiting:
    """Say what is true of an emulator in this process: nothing of it goes on."""
    if not isinstance(failure, StoppedWaiting | WaitTimeout):
        return failure
    return type(failure)(f"{_running(downloads)}; the emulator of this command ends with it, and so does the download.")


def _running(downloads: Sequence[Download]) -> str:
    from pieces_nb.views.words import record

    return "; ".join(record(download) for download in downloads if not download.done)
