"""The same in Notebook 7, which has other pages and the same widgets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser.bars import wait_for_moving_bar
from tests.browser.lab import EmulatorProcess, Lab, NotebookPage
from tests.browser.panels import PanelOnPage

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.full


def test_a_download_and_the_panel_in_notebook_7(notebook7: tuple[Browser, Lab], emulator: EmulatorProcess) -> None:
    browser, server = notebook7
    connect = f"%load_ext pieces_nb\n%pieces_model connect {emulator.url}"
    server.write("seven.ipynb", [connect, "%pieces_model download gemma", "%pieces_model panel phi-2"])
    context = browser.new_context(viewport={"width": 1200, "height": 1000})
    try:
        notebook = NotebookPage(context, server, "seven.ipynb")
        notebook.run_all()

        wait_for_moving_bar(notebook.output(1))
        notebook.output(1).get_by_text(re.compile(r"Gemma 2 2B \(emulated\): done")).wait_for()
        panel = PanelOnPage(notebook.output(2))
        panel.click("Download Phi-2")
        panel.wait_for_movement()
        panel.says(re.compile(r"Phi-2 \(emulated\): done"))
    finally:
        context.close()
