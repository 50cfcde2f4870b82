"""What takes more than one call: load and unload with their checks, `loaded()` blocks, `ensure`.

The checks are `rules`' and `machine`'s; how a call is confirmed is `operations`'.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pieces_nb import operations
from pieces_nb.errors import ModelStateError, PiecesError
from pieces_nb.history import History
from pieces_nb.locks import Lock
from pieces_nb.machine import Machine, machine_of
from pieces_nb.model import fields, rules
from pieces_nb.model.models import Model
from pieces_nb.operations import Command, Operation, is_needed
from pieces_nb.text import FORCE, Step, format_bytes
from pieces_nb.wire import endpoints

if TYPE_CHECKING:
    from pieces_nb.download.state import Timing
    from pieces_nb.wire.connection import Connection

log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Context(NamedTuple):
    """What these need of their client."""

    connection: Connection
    timing: Timing
    history: History
    load_timeout_s: float

    def snapshot(self, model_id: str) -> Model:
        return self.connection.call(lambda transport: endpoints.snapshot(transport, model_id))

    def models(self) -> list[Model]:
        return self.connection.call(endpoints.models)

    def machine(self) -> Machine:
        return machine_of(self.connection.found.url)

    def run(self, command: Command[_T]) -> _T:
        return Operation(self.connection, command, self.timing).run()


# Memory --------------------------------------------------------------------------------------------------------------


def load(
    context: Context, model: Model, *, force: bool = False, begun: Callable[[Operation[Model]], object] | None = None
) -> Model:
    """Load a downloaded model; `begun` gets the operation before anything is sent. See `ModelClient.load`."""
    with context.history.recording("load", model.title, model_id=model.id):
        if not is_needed(model, "load"):
            return model
        if not force:
            check_memory(model, context.machine())
        command = operations.load(model, within_s=context.load_timeout_s)
        operation = Operation(context.connection, command, context.timing)
        if begun is not None:
            begun(operation)
        return operation.run()


def check_memory(model: Model, machine: Machine) -> None:
    """Raise `ModelStateError` where the model's `ram` is known to be more than this machine has free, or has at all."""
    check_could_ever_fit(model, machine)
    free = machine.free_memory_bytes
    if rules.missing_bytes(model.ram_bytes, free):
        usage = Step("usage", "client.usage()")
        words = f"{_needs(model)}, {format_bytes(free or 0)} are free. Unload another ("
        raise ModelStateError(words, usage, "), or say ", FORCE, ".")


def check_could_ever_fit(model: Model, machine: Machine) -> None:
    """Raise `ModelStateError` where the model's `ram` is more than this machine has: unloading others is no help."""
    total = machine.total_memory_bytes
    if rules.missing_bytes(model.ram_bytes, total):
        words = f"{_needs(model)}, this machine has {format_bytes(total or 0)} in all. "
        raise ModelStateError(words, FORCE, " tries all the same.")


def _needs(model: Model) -> str:
    return f"{model.shown} needs {format_bytes(model.ram_bytes or 0)} of memory"


def unload(context: Context, model: Model) -> Model:
    """Unload a model; see `ModelClient.unload`."""
    with context.history.recording("unload", model.title, model_id=model.id):
        if not is_needed(model, "unload"):
            return model
        return context.run(operations.unload(model, within_s=context.timing.confirm_within_s))


def unload_all(context: Context) -> list[Model]:
    """Unload everything; return the models that were in memory, as they are now; one that vanished is left out."""
    loaded = [model for model in context.models() if model.loaded]
    if not loaded:
        return []
    with context.history.recording("unload", ", ".join(model.title for model in loaded)):
        after = context.run(operations.unload_all(loaded, within_s=context.timing.confirm_within_s))
    ids = {model.id for model in loaded}
    return [model for model in after if model.id in ids]


# Blocks that have a model in memory ----------------------------------------------------------------------------------


class _Loan:
    """One model in the `loaded()` blocks of a client."""

    def __init__(self) -> None:
        self.changing = Lock()  # guards the two below; held while the model is loaded and unloaded
        self.users = 0
        self.ours = False  # whether it is in memory because a block loaded it
        self.pid = os.getpid()  # whose blocks they are: a child of `fork` leaves them too


class Loans:
    """What `loaded()` blocks have loaded. Of several blocks with one model, in any threads, the last unloads it."""

    def __init__(self) -> None:
        self._lock = Lock()  # guards _loans
        self._loans: dict[str, _Loan] = {}

    @contextmanager
    def lent(self, context: Context, model: Model, *, force: bool) -> Iterator[Model]:
        """Have a model in memory for a block; see `ModelClient.loaded`."""
        with self._lock:
            loan = self._loans.setdefault(model.id, _Loan())
        taken = _take(context, loan, model, force=force)
        try:
            yield taken
        except BaseException:
            try:
                _give_back(context, loan, model)
            except PiecesError as exc:
                log.warning("%s may still be in memory: %s", model.shown, exc)
            raise  # what happened in the block, whatever became of the unloading
        _give_back(context, loan, model)


