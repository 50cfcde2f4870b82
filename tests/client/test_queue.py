"""Several downloads of which only some run at once: their order, and that one that ends badly holds up nobody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from pieces_nb import ModelClient
from pieces_nb.download.download import Download, Downloads, Lifecycle
from pieces_nb.emulator import Emulator, Faults
from pieces_nb.emulator.entry import Entry
from pieces_nb.emulator.service import Service
from pieces_nb.errors import (
    BadArguments,
    DownloadCanceled,
    DownloadFailed,
    ModelNotFound,
    ModelStateError,
    PiecesError,
    WaitTimeout,
)
from pieces_nb.history import History
from tests.conftest import MISTRAL, PHI, PHI_3, QUICK
from tests.waiting import until

LIVES = ["Phi-2", "Mistral 7B", "Phi-3 Mini"]
HELD = {"*": Faults(stall_at=50.0)}
FIRST_HELD = {PHI: Faults(stall_at=50.0)}
QUEUED, RUNNING, ENDED, CLOSED = Lifecycle.QUEUED, Lifecycle.RUNNING, Lifecycle.ENDED, Lifecycle.CLOSED


class Begun(NamedTuple):
    """A transfer that began on the server, and how many ran there then, with it."""

    name: str
    at_once: int


@pytest.fixture
def began(monkeypatch: pytest.MonkeyPatch) -> list[Begun]:
    """What the server has begun, in order, as the server sees it."""
    seen: list[Begun] = []
    start: Callable[[Service, Entry], Any] = Service._start

    def recorded(service: Service, entry: Entry) -> None:
        start(service, entry)
        seen.append(Begun(entry.name, sum(one.running for one in service._entries.values())))

    monkeypatch.setattr(Service, "_start", recorded)
    return seen


@pytest.fixture
def record() -> History:
    return History()


@pytest.fixture
def client(server: Emulator, record: History) -> Iterator[ModelClient]:
    with ModelClient(server.url, timing=QUICK, history=record) as client:
        yield client


def names(began: Sequence[Begun]) -> list[str]:
    return [one.name for one in began]


def lives(downloads: Downloads) -> list[Lifecycle]:
    return [download.lifecycle for download in downloads]


def until_half(download: Download) -> None:
    until(lambda: (download.percentage or 0) >= 50)


def test_one_at_a_time_they_run_in_the_order_of_the_list(client: ModelClient, began: list[Begun]) -> None:
    downloads = client.download_all([MISTRAL, PHI_3, PHI], at_most=1)
    assert [model.downloaded for model in downloads.wait(60)] == [True] * 3
    assert began == [Begun("Mistral 7B", 1), Begun("Phi-3 Mini", 1), Begun("Phi-2", 1)]


def test_two_at_a_time_are_two(server: Emulator, client: ModelClient, began: list[Begun]) -> None:
    server.faults = HELD
    downloads = client.download_all(LIVES, at_most=2)
    until(lambda: len(began) == 2)
    assert lives(downloads) == [RUNNING, RUNNING, QUEUED]
    server.faults = Faults()
    downloads.wait(60)
    assert max(one.at_once for one in began) == 2
    assert len(began) == 3


def test_without_a_number_all_run_at_once(server: Emulator, client: ModelClient, began: list[Begun]) -> None:
    server.faults = HELD
    client.download_all(LIVES)
    until(lambda: len(began) == 3)
    assert began[-1].at_once == 3


def test_one_that_waits_says_so_and_asks_nothing(server: Emulator, client: ModelClient) -> None:
    server.faults = FIRST_HELD
    first, second = client.download_all(["Phi-2", "Mistral 7B"], at_most=1)
    until_half(first)
    assert (second.lifecycle, str(second.status), second.done, second.closed) == (QUEUED, "INITIALIZED", False, False)
    assert (second.percentage, second.error, second.stalled_since) == (None, None, None)
    assert list(client.progress()) == [first, second]
    table = client.progress_table([first, second])
    assert list(table["status"]) == ["IN-PROGRESS", "waiting for its turn"]
    assert repr(second) == "Mistral 7B: waiting for its turn"


def test_a_wait_for_one_that_waits_times_out_in_its_words(server: Emulator, client: ModelClient) -> None:
    server.faults = FIRST_HELD
    _, second = client.download_all(["Phi-2", "Mistral 7B"], at_most=1)
    with pytest.raises(WaitTimeout, match="Mistral 7B: waiting for its turn after 0 s") as caught:
        second.wait(0)
    assert "what waits begins while this program runs" in str(caught.value)


def test_the_cancel_of_one_that_waits_posts_nothing_and_the_rest_goes_on(
    server: Emulator, client: ModelClient, began: list[Begun], posts: list[str], record: History
) -> None:
    server.faults = FIRST_HELD
    downloads = client.download_all(LIVES, at_most=1)
    first, second, third = downloads
    until_half(first)
    told: list[str] = []
    second.subscribe(lambda one: told.append(str(one.status)))
    second.cancel()
    assert (str(second.status), second.lifecycle, second.duration_s) == ("CANCELED", ENDED, 0.0)
    assert told == ["CANCELED"]
    assert repr(second) == "Mistral 7B: canceled before it began"
    with pytest.raises(DownloadCanceled, match="Mistral 7B: the download was canceled"):
        second.wait(0)
    second.cancel()  # a second one has nothing to do
    server.faults = Faults()
    first.wait(60)
    third.wait(60)
    assert names(began) == ["Phi-2", "Phi-3 Mini"]
    assert not any(MISTRAL in path for path in posts)
    entry = next(entry for entry in record.entries() if entry.model == "Mistral 7B")
    assert (entry.verb, entry.outcome, entry.seconds) == ("download", "CANCELED", 0.0)


def test_client_cancel_of_one_that_waits_posts_nothing(server: Emulator, client: ModelClient, posts: list[str]) -> None:
    server.faults = FIRST_HELD
    first, second = client.download_all(["Phi-2", "Mistral 7B"], at_most=1)
    until_half(first)
    assert client.cancel("Mistral 7B").state == "available"
    assert second.lifecycle is ENDED
    assert not any(MISTRAL in path for path in posts)


@pytest.mark.parametrize("all_of", ["client", "downloads"])
def test_a_cancel_of_all_begins_nothing(server: Emulator, client: ModelClient, began: list[Begun], all_of: str) -> None:
    server.faults = HELD
    downloads = client.download_all(LIVES, at_most=1)
    until_half(downloads[0])
    if all_of == "client":
        assert len(client.cancel_all()) == 3
    else:
        downloads.cancel()
    with pytest.raises(DownloadCanceled, match="3 of 3 downloads did not complete"):
        downloads.wait(0)
    assert names(began) == ["Phi-2"]


@pytest.mark.parametrize("fault", [Faults(fail_at=50.0), Faults(download_error="no room")], ids=["fails", "refused"])
def test_one_that_fails_does_not_hold_the_rest(
    server: Emulator, client: ModelClient, fault: Faults, began: list[Begun]
) -> None:
    server.faults = {PHI: fault}
    downloads = client.download_all(LIVES, at_most=1)
    with pytest.raises(DownloadFailed, match="1 of 3 downloads did not complete"):
        downloads.wait(60)
    assert [str(download.status) for download in downloads] == ["FAILED", "COMPLETED", "COMPLETED"]
    assert names(began)[-2:] == ["Mistral 7B", "Phi-3 Mini"]


def test_one_that_is_canceled_while_it_runs_does_not_hold_the_rest(server: Emulator, client: ModelClient) -> None:
    server.faults = FIRST_HELD
    downloads = client.download_all(["Phi-2", "Mistral 7B"], at_most=1)
    until_half(downloads[0])
    downloads[0].cancel()
    assert downloads[1].wait(60).downloaded


def test_threads_that_cannot_be_had_do_not_stop_the_rest(
    server: Emulator, client: ModelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.faults = FIRST_HELD
    downloads = client.download_all(LIVES, at_most=1)
    until_half(downloads[0])
    start = threading.Thread.start

    def fails(thread: threading.Thread) -> None:
        if thread.name == f"pieces-nb-download-{MISTRAL}":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fails)
    server.faults = Faults()
    with pytest.raises(DownloadFailed, match=r"Mistral 7B: .*can't start new thread"):
        downloads.wait(60)
    assert [str(download.status) for download in downloads] == ["COMPLETED", "FAILED", "COMPLETED"]


def test_a_long_queue_without_any_thread_ends_all(client: ModelClient, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def fails(thread: threading.Thread) -> None:
        if thread.name.startswith("pieces-nb-download-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fails)
    downloads = client.download_all(LIVES, at_most=1)
    with pytest.raises(DownloadFailed, match="3 of 3 downloads did not complete"):
        downloads.wait(60)


@pytest.mark.parametrize("whose", ["client", "downloads"])
def test_close_ends_the_queue(
    server: Emulator, client: ModelClient, began: list[Begun], record: History, whose: str
) -> None:
    server.faults = HELD
    downloads = client.download_all(LIVES, at_most=1)
    until_half(downloads[0])
    (client if whose == "client" else downloads).close()
    assert lives(downloads) == [CLOSED] * 3
    with pytest.raises(PiecesError, match="nobody follows this download any more"):
        downloads[1].wait(5)
    assert "no longer followed" in repr(downloads[1])
    assert record.running() == []
    server.faults = Faults()
    with ModelClient(server.url, timing=QUICK, history=record) as other:
        until(lambda: other.get(PHI).downloaded)
    assert names(began) == ["Phi-2"]


def test_duplicates_in_the_list_are_one_download(client: ModelClient, began: list[Begun]) -> None:
    downloads = client.download_all(["Phi-2", PHI, "phi:2.7b", "Mistral 7B"], at_most=1)
    assert [download.model.title for download in downloads] == ["Phi-2", "Mistral 7B"]
    downloads.wait(60)
    assert names(began) == ["Phi-2", "Mistral 7B"]


def test_models_that_are_there_take_no_place(server: Emulator, client: ModelClient, began: list[Begun]) -> None:
    client.download(PHI).wait(60)
    began.clear()
    server.faults = HELD
    downloads = client.download_all(LIVES, at_most=1)
    assert lives(downloads) == [ENDED, RUNNING, QUEUED]
    until(lambda: names(began) == ["Mistral 7B"])


def test_one_that_runs_already_is_joined_and_counts(server: Emulator, client: ModelClient, began: list[Begun]) -> None:
    server.faults = {PHI_3: Faults(stall_at=50.0)}
    with ModelClient(server.url, timing=QUICK) as other:
        until_half(other.download(PHI_3))
        downloads = client.download_all(["Phi-2", "Mistral 7B", "Phi-3 Mini"], at_most=1)
        assert lives(downloads) == [QUEUED, QUEUED, RUNNING]
        assert downloads[2].joined
        server.faults = Faults()
        downloads.wait(60)
    assert began == [Begun("Phi-3 Mini", 1), Begun("Phi-2", 1), Begun("Mistral 7B", 1)]


def test_a_plain_download_of_one_that_waits_begins_it(server: Emulator, client: ModelClient) -> None:
    server.faults = HELD
    downloads = client.download_all(LIVES, at_most=1)
    assert client.download("Phi-3 Mini") is downloads[2]
    assert lives(downloads) == [RUNNING, QUEUED, RUNNING]


def test_two_queues_share_what_they_both_name(server: Emulator, client: ModelClient, began: list[Begun]) -> None:
    server.faults = HELD
    first = client.download_all(["Phi-2", "Mistral 7B"], at_most=1)
    second = client.download_all(["Mistral 7B", "Phi-3 Mini"], at_most=1)
    assert second[0] is first[1]
    assert (lives(first), lives(second)) == ([RUNNING, QUEUED], [QUEUED, RUNNING])
    server.faults = Faults()
    first.wait(60)
    second.wait(60)
    assert began[-1].name == "Mistral 7B"


def test_one_that_another_program_has_fetched_meanwhile_is_done_at_its_turn(
    server: Emulator, client: ModelClient, began: list[Begun]
) -> None:
    server.faults = FIRST_HELD
    downloads = client.download_all(["Phi-2", "Mistral 7B"], at_most=1)
    until_half(downloads[0])
    with ModelClient(server.url, timing=QUICK) as other:
        other.download(MISTRAL).wait(60)
    server.faults = Faults()
    assert all(model.downloaded for model in downloads.wait(60))
    assert names(began) == ["Phi-2", "Mistral 7B"]


def test_the_time_of_one_that_waited_counts_from_its_turn(
    server: Emulator, client: ModelClient, record: History
) -> None:
    server.faults = FIRST_HELD
    first, second = client.download_all(["Phi-2", "Mistral 7B"], at_most=1)
    until_half(first)
    assert [operation.model for operation in record.running()] == ["Phi-2"]
    server.faults = Faults()
    first.wait(60)
    second.wait(60)
    assert first.duration_s > 0
    assert second.started >= first.started
    ended = [entry.model for entry in record.entries()]
    assert ended == ["Phi-2", "Mistral 7B"]
    assert record.running() == []


def test_a_queue_can_be_awaited(client: ModelClient) -> None:
    async def all_of() -> list[bool]:
        return [model.downloaded for model in await client.download_all(LIVES, at_most=1)]

    assert asyncio.run(all_of()) == [True] * 3


def test_a_wrong_name_stops_all_before_anything_is_posted(client: ModelClient, posts: list[str]) -> None:
    with pytest.raises(ModelNotFound):
        client.download_all(["Phi-2", "nonsense"], at_most=1)
    with pytest.raises(ModelStateError):
        client.download_all(["Phi-2", "GPT-4o Chat Model"], at_most=1)
    assert posts == []


@pytest.mark.parametrize("at_most", [0, -1])
def test_at_most_is_a_whole_number_from_1_up(client: ModelClient, posts: list[str], at_most: int) -> None:
    with pytest.raises(BadArguments, match="at_most is a whole number from 1 up, not"):
        client.download_all(["Phi-2"], at_most=at_most)
    assert posts == []


@pytest.mark.parametrize("at_most", [True, 1.5, "1"])
def test_at_most_of_another_type_is_a_type_error(client: ModelClient, at_most: Any) -> None:
    with pytest.raises(TypeError, match="at_most is a whole number from 1 up, not"):
        client.download_all(["Phi-2"], at_most=at_most)


def test_one_name_in_place_of_a_list_is_a_type_error(client: ModelClient) -> None:
    with pytest.raises(TypeError, match="download_all takes several models"):
        client.download_all("Phi-2", at_most=1)
    assert list(client.download_all([], at_most=1)) == []
