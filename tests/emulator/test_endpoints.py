"""Every call of the Model API, as documented, on plain HTTP and WebSockets."""

from __future__ import annotations

import re

import pytest

from pieces_nb.emulator.catalogue import built_in, readable
from pieces_nb.emulator.content import Content
from tests.emulator.conftest import Started
from tests.emulator.support import ONE, SEEDED, SLOW, THERE, Listener
from tests.waiting import until

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def test_health_says_ok_and_an_id_and_version_says_that_this_is_no_pieces_os(started: Started) -> None:
    _, api = started()

    assert re.fullmatch(f"OK:{UUID}", api.get("/.well-known/health").text)
    version = api.get("/.well-known/version")
    assert re.fullmatch(r"\d+\.\d+\.\d+-emulator", version.text)
    assert version.headers["Content-Type"].startswith("text/plain")


def test_head_on_health_is_the_same_without_a_body(started: Started) -> None:
    _, api = started()

    answer = api.session.head(api.url + "/.well-known/health", timeout=10)

    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["Content-Length"]) == len(api.get("/.well-known/health").content)


APPLICATION = {"name": "OPEN_SOURCE", "platform": "LINUX", "version": "5.0.1"}


def test_a_program_that_connects_gets_an_id_that_stays_its_own(started: Started) -> None:
    _, api = started()

    first, again, other = (
        api.post("/connect", json={"application": APPLICATION | change}).json()
        for change in ({}, {"version": "5.0.2"}, {"name": "VS_CODE"})
    )

    assert re.fullmatch(UUID, first["application"]["id"])
    assert first["application"].items() >= APPLICATION.items()
    assert again["application"]["id"] == first["application"]["id"]
    assert other["application"]["id"] != first["application"]["id"]
    assert f"OK:{first['os']}" == api.get("/.well-known/health").text


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"application": 5},
        {"application": {"name": "VS_CODE", "platform": "LINUX"}},
        {"application": APPLICATION | {"version": 5}},
        {"application": APPLICATION | {"name": "\ud800"}},
        {"application": APPLICATION | {"automaticUnload": "no"}},
    ],
)
def test_a_program_that_does_not_say_who_it_is_is_refused(started: Started, body: object) -> None:
    _, api = started()

    answer = api.post("/connect", json=body)

    assert answer.status_code == 422
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_models_lists_what_the_snapshots_say(started: Started) -> None:
    _, api = started()

    models = api.get("/models").json()["iterable"]

    assert [model["id"] for model in models] == ["one", "two", "cloud", "mine", "there"]
    assert all(model == api.model(model["id"]) for model in models)
    assert api.get("/models").headers["Content-Type"].startswith("application/json")


def test_a_model_has_all_required_fields_and_true_sizes(started: Started) -> None:
    _, api = started()

    model = api.model("one")

    assert {"id", "version", "created", "name", "cloud", "type", "usage", "schema"} <= set(model)
    assert model["bytes"]["value"] == model["ram"]["value"] == 65_536
    assert model["bytes"]["readable"] == "65.5 KB"
    assert (model["downloaded"], model["downloading"], model["loaded"]) == (False, False, False)
    assert "bytes" not in api.model("cloud")


def test_sizes_read_as_on_the_wire() -> None:
    assert [readable(size) for size in (0, 999, 33_600, 25_952_256, 4_000_000_000)] == [
        "0 B",
        "999 B",
        "33.6 KB",
        "26.0 MB",
        "4.0 GB",
    ]


def test_the_built_in_catalogue_is_the_same_every_time_and_says_that_it_is_emulated() -> None:
    first, second = built_in(), built_in()

    assert [seed.wire for seed in first] == [seed.wire for seed in second]
    assert all(seed.wire["name"].endswith(" (emulated)") for seed in first)
    uniques = [seed.wire["unique"] for seed in first]
    assert {"phi:2.7b-chat-v2-q4_K_S", "llama3.2:1b-instruct-q4_K_S", "gpt-4o", "gpt-4o-mini"} < set(uniques)
    assert sum(seed.wire["cloud"] for seed in first) == 4
    assert sum(seed.wire["custom"] for seed in first) == 1
    assert len({seed.wire["id"] for seed in first}) == 13


