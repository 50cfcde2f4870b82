"""Calls that take more than one answer: load, unload and update with their confirmation by snapshots."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psutil

from pieces_nb import endpoints, fields
from pieces_nb.connection import Connection
from pieces_nb.download_state import Patience
from pieces_nb.errors import ModelStateError, PiecesUnreachable, ProtocolError, WaitTimeout
from pieces_nb.models import Model
from pieces_nb.text import format_bytes, printable
from pieces_nb.transport import host_of, is_loopback


def snapshot(connection: Connection, model_id: str) -> Model:
    return connection.call(lambda transport: endpoints.snapshot(transport, model_id))


def confirmed(
    connection: Connection, model_id: str, holds: Callable[[Model], bool], wanted: str, patience: Patience
) -> Model:
    """Return the first snapshot for which `holds`; the server's flags may lag a little behind its answers.

    Raises `ModelStateError` if none does within `settle_s`: the server said yes, and it is not so.
    """
    deadline = time.monotonic() + patience.settle_s
    while True:
        model = snapshot(connection, model_id)
        if holds(model):
            return model
        if time.monotonic() >= deadline:
            title = printable(model.title, limit=80)
            raise ModelStateError(f"{title}: the server took the call, but the model is not {wanted}: {model.state}.")
        time.sleep(min(patience.poll_soon_s, 0.1))


def load(
    connection: Connection, model: Model, *, load_timeout_s: float, force: bool = False, patience: Patience
) -> Model:
    """Load a downloaded model; see `ModelClient.load`."""
    title = printable(model.title, limit=80)
    if model.loaded:
        return model
    if model.cloud:
        raise ModelStateError(f"{title} runs in the cloud: there is nothing to load.")
    if not model.downloaded:
        raise ModelStateError(f"{title} is not downloaded: `%pieces_model download {title!r}` comes first.")
    if not force:
        check_memory(model, url=connection.found.url)
    try:
        connection.call(lambda transport: endpoints.load(transport, model.id, timeout_s=load_timeout_s))
    except PiecesUnreachable as exc:
        if not exc.timed_out:
            raise
        now = snapshot(connection, model.id)
        if not now.loaded:
            raise WaitTimeout(
                f"{title} was not loaded within {load_timeout_s:g} s; the server may still be at it "
                "(`%config PiecesModelMagics.load_timeout_s` allows more)."
            ) from exc
        return now
    return confirmed(connection, model.id, lambda seen: seen.loaded, "loaded", patience)


def check_memory(model: Model, *, url: str) -> None:
    """Raise `ModelStateError` where the model's `ram` is known to be more than this machine has free."""
    needed, free = model.ram_bytes, free_memory_bytes(url)
    if needed is not None and free is not None and needed > free:
        raise ModelStateError(
            f"{printable(model.title, limit=80)} needs {format_bytes(needed)} of memory, {format_bytes(free)} are free. "
            "Unload another (`%pieces_model usage`), or say --force."
        )


def free_memory_bytes(url: str) -> int | None:
    """Return the free memory of the server's machine; None where that is another one."""
    return int(psutil.virtual_memory().available) if is_loopback(host_of(url)) else None


def unload(connection: Connection, model: Model, *, patience: Patience) -> Model:
    """Unload a model; see `ModelClient.unload`."""
    if not model.loaded:
        return model
    connection.call(lambda transport: endpoints.unload(transport, model.id))
    return confirmed(connection, model.id, lambda seen: not seen.loaded, "unloaded", patience)


def unload_all(connection: Connection, loaded: Sequence[Model], *, patience: Patience) -> list[Model]:
    """Unload everything; see `ModelClient.unload_all`."""
    connection.call(endpoints.unload_all)
    return [confirmed(connection, model.id, lambda seen: not seen.loaded, "unloaded", patience) for model in loaded]


def update(connection: Connection, before: Model, changes: Mapping[str, Any]) -> Model:
    """Write checked changes of a custom model, read it back and compare."""
    title = printable(before.title, limit=80)
    if not before.custom:
        raise ModelStateError(f"{title} is not a custom model: only those can be updated.")
    changed = fields.apply(before.raw, changes)
    connection.call(lambda transport: endpoints.update(transport, changed))
    after = snapshot(connection, before.id)
    lost = [name for name, value in changes.items() if fields.value_at(after.raw, name) != value]
    if lost:
        raise ProtocolError(f"{title}: the server took the update, but did not keep {', '.join(lost)}.")
    return after
