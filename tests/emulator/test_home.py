"""What an emulator keeps and what it cleans: kill -9, restarts, two on one folder."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from pieces_nb.emulator import Emulator, EmulatorError
from pieces_nb.emulator.content import Content
from pieces_nb.emulator.engine import LATEST
from pieces_nb.emulator.home import Files, Home
from tests.emulator.conftest import Started
from tests.emulator.support import ONE, SEEDED, SLOW, THERE, Api, part_of, process
from tests.waiting import until

LLAMA = "e3010a70-0000-4000-8000-000000000001"
PHI = "e3010a70-0000-4000-8000-000000000002"


def mine_file() -> str:
    return Files(Path()).file("mine").name


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


def test_a_delete_that_cannot_be_stored_is_refused_and_the_model_is_whole(tmp_path: Path, started: Started) -> None:
    emulator, api = started(home=tmp_path)
    api.post("/model/update", json={"id": "mine", "description": "kept"})
    api.download("mine")
    api.post("/model/mine/load")
    before = api.model("mine")
    (tmp_path / "state.json.new").mkdir()  # So that no state can be written.

    answer = api.post("/models/mine/delete")

    assert answer.status_code == 500
    assert "cannot store its state" in answer.text
    assert api.model("mine") == before
    (tmp_path / "state.json.new").rmdir()
    assert api.post("/models/create", json=SEEDED).status_code == 200  # Stores the state as it is now.
    emulator.close()
    _, again = started(home=tmp_path)
    assert again.model("mine") == before | {"loaded": False}
    assert again.post("/model/mine/load").json()["loaded"] is True


def test_a_deleted_model_whose_file_cannot_be_removed_does_not_come_back(tmp_path: Path, started: Started) -> None:
    emulator, api = started(home=tmp_path)
    api.download("mine")
    [_, file] = sorted((tmp_path / "models").glob("*.bin"), key=lambda path: path.name == mine_file())
    file.unlink()
    file.mkdir()  # It cannot be removed as a file.

    assert api.post("/models/mine/delete").status_code == 204
    assert api.get("/model/mine").status_code == 410
    emulator.close()
    file.rmdir()
    file.write_text("left")

    _, again = started(home=tmp_path)

    assert again.get("/model/mine").status_code == 410
    assert not file.exists()


def test_files_that_cannot_be_deleted_are_refused_and_the_model_stays_downloaded(
    tmp_path: Path, started: Started
) -> None:
    emulator, api = started(home=tmp_path, models=[THERE])
    api.post("/model/there/load")
    [file] = (tmp_path / "models").glob("*.bin")
    kept = file.rename(tmp_path / "kept")
    file.mkdir()  # It cannot be removed as a file.

    answer = api.post("/models/there/delete/cache", json={})

    assert answer.status_code == 500
    assert "There (emulated) cannot be deleted" in answer.text
    model = api.model("there")
    assert (model["downloaded"], model["loaded"]) == (True, True)
    file.rmdir()
    kept.rename(file)
    assert api.post("/models/there/delete/cache", json={}).status_code == 200
    emulator.close()


def test_each_temporary_home_has_an_id_of_its_own(started: Started) -> None:
    texts = {started()[1].get("/.well-known/health").text for _ in range(3)}

    assert len(texts) == 3
    assert all(text.startswith("OK:") for text in texts)


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
    Home(tmp_path).close()
    (tmp_path / "state.json").write_text(text)

    with pytest.raises(EmulatorError, match=r"state\.json"):
        Emulator(tmp_path).start()
    Home(tmp_path).close()  # The lock is free again.


def test_what_is_nonsense_within_the_state_is_passed_over(tmp_path: Path, started: Started) -> None:
    Home(tmp_path).close()
    state = {
        "instance": "not an id",
        "custom": [1, {"model": {}}, {"size": 1, "model": {"id": 7}}, {"size": 1, "model": {"id": "x", "name": "x"}}],
        "deleted": {"one": 1},
        "engine": {"version": 7},
    }
    (tmp_path / "state.json").write_text(json.dumps(state))

    _, api = started(home=tmp_path)

    assert len(api.get("/models").json()["iterable"]) == 5
    assert "not an id" not in api.get("/.well-known/health").text
    assert api.get("/ollama/status").json()["installation"]["version"] == LATEST


def everything_in(folder: Path) -> dict[str, bytes | None]:
    """Return all that is in a folder, by name; None stands for a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def unmarked(folder: Path) -> None:
    """Make a home as it was made before there was a marker, with what a torn download leaves."""
    (folder / "models").mkdir(parents=True)
    (folder / "lock").touch()
    (folder / "models" / f"{'0' * 32}.part").write_bytes(b"torn")
    instance = "7b0d5c0a-3a51-4a0b-9c8e-0d3c5b9f4a11"
    (folder / "state.json").write_text(json.dumps({"instance": instance, "custom": [], "deleted": ["one"]}))


