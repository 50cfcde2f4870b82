"""One function per endpoint of the Model API: ids in, models out. Knows no names, keeps nothing.

What a command is answered with is not read: a snapshot confirms it, and some answers are empty or mere text.

Source: the Pieces OpenAPI, ModelApi and ModelsApi; each function names its call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pieces_nb.errors import ModelNotFound, PiecesServerError, ProtocolError
from pieces_nb.model.models import Model, models_from_wire
from pieces_nb.text import printable
from pieces_nb.wire.addresses import quoted_id

if TYPE_CHECKING:
    from pieces_nb.wire.http import Answer, Transport
    from pieces_nb.wire.websocket import ProgressSocket

GONE = 410
NOT_THERE = 404
EngineWork = Literal["install", "update"]


def models(transport: Transport) -> list[Model]:
    """`GET /models`."""
    answer = transport.get("/models")
    return models_from_wire(answer.json(), source=answer.url)


def snapshot(transport: Transport, model_id: str) -> Model:
    """`GET /model/{model}`; `ModelNotFound` for its 410."""
    try:
        answer = transport.get(f"/model/{quoted_id(model_id)}")
    except PiecesServerError as exc:
        if exc.status != GONE:
            raise
        raise ModelNotFound(f"The server has no model {model_id!r}: {exc.text or exc}", model=model_id) from exc
    model = Model.from_wire(answer.json(), source=answer.url)
    if model.id != model_id:
        shown = printable(model.id, limit=60)
        raise ProtocolError(f"{answer.url} answered about another model, {shown!r}.", url=answer.url)
    return model


def download(transport: Transport, model_id: str) -> None:
    """`POST /model/{model}/download`; starts it and, as far as is known, answers at once."""
    transport.post(f"/model/{quoted_id(model_id)}/download")


def cancel_download(transport: Transport, model_id: str) -> None:
    """`POST /model/{model}/download/cancel`."""
    transport.post(f"/model/{quoted_id(model_id)}/download/cancel")


def open_progress(transport: Transport, model_id: str) -> ProgressSocket:
    """`GET /model/{model}/download/progress`, a WebSocket of ModelDownloadProgress; not opened yet."""
    return transport.progress_socket(f"/model/{quoted_id(model_id)}/download/progress")


def load(transport: Transport, model_id: str, *, timeout_s: float) -> None:
    """`POST /model/{model}/load`; may take a minute and reports no progress."""
    transport.post(f"/model/{quoted_id(model_id)}/load", timeout_s=timeout_s)


def unload(transport: Transport, model_id: str) -> None:
    """`POST /model/{model}/unload`."""
    transport.post(f"/model/{quoted_id(model_id)}/unload")


def unload_all(transport: Transport) -> None:
    """`POST /models/unload`; 204."""
    transport.post("/models/unload")


def update(transport: Transport, model: dict[str, Any]) -> None:
    """`POST /model/update`, with a whole Model; the server takes it for custom models only."""
    transport.post("/model/update", model)


def create(transport: Transport, seeded: dict[str, Any]) -> Model:
    """`POST /models/create`, with a SeededModel."""
    answer = transport.post("/models/create", seeded)
    return Model.from_wire(answer.json(), source=answer.url)


def delete(transport: Transport, model_id: str) -> None:
    """`POST /models/{model}/delete`; 204; custom models only."""
    transport.post(f"/models/{quoted_id(model_id)}/delete")


def delete_cache(transport: Transport, model_id: str) -> None:
    """`POST /models/{model}/delete/cache`: the downloaded files."""
    transport.post(f"/models/{quoted_id(model_id)}/delete/cache", {})


# The engine under the local models: newer servers only. What they say, OllamaStatus and OllamaDeployment, stays raw.


def engine_status(transport: Transport) -> dict[str, Any] | None:
    """`GET /ollama/status`; None where the server has no such calls."""
    try:
        answer = transport.get("/ollama/status")
    except PiecesServerError as exc:
        if exc.status != NOT_THERE:
            raise
        return None
    return _object(answer)


def engine_install(transport: Transport, version: str = "") -> dict[str, Any]:
    """`POST /ollama/install`; answers at once, with what begins; without a version the server chooses."""
    return _object(transport.post("/ollama/install", _wanted(version)))


def engine_update(transport: Transport, version: str = "") -> dict[str, Any]:
    """`POST /ollama/update`; likewise."""
    return _object(transport.post("/ollama/update", _wanted(version)))


def engine_deployment(transport: Transport, kind: EngineWork, deployment_id: str) -> dict[str, Any]:
    """`GET /ollama/install/{id}` or `GET /ollama/update/{id}`."""
    return _object(transport.get(f"/ollama/{kind}/{quoted_id(deployment_id)}"))


def cancel_engine(transport: Transport, kind: EngineWork, deployment_id: str) -> dict[str, Any]:
    """`POST /ollama/install/{id}/cancel` or `POST /ollama/update/{id}/cancel`."""
    return _object(transport.post(f"/ollama/{kind}/{quoted_id(deployment_id)}/cancel"))


def open_engine_status(transport: Transport) -> ProgressSocket:
    """`GET /ollama/status/stream`, a WebSocket of OllamaStatus; not opened yet."""
    return transport.progress_socket("/ollama/status/stream")


def _wanted(version: str) -> dict[str, str] | None:
    return {"version": version} if version else None


def _object(answer: Answer) -> dict[str, Any]:
    body = answer.json()
    if not isinstance(body, dict):
        raise ProtocolError(f"{answer.url} answered with something that is not a JSON object.", url=answer.url)
    return body
