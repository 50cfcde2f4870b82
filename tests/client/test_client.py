"""`ModelClient` against an emulator in this process: each call does what it says, and refuses before it sends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from pieces_nb import Download, Model, ModelClient, Settings, client
from pieces_nb.emulator import Emulator, Faults, Switches
from pieces_nb.emulator import server as emulator_server
from pieces_nb.errors import (
    AmbiguousModel,
    BadArguments,
    CancelNotConfirmed,
    DownloadCanceled,
    DownloadFailed,
    ModelNotFound,
    ModelStateError,
    PiecesServerError,
    PiecesUnreachable,
    ProtocolError,
    WaitTimeout,
)
from pieces_nb.wire import endpoints
from pieces_nb.wire.connection import Connection
from pieces_nb.wire.http import Transport
from tests.conftest import GPT, MINE, MISTRAL, MODELS, PHI, PHI_3, QUICK
from tests.waiting import until_download

DEADLINE_S = 30.0
HELD = Faults(stall_at=50.0)  # a download that stays half-way until the fault is taken away


def threads_of_ours() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("pieces-nb") and not name.startswith("pieces-nb-emulator")]


# Looking


def test_all_models_come_as_models(client: ModelClient) -> None:
    models = client.models()
    assert [model.name for model in models] == [model["name"] for model in MODELS]
    assert all(isinstance(model, Model) for model in models)


@pytest.mark.parametrize("name", [PHI, "phi-2", "phi:2.7b", " Phi-2 "])
def test_a_model_is_got_by_id_name_and_unique(client: ModelClient, name: str) -> None:
    assert client.get(name).id == PHI


def test_a_model_that_was_got_before_is_asked_for_anew(client: ModelClient) -> None:
    before = client.get("phi-2")
    client.download(before).wait(DEADLINE_S)
    assert not before.downloaded
    assert client.get(before).downloaded


def test_an_id_costs_one_call(client: ModelClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "models", lambda _: pytest.fail("the list was asked for"))
    assert client.get(PHI).name == "Phi-2"


def test_a_name_that_looks_like_an_id_is_a_name() -> None:
    name = "aaaaaaaa-0000-4000-8000-000000000001"
    with Emulator(models=[{"name": name, "id": "m-1"}]) as server, ModelClient(server.url) as client:
        assert client.get(name).id == "m-1"


def test_an_id_with_dots_and_slashes_reaches_no_other_endpoint() -> None:
    models: list[dict[str, object]] = [
        {"name": "evil", "id": "../models/unload"},
        {"name": "b", "id": "b", "loaded": True},
    ]
    with Emulator(models=models) as server, ModelClient(server.url, timing=QUICK) as client:
        client.download("evil").wait(DEADLINE_S)
        assert client.get("evil").downloaded
        assert client.get("b").loaded


def test_names_that_mean_none_or_several_are_errors(client: ModelClient) -> None:
    with pytest.raises(ModelNotFound, match="Mistral 7B"):
        client.get("mistrall")
    with pytest.raises(AmbiguousModel, match="Phi-2, Phi-3 Mini"):
        client.get("phi")


def test_the_table_is_a_frame_that_names_the_server(client: ModelClient, server: Emulator) -> None:
    table = client.table()
    assert isinstance(table, pd.DataFrame)
    assert list(table["name"]) == [model["name"] for model in MODELS]
    assert f"5 models · Pieces OS emulator 12.3.0-emulator at {server.url}" in repr(table)
    assert "1 model ·" in repr(client.table([client.get("phi-2")]))
    assert "fieldOfTomorrow.kept" in client.table(wide=True).columns


def test_snapshots_stand_side_by_side(client: ModelClient) -> None:
    snapshot = client.snapshot("phi-2", MISTRAL)
    assert list(snapshot.columns) == ["Phi-2", "Mistral 7B"]
    assert list(snapshot.loc["bytes.value"]) == [65_536, 200_000]
    assert list(snapshot.loc["provider"]) == ["MICROSOFT", ""]


def test_usage_names_what_frees_each(client: ModelClient) -> None:
    client.load(MINE)
    usage = client.usage()
    assert usage[["name", "resource", "free_with"]].values.tolist() == [
        ["My Fine-Tune", "memory", "client.unload('My Fine-Tune')"],
        ["My Fine-Tune", "disk", "client.delete_cache('My Fine-Tune')"],
    ]
    assert "65.5 kB in models" in repr(usage)


# Downloads


def test_a_download_brings_the_files_and_returns_the_final_model(client: ModelClient, server: Emulator) -> None:
    def sizes() -> list[int]:
        return [path.stat().st_size for path in server.home.rglob("*") if path.is_file()]

    assert 200_000 not in sizes()
    model = client.download("mistral").wait(DEADLINE_S)
    assert model.state == "downloaded"
    assert 200_000 in sizes()


def test_a_download_returns_at_once_and_tells_how_far_it_is(client: ModelClient, server: Emulator) -> None:
    server.faults = HELD
    download = client.download("phi-2")
    assert not download.done
    until_download(download, lambda one: (one.percentage or 0) >= 50)
    assert (download.status, download.percentage, download.error) == ("IN-PROGRESS", 50.0, None)
    assert [one.model.id for one in client.downloads] == [PHI]
    server.faults = Faults()
    assert download.wait(DEADLINE_S).downloaded
    assert len(client.downloads) == 0


def test_a_second_download_of_the_same_model_is_the_same(
    client: ModelClient, server: Emulator, posts: list[str]
) -> None:
    server.faults = HELD
    first = client.download("phi-2")
    assert client.download(PHI) is first
    until_download(first, lambda one: (one.percentage or 0) >= 50)
    assert posts == [f"/model/{PHI}/download"]


def test_a_finished_download_is_a_no_op(client: ModelClient, posts: list[str]) -> None:
    download = client.download("My Fine-Tune")
    assert download.done
    assert download.wait(0).downloaded
    assert posts == []
    assert "was already there" in repr(download)


def test_a_download_of_a_cloud_model_is_refused_before_anything_is_sent(client: ModelClient, posts: list[str]) -> None:
    with pytest.raises(ModelStateError, match="GPT-4o Chat Model runs in the cloud"):
        client.download("gpt-4o")
    assert posts == []


def test_a_full_disk_is_told_in_the_servers_words(client: ModelClient, server: Emulator) -> None:
    server.faults = Faults(disk_full_at=0)
    with pytest.raises(DownloadFailed, match=r"Phi-2.*No space left on device"):
        client.download("phi-2").wait(DEADLINE_S)
    assert client.get("phi-2").state == "available"


def test_a_download_that_fails_half_way_is_a_failure(client: ModelClient, server: Emulator) -> None:
    server.faults = HELD
    download = client.download("phi-2")
    until_download(download, lambda one: (one.percentage or 0) >= 50)
    server.faults = Faults(fail_at=50)
    with pytest.raises(DownloadFailed, match="Phi-2: the download failed: the server said FAILED"):
        download.wait(DEADLINE_S)


def test_a_download_can_be_started_again_after_a_failure(client: ModelClient, server: Emulator) -> None:
    server.faults = Faults(download_error="The host is away.")
    with pytest.raises(DownloadFailed, match=r"The host is away\."):
        client.download("phi-2").wait(DEADLINE_S)
    server.faults = Faults()
    assert client.download("phi-2").wait(DEADLINE_S).downloaded


def test_what_was_downloaded_is_in_the_history(client: ModelClient, server: Emulator) -> None:
    client.download("phi-2").wait(DEADLINE_S)
    server.faults = Faults(disk_full_at=0)
    with pytest.raises(DownloadFailed):
        client.download("mistral").wait(DEADLINE_S)
    history = client.history_table()
    assert history[["verb", "model", "outcome"]].values.tolist() == [
        ["download", "Phi-2", "COMPLETED"],
        ["download", "Mistral 7B", "FAILED"],
    ]
    assert history.loc[0, "bytes"] == 65_536
    assert history.loc[0, "reconnects"] == 0
    assert "No space left" in str(history.loc[1, "error"])


def test_progress_finds_what_another_program_began(client: ModelClient, server: Emulator) -> None:
    server.faults = HELD
    with ModelClient(server.url, timing=QUICK) as other:
        theirs = other.download("phi-2")
        until_download(theirs, lambda one: (one.percentage or 0) >= 50)
        (found,) = client.progress()
        assert found.joined
        assert found.model.id == PHI
        assert client.progress("phi-2")[0] is found
        until_download(found, lambda one: one.percentage == 50)
        table = client.progress_table([found])
        assert table[["name", "status", "percentage"]].values.tolist() == [["Phi-2", "IN-PROGRESS", 50.0]]
        server.faults = Faults()
        assert found.wait(DEADLINE_S).downloaded


def test_progress_of_nothing_is_empty_and_of_an_idle_model_an_error(client: ModelClient) -> None:
    assert len(client.progress()) == 0
    assert "Nothing is downloading" in repr(client.progress_table([]))
    with pytest.raises(ModelStateError, match="Phi-2 is not downloading; it is available"):
        client.progress("phi-2")


def test_a_cancel_returns_when_it_is_confirmed(client: ModelClient, server: Emulator) -> None:
    server.faults = HELD
    download = client.download("phi-2")
    until_download(download, lambda one: (one.percentage or 0) >= 50)
    assert client.cancel("phi-2").state == "available"
    assert (download.status, download.done) == ("CANCELED", True)
    with pytest.raises(DownloadCanceled, match="Phi-2: the download was canceled"):
        download.wait(DEADLINE_S)
    assert client.history_table()["verb"].tolist() == ["download", "cancel"]


def test_a_download_begun_elsewhere_can_be_canceled(client: ModelClient, server: Emulator) -> None:
    server.faults = HELD
    with ModelClient(server.url, timing=QUICK) as other:
        until_download(other.download("phi-2"), lambda one: (one.percentage or 0) >= 50)
        assert not client.cancel("phi-2").downloading


def test_cancel_of_nothing_is_an_error_and_sends_nothing(client: ModelClient, posts: list[str]) -> None:
    with pytest.raises(ModelStateError, match="Phi-2 is not downloading; it is available"):
        client.cancel("phi-2")
    assert client.cancel_all() == []
    assert posts == []


def test_a_cancel_that_the_server_ignores_is_not_confirmed(server: Emulator) -> None:
    server.faults = replace(HELD, cancel_ignored=True)
    with ModelClient(server.url, timing=replace(QUICK, cancel_within_s=0.5)) as client:
        download = client.download("phi-2")
        until_download(download, lambda one: (one.percentage or 0) >= 50)
        with pytest.raises(CancelNotConfirmed, match=r"still says IN-PROGRESS.*may go on"):
            client.cancel("phi-2")
        assert not download.done
        with pytest.raises(CancelNotConfirmed, match="Phi-2"):
            client.cancel_all()


def test_a_cancel_does_not_wait_for_a_start_that_is_answered_only_at_the_end(server: Emulator) -> None:
    server.faults, server.switches = HELD, Switches(post_answers_after_end=True)
    with ModelClient(server.url, timing=replace(QUICK, cancel_within_s=5.0)) as client:
        until_download(client.download("phi-2"), lambda one: one.state.seen_downloading)
        assert client.cancel("phi-2").state == "available"


def test_cancel_all_names_each_that_it_canceled(client: ModelClient, server: Emulator) -> None:
    server.faults = HELD
    downloads = [client.download("phi-2"), client.download("mistral")]
    for download in downloads:
        until_download(download, lambda one: (one.percentage or 0) >= 50)
    assert {model.name for model in client.cancel_all()} == {"Phi-2", "Mistral 7B"}
    assert [download.status for download in downloads] == ["CANCELED"] * 2


def test_several_downloads_end_each_for_itself(client: ModelClient, server: Emulator) -> None:
    server.faults = {"phi:2.7b": Faults(disk_full_at=0)}
    names = ("phi-2", "mistral", "Phi-3 Mini")
    downloads = [client.download(name) for name in names]
    outcomes = []
    for download in downloads:
        try:
            outcomes.append(str(download.wait(DEADLINE_S).state))
        except DownloadFailed:
            outcomes.append("failed")
    assert outcomes == ["failed", "downloaded", "downloaded"]


# Memory


def test_a_model_is_loaded_and_unloaded(client: ModelClient) -> None:
    assert client.load("My Fine-Tune").state == "loaded"
    assert client.unload("My Fine-Tune").state == "downloaded"
    assert client.history_table()[["verb", "outcome"]].values.tolist() == [["load", "done"], ["unload", "done"]]


def test_what_is_so_already_sends_nothing(client: ModelClient, posts: list[str]) -> None:
    assert client.unload("phi-2").state == "available"
    client.load(MINE)
    assert client.load(MINE).loaded
    assert posts == [f"/model/{MINE}/load"]
    client.unload_all()
    assert client.unload_all() == []
    assert posts == [f"/model/{MINE}/load", "/models/unload"]


@pytest.mark.parametrize(
    ("model", "words"),
    [("phi-2", r"not downloaded: `client\.download\('Phi-2'\)` comes first"), ("gpt-4o", "runs in the cloud")],
)
def test_a_load_that_cannot_work_is_refused_before_anything_is_sent(
    client: ModelClient, posts: list[str], model: str, words: str
) -> None:
    with pytest.raises(ModelStateError, match=words):
        client.load(model)
    assert posts == []


def test_a_model_too_large_for_the_memory_is_refused_unless_forced(
    client: ModelClient, posts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=200_000, available=1000))
    with pytest.raises(
        ModelStateError, match=r"needs 65\.5 kB of memory, 1\.0 kB are.*`client\.usage\(\)`.*force=True"
    ):
        client.load(MINE)
    assert posts == []
    assert client.load(MINE, force=True).loaded


def test_a_load_that_the_server_refuses_says_its_words(client: ModelClient, server: Emulator) -> None:
    server.faults = Faults(load_error="The engine is missing: run `pieces install`.")
    with pytest.raises(PiecesServerError, match=r"500.*The engine is missing") as caught:
        client.load(MINE)
    assert (caught.value.status, caught.value.text) == (500, "The engine is missing: run `pieces install`.")
    assert client.history_table()["outcome"].tolist() == ["PiecesServerError"]


def test_a_load_that_takes_too_long_may_still_be_under_way(client: ModelClient, server: Emulator) -> None:
    server.faults = Faults(load_seconds=60)
    client.settings.load_timeout_s = 0.3
    with pytest.raises(WaitTimeout, match=r"not loaded within 0\.3 s.*load_timeout_s"):
        client.load(MINE)


def test_a_load_that_timed_out_but_is_done_is_done(
    client: ModelClient, server: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = endpoints.load

    def silent(transport: Transport, model_id: str, *, timeout_s: float) -> None:
        load(transport, model_id, timeout_s=DEADLINE_S)
        raise PiecesUnreachable(f"silent for {timeout_s:g} s", timed_out=True)

    monkeypatch.setattr(endpoints, "load", silent)
    assert server.running
    assert client.load(MINE).loaded


def test_a_server_that_says_yes_and_does_nothing_is_not_believed(
    client: ModelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "load", lambda *_, **__: None)
    client.settings.load_timeout_s = 0.5
    with pytest.raises(ModelStateError, match="took the call, but the model is not loaded: downloaded"):
        client.load(MINE)


def test_unload_all_returns_those_that_were_loaded(client: ModelClient) -> None:
    client.load(MINE)
    (unloaded,) = client.unload_all()
    assert (unloaded.name, unloaded.state) == ("My Fine-Tune", "downloaded")


@pytest.fixture
def impatient(server: Emulator) -> Iterator[ModelClient]:
    """A client that does not wait long for what will not come."""
    with ModelClient(server.url, timing=replace(QUICK, confirm_within_s=1.0)) as client:
        yield client


def test_a_model_that_does_not_go_from_memory_is_told(impatient: ModelClient, server: Emulator) -> None:
    client = impatient
    client.load(MINE)
    server.faults = Faults(unload_error="in use")
    with pytest.raises(PiecesServerError, match="in use"):
        client.unload(MINE)
    with pytest.raises(ModelStateError, match=r"My Fine-Tune.*not unloaded: loaded"):
        client.unload_all()


def test_a_block_has_its_model_in_memory(client: ModelClient) -> None:
    with client.loaded(MINE) as model:
        assert model.loaded
        assert client.get(MINE).loaded
    assert not client.get(MINE).loaded


def test_a_block_leaves_a_model_that_was_loaded_before(client: ModelClient) -> None:
    client.load(MINE)
    with client.loaded(MINE), client.loaded(MINE):
        pass
    assert client.get(MINE).loaded


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_unloads_on_errors_and_interrupts_too(client: ModelClient, error: type[BaseException]) -> None:
    with pytest.raises(error), client.loaded(MINE):
        raise error
    assert not client.get(MINE).loaded


def test_an_error_in_a_block_is_not_hidden_by_a_server_that_has_gone(
    client: ModelClient, server: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    def use() -> None:
        server.close()
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"), client.loaded(MINE):
        use()
    assert "may still be in memory" in caplog.text


# Ensure


def test_ensure_downloads_and_loads_and_is_then_a_no_op(client: ModelClient, posts: list[str]) -> None:
    plan = client.ensure("phi-2", load=True)
    assert plan[["step", "verdict"]].values.tolist() == [["download", "done"], ["load", "done"]]
    assert posts == [f"/model/{PHI}/download", f"/model/{PHI}/load"]
    again = client.ensure("phi-2", load=True)
    assert again["verdict"].tolist() == ["done", "done"]
    assert len(posts) == 2


def test_ensure_dry_run_only_says_what_would_be_done(client: ModelClient, posts: list[str]) -> None:
    plan = client.ensure("phi-2", load=True, dry_run=True)
    assert plan["verdict"].tolist() == ["to do", "to do"]
    assert plan["needed_gb"].tolist() == [65_536 / 1e9] * 2
    assert (plan["available_gb"] > 0).all()
    assert posts == []


def test_ensure_of_a_model_too_large_to_load_does_not_download_it_first(
    client: ModelClient, posts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = SimpleNamespace(total=1000, available=500)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    with pytest.raises(ModelStateError, match=r"this machine has 1\.0 kB in all\. `force=True`"):
        client.ensure("phi-2", load=True)
    assert posts == []
    assert client.ensure("phi-2", load=True, force=True)["verdict"].tolist() == ["done", "done"]


def test_ensure_tells_what_is_to_be_done_before_it_does_it(client: ModelClient, posts: list[str]) -> None:
    told: list[tuple[str, int]] = []
    client.ensure("phi-2", load=True, tell=lambda words: told.append((words.split(":")[0], len(posts))))
    assert told == [("download", 0), ("load", 0)]
    client.ensure("phi-2", load=True, tell=lambda words: told.append((words, 0)))
    assert len(told) == 2


def test_ensure_without_load_needs_no_memory(client: ModelClient, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(total=1000, available=500)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    assert client.ensure("phi-2")["verdict"].tolist() == ["done"]


def test_ensure_of_a_cloud_model_is_refused(client: ModelClient) -> None:
    with pytest.raises(ModelStateError, match="runs in the cloud"):
        client.ensure("gpt-4o")
    assert client.ensure("gpt-4o", dry_run=True)["verdict"].tolist() == ["impossible: it runs in the cloud"]


def test_ensure_waits_as_it_is_told(client: ModelClient) -> None:
    waited: list[str] = []

    def wait(download: Download) -> None:
        waited.append(download.wait(DEADLINE_S).name)

    client.ensure("phi-2", wait=wait)
    assert waited == ["Phi-2"]


# Custom models


def test_an_update_changes_the_fields_and_keeps_all_others(client: ModelClient) -> None:
    before = client.get(MINE)
    after = client.update(MINE, {"maxTokens.total": 4096}, description="better", provider="meta")
    assert after.description == "better"
    assert after.raw["maxTokens"] == {"total": 4096}
    assert after.provider == "META"
    untouched = before.raw.keys() - {"description", "maxTokens", "provider"}
    assert {name: after.raw[name] for name in untouched} == {name: before.raw[name] for name in untouched}
    assert after.raw["fieldOfTomorrow"] == {"kept": [1, 2]}


def test_an_update_with_none_clears_an_optional_field(client: ModelClient) -> None:
    assert client.update(MINE, description=None).description == ""


def test_an_update_of_a_model_that_is_not_custom_is_refused_before_anything_is_sent(
    client: ModelClient, posts: list[str]
) -> None:
    with pytest.raises(ModelStateError, match="Phi-2 is not a custom model"):
        client.update("phi-2", description="x")
    assert posts == []


@pytest.mark.parametrize("changes", [{"descripton": "x"}, {"maxTokens.total": "many"}, {"loaded": True}, {"name": ""}])
def test_an_update_that_cannot_be_is_refused_before_anything_is_asked(
    client: ModelClient, changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "call", lambda *_: pytest.fail("the server was asked"))
    with pytest.raises(BadArguments):
        client.update(MINE, changes)


def test_an_update_that_the_server_does_not_keep_is_told(
    impatient: ModelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "update", lambda *_: None)
    with pytest.raises(ProtocolError, match="did not keep description"):
        impatient.update(MINE, description="x")


@pytest.mark.parametrize("call", [ModelClient.update, ModelClient.delete, ModelClient.delete_cache])
def test_what_changes_or_deletes_takes_no_beginnings(client: ModelClient, call: Callable[..., object]) -> None:
    with pytest.raises(ModelNotFound, match=r"My Fine-Tune.*whole name"):
        call(client, "my fine")
    assert client.get(MINE).downloaded


def test_a_model_is_created_and_deleted(client: ModelClient) -> None:
    created = client.create("mine too", {"maxTokens.total": 5}, foundation="PHI_2")
    assert (created.name, created.custom, created.state) == ("mine too", True, "available")
    assert created.raw["foundation"] == "PHI_2"
    assert created.raw["type"] == "BALANCED"
    client.delete("mine too")
    with pytest.raises(ModelNotFound):
        client.get("mine too")


@pytest.mark.parametrize("name", ["", "  "])
def test_a_model_without_a_name_is_not_created(client: ModelClient, posts: list[str], name: str) -> None:
    with pytest.raises(BadArguments, match="name takes some text"):
        client.create(name)
    assert posts == []


def test_a_model_that_is_not_custom_is_not_deleted(client: ModelClient, posts: list[str]) -> None:
    with pytest.raises(ModelStateError, match="not a custom model: only those can be deleted"):
        client.delete("phi-2")
    assert posts == []


def test_the_files_of_a_model_are_deleted_and_the_model_stays(client: ModelClient, posts: list[str]) -> None:
    assert client.delete_cache(MINE).state == "available"
    posts.clear()
    with pytest.raises(ModelStateError, match="has no downloaded files; it is available"):
        client.delete_cache(MINE)
    assert posts == []


# Settings, and the end


def test_a_timeout_set_later_holds_for_the_next_call(client: ModelClient) -> None:
    client.models()
    client.settings.timeout_s = 3.5
    assert client.connection.transport.timeout_s == 3.5


def test_a_stall_setting_reaches_the_next_download(server: Emulator) -> None:
    with ModelClient(server.url, settings=Settings(stall_after_s=7.0)) as client:
        assert client.timing.stall_after_s == 7.0
        assert client.download(MINE).state.timing.stall_after_s in (7.0, 30.0)
        server.faults = HELD
        assert client.download("phi-2").state.timing.stall_after_s == 7.0


def test_after_close_no_thread_of_ours_is_left_and_the_download_goes_on(server: Emulator) -> None:
    server.faults = HELD
    with ModelClient(server.url, timing=QUICK) as client:
        download = client.download("phi-2")
        until_download(download, lambda one: (one.percentage or 0) >= 50)
    assert download.closed
    assert [name for name in threads_of_ours() if "download" in name] == []
    with ModelClient(server.url) as other:
        assert other.get(PHI).downloading


def test_a_client_of_the_emulator_that_was_closed_unused_starts_none() -> None:
    client = ModelClient.emulator()
    client.close()
    with pytest.raises(PiecesUnreachable, match=r"^This client is closed; "):
        client.models()


def test_a_client_says_whose_it_is_without_connecting() -> None:
    client = ModelClient("http://127.0.0.1:9")
    assert repr(client) == "ModelClient()"
    client.close()


def test_a_connected_client_shows_its_address(client: ModelClient, server: Emulator) -> None:
    client.connect()
    assert repr(client) == f"ModelClient({server.url!r})"


def test_the_address_comes_from_the_environment(server: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIECES_OS_URL", server.url)
    with ModelClient() as client:
        assert client.url == server.url


def test_a_named_address_wins_over_the_environment(server: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIECES_OS_URL", "http://127.0.0.1:9")
    with ModelClient(server.url) as client:
        assert client.get(GPT).cloud
        assert client.get(PHI_3).name == "Phi-3 Mini"


# The emulator in this process


@pytest.fixture
def _small_shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The emulator of this process, with these few models; none is left behind."""
    monkeypatch.setattr(emulator_server, "_shared", Emulator(models=MODELS).start())
    yield
    emulator_server.shared().close()