def test_the_stored_checksums_are_those_of_the_generated_files() -> None:
    local = [seed for seed in built_in() if not seed.wire["cloud"]]

    assert len(local) == 9
    assert all(seed.sha256 == seed.content.sha256() for seed in local)


def test_download_answers_at_once_and_the_frames_go_from_initialized_to_completed(started: Started) -> None:
    _, api = started(rate_bytes_per_s=SLOW)

    with api.listening("one") as listener:
        assert api.start("one")["downloading"] is True
        frames = listener.to_end()

    words = [frame["status"] for frame in frames]
    assert words[0] == "INITIALIZED"
    assert words[-1] == "COMPLETED"
    assert set(words[1:-1]) == {"IN-PROGRESS"}
    percentages = [frame["percentage"] for frame in frames]
    assert percentages == sorted(percentages)
    assert percentages[0] == 0
    assert percentages[-1] == 100
    assert 5 <= len(frames) <= 10  # Half a second, ten frames a second.
    model = api.model("one")
    assert (model["downloaded"], model["downloading"]) == (True, False)


def test_the_downloaded_file_is_byte_by_byte_the_generated_one(started: Started) -> None:
    emulator, api = started(models=[ONE | {"size": 1_234_567}])

    api.download("one")

    [path] = (emulator.home / "models").iterdir()
    assert path.read_bytes() == b"".join(Content("one", 1_234_567).read(0, 1_234_567))
    assert path.stat().st_size == api.model("one")["bytes"]["value"]


def test_content_reads_the_same_from_any_start() -> None:
    content = Content("any", 200_000)
    whole = b"".join(content.read(0, 200_000))

    assert b"".join(content.read(70_000, 150_001)) == whole[70_000:150_001]
    assert len(whole) == 200_000
    assert list(content.read(200_000, 300_000)) == []


def test_download_of_a_downloaded_model_answers_it_and_starts_nothing(started: Started) -> None:
    _, api = started()

    with api.listening("there") as listener:
        model = api.start("there")
        assert (model["downloaded"], model["downloading"]) == (True, False)
        assert listener.hears_nothing()


def test_an_empty_file_downloads_loads_and_unloads(started: Started) -> None:
    _, api = started(models=[ONE | {"size": 0}])

    api.download("one")

    assert api.post("/model/one/load").json()["loaded"] is True
    assert api.post("/model/one/unload").json()["loaded"] is False


def test_cancel_stops_the_download_removes_its_bytes_and_answers_the_model(started: Started) -> None:
    emulator, api = started(models=[ONE], rate_bytes_per_s=SLOW / 10)

    with api.listening("one") as listener:
        api.start("one")
        listener.until_status("IN-PROGRESS")
        model = api.post("/model/one/download/cancel").json()
        frames = listener.to_end()

    assert (model["downloading"], model["downloaded"]) == (False, False)
    assert frames[-1]["status"] == "CANCELED"
    assert list((emulator.home / "models").iterdir()) == []


def test_a_canceled_download_can_start_again_from_nothing(started: Started) -> None:
    emulator, api = started(rate_bytes_per_s=SLOW / 10)
    api.start("one")
    api.post("/model/one/download/cancel")

    emulator.rate_bytes_per_s = None
    api.download("one")

    assert api.model("one")["downloaded"] is True


