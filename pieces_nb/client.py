"""`ModelClient`: what Python code uses, and what the magic and the panel stand on.

A thin facade: each method resolves a name and calls an endpoint or a workflow, which notes it in the history.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

from pieces_nb.download.throttle import UpdateBudget
from pieces_nb.errors import BadArguments, ModelNotFound, ModelStateError, PiecesUnreachable
from pieces_nb.history import HISTORY, History
from pieces_nb.locks import Lock
from pieces_nb.model import resolve
from pieces_nb.model.models import Model
from pieces_nb.settings import Settings, seconds_or_none, wrong_type
from pieces_nb.text import printable
from pieces_nb.wire import endpoints
from pieces_nb.wire.connection import EMULATOR, VARIABLE, Connection, address_from_environment

if TYPE_CHECKING:
    from pieces_nb.doctor import Check
    from pieces_nb.download.download import Context as DownloadContext
    from pieces_nb.download.download import Download, Downloads
    from pieces_nb.download.state import Timing
    from pieces_nb.emulator import Emulator
    from pieces_nb.engine_work import Plan
    from pieces_nb.model.engine import Engine
    from pieces_nb.registry import Registry
    from pieces_nb.rows import Rows
    from pieces_nb.until_exit import Watcher
    from pieces_nb.views.frames import Table
    from pieces_nb.views.panel import Panel
    from pieces_nb.wire.discovery import Found
    from pieces_nb.wire.endpoints import EngineWork
    from pieces_nb.workflows import Context, Loans, PlanStep

__all__ = ["ModelClient", "Settings"]
log = logging.getLogger(__name__)


class Ensured(NamedTuple):
    """What became of `ensure`: the model, its plan as it stands now, and whether anything was done."""

    model: Model
    steps: list[PlanStep]
    changed: bool


_budget = UpdateBudget()  # one for all clients of this process: they share one front end
_emulator_lock = Lock()  # guards the set below
_emulator_users: weakref.WeakSet[ModelClient] = weakref.WeakSet()
_clients: weakref.WeakSet[ModelClient] = weakref.WeakSet()  # those that a child of `fork` has to begin anew


class ModelClient:
    """The models of one Pieces OS.

    `ModelClient()` takes the address in `PIECES_OS_URL`, or looks for Pieces OS on this machine; `ModelClient(url)`
    names it; `ModelClient.emulator()` starts a stand-in in this process. A model is called by its id, its `unique`, its
    name or, where nothing is deleted or changed, a beginning of these; or by a `Model`. Thread-safe.

    Every call may raise `PiecesUnreachable`, `PiecesServerError`, `ProtocolError`, and for a name `ModelNotFound` or
    `AmbiguousModel`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        settings: Settings | None = None,
        timing: Timing | None = None,
        connection: Connection | None = None,
        history: History | None = None,
    ) -> None:
        if url is not None and not isinstance(url, str):
            raise wrong_type("url is a text such as 'http://127.0.0.1:39300'", url)
        if settings is not None and not isinstance(settings, Settings):
            raise wrong_type("settings is a Settings", settings)
        self.settings = settings or Settings()
        self.history = HISTORY if history is None else history  # one for the process, whoever acted
        self._timing = timing
        address = url or address_from_environment() or None
        self._wants_emulator = address == EMULATOR and connection is None
        self._connection = connection or Connection(
            None if self._wants_emulator else address,
            timeout_s=self.settings.timeout_s,
            named_by="" if url else VARIABLE,
        )
        self._lock = Lock()  # guards the making of what `_begin_anew` lists
        self._is_closing = False
        self._begin_anew()
        _remember(self)

    def _begin_anew(self) -> None:
        """Follow nothing and show nothing: at the beginning, and in a child of `fork`."""
        self._made_registry: Registry | None = None
        self._made_loans: Loans | None = None
        if (parents := getattr(self, "_made_watcher", None)) is not None:
            parents.abandon()
        self._made_watcher: Watcher | None = None
        self._panels: weakref.WeakSet[Panel] = weakref.WeakSet()

    @classmethod
    def emulator(cls, *, settings: Settings | None = None, timing: Timing | None = None) -> Self:
        """Return a client of the emulator in this process, which is started at the first call and joined by others.

        It goes with the process, or when the last of its clients is closed.
        """
        return cls(EMULATOR, settings=settings, timing=timing)

    # The server ------------------------------------------------------------------------------------------------------

    @property
    def connection(self) -> Connection:
        """The way to the server; connects at the first call."""
        if self._wants_emulator:
            with _emulator_lock:
                if self._wants_emulator:
                    self._connection = Connection(_shared_emulator().url, timeout_s=self.settings.timeout_s)
                    _emulator_users.add(self)
                    self._wants_emulator = False
        self._connection.timeout_s = self.settings.timeout_s
        return self._connection

    def connect(self) -> Found:
        """Return the address and the version of the server, asked anew.

        Source: `GET /.well-known/health`, `GET /.well-known/version`.
        """
        return self.connection.connect()

    @property
    def url(self) -> str:
        """The server's address; connects if need be."""
        return self.connection.found.url

    @property
    def server(self) -> str:
        """The server in a few words, as captions have it."""
        found = self.connection.found
        return f"{found.kind} {printable(found.version, limit=40)} at {found.url}"

    def close(self) -> None:
        """Stop following downloads (they go on), close panels and connections. Nothing of this client runs after it."""
        for panel in list(self._panels):
            panel.close()
        with self._lock:
            self._is_closing = True
            registry = self._made_registry
        if registry is not None:
            registry.close()
        if self._made_watcher is not None:
            self._made_watcher.close()
        with _emulator_lock:
            self._wants_emulator = False  # one that was never used starts none any more
        self._connection.close()
        with _emulator_lock:
            was_user = self in _emulator_users
            _emulator_users.discard(self)
            if was_user and not _emulator_users:
                _shared_emulator().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A ModelClient cannot be pickled or copied: it holds connections. Make another where you need it."
        )

    # Looking ---------------------------------------------------------------------------------------------------------

    def models(self) -> list[Model]:
        """Return all models. Source: `GET /models`."""
        return self.connection.call(endpoints.models)

    def get(self, model: str | Model, *, beginnings: bool = True) -> Model:
        """Return a fresh snapshot of one model. Source: `GET /model/{model}`; for a name `GET /models` before it."""
        if isinstance(model, Model):
            return self._snapshot(model.id)
        if not isinstance(model, str):
            raise wrong_type("A model is named by a text (its name or id) or by a Model", model)
        if resolve.looks_like_id(model):
            try:
                return self._snapshot(model.strip())
            except ModelNotFound:
                pass  # a name may look like an id
        return self._snapshot(resolve.resolve(model, self.models(), beginnings=beginnings).id)

    def _snapshot(self, model_id: str) -> Model:
        return self.connection.call(lambda transport: endpoints.snapshot(transport, model_id))

    def table(self, models: Sequence[Model] | None = None, *, wide: bool = False) -> Table:
        """Return the models as a table: name state size_gb ram_gb parameters_b quantization provider custom id.

        Sizes in units of 1e9 bytes, parameters in billions, NaN and '' where unknown. `wide` gives every wire field.
        """
        from pieces_nb import rows

        models = self.models() if models is None else models
        return _table(rows.models(models, server=self.server, wide=wide))

    def progress_table(self, downloads: Sequence[Download]) -> Table:
        """Return one row a download: name status percentage done_gb size_gb speed_mb_s time_left_s stalled_since id."""
        from pieces_nb import rows

        return _table(rows.progress(downloads, server=self.server))

    def history_table(self) -> Table:
        """Return what was done here, oldest first; `started` is in UTC, `bytes` NaN where nothing is transferred."""
        from pieces_nb import rows

        return _table(rows.history(self.history.entries()))

    def usage(self) -> Table:
        """Return what models take, biggest first: name resource size_gb free_with, and the totals below."""
        from pieces_nb import rows

        return _table(rows.usage(self.models(), self._context.machine(), server=self.server))

    def doctor(self) -> Table:
        """Return why something does not work, one check a row: ok check seen next_step; two seconds at most.

        It raises nothing for a server that is not there: that is what it is for.
        """
        from pieces_nb import rows

        return _table(rows.doctor(self.checks()))

    def checks(self, front_end: Callable[[], Check | None] | None = None) -> list[Check]:
        """Return the checks of `doctor`; `front_end` adds the one of who shows them."""
        from pieces_nb.doctor import Subject, examine

        connection = self._connection if not self._wants_emulator else self.connection
        return examine(Subject(connection.address, connection.named_by, front_end))

    def engine(self) -> Table:
        """Return the engine under the local models: name state version needed user_managed percentage.

        A server without these calls has none: zero rows. Source: `GET /ollama/status`.
        """
        from pieces_nb import rows

        return _table(rows.engine(self.engine_status(), server=self.server))

    def engine_status(self) -> Engine:
        """Return what the server says of its engine. Source: `GET /ollama/status`."""
        from pieces_nb.model.engine import Engine

        return Engine.from_wire(self.connection.call(endpoints.engine_status))

    def ensure(
        self,
        model: str | Model,
        *,
        load: bool = False,
        force: bool = False,
        dry_run: bool = False,
        timeout: float | None = None,
        wait: Callable[[Download], object] | None = None,
        tell: Callable[[str], object] | None = None,
    ) -> Table:
        """Have a model downloaded and, with `load`, in memory; what is done already is left alone.

        Returns the plan as it stands at the end, one row a step: step needed_gb available_gb verdict. With `dry_run`
        that is all. `tell` hears each step that is to be done, in words, before anything is. The download is waited for
        `timeout` seconds at most, or as `wait` does it. Raises what download and load raise.
        """
        from pieces_nb import rows

        done = self.ensured(model, load=load, force=force, dry_run=dry_run, timeout=timeout, wait=wait, tell=tell)
        return _table(rows.plan(done.model, done.steps, server=self.server))

    def ensured(
        self,
        model: str | Model,
        *,
        load: bool = False,
        force: bool = False,
        dry_run: bool = False,
        timeout: float | None = None,
        wait: Callable[[Download], object] | None = None,
        tell: Callable[[str], object] | None = None,
    ) -> Ensured:
        """Do what `ensure` does, and return what became of it."""
        from pieces_nb import workflows

        timeout_s = seconds_or_none("timeout", timeout)

        def fetch(model: Model) -> None:
            download = self._download(model)
            _ = wait(download) if wait is not None else download.wait(timeout_s)

        context, seen = self._context, self.get(model)
        steps = workflows.plan(seen, load=load, machine=context.machine())
        if dry_run or all(step.done for step in steps):
            return Ensured(seen, steps, changed=False)
        seen = workflows.ensure(context, seen, into_memory=load, force=force, fetch=fetch, tell=tell)
        return Ensured(seen, workflows.plan(seen, load=load, machine=context.machine()), changed=True)

    def snapshot(self, *models: str | Model) -> Table:
        """Return the snapshots of models side by side: one column each, indexed by the wire's fields, nested dotted."""
        from pieces_nb import rows

        return _table(rows.snapshot([self.get(model) for model in models], server=self.server))

    # Downloads -------------------------------------------------------------------------------------------------------

    def download(self, model: str | Model) -> Download:
        """Start a download and return at once what follows it; a running one is joined, a finished one is a no-op.

        Raises `ModelStateError` for a model in the cloud. Source: `POST /model/{model}/download` and its progress.
        """
        return self._download(self.get(model))

    def download_all(self, models: Iterable[str | Model], *, at_most: int | None = None) -> Downloads:
        """Start several downloads, `at_most` at a time, and return at once what follows them; None is all at once.

        The others wait for their turn, in this order, and begin while this client is open: one that fails or is
        canceled holds up nobody. A model named twice is downloaded once, one that is there takes no place, one that
        runs already is joined and counts. Raises what `download` raises, before anything is started.
        """
        from pieces_nb.download.download import Downloads
        from pieces_nb.settings import count_or_none

        if isinstance(models, str | Model) or not isinstance(models, Iterable):
            raise wrong_type("download_all takes several models, in a list", models)
        at_most = count_or_none("at_most", at_most)
        wanted = {model.id: model for model in map(self.get, models)}
        for model in wanted.values():
            self.check_downloadable(model)
        if at_most is None:
            return Downloads([self._download(model) for model in wanted.values()])
        downloads = [self._in_line(model) for model in wanted.values()]
        self._registry.queue(downloads, at_most=at_most)
        return Downloads(downloads)

    def _in_line(self, model: Model) -> Download:
        """Return the download of a model: it runs or has ended, or waits for its turn."""
        known = self._registry.running(model.id)
        if model.downloaded or model.downloading or (known is not None and not known.waits):
            return self._download(model)
        return self._registry.wait_in_line(model, self._download_context)

    def _download(self, model: Model) -> Download:
        self.check_downloadable(model)
        if self._is_dying(model):
            model = self._snapshot(model.id)
        download = self._follow(model, "download", joined=model.downloading)
        if download.waits:
            self._registry.begin(download)
        return download

    def _is_dying(self, model: Model) -> bool:
        """Whether what is followed of a model is about to end, and has now: then it is begun again, not handed out."""
        from pieces_nb.registry import is_doubtful, outlives

        running = self._registry.running(model.id)
        if running is None or model.downloading or model.downloaded:
            return False
        return is_doubtful(running, model.flag("downloading")) and not outlives(
            running, every_s=self.timing.poll_soon_s
        )

    @staticmethod
    def check_downloadable(model: Model) -> None:
        """Raise `ModelStateError` for a model in the cloud."""
        from pieces_nb.operations import is_needed

        is_needed(model, "download")

    def _follow(self, model: Model, verb: str, *, joined: bool = True) -> Download:
        return self._registry.follow(model, self._download_context, verb, joined=joined)

    @property
    def _download_context(self) -> DownloadContext:
        from pieces_nb.download.download import Context

        connection = self.connection
        return Context(transport=connection.transport, timing=self.timing, budget=_budget, relocate=connection.relocate)

    # The engine ------------------------------------------------------------------------------------------------------

    def install_engine(self) -> Download:
        """Install the engine under the local models, and return at once what follows that, as a download is followed.

        One under way is joined; an engine that is there is a no-op. Raises `ModelStateError` where the server has no
        calls for an engine, or the user looks after it. Source: `POST /ollama/install`, `GET /ollama/status`.
        """
        return self.do_engine_plan(self.engine_plan("install"))

    def update_engine(self) -> Download:
        """Update the engine, if that is needed, likewise. Source: `POST /ollama/update`, `GET /ollama/status`."""
        return self.do_engine_plan(self.engine_plan("update"))

    def cancel_engine(self) -> None:
        """Cancel the install or update that is under way, whoever began it; returns when that is confirmed.

        Raises `ModelStateError` if there is none, `CancelNotConfirmed` if it ends otherwise or not at all.
        Source: `POST /ollama/install/{id}/cancel`, `POST /ollama/update/{id}/cancel`.
        """
        from pieces_nb import engine_work

        running = self._registry.running(engine_work.ENGINE_ID)
        if running is None:
            plan = self.engine_plan(engine_work.under_way(self.engine_status()))
            running = self.do_engine_plan(plan)
        with self.history.recording("engine cancel", running.model.title, model_id=running.model.id):
            running.cancel()

    def engine_plan(self, kind: EngineWork) -> Plan:
        """Return what an install or update would do as the engine stands; raises where it cannot be done."""
        from pieces_nb import engine_work

        return engine_work.plan(kind, self.engine_status())

    def do_engine_plan(self, plan: Plan) -> Download:
        """Do it: begin it, or join what is under way."""
        from pieces_nb.download.download import Context

        if self._is_dying(plan.model):
            plan = self.engine_plan(plan.kind)
        transport = self.connection.transport
        context = Context(transport=transport, timing=self.timing, budget=_budget, calls=plan.calls)
        return self._registry.follow(plan.model, context, f"engine {plan.kind}", joined=plan.joined)

    # What is followed ------------------------------------------------------------------------------------------------

    @property
    def _registry(self) -> Registry:
        from pieces_nb.registry import Registry

        with self._lock:
            if self._made_registry is None:
                self._made_registry = Registry(self.history)
                if self._is_closing:
                    self._made_registry.close()
            return self._made_registry

    @property
    def downloads(self) -> Downloads:
        """The downloads that this client follows now."""
        from pieces_nb.download.download import Downloads

        return Downloads(self._registry.all_running())

    def progress(self, *models: str | Model) -> Downloads:
        """Return what is downloading, whoever began it, each followed from now on; of `models` if any are named.

        Starts nothing. Raises `ModelStateError` for a named model that is not downloading.
        """
        from pieces_nb.download.download import Downloads

        if not models:
            # Ours first: a server may not list yet what was asked of it a moment ago.
            ours = {download.model.id: download for download in self.downloads}
            others = [model for model in self.models() if model.downloading and model.id not in ours]
            return Downloads([*ours.values(), *(self._follow(model, "progress") for model in others)])
        return Downloads([self._running(self.get(model), "progress") for model in models])

    def _running(self, model: Model, verb: str) -> Download:
        """Return the download of a model that runs, here or elsewhere; raises `ModelStateError` if none does."""
        from pieces_nb.operations import is_needed

        running = self._registry.running(model.id)
        is_needed(model, verb, followed=running is not None)
        return running or self._follow(model, "progress")

    def cancel(self, model: str | Model) -> Model:
        """Cancel a download, whoever began it, and return the model when a snapshot confirms it.

        Raises `ModelStateError` if it is not downloading, `CancelNotConfirmed` if it ends otherwise or not at all.
        Source: `POST /model/{model}/download/cancel`.
        """
        return self._cancel(self.get(model))

    def _cancel(self, model: Model, running: Download | None = None) -> Model:
        with self.history.recording("cancel", model.title, model_id=model.id):
            running = running or self._running(model, "cancel")
            running.cancel()
        return running.model

    def cancel_all(self) -> list[Model]:
        """Cancel everything that is downloading, all at once, an engine that this client follows too.

        Every failure is told.

        Raises `CancelNotConfirmed`. One that has ended or vanished meanwhile is no failure.
        """
        from pieces_nb.download.at_once import at_once

        waiting = self.downloads.withdraw()  # first, so that none of them begins
        ours = list(self._registry.all_running())
        ids = {download.model.id for download in ours}
        others = [model for model in self.models() if model.downloading and model.id not in ids]
        calls = [partial(self._cancel, one.model, one) for one in ours]
        calls += [partial(self.cancel, model) for model in others]
        canceled = at_once(calls, tolerated=(ModelStateError, ModelNotFound))
        return [*(one.model for one in waiting), *canceled]

    # Memory ----------------------------------------------------------------------------------------------------------

    @property
    def _context(self) -> Context:
        from pieces_nb.workflows import Context

        return Context(self.connection, self.timing, self.history, self.settings.load_timeout_s)

    def load(self, model: str | Model, *, force: bool = False, until_exit: bool = False) -> Model:
        """Load a downloaded model into memory and return its snapshot; a loaded one is a no-op. May take a minute.

        With `until_exit` it is given back when this process ends, also when it is killed, or the client is closed; a
        model that was in memory before is not. Raises `ModelStateError` if it is not downloaded, in the cloud, or,
        without `force`, needs more than is free. Source: `POST /model/{model}/load`.
        """
        from pieces_nb import workflows

        seen = self.get(model)
        if not until_exit or seen.loaded:
            return workflows.load(self._context, seen, force=force)
        with self._lock:
            from pieces_nb.until_exit import Watcher

            watcher = self._made_watcher = self._made_watcher or Watcher()
        with watcher.holding(self.url, seen.id) as begun:
            return workflows.load(self._context, seen, force=force, begun=begun)

    def gives_back(self, model: Model) -> bool:
        """Whether `load(…, until_exit=True)` of this client has brought it into memory, and holds it still."""
        return self._made_watcher is not None and self._made_watcher.holds(model.id)

    def _keep(self, *models: Model) -> None:
        """Promise no longer to give these back: they have left memory."""
        if self._made_watcher is not None:
            for model in models:
                self._made_watcher.release(model.id)

    def unload(self, model: str | Model) -> Model:
        """Take a model out of memory and return its snapshot; one that is not loaded is a no-op.

        Source: `POST /model/{model}/unload`.
        """
        from pieces_nb import workflows

        unloaded = workflows.unload(self._context, self.get(model))
        self._keep(unloaded)
        return unloaded

    def unload_all(self) -> list[Model]:
        """Take every model out of memory; return the snapshots of those that were in it.

        Source: `POST /models/unload`.
        """
        from pieces_nb import workflows

        unloaded = workflows.unload_all(self._context)
        self._keep(*unloaded)
        return unloaded

    @contextmanager
    def loaded(self, model: str | Model, *, force: bool = False) -> Iterator[Model]:
        """Have a model in memory for a block: `with client.loaded("phi-2") as model:`.

        Unloads at the end, on errors and interrupts too, but only what a block of this client has loaded; of several
        blocks with one model, in whatever threads, the last does.
        """
        from pieces_nb.workflows import Loans

        seen = self.get(model)
        with self._lock:
            loans = self._made_loans = self._made_loans or Loans()
        with loans.lent(self._context, seen, force=force) as lent:
            yield lent

    @property
    def timing(self) -> Timing:
        """How long the calls that follow a model wait for what."""
        from pieces_nb.download.state import Timing

        return self._timing or Timing(stall_after_s=self.settings.stall_after_s)

    # Custom models ---------------------------------------------------------------------------------------------------

    def update(self, model: str | Model, changes: Mapping[str, Any] | None = None, /, **named: Any) -> Model:
        """Change fields of a custom model, read it back, and return it; without a change nothing is sent.

        Fields by keyword or, dotted ones such as `maxTokens.total`, in a mapping; None clears an optional one.
        Raises `ModelStateError` if it is not custom, `BadArguments` for a field or value that cannot be, before
        anything is sent. Source: `POST /model/update`.
        """
        from pieces_nb.model import fields

        checked = fields.check(_together(changes, named))
        return self.update_checked(self.get(model, beginnings=False), checked)

    def update_checked(self, before: Model, checked: Mapping[str, Any]) -> Model:
        """Apply changes that `fields.check` has let pass."""
        from pieces_nb import workflows

        return workflows.update(self._context, before, checked)

    def create(self, name: str, changes: Mapping[str, Any] | None = None, /, **named: Any) -> Model:
        """Create a custom model and return it. Fields as for `update`. Source: `POST /models/create`."""
        from pieces_nb.model import fields

        return self.create_checked(name, fields.check(_together(changes, named)))

    def create_checked(
        self, name: str, checked: Mapping[str, Any], *, tell: Callable[[str], object] = log.warning
    ) -> Model:
        """Create a custom model with fields that `fields.check` has let pass; `tell` hears if the name is taken."""
        from pieces_nb import workflows
        from pieces_nb.model import fields

        fields.check({"name": name})
        if checked.get("name", name) != name:
            raise BadArguments(f"The model has one name: {name!r} or {checked['name']!r}?")
        return workflows.create(self._context, name, checked, tell=tell)

    def delete(self, model: str | Model) -> None:
        """Delete a custom model. Raises `ModelStateError` for another. Source: `POST /models/{model}/delete`."""
        from pieces_nb import workflows

        workflows.delete(self._context, self.get(model, beginnings=False), verb="delete")

    def delete_cache(self, model: str | Model) -> Model:
        """Delete the downloaded files of a model and return its snapshot. Raises `ModelStateError` if there are none.

        Source: `POST /models/{model}/delete/cache`.
        """
        from pieces_nb import workflows

        return workflows.delete(self._context, self.get(model, beginnings=False), verb="delete-cache")

    @staticmethod
    def check_deletable(model: Model, *, files_only: bool = False) -> None:
        """Raise `ModelStateError` if it is not custom, or with `files_only` if it has no files."""
        from pieces_nb.operations import is_needed

        is_needed(model, "delete-cache" if files_only else "delete")

    # What it looks like ----------------------------------------------------------------------------------------------

    def panel(self, model: str | Model | None = None) -> Panel:
        """Return a control panel of ipywidgets; the last expression of a cell shows it."""
        from pieces_nb.views.panel import Panel

        panel = Panel(self, model)
        self._panels.add(panel)
        return panel

    def __repr__(self) -> str:
        return f"ModelClient({self._connection.found.url!r})" if self._connection.connected else "ModelClient()"


def _shared_emulator() -> Emulator:
    """Return the emulator of this process, running."""
    from pieces_nb.emulator import EmulatorError, shared

    try:
        return shared()
    except EmulatorError as exc:
        raise PiecesUnreachable(f"{exc}") from exc


def _together(changes: Mapping[str, Any] | None, named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a mapping and those given by keyword as one."""
    if changes is not None and not isinstance(changes, Mapping):
        raise wrong_type("fields are given in a mapping or by keyword", changes)
    return {**(changes or {}), **named}


def _table(rows: Rows) -> Table:
    from pieces_nb.views.frames import Table

    return Table.of(rows)


def _remember(client: ModelClient) -> None:
    """Have a client begin anew in a child of `fork`: what its parent follows, shows and has lent is the parent's."""
    global _forks_are_heard  # the interpreter takes a hook once, and never back
    with _emulator_lock:
        _clients.add(client)
        if not _forks_are_heard and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)
            _forks_are_heard = True


_forks_are_heard = False


def _after_fork() -> None:
    _budget.begin_anew()
    _emulator_users.clear()  # the emulator is the parent's
    HISTORY.forget_what_runs()
    for client in list(_clients):
        client.history.forget_what_runs()
        client._begin_anew()
