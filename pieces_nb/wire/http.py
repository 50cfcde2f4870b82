"""The wire's two lines: HTTP calls and the progress WebSocket. Knows no endpoint and no model.

Every call has a timeout, every answer a bound on its size. No proxy is ever used and no redirect followed: what is
asked of one address is answered by that address or not at all. The exceptions of requests, urllib3 and websocket-client
become ours here, in `_translated` and `_SOCKET_ENDS`, and nowhere else.
"""

from __future__ import annotations

import http.client
import http.cookies
import io
import json
import logging
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3
import websocket
from requests.adapters import HTTPAdapter

from pieces_nb.errors import PiecesServerError, PiecesUnreachable, ProtocolError
from pieces_nb.text import printable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

log = logging.getLogger(__name__)

MOST_ANSWER_BYTES = 64 * 2**20
MOST_FRAME_BYTES = 2**20
MOST_HANDSHAKE_BYTES = 64 * 2**10


class Answer(NamedTuple):
    """An HTTP answer below 300: its status and its body."""

    url: str
    status: int
    body: bytes

    def text(self) -> str:
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """Return the decoded body; `ProtocolError` if it is no JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as exc:
            start = printable(self.text()[:200], limit=80) or "an empty body"
            raise ProtocolError(f"{self.url} answered with something that is no JSON: {start}", url=self.url) from exc


class Transport:
    """Calls to one address. Thread-safe; `close()` drops the kept connections."""

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        self.url = url
        self.timeout_s = timeout_s
        # The adapter alone, without a Session: no cookies, no .netrc, and no look-up of proxies at every call.
        self._closed = False
        self._adapter = _Adapter(pool_connections=1, pool_maxsize=8, max_retries=0)

    def close(self) -> None:
        self._closed = True
        self._adapter.close()

    def get(self, path: str, *, timeout_s: float | None = None) -> Answer:
        try:
            return self._call("GET", path, None, timeout_s)
        except PiecesUnreachable as exc:
            if exc.timed_out or not exc.connected:
                raise
        # A kept connection may be closed by the server in the moment that it is used again: a new one tells.
        return self._call("GET", path, None, timeout_s)

    def post(self, path: str, body: object = None, *, timeout_s: float | None = None) -> Answer:
        """POST `body` as JSON, or nothing at all if it is None."""
        return self._call("POST", path, body, timeout_s)

    def _call(self, method: str, path: str, body: object, timeout_s: float | None) -> Answer:
        url = self.url + path
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        request = self._prepared(method, url, body)
        try:
            with (
                _translated(url, timeout_s),
                self._adapter.send(request, stream=True, timeout=timeout_s, proxies={}) as response,
            ):
                content = _read_body(response, url)
        finally:
            if self._closed:
                self._adapter.close()  # a call that was under way then keeps no connection either
        log.debug("%s %s: %d, %d bytes", method, url, response.status_code, len(content))
        if response.status_code < 300:
            return Answer(url, response.status_code, content)
        raise _http_error(url, response.status_code, response.headers.get("Content-Type", ""), content)

    @staticmethod
    def _prepared(method: str, url: str, body: object) -> requests.PreparedRequest:
        request = requests.PreparedRequest()
        request.method = method
        request.url = url
        request.headers = requests.structures.CaseInsensitiveDict(
            {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "pieces_nb"}
        )
        if body is not None:
            request.headers["Content-Type"] = "application/json"
            request.body = json.dumps(body, allow_nan=False).encode()
        if method == "POST":
            request.headers["Content-Length"] = str(len(request.body or b""))
        return request

    def progress_socket(self, path: str) -> ProgressSocket:
        """Return a WebSocket at `path`, not opened yet."""
        return ProgressSocket(self.url, path, timeout_s=self.timeout_s)


class _BoundedReader(io.RawIOBase):
    """What a socket receives until its timeout is over, all in all: a server that drips is one that does not answer."""

    def __init__(self, raw: io.RawIOBase, line: socket.socket) -> None:
        self._raw = raw
        self._line = line
        self._deadline = time.monotonic() + (line.gettimeout() or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the answer took too long")
        self._line.settimeout(remaining)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    """An answer whose head and body together come within one timeout."""

    def __init__(self, sock: socket.socket, *args: Any, **named: Any) -> None:
        super().__init__(sock, *args, **named)
        self.fp = io.BufferedReader(_BoundedReader(self.fp.detach(), sock))


class _Connection(urllib3.connection.HTTPConnection):
    """A connection that ends with an answer whose head makes no sense; urllib3 leaves it to the garbage collector."""

    response_class = _BoundedResponse

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as in urllib3 itself
        line = self.sock
        try:
            return super().getresponse()
        except BaseException:
            self.close()
            # The answer that made no sense may still hold it open.
            if line.fileno() != -1:
                socket.close(line.detach())
            raise


class _TLSConnection(urllib3.connection.HTTPSConnection):
    response_class = _BoundedResponse


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class _Adapter(HTTPAdapter):
    """requests' adapter with bounded answers."""

    def init_poolmanager(self, *args: Any, **named: Any) -> None:
        super().init_poolmanager(*args, **named)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def close(self) -> None:
        # urllib3 closes a pool when nothing refers to it any more; the traceback of a kept exception may, for long.
        for key in self.poolmanager.pools.keys():  # noqa: SIM118 - no dict, and this is a copy
            with suppress(KeyError):
                self.poolmanager.pools[key].close()
        super().close()


