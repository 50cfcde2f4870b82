"""`pieces-nb demo`: the quickstart notebook, run for real in a Jupyter kernel, told in the terminal as it happens.

Works on the emulator only. Shows what the kernel sends, and nothing that it does not: the moving line under a download
is what the widget of a notebook tells programs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from pieces_nb.errors import PiecesError
from pieces_nb.text import printable

_KEPT_LINES = 14
_EVERY_S = 1.0  # a line of progress this often where no line can be written over


def notebooks_folder() -> Path:
    """Return where the example notebooks are: in the installed package, or beside it in a checkout."""
    here = Path(__file__).parent
    for folder in (here / "notebooks", here.parent / "notebooks"):
        if (folder / "quickstart.ipynb").exists():
            return folder
    raise PiecesError(f"The example notebooks are missing beside {here}; installing pieces_nb again brings them back.")


def open_lab() -> int:
    """Open a copy of the notebooks in JupyterLab; the copy is gone when JupyterLab ends."""
    if find_spec("jupyterlab") is None:
        raise _missing("jupyterlab")
    with tempfile.TemporaryDirectory(prefix="pieces-nb-demo-") as folder:
        copy = Path(folder, "notebooks")
        shutil.copytree(notebooks_folder(), copy, ignore=shutil.ignore_patterns(".*"))
        print(f"Opening a copy of the notebooks in JupyterLab ({copy}); Ctrl-C here ends it.", flush=True)
        command = [sys.executable, "-m", "jupyterlab", str(copy / "quickstart.ipynb")]
        try:
            return subprocess.run(command, check=False).returncode
        except KeyboardInterrupt:
            return 0


def run_notebook(out: TextIO) -> int:
    """Run quickstart.ipynb in a kernel and tell it to `out`; 0 if every cell ran well."""
    try:
        import nbformat
        from nbclient.exceptions import CellExecutionError

        client_class = _shown_client_class()
    except ImportError as exc:
        raise _missing(exc.name) from exc
    notebook: Any = nbformat.read(notebooks_folder() / "quickstart.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    began = time.monotonic()
    print("quickstart.ipynb, in a Jupyter kernel, on the emulator of Pieces OS:\n", file=out, flush=True)
    with _kernel_log() as log, tempfile.TemporaryDirectory(prefix="pieces-nb-demo-") as folder:
        client = client_class(
            notebook, out=out, timeout=60, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        try:
            client.execute(stderr=log)
        except CellExecutionError as exc:
            print(f"\nThe cell above failed: {exc.ename}: {exc.evalue}", file=out, flush=True)
            return 1
    print(
        f"\nThat was quickstart.ipynb: every cell ran, in {time.monotonic() - began:.0f} s.\n"
        "Open it in JupyterLab with `pieces-nb demo --lab` (in this folder: .venv/bin/pieces-nb demo --lab).",
        file=out,
        flush=True,
    )
    return 0


def _missing(package: str | None) -> PiecesError:
    return PiecesError(f"The demo needs {package}: pip install 'pieces_nb[demo]' brings it.")


@contextmanager
def _kernel_log() -> Iterator[Any]:
    """A file for what the kernel process itself says; shown if things break."""
    with tempfile.TemporaryFile("w+") as log:
        try:
            yield log
        except Exception:
            log.seek(0)
            sys.stderr.write(log.read()[-4000:])
            raise


def _shown_client_class() -> Any:
    from nbclient import NotebookClient

    class ShownClient(NotebookClient):
        """Runs a notebook and passes on what the kernel sends, when it sends it."""

        def __init__(self, notebook: Any, *, out: TextIO, **options: Any) -> None:
            super().__init__(notebook, **options)
            self._story = _Story(out)

        async def async_execute_cell(self, cell: Any, cell_index: int, *options: Any, **more: Any) -> Any:
            if cell.cell_type == "markdown":
                self._story.heading(cell.source)
            elif cell.source.strip():
                self._story.source(cell.source)
            return await super().async_execute_cell(cell, cell_index, *options, **more)

        def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
            self._story.message(msg["msg_type"], msg["content"])
            return super().process_message(msg, cell, cell_index)

    return ShownClient


class _Story:
    """What the terminal shows of a kernel's messages."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._rewrites = out.isatty()
        self._moving = False
        self._moved_at = 0.0
        self._headings: list[str] = []  # said when something comes below them

    def heading(self, markdown: str) -> None:
        for line in markdown.splitlines():
            if line.startswith("#"):
                self._headings.append(f"\n── {line.lstrip('# ')} " + "─" * max(0, 70 - len(line)))

    def source(self, source: str) -> None:
        first, *rest = source.splitlines()
        self._say("\n".join([*self._headings, f"\n>>> {first}", *(f"... {line}" for line in rest)]))
        self._headings.clear()

    def message(self, kind: str, content: dict[str, Any]) -> None:
        match kind:
            case "stream":
                self._say(content["text"].rstrip("\n"))
            case "execute_result" | "display_data":
                self._say(_shortened(content["data"].get("text/plain", "")))
            case "comm_open" | "comm_msg":
                state = content.get("data", {}).get("state", {})
                if told := state.get("placeholder"):
                    self._progress(str(told))
            case _:
                pass

    def _progress(self, told: str) -> None:
        """Show the row of a running download, which its widget tells programs as JSON, on one line that moves."""
        try:
            row = json.loads(told)
            name, words = printable(row["name"]), printable(row["words"])
            filled = round((row["percentage"] or 0) / 5)
        except (ValueError, TypeError, KeyError):
            return  # the placeholder of another widget
        line = f"{name}  {'█' * filled}{'░' * (20 - filled)}  {words}"
        if self._rewrites:
            self._out.write(f"\r\x1b[2K{line}"[: shutil.get_terminal_size().columns + 4])
            self._moving = True
        elif time.monotonic() - self._moved_at >= _EVERY_S:
            self._moved_at = time.monotonic()
            self._out.write(f"{line}\n")
        self._out.flush()

    def _say(self, text: str) -> None:
        if not text:
            return
        if self._moving:
            self._out.write("\r\x1b[2K")
            self._moving = False
        print(text, file=self._out, flush=True)


def _shortened(text: str) -> str:
    """Return a text that fits a terminal: its first lines, each cut at the width."""
    width = shutil.get_terminal_size().columns
    lines = [line.rstrip() for line in text.splitlines()]
    shown = [line if len(line) <= width else line[: width - 1] + "…" for line in lines[:_KEPT_LINES]]
    return "\n".join([*shown, *([f"… {len(lines) - _KEPT_LINES} more lines"] if len(lines) > _KEPT_LINES else [])])
