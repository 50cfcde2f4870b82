"""An emulator of tiny models for the test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from pieces_nb.emulator import Emulator
from tests.emulator.support import TINY, Api


class Started(Protocol):
    """Starts an emulator with Emulator's options; tiny models, as fast as it goes, unless told otherwise."""

    def __call__(self, **options: Any) -> tuple[Emulator, Api]: ...


@pytest.fixture
def started() -> Iterator[Started]:
    made: list[tuple[Emulator, Api]] = []

    def start(**options: Any) -> tuple[Emulator, Api]:
        emulator = Emulator(**({"models": TINY, "rate_bytes_per_s": None} | options)).start()
        made.append((emulator, Api(emulator.url)))
        return made[-1]

    yield start
    for emulator, api in made:
        api.session.close()
        emulator.close()
