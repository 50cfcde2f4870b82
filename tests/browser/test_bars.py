"""Bars under cells in JupyterLab and Chromium: clicks while a cell waits, saved pages, screen readers."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.bars import (
    WHAT_STOOD_THERE,
    cancel_button,
    client,
    connect,
    is_true,
    live,
    wait_for_bar,
    wait_for_moving_bar,
)
from tests.browser.conftest import OpenNotebook
from tests.browser.lab import EmulatorProcess, Lab, until, violations
from tests.ipykernels import CLICKS_ARE_HEARD
from tests.needs import OTHER_KERNEL

pytestmark = pytest.mark.full

StartEmulator = Callable[..., EmulatorProcess]
PHI = "Phi-2 (emulated)"


# Clicks


@pytest.mark.skipif(not CLICKS_ARE_HEARD, reason=f"{OTHER_KERNEL}: this one hears no click before the cell ends")
@pytest.mark.parametrize("wait", ["%pieces_model download phi-2", "client.download('phi-2').wait()"])
def test_a_cancel_is_heard_while_the_cell_waits(open_notebook: OpenNotebook, slow: EmulatorProcess, wait: str) -> None:
    notebook = open_notebook([f"{connect(slow)}\n{client(slow)}", wait])
    notebook.run_all()
    wait_for_moving_bar(notebook.output(1))
    notebook.output(1).get_by_text("Cancel stops the download; ■ only stops waiting").wait_for()

    cancel_button(notebook.output(1)).click()
    notebook.output(1).get_by_text(re.compile("DownloadCanceled.*the download was canceled")).first.wait_for()

    assert not slow.model(PHI)["downloading"]
    assert not slow.model(PHI)["downloaded"]


@pytest.mark.skipif(CLICKS_ARE_HEARD, reason=f"{OTHER_KERNEL}: this one hears clicks")
def test_where_no_click_is_heard_there_is_no_cancel_before_the_stop(
    open_notebook: OpenNotebook, slow: EmulatorProcess
) -> None:
    notebook = open_notebook([connect(slow), "%pieces_model download phi-2"])
    notebook.run_all()
    wait_for_moving_bar(notebook.output(1))
    notebook.output(1).get_by_text("■ stops waiting, and Cancel is there then").wait_for()
    assert cancel_button(notebook.output(1)).count() == 0

    notebook.interrupt()
    cancel_button(notebook.output(1)).click()
    until(lambda: not slow.model(PHI)["downloading"], what="the server has canceled")


@pytest.mark.skipif(not CLICKS_ARE_HEARD, reason=f"{OTHER_KERNEL}: this one hears no click before the cell ends")
def test_the_bar_of_another_cell_is_heard_while_this_one_works(
    open_notebook: OpenNotebook, slow: EmulatorProcess
) -> None:
    working = """import threading