def _read_body(response: requests.Response, url: str) -> bytes:
    """Read the body within a size."""
    coding = response.headers.get("Content-Encoding", "identity")
    if coding != "identity":
        raise ProtocolError(f"{url} answered in the coding {coding!r}, which was not asked for.", url=url)
    chunks, size = [], 0
    while chunk := response.raw.read1(65536, decode_content=False):
        chunks.append(chunk)
        size += len(chunk)
        if size > MOST_ANSWER_BYTES:
            raise ProtocolError(f"{url} answered with more than {MOST_ANSWER_BYTES >> 20} MiB.", url=url)
    return b"".join(chunks)


def _http_error(url: str, status: int, content_type: str, body: bytes) -> PiecesServerError | ProtocolError:
    if 300 <= status < 400:
        return ProtocolError(f"{url} answered with a redirect ({status}), which is not followed.", url=url)
    text = body[:4000].decode("utf-8", errors="replace")
    if "html" in content_type.lower():
        title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        text = title.group(1) if title else re.sub(r"<[^>]*>", " ", text)
    words = printable(text, limit=500)
    where = urlsplit(url)
    return PiecesServerError(
        f"{where.netloc} answered {status} to {where.path}: {words or '(without a word)'}",
        status=status,
        text=words,
        url=url,
    )


@contextmanager
def _translated(url: str, timeout_s: float) -> Iterator[None]:
    """Raise ours for requests' and urllib3's."""
    where = urlsplit(url).netloc
    try:
        yield
    except (requests.Timeout, urllib3.exceptions.ReadTimeoutError, TimeoutError) as exc:
        message = f"{where} did not answer within {timeout_s:g} s."
        raise PiecesUnreachable(message, url=url, timed_out=True, connected=True) from exc
    except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as exc:
        raise _broken(exc, where, url) from exc
    except ValueError as exc:
        raise ProtocolError(f"{where} answered with something that is no HTTP: {exc}.", url=url) from exc


