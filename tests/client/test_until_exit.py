"""Memory that comes back when the process ends, whatever ended it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pieces_nb import Model, ModelClient, until_exit
from pieces_nb.emulator import Emulator
from pieces_nb.errors import ModelStateError, PiecesError, PiecesUnreachable
from pieces_nb.locks import Lock
from pieces_nb.until_exit import Watcher
from tests.conftest import MINE, MISTRAL, PHI
from tests.hostile.server import ID, Behaviour, HostileServer, hang_up, http, says
from tests.waiting import until

PROGRAM = """
    import sys
    from pieces_nb import ModelClient

    client = ModelClient(sys.argv[1])
    client.load(sys.argv[2], until_exit=True)
    print(client._made_watcher.pid, flush=True)
    sys.stdin.read()
"""


def start(
    server: Emulator, model_id: str, program: str = PROGRAM, *, cwd: Path | None = None
) -> tuple[subprocess.Popen[str], psutil.Process]:
    """A process that has loaded a model until its end, and the one that watches it."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), server.url, model_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )
    assert process.stdout is not None
    return process, psutil.Process(int(process.stdout.readline()))


def watchers() -> list[psutil.Process]:
    """The watching processes of this one."""
    return [one for one in psutil.Process().children() if "pieces_nb.until_exit" in " ".join(one.cmdline())]


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


class Between(Lock):
    """A lock after whose first release somebody else has their turn."""

    def __init__(self, turn: Callable[[], object]) -> None:
        super().__init__()
        self._turns = [turn]

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        if self._turns:
            self._turns.pop()()


def test_a_model_leaves_memory_when_the_process_that_loaded_it_is_killed(server: Emulator, client: ModelClient) -> None:
    process, watcher = start(server, MINE)
    assert client.get(MINE).loaded
    end(process)
    until(lambda: not client.get(MINE).loaded)
    until(lambda: is_gone(watcher))


def test_a_model_leaves_memory_when_the_process_ends_by_itself(server: Emulator, client: ModelClient) -> None:
    process, watcher = start(server, MINE)
    process.communicate("")
    until(lambda: not client.get(MINE).loaded)
    until(lambda: is_gone(watcher))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups to interrupt")
def test_an_interrupt_of_the_whole_group_does_not_reach_the_watcher(server: Emulator, client: ModelClient) -> None:
    process, watcher = start(server, MINE)
    assert os.getpgid(watcher.pid) != os.getpgid(process.pid)
    watcher.send_signal(0)
    process.send_signal(signal.SIGINT)
    process.communicate()
    until(lambda: not client.get(MINE).loaded)


def test_what_somebody_unloaded_and_another_loaded_since_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    unloaded: list[str] = []
    monkeypatch.setattr(until_exit, "_unload", lambda _url, model_id: unloaded.append(model_id))
    answers = iter([True, False])  # in memory, taken out by somebody; whatever comes after is theirs
    dropped = threading.Event()

    def lines() -> Iterator[str]:
        yield '{"expect": "one", "url": "http://127.0.0.1:9"}\n'
        yield '{"confirm": "one"}\n'
        assert dropped.wait(60)

    def ask(_url: str, _model_id: str) -> Model:
        loaded = next(answers)
        if not loaded:
            dropped.set()
        return Model({"loaded": loaded})

    until_exit.watch(lines(), poll_s=0.01, give_up_s=1.0, ask=ask)
    assert unloaded == []


def test_a_load_under_way_at_the_end_is_waited_for_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = {"loaded": False}
    unloaded: list[str] = []

    def unload(_url: str, model_id: str) -> None:
        unloaded.append(model_id)
        memory["loaded"] = False

    def ask(_url: str, _model_id: str) -> Model:
        answer = dict(memory)
        memory["loaded"] = not unloaded  # the load takes effect after the first look
        return Model(answer)

    monkeypatch.setattr(until_exit, "_unload", unload)
    monkeypatch.setattr(until_exit, "_SOON_S", 0.01)
    until_exit.watch(['{"expect": "one", "url": "http://127.0.0.1:9"}\n'], poll_s=9.0, give_up_s=60.0, ask=ask)
    assert unloaded == ["one"]


def test_a_forked_child_that_lives_on_does_not_keep_the_memory(server: Emulator, client: ModelClient) -> None:
    forking = PROGRAM.replace("sys.stdin.read()", "import os; os.fork(); sys.stdin.read()")
    process, watcher = start(server, MINE, forking)
    parent = psutil.Process(process.pid)
    until(lambda: len(parent.children()) == 2)
    (child,) = [one for one in parent.children() if one.pid != watcher.pid]
    process.kill()
    try:
        until(lambda: not client.get(MINE).loaded)
        assert child.is_running()
    finally:
        child.kill()
        process.communicate()


def test_what_was_in_memory_before_is_not_given_back(server: Emulator, client: ModelClient) -> None:
    client.load(MINE)
    with ModelClient(server.url) as other:
        assert other.load(MINE, until_exit=True).loaded
    assert client.get(MINE).loaded


def test_closing_the_client_gives_it_back(server: Emulator, client: ModelClient) -> None:
    with ModelClient(server.url) as other:
        other.load(MINE, until_exit=True)
        assert client.get(MINE).loaded
    assert not client.get(MINE).loaded


def test_unloaded_nobody_watches_any_more(server: Emulator) -> None:
    with ModelClient(server.url) as other:
        other.load(MINE, until_exit=True)
        (watcher,) = watchers()
        other.unload(MINE)
        until(lambda: is_gone(watcher))


