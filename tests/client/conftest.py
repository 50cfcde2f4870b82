"""A server that a test can make answer as it likes, and clients of it that wait for little."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pieces_nb import ModelClient, Settings
from tests.conftest import QUICK
from tests.hostile.server import HostileServer


@pytest.fixture
def odd() -> Iterator[HostileServer]:
    server = HostileServer()
    yield server
    server.stop()


@pytest.fixture
def odd_client(odd: HostileServer) -> Iterator[ModelClient]:
    with ModelClient(odd.url, settings=Settings(timeout_s=20.0, load_timeout_s=20.0), timing=QUICK) as client:
        yield client
