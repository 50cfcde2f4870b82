"""The panel in JupyterLab and Chromium, with the emulator as another program."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.browser.conftest import OpenNotebook
from tests.browser.lab import EmulatorProcess, until
from tests.browser.panels import PanelOnPage, wait_for_movement

StartEmulator = Callable[..., EmulatorProcess]
PHI = "Phi-2 (emulated)"


def connect(emulator: EmulatorProcess) -> str:
    return f"%load_ext pieces_nb\n%pieces_model connect {emulator.url}"


def client(emulator: EmulatorProcess) -> str:
    return f"from pieces_nb import ModelClient\nclient = ModelClient({emulator.url!r})"


def test_choose_download_watch_the_bar_load_and_unload(open_notebook: OpenNotebook, emulator: EmulatorProcess) -> None:
    notebook = open_notebook([connect(emulator), "%pieces_model panel"])
    notebook.run_all()
    panel = PanelOnPage(notebook.output(1))

    panel.choose(PHI)
    panel.click("Download")
    panel.wait_for_movement()
    panel.says(re.compile(rf"{re.escape(PHI)}: COMPLETED"))
    assert emulator.model(PHI)["downloaded"]
    panel.click("Load")
    panel.says(re.compile("In memory: Phi-2"))
    assert emulator.model(PHI)["loaded"]
    panel.click("Unload")
    panel.says("In memory: no model")
    assert not emulator.model(PHI)["loaded"]


@pytest.mark.full
def test_a_download_canceled_half_way_is_canceled_for_the_server_too(
    open_notebook: OpenNotebook, start_emulator: StartEmulator
) -> None:
    emulator = start_emulator(rate_bytes_per_s=1e6)
    notebook = open_notebook([connect(emulator), "%pieces_model panel phi-2"])
    notebook.run_all()
    panel = PanelOnPage(notebook.output(1))

    panel.click("Download")
    panel.wait_for_movement()
    assert emulator.model(PHI)["downloading"]
    panel.row_cancel(PHI).click()
    panel.says(re.compile(rf"{re.escape(PHI)}: CANCELED"))

    assert not emulator.model(PHI)["downloading"]
    assert not emulator.model(PHI)["downloaded"]


@pytest.mark.full
def test_a_server_killed_half_way_is_said_and_found_again(
    open_notebook: OpenNotebook, start_emulator: StartEmulator
) -> None:
    emulator = start_emulator(rate_bytes_per_s=4e6)
    notebook = open_notebook([connect(emulator), "%pieces_model panel phi-2"])
    notebook.run_all()
    panel = PanelOnPage(notebook.output(1))

    panel.click("Download")
    panel.wait_for_movement()
    emulator.kill()
    panel.says(re.compile("No answer since"))
    assert panel.button("Download").is_disabled()
    emulator.start()
    panel.says(re.compile("answers again"))
    panel.says(re.compile(rf"{re.escape(PHI)}: FAILED"))
    panel.click("Download")
    panel.says(re.compile(rf"{re.escape(PHI)}: COMPLETED"))


@pytest.mark.full
def test_a_download_that_outlives_its_kernel_is_found_by_the_next(
    open_notebook: OpenNotebook, start_emulator: StartEmulator
) -> None:
    emulator = start_emulator(rate_bytes_per_s=5e5)
    notebook = open_notebook([connect(emulator), "%pieces_model panel phi-2"])
    notebook.run_all()
    panel = PanelOnPage(notebook.output(1))
    panel.click("Download")
    panel.wait_for_movement()

    notebook.restart_kernel()
    notebook.run_all()
    notebook.wait_until_run(1)
    again = PanelOnPage(notebook.output(1))

    again.wait_for_movement()
    again.row_cancel(PHI).click()
    again.says(re.compile(rf"{re.escape(PHI)}: CANCELED"))


@pytest.mark.full
def test_the_panel_lives_on_when_the_page_is_loaded_anew(
    open_notebook: OpenNotebook, start_emulator: StartEmulator
) -> None:
    emulator = start_emulator(rate_bytes_per_s=5e5)
    notebook = open_notebook([connect(emulator), "%pieces_model panel phi-2"])
    notebook.run_all()
    panel = PanelOnPage(notebook.output(1))
    panel.click("Download")
    panel.wait_for_movement()

    notebook.save()
    notebook.reload()
    panel = PanelOnPage(notebook.output(1))

    panel.wait_for_movement()
    panel.click("Cancel")
    panel.says(re.compile(rf"{re.escape(PHI)}: CANCELED"))


@pytest.mark.full
def test_a_custom_model_is_updated_in_the_form(open_notebook: OpenNotebook, emulator: EmulatorProcess) -> None:
    notebook = open_notebook([connect(emulator), "%pieces_model panel my-fine-tune"])
    notebook.run_all()
    panel = PanelOnPage(notebook.output(1))

    panel.click("Update")
    panel.output.get_by_label("description", exact=True).fill("Tuned on our own notebooks")
    panel.says(re.compile("→ Tuned on our own notebooks"))
    panel.click("Apply")
    panel.says(re.compile("updated, read back: description"))

    assert emulator.model("My Fine-Tune")["description"] == "Tuned on our own notebooks"


@pytest.mark.full
def test_a_hostile_name_is_text_and_runs_nothing(open_notebook: OpenNotebook, start_emulator: StartEmulator) -> None:
    emulator = start_emulator(rate_bytes_per_s=1e6)
    evil = "<img src=x onerror=\"alert('ran')\"><script>alert('ran')</script> $x^2$ 🚀"
    emulator.create(evil, description=evil)
    notebook = open_notebook([connect(emulator), "%pieces_model panel"])
    notebook.run_all()
    panel = PanelOnPage(notebook.output(1))

    panel.choose("<img src=x")
    panel.click("Update")
    panel.output.get_by_label("unique", exact=True).fill(evil)
    panel.says(re.compile(r"→ <img src=x"))
    panel.click("Close form")
    panel.click("Download")
    panel.says(re.compile(r"<img src=x .*: (the download has begun|COMPLETED)"))
    panel.click("Delete")
    panel.says(re.compile(r"Delete the custom model <img src=x"))

    assert notebook.dialogs == []
    assert panel.output.locator("img, script, mjx-container").count() == 0


@pytest.mark.full
def test_cancel_is_heard_while_a_cell_awaits_the_download(
    open_notebook: OpenNotebook, start_emulator: StartEmulator
) -> None:
    emulator = start_emulator(rate_bytes_per_s=5e5)
    notebook = open_notebook([client(emulator), 'download = client.download("phi-2")\ndownload', "await download"])
    notebook.run_all()
    notebook.wait_until_running(2)
    wait_for_movement(notebook.output(1))

    notebook.output(1).get_by_role("button", name="Cancel").click()
    notebook.output(2).get_by_text(re.compile("DownloadCanceled")).first.wait_for()

    assert not emulator.model(PHI)["downloading"]


@pytest.mark.full
def test_a_stopped_cell_leaves_a_bar_with_a_cancel_that_works(
    open_notebook: OpenNotebook, start_emulator: StartEmulator
) -> None:
    emulator = start_emulator(rate_bytes_per_s=5e5)
    notebook = open_notebook([connect(emulator), "%pieces_model download phi-2"])
    notebook.run_all()
    wait_for_movement(notebook.output(1))
    assert notebook.output(1).get_by_role("button", name="Cancel").count() == 0

    notebook.interrupt()
    notebook.output(1).get_by_text(re.compile("StoppedWaiting.*the download goes on")).first.wait_for()
    wait_for_movement(notebook.output(1))
    notebook.output(1).get_by_role("button", name="Cancel").click()

    until(lambda: not emulator.model(PHI)["downloading"], what="the server has canceled")
    notebook.output(1).get_by_text(re.compile("CANCELED")).first.wait_for()
