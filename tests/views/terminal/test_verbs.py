"""Each verb in a terminal: what it prints, where, and how it exits."""

from __future__ import annotations

import sys
import time

import pytest

from pieces_nb import ModelClient, Settings
from pieces_nb.emulator import Emulator, Faults
from pieces_nb.text import Front
from pieces_nb.verbs.actions import VERBS
from pieces_nb.verbs.declaration import Verb
from pieces_nb.verbs.grammar import Grammar
from pieces_nb.verbs.tokens import split
from pieces_nb.views.terminal import output, own_verbs
from pieces_nb.views.terminal.front_end import _BEGUN_WITHIN_S, TerminalFront
from tests.views.terminal.conftest import Call
from tests.waiting import until_download


def test_without_a_verb_status_and_table(emulator: Emulator, call: Call) -> None:
    seen = call()

    assert (seen.code, seen.err) == (0, "")
    assert emulator.url in seen.out.splitlines()[0]
    assert [line.split()[0] for line in seen.out.splitlines() if "available" in line] == [
        "Phi-2",
        "Mistral",
        "my-model",
    ]


@pytest.mark.usefixtures("emulator")
@pytest.mark.parametrize("columns", [20, 40, 80, 200])
@pytest.mark.parametrize(
    "verb", [(), ("list",), ("list", "--wide"), ("usage",), ("snapshot", "phi-2", "mistral", "gpt-4o")]
)
def test_no_line_is_wider_than_the_terminal(call: Call, verb: tuple[str, ...], columns: int) -> None:
    seen = call(*verb, columns=columns)

    assert seen.code == 0
    # A single word is not broken: an address has to stay one.
    long = [line for line in seen.out.splitlines() if len(line) > columns and " " in line]
    assert long == []


@pytest.mark.usefixtures("emulator")
def test_at_80_columns_name_state_and_sizes_are_there_and_ids_are_not(call: Call) -> None:
    seen = call("list")

    assert seen.out.splitlines()[0].split() == [
        *("name", "state", "size_gb", "ram_gb", "parameters_b", "custom"),
    ]
    assert "No room for: quantization, provider, id (--json has them)" in seen.out


@pytest.mark.usefixtures("emulator")
def test_at_40_columns_name_and_state_are_whole(call: Call) -> None:
    seen = call("list", columns=40)

    assert "GPT-4o Chat Model" in seen.out
    assert seen.out.splitlines()[0].split()[:2] == ["name", "state"]


@pytest.mark.usefixtures("emulator")
def test_nothing_listed_says_so_and_succeeds(call: Call) -> None:
    seen = call("list", "no such model")

    assert seen.code == 0
    assert "None of the 6 models matches; `pieces-nb list` shows all." in seen.out


@pytest.mark.usefixtures("emulator")
def test_no_output_has_escape_sequences(call: Call) -> None:
    outputs = [call(*verb) for verb in ((), ("list",), ("download", "phi-2"), ("load", "gpt-4o"))]

    assert "\x1b" not in "".join(seen.out + seen.err for seen in outputs)


