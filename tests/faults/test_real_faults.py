"""Processes that die, freeze and run out of disk in the middle of a download."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pieces_nb import DownloadFailed, ModelClient, StoppedWaiting
from pieces_nb.download.download import Download
from tests.waiting import until

from .support import DEADLINE_S, HASTY, EmulatorProcess, our_threads

if sys.platform == "win32":
    pytest.skip("signals of POSIX", allow_module_level=True)


def beyond(download: Download, percentage: float) -> None:
    until(lambda: download.done or (download.percentage or 0) >= percentage)


def killed_and_restarted(home: Path, *, at: float) -> Download:
    """Kill the server when the download stands at a percentage, start it again, and follow to the end."""
    with EmulatorProcess(home) as emulator, ModelClient(emulator.url, timing=HASTY) as client:
        download = client.download("phi-2")
        beyond(download, at)
        emulator.kill()
        emulator.start()
        with pytest.raises(DownloadFailed):
            download.wait(DEADLINE_S)
        assert client.get("phi-2").state == "available"
        assert not list(home.rglob("*.part"))
        client.download("phi-2").wait(DEADLINE_S)
        assert client.get("phi-2").state == "downloaded"
        return download


def test_a_server_killed_in_mid_download_and_restarted_is_a_failure_that_can_be_repeated(tmp_path: Path) -> None:
    download = killed_and_restarted(tmp_path, at=30)
    assert "the server went away at " in str(download.error)
    assert "the download did not survive it" in str(download.error)
    assert download.percentage is not None
    assert 30 <= download.percentage < 100


@pytest.mark.soak
@pytest.mark.parametrize("at", range(0, 100, 2))
def test_a_server_killed_at_any_point(tmp_path: Path, at: int) -> None:
    killed_and_restarted(tmp_path, at=at)


def test_a_dead_server_is_said_and_given_up_after_the_patience(tmp_path: Path) -> None:
    hasty = replace(HASTY, lost_after_s=1.5)
    with EmulatorProcess(tmp_path) as emulator, ModelClient(emulator.url, timing=hasty) as client:
        download = client.download("phi-2")
        beyond(download, 20)
        emulator.kill()
        until(lambda: "no answer" in repr(download))
        with pytest.raises(DownloadFailed, match=r"no answer since \d\d:\d\d, last seen \d"):
            download.wait(DEADLINE_S)


def test_a_frozen_server_is_waited_for_and_the_download_completes(tmp_path: Path) -> None:
    with EmulatorProcess(tmp_path) as emulator, ModelClient(emulator.url, timing=HASTY) as client:
        client.settings.timeout_s = 0.5
        download = client.download("phi-2")
        beyond(download, 20)
        emulator.signal(signal.SIGSTOP)
        until(lambda: download.stalled_since is not None)
        assert not download.done
        assert download.speed_bytes_per_s is None
        emulator.signal(signal.SIGCONT)
        assert download.wait(DEADLINE_S).downloaded


def test_a_frozen_client_does_not_take_its_own_sleep_for_a_lost_server(tmp_path: Path) -> None:
    script = """
        import sys
        from pieces_nb import ModelClient
        from tests.faults.support import HASTY
        from dataclasses import replace
        client = ModelClient(sys.argv[1], timing=replace(HASTY, lost_after_s=0.5))
        download = client.download("mistral")
        download.subscribe(lambda d: print(d.percentage, flush=True))
        download.wait(30)
        print("ended", download.status, flush=True)
    """
    with EmulatorProcess(tmp_path) as emulator:
        command = [sys.executable, "-c", textwrap.dedent(script), emulator.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout is not None
            while not (line := client.stdout.readline()).strip().replace(".", "").isdigit() or float(line) < 20:
                assert line
            client.send_signal(signal.SIGSTOP)
            with ModelClient(emulator.url) as witness:
                until(lambda: witness.get("mistral").downloaded)
            client.send_signal(signal.SIGCONT)
            assert client.stdout.read().splitlines()[-1] == "ended COMPLETED"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A volume of 8 MB, less than a third of what Phi-2 takes."""
    folder = tmp_path / "small"
    folder.mkdir()
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    options = f"size=8m,uid={os.getuid()}"
    mount = subprocess.run(
        [*root, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mount.returncode != 0:
        pytest.skip("only root can mount a small volume")
    try:
        yield folder
    finally:
        subprocess.run([*root, "umount", "-l", str(folder)], check=True)


@pytest.mark.full
def test_a_full_disk_fails_the_download_and_leaves_nothing_behind(small_disk: Path) -> None:
    with EmulatorProcess(small_disk) as emulator, ModelClient(emulator.url, timing=HASTY) as client:
        with pytest.raises(DownloadFailed):
            client.download("phi-2").wait(DEADLINE_S)
        assert client.get("phi-2").state == "available"
        assert not list(small_disk.rglob("*.part"))
        client.download("My Fine-Tune (emulated)").wait(DEADLINE_S)


def interrupted_at_line(download: Download, number: int) -> bool:
    """Wait, with an interrupt at the nth line that runs in its module; False if there are fewer lines."""
    seen = 0

    def trace(frame: object, event: str, _argument: object) -> object:
        nonlocal seen
        code = frame.f_code  # type: ignore[attr-defined]  # a frame
        if Path(code.co_filename).parts[-3:] != ("pieces_nb", "download", "download.py"):
            return None
        if event == "line":
            seen += 1
            if seen == number:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()  # a measurement's
    sys.settrace(trace)  # type: ignore[arg-type]  # the stubs want their own protocol
    try:
        download.wait(DEADLINE_S)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def interrupted_by_a_signal(download: Download) -> None:
    """Wait, with the interrupt that ■ and Ctrl-C send."""
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        download.wait(DEADLINE_S)
    finally:
        signal.signal(signal.SIGALRM, previous)


def test_an_interrupt_at_any_line_of_wait_stops_the_waiting_alone(tmp_path: Path) -> None:
    with EmulatorProcess(tmp_path, "--stall-at", "50") as emulator, ModelClient(emulator.url, timing=HASTY) as client:
        download = client.download("phi-2")
        beyond(download, 45)
        assert all(interrupted_at_line(download, number) for number in range(1, 12))
        assert not download.done
        assert client.get("phi-2").downloading
        with pytest.raises(StoppedWaiting):
            interrupted_by_a_signal(download)
        download.cancel()
        assert download.status == "CANCELED"
    assert our_threads() == []
