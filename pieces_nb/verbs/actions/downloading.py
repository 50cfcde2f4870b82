"""Verbs of downloads."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from pieces_nb.errors import BadArguments
from pieces_nb.text import Step
from pieces_nb.verbs import reading
from pieces_nb.verbs.declaration import MODELS, Flag, Operand, Verb, declared, either_models_or_all
from pieces_nb.verbs.front import Downloading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pieces_nb.client import ModelClient
    from pieces_nb.download.download import Download
    from pieces_nb.model.models import Model
    from pieces_nb.rows import Rows
    from pieces_nb.verbs.session import Session

_FIRST_FRAMES_S = 1.0  # how long `progress` waits for the first word of a download that it has just joined

VERBS: list[Verb] = []
verb = partial(declared, VERBS)

NO_WAIT = Flag("--no-wait", "return at once; the bar stays live")
TIMEOUT = Flag("--timeout", "wait at most S seconds; the download goes on", value="S", read=reading.seconds)


@verb(
    "download",
    "Download models, several at once, with a bar for each. Interrupting ends the waiting; the download goes on.",
    operands=(MODELS,),
    flags=(
        NO_WAIT,
        Flag("--at-most", "run at most N at a time; the others wait for their turn", value="N", read=reading.count),
        TIMEOUT,
    ),
    examples=(
        "download phi-2",
        "download phi-2 mistral --no-wait",
        "download phi-2 mistral --at-most 1",
        "download phi-2 --timeout 600",
    ),
)
def download(
    session: Session, models: tuple[str, ...], *, no_wait: bool, at_most: int | None, timeout: float | None
) -> Downloading:
    if no_wait:
        check_no_wait(session)
    if no_wait and at_most is not None and not session.front_end.lives_on:
        raise BadArguments("--no-wait is no use with --at-most here: what waits for its turn ends with this command.")
    client = session.client
    wanted = session.named(models)
    downloads = client.download_all(wanted, at_most=at_most)
    limit = timeout if timeout is not None else client.settings.wait_timeout_s
    return Downloading(downloads, waits=not no_wait, timeout_s=limit)


def check_no_wait(session: Session) -> None:
    """Refuse not to wait where the server ends with this process."""
    if not session.front_end.lives_on and session.names_emulator():
        raise BadArguments(
            "--no-wait is no use with an emulator that ends with this command: ",
            Step("connect emulator", "ModelClient.emulator()", terminal="emulator"),
            " is one that stays.",
        )


@verb(
    "progress",
    "How far downloads are, also those started elsewhere or before the kernel restarted.",
    operands=(Operand("MODEL", "models", least=0, most=None),),
    flags=(Flag("--watch", "show live bars instead of one table"),),
    examples=("progress", "progress phi-2 --watch"),
)
def progress(session: Session, models: tuple[str, ...], *, watch: bool) -> Rows:
    from pieces_nb import rows

    downloads = session.client.progress(*models)
    if watch and downloads:
        session.front_end.wait(downloads, timeout_s=session.client.settings.wait_timeout_s)
    else:
        _first_words(downloads)
    return rows.progress(downloads, server=session.client.server)


def _first_words(downloads: Sequence[Download]) -> None:
    """Give downloads that were joined just now a moment to say where they stand."""
    spoke = threading.Event()

    def look(_download: Download | None = None) -> None:
        if all(download.done or download.percentage is not None for download in downloads):
            spoke.set()

    stops = [download.subscribe(look) for download in downloads]
    look()  # one that stalls is not heard again
    spoke.wait(_FIRST_FRAMES_S)
    for stop in stops:
        stop()


@verb(
    "cancel",
    "Stop downloads. Returns when the server confirms it.",
    operands=(MODELS._replace(least=0),),
    flags=(Flag("--all", "every download that runs; each is named", instead=True, named="all_models"),),
    check=either_models_or_all,
    usage_words="MODEL [MODEL …] | --all",
    examples=("cancel phi-2", "cancel --all"),
)
def cancel(session: Session, models: tuple[str, ...], *, all_models: bool) -> Rows:
    wanted = session.named(models)
    canceled = session.client.cancel_all() if all_models else _canceled(session.client, wanted)
    return session.table(canceled, when_empty=("Nothing was downloading.",))


def _canceled(client: ModelClient, models: Sequence[Model]) -> list[Model]:
    """Cancel each of them, all at once; what fails is told when all were tried."""
    from pieces_nb.download.at_once import at_once

    if len(models) == 1:
        return [client.cancel(models[0])]
    return at_once([partial(client.cancel, model) for model in models])
