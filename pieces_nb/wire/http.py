"""HTTP calls to one address. Knows no endpoint and no model.

Every call has a timeout, every answer a bound on its size. No proxy is ever used and no redirect followed: what is
asked of one address is answered by that address or not at all. The exceptions of urllib3 become ours here, in
`_translated`, and nowhere else.
"""

from __future__ import annotations

import http.client
import io
import json
import logging
import os
import queue
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import urllib3

from pieces_nb.errors import PiecesServerError, PiecesUnreachable, ProtocolError
from pieces_nb.text import printable
from pieces_nb.wire.certificates import tls_context

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from pieces_nb.wire.websocket import ProgressSocket

log = logging.getLogger(__name__)

MOST_ANSWER_BYTES = 64 * 2**20
_MOST_KEPT = 8  # connections
_JSON = "application/json"
_TEXT = "text/plain, application/json;q=0.9, */*;q=0.1"  # a strict server answers 406 where no text is accepted
_NO_RETRIES = urllib3.Retry(False, redirect=False)


class Answer(NamedTuple):
    """An HTTP answer below 300: its status and its body."""

    url: str
    status: int
    body: bytes

    def text(self) -> str:
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """Return the decoded body; `ProtocolError` if it is not JSON. What is not UTF-8 in it costs that character."""
        try:
            try:
                return json.loads(self.body)
            except UnicodeDecodeError:
                return json.loads(self.text())
        except (ValueError, RecursionError) as exc:
            start = printable(self.text()[:200], limit=80) or "an empty body"
            raise ProtocolError(f"{self.url} answered with something that is not JSON: {start}", url=self.url) from exc


class Transport:
    """Calls to one address. Thread-safe, and safe in a forked child, which has connections of its own.

    `close()` drops the kept connections; what is called after it keeps none.
    """

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        self.url = url
        self.timeout_s = timeout_s
        self._closed = False
        self._process = 0  # the one whose connections the pool keeps
        self._pool: _Pool | _TLSPool | None = None

    def close(self) -> None:
        self._closed = True
        if self._pool is not None and self._process == os.getpid():
            _drop_kept(self._pool)

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
        headers, content = _prepared(method, body, accept, fresh=fresh)
        pool = _pool_of(self.url) if fresh else self._kept_pool()
        try:
            with _translated(url, timeout_s):
                response = pool.urlopen(
                    method, path, content, headers, _NO_RETRIES,
                    timeout=timeout_s, redirect=False, assert_same_host=False,
                    preload_content=False, decode_content=False,
                )  # fmt: skip
                received = _read_body(response, url)
        finally:
            # A call that was under way when all was closed keeps no connection either.
            if fresh or self._closed:
                _drop_kept(pool)
        log.debug("%s %s: %d, %d bytes", method, url, response.status, len(received))
        if response.status < 300:
            return Answer(url, response.status, received)
        raise _http_error(url, response.status, response.headers.get("Content-Type", ""), received)

    def _kept_pool(self) -> _Pool | _TLSPool:
        """Return this process's connections: over those of its parent, a child would read the parent's answers."""
        if self._pool is None or self._process != os.getpid():
            self._pool = _pool_of(self.url)
            self._process = os.getpid()
        return self._pool

    def progress_socket(self, path: str) -> ProgressSocket:
        """Return a WebSocket at `path`, not opened yet."""
        from pieces_nb.wire.websocket import ProgressSocket

        return ProgressSocket(self.url, path, timeout_s=self.timeout_s)


def _prepared(method: str, body: object, accept: str, *, fresh: bool) -> tuple[dict[str, str], bytes | None]:
    """Return headers and content of a request."""
    headers = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "pieces_nb"}
    content = None
    if body is not None:
        headers["Content-Type"] = _JSON
        content = json.dumps(body, allow_nan=False).encode()
    if method == "POST":
        headers["Content-Length"] = str(len(content or b""))
    if fresh:
        headers["Connection"] = "close"
    return headers, content


