"""Verbs that change or delete models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pieces_nb.errors import ConfirmationRequired
from pieces_nb.model import fields, rules
from pieces_nb.text import format_bytes, printable
from pieces_nb.verbs import reading
from pieces_nb.verbs.declaration import MODEL, Flag, Operand, Verb, declared
from pieces_nb.verbs.front import Said

if TYPE_CHECKING:
    from pieces_nb.model.models import Model
    from pieces_nb.rows import Rows
    from pieces_nb.verbs.reading import Change
    from pieces_nb.verbs.session import Session

VERBS: list[Verb] = []
verb = partial(declared, VERBS)

_YES = Flag("--yes", "do it: without this nothing is deleted")
_SET = Flag(
    "--set",
    "a field and its new value; null clears an optional field",
    value="FIELD=VALUE",
    read=reading.change,
    repeats=True,
    named="changes",
)


def _something_to_change(*, model: str, changes: Sequence[Change], body: dict[str, Any] | None) -> str:  # noqa: ARG001 - a check gets all arguments
    return "" if changes or body else "has nothing to change"


@verb(
    "update",
    "Change fields of a custom model and show old and new.",
    operands=(MODEL,),
    flags=(_SET._replace(required=True),),
    takes_cell=True,
    check=_something_to_change,
    examples=("update my-model --set description='Good at Fortran'", "update my-model --set maxTokens.total=4096"),
)
def update(session: Session, model: str, *, changes: Sequence[Change], body: dict[str, Any] | None) -> Rows:
    from pieces_nb import rows

    checked = _checked(changes, body)
    before = session.client.get(model, beginnings=False)
    after = session.client.update_checked(before, checked)
    return rows.changes(before, after, checked, server=session.client.server)


@verb(
    "create",
    "Register a custom model.",
    operands=(Operand("NAME", "name", read=reading.text),),
    flags=(_SET,),
    takes_cell=True,
    examples=("create my-model --set foundation=PHI_2",),
)
def create(session: Session, name: str, *, changes: Sequence[Change], body: dict[str, Any] | None) -> Rows:
    return session.table([session.client.create_checked(name, _checked(changes, body))])


def _checked(changes: Sequence[Change], body: dict[str, Any] | None) -> dict[str, Any]:
    """Return the changes as dotted, typed fields: texts read by their field's type; JSON may have unknown fields."""
    if body is not None:
        return fields.check(body, unknown=True)
    read = {change.field: fields.read(change.field, str(change.value)) for change in changes if change.typed}
    given = fields.check({change.field: change.value for change in changes if not change.typed})
    return read | given


@verb(
    "delete",
    "Delete a custom model. Takes the whole name.",
    operands=(MODEL,),
    flags=(_YES,),
    examples=("delete my-model --yes",),
)
def delete(session: Session, model: str, *, yes: bool) -> Said:
    seen = session.client.get(model, beginnings=False)
    title = printable(seen.title, limit=80)
    _be_sure(session, f"This deletes the custom model {title} ({seen.id}) for good", seen, verb="delete", yes=yes)
    session.client.delete(seen)
    return _deleted(f"Deleted {title}.")


@verb(
    "delete-cache",
    "Delete the downloaded files of a model; it can be downloaded again. Takes the whole name.",
    operands=(MODEL,),
    flags=(_YES,),
    examples=("delete-cache phi:2.7b-chat-v2-q4_K_S --yes",),
)
def delete_cache(session: Session, model: str, *, yes: bool) -> Said:
    seen = session.client.get(model, beginnings=False)
    title = printable(seen.title, limit=80)
    size = f", {format_bytes(seen.size_bytes)}" if seen.size_bytes is not None else ""
    question = f"This deletes the downloaded files of {title}{size}"
    _be_sure(session, question, seen, verb="delete-cache", yes=yes)
    session.client.delete_cache(seen)
    return _deleted(f"Deleted the downloaded files of {title}{size}.")


def _be_sure(session: Session, what: str, model: Model, *, verb: str, yes: bool) -> None:
    session.client.check_deletable(model, files_only=verb == "delete-cache")
    what = f"{what}. {rules.leaving_words(model)}".rstrip()
    if not yes and not session.front_end.confirm(f"{what} Go on?"):
        step = rules.step_with(verb, model)
        raise ConfirmationRequired(
            f"{what} Nothing is deleted yet: say ", step._replace(line=f"{step.line} --yes"), "."
        )


def _deleted(line: str) -> Said:
    return Said(((line,),), {"message": line})
