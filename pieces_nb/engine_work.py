"""The install and the update of the engine under the local models, followed as a download is.

What the status says of it is put as a `Model`, so that the same state machine decides: the stream is a hint, the status
the truth. Source: the Pieces OpenAPI, OllamaApi.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pieces_nb.errors import ModelStateError, PiecesError, ProtocolError
from pieces_nb.model.engine import Deployment, Engine, EngineState, engine_step
from pieces_nb.model.models import DownloadStatus, Model, ModelDownloadProgress
from pieces_nb.text import Part, Step, printable
from pieces_nb.wire import endpoints
from pieces_nb.wire.endpoints import EngineWork
from pieces_nb.wire.http import Transport
from pieces_nb.wire.websocket import ProgressSocket

ENGINE_ID = "engine"  # its key among the downloads that are followed
NAME = "Ollama"
_NOUNS: dict[EngineWork, str] = {"install": "installation", "update": "update"}


class EngineCalls:
    """The calls of one install or update. Learns its id from whichever answer names it first."""

    def __init__(self, kind: EngineWork, before: Engine) -> None:
        self._kind = kind
        self._version_before = _version(before.installation)
        part = _part(before, kind)
        running = part if part is not None and part is before.under_way else None
        self.joined = running is not None
        self.version = _version(running or before.update_required)  # the one that comes; '' where the server chooses
        self._id = running.id if running is not None else ""  # a text; set by any thread, and only to a better one

    # The calls, as `download.calls.Calls` has them -------------------------------------------------------------------

    def start(self, transport: Transport, _model_id: str) -> None:
        post = endpoints.engine_install if self._kind == "install" else endpoints.engine_update
        answered = Deployment.from_wire(post(transport, self.version))
        self._learn(answered)

    def snapshot(self, transport: Transport, _model_id: str) -> Model:
        engine = Engine.from_wire(endpoints.engine_status(transport))
        if not engine.known:
            raise ProtocolError(f"{transport.url} has no calls for an engine any more.", url=transport.url)
        self._learn(self._running(engine))
        return self.model(engine)

    def how_it_ended(self, transport: Transport, seen: Model) -> ModelDownloadProgress | None:
        """The status forgets what has ended; the call for one install or update does not."""
        if seen.downloading or seen.downloaded or not self._id:
            return None
        try:
            told = Deployment.from_wire(endpoints.engine_deployment(transport, self._kind, self._id))
        except PiecesError:
            return None  # the status tells enough
        ended = told is not None and told.id in ("", self._id) and told.status.is_terminal
        return ModelDownloadProgress(told.status, told.percentage) if told is not None and ended else None

    def cancel(self, transport: Transport, _model_id: str) -> None:
        if not self._id:
            self._learn(self._running(Engine.from_wire(endpoints.engine_status(transport))))
        if not self._id:
            raise ModelStateError(f"the server names no {_NOUNS[self._kind]} that could be canceled")
        endpoints.cancel_engine(transport, self._kind, self._id)

    def open_progress(self, transport: Transport, _model_id: str) -> ProgressSocket:
        return endpoints.open_engine_status(transport)

    def decode(self, frame: object) -> ModelDownloadProgress:
        part = _part(Engine.from_wire(frame), self._kind)
        if part is None:
            return ModelDownloadProgress(DownloadStatus.UNKNOWN)
        self._learn(part if not part.status.is_terminal else None)
        return ModelDownloadProgress(part.status, part.percentage)

    def progress_step(self) -> Step:
        return Step("engine", "client.engine()")

    def watch_step(self, _model: Model) -> Step:
        return engine_step(self._kind)  # it joins what runs

    def cancel_step(self, _model: Model) -> Step:
        return engine_step("cancel")

    def again_step(self, _model: Model) -> Step:
        return engine_step(self._kind)

    # What they make of it --------------------------------------------------------------------------------------------

    def model(self, engine: Engine) -> Model:
        """Return what the status says of this work; a flag that it leaves open is missing."""
        running = self._running(engine)
        there = engine.installation
        version = _version(running) or self.version or _version(there)
        raw: dict[str, Any] = {
            "id": ENGINE_ID,
            "name": f"{NAME} {version}".rstrip(),
            "custom": False,
            "cloud": False,
            "downloading": running is not None,
        }
        done = running is None and self._is_done(engine)
        return Model(raw if done is None else raw | {"downloaded": done})

    def _is_done(self, engine: Engine) -> bool | None:
        """Whether that engine is there; None where the status does not tell."""
        there = engine.installation
        if there is None or self._kind == "install":
            return there is not None
        if there.version and there.version == self.version:
            return True
        if engine.update_required is not None:
            return False
        return True if there.version != self._version_before else None

    def _running(self, engine: Engine) -> Deployment | None:
        part = _part(engine, self._kind)
        return part if part is not None and part is engine.under_way else None

    def _learn(self, deployment: Deployment | None) -> None:
        if deployment is not None:
            self._id = deployment.id or self._id
            self.version = self.version or _version(deployment)


class Plan(NamedTuple):
    """What an install or update would do, as the engine stands."""

    kind: EngineWork
    calls: EngineCalls
    model: Model

    @property
    def joined(self) -> bool:
        return self.calls.joined

    @property
    def done(self) -> bool:
        """Whether there is nothing to do."""
        return self.model.downloaded

    @property
    def words(self) -> str:
        """It in a sentence, without the stop."""
        version = self.calls.version
        which = f"{' to' if self.kind == 'update' else ''} {version}" if version else ""
        chosen = "" if version else ", in the version that the server chooses"
        return f"This {self.kind}s {NAME}{which}, the engine under local models{chosen}"


def plan(kind: EngineWork, engine: Engine) -> Plan:
    """Return what is to be done; raises `ModelStateError` where the server cannot, or will not, do it."""
    if refusal := _why_not(kind, engine):
        raise ModelStateError(*refusal)
    calls = EngineCalls(kind, engine)
    model = calls.model(engine)
    if not calls.joined and _has_nothing_to_do(kind, engine):
        model = Model(model.raw | {"downloaded": True})
    return Plan(kind, calls, model)


def _has_nothing_to_do(kind: EngineWork, engine: Engine) -> bool:
    return engine.installation is not None and (kind == "install" or engine.update_required is None)


def _why_not(kind: EngineWork, engine: Engine) -> tuple[Part, ...]:
    """Return why it cannot be begun or joined, as errors are made of; () if it can."""
    if not engine.known:
        return (f"This server has no calls for an engine: it cannot {kind} one.",)
    if engine.under_way is not None:
        same = engine.under_way is _part(engine, kind)
        return () if same else (f"{NAME} is {engine.words}: ", engine_step("cancel"), " stops that.")
    if engine.user_managed:
        return (f"{NAME} is {engine.words}: {kind} it as you installed it; the server does not.",)
    if kind == "update" and engine.state is EngineState.MISSING:
        return (f"{NAME} is not installed: ", engine_step("install"), " comes first.")
    return ()


def under_way(engine: Engine) -> EngineWork:
    """Return what runs; raises `ModelStateError` if nothing does."""
    match engine.state:
        case EngineState.INSTALLING:
            return "install"
        case EngineState.UPDATING:
            return "update"
    raise ModelStateError(f"No installation or update of {NAME} is under way.")


def _part(engine: Engine, kind: EngineWork) -> Deployment | None:
    return engine.installing if kind == "install" else engine.updating


def _version(deployment: Deployment | None) -> str:
    return printable(deployment.version, limit=40) if deployment is not None else ""
