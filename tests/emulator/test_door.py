"""Who is let in, and what nonsense is told: always text, never a traceback or a page."""

from __future__ import annotations

import logging
import socket

import pytest
import websocket

from pieces_nb.emulator import Emulator
from tests.emulator.conftest import Started
from tests.emulator.support import DEADLINE_S, SEEDED, Listener


def exchange(emulator: Emulator, request: bytes, *, half_close: bool = False) -> bytes:
    """Send raw bytes; return all that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", emulator.port), timeout=DEADLINE_S) as connection:
        connection.sendall(request)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
        return answer


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}"])
def test_its_own_names_are_answered(started: Started, host: str) -> None:
    emulator, api = started()

    headers = {"Host": host.format(port=emulator.port), "Origin": f"http://{host.format(port=emulator.port)}"}

    assert api.get("/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", "0:0"]
)
@pytest.mark.parametrize("path", ["/models", "/nothing", "/model/one/download/progress"])
def test_a_foreign_host_is_a_403_with_text(started: Started, host: str, path: str) -> None:
    emulator, api = started()

    answer = api.get(path, headers={"Host": host.format(port=emulator.port)})

    assert answer.status_code == 403
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "own address" in answer.text


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1", "http://localhost", ""]
)
def test_a_foreign_origin_is_a_403_and_changes_nothing(started: Started, origin: str) -> None:
    emulator, api = started()

    answer = api.post("/model/one/download", headers={"Origin": origin.format(port=emulator.port)})

    assert answer.status_code == 403
    assert api.model("one")["downloaded"] is False


@pytest.mark.parametrize("path", ["/model/one/download/progress", "/models/stream/identifiers"])
def test_a_websocket_from_a_foreign_page_is_refused(started: Started, path: str) -> None:
    _, api = started()

    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        Listener(api.url, path, origin="http://evil.example")

    assert caught.value.status_code == 403


def test_no_host_or_two_hosts_are_refused(started: Started) -> None:
    emulator, _ = started()
    host = f"Host: 127.0.0.1:{emulator.port}\r\n".encode()

    assert exchange(emulator, b"GET /models HTTP/1.0\r\n\r\n").split()[1] == b"403"
    assert exchange(emulator, b"GET /models HTTP/1.1\r\nConnection: close\r\n" + host * 2 + b"\r\n").split()[1] in (
        b"400",
        b"403",
    )


def test_it_listens_on_the_loopback_address_only(started: Started) -> None:
    emulator, _ = started()

    with socket.socket() as other:
        other.bind(("127.0.0.2", emulator.port))  # Free, so the emulator is not bound to every address.


def test_an_encoded_path_as_an_id_reaches_only_the_look_up_of_that_id(started: Started) -> None:
    emulator, api = started()
    api.post("/model/there/load")
    address = f" HTTP/1.1\r\nHost: 127.0.0.1:{emulator.port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()

    for call in (b"POST /model/%2e%2e%2fmodels%2funload/load", b"GET /model/%2e%2e%2fmodels%2funload"):
        answer = exchange(emulator, call + address)
        assert answer.split()[1] == b"410"
        assert answer.endswith(b"Model not found: ../models/unload")
    assert exchange(emulator, b"POST /model/../models/unload" + address).split()[1] == b"404"
    assert api.model("there")["loaded"] is True


@pytest.mark.parametrize(
    "model_id", ["%00", "%ff", "%", "%25", "%2F..%2F..%2Fetc%2Fpasswd", "%0d%0aX:%20y", "x" * 3000, "%f0%9f%98%80"]
)
def test_odd_ids_are_unknown_models(started: Started, model_id: str) -> None:
    emulator, _ = started()

    head = f" HTTP/1.1\r\nHost: 127.0.0.1:{emulator.port}\r\nConnection: close\r\n\r\n"
    answer = exchange(emulator, f"GET /model/{model_id}{head}".encode())

    assert answer.split()[1] == b"410"
    assert b"text/plain" in answer


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/models", "GET"),
        ("HEAD", "/.well-known/version", "GET"),
        ("POST", "/.well-known/health", "GET, HEAD"),
        ("GET", "/connect", "POST"),
        ("POST", "/ollama/status", "GET"),
        ("OPTIONS", "/model/one/download", "POST"),
        ("GET", "/model/one/download", "POST"),
        ("DELETE", "/model/one", "GET"),
        ("BREW", "/model/one", "GET"),
        ("PUT", "/model/update", "GET, POST"),
        ("POST", "/model/one", "GET"),
        ("BREW", "/model/one/download/progress", "GET"),
    ],
)
def test_a_wrong_method_is_a_405_that_names_the_right_one(started: Started, method: str, path: str, allow: str) -> None:
    _, api = started()

    answer = api.session.request(method, api.url + path, timeout=DEADLINE_S)

    assert answer.status_code == 405
    assert answer.headers["Allow"] == allow
    assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    "path", ["/", "/model", "/model/", "/models/", "/model/one/", "/model/one/eat", "/favicon.ico"]
)
def test_anything_else_is_a_404_with_text(started: Started, path: str) -> None:
    _, api = started()

    for answer in (api.get(path), api.post(path, data=b"x")):
        assert answer.status_code == 404
        assert answer.text == "There is nothing at this path."


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b'{"id": NaN}', b"{'id': 1}", b"[" * 100_000, b"1" * 10_000, b"--boundary"]
)
@pytest.mark.parametrize("path", ["/model/update", "/models/create"])
def test_a_body_that_is_no_json_is_a_400_with_text(started: Started, path: str, body: bytes) -> None:
    _, api = started()

    answer = api.post(path, data=body, headers={"Content-Type": "text/plain"})

    assert answer.status_code == 400
    assert answer.text == "The body is not JSON."


def test_a_body_nested_too_deep_is_a_422_and_the_list_still_works(started: Started) -> None:
    _, api = started()
    deep: object = 1
    for _ in range(200):
        deep = {"a": deep}

    assert api.post("/models/create", json=SEEDED | {"extra": deep}).status_code == 422
    assert len(api.get("/models").json()["iterable"]) == 5


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_too_long_is_a_413_with_text(started: Started, chunked: bool) -> None:
    _, api = started()
    body = b" " * (1024 * 1024 + 1)

    answer = api.post("/model/update", data=iter([body]) if chunked else body)

    assert answer.status_code == 413
    assert "longer than" in answer.text
    assert api.get("/models").status_code == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"GET /models HTTP/9.9\r\n\r\n",
        b"POST /models/unload HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /models/unload HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        b"GET /models HTTP/1.1\r\nHost: \xff\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"",
    ],
)
def test_what_is_no_request_ends_without_a_page_and_harms_nobody(
    started: Started, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    emulator, api = started()

    try:
        answer = exchange(emulator, request_bytes, half_close=True)
    except ConnectionError:
        answer = b""

    assert b"Traceback" not in answer
    assert b"<html" not in answer.lower()
    assert answer[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 403")
    assert api.get("/models").status_code == 200
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_errors_of_calls_are_not_logged_as_warnings(started: Started, caplog: pytest.LogCaptureFixture) -> None:
    _, api = started()

    api.get("/model/none")
    api.post("/model/one/load")
    api.get("/nothing")

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
