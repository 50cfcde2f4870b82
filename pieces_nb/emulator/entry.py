"""One model of a running emulator: what it is made of and how it looks on the wire. Decides nothing."""

from __future__ import annotations

import asyncio
import math
import mmap
import time
from typing import Any

from pieces_nb.emulator.catalogue import Seed
from pieces_nb.emulator.progress import Channel
from pieces_nb.emulator.settings import Settings, Switches


class Entry:
    """One model: its fields, its file, its memory, its transfer. Used by the loop only."""

    def __init__(self, seed: Seed, settings: Settings) -> None:
        self.wire = seed.wire
        self.content = seed.content
        self.sha256 = seed.sha256
        self.channel = Channel(settings)
        self.downloaded = False
        self.downloaded_at = -math.inf  # on the monotonic clock; what is there at the start has always been there
        self.memory: mmap.mmap | None = None
        self.task: asyncio.Task[None] | None = None
        self.begun = asyncio.Event()  # the transfer of the last download call has started
        self.ended_before = False
        self.moving = asyncio.Lock()  # Guards memory and file: load, unload and deleting the file, one at a time.
        self._moves: list[tuple[float, bool]] = []

    @property
    def model_id(self) -> str:
        """The key of the table; the wire's `id`."""
        return self.content.seed

    @property
    def name(self) -> str:
        """What error texts call the model, at most 80 characters of it."""
        return str(self.wire.get("name") or self.model_id)[:80]

    @property
    def running(self) -> bool:
        """Whether a download call was accepted whose transfer has not ended."""
        return self.task is not None and not self.task.done()

    def mark_downloading(self, value: bool) -> None:
        """Note the truth, which a snapshot may tell later."""
        self._moves = [*self._moves[-7:], (time.monotonic(), value)]

    def mark_downloaded(self) -> None:
        """Note that the file has come."""
        self.downloaded = True
        self.downloaded_at = time.monotonic()

    def view(self, switches: Switches) -> dict[str, Any]:
        """Return the Model as the wire has it."""
        now = time.monotonic()
        until = now - switches.downloading_lag_s
        view = self.wire | {
            "downloaded": self.downloaded and self.downloaded_at <= now - switches.downloaded_lag_s,
            "downloading": next((value for at, value in reversed(self._moves) if at <= until), False),
            "loaded": self.memory is not None,
        }
        if switches.downloaded_missing:
            del view["downloaded"]
        if switches.downloading_missing:
            del view["downloading"]
        return view

    def free(self) -> None:
        """Give the memory back."""
        if self.memory is not None:
            self.memory.close()
            self.memory = None
