"""Verbs that take several steps, or look back at what was done."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pieces_nb.text import Front
from pieces_nb.verbs import reading
from pieces_nb.verbs.actions.memory import FORCE
from pieces_nb.verbs.declaration import MODEL, Flag, Operand, Verb, declared
from pieces_nb.verbs.front import Said

if TYPE_CHECKING:
    from pieces_nb.rows import Rows
    from pieces_nb.verbs.session import Session
    from pieces_nb.views.panel import Panel

VERBS: list[Verb] = []
verb = partial(declared, VERBS)


@verb(
    "ensure",
    "Check, download, load and verify what is still missing; does nothing when all is done.",
    operands=(MODEL,),
    flags=(
        Flag("--load", "load it as well"),
        FORCE,
        Flag("--dry-run", "only say what would be done"),
        Flag("--timeout", "wait at most S seconds for the download, which goes on", value="S", read=reading.seconds),
    ),
    examples=("ensure phi-2 --load", "ensure phi-2 --load --dry-run"),
)
def ensure(session: Session, model: str, *, load: bool, force: bool, dry_run: bool, timeout: float | None) -> Said:
    from pieces_nb import rows

    client = session.client
    limit = timeout if timeout is not None else client.settings.wait_timeout_s
    done = client.ensured(
        model,
        load=load,
        force=force,
        dry_run=dry_run,
        tell=session.front_end.tell,
        wait=lambda download: session.front_end.wait([download], timeout_s=limit),
    )
    data = {
        "model": done.model.title,
        "id": done.model.id,
        "state": str(done.model.state),
        "changed": done.changed,
    }
    return Said((), data, rows.plan(done.model, done.steps, server=client.server), "steps")


@verb("usage", "RAM and disk the models take, biggest first, and how to free each.", examples=("usage",))
def usage(session: Session) -> Rows:
    from pieces_nb import rows
    from pieces_nb.machine import machine_of

    client = session.client
    return rows.usage(session.models(), machine_of(client.url), server=client.server)


@verb(
    "history",
    "What was done here, with outcome and duration.",
    only_in=Front.NOTEBOOK,
    elsewhere=(
        "tells what was done in one session, and each {prog} call is one of its own: there is none here. "
        "A notebook has it."
    ),
    examples=("history",),
)
def history(session: Session) -> Rows:
    from pieces_nb import rows

    return rows.history(session.client.history.entries())


@verb(
    "panel",
    "The interactive panel: choose, download, watch, load and update with buttons.",
    operands=(Operand("MODEL", "model", least=0),),
    only_in=Front.NOTEBOOK,
    elsewhere="needs a notebook; in a terminal there are {prog} list, {prog} download and {prog} progress.",
    examples=("panel", "panel phi-2"),
)
def panel(session: Session, model: str | None) -> Panel:
    return session.client.panel(model)
