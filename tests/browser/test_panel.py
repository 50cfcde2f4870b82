"""The panel in JupyterLab and Chromium, with the emulator as another program."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from pieces_nb import ModelClient
from tests.browser.conftest import OpenNotebook
from tests.browser.lab import DEADLINE_S, EmulatorProcess, NotebookPage, until, violations
from tests.browser.panels import PanelOnPage
from tests.ipykernels import CLICKS_ARE_HEARD

StartEmulator = Callable[..., EmulatorProcess]
PHI = "Phi-2 (emulated)"
TUNE = "My Fine-Tune (emulated)"
EVIL = "<img src=x onerror=\"alert('ran')\"><script>alert('ran')</script> $x^2$ 🚀 " + "n" * 300
THEMES = ("JupyterLab Light", "JupyterLab Dark")
ACTIVE_CELL = "() => jupyterapp.shell.currentWidget.content.activeCellIndex"


def connect(emulator: EmulatorProcess) -> str:
    return f"%load_ext pieces_nb\n%pieces_model connect {emulator.url}"


def open_panel(
    open_notebook: OpenNotebook, emulator: EmulatorProcess, line: str = "%pieces_model panel", **size: int
) -> tuple[NotebookPage, PanelOnPage]:
    notebook = open_notebook([connect(emulator), line], **size)
    notebook.run_all()
    return notebook, PanelOnPage(notebook.output(1))


def test_one_button_downloads_loads_and_unloads_and_keeps_the_focus(
    open_notebook: OpenNotebook, emulator: EmulatorProcess
) -> None:
    _, panel = open_panel(open_notebook, emulator)

    panel.click(f"Download {PHI}")
    panel.wait_for_movement()
    until(lambda: panel.focused() == f"Cancel {PHI}", what="the button with the focus offers to cancel")
    panel.says(re.compile(rf"{re.escape(PHI)}: done"))
    assert emulator.model(PHI)["downloaded"]
    panel.click(f"Load {PHI}")
    panel.says(re.compile(rf"{re.escape(PHI)}: loaded in"))
    assert emulator.model(PHI)["loaded"]
    panel.click(f"Unload {PHI}")
    panel.says(re.compile(rf"{re.escape(PHI)}: unloaded"))

    assert not emulator.model(PHI)["loaded"]
    until(lambda: panel.focused() == f"Load {PHI}", what="the button with the focus offers to load")


@pytest.mark.full
def test_a_click_shows_in_its_row_long_before_the_server_has_done_anything(
    open_notebook: OpenNotebook, start_emulator: StartEmulator
) -> None:
    emulator = start_emulator(rate_bytes_per_s=1e6, flags=["--start-late-s", "30", "--post-answers-at-start"])
    notebook, panel = open_panel(open_notebook, emulator)
    # Measured in the page: from the click to the first change of that row.
    measure = """row => new Promise(resolve => {
        const began = performance.now(), seen = new MutationObserver(() => resolve(performance.now() - began));
        seen.observe(row, {childList: true, subtree: true, characterData: true});
        row.querySelector("button").click();
    })"""
    names = ("Gemma", "Granite", "Mistral")
    took_ms = [notebook.page.evaluate(measure, panel.row(name).element_handle()) for name in names]

    assert max(took_ms) < 15_000  # the server neither begins nor answers before the 30 s


def keeps_the_focus(panel: PanelOnPage, clicked: str, then: str) -> None:
    """After a click the control that begins with `then` has the focus, and a moment later still."""
    panel.click(clicked)
    until(lambda: panel.focused().startswith(then), what=f"the focus on {then!r} after a click on {clicked!r}")
    panel.output.page.wait_for_timeout(300)  # whatever the click sets off must not take the focus away later
    assert panel.focused().startswith(then)


@pytest.mark.full
def test_the_focus_stays_where_it_was_after_every_kind_of_click(
    open_notebook: OpenNotebook, start_emulator: StartEmulator
) -> None:
    emulator = start_emulator(rate_bytes_per_s=4e6)
    _, panel = open_panel(open_notebook, emulator)

    keeps_the_focus(panel, "Refresh", "Refresh")
    keeps_the_focus(panel, "✓ local", "local")
    keeps_the_focus(panel, "›", "›")
    keeps_the_focus(panel, "‹", "‹")
    keeps_the_focus(panel, "local", "✓ local")
    keeps_the_focus(panel, f"⋯ Open the card of {TUNE}", f"⋯ Close the card of {TUNE}")
    keeps_the_focus(panel, f"Update… {TUNE}", f"Close form of {TUNE}")
    keeps_the_focus(panel, f"Apply the changes to {TUNE}", f"Apply the changes to {TUNE}")
    keeps_the_focus(panel, f"Close form of {TUNE}", f"Update… {TUNE}")
    keeps_the_focus(panel, f"Delete… {TUNE}", f"Delete… {TUNE}")
    keeps_the_focus(panel, f"Keep {TUNE}", f"⋯ Close the card of {TUNE}")
    panel.click(f"Delete… {TUNE}")
    keeps_the_focus(panel, f"Delete for good {TUNE}", f"⋯ Close the card of {TUNE}")
    panel.row_says("My Fine-Tune", "deleted")
    panel.click(f"Download {PHI}")
    until(lambda: panel.focused() == f"Cancel {PHI}", what="the button with the focus offers to cancel")
    panel.says(re.compile(rf"{re.escape(PHI)}: done"))
    until(lambda: panel.focused() == f"Load {PHI}", what="the button with the focus offers to load")


@pytest.mark.full
def test_the_fold_of_a_card_stays_open_and_keeps_the_focus_while_the_model_is_downloaded(
    open_notebook: OpenNotebook, emulator: EmulatorProcess
) -> None:
    _, panel = open_panel(open_notebook, emulator)
    panel.click(f"⋯ Open the card of {PHI}")
    fold = panel.root.locator("details")
    fold.locator("summary").click()

    def drawn() -> str:
        return str(fold.locator(".pnb-now-downloaded").evaluate("it => getComputedStyle(it, '::after').content"))

    assert drawn() == '"false"'
    with ModelClient(emulator.url) as client:
        client.download("phi-2").wait(DEADLINE_S)
    until(lambda: drawn() == '"true"', what="the field says that it is downloaded")
    assert fold.evaluate("it => it.open && document.activeElement === it.firstElementChild")


def tab_to(panel: PanelOnPage, words: str) -> None:
    """Press Tab until the control whose name begins so has the focus."""
    for _ in range(150):
        if panel.focused().startswith(words):
            return
        panel.output.page.keyboard.press("Tab")
    raise AssertionError(f"Tab never reaches {words!r}; the focus is on {panel.focused()!r}")


@pytest.mark.full
def test_the_whole_panel_is_used_by_keyboard_alone_and_the_notebook_stays_where_it_was(
    open_notebook: OpenNotebook, emulator: EmulatorProcess
) -> None:
    notebook, panel = open_panel(open_notebook, emulator)
    page = notebook.page
    press = page.keyboard.press
    panel.root.get_by_label("Filter").focus()
    active = page.evaluate(ACTIVE_CELL)

    page.keyboard.type("phi-2")
    panel.says("1 local model")
    tab_to(panel, f"Download {PHI}")
    press("Enter")
    panel.says(re.compile(rf"{re.escape(PHI)}: done"))
    until(lambda: panel.focused() == f"Load {PHI}", what="the button offers the next thing")
    press("Space")
    panel.says(re.compile(rf"{re.escape(PHI)}: loaded in"))
    tab_to(panel, f"⋯ Open the card of {PHI}")
    press("Enter")
    tab_to(panel, "all ")
    press("Enter")
    panel.row("Phi-2").get_by_text("schema.semantic").first.wait_for()
    tab_to(panel, f"Delete files… of {PHI}")
    press("Space")
    panel.says(re.compile("It is loaded and leaves memory"))
    tab_to(panel, f"Delete the files {PHI}")
    press("Enter")
    panel.says(re.compile("the downloaded files are deleted"))
    until(lambda: panel.focused().startswith("⋯"), what="the focus is on the row again")

    assert not emulator.model(PHI)["downloaded"]
    assert page.evaluate(ACTIVE_CELL) == active
    assert notebook.cell(0).locator(".cm-content").inner_text().startswith("%load_ext")
    assert page.locator(".jp-Notebook .jp-Cell").count() == 2


@pytest.mark.full
def test_the_form_is_filled_in_by_keyboard_alone(open_notebook: OpenNotebook, emulator: EmulatorProcess) -> None:
    notebook, panel = open_panel(open_notebook, emulator, "%pieces_model panel my-fine-tune")
    page = notebook.page
    panel.root.get_by_label("Filter").focus()

    tab_to(panel, f"Update… {TUNE}")
    page.keyboard.press("Enter")
    panel.root.get_by_label("parameters").wait_for()
    while page.evaluate("() => document.activeElement.tagName") != "TEXTAREA":
        page.keyboard.press("Tab")
    page.keyboard.press("Control+A")
    page.keyboard.type("Tuned on our own notebooks")
    tab_to(panel, "true capabilities.images")
    page.keyboard.press("Space")
    until(lambda: panel.focused() == "✓ true capabilities.images", what="the choice is made")
    tab_to(panel, f"Apply the changes to {TUNE}")
    page.keyboard.press("Enter")
    panel.says(re.compile("updated, read back"))

    assert emulator.model("My Fine-Tune")["description"] == "Tuned on our own notebooks"
    assert emulator.model("My Fine-Tune")["capabilities"]["images"] is True


@pytest.mark.full
def test_a_download_canceled_half_way_is_canceled_for_the_server_too(
    open_notebook: OpenNotebook, start_emulator: StartEmulator
) -> None:
    emulator = start_emulator(rate_bytes_per_s=1e6)
    _, panel = open_panel(open_notebook, emulator)

    panel.click(f"Download {PHI}")
    panel.wait_for_movement()
    assert emulator.model(PHI)["downloading"]
    panel.click(f"Cancel {PHI}")
    panel.says(re.compile(rf"{re.escape(PHI)}: canceled"))

    assert not emulator.model(PHI)["downloading"]
    assert not emulator.model(PHI)["downloaded"]


@pytest.mark.full
def test_a_server_killed_half_way_is_said_and_found_again(
    open_notebook: OpenNotebook, start_emulator: StartEmulator
) -> None:
    emulator = start_emulator(rate_bytes_per_s=4e6)
    _, panel = open_panel(open_notebook, emulator)

    panel.click(f"Download {PHI}")
    panel.wait_for_movement()
    emulator.kill()
    panel.says(re.compile("No answer since"))
    emulator.start()
    panel.says(re.compile("The server went away at .* and was back at"))
    panel.says(re.compile(rf"{re.escape(PHI)}: failed"))
    panel.click(f"Download {PHI}")
    panel.says(re.compile(rf"{re.escape(PHI)}: done"))


@pytest.mark.full
def test_a_download_that_outlives_its_kernel_is_found_by_the_next(
    open_notebook: OpenNotebook, start_emulator: StartEmulator
) -> None:
    emulator = start_emulator(rate_bytes_per_s=5e5)
    notebook, panel = open_panel(open_notebook, emulator)
    panel.click(f"Download {PHI}")
    panel.wait_for_movement()

    notebook.restart_kernel()
    notebook.output(1).get_by_text(re.compile("As of .*shows it live")).wait_for()
    assert not panel.root.is_visible()  # a dead panel would freeze as it stood
    notebook.run_all()
    notebook.wait_until_run(1)
    again = PanelOnPage(notebook.output(1))

    again.wait_for_movement()
    again.click(f"Cancel {PHI}")
    again.says(re.compile(rf"{re.escape(PHI)}: canceled"))


@pytest.mark.full
def test_the_panel_lives_on_when_the_page_is_loaded_anew(
    open_notebook: OpenNotebook, start_emulator: StartEmulator
) -> None:
    emulator = start_emulator(rate_bytes_per_s=5e5)
    notebook, panel = open_panel(open_notebook, emulator)
    panel.click(f"Download {PHI}")
    panel.wait_for_movement()

    notebook.save()
    notebook.reload()
    panel = PanelOnPage(notebook.output(1))

    panel.wait_for_movement()
    panel.click(f"Cancel {PHI}")
    panel.says(re.compile(rf"{re.escape(PHI)}: canceled"))


@pytest.mark.full
def test_a_click_is_heard_while_a_cell_blocks_or_when_it_ends(
    open_notebook: OpenNotebook, emulator: EmulatorProcess
) -> None:
    wait_s = 40 if CLICKS_ARE_HEARD else 8
    wait = f"""import threading