def _take(context: Context, loan: _Loan, model: Model, *, force: bool) -> Model:
    sent: list[Operation[Model]] = []
    try:
        with loan.changing:
            seen = context.snapshot(model.id)
            if not seen.loaded:
                seen = load(context, seen, force=force, begun=sent.append)
                loan.ours = True
            loan.users += 1
            return seen
    except BaseException:
        if sent and sent[0].may_take_effect:
            _give_back_late(context, loan, sent[0])
        raise


def _give_back(context: Context, loan: _Loan, model: Model) -> None:
    if loan.pid != os.getpid():
        return
    with loan.changing:
        loan.users -= 1
        if loan.users == 0 and loan.ours:
            loan.ours = False
            unload(context, context.snapshot(model.id))


def _give_back_late(context: Context, loan: _Loan, operation: Operation[Model]) -> None:
    """Unload what an interrupted load has brought, or brings yet; wait a moment for it, the rest is a thread's work."""

    def give_back() -> None:
        with suppress(PiecesError):
            seen = operation.confirmed(context.load_timeout_s)
            if operation.was_refused(within_s=context.timing.settle_s):
                return
            with loan.changing:
                if loan.users:
                    loan.ours = True  # another block has it now, and unloads it
                else:
                    unload(context, seen)

    late = threading.Thread(target=give_back, name="pieces-nb-give-back", daemon=True)
    late.start()
    late.join(context.timing.settle_s)


# Custom models -------------------------------------------------------------------------------------------------------


def update(context: Context, model: Model, changes: Mapping[str, Any]) -> Model:
    """Write checked changes into the model as it is now and return it; without a change nothing is sent."""
    with context.history.recording("update", model.title, model_id=model.id):
        # Read again: what another program has written since `model` was read must not be overwritten.
        fresh = context.snapshot(model.id)
        is_needed(fresh, "update")
        changed = {name: value for name, value in changes.items() if fields.value_at(fresh.raw, name) != value}
        if not changed:
            return fresh
        return context.run(operations.update(fresh, changed, within_s=context.timing.confirm_within_s))


def create(context: Context, name: str, changes: Mapping[str, Any], *, tell: Callable[[str], object]) -> Model:
    """Create a custom model; `tell` hears of it if the name is taken: then only their ids tell the two apart."""
    with context.history.recording("create", name):
        known = context.models()
        taken = [model for model in known if model.name.casefold() == name.strip().casefold()]
        seeded = fields.seeded(name, changes, now=datetime.now(UTC))
        created = context.run(operations.create(seeded, known, within_s=context.timing.confirm_within_s))
        assert created is not None  # it was seen, or `run` would have raised
    if taken:
        tell(f"There was a model named {taken[0].shown} already ({taken[0].id}); the new one is {created.id}.")
    return created


def delete(context: Context, model: Model, *, verb: str) -> Model:
    """Delete a custom model, or with `delete-cache` the files of any, and return what was last seen of it."""
    with context.history.recording(verb, model.title, model_id=model.id):
        is_needed(model, verb)
        within_s = context.timing.confirm_within_s
        if verb == "delete-cache":
            return context.run(operations.delete_cache(model, within_s=within_s))
        context.run(operations.delete(model, within_s=within_s))
        return model


# What is to be done ---------------------------------------------------------------------------------------------------


def _free(free_bytes: int | None, before: str = ", ") -> str:
    return "" if free_bytes is None else f"{before}{format_bytes(free_bytes)} free"


_DONE = "done"


class PlanStep(NamedTuple):
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


def plan(model: Model, *, load: bool, machine: Machine) -> list[PlanStep]:
    """Return what `ensure` has to do for a model as it stands."""
    steps = [_download_step(model, machine.free_disk_bytes)]
    return [*steps, _load_step(model, machine.free_memory_bytes)] if load else steps


def _download_step(model: Model, free_bytes: int | None) -> PlanStep:
    if model.cloud:
        return PlanStep("download", None, None, "impossible: it runs in the cloud")
    if model.downloaded:
        return PlanStep("download", 0, free_bytes, _DONE)
    verdict = "to do" if not model.downloading else "under way"
    short = "; the disk may be too small" if rules.missing_bytes(model.size_bytes, free_bytes) else ""
    return PlanStep("download", model.size_bytes, free_bytes, verdict + short)


def _load_step(model: Model, free_bytes: int | None) -> PlanStep:
    if model.loaded:
        return PlanStep("load", 0, free_bytes, _DONE)
    missing = rules.missing_bytes(model.ram_bytes, free_bytes)
    if missing is None:
        return PlanStep("load", model.ram_bytes, free_bytes, "to do; whether it fits is not known")
    return PlanStep("load", model.ram_bytes, free_bytes, "too large for what is free" if missing else "to do")


def ensure(
    context: Context,
    model: Model,
    *,
    into_memory: bool,
    force: bool,
    fetch: Callable[[Model], object],
    tell: Callable[[str], object] | None,
) -> Model:
    """Carry out the plan: `fetch` downloads and waits. Returns the model as it is in the end."""
    is_needed(model, "ensure")
    for step in plan(model, load=into_memory, machine=context.machine()):
        if tell is not None and not step.done:
            tell(step.words)
    if into_memory and not force and not model.loaded:
        check_could_ever_fit(model, context.machine())
    if not model.downloaded:
        fetch(model)
    seen = context.snapshot(model.id)
    return load(context, seen, force=force) if into_memory and not seen.loaded else seen
