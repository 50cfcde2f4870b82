"""A stand for other people's programs: Pieces OS's own port, in a network namespace where nothing else is.

`python -m tests.witnesses.stand PROGRAM …` brings the namespace's loopback up, serves the emulator on port 39300 with
the few calls beside it that only those programs make (a user, an application of the system's, streams that stay
silent), runs PROGRAM and ends with its exit code. What it asked for is printed at the end, a JSON line on stderr.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import socket
import struct
import sys
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

from pieces_nb.emulator import Emulator

PORT = 39300
_IFF_UP = 1
_SIOCSIFFLAGS = 0x8914
# The default models of the programs, which they choose by name before anybody asks for one.
NAMES = ("GPT-3.5-turbo Chat Model", "GPT-4o Mini Chat Model", "GPT-4o Chat Model")
MODELS: list[dict[str, Any]] = [
    *({"name": name, "unique": name.lower().replace(" ", "-"), "cloud": True} for name in NAMES),
    {"name": "Gemini-2.0 Flash Lite Chat Model", "unique": "gemini-2.0-flash-lite-001", "cloud": True},
    {"name": "Phi-2", "unique": "phi:2.7b", "downloaded": True},
    {"name": "Mistral 7B", "unique": "mistral:7b"},
]
STAMP = {"value": "2025-01-01T00:00:00.000Z"}
USER = {
    "user": {
        "id": "6a1bd8ee-0000-4000-8000-000000000001",
        "email": "somebody@example.org",
        "name": "Somebody",
        "created": STAMP,
        "updated": STAMP,
        "granularity": "MILLISECONDS",
        "aesthetics": {"theme": {"dark": True}, "font": {"size": 12}},
        "vanityname": "somebody",
    }
}
OS_SERVER = {
    "id": "6a1bd8ee-0000-4000-8000-000000000002",
    "name": "OS_SERVER",
    "version": "12.0.0",
    "platform": "LINUX",
    "onboarded": True,
    "privacy": "OPEN",
}
OWN_ANSWERS = {"/user": USER, "/applications": {"iterable": [OS_SERVER]}}
STREAMS = r"/(?:[\w/]+/)?(?:stream|ws)(?:/.*)?"


def bring_loopback_up() -> None:
    """A new namespace's loopback is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _IFF_UP))


class Silent(WebSocketHandler):
    """A stream on which nothing happens."""

    def check_origin(self, origin: str) -> bool:
        return bool(origin)

    def on_message(self, message: str | bytes) -> None:
        pass


class Passed(RequestHandler):
    """Every other call: answered here if it is not about models, else by the emulator."""

    def initialize(self, emulator: str, asked: list[str]) -> None:
        self._emulator = emulator
        self._asked = asked

    async def prepare(self) -> None:
        request = self.request
        self._asked.append(f"{request.method} {request.path}")
        if request.path in OWN_ANSWERS:
            self.set_header("Content-Type", "application/json")
            self.finish(json.dumps(OWN_ANSWERS[request.path]))
            return
        answer = await AsyncHTTPClient().fetch(
            HTTPRequest(
                self._emulator + request.uri,
                method=request.method or "GET",
                headers={name: value for name, value in request.headers.items() if name.lower() in _PASSED_HEADERS},
                body=request.body if request.method == "POST" else None,
                follow_redirects=False,
            ),
            raise_error=False,
        )
        self.set_status(answer.code)
        self.set_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
        self.finish(answer.body)


_PASSED_HEADERS = ("accept", "content-type", "user-agent")


async def serve_and_run(program: list[str]) -> int:
    asked: list[str] = []
    with Emulator(models=MODELS, rate_bytes_per_s=None) as emulator:
        shared = {"emulator": emulator.url, "asked": asked}
        server = HTTPServer(Application([(STREAMS, Silent), (r"/.*", Passed, shared)]))
        server.listen(PORT, "127.0.0.1")
        process = await asyncio.create_subprocess_exec(*program)
        code = await process.wait()
        server.stop()
    print(json.dumps(asked), file=sys.stderr)
    return code


if __name__ == "__main__":
    bring_loopback_up()
    sys.exit(asyncio.run(serve_and_run(sys.argv[1:])))
