"""The engine's install and update through the client: under the rules of a download, whatever the stream says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from pieces_nb import Download, DownloadStatus, ModelClient
from pieces_nb.emulator import ENGINE, Emulator, Faults, Switches
from pieces_nb.emulator.engine import ENGINE_BYTES, LATEST, OUTDATED
from pieces_nb.engine_work import EngineCalls, plan
from pieces_nb.errors import (
    CancelNotConfirmed,
    DownloadCanceled,
    DownloadFailed,
    ModelStateError,
    PiecesServerError,
    ProtocolError,
)
from pieces_nb.history import History
from pieces_nb.model.engine import Engine
from pieces_nb.model.models import ModelDownloadProgress
from pieces_nb.text import Front, worded
from pieces_nb.wire import endpoints
from pieces_nb.wire.http import Transport
from tests.conftest import MODELS, PHI, QUICK
from tests.waiting import until_download

DEADLINE_S = 60.0
HELD = {ENGINE: Faults(stall_at=50.0)}  # work on the engine stays half-way until the fault is taken away

Start = Callable[..., tuple[Emulator, ModelClient]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start an emulator with its engine in a state, and a client of it with a history of its own."""
    opened: list[Any] = []

    def start(engine: Any, faults: Any = None, **switches: Any) -> tuple[Emulator, ModelClient]:
        server = Emulator(rate_bytes_per_s=None, models=MODELS, switches=Switches(engine=engine, **switches))
        opened.append(server)
        server.start()
        if faults is not None:
            server.faults = faults
        return server, another(server)

    def another(server: Emulator) -> ModelClient:
        client = ModelClient(server.url, timing=QUICK, history=History())
        opened.append(client)
        return client

    start.another = another  # type: ignore[attr-defined] # a second client of the same server
    yield start
    for one in reversed(opened):
        one.close()


def until_half(download: Download) -> None:
    until_download(download, lambda one: one.state.alive and (one.percentage or 0) >= 49)


# Installing


def test_a_missing_engine_is_installed_and_then_local_models_can_be_downloaded(start: Start) -> None:
    server, client = start("missing")
    with pytest.raises(DownloadFailed, match="Ollama is not installed"):
        client.download(PHI).wait(DEADLINE_S)

    download = client.install_engine()
    model = download.wait(DEADLINE_S)

    assert (download.status, download.percentage) == (DownloadStatus.COMPLETED, 100.0)
    assert model.title == f"Ollama {LATEST}"
    assert [path.stat().st_size for path in (server.home / "engine").iterdir()] == [ENGINE_BYTES]
    assert client.engine()["state"].tolist() == ["ready"]
    assert client.download(PHI).wait(DEADLINE_S).downloaded
    assert ("engine install", "Ollama", "COMPLETED") in [(e.verb, e.model, e.outcome) for e in client.history.entries()]


def test_an_engine_that_is_there_is_installed_already_and_nothing_is_sent(start: Start, posts: list[str]) -> None:
    _, client = start("ready")
    download = client.install_engine()
    assert download.done
    assert download.wait(DEADLINE_S).downloaded
    assert client.update_engine().wait(DEADLINE_S).downloaded
    assert posts == []


def test_a_refused_install_fails_with_the_servers_words(start: Start) -> None:
    _, client = start("missing", Faults(install_error="Ask your administrator."))
    download = client.install_engine()
    with pytest.raises(DownloadFailed, match="Ask your administrator"):
        download.wait(DEADLINE_S)
    assert client.history.entries()[-1].outcome == "FAILED"


def test_an_install_that_fails_half_way_is_told_as_failed(start: Start) -> None:
    server, client = start("missing", HELD)
    download = client.install_engine()
    until_half(download)
    server.faults = {ENGINE: Faults(fail_at=60.0)}
    with pytest.raises(DownloadFailed, match="FAILED"):
        download.wait(DEADLINE_S)
    assert client.engine()["state"].tolist() == ["missing"]


def test_without_a_stream_the_call_for_one_install_tells_how_it_ended(start: Start) -> None:
    server, client = start("missing", {ENGINE: Faults(stall_at=50.0, socket_refused="404")})
    download = client.install_engine()
    until_download(download, lambda one: one.state.seen_downloading)
    server.faults = {ENGINE: Faults(fail_at=60.0, socket_refused="404")}
    with pytest.raises(DownloadFailed, match="the server said FAILED"):
        download.wait(DEADLINE_S)


