"""`pieces-nb engine`: JSON and exit codes in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pieces_nb.emulator import Emulator, Faults, Switches
from pieces_nb.emulator.engine import LATEST
from pieces_nb.views.terminal import exit_codes
from pieces_nb.views.terminal.output import can_ask
from pieces_nb.wire.connection import VARIABLE
from tests.views.terminal.conftest import MODELS, Call


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator(rate_bytes_per_s=None, models=MODELS, switches=Switches(engine="missing")) as running:
        monkeypatch.setenv(VARIABLE, running.url)
        yield running


def test_the_engine_as_json_is_a_list_of_what_there_is(emulator: Emulator, call: Call) -> None:
    (found,) = call("engine", "--json").json
    assert found == {
        "name": "Ollama",
        "state": "missing",
        "version": "",
        "needed": "",
        "user_managed": False,
        "percentage": None,
    }
    emulator.switches = Switches(engine="none")
    assert call("engine", "--json").json == []
    assert "no calls for an engine" in call("engine").out


@pytest.mark.usefixtures("emulator")
def test_an_install_as_json_is_what_became_of_it(call: Call) -> None:
    (found,) = call("engine", "install", "--yes", "--json").json
    assert (found["id"], found["status"], found["error"]) == ("engine", "COMPLETED", None)
    assert call("engine", "--json").json[0]["version"] == LATEST


@pytest.mark.usefixtures("emulator")
def test_an_install_without_yes_says_how_to_do_it_in_a_terminals_words(call: Call) -> None:
    assert not can_ask()
    seen = call("engine", "install", columns=400)
    assert seen.code != 0
    assert "`pieces-nb engine install --yes`" in seen.err
    assert call("engine", "install", "--json").json["error"]["type"] == "ConfirmationRequired"


def test_a_failed_install_has_its_words_and_an_exit_code(emulator: Emulator, call: Call) -> None:
    emulator.faults = Faults(install_error="Ask your administrator.")
    seen = call("engine", "install", "--yes", columns=200)
    assert seen.code == exit_codes.FAILED
    assert "Ask your administrator." in seen.err
