"""Calls that take more than one answer: load, unload and update with their confirmation by snapshots."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pieces_nb.errors import BadArguments, ModelStateError, PiecesUnreachable, ProtocolError, WaitTimeout
from pieces_nb.model import fields
from pieces_nb.model.models import Model
from pieces_nb.text import format_bytes, printable
from pieces_nb.wire import endpoints
from pieces_nb.wire.addresses import host_of, is_loopback

if TYPE_CHECKING:
    from pieces_nb.download.state import Timing
    from pieces_nb.wire.connection import Connection


def snapshot(connection: Connection, model_id: str) -> Model:
    return connection.call(lambda transport: endpoints.snapshot(transport, model_id))


def confirmed(
    connection: Connection, model_id: str, holds: Callable[[Model], bool], wanted: str, timing: Timing
) -> Model:
    """Return the first snapshot for which `holds`; the server's flags may lag a little behind its answers.

    Raises `ModelStateError` if none does within `settle_s`: the server said yes, and it is not so.
    """
    deadline = time.monotonic() + timing.settle_s
    while True:
        model = snapshot(connection, model_id)
        if holds(model):
            return model
        if time.monotonic() >= deadline:
            title = printable(model.title, limit=80)
            raise ModelStateError(f"{title}: the server took the call, but the model is not {wanted}: {model.state}.")
        time.sleep(min(timing.poll_soon_s, 0.1))


def load(connection: Connection, model: Model, *, load_timeout_s: float, force: bool = False, timing: Timing) -> Model:
    """Load a downloaded model; see `ModelClient.load`."""
    title = printable(model.title, limit=80)
    if model.loaded:
        return model
    if model.cloud:
        raise ModelStateError(f"{title} runs in the cloud: there is nothing to load.")
    if not model.downloaded:
        raise ModelStateError(f"{title} is not downloaded: `%pieces_model download {model.argument}` comes first.")
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
    return confirmed(connection, model.id, lambda seen: seen.loaded, "loaded", timing)


def check_memory(model: Model, *, url: str) -> None:
    """Raise `ModelStateError` where the model's `ram` is known to be more than this machine has free."""
    needed, free = model.ram_bytes, free_memory_bytes(url)
    if needed is not None and free is not None and needed > free:
        title = printable(model.title, limit=80)
        raise ModelStateError(
            f"{title} needs {format_bytes(needed)} of memory, {format_bytes(free)} are free. "
            "Unload another (`%pieces_model usage`), or say --force."
        )


def check_could_ever_fit(model: Model, *, url: str) -> None:
    """Raise `ModelStateError` where the model's `ram` is more than this machine has at all, before a long download."""
    total = int(_memory().total) if is_loopback(host_of(url)) else None
    if total is not None and model.ram_bytes is not None and model.ram_bytes > total:
        title = printable(model.title, limit=80)
        raise ModelStateError(
            f"{title} needs {format_bytes(model.ram_bytes)} of memory, this machine has {format_bytes(total)} in all. "
            "--force tries all the same."
        )


def free_memory_bytes(url: str) -> int | None:
    """Return the free memory of the server's machine; None where that is another one."""
    return int(_memory().available) if is_loopback(host_of(url)) else None


def _memory() -> Any:
    import psutil  # not at the top: most programs never ask

    return psutil.virtual_memory()


def unload(connection: Connection, model: Model, *, timing: Timing) -> Model:
    """Unload a model; see `ModelClient.unload`."""
    if not model.loaded:
        return model
    connection.call(lambda transport: endpoints.unload(transport, model.id))
    return confirmed(connection, model.id, lambda seen: not seen.loaded, "unloaded", timing)


def unload_all(connection: Connection, loaded: Sequence[Model], *, timing: Timing) -> list[Model]:
    """Unload everything; see `ModelClient.unload_all`."""
    connection.call(endpoints.unload_all)
    return [confirmed(connection, model.id, lambda seen: not seen.loaded, "unloaded", timing) for model in loaded]


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


# What fits, what is used, what is to be done -------------------------------------------------------------------------


