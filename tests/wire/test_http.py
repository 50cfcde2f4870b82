"""Calls over HTTP: which connection they go over, what is asked for, and what is read of an answer."""

from __future__ import annotations

import errno
import gc
import json
import os
import socket
import threading
from typing import Any, NoReturn

import pytest

from pieces_nb import ModelClient
from pieces_nb.errors import ModelNotFound, PiecesError, PiecesServerError, PiecesUnreachable, ProtocolError
from pieces_nb.wire import discovery, endpoints
from pieces_nb.wire.http import Answer, Transport
from tests.hostile.server import (
    DEADLINE_S,
    ID,
    Behaviour,
    HostileServer,
    HungUp,
    Line,
    Request,
    hang_up,
    http,
    in_turn,
    model_of,
    says,
    text,
    when,
)
from tests.waiting import until
from tests.wire.certificate import CERTIFICATE, server_context
from tests.wire.conftest import InChild, MakeServer


@pytest.fixture
def transport(hostile: HostileServer) -> Transport:
    return Transport(hostile.url, timeout_s=DEADLINE_S)


@pytest.mark.parametrize("size", [b"9" * 5000, b"-" + b"9" * 5000])
def test_a_number_longer_than_python_reads_costs_itself_and_not_the_list(size: bytes) -> None:
    answer = Answer("u", 200, b'{"iterable": [{"id": "a", "bytes": %s, "year": 2024}, {"id": "\xff"}]}' % size)
    assert answer.json() == {"iterable": [{"id": "a", "bytes": None, "year": 2024}, {"id": "\ufffd"}]}


# What is asked for


def strict(words: str) -> Behaviour:
    """A server that refuses who does not take text."""

    def behave(line: Line, request: Request) -> None:
        accepted = request.headers.get("accept", "*/*")
        taken = "text/plain" in accepted or accepted.startswith("*/*")
        line.send(text(words) if taken else text("only text here", "406 Not Acceptable"))

    return behave


def test_a_strict_server_that_answers_406_to_json_is_pieces_os(hostile: HostileServer) -> None:
    hostile.answers |= {"health": strict("OK:4711"), "version": strict("12.3.1")}
    assert discovery.identify(hostile.url, timeout_s=DEADLINE_S).version == "12.3.1"


def test_models_are_asked_for_in_json(hostile: HostileServer, transport: Transport) -> None:
    transport.get("/models")
    transport.post("/models/unload")
    assert {request.headers["accept"] for request in hostile.log} == {"application/json"}
    transport.close()


# Which connection


def one_answer_a_connection(then: Behaviour) -> Behaviour:
    """A server that keeps each connection open and closes it in the moment that it is used again."""
    served: list[Line] = []

    def behave(line: Line, request: Request) -> None:
        if line in served:
            raise HungUp
        served.append(line)
        then(line, request)

    return behave


def test_a_post_is_not_lost_when_the_server_closes_kept_connections(
    hostile: HostileServer, transport: Transport
) -> None:
    once = one_answer_a_connection(says(http(model_of())))
    hostile.answers |= {"snapshot": once, "load": once}
    for _ in range(3):
        endpoints.snapshot(transport, ID)
        endpoints.load(transport, ID, timeout_s=DEADLINE_S)
    assert hostile.count("load") == 3
    transport.close()


def test_a_post_goes_over_a_connection_of_its_own_that_is_closed_afterwards(
    hostile: HostileServer, transport: Transport
) -> None:
    transport.get("/models")
    transport.post("/models/unload")
    transport.get("/models")
    assert hostile.lines == 2
    assert [request.headers.get("connection") for request in hostile.log] == [None, "close", None]
    until(lambda: len(hostile._open) == 1, "the connection of the POST is still open")
    transport.close()


def test_a_post_that_breaks_off_is_not_made_again(hostile: HostileServer, transport: Transport) -> None:
    hostile.answers["start"] = hang_up
    with pytest.raises(PiecesUnreachable, match="broke off") as caught:
        endpoints.download(transport, ID)
    assert hostile.count("start") == 1
    assert caught.value.posted


def test_a_child_and_its_parent_do_not_mix_up_answers(
    hostile: HostileServer, transport: Transport, in_child: InChild
) -> None:
    endpoints.snapshot(transport, ID)

    def ask_and_close() -> str:
        name = endpoints.snapshot(transport, ID).name
        transport.close()
        return name

    assert in_child(ask_and_close) == "Phi-2"
    assert in_child(transport.close) == "None"
    assert endpoints.snapshot(transport, ID).name == "Phi-2"
    assert hostile.lines == 2  # the parent's own is still open, and in use
    transport.close()