from pieces_nb.history import HISTORY
downloaded = threading.Event()
stop = HISTORY.watch(lambda operation, entry: entry and entry.outcome == "COMPLETED" and downloaded.set())
print("heard" if downloaded.wait({wait_s}) else "not yet")
stop()"""
    notebook = open_notebook([connect(emulator), "%pieces_model panel", wait])
    notebook.run(0)
    notebook.run(1)
    panel = PanelOnPage(notebook.output(1))
    notebook.run(2)
    notebook.wait_until_running(2)

    panel.click(f"Download {PHI}")
    notebook.output(2).get_by_text(re.compile("heard|not yet")).wait_for()

    assert notebook.output(2).inner_text().strip() == ("heard" if CLICKS_ARE_HEARD else "not yet")
    panel.says(re.compile(rf"{re.escape(PHI)}: done"))


@pytest.mark.full
def test_a_hostile_name_is_text_and_runs_nothing(open_notebook: OpenNotebook, start_emulator: StartEmulator) -> None:
    emulator = start_emulator(rate_bytes_per_s=1e6)
    emulator.create(EVIL, description=EVIL)
    notebook, panel = open_panel(open_notebook, emulator, width=800)
    notebook.command("application:toggle-left-area")

    panel.find("<img")
    panel.says("1 local model")
    panel.click("⋯ Open the card of <img src=x")
    panel.click("Update… <img src=x")
    panel.root.get_by_label("unique", exact=True).fill(EVIL)
    panel.root.get_by_label("parameters", exact=True).fill('</style><script>alert("ran")</script>')
    panel.says(re.compile(r"→ <img src=x"))
    panel.says("Fix the marked fields first.")
    panel.click("Delete… <img src=x")
    panel.says(re.compile(r"Delete the custom model <img src=x"))
    panel.click("Download <img src=x")
    panel.says(re.compile(r"<img src=x .*: done"))

    assert notebook.dialogs == []
    assert panel.output.locator("img, script, mjx-container").count() == 0
    row = panel.row("<img").bounding_box()
    button = panel.button("Load <img").bounding_box()
    assert row is not None
    assert button is not None
    assert row["x"] <= button["x"] <= row["x"] + row["width"] - button["width"]


def thousand(names: str = 'f"Model {n:04}"') -> str:
    return f"""from pieces_nb import ModelClient
