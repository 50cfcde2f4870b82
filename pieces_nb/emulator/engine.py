"""The engine under the local models: there or not, its install and update. Knows no models.

What an install brings is bytes in a file of the home, moved as a download's are. All runs on the emulator's loop.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
import uuid
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from pieces_nb.emulator import fields
from pieces_nb.emulator.catalogue import CREATED, SCHEMA
from pieces_nb.emulator.content import Content
from pieces_nb.emulator.errors import Refused, TransferFailed
from pieces_nb.emulator.home import Home
from pieces_nb.emulator.progress import Audience, Sink, Status, progress
from pieces_nb.emulator.settings import ENGINE, Faults, Settings
from pieces_nb.emulator.transfer import Transfer

NAME = "Ollama"
LATEST = "0.12.6"
OUTDATED = "0.9.0"
ENGINE_BYTES = 12_000_000
_IDS = uuid.UUID("9a6a3d7e-52a8-5d0c-8c43-1f7d4c2b6e55")  # the namespace of installs and updates
_BUILT_IN_ID = str(uuid.uuid5(_IDS, "there from the beginning"))
# kind → the word for it in a sentence, and the field of the status that shows one under way
_NOUNS = {"install": "installation", "update": "update"}
_UNDER_WAY = {"install": "installing", "update": "updating"}


class Deployment:
    """One install or update, from its call to its end and after it."""

    def __init__(self, kind: str, version: str, deployment_id: str) -> None:
        self.kind = kind
        self.version = version
        self.deployment_id = deployment_id
        self.progress: dict[str, Any] = {}
        self.task: asyncio.Task[None] | None = None

    def view(self) -> dict[str, Any]:
        """Return the OllamaDeployment as the wire has it."""
        return {"schema": SCHEMA, **self.progress, "id": self.deployment_id, "version": self.version}


class Engine(Audience):
    """The engine, and the listeners to its status. Each call returns what the wire answers, or raises Refused."""

    def __init__(
        self, stored: object, *, home: Home, settings: Settings, executor: Executor, save: Callable[[], None]
    ) -> None:
        super().__init__()
        self._home = home
        self._settings = settings
        self._executor = executor
        self._save = save
        self._deployments: dict[str, Deployment] = {}
        self._running: Deployment | None = None
        self._last: Deployment | None = None
        self.stored = fields.stored_engine(stored)  # what this home installed, as OllamaDeployment
        if self.stored is not None and not home.engine.holds(_key(self.stored["version"]), ENGINE_BYTES):
            self.stored = None
        home.engine.keep_only(_key(self.stored["version"]) if self.stored is not None else None)

    # Reading

    def _installation(self) -> dict[str, Any] | None:
        """Return the OllamaDeployment that is there: the one this home installed, else what the switch says."""
        if self.stored is not None:
            return self.stored
        there = {"schema": SCHEMA, "id": _BUILT_IN_ID, "version": LATEST, "updated": CREATED}
        match self._settings.switches.engine:
            case "ready":
                return there
            case "outdated":
                return there | {"version": OUTDATED}
            case "user-managed":
                return there | {"version": OUTDATED, "userManaged": True}
        return None

    def _status(self, of: Deployment | None) -> dict[str, Any]:
        status: dict[str, Any] = {"schema": SCHEMA, "recommendation": {"schema": SCHEMA, "inference": True}}
        installation = self._installation()
        if installation is not None:
            status["installation"] = installation
            if _numbers(installation["version"]) < _numbers(LATEST):
                managed = {"userManaged": True} if installation.get("userManaged") else {}
                status["updateRequired"] = {"schema": SCHEMA, "version": LATEST} | managed
        if of is not None:
            status[_UNDER_WAY[of.kind]] = of.view()
        return status

    async def status(self) -> dict[str, Any]:
        """Return the OllamaStatus; of installs and updates it has the one that runs."""
        return self._status(self._running)

    async def deployment(self, kind: str, deployment_id: str) -> dict[str, Any]:
        """Return an install or update, one that has ended too."""
        found = self._deployments.get(deployment_id)
        if found is not None and found.kind == kind:
            return found.view()
        installation = self._installation()
        if installation is not None and installation.get("id") == deployment_id and kind == "install":
            return installation | progress("COMPLETED", 100.0, None, switches=self._settings.switches)
        raise Refused(500, f"{NAME} has no {_NOUNS[kind]} with the id {deployment_id[:80]}.")

    def connect(self, sink: Sink) -> None:
        """Add a listener, and tell it the status."""
        super().connect(sink)
        sink.send(json.dumps(self._status(self._running)))

    def require(self, purpose: str) -> None:
        """Raise Refused where there is no engine, which `purpose` ("to load …") needs."""
        if self._installation() is None and self._settings.switches.engine != "none":
            raise Refused(500, f"{NAME} is not installed, and local models need it. Install it {purpose}.")

    def _faults(self) -> Faults:
        return self._settings.faults_for(ENGINE, None)

    def socket_refused(self) -> str | None:
        """Return how the WebSocket refuses to open, if it does."""
        return self._faults().socket_refused

    # Installing and updating

    async def start(self, kind: str, body: object) -> dict[str, Any]:
        """Start an install or update and answer at once; one that runs is joined, one that is done is answered."""
        version = fields.engine_version(body) or LATEST
        error = self._faults().install_error
        if error is not None:
            raise Refused(500, error)
        if self._running is not None:
            return self._join(kind, version)
        installation = self._installation()
        _check_start(kind, version, installation)
        if installation is not None and installation["version"] == version:
            return installation | progress("COMPLETED", 100.0, None, switches=self._settings.switches)
        if self._home.free_bytes() < ENGINE_BYTES:
            raise Refused(500, f"{NAME} {version} cannot be installed: No space left on device.")
        return self._start(kind, version).view()

    def _join(self, kind: str, version: str) -> dict[str, Any]:
        running = self._running
        assert running is not None
        if (running.kind, running.version) != (kind, version):
            raise Refused(
                500, f"The {_NOUNS[running.kind]} of {NAME} {running.version} is under way; wait or cancel it."
            )
        return running.view()

    def _start(self, kind: str, version: str) -> Deployment:
        deployment = Deployment(kind, version, self._new_id(kind, version))
        self._deployments[deployment.deployment_id] = deployment
        self._running = deployment
        self.publish("INITIALIZED", 0.0)
        deployment.task = asyncio.create_task(self._run(deployment), name=f"{kind} of the engine")
        deployment.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return deployment

    def _new_id(self, kind: str, version: str) -> str:
        """Return an id never given before in this home; the same steps give the same ids."""
        installation = self._installation() or {}
        taken = {*self._deployments, installation.get("id")}
        ids = (str(uuid.uuid5(_IDS, f"{number} {kind} {version}")) for number in itertools.count())
        return next(found for found in ids if found not in taken)

    async def _run(self, deployment: Deployment) -> None:
        transfer = Transfer(
            Content(_key(deployment.version), ENGINE_BYTES),
            files=self._home.engine,
            sha256=None,
            channel=self,
            settings=self._settings,
            faults=self._faults,
            executor=self._executor,
        )
        await transfer.run(succeeded=lambda: self._install(deployment), ended=self._ended)

    def _install(self, deployment: Deployment) -> None:
        now = dt.datetime.now(dt.UTC)
        updated = {"schema": SCHEMA, "value": now.isoformat(), "readable": now.strftime("%B %d, %Y")}
        view = {"schema": SCHEMA, "id": deployment.deployment_id, "version": deployment.version, "updated": updated}
        before, self.stored = self.stored, view
        try:
            self._save()
        except Refused as exc:
            self.stored = before
            raise TransferFailed(exc.text) from exc
        self._home.engine.keep_only(_key(deployment.version))

    def _ended(self) -> None:
        self._last, self._running = self._running, None

    def publish(self, status: Status, percentage: float | None = None, message: str | None = None) -> None:
        """Note how far the install or update is, and tell everybody the whole status."""
        deployment = self._running or self._last
        assert deployment is not None
        deployment.progress = progress(status, percentage, message, switches=self._settings.switches)
        self.send(self._status(deployment))

    async def cancel(self, kind: str, deployment_id: str) -> dict[str, Any]:
        """Stop an install or update, and remove what it wrote."""
        view = await self.deployment(kind, deployment_id)
        running = self._running
        if running is None or running.deployment_id != deployment_id:
            raise Refused(500, f"The {_NOUNS[kind]} of {NAME} {view['version']} is not under way.")
        if not self._faults().cancel_ignored:
            await self._stop(running)
        return running.view()

    async def _stop(self, deployment: Deployment) -> None:
        task = deployment.task
        assert task is not None
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() or self._running is not deployment:
            return  # It ended by itself just before, or another call canceled it.
        self._ended()
        deployment.progress = progress("CANCELED", None, None, switches=self._settings.switches)
        match self._settings.switches.after_cancel:
            case "canceled":
                self.publish("CANCELED")
            case "reset":
                self.publish("RESET")
            case "nothing":
                self.send(self._status(None))

    def tasks(self) -> list[asyncio.Task[None]]:
        """Return what still runs."""
        return [self._running.task] if self._running is not None and self._running.task is not None else []


def _key(version: str) -> str:
    return f"engine {version}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


def _check_start(kind: str, version: str, installation: dict[str, Any] | None) -> None:
    """Raise Refused for what cannot be installed over what is there, or updated."""
    if installation is None:
        if kind == "update":
            raise Refused(500, f"{NAME} is not installed, so there is nothing to update. Install it first.")
        return
    there = installation["version"]
    if installation.get("userManaged"):
        raise Refused(500, f"{NAME} {there} was installed by the user, who has to update it; this server does not.")
    if kind == "install" and there != version:
        raise Refused(500, f"{NAME} {there} is installed already; an update brings another version.")
    if kind == "update" and _numbers(version) < _numbers(there):
        raise Refused(500, f"{NAME} {there} is newer than {version}; an update does not go back.")
