"""Tab in a shell: what is offered, and that bash reads it back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pieces_nb.emulator import Emulator
from pieces_nb.views.terminal import shells
from tests.views.terminal.conftest import Call
from tests.views.terminal.test_process import Terminal

BASH = shutil.which("bash") or "bash"


def offered(call: Call, *words: str, shell: str = "zsh") -> list[str]:
    seen = call(shells.CALL, shell, *words)
    assert (seen.code, seen.err) == (0, "")
    return seen.out.splitlines()


def as_seen(text: str) -> str:
    """What stands on the last line when every backspace has been obeyed."""
    seen = ""
    for character in text.rpartition("> ")[2]:
        seen = seen[:-1] if character == "\b" else seen + character
    return seen


@pytest.mark.usefixtures("emulator")
def test_commands_flags_and_the_models_that_fit_are_offered(call: Call) -> None:
    assert offered(call, "dele") == ["delete", "delete-cache"]
    assert offered(call, "list", "--wi") == ["--wide"]
    assert offered(call, "unload", "") == ["Gemma 2 2B"]
    assert offered(call, "--json", "download", "Mis") == ["Mistral 7B"]
    assert offered(call, "snapshot", "phi:") == ["phi:2.7b-chat-v2-q4_K_S"]
    assert offered(call, "update", "my-model", "--set", "maxTokens.t") == ["maxTokens.total="]
    assert offered(call, "demo", "--") == ["--lab", "--json", "--quiet", "--url", "--help"]


def test_the_server_that_the_line_names_is_asked(
    emulator: Emulator, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIECES_OS_URL", "http://127.0.0.1:1")

    assert offered(call, "unload", "Ge") == []
    for url in (["--url", emulator.url], [f"--url={emulator.url}"]):
        assert offered(call, *url, "unload", "Ge") == ["Gemma 2 2B"]


def test_without_a_server_tab_is_silent_and_verbs_are_there(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIECES_OS_URL", "http://127.0.0.1:1")

    assert offered(call, "load", "P") == []
    assert offered(call, "loa") == ["load"]


@pytest.mark.usefixtures("emulator")
def test_bash_replaces_only_what_stands_behind_its_last_break(call: Call) -> None:
    assert offered(call, "pieces-nb snapshot phi:2", shell="bash") == ["2.7b-chat-v2-q4_K_S"]
    assert offered(call, "pieces-nb download Mis", shell="bash") == ["'Mistral 7B'"]
    assert offered(call, 'pieces-nb download "Mis', shell="bash") == ["Mistral 7B"]


@pytest.mark.parametrize(
    ("typed", "comes", "line"),
    [
        ("downl", "oad ", "pieces-nb download "),
        ("download Mis", "'Mistral 7B' ", "pieces-nb download 'Mistral 7B' "),
        ("snapshot phi:2", "q4_K_S ", "pieces-nb snapshot phi:2.7b-chat-v2-q4_K_S "),
        ('unload "Ge', '2B" ', 'pieces-nb unload "Gemma 2 2B" '),
        ("update my-model --set desc", "ription=", "pieces-nb update my-model --set description="),
    ],
)
@pytest.mark.usefixtures("emulator")
def test_tab_in_bash_completes_the_line(bash: Terminal, typed: str, comes: str, line: str) -> None:
    bash.type(f"pieces-nb {typed}\t")
    assert as_seen(bash.read_until(comes)) == line


@pytest.mark.usefixtures("emulator")
def test_tab_in_bash_that_has_nothing_to_offer_changes_nothing(bash: Terminal) -> None:
    bash.type("pieces-nb load Nobo\t")
    seen = bash.read_until("\a")
    bash.type("dy")
    assert as_seen((seen + bash.read_until("dy")).replace("\a", "")) == "pieces-nb load Nobody"


@pytest.fixture
def bash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A bash that has our completion, with an emulator to ask."""
    if not shutil.which("bash"):
        pytest.skip("there is no bash here")
    program = tmp_path / "pieces-nb"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pieces_nb "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PS1", "> ")
    terminal = Terminal(BASH, "--norc", "--noprofile", "-i")
    try:
        terminal.read_until("> ")
        terminal.say('bind "set enable-bracketed-paste off"; eval "$(pieces-nb completion bash)"; echo re""ady')
        terminal.read_until("ready")
        yield terminal
    finally:
        terminal.close()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_one_it_can_read(call: Call, shell: str) -> None:
    seen = call("completion", shell)

    assert (seen.code, seen.err) == (0, "")
    assert f"pieces-nb {shells.CALL} {shell} " in seen.out
    if found := shutil.which(shell):
        subprocess.run([found, "-n"], input=seen.out, text=True, check=True, timeout=30)
