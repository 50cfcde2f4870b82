"""Minutes of repetition. Figures before and after are printed (`-s`) and compared."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ipywidgets
import psutil
import pytest

from pieces_nb import ModelClient
from pieces_nb.emulator import Emulator
from tests.needs import forks
from tests.waiting import until

from .support import HASTY, EmulatorProcess, open_files, our_threads

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


# Forks


def _child(client: ModelClient, names: dict[str, str]) -> None:
    """What a child does with the client of its parent, and with one of its own; it ends with 0 if all is right."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(60)  # one that waits for a lock for ever ends by it
    code = 1
    try:
        asked = {model_id: client.get(model_id).name for model_id in names}
        with ModelClient(client.url, timing=HASTY) as own:
            joined = own.progress()
            is_right = asked == names and len(client.downloads) == 0 and len(joined) > 0
        client.close()
        code = 0 if is_right else 2
    finally:
        os._exit(code)


@contextmanager
def _answers_for_ever(client: ModelClient, names: dict[str, str], wrong: list[str]) -> Iterator[None]:
    """Have threads ask for models, and note each answer that is about another one, or an error."""
    over = threading.Event()

    def ask(model_id: str) -> None:
        while not over.is_set():
            try:
                if (name := client.get(model_id).name) != names[model_id]:
                    wrong.append(name)
            except Exception as exc:  # noqa: BLE001 - whatever it is, the test tells it
                wrong.append(repr(exc))

    threads = [threading.Thread(target=ask, args=(model_id,)) for model_id in names]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@forks
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
@pytest.mark.timeout(1200)
def test_two_hundred_forks_amid_downloads_and_answers_mix_up_nothing(tmp_path: Path) -> None:
    wrong: list[str] = []
    with EmulatorProcess(tmp_path, rate=2e5) as emulator, ModelClient(emulator.url, timing=HASTY) as client:
        some = [model for model in client.models() if not model.cloud and not model.downloaded][:3]
        names = {model.id: model.name for model in some}
        downloads = client.download_all(some)
        heard = [0] * len(downloads)
        for number, download in enumerate(downloads):
            download.subscribe(lambda _one, number=number: heard.__setitem__(number, heard[number] + 1))  # type: ignore[misc]  # bound

        def once(_number: int) -> None:
            if (child := os.fork()) == 0:
                _child(client, names)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert code == 0, f"the child ended with {code}"

        with _answers_for_ever(client, names, wrong):
            repeated("forks amid downloads and answers", 200, once)
        assert wrong == []
        assert [download.done for download in downloads] == [False] * len(downloads)
        before = list(heard)
        until(lambda: all(now > then for now, then in zip(heard, before, strict=True)))
        client.cancel_all()
    assert our_threads() == []
