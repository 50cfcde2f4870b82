"""`pieces-nb` as a process: pipes, signals, terminals, and how much it imports."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pieces_nb import ModelClient
from pieces_nb.emulator import Emulator, Faults
from tests.views.terminal.conftest import DEADLINE_S, Outcome, finish, start

pty = pytest.importorskip("pty")  # Windows has none


class Terminal:
    """A process on a pseudo-terminal, 24 lines of 80 columns."""

    def __init__(self, *command: str, lines_and_columns: tuple[int, int] = (24, 80)) -> None:
        import fcntl
        import struct
        import termios

        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *lines_and_columns, 0, 0))
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment | {"TERM": "xterm"}
        )
        os.close(theirs)
        self.text = ""

    def read_until(self, *words: str) -> str:
        """Read until one of the words has come, or to the end if none is given; fail at the deadline."""
        import select

        deadline = time.monotonic() + DEADLINE_S
        before = len(self.text)
        while not any(word in self.text[before:] for word in words):
            ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{words} did not come; there was {self.text[before:]!r}"
            try:
                piece = os.read(self._ours, 65536)
            except OSError:  # how Linux says that the other side is closed
                piece = b""
            if not piece:
                assert not words, f"it ended without {words}: {self.text[before:]!r}"
                break
            self.text += piece.decode(errors="replace")
        return self.text[before:]

    def say(self, line: str) -> None:
        os.write(self._ours, f"{line}\n".encode())

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE_S)
        with suppress(OSError):
            os.close(self._ours)


@contextmanager
def on_terminal(*arguments: str) -> Iterator[Terminal]:
    terminal = Terminal(sys.executable, "-m", "pieces_nb", *arguments)
    try:
        yield terminal
    finally:
        terminal.close()


def end_of(terminal: Terminal) -> int:
    terminal.read_until()
    return terminal.process.wait(DEADLINE_S)


def last_screen(text: str) -> list[str]:
    """Return what stays of a line that was overwritten: what came after its last carriage return."""
    lines = [line.rsplit("\r", 1)[-1] for line in text.replace("\r\n", "\n").split("\n")]
    return [line for line in (line.replace("\x1b[A", "").rstrip() for line in lines) if line]


# Exit codes and streams ----------------------------------------------------------------------------------------------


def test_a_process_lists_as_json(emulator: Emulator) -> None:
    seen = finish(start("list", "--json"))

    assert (seen.code, seen.err) == (0, "")
    assert len(json.loads(seen.out)) == 6
    assert emulator.running


@pytest.mark.usefixtures("emulator")
def test_failures_exit_1_and_wrong_arguments_2() -> None:
    processes = [start("load", "nothing like it"), start("lst")]
    failed, wrong = map(finish, processes)

    assert (failed.code, wrong.code) == (1, 2)
    assert failed.err.startswith("pieces-nb: There is no model")
    assert wrong.err.startswith("pieces-nb: There is no command")


def _into_a_pipe_that_closes(*arguments: str, stderr_too: bool = False) -> Outcome:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        process = start(*arguments, stdout=writing, stderr=writing if stderr_too else subprocess.PIPE)
    finally:
        os.close(writing)
    return finish(process)


@pytest.mark.usefixtures("emulator")
@pytest.mark.parametrize("arguments", [("list",), ("list", "--json"), ("help",)])
def test_a_pipe_that_is_closed_is_no_traceback(arguments: tuple[str, ...]) -> None:
    seen = _into_a_pipe_that_closes(*arguments)

    assert (seen.code, seen.err) == (0, "")


def test_an_error_into_a_closed_pipe_keeps_its_exit_code() -> None:
    assert _into_a_pipe_that_closes("lst", stderr_too=True).code == 2


@pytest.mark.usefixtures("emulator")
def test_head_takes_one_line_of_many() -> None:
    command = f'"{sys.executable}" -m pieces_nb list --wide --json | head -1'
    seen = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=DEADLINE_S, check=True)

    assert (seen.stdout, seen.stderr) == ("[\n", "")


@pytest.mark.usefixtures("emulator")
def test_an_encoding_without_our_characters_fails_nothing() -> None:
    seen = finish(start("status", environment={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}))

    assert (seen.code, seen.err) == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a full device")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        seen = finish(start("help", stdout=full))

    assert seen.code == 1
    assert seen.err == "pieces-nb: No space left on device\n"


def _imported(*calls: list[str], names: Sequence[str]) -> tuple[list[int], list[str]]:
    """The exit codes of these calls in a process of their own, and which of the modules they brought."""
    code = (
        "import json, sys; from pieces_nb.views.terminal import program; "
        f"codes = [program.main(call) for call in {list(calls)!r}]; "
        f"sys.exit(json.dumps([codes, [name for name in {list(names)!r} if name in sys.modules]]))"
    )
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    seen = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE_S, check=False, env=unmeasured
    )
    codes, imported = json.loads(seen.stderr.splitlines()[-1])
    return codes, imported


def test_what_needs_no_server_imports_nothing_heavy() -> None:
    heavy = (
        *("IPython", "ipywidgets", "numpy", "pandas", "psutil", "requests", "tornado", "tqdm", "urllib3"),
        *("websocket", "argparse"),
    )
    calls = [["help"], ["--version"], ["completion", "bash"], ["lst"], ["panel"]]

    assert _imported(*calls, names=heavy) == ([0, 0, 0, 2, 2], [])


NOT_FOR_ONE_CALL = (
    *("IPython", "numpy", "pandas", "psutil", "requests", "urllib3", "websocket", "tornado", "tqdm", "argparse"),
    *("platformdirs", "concurrent.futures", "importlib.metadata", "tempfile", "shutil"),
)


@pytest.mark.usefixtures("emulator")
def test_tab_for_a_name_imports_what_one_call_needs_and_no_more() -> None:
    calls = [["__complete", "bash", "pieces-nb download "], ["__complete", "zsh", "unload", "Ge"]]

    assert _imported(*calls, names=(*NOT_FOR_ONE_CALL, "pathlib")) == ([0, 0], [])


def test_tab_for_a_word_imports_nothing_of_the_wire() -> None:
    calls = [["__complete", "bash", "pieces-nb down"], ["__complete", "fish", "list", "--wi"]]

    assert _imported(*calls, names=(*NOT_FOR_ONE_CALL, "pathlib", "socket", "http.client", "ssl")) == ([0, 0], [])


@pytest.mark.usefixtures("emulator")
def test_list_and_status_import_no_http_library_and_look_for_no_server_that_is_named() -> None:
    heavy = ("pandas", "requests", "urllib3", "websocket", "platformdirs", "concurrent.futures")

    assert _imported(["list"], ["status"], names=heavy) == ([0, 0], [])


@pytest.mark.usefixtures("emulator")
def test_no_table_and_no_json_imports_pandas() -> None:
    calls = [
        *([], ["list"], ["list", "--wide"], ["list", "--fits"], ["status"], ["progress"], ["usage"]),
        *(["snapshot", "phi-2", "mistral"], ["ensure", "phi-2", "--dry-run"], ["cancel", "--all"]),
        *(["update", "my-model", "--set", "description=x"], ["download", "phi-2"]),
    ]

    codes, imported = _imported(*calls, *([*call, "--json"] for call in calls), names=("pandas", "numpy", "IPython"))

    assert (set(codes), imported) == ({0}, [])


# Downloads -----------------------------------------------------------------------------------------------------------


def _downloading(emulator: Emulator, name: str) -> bool:
    with ModelClient(emulator.url) as client:
        return client.get(name).downloading


def _until(holds: Callable[[], bool]) -> None:
    """Ask until it holds; fail at the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline


