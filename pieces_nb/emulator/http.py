"""The wire: paths to calls of the service, their results to JSON, every error to one sentence of text/plain.

Guards the door (Host, Origin, sizes) and decides nothing about models. The only module that imports tornado at its top.
"""

from __future__ import annotations

import json
import logging
import math
import re
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from tornado.httputil import HTTPServerRequest
from tornado.web import Application, HTTPError, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from pieces_nb.emulator.errors import Refused
from pieces_nb.emulator.progress import Audience
from pieces_nb.emulator.service import Service

MAX_BODY_BYTES = 1024 * 1024
# A body that is too long is read up to here, so that its sender hears 413; a longer one breaks the connection.
MAX_READ_BYTES = 8 * MAX_BODY_BYTES
MAX_MESSAGE_BYTES = 64 * 1024
_MAX_DEPTH = 64
_NOTHING = "There is nothing at this path."
_SERVER = "pieces-nb-emulator"
_log = logging.getLogger("pieces_nb.emulator")


class Door:
    """Who may speak to the emulator: programs that name it as itself, on this machine."""

    def __init__(self, port: int) -> None:
        names = ("127.0.0.1", "localhost", "[::1]")
        self._hosts = {f"{name}:{port}" for name in names} | (set(names) if port == 80 else set())

    def check(self, request: HTTPServerRequest) -> None:
        """Raise Refused for a foreign or missing Host and for a foreign Origin."""
        hosts = request.headers.get_list("Host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            raise Refused(403, "This emulator answers only to its own address on this machine.")
        origins = request.headers.get_list("Origin")
        if any(origin.lower() not in {f"http://{host}" for host in self._hosts} for origin in origins):
            raise Refused(403, "This emulator answers no pages of other origins.")


class Route(NamedTuple):
    """One row of the API: the call gets the ids from the path, then the body if it takes one."""

    method: str
    path: re.Pattern[str]
    call: Callable[..., Awaitable[Any]]
    takes_body: bool = False
    body_may_be_empty: bool = False


def routes(service: Service) -> list[Route]:
    """Return the table of calls. Ids are matched in the raw path, so that an encoded slash is part of an id."""
    return [
        Route("GET", re.compile(r"/\.well-known/health"), service.health),
        Route("HEAD", re.compile(r"/\.well-known/health"), service.health),
        Route("GET", re.compile(r"/\.well-known/version"), service.version),
        Route("GET", re.compile(r"/models"), service.models),
        Route("POST", re.compile(r"/models/create"), service.create, True),
        Route("POST", re.compile(r"/models/unload"), service.unload_all),
        Route("POST", re.compile(r"/models/([^/]+)/delete"), service.delete),
        Route("POST", re.compile(r"/models/([^/]+)/delete/cache"), service.delete_cache),
        Route("POST", re.compile(r"/model/update"), service.update, True),
        Route("GET", re.compile(r"/model/([^/]+)"), service.snapshot),
        Route("POST", re.compile(r"/model/([^/]+)/download"), service.download),
        Route("POST", re.compile(r"/model/([^/]+)/download/cancel"), service.cancel),
        Route("POST", re.compile(r"/model/([^/]+)/load"), service.load),
        Route("POST", re.compile(r"/model/([^/]+)/unload"), service.unload),
        Route("POST", re.compile(r"/model/([^/]+)/scores/increment"), service.score),
        Route("POST", re.compile(r"/connect"), service.connect, True),
        Route("GET", re.compile(r"/ollama/status"), service.engine.status),
        Route("POST", re.compile(r"/ollama/(install|update)"), service.engine.start, True, True),
        Route("GET", re.compile(r"/ollama/(install|update)/([^/]+)"), service.engine.deployment),
        Route("POST", re.compile(r"/ollama/(install|update)/([^/]+)/cancel"), service.engine.cancel),
    ]


def decode(segment: str) -> str:
    """Return a path segment percent-decoded, once; what is no UTF-8 becomes an id that nobody has."""
    return urllib.parse.unquote(segment, errors="replace")


def parse(body: bytes) -> object:
    """Return the JSON of a body.

    Raises Refused: 400 for what is not JSON, 422 for numbers too large and for what is nested too deep.
    """
    try:
        value: object = json.loads(
            body.decode("utf-8"), parse_constant=_no_constant, parse_float=_float, parse_int=_whole
        )
    except (ValueError, RecursionError):
        raise Refused(400, "The body is not JSON.") from None
    level: list[object] = [value]
    for _ in range(_MAX_DEPTH):
        level = [child for item in level for child in _children(item)]
        if not level:
            return value
    raise Refused(422, "The body is nested too deep.")


def _no_constant(word: str) -> None:
    raise ValueError(word)


def _float(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise Refused(422, "The body holds a number that is too large.")
    return value


def _whole(word: str) -> int:
    # What programs in other languages read as a whole number, too.
    value = int(word)
    if not -(2**63) <= value < 2**63:
        raise Refused(422, "The body holds a number that is too large.")
    return value


def _children(item: object) -> list[object]:
    if isinstance(item, dict):
        return list(item.values())
    return item if isinstance(item, list) else []


class Desk(NamedTuple):
    """What every handler needs."""

    door: Door
    service: Service
    routes: list[Route]
    sockets: set[Socket]


class _AnyMethod(tuple[str, ...]):
    """Lets every word through as a method, so that `prepare` answers it like any other wrong one."""

    __slots__ = ()

    def __contains__(self, _: object) -> bool:
        return True


class _TextErrors(RequestHandler):
    """What all handlers share: the guarded door, and errors as one sentence of text."""

    def initialize(self, desk: Desk) -> None:
        self.desk = desk

    def set_default_headers(self) -> None:
        self.set_header("Server", _SERVER)

    def refuse(self, refused: Refused) -> None:
        """Answer with an error."""
        self.set_status(refused.status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(refused.text.encode("utf-8", "replace"))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        if isinstance(error, Refused):
            self.refuse(error)
        elif isinstance(error, HTTPError):
            self.refuse(Refused(status_code, f"{self._reason}."))
        else:
            self.refuse(Refused(500, f"The emulator failed: {type(error).__name__}."))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, Refused | HTTPError):
            _log.error("A call failed in the emulator.", exc_info=(typ, value, tb))


class CallHandler(_TextErrors):
    """Every call that is not a WebSocket."""

    SUPPORTED_METHODS = _AnyMethod()
    route: Route

    def prepare(self) -> None:
        try:
            self.desk.door.check(self.request)
            if not self.desk.service.serves(self.request.path):
                raise Refused(404, _NOTHING)
            self.route, self.ids = self._find()
            if len(self.request.body) > MAX_BODY_BYTES:
                raise Refused(413, f"The body is longer than {MAX_BODY_BYTES} bytes.")
        except Refused as refused:
            self.refuse(refused)

    def _find(self) -> tuple[Route, list[str]]:
        path = self.request.path
        allowed = []
        for route in self.desk.routes:
            match = route.path.fullmatch(path)
            if match and route.method == self.request.method:
                return route, [decode(raw) for raw in match.groups()]
            if match:
                allowed.append(route.method)
        if not allowed:
            raise Refused(404, _NOTHING)
        self.set_header("Allow", ", ".join(sorted(set(allowed))))
        raise Refused(405, f"This path answers only {' and '.join(sorted(set(allowed)))}.")

    async def _answer(self) -> None:
        arguments: list[object] = [*self.ids]
        if self.route.takes_body:
            is_left_out = self.route.body_may_be_empty and not self.request.body
            arguments.append(None if is_left_out else parse(self.request.body))
        answer = await self.route.call(*arguments)
        if answer is None:
            self.set_status(204)
            self.finish()
        elif isinstance(answer, str):
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(answer)
        else:
            self.set_header("Content-Type", "application/json; charset=utf-8")
            self.finish(json.dumps(answer))

    async def get(self) -> None:
        """Answer a call."""
        await self._answer()

    async def head(self) -> None:
        """Answer a call without its body."""
        await self._answer()

    async def post(self) -> None:
        """Answer a call."""
        await self._answer()


class Socket(_TextErrors, WebSocketHandler):
    """A WebSocket: sends what it is told, ignores what it hears."""

    SUPPORTED_METHODS = _AnyMethod()

    def prepare(self) -> None:
        try:
            self.desk.door.check(self.request)
            if not self.desk.service.serves(self.request.path):
                raise Refused(404, _NOTHING)
            if self.request.method != "GET":
                self.set_header("Allow", "GET")
                raise Refused(405, "This path answers only GET, as a WebSocket.")
            self.meet()
            if self.request.headers.get("Upgrade", "").lower() != "websocket":
                raise Refused(404, "This path is a WebSocket; the request was not upgraded.")
        except Refused as refused:
            self.refuse(refused)

    def check_origin(self, origin: str) -> bool:
        del origin  # The door has checked it.
        return True

    def meet(self) -> None:
        """Refuse before the handshake, or not."""

    def on_message(self, message: str | bytes) -> None:
        """Ignore what a client says."""

    def send(self, text: str) -> None:
        """Send one text frame; a socket that is gone takes it too."""
        try:
            sent = self.write_message(text)
        except WebSocketClosedError:
            return
        sent.add_done_callback(lambda future: future.cancelled() or future.exception())

    def shut(self) -> None:
        """Close with a close frame."""
        self.close(1000)

    def cut(self) -> None:
        """Break the connection without a close frame."""
        if self.ws_connection is not None and self.ws_connection.stream is not None:
            self.ws_connection.stream.close()


class AudienceSocket(Socket):
    """A WebSocket of an audience."""

    def audience(self) -> Audience:
        """Return whom it listens to."""
        raise NotImplementedError

    def refusal(self) -> str | None:
        """Return how it refuses to open, if it does."""
        return None

    def meet(self) -> None:
        self.listens_to = self.audience()
        refused = self.refusal()
        if refused == "404":
            raise Refused(404, "Not found: not upgraded.")
        if refused == "close":
            self.detach().close()

    def open(self, *_: str, **__: str) -> None:
        self.desk.sockets.add(self)
        self.listens_to.connect(self)

    def on_close(self) -> None:
        self.desk.sockets.discard(self)
        self.listens_to.disconnect(self)


class ProgressSocket(AudienceSocket):
    """The progress of one model."""

    def audience(self) -> Audience:
        return self.desk.service.entry(self._model_id()).channel

    def refusal(self) -> str | None:
        return self.desk.service.socket_refused(self._model_id())

    def _model_id(self) -> str:
        return decode(self.request.path.split("/")[2])


class IdentifiersSocket(AudienceSocket):
    """The ids of models that change."""

    def audience(self) -> Audience:
        return self.desk.service.identifiers


class EngineSocket(AudienceSocket):
    """The status of the engine."""

    def audience(self) -> Audience:
        return self.desk.service.engine

    def refusal(self) -> str | None:
        return self.desk.service.engine.socket_refused()


def _log_request(handler: RequestHandler) -> None:
    request = handler.request
    _log.debug("%s %s %s %.1f ms", handler.get_status(), request.method, request.uri, 1000 * request.request_time())


def application(service: Service, *, port: int) -> tuple[Application, set[Socket]]:
    """Return the tornado application, and the set of its open WebSockets."""
    sockets: set[Socket] = set()
    arguments = {"desk": Desk(Door(port), service, routes(service), sockets)}
    table: list[Any] = [
        (r"/model/[^/]+/download/progress", ProgressSocket, arguments),
        (r"/models/stream/identifiers", IdentifiersSocket, arguments),
        (r"/ollama/status/stream", EngineSocket, arguments),
        (r".*", CallHandler, arguments),
    ]
    return Application(
        table, log_function=_log_request, websocket_max_message_size=MAX_MESSAGE_BYTES, serve_traceback=False
    ), sockets