FOREIGN: dict[str, dict[str, str]] = {
    "files of any kind": {"notes.txt": "mine"},
    "downloads of another program": {"models/film.part": "half a film"},
    "a state file of another program": {"state.json": '{"mine": true}'},
    "a marker that is not ours": {".pieces-nb-emulator": "mine"},
    "a lock of another program": {"lock": "4711", "models/": "", "state.json": "{}"},
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_home_with_foreign_files_is_refused_and_not_one_of_them_is_touched(tmp_path: Path, what: str) -> None:
    for name, text in FOREIGN[what].items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if name.endswith("/"):
            path.mkdir()
        else:
            path.write_text(text)
    before = everything_in(tmp_path)

    with pytest.raises(EmulatorError, match="is not an emulator's home and is not empty; nothing in it was touched"):
        Emulator(tmp_path).start()

    assert everything_in(tmp_path) == before


def test_foreign_files_that_come_into_a_home_later_are_left_alone(tmp_path: Path, started: Started) -> None:
    started(home=tmp_path)[0].close()
    foreign = [tmp_path / "notes.txt", tmp_path / "models" / "film.part", tmp_path / "engine" / "film.bin"]
    for path in foreign:
        path.write_text("mine")

    started(home=tmp_path)[0].close()

    assert [path.read_text() for path in foreign] == ["mine"] * 3


def test_a_home_of_a_version_without_markers_is_taken_over(tmp_path: Path, started: Started) -> None:
    unmarked(tmp_path)

    emulator, api = started(home=tmp_path)

    assert api.get("/.well-known/health").text == "OK:7b0d5c0a-3a51-4a0b-9c8e-0d3c5b9f4a11"
    assert api.get("/model/one").status_code == 410
    assert part_of(emulator) == 0
    emulator.close()
    (tmp_path / "notes.txt").touch()
    started(home=tmp_path)  # It carries the marker now.


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("notes.txt", "mine"),
        ("models/film.bin", "mine"),
        (f"models/{'0' * 32}.bin.txt", "mine"),
        ("lock", "4711"),
        ("state.json", '{"instance": "mine", "custom": [], "deleted": []}'),
        ("state.json", '{"instance": "7b0d5c0a-3a51-4a0b-9c8e-0d3c5b9f4a11", "custom": {}, "deleted": []}'),
        ("state.json", '{"instance": "7b0d5c0a-3a51-4a0b-9c8e-0d3c5b9f4a11", "custom": [], "deleted": [], "more": 1}'),
        ("state.json", "[]"),
    ],
)
def test_an_unmarked_home_with_anything_else_in_it_is_refused(tmp_path: Path, name: str, text: str) -> None:
    unmarked(tmp_path)
    (tmp_path / name).write_text(text)
    before = everything_in(tmp_path)

    with pytest.raises(EmulatorError, match="is not an emulator's home"):
        Emulator(tmp_path).start()

    assert everything_in(tmp_path) == before


def test_a_home_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()

    with pytest.raises(EmulatorError, match="cannot be used"):
        Emulator(path).start()


def test_fields_that_an_earlier_version_stored_and_no_client_reads_are_left_out(
    tmp_path: Path, started: Started
) -> None:
    Home(tmp_path).close()
    model = SEEDED | {"id": "old", "custom": True, "maxTokens": {"input": 5}, "extra": "kept"}
    text = json.dumps({"custom": [{"model": model | {"far": 0, "parameters": 0}, "size": 5}]})
    text = text.replace('"far": 0', '"far": 1e999').replace('"parameters": 0', '"parameters": Infinity')
    (tmp_path / "state.json").write_text(text)

    _, api = started(home=tmp_path, models=[])

    served = api.get("/model/old")
    assert "Infinity" not in served.text
    assert not {"maxTokens", "far", "parameters"} & served.json().keys()
    assert (served.json()["name"], served.json()["extra"]) == ("Seeded", "kept")


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


def test_a_given_home_with_the_name_of_a_temporary_one_is_not_removed_as_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    abandoned, given = Home(None), tmp_path / "pieces-nb-emulator-mine"
    abandoned.temporary = False
    abandoned.close()
    Home(given).close()
    Home(abandoned.path).close()  # Somebody keeps it now.
    old = time.time() - 3600
    for path in tmp_path.iterdir():
        os.utime(path, (old, old))

    Home(None).close()

    assert given.is_dir()
    assert abandoned.path.is_dir()


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
