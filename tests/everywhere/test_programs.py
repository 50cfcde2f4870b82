"""The notebooks in the programs that people run notebooks with, and where there is no home to write to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.full

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))


def program(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def outputs(path: Path) -> str:
    """Everything that a notebook's outputs say, as text."""
    cells = nbformat.read(path, as_version=4).cells  # type: ignore[no-untyped-call]
    found = [output for cell in cells for output in cell.get("outputs", ())]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in found)


def test_jupyter_execute_runs_the_quickstart(tmp_path: Path) -> None:
    copy = Path(shutil.copy(NOTEBOOKS / "quickstart.ipynb", tmp_path))
    program("jupyter", "execute", "--inplace", copy.name, cwd=tmp_path)
    assert "Phi-2 (emulated): done" in outputs(copy)


def test_papermill_runs_the_quickstart(tmp_path: Path) -> None:
    source = str(NOTEBOOKS / "quickstart.ipynb")
    program("papermill", "--no-progress-bar", source, "out.ipynb", cwd=tmp_path)
    assert "Phi-2 (emulated): done" in outputs(tmp_path / "out.ipynb")


def test_a_kernel_without_a_home_runs_the_quickstart(tmp_path: Path) -> None:
    copy = Path(shutil.copy(NOTEBOOKS / "quickstart.ipynb", tmp_path))
    elsewhere = {
        name: str(tmp_path / name) for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR")
    }
    no_home = str(tmp_path / "missing" / "home")
    program(
        *("jupyter", "execute", "--inplace", copy.name),
        cwd=tmp_path,
        HOME=no_home,
        IPYTHONDIR=str(tmp_path / "ipython"),
        **elsewhere,
    )
    assert "Phi-2 (emulated): done" in outputs(copy)
    assert not Path(no_home).exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_page_made_without_a_kernel_still_says_what_happened(name: str, tmp_path: Path) -> None:
    program("nbconvert", "--to", "html", "--output-dir", str(tmp_path), str(NOTEBOOKS / name), cwd=tmp_path)
    page = (tmp_path / name).with_suffix(".html").read_text("utf-8")
    said = unescape(re.sub(r"<[^>]+>", " ", page.split("<body", 1)[1]))
    assert "application/vnd.jupyter.widget-view+json" not in page
    assert {
        "quickstart.ipynb": "Phi-2 (emulated): done · 26.0 MB",
        "workflows.ipynb": "('Llama 3.2 1B (emulated)', 'COMPLETED')",
        "custom_models.ipynb": "Deleted Lab Notes.",
        "control_panel.ipynb": "Phi-2 (emulated)",
        "when_something_is_wrong.ipynb": "40 % · 5.0 MB of 12.4 MB · stalled since",
    }[name] in said