class _BoundedReader(io.RawIOBase):
    """What a socket receives until its timeout is over, all in all: a server that drips is one that does not answer."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._socket = sock
        self._deadline = time.monotonic() + (sock.gettimeout() or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the answer took too long")
        self._socket.settimeout(remaining)
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
        sock = self.sock
        try:
            return super().getresponse()
        except BaseException:
            self.close()
            # The answer that made no sense may still hold it open.
            if sock.fileno() != -1:
                socket.close(sock.detach())
            raise


class _TLSConnection(urllib3.connection.HTTPSConnection):
    response_class = _BoundedResponse


class _Kept:
    """The connections that a pool keeps, the latest first. urllib3's own is a queue with a lock.

    A lock that another thread holds while the process forks is held in the child for ever. Here each step is one
    operation on a list, which no other thread comes between.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._connections: list[urllib3.connection.HTTPConnection | None] = []

    def get(self, block: bool = True, timeout: float | None = None) -> urllib3.connection.HTTPConnection | None:
        del block, timeout  # it never waits
        try:
            return self._connections.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, connection: urllib3.connection.HTTPConnection | None, block: bool = True) -> None:
        del block
        if len(self._connections) < self._most:
            self._connections.append(connection)
        elif connection is not None:
            connection.close()

    def qsize(self) -> int:
        return len(self._connections)


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection
    QueueCls = _Kept  # type: ignore[assignment]  # not a queue, but what urllib3 needs of one


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection
    QueueCls = _Kept  # type: ignore[assignment]  # not a queue, but what urllib3 needs of one


def _pool_of(url: str) -> _Pool | _TLSPool:
    server = urlsplit(url)
    host = server.hostname or ""
    if server.scheme == "https":
        return _TLSPool(host, server.port, maxsize=_MOST_KEPT, ssl_context=tls_context())
    return _Pool(host, server.port, maxsize=_MOST_KEPT)


def _drop_kept(pool: _Pool | _TLSPool) -> None:
    """Close what the pool keeps. The pool itself stays open: urllib3 fails in odd ways where one closes in use."""
    kept = pool.pool
    while kept is not None and kept.qsize():
        try:
            connection = kept.get()
        except queue.Empty:
            return  # another thread was quicker
        if connection is not None:
            connection.close()


def _read_body(response: urllib3.BaseHTTPResponse, url: str) -> bytes:
    """Read the body within a size; whatever is left of it goes with its connection."""
    try:
        coding = response.headers.get("Content-Encoding", "").strip()
        if coding.lower() not in ("", "identity"):
            raise ProtocolError(f"{url} answered in the coding {coding!r}, which was not asked for.", url=url)
        chunks, size = [], 0
        while chunk := response.read1(65536, decode_content=False):
            chunks.append(chunk)
            size += len(chunk)
            if size > MOST_ANSWER_BYTES:
                raise ProtocolError(f"{url} answered with more than {MOST_ANSWER_BYTES >> 20} MiB.", url=url)
        return b"".join(chunks)
    finally:
        response.close()
        response.release_conn()


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
def _translated(url: str, timeout_s: float) -> Iterator[None]:
    """Raise ours for urllib3's."""
    where = urlsplit(url).netloc
    try:
        yield
    except urllib3.exceptions.NewConnectionError as exc:  # which is a timeout by inheritance
        raise _broken(exc, where, url) from exc
    except (urllib3.exceptions.TimeoutError, TimeoutError) as exc:
        message = f"{where} did not answer within {timeout_s:g} s."
        raise PiecesUnreachable(message, url=url, timed_out=True, connected=True) from exc
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as exc:
        raise _broken(exc, where, url) from exc
    except ValueError as exc:
        raise ProtocolError(f"{where} answered with something that is not HTTP: {exc}.", url=url) from exc


def _broken(exc: BaseException, where: str, url: str) -> PiecesUnreachable | ProtocolError:
    """Return ours for a call that came to nothing: nobody there, gone in the middle, or not HTTP."""
    causes = list(_causes(exc))
    words = next((seen.strerror.lower() for seen in causes if isinstance(seen, OSError) and seen.strerror), "")
    nonsense = any(type(seen) is ValueError and not str(seen).endswith("b''") for seen in causes)  # a chunk's length
    if not nonsense and any(
        isinstance(seen, http.client.IncompleteRead | http.client.RemoteDisconnected) for seen in causes
    ):
        return PiecesUnreachable(f"{where} broke off before its answer was whole.", url=url, connected=True)
    if not words and any(isinstance(seen, http.client.HTTPException | urllib3.exceptions.HTTPError) for seen in causes):
        said = printable(str(causes[-1]), limit=120)
        return ProtocolError(f"{where} answered with something that is not HTTP: {said}.", url=url)
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