@pytest.mark.usefixtures("_small_shared")
def test_the_emulator_is_one_for_all_and_goes_with_the_last() -> None:
    first, second = ModelClient.emulator(), ModelClient("emulator")
    shared = emulator_server.shared()
    assert first.url == second.url == shared.url
    first.close()
    assert shared.running
    assert second.models()
    second.close()
    assert not shared.running


@pytest.mark.usefixtures("_small_shared")
def test_the_environment_can_name_the_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIECES_OS_URL", "emulator")
    with ModelClient() as client:
        assert client.connect().is_emulator
        assert client.server.startswith("Pieces OS emulator ")


def test_an_emulator_that_was_never_used_is_never_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_shared_emulator", lambda: pytest.fail("an emulator was started"))
    ModelClient.emulator().close()


def test_an_emulator_that_cannot_start_is_an_expected_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    from pieces_nb import emulator

    def fail() -> None:
        raise emulator.EmulatorError("The emulator cannot start: No space left on device")

    monkeypatch.setattr(emulator, "shared", fail)
    client = ModelClient.emulator()
    with pytest.raises(PiecesUnreachable, match="No space left"):
        client.models()
    client.close()


# A server that differs


@pytest.mark.parametrize(
    "switches",
    [
        Switches(close_after_terminal=True, idle="empty", percentages="int"),
        Switches(repeat_old_status=False, post_late_s=0.2, downloading_lag_s=0.2),
        Switches(idle="unknown", percentages="none", start_late_s=0.2),
        Switches(post_answers_after_end=True, reset_before_restart=True, after_cancel="reset"),
    ],
    ids=["closes", "lags", "says little", "answers late"],
)
def test_whatever_kind_of_server_it_is_a_download_a_cancel_and_another_download_come_out_right(
    client: ModelClient, server: Emulator, switches: Switches
) -> None:
    server.switches = switches
    server.faults = HELD
    download = client.download("phi-2")
    until_download(download, lambda one: one.state.seen_downloading)
    assert client.cancel("phi-2").state == "available"
    server.faults = Faults()
    assert client.download("phi-2").wait(DEADLINE_S).downloaded
    assert client.history_table()["outcome"].tolist() == ["CANCELED", "done", "COMPLETED"]
