"""The engine under the local models: its status, its install and update, and what goes without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket
from pieces_os_client.api.ollama_api import OllamaApi
from pieces_os_client.api_client import ApiClient
from pieces_os_client.configuration import Configuration
from pieces_os_client.exceptions import ApiException
from pieces_os_client.models.ollama_deployment import OllamaDeployment
from pieces_os_client.models.ollama_status import OllamaStatus

from pieces_nb.emulator import ENGINE, Emulator, Faults, Switches
from pieces_nb.emulator.engine import ENGINE_BYTES, LATEST, OUTDATED
from tests.emulator.conftest import Started
from tests.emulator.support import Api, Listener, process
from tests.waiting import until

MISSING = Switches(engine="missing")
STATUS = "/ollama/status"
# An install that takes a second or more.
SLOW = 4_000_000.0


def status(api: Api) -> dict[str, Any]:
    answer = api.get(STATUS)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def install(api: Api, kind: str = "install", version: str = LATEST) -> dict[str, Any]:
    answer = api.post(f"/ollama/{kind}", json={"version": version})
    assert answer.status_code == 200, answer.text
    deployment: dict[str, Any] = answer.json()
    return deployment


def word(api: Api, deployment: dict[str, Any], kind: str = "install") -> str:
    """Return the status of an install or update."""
    return str(api.get(f"/ollama/{kind}/{deployment['id']}").json()["status"])


def engine_files(home: Path) -> list[int]:
    return [path.stat().st_size for path in (home / "engine").iterdir()]


@pytest.fixture
def stream(started: Started) -> Iterator[tuple[Emulator, Api, Listener]]:
    """An emulator without an engine, and a listener to its status that has heard the first."""
    emulator, api = started(switches=MISSING)
    listener = Listener(api.url, "/ollama/status/stream")
    assert listener.frame() == status(api)
    yield emulator, api, listener
    listener.close()


def until_installing(listener: Listener, *words: str) -> list[dict[str, Any]]:
    """Return the frames up to one whose install has a wanted word."""
    frames = [listener.frame()]
    while frames[-1].get("installing", {}).get("status") not in words:
        frames.append(listener.frame())
    return frames


# The status


@pytest.mark.parametrize(
    ("engine", "installed", "required"),
    [
        ("ready", LATEST, None),
        ("missing", None, None),
        ("outdated", OUTDATED, LATEST),
        ("user-managed", OUTDATED, LATEST),
    ],
)
def test_the_status_says_what_is_there_and_what_is_needed(
    started: Started, engine: Any, installed: str | None, required: str | None
) -> None:
    _, api = started(switches=Switches(engine=engine))

    found = status(api)

    assert found.get("installation", {}).get("version") == installed
    assert found.get("updateRequired", {}).get("version") == required
    managed = [found.get(name, {}).get("userManaged") for name in ("installation", "updateRequired")]
    assert managed == ([True, True] if engine == "user-managed" else [None, None])
    assert found["recommendation"]["inference"] is True
    assert not {"installing", "updating"} & found.keys()


def test_a_server_without_an_engines_calls_answers_404_and_its_models_work(started: Started) -> None:
    _, api = started(switches=Switches(engine="none"))

    for answer in (api.get(STATUS), api.post("/ollama/install", json={"version": LATEST}), api.post(STATUS)):
        assert (answer.status_code, answer.text) == (404, "There is nothing at this path.")
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        Listener(api.url, "/ollama/status/stream")
    assert caught.value.status_code == 404
    api.download("one")
    assert api.post("/model/one/load").json()["loaded"] is True


@pytest.mark.parametrize("engine", ["ready", "outdated", "user-managed"])
def test_local_models_work_with_any_engine(started: Started, engine: Any) -> None:
    _, api = started(switches=Switches(engine=engine))

    api.download("one")

    assert api.post("/model/one/load").json()["loaded"] is True


def test_without_the_engine_local_models_neither_download_nor_load_and_the_server_says_why(started: Started) -> None:
    emulator, api = started(switches=MISSING)

    download, load = api.post("/model/one/download"), api.post("/model/there/load")

    assert (download.status_code, load.status_code) == (500, 500)
    need = "Ollama is not installed, and local models need it. Install it"
    assert download.text == f"{need} to download One (emulated)."
    assert load.text == f"{need} to load There (emulated)."
    assert download.headers["Content-Type"].startswith("text/plain")
    assert api.model("one")["downloading"] is False
    assert list((emulator.home / "models").glob("*.part")) == []


# Installing


def test_an_install_moves_real_bytes_tells_every_step_and_makes_the_models_work(
    stream: tuple[Emulator, Api, Listener],
) -> None:
    emulator, api, listener = stream
    emulator.rate_bytes_per_s = ENGINE_BYTES / 0.5

    deployment = install(api)
    frames = until_installing(listener, "COMPLETED")

    assert (deployment["version"], deployment["status"], deployment["percentage"]) == (LATEST, "INITIALIZED", 0)
    steps = [frame["installing"] for frame in frames]
    assert {step["id"] for step in steps} == {deployment["id"]}
    assert steps[0]["status"] == "INITIALIZED"
    assert {step["status"] for step in steps[1:-1]} == {"IN-PROGRESS"}
    assert [step["percentage"] for step in steps] == sorted(step["percentage"] for step in steps)
    assert len(steps) >= 5  # Half a second, ten frames a second.
    assert frames[-1]["installation"]["version"] == LATEST
    assert all("installation" not in frame for frame in frames[:-1])
    assert status(api)["installation"] == frames[-1]["installation"]
    assert "installing" not in status(api)
    assert word(api, deployment) == "COMPLETED"
    assert engine_files(emulator.home) == [ENGINE_BYTES]
    api.download("one")
    assert api.post("/model/one/load").json()["loaded"] is True


def test_the_status_call_tells_how_far_an_install_is(started: Started) -> None:
    emulator, api = started(switches=MISSING, faults=Faults(stall_at=50))

    deployment = install(api)

    until(lambda: status(api).get("installing", {}).get("percentage") == 50)
    assert status(api)["installing"] == api.get(f"/ollama/install/{deployment['id']}").json()
    assert engine_files(emulator.home) == [ENGINE_BYTES // 2]
    emulator.faults = Faults()
    until(lambda: "installation" in status(api))


@pytest.mark.parametrize("body", [None, b'{"version": "v0.12.6"}'])
def test_an_install_without_a_version_is_of_the_latest(started: Started, body: bytes | None) -> None:
    _, api = started(switches=MISSING)

    answer = api.post("/ollama/install", data=body)

    assert (answer.status_code, answer.json()["version"]) == (200, "0.12.6")


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"{", 400), (b"[]", 422), (b"{}", 422), (b'{"version": 1}', 422), (b'{"version": "new"}', 422), (b"5", 422)],
)
def test_an_install_of_nonsense_is_refused_with_words(started: Started, body: bytes, code: int) -> None:
    _, api = started(switches=MISSING)

    answer = api.post("/ollama/install", data=body)

    assert answer.status_code == code
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "installing" not in status(api)


def test_an_install_can_be_refused_with_given_words(started: Started) -> None:
    emulator, api = started(switches=MISSING, faults=Faults(install_error="No right to install programs."))

    answer = api.post("/ollama/install", json={"version": LATEST})

    assert (answer.status_code, answer.text) == (500, "No right to install programs.")
    emulator.faults = {ENGINE: Faults()}
    install(api)


def test_an_install_that_fails_says_so_and_leaves_nothing(stream: tuple[Emulator, Api, Listener]) -> None:
    emulator, api, listener = stream
    emulator.switches = Switches(engine="missing", failed_frame_says_why=True)
    emulator.faults = {ENGINE: Faults(fail_at=30, fail_text="The mirror is away.")}

    deployment = install(api)
    last = until_installing(listener, "FAILED")[-1]

    assert last["installing"]["message"] == "The mirror is away."
    assert "installation" not in last
    assert status(api).keys().isdisjoint({"installing", "installation"})
    assert word(api, deployment) == "FAILED"
    assert engine_files(emulator.home) == []
    assert api.post("/model/one/download").status_code == 500


def test_an_install_that_cannot_be_stored_fails(stream: tuple[Emulator, Api, Listener]) -> None:
    emulator, api, listener = stream
    (emulator.home / "state.json.new").mkdir()  # So that no state can be written.

    deployment = install(api)
    until_installing(listener, "FAILED")

    assert word(api, deployment) == "FAILED"
    assert "installation" not in status(api)


@pytest.mark.parametrize("after", ["canceled", "reset", "nothing"])
def test_an_install_can_be_canceled_and_begun_again(stream: tuple[Emulator, Api, Listener], after: Any) -> None:
    emulator, api, listener = stream
    emulator.switches = Switches(engine="missing", after_cancel=after)
    emulator.faults = Faults(stall_at=50)
    deployment = install(api)
    until(lambda: listener.frame()["installing"]["percentage"] == 50)

    answer = api.post(f"/ollama/install/{deployment['id']}/cancel")

    assert (answer.status_code, answer.json()["id"]) == (200, deployment["id"])
    heard = listener.frame()
    assert heard.get("installing", {}).get("status") == (None if after == "nothing" else after.upper())
    assert "installing" not in status(api)
    assert engine_files(emulator.home) == []
    again = api.post(f"/ollama/install/{deployment['id']}/cancel")
    assert (again.status_code, again.text) == (500, f"The installation of Ollama {LATEST} is not under way.")
    emulator.faults = Faults()
    assert install(api)["id"] != deployment["id"]
    until(lambda: "installation" in status(api))


def test_an_ignored_cancel_answers_and_the_install_goes_on(started: Started) -> None:
    emulator, api = started(switches=MISSING, faults={ENGINE: Faults(stall_at=50, cancel_ignored=True)})
    deployment = install(api)

    answer = api.post(f"/ollama/install/{deployment['id']}/cancel")

    assert answer.status_code == 200
    assert status(api)["installing"]["id"] == deployment["id"]
    emulator.faults = Faults()
    until(lambda: "installation" in status(api))


def test_a_second_install_joins_the_first_and_another_version_is_refused(started: Started) -> None:
    _, api = started(switches=MISSING, faults=Faults(stall_at=50))

    first = install(api)

    assert install(api)["id"] == first["id"]
    for path, version in (("/ollama/install", "0.1.0"), ("/ollama/update", LATEST)):
        answer = api.post(path, json={"version": version})
        assert answer.status_code == 500
        assert answer.text == f"The installation of Ollama {LATEST} is under way; wait or cancel it."


def test_a_broken_stream_can_be_opened_again_and_says_where_it_is(stream: tuple[Emulator, Api, Listener]) -> None:
    emulator, api, listener = stream
    emulator.rate_bytes_per_s = SLOW
    emulator.faults = {ENGINE: Faults(drop_at=10)}

    install(api)

    assert listener.close_code() is None
    again = Listener(api.url, "/ollama/status/stream")
    assert again.frame()["installing"]["percentage"] >= 10
    again.close()


def test_the_stream_can_be_refused(started: Started) -> None:
    _, api = started(faults=Faults(socket_refused="404"))

    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        Listener(api.url, "/ollama/status/stream")

    assert caught.value.status_code == 404


# Updating


def test_an_update_brings_what_is_required(started: Started) -> None:
    emulator, api = started(switches=Switches(engine="outdated"))

    deployment = install(api, "update", status(api)["updateRequired"]["version"])
    until(lambda: "updating" not in status(api))

    found = status(api)
    assert found["installation"]["version"] == LATEST
    assert "updateRequired" not in found
    assert word(api, deployment, "update") == "COMPLETED"
    assert api.get(f"/ollama/install/{deployment['id']}").json()["version"] == LATEST
    assert install(api, "update")["status"] == "COMPLETED"
    assert engine_files(emulator.home) == [ENGINE_BYTES]


def test_an_update_that_fails_leaves_the_engine_as_it_was(started: Started) -> None:
    _, api = started(switches=Switches(engine="outdated"), faults={ENGINE: Faults(fail_at=50)})
    before = status(api)

    deployment = install(api, "update")

    until(lambda: word(api, deployment, "update") == "FAILED")
    assert status(api) == before


def test_after_an_update_only_the_new_file_is_kept(started: Started) -> None:
    emulator, api = started(switches=MISSING)
    install(api, version="0.9.0")
    until(lambda: "installation" in status(api))
    assert status(api)["updateRequired"]["version"] == LATEST

    install(api, "update")

    until(lambda: status(api)["installation"]["version"] == LATEST)
    until(lambda: engine_files(emulator.home) == [ENGINE_BYTES])


@pytest.mark.parametrize(
    ("engine", "kind", "version", "words"),
    [
        ("missing", "update", LATEST, "Ollama is not installed, so there is nothing to update. Install it first."),
        ("ready", "install", "0.13.0", f"Ollama {LATEST} is installed already; an update brings another version."),
        ("ready", "update", "0.9.0", f"Ollama {LATEST} is newer than 0.9.0; an update does not go back."),
        ("user-managed", "update", LATEST, f"Ollama {OUTDATED} was installed by the user, who has to update it;"),
        ("user-managed", "install", LATEST, f"Ollama {OUTDATED} was installed by the user, who has to update it;"),
    ],
)
def test_what_cannot_be_installed_or_updated_is_a_500_with_words(
    started: Started, engine: Any, kind: str, version: str, words: str
) -> None:
    _, api = started(switches=Switches(engine=engine))

    answer = api.post(f"/ollama/{kind}", json={"version": version})

    assert answer.status_code == 500
    assert answer.text.startswith(words)


@pytest.mark.parametrize("path", ["/ollama/install/none", "/ollama/update/none", "/ollama/install/none/cancel"])
def test_an_unknown_install_is_a_500_with_words(started: Started, path: str) -> None:
    _, api = started()

    answer = api.post(path) if path.endswith("cancel") else api.get(path)

    noun = "update" if "update" in path else "installation"
    assert (answer.status_code, answer.text) == (500, f"Ollama has no {noun} with the id none.")


def test_a_full_disk_refuses_an_install(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pieces_nb.emulator.home.Home.free_bytes", lambda _: 1000)
    _, api = started(switches=MISSING)

    answer = api.post("/ollama/install", json={"version": LATEST})

    assert (answer.status_code, "No space left on device" in answer.text) == (500, True)


# What lasts


def test_what_was_installed_survives_in_a_home_and_what_was_torn_does_not(tmp_path: Path) -> None:
    with process("--home", str(tmp_path), "--engine", "missing", "--stall-at", "50") as (running, url):
        api = Api(url)
        install(api)
        until(lambda: status(api)["installing"]["percentage"] == 50)
        running.kill()
        running.wait(10)
        api.session.close()
    assert engine_files(tmp_path) == [ENGINE_BYTES // 2]

    with Emulator(tmp_path, switches=MISSING, rate_bytes_per_s=None) as emulator:
        api = Api(emulator.url)
        assert engine_files(tmp_path) == []
        assert "installation" not in status(api)
        deployment = install(api)
        until(lambda: "installation" in status(api))
        installed = status(api)
        api.session.close()

    with Emulator(tmp_path, switches=MISSING) as emulator:
        api = Api(emulator.url)
        assert status(api) == installed
        assert word(api, deployment) == "COMPLETED"
        api.session.close()


def test_an_install_whose_file_is_gone_is_none(tmp_path: Path) -> None:
    with Emulator(tmp_path, switches=MISSING, rate_bytes_per_s=None) as emulator:
        api = Api(emulator.url)
        install(api)
        until(lambda: "installation" in status(api))
        api.session.close()
    [file] = (tmp_path / "engine").iterdir()
    file.write_bytes(b"short")

    with Emulator(tmp_path, switches=MISSING) as emulator:
        api = Api(emulator.url)
        assert "installation" not in status(api)
        api.session.close()

    assert engine_files(tmp_path) == []


def test_closing_in_the_middle_of_an_install_is_quiet_and_leaves_no_part(tmp_path: Path, started: Started) -> None:
    emulator, api = started(home=tmp_path, switches=MISSING, faults=Faults(stall_at=50))
    install(api)
    until(lambda: status(api)["installing"]["percentage"] == 50)

    emulator.close()

    assert engine_files(tmp_path) == []


# The official SDK


def test_the_official_sdk_installs_watches_and_cancels(started: Started) -> None:
    emulator, api = started(switches=MISSING, faults=Faults(stall_at=50))
    client = ApiClient(Configuration(host=emulator.url))
    ollama: Any = OllamaApi(client)

    first = ollama.ollama_install()
    until(lambda: ollama.ollama_status_check().installing.percentage == 50)
    assert ollama.ollama_install_snapshot(first.id).status.value == "IN-PROGRESS"
    assert ollama.ollama_install_cancel(first.id).status.value == "CANCELED"
    emulator.faults = Faults()
    second = ollama.ollama_install()
    until(lambda: ollama.ollama_status_check().installation is not None)

    assert ollama.ollama_install_snapshot(second.id).status.value == "COMPLETED"
    assert ollama.ollama_status_check().installation.updated.value.tzinfo is not None
    raw = status(api)
    assert raw == OllamaStatus.from_dict(raw).to_dict() | {"installation": raw["installation"]}  # type: ignore[union-attr]
    client.rest_client.pool_manager.clear()


def test_the_official_sdk_updates_and_hears_why_not(started: Started) -> None:
    emulator, _ = started(switches=Switches(engine="outdated"), faults=Faults(install_error="Not today."))
    client = ApiClient(Configuration(host=emulator.url))
    ollama: Any = OllamaApi(client)
    required = ollama.ollama_status_check().update_required

    with pytest.raises(ApiException) as caught:
        ollama.ollama_update(OllamaDeployment(version=required.version))
    assert (caught.value.status, caught.value.body) == (500, "Not today.")
    emulator.faults = Faults(stall_at=10)
    update = ollama.ollama_update(OllamaDeployment(version=required.version))
    assert ollama.ollama_update_snapshot(update.id).version == LATEST
    assert ollama.ollama_update_cancel(update.id).id == update.id
    client.rest_client.pool_manager.clear()


def test_the_frames_of_the_stream_are_read_by_the_official_sdk(stream: tuple[Emulator, Api, Listener]) -> None:
    _, api, listener = stream
    install(api)

    frames = [OllamaStatus.from_dict(frame) for frame in until_installing(listener, "COMPLETED")]

    assert frames[-1] is not None
    assert frames[-1].installation is not None
    assert frames[-1].installation.version == LATEST
