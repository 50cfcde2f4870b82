"""Programs of others, unmodified, from their registries: they show that the emulator is what they expect of Pieces OS.

Installed into a folder of their own when a test asks for them; where that, or a namespace, cannot be had, it is said.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_INSTALLING_S = 300
# Their modules need what only Linux has, at their import already.
collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]


def _install(*command: str | Path, into: Path) -> None:
    run = subprocess.run(
        [*map(str, command)], cwd=into, capture_output=True, text=True, timeout=_INSTALLING_S, check=False
    )
    if run.returncode:
        pytest.skip(f"{command[0]} could not install: {run.stderr[-300:]}")


@pytest.fixture(scope="session")
def pieces_cli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pieces`, the official command line, in an environment of its own."""
    folder = tmp_path_factory.mktemp("cli")
    _install(sys.executable, "-m", "venv", ".venv", into=folder)
    _install(folder / ".venv" / "bin" / "pip", "install", "--quiet", "pieces-cli>=1.20.1", into=folder)
    return folder / ".venv" / "bin" / "pieces"


@pytest.fixture(scope="session")
def typescript_sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the official TypeScript SDK."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("there is no node and npm here")
    folder = tmp_path_factory.mktemp("npm")
    _install("npm", "install", "--no-audit", "--no-fund", "@pieces.app/pieces-os-client@4.1.0", into=folder)
    return folder / "node_modules" / "@pieces.app" / "pieces-os-client"


@pytest.fixture(scope="session")
def namespace() -> tuple[str, ...]:
    """How to run a program on a network of its own, with Pieces OS's port free and nothing outside to reach."""
    words = ("unshare", "--user", "--map-root-user", "--net")
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a network namespace cannot be made here")
    return words