def test_a_load_that_is_refused_leaves_no_watcher(server: Emulator) -> None:
    with ModelClient(server.url) as other:
        with pytest.raises(PiecesError):
            other.load(MISTRAL, until_exit=True)  # it is not downloaded
        assert watchers() == []


BROKEN: dict[str, Behaviour] = {
    "the line broke": hang_up,
    "the answer is nonsense": says(http(b"{")),
    "the server said yes and it is not so": says(http({"id": ID})),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_load_whose_call_broke_in_the_middle_is_given_back_when_it_takes_effect_later(
    odd: HostileServer, odd_client: ModelClient, how: str
) -> None:
    odd.models[ID]["downloaded"] = True
    odd.answers["load"] = BROKEN[how]
    odd_client.settings.load_timeout_s = 1.0
    with pytest.raises(PiecesError):
        odd_client.load(ID, until_exit=True)
    odd.models[ID]["loaded"] = True
    odd_client.close()
    assert not odd.models[ID]["loaded"]


def test_a_load_that_may_still_take_effect_stays_held_when_another_of_the_same_model_is_refused(
    odd: HostileServer, odd_client: ModelClient
) -> None:
    odd.models[ID]["downloaded"] = True
    odd.answers["load"] = hang_up
    with pytest.raises(PiecesUnreachable):
        odd_client.load(ID, until_exit=True)
    odd.models[ID]["ram"] = {"value": 10**15}
    with pytest.raises(ModelStateError):
        odd_client.load(ID, until_exit=True)
    odd.models[ID]["loaded"] = True
    odd_client.close()
    assert not odd.models[ID]["loaded"]


def test_a_load_that_never_began_is_not_held(odd: HostileServer, odd_client: ModelClient) -> None:
    odd.models[ID] |= {"downloaded": True, "ram": {"value": 10**15}}
    with pytest.raises(PiecesError, match="of memory"):
        odd_client.load(ID, until_exit=True)
    assert not odd_client.gives_back(odd_client.get(ID))


def test_a_file_in_the_notebooks_folder_that_is_named_as_a_module_does_not_break_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tmp_path.joinpath("queue.py").write_text("raise ImportError('This is the notebook's.')")
    monkeypatch.chdir(tmp_path)
    watching = Watcher()
    watching.expect("http://127.0.0.1:9", MINE)
    watching.release(MINE)


def test_a_package_that_lies_in_the_notebooks_folder_is_the_watchers_too(
    server: Emulator, client: ModelClient, tmp_path: Path
) -> None:
    copy = shutil.copytree(Path(until_exit.__file__).parent, tmp_path / "pieces_nb")
    ours = copy.joinpath("until_exit.py").read_text("utf-8")
    copy.joinpath("until_exit.py").write_text(ours.replace('"watching"', '"watching as the copy does"'), "utf-8")
    tmp_path.joinpath("queue.py").write_text("raise ImportError('This is the notebook's.')")
    as_a_kernel = '    import sys; sys.path.remove(""); import queue; sys.path.insert(0, "")'
    process, _watcher = start(server, MINE, as_a_kernel + PROGRAM, cwd=tmp_path)
    end(process)
    until(lambda: not client.get(MINE).loaded)


def test_released_it_stays_in_memory_and_the_watcher_ends(server: Emulator, client: ModelClient) -> None:
    watching = Watcher()
    watching.expect(server.url, MINE)
    client.load(MINE)
    watching.confirm(MINE)
    process = psutil.Process(watching.pid or 0)
    watching.release(MINE)
    until(lambda: is_gone(process))
    assert watching.pid is None
    assert client.get(MINE).loaded


def test_closed_it_gives_back_at_once(server: Emulator, client: ModelClient) -> None:
    watching = Watcher()
    watching.expect(server.url, MINE)
    client.load(MINE)
    watching.confirm(MINE)
    watching.close()
    assert not client.get(MINE).loaded


def test_what_a_watcher_that_was_killed_held_the_next_one_holds(tmp_path: Path) -> None:
    told = tmp_path / "told"
    noting = f"import sys; print('watching', flush=True); open({str(told)!r}, 'w').write(sys.stdin.read())"
    watching = Watcher(command=[sys.executable, "-c", noting])
    watching.expect("http://one", "confirmed")
    watching.confirm("confirmed")
    watching.expect("http://two", "loading")
    process = psutil.Process(watching.pid or 0)
    process.kill()
    until(lambda: is_gone(process))
    watching.expect("http://three", "new")
    watching.close()
    assert [json.loads(line) for line in told.read_text().splitlines()] == [
        {"expect": "confirmed", "url": "http://one"},
        {"confirm": "confirmed"},
        {"expect": "loading", "url": "http://two"},
        {"expect": "new", "url": "http://three"},
    ]


def test_what_is_expected_while_the_last_one_is_released_is_given_back_too(
    server: Emulator, client: ModelClient
) -> None:
    watching = Watcher()
    watching.expect(server.url, PHI)
    watching._lock = Between(lambda: watching.expect(server.url, MINE))
    watching.release(PHI)
    assert watching.holds(MINE)
    client.load(MINE)
    watching.confirm(MINE)
    watching.close()
    assert not client.get(MINE).loaded


@pytest.mark.parametrize("command", [["/nonexistent/python"], [sys.executable, "-c", "print('nonsense')"]])
def test_a_watcher_that_cannot_start_is_one_line_before_anything_is_loaded(command: list[str]) -> None:
    with pytest.raises(PiecesError, match="Nothing is loaded: the process that would give it back"):
        Watcher(command=command).expect("http://127.0.0.1:9", MINE)