def that_fit(models: Sequence[Model], *, url: str) -> tuple[list[Model], str]:
    """Return the local models whose `ram` this machine's memory can hold, and a note on why the others do not."""
    if not is_loopback(host_of(url)):
        raise BadArguments("--fits needs the server on this machine: the memory of another one is not known.")
    total = int(_memory().total)
    local = [model for model in models if not model.cloud]
    fitting = [model for model in local if model.ram_bytes is not None and model.ram_bytes <= total]
    large = [model for model in local if model.ram_bytes is not None and model.ram_bytes > total]
    unknown = sum(model.ram_bytes is None for model in local)
    notes = [f"this machine has {format_bytes(total)} of memory"]
    if large:
        named = ", ".join(f"{_short(model)} ({format_bytes(model.ram_bytes or 0)})" for model in large[:5])
        more = f" and {len(large) - 5} more" if len(large) > 5 else ""
        notes.append(f"too large: {named}{more}")
    if unknown:
        notes.append(f"{unknown} left out whose need of memory is not known")
    return fitting, " · ".join(notes)


def _short(model: Model) -> str:
    return printable(model.title, limit=40)


class Share(NamedTuple):
    """What one model takes of memory or disk, and the command that frees it."""

    name: str
    resource: str
    size_bytes: int | None
    free_with: str


def usage(models: Sequence[Model], *, url: str) -> tuple[list[Share], str]:
    """Return what models take, memory first, each the biggest first; and the totals in words."""
    loaded = sorted((model for model in models if model.loaded), key=lambda model: -(model.ram_bytes or 0))
    stored = sorted((model for model in models if model.downloaded), key=lambda model: -(model.size_bytes or 0))
    shares = [
        Share(model.title, "memory", model.ram_bytes, f"%pieces_model unload {model.argument}") for model in loaded
    ]
    shares += [
        Share(model.title, "disk", model.size_bytes, f"%pieces_model delete-cache {model.argument}") for model in stored
    ]
    in_memory = format_bytes(sum(model.ram_bytes or 0 for model in loaded))
    on_disk = format_bytes(sum(model.size_bytes or 0 for model in stored))
    return shares, (
        f"memory: {in_memory} in models{_free(free_memory_bytes(url))} · "
        f"disk: {on_disk} in models{_free(free_disk_bytes(url))}"
    )


def free_disk_bytes(url: str) -> int | None:
    """Return what is free on the volume of the home folder; None where the server is on another machine."""
    if not is_loopback(host_of(url)):
        return None
    import psutil

    try:
        return int(psutil.disk_usage(str(Path.home())).free)
    except OSError:
        return None


def _free(free_bytes: int | None, before: str = ", ") -> str:
    return "" if free_bytes is None else f"{before}{format_bytes(free_bytes)} free"


_DONE = "done"


class Step(NamedTuple):
    """One step of `ensure`: what it needs, what there is, and what that means."""

    step: str
    needed_bytes: int | None
    available_bytes: int | None
    verdict: str

    @property
    def done(self) -> bool:
        return self.verdict == _DONE

    @property
    def words(self) -> str:
        """The step in a line: `download: 26.0 MB of 84.3 GB free, to do`."""
        needed = format_bytes(self.needed_bytes) if self.needed_bytes is not None else "unknown size"
        return f"{self.step}: {needed}{_free(self.available_bytes, ' of ')}, {self.verdict}"


def plan(model: Model, *, load: bool, url: str) -> list[Step]:
    """Return what `ensure` has to do for a model as it stands."""
    steps = [_download_step(model, free_disk_bytes(url))]
    if load:
        steps.append(_load_step(model, free_memory_bytes(url)))
    return steps


def _download_step(model: Model, free_bytes: int | None) -> Step:
    if model.cloud:
        return Step("download", None, None, "impossible: it runs in the cloud")
    if model.downloaded:
        return Step("download", 0, free_bytes, _DONE)
    verdict = "to do" if not model.downloading else "under way"
    if model.size_bytes is None or free_bytes is None:
        return Step("download", model.size_bytes, free_bytes, verdict)
    short = "; the disk may be too small" if model.size_bytes > free_bytes else ""
    return Step("download", model.size_bytes, free_bytes, verdict + short)


def _load_step(model: Model, free_bytes: int | None) -> Step:
    if model.loaded:
        return Step("load", 0, free_bytes, _DONE)
    if model.ram_bytes is None or free_bytes is None:
        return Step("load", model.ram_bytes, free_bytes, "to do; whether it fits is not known")
    fits = model.ram_bytes <= free_bytes
    return Step("load", model.ram_bytes, free_bytes, "to do" if fits else "too large for what is free; --force tries")
