"""Each verb on an emulator: what it does to the server, the value of the cell, and what it prints."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pieces_nb import Download, ModelClient
from pieces_nb.client import Settings
from pieces_nb.download.download import Downloads
from pieces_nb.emulator import Emulator, Faults
from pieces_nb.emulator import server as emulator_server
from pieces_nb.errors import (
    BadArguments,
    ConfirmationRequired,
    DownloadFailed,
    ModelNotFound,
    ModelStateError,
    PiecesError,
    PiecesUnreachable,
    WaitTimeout,
)
from pieces_nb.rows import LIST_COLUMNS
from pieces_nb.text import Front
from pieces_nb.verbs import tokens
from pieces_nb.verbs.actions import downloading, grammar_for
from pieces_nb.verbs.session import Session
from pieces_nb.views.frames import Table
from pieces_nb.views.magic import NotebookFront
from pieces_nb.wire.connection import Connection
from pieces_nb.wire.discovery import Found
from pieces_nb.wire.http import Answer, Transport
from tests.conftest import MINE, MODELS, PHI

DEADLINE_S = 30.0
HELD = Faults(stall_at=50.0)
NOBODY = "http://127.0.0.1:9"


class Magic:
    """The verbs as the magic calls them."""

    def __init__(self, url: str, *, confirm: Callable[[str], bool] | None = None) -> None:
        self.front_end = NotebookFront()
        if confirm is not None:
            self.front_end.confirm = confirm  # type: ignore[method-assign,assignment] # somebody who can be asked
        self.session = Session(self.front_end)
        self.session.set_up(url=url, settings=Settings())

    def __call__(self, line: str, cell: str | None = None, **namespace: object) -> Any:
        command = grammar_for(Front.NOTEBOOK).parse(tokens.split(line, namespace), cell=cell)
        try:
            return self.front_end.value_of(self.session.run(command))
        except PiecesError as exc:
            exc.front = Front.NOTEBOOK
            raise

    @property
    def client(self) -> ModelClient:
        return self.session.client


@pytest.fixture
def magic(server: Emulator) -> Iterator[Magic]:
    magic = Magic(server.url)
    yield magic
    magic.session.close()


def until_half(download: Download) -> None:
    half = threading.Event()
    stop = download.subscribe(lambda one: half.set() if (one.percentage or 0) >= 50 else None)
    assert half.wait(DEADLINE_S)
    stop()


# Looking


def test_the_bare_magic_prints_the_status_and_gives_the_table(
    magic: Magic, server: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    table = magic("")
    assert isinstance(table, Table)
    assert tuple(table.columns) == tuple(column.name for column in LIST_COLUMNS)
    assert capsys.readouterr().out == (
        f"Pieces OS emulator 12.3.0-emulator at {server.url} · 5 models · 1 downloaded · 0 loaded · 0 downloading\n"
    )


def test_status_prints_what_is_loaded_and_has_no_value(magic: Magic, capsys: pytest.CaptureFixture[str]) -> None:
    magic('load "My Fine-Tune"')
    assert magic("status") is None
    assert "1 loaded (65.5 kB of memory)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("list", [model["name"] for model in MODELS]),
        ("list PHI", ["Phi-2", "Phi-3 Mini"]),
        ("list --cloud", ["GPT-4o Chat Model"]),
        ("list --local --downloaded", ["My Fine-Tune"]),
        ("list --custom", ["My Fine-Tune"]),
        ("list --fits", ["Phi-2", "Mistral 7B", "Phi-3 Mini", "My Fine-Tune"]),
        ("list --loaded", []),
        ("list zzz", []),
    ],
)
def test_list_gives_the_models_that_fit_its_flags(magic: Magic, line: str, names: list[str]) -> None:
    table = magic(line)
    assert table["name"].tolist() == names
    assert tuple(table.columns) == tuple(column.name for column in LIST_COLUMNS)


def test_an_empty_list_says_why_it_is_empty(magic: Magic) -> None:
    assert "None of the 5 models matches; `%pieces_model list` shows all." in repr(magic("list zzz"))
    with Emulator(models=[]) as empty:
        nothing = Magic(empty.url)
        assert "The server has no models at all." in repr(nothing("list"))
        nothing.session.close()


def test_list_fits_says_what_this_machine_has(magic: Magic) -> None:
    assert "this machine has" in magic("list --fits").caption


def test_list_wide_has_every_field(magic: Magic) -> None:
    assert {"bytes.value", "fieldOfTomorrow.kept", "schema.semantic"} <= set(magic("list --wide").columns)


def test_snapshot_compares_models(magic: Magic) -> None:
    assert list(magic("snapshot phi-2 mistral").columns) == ["Phi-2", "Mistral 7B"]


def test_help_prints_the_page_and_has_no_value(magic: Magic, capsys: pytest.CaptureFixture[str]) -> None:
    assert magic("help download") is None
    page = capsys.readouterr().out
    assert magic("download --help") is None
    assert capsys.readouterr().out == page
    assert page.startswith("usage: %pieces_model download MODEL")


def test_help_asks_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    Magic(NOBODY)("help")
    assert "delete-cache" in capsys.readouterr().out


# Connecting


def test_connect_says_to_whom(magic: Magic, capsys: pytest.CaptureFixture[str]) -> None:
    with Emulator(models=[{"name": "other"}]) as other:
        assert magic(f"connect {other.url}") is None
        assert capsys.readouterr().out == f"Connected to Pieces OS emulator 12.3.0-emulator at {other.url}.\n"
        assert magic("list")["name"].tolist() == ["other"]


def test_a_connect_that_fails_leaves_the_connection_that_was(magic: Magic) -> None:
    magic("list")
    for line in (f"connect {NOBODY}", "connect http://x/models"):
        with pytest.raises((PiecesUnreachable, BadArguments)):
            magic(line)
    assert len(magic("list")) == 5


def test_connect_emulator_and_connecting_again_keep_one_emulator(magic: Magic, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Emulator(models=MODELS).start()
    monkeypatch.setattr(emulator_server, "_shared", shared)
    magic("connect emulator")
    magic("connect emulator")
    assert magic.client.url == shared.url
    magic.session.close()
    assert not shared.running


def test_another_address_in_the_settings_means_another_client(magic: Magic) -> None:
    magic("list")
    with Emulator(models=[{"name": "other"}]) as other:
        magic.session.set_up(url=other.url, settings=Settings())
        assert magic("list")["name"].tolist() == ["other"]
        magic.session.close()


def test_settings_reach_the_client_that_is_there(magic: Magic, server: Emulator) -> None:
    magic("list")
    client = magic.client
    magic.session.set_up(url=server.url, settings=Settings(timeout_s=3.5, load_timeout_s=4.5))
    assert magic.client is client
    assert client.settings.load_timeout_s == 4.5
    assert client.connection.timeout_s == 3.5


# Downloads


def test_a_download_gives_a_download_that_has_ended(magic: Magic) -> None:
    download = magic("download phi-2")
    assert isinstance(download, Download)
    assert (download.done, download.status) == (True, "COMPLETED")


def test_several_downloads_are_one_value(magic: Magic) -> None:
    downloads = magic("download phi-2 mistral")
    assert isinstance(downloads, Downloads)
    assert [one.status for one in downloads] == ["COMPLETED", "COMPLETED"]
    assert len(downloads[:1]) == 1


def test_a_wrong_name_among_several_starts_none(magic: Magic, posts: list[str]) -> None:
    with pytest.raises(ModelNotFound):
        magic("download phi-2 nothing-like-it")
    with pytest.raises(ModelStateError, match="runs in the cloud"):
        magic("download phi-2 gpt-4o")
    assert posts == []


@pytest.mark.parametrize("verb", ["cancel", "unload"])
def test_a_wrong_name_among_several_stops_all_before_anything_is_done(
    magic: Magic, server: Emulator, posts: list[str], verb: str
) -> None:
    magic('load "My Fine-Tune"')
    server.faults = HELD
    until_half(magic("download phi-2 --no-wait"))
    posts.clear()
    with pytest.raises(ModelNotFound):
        magic(f'{verb} phi-2 "My Fine-Tune" nothing-like-it')
    assert posts == []


def test_no_wait_returns_at_once_and_progress_shows_how_far_it_is(magic: Magic, server: Emulator) -> None:
    server.faults = HELD
    download = magic("download phi-2 --no-wait")
    assert not download.done
    until_half(download)
    table = magic("progress")
    assert table[["name", "status", "percentage"]].values.tolist() == [["Phi-2", "IN-PROGRESS", 50.0]]
    assert magic("progress phi-2")["name"].tolist() == ["Phi-2"]


def test_progress_of_a_download_begun_elsewhere_knows_its_percentage(magic: Magic, server: Emulator) -> None:
    server.faults = HELD
    with ModelClient(server.url) as other:
        until_half(other.download("phi-2"))
        assert magic("progress")["percentage"].tolist() == [50.0]


def test_progress_watch_waits_for_the_end(magic: Magic, server: Emulator) -> None:
    server.faults = HELD
    until_half(magic("download phi-2 --no-wait"))
    server.faults = Faults()
    assert magic("progress --watch")["status"].tolist() == ["COMPLETED"]


def test_progress_of_nothing_is_an_empty_table(magic: Magic) -> None:
    assert "Nothing is downloading." in repr(magic("progress"))
    assert len(magic("progress --watch")) == 0


def test_a_timeout_ends_the_waiting_and_not_the_download(magic: Magic, server: Emulator) -> None:
    server.faults = HELD
    with pytest.raises(WaitTimeout, match=r"Phi-2: .* after 0\.5 s of waiting; the download goes on\."):
        magic("download phi-2 --timeout 0.5")
    assert magic.client.get(PHI).downloading
    magic.session.set_up(url=server.url, settings=Settings(wait_timeout_s=0.25))
    with pytest.raises(WaitTimeout, match=r"after 0\.25 s"):
        magic("progress --watch")


def test_a_failed_download_fails_the_cell_with_the_servers_words(magic: Magic, server: Emulator) -> None:
    server.faults = {PHI: Faults(disk_full_at=0)}
    with pytest.raises(DownloadFailed, match="No space left on device"):
        magic("download phi-2")
    with pytest.raises(DownloadFailed, match=r"1 of 2 downloads did not complete\. Phi-2: .*No space left on device"):
        magic("download phi-2 mistral")
    assert magic.client.get("mistral").downloaded


def test_cancel_gives_the_rows_of_the_models_after_it(magic: Magic, server: Emulator) -> None:
    server.faults = HELD
    for download in magic("download phi-2 mistral --no-wait"):
        until_half(download)
    assert magic("cancel phi-2")[["name", "state"]].values.tolist() == [["Phi-2", "available"]]
    assert magic("cancel --all")[["name", "state"]].values.tolist() == [["Mistral 7B", "available"]]
    assert "Nothing was downloading." in repr(magic("cancel --all"))


def test_cancel_of_nothing_is_an_error(magic: Magic) -> None:
    with pytest.raises(ModelStateError, match="Phi-2 is not downloading; it is available"):
        magic("cancel phi-2")


# Memory


def test_load_and_unload_give_the_row_of_the_model(magic: Magic) -> None:
    assert magic('load "My Fine-Tune"')[["name", "state"]].values.tolist() == [["My Fine-Tune", "loaded"]]
    assert magic("unload mine:1b")[["name", "state"]].values.tolist() == [["My Fine-Tune", "downloaded"]]
    magic(f"load {MINE}")
    assert magic("unload --all")["name"].tolist() == ["My Fine-Tune"]
    assert "Nothing was loaded." in repr(magic("unload --all"))


def test_ensure_prints_its_plan_and_gives_it_as_it_ended(magic: Magic, capsys: pytest.CaptureFixture[str]) -> None:
    table = magic("ensure phi-2 --load")
    assert table[["step", "verdict"]].values.tolist() == [["download", "done"], ["load", "done"]]
    told = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in told] == ["download", "load"]
    assert table.caption.startswith("Phi-2 is loaded")
    magic("ensure phi-2 --load")
    assert capsys.readouterr().out == ""


def test_ensure_of_a_cloud_model_promises_nothing(magic: Magic, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelStateError, match="runs in the cloud"):
        magic("ensure gpt-4o")
    assert capsys.readouterr().out == ""


def test_usage_and_history_are_tables(magic: Magic) -> None:
    assert "Nothing was done yet." in repr(magic("history"))
    magic('load "My Fine-Tune"')
    assert magic("usage")["resource"].tolist() == ["memory", "disk"]
    assert magic("history")[["verb", "model", "outcome"]].values.tolist() == [["load", "My Fine-Tune", "done"]]


# Custom models, and what is deleted


def test_update_gives_old_and_new(magic: Magic) -> None:
    table = magic("update mine:1b --set description='Good at Fortran' --set maxTokens.total=4096 --set provider=null")
    assert table.to_dict("index") == {
        "description": {"old": "mine", "new": "Good at Fortran"},
        "maxTokens.total": {"old": 2048, "new": 4096},
        "provider": {"old": "", "new": ""},
    }
    assert table.caption.startswith("My Fine-Tune · ")


def test_update_takes_json_in_the_cell_with_fields_nobody_knows(magic: Magic) -> None:
    body = {"maxTokens": {"total": 9}, "fieldOfTomorrow": {"kept": [3]}}
    table = magic("update mine:1b", json.dumps(body))
    assert table["new"].to_dict() == {"maxTokens.total": 9, "fieldOfTomorrow.kept": [3]}


def test_update_takes_values_of_the_notebook(magic: Magic) -> None:
    table = magic("update mine:1b --set maxTokens.total={total} --set name=$name", total=7, name="B")
    assert table["new"].to_dict() == {"name": "B", "maxTokens.total": 7}
    with pytest.raises(BadArguments, match=r"maxTokens\.total takes a whole number from 0 up, not \"7\""):
        magic("update mine:1b --set maxTokens.total={total}", total="7")


@pytest.mark.parametrize(
    ("line", "error", "words"),
    [
        ("update phi-2 --set description=x", ModelStateError, "Phi-2 is not a custom model"),
        ("update mine:1b --set colour=red", BadArguments, "'colour' is no field"),
        ("update mine:1b --set maxTokens.total=many", BadArguments, "whole number"),
        ("update mine:1b --set loaded=true", BadArguments, "set by Pieces OS"),
        ("update mine:1b", BadArguments, "has nothing to change"),
        ("update mine --set description=x", ModelNotFound, "whole name"),
    ],
)
def test_an_update_that_cannot_be_sends_nothing(
    magic: Magic, posts: list[str], line: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        magic(line)
    assert posts == []


def test_create_gives_the_row_and_delete_asks_first(
    magic: Magic, posts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert magic("create own --set foundation=phi_2")["name"].tolist() == ["own"]
    posts.clear()
    with pytest.raises(
        ConfirmationRequired, match=r"This deletes the custom model own .* for good\. Nothing is deleted"
    ):
        magic("delete own")
    assert posts == []
    assert magic("delete own --yes") is None
    assert capsys.readouterr().out == "Deleted own.\n"
    assert magic("list own").empty


def test_delete_cache_says_what_it_would_delete(
    magic: Magic, posts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        ConfirmationRequired, match=r"downloaded files of My Fine-Tune, 65\.5 kB\. .*delete-cache .My Fine-Tune. --yes"
    ):
        magic("delete-cache mine:1b")
    assert posts == []
    assert magic("delete-cache mine:1b --yes") is None
    assert capsys.readouterr().out == "Deleted the downloaded files of My Fine-Tune, 65.5 kB.\n"
    with pytest.raises(ModelStateError, match="has no downloaded files"):
        magic("delete-cache mine:1b --yes")


@pytest.mark.parametrize("verb", ["delete", "delete-cache"])
def test_what_deletes_a_loaded_model_says_that_it_leaves_memory(magic: Magic, verb: str) -> None:
    magic.client.load(MINE)
    with pytest.raises(ConfirmationRequired, match=r"\. It is loaded and leaves memory\. Nothing is deleted yet: say "):
        magic(f"{verb} mine:1b")


def test_load_until_exit_of_a_cell_that_runs_again_does_not_say_that_it_was_there_before(
    magic: Magic, capsys: pytest.CaptureFixture[str]
) -> None:
    magic("load mine:1b --until-exit")
    magic("load mine:1b --until-exit")
    assert capsys.readouterr().out == ""
    magic("unload mine:1b")
    magic("load mine:1b")
    magic("load mine:1b --until-exit")
    assert "My Fine-Tune was in memory before: it stays there" in capsys.readouterr().out


def test_where_somebody_can_be_asked_the_answer_decides(
    server: Emulator, posts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    answers = [False, True]

    def confirm(question: str) -> bool:
        asked.append(question)
        return answers.pop(0)

    magic = Magic(server.url, confirm=confirm)
    with pytest.raises(ConfirmationRequired):
        magic("delete-cache mine:1b")
    assert posts == []
    magic("delete-cache mine:1b")
    assert asked == ["This deletes the downloaded files of My Fine-Tune, 65.5 kB. Go on?"] * 2
    assert "Deleted" in capsys.readouterr().out
    magic.session.close()


def test_nobody_is_asked_about_what_cannot_be_done_anyway(server: Emulator) -> None:
    magic = Magic(server.url, confirm=lambda _: pytest.fail("somebody was asked"))
    with pytest.raises(ModelStateError, match="not a custom model"):
        magic("delete phi-2")
    magic.session.close()


# Completion's models


def test_tab_knows_no_models_before_the_first_use() -> None:
    assert Magic(NOBODY).session.known_models() == []


def test_tab_gives_the_models_as_last_listed_and_never_waits_for_a_dead_server(magic: Magic, server: Emulator) -> None:
    magic("list")
    assert [model.name for model in magic.session.known_models()] == [model["name"] for model in MODELS]
    server.close()
    assert len(magic.session.known_models()) == 5


# Symptoms that were there once


def test_progress_of_a_stalled_download_whose_percentage_is_known_does_not_wait_for_another_word(
    magic: Magic, server: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.faults = HELD
    until_half(magic("download phi-2 --no-wait"))
    monkeypatch.setattr(downloading, "_FIRST_FRAMES_S", 100.0)
    before = time.monotonic()
    assert magic("progress")["percentage"].tolist() == [50.0]
    assert time.monotonic() - before < 50


def test_other_servers_that_were_found_are_told(magic: Magic, capsys: pytest.CaptureFixture[str]) -> None:
    url = magic.client.url
    found = Found(url, "12.0.0", others=(39305, 39310))
    magic.session.use(ModelClient(connection=Connection(find=lambda: found)))
    magic("status")
    assert capsys.readouterr().out.splitlines() == [
        f"Pieces OS 12.0.0 at {url} · 5 models · 1 downloaded · 0 loaded · 0 downloading",
        "Pieces OS answers on other ports too: 39305, 39310; the lowest is taken.",
    ]


# Queues


def test_download_at_most_one_at_a_time_waits_for_all(magic: Magic) -> None:
    downloads = magic("download phi-2 mistral phi-2 --at-most 1")
    assert [(one.model.title, one.status) for one in downloads] == [("Phi-2", "COMPLETED"), ("Mistral 7B", "COMPLETED")]
    assert downloads[1].started >= downloads[0].started


def test_progress_and_cancel_know_what_waits_for_its_turn(server: Emulator, magic: Magic, posts: list[str]) -> None:
    server.faults = HELD
    downloads = magic("download phi-2 mistral --at-most 1 --no-wait")
    until_half(downloads[0])
    assert list(magic("progress")["status"]) == ["IN-PROGRESS", "waiting for its turn"]
    assert list(magic("cancel mistral")["state"]) == ["available"]
    assert [one.lifecycle for one in downloads] == ["running", "ended"]
    assert len(posts) == 1


def test_a_wrong_name_in_a_queue_stops_all_before_anything_is_posted(magic: Magic, posts: list[str]) -> None:
    with pytest.raises(ModelNotFound):
        magic("download phi-2 nonsense --at-most 1")
    assert posts == []


def test_of_several_that_are_canceled_one_that_has_ended_does_not_keep_the_others(
    magic: Magic, server: Emulator
) -> None:
    server.faults = HELD
    download = magic("download phi-2 --no-wait")
    until_half(download)
    with pytest.raises(ModelStateError, match="Mistral 7B is not downloading"):
        magic("cancel mistral phi-2")
    assert download.status_words == "CANCELED"


def test_cancel_of_several_gives_their_rows_in_order(magic: Magic, server: Emulator) -> None:
    server.faults = HELD
    for download in magic("download phi-2 mistral --no-wait"):
        until_half(download)
    assert magic("cancel mistral phi-2")["name"].tolist() == ["Mistral 7B", "Phi-2"]


def test_the_bare_magic_asks_for_the_models_once(magic: Magic, monkeypatch: pytest.MonkeyPatch) -> None:
    magic("")
    asked: list[str] = []
    ask = Transport.get

    def get(transport: Transport, path: str, **named: Any) -> Answer:
        asked.append(path)
        return ask(transport, path, **named)

    monkeypatch.setattr(Transport, "get", get)
    magic("")
    assert [path for path in asked if path.startswith("/models")] == ["/models"]
