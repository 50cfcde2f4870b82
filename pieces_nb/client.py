"""`ModelClient`: what Python code uses, and what the magic and the panel stand on.

A thin facade: each method resolves a name, calls an endpoint or a workflow, and notes it in the history.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from pieces_nb.download.throttle import UpdateBudget
from pieces_nb.errors import CancelNotConfirmed, ModelNotFound, ModelStateError, PiecesError, PiecesUnreachable
from pieces_nb.history import Entry, History
from pieces_nb.model import resolve
from pieces_nb.model.models import Model
from pieces_nb.text import printable
from pieces_nb.wire import endpoints
from pieces_nb.wire.connection import EMULATOR, VARIABLE, Connection, address_from_environment

if TYPE_CHECKING:
    from pieces_nb.download.download import Context, Download, Downloads
    from pieces_nb.download.state import Timing
    from pieces_nb.emulator import Emulator
    from pieces_nb.views.frames import Table
    from pieces_nb.views.panel import Panel
    from pieces_nb.wire.discovery import Found

log = logging.getLogger(__name__)


class Settings:
    """Timeouts in seconds. `wait_timeout_s` is the magic's; None waits for ever."""

    # No dataclass: that module's import would take as long as all others of this one together.
    def __init__(
        self,
        *,
        timeout_s: float = 10.0,
        load_timeout_s: float = 600.0,
        wait_timeout_s: float | None = None,
        stall_after_s: float = 30.0,
    ) -> None:
        self.timeout_s = timeout_s
        self.load_timeout_s = load_timeout_s
        self.wait_timeout_s = wait_timeout_s
        self.stall_after_s = stall_after_s


