"""What the tests of the wire stand on: servers that answer as badly as a test wants, and a child process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator

import pytest

from pieces_nb.wire.certificates import VARIABLES
from tests.hostile.server import HostileServer

MakeServer = Callable[..., HostileServer]
InChild = Callable[[Callable[[], object]], str]


@pytest.fixture(autouse=True)
def _certificates_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def make_hostile() -> Iterator[MakeServer]:
    """Make servers that are gone after the test; arguments as for `HostileServer`."""
    made: list[HostileServer] = []

    def make(**options: object) -> HostileServer:
        made.append(HostileServer(**options))  # type: ignore[arg-type]  # as the test says
        return made[-1]

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def hostile(make_hostile: MakeServer) -> HostileServer:
    return make_hostile()


@pytest.fixture
def in_child() -> InChild:
    """Do something in a forked child and return what it says; an error there is what it says."""
    if not hasattr(os, "fork"):
        pytest.skip("this system does not fork")

    def run(act: Callable[[], object]) -> str:
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, which is what is tested
            child = os.fork()
        if child == 0:
            try:
                said = str(act())
            except BaseException as exc:  # noqa: BLE001 - it is the parent that judges
                said = f"{type(exc).__name__}: {exc}"
            os.write(writing, said.encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as stream:
            told = stream.read().decode()
        os.waitpid(child, 0)
        return told

    return run
