"""What a fork keeps of its parent's emulator, and what a signal leaves of a temporary home: nothing."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pieces_nb.emulator import Emulator, EmulatorError, shared
from tests.emulator.conftest import Started
from tests.emulator.support import DEADLINE_S, ROOT, Api, process

if sys.platform == "win32":  # What follows is read there, too.
    pytest.skip("forks and signals", allow_module_level=True)


@pytest.fixture(autouse=True)
def _signals_end_a_process() -> Iterator[None]:
    """What runs the tests may ignore SIGHUP, as nohup does, and processes inherit that."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@contextlib.contextmanager
def child(act: Callable[[], object] = lambda: None) -> Iterator[Callable[[], int]]:
    """Fork; the child acts, and lives until the block ends. Give what waits for its exit code: 0 if `act` was true."""
    living, release = os.pipe()
    there, begun = os.pipe()
    number = os.fork()
    if number == 0:
        code = 2
        try:
            os.close(release)
            os.write(begun, b"!")  # what a fork does in the child is done
            code = 0 if act() else 1
            os.read(living, 1)
        finally:
            os._exit(code)
    os.close(living)
    os.close(begun)
    assert os.read(there, 1) == b"!"
    os.close(there)

    @functools.cache
    def end() -> int:
        os.close(release)
        return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])

    try:
        yield end
    finally:
        end()


def test_a_forked_child_does_not_keep_the_lock_and_the_port(tmp_path: Path, started: Started) -> None:
    emulator, _ = started(home=tmp_path)
    port = emulator.port

    with child():
        emulator.close()
        again, api = started(home=tmp_path, port=port)

        assert again.port == port
        assert api.get("/models").ok


def test_a_forked_child_does_not_keep_the_connections_open(started: Started) -> None:
    emulator, api = started()

    with api.listening("one") as listener, child():
        emulator.close()
        assert listener.close_code() == 1000
        listener.socket.settimeout(DEADLINE_S)
        assert listener.socket.sock is None or listener.socket.sock.recv(1) == b""


def test_a_forked_child_does_not_think_that_it_runs_and_starts_one_of_its_own() -> None:
    parent = shared()

    def act() -> bool:
        with contextlib.suppress(EmulatorError):
            return not parent.url
        own = shared()
        fine = own is not parent and own.port != parent.port and own.home != parent.home and not parent.running
        own.close()
        return fine and parent.home.is_dir()

    with child(act) as code:
        assert code() == 0
    api = Api(parent.url)
    assert api.get("/models").ok
    api.session.close()
    parent.close()


def test_a_child_that_ends_leaves_the_parent_answering_and_its_downloads_going(started: Started) -> None:
    emulator, api = started(rate_bytes_per_s=131_072.0)

    def close() -> bool:
        emulator.close()
        return not emulator.running

    with api.listening("one") as listener:
        api.start("one")
        for _ in range(3):
            with child(close) as code:
                assert code() == 0
        assert listener.to_end()[-1]["status"] == "COMPLETED"
    assert api.model("one")["downloaded"] is True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_removes_the_temporary_home_of_the_command(tmp_path: Path, number: signal.Signals) -> None:
    with process(env=os.environ | {"TMPDIR": str(tmp_path)}) as (running, url):
        api = Api(url)
        api.start("e3010a70-0000-4000-8000-000000000001")
        api.session.close()
        assert len(list(tmp_path.iterdir())) == 1
        running.send_signal(number)
        out, err = running.communicate(timeout=DEADLINE_S)

    assert (running.returncode, out, err) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_a_command_under_nohup_outlives_its_terminal() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with process() as (running, url):
        api = Api(url)
        running.send_signal(signal.SIGHUP)
        assert api.get("/models").ok
        api.session.close()
        assert running.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_a_process_removes_the_temporary_home_in_it(number: signal.Signals) -> None:
    code = (
        "import sys, signal\nfrom pieces_nb.emulator import Emulator\n"
        "print(Emulator().start().home, flush=True)\nsignal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        home = Path(running.stdout.readline().strip())
        assert home.is_dir()
        running.send_signal(number)
        ended_by = running.wait(DEADLINE_S)

    assert ended_by == -number
    assert not home.exists()


def test_a_signal_in_a_forked_child_leaves_the_home_of_its_parent(started: Started) -> None:
    emulator, api = started()
    with child(lambda: os.kill(os.getpid(), signal.SIGTERM)) as code:
        assert code() == -signal.SIGTERM

    assert emulator.home.is_dir()
    assert api.get("/models").ok


def test_handlers_of_others_are_left_alone_and_ours_go_with_the_last_emulator() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, _: heard.append(number))
    try:
        with Emulator(models=[]), Emulator(models=[]):
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)

    assert heard == [signal.SIGHUP]
