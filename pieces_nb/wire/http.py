"""HTTP calls to one address. Knows no endpoint and no model.

Every call has a timeout, every answer a bound on its size. No proxy is ever used and no redirect followed: what is
asked of one address is answered by that address or not at all. The exceptions of http.client become ours here, in
`_translated`, and nowhere else. It is http.client itself, since a command line waits for every import.
"""

from __future__ import annotations

import http.client
import io
import json
import logging
import os
import re
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from pieces_nb.errors import PiecesServerError, PiecesUnreachable, ProtocolError
from pieces_nb.text import printable
from pieces_nb.wire.certificates import tls_context

if TYPE_CHECKING:
    import ssl

    from _typeshed import WriteableBuffer

    from pieces_nb.wire.websocket import ProgressSocket

log = logging.getLogger(__name__)

MOST_ANSWER_BYTES = 64 * 2**20
_MOST_KEPT = 8  # connections
_LONGEST_S = 1e8  # three years: a socket does not take much more
_JSON = "application/json"
_TEXT = "text/plain, application/json;q=0.9, */*;q=0.1"  # a strict server answers 406 where no text is accepted


class Answer(NamedTuple):
    """An HTTP answer below 300: its status and its body."""

    url: str
    status: int
    body: bytes

    def text(self) -> str:
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """Return the decoded body; `ProtocolError` if it is not JSON."""
        try:
            return decoded(self.body)
        except (ValueError, RecursionError) as exc:
            start = printable(self.text()[:200], limit=80) or "an empty body"
            raise ProtocolError(f"{self.url} answered with something that is not JSON: {start}", url=self.url) from exc


def decoded(raw: bytes) -> Any:
    """Return what JSON from the wire says; ValueError or RecursionError if it is none.

    What is not UTF-8 in it costs that character, a whole number that is too long for Python is None.
    """
    try:
        return json.loads(raw)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return json.loads(raw.decode("utf-8", errors="replace"), parse_int=_whole_number)


def _whole_number(digits: str) -> int | None:
    try:
        return int(digits)
    except ValueError:
        return None


class Transport:
    """Calls to one address. Thread-safe, and safe in a forked child, which has connections of its own.

    `close()` drops the kept connections; what is called after it keeps none.
    """

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        self.url = url
        self.timeout_s = timeout_s
        self._closed = False
        self._kept = _Kept()
        self._tls: ssl.SSLContext | None = None

    def close(self) -> None:
        self._closed = True
        self._kept.drop()

    def get(self, path: str, *, timeout_s: float | None = None) -> Answer:
        """GET an answer in JSON."""
        return self._get(path, _JSON, timeout_s)

    def get_text(self, path: str, *, timeout_s: float | None = None) -> str:
        """GET an answer in plain text."""
        return self._get(path, _TEXT, timeout_s).text()

    def _get(self, path: str, accept: str, timeout_s: float | None) -> Answer:
        try:
            return self._call("GET", path, accept=accept, timeout_s=timeout_s)
        except PiecesUnreachable as exc:
            if exc.timed_out or not exc.connected:
                raise
        # A kept connection may be closed by the server in the moment that it is used again: a new one tells.
        return self._call("GET", path, accept=accept, timeout_s=timeout_s, fresh=True)

    def post(self, path: str, body: object = None, *, timeout_s: float | None = None) -> Answer:
        """POST `body` as JSON, or nothing at all if it is None.

        Always over a connection of its own: where a kept one closes, nobody knows whether the call was done, and a POST
        is never made twice.
        """
        try:
            return self._call("POST", path, body, accept=_JSON, timeout_s=timeout_s, fresh=True)
        except PiecesUnreachable as exc:
            exc.posted = True
            raise

    def _call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        accept: str,
        timeout_s: float | None,
        fresh: bool = False,
    ) -> Answer:
        url = self.url + path
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        headers, content = _prepared(body, accept, fresh=fresh)
        connection = (None if fresh else self._kept.take()) or self._new_connection()
        whole = False
        try:
            with _translated(url, timeout_s, connection):
                response = connection.exchange(method, path, content, headers, timeout_s=timeout_s)
                received = _read_body(response, url)
            whole = True
        finally:
            self._done_with(connection, keep=whole and not fresh)
        log.debug("%s %s: %d, %d bytes", method, url, response.status, len(received))
        if response.status < 300:
            return Answer(url, response.status, received)
        raise _http_error(url, response.status, response.getheader("Content-Type", ""), received)

    def _new_connection(self) -> _Connection:
        server = urlsplit(self.url)
        if server.scheme == "https" and self._tls is None:
            self._tls = tls_context()
        return _Connection(server.hostname or "", server.port, self._tls)

    def _done_with(self, connection: _Connection, *, keep: bool) -> None:
        if not keep or connection.sock is None:  # http.client takes the socket from one that is to be closed
            connection.close()
            return
        self._kept.give(connection)
        if self._closed:
            # A call that was under way when all was closed keeps no connection either.
            self._kept.drop()

    def progress_socket(self, path: str) -> ProgressSocket:
        """Return a WebSocket at `path`, not opened yet."""
        from pieces_nb.wire.websocket import ProgressSocket

        return ProgressSocket(self.url, path, timeout_s=self.timeout_s)


