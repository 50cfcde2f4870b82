"""The official SDK's generated clients, unchanged, as an independent witness of the wire."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from pieces_nb.emulator import Faults
from tests.emulator.conftest import Started
from tests.emulator.support import SEEDED, Listener
from tests.waiting import until

Clients = tuple[Any, Any, Any]  # of the models of one, of all, and the client beneath them


@pytest.fixture(scope="module")
def sdk() -> Any:
    """What is needed of the SDK: importing it takes seconds, so that only the process that runs these tests does."""
    return importlib.import_module("tests.emulator.sdk")


@pytest.fixture
def clients(started: Started, sdk: Any) -> Iterator[Clients]:
    emulator, _ = started(models=None)
    client = sdk.ApiClient(sdk.Configuration(host=emulator.url))
    yield sdk.ModelApi(client), sdk.ModelsApi(client), client
    client.rest_client.pool_manager.clear()


def parsed(kind: Any, raw: dict[str, Any]) -> Any:
    """Parse as the SDK does; its own types admit None everywhere."""
    return kind.from_dict(raw)


LLAMA = "e3010a70-0000-4000-8000-000000000001"
CUSTOM = "e3010a70-0000-4000-8000-000000000021"


def test_every_call_is_known(clients: Clients) -> None:
    known = {
        *("model_scores_increment", "model_specific_model_download", "model_specific_model_download_cancel"),
        *("model_specific_model_download_progress", "model_specific_model_load", "model_specific_model_unload"),
        *("model_update", "models_specific_model_snapshot", "models_create_new_model", "models_delete_specific_model"),
        *("models_delete_specific_model_cache", "models_snapshot", "models_stream_identifiers", "unload_models"),
    }

    calls = {name for api in clients[:2] for name in dir(api) if name.startswith(("model", "unload"))}

    assert {name for name in calls if "_with" not in name} == known


def test_the_list_and_the_snapshots_parse_without_losing_a_field(clients: Clients, started: Started, sdk: Any) -> None:
    model_api, models_api, _ = clients

    listed = models_api.models_snapshot().iterable

    assert len(listed) == 13
    for model in listed:
        assert model == model_api.models_specific_model_snapshot(model.id)
        assert model.foundation.value != "UNKNOWN"
        assert model.provider.value != "UNKNOWN"
    _, api = started()
    raw = api.model("one")
    assert raw.keys() <= parsed(sdk.Model, raw).to_dict().keys()


def test_a_download_load_unload_and_delete_of_the_files(clients: Clients, sdk: Any) -> None:
    model_api, models_api, _ = clients

    assert model_api.model_specific_model_download(LLAMA).id == LLAMA
    until(lambda: model_api.models_specific_model_snapshot(LLAMA).downloaded)
    assert model_api.model_specific_model_load(LLAMA).loaded is True
    assert model_api.model_specific_model_unload(LLAMA).loaded is False
    assert model_api.model_specific_model_load(LLAMA).loaded is True
    assert models_api.unload_models() is None
    assert model_api.models_specific_model_snapshot(LLAMA).loaded is False
    assert models_api.models_delete_specific_model_cache(LLAMA, sdk.ModelDeleteCacheInput()).model.id == LLAMA
    assert model_api.models_specific_model_snapshot(LLAMA).downloaded is False


def test_a_cancel(started: Started, sdk: Any) -> None:
    emulator, _ = started(faults=Faults(stall_at=50))
    client = sdk.ApiClient(sdk.Configuration(host=emulator.url))
    model_api = sdk.ModelApi(client)

    assert model_api.model_specific_model_download("one").downloading is True
    assert model_api.model_specific_model_download_cancel("one").downloading is False
    client.rest_client.pool_manager.clear()


def test_create_update_score_and_delete_of_a_custom_model(clients: Clients, sdk: Any) -> None:
    model_api, models_api, _ = clients

    model = models_api.models_create_new_model(parsed(sdk.SeededModel, SEEDED))
    model.description = "Changed by the SDK"
    changed = model_api.model_update(model)

    assert (changed.id, changed.custom, changed.description) == (model.id, True, "Changed by the SDK")
    assert changed.created.value == parsed(sdk.SeededModel, SEEDED).created.value
    increment = sdk.SeededScoreIncrement(model=sdk.SeededScore(reuse=True))
    assert model_api.model_scores_increment(model.id, increment) is None
    assert model_api.models_specific_model_snapshot(model.id).score.automatic == 1
    assert models_api.models_delete_specific_model(model.id) is None
    with pytest.raises(sdk.ApiException) as caught:
        model_api.models_specific_model_snapshot(model.id)
    assert caught.value.status == 410
    assert model_api.model_update(model_api.models_specific_model_snapshot(CUSTOM)).id == CUSTOM


def test_errors_reach_the_caller_with_their_text(clients: Clients, sdk: Any) -> None:
    model_api, models_api, _ = clients

    for call in (model_api.model_specific_model_load, models_api.models_delete_specific_model):
        with pytest.raises(sdk.ApiException) as caught:
            call(LLAMA)
        assert caught.value.status == 500
        assert "Llama 3.2 1B (emulated)" in str(caught.value.body)


def test_the_websocket_calls_through_get_are_a_404(clients: Clients, sdk: Any) -> None:
    model_api, models_api, _ = clients

    for call in (lambda: model_api.model_specific_model_download_progress(LLAMA), models_api.models_stream_identifiers):
        with pytest.raises(sdk.ApiException) as caught:
            call()
        assert caught.value.status == 404
        assert "not upgraded" in str(caught.value.body)


def test_the_frames_of_both_websockets_parse(started: Started, sdk: Any) -> None:
    _, api = started()

    stream = Listener(api.url, "/models/stream/identifiers")
    with api.listening("one") as listener:
        api.start("one")
        frames = [parsed(sdk.ModelDownloadProgress, frame) for frame in listener.to_end()]
    changed = parsed(sdk.StreamedIdentifiers, stream.frame())
    stream.close()

    assert [frame.status.value for frame in (frames[0], frames[-1])] == ["INITIALIZED", "COMPLETED"]
    assert frames[-1].percentage == 100
    assert changed.iterable[0].model.id == "one"


def test_health_and_version(clients: Clients, sdk: Any) -> None:
    well_known = sdk.WellKnownApi(clients[2])

    assert well_known.get_well_known_health().startswith("OK:")
    assert well_known.get_well_known_version().endswith("-emulator")


def test_the_official_version_check_reads_the_version(clients: Clients, sdk: Any) -> None:
    version = sdk.WellKnownApi(clients[2]).get_well_known_version()

    assert sdk.VersionChecker("12.0.0", "13.0.0", version).version_check().compatible
    assert sdk.VersionChecker.compare(version, "12.2.9") == 1


def test_a_program_connects(clients: Clients, sdk: Any) -> None:
    connector: Any = sdk.ConnectorApi(clients[2])
    application = sdk.SeededTrackedApplication(
        name=sdk.ApplicationNameEnum.OPEN_SOURCE, platform=sdk.PlatformEnum.LINUX, version="5.0.1"
    )

    context = connector.connect(seeded_connector_connection=sdk.SeededConnectorConnection(application=application))

    assert context.application.name is sdk.ApplicationNameEnum.OPEN_SOURCE
    assert context.application.platform is sdk.PlatformEnum.LINUX
    assert context.application.id
    assert context.health.os.version.endswith("-emulator")
    assert f"OK:{context.os}" == sdk.WellKnownApi(clients[2]).get_well_known_health()
