"""What the emulator's tests share: a plain client, a raw WebSocket, tiny models, and waiting with a deadline."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
import websocket

from pieces_nb.emulator import Emulator
from tests.waiting import until

ROOT = Path(__file__).parents[2]
DEADLINE_S = 20.0
TERMINAL = ("COMPLETED", "FAILED", "CANCELED")
# A file of 65,536 bytes takes half a second.
SLOW = 131_072.0

ONE: dict[str, Any] = {"id": "one", "name": "One (emulated)", "unique": "one:1b"}
TWO: dict[str, Any] = {"id": "two", "name": "Two (emulated)", "unique": "two:1b"}
CLOUD: dict[str, Any] = {"id": "cloud", "name": "Cloud Chat Model (emulated)", "cloud": True}
MINE: dict[str, Any] = {"id": "mine", "name": "Mine (emulated)", "custom": True}
THERE: dict[str, Any] = {"id": "there", "name": "There (emulated)", "downloaded": True}
TINY = [ONE, TWO, CLOUD, MINE, THERE]
SEEDED: dict[str, Any] = {
    "version": "1",
    "created": {"value": "2026-01-02T03:04:05+00:00"},
    "name": "Seeded",
    "cloud": False,
    "type": "BALANCED",
    "usage": "CODE_CONVERSATION",
}


class Api:
    """Requests to one emulator, by path."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(self.url + path, timeout=DEADLINE_S, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.session.post(self.url + path, timeout=DEADLINE_S, **options)

    def model(self, model_id: str) -> dict[str, Any]:
        answer = self.get(f"/model/{model_id}")
        assert answer.status_code == 200, answer.text
        model: dict[str, Any] = answer.json()
        return model

    def start(self, model_id: str) -> dict[str, Any]:
        answer = self.post(f"/model/{model_id}/download")
        assert answer.status_code == 200, answer.text
        model: dict[str, Any] = answer.json()
        return model

    def download(self, model_id: str) -> None:
        self.start(model_id)
        until(lambda: self.model(model_id)["downloaded"])

    @contextlib.contextmanager
    def listening(self, model_id: str) -> Iterator[Listener]:
        with contextlib.closing(Listener(self.url, f"/model/{model_id}/download/progress")) as listener:
            yield listener


class Listener:
    """One WebSocket, read frame by frame."""

    def __init__(self, url: str, path: str, **options: Any) -> None:
        address = url.replace("http://", "ws://") + path
        self.socket: Any = websocket.create_connection(address, timeout=DEADLINE_S, http_no_proxy=["*"], **options)

    def frame(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(self.socket.recv())
        return frame

    def until_status(self, *wanted: str) -> list[dict[str, Any]]:
        """Return the frames up to the first with a wanted status."""
        frames = [self.frame()]
        while frames[-1].get("status") not in wanted:
            frames.append(self.frame())
        return frames

    def to_end(self) -> list[dict[str, Any]]:
        return self.until_status(*TERMINAL)

    def hears_nothing(self, for_s: float = 0.3) -> bool:
        self.socket.settimeout(for_s)
        try:
            self.socket.recv()
        except websocket.WebSocketTimeoutException:
            return True
        finally:
            self.socket.settimeout(DEADLINE_S)
        return False

    def close_code(self) -> int | None:
        """Read to the end; return the close frame's code, None if the connection broke without one."""
        try:
            while True:
                opcode, data = self.socket.recv_data(control_frame=True)
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    return int.from_bytes(data[:2], "big")
        except (websocket.WebSocketConnectionClosedException, ConnectionError):
            return None

    def close(self) -> None:
        self.socket.close(timeout=1)
        self.socket.shutdown()  # close() leaves the socket open when the server closed first.


def part_of(emulator: Emulator) -> int:
    """Return how many unfinished files there are."""
    return len(list((emulator.home / "models").glob("*.part")))


@contextlib.contextmanager
def process(*arguments: str, **options: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the emulator's command; give the process and its address; kill it in the end."""
    command = [sys.executable, "-W", "error", "-m", "pieces_nb.emulator", *arguments]
    options.setdefault("env", os.environ | {"PYTHONUNBUFFERED": ""})
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    ) as running:
        try:
            assert running.stdout is not None
            line = running.stdout.readline()
            assert line.startswith("Emulator listening on http://127.0.0.1:"), (line, running.communicate())
            yield running, line.split()[-1]
        finally:
            running.terminate()  # So that it removes its temporary home.
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(DEADLINE_S)
            running.kill()