_budget = UpdateBudget()  # one for all clients of this process: they share one front end
_emulator_lock = threading.Lock()  # guards the set below
_emulator_users: weakref.WeakSet[ModelClient] = weakref.WeakSet()


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
    ) -> None:
        self.settings = settings or Settings()
        self.history = History()
        self._patience = timing
        address = url or address_from_environment() or None
        self._wants_emulator = address == EMULATOR and connection is None
        self._connection = connection or Connection(
            None if self._wants_emulator else address,
            timeout_s=self.settings.timeout_s,
            named_by="" if url else VARIABLE,
        )
        self._lock = threading.Lock()  # guards _downloads
        self._downloads: dict[str, Download] = {}
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
        kind = "Pieces OS emulator" if found.is_emulator else "Pieces OS"
        return f"{kind} {printable(found.version, limit=40)} at {found.url}"

    def close(self) -> None:
        """Stop following downloads (they go on), close panels and connections. Nothing of this client runs after it."""
        for panel in list(self._panels):
            panel.close()
        with self._lock:
            downloads = list(self._downloads.values())
            self._downloads.clear()
        for download in downloads:
            download.close()
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

    # Looking ---------------------------------------------------------------------------------------------------------

    def models(self) -> list[Model]:
        """Return all models. Source: `GET /models`."""
        return self.connection.call(endpoints.models)

    def get(self, model: str | Model, *, beginnings: bool = True) -> Model:
        """Return a fresh snapshot of one model. Source: `GET /model/{model}`; for a name `GET /models` before it."""
        if isinstance(model, Model):
            return self._snapshot(model.id)
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
        from pieces_nb.views import frames as tables

        models = self.models() if models is None else models
        frame = tables.wide_frame(models) if wide else tables.list_frame(models)
        count = "1 model" if len(models) == 1 else f"{len(models)} models"
        return tables.Table.of(frame, caption=f"{count} · {self.server}", when_empty="No models.")

    def change_table(self, before: Model, after: Model, changes: Iterable[str]) -> Table:
        """Return old and new values, one row a changed field."""
        from pieces_nb.views import frames as tables

        frame = tables.change_frame(before.raw, after.raw, list(changes))
        return tables.Table.of(frame, caption=f"{_title(after)} · {self.server}", shows_index=True)

    def progress_table(self, downloads: Sequence[Download]) -> Table:
        """Return one row a download: name status percentage done_gb size_gb speed_mb_s time_left_s stalled_since id."""
        from pieces_nb.views import frames as tables

        return tables.Table.of(
            tables.progress_frame(downloads), caption=self.server, when_empty="Nothing is downloading."
        )

    def history_table(self) -> Table:
        """Return what was done here, oldest first; `started` is in UTC, `bytes` NaN where nothing is transferred."""
        from pieces_nb.views import frames as tables

        frame = tables.history_frame(self.history.entries())
        return tables.Table.of(frame, caption="What was done here, times in UTC", when_empty="Nothing was done yet.")

    def usage(self) -> Table:
        """Return what models take, biggest first: name resource size_gb free_with, and the totals below."""
        from pieces_nb import workflows
        from pieces_nb.views import frames as tables

        url = self.url
        shares, note = workflows.usage(self.models(), url=url)
        return tables.Table.of(
            tables.usage_frame(shares),
            caption=f"{note} · {self.server}",
            when_empty="No model is loaded and none is downloaded.",
        )

    def ensure(
        self,
        model: str | Model,
        *,
        load: bool = False,
        force: bool = False,
        dry_run: bool = False,
        wait: Callable[[Download], object] | None = None,
        tell: Callable[[str], object] | None = None,
    ) -> Table:
        """Have a model downloaded and, with `load`, in memory; what is done already is left alone.

        Returns the plan as it stands at the end, one row a step: step needed_gb available_gb verdict. With `dry_run`
        that is all. `tell` hears each step that is to be done, in words, before anything is; `wait` waits for the
        download, by default `Download.wait`. Raises what download and load raise.
        """
        from pieces_nb import workflows
        from pieces_nb.views import frames as tables

        seen = self.get(model)
        steps = workflows.plan(seen, load=load, url=self.url)
        if not dry_run:
            self.check_downloadable(seen)
            for step in steps:
                if tell is not None and not step.done:
                    tell(step.words)
            seen = self._carry_out(seen, load=load, force=force, wait=wait)
            steps = workflows.plan(seen, load=load, url=self.url)
        return tables.Table.of(tables.plan_frame(steps), caption=f"{_title(seen)} is {seen.state} · {self.server}")

    def _carry_out(self, model: Model, *, load: bool, force: bool, wait: Callable[[Download], object] | None) -> Model:
        from pieces_nb import workflows

        if load and not force and not model.loaded:
            workflows.check_could_ever_fit(model, url=self.url)
        if not model.downloaded:
            download = self.download(model)
            _ = wait(download) if wait is not None else download.wait()
        seen = self.get(model)
        return self.load(seen, force=force) if load and not seen.loaded else seen

    def snapshot(self, *models: str | Model) -> Table:
        """Return the snapshots of models side by side: one column each, indexed by the wire's fields, nested dotted."""
        from pieces_nb.views import frames as tables

        seen = [self.get(model) for model in models]
        return tables.Table.of(tables.snapshot_frame(seen), caption=self.server, shows_index=True)

    # Downloads -------------------------------------------------------------------------------------------------------

    def download(self, model: str | Model) -> Download:
        """Start a download and return at once what follows it; a running one is joined, a finished one is a no-op.

        Raises `ModelStateError` for a model in the cloud. Source: `POST /model/{model}/download` and its progress.
        """
        seen = self.get(model)
        self.check_downloadable(seen)
        return self._follow(seen, "download")

    @staticmethod
    def check_downloadable(model: Model) -> None:
        """Raise `ModelStateError` for a model in the cloud."""
        if model.cloud:
            raise ModelStateError(f"{_title(model)} runs in the cloud: there is nothing to download.")

    def _follow(self, model: Model, verb: str) -> Download:
        from pieces_nb.download import download as downloads

        with self._lock:
            running = self._downloads.get(model.id)
            if running is not None and not running.done and not running.closed:
                return running
            download = downloads.Download(model, self._context(), joined=model.downloading)
            if not download.done:
                self._downloads[model.id] = download
        download.at_end(lambda download: self._note(download, verb))
        return download.start()

    def _context(self) -> Context:
        from pieces_nb.download.download import Context

        connection = self.connection
        return Context(transport=connection.transport, timing=self.timing, budget=_budget, relocate=connection.relocate)

    def _note(self, download: Download, verb: str) -> None:
        """Record a download that has ended, and let it go."""
        if not download.done:
            return
        with self._lock:
            if self._downloads.get(download.model.id) is download:
                del self._downloads[download.model.id]
        self.history.add(
            Entry(
                started=download.started,
                verb=verb,
                model=download.model.title,
                outcome=str(download.status),
                seconds=download.duration_s,
                bytes=download.moved_bytes,
                mean_bytes_per_s=download.mean_bytes_per_s,
                reconnects=download.state.reconnects,
                error=str(download.error or ""),
            )
        )

    @property
    def downloads(self) -> Downloads:
        """The downloads that this client follows now."""
        from pieces_nb.download.download import Downloads

        with self._lock:
            return Downloads(list(self._downloads.values()))

    def progress(self, *models: str | Model) -> Downloads:
        """Return what is downloading, whoever began it, each followed from now on; of `models` if any are named.

        Raises `ModelStateError` for a named model that is not downloading.
        """
        from pieces_nb.download.download import Downloads

        if not models:
            # Ours first: a server may not list yet what was asked of it a moment ago.
            ours = {download.model.id: download for download in self.downloads}
            others = [model for model in self.models() if model.downloading and model.id not in ours]
            return Downloads([*ours.values(), *(self._follow(model, "progress") for model in others)])
        seen = [self.get(model) for model in models]
        for model in seen:
            if not model.downloading and model.id not in self._downloads:
                raise ModelStateError(f"{_title(model)} is not downloading; it is {model.state}.")
        return Downloads([self._follow(model, "progress") for model in seen])

    def cancel(self, model: str | Model) -> Model:
        """Cancel a download, whoever began it, and return the model when a snapshot confirms it.

        Raises `ModelStateError` if it is not downloading, `CancelNotConfirmed` if it ends otherwise or not at all.
        Source: `POST /model/{model}/download/cancel`.
        """
        seen = self.get(model)
        with self._lock:
            running = self._downloads.get(seen.id)
        with self.history.recording("cancel", seen.title):
            if running is None or running.done:
                if not seen.downloading:
                    raise ModelStateError(f"{_title(seen)} is not downloading; it is {seen.state}.")
                running = self._follow(seen, "progress")
            running.cancel()
        return running.model

    def cancel_all(self) -> list[Model]:
        """Cancel everything that is downloading; every one is tried before the first failure is raised."""
        canceled, failures = [], []
        for model in self.models():
            if model.downloading or model.id in self._downloads:
                try:
                    canceled.append(self.cancel(model))
                except PiecesError as exc:
                    failures.append(exc)
        if failures:
            raise CancelNotConfirmed(" ".join(str(failure) for failure in failures)) from failures[0]
        return canceled

    # Memory ----------------------------------------------------------------------------------------------------------

    def load(self, model: str | Model, *, force: bool = False) -> Model:
        """Load a downloaded model into memory and return its snapshot; a loaded one is a no-op. May take a minute.

        Raises `ModelStateError` if it is not downloaded, in the cloud, or, without `force`, needs more than is free.
        Source: `POST /model/{model}/load`.
        """
        from pieces_nb import workflows

        seen = self.get(model)
        with self.history.recording("load", seen.title):
            return workflows.load(
                self.connection, seen, load_timeout_s=self.settings.load_timeout_s, force=force, timing=self.timing
            )

    def unload(self, model: str | Model) -> Model:
        """Take a model out of memory and return its snapshot; one that is not loaded is a no-op.

        Source: `POST /model/{model}/unload`.
        """
        from pieces_nb import workflows

        seen = self.get(model)
        with self.history.recording("unload", seen.title):
            return workflows.unload(self.connection, seen, timing=self.timing)

    def unload_all(self) -> list[Model]:
        """Take every model out of memory; return the snapshots of those that were in it.

        Source: `POST /models/unload`.
        """
        from pieces_nb import workflows

        loaded = [model for model in self.models() if model.loaded]
        if loaded:
            with self.history.recording("unload", ", ".join(model.title for model in loaded)):
                return workflows.unload_all(self.connection, loaded, timing=self.timing)
        return []

    @contextmanager
    def loaded(self, model: str | Model, *, force: bool = False) -> Iterator[Model]:
        """Have a model in memory for a block: `with client.loaded("phi-2") as model:`.

        Unloads at the end, on errors and interrupts too, but only what it loaded itself.
        """
        before = self.get(model)
        if before.loaded:
            yield before
            return
        try:
            yield self.load(before, force=force)
        except BaseException:
            try:
                self._unload_if_loaded(before)
            except PiecesError as exc:
                log.warning("%s may still be in memory: %s", _title(before), exc)
            raise  # what happened in the block, whatever became of the unloading
        self._unload_if_loaded(before)

    def _unload_if_loaded(self, model: Model) -> None:
        # An interrupted load may have taken effect: ask, rather than remember.
        if self.get(model).loaded:
            self.unload(model)

    @property
    def timing(self) -> Timing:
        """How long the calls that follow a model wait for what."""
        from pieces_nb.download.state import Timing

        return self._patience or Timing(stall_after_s=self.settings.stall_after_s)

    # Custom models ---------------------------------------------------------------------------------------------------

    def update(self, model: str | Model, changes: Mapping[str, Any] | None = None, /, **named: Any) -> Model:
        """Change fields of a custom model, read it back, and return it.

        Fields by keyword or, dotted ones such as `maxTokens.total`, in a mapping; None clears an optional one.
        Raises `ModelStateError` if it is not custom, `BadArguments` for a field or value that cannot be, before
        anything is sent. Source: `POST /model/update`.
        """
        from pieces_nb.model import fields

        checked = fields.check({**(changes or {}), **named})
        before = self.get(model, beginnings=False)
        return self.update_checked(before, checked)

    def update_checked(self, before: Model, checked: Mapping[str, Any]) -> Model:
        """Apply changes that `fields.check` has let pass."""
        from pieces_nb import workflows

        with self.history.recording("update", before.title):
            return workflows.update(self.connection, before, checked)

    def create(self, name: str, changes: Mapping[str, Any] | None = None, /, **named: Any) -> Model:
        """Create a custom model and return it. Fields as for `update`. Source: `POST /models/create`."""
        from pieces_nb.model import fields

        fields.check({"name": name})
        return self.create_checked(name, fields.check({**(changes or {}), **named}))

    def create_checked(self, name: str, checked: Mapping[str, Any]) -> Model:
        """Create a custom model with fields that `fields.check` has let pass."""
        from pieces_nb.model import fields

        with self.history.recording("create", name):
            seeded = fields.seeded(name, checked, now=datetime.now(UTC))
            created = self.connection.call(lambda transport: endpoints.create(transport, seeded))
            return self._snapshot(created.id)

    def delete(self, model: str | Model) -> None:
        """Delete a custom model. Raises `ModelStateError` for another. Source: `POST /models/{model}/delete`."""
        seen = self.get(model, beginnings=False)
        with self.history.recording("delete", seen.title):
            self.check_deletable(seen)
            self.connection.call(lambda transport: endpoints.delete(transport, seen.id))

    def delete_cache(self, model: str | Model) -> Model:
        """Delete the downloaded files of a model and return its snapshot. Raises `ModelStateError` if there are none.

        Source: `POST /models/{model}/delete/cache`.
        """
        from pieces_nb import workflows

        seen = self.get(model, beginnings=False)
        with self.history.recording("delete-cache", seen.title):
            self.check_deletable(seen, files_only=True)
            self.connection.call(lambda transport: endpoints.delete_cache(transport, seen.id))
            return workflows.confirmed(
                self.connection, seen.id, lambda model: not model.downloaded, "deleted", self.timing
            )

    @staticmethod
    def check_deletable(model: Model, *, files_only: bool = False) -> None:
        """Raise `ModelStateError` if it is not custom, or with `files_only` if it has no files."""
        if files_only and not model.downloaded:
            raise ModelStateError(f"{_title(model)} has no downloaded files; it is {model.state}.")
        if not files_only and not model.custom:
            raise ModelStateError(f"{_title(model)} is not a custom model: only those can be deleted.")

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


def _title(model: Model) -> str:
    return printable(model.title, limit=80)