def test_children_forked_while_threads_ask_do_ask_too(transport: Transport, in_child: InChild) -> None:
    finished = threading.Event()

    def ask() -> None:
        while not finished.is_set():
            transport.get("/models")

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        said = {in_child(lambda: endpoints.snapshot(transport, ID).name) for _ in range(20)}
    finally:
        finished.set()
        for thread in threads:
            thread.join(DEADLINE_S)
        transport.close()
    assert said == {"Phi-2"}


def test_close_during_use_breaks_no_call(hostile: HostileServer, transport: Transport) -> None:
    """Not an AssertionError, not "Pool is closed": a call that is under way ends as it would have."""
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            for _ in range(30):
                transport.get("/models")
        except BaseException as exc:  # noqa: BLE001 - whatever it is, it is the failure
            failures.append(exc)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        transport.close()
    assert failures == []
    until(lambda: not hostile._open, "a connection is left open")


def test_an_answer_that_comes_after_close_is_read_and_its_connection_dropped(
    hostile: HostileServer, transport: Transport
) -> None:
    closed = threading.Event()
    names: list[str] = []
    hostile.answers["snapshot"] = when(closed, says(http(model_of())))
    asking = threading.Thread(target=lambda: names.append(endpoints.snapshot(transport, ID).name), daemon=True)
    asking.start()
    hostile.wait_for("snapshot")
    transport.close()
    closed.set()
    asking.join(DEADLINE_S)
    assert names == ["Phi-2"]
    until(lambda: not hostile._open, "its connection is left open")