def seen_json(seen: Outcome) -> Any:
    return json.loads(seen.out)


def test_ctrl_c_stops_the_waiting_only(emulator: Emulator) -> None:
    emulator.faults = Faults(stall_at=50)

    with on_terminal("download", "phi-2") as terminal:
        terminal.read_until("50 %")
        terminal.interrupt()
        code = end_of(terminal)

    assert code == 130
    assert last_screen(terminal.text) == [
        "pieces-nb: Phi-2: IN-PROGRESS at 50 %; the download goes on. `pieces-nb cancel Phi-2` stops it."
    ]
    assert _downloading(emulator, "phi-2")


def test_ctrl_c_in_a_call_that_is_not_answered_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE_S)
        process = start("list", "--url", f"http://127.0.0.1:{server.getsockname()[1]}")
        caller, _ = server.accept()
        with caller:
            caller.recv(1)
            process.send_signal(signal.SIGINT)
            seen = finish(process)

    assert (seen.code, seen.out, seen.err) == (130, "", "pieces-nb: interrupted\n")


def test_ctrl_c_in_a_script_leaves_an_object_with_how_far_it_is(emulator: Emulator) -> None:
    emulator.faults = Faults(stall_at=50)

    process = start("download", "phi-2", "--json")
    with ModelClient(emulator.url) as client:
        _until(lambda: client.get("phi-2").downloading)
        followed = client.progress("phi-2")[0]
        _until(lambda: (followed.percentage or 0) >= 50)
    process.send_signal(signal.SIGINT)
    seen = finish(process)

    assert (seen.code, seen.err) == (130, ""), seen.out
    assert seen_json(seen)[0]["error"]["type"] == "StoppedWaiting"


def test_ctrl_c_while_a_class_is_made_is_130_too(tmp_path: Path) -> None:
    """Dataclasses and named tuples are text that is run; python -m ends by a signal if that is interrupted."""
    (tmp_path / "interrupted.py").write_text(
        "import sys\n"
        "from pieces_nb import __main__\n"
        "from pieces_nb.views.terminal import program\n"
        "program._run = lambda arguments: exec('raise KeyboardInterrupt')\n"
        "sys.exit(__main__.main())\n"
    )
    command = [sys.executable, "-m", "interrupted"]
    seen = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (seen.returncode, seen.stderr) == (130, "pieces-nb: interrupted\n")


