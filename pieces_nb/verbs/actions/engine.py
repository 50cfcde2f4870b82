"""The verb of the engine under the local models."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pieces_nb.errors import ConfirmationRequired
from pieces_nb.model.engine import engine_step
from pieces_nb.verbs import reading
from pieces_nb.verbs.actions.downloading import NO_WAIT, TIMEOUT, check_no_wait
from pieces_nb.verbs.declaration import Flag, Operand, Verb, declared
from pieces_nb.verbs.front import Downloading, Said
from pieces_nb.verbs.reading import Misuse

if TYPE_CHECKING:
    from pieces_nb.engine_work import Plan
    from pieces_nb.verbs.session import Session

VERBS: list[Verb] = []
verb = partial(declared, VERBS)

_INSTALL, _UPDATE, _CANCEL = "install", "update", "cancel"
_WORK = (_INSTALL, _UPDATE, _CANCEL)


def _read_work(given: str, what: str) -> str:
    word = reading.text(given, what)
    if word not in _WORK:
        raise Misuse(f"knows {', '.join(_WORK)}, and not {reading.shown(given)}")
    return word


def _flags_have_work(*, work: str | None, yes: bool, no_wait: bool, timeout: float | None) -> str:
    if work in (_INSTALL, _UPDATE) or not (yes or no_wait or timeout is not None):
        return ""
    return f"takes flags only with {_INSTALL} or {_UPDATE}"


@verb(
    "engine",
    "The engine under the local models: whether it is there, its version, what is under way. With an argument, install "
    "or update it, with a bar as a download has, or cancel that.",
    operands=(Operand("WORK", "work", least=0, read=_read_work, choices=" | ".join(_WORK)),),
    flags=(Flag("--yes", "do it: without this only say what would be done"), NO_WAIT, TIMEOUT),
    check=_flags_have_work,
    usage_words=f"[{' | '.join(_WORK)}] [--yes] [--no-wait] [--timeout S]",
    examples=("engine", "engine install --yes", "engine update --yes --no-wait", "engine cancel"),
)
def engine(
    session: Session, work: str | None, *, yes: bool, no_wait: bool, timeout: float | None
) -> Said | Downloading:
    match work:
        case "install" | "update":
            if no_wait:
                check_no_wait(session)
            plan = session.client.engine_plan(work)
            if not (plan.joined or plan.done):
                _be_sure(session, plan, yes=yes)
            download = session.client.do_engine_plan(plan)
            limit = timeout if timeout is not None else session.client.settings.wait_timeout_s
            return Downloading([download], waits=not no_wait, timeout_s=limit)
        case "cancel":
            session.client.cancel_engine()
    return _status(session)


def _be_sure(session: Session, plan: Plan, *, yes: bool) -> None:
    if not yes and not session.front_end.confirm(f"{plan.words}. Go on?"):
        raise ConfirmationRequired(f"{plan.words}. Nothing is done yet: say ", engine_step(plan.kind), ".")


def _status(session: Session) -> Said:
    """Return the table, and in words what is under way."""
    from pieces_nb import rows

    found = session.client.engine_status()
    table = rows.engine(found, server=session.client.server)
    lines = ((f"The engine is {found.words}.",),) if found.under_way is not None else ()
    names = [column.name for column in table.columns]
    return Said(lines, [dict(zip(names, row, strict=True)) for row in table.body], table)