def test_a_name_that_has_only_an_address_of_version_6_is_reached(
    make_hostile: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = six(make_hostile, monkeypatch)
    transport = Transport(f"http://six.test:{server.port}", timeout_s=DEADLINE_S)
    assert endpoints.snapshot(transport, ID).name == "Phi-2"
    transport.close()


def six(make_hostile: MakeServer, monkeypatch: pytest.MonkeyPatch) -> HostileServer:
    """Return a server at ::1, which the name six.test leads to and no other address does."""
    try:
        server = make_hostile(host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, family: int = 0, *rest: Any, **named: Any) -> Any:
        if host == "six.test" and family == socket.AF_INET:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real("::1" if host == "six.test" else host, port, family, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return server


def test_a_transport_that_nobody_closes_closes_its_connections(hostile: HostileServer) -> None:
    """And warns of nothing: every cell that makes a client would have such a warning."""
    forgotten = Transport(hostile.url, timeout_s=DEADLINE_S)
    forgotten.get("/models")
    assert len(hostile._open) == 1
    del forgotten
    gc.collect()
    until(lambda: not hostile._open, "its connection is left open")


def test_a_kept_connection_on_which_more_has_come_than_was_asked_for_is_not_used(
    hostile: HostileServer, transport: Transport
) -> None:
    read = threading.Event()
    polite = hostile.answers["snapshot"]
    unasked = when(read, says(http(model_of(name="An answer to nobody"))))

    def says_more(line: Line, request: Request) -> None:
        polite(line, request)
        unasked(line, request)

    hostile.answers["snapshot"] = in_turn(says_more, polite)
    assert endpoints.snapshot(transport, ID).name == "Phi-2"
    read.set()
    [kept] = transport._kept._connections
    until(lambda: not kept.is_idle, "the second answer has not come")
    assert endpoints.snapshot(transport, ID).name == "Phi-2"
    assert hostile.lines == 2
    transport.close()


@pytest.mark.parametrize("name", ["a..b", "a" * 70 + ".test"])
def test_a_name_that_no_host_can_have_is_not_reached(name: str) -> None:
    with pytest.raises(PiecesUnreachable, match=r"Nothing answers at .*: not the name of a host\.") as caught:
        Transport(f"http://{name}:9").get("/models")
    assert not caught.value.connected


# Certificates


def test_rest_trusts_the_certificates_that_requests_is_told_of(
    make_hostile: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_hostile(tls=server_context())
    transport = Transport(server.url, timeout_s=DEADLINE_S)
    with pytest.raises(PiecesUnreachable, match="certificate"):
        endpoints.snapshot(transport, ID)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
    trusting = Transport(server.url, timeout_s=DEADLINE_S)
    assert endpoints.snapshot(trusting, ID).name == "Phi-2"
    endpoints.load(trusting, ID, timeout_s=DEADLINE_S)
    trusting.close()


def test_certificates_that_cannot_be_read_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "missing.pem")
    with pytest.raises(PiecesError, match=r"certificates in missing\.pem, which REQUESTS_CA_BUNDLE names, cannot"):
        Transport("https://127.0.0.1:9").get("/models")


def test_certificates_that_cannot_be_read_are_not_blamed_on_pieces_os(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "missing.pem")
    with ModelClient("https://127.0.0.1:9") as client, pytest.raises(PiecesError) as caught:
        client.models()
    assert not isinstance(caught.value, PiecesUnreachable)
    assert "running there" not in str(caught.value)


def out_of_files() -> NoReturn:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_process_that_may_open_no_more_files_says_so_in_one_line(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints.snapshot(transport, ID)
    monkeypatch.setattr("selectors.DefaultSelector", out_of_files)
    endpoints.snapshot(transport, ID)  # over a new connection: whether the kept one is idle cannot be told
    with pytest.raises(PiecesUnreachable, match="Nobody can be looked for: too many open files"):
        discovery.survey([1000])


# What is read


@pytest.mark.parametrize("coding", ["identity", "Identity", "IDENTITY", " identity ", ""])
def test_an_answer_that_says_it_is_as_it_is_is_read(coding: str, hostile: HostileServer, transport: Transport) -> None:
    hostile.answers["snapshot"] = says(http(model_of(), "200 OK", f"Content-Encoding: {coding}"))
    assert endpoints.snapshot(transport, ID).name == "Phi-2"
    transport.close()


def test_one_latin_1_byte_costs_a_character_and_not_the_list(hostile: HostileServer, transport: Transport) -> None:
    body = json.dumps(
        {"iterable": [model_of(), model_of("m-2", "Caf\N{LATIN SMALL LETTER E WITH ACUTE}")]}, ensure_ascii=False
    )
    hostile.answers["list"] = says(http(body.encode("latin-1")))
    assert [model.name for model in endpoints.models(transport)] == ["Phi-2", "Caf\N{REPLACEMENT CHARACTER}"]
    transport.close()


def test_an_answer_about_an_id_in_another_case_is_about_another_model(
    hostile: HostileServer, transport: Transport
) -> None:
    hostile.answers["snapshot"] = says(http(model_of("abc")))
    with pytest.raises(ProtocolError, match="about another model, 'abc'"):
        endpoints.snapshot(transport, "ABC")
    transport.close()


REFUSALS = {
    "text": (text("Sign in first", "401 Unauthorized"), "Sign in first"),
    "a message": (http({"message": "X-Application-ID is missing"}, "403 Forbidden"), "X-Application-ID is missing"),
    "an error": (http({"code": 3, "error": {"message": "the engine is missing"}}, "500 Oops"), "the engine is missing"),
    "several": (http({"errors": ["no disk", {"detail": "no RAM"}]}, "500 Oops"), "no disk; no RAM"),
    "a string": (http("quoted", "500 Oops"), "quoted"),
    "other JSON": (http({"code": 7}, "500 Oops"), '{"code": 7}'),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_the_words_of_a_refusal_reach_the_user(kind: str, hostile: HostileServer, transport: Transport) -> None:
    hostile.answers["snapshot"], words = says(REFUSALS[kind][0]), REFUSALS[kind][1]
    with pytest.raises(PiecesServerError) as caught:
        endpoints.snapshot(transport, ID)
    assert str(caught.value).endswith(f"/model/{ID}: {words}")
    assert caught.value.text == words
    transport.close()


# The engine


def test_the_engines_calls(hostile: HostileServer, transport: Transport) -> None:
    status = {"installation": {"version": "0.3.1", "new": [1]}, "recommendation": {"inference": True}}
    work = {"id": "d-1", "version": "0.4", "status": "INITIALIZED"}
    hostile.answers |= {"engine": says(http(status)), "engine work": says(http(work))}
    hostile.answers |= {"engine deployment": says(http(work)), "engine cancel": says(http(work))}
    assert endpoints.engine_status(transport) == status
    assert endpoints.engine_install(transport, "0.4") == work
    assert endpoints.engine_update(transport, "0.4") == work
    assert endpoints.engine_deployment(transport, "update", "d/1") == work
    assert endpoints.cancel_engine(transport, "install", "d-1") == work
    assert [(request.method, request.target, request.body) for request in hostile.log] == [
        ("GET", "/ollama/status", b""),
        ("POST", "/ollama/install", b'{"version": "0.4"}'),
        ("POST", "/ollama/update", b'{"version": "0.4"}'),
        ("GET", "/ollama/update/d%2F1", b""),
        ("POST", "/ollama/install/d-1/cancel", b""),
    ]
    transport.close()


def test_a_server_without_the_engines_calls_is_no_error(hostile: HostileServer, transport: Transport) -> None:
    assert endpoints.engine_status(transport) is None
    hostile.answers["engine"] = says(text("the engine crashed", "500 Oops"))
    with pytest.raises(PiecesServerError, match="the engine crashed"):
        endpoints.engine_status(transport)
    hostile.answers["engine"] = says(http([1]))
    with pytest.raises(ProtocolError, match="not a JSON object"):
        endpoints.engine_status(transport)
    with pytest.raises(ModelNotFound):
        endpoints.cancel_engine(transport, "install", "..")
    transport.close()