def test_a_stalled_install_goes_on_when_bytes_flow_again(start: Start) -> None:
    server, _ = start("missing", HELD)
    with ModelClient(server.url, timing=replace(QUICK, stall_after_s=0.3)) as client:
        download = client.install_engine()
        until_download(download, lambda one: one.stalled_since is not None)
        assert not download.done
        server.faults = Faults()
        assert download.wait(DEADLINE_S).downloaded


# Updating


def test_an_outdated_engine_is_updated(start: Start) -> None:
    _, client = start("outdated")
    assert client.engine()[["state", "version", "needed"]].values.tolist() == [["update needed", OUTDATED, LATEST]]
    assert client.update_engine().wait(DEADLINE_S).title == f"Ollama {LATEST}"
    assert client.engine()[["state", "version"]].values.tolist() == [["ready", LATEST]]
    assert [entry.verb for entry in client.history.entries()] == ["engine update"]


# Canceling and joining


@pytest.mark.parametrize("after_cancel", ["canceled", "nothing", "reset"])
def test_an_install_is_canceled_and_that_is_confirmed(start: Start, after_cancel: str) -> None:
    _, client = start("missing", HELD, after_cancel=after_cancel)
    download = client.install_engine()
    until_half(download)
    download.cancel()
    with pytest.raises(DownloadCanceled):
        download.wait(DEADLINE_S)
    assert client.engine()["state"].tolist() == ["missing"]


def test_a_second_client_joins_what_is_under_way_sends_nothing_and_can_cancel_it(
    start: Start, posts: list[str]
) -> None:
    server, client = start("missing", HELD)
    first = client.install_engine()
    until_half(first)
    client.close()  # as when a kernel restarts
    posts.clear()

    other: ModelClient = start.another(server)  # type: ignore[attr-defined]
    joined = other.install_engine()
    until_half(joined)
    assert joined.joined
    assert joined.model.title == f"Ollama {LATEST}"
    assert other.install_engine() is joined
    assert list(other.downloads) == [joined]
    assert posts == []
    other.cancel_engine()
    assert joined.status is DownloadStatus.CANCELED
    assert [path.rpartition("/")[2] for path in posts] == ["cancel"]


def test_a_closed_client_follows_no_install_any_more(start: Start) -> None:
    _, client = start("missing", HELD)
    download = client.install_engine()
    until_half(download)
    client.close()
    assert download.closed
    assert not [one.name for one in threading.enumerate() if one.name == "pieces-nb-download-engine"]


def test_a_cancel_that_is_ignored_is_not_confirmed(start: Start) -> None:
    server, _ = start("missing", {ENGINE: Faults(stall_at=50.0, cancel_ignored=True)})
    with ModelClient(server.url, timing=replace(QUICK, cancel_within_s=1.0)) as client:
        download = client.install_engine()
        until_half(download)
        with pytest.raises(CancelNotConfirmed, match="engine"):
            client.cancel_engine()


def test_nothing_under_way_cannot_be_canceled(start: Start) -> None:
    _, client = start("missing")
    with pytest.raises(ModelStateError, match="under way"):
        client.cancel_engine()


# What cannot be done


def test_a_server_without_calls_for_an_engine_is_said_to_have_none(start: Start, posts: list[str]) -> None:
    _, client = start("none")
    for call in (client.install_engine, client.update_engine):
        with pytest.raises(ModelStateError, match="no calls for an engine") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert posts == []


def test_an_engine_that_the_user_looks_after_is_left_alone(start: Start, posts: list[str]) -> None:
    _, client = start("user-managed")
    for call in (client.install_engine, client.update_engine):
        with pytest.raises(ModelStateError, match="managed by you"):
            call()
    assert posts == []


def test_a_missing_engine_is_not_updated_but_the_install_is_named(start: Start) -> None:
    _, client = start("missing")
    with pytest.raises(ModelStateError, match="not installed") as caught:
        client.update_engine()
    assert "`client.install_engine()` comes first" in worded(caught.value.parts, Front.PYTHON)


