"""The package as pip installs it: compiled. In a checkout it may not be, and then every import compiles it anew."""

from __future__ import annotations

import compileall
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pieces_nb


@contextmanager
def installed() -> Iterator[dict[str, str]]:
    """Copy and compile the package; give the environment of processes that are to import the copy."""
    with tempfile.TemporaryDirectory(prefix="pieces-nb-benchmark-") as folder:
        there = Path(folder, "pieces_nb")
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(pieces_nb.__file__).parent, there, ignore=ignored)
        compileall.compile_dir(there, quiet=2)
        yield os.environ | {"PYTHONPATH": folder}
