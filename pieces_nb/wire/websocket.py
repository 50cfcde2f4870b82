"""The progress WebSocket: one connection, opened, read and shut. Knows no endpoint and no model.

The exceptions of websocket-client become ours here, in `_SOCKET_ENDS`, and nowhere else.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import socket
import time
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit

import websocket

from pieces_nb.text import printable
from pieces_nb.wire.certificates import tls_context

MOST_FRAME_BYTES = 2**20
MOST_HANDSHAKE_BYTES = 64 * 2**10
_WHOLE_TEXT = 0x81  # the first byte of a text that is not continued; the second is its length up to 125, unmasked
_SHORT = 125
_STATUS = re.compile(r"HTTP/1\.[01] (\d{3})(?: |\Z)")
_ACCEPT_SALT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


class SocketEnded(Exception):
    """The WebSocket is closed, by whatever; the words say how. Not an error of the call: the snapshot decides."""


# The last two: a socket that another thread closes may be gone in the middle of a line of websocket-client or of ssl.
_SOCKET_ENDS = (websocket.WebSocketException, OSError, ValueError, AttributeError)


class _BufferedWebSocket(websocket.WebSocket):
    """websocket-client's frames, read 64 KiB at a time instead of three times a frame, and none above a bound."""

    def __init__(self) -> None:
        super().__init__(skip_utf8_validation=True)
        self.until = 0.0  # when to stop reading, in the middle of a frame or between pings
        self._ahead = b""
        self._at = 0

    def start(self, sock: socket.socket, ahead: bytes) -> None:
        """Read frames from `sock`, after those in `ahead`."""
        self._ahead = ahead
        self.sock = sock
        self.connected = True

    @property
    def has_ahead(self) -> bool:
        return self._at < len(self._ahead)

    def whole_message(self) -> bytes | None:
        """Return the next message if it lies ahead in one short text frame, as nearly all do; None: `recv_data` tells.

        That takes a tenth of the time, and a hundred downloads have a thousand frames a second. `recv_data` stops amid
        a message only when nothing lies ahead, so that what does is a beginning.
        """
        ahead, at = self._ahead, self._at
        if len(ahead) - at < 2 or ahead[at] != _WHOLE_TEXT or ahead[at + 1] > _SHORT:
            return None
        end = at + 2 + ahead[at + 1]
        if end > len(ahead):
            return None
        self._at = end
        return ahead[at + 2 : end]

    def _recv(self, bufsize: int) -> bytes:
        if self._at >= len(self._ahead):
            self._check_bounds()
            if self.sock is None:
                raise websocket.WebSocketConnectionClosedException
            self._ahead = _receive(self.sock, self.until)
            self._at = 0
        piece = self._ahead[self._at : self._at + bufsize]
        self._at += len(piece)
        return piece

    def _check_bounds(self) -> None:
        if (self.frame_buffer.length or 0) > MOST_FRAME_BYTES:
            raise websocket.WebSocketPayloadException(f"a frame of {self.frame_buffer.length} bytes")
        parts = self.cont_frame.cont_data
        if parts and len(parts[1]) > MOST_FRAME_BYTES:
            raise websocket.WebSocketPayloadException("a message without an end")


def _receive(sock: socket.socket, deadline: float) -> bytes:
    """Return what comes next; `TimeoutError` at `deadline`, so that a server that drips gains nothing."""
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("timed out")
    sock.settimeout(remaining)
    data = sock.recv(65536)
    if not data:
        raise websocket.WebSocketConnectionClosedException("the connection broke")
    return data


