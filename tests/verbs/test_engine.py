"""The verb `engine` in a notebook: the table, what it would do, and that it does it only when told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pieces_nb import Download
from pieces_nb.emulator import ENGINE, Emulator, Faults, Switches
from pieces_nb.emulator.engine import LATEST, OUTDATED
from pieces_nb.errors import BadArguments, ConfirmationRequired, DownloadFailed, ModelStateError
from pieces_nb.text import Front
from pieces_nb.verbs.actions import grammar_for
from pieces_nb.verbs.completion import offers
from pieces_nb.views.frames import Table
from tests.conftest import MODELS
from tests.verbs.test_actions import Magic, until_half

HELD = {ENGINE: Faults(stall_at=50.0)}


@pytest.fixture
def server() -> Iterator[Emulator]:
    with Emulator(rate_bytes_per_s=None, models=MODELS, switches=Switches(engine="missing")) as server:
        yield server


@pytest.fixture
def magic(server: Emulator) -> Iterator[Magic]:
    magic = Magic(server.url)
    yield magic
    magic.session.close()


def test_without_an_argument_it_is_a_table(magic: Magic, capsys: pytest.CaptureFixture[str]) -> None:
    table = magic("engine")
    assert isinstance(table, Table)
    assert table[["name", "state"]].values.tolist() == [["Ollama", "missing"]]
    assert capsys.readouterr().out == ""


@pytest.fixture
def half_way(magic: Magic, server: Emulator) -> Download:
    """An installation that stands still half way."""
    server.faults = HELD
    magic("engine install --yes --no-wait")
    (download,) = magic.client.downloads
    until_half(download)
    return download


@pytest.mark.usefixtures("half_way")
def test_what_is_under_way_is_told_in_words(magic: Magic, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert magic("engine")["state"].tolist() == ["installing"]
    assert capsys.readouterr().out.startswith(f"The engine is installing {LATEST}, ")


@pytest.mark.parametrize(
    ("engine", "line", "words"),
    [
        ("missing", "engine install", "This installs Ollama, the engine under local models, in the version that the"),
        ("outdated", "engine update", f"This updates Ollama to {LATEST}, the engine under local models"),
    ],
)
def test_without_yes_it_says_what_it_would_do(
    magic: Magic, server: Emulator, posts: list[str], engine: Any, line: str, words: str
) -> None:
    server.switches = Switches(engine=engine)
    with pytest.raises(ConfirmationRequired, match=words) as caught:
        magic(line)
    assert f"Nothing is done yet: say `%pieces_model {line} --yes`." in str(caught.value)
    assert posts == []


def test_somebody_who_can_be_asked_is_asked(server: Emulator, posts: list[str]) -> None:
    asked: list[str] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        return len(asked) > 1

    magic = Magic(server.url, confirm=confirm)
    with pytest.raises(ConfirmationRequired):
        magic("engine install")
    assert posts == []
    magic("engine install")
    assert asked[0].endswith("Go on?")
    assert magic("engine")["state"].tolist() == ["ready"]
    magic.session.close()


def test_with_yes_it_is_done_and_a_second_time_there_is_nothing_to_do(magic: Magic, posts: list[str]) -> None:
    magic("engine install --yes")
    assert magic("engine")[["state", "version"]].values.tolist() == [["ready", LATEST]]
    assert posts == ["/ollama/install"]
    magic("engine install")
    magic("engine update")
    assert posts == ["/ollama/install"]


def test_update_brings_the_needed_version(magic: Magic, server: Emulator) -> None:
    server.switches = Switches(engine="outdated")
    assert magic("engine")["version"].tolist() == [OUTDATED]
    magic("engine update --yes")
    assert magic("engine")["version"].tolist() == [LATEST]


def test_a_refusal_has_the_servers_words(magic: Magic, server: Emulator) -> None:
    server.faults = Faults(install_error="Ask your administrator.")
    with pytest.raises(DownloadFailed, match="Ask your administrator"):
        magic("engine install --yes")


@pytest.mark.usefixtures("half_way")
def test_cancel_stops_it_and_shows_the_table(magic: Magic) -> None:
    assert magic("engine cancel")["state"].tolist() == ["missing"]
    with pytest.raises(ModelStateError, match="under way"):
        magic("engine cancel")


def test_cancel_all_stops_it_too(magic: Magic, half_way: Download) -> None:
    assert magic("cancel --all")["name"].tolist() == ["Ollama 0.12.6"]
    assert half_way.status_words == "CANCELED"


def test_a_wait_that_ends_early_names_how_to_cancel(half_way: Download) -> None:
    assert half_way.cancel_step.typed(Front.NOTEBOOK) == "%pieces_model engine cancel"
    assert half_way.watch_step.typed(Front.NOTEBOOK) == "%pieces_model engine install --yes"


@pytest.mark.parametrize("engine", ["none", "user-managed"])
def test_what_the_server_will_not_do_is_one_line_before_any_question(
    server: Emulator, posts: list[str], engine: Any
) -> None:
    server.switches = Switches(engine=engine)
    magic = Magic(server.url, confirm=lambda _: pytest.fail("somebody was asked"))
    for line in ("engine install", "engine update"):
        with pytest.raises(ModelStateError) as caught:
            magic(line)
        assert "\n" not in str(caught.value)
    assert posts == []
    magic.session.close()


def test_tab_offers_each_kind_of_work() -> None:
    found = offers(grammar_for(Front.NOTEBOOK), ["engine"], "", list)
    assert list(found.texts) == ["install", "update", "cancel"]
    found = offers(grammar_for(Front.NOTEBOOK), ["engine"], "in", list)
    assert list(found.texts) == ["install"]


@pytest.mark.parametrize("line", ["engine remove", "engine --yes", "engine cancel --yes", "engine install update"])
def test_a_line_that_makes_no_sense_is_refused_with_the_usage(magic: Magic, posts: list[str], line: str) -> None:
    with pytest.raises(BadArguments, match=r"install \| update \| cancel"):
        magic(line)
    assert posts == []
