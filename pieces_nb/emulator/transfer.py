"""One transfer: bytes into a `.part` file at a rate, checked against the known checksum, renamed.

Knows a content, its files, the conditions and whom to tell; no models, no HTTP. The loop runs it as a task.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import IO, Protocol, TypeVar

from pieces_nb.emulator.content import Content
from pieces_nb.emulator.errors import TransferFailed
from pieces_nb.emulator.home import Files
from pieces_nb.emulator.progress import Status
from pieces_nb.emulator.settings import Faults, Settings

FRAME_INTERVAL_S = 0.1
_STEP_BYTES = 1024 * 1024
_Result = TypeVar("_Result")


class Telling(Protocol):
    """Who hears of a transfer: a model's channel, or the engine's."""

    def publish(self, status: Status, percentage: float | None = None, message: str | None = None) -> None:
        """Tell how far it is."""

    def cut(self) -> None:
        """Break every connection without a word."""


class Transfer:
    """From nothing, or from a part that was left, to a verified file."""

    def __init__(
        self,
        content: Content,
        *,
        files: Files,
        sha256: str | None,
        channel: Telling,
        settings: Settings,
        faults: Callable[[], Faults],
        executor: Executor,
    ) -> None:
        self._content = content
        self._part = files.part(content.seed)
        self._target = files.file(content.seed)
        self._sha256 = sha256
        self._channel = channel
        self._settings = settings
        self._faults = faults
        self._executor = executor
        self._done = 0
        self._cut = False

    @property
    def percentage(self) -> float:
        """How far the bytes are; an empty file is complete at once."""
        return 100.0 * self._done / self._content.size_bytes if self._content.size_bytes else 100.0

    async def run(self, *, succeeded: Callable[[], None], ended: Callable[[], None]) -> None:
        """Do the whole transfer and tell its end. Raises TransferFailed.

        `succeeded` may raise TransferFailed, too. `ended` comes before the last frame, so that a snapshot read on
        hearing that one tells the new truth.
        """
        try:
            await self._bring()
            succeeded()
        except TransferFailed as exc:
            ended()
            self._channel.publish("FAILED", self.percentage, str(exc))
            raise
        except Exception as exc:  # The top of a task: whoever asks for its end gets this again.
            ended()
            self._channel.publish("FAILED", self.percentage, type(exc).__name__)
            raise TransferFailed(f"The emulator failed: {type(exc).__name__}.") from exc
        ended()
        self._channel.publish("COMPLETED", 100.0)

    async def _bring(self) -> None:
        """Bring the file. Without `resumes` a part does not outlive an end that is none."""
        kept = False
        try:
            with self._open() as file:
                self._channel.publish("IN-PROGRESS", self.percentage)
                await self._pump(file)
                await self._in_thread(_flush, file)
            self._channel.publish("IN-PROGRESS", 100.0)
            await self._verify()
            self._part.replace(self._target)
            kept = True
        except OSError as exc:
            raise TransferFailed(os_error_text(exc)) from exc
        finally:
            if not kept and not self._settings.switches.resumes:
                with contextlib.suppress(OSError):
                    self._part.unlink()

    def _open(self) -> IO[bytes]:
        if self._settings.switches.resumes and self._part.exists():
            file = self._part.open("r+b", buffering=0)
            self._done = min(file.seek(0, os.SEEK_END), self._content.size_bytes)
            return file
        return self._part.open("wb", buffering=0)

    async def _pump(self, file: IO[bytes]) -> None:
        size_bytes = self._content.size_bytes
        budget_bytes = 0.0
        before = time.monotonic()
        framed_at = before
        stalled = False
        while self._done < size_bytes:
            rate = self._settings.rate_for(self._faults())
            await asyncio.sleep(FRAME_INTERVAL_S if stalled else self._pause_s(rate, budget_bytes))
            faults = self._faults()
            now = time.monotonic()
            budget_bytes = size_bytes if rate is None else budget_bytes + rate * (now - before)
            before = now
            limit, failure = self._limit(faults)
            stalled_before = stalled
            count = max(0, min(int(budget_bytes), _STEP_BYTES, limit - self._done))
            self._write(file, count)
            stalled = self._done >= limit
            budget_bytes = 0.0 if stalled else budget_bytes - count
            self._cut_socket(faults)
            if failure is not None and stalled:
                raise failure
            if self._is_frame_due(now - framed_at, moved=count > 0, stops=stalled and not stalled_before):
                framed_at = now
                self._channel.publish("IN-PROGRESS", self.percentage)

    def _is_frame_due(self, since_s: float, *, moved: bool, stops: bool) -> bool:
        repeats = self._settings.switches.frames_while_stalled
        return stops or (since_s >= 0.9 * FRAME_INTERVAL_S and (moved or repeats))

    def _pause_s(self, rate: float | None, budget_bytes: float) -> float:
        # Bytes that are due already go out at once; the last ones wait no longer than they take.
        missing_bytes = min(_STEP_BYTES, self._content.size_bytes - self._done) - budget_bytes
        if rate is None or missing_bytes <= 0:
            return 0.0
        return min(FRAME_INTERVAL_S, missing_bytes / rate) if rate > 0 else FRAME_INTERVAL_S

    def _limit(self, faults: Faults) -> tuple[int, Exception | None]:
        """Return the byte behind which this transfer does not get now, and what happens there."""
        limits: list[tuple[int, Exception | None]] = [(self._content.size_bytes, None)]
        if faults.stall_at is not None:
            limits.append((self._bytes_at(faults.stall_at), None))
        if faults.fail_at is not None:
            limits.append((self._bytes_at(faults.fail_at), TransferFailed(faults.fail_text)))
        if faults.disk_full_at is not None:
            limits.append((self._bytes_at(faults.disk_full_at), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
        return min(limits, key=lambda pair: pair[0])

    def _bytes_at(self, percentage: float) -> int:
        return int(self._content.size_bytes * min(100.0, max(0.0, percentage)) / 100)

    def _write(self, file: IO[bytes], count: int) -> None:
        for piece in self._content.read(self._done, self._done + count):
            written = 0
            while written < len(piece):
                written += file.write(piece[written:])
            self._done += len(piece)

    def _cut_socket(self, faults: Faults) -> None:
        if faults.drop_at is not None and not self._cut and self.percentage >= faults.drop_at:
            self._cut = True
            self._channel.publish("IN-PROGRESS", self.percentage)
            self._channel.cut()

    async def _verify(self) -> None:
        wanted = self._sha256 or await self._in_thread(self._content.sha256)
        found = await self._in_thread(_checksum, self._part)
        if found != wanted:
            self._part.unlink(missing_ok=True)
            raise TransferFailed("The checksum of the downloaded file is wrong.")

    async def _in_thread(self, function: Callable[..., _Result], *args: object) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)


def os_error_text(exc: OSError) -> str:
    """Return the system's words without the path, such as "No space left on device"."""
    return f"{exc.strerror or exc}."


def _flush(file: IO[bytes]) -> None:
    os.fsync(file.fileno())


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
