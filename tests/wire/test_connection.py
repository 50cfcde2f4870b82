"""Which server a client talks to. Finding is injected; who answers is an emulator."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import pytest

from pieces_nb.emulator import Emulator
from pieces_nb.errors import BadArguments, PiecesServerError, PiecesUnreachable, ProtocolError
from pieces_nb.wire import endpoints
from pieces_nb.wire.connection import Connection, address_from_environment
from pieces_nb.wire.discovery import Found
from pieces_nb.wire.http import Transport
from tests.waiting import DEADLINE_S

NOBODY = "http://127.0.0.1:9"
PHI = {"id": "m-1", "name": "Phi-2"}


@pytest.fixture
def server() -> Iterator[Emulator]:
    with Emulator(models=[PHI]) as emulator:
        yield emulator


@pytest.fixture
def other_server() -> Iterator[Emulator]:
    with Emulator(models=[{"id": "m-2", "name": "Mistral"}]) as emulator:
        yield emulator


def never() -> NoReturn:
    raise AssertionError("nobody should look for a server")


def finds(*urls: str | None, server_id: str = "") -> Callable[[], Found | None]:
    """A `find` that gives these, one a call, the last for ever; all with the same id."""
    rest = list(urls)

    def find() -> Found | None:
        url = rest.pop(0) if len(rest) > 1 else rest[0]
        return Found(url, "12.0.0", server_id=server_id) if url else None

    return find


def test_nothing_is_asked_before_the_first_use() -> None:
    connection = Connection(find=never)
    assert not connection.connected
    assert not connection.given
    connection.close()


def test_a_given_address_is_used_and_nothing_is_looked_for(server: Emulator) -> None:
    connection = Connection(server.url, find=never)
    assert connection.given
    assert connection.found.url == server.url
    assert connection.found.is_emulator
    assert connection.connected
    connection.close()
    assert not connection.connected


def test_a_connection_that_is_closed_says_so_in_one_line(server: Emulator) -> None:
    connection = Connection(server.url, find=never)
    connection.call(endpoints.models)
    connection.close()
    connection.close()
    asks: list[Callable[[], object]] = [
        connection.connect,
        lambda: connection.call(endpoints.models),
        lambda: connection.transport,
        lambda: connection.found,
    ]
    for ask in asks:
        with pytest.raises(PiecesUnreachable, match=r"^This client is closed; `ModelClient\(\)` makes a new one\.$"):
            ask()
    assert connection.relocate("m-1") is None


def test_close_during_use_is_an_answer_or_one_clear_line(server: Emulator) -> None:
    ended: list[str] = []

    def ask(connection: Connection) -> None:
        try:
            while True:
                connection.call(endpoints.models)
        except PiecesUnreachable as exc:
            ended.append(str(exc))

    for _ in range(10):
        connection = Connection(server.url, find=never)
        threads = [threading.Thread(target=ask, args=(connection,), daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert connection.found.url == server.url
        connection.close()
        for thread in threads:
            thread.join(DEADLINE_S)
    assert len(ended) == 40
    assert {words.partition(";")[0] for words in ended} == {"This client is closed"}


def test_threads_that_connect_at_once_share_one_transport(server: Emulator) -> None:
    connection = Connection(find=finds(server.url))
    with ThreadPoolExecutor(8) as pool:
        transports = set(pool.map(lambda _: connection.transport, range(8)))
    assert transports == {connection.transport}
    connection.close()


def test_without_an_address_what_is_found_is_used(server: Emulator) -> None:
    connection = Connection(find=finds(server.url))
    assert connection.call(endpoints.models)[0].name == "Phi-2"
    assert connection.found == Found(server.url, "12.0.0")
    connection.close()


def test_nothing_found_says_where_it_looked_and_what_to_do() -> None:
    with pytest.raises(PiecesUnreachable, match=r"39300–39333.*ModelClient\.emulator\(\)"):
        Connection(find=finds(None)).connect()


def test_a_given_address_that_is_dead_is_an_error_and_says_what_to_do() -> None:
    with pytest.raises(
        PiecesUnreachable, match=r"Nothing answers at 127\.0\.0\.1:9.*ModelClient\.emulator\(\)"
    ) as caught:
        Connection(NOBODY, find=never).connect()
    assert caught.value.url == NOBODY


@pytest.mark.parametrize("is_given", [True, False])
def test_a_server_that_has_gone_since_is_an_error_and_says_what_to_do(*, is_given: bool) -> None:
    with Emulator(models=[PHI]) as gone:
        url = gone.url
        connection = Connection(url, find=never) if is_given else Connection(find=finds(url))
        connection.call(endpoints.models)
    with pytest.raises(PiecesUnreachable) as caught:
        connection.call(endpoints.models)
    connection.close()
    where = url.removeprefix("http://")
    assert str(caught.value) == (
        f"Nothing answers at {where}: connection refused. Is Pieces OS still running? "
        "`client.doctor()` says what is wrong."
    )
    assert caught.value.url.startswith(url)
    assert not caught.value.connected


def test_a_dead_address_from_the_environment_names_the_variable() -> None:
    with pytest.raises(PiecesUnreachable, match="PIECES_OS_URL names this address"):
        Connection(NOBODY, named_by="PIECES_OS_URL", find=never).connect()


def test_what_is_no_address_is_refused_at_once() -> None:
    with pytest.raises(BadArguments, match="is not an address"):
        Connection("http://127.0.0.1:39300/models", find=never)


def test_a_server_that_has_moved_is_found_and_asked_there(server: Emulator) -> None:
    connection = Connection(find=finds(NOBODY, server.url, server_id="4711"))
    assert [model.name for model in connection.call(endpoints.models)] == ["Phi-2"]
    assert connection.found.url == server.url
    connection.close()


def test_a_server_that_was_named_is_never_looked_for_elsewhere() -> None:
    with pytest.raises(PiecesUnreachable):
        Connection(NOBODY, find=never).call(endpoints.models)


def test_a_server_that_is_nowhere_any_more_is_the_first_error() -> None:
    connection = Connection(find=finds(NOBODY, None))
    with pytest.raises(PiecesUnreachable, match=r"127\.0\.0\.1:9"):
        connection.call(endpoints.models)


def test_a_call_that_timed_out_is_not_made_twice() -> None:
    calls: list[Transport] = []

    def slow(transport: Transport) -> NoReturn:
        calls.append(transport)
        raise PiecesUnreachable("slow", timed_out=True)

    connection = Connection(find=finds(NOBODY, "http://127.0.0.1:10"))
    with pytest.raises(PiecesUnreachable, match="slow"):
        connection.call(slow)
    assert len(calls) == 1


def test_an_error_of_the_server_is_no_reason_to_look_elsewhere() -> None:
    def refused(_: Transport) -> NoReturn:
        raise PiecesServerError("500", status=500, text="full")

    searches: list[int] = []

    def find() -> Found:
        searches.append(1)
        return Found(NOBODY, "12.0.0")

    with pytest.raises(PiecesServerError):
        Connection(find=find).call(refused)
    assert len(searches) == 1


def test_a_timeout_changed_later_holds_for_the_connection_that_is_open(server: Emulator) -> None:
    connection = Connection(server.url, timeout_s=10.0)
    transport = connection.transport
    connection.timeout_s = 3.0
    assert (connection.timeout_s, transport.timeout_s) == (3.0, 3.0)
    connection.close()


def test_a_given_address_does_not_relocate(server: Emulator) -> None:
    assert Connection(server.url, find=never).relocate("m-1") is None


def test_nothing_found_relocates_nothing() -> None:
    assert Connection(find=finds(None)).relocate("m-1") is None
    assert Connection(find=finds(NOBODY)).relocate("m-1") is None


def test_the_variable_is_read_without_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIECES_OS_URL", "  emulator ")
    assert address_from_environment() == "emulator"
    monkeypatch.delenv("PIECES_OS_URL")
    assert address_from_environment() == ""


def test_another_program_on_the_port_is_not_taken_for_pieces_os() -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as web:
        Thread(target=web.serve_forever, args=(0.02,), daemon=True).start()
        with pytest.raises(ProtocolError, match="it is not Pieces OS"):
            Connection(f"http://127.0.0.1:{web.server_port}", find=never).connect()
        web.shutdown()
