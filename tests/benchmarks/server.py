"""A server that costs little: plain sockets, canned answers, frames encoded beforehand, in a process of its own.

`burst-N-x` is a model whose download sends N frames as fast as they are taken and is then there; `paced-x` one that
sends ten frames a second until `/benchmark/finish`. Snapshots of these say when they were answered (`answeredAt`),
when the progress socket was open (`openedAt`) and when the files were there (`thereAt`), on a clock that all processes
share.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.benchmarks import wire

FRAMES_PER_S = 10.0
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Server:
    """The server, started in a process of its own."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=10)  # it ends with its stdin

    def list_models(self, count: int) -> None:
        """Have `GET /models` answered with so many."""
        control(self.url, f"/benchmark/models/{count}")


def control(url: str, path: str) -> None:
    line = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    line.request("POST", path)
    line.getresponse().read()
    line.close()


# In its own process --------------------------------------------------------------------------------------------------


class _Download:
    def __init__(self, model_id: str) -> None:
        self.id = model_id
        self.downloading = False
        self.opened_at = 0.0
        self.there_at = 0.0

    def snapshot(self) -> bytes:
        moments = {"openedAt": self.opened_at, "thereAt": self.there_at, "answeredAt": time.monotonic()}
        there = self.there_at > 0
        said = wire.running(self.id, downloaded=there, downloading=self.downloading and not there, **moments)
        return json.dumps(said).encode()


@functools.cache
def _burst(frames: int) -> bytes:
    return b"".join(wire.frame("IN-PROGRESS", 99.99 * number / frames) for number in range(frames))


class _Service:
    def __init__(self) -> None:
        self._plain = json.dumps(wire.model(1, model_id=wire.PLAIN_ID)).encode()
        self._models = wire.models(1)
        self._downloads: dict[str, _Download] = {}
        self._finish = threading.Event()

    def answer(self, method: str, path: str) -> bytes:
        """Return the body of the answer to a call."""
        match [method, *path.strip("/").split("/")]:
            case ["GET", ".well-known", "health"]:
                return b"OK"
            case ["GET", ".well-known", "version"]:
                return b"12.0.0"
            case ["GET", "models"]:
                return self._models
            case ["POST", "benchmark", "models", count]:
                self._models = wire.models(int(count))
            case ["POST", "benchmark", "begin"]:
                self._finish = threading.Event()
            case ["POST", "benchmark", "finish"]:
                self._finish.set()
            case ["GET", "model", wire.PLAIN_ID]:
                return self._plain
            case ["GET", "model", model_id]:
                return self._download(model_id).snapshot()
            case ["POST", "model", model_id, "download"]:
                self._download(model_id).downloading = True
                return self._download(model_id).snapshot()
        return b"{}"

    def _download(self, model_id: str) -> _Download:
        return self._downloads.setdefault(model_id, _Download(model_id))

    def stream(self, model_id: str, line: socket.socket) -> None:
        """Send the frames of a download, and the last one when its files are there."""
        download = self._download(model_id)
        download.opened_at = time.monotonic()
        kind, _, rest = model_id.partition("-")
        if kind == "burst":
            line.sendall(_burst(int(rest.partition("-")[0])))
        else:
            percentage, finish = 0.0, self._finish
            while not finish.wait(1 / FRAMES_PER_S):
                percentage = min(99.9, percentage + 0.05)
                line.sendall(wire.frame("IN-PROGRESS", percentage))
        download.there_at = time.monotonic()
        line.sendall(wire.frame("COMPLETED", 100.0))


def _serve(service: _Service, line: socket.socket) -> None:
    with line, contextlib.suppress(OSError), line.makefile("rb") as heard:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while first := heard.readline():
            headers = {}
            while (header := heard.readline()) not in (b"\r\n", b""):
                key, _, value = header.partition(b":")
                headers[key.strip().lower()] = value.strip()
            heard.read(int(headers.get(b"content-length", 0)))
            method, path, _ = first.decode().split(" ", 2)
            if b"sec-websocket-key" in headers:
                line.sendall(_switching(headers[b"sec-websocket-key"]))
                service.stream(path.split("/")[2], line)
                heard.read(1)  # until the client says goodbye
                return
            body = service.answer(method, path)
            kept = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
            line.sendall(b"%b%d\r\n\r\n%b" % (kept, len(body), body))


def _switching(key: bytes) -> bytes:
    accept = base64.b64encode(hashlib.sha1(key + _MAGIC).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
    )


def _main() -> None:
    service = _Service()
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        threading.Thread(target=_accept, args=(service, listener), daemon=True).start()
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        sys.stdin.read()


def _accept(service: _Service, listener: socket.socket) -> None:
    while True:
        line, _ = listener.accept()
        threading.Thread(target=_serve, args=(service, line), daemon=True).start()


if __name__ == "__main__":
    _main()