def test_control_characters_of_the_server_do_not_reach_the_terminal(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Emulator(models=[{"name": "bad\x1b[2Jname\u202e", "unique": "x\x07", "description": "\x9b31m"}]) as server:
        monkeypatch.setenv("PIECES_OS_URL", server.url)
        outputs = [call("list"), call("snapshot", "bad"), call("download", "nothing"), call("load", "bad")]

    for seen in outputs:
        assert all(character.isprintable() or character == "\n" for character in seen.out + seen.err)


def test_status(emulator: Emulator, call: Call) -> None:
    seen = call("status")

    assert seen.code == 0
    assert "6 models" in seen.out
    assert "emulator" in seen.out
    assert emulator.url in seen.out


def test_connect_says_that_nothing_is_kept(emulator: Emulator, call: Call) -> None:
    seen = call("connect", emulator.url)

    assert seen.code == 0
    assert seen.out.startswith("Connected to Pieces OS emulator")
    assert "--url" in seen.out


def test_connect_emulator_points_to_the_verb_that_starts_one(call: Call) -> None:
    seen = call("connect", "emulator")

    assert seen.code == 2
    assert "`pieces-nb emulator` in another terminal" in seen.err


def test_url_of_the_call_comes_before_the_variable(
    emulator: Emulator, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIECES_OS_URL", "http://127.0.0.1:1")

    assert call("list", "--url", emulator.url).code == 0
    assert call("--url", emulator.url, "list").code == 0
    assert call("list").code == 1


def test_a_dead_address_says_which_and_what_to_do(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIECES_OS_URL", "http://127.0.0.1:1")

    seen = call("list")

    assert (seen.code, seen.out) == (1, "")
    assert seen.err.startswith("pieces-nb: Nothing answers at 127.0.0.1:1")
    assert "PIECES_OS_URL names this address" in seen.err
    assert "`pieces-nb emulator`" in seen.err
    assert len(seen.err.splitlines()) == 1


@pytest.mark.usefixtures("emulator")
def test_snapshot_at_40_columns_puts_the_models_below_each_other(call: Call) -> None:
    seen = call("snapshot", "phi-2", "mistral", columns=40)

    heads = [line for line in seen.out.splitlines() if line.startswith("field")]
    assert [head.split()[1] for head in heads] == ["Phi-2", "Mistral"]


@pytest.mark.usefixtures("emulator")
def test_download_leaves_one_line(call: Call) -> None:
    seen = call("download", "phi-2")

    assert seen.code == 0
    assert seen.out.startswith("Phi-2: done · 20.0 kB · ")
    assert len(seen.out.splitlines()) == 1


@pytest.mark.usefixtures("emulator")
def test_download_of_several_leaves_one_line_each(call: Call) -> None:
    seen = call("download", "phi-2", "mistral")

    assert seen.code == 0
    assert [line.partition(":")[0] for line in seen.out.splitlines()] == ["Phi-2", "Mistral 7B"]


def test_one_of_several_that_fails_fails_the_call_and_the_other_is_told(emulator: Emulator, call: Call) -> None:
    emulator.rate_bytes_per_s = 60_000
    emulator.faults = {"phi:2.7b-chat-v2-q4_K_S": Faults(fail_at=50, fail_text="the host is gone")}

    seen = call("download", "phi-2", "mistral")

    assert seen.code == 1
    last = seen.err.splitlines()[-1]
    assert last == (
        "pieces-nb: 1 of 2 downloads did not complete. Phi-2: the download failed: the server said FAILED. "
        "`pieces-nb download Phi-2` tries again."
    )
    assert "Mistral 7B: done" in seen.out


def test_a_refused_download_fails_with_the_servers_words(emulator: Emulator, call: Call) -> None:
    emulator.faults = Faults(download_error="The engine is missing.")

    for flags in ((), ("--no-wait",)):
        seen = call("download", "phi-2", *flags)
        assert seen.code == 1
        assert "The engine is missing." in seen.err
        assert seen.out == ""


def test_no_wait_returns_while_the_server_goes_on_and_progress_shows_it(emulator: Emulator, call: Call) -> None:
    emulator.faults = Faults(stall_at=50)

    started = call("download", "phi-2", "--no-wait")
    shown = call("progress")

    assert (started.code, started.err) == (0, "")
    assert started.out.startswith("Phi-2: ")
    assert shown.out.splitlines()[1].split()[:3] == ["Phi-2", "IN-PROGRESS", "50"]


def test_no_wait_returns_at_once_from_a_stalled_download_that_has_begun_already(emulator: Emulator) -> None:
    emulator.faults = Faults(stall_at=50)
    with ModelClient(emulator.url, settings=Settings(stall_after_s=0.2)) as client:
        download = client.download("phi-2")
        until_download(download, lambda one: one.stalled_since is not None)
        asked = time.monotonic()
        TerminalFront().see_begun([download])

        assert time.monotonic() - asked < _BEGUN_WITHIN_S / 2


def test_a_timeout_stops_waiting_and_cancel_ends_the_download(emulator: Emulator, call: Call) -> None:
    emulator.faults = Faults(stall_at=50)

    waited = call("download", "phi-2", "--timeout", "0.3")
    canceled = call("cancel", "--all")
    again = call("cancel", "phi-2")

    assert waited.code == 1
    assert "the download goes on" in waited.err
    assert canceled.code == 0
    assert "Phi-2" in canceled.out
    assert again.code == 1
    assert "Phi-2 is not downloading; it is available." in again.err


def test_no_wait_on_an_emulator_of_the_command_is_refused(call: Call) -> None:
    seen = call("download", "phi-2", "--no-wait", "--url", "emulator")

    assert seen.code == 2
    assert "ends with this command" in seen.err


@pytest.mark.usefixtures("emulator")
def test_no_wait_with_a_queue_that_ends_with_the_command_is_refused(call: Call) -> None:
    seen = call("download", "phi-2", "llama 3 8b", "--at-most", "1", "--no-wait")

    assert seen.code == 2
    assert "--no-wait is no use with --at-most here" in seen.err


@pytest.mark.usefixtures("emulator")
def test_load_unload_and_what_cannot_be_loaded(call: Call) -> None:
    assert "loaded" in call("load", "llama 3 8b").out
    assert call("unload", "llama 3 8b").code == 0
    assert call("unload", "--all").out.startswith("name")
    assert call("unload", "--all").out.startswith("Nothing was loaded.")

    refused = call("load", "phi-2")
    assert refused.code == 1
    assert "`pieces-nb download Phi-2` comes first" in refused.err


@pytest.mark.usefixtures("emulator")
def test_usage_says_what_to_type_here(call: Call) -> None:
    seen = call("usage")

    assert seen.code == 0
    assert 'pieces-nb unload "Gemma 2 2B"' in seen.out
    assert "%pieces_model" not in seen.out


@pytest.mark.usefixtures("emulator")
def test_ensure_shows_its_plan_and_a_second_time_does_nothing(call: Call) -> None:
    assert "to do" in call("ensure", "phi-2", "--load", "--dry-run").out
    assert "Phi-2 is loaded" in call("ensure", "phi-2", "--load").out
    assert call("ensure", "phi-2", "--load").out.count("done") == 2


@pytest.mark.usefixtures("emulator")
def test_update_shows_old_and_new(call: Call) -> None:
    seen = call("update", "my-model", "--set", "description=after")

    assert seen.code == 0
    assert seen.out.splitlines()[1].split() == ["description", "before", "after"]


@pytest.mark.usefixtures("emulator")
def test_create_and_delete(call: Call) -> None:
    assert call("create", "another").code == 0

    refused = call("delete", "another")
    assert (refused.code, refused.out) == (2, "")
    assert "`pieces-nb delete another --yes`" in refused.err

    assert call("delete", "another", "--yes").out == "Deleted another.\n"
    assert call("delete", "another", "--yes").code == 1


@pytest.mark.usefixtures("emulator")
def test_delete_cache_needs_a_yes(call: Call) -> None:
    assert call("delete-cache", "Llama 3 8B").code == 2
    assert call("delete-cache", "Llama 3 8B", "--yes").code == 0
    assert "has no downloaded files" in call("delete-cache", "Llama 3 8B", "--yes").err


@pytest.mark.usefixtures("emulator")
@pytest.mark.parametrize(("answer", "code", "deleted"), [("y\n", 0, True), ("n\n", 2, False), ("", 2, False)])
def test_a_person_is_asked_before_something_is_deleted(
    call: Call, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, deleted: bool
) -> None:
    monkeypatch.setattr(output, "can_ask", lambda: True)
    monkeypatch.setattr(sys.stdin, "readline", lambda: answer, raising=False)

    seen = call("delete", "my-model")

    assert seen.code == code
    assert "for good. Go on? [y/N]" in seen.err
    assert (call("snapshot", "my-model").code == 1) is deleted


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["panel"], "needs a notebook"),
        (["history"], "in one session"),
        (["lst"], "Did you mean list?"),
        (["%pieces_model"], "There is no command '%pieces_model'"),
        (["list", "--jsn"], "did you mean --json?"),
        (["--helo"], "pieces-nb knows no flag '--helo' (did you mean --help?). pieces-nb help lists the commands."),
        (["--versoin"], "pieces-nb knows no flag '--versoin'"),
        (["usage", "a"], "takes no names"),
        (["download"], "needs a MODEL"),
        (["download", "phi-2", "--timeout", "soon"], "needs a number"),
        (["list", "--url", "not an address"], "is not an address"),
        (["list", "--url"], "needs URL"),
        (["update", "my-model", "--set", "loaded=true"], "loaded"),
        (["cancel", "phi-2", "--all"], "not both"),
        (["trace", "file"], "takes a FILE and a MODEL"),
        (["trace", "file", "phi-2", "mistral"], "takes a FILE and a MODEL, and 'mistral' is one more"),
        (["completion", "csh"], "completion knows bash, zsh, fish, and not 'csh'"),
        (["emulator", "--port", "many"], "is no port"),
        (["emulator", "--nonsense"], "nonsense"),
        (["--json", "emulator"], "emulator"),
    ],
)
@pytest.mark.usefixtures("emulator")
def test_wrong_arguments_are_one_line_and_exit_2(call: Call, arguments: list[str], words: str) -> None:
    seen = call(*arguments)

    assert seen.code == 2
    said = seen.err or seen.json["error"]["message"]
    assert words in said
    assert len(seen.err.splitlines()) <= 1


