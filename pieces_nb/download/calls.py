"""The calls by which something is begun on the server, followed and canceled: what the follower knows of the wire.

`ModelCalls` are those of a model's download. Other work that is told in the same words has calls of its own.
"""

from __future__ import annotations

from typing import Protocol

from pieces_nb.model import rules
from pieces_nb.model.models import Model, ModelDownloadProgress
from pieces_nb.text import Step
from pieces_nb.wire import endpoints
from pieces_nb.wire.http import Transport
from pieces_nb.wire.websocket import ProgressSocket


class Calls(Protocol):
    """Called from several threads; each raises what its endpoint raises."""

    def start(self, transport: Transport, model_id: str) -> None:
        """Send the POST that begins it."""

    def snapshot(self, transport: Transport, model_id: str) -> Model:
        """Return how it stands: `downloading` and `downloaded` of a model count."""

    def how_it_ended(self, transport: Transport, seen: Model) -> ModelDownloadProgress | None:
        """Return the end that the server tells apart from that snapshot; None where it tells none."""

    def cancel(self, transport: Transport, model_id: str) -> None:
        """Send the POST that cancels it; `ModelStateError` where there is nothing that could be sent."""

    def open_progress(self, transport: Transport, model_id: str) -> ProgressSocket:
        """Return the WebSocket of its frames, not opened yet."""

    def decode(self, frame: object) -> ModelDownloadProgress:
        """Return what a frame says; it is JSON already."""

    def progress_step(self) -> Step:
        """How to see how far it is."""

    def watch_step(self, model: Model) -> Step:
        """How to see it move."""

    def cancel_step(self, model: Model) -> Step:
        """How to cancel it."""

    def again_step(self, model: Model) -> Step:
        """How to try it again."""


class ModelCalls:
    """The calls of a model's download."""

    def start(self, transport: Transport, model_id: str) -> None:
        endpoints.download(transport, model_id)

    def snapshot(self, transport: Transport, model_id: str) -> Model:
        return endpoints.snapshot(transport, model_id)

    def how_it_ended(self, transport: Transport, seen: Model) -> None:  # noqa: ARG002 - as in Calls
        return None

    def cancel(self, transport: Transport, model_id: str) -> None:
        endpoints.cancel_download(transport, model_id)

    def open_progress(self, transport: Transport, model_id: str) -> ProgressSocket:
        return endpoints.open_progress(transport, model_id)

    def decode(self, frame: object) -> ModelDownloadProgress:
        return ModelDownloadProgress.from_wire(frame)

    def progress_step(self) -> Step:
        return Step("progress", "client.progress()")

    def watch_step(self, model: Model) -> Step:  # noqa: ARG002 - as in Calls
        return Step("progress --watch", "client.progress()")

    def cancel_step(self, model: Model) -> Step:
        return rules.step_with("cancel", model)

    def again_step(self, model: Model) -> Step:
        return rules.step_with("download", model)