def test_no_wait_returns_though_the_download_stands_still(emulator: Emulator) -> None:
    emulator.faults = Faults(stall_at=0)

    seen = finish(start("download", "phi-2", "--no-wait"))

    assert (seen.code, seen.err) == (0, "")
    assert _downloading(emulator, "phi-2")


def test_the_emulator_of_the_command_line_says_where_it_listens_and_ends_on_ctrl_c() -> None:
    process = start("emulator")
    assert process.stdout is not None
    line = process.stdout.readline()
    listed = finish(start("list", "--json", "--url", line.split()[-1]))
    process.send_signal(signal.SIGINT)
    seen = finish(process)

    assert line.startswith("Emulator listening on http://127.0.0.1:")
    assert len(seen_json(listed)) == 13
    assert (seen.code, seen.err) == (130, "")


def test_an_emulator_that_cannot_start_is_one_line(emulator: Emulator) -> None:
    seen = finish(start("emulator", "--port", str(emulator.port)))

    assert seen.code == 1
    assert seen.err.startswith("pieces-nb: ")
    assert len(seen.err.splitlines()) == 1


@pytest.mark.usefixtures("emulator")
def test_a_bar_on_a_terminal_and_one_line_after_it(emulator: Emulator) -> None:
    emulator.rate_bytes_per_s = 60_000

    with on_terminal("download", "phi-2", "mistral") as terminal:
        code = end_of(terminal)

    assert code == 0
    assert "█" in terminal.text
    assert "of 2 ended" in terminal.text
    assert [line.partition(" · ")[0] for line in last_screen(terminal.text)[-2:]] == [
        "Phi-2: done",
        "Mistral 7B: done",
    ]


def test_no_line_of_the_bars_is_wider_than_the_terminal(emulator: Emulator) -> None:
    emulator.rate_bytes_per_s = 60_000

    terminal = Terminal(sys.executable, "-m", "pieces_nb", "download", "phi-2", lines_and_columns=(24, 40))
    try:
        assert end_of(terminal) == 0
    finally:
        terminal.close()

    drawn = [line for line in terminal.text.replace("\n", "\r").split("\r") if "|" in line]
    assert drawn
    assert max(map(len, drawn)) < 40


@pytest.mark.usefixtures("emulator")
def test_without_a_terminal_plain_lines_at_the_start_and_at_the_end() -> None:
    seen = finish(start("download", "phi-2"))

    assert "█" not in seen.err
    first, *_, last = seen.err.splitlines()
    assert first.startswith("pieces-nb: Phi-2: ")
    assert last.startswith("pieces-nb: Phi-2: done · ")
    assert seen.out.startswith("Phi-2: done · ")


@pytest.mark.usefixtures("emulator")
def test_quiet_says_nothing_on_the_way() -> None:
    seen = finish(start("download", "phi-2", "--quiet"))

    assert (seen.code, seen.err) == (0, "")
    assert seen.out.startswith("Phi-2: done · ")


def test_a_person_at_a_terminal_is_asked(emulator: Emulator) -> None:
    with on_terminal("delete", "my-model") as terminal:
        terminal.read_until("Go on? [y/N]")
        terminal.say("n")
        refused = end_of(terminal)
    with on_terminal("delete", "my-model") as terminal:
        terminal.read_until("Go on? [y/N]")
        terminal.interrupt()
        interrupted = end_of(terminal)
    with on_terminal("delete", "my-model") as terminal:
        terminal.read_until("Go on? [y/N]")
        terminal.say("y")
        done = end_of(terminal)

    assert (refused, interrupted, done) == (2, 130, 0)
    assert last_screen(terminal.text)[-1] == "Deleted my-model."
    assert emulator.running


# IPython in a terminal -----------------------------------------------------------------------------------------------


@contextmanager
def ipython() -> Iterator[Terminal]:
    terminal = Terminal(
        sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--quick", "--no-confirm-exit"
    )
    try:
        terminal.read_until("In [1]:")
        terminal.say("%load_ext pieces_nb")
        terminal.read_until("In [2]:")
        yield terminal
    finally:
        terminal.close()


def test_in_ipython_the_bar_moves_and_one_line_stays(
    emulator: Emulator, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    emulator.rate_bytes_per_s = 60_000

    with ipython() as terminal:
        terminal.say("%pieces_model download phi-2")
        shown = terminal.read_until("In [3]:")

    assert shown.count("█") > 2
    assert [line for line in last_screen(shown) if ": done" in line] == [
        next(line for line in last_screen(shown) if line.startswith("Out[2]: Phi-2: done · 20.0 kB · "))
    ]


def test_in_ipython_ctrl_c_is_one_line_and_the_download_goes_on(
    emulator: Emulator, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    emulator.faults = Faults(stall_at=50)

    with ipython() as terminal:
        terminal.say("%pieces_model download phi-2")
        terminal.read_until("50 %")
        terminal.interrupt()
        shown = terminal.read_until("In [3]:")

    plain = shown.replace("\x1b[31m", "").replace("\x1b[0m", "")
    assert "StoppedWaiting: Phi-2: IN-PROGRESS at 50 %; the download goes on." in plain
    assert "Traceback" not in plain
    assert _downloading(emulator, "phi-2")
