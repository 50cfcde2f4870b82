"""Calls to a server that answers nonsense, slowly, or not at all; and where it is looked for."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import threading
from pathlib import Path

import pytest

from pieces_nb import ModelClient
from pieces_nb.emulator import Emulator
from pieces_nb.errors import (
    ModelNotFound,
    ModelStateError,
    PiecesError,
    PiecesServerError,
    PiecesUnreachable,
    ProtocolError,
    WaitTimeout,
)
from pieces_nb.wire import discovery, endpoints
from pieces_nb.wire.addresses import normalize_url
from pieces_nb.wire.connection import Connection
from pieces_nb.wire.http import MOST_ANSWER_BYTES
from tests.hostile.conftest import MakeServer
from tests.hostile.following import client_of, follow, hurried
from tests.hostile.server import (
    COMPLETES,
    ID,
    OTHER_ID,
    STARTS,
    Behaviour,
    HostileServer,
    Line,
    Request,
    answers_after,
    becomes,
    drips,
    for_ever,
    hang_up,
    http,
    in_turn,
    late,
    model_of,
    nothing_there,
    progress,
    reset,
    says,
    says_and_hangs_up,
    seen_again,
    silence,
    text,
    websocket,
)

Clients = list[ModelClient]
HTML = b"<html><head><title>502 Bad Gateway &lt;b&gt;</title></head><body><h1>no</h1></body></html>"
BOMB = gzip.compress(b" " * 1_000_000) * 50
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

# What a snapshot is answered with, the error that follows, and the words in it.
WRONG: dict[str, tuple[Behaviour, type[PiecesError], str]] = {
    "an HTML page": (says(http(HTML, "200 OK", "Content-Type: text/html")), ProtocolError, "not JSON: <html>"),
    "nothing": (says(http(b"")), ProtocolError, "not JSON: an empty body"),
    "204": (says(http(b"", "204 No Content")), ProtocolError, "not JSON: an empty body"),
    "truncated JSON": (says(http(b'{"id": "1')), ProtocolError, 'not JSON: {"id": "1'),
    "an id in broken UTF-8": (says(http(b'{"id": "\xff\xfe"}')), ProtocolError, "another model, '\ufffd\ufffd'"),
    "10,000 deep": (says(http(b"[" * 10_000 + b"]" * 10_000)), ProtocolError, "not JSON"),
    "a list": (says(http([])), ProtocolError, "a list where the Model API has a Model"),
    "null": (says(http(None)), ProtocolError, "null where the Model API has a Model"),
    "another model": (says(http(model_of(OTHER_ID))), ProtocolError, f"another model, '{OTHER_ID}'"),
    "a model without an id": (says(http({"name": "x"})), ProtocolError, "another model, ''"),
    "gzip that was not asked for": (
        says(http(BOMB, "200 OK", "Content-Encoding: gzip")), ProtocolError, "the coding 'gzip', which was not asked"),
    "a length too long": (says_and_hangs_up(http(model_of(), length=10**6)), PiecesUnreachable, "broke off before"),
    "a length too short": (says_and_hangs_up(http(model_of(), length=10)), ProtocolError, "not JSON"),
    "a length that is no number": (
        says_and_hangs_up(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nx"), ProtocolError, "not JSON: x"),
    "two lengths": (
        says_and_hangs_up(b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nxy"), ProtocolError, "not HTTP"),
    "chunks that are none": (says_and_hangs_up(CHUNKED + b"nonsense\r\n"), ProtocolError, "not HTTP"),
    "chunks that end early": (says_and_hangs_up(CHUNKED + b"ff\r\n{"), PiecesUnreachable, "broke off before"),
    "not HTTP": (says_and_hangs_up(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), ProtocolError, "not HTTP: SSH-2.0-OpenSSH_9.6"),
    "zeros": (says_and_hangs_up(b"\0" * 64 + b"\r\n\r\n"), ProtocolError, "not HTTP"),
    "a status of its own": (says_and_hangs_up(b"HTTP/1.1 banana\r\n\r\n"), ProtocolError, "not HTTP"),
    "200 headers": (
        says_and_hangs_up(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"), ProtocolError, "not HTTP"),
    "one long header": (
        says_and_hangs_up(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"), ProtocolError, "not HTTP"),
    "hangs up": (hang_up, PiecesUnreachable, "broke off before"),
    "resets": (reset, PiecesUnreachable, "connection reset"),
    "a redirect to another host": (
        says(http(b"", "302 Found", "Location: http://192.0.2.1/")), ProtocolError, "redirect (302), which is not"),
    "a redirect to a file": (
        says(http(b"", "301 Moved", "Location: file:///etc/passwd")), ProtocolError, "redirect (301), which is not"),
    "500 and words": (
        says(text("The engine is missing", "500 Oops")), PiecesServerError, "500 to /model/" + ID + ": The engine"),
    "500 and HTML": (
        says(http(HTML, "500 Oops", "Content-Type: text/html")), PiecesServerError, "502 Bad Gateway"),
    "500 and nothing": (says(http(b"", "500 Oops")), PiecesServerError, "(without a word)"),
    "500 and control characters": (
        says(text("a\x1b[31mred\u202e\r\nb", "500 Oops")), PiecesServerError, "a\ufffd[31mred\ufffd b"),
    "500 and broken UTF-8": (says(http(b"caf\xe9", "500 Oops")), PiecesServerError, "caf\ufffd"),
    "401": (says(text("sign in", "401 Unauthorized")), PiecesServerError, "401"),
    "410": (says(text("Model not found", "410 Gone")), ModelNotFound, "Phi"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_answer_is_an_error_that_says_so(kind: str, server: HostileServer, clients: Clients) -> None:
    server.answers["snapshot"], error, words = WRONG[kind]
    client = client_of(server, clients)
    client.connect()
    with pytest.raises(error) as caught:
        client.get(ID if kind != "410" else "Phi-2") if kind != "410" else client.get(client.models()[0])
    if kind == "410":
        words = "Model not found"
    assert words in str(caught.value)
    assert kind == "410" or f"127.0.0.1:{server.port}" in str(caught.value)
    # The next answer is read from its beginning.
    server.answers["snapshot"] = says(http(model_of()))
    assert client.get(ID).name == "Phi-2"


SLOW: dict[str, Behaviour] = {
    "silence": silence,
    "headers of one byte at a time": drips(http(model_of()), 0.03),
    "a body of one byte at a time": drips(http(model_of()), 0.03, at_once=100),
    "a header now and then": for_ever(b"X: y\r\n", b"HTTP/1.1 200 OK\r\n", every_s=0.1),
    "100 Continue for ever": for_ever(b"HTTP/1.1 100 Continue\r\n\r\n", every_s=0.02),
    "chunks for ever": for_ever(b"1\r\n \r\n", CHUNKED, every_s=0.02),
    "a body without an end": for_ever(b" ", http(b"", length=-1), every_s=0.02),
    "an error page of one byte at a time": drips(text("x" * 1000, "500 Oops"), 0.03, at_once=40),
}


@pytest.mark.parametrize("kind", SLOW)
def test_an_answer_that_takes_too_long_is_given_up(kind: str, server: HostileServer, clients: Clients) -> None:
    client = hurried(client_of(server, clients), 0.3)
    server.answers["snapshot"] = SLOW[kind]
    with pytest.raises(PiecesUnreachable, match=r"127\.0\.0\.1:\d+ did not answer within 0\.3 s") as caught:
        client.get(ID)
    assert caught.value.timed_out


def test_a_server_that_takes_connections_and_says_nothing_is_not_reached(
    server: HostileServer, clients: Clients
) -> None:
    server.answers["line"] = silence
    with pytest.raises(PiecesUnreachable, match=r"did not answer within 0\.2 s\. Is Pieces OS running there\?"):
        client_of(server, clients, timeout_s=0.2).models()


@pytest.mark.full
def test_an_answer_without_an_end_is_bounded(server: HostileServer, clients: Clients) -> None:
    client = client_of(server, clients)
    client.connect()
    server.answers["list"] = for_ever(b" " * 2**20, http(b"", length=-1))
    with pytest.raises(ProtocolError, match=f"more than {MOST_ANSWER_BYTES >> 20} MiB"):
        client.models()


def test_an_answer_in_chunks_that_drips_but_ends_is_read(server: HostileServer, clients: Clients) -> None:
    body = json.dumps(model_of()).encode()
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(body[at : at + 50]), body[at : at + 50]) for at in range(0, len(body), 50))
    server.answers["snapshot"] = drips(CHUNKED + pieces + b"0\r\n\r\n", 0.0)
    assert client_of(server, clients).get(ID).name == "Phi-2"


ODD_LISTS: dict[str, tuple[object, int]] = {
    "no models": ({"iterable": []}, 0),
    "things that are no models": ({"iterable": [None, 1, "x", [], model_of(), True]}, 1),
    "models without anything": ({"iterable": [{}, {"id": 3}, {"name": None}]}, 3),
    "one that is new in everything": ({"iterable": [model_of(foundation="NEW_9", usage=[1], bytes="big", x={})]}, 1),
    "twice the same": ({"iterable": [model_of(), model_of()]}, 2),
}


@pytest.mark.parametrize("kind", ODD_LISTS)
def test_one_odd_model_costs_itself_at_most(kind: str, server: HostileServer, clients: Clients) -> None:
    answer, count = ODD_LISTS[kind]
    server.answers["list"] = says(http(answer))
    client = client_of(server, clients)
    assert len(client.models()) == count
    assert len(client.table()) == count
    assert client.table()._repr_html_()


@pytest.mark.parametrize("answer", [None, [], {}, {"iterable": None}, {"iterable": {}}, "models", 3, True])
def test_a_list_that_is_none_is_an_error(answer: object, server: HostileServer, clients: Clients) -> None:
    server.answers["list"] = says(http(answer))
    with pytest.raises(ProtocolError, match="where the Model API has a list of models"):
        client_of(server, clients).models()


# Ids ------------------------------------------------------------------------------------------------------------------

ODD_IDS = {
    "../models/unload": "/model/..%2Fmodels%2Funload",
    "a/b?c#d": "/model/a%2Fb%3Fc%23d",
    "x\r\nX-Evil: 1": "/model/x%0D%0AX-Evil%3A%201",
    "%2e%2e": "/model/%252e%252e",
    "été/模型 🦙": "/model/%C3%A9t%C3%A9%2F%E6%A8%A1%E5%9E%8B%20%F0%9F%A6%99",
    "...": "/model/...",
    "x;y=1": "/model/x%3By%3D1",
    "\ud800": "/model/%3F",
    "http://192.0.2.1/": "/model/http%3A%2F%2F192.0.2.1%2F",
    "@192.0.2.1": "/model/%40192.0.2.1",
}


def deletes_all(line: Line, _request: Request) -> None:
    line.server.models.clear()
    line.send(http(b"", "204 No Content"))


@pytest.mark.parametrize("model_id", ODD_IDS, ids=ascii)
def test_an_odd_id_reaches_no_other_endpoint(model_id: str, server: HostileServer, clients: Clients) -> None:
    """The list has such a model; whatever is done to it is done to it."""
    server.models = {model_id: model_of(model_id, downloaded=True, custom=True)}
    path = ODD_IDS[model_id]
    found = answers_after(lambda _model: None, http(server.models[model_id]))
    if path == "/model/%3F":
        found = says(http(server.models[model_id]))
        server.answers["delete"] = deletes_all
    server.answers.update(snapshot=found, load=says(http(b"")), unload=says(http(b"")))
    client = client_of(server, clients, load_timeout_s=1.0)
    client.get("Phi-2")
    with pytest.raises(ModelStateError):
        client.load("Phi-2", force=True)  # it is not loaded, since nobody believes an empty answer
    model = client.get("Phi-2")
    server.answers["list"] = says(http({"iterable": []}))
    client.delete(model)
    server.wait_for("delete")  # the list may say that it is gone before the call has come
    targets = {request.target for request in server.log} - {"/.well-known/health", "/.well-known/version", "/models"}
    assert targets == {path, f"{path}/load", f"{path.replace('/model/', '/models/', 1)}/delete"}
    assert not any("x-evil" in request.headers for request in server.log)


@pytest.mark.parametrize("model_id", ODD_IDS, ids=ascii)
def test_the_progress_of_an_odd_id_reaches_no_other_endpoint(
    model_id: str, server: HostileServer, clients: Clients
) -> None:
    server.models = {model_id: model_of(model_id)}
    path = ODD_IDS[model_id]
    opened = threading.Event()

    def run(line: Line, request: Request) -> None:
        opened.set()
        server.models[model_id].update(downloaded=True)
        websocket()(line, request)

    server.answers.update(
        snapshot=lambda line, _request: line.send(http(server.models[model_id])), start=says(http(b"")), progress=run
    )
    watched = follow(client_of(server, clients), "Phi-2")
    assert watched.end()[0] == "COMPLETED"
    targets = {request.target for request in server.log} - {"/.well-known/health", "/.well-known/version", "/models"}
    assert targets <= {path, f"{path}/download", f"{path}/download/progress"}


@pytest.mark.parametrize("model_id", ["", ".", ".."])
def test_an_id_that_is_a_place_in_a_path_is_no_id(model_id: str, server: HostileServer, clients: Clients) -> None:
    server.models = {model_id: model_of(model_id, custom=True)}
    client = client_of(server, clients)
    for call in (client.get, client.load, client.delete, client.download):
        with pytest.raises(ModelNotFound, match="is not a model id"):
            call("Phi-2")
    assert {request.call for request in server.log} == {"health", "version", "list"}


def test_json_is_sent_with_its_length(server: HostileServer, clients: Clients) -> None:
    server.models[ID].update(custom=True, new={"kept": [1, "ü"]})

    def update(line: Line, request: Request) -> None:
        line.server.models[ID] = json.loads(request.body)
        line.send(text("fine"))

    server.answers["update"] = update
    after = client_of(server, clients).update("Phi-2", description="größer 😀")
    assert after.description == "größer 😀"
    assert after.raw["new"] == {"kept": [1, "ü"]}
    assert all("transfer-encoding" not in request.headers for request in server.log)


# Load and unload ------------------------------------------------------------------------------------------------------

ANSWERS = {
    "the model": None,
    "204": http(b"", "204 No Content"),
    "202 and a text": text("accepted", "202 Accepted"),
    "HTML": http(HTML, "200 OK", "Content-Type: text/html"),
    "half a model": http(b'{"id'),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_whatever_answers_load_and_unload_the_snapshot_confirms_them(
    kind: str, server: HostileServer, clients: Clients
) -> None:
    server.models[ID].update(downloaded=True)
    server.answers["load"] = answers_after(lambda model: model.update(loaded=True), ANSWERS[kind])
    server.answers["unload"] = answers_after(lambda model: model.update(loaded=False), ANSWERS[kind])
    client = client_of(server, clients)
    assert client.load(ID, force=True).loaded
    assert not client.unload(ID).loaded


def test_a_load_that_is_said_to_be_done_and_is_not_is_an_error(server: HostileServer, clients: Clients) -> None:
    server.models[ID].update(downloaded=True)
    server.answers["load"] = says(http(model_of(loaded=True)))
    with pytest.raises(ModelStateError, match="the server took the call, but the model is not loaded: downloaded"):
        client_of(server, clients, load_timeout_s=0.5).load(ID, force=True)


def test_a_load_that_never_returns_is_given_up_and_named(server: HostileServer, clients: Clients) -> None:
    server.models[ID].update(downloaded=True)
    server.answers["load"] = silence
    with pytest.raises(
        WaitTimeout, match=r"not loaded within 1 s; the server may still be at it .* Last seen: downloaded"
    ):
        client_of(server, clients, load_timeout_s=1.0).load(ID, force=True)
    assert server.count("load") == 1


def test_a_load_whose_answer_never_comes_but_that_took_effect_is_done(server: HostileServer, clients: Clients) -> None:
    def load(line: Line, _request: Request) -> None:
        line.server.models[ID].update(loaded=True)
        line.hold()

    server.models[ID].update(downloaded=True)
    server.answers["load"] = load
    assert client_of(server, clients, load_timeout_s=1.0).load(ID, force=True).loaded


def test_a_refused_load_says_the_servers_words(server: HostileServer, clients: Clients) -> None:
    server.models[ID].update(downloaded=True)
    server.answers["load"] = says(text("Ollama is not installed", "500 Internal Server Error"))
    with pytest.raises(PiecesServerError, match="Ollama is not installed"):
        client_of(server, clients).load(ID, force=True)


# Proxies, hosts, addresses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY", "ws_proxy"])
@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_no_proxy_is_ever_asked(
    name: str, scheme: str, make_server: MakeServer, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, proxy = make_server(), make_server()
    monkeypatch.setenv(name, f"{scheme}://user:secret@127.0.0.1:{proxy.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.answers["progress"] = websocket(*STARTS, *COMPLETES)
    watched = follow(client_of(server, clients))
    assert watched.end() == ("COMPLETED", "")
    assert server.count("progress") == 1
    assert proxy.lines == 0


def test_credentials_of_a_netrc_are_not_sent(
    server: HostileServer, clients: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.answers["snapshot"] = says(http(model_of(), "200 OK", "Set-Cookie: a=b"))
    client = client_of(server, clients)
    client.get(ID)
    client.get(ID)
    assert not any({"authorization", "cookie"} & set(request.headers) for request in server.log)


def test_plain_http_to_another_machine_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="pieces_nb"):
        for _ in range(3):
            normalize_url("http://192.0.2.77:39300")
        normalize_url("https://192.0.2.78:39300")
        normalize_url("http://127.0.0.1:39300")
    assert [record.getMessage() for record in caplog.records] == [
        "The address 192.0.2.77 is not this machine, and plain http: others on the way can read along."
    ]


# Discovery ------------------------------------------------------------------------------------------------------------

NOT_PIECES: dict[str, dict[str, Behaviour]] = {
    "a web server": {"health": nothing_there, "version": nothing_there},
    "one that answers everything with a page": {"health": says(http(HTML)), "version": says(http(HTML))},
    "one whose health is bad": {"health": says(text("NOT OK"))},
    "one without a version": {"version": says(text("latest"))},
    "one whose version is a page": {"version": says(text("1.2.3 <b>"))},
    "one that redirects": {"health": says(http(b"", "302 Found", "Location: /login"))},
    "one that says nothing": {"health": silence},
    "one that drips": {"health": drips(text("OK:1"), 0.05)},
    "one that speaks no HTTP": {"line": says_and_hangs_up(b"220 smtp\r\n")},
    "one that hangs up": {"line": hang_up},
    "one that is endless": {"health": for_ever(b"OK" * 1000, http(b"", length=-1), every_s=0.01)},
}


@pytest.mark.parametrize("kind", NOT_PIECES)
def test_something_else_on_the_port_is_not_taken(kind: str, make_server: MakeServer) -> None:
    other, server = make_server(), make_server()
    other.answers |= NOT_PIECES[kind]
    found = discovery.find([other.port, server.port], probe_s=0.3)
    assert found is not None
    assert found.url == server.url
    assert discovery.find([other.port], probe_s=0.3) is None


@pytest.mark.parametrize("kind", NOT_PIECES)
def test_something_else_at_a_given_address_is_named(kind: str, server: HostileServer, clients: Clients) -> None:
    server.answers |= NOT_PIECES[kind]
    with pytest.raises((ProtocolError, PiecesUnreachable), match=f"127.0.0.1:{server.port}") as caught:
        client_of(server, clients, timeout_s=0.3).connect()
    assert "`ModelClient" in str(caught.value)


def test_the_lowest_of_several_is_taken_and_the_others_said(make_server: MakeServer) -> None:
    servers = sorted((make_server(), make_server(), make_server()), key=lambda server: server.port)
    found = discovery.find([server.port for server in reversed(servers)])
    assert found is not None
    assert found.url == servers[0].url
    assert found.others == tuple(server.port for server in servers[1:])


@pytest.mark.parametrize("version", ["12.3.1", "v11.0.0", "10.0.0-beta.1", '"9.1.0"', "12.3.1\n"])
def test_versions_of_pieces_os_are_known(version: str, server: HostileServer) -> None:
    server.answers["version"] = says(text(version))
    found = discovery.find([server.port])
    assert found is not None
    assert found.version == version.strip().strip('"')


def test_an_emulator_is_passed_by(server: HostileServer) -> None:
    with Emulator(models=[{"name": "x"}]) as emulator:
        assert discovery.find([emulator.port]) is None
        found = discovery.find([emulator.port, server.port])
    assert found is not None
    assert found.url == server.url


def test_where_nothing_listens_nothing_is_found(clients: Clients) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]  # bound, not listening: refused
        assert discovery.find([port]) is None
        client = client_of(None, clients, connection=Connection(find=lambda: discovery.find([port])))
        with pytest.raises(PiecesUnreachable, match=r"No Pieces OS answers on .*ModelClient\.emulator"):
            client.models()


def test_a_stale_port_file_leads_nowhere(server: HostileServer) -> None:
    stale = server.port
    server.stop()
    assert discovery.find([stale]) is None
    server.start()
    assert discovery.find([stale]) is not None


# An address that was found --------------------------------------------------------------------------------------------


def found_among(*servers: HostileServer) -> Connection:
    return Connection(find=lambda: discovery.find([server.port for server in servers]), timeout_s=30.0)


def on_the_move(make_server: MakeServer) -> tuple[HostileServer, HostileServer]:
    """Return two addresses of one server, which is at the first."""
    old, new = make_server(), make_server()
    new.server_id = old.server_id
    new.stop()
    return old, new


def two_servers(make_server: MakeServer) -> tuple[HostileServer, HostileServer]:
    """Return two servers with the same models, of which the first runs."""
    ours, other = make_server(), make_server()
    other.stop()
    return ours, other


def test_a_server_that_moves_is_found_again(make_server: MakeServer, clients: Clients) -> None:
    old, new = on_the_move(make_server)
    client = client_of(None, clients, connection=found_among(old, new))
    assert client.get(ID).name == "Phi-2"
    old.stop()
    new.start()
    assert client.get(ID).name == "Phi-2"
    assert client.url == new.url


def test_a_server_that_moves_is_found_among_others(make_server: MakeServer, clients: Clients) -> None:
    servers = sorted((make_server() for _ in range(3)), key=lambda server: server.port)
    lowest, old, highest = servers
    highest.server_id = old.server_id
    lowest.stop()
    highest.stop()
    client = client_of(None, clients, connection=found_among(*servers))
    assert client.url == old.url
    old.stop()
    lowest.start()
    highest.start()
    assert client.get(ID).name == "Phi-2"
    assert client.url == highest.url
    assert lowest.count("snapshot") == 0


def test_a_client_does_not_move_to_another_pieces_os_and_delete_files_there(
    make_server: MakeServer, clients: Clients
) -> None:
    ours, other = two_servers(make_server)
    for server in (ours, other):
        server.models[ID].update(downloaded=True)
    client = client_of(None, clients, connection=found_among(ours, other))
    model = client.get(ID)
    ours.stop()
    other.start()
    with pytest.raises(PiecesUnreachable, match=f"Nothing answers at 127.0.0.1:{ours.port}"):
        client.delete_cache(model)
    with pytest.raises(PiecesUnreachable, match=rf"Another Pieces OS answers at {other.url}: `ModelClient\("):
        client.connect()
    assert client.url == ours.url
    assert {request.call for request in other.log} == {"health", "version"}
    ours.start()
    assert client.get(ID).downloaded


def test_a_server_without_an_id_is_not_followed(make_server: MakeServer, clients: Clients) -> None:
    ours, other = two_servers(make_server)
    ours.server_id = other.server_id = ""
    client = client_of(None, clients, connection=found_among(ours, other))
    client.get(ID)
    ours.stop()
    other.start()
    with pytest.raises(PiecesUnreachable, match=f"Nothing answers at 127.0.0.1:{ours.port}"):
        client.get(ID)
    assert client.url == ours.url


def test_one_snapshot_that_times_out_moves_nobody(make_server: MakeServer, clients: Clients) -> None:
    old, new = on_the_move(make_server)
    connection = Connection(find=lambda: discovery.find([old.port, new.port]), timeout_s=0.3)
    client = client_of(None, clients, timeout_s=0.3, connection=connection)
    client.get(ID)
    new.start()
    new.models[ID].update(downloading=True)
    old.answers |= dict.fromkeys(("snapshot", "health", "version"), silence)
    with pytest.raises(PiecesUnreachable, match="did not answer within"):
        client.get(ID)
    assert connection.relocate(ID) is None
    assert client.url == old.url


def test_a_post_is_not_repeated_at_the_new_address(make_server: MakeServer, clients: Clients) -> None:
    old, new = on_the_move(make_server)
    connection = found_among(old, new)
    client = client_of(None, clients, connection=connection)
    client.get(ID)
    old.stop()
    new.start()
    with pytest.raises(PiecesUnreachable, match=rf"The server is at {new.url} now and was not asked to do this"):
        connection.call(lambda transport: endpoints.unload(transport, ID))
    assert new.count("unload") == 0
    connection.call(lambda transport: endpoints.unload(transport, ID))
    assert new.count("unload") == 1


def test_a_download_is_followed_to_the_same_server_only(make_server: MakeServer) -> None:
    ours, other = two_servers(make_server)
    connection = found_among(ours, other)
    assert connection.found.server_id == ours.server_id
    ours.stop()
    other.start()
    other.models[ID].update(downloading=True)
    assert connection.relocate(ID) is None
    other.server_id = ours.server_id
    moved = connection.relocate(ID)
    assert moved is not None
    assert (moved[0].url, moved[1].downloading, connection.found.url) == (other.url, True, other.url)
    connection.close()


def test_without_an_id_a_download_is_followed_to_where_it_runs(make_server: MakeServer) -> None:
    ours, other = two_servers(make_server)
    ours.server_id = ""
    connection = found_among(ours, other)
    assert connection.found.server_id == ""
    ours.stop()
    other.start()
    assert connection.relocate(ID) is None
    other.models[ID].update(downloading=True)
    moved = connection.relocate(ID)
    assert moved is not None
    assert moved[0].url == other.url
    connection.close()


def test_a_download_goes_on_at_the_servers_new_port(make_server: MakeServer, clients: Clients) -> None:
    old, new = on_the_move(make_server)
    old.answers["progress"] = websocket(*STARTS)
    watched = follow(client_of(None, clients, connection=found_among(old, new)))
    watched.wait_until(lambda download: download.percentage == 40)
    old.stop()
    new.models[ID].update(downloading=True)
    new.answers["progress"] = websocket(progress("IN-PROGRESS", 60), seen_again(), *COMPLETES)
    new.start()
    assert watched.end() == ("COMPLETED", "")
    assert new.count("start") == 0
    assert new.count("progress") == 1


@pytest.mark.parametrize("models", ["the same models", "others"])
def test_another_server_is_no_continuation(models: str, make_server: MakeServer, clients: Clients) -> None:
    ours, other = two_servers(make_server)
    if models == "others":
        other.models = {OTHER_ID: model_of(OTHER_ID, downloaded=True)}
    ours.answers["progress"] = websocket(*STARTS)
    watched = follow(client_of(None, clients, connection=found_among(ours, other)))
    watched.wait_until(lambda download: download.percentage == 40)
    ours.stop()
    other.start()
    other.wait_for("version", 2)
    assert not watched.download.done
    ours.models[ID].update(downloading=False, downloaded=True)
    other.stop()
    ours.start()
    assert watched.end() == ("COMPLETED", "")
    assert {request.call for request in other.log} == {"health", "version"}


def test_a_given_address_stays(make_server: MakeServer, clients: Clients) -> None:
    old, new = make_server(), make_server()
    client = client_of(old, clients)
    client.connect()
    old.stop()
    with pytest.raises(PiecesUnreachable, match=f"Nothing answers at 127.0.0.1:{old.port}: connection refused"):
        client.get(ID)
    assert new.lines == 0


def test_a_call_that_timed_out_is_not_made_twice(make_server: MakeServer, clients: Clients) -> None:
    old, new = make_server(), make_server()
    connection = Connection(find=lambda: discovery.find([old.port, new.port]), timeout_s=0.3)
    client = client_of(None, clients, connection=connection, load_timeout_s=1.0)
    for server in (old, new):
        server.models[ID].update(downloaded=True)
        server.answers["load"] = silence
    with pytest.raises(WaitTimeout):
        client.load(ID, force=True)
    assert old.count("load") + new.count("load") == 1


def test_a_kept_connection_that_the_server_closed_is_replaced(server: HostileServer, clients: Clients) -> None:
    server.answers["snapshot"] = says_and_hangs_up(http(model_of()))
    client = client_of(server, clients)
    for _ in range(5):
        assert client.get(ID).name == "Phi-2"


def test_a_slow_server_in_the_list_is_waited_for(server: HostileServer, clients: Clients) -> None:
    server.answers["list"] = in_turn(late(0.3, server.answers["list"]), server.answers["list"])
    server.answers["start"] = answers_after(becomes_downloaded)
    assert client_of(server, clients).models()[0].name == "Phi-2"


def becomes_downloaded(model: dict[str, object]) -> None:
    model.update(downloading=False, downloaded=True)


def test_a_download_without_a_single_frame_is_completed(server: HostileServer, clients: Clients) -> None:
    server.answers["start"] = answers_after(becomes_downloaded)
    server.answers["progress"] = websocket(becomes(downloaded=True))
    assert follow(client_of(server, clients)).end() == ("COMPLETED", "")
