"""The rules of the Model API: what each call does to which model, and when it is refused. No HTTP, no sockets.

Everything runs on the emulator's loop; what blocks runs in its small pool of threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import datetime as dt
import itertools
import json
import mmap
import uuid
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from typing import Any

from pieces_nb.emulator import fields
from pieces_nb.emulator.catalogue import CUSTOM_BYTES, SCHEMA, Seed, complete
from pieces_nb.emulator.content import Content
from pieces_nb.emulator.engine import Engine
from pieces_nb.emulator.entry import Entry
from pieces_nb.emulator.errors import Refused, TransferFailed
from pieces_nb.emulator.home import Home
from pieces_nb.emulator.memory import read_into_memory
from pieces_nb.emulator.progress import Audience
from pieces_nb.emulator.settings import Faults, Settings
from pieces_nb.emulator.transfer import Transfer, os_error_text

VERSION = "12.3.0-emulator"
_NO_SPACE = "No space left on device"
_CREATED = uuid.UUID("2b1f4c0e-93d5-5a44-8f57-0c6f1d6a7e11")  # the namespace of created models


class Service:
    """All models, and the calls on them. Each returns what the wire answers, or raises Refused."""

    def __init__(self, seeds: Iterable[Seed], *, home: Home, settings: Settings, executor: Executor) -> None:
        self._home = home
        self._settings = settings
        self._executor = executor
        state = home.read_state()
        self.instance = fields.uuid_text(state.get("instance")) or str(uuid.uuid4())
        self._stored = fields.stored_models(fields.items(state, "custom"))
        self._deleted: set[str] = {item for item in fields.items(state, "deleted") if isinstance(item, str)}
        self.engine = Engine(state.get("engine"), home=home, settings=settings, executor=executor, save=self._save)
        self.identifiers = Audience()
        self._entries: dict[str, Entry] = {}
        self._works: set[asyncio.Task[None]] = set()  # of calls that have been answered
        stored = [Seed(item["model"], Content(key, item["size"])) for key, item in self._stored.items()]
        for seed in (*seeds, *stored):
            self._add_at_start(seed)
        for model_id in self._deleted:
            with contextlib.suppress(OSError):
                home.models.remove(model_id)
        self._save()

    def _add_at_start(self, seed: Seed) -> None:
        entry = Entry(seed, self._settings)
        if entry.model_id in self._deleted:
            return
        if entry.model_id in self._entries:  # A stored model replaces the catalogue's of the same id, its file stays.
            self._entries[entry.model_id].wire = seed.wire
            return
        size_bytes = seed.content.size_bytes
        files = self._home.models
        path = files.file(entry.model_id)
        if seed.downloaded and not files.holds(entry.model_id, size_bytes):
            with files.part(entry.model_id).open("wb") as file:
                file.writelines(seed.content.read(0, size_bytes))
            files.part(entry.model_id).replace(path)
        entry.downloaded = not entry.wire.get("cloud") and files.holds(entry.model_id, size_bytes)
        if seed.loaded:
            entry.memory = read_into_memory(path)
        self._entries[entry.model_id] = entry

    def _save(self) -> None:
        state = {
            "instance": self.instance,
            "custom": list(self._stored.values()),
            "deleted": sorted(self._deleted),
            "engine": self.engine.stored,
        }
        try:
            self._home.write_state(state)
        except OSError as exc:
            raise Refused(500, f"The emulator cannot store its state: {os_error_text(exc)}") from exc
        except ValueError as exc:  # A caller's catalogue may hold nonsense; it is served, but it is not kept.
            raise Refused(500, f"The emulator cannot store its state: {exc}.") from exc

    def entry(self, model_id: str) -> Entry:
        """Look an id up, in the table and nowhere else."""
        try:
            return self._entries[model_id]
        except KeyError:
            raise Refused(410, f"Model not found: {model_id[:80]}") from None

    def serves(self, path: str) -> bool:
        """Tell whether this server has calls at a path: an older one has none for the engine."""
        return self._settings.switches.engine != "none" or not path.startswith("/ollama/")

    def _view(self, entry: Entry) -> dict[str, Any]:
        return entry.view(self._settings.switches)

    def _faults(self, entry: Entry) -> Faults:
        return self._settings.faults_for(entry.model_id, entry.wire.get("unique"))

    # Reading

    async def models(self) -> dict[str, Any]:
        """Return all models."""
        return {"iterable": [self._view(entry) for entry in self._entries.values()]}

    async def snapshot(self, model_id: str) -> dict[str, Any]:
        """Return one model."""
        return self._view(self.entry(model_id))

    async def health(self) -> str:
        """Return "OK" and the id of this server's home."""
        return f"OK:{self.instance}"

    async def version(self) -> str:
        """Return the version, which no real server has."""
        return VERSION

    async def connect(self, body: object) -> dict[str, Any]:
        """Answer a program that says who it is. The same program has the same id, as long as the home lives."""
        application = fields.application(body)
        name = json.dumps([application.get(part) for part in ("name", "platform", "descriptor")])
        application_id = str(uuid.uuid5(uuid.UUID(self.instance), name))
        return {
            "schema": SCHEMA,
            "application": {"onboarded": True, "privacy": "OPEN"}
            | application
            | {"schema": SCHEMA, "id": application_id},
            "health": {"schema": SCHEMA, "os": {"schema": SCHEMA, "id": self.instance, "version": VERSION}},
            "os": self.instance,
        }

    def socket_refused(self, model_id: str) -> str | None:
        """Return how the model's WebSocket refuses to open, if it does."""
        return self._faults(self.entry(model_id)).socket_refused

    # Downloading

    async def download(self, model_id: str) -> dict[str, Any]:
        """Start a download; what a second call meets is a switch."""
        entry = self._local(model_id, "downloaded")
        switches = self._settings.switches
        if entry.downloaded:
            return self._view(entry)
        if entry.running:
            await self._meet_running(entry)
            return self._view(entry)
        self._start(entry)
        await self._time_to_answer(entry)
        if switches.post_late_s:
            await asyncio.sleep(switches.post_late_s)
        return self._view(entry)

    async def _meet_running(self, entry: Entry) -> None:
        second_post = self._settings.switches.second_post
        if second_post == "fail":
            raise Refused(500, f"{entry.name} is being downloaded already.")
        if second_post == "block":
            await self._end_of(entry)
        else:
            await self._time_to_answer(entry)

    async def _time_to_answer(self, entry: Entry) -> None:
        switches = self._settings.switches
        if switches.post_answers_after_end:
            await self._end_of(entry)
        elif switches.post_answers_at_start:
            await self._start_of(entry)

    async def _start_of(self, entry: Entry) -> None:
        assert entry.task is not None
        begun = asyncio.ensure_future(entry.begun.wait())
        await asyncio.wait({begun, entry.task}, return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        if not entry.begun.is_set():
            await self._end_of(entry)

    async def _end_of(self, entry: Entry) -> None:
        task = entry.task
        assert task is not None
        try:
            await asyncio.shield(task)
        except TransferFailed as exc:
            raise Refused(500, f"The download of {entry.name} failed: {exc}") from exc
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            raise Refused(500, f"The download of {entry.name} was canceled.") from None

    def _start(self, entry: Entry) -> None:
        faults = self._faults(entry)
        if faults.download_error is not None:
            raise Refused(500, faults.download_error)
        self.engine.require(f"to download {entry.name}")
        full = faults.disk_full_at is not None and faults.disk_full_at <= 0
        if full or self._home.free_bytes() < entry.content.size_bytes:
            raise Refused(500, f"{entry.name} cannot be downloaded: {_NO_SPACE}.")
        start_late_s = self._settings.switches.start_late_s
        entry.begun = asyncio.Event()
        if not start_late_s:
            self._begin(entry)
        entry.task = asyncio.create_task(self._run(entry, start_late_s), name=f"transfer {entry.model_id}")
        entry.task.add_done_callback(lambda task: task.cancelled() or task.exception())

    def _begin(self, entry: Entry) -> None:
        entry.mark_downloading(True)
        if entry.ended_before and self._settings.switches.reset_before_restart:
            entry.channel.publish("RESET")
        entry.channel.publish("INITIALIZED", 0.0)
        entry.begun.set()
        self._tell(entry)

    async def _run(self, entry: Entry, start_late_s: float) -> None:
        if start_late_s:
            await asyncio.sleep(start_late_s)
            self._begin(entry)
        transfer = Transfer(
            entry.content,
            files=self._home.models,
            sha256=entry.sha256,
            channel=entry.channel,
            settings=self._settings,
            faults=lambda: self._faults(entry),
            executor=self._executor,
        )
        await transfer.run(succeeded=entry.mark_downloaded, ended=lambda: self._ended(entry))

    def _ended(self, entry: Entry) -> None:
        entry.mark_downloading(False)
        entry.ended_before = True
        self._tell(entry)

    async def cancel(self, model_id: str) -> dict[str, Any]:
        """Stop a download and remove what it wrote."""
        entry = self._local(model_id, "canceled")
        if not entry.running:
            raise Refused(500, f"{entry.name} is not being downloaded.")
        if not self._faults(entry).cancel_ignored:
            await self._stop(entry)
        return self._view(entry)

    async def _stop(self, entry: Entry) -> None:
        task = entry.task
        assert task is not None
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() or entry.task is not task:
            return  # It ended by itself just before, or another call canceled it.
        entry.task = None
        self._ended(entry)
        match self._settings.switches.after_cancel:
            case "canceled":
                entry.channel.publish("CANCELED")
            case "reset":
                entry.channel.publish("RESET")
            case "nothing":
                entry.channel.forget()

    # Memory

    def _local(self, model_id: str, participle: str) -> Entry:
        entry = self.entry(model_id)
        if entry.wire.get("cloud"):
            raise Refused(500, f"{entry.name} runs in the cloud and cannot be {participle}.")
        return entry

    async def _move(
        self,
        entry: Entry,
        check: Callable[[Entry], None],
        act: Callable[[Entry], Awaitable[None]],
        *,
        works_on_s: float,
    ) -> None:
        """Do what takes the model's file or memory, one at a time; with `works_on_s` in a task of its own, later."""
        if not works_on_s:
            async with entry.moving:
                check(entry)
                await act(entry)
            return
        check(entry)
        work = asyncio.create_task(self._work_on(entry, check, act, works_on_s), name=f"work on {entry.model_id}")
        self._works.add(work)
        work.add_done_callback(self._works.discard)

    async def _work_on(
        self, entry: Entry, check: Callable[[Entry], None], act: Callable[[Entry], Awaitable[None]], works_on_s: float
    ) -> None:
        async with entry.moving:
            await asyncio.sleep(works_on_s)
            with contextlib.suppress(Refused):  # The call has been answered; what goes wrong now is not heard of.
                check(entry)
                await act(entry)

    async def load(self, model_id: str) -> dict[str, Any]:
        """Read the model's file into memory."""
        entry = self._local(model_id, "loaded")
        works_on_s = self._settings.switches.load_works_on_s
        await self._move(entry, self._check_load, self._load, works_on_s=works_on_s)
        return self._view(entry)

    def _check_load(self, entry: Entry) -> None:
        if entry.memory is None:
            self.engine.require(f"to load {entry.name}")
        if not entry.downloaded:
            raise Refused(500, f"{entry.name} is not downloaded; only a downloaded model can be loaded.")
        faults = self._faults(entry)
        if faults.load_error is not None and not faults.load_seconds:
            raise Refused(500, faults.load_error)

    async def _load(self, entry: Entry) -> None:
        faults = self._faults(entry)
        if faults.load_seconds > 0:
            await asyncio.sleep(faults.load_seconds)
        if faults.load_error is not None:
            raise Refused(500, faults.load_error)
        if entry.memory is None:
            entry.memory = await self._read(entry)
            self._tell(entry)

    async def _read(self, entry: Entry) -> mmap.mmap:
        path = self._home.models.file(entry.model_id)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, read_into_memory, path)
        except FileNotFoundError:
            entry.downloaded = False
            raise Refused(500, f"The file of {entry.name} is gone; download it again.") from None
        except OSError as exc:
            raise Refused(500, f"{entry.name} cannot be loaded: {os_error_text(exc)}") from exc

    async def unload(self, model_id: str) -> dict[str, Any]:
        """Give the memory back; of a model that is not loaded, nothing happens."""
        entry = self._local(model_id, "unloaded")
        works_on_s = self._settings.switches.unload_works_on_s
        await self._move(entry, self._check_unload, self._unload, works_on_s=works_on_s)
        return self._view(entry)

    def _check_unload(self, entry: Entry) -> None:
        error = self._faults(entry).unload_error
        if error is not None:
            raise Refused(500, error)

    async def _unload(self, entry: Entry) -> None:
        self._free(entry)

    async def unload_all(self) -> None:
        """Unload everything that can be unloaded."""
        works_on_s = self._settings.switches.unload_works_on_s
        for entry in tuple(self._entries.values()):
            if self._faults(entry).unload_error is None:
                await self._move(entry, self._check_unload, self._unload, works_on_s=works_on_s)

    def _free(self, entry: Entry) -> None:
        if entry.memory is not None:
            entry.free()
            self._tell(entry)

    # Custom models

    async def update(self, body: object) -> dict[str, Any]:
        """Store the given fields of a custom model; null removes one, unknown ones are kept."""
        given = fields.checked(body, partial=True)
        model_id = fields.text(given.get("id"))
        if model_id is None:
            raise Refused(422, "The body needs the id of the model to update.")
        entry = self._custom(model_id, "updated")
        changed = entry.wire | {name: value for name, value in given.items() if name not in fields.NOT_OURS_TO_SET}
        self._store(entry, {key: value for key, value in changed.items() if value is not None or key == "parameters"})
        return self._view(entry)

    async def create(self, body: object) -> dict[str, Any]:
        """Register a custom model, which gets a small file to download."""
        given = fields.checked(body, partial=False)
        model_id = self._new_id(given.get("name"))
        kept = {name: value for name, value in given.items() if name not in fields.CALCULATED and value is not None}
        now = dt.datetime.now(dt.UTC)
        created = {"value": now.isoformat(), "readable": now.strftime("%B %d, %Y")}
        wire = complete({"created": created} | kept | {"custom": True}, model_id=model_id, size_bytes=CUSTOM_BYTES)
        entry = Entry(Seed(wire, Content(model_id, CUSTOM_BYTES)), self._settings)
        self._store(entry, wire)
        self._entries[model_id] = entry
        return self._view(entry)

    def _new_id(self, name: object) -> str:
        """Return an id never given before; the same steps give the same ids, so that a notebook reads alike again."""
        for number in itertools.count():
            model_id = str(uuid.uuid5(_CREATED, f"{number} {name!a}"))
            if model_id not in self._entries and model_id not in self._deleted:
                return model_id
        raise AssertionError  # a count has no end

    async def delete(self, model_id: str) -> None:
        """Remove a custom model with everything it has."""
        entry = self._custom(model_id, "deleted")
        if entry.running:
            await self._stop(entry)
        async with entry.moving:
            if self._entries.get(model_id) is not entry:
                raise Refused(410, f"Model not found: {model_id[:80]}")
            self._forget(model_id)
            entry.free()
            with contextlib.suppress(OSError):  # The model is gone; a file that stays is removed at the next start.
                self._home.models.remove(model_id)
        entry.channel.shut()
        self._tell(entry, deleted=True)

    def _forget(self, model_id: str) -> None:
        """Take the model off the table and out of the state: both, or raise Refused."""
        before = self._stored
        self._stored = {key: item for key, item in before.items() if key != model_id}
        self._deleted.add(model_id)
        try:
            self._save()
        except Refused:
            self._stored = before
            self._deleted.discard(model_id)
            raise
        del self._entries[model_id]

    async def delete_cache(self, model_id: str) -> dict[str, Any]:
        """Remove the downloaded file; a loaded model is unloaded first."""
        entry = self._local(model_id, "removed from the disk")
        works_on_s = self._settings.switches.delete_cache_works_on_s
        await self._move(entry, self._check_delete_cache, self._delete_cache, works_on_s=works_on_s)
        return {"model": {"id": model_id}}

    def _check_delete_cache(self, entry: Entry) -> None:
        if entry.running:
            raise Refused(500, f"{entry.name} is being downloaded; cancel that first.")
        if not entry.downloaded:
            raise Refused(500, f"{entry.name} is not downloaded; there is no file to delete.")

    async def _delete_cache(self, entry: Entry) -> None:
        try:
            self._home.models.remove(entry.model_id)
        except OSError as exc:
            raise Refused(500, f"The file of {entry.name} cannot be deleted: {os_error_text(exc)}") from exc
        self._free(entry)
        entry.downloaded = False
        entry.channel.forget()
        self._tell(entry)

    async def score(self, model_id: str) -> None:
        """Count a use of the model, in memory only."""
        entry = self.entry(model_id)
        score = copy.copy(entry.wire.get("score")) or {"automatic": 0, "manual": 0}
        entry.wire = entry.wire | {"score": score | {"automatic": score.get("automatic", 0) + 1}}

    def _custom(self, model_id: str, participle: str) -> Entry:
        entry = self.entry(model_id)
        if entry.wire.get("custom") is not True:
            raise Refused(500, f"{entry.name} is not a custom model; only custom models can be {participle}.")
        return entry

    def _store(self, entry: Entry, wire: dict[str, Any]) -> None:
        before = self._stored
        self._stored = before | {entry.model_id: {"model": wire, "size": entry.content.size_bytes}}
        try:
            self._save()
        except Refused:
            self._stored = before
            raise
        entry.wire = wire
        self._tell(entry)

    # Ends and listeners

    def _tell(self, entry: Entry, *, deleted: bool = False) -> None:
        self.identifiers.send(fields.identifiers(entry.model_id, deleted=deleted))

    async def close(self) -> None:
        """End every transfer and socket, and free all memory."""
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None and not entry.task.done()]
        tasks += [*self._works, *self.engine.tasks()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self.identifiers.shut()
        self.engine.shut()
        for entry in self._entries.values():
            entry.channel.shut()
            entry.free()
