"""Loading takes memory and unloading gives it back, measured from outside the process."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from pieces_nb.emulator import Emulator
from pieces_nb.emulator.memory import read_into_memory
from tests.emulator.support import Api, process
from tests.waiting import until

MB = 1_000_000
MISTRAL = "e3010a70-0000-4000-8000-000000000004"


def test_load_takes_the_files_size_of_memory_and_unload_gives_it_back() -> None:
    with process("--rate", "inf") as (running, url):
        api = Api(url)
        api.download(MISTRAL)
        memory = psutil.Process(running.pid)
        size = api.model(MISTRAL)["ram"]["value"]

        before = memory.memory_info().rss
        api.post(f"/model/{MISTRAL}/load")
        loaded = memory.memory_info().rss
        api.post(f"/model/{MISTRAL}/unload")
        unloaded = memory.memory_info().rss
        api.session.close()

    print(f"RSS before {before / MB:.1f}, loaded {loaded / MB:.1f}, unloaded {unloaded / MB:.1f} of {size / MB:.1f} MB")
    assert size > 60 * MB
    assert 0.95 * size < loaded - before < 1.2 * size
    assert unloaded - before < 0.1 * size


def test_loaded_memory_holds_the_files_bytes_and_close_frees_it() -> None:
    own = psutil.Process()
    with Emulator(models=[{"id": "big", "name": "Big", "size": 50 * MB, "downloaded": True}]) as emulator:
        api = Api(emulator.url)
        before = own.memory_info().rss
        api.post("/model/big/load")
        until(lambda: own.memory_info().rss - before > 45 * MB)
        api.session.close()

    assert own.memory_info().rss - before < 10 * MB


def test_a_file_that_has_become_shorter_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model"
    file.write_bytes(b"x" * 10)
    longer = os.stat_result((*file.stat()[:6], 20, *file.stat()[7:10]))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", lambda _path, **_options: longer)
        with pytest.raises(OSError, match="shorter than it was"):
            read_into_memory(file)
