"""The engine under the local models, as one answer described it. Lenient, pure.

Source: the Pieces OpenAPI schemas OllamaStatus and OllamaDeployment (`/ollama/*`, newer servers only).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from pieces_nb.model.models import DownloadStatus, ModelDownloadProgress
from pieces_nb.text import Step, format_percentage, printable


def engine_step(work: str) -> Step:
    """How to install it, update it or cancel either."""
    return Step(f"engine {work}" if work == "cancel" else f"engine {work} --yes", f"client.{work}_engine()")


class EngineState(StrEnum):
    """What the engine is, in a word or two."""

    UNKNOWN = "unknown"  # the server has no calls for it
    MISSING = "missing"
    INSTALLING = "installing"
    UPDATING = "updating"
    OUTDATED = "update needed"
    READY = "ready"


class Deployment(NamedTuple):
    """One version of the engine: the one there is, or one that comes."""

    id: str = ""
    version: str = ""
    status: DownloadStatus = DownloadStatus.UNKNOWN
    percentage: float | None = None  # 0–100
    user_managed: bool = False  # the user has to act, Pieces OS will not

    @classmethod
    def from_wire(cls, value: object) -> Deployment | None:
        """Return what an OllamaDeployment says; None if it is not an object."""
        if not isinstance(value, Mapping):
            return None
        progress = ModelDownloadProgress.from_wire(dict(value))
        return cls(
            id=_text(value.get("id")),
            version=_text(value.get("version")),
            status=progress.status,
            percentage=progress.percentage,
            user_managed=value.get("userManaged") is True,
        )


class Engine(NamedTuple):
    """What OllamaStatus says; every part None where it says nothing."""

    known: bool = False  # whether the server has these calls
    installation: Deployment | None = None
    installing: Deployment | None = None
    updating: Deployment | None = None
    update_required: Deployment | None = None

    @classmethod
    def from_wire(cls, value: object) -> Engine:
        """Return what an answer says; None is a server without these calls."""
        if not isinstance(value, Mapping):
            return cls()
        parts = {ours: Deployment.from_wire(value.get(theirs)) for ours, theirs in _PARTS.items()}
        return cls(known=True, **parts)

    @property
    def under_way(self) -> Deployment | None:
        """The installation or update that runs."""
        return next((one for one in (self.installing, self.updating) if one and not one.status.is_terminal), None)

    @property
    def state(self) -> EngineState:
        if not self.known:
            return EngineState.UNKNOWN
        if self.under_way is not None:
            return EngineState.INSTALLING if self.under_way is self.installing else EngineState.UPDATING
        if self.installation is None:
            return EngineState.MISSING
        return EngineState.OUTDATED if self.update_required is not None else EngineState.READY

    @property
    def user_managed(self) -> bool:
        """Whether the user, not Pieces OS, looks after it."""
        return any(one is not None and one.user_managed for one in (self.installation, self.update_required))

    @property
    def words(self) -> str:
        """All of that in a line, without a next step."""
        match self.state:
            case EngineState.UNKNOWN:
                return "this server has no calls for an engine"
            case EngineState.MISSING:
                return "not installed: local models cannot be downloaded or loaded without it"
            case EngineState.INSTALLING | EngineState.UPDATING as state:
                return f"{state}{_version(self.under_way)}{_at(self.under_way)}"
        managed = ", managed by you" if self.user_managed else ""
        wanted = _version(self.update_required) or " a newer one"
        update = f";{wanted} is needed" if self.state is EngineState.OUTDATED else ""
        return f"installed{_version(self.installation)}{managed}{update}"


_PARTS = {
    "installation": "installation",
    "installing": "installing",
    "updating": "updating",
    "update_required": "updateRequired",
}


def _version(deployment: Deployment | None) -> str:
    return f" {printable(deployment.version, limit=40)}" if deployment is not None and deployment.version else ""


def _at(deployment: Deployment | None) -> str:
    known = deployment is not None and deployment.percentage is not None
    return f", {format_percentage(deployment.percentage)}" if known else ""  # type: ignore[union-attr,arg-type]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
