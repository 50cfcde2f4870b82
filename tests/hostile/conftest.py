"""What the hostile tests stand on: a server, clients of it, and a look around afterwards for what was left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pieces_nb import ModelClient
from tests.hostile.server import HostileServer
from tests.waiting import until

MakeServer = Callable[..., HostileServer]
_HERE = Path(__file__).parent
_CASES_BY_DEFAULT = 2


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a table of cases the first two are in the default run, which has to be short; all are in the longer half."""
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and item.path.parent == _HERE:
            case = max(item.callspec.indices.values())
            if case >= _CASES_BY_DEFAULT and not item.get_closest_marker("soak"):
                item.add_marker(pytest.mark.full)


@pytest.fixture(autouse=True)
def _own_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIECES_OS_URL", raising=False)


@pytest.fixture
def make_server() -> Iterator[MakeServer]:
    """Make servers that are gone after the test."""
    made: list[HostileServer] = []

    def make(port: int = 0) -> HostileServer:
        made.append(HostileServer(port))
        return made[-1]

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def server(make_server: MakeServer) -> HostileServer:
    return make_server()


@pytest.fixture
def clients(make_server: MakeServer, rubbish: None) -> Iterator[list[ModelClient]]:
    """Clients that are closed after the test; then nothing of theirs may be left, while the servers still run."""
    del make_server, rubbish  # the servers outlive the clients
    made: list[ModelClient] = []
    ours_before = _our_sockets()
    yield made
    for client in made:
        client.close()
    until(lambda: not _our_threads(), lambda: f"threads that are left: {_our_threads()}")
    until(lambda: _our_sockets() <= ours_before, lambda: f"sockets that are left: {_our_sockets() - ours_before}")


def _our_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("pieces-nb") and "emulator" not in t.name]


def _our_sockets() -> set[str]:
    """Return the connections of this process that its hostile servers did not accept themselves."""
    connections = psutil.Process().net_connections(kind="tcp")
    listening = {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}
    return {
        f"{c.fd}: {c.laddr.port} to {c.raddr.port}, {c.status}"
        for c in connections
        if c.raddr and c.laddr.port not in listening and c.fd != -1
    }
