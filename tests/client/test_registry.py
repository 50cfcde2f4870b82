"""The downloads that a client follows: handed out only while they run, never begun by looking, canceled all at once."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from pieces_nb import ModelClient
from pieces_nb.download.download import Download
from pieces_nb.errors import CancelNotConfirmed, ModelStateError, PiecesError, PiecesUnreachable
from pieces_nb.history import History
from tests.conftest import QUICK
from tests.hostile.server import (
    ID,
    OTHER_ID,
    HostileServer,
    Line,
    Request,
    answers_after,
    http,
    in_turn,
    model_of,
    pause,
    progress,
    repeated,
    says,
    text,
    until,
    websocket,
)
from tests.waiting import until_download


def begun(client: ModelClient, server: HostileServer) -> Download:
    """Start a download and see it run."""
    server.answers["progress"] = websocket(progress("IN-PROGRESS", 10))
    download = client.download(ID)
    seen = threading.Event()
    download.subscribe(lambda one: seen.set() if one.percentage else None)
    assert download.percentage or seen.wait(20)
    return download


def test_a_second_download_is_the_running_one(odd: HostileServer, odd_client: ModelClient) -> None:
    first = begun(odd_client, odd)
    assert odd_client.download(ID) is first
    assert list(odd_client.progress()) == [first]
    assert odd.count("start") == 1


def test_progress_does_not_hand_out_a_closed_download(odd: HostileServer, odd_client: ModelClient) -> None:
    first = begun(odd_client, odd)
    first.close()
    assert list(odd_client.downloads) == []
    (second,) = odd_client.progress(ID)
    assert second is not first
    assert (second.closed, second.joined, odd.count("start")) == (False, True, 1)


def test_progress_never_starts_a_download(odd: HostileServer, odd_client: ModelClient) -> None:
    begun(odd_client, odd).close()
    odd.models[ID]["downloading"] = False
    assert list(odd_client.progress()) == []
    with pytest.raises(ModelStateError, match="Phi-2 is not downloading; it is available"):
        odd_client.progress(ID)
    assert odd.count("start") == 1


def test_download_after_a_close_joins_what_runs(odd: HostileServer, odd_client: ModelClient) -> None:
    first = begun(odd_client, odd)
    first.close()
    second = odd_client.download(ID)
    assert second is not first
    assert second.joined
    assert odd.count("start") == 1


def test_cancel_after_a_close_asks_the_server(odd: HostileServer, odd_client: ModelClient) -> None:
    begun(odd_client, odd).close()
    assert not odd_client.cancel(ID).downloading
    assert odd.count("cancel") == 1


def test_cancel_of_a_download_that_nobody_here_follows(odd: HostileServer, odd_client: ModelClient) -> None:
    odd.models[ID]["downloading"] = True
    assert odd_client.cancel(ID).state == "available"
    assert (odd.count("start"), odd.count("cancel")) == (0, 1)


def test_download_does_not_hand_out_a_dying_one(odd: HostileServer) -> None:
    with ModelClient(odd.url, timing=replace(QUICK, settle_s=1.0, start_grace_s=1.0)) as client:
        first = begun(client, odd)
        # The server was started again: it knows of no download, and the socket does not open any more.
        odd.models[ID]["downloading"] = False
        odd.answers["progress"] = says(text("not upgraded", "404 Not Found"))
        odd.answers["start"] = answers_after(lambda model: model.update(downloading=True))
        second = client.download(ID)
        assert second is not first
        assert not second.joined
        odd.wait_for("start", 2)


def test_download_does_not_hand_out_one_that_has_died_without_a_word(odd: HostileServer) -> None:
    """The socket stays open and silent, and it is long until the next question is due."""
    timing = replace(QUICK, settle_s=0.2, start_grace_s=0.4, poll_s=30.0)
    with ModelClient(odd.url, timing=timing) as client:
        first = begun(client, odd)
        odd.models[ID]["downloading"] = False
        odd.answers["start"] = answers_after(lambda model: model.update(downloading=True))
        second = client.download(ID)
        assert second is not first
        assert str(first.status) == "FAILED"
        odd.wait_for("start", 2)


def test_download_does_not_hand_out_one_that_a_frame_has_ended_where_no_flag_tells(odd: HostileServer) -> None:
    del odd.models[ID]["downloading"]
    odd.answers["start"] = says(http(b"", "204 No Content"))
    ending = threading.Event()
    odd.answers["progress"] = websocket(
        progress("IN-PROGRESS", 10), pause(0.3), progress("IN-PROGRESS", 20), until(ending), progress("FAILED")
    )
    with ModelClient(odd.url, timing=replace(QUICK, settle_s=1.0, start_grace_s=1.0)) as client:
        first = client.download(ID)
        until_download(first, lambda one: one.percentage == 20)
        ending.set()
        until_download(first, lambda one: one.state.verdict is not None)
        assert client.download(ID) is not first
        odd.wait_for("start", 2)


def test_download_does_not_hand_out_one_whose_start_was_refused(odd: HostileServer) -> None:
    refused = says(text("the disk is full", "507 Insufficient Storage"))
    odd.answers["start"] = in_turn(refused, answers_after(lambda model: model.update(downloading=True)))
    with ModelClient(odd.url, timing=replace(QUICK, settle_s=1.0)) as client:
        first = client.download(ID)
        until_download(first, lambda one: one.state.refusal is not None)
        second = client.download(ID)
        assert second is not first
        assert "the disk is full" in str(first.error)
        odd.wait_for("start", 2)


def test_download_hands_out_one_that_runs_on_although_its_start_was_refused(odd: HostileServer) -> None:
    """It ran already, and the server says so in its own way."""
    odd.answers["start"] = says(text("it is downloading already", "409 Conflict"))
    odd.answers["progress"] = websocket(repeated(0.02, progress("IN-PROGRESS", 10), progress("IN-PROGRESS", 20)))
    with ModelClient(odd.url, timing=replace(QUICK, settle_s=5.0)) as client:
        first = client.download(ID)
        until_download(first, lambda one: one.state.refusal is not None)
        assert client.download(ID) is first
        assert odd.count("start") == 1


def test_a_flag_that_lags_makes_no_second_download(odd: HostileServer, odd_client: ModelClient) -> None:
    first = begun(odd_client, odd)
    idle, running = model_of(), model_of(downloading=True)
    odd.answers["snapshot"] = in_turn(says(http(idle)), says(http(running)))
    assert odd_client.download(ID) is first
    assert odd.count("start") == 1


def test_a_download_whose_thread_does_not_start_is_not_left_registered(
    odd: HostileServer, odd_client: ModelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def fails(thread: threading.Thread) -> None:
        if thread.name.startswith("pieces-nb-download"):
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fails)
        with pytest.raises(PiecesError, match="Phi-2: the download was not begun: can't start new thread"):
            odd_client.download(ID)
    assert list(odd_client.downloads) == []
    assert odd_client.history.running() == []
    assert not begun(odd_client, odd).done


def test_threads_that_download_one_model_at_once_share_one_download(
    odd: HostileServer, odd_client: ModelClient
) -> None:
    odd.answers["progress"] = websocket(progress("IN-PROGRESS", 10))
    odd_client.connect()
    found: list[Download] = []
    together = threading.Barrier(8)

    def call() -> None:
        together.wait(20)
        found.append(odd_client.download(ID))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


def test_cancel_all_cancels_all_at_once_and_tells_every_failure(odd: HostileServer) -> None:
    names = ["A", "B", "C", "D"]
    for number, name in enumerate(names):
        model_id = OTHER_ID[:-1] + str(number)
        odd.models[model_id] = model_of(model_id, name, downloading=True)
    together = threading.Barrier(4, timeout=20)

    def ignored(line: Line, _request: Request) -> None:
        together.wait()  # were they sent one after the other, the first would wait for ever
        line.send(http(b"", "204 No Content"))

    odd.answers["cancel"] = ignored
    with ModelClient(odd.url, timing=replace(QUICK, cancel_within_s=2.0)) as client:
        with pytest.raises(CancelNotConfirmed) as caught:
            client.cancel_all()
        assert [f"{name}: asked to cancel" in str(caught.value) for name in names] == [True] * 4


def test_cancel_all_of_some_that_end_meanwhile_is_no_failure(odd: HostileServer, odd_client: ModelClient) -> None:
    odd.models[ID]["downloading"] = True
    listed = http({"iterable": [odd.models[ID] | {}]})
    odd.answers["list"] = says(listed)
    odd.models[ID].update(downloading=False, downloaded=True)
    assert odd_client.cancel_all() == []


# The record of the process


def test_a_running_download_is_in_the_history_until_it_ends(odd: HostileServer) -> None:
    record = History()
    with ModelClient(odd.url, timing=QUICK, history=record) as client:
        download = begun(client, odd)
        assert [(one.verb, one.model, one.model_id) for one in record.running()] == [("download", "Phi-2", ID)]
        odd.models[ID].update(downloading=False, downloaded=True)
        download.wait(20)
        assert record.running() == []
        (entry,) = record.entries()
        assert (entry.verb, entry.outcome, entry.bytes) == ("download", "COMPLETED", 1_000_000)


def test_a_download_that_is_closed_runs_no_more_in_the_history(odd: HostileServer) -> None:
    record = History()
    with ModelClient(odd.url, timing=QUICK, history=record) as client:
        begun(client, odd).close()
        assert (record.running(), record.entries()) == ([], [])


def test_the_history_is_one_for_all_clients_of_the_process(odd: HostileServer, odd_client: ModelClient) -> None:
    odd.models[ID]["downloaded"] = True
    with ModelClient(odd.url, timing=QUICK) as other:
        other.load(ID)
    odd_client.unload(ID)
    assert [entry.verb for entry in odd_client.history.entries()] == ["load", "unload"]


@pytest.mark.parametrize("is_used", [True, False])
@pytest.mark.parametrize("at_most", [None, 1])
def test_a_download_asked_for_while_the_client_closes_is_not_begun_after_it(
    odd: HostileServer, monkeypatch: pytest.MonkeyPatch, is_used: bool, at_most: int | None
) -> None:
    """Whoever asks in another thread finds a server that still answers, and registers what nobody would stop."""
    odd.models[OTHER_ID] = model_of(OTHER_ID, "Other")
    client = ModelClient(odd.url, timing=QUICK)
    if is_used:
        begun(client, odd)
    before = odd.count("start")
    close = client.connection.close

    def ask_in_between() -> None:
        with pytest.raises(PiecesUnreachable, match=r"^This client is closed; "):
            client.download_all([OTHER_ID], at_most=at_most)
        close()

    monkeypatch.setattr(client.connection, "close", ask_in_between)
    client.close()
    assert odd.count("start") == before
    assert [thread for thread in threading.enumerate() if thread.name.startswith("pieces-nb-download")] == []
