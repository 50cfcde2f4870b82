"""What is shipped: the licence with the package, one version, and a type for every value that a user's program gets."""

from __future__ import annotations

import doctest
import importlib
import importlib.metadata
import pkgutil
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import pieces_nb

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LICENCE = "Permission is hereby granted, free of charge"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheel and sdist."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder), "-t", "wheel", "-t", "sdist"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def test_the_wheel_holds_the_licence_and_its_metadata_name_it(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        (metadata,) = (wheel.read(name).decode() for name in wheel.namelist() if name.endswith("/METADATA"))
        assert LICENCE in wheel.read("pieces_nb/LICENSE.txt").decode()
    assert "License-Expression: MIT" in metadata
    assert "License-File: pieces_nb/LICENSE.txt" in metadata
    assert f"\nVersion: {pieces_nb.__version__}\n" in metadata


def test_the_sdist_holds_the_licence(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        (path,) = (name for name in sdist.getnames() if name.endswith("/pieces_nb/LICENSE.txt"))
        file = sdist.extractfile(path)
        assert file is not None
        assert LICENCE in file.read().decode()


def test_the_readme_names_the_licence() -> None:
    assert "`pieces_nb/LICENSE.txt`" in (ROOT / "README.md").read_text("utf-8")


def test_the_version_stands_in_one_place() -> None:
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    assert "version" not in PYPROJECT["project"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", pieces_nb.__version__)


def test_each_rule_that_is_switched_off_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8").partition("[tool.ruff.lint]")[2]
    assert 'select = ["ALL"]' in text
    rules = re.findall(r'^  "[A-Z]+[0-9]*",.*$', text, re.MULTILINE)
    assert len(rules) > 20
    assert [line for line in rules if not re.search(r"#\s*\S+", line)] == []


def _modules_with_examples() -> list[str]:
    names = [module.name for module in pkgutil.walk_packages(pieces_nb.__path__, "pieces_nb.")]
    paths = {name: Path(*name.split(".")) for name in names}
    return [
        name
        for name, path in paths.items()
        for file in (ROOT / path.with_suffix(".py"), ROOT / path / "__init__.py")
        if file.exists() and re.search(r"^\s+>>> ", file.read_text("utf-8"), re.MULTILINE)
    ]


def test_the_examples_in_docstrings_are_true() -> None:
    names = _modules_with_examples()
    assert "pieces_nb.text" in names
    for name in names:
        result = doctest.testmod(importlib.import_module(name))
        assert result.attempted > 0, name
        assert result.failed == 0, name
