"""A JupyterLab, a Chromium and an emulator to test with, each a process of its own in folders of its own.

Nothing here sleeps: what waits does so for a condition, with a deadline.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import requests

from tests import waiting
from tests.ipykernels import NUDGE_S, READS_LATE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Playwright

DEADLINE_S = 60.0
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
_LOOK_S = 0.1
_NUDGE_MS = NUDGE_S * 1000 if READS_LATE else None
_SETTINGS = {
    # The whole notebook is in the page, the cells out of sight too.
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}

# In the page that is loaded, if it is JupyterLab and no question is open there: alone, as after loading it anew.
_OPEN_HERE = """async name => {
    const app = window.jupyterapp;
    if (!app?.commands.hasCommand("docmanager:open") || document.querySelector(".jp-Dialog")) return false;
    for (const widget of [...app.shell.widgets("main")]) {
        if (widget.context) widget.context.model.dirty = false;
        widget.dispose();
    }
    await app.commands.execute("docmanager:open", {path: name, factory: "Notebook"});
    return true;
}"""

_KERNEL_IS_IDLE = """() => {
    const context = window.jupyterapp?.shell.currentWidget?.sessionContext;
    const kernel = context?.session?.kernel;
    return context?.isReady && kernel?.connectionStatus === "connected" && kernel.status === "idle";
}"""

# It is asked through a new connection if it does not hear the first, where that is ipykernel's fault.
_KERNEL_ANSWERS = """async nudgeAfter => {
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    for (;;) {
        const answer = kernel.requestKernelInfo().then(() => true);
        if (nudgeAfter === null) return answer;
        answer.catch(() => null);  // one that was asked before the new connection
        if (await Promise.race([answer, new Promise(late => setTimeout(late, nudgeAfter, false))])) return true;
        await kernel.reconnect();
    }
}"""

_KERNEL_STATE = """() => {
    const widget = window.jupyterapp?.shell.currentWidget, context = widget?.sessionContext;
    const kernel = context?.session?.kernel;
    return [widget?.title.label, context?.isReady, kernel?.connectionStatus, kernel?.status].map(String).join(" ");
}"""


def until(condition: Callable[[], Any], *, what: str, within_s: float = DEADLINE_S) -> Any:
    """Wait as `tests.waiting` does, no more often than a page can be looked at."""
    return waiting.until(condition, f"not within {within_s:g} s: {what}", within_s=within_s, every_s=_LOOK_S)


def why_no_browser() -> str:
    """Return why browser tests cannot run here; '' if they can."""
    try:
        import playwright.sync_api  # noqa: F401 - only whether it is there
    except ImportError:
        return "Playwright for Python is not installed (pip install 'pieces_nb[test]')"
    return "" if chromium() else "there is no Chromium (apt install chromium)"


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_FLAGS)


def violations(page: Page, where: str) -> list[str]:
    """Return what axe-core finds wrong inside an element: rule, element, reason."""
    from axe_playwright_python.sync_playwright import Axe

    # A part of a page: rules about whole pages are not its own.
    options: Any = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    found: dict[str, Any] = Axe().run(page, context=where, options=options).response
    return [
        f"{violation['id']}: {node['html'][:300]}: {node['failureSummary']}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


class _Process:
    """A child process whose output is kept; it is ended by its own id."""

    def __init__(self, arguments: Sequence[str], *, env: dict[str, str], log: Path) -> None:
        self._log_file: IO[bytes] = log.open("ab")
        self.log = log
        self._popen = subprocess.Popen(
            [sys.executable, *arguments], env=env, stdout=self._log_file, stderr=subprocess.STDOUT
        )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def must_run(self) -> None:
        assert self._popen.poll() is None, f"it ended by itself:\n{self.output[-2000:]}"

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._popen.poll() is None:
            self._popen.send_signal(how)
            try:
                self._popen.wait(10)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait(10)
        self._log_file.close()


class EmulatorProcess:
    """The emulator as another program, which can be killed and started again at the same port and home."""

    def __init__(self, folder: Path, *, rate_bytes_per_s: float = 8e6, flags: Sequence[str] = ()) -> None:
        self._folder = folder
        self._rate = rate_bytes_per_s
        self._flags = flags
        self._process: _Process | None = None
        self._starts = 0
        self.port = 0

    def start(self) -> Self:
        self._starts += 1
        process = _Process(
            [
                *("-m", "pieces_nb.emulator", "--port", str(self.port)),
                *("--home", str(self._folder / "emulator-home")),
                *("--rate", f"{self._rate:g}", *self._flags),
            ],
            env=dict(os.environ),
            log=self._folder / f"emulator-{self._starts}.log",
        )
        self._process = process

        def port() -> int:
            process.must_run()
            told = re.search(r"listening on http://127\.0\.0\.1:(\d+)", process.output)
            return int(told[1]) if told else 0

        self.port = until(port, what="the emulator says its address")
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End it without a word, as a crash does."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end(how)

    def model(self, name: str) -> dict[str, Any]:
        """Return the server's own word on a model whose name begins so."""
        models: list[dict[str, Any]] = requests.get(f"{self.url}/models", timeout=10).json()["iterable"]
        return next(model for model in models if model["name"].startswith(name))

    def create(self, name: str, **fields: Any) -> None:
        """Create a custom model as another program would."""
        needed = {"version": "1", "created": {"value": "2025-01-01T00:00:00.000Z"}, "cloud": False, "custom": True}
        seeded = {**needed, "type": "BALANCED", "usage": "CODE_CONVERSATION", "name": name, **fields}
        requests.post(f"{self.url}/models/create", json=seeded, timeout=10).raise_for_status()