def _broken(exc: BaseException, where: str, url: str) -> PiecesUnreachable | ProtocolError:
    """Return ours for a call that came to nothing: nobody there, gone in the middle, or no HTTP."""
    causes = list(_causes(exc))
    words = next((seen.strerror.lower() for seen in causes if isinstance(seen, OSError) and seen.strerror), "")
    nonsense = any(type(seen) is ValueError and not str(seen).endswith("b''") for seen in causes)  # a chunk's length
    if not nonsense and any(
        isinstance(seen, http.client.IncompleteRead | http.client.RemoteDisconnected) for seen in causes
    ):
        return PiecesUnreachable(f"{where} broke off before its answer was whole.", url=url, connected=True)
    if not words and any(isinstance(seen, http.client.HTTPException | urllib3.exceptions.HTTPError) for seen in causes):
        said = printable(str(causes[-1]), limit=120)
        return ProtocolError(f"{where} answered with something that is no HTTP: {said}.", url=url)
    connected = not any(isinstance(seen, urllib3.exceptions.NewConnectionError) for seen in causes)
    what = f"Nothing answers at {where}" if not connected else f"The connection to {where} broke"
    return PiecesUnreachable(f"{what}: {words or 'it was closed'}.", url=url, connected=connected)


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those buried in it, from the outside inwards."""
    seen: BaseException | None = exc
    for _ in range(8):
        if not isinstance(seen, BaseException):
            return
        yield seen
        inner = next((part for part in seen.args if isinstance(part, BaseException)), None)
        seen = inner or getattr(seen, "reason", None) or seen.__cause__ or seen.__context__


# WebSocket -----------------------------------------------------------------------------------------------------------


class SocketEnded(Exception):
    """The WebSocket is closed, by whatever; the words say how. Not an error of the call: the snapshot decides."""


_SOCKET_ENDS = (
    websocket.WebSocketException,
    OSError,
    ValueError,
    AttributeError,
    http.cookies.CookieError,  # websocket-client reads the cookies of a handshake
)


class _HandshakeSocket(socket.socket):
    """A socket with a deadline and a bound for all it receives until `free()`: a handshake can drip too."""

    deadline: float | None = None
    allowance = MOST_HANDSHAKE_BYTES

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        if self.deadline is not None:
            remaining = self.deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError("the handshake took too long")
            self.settimeout(remaining)
            self.allowance -= bufsize
            if self.allowance < 0:
                raise OSError("the handshake is too long")
        return super().recv(bufsize, flags)

    def free(self) -> None:
        self.deadline = None


class _BufferedWebSocket(websocket.WebSocket):
    """websocket-client, reading 64 KiB at a time instead of three times a frame, and no frame above a bound."""

    def __init__(self) -> None:
        super().__init__(skip_utf8_validation=True)
        self.until: float | None = None  # when to stop reading, in the middle of a frame or between pings
        self._ahead = b""
        self._at = 0

    @property
    def has_ahead(self) -> bool:
        return self._at < len(self._ahead)

    def _recv(self, bufsize: int) -> bytes:
        if self._at >= len(self._ahead):
            if (self.frame_buffer.length or 0) > MOST_FRAME_BYTES:
                raise websocket.WebSocketPayloadException(f"a frame of {self.frame_buffer.length} bytes")
            if self.until is not None:
                remaining = self.until - time.monotonic()
                if remaining <= 0:
                    raise websocket.WebSocketTimeoutException
                line = self.sock
                if line is not None:
                    line.settimeout(remaining)
            parts = self.cont_frame.cont_data
            if parts and len(parts[1]) > MOST_FRAME_BYTES:
                raise websocket.WebSocketPayloadException("a message without an end")
            self._ahead = super()._recv(65536)  # type: ignore[no-untyped-call]  # websocket-client is typed in part
            self._at = 0
        piece = self._ahead[self._at : self._at + bufsize]
        self._at += len(piece)
        return piece


class ProgressSocket:
    """One WebSocket on a socket of ours, so that `close()`, from any thread, ends even a handshake under way."""

    def __init__(self, url: str, path: str, *, timeout_s: float) -> None:
        self._url = url
        self._path = path
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._websocket = _BufferedWebSocket()
        self._closed = False

    def open(self) -> None:
        """Connect and shake hands, all within `timeout_s`; `SocketEnded` if that does not succeed."""
        deadline = time.monotonic() + self._timeout_s
        try:
            self._socket = self._connect(deadline)
            if self._closed:
                raise ConnectionAbortedError("closed meanwhile")
            self._websocket.connect(  # type: ignore[no-untyped-call]  # likewise
                self._url.replace("http", "ws", 1) + self._path,
                socket=self._socket,
                timeout=self._timeout_s,
                redirect_limit=0,
            )
        except _SOCKET_ENDS as exc:
            self.close()
            raise SocketEnded(_socket_words(exc)) from exc
        if isinstance(self._socket, _HandshakeSocket):
            self._socket.free()
        if self._websocket.getstatus() != 101:
            status = self._websocket.getstatus()
            self.close()
            raise SocketEnded(f"the server answered {status} instead of opening the socket")

    def _connect(self, deadline: float) -> socket.socket:
        parts = urlsplit(self._url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        address = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4]
        plain = _HandshakeSocket(family, socket.SOCK_STREAM)
        self._socket = plain
        plain.settimeout(self._timeout_s)
        plain.connect(address)
        plain.deadline = deadline
        if parts.scheme == "https":
            return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
        return plain

    @property
    def has_ahead(self) -> bool:
        """Whether `read` would return without waiting for the network, or nearly so."""
        return self._websocket.has_ahead

    def read(self, timeout_s: float) -> bytes | None:
        """Return the next message as it came, None if none came in time; `SocketEnded` when there will be none."""
        line = self._websocket
        try:
            # Whatever keeps it busy without a message, pings or a frame that drips, ends with the time.
            line.until = time.monotonic() + max(timeout_s, 0.001)
            opcode, data = line.recv_data()
        except websocket.WebSocketTimeoutException:
            return None
        except _SOCKET_ENDS as exc:
            raise SocketEnded(_socket_words(exc)) from exc
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise SocketEnded("the server closed the socket")
        return bytes(data) if isinstance(data, bytearray) else data

    def close(self) -> None:
        """Shut the socket; a `read` or `open` under way in another thread ends at once."""
        self._closed = True
        line = self._socket
        if line is None:
            return
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            line.close()


def _socket_words(exc: BaseException) -> str:
    if isinstance(exc, websocket.WebSocketBadStatusException):
        return f"the server answered {exc.status_code} instead of opening the socket"
    if isinstance(exc, websocket.WebSocketConnectionClosedException):
        return "the connection broke"
    if isinstance(exc, OSError):
        return (exc.strerror or str(exc) or "the connection broke").lower()
    return printable(str(exc), limit=120) or type(exc).__name__
