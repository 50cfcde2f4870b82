"""What tests need of a machine: where it is not there they are skipped, but in CI on Linux, where it has to be."""

from __future__ import annotations

import os
import sys
from typing import TypeVar

import pytest

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")

# What a test says that runs with another release of ipykernel only. The matrix has them all.
OTHER_KERNEL = "for another ipykernel"
NOTHING_IS_SKIPPED = os.environ.get("CI") == "true" and sys.platform == "linux"
_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)


def insisting(report: _Report) -> _Report:
    """Return the report, as of a failure if in CI something was skipped, or expected to fail."""
    if NOTHING_IS_SKIPPED and report.skipped and OTHER_KERNEL not in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"In CI this has to run: {report.longrepr}"
    return report
