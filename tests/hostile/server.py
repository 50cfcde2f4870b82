"""A server for tests that speaks the wire byte by byte, as badly as a test wants it to.

Plain sockets and threads; it shares nothing with `pieces_nb`, so that no mistake is made twice. What each call answers
is a function of the connection and the request, `server.answers["snapshot"] = silence`; by default it behaves.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple, Self
from urllib.parse import unquote

ID = "11111111-2222-4333-8444-555555555555"
OTHER_ID = "99999999-2222-4333-8444-555555555555"
DEADLINE_S = 20.0  # of everything a test waits for; nothing takes so long that does not hang


class Request(NamedTuple):
    """One request as it came: `target` is the raw second word of its first line."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    call: str  # the name of the call, one of CALLS, or ''


Behaviour = Callable[["Line", Request], None]
Action = Callable[["Line"], None]
Step = bytes | Action

CALLS = {
    name: (method, re.compile(path))
    for name, method, path in (
        ("health", "GET", r"/\.well-known/health"),
        ("version", "GET", r"/\.well-known/version"),
        ("list", "GET", r"/models"),
        ("create", "POST", r"/models/create"),
        ("unload all", "POST", r"/models/unload"),
        ("delete", "POST", r"/models/([^/]+)/delete"),
        ("delete cache", "POST", r"/models/([^/]+)/delete/cache"),
        ("update", "POST", r"/model/update"),
        ("snapshot", "GET", r"/model/([^/]+)"),
        ("start", "POST", r"/model/([^/]+)/download"),
        ("cancel", "POST", r"/model/([^/]+)/download/cancel"),
        ("progress", "GET", r"/model/([^/]+)/download/progress"),
        ("load", "POST", r"/model/([^/]+)/load"),
        ("unload", "POST", r"/model/([^/]+)/unload"),
        ("engine", "GET", r"/ollama/status"),
        ("engine stream", "GET", r"/ollama/status/stream"),
        ("engine work", "POST", r"/ollama/(?:install|update)"),
        ("engine deployment", "GET", r"/ollama/(?:install|update)/[^/]+"),
        ("engine cancel", "POST", r"/ollama/(?:install|update)/[^/]+/cancel"),
    )
}


class HungUp(Exception):
    """The line is down: the peer went, the server stops, or the script said so."""


class Line:
    """One connection from a client, seen from the server."""

    def __init__(self, server: HostileServer, plug: socket.socket) -> None:
        self.server = server
        self.plug = plug
        self._ahead = b""

    def send(self, data: bytes) -> None:
        try:
            self.plug.sendall(data)
        except OSError as exc:
            raise HungUp from exc

    def receive(self) -> bytes:
        """Return what comes next, at least one byte."""
        try:
            data = self.plug.recv(65536)
        except OSError as exc:
            raise HungUp from exc
        if not data:
            raise HungUp
        return data

    def pause(self, seconds: float) -> None:
        """Wait, less if the server stops meanwhile."""
        if self.server.stopping.wait(seconds):
            raise HungUp

    def hold(self) -> None:
        """Keep the line open, silent and unread until the server stops."""
        self.server.stopping.wait()
        raise HungUp

    def listen(self) -> None:
        """Keep the line open and note what the client sends, until it hangs up."""
        while True:
            self.server.note_bytes(self.receive())

    def reset(self) -> None:
        """Break the connection as a crash does."""
        with suppress(OSError):
            self.plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise HungUp

    def read_request(self) -> Request:
        while b"\r\n\r\n" not in self._ahead:
            self._ahead += self.receive()
        head, self._ahead = self._ahead.split(b"\r\n\r\n", 1)
        first, *rest = head.decode("latin-1").split("\r\n")
        headers = {key.lower(): value.strip() for key, value in (line.split(":", 1) for line in rest)}
        method, target, _ = first.split(" ", 2)
        body = self._read_body(headers)
        path = target.partition("?")[0]
        call = next((name for name, (verb, form) in CALLS.items() if verb == method and form.fullmatch(path)), "")
        return Request(method, target, headers, body, call)

    def _read_body(self, headers: dict[str, str]) -> bytes:
        length = int(headers.get("content-length", "0"))
        while len(self._ahead) < length:
            self._ahead += self.receive()
        body, self._ahead = self._ahead[:length], self._ahead[length:]
        return body


