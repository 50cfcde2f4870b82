"""`--json`: valid JSON on stdout, nothing else there, and the exit code kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

import pieces_nb
from pieces_nb import ModelClient
from pieces_nb.emulator import Emulator, Faults
from pieces_nb.model.models import Model
from tests.views.terminal.conftest import Call

LIST_COLUMNS = ["name", "state", "size_gb", "ram_gb", "parameters_b", "quantization", "provider", "custom", "id"]


@pytest.mark.usefixtures("emulator")
def test_a_list_is_records_with_the_tables_columns_and_null_for_nan(call: Call) -> None:
    seen = call("list", "--json")

    records = seen.json
    assert (seen.code, seen.err, len(records)) == (0, "", 6)
    assert all(list(record) == LIST_COLUMNS for record in records)
    cloud = next(record for record in records if record["state"] == "cloud")
    assert (cloud["size_gb"], cloud["custom"]) == (None, False)


@pytest.mark.usefixtures("emulator")
def test_nothing_listed_is_an_empty_array(call: Call) -> None:
    assert call("list", "no such model", "--json").json == []


@pytest.mark.usefixtures("emulator")
def test_a_snapshot_is_the_models_as_the_server_sends_them(call: Call) -> None:
    models = call("snapshot", "phi-2", "mistral", "--json").json

    assert [model["name"] for model in models] == ["Phi-2", "Mistral 7B"]
    assert models[0]["bytes"]["value"] == 20_000


def test_status_and_overview(emulator: Emulator, call: Call) -> None:
    status = call("--json", "status").json
    overview = call("--json").json

    assert (status["url"], status["emulator"], status["models"]) == (emulator.url, True, 6)
    assert overview["server"]["url"] == emulator.url
    assert len(overview["models"]) == 6


@pytest.mark.usefixtures("emulator")
@pytest.mark.parametrize(
    "arguments",
    [
        ("connect",),
        ("list", "--wide"),
        ("progress",),
        ("cancel", "--all"),
        ("load", "llama 3 8b"),
        ("unload", "--all"),
        ("update", "my-model", "--set", "description=x"),
        ("create", "new"),
        ("delete", "my-model", "--yes"),
        ("delete-cache", "Llama 3 8B", "--yes"),
        ("ensure", "phi-2"),
        ("usage",),
        ("help", "list"),
    ],
)
def test_every_verb_prints_one_json_value(call: Call, arguments: tuple[str, ...]) -> None:
    seen = call(*arguments, "--json")

    assert (seen.code, seen.err) == (0, "")
    assert isinstance(seen.json, dict | list)


@pytest.mark.usefixtures("emulator")
def test_a_download_is_a_list_of_one_object_as_several_are_of_several(call: Call) -> None:
    (found,) = call("download", "phi-2", "--json").json

    assert {"model": "Phi-2", "status": "COMPLETED", "percentage": 100.0, "bytes": 20_000, "error": None}.items() <= (
        found.items()
    )
    assert found["seconds"] >= 0


@pytest.mark.usefixtures("emulator")
def test_ensure_says_whether_it_changed_anything(call: Call) -> None:
    dry, first, again = (
        call("ensure", "phi-2", *flags, "--json").json for flags in (["--dry-run"], ["--load"], ["--load"])
    )

    assert (dry["changed"], first["changed"], again["changed"]) == (False, True, False)
    assert (dry["state"], first["state"]) == ("available", "loaded")
    assert [step["verdict"] for step in again["steps"]] == ["done", "done"]


def test_the_version_is_json_too(call: Call) -> None:
    for words in (("--version", "--json"), ("--json", "--version")):
        assert call(*words).json["version"] == pieces_nb.__version__


@pytest.mark.usefixtures("emulator")
def test_several_downloads_are_an_array_of_objects(call: Call) -> None:
    found = call("download", "phi-2", "mistral", "--json").json

    assert [one["status"] for one in found] == ["COMPLETED", "COMPLETED"]


def test_a_failed_download_says_why_in_its_object_and_exits_1(emulator: Emulator, call: Call) -> None:
    emulator.rate_bytes_per_s = 60_000
    emulator.faults = Faults(fail_at=50)

    seen = call("download", "phi-2", "--json")

    assert (seen.code, seen.err) == (1, "")
    assert seen.json[0]["status"] == "FAILED"
    assert seen.json[0]["error"]["type"] == "DownloadFailed"


def test_a_timeout_is_the_error_of_what_goes_on(emulator: Emulator, call: Call) -> None:
    emulator.faults = Faults(stall_at=50)

    seen = call("download", "phi-2", "--timeout", "0.3", "--json")

    assert seen.code == 1
    assert seen.json[0]["error"]["type"] == "WaitTimeout"
    assert seen.json[0]["status"] == "IN-PROGRESS"


@pytest.mark.usefixtures("emulator")
@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (("load", "nothing like it"), 1, "ModelNotFound"),
        (("download", "gpt-4o"), 1, "ModelStateError"),
        (("delete", "my-model"), 2, "ConfirmationRequired"),
        (("lst",), 2, "BadArguments"),
        (("panel",), 2, "BadArguments"),
        (("list", "--url", "http://127.0.0.1:1"), 1, "PiecesUnreachable"),
    ],
)
def test_an_error_is_an_object_on_stdout(call: Call, arguments: tuple[str, ...], code: int, kind: str) -> None:
    seen = call("--json", *arguments)

    assert (seen.code, seen.err) == (code, "")
    assert seen.json["error"]["type"] == kind
    assert "%pieces_model" not in seen.json["error"]["message"]


@pytest.mark.usefixtures("emulator")
def test_the_server_cannot_make_it_invalid(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    odd: dict[str, Any] = {
        "name": "\ud800\u2028\x00",
        "parameters": float("nan"),
        "unique": '"}]',
        "score": float("inf"),
    }
    # As its client reads it: the emulator itself says nothing of that kind.
    monkeypatch.setattr(ModelClient, "models", lambda _: [Model(odd)])
    monkeypatch.setattr(ModelClient, "get", lambda *_: Model(odd))
    outputs = [call(*verb, "--json").out for verb in (["list"], ["list", "--wide"], ["snapshot", '"}]'])]

    for text in outputs:
        assert text.isascii()
        json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
