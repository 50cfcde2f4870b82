"""Verbs that look at the server and its models."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pieces_nb.errors import BadArguments, PiecesError
from pieces_nb.text import Step, format_bytes
from pieces_nb.verbs import reading
from pieces_nb.verbs.declaration import MODELS, Flag, Operand, Verb, declared
from pieces_nb.verbs.front import Said

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pieces_nb.model.models import Model
    from pieces_nb.rows import Rows
    from pieces_nb.verbs.session import Session
    from pieces_nb.wire.discovery import Found

VERBS: list[Verb] = []
verb = partial(declared, VERBS)


@verb("", "The status line and the table of models.", examples=("",))
def overview(session: Session) -> Said:
    found, models = session.client.connect(), session.models()
    said = _status(session, found, models)
    return Said(said.lines, {"server": _server(found)}, session.table(models), "models")


@verb("status", "Which server answers, its version, and what runs there.", examples=("status",))
def status(session: Session) -> Said:
    return _status(session, session.client.connect(), session.models())


def _status(session: Session, found: Found, models: Sequence[Model]) -> Said:
    loaded = [model for model in models if model.loaded]
    counts = {
        "models": len(models),
        "downloaded": sum(model.downloaded for model in models),
        "loaded": len(loaded),
        "downloading": sum(model.downloading for model in models),
    }
    words = [
        session.client.server,
        "1 model" if len(models) == 1 else f"{len(models)} models",
        f"{counts['downloaded']} downloaded",
        f"{counts['loaded']} loaded" + (f" ({_sum_bytes(loaded)})" if loaded else ""),
        f"{counts['downloading']} downloading",
    ]
    lines = [" · ".join(words)]
    if found.others:
        ports = ", ".join(map(str, found.others))
        lines.append(f"Pieces OS answers on other ports too: {ports}; the lowest is taken.")
    return Said(tuple((line,) for line in lines), _server(found) | counts)


def _server(found: Found) -> dict[str, Any]:
    return {
        "url": found.url,
        "version": found.version,
        "emulator": found.is_emulator,
        "other_ports": list(found.others),
    }


def _sum_bytes(models: Sequence[Model]) -> str:
    return format_bytes(sum(model.ram_bytes or 0 for model in models)) + " of memory"


@verb(
    "doctor",
    "Why something does not work: each thing that is looked at, what was seen, and what to do next.",
    examples=("doctor",),
)
def doctor(session: Session) -> Said:
    from pieces_nb import rows

    checks = session.checks()
    return Said((), [{"check": check.name, "ok": check.ok, **check.facts} for check in checks], rows.doctor(checks))


@verb(
    "connect",
    "Use the server at URL, or the emulator, a stand-in for Pieces OS. Without an argument, look for Pieces OS.",
    operands=(Operand("URL", "to", least=0, read=reading.text, choices="emulator"),),
    examples=("connect", "connect http://127.0.0.1:39300", "connect emulator"),
)
def connect(session: Session, to: str | None) -> Said:
    lives_on = session.front_end.lives_on
    if not lives_on and session.names_emulator(to):
        raise BadArguments(
            "An emulator started by this command would end with it: ",
            Step("connect emulator", "ModelClient.emulator()", terminal="emulator"),
            " in another terminal starts one that stays, and says its address for --url or PIECES_OS_URL.",
        )
    client = session.new_client(to)
    try:
        found = client.connect()
    except PiecesError:
        client.close()
        raise
    session.use(client)
    also = f" (others on ports {', '.join(map(str, found.others))})" if found.others else ""
    lines = [f"Connected to {client.server}{also}."]
    if not lives_on:
        lines.append("The next call looks anew: name this server with --url or in PIECES_OS_URL.")
    return Said(tuple((line,) for line in lines), _server(found))


@verb(
    "list",
    "The table of models. PATTERN is words, each a part of the name, of `unique` or of the provider, in any order; "
    "flags narrow the table further.",
    operands=(Operand("PATTERN", "pattern", least=0, most=None, read=reading.text),),
    flags=(
        Flag("--local", "models that run on this machine"),
        Flag("--cloud", "models that run at a provider"),
        Flag("--downloaded", "files are here, loaded ones included"),
        Flag("--downloading", "a download runs"),
        Flag("--loaded", "in memory"),
        Flag("--custom", "made by you"),
        Flag("--fits", "this machine's RAM can hold it"),
        Flag("--wide", "every field the server sends"),
    ),
    examples=("list", "list llama --local", "list --downloaded --fits"),
)
def list_models(session: Session, pattern: tuple[str, ...], *, wide: bool, **flags: bool) -> Rows:
    from pieces_nb.model.rules import Filter, unfitting_words

    total = _total_memory(session) if flags["fits"] else None
    wanted = frozenset(name for name, is_set in flags.items() if is_set)
    models = session.models()
    found = Filter(" ".join(pattern), wanted, total).of(models)
    if not models:
        return session.table(found, wide=wide)
    note = ""
    if total is not None:
        candidates = Filter(" ".join(pattern), wanted - {"fits"}).of(models)
        note = unfitting_words(candidates, total)
    step = Step("list", "client.table()")
    when_empty = (f"None of the {len(models)} models matches; ", step, " shows all.")
    return session.table(found, wide=wide, note=note, when_empty=when_empty)


def _total_memory(session: Session) -> int:
    from pieces_nb.machine import machine_of

    total = machine_of(session.client.url).total_memory_bytes
    if total is None:
        raise BadArguments("--fits needs the server on this machine: the memory of another one is not known.")
    return total


@verb(
    "snapshot",
    "Every field of a model as the server has it now; several models stand side by side.",
    operands=(MODELS,),
    examples=("snapshot phi-2", "snapshot phi-2 mistral"),
)
def snapshot(session: Session, models: tuple[str, ...]) -> Said:
    from pieces_nb import rows

    seen = session.named(models)
    return Said((), [model.raw for model in seen], rows.snapshot(seen, server=session.client.server))
