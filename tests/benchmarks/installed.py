"""The package as pip installs it: compiled. In a checkout it may not be, and then every import compiles it anew."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pieces_nb


@contextmanager
def installed() -> Iterator[dict[str, str]]:
    """Copy the package; give the environment of processes that are to import the copy.

    What they import, ours and others' alike, the first of them compiles for the others.
    """
    with tempfile.TemporaryDirectory(prefix="pieces-nb-benchmark-") as folder:
        there = Path(folder, "package")
        shutil.copytree(
            Path(pieces_nb.__file__).parent, there / "pieces_nb", ignore=shutil.ignore_patterns("__pycache__")
        )
        env = os.environ | {"PYTHONPATH": str(there), "PYTHONPYCACHEPREFIX": str(Path(folder, "compiled"))}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        yield env
