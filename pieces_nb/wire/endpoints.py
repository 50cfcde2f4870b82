"""One function per endpoint of the Model API: ids in, models out. Knows no names, keeps nothing.

What a command is answered with is not read: a snapshot confirms it, and some answers are empty or mere text.

Source: the Pieces OpenAPI, ModelApi and ModelsApi; each function names its call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pieces_nb.errors import ModelNotFound, PiecesServerError, ProtocolError
from pieces_nb.model.models import Model, models_from_wire
from pieces_nb.text import printable
from pieces_nb.wire.addresses import quoted_id

if TYPE_CHECKING:
    from pieces_nb.wire.http import Transport
    from pieces_nb.wire.websocket import ProgressSocket

GONE = 410


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
