"""An emulator as a process that can be stopped, killed and started again on the same port and home."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from pieces_nb.download.state import Timing

DEADLINE_S = 30.0
HASTY = Timing(
    start_grace_s=2.0,
    settle_s=0.3,
    stall_after_s=1.0,
    lost_after_s=8.0,
    cancel_within_s=5.0,
    poll_s=0.3,
    poll_closed_s=0.1,
    poll_soon_s=0.05,
    backoff_first_s=0.05,
    backoff_most_s=0.3,
)


def free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


class EmulatorProcess:
    """`pieces-nb emulator` as a process of its own."""

    def __init__(self, home: Path, *options: str, rate: float = 20e6) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [
            *(sys.executable, "-m", "pieces_nb.emulator", "--port", str(self.port)),
            *("--home", str(home), "--rate", str(rate), *options),
        ]
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert "listening" in line, line + self._process.stdout.read()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(DEADLINE_S)
            assert process.stdout is not None
            process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.signal(signal.SIGCONT)
        self.kill()


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("pieces-nb")]


def open_files() -> int:
    return int(psutil.Process().num_fds())