def test_an_update_is_not_begun_beside_an_install(start: Start) -> None:
    _, client = start("missing", HELD)
    until_half(client.install_engine())
    with pytest.raises(ModelStateError, match="installing"):
        client.update_engine()


# What the answers mean

THERE = {"installation": {"version": "1.0.0"}}
OLD = THERE | {"updateRequired": {"version": "2.0.0"}}


def seen(kind: Any, before: object, after: object) -> tuple[bool | None, bool | None]:
    model = EngineCalls(kind, Engine.from_wire(before)).model(Engine.from_wire(after))
    return model.flag("downloading"), model.flag("downloaded")


@pytest.mark.parametrize(
    ("kind", "before", "after", "flags"),
    [
        ("install", {}, {}, (False, False)),
        ("install", {}, {"installing": {"id": "1"}}, (True, False)),
        ("install", {}, THERE | {"installing": {"id": "1", "status": "IN-PROGRESS"}}, (True, False)),
        ("install", {}, {"installing": {"id": "1", "status": "FAILED"}}, (False, False)),
        ("install", {}, THERE, (False, True)),
        ("update", OLD, OLD, (False, False)),
        ("update", OLD, OLD | {"updating": {"version": "2.0.0"}}, (True, False)),
        ("update", OLD, {"installation": {"version": "2.0.0"}}, (False, True)),
        ("update", OLD, OLD | {"installation": {"version": "2.0.0"}}, (False, True)),  # the need lags
        ("update", OLD, {"installation": {"version": "2.1.0"}}, (False, True)),
        ("update", OLD, THERE, (False, None)),  # neither newer nor needed: nothing tells
        ("update", OLD, {}, (False, False)),
    ],
)
def test_a_status_is_read_as_the_flags_of_a_model(
    kind: Any, before: object, after: object, flags: tuple[bool | None, bool | None]
) -> None:
    assert seen(kind, before, after) == flags


@pytest.mark.parametrize("frame", [None, [], "IN-PROGRESS", {}, {"installing": 5}, {"updating": {"status": "FAILED"}}])
def test_a_frame_about_something_else_says_nothing_of_an_install(frame: object) -> None:
    calls = EngineCalls("install", Engine.from_wire({}))
    assert calls.decode(frame) == ModelDownloadProgress(DownloadStatus.UNKNOWN)


def test_an_install_of_which_no_version_is_known_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[object] = []

    class Answered:
        url = "http://x"

        def json(self) -> object:
            return {"id": "1", "version": "3.0.0"}

    transport = Transport("http://127.0.0.1:9")

    def post(_path: str, body: object = None) -> Answered:
        bodies.append(body)
        return Answered()

    monkeypatch.setattr(transport, "post", post)
    plan("install", Engine.from_wire({})).calls.start(transport, ENGINE)
    plan("update", Engine.from_wire(OLD)).calls.start(transport, ENGINE)
    assert bodies == [None, {"version": "2.0.0"}]


def test_what_runs_without_an_id_cannot_be_canceled_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    running = {"installing": {"version": "3.0.0", "status": "IN-PROGRESS"}}
    monkeypatch.setattr(endpoints, "engine_status", lambda _: running)
    monkeypatch.setattr(endpoints, "cancel_engine", lambda *_: pytest.fail("a cancel was sent"))
    with pytest.raises(ModelStateError, match="names no installation"):
        EngineCalls("install", Engine.from_wire(running)).cancel(Transport("http://127.0.0.1:9"), ENGINE)


def test_a_status_that_is_gone_meanwhile_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "engine_status", lambda _: None)
    with pytest.raises(ProtocolError, match="no calls for an engine"):
        EngineCalls("install", Engine.from_wire({})).snapshot(Transport("http://127.0.0.1:9"), ENGINE)


def test_an_install_that_the_server_does_not_know_any_more_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PiecesServerError("no", status=500, text="no", url="http://x")

    calls = EngineCalls("install", Engine.from_wire({"installing": {"id": "1"}}))
    monkeypatch.setattr(endpoints, "engine_deployment", refuse)
    assert calls.how_it_ended(Transport("http://127.0.0.1:9"), calls.model(Engine.from_wire({}))) is None
