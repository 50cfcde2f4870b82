"""What each verb does: a typed `Command` in, the value of the cell out. Formats nothing itself, reads no line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, assert_never

from pieces_nb.client import ModelClient, Settings
from pieces_nb.download.download import Download, Downloads
from pieces_nb.errors import BadArguments, ConfirmationRequired, PiecesError
from pieces_nb.machine import machine_of
from pieces_nb.model import fields, rules
from pieces_nb.model.models import Model
from pieces_nb.text import format_bytes, printable
from pieces_nb.verbs import grammar
from pieces_nb.views import notebook as display

if TYPE_CHECKING:
    from pieces_nb.views.frames import Table

__all__ = ["Commands", "Settings"]

_FIRST_FRAMES_S = 1.0  # how long `progress` waits for the first word of a download that it has just joined
_TAB_S = 0.15  # how long Tab may wait for the first list of models
Confirm = Callable[[str], bool]


class Commands:
    """The verbs on one client, which lives from the first call to `close()` or the next `connect`."""

    def __init__(self, *, prog: str, for_terminal: bool = False, confirm: Confirm | None = None) -> None:
        self._prog = prog
        self._grammar = grammar.build_grammar(prog, for_terminal=for_terminal)
        self._confirm = confirm  # asks a person; None where nobody can be asked
        self._url = ""
        self._settings = Settings()
        self._client: ModelClient | None = None
        self._seen: list[Model] = []  # the models as last listed, for completion
        self._refreshing = threading.Lock()

    def set_up(self, *, url: str, settings: Settings) -> None:
        """Take the settings as they are now; another address means another client at the next call."""
        self._settings = settings
        if url != self._url:
            self._url = url
            self._replace_client(None)
        if self._client is not None:
            self._client.settings = settings

    @property
    def client(self) -> ModelClient:
        if self._client is None:
            self._client = ModelClient(self._url or None, settings=self._settings)
        return self._client

    def _replace_client(self, client: ModelClient | None) -> None:
        old, self._client = self._client, client
        self._seen = []
        if old is not None:
            old.close()

    def close(self) -> None:
        self._replace_client(None)

    def run_line(self, arguments: Sequence[str], *, cell: str | None = None) -> object:
        """Parse arguments (split already) and run them; returns the cell's value."""
        return self.run(self._grammar.parse(arguments, cell=cell))

    def run(self, command: grammar.Command) -> object:
        match command:
            case grammar.Help(text=text):
                print(text)
            case grammar.Overview():
                self._print_status()
                return self._table(self._models())
            case grammar.Status():
                self._print_status()
            case grammar.Connect(to=to):
                self._connect(to)
            case grammar.List():
                return self._list(command)
            case grammar.Snapshot(models=names):
                return self.client.snapshot(*names)
            case grammar.Usage():
                return self.client.usage()
            case grammar.History():
                return self.client.history_table()
            case grammar.Panel(model=model):
                return self.client.panel(model)
            case grammar.Download() | grammar.Progress() | grammar.Cancel():
                return self._run_download(command)
            case grammar.Load() | grammar.Unload() | grammar.Ensure():
                return self._run_memory(command)
            case grammar.Update() | grammar.Create() | grammar.Delete() | grammar.DeleteCache():
                return self._run_change(command)
            case _:
                raise BadArguments(f"{self._prog} cannot do that: {command!r}.")
        return None

    # Looking ---------------------------------------------------------------------------------------------------------

    def _models(self) -> list[Model]:
        self._seen = self.client.models()
        return self._seen

    def known_models(self) -> list[Model]:
        """Return the models as last listed, at once; a fresh list is fetched meanwhile for the next time."""
        if self._client is not None and self._refreshing.acquire(blocking=False):
            refresh = threading.Thread(target=self._refresh, name="pieces-nb-completion", daemon=True)
            refresh.start()
            if not self._seen:
                refresh.join(_TAB_S)
        return self._seen

    def _refresh(self) -> None:
        client = self._client
        try:
            if client is not None and client.connection.connected:
                self._seen = client.models()
        except PiecesError:
            pass  # Tab is no place for errors
        finally:
            self._refreshing.release()

    def _named(self, names: Sequence[str]) -> list[Model]:
        """Return the models of these names: a wrong one among several stops all before anything is done."""
        return [self.client.get(name) for name in names]

    def _table(self, models: Sequence[Model], *, wide: bool = False, when_empty: str = "") -> Table:
        table = self.client.table(models, wide=wide)
        table.when_empty = when_empty or (
            "The server has no models at all. Is its download of the model list finished? `create` makes a custom one."
        )
        return table

    def _list(self, command: grammar.List) -> Table:
        models = self._models()
        total, note = None, ""
        flags = frozenset(flag for flag in rules.FLAGS if getattr(command, flag))
        if command.fits:
            total = machine_of(self.client.url).total_memory_bytes
            if total is None:
                raise BadArguments("--fits needs the server on this machine: the memory of another one is not known.")
            others = rules.Filter(command.pattern or "", flags - {"fits"}).of(models)
            note = rules.unfitting_words(others, total)
        found = rules.Filter(command.pattern or "", flags, total).of(models)
        table = self._table(found, wide=command.wide)
        if models:
            table.when_empty = f"None of the {len(models)} models matches; `{self._prog} list` shows all."
        table.caption += f" · {note}" if note else ""
        return table

    def _print_status(self) -> None:
        found = self.client.connect()
        models = self._models()
        loaded = [model for model in models if model.loaded]
        words = [
            self.client.server,
            "1 model" if len(models) == 1 else f"{len(models)} models",
            f"{sum(model.downloaded for model in models)} downloaded",
            f"{len(loaded)} loaded" + (f" ({_sum_bytes(loaded)})" if loaded else ""),
            f"{sum(model.downloading for model in models)} downloading",
        ]
        print(" · ".join(words))
        if found.others:
            print(f"Pieces OS answers on other ports too: {', '.join(map(str, found.others))}; the lowest is taken.")

    def _connect(self, to: str | None) -> None:
        client = ModelClient(to or self._url or None, settings=self._settings)
        try:
            found = client.connect()
        except PiecesError:
            client.close()
            raise
        self._replace_client(client)
        also = f" (others on ports {', '.join(map(str, found.others))})" if found.others else ""
        print(f"Connected to {client.server}{also}.")

    # Downloads -------------------------------------------------------------------------------------------------------

    def _run_download(self, command: grammar.Download | grammar.Progress | grammar.Cancel) -> object:
        match command:
            case grammar.Download(models=names, wait=wait, timeout_s=timeout_s):
                return self._download(names, wait=wait, timeout_s=timeout_s)
            case grammar.Progress(models=names, watch=watch):
                return self._progress(names, watch=watch)
            case grammar.Cancel(models=names, all_models=all_models):
                models = self._named(names)
                canceled = self.client.cancel_all() if all_models else [self.client.cancel(model) for model in models]
                return self._table(canceled, when_empty="Nothing was downloading.")
            case _:
                assert_never(command)

    def _download(self, names: Sequence[str], *, wait: bool, timeout_s: float | None) -> Download | Downloads:
        client = self.client
        models = self._named(names)
        for model in models:
            client.check_downloadable(model)
        downloads = [client.download(model) for model in models]
        if wait:
            limit = timeout_s if timeout_s is not None else self._settings.wait_timeout_s
            display.wait_shown(downloads, timeout_s=limit)
        return downloads[0] if len(downloads) == 1 else Downloads(downloads)

    def _progress(self, names: Sequence[str], *, watch: bool) -> Table:
        downloads = self.client.progress(*names)
        if watch and downloads:
            display.wait_shown(downloads, timeout_s=self._settings.wait_timeout_s)
        else:
            _first_words(downloads)
        return self.client.progress_table(downloads)

    # Memory ----------------------------------------------------------------------------------------------------------

    def _run_memory(self, command: grammar.Load | grammar.Unload | grammar.Ensure) -> object:
        match command:
            case grammar.Load(model=name, force=force):
                return self._table([self.client.load(name, force=force)])
            case grammar.Unload(models=names, all_models=all_models):
                models = self._named(names)
                unloaded = self.client.unload_all() if all_models else [self.client.unload(model) for model in models]
                return self._table(unloaded, when_empty="Nothing was loaded.")
            case grammar.Ensure():
                return self.client.ensure(
                    command.model,
                    load=command.load,
                    force=command.force,
                    dry_run=command.dry_run,
                    tell=print,
                    wait=lambda download: display.wait_shown([download], timeout_s=self._settings.wait_timeout_s),
                )
            case _:
                assert_never(command)

    # Custom models, and what is deleted ------------------------------------------------------------------------------

    def _run_change(
        self, command: grammar.Update | grammar.Create | grammar.Delete | grammar.DeleteCache
    ) -> Table | None:
        match command:
            case grammar.Update(model=name, changes=changes, body=body):
                checked = _checked(changes, body)
                before = self.client.get(name, beginnings=False)
                return self.client.change_table(before, self.client.update_checked(before, checked), checked)
            case grammar.Create(name=name, changes=changes, body=body):
                return self._table([self.client.create_checked(name, _checked(changes, body))])
            case grammar.Delete(model=name, yes=yes):
                model = self.client.get(name, beginnings=False)
                title = printable(model.title, limit=80)
                self._be_sure(f"This deletes the custom model {title} ({model.id}) for good", yes, "delete", model)
                self.client.delete(model)
                print(f"Deleted {title}.")
            case grammar.DeleteCache(model=name, yes=yes):
                model = self.client.get(name, beginnings=False)
                title = printable(model.title, limit=80)
                size = f", {format_bytes(model.size_bytes)}" if model.size_bytes is not None else ""
                self._be_sure(f"This deletes the downloaded files of {title}{size}", yes, "delete-cache", model)
                self.client.delete_cache(model)
                print(f"Deleted the downloaded files of {title}{size}.")
            case _:
                assert_never(command)
        return None

    def _be_sure(self, what: str, yes: bool, verb: str, model: Model) -> None:
        self.client.check_deletable(model, files_only=verb == "delete-cache")
        if yes or (self._confirm is not None and self._confirm(f"{what}. Go on?")):
            return
        raise ConfirmationRequired(f"{what}. Nothing is deleted yet: say `{self._prog} {verb} … --yes`.")


def _checked(changes: Sequence[grammar.Change], body: dict[str, object] | None) -> dict[str, object]:
    """Return the changes as dotted, typed fields: texts read by their field's type; JSON may have unknown fields."""
    if body is not None:
        return fields.check(body, unknown=True)
    read = {change.field: fields.read(change.field, str(change.value)) for change in changes if change.typed}
    given = fields.check({change.field: change.value for change in changes if not change.typed})
    return read | given


def _first_words(downloads: Sequence[Download]) -> None:
    """Give downloads that were joined just now a moment to say where they stand."""
    spoke = threading.Event()

    def look(_download: Download | None = None) -> None:
        if all(download.done or download.percentage is not None for download in downloads):
            spoke.set()

    stops = [download.subscribe(look) for download in downloads]
    look()  # one that stalls is not heard again
    spoke.wait(_FIRST_FRAMES_S)
    for stop in stops:
        stop()


def _sum_bytes(models: Sequence[Model]) -> str:
    return format_bytes(sum(model.ram_bytes or 0 for model in models)) + " of memory"
