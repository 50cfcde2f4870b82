"""Verbs of memory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pieces_nb.errors import BadArguments
from pieces_nb.verbs.declaration import MODEL, MODELS, Flag, Verb, declared, either_models_or_all

if TYPE_CHECKING:
    from pieces_nb.rows import Rows
    from pieces_nb.verbs.session import Session

VERBS: list[Verb] = []
verb = partial(declared, VERBS)

FORCE = Flag("--force", "also when the RAM looks too small")


@verb(
    "load",
    "Bring a downloaded model into memory.",
    operands=(MODEL,),
    flags=(FORCE, Flag("--until-exit", "give the memory back when this kernel ends, however it ends")),
    examples=("load phi-2", "load phi-2 --until-exit"),
)
def load(session: Session, model: str, *, force: bool, until_exit: bool) -> Rows:
    if until_exit and not session.front_end.lives_on:
        raise BadArguments(
            "load --until-exit is for a notebook: this command ends at once, and the model would leave memory with it."
        )
    client = session.client
    if until_exit and (seen := client.get(model)).loaded and not client.gives_back(seen):
        session.front_end.tell(f"{seen.shown} was in memory before: it stays there when this kernel ends.")
    return session.table([client.load(model, force=force, until_exit=until_exit)])


@verb(
    "unload",
    "Free the memory of loaded models.",
    operands=(MODELS._replace(least=0),),
    flags=(Flag("--all", "every loaded model; each is named", instead=True, named="all_models"),),
    check=either_models_or_all,
    usage_words="MODEL [MODEL …] | --all",
    examples=("unload phi-2", "unload --all"),
)
def unload(session: Session, models: tuple[str, ...], *, all_models: bool) -> Rows:
    client = session.client
    wanted = session.named(models)
    unloaded = client.unload_all() if all_models else [client.unload(model) for model in wanted]
    return session.table(unloaded, when_empty=("Nothing was loaded.",))