class ProgressSocket:
    """One WebSocket on a socket of ours, so that `close()`, from any thread, ends even a handshake under way."""

    def __init__(self, url: str, path: str, *, timeout_s: float) -> None:
        self._url = url
        self._path = path
        self._timeout_s = timeout_s
        self._process = os.getpid()
        self._socket: socket.socket | None = None
        self._websocket = _BufferedWebSocket()
        self._closed = False

    def open(self) -> None:
        """Connect and shake hands, all within `timeout_s`; `SocketEnded` if that does not succeed."""
        deadline = time.monotonic() + self._timeout_s
        server = urlsplit(self._url)
        try:
            sock = self._connect(server, deadline)
            self._websocket.start(sock, _shake_hands(sock, server, self._path, deadline))
        except SocketEnded:
            self.close()
            raise
        except _SOCKET_ENDS as exc:
            self.close()
            raise SocketEnded(_socket_words(exc)) from exc

    def _connect(self, server: SplitResult, deadline: float) -> socket.socket:
        host, tls = server.hostname or "", server.scheme == "https"
        sock = self._connect_plain(host, server.port or (443 if tls else 80), deadline)
        if not tls:
            return sock
        # The handshake comes last: only a socket that `close()` knows can be shut in the middle of it.
        secured = tls_context().wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
        self._hold(secured)
        secured.settimeout(max(deadline - time.monotonic(), 0.001))
        secured.do_handshake()
        return secured

    def _connect_plain(self, host: str, port: int, deadline: float) -> socket.socket:
        """Connect to the first address of `host`, of whichever family, that answers."""
        failure = OSError("the name has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, protocol)
            try:
                self._hold(sock)
                sock.settimeout(max(deadline - time.monotonic(), 0.001))
                sock.connect(address)
            except OSError as exc:
                sock.close()
                failure = exc
            else:
                return sock
        raise failure

    def _hold(self, sock: socket.socket) -> None:
        """Let `close()` know of the socket, unless it has been called already."""
        self._socket = sock
        if self._closed:
            raise ConnectionAbortedError("closed meanwhile")

    @property
    def has_ahead(self) -> bool:
        """Whether `read` would return without waiting for the network, or nearly so."""
        return self._websocket.has_ahead

    def read(self, timeout_s: float) -> bytes | None:
        """Return the next message as it came, None if none came in time; `SocketEnded` when there will be none."""
        if (message := self._websocket.whole_message()) is not None:
            return message
        try:
            # Whatever keeps it busy without a message, pings or a frame that drips, ends with the time.
            self._websocket.until = time.monotonic() + max(timeout_s, 0.001)
            opcode, data = self._websocket.recv_data()
        except (websocket.WebSocketTimeoutException, TimeoutError):
            return None
        except _SOCKET_ENDS as exc:
            raise SocketEnded(_socket_words(exc)) from exc
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise SocketEnded("the server closed the socket")
        return bytes(data) if isinstance(data, bytearray) else data

    def close(self) -> None:
        """Shut the socket; a `read` or `open` under way in another thread ends at once."""
        self._closed = True
        sock = self._socket
        if sock is None:
            return
        # A forked child has a copy of the socket and lets go of it; to shut it would end the connection of its parent.
        if self._process == os.getpid():
            with suppress(OSError):
                # Not SSLSocket's own, which would take the state of TLS away from under the thread that reads.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        with suppress(OSError):
            sock.close()


# The handshake is ours. websocket-client's keeps the cookies of every server in one jar of the process and sends them
# again, and reads byte by byte for as long as a server drips. Source: RFC 6455, 4.


def _shake_hands(sock: socket.socket, server: SplitResult, path: str, deadline: float) -> bytes:
    """Ask for the WebSocket and return what came behind the answer; `SocketEnded` if the server does not open it."""
    key = base64.b64encode(os.urandom(16)).decode()
    sock.settimeout(max(deadline - time.monotonic(), 0.001))
    sock.sendall(_request(server, path, key))
    head, behind = _read_head(sock, deadline)
    first, *rest = head.decode("latin-1").split("\r\n")
    status = _STATUS.match(first)
    if status is None:
        raise SocketEnded("the server's handshake is not HTTP")
    if status.group(1) != "101":
        raise SocketEnded(f"the server answered {status.group(1)} instead of opening the socket")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    expected = base64.b64encode(hashlib.sha1((key + _ACCEPT_SALT).encode(), usedforsecurity=False).digest()).decode()
    if headers.get("upgrade", "").lower() != "websocket" or headers.get("sec-websocket-accept") != expected:
        raise SocketEnded("the server's handshake is not a WebSocket's")
    return behind


def _request(server: SplitResult, path: str, key: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: {server.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"Origin: {server.scheme}://{server.netloc}\r\nUser-Agent: pieces_nb\r\n\r\n"
    ).encode("ascii")


def _read_head(sock: socket.socket, deadline: float) -> tuple[bytes, bytes]:
    """Return the answer's head, and what has come behind it already."""
    received = b""
    while b"\r\n\r\n" not in received:
        if len(received) > MOST_HANDSHAKE_BYTES:
            raise SocketEnded("the server's handshake is too long")
        received += _receive(sock, deadline)
    head, _, behind = received.partition(b"\r\n\r\n")
    return head, behind


def _socket_words(exc: BaseException) -> str:
    if isinstance(exc, websocket.WebSocketConnectionClosedException):
        return "the connection broke"
    if isinstance(exc, OSError):
        return (exc.strerror or str(exc) or "the connection broke").lower()
    return printable(str(exc), limit=120) or type(exc).__name__