def test_load_unload_and_unload_all(started: Started) -> None:
    _, api = started(models=[ONE | {"downloaded": True}, ONE | {"id": "other", "loaded": True}])

    assert api.post("/model/one/load").json()["loaded"] is True
    assert api.post("/model/one/load").json()["loaded"] is True
    assert api.model("other")["loaded"] is True
    assert api.post("/model/one/unload").json()["loaded"] is False
    assert api.post("/model/one/unload").json()["loaded"] is False
    answer = api.post("/models/unload")
    assert (answer.status_code, answer.text) == (204, "")
    assert api.model("other")["loaded"] is False


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/model/cloud/download", "runs in the cloud"),
        ("/model/cloud/load", "runs in the cloud"),
        ("/model/cloud/unload", "runs in the cloud"),
        ("/models/cloud/delete/cache", "runs in the cloud"),
        ("/model/one/load", "is not downloaded"),
        ("/model/one/download/cancel", "is not being downloaded"),
        ("/models/one/delete", "is not a custom model"),
        ("/models/one/delete/cache", "is not downloaded"),
    ],
)
def test_what_cannot_be_done_is_a_500_with_a_sentence_of_text(started: Started, path: str, words: str) -> None:
    _, api = started()

    answer = api.post(path, json={})

    assert answer.status_code == 500
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert words in answer.text
    assert "(emulated)" in answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/model/none"),
        ("POST", "/model/none/download"),
        ("POST", "/model/none/download/cancel"),
        ("POST", "/model/none/load"),
        ("POST", "/model/none/unload"),
        ("POST", "/model/none/scores/increment"),
        ("POST", "/models/none/delete"),
        ("POST", "/models/none/delete/cache"),
        ("GET", "/model/none/download/progress"),
    ],
)
def test_an_unknown_model_is_a_410_with_text(started: Started, method: str, path: str) -> None:
    _, api = started()

    answer = api.session.request(method, api.url + path, json={}, timeout=10)

    assert (answer.status_code, answer.text) == (410, "Model not found: none")
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_update_stores_fields_known_and_unknown_and_removes_nulls(started: Started) -> None:
    _, api = started()
    before = api.model("mine")

    change = {"id": "mine", "description": "Mine", "newField": {"a": [1, None]}, "maxTokens": {"total": 5}}
    after = api.post("/model/update", json=change).json()

    assert after == before | change == api.model("mine")
    assert "description" not in api.post("/model/update", json={"id": "mine", "description": None}).json()


def test_update_of_the_whole_model_leaves_what_is_not_the_callers_to_set(started: Started) -> None:
    _, api = started()
    before = api.model("mine")

    wrong: dict[str, object] = {"downloaded": True, "downloading": True, "loaded": True, "custom": False}
    wrong |= {"created": {"value": "1999-01-01T00:00:00Z"}, "bytes": {"value": 1, "readable": "1 B"}}
    after = api.post("/model/update", json=before | wrong | {"name": "New"}).json()

    assert after == before | {"name": "New"}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"id": "one", "name": "x"}, 500, "is not a custom model"),
        ({"id": "none"}, 410, "Model not found"),
        ({"name": "x"}, 422, "needs the id"),
        ({"id": "mine", "name": 5}, 422, "The field name"),
        ({"id": "mine", "name": None}, 422, "The field name"),
        ({"id": "mine", "parameters": "7"}, 422, "The field parameters"),
        ({"id": "mine", "ram": {"value": "1"}}, 422, "The field ram"),
        ([], 422, "JSON object"),
    ],
)
def test_update_refuses_with_the_reason(started: Started, body: object, status: int, words: str) -> None:
    _, api = started()
    before = api.get("/models").json()

    answer = api.post("/model/update", json=body)

    assert answer.status_code == status
    assert words in answer.text
    assert api.get("/models").json() == before


def test_create_makes_a_custom_model_that_downloads_loads_updates_and_deletes(started: Started) -> None:
    _, api = started()

    model = api.post("/models/create", json=SEEDED | {"custom": False, "downloaded": True, "extra": 1}).json()

    assert re.fullmatch(UUID, model["id"])
    assert (model["custom"], model["downloaded"], model["extra"]) == (True, False, 1)
    assert model["created"]["value"] == SEEDED["created"]["value"]
    api.download(model["id"])
    assert api.post(f"/model/{model['id']}/load").json()["loaded"] is True
    assert api.post("/model/update", json={"id": model["id"], "name": "Renamed"}).json()["loaded"] is True
    answer = api.post(f"/models/{model['id']}/delete")
    assert (answer.status_code, answer.text) == (204, "")
    assert api.get(f"/model/{model['id']}").status_code == 410


@pytest.mark.parametrize("missing", ["version", "created", "name", "cloud", "type", "usage"])
def test_create_refuses_a_model_without_a_required_field(started: Started, missing: str) -> None:
    _, api = started()

    answer = api.post("/models/create", json={name: value for name, value in SEEDED.items() if name != missing})

    assert answer.status_code == 422
    assert f"The field {missing} is missing" in answer.text


def test_delete_ends_a_running_download_and_leaves_no_file(started: Started) -> None:
    emulator, api = started(rate_bytes_per_s=SLOW / 10)

    with api.listening("mine") as listener:
        api.start("mine")
        assert api.post("/models/mine/delete").status_code == 204
        assert listener.close_code() == 1000

    assert list((emulator.home / "models").glob("*.part")) == []
    assert "mine" not in api.get("/models").text


