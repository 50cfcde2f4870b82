"""One function per endpoint of the Model API: ids in, models out. Knows no names, keeps nothing.

Source: the Pieces OpenAPI, ModelApi and ModelsApi; each function names its call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pieces_nb.addresses import quoted_id
from pieces_nb.errors import ModelNotFound, PiecesServerError
from pieces_nb.models import Model, models_from_wire

if TYPE_CHECKING:
    from pieces_nb.transport import Answer, ProgressSocket, Transport

GONE = 410


def models(transport: Transport) -> list[Model]:
    """`GET /models`."""
    return models_from_wire(transport.get("/models").json())


def snapshot(transport: Transport, model_id: str) -> Model:
    """`GET /model/{model}`; `ModelNotFound` for its 410."""
    try:
        answer = transport.get(f"/model/{quoted_id(model_id)}")
    except PiecesServerError as exc:
        if exc.status != GONE:
            raise
        raise ModelNotFound(f"The server has no model {model_id!r}: {exc.text or exc}", model=model_id) from exc
    return Model.from_wire(answer.json())


def download(transport: Transport, model_id: str) -> Model | None:
    """`POST /model/{model}/download`; starts it and, as far as is known, answers at once. None: answered emptily."""
    return _model_or_nothing(transport.post(f"/model/{quoted_id(model_id)}/download"))


def cancel_download(transport: Transport, model_id: str) -> Model | None:
    """`POST /model/{model}/download/cancel`."""
    return _model_or_nothing(transport.post(f"/model/{quoted_id(model_id)}/download/cancel"))


def open_progress(transport: Transport, model_id: str) -> ProgressSocket:
    """`GET /model/{model}/download/progress`, a WebSocket of ModelDownloadProgress; not opened yet."""
    return transport.progress_socket(f"/model/{quoted_id(model_id)}/download/progress")


def load(transport: Transport, model_id: str, *, timeout_s: float) -> Model | None:
    """`POST /model/{model}/load`; may take a minute and reports no progress."""
    return _model_or_nothing(transport.post(f"/model/{quoted_id(model_id)}/load", timeout_s=timeout_s))


def unload(transport: Transport, model_id: str) -> Model | None:
    """`POST /model/{model}/unload`."""
    return _model_or_nothing(transport.post(f"/model/{quoted_id(model_id)}/unload"))


def unload_all(transport: Transport) -> None:
    """`POST /models/unload`; 204."""
    transport.post("/models/unload")


def update(transport: Transport, model: dict[str, Any]) -> Model | None:
    """`POST /model/update`, with a whole Model; the server takes it for custom models only."""
    return _model_or_nothing(transport.post("/model/update", model))


def create(transport: Transport, seeded: dict[str, Any]) -> Model:
    """`POST /models/create`, with a SeededModel."""
    return Model.from_wire(transport.post("/models/create", seeded).json())


def delete(transport: Transport, model_id: str) -> None:
    """`POST /models/{model}/delete`; 204; custom models only."""
    transport.post(f"/models/{quoted_id(model_id)}/delete")


def delete_cache(transport: Transport, model_id: str) -> None:
    """`POST /models/{model}/delete/cache`: the downloaded files."""
    transport.post(f"/models/{quoted_id(model_id)}/delete/cache", {})


def _model_or_nothing(answer: Answer) -> Model | None:
    """Return the model that a command was answered with. Commands are confirmed by snapshots, not by their answers."""
    return Model.from_wire(answer.json()) if answer.body.strip() else None
