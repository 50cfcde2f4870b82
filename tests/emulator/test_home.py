"""What an emulator keeps and what it cleans: kill -9, restarts, two on one folder."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from pieces_nb.emulator import Emulator, EmulatorError
from pieces_nb.emulator.content import Content
from pieces_nb.emulator.home import Home
from tests.emulator.conftest import Started
from tests.emulator.support import ONE, SEEDED, SLOW, Api, part_of, process, until

LLAMA = "e3010a70-0000-4000-8000-000000000001"
PHI = "e3010a70-0000-4000-8000-000000000002"


def test_a_download_torn_by_kill_9_is_simply_not_downloaded_and_a_finished_one_is(tmp_path: Path) -> None:
    with process("--home", str(tmp_path), "--rate", "inf") as (_, url):
        Api(url).download(LLAMA)
    with process("--home", str(tmp_path)) as (running, url):
        api = Api(url)
        api.start(PHI)
        until(lambda: any(part.stat().st_size for part in (tmp_path / "models").glob("*.part")))
        running.kill()
        running.wait(10)
        api.session.close()
    assert len(list((tmp_path / "models").glob("*.part"))) == 1

    with Emulator(tmp_path, rate_bytes_per_s=None) as emulator:
        api = Api(emulator.url)
        assert part_of(emulator) == 0
        assert api.model(LLAMA)["downloaded"] is True
        model = api.model(PHI)
        assert (model["downloaded"], model["downloading"]) == (False, False)
        api.download(PHI)
        assert api.post(f"/model/{LLAMA}/load").json()["loaded"] is True
        api.session.close()


def test_custom_models_their_files_and_the_id_survive_and_loading_does_not(tmp_path: Path, started: Started) -> None:
    emulator, api = started(home=tmp_path)
    health = api.get("/.well-known/health").text
    created = api.post("/models/create", json=SEEDED | {"newField": ["kept"]}).json()["id"]
    api.post("/model/update", json={"id": created, "description": "Updated \U0001f600"})
    api.post("/model/update", json={"id": "mine", "name": "Renamed"})
    api.download(created)
    api.download("mine")
    api.post(f"/model/{created}/load")
    before = api.model(created)
    emulator.close()

    _, again = started(home=tmp_path)

    assert again.get("/.well-known/health").text == health
    assert again.model(created) == before | {"loaded": False}
    mine = again.model("mine")
    assert (mine["name"], mine["downloaded"]) == ("Renamed", True)
    assert len(again.get("/models").json()["iterable"]) == 6


def test_a_deleted_custom_model_stays_deleted(tmp_path: Path, started: Started) -> None:
    emulator, api = started(home=tmp_path)
    api.post("/models/mine/delete")
    emulator.close()

    _, again = started(home=tmp_path)

    assert again.get("/model/mine").status_code == 410


def test_a_temporary_home_goes_with_close_and_a_given_one_stays(tmp_path: Path, started: Started) -> None:
    temporary, given = started()[0], started(home=tmp_path)[0]
    path = temporary.home
    assert path.is_dir()

    temporary.close()
    given.close()

    assert not path.exists()
    assert (tmp_path / "state.json").is_file()


def test_two_emulators_cannot_have_one_home(tmp_path: Path, started: Started) -> None:
    emulator, _ = started(home=tmp_path)

    with pytest.raises(EmulatorError, match="is in use by another emulator"):
        Emulator(tmp_path).start()

    emulator.close()
    started(home=tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_a_state_file_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)

    with pytest.raises(EmulatorError, match=r"state\.json"):
        Emulator(tmp_path).start()
    Home(tmp_path).close()  # The lock is free again.


def test_what_is_nonsense_within_the_state_is_passed_over(tmp_path: Path, started: Started) -> None:
    state = {"instance": 5, "custom": [1, {"model": {}}, {"size": 1, "model": {"id": 7}}], "deleted": {"one": 1}}
    (tmp_path / "state.json").write_text(json.dumps(state))

    _, api = started(home=tmp_path)

    assert len(api.get("/models").json()["iterable"]) == 5


def test_a_home_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()

    with pytest.raises(EmulatorError, match="cannot be used"):
        Emulator(path).start()


def test_files_have_names_of_ours_whatever_the_id(started: Started) -> None:
    ids = ["../../etc/passwd", "a/b", "C:\\x", "\x00", "x" * 500]
    emulator, api = started(models=[{"id": model_id, "name": "Odd", "downloaded": True} for model_id in ids])

    names = {path.name for path in (emulator.home / "models").iterdir()}

    assert len(names) == len(ids)
    assert all(len(name) == 36 and set(name[:32]) <= set("0123456789abcdef") for name in names)
    assert all(model["downloaded"] for model in api.get("/models").json()["iterable"])


def test_a_part_with_wrong_bytes_fails_its_checksum_and_is_removed(started: Started) -> None:
    emulator, api = started(models=[ONE], rate_bytes_per_s=SLOW)
    with api.listening("one") as listener:
        api.start("one")
        listener.until_status("IN-PROGRESS")
        [part] = (emulator.home / "models").glob("*.part")
        until(lambda: part.stat().st_size > 1000)
        with part.open("r+b") as file:
            file.write(b"wrong")
        assert listener.to_end()[-1]["status"] == "FAILED"

    assert list((emulator.home / "models").iterdir()) == []
    assert next(Content("one", 5).read(0, 5)) != b"wrong"


def test_temporary_homes_of_killed_processes_are_removed_and_living_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead, living = Home(None), Home(None)
    dead.temporary = False
    dead.close()
    (tmp_path / "pieces-nb-emulator-other").mkdir()
    old = time.time() - 3600
    for path in tmp_path.iterdir():
        os.utime(path, (old, old))

    Home(None).close()

    assert not dead.path.exists()
    assert living.path.exists()
    assert (tmp_path / "pieces-nb-emulator-other").exists()
    living.close()