class HostileServer:
    """The server: `answers` by call, the `models` it has, the `log` of what it received. Starts at once.

    `server_id` is what its health text tells it by; '' and it tells nothing.
    """

    def __init__(self, port: int = 0, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.host = host
        self.tls = tls
        self.models: dict[str, dict[str, Any]] = {ID: model_of()}
        self.answers: dict[str, Behaviour] = dict(POLITE)
        self.log: list[Request] = []
        self.heard = b""  # what clients sent over open WebSockets
        self.lines = 0  # connections ever accepted
        self._news = threading.Condition()  # guards log, heard, lines and the two below
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.port = port
        self.start(port)
        self.server_id = f"server-{self.port}"

    # Running ---------------------------------------------------------------------------------------------------------

    def start(self, port: int | None = None) -> Self:
        """Listen, again after a stop; on the same port unless another is given (0: any)."""
        self.stopping = threading.Event()
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((self.host, self.port if port is None else port))
        self._listener.listen(64)
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept)
        return self

    def stop(self) -> None:
        """Stop listening and break every connection; `start` starts it again."""
        self.stopping.set()
        # Closing alone does not wake a thread in accept().
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._news:
            plugs, threads = list(self._open), list(self._threads)
        for plug in plugs:
            with suppress(OSError):
                plug.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(DEADLINE_S)
                assert not thread.is_alive(), "a thread of the hostile server hangs"
        with self._news:
            self._threads.clear()

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls is None else 'https'}://{host}:{self.port}"

    def _spawn(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, name=f"hostile-{self.port}", daemon=True)
        with self._news:
            self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        listener = self._listener
        while not self.stopping.is_set():
            try:
                plug, _ = listener.accept()
            except OSError:
                return
            with self._news:
                self._open.add(plug)
                self.lines += 1
                self._news.notify_all()
            self._spawn(lambda plug=plug: self._serve(plug))  # type: ignore[misc]  # a default binds it now

    def _secured(self, plug: socket.socket) -> socket.socket:
        if self.tls is None:
            return plug
        secured = self.tls.wrap_socket(plug, server_side=True, do_handshake_on_connect=False)
        with self._news:
            self._open.symmetric_difference_update({plug, secured})
        try:
            secured.do_handshake()
        except OSError as exc:
            secured.close()
            raise HungUp from exc
        return secured

    def _serve(self, plug: socket.socket) -> None:
        try:
            plug = self._secured(plug)
            line = Line(self, plug)
            self.answers["line"](line, Request("", "", {}, b"", ""))
            while not self.stopping.is_set():
                request = line.read_request()
                with self._news:
                    self.log.append(request)
                    self._news.notify_all()
                self.answers.get(request.call, nothing_there)(line, request)
        except HungUp:
            pass
        finally:
            with self._news:
                self._open.discard(plug)
            plug.close()

    # What it received ------------------------------------------------------------------------------------------------

    def note_bytes(self, data: bytes) -> None:
        with self._news:
            self.heard += data
            self._news.notify_all()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until what it received makes `condition` true."""
        with self._news:
            assert self._news.wait_for(condition, DEADLINE_S), f"not received in time; it got {self.calls()}"

    def wait_for(self, call: str, count: int = 1) -> None:
        self.wait_until(lambda: self.count(call) >= count)

    def count(self, call: str) -> int:
        return sum(request.call == call for request in self.log)

    def calls(self) -> list[str]:
        return [request.call or f"{request.method} {request.target}" for request in self.log]


# HTTP ----------------------------------------------------------------------------------------------------------------


def model_of(model_id: str = ID, name: str = "Phi-2", **fields: Any) -> dict[str, Any]:
    return {
        "id": model_id,
        "version": "1",
        "created": {"value": "2025-01-01T00:00:00.000Z"},
        "name": name,
        "unique": "phi:2.7b-chat-v2-q4_K_S",
        "cloud": False,
        "custom": False,
        "type": "BALANCED",
        "usage": "CODE_CONVERSATION",
        "bytes": {"value": 1_000_000, "readable": "1.0 MB"},
        "downloaded": False,
        "downloading": False,
        "loaded": False,
    } | fields


def http(body: object = b"", status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    """Return an answer; `body` as it is, or as JSON. `length` is what Content-Length says, -1 leaves it out."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", *headers]
    if not any(header.lower().startswith("content-type") for header in headers):
        lines.append("Content-Type: application/json")
    if length != -1:
        lines.append(f"Content-Length: {len(data) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def text(words: str, status: str = "200 OK") -> bytes:
    return http(words.encode(), status, "Content-Type: text/plain; charset=utf-8")


def says(data: bytes) -> Behaviour:
    """Answer these bytes, whatever they are."""
    return lambda line, _request: line.send(data)


def says_and_hangs_up(data: bytes) -> Behaviour:
    def behave(line: Line, _request: Request) -> None:
        line.send(data)
        raise HungUp

    return behave


def drips(data: bytes, every_s: float = 0.05, at_once: int = 0) -> Behaviour:
    """Answer byte by byte, the first `at_once` together."""

    def behave(line: Line, _request: Request) -> None:
        line.send(data[:at_once])
        for byte in data[at_once:]:
            line.pause(every_s)
            line.send(bytes([byte]))

    return behave


def for_ever(chunk: bytes, first: bytes = b"", every_s: float = 0.0) -> Behaviour:
    """Answer `first`, then `chunk` without an end."""

    def behave(line: Line, _request: Request) -> None:
        line.send(first)
        while True:
            line.send(chunk)
            line.pause(every_s)

    return behave


def silence(line: Line, _request: Request) -> None:
    """Take the call and say nothing."""
    line.hold()


def hang_up(_line: Line, _request: Request) -> None:
    """Take the call and close."""
    raise HungUp


def reset(line: Line, _request: Request) -> None:
    line.reset()


def late(seconds: float, then: Behaviour) -> Behaviour:
    def behave(line: Line, request: Request) -> None:
        line.pause(seconds)
        then(line, request)

    return behave


def when(event: threading.Event, then: Behaviour) -> Behaviour:
    """Answer once the test has set `event`."""

    def behave(line: Line, request: Request) -> None:
        while not event.wait(0.01):
            line.pause(0)
        then(line, request)

    return behave


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Answer the first call so, the second so; the last one stays."""
    turns = iter(behaviours)
    lock = threading.Lock()
    last = behaviours[-1]

    def behave(line: Line, request: Request) -> None:
        with lock:
            mine = next(turns, last)
        mine(line, request)

    return behave


def answers_after(change: Callable[[dict[str, Any]], None], data: bytes | None = None) -> Behaviour:
    """Change the model that the call names, then answer it, or `data`."""

    def behave(line: Line, request: Request) -> None:
        match = CALLS[request.call][1].fullmatch(request.target)
        assert match is not None
        model = line.server.models.get(unquote(match.group(1)))
        if model is None:
            line.send(text("Model not found", "410 Gone"))
            return
        change(model)
        line.send(http(model) if data is None else data)

    return behave


def nothing_there(line: Line, _request: Request) -> None:
    line.send(text("there is nothing at this path", "404 Not Found"))


def _list(line: Line, _request: Request) -> None:
    line.send(http({"iterable": list(line.server.models.values())}))


def _delete(line: Line, request: Request) -> None:
    match = CALLS["delete"][1].fullmatch(request.target)
    assert match is not None
    line.server.models.pop(unquote(match.group(1), errors="surrogatepass"), None)
    line.send(http(b"", "204 No Content"))


POLITE: dict[str, Behaviour] = {
    "line": lambda _line, _request: None,  # what a new connection meets before its first request is read
    "health": lambda line, _request: line.send(text(f"OK:{line.server.server_id}".rstrip(":"))),
    "version": says(text("12.3.1")),
    "list": _list,
    "snapshot": answers_after(lambda _model: None),
    "start": answers_after(lambda model: model.update(downloading=True)),
    "cancel": answers_after(lambda model: model.update(downloading=False)),
    "load": answers_after(lambda model: model.update(loaded=True)),
    "unload": answers_after(lambda model: model.update(loaded=False)),
    "unload all": says(http(b"", "204 No Content")),
    "delete": _delete,
    "delete cache": answers_after(lambda model: model.update(downloaded=False)),
    "progress": lambda line, request: websocket()(line, request),  # noqa: PLW0108 - it is defined below
}


# WebSocket -----------------------------------------------------------------------------------------------------------

TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0


def frame(payload: object, opcode: int = TEXT, *, fin: bool = True, length: int | None = None) -> bytes:
    """Return one frame; `payload` as it is, or as JSON. `length` is what its head says."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    size = len(data) if length is None else length
    head = bytes([opcode | (0x80 if fin else 0)])
    if size < 126:
        return head + bytes([size]) + data
    return head + (b"\x7e" + struct.pack("!H", size) if size < 65536 else b"\x7f" + struct.pack("!Q", size)) + data


def progress(status: str, percentage: object = None) -> bytes:
    return frame({"status": status, "percentage": percentage})


def handshake(request: Request) -> bytes:
    key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode(), usedforsecurity=False).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ).encode()


