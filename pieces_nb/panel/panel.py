"""`Panel`: the control panel of one client."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pieces_nb.client import ModelClient
    from pieces_nb.models import Model


class Panel:
    """A control panel of ipywidgets for the models of one client."""

    def __init__(self, client: ModelClient, model: str | Model | None = None) -> None:
        self._client = client
        self._model = model

    def close(self) -> None:
        """Leave no thread and no widget behind."""