def test_delete_cache_unloads_removes_the_file_and_names_the_model(started: Started) -> None:
    emulator, api = started(models=[THERE])
    api.post("/model/there/load")

    answer = api.post("/models/there/delete/cache", json={})

    assert answer.json() == {"model": {"id": "there"}}
    model = api.model("there")
    assert (model["downloaded"], model["loaded"]) == (False, False)
    assert list((emulator.home / "models").iterdir()) == []


def test_delete_cache_of_a_running_download_is_refused(started: Started) -> None:
    _, api = started(rate_bytes_per_s=SLOW / 10)
    api.start("one")

    answer = api.post("/models/one/delete/cache", json={})

    assert answer.status_code == 500
    assert "is being downloaded" in answer.text
    assert api.model("one")["downloading"] is True


def test_a_score_is_counted(started: Started) -> None:
    _, api = started()

    assert api.post("/model/one/scores/increment", json={}).status_code == 204
    assert api.post("/model/one/scores/increment").status_code == 204
    assert api.model("one")["score"]["automatic"] == 2


def test_the_identifiers_stream_tells_of_every_change(started: Started) -> None:
    _, api = started()
    stream = Listener(api.url, "/models/stream/identifiers")

    api.post("/model/update", json={"id": "mine", "name": "New"})
    api.post("/models/mine/delete")
    frames = [stream.frame(), stream.frame()]

    assert frames[0] == {"iterable": [{"model": {"id": "mine"}}]}
    assert frames[1] == {"iterable": [{"model": {"id": "mine"}, "deleted": True}]}
    api.download("one")
    assert stream.frame()["iterable"][0]["model"]["id"] == "one"
    stream.close()


@pytest.mark.parametrize("path", ["/model/one/download/progress", "/models/stream/identifiers"])
def test_a_websocket_path_without_an_upgrade_is_404_with_text(started: Started, path: str) -> None:
    _, api = started()

    answer = api.get(path)

    assert answer.status_code == 404
    assert "not upgraded" in answer.text
    assert api.post(path).status_code == 405


def test_several_sockets_hear_the_same_and_what_they_say_is_ignored(started: Started) -> None:
    _, api = started(rate_bytes_per_s=SLOW)

    with api.listening("one") as first, api.listening("one") as second:
        first.socket.send('{"status": "COMPLETED"}')
        first.socket.send_binary(b"\xff" * 1000)
        api.start("one")
        assert first.to_end() == second.to_end()


def test_a_websocket_that_sends_too_much_is_closed_and_nothing_else_happens(started: Started) -> None:
    _, api = started()

    with api.listening("one") as listener:
        listener.socket.send("x" * 100_000)
        assert listener.close_code() in (1009, None)

    assert api.get("/models").status_code == 200


def test_a_catalogue_of_a_thousand_hostile_names_is_served_as_given(started: Started) -> None:
    names = ["<script>alert(1)</script>", "$x$", "\U0001f600" * 300, "\ud800", "", "../..", "a\nb", "50 %"]
    models = [{"name": names[index % len(names)], "foundation": 7} for index in range(1000)]

    _, api = started(models=models)

    served = api.get("/models").json()["iterable"]
    assert [model["name"] for model in served] == [model["name"] for model in models]
    assert {model["foundation"] for model in served} == {7}
    assert len({model["id"] for model in served}) == 1000


@pytest.mark.parametrize("models", [[{"id": "a"}, {"id": "a"}], [{"id": 5}], [{"size": -1}], [{"size": "1"}]])
def test_a_catalogue_that_cannot_be_served_is_a_value_error(models: list[dict[str, object]], started: Started) -> None:
    with pytest.raises(ValueError, match="catalogue"):
        started(models=models)


def test_a_file_that_was_taken_away_is_said_and_can_be_downloaded_again(started: Started) -> None:
    emulator, api = started()
    for path in (emulator.home / "models").iterdir():
        path.unlink()

    answer = api.post("/model/there/load")

    assert answer.status_code == 500
    assert "download it again" in answer.text
    api.download("there")
    until(lambda: api.post("/model/there/load").json()["loaded"])