def websocket(*steps: Step) -> Behaviour:
    """Open the WebSocket and do this; then listen until the client goes."""

    def behave(line: Line, request: Request) -> None:
        line.send(handshake(request))
        for step in steps:
            if isinstance(step, bytes):
                line.send(step)
            else:
                step(line)
        line.listen()

    return behave


def close(line: Line) -> None:
    """Step: a close frame, and the end."""
    line.send(frame(struct.pack("!H", 1000), CLOSE))
    raise HungUp


def cut(_line: Line) -> None:
    """Step: the end, without a close frame."""
    raise HungUp


def crash(line: Line) -> None:
    """Step: a reset connection."""
    line.reset()


def half_open(line: Line) -> None:
    """Step: from here on nothing is sent and nothing read."""
    line.hold()


def pause(seconds: float) -> Action:
    return lambda line: line.pause(seconds)


def repeated(every_s: float, *steps: bytes) -> Action:
    """Step: these, for ever."""

    def step(line: Line) -> None:
        while True:
            for data in steps:
                line.send(data)
            line.pause(every_s)

    return step


def dripped(data: bytes, every_s: float) -> Action:
    def step(line: Line) -> None:
        for byte in data:
            line.send(bytes([byte]))
            line.pause(every_s)

    return step


def becomes(model_id: str = ID, /, **fields: Any) -> Action:
    """Step: the model is so from here on."""
    return lambda line: line.server.models[model_id].update(fields)


def until(event: threading.Event) -> Action:
    """Step: wait for the test."""

    def step(line: Line) -> None:
        while not event.wait(0.01):
            line.pause(0)

    return step


def seen_again(call: str = "snapshot", times: int = 1) -> Action:
    """Step: wait until so many more of these calls have come."""

    def step(line: Line) -> None:
        wanted = line.server.count(call) + times
        while line.server.count(call) < wanted:
            line.pause(0.005)

    return step


STARTS: tuple[Step, ...] = (progress("INITIALIZED", 0), progress("IN-PROGRESS", 10), progress("IN-PROGRESS", 40))
COMPLETES: tuple[Step, ...] = (becomes(downloading=False, downloaded=True), progress("COMPLETED", 100))


def serving(*servers: HostileServer) -> Iterator[tuple[HostileServer, ...]]:
    try:
        yield servers
    finally:
        for server in servers:
            server.stop()