def _prepared(body: object, accept: str, *, fresh: bool) -> tuple[dict[str, str], bytes | None]:
    """Return headers and content of a request."""
    headers = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "pieces_nb"}
    content = None
    if body is not None:
        headers["Content-Type"] = _JSON
        content = json.dumps(body, allow_nan=False).encode()
    if fresh:
        headers["Connection"] = "close"
    return headers, content


# Connections ---------------------------------------------------------------------------------------------------------


class _BoundedReader(io.RawIOBase):
    """What a socket receives until `deadline`, all in all: a server that drips is one that does not answer."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._socket = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        self._socket.settimeout(_remaining_s(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _remaining_s(deadline: float) -> float:
    """Return the time until `deadline`; `TimeoutError` if it is over."""
    remaining_s = deadline - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError("the answer took too long")
    return min(remaining_s, _LONGEST_S)


class _Connection(http.client.HTTPConnection):
    """One connection, over TLS if there is a `tls`. A call over it, to the end of its answer, comes within one timeout.

    `reached`: something has taken the connection.
    """

    def __init__(self, host: str, port: int | None, tls: ssl.SSLContext | None) -> None:
        self.default_port = http.client.HTTP_PORT if tls is None else http.client.HTTPS_PORT
        super().__init__(host, port or self.default_port)
        self.reached = False
        self._tls = tls
        self._deadline = 0.0

    def connect(self) -> None:
        try:
            self.sock = socket.create_connection((self.host, self.port), _remaining_s(self._deadline))
        except UnicodeError as exc:  # of the codec that a name goes through
            raise socket.gaierror(socket.EAI_NONAME, "not the name of a host") from exc
        self.reached = True
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            self.sock.settimeout(_remaining_s(self._deadline))
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)

    def exchange(
        self, method: str, path: str, content: bytes | None, headers: dict[str, str], *, timeout_s: float
    ) -> http.client.HTTPResponse:
        """Send a request and return the answer, of which the head is read."""
        self._deadline = time.monotonic() + timeout_s
        if self.sock is not None:
            self.sock.settimeout(_remaining_s(self._deadline))
        with suppress(BrokenPipeError):  # who closes without reading all may have answered before
            self.request(method, path, content, headers)
        return self.getresponse()

    def response_class(  # type: ignore[override]  # a class for http.client, which does nothing with it but call it
        self, sock: socket.socket, **named: Any
    ) -> http.client.HTTPResponse:
        """Return what reads the answer from `sock`, until the deadline."""
        response = http.client.HTTPResponse(sock, **named)
        response.fp = io.BufferedReader(_BoundedReader(response.fp.detach(), sock, self._deadline))
        return response

    @property
    def is_idle(self) -> bool:
        """Whether it is open and nothing has come: neither its end nor more than was asked for."""
        with suppress(OSError), selectors.DefaultSelector() as selector:  # this process may have no file left to open
            selector.register(self.sock, selectors.EVENT_READ)
            return not selector.select(0)
        return False


class _Kept:
    """The open connections between calls, the latest first; those of this process alone.

    Over the connections of its parent, a child of `fork` would read the parent's answers. There is no lock: one that
    another thread holds while the process forks is held in the child for ever. Each step is one operation on a list,
    which no other thread comes between.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._connections: list[_Connection] = []

    def take(self) -> _Connection | None:
        """Return one that can be used, None if there is none."""
        self._leave_the_parents()
        while self._connections:
            try:
                connection = self._connections.pop()
            except IndexError:  # another thread was quicker
                return None
            if connection.is_idle:
                return connection
            connection.close()
        return None

    def give(self, connection: _Connection) -> None:
        self._leave_the_parents()
        if len(self._connections) < _MOST_KEPT:
            self._connections.append(connection)
        else:
            connection.close()

    def drop(self) -> None:
        while self._connections:
            try:
                self._connections.pop().close()
            except IndexError:  # another thread was quicker
                return

    def __del__(self) -> None:
        self.drop()  # of a client that nobody has closed

    def _leave_the_parents(self) -> None:
        if self._process != os.getpid():
            self._process = os.getpid()
            self.drop()  # a child's copies of the sockets: the parent's stay open


