"""Waiting in tests: until something holds, with a deadline so generous that only a fault reaches it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

DEADLINE_S = 60.0
_NOBODY = threading.Event()


def until(
    holds: Callable[[], object], otherwise: str | Callable[[], str] = "", *, within_s: float = DEADLINE_S
) -> None:
    """Return when `holds()` is true; fail with `otherwise` if it is not within the deadline."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() >= deadline:
            raise AssertionError((otherwise() if callable(otherwise) else otherwise) or "it did not come about in time")
        _NOBODY.wait(0.01)
