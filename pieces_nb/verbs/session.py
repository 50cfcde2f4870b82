"""What the verbs act on: one client, from the first call to `close()` or the next `connect`. Shows nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pieces_nb.errors import PiecesError
from pieces_nb.locks import Lock
from pieces_nb.text import Step

if TYPE_CHECKING:
    from pieces_nb.client import ModelClient, Settings
    from pieces_nb.doctor import Check
    from pieces_nb.model.models import Model
    from pieces_nb.rows import Parts, Rows
    from pieces_nb.verbs.front import FrontEnd
    from pieces_nb.verbs.grammar import Command

_TAB_S = 0.15  # how long Tab may wait for the first list of models
_NO_MODELS: Parts = (
    "The server has no models at all. Is its download of the model list finished? ",
    Step("create NAME", 'client.create("NAME")'),
    " makes a custom one.",
)


class Session:
    """The client of one front end, its settings, and the models as they were last listed."""

    def __init__(self, front_end: FrontEnd) -> None:
        self.front_end = front_end
        self.settings: Settings | None = None
        self.url = ""
        self._client: ModelClient | None = None
        self._seen: list[Model] = []  # for completion
        self._refreshing = Lock()

    def set_up(self, *, url: str, settings: Settings | None = None) -> None:
        """Take the settings as they are now; another address means another client at the next call."""
        self.settings = settings
        if url != self.url:
            self.url = url
            self.use(None)
        if self._client is not None and settings is not None:
            self._client.settings = settings

    def run(self, command: Command) -> Any:
        """Do it, and return what the verb returns: see `front`."""
        return command.verb.action(self, **command.arguments)

    # The client ------------------------------------------------------------------------------------------------------

    @property
    def client(self) -> ModelClient:
        if self._client is None:
            self._client = self.new_client(None)
        return self._client

    def new_client(self, to: str | None) -> ModelClient:
        """Return a client of the server `to`, by default of the one that the settings name."""
        from pieces_nb.client import ModelClient

        return ModelClient(to or self.url or None, settings=self.settings)

    def names_emulator(self, to: str | None = None) -> bool:
        """Whether `to`, or else the settings or the environment, mean the emulator inside this process."""
        from pieces_nb.wire.connection import EMULATOR, address_from_environment

        return (to or self.url or address_from_environment()) == EMULATOR

    def checks(self) -> list[Check]:
        """Return what `doctor` finds, whether or not there is a server to make a client of."""
        return self.client.checks(self.front_end.looks_at)

    def use(self, client: ModelClient | None) -> None:
        """Go on with another client; the one before is closed."""
        old, self._client = self._client, client
        self._seen = []
        if old is not None:
            old.close()

    def close(self) -> None:
        self.use(None)

    # Models ----------------------------------------------------------------------------------------------------------

    def models(self) -> list[Model]:
        self._seen = self.client.models()
        return self._seen

    def named(self, names: Sequence[str]) -> list[Model]:
        """Return the models of these names: a wrong one among several stops all before anything is done."""
        return [self.client.get(name) for name in names]

    def table(self, models: Sequence[Model], *, when_empty: Parts = _NO_MODELS, **options: Any) -> Rows:
        """Return the rows of these models, as `list` has them; `options` of `rows.models`."""
        from pieces_nb import rows

        return rows.models(models, server=self.client.server, when_empty=when_empty, **options)

    def known_models(self) -> list[Model]:
        """Return the models as last listed, at once; a fresh list is fetched meanwhile for the next time."""
        if self._client is not None and self._refreshing.acquire(blocking=False):
            refresh = threading.Thread(target=self._refresh, name="pieces-nb-completion", daemon=True)
            refresh.start()
            if not self._seen:
                refresh.join(_TAB_S)
        return self._seen

    def _refresh(self) -> None:
        client = self._client
        try:
            if client is not None and client.connection.connected:
                self._seen = client.models()
        except PiecesError:
            pass  # Tab is no place for errors
        finally:
            self._refreshing.release()