# Answers -------------------------------------------------------------------------------------------------------------


def _read_body(response: http.client.HTTPResponse, url: str) -> bytes:
    """Read the body within a size. `IncompleteRead` if it ends before."""
    with response:
        coding = response.getheader("Content-Encoding", "").strip()
        if coding.lower() not in ("", "identity"):
            raise ProtocolError(f"{url} answered in the coding {coding!r}, which was not asked for.", url=url)
        lengths = response.getheader("Content-Length", "").split(",")
        if len({length.strip() for length in lengths}) > 1:
            raise http.client.HTTPException("an answer of several lengths")
        chunks, size = [], 0
        while chunk := response.read1(65536):
            chunks.append(chunk)
            size += len(chunk)
            if size > MOST_ANSWER_BYTES:
                raise ProtocolError(f"{url} answered with more than {MOST_ANSWER_BYTES >> 20} MiB.", url=url)
        if response.length:  # what is still to come; nothing where the end of the connection is the end
            raise http.client.IncompleteRead(b"", response.length)
        return b"".join(chunks)


def _http_error(url: str, status: int, content_type: str, body: bytes) -> PiecesServerError | ProtocolError:
    if 300 <= status < 400:
        return ProtocolError(f"{url} answered with a redirect ({status}), which is not followed.", url=url)
    words = printable(_words_of(body[:4000].decode("utf-8", errors="replace"), content_type), limit=500)
    where = urlsplit(url)
    return PiecesServerError(
        f"{where.netloc} answered {status} to {where.path}: {words or '(without a word)'}",
        status=status,
        text=words,
        url=url,
    )


def _words_of(text: str, content_type: str) -> str:
    """Return what an error page says: a title of HTML, a message in JSON, else all of it."""
    if "html" in content_type.lower():
        title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        return title.group(1) if title else re.sub(r"<[^>]*>", " ", text)
    try:
        return _message_in(json.loads(text)) or text
    except (ValueError, RecursionError):
        return text


def _message_in(body: object) -> str:
    """Return the message in the JSON of an error, '' where none can be told from the rest."""
    if isinstance(body, str):
        return body
    if isinstance(body, list):
        return "; ".join(filter(None, map(_message_in, body)))
    if isinstance(body, dict):
        found = (_message_in(body.get(key)) for key in ("message", "error", "errors", "detail", "reason", "title"))
        return next(filter(None, found), "")
    return ""


@contextmanager
def _translated(url: str, timeout_s: float, connection: _Connection) -> Iterator[None]:
    """Raise ours for http.client's."""
    where = urlsplit(url).netloc
    try:
        yield
    except TimeoutError as exc:
        message = f"{where} did not answer within {timeout_s:g} s."
        raise PiecesUnreachable(message, url=url, timed_out=True, connected=True) from exc
    except (http.client.HTTPException, OSError) as exc:
        raise _broken(exc, where, url, reached=connection.reached) from exc


def _broken(exc: BaseException, where: str, url: str, *, reached: bool) -> PiecesUnreachable | ProtocolError:
    """Return ours for a call that came to nothing: nobody there, gone in the middle, or not HTTP."""
    if isinstance(exc, http.client.IncompleteRead | http.client.RemoteDisconnected) and not _is_nonsense(exc):
        return PiecesUnreachable(f"{where} broke off before its answer was whole.", url=url, connected=True)
    if not isinstance(exc, OSError):
        said = printable(str(exc.__context__ or exc), limit=120)
        return ProtocolError(f"{where} answered with something that is not HTTP: {said}.", url=url)
    words = (exc.strerror or "").lower() or "it was closed"
    what = f"The connection to {where} broke" if reached else f"Nothing answers at {where}"
    return PiecesUnreachable(f"{what}: {words}.", url=url, connected=reached)


def _is_nonsense(exc: BaseException) -> bool:
    """Whether the length of a chunk is not a number. http.client says the same of a connection that ends there."""
    cause = exc.__context__
    return type(cause) is ValueError and not str(cause).endswith("b''")
