"""The same in Notebook 7, which has other pages and the same widgets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser.bars import (
    WHAT_STOOD_THERE,
    cancel_button,
    client,
    connect,
    is_true,
    wait_for_moving_bar,
)
from tests.browser.lab import EmulatorProcess, Lab, NotebookPage
from tests.browser.panels import PanelOnPage
from tests.ipykernels import CLICKS_ARE_HEARD

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:  # noqa: ARG001 - or skipped
    server = Lab(tmp_path_factory.mktemp("notebook7"), notebook7=True)
    try:
        yield server.wait_until_ready()
    finally:
        server.close()


@pytest.fixture
def open_in_notebook_7(server: Lab, browser: Browser) -> Iterator[Callable[[str, list[str]], NotebookPage]]:
    context = browser.new_context(viewport={"width": 1200, "height": 1000})

    def open_it(name: str, cells: list[str]) -> NotebookPage:
        server.write(name, cells)
        return NotebookPage(context.new_page(), server, name)

    yield open_it
    context.close()
    server.shut_kernels_down()


def test_a_download_and_the_panel_in_notebook_7(
    open_in_notebook_7: Callable[[str, list[str]], NotebookPage], emulator: EmulatorProcess
) -> None:
    cells = [connect(emulator), "%pieces_model download gemma", "%pieces_model panel phi-2"]
    notebook = open_in_notebook_7("seven.ipynb", cells)
    notebook.run_all()

    wait_for_moving_bar(notebook.output(1))
    notebook.output(1).get_by_text(re.compile(r"Gemma 2 2B \(emulated\): done")).wait_for()
    panel = PanelOnPage(notebook.output(2))
    panel.click("Download Phi-2")
    panel.wait_for_movement()
    panel.says(re.compile(r"Phi-2 \(emulated\): done"))


def test_clicks_and_saved_pages_in_notebook_7(
    open_in_notebook_7: Callable[[str, list[str]], NotebookPage], slow: EmulatorProcess
) -> None:
    cells = [connect(slow), "%pieces_model download phi-2", f"{client(slow)}\nclient.download('phi-2')"]
    notebook = open_in_notebook_7("bars.ipynb", cells)
    notebook.run(0)
    notebook.run(1)
    wait_for_moving_bar(notebook.output(1))
    if CLICKS_ARE_HEARD:
        cancel_button(notebook.output(1)).click()
    else:
        notebook.interrupt()
    notebook.output(1).get_by_text(re.compile("DownloadCanceled|StoppedWaiting")).first.wait_for()
    notebook.run(2)
    notebook.output(2).get_by_text(WHAT_STOOD_THERE).wait_for(state="attached")
    notebook.save()
    notebook.restart_kernel()
    is_true(notebook.output(2), slow)
    notebook.reload()
    is_true(notebook.output(2), slow)
