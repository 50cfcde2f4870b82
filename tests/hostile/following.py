"""Following a download as a person does: what was shown, in which order, and how it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from pieces_nb import ModelClient
from pieces_nb.client import Settings
from pieces_nb.download.download import Download
from pieces_nb.download.state import Timing
from pieces_nb.errors import DownloadCanceled, DownloadFailed
from pieces_nb.wire.connection import Connection
from tests.hostile.server import DEADLINE_S, ID, HostileServer
from tests.waiting import until

# Quick to ask, slow to give up: for the cases in which nothing should be given up.
PATIENT = Timing(
    settle_s=0.15,
    poll_s=0.1,
    poll_closed_s=0.05,
    poll_soon_s=0.03,
    backoff_first_s=0.02,
    backoff_most_s=0.1,
    lost_after_s=DEADLINE_S,
    speed_window_s=1.0,
)


def client_of(
    server: HostileServer | None,
    clients: list[ModelClient],
    *,
    timeout_s: float = 30.0,
    load_timeout_s: float = 30.0,
    timing: Timing = PATIENT,
    connection: Connection | None = None,
) -> ModelClient:
    client = ModelClient(
        server.url if server is not None else None,
        settings=Settings(timeout_s=timeout_s, load_timeout_s=load_timeout_s),
        timing=timing,
        connection=connection,
    )
    clients.append(client)
    return client


def hurried(client: ModelClient, timeout_s: float) -> ModelClient:
    """Let it connect in peace; from then on it waits no longer than that for an answer."""
    client.connect()
    client.settings.timeout_s = timeout_s
    assert client.connection.timeout_s == timeout_s
    return client


class Shown(NamedTuple):
    """One update of a view."""

    attempt: int
    percentage: float | None
    status: str
    done: bool


class Watched:
    """A download with somebody who looks."""

    def __init__(self, download: Download) -> None:
        self.download = download
        self.shown: list[Shown] = []
        self._news = threading.Condition()  # guards shown
        download.subscribe(self._look)

    def _look(self, download: Download) -> None:
        state = download.state
        with self._news:
            self.shown.append(Shown(state.attempt, state.percentage, str(state.status), state.done))
            self._news.notify_all()

    def wait_until(self, condition: Callable[[Download], bool]) -> None:
        """Wait until a state that was shown makes the condition true."""
        with self._news:
            seen = self._news.wait_for(lambda: condition(self.download) or self.download.done, DEADLINE_S)
        assert seen, f"never so: {self.download.state}"
        assert condition(self.download), f"ended before: {self.download.state}"

    def end(self) -> tuple[str, str]:
        """Wait for the end; return its word and the text of the error, and check what was shown on the way."""
        error = ""
        try:
            self.download.wait(timeout=DEADLINE_S)
        except (DownloadFailed, DownloadCanceled) as exc:
            error = str(exc)
        self.check_what_was_shown()
        assert not error or "Phi-2" in error
        until(lambda: not self._threads(), lambda: f"threads left after the end: {self._threads()}")
        return str(self.download.status), error

    def check_what_was_shown(self) -> None:
        attempt, percentage = 0, 0.0
        for shown in self.shown:
            if shown.attempt != attempt:
                attempt, percentage = shown.attempt, 0.0
            if shown.percentage is not None:
                assert 0 <= percentage <= shown.percentage <= 100, self.shown
                percentage = shown.percentage
        assert [shown.done for shown in self.shown].count(True) == 1, self.shown
        last = self.shown[-1]
        assert last.done, self.shown
        assert last.status == self.download.status in ("COMPLETED", "FAILED", "CANCELED")
        assert (last.status == "COMPLETED") == self.download.model.downloaded

    def _threads(self) -> list[str]:
        """Return the threads of this download; a call that hangs at the server's ends at its own timeout."""
        kinds = ("download", "socket")
        names = [f"pieces-nb-{kind}-{self.download.model.id[:36]}" for kind in kinds]
        return [thread.name for thread in threading.enumerate() if thread.name in names]


def follow(client: ModelClient, model: str = ID) -> Watched:
    return Watched(client.download(model))
