"""Starting, sharing, closing: threads, sockets and files are gone afterwards; many downloads at once."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests

from pieces_nb.emulator import Emulator, EmulatorError, Faults, Switches, server, shared
from tests.emulator.conftest import Started
from tests.emulator.support import ROOT, Api
from tests.emulator.test_switches import Call
from tests.needs import forks
from tests.waiting import until


def own_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("pieces-nb-emulator")]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_start_returns_itself_when_it_listens_and_again_is_fine(started: Started) -> None:
    emulator, api = started()
    url = emulator.url

    assert emulator.start() is emulator
    assert emulator.url == url == f"http://127.0.0.1:{emulator.port}"
    assert api.get("/.well-known/health").ok
    assert own_threads().count("pieces-nb-emulator") == 1
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "pieces-nb-emulator")


def test_close_leaves_no_thread_no_socket_and_no_file(started: Started) -> None:
    gc.collect()
    process = psutil.Process()
    before = (len(process.net_connections()), process.num_fds())
    emulator, api = started(faults=Faults(stall_at=50))
    with api.listening("one") as listener, api.listening("cloud"):
        api.post("/model/there/load")
        api.start("one")
        until(lambda: listener.frame().get("percentage") == 50)
        home = emulator.home
        emulator.close()
        emulator.close()
        assert listener.close_code() == 1000
    api.session.close()

    assert own_threads() == []
    assert not home.exists()
    until(lambda: (len(process.net_connections()), process.num_fds()) <= before)
    with pytest.raises(EmulatorError, match="does not run"):
        _ = emulator.url


def test_close_does_not_wait_for_a_client_that_does_not_answer(started: Started) -> None:
    emulator, api = started()
    with api.listening("one"):
        done = threading.Thread(target=emulator.close)
        done.start()
        done.join(3)
        assert not done.is_alive()


def test_close_during_slow_calls_ends_them_without_a_word_in_the_log(
    started: Started, caplog: pytest.LogCaptureFixture
) -> None:
    emulator, api = started(faults=Faults(load_seconds=60, stall_at=0), switches=Switches(post_answers_after_end=True))
    calls = []
    for path in ("/model/there/load", "/model/one/download"):
        call = threading.Thread(target=lambda path=path: calls.append(_outcome(api.url + path)), daemon=True)
        call.start()
    until(lambda: api.model("one")["downloading"])

    emulator.close()

    until(lambda: len(calls) == 2)
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def _outcome(address: str) -> str:
    try:
        with requests.Session() as session:
            session.trust_env = False
            return str(session.post(address, timeout=20).status_code)
    except requests.ConnectionError as error:
        return type(error).__name__


def test_one_that_was_closed_can_start_again(started: Started) -> None:
    emulator, _ = started()
    emulator.close()

    emulator.start()
    api = Api(emulator.url)

    assert api.get("/models").ok
    api.session.close()


def test_a_with_block_closes() -> None:
    with Emulator(models=[]) as emulator:
        api = Api(emulator.url)
        assert api.get("/models").json() == {"iterable": []}
        api.session.close()

    assert not emulator.running


def test_shared_is_one_for_all_callers_and_a_new_one_when_it_was_closed() -> None:
    with ThreadPoolExecutor(8) as pool:
        found = {future.result() for future in [pool.submit(shared) for _ in range(16)]}

    [first] = found
    first.close()
    second = shared()

    assert second is not first
    assert second.running
    second.close()


def test_a_port_in_use_is_one_clear_error_and_leaves_nothing(started: Started) -> None:
    emulator, _ = started()
    before = set(own_threads())

    with pytest.raises(EmulatorError, match=f"Port {emulator.port} of 127.0.0.1 is in use"):
        Emulator(port=emulator.port).start()

    assert set(own_threads()) == before


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_number_that_is_no_port_is_one_clear_error(port: int) -> None:
    with pytest.raises(EmulatorError, match="is no port"):
        Emulator(port=port).start()


def test_a_port_of_its_own_choice_is_none_where_pieces_os_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class FirstTwo:
        def __contains__(self, port: int) -> bool:
            seen.append(port)
            return len(seen) < 3

    assert {1000, 5323, 39300, 39333} <= server._RESERVED_PORTS
    monkeypatch.setattr(server, "_RESERVED_PORTS", FirstTwo())

    with Emulator(models=[]) as emulator:
        assert emulator.port == seen[2]
        assert len(set(seen)) == 3


def test_an_interrupt_while_it_starts_leaves_no_thread_and_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(server._Ready):
        def __init__(self) -> None:
            super().__init__()
            self.event = Impatient()

    class Impatient(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if timeout is None:
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(server, "_Ready", Interrupted)
    emulator = Emulator()

    with pytest.raises(KeyboardInterrupt):
        emulator.start()

    assert own_threads() == []
    assert not emulator.home.exists()


def test_a_given_port_within_the_reserved_ones_is_allowed() -> None:
    for port in range(39333, 39300, -1):
        with socket.socket() as probe:
            free = probe.connect_ex(("127.0.0.1", port)) != 0
        if free:
            break

    with Emulator(port=port, models=[]) as emulator:
        assert emulator.url == f"http://127.0.0.1:{port}"


def test_importing_the_package_brings_no_tornado() -> None:
    done = run_python("import sys, pieces_nb.emulator; sys.exit('tornado' in sys.modules)")

    assert (done.returncode, done.stderr) == (0, "")


def test_a_process_that_ends_without_close_ends_quietly_and_leaves_no_home() -> None:
    done = run_python(
        "from pieces_nb.emulator import shared, Faults\n"
        "import requests\n"
        "emulator = shared()\n"
        "with requests.Session() as session:\n"
        "    session.trust_env = False\n"
        "    model = session.get(emulator.url + '/models').json()['iterable'][0]['id']\n"
        "    session.post(f'{emulator.url}/model/{model}/download').raise_for_status()\n"
        "print(emulator.home)"
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert not os.path.exists(done.stdout.strip())  # noqa: PTH110  # A path of text, asked once.


@forks
def test_a_fork_leaves_its_parents_emulator_alone() -> None:
    done = run_python(
        "import os, sys\n"
        "from pieces_nb.emulator import shared\n"
        "emulator = shared()\n"
        "if (child := os.fork()) == 0:\n"
        "    emulator.close()\n"
        "    os._exit(int(emulator.running or not emulator.home.exists()))\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or not emulator.running)"
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_hundred_downloads_at_once_all_end_well_with_little_work(started: Started) -> None:
    models = [{"id": f"m{index}", "name": f"Model {index}"} for index in range(100)]
    emulator, api = started(models=models, rate_bytes_per_s=1)  # None ends while others are still to be started.
    process = psutil.Process()
    for model in models:
        api.start(model["id"])

    assert sum(model["downloading"] for model in api.get("/models").json()["iterable"]) == 100
    before = process.cpu_times()
    emulator.rate_bytes_per_s = 65_536 / 2
    with api.listening("m99") as listener:
        listener.until_status("COMPLETED")
    after = process.cpu_times()
    until(lambda: all(model["downloaded"] for model in api.get("/models").json()["iterable"]))

    spent = after.user + after.system - before.user - before.system
    print(f"100 downloads of 2 s: {spent:.2f} s of CPU")
    assert spent < 1.5
    assert len(list((emulator.home / "models").glob("*.bin"))) == 100


def test_a_hundred_sockets_hear_their_own_downloads_end(started: Started) -> None:
    models = [{"id": f"m{index}", "name": f"Model {index}"} for index in range(100)]
    _, api = started(models=models)
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(api.listening(model["id"])) for model in models]
        for model in models:
            api.start(model["id"])
        assert {listener.to_end()[-1]["status"] for listener in listeners} == {"COMPLETED"}


def test_calls_from_many_threads_at_once_are_all_answered(started: Started) -> None:
    _, api = started()

    calls = [Call(api, f"/model/there/{verb}") for verb in ("load", "unload") * 10]

    assert {call.result().status_code for call in calls} == {200}
