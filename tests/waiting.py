"""Waiting in tests: until something holds, with a deadline so generous that only a fault reaches it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pieces_nb import Download

DEADLINE_S = 60.0
_T = TypeVar("_T")
_NOBODY = threading.Event()


def until(
    holds: Callable[[], _T],
    otherwise: str | Callable[[], str] = "",
    *,
    within_s: float = DEADLINE_S,
    every_s: float = 0.01,
) -> _T:
    """Return the first true value of `holds()`; fail with `otherwise` if there is none within the deadline."""
    deadline = time.monotonic() + within_s
    while not (value := holds()):
        if time.monotonic() >= deadline:
            words = otherwise() if callable(otherwise) else otherwise
            raise AssertionError(words or f"it did not come about within {within_s:g} s")
        _NOBODY.wait(every_s)
    return value


def until_download(download: Download, holds: Callable[[Download], bool]) -> None:
    """Return when a download is in a state, which it tells itself."""
    seen = threading.Event()
    stop = download.subscribe(lambda one: seen.set() if holds(one) else None)
    assert holds(download) or seen.wait(DEADLINE_S), download
    stop()
