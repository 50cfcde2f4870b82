"""One client in threads, in children of fork, in pickles; and arguments of types that cannot be meant."""

from __future__ import annotations

import copy
import math
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

from pieces_nb import ModelClient, Settings
from pieces_nb import client as client_module
from pieces_nb.download.download import Download
from pieces_nb.download.interrupts import INTERRUPTS
from pieces_nb.emulator import Emulator
from pieces_nb.errors import BadArguments, PiecesError
from pieces_nb.history import HISTORY, History
from pieces_nb.views import notebook
from tests.conftest import MINE, QUICK
from tests.hostile.server import DEADLINE_S, ID, HostileServer, progress, websocket
from tests.needs import forks
from tests.waiting import until_download


def in_child(check: Callable[[], object]) -> str:
    """Run `check` in a forked child; return what it says or raises."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(DEADLINE_S))  # one that waits for a lock for ever says nothing
        try:
            words = repr(check())
        except BaseException as exc:  # noqa: BLE001 - a child must not go on with the parent's tests
            words = f"{type(exc).__name__}: {exc}"
        os.write(write_end, words.encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        words = pipe.read().decode()
    os.waitpid(child, 0)
    return words


@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_follows_nothing_that_it_did_not_start(odd: HostileServer, odd_client: ModelClient) -> None:
    odd.answers["progress"] = websocket(progress("IN-PROGRESS", 10))
    download = odd_client.download(ID)

    def look() -> object:
        return len(odd_client.downloads), HISTORY.running(), odd_client.get(ID).name

    assert in_child(look) == "(0, [], 'Phi-2')"
    assert list(odd_client.downloads) == [download]
    assert len(HISTORY.running()) == 1


@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_lock_that_a_thread_holds_at_the_fork_is_free_in_the_child(
    odd_client: ModelClient,
) -> None:
    odd_client.connect()
    with odd_client._lock, HISTORY._lock:
        words = in_child(lambda: (len(odd_client.downloads), HISTORY.running()))
    assert words == "(0, [])"


@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_that_leaves_a_block_does_not_unload_its_parents_model(
    odd: HostileServer, odd_client: ModelClient
) -> None:
    odd.models[ID]["downloaded"] = True
    with ExitStack() as block:
        block.enter_context(odd_client.loaded(ID))
        assert in_child(block.close) == "None"
        assert odd.count("unload") == 0
    assert odd.count("unload") == 1


def used(client: ModelClient, download: Download, history: History, unsubscribe: Callable[[], None]) -> str:
    """All that a child may do with what it has from its parent, and with what it makes itself."""
    client.connect()
    client.settings.timeout_s = 5
    assert client.get(ID).name == "Phi-2"
    assert (list(client.downloads), client.history.running(), history.running()) == ([], [], [])
    unsubscribe()
    download.subscribe(lambda _one: None)()
    joined = client.progress(ID)[0]
    assert joined is not download
    until_download(joined, lambda one: one.percentage is not None)
    joined.close()
    download.cancel()
    with suppress(PiecesError), client.loaded(ID):
        pass
    client.close()
    with ModelClient("http://127.0.0.1:9") as other:
        assert list(other.downloads) == []
    return "free"


# Each lock that a thread of the parent may hold in the moment of a fork, by whose it is.
HELD: dict[str, Callable[[ModelClient, Download, History], Any]] = {
    "the client": lambda client, _download, _history: client._lock,
    "the clients": lambda _client, _download, _history: client_module._emulator_lock,
    "the connection": lambda client, _download, _history: client._connection._lock,
    "the registry": lambda client, _download, _history: client._registry._lock,
    "the history": lambda _client, _download, _history: HISTORY._lock,
    "a history of its own": lambda _client, _download, history: history._lock,
    "the budget of updates": lambda _client, _download, _history: client_module._budget._lock,
    "the budget of a download": lambda _client, download, _history: download._context.budget._lock,
    "a download's views": lambda _client, download, _history: download._subscribers._lock,
    "one of its views": lambda _client, download, _history: download._subscribers._all[0]._changed,
    "a download's turn": lambda _client, download, _history: download._follower._turn,
    "the rows in a notebook": lambda _client, _download, _history: notebook._rows_lock,
    "the interrupts": lambda _client, _download, _history: INTERRUPTS._lock,
}


@contextmanager
def held(lock: Any) -> Iterator[None]:
    """Have another thread hold a lock."""
    holds, over = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            holds.set()
            over.wait(DEADLINE_S)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holds.wait(DEADLINE_S)
    yield
    over.set()
    thread.join(DEADLINE_S)


@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("whose", HELD)
def test_a_lock_that_another_thread_holds_at_the_fork_is_free_in_the_child(odd: HostileServer, whose: str) -> None:
    odd.answers["progress"] = websocket(progress("IN-PROGRESS", 10))
    record = History()
    with ModelClient(odd.url, timing=QUICK, history=record) as client:
        download = client.download(ID)
        until_download(download, lambda one: one.percentage is not None)
        unsubscribe = download.subscribe(lambda _one: None)
        with held(HELD[whose](client, download, record)):
            words = in_child(lambda: used(client, download, record, unsubscribe))
    assert words == "'free'"


@pytest.mark.parametrize("make", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_client_says_in_one_line_that_it_cannot_be_pickled(
    odd_client: ModelClient, make: Callable[[object], object]
) -> None:
    with pytest.raises(TypeError, match=r"^A ModelClient cannot be pickled or copied: it holds connections\."):
        make(odd_client)


# Arguments


@pytest.mark.parametrize("model", [None, 3, b"phi-2", ["phi-2"], True])
@pytest.mark.parametrize("call", ["get", "download", "load", "cancel", "snapshot", "update", "delete", "ensure"])
def test_a_model_of_a_wrong_type_is_a_type_error_in_one_line(client: ModelClient, call: str, model: Any) -> None:
    with pytest.raises(TypeError, match=r"^A model is named by a text \(.*\) or by a Model, not ") as caught:
        getattr(client, call)(model)
    assert isinstance(caught.value, PiecesError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", [39015, 3.5, b"http://127.0.0.1:1", ["x"]])
def test_an_address_of_a_wrong_type_is_a_type_error_in_one_line(url: Any) -> None:
    with pytest.raises(TypeError, match=r"^url is a text such as 'http://127.0.0.1:39300', not "):
        ModelClient(url)
    with pytest.raises(TypeError, match=r"^settings is a Settings, not "):
        ModelClient(settings=url)


@pytest.mark.parametrize("name", ["timeout_s", "load_timeout_s", "wait_timeout_s", "stall_after_s"])
@pytest.mark.parametrize("value", [-1, -0.5, math.nan, -math.inf])
def test_a_timeout_that_cannot_be_is_refused_also_when_assigned_later(name: str, value: float) -> None:
    settings = Settings()
    before = vars(settings).copy()
    with pytest.raises(BadArguments, match=f"{name} is a number of seconds from 0 up, not"):
        Settings(**{name: value})
    with pytest.raises(BadArguments, match=f"{name} is a number of seconds from 0 up, not"):
        setattr(settings, name, value)
    assert vars(settings) == before


@pytest.mark.parametrize("value", ["10", [1], True, object()])
def test_a_timeout_of_a_wrong_type_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="timeout_s is a number of seconds, not"):
        Settings(timeout_s=value)
    with pytest.raises(TypeError, match="load_timeout_s is a number of seconds, not None"):
        Settings(load_timeout_s=None)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("value", [0, math.inf])
def test_a_call_has_some_time_and_not_for_ever(value: float) -> None:
    with pytest.raises(BadArguments, match="timeout_s is how long a call may take"):
        Settings(timeout_s=value)


def test_a_time_that_no_float_can_hold_is_without_an_end() -> None:
    assert Settings(load_timeout_s=10**400).load_timeout_s == math.inf
    with pytest.raises(BadArguments, match="seconds from 0 up, not -1000"):
        Settings(load_timeout_s=-(10**400))


@pytest.mark.parametrize("name", ["timeout_s", "load_timeout_s"])
def test_a_call_that_may_take_an_age_is_made(server: Emulator, name: str) -> None:
    settings = Settings(**{name: 1e10})
    with ModelClient(server.url, settings=settings, timing=QUICK) as client:
        assert client.load(MINE).loaded


def test_a_load_that_may_take_for_ever_is_made(server: Emulator) -> None:
    with ModelClient(server.url, settings=Settings(load_timeout_s=math.inf), timing=QUICK) as client:
        assert client.load(MINE).loaded


def test_fields_that_are_no_mapping_are_a_type_error_in_one_line(client: ModelClient) -> None:
    for call in (client.update, client.create):
        with pytest.raises(TypeError, match=r"^fields are given in a mapping or by keyword, not \['x'\]\.$"):
            call("My Fine-Tune", ["x"])  # type: ignore[arg-type]  # that is the point


def test_a_value_that_is_nothing_json_knows_is_refused_in_one_line(client: ModelClient) -> None:
    circular: list[Any] = []
    circular.append(circular)
    for value in ({(1, 2): 3}, circular):
        with pytest.raises(BadArguments, match="description takes some text, not "):
            client.update("My Fine-Tune", description=value)


def test_a_model_that_is_created_has_one_name(client: ModelClient) -> None:
    with pytest.raises(BadArguments, match="The model has one name: 'aaa' or 'bbb'"):
        client.create("aaa", name="bbb")
    assert client.create("aaa", name="aaa").name == "aaa"


def test_a_setting_that_does_not_exist_is_not_set_silently() -> None:
    with pytest.raises(AttributeError, match=r"Settings has timeout_s, .*, not timeout"):
        Settings().timeout = 3


def test_settings_show_what_they_are() -> None:
    settings = Settings(wait_timeout_s=5)
    words = "Settings(timeout_s=10.0, load_timeout_s=600.0, wait_timeout_s=5, stall_after_s=30.0)"
    assert repr(settings) == words
    assert settings.wait_timeout_s == 5


@pytest.mark.parametrize("timeout", [-1, math.nan])
def test_ensure_with_a_timeout_that_cannot_be_asks_nobody(odd: HostileServer, timeout: float) -> None:
    with ModelClient(odd.url) as client, pytest.raises(BadArguments, match="timeout is a number of seconds"):
        client.ensure(ID, timeout=timeout)
    assert odd.log == []
    assert sys.exc_info() == (None, None, None)
