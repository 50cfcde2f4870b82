"""The panel's questions to the server. Each runs in a thread of `Calls` and returns an event, its errors too."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from pieces_nb.errors import PiecesError
from pieces_nb.machine import machine_of
from pieces_nb.text import Front
from pieces_nb.views.panel import events
from pieces_nb.views.panel.state import Server

if TYPE_CHECKING:
    from pieces_nb.client import ModelClient
    from pieces_nb.model.models import Model

log = logging.getLogger(__name__)


def now_words() -> str:
    """Return the local time of day to the second, `14:02:31`."""
    return datetime.now().astimezone().strftime("%H:%M:%S")


class Asking:
    """Asks a client's server for its models, and for what is downloading."""

    def __init__(self, client: ModelClient, clock_s: Callable[[], float]) -> None:
        self._client = client
        self._clock_s = clock_s

    def ask(self, *, anew: bool = False) -> events.Listed:
        """Return all models and the machine; `anew` asks first who answers: it may be another one than before."""
        asked_at, asked = self._clock_s(), now_words()
        client = self._client
        try:
            if anew:
                client.connect()
            models = client.models()
            found = client.connection.found
            server = Server(found.kind, found.version, found.url)
            return events.Listed(asked_at, asked, models, server, machine_of(found.url))
        except PiecesError as exc:
            exc.front = Front.NOTEBOOK
            return events.Listed(asked_at, asked, error=str(exc) or type(exc).__name__)
        except Exception as exc:  # the top of a thread: the panel shows what is stored here
            log.exception("the panel's question broke")
            return events.Listed(asked_at, asked, error=f"pieces_nb itself failed: {exc!r}")

    def join(self, model: Model) -> events.Found | None:
        """Return a download to follow, whoever began it."""
        with suppress(PiecesError):  # it has ended meanwhile, or nobody answers: the next list says
            return events.Found(self._client.progress(model))
        return None
