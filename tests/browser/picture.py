"""`python -m tests.browser.picture`: makes the pictures that the README and the notebooks show.

`notebooks/panel.png` is the panel with a loaded model, two downloads under way and a card, `panel-dark.png` the same in
the dark, `notebooks/download.png` a list of models and a cell that waits for a download. They are photographs of
JupyterLab, not drawings.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.browser.bars import wait_for_bar
from tests.browser.lab import EmulatorProcess, Lab, NotebookPage, launch, until, why_no_browser
from tests.browser.panels import PanelOnPage

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
_SIZE = {"width": 1240, "height": 900}


def _open(browser: Browser, lab: Lab, name: str, cells: list[str]) -> NotebookPage:
    context = browser.new_context(viewport=_SIZE)  # type: ignore[arg-type]  # a TypedDict of the library's own
    lab.write(name, cells)
    notebook = NotebookPage(context.new_page(), lab, name)
    notebook.command("application:toggle-left-area")
    return notebook


def panel(browser: Browser, lab: Lab, emulator: EmulatorProcess) -> None:
    connect = f"%load_ext pieces_nb\n%pieces_model connect {emulator.url}"
    notebook = _open(browser, lab, "panel.ipynb", [connect, "%pieces_model panel"])
    notebook.run_all()
    opened = PanelOnPage(notebook.output(1))
    opened.click("Download Llama 3.2 1B")
    opened.says(re.compile(r"Llama 3\.2 1B \(emulated\): done"))
    opened.click("Load Llama 3.2 1B")
    opened.says(re.compile(r"loaded in"))
    for name in ("Mistral 7B", "Granite Code 8B"):
        opened.click(f"Download {name}")
        opened.row_says(name, re.compile("%"))
    opened.click("⋯ Open the card of My Fine-Tune")
    until(lambda: _percentages(opened) >= 25, what="the bars stand well inside")
    notebook.cell(1).screenshot(path=NOTEBOOKS / "panel.png")
    notebook.set_theme("JupyterLab Dark")
    notebook.cell(1).screenshot(path=NOTEBOOKS / "panel-dark.png")


def _percentages(opened: PanelOnPage) -> float:
    bars = opened.output.locator("progress[value]").evaluate_all("bars => bars.map(bar => bar.value)")
    return float(min(bars, default=0)) if len(bars) == 2 else 0.0


def download(browser: Browser, lab: Lab, emulator: EmulatorProcess, *, dark: bool = False) -> None:
    connect = f"%load_ext pieces_nb\n%pieces_model connect {emulator.url}"
    # Both pictures show a download from its beginning.
    name = "mistral phi-2" if dark else "gemma llama3.2"
    cells = [connect, "%pieces_model list --local", f"%pieces_model download {name}"]
    notebook = _open(browser, lab, "download-dark.ipynb" if dark else "download.ipynb", cells)
    notebook.set_theme("JupyterLab Dark" if dark else "JupyterLab Light")
    notebook.run_all()
    wait_for_bar(notebook.output(2), beyond=40)
    first, last = notebook.cell(1).bounding_box(), notebook.cell(2).bounding_box()
    assert first is not None
    assert last is not None
    height = last["y"] + last["height"] - first["y"]
    clip = {"x": first["x"], "y": first["y"], "width": first["width"], "height": height}
    path = NOTEBOOKS / ("download-dark.png" if dark else "download.png")
    notebook.page.screenshot(path=path, clip=clip)  # type: ignore[arg-type]  # a TypedDict


def main() -> None:
    reason = why_no_browser()
    if reason:
        raise SystemExit(f"No pictures: {reason}.")
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder) / "lab")
        emulator = EmulatorProcess(Path(folder), rate_bytes_per_s=5e6)
        try:
            emulator.start()
            lab.wait_until_ready()
            with sync_playwright() as playwright:
                browser = launch(playwright)
                panel(browser, lab, emulator)
                download(browser, lab, emulator)
                download(browser, lab, emulator, dark=True)
                browser.close()
        finally:
            lab.close()
            emulator.close()


if __name__ == "__main__":
    main()
