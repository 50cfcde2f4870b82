"""The built package, installed alone: what a user of pip or pipx gets."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the sdist."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder), "-t", "wheel", "-t", "sdist"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed, and nothing else of this project."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(built[0])]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def run(installed: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "pieces_nb", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_wheel_has_the_notebooks_and_no_tests(built: tuple[Path, Path]) -> None:
    names = zipfile.ZipFile(built[0]).namelist()
    assert "pieces_nb/notebooks/quickstart.ipynb" in names
    assert "pieces_nb/py.typed" in names
    assert not [name for name in names if name.startswith("tests")]


def test_the_sdist_has_what_its_tests_need(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"README.md", "notebooks/.nbval_sanitize.cfg", "tests/__init__.py", "pyproject.toml"} <= names


def test_metadata_name_what_it_is(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
        metadata = wheel.read(name).decode()
    for line in ("Framework :: Jupyter", "Framework :: IPython", "Typing :: Typed", "Requires-Python: >=3.11"):
        assert line in metadata
    assert "# pieces_nb" in metadata


def test_the_demo_runs_from_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    result = run(installed, "demo", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "every cell ran" in result.stdout
    assert "With your own Pieces OS" not in result.stdout  # nothing is done there


def test_the_command_line_runs_from_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    result = run(installed, "list", "--url", "emulator", cwd=tmp_path)
    assert "Phi-2 (emulated)" in result.stdout
