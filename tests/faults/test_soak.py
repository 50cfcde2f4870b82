"""Minutes of repetition. Figures before and after are printed (`-s`) and compared."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import ipywidgets
import psutil
import pytest

from pieces_nb import ModelClient
from pieces_nb.emulator import Emulator
from tests.waiting import until

from .support import HASTY, open_files, our_threads

pytestmark = pytest.mark.soak


class Figures:
    """What must be the same before and after."""

    def __init__(self) -> None:
        gc.collect()
        process = psutil.Process()
        self.threads = process.num_threads()
        self.files = open_files()
        self.widgets = len(ipywidgets.widgets.widget._instances)
        self.rss_mb = process.memory_info().rss / 1e6

    def __str__(self) -> str:
        return f"{self.threads} threads, {self.files} files, {self.widgets} widgets, {self.rss_mb:.1f} MB"


def repeated(what: str, times: int, once: Callable[[int], None]) -> None:
    """Run `once` a tenth as often to warm up, then in full, and compare what is open before and after."""
    for number in range(times // 10):
        once(number)
    before = Figures()
    for number in range(times):
        once(number)
    until(lambda: Figures().threads <= before.threads and Figures().files <= before.files)
    after = Figures()
    print(f"\n{what}, {times} times:\n  before {before}\n  after  {after}")
    assert after.widgets <= before.widgets
    assert after.rss_mb < before.rss_mb * 1.1 + 5


@pytest.mark.timeout(1200)
def test_a_thousand_downloads_started_and_canceled_leave_nothing() -> None:
    with Emulator(rate_bytes_per_s=2e6) as emulator, ModelClient(emulator.url, timing=HASTY) as client:

        def once(_number: int) -> None:
            client.download("mistral").cancel()

        repeated("downloads started and canceled", 1000, once)
    assert our_threads() == []


@pytest.mark.timeout(1200)
def test_two_hundred_panels_opened_and_closed_leave_nothing() -> None:
    with Emulator() as emulator, ModelClient(emulator.url, timing=HASTY) as client:

        def once(_number: int) -> None:
            client.panel("phi-2").close()

        repeated("panels opened and closed", 200, once)
    assert our_threads() == []


@pytest.mark.timeout(1200)
def test_a_hundred_processes_of_the_emulator_leave_no_home(tmp_path: Path) -> None:
    def once(number: int) -> None:
        home = tmp_path / str(number % 10)
        with (
            Emulator(home=home, rate_bytes_per_s=20e6) as emulator,
            ModelClient(emulator.url, timing=HASTY) as client,
        ):
            client.download("My Fine-Tune (emulated)").wait(30)

    repeated("emulators started and closed", 100, once)