@pytest.mark.parametrize("topic", [(), ("list",), ("trace",), ("emulator",), ("demo",), ("help",)])
def test_help_needs_no_server_and_fits(call: Call, topic: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIECES_OS_URL", "http://127.0.0.1:1")

    seen = call("help", *topic)

    assert (seen.code, seen.err) == (0, "")
    assert "pieces-nb" in seen.out
    assert all(len(line) <= 80 for line in seen.out.splitlines())


GRAMMAR = Grammar(Front.TERMINAL, (*VERBS, *own_verbs.VERBS))


@pytest.mark.parametrize("verb", [name for name in GRAMMAR.offered if name != "emulator"])
def test_every_example_of_the_help_is_understood(verb: str) -> None:
    for example in GRAMMAR.verbs[verb].examples:
        assert GRAMMAR.parse(split(example.partition(" >>")[0].partition(" |")[0])).verb.name == verb


@pytest.mark.parametrize("example", [verb for verb in VERBS if verb.name in ("delete-cache", "snapshot", "download")])
def test_an_example_of_the_help_works_on_the_emulator_that_everybody_has(example: Verb) -> None:
    with Emulator() as emulator, ModelClient(emulator.url) as client:
        words = split(example.examples[0])
        assert client.get(words[1], beginnings=example.name != "delete-cache").name.startswith("Phi-2")


def test_help_of_the_demo_tells_of_lab(call: Call) -> None:
    assert "--lab" in call("help", "demo").out


@pytest.mark.usefixtures("emulator")
def test_a_pattern_is_words_in_any_order_and_the_provider_counts(call: Call) -> None:
    assert [model["name"] for model in call("list", "7b", "mistral", "--json").json] == ["Mistral 7B"]
    assert [model["name"] for model in call("list", "microsoft phi", "--json").json] == ["Phi-2"]


def test_version(call: Call) -> None:
    assert call("--version").out.startswith("pieces-nb ")


@pytest.mark.usefixtures("emulator")
def test_a_fault_of_our_own_is_one_line_with_a_way_to_more(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("pieces_nb.verbs.session.Session.run", broken)

    seen = call("list")
    assert seen.code == 1
    assert (
        seen.err == "pieces-nb: an error of pieces-nb itself: RuntimeError('broken') (PIECES_NB_DEBUG=1 shows where)\n"
    )

    monkeypatch.setenv("PIECES_NB_DEBUG", "1")
    assert "Traceback" in call("list").err


# Tables of words, and an emulator that ends with the command ----------------------------------------------------------


@pytest.mark.usefixtures("emulator")
def test_the_doctors_words_are_told_whole_in_a_narrow_terminal(call: Call) -> None:
    seen = call("doctor", columns=50)
    assert seen.code == 0
    assert max(map(len, seen.out.splitlines())) <= 50
    assert "Pieces OS" in seen.out
    records = call("doctor", "--json").json
    assert {record["check"] for record in records} >= {"Pieces OS", "models", "engine", "versions"}


def test_a_download_of_the_commands_own_emulator_does_not_go_on_after_it(call: Call) -> None:
    seen = call("download", "Phi-2 (emulated)", "--url", "emulator", "--timeout", "0.2")
    assert seen.code == 1
    words = "the emulator of this command ends with it, and so does the download."
    assert seen.err.splitlines()[-1].endswith(words)
    (row,) = call("download", "Phi-2 (emulated)", "--url", "emulator", "--timeout", "0.2", "--json").json
    assert row["error"]["message"].endswith(words)


@pytest.mark.usefixtures("emulator")
def test_load_until_exit_is_refused_where_the_process_ends_at_once(call: Call) -> None:
    seen = call("load", "Llama 3 8B", "--until-exit")
    assert seen.code == 2
    assert "load --until-exit is for a notebook" in seen.err