from pieces_nb.emulator import Emulator
server = Emulator(models=[{{"name": {names}, "size": 10_000 + n}} for n in range(1000)]).start()
ModelClient(server.url).panel()"""


@pytest.mark.full
def test_a_thousand_models_are_paged_and_filtered(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook([thousand()])
    notebook.run_all()
    panel = PanelOnPage(notebook.output(0))

    panel.says(re.compile("1–10 of 1,000 local models · page 1 of 100"))
    panel.click("›")
    panel.says(re.compile("11–20 of 1,000"))
    assert panel.root.locator(".pnb-row").count() == 10
    panel.find("0999")
    panel.says("1 local model")
    panel.click("Download Model 0999")
    panel.says(re.compile("Model 0999: done"))


# Everybody ------------------------------------------------------------------------------------------------------------


def show_everything(panel: PanelOnPage) -> None:
    """Bring a running download, an outcome, a card, a form with an error and a question onto the panel."""
    panel.click("Download Granite")
    panel.row_says("Granite", re.compile("%"))
    panel.click("Download Llama 3.2 1B")
    panel.row_says("Llama 3.2 1B", re.compile("%"))
    panel.click("Cancel Llama 3.2 1B")
    panel.says(re.compile("Llama 3.2 1B .*canceled"))
    panel.click(f"⋯ Open the card of {TUNE}")
    panel.click(f"Update… {TUNE}")
    panel.root.get_by_label("parameters").fill("many")
    panel.click("Apply")
    panel.click(f"Delete… {TUNE}")
    panel.says(re.compile("for good?"))


@pytest.mark.full
@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_no_fault_of_ours_the_contrast_included(
    open_notebook: OpenNotebook, start_emulator: StartEmulator, theme: str
) -> None:
    emulator = start_emulator(rate_bytes_per_s=1e6)
    notebook, panel = open_panel(open_notebook, emulator)
    notebook.set_theme(theme)
    assert violations(panel.output.page, ".pnb-root") == []
    show_everything(panel)
    assert violations(panel.output.page, ".pnb-root") == []
    emulator.kill()
    panel.says(re.compile("No answer since"))
    assert violations(panel.output.page, ".pnb-root") == []


CROPPED = """root => [...root.querySelectorAll("button, .pnb-name, .pnb-columns span, label, summary, .pnb-cells span")]
    .filter(it => it.offsetParent && !it.closest(".pnb-sr"))
    .filter(it => it.scrollWidth > it.clientWidth + 1 && getComputedStyle(it).display !== "inline"
                  && getComputedStyle(it).textOverflow !== "ellipsis")
    .map(it => it.className + ": " + it.textContent)"""


@pytest.mark.full
@pytest.mark.parametrize("width", [800, 1600])
def test_nothing_is_cropped_and_nothing_pushes_the_page_wider(
    open_notebook: OpenNotebook, start_emulator: StartEmulator, width: int
) -> None:
    emulator = start_emulator(rate_bytes_per_s=1e6)
    _, panel = open_panel(open_notebook, emulator, width=width)
    show_everything(panel)

    assert "\n".join(panel.root.evaluate(CROPPED)) == ""
    assert panel.root.evaluate("root => root.scrollWidth <= root.clientWidth + 1")
