"""What tests need of a machine: where it is not there they are skipped, but in CI on Linux, where it has to be."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import pytest

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")


def cannot(reason: str) -> NoReturn:
    """Skip the test; fail it where nothing may be missing."""
    if os.environ.get("CI") == "true" and sys.platform == "linux":
        pytest.fail(f"In CI this has to run, but {reason}.")
    pytest.skip(reason)