class Lab:
    """A JupyterLab, or with `notebook7` a Notebook 7, with a token, a free port and folders of its own."""

    def __init__(self, folder: Path, *, theme: str = "JupyterLab Light", notebook7: bool = False) -> None:
        self._pages = "notebooks" if notebook7 else "lab/tree"
        self.root = folder / "notebooks"
        self.root.mkdir(parents=True)
        self._token = secrets.token_hex(16)
        self._port = _free_port()
        settings = folder / "settings"
        for name, value in {**_SETTINGS, "apputils-extension/themes": {"theme": theme}}.items():
            file = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(value))
        env = {key: value for key, value in os.environ.items() if not key.startswith(("JUPYTER", "PIECES", "PYTEST"))}
        env |= {
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(settings),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_PREFER_ENV_PATH": "1",
        }
        arguments = [
            *(
                "-m",
                "notebook" if notebook7 else "jupyterlab",
                "--no-browser",
                f"--ServerApp.port={self._port}",
                "--ServerApp.port_retries=0",
            ),
            *(f"--IdentityProvider.token={self._token}", f"--ServerApp.root_dir={self.root}", "--allow-root"),
            # So that tests can call Lab's own commands by name.
            f"--{'JupyterNotebookApp' if notebook7 else 'LabApp'}.expose_app_in_browser=True",
        ]
        self._process = _Process(arguments, env=env, log=folder / "lab.log")

    def wait_until_ready(self) -> Self:
        def answers() -> bool:
            self._process.must_run()
            try:
                return requests.get(f"{self._url}/api?token={self._token}", timeout=5).ok
            except requests.ConnectionError:
                return False

        until(answers, what="JupyterLab answers")
        return self

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def address_of(self, name: str) -> str:
        return f"{self._url}/{self._pages}/{name}?token={self._token}&reset"

    def shut_kernels_down(self) -> None:
        """End the sessions, and with them their kernels."""
        headers = {"Authorization": f"token {self._token}"}
        for session in requests.get(f"{self._url}/api/sessions", headers=headers, timeout=10).json():
            requests.delete(f"{self._url}/api/sessions/{session['id']}", headers=headers, timeout=30)

    def write(self, name: str, cells: Sequence[str]) -> None:
        empty: dict[str, Any] = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = {
            "cells": [{**empty, "id": f"cell-{number}", "source": cell} for number, cell in enumerate(cells)],
            "metadata": {"kernelspec": kernel},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (self.root / name).write_text(json.dumps(notebook))

    def close(self) -> None:
        self._process.end()


def _free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


class NotebookPage:
    """A notebook open in JupyterLab. Cells are counted from 0."""

    def __init__(self, page: Page, lab: Lab, name: str, *, deadline_s: float = DEADLINE_S) -> None:
        self.page = page
        self.page.set_default_timeout(deadline_s * 1000)
        self.name = name
        self.dialogs: list[str] = []
        self.page.on("dialog", self._on_dialog)
        self._address = lab.address_of(name)
        self._deadline_s = deadline_s
        if page.evaluate(_OPEN_HERE, name):
            self.wait_for_kernel()
        else:
            self.load()

    def _on_dialog(self, dialog: Any) -> None:
        # A page that was left says goodbye in a dialog; a script that ran says what it wants to.
        if dialog.type != "beforeunload":
            self.dialogs.append(dialog.message)
        dialog.accept()

    def leave(self) -> None:
        """Hear the page no longer: the next notebook may be opened in it."""
        self.page.remove_listener("dialog", self._on_dialog)

    def load(self) -> None:
        """Load the page, as from its address. It takes seconds of computing, most of them JupyterLab's own."""
        # Opening is not what is tested: JupyterLab gets a second chance.
        try:
            self.page.goto(self._address)
            self.wait_for_kernel(within_s=self._deadline_s / 2)
        except AssertionError:
            self.page.goto(self._address)
            self.wait_for_kernel()

    def reload(self) -> None:
        """Load the page anew; the kernel lives on."""
        self.page.reload()
        self.wait_for_kernel()

    def wait_for_kernel(self, *, within_s: float | None = None) -> None:
        """Wait until the kernel is idle and has said so itself; an indicator alone shows idle too early."""
        from playwright.sync_api import TimeoutError as PlaywrightTimeout

        timeout_ms = (within_s or self._deadline_s) * 1000
        try:
            self.page.wait_for_function(_KERNEL_IS_IDLE, timeout=timeout_ms)
            self.page.wait_for_function(_KERNEL_ANSWERS, arg=_NUDGE_MS, timeout=timeout_ms)
        except PlaywrightTimeout as exc:
            picture = Path(tempfile.gettempdir()) / f"{self.name}.png"
            self.page.screenshot(path=picture)
            raise AssertionError(f"no idle kernel: {self.page.evaluate(_KERNEL_STATE)}; see {picture}") from exc

    def command(self, name: str, **arguments: Any) -> None:
        """Run a command of JupyterLab's, not waiting for its end."""
        self.page.evaluate("([name, args]) => void jupyterapp.commands.execute(name, args)", [name, arguments])

    def run_all(self) -> None:
        self.command("notebook:run-all-cells")

    def run(self, index: int) -> None:
        """Run one cell, not waiting for its end."""
        self.cell(index).locator(".jp-InputPrompt").click()
        # A page that outputs are moving may have been clicked beside it.
        self.page.evaluate("index => { jupyterapp.shell.currentWidget.content.activeCellIndex = index; }", index)
        self.command("notebook:run-cell")

    def save(self) -> None:
        self.page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")

    def interrupt(self) -> None:
        """Press ■."""
        self.command("notebook:interrupt-kernel")

    def restart_kernel(self) -> None:
        self.page.evaluate("() => { window.restarted = jupyterapp.commands.execute('notebook:restart-kernel'); }")
        self.page.locator(".jp-Dialog .jp-mod-accept").click()
        self.page.evaluate("() => window.restarted")
        self.wait_for_kernel()

    def set_theme(self, theme: str) -> None:
        self.page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
        self.page.locator(f'body[data-jp-theme-name="{theme}"]').wait_for(state="attached")

    def cell(self, index: int) -> Locator:
        return self.page.locator(".jp-NotebookPanel:visible .jp-Notebook .jp-Cell").nth(index)

    def output(self, index: int) -> Locator:
        return self.cell(index).locator(".jp-Cell-outputArea")

    def wait_until_run(self, index: int) -> None:
        """Wait until a cell has a number: it has run."""
        self.cell(index).locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]")).wait_for()

    def wait_until_running(self, index: int) -> None:
        self.cell(index).locator(".jp-InputPrompt", has_text="[*]").wait_for()
