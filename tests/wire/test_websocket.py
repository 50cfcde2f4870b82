"""The progress WebSocket: how it is opened, and how it ends."""

from __future__ import annotations

import threading

import pytest

from pieces_nb.wire import endpoints
from pieces_nb.wire.http import Transport
from pieces_nb.wire.websocket import ProgressSocket, SocketEnded
from tests.hostile.server import (
    DEADLINE_S,
    ID,
    HostileServer,
    Line,
    Request,
    frame,
    handshake,
    progress,
    says,
    text,
    until,
    websocket,
)
from tests.wire.certificate import CERTIFICATE, server_context
from tests.wire.conftest import InChild, MakeServer
from tests.wire.test_http import six

PATH = f"/model/{ID}/download/progress"


def socket_to(server: HostileServer) -> ProgressSocket:
    return endpoints.open_progress(Transport(server.url, timeout_s=DEADLINE_S), ID)


def test_frames_that_come_with_the_handshake_are_read(hostile: HostileServer) -> None:
    def behave(line: Line, request: Request) -> None:
        line.send(handshake(request) + progress("INITIALIZED", 0) + progress("IN-PROGRESS", 5)[:4])
        line.send(progress("IN-PROGRESS", 5)[4:])
        line.listen()

    hostile.answers["progress"] = behave
    sock = socket_to(hostile)
    sock.open()
    assert b"INITIALIZED" in (sock.read(DEADLINE_S) or b"")
    assert b"IN-PROGRESS" in (sock.read(DEADLINE_S) or b"")
    assert sock.read(0.01) is None
    sock.close()


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_rest_and_socket_trust_the_same_certificates(
    variable: str, make_hostile: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_hostile(tls=server_context())
    server.answers["progress"] = websocket(progress("INITIALIZED", 0))
    with pytest.raises(SocketEnded, match="certificate"):
        socket_to(server).open()
    monkeypatch.setenv(variable, str(CERTIFICATE))
    assert endpoints.snapshot(Transport(server.url, timeout_s=DEADLINE_S), ID).name == "Phi-2"
    sock = socket_to(server)
    sock.open()
    assert b"INITIALIZED" in (sock.read(DEADLINE_S) or b"")
    sock.close()


def test_close_ends_a_tls_handshake_within_a_second(make_hostile: MakeServer) -> None:
    greeted = threading.Event()

    def take_the_greeting_and_say_nothing(line: Line, _request: Request) -> None:
        line.receive()
        greeted.set()
        line.hold()

    server = make_hostile()  # which does not know TLS
    server.answers["line"] = take_the_greeting_and_say_nothing
    sock = ProgressSocket(server.url.replace("http", "https"), PATH, timeout_s=DEADLINE_S)
    ended: list[str] = []

    def open_it() -> None:
        try:
            sock.open()
        except SocketEnded as exc:
            ended.append(str(exc))

    opening = threading.Thread(target=open_it, daemon=True)
    opening.start()
    assert greeted.wait(DEADLINE_S)
    sock.close()
    opening.join(1.0)
    assert not opening.is_alive()
    assert len(ended) == 1


@pytest.mark.parametrize("secured", [False, True])
def test_close_ends_a_read(secured: bool, make_hostile: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
    server = make_hostile(tls=server_context() if secured else None)
    reading = threading.Event()
    ended = threading.Event()
    sock = socket_to(server)
    sock.open()

    def read() -> None:
        reading.set()
        with pytest.raises(SocketEnded):
            sock.read(DEADLINE_S)
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    reading.wait(DEADLINE_S)
    sock.close()
    assert ended.wait(1.0)


def test_a_socket_closed_before_it_opens_does_not_open(hostile: HostileServer) -> None:
    sock = socket_to(hostile)
    sock.close()
    with pytest.raises(SocketEnded, match="closed meanwhile"):
        sock.open()
    assert hostile.count("progress") == 0


def test_no_cookie_of_a_handshake_is_kept_or_sent(hostile: HostileServer) -> None:
    def behave(line: Line, request: Request) -> None:
        line.send(handshake(request).replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b; Domain=127.0.0.1; Path=/\r\n\r\n"))
        line.listen()

    hostile.answers["progress"] = behave
    for _ in range(2):
        sock = socket_to(hostile)
        sock.open()
        sock.close()
    assert hostile.count("progress") == 2
    assert not any("cookie" in request.headers for request in hostile.log)


def test_a_socket_to_a_name_that_has_only_an_address_of_version_6(
    make_hostile: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = six(make_hostile, monkeypatch)
    sock = ProgressSocket(f"http://six.test:{server.port}", PATH, timeout_s=DEADLINE_S)
    sock.open()
    sock.close()
    assert server.count("progress") == 1


def test_a_child_that_closes_does_not_disturb_its_parents_socket(hostile: HostileServer, in_child: InChild) -> None:
    told = threading.Event()
    hostile.answers["progress"] = websocket(until(told), progress("IN-PROGRESS", 40))
    sock = socket_to(hostile)
    sock.open()
    assert in_child(sock.close) == "None"
    told.set()
    assert b"IN-PROGRESS" in (sock.read(DEADLINE_S) or b"")
    sock.close()


def test_a_refused_socket_says_what_the_server_answered(hostile: HostileServer) -> None:
    hostile.answers["progress"] = says(text("sign in", "401 Unauthorized"))
    with pytest.raises(SocketEnded, match="the server answered 401 instead of opening the socket"):
        socket_to(hostile).open()


def test_the_engines_status_streams(hostile: HostileServer) -> None:
    hostile.answers["engine stream"] = websocket(frame({"installation": {"version": "0.3.1"}}))
    sock = endpoints.open_engine_status(Transport(hostile.url, timeout_s=DEADLINE_S))
    sock.open()
    assert sock.read(DEADLINE_S) == b'{"installation": {"version": "0.3.1"}}'
    sock.close()


def test_a_text_amid_a_message_in_parts_is_against_the_protocol_however_short_it_is(hostile: HostileServer) -> None:
    """A whole text that lies ahead has a way of its own; it must not pass by what websocket-client knows."""
    part = frame({"status": "IN-PROGRESS"}, fin=False)
    hostile.answers["progress"] = websocket(progress("INITIALIZED", 0) + part + progress("IN-PROGRESS", 5))
    sock = socket_to(hostile)
    sock.open()
    assert b"INITIALIZED" in (sock.read(DEADLINE_S) or b"")
    with pytest.raises(SocketEnded, match="Illegal"):
        sock.read(DEADLINE_S)
    sock.close()


def test_a_payload_that_looks_like_a_frame_is_read_as_a_payload_after_a_timeout(hostile: HostileServer) -> None:
    """The head of a long frame has come, its payload comes later and begins like a short text."""
    rest = threading.Event()
    inner = progress("COMPLETED", 100)
    outer = frame(inner + b" " * 200)
    hostile.answers["progress"] = websocket(outer[:4], until(rest), outer[4:] + outer + progress("IN-PROGRESS", 5))
    sock = socket_to(hostile)
    sock.open()
    assert sock.read(0.2) is None
    rest.set()
    assert [sock.read(DEADLINE_S) for _ in range(2)] == [inner + b" " * 200] * 2
    assert b"IN-PROGRESS" in (sock.read(DEADLINE_S) or b"")
    sock.close()


def test_half_a_head_is_not_taken_for_a_frame_when_the_rest_has_come(hostile: HostileServer) -> None:
    rest = threading.Event()
    late = progress("IN-PROGRESS", 5)
    hostile.answers["progress"] = websocket(late[:1], until(rest), late[1:] + progress("COMPLETED", 100))
    sock = socket_to(hostile)
    sock.open()
    assert sock.read(0.2) is None
    rest.set()
    assert b"IN-PROGRESS" in (sock.read(DEADLINE_S) or b"")
    assert b"COMPLETED" in (sock.read(DEADLINE_S) or b"")
    sock.close()