ended = threading.Event()
client.progress("phi-2").subscribe(lambda download: download.done and ended.set())
print("seen here" if ended.wait(60) else "not seen")"""
    notebook = open_notebook([client(slow), "client.download('phi-2')", working])
    notebook.run_all()
    notebook.wait_until_running(2)
    wait_for_moving_bar(notebook.output(1))

    cancel_button(notebook.output(1)).click()

    notebook.output(2).get_by_text("seen here").wait_for()
    notebook.output(1).get_by_text(f"{PHI}: canceled").first.wait_for()


def test_a_stopped_cell_leaves_a_bar_with_a_cancel_that_works(
    open_notebook: OpenNotebook, slow: EmulatorProcess
) -> None:
    notebook = open_notebook([connect(slow), "%pieces_model download phi-2"])
    notebook.run_all()
    wait_for_moving_bar(notebook.output(1))

    notebook.interrupt()
    notebook.output(1).get_by_text(re.compile("StoppedWaiting.*the download goes on")).first.wait_for()
    wait_for_moving_bar(notebook.output(1))
    assert slow.model(PHI)["downloading"]
    cancel_button(notebook.output(1)).click()

    until(lambda: not slow.model(PHI)["downloading"], what="the server has canceled")
    notebook.output(1).get_by_text(f"{PHI}: canceled").first.wait_for()


def test_an_awaited_download_has_its_bar_and_its_cancel(open_notebook: OpenNotebook, slow: EmulatorProcess) -> None:
    notebook = open_notebook([client(slow), "await client.download('phi-2')"])
    notebook.run_all()
    wait_for_moving_bar(notebook.output(1))

    cancel_button(notebook.output(1)).click()

    notebook.output(1).get_by_text(re.compile("DownloadCanceled")).first.wait_for()
    assert not slow.model(PHI)["downloading"]


# Saved pages


def test_a_page_with_a_live_bar_stays_true_reopened_trusted_or_not_converted_and_after_a_restart(
    open_notebook: OpenNotebook, lab: Lab, slow: EmulatorProcess, tmp_path: Path
) -> None:
    notebook = open_notebook([client(slow), "client.download('phi-2')"])
    notebook.run_all()
    wait_for_moving_bar(notebook.output(1))
    assert notebook.output(1).get_by_text("As of").is_hidden()
    notebook.output(1).get_by_text(WHAT_STOOD_THERE).wait_for(state="attached")
    notebook.save()

    notebook.reload()  # the kernel lives on, and so does the bar
    wait_for_moving_bar(notebook.output(1))
    assert notebook.output(1).get_by_text("As of").is_hidden()

    notebook.restart_kernel()
    is_true(notebook.output(1), slow)

    notebook.reload()  # saved by this server: trusted
    is_true(notebook.output(1), slow)

    saved = lab.root / notebook.name
    saved.write_text(saved.read_text().replace("Phi-2 (emulated): ", "Copied Phi-2 (emulated): "))
    notebook.load()  # changed by another program: not trusted
    notebook.output(1).get_by_text("Copied Phi-2").wait_for()
    is_true(notebook.output(1), slow)

    page = tmp_path / "page.html"
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--output", str(page), str(saved)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    notebook.page.goto(page.as_uri())
    is_true(notebook.page.locator(".jp-Cell-outputWrapper").first, slow)


# Names, and who cannot see


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_bars_have_no_violation_that_axe_finds(
    open_notebook: OpenNotebook, start_emulator: StartEmulator, theme: str
) -> None:
    emulator = start_emulator(rate_bytes_per_s=2e5, flags=["--stall-at", "5"])
    setting = "%config PiecesModelMagics.stall_after_s = 0.5"
    notebook = open_notebook([f"{connect(emulator)}\n{setting}", "%pieces_model download phi-2 llama3.2"])
    notebook.set_theme(theme)
    notebook.run_all()
    output = live(notebook.output(1))
    wait_for_bar(output)
    assert violations(notebook.page, ".pieces-nb-live") == []
    output.get_by_text(re.compile("stalled since")).first.wait_for()
    assert violations(notebook.page, ".pieces-nb-live") == []
    emulator.kill()
    output.get_by_text(re.compile("no answer since")).first.wait_for()
    assert violations(notebook.page, ".pieces-nb-live") == []
    bar = output.get_by_role("progressbar", name=f"download of {PHI}")
    assert re.search("no answer since", bar.get_attribute("aria-valuetext") or "")


def test_a_hostile_name_is_text_in_a_bar_and_leaves_its_cancel_in_sight(
    open_notebook: OpenNotebook, start_emulator: StartEmulator
) -> None:
    emulator = start_emulator(rate_bytes_per_s=2e4)
    evil = "<img src=x onerror=\"alert('ran')\"><script>alert('ran')</script> $x^2$ 🚀" + "very long " * 30
    emulator.create(evil)
    notebook = open_notebook([client(emulator), "client.download('<img')"], width=800)
    notebook.run_all()
    output = notebook.output(1)
    wait_for_bar(output)
    live(output).get_by_text("<img src=x").first.wait_for()

    assert notebook.dialogs == []
    assert output.locator("img, script, mjx-container").count() == 0
    button, place = cancel_button(output).bounding_box(), output.bounding_box()
    assert button is not None
    assert place is not None
    assert button["x"] + button["width"] <= place["x"] + place["width"]
