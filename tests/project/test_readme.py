"""The README holds: its commands are the ones CI runs, its code runs, and what it tells to type can be typed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

from pieces_nb.emulator import Emulator
from pieces_nb.emulator import server as emulator_server
from pieces_nb.text import Front
from pieces_nb.verbs import tokens
from pieces_nb.verbs.actions import VERBS, grammar_for
from pieces_nb.views.magic import PiecesModelMagics
from pieces_nb.views.terminal import own_verbs
from tests.conftest import run

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
RUN_IT = "python3 -m venv .venv && .venv/bin/pip install -e '.[demo]' && .venv/bin/pieces-nb demo"
TEST_IT = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest"
# The emulator of the process, with a small model: what the README does takes a moment then.
SMALL = [{"name": "Phi-2 (emulated)", "unique": "phi:2.7b"}, {"name": "Mistral 7B (emulated)", "unique": "mistral:7b"}]
FAST = f"""
from pieces_nb.emulator import Emulator, server
server._shared = Emulator(models={SMALL!r}, rate_bytes_per_s=None).start()
"""
PLACEHOLDERS = {
    "FIELD=VALUE": "description=x",
    "COMMAND": "download",
    "PATTERN": "llama",
    "MODEL": "phi-2",
    "NAME": "mine",
    "URL": "http://127.0.0.1:39300",
    "PORT": "39300",
    " S": " 600",
    "--at-most N": "--at-most 1",
    "…": "",
}


class Block(NamedTuple):
    """A fenced block: under which heading, in which language, and what it holds."""

    heading: str
    language: str
    text: str


def blocks() -> list[Block]:
    found: list[Block] = []
    heading = ""
    language: str | None = None
    lines: list[str] = []
    for line in README.splitlines():
        if line.startswith("```"):
            if language is None:
                language, lines = line[3:].strip(), []
            else:
                found.append(Block(heading, language, "\n".join(lines)))
                language = None
        elif language is not None:
            lines.append(line)
        elif line.startswith("#"):
            heading = line
    assert language is None
    return found


def of_language(language: str) -> list[Block]:
    return [block for block in blocks() if block.language == language]


def is_notebook(block: Block) -> bool:
    return not block.language and block.text.startswith("%")


@pytest.mark.parametrize(("heading", "command"), [("## Run it", RUN_IT), ("## Test it", TEST_IT)])
def test_the_command_under_its_heading_is_the_one_that_ci_runs(heading: str, command: str) -> None:
    first = next(block for block in blocks() if block.heading == heading)
    assert first == Block(heading, "", command)


def test_every_block_is_of_a_kind_that_is_tested_here() -> None:
    assert {block.language for block in blocks()} <= {"", "python", "sh"}
    commands = [block.text for block in of_language("") if not is_notebook(block)]
    assert commands[:2] == [RUN_IT, TEST_IT]
    assert [text for text in commands[2:] if not text.startswith(".venv/bin/pieces-nb ")] == []


def outcome_of(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody would who has installed the package into this environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIECES_")}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=150,
        check=False,
        cwd=folder,
        env=environment,
    )


@pytest.mark.parametrize("block", of_language("python"), ids=lambda block: block.heading.strip("# "))
def test_python_runs_as_it_stands(block: Block, tmp_path: Path) -> None:
    result = outcome_of([sys.executable, "-W", "error", "-X", "utf8", "-c", FAST + block.text], tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "Phi-2 (emulated)" in result.stdout


@pytest.mark.parametrize(
    "block",
    [block for block in of_language("") if block.text.startswith(".venv/bin/pieces-nb ")],
    ids=lambda block: block.text,
)
def test_a_command_of_the_terminal_runs_as_it_stands(block: Block, tmp_path: Path) -> None:
    for line in block.text.splitlines():
        words = line.removeprefix(".venv/bin/pieces-nb ").split()
        result = outcome_of([sys.executable, "-X", "utf8", "-m", "pieces_nb", *words], tmp_path)
        assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="a shell of Unix is needed")
@pytest.mark.parametrize("block", of_language("sh"), ids=lambda block: block.heading.strip("# "))
def test_a_script_runs_as_it_stands_on_somebodys_notebook(block: Block, tmp_path: Path) -> None:
    cells = ["%load_ext pieces_nb", "%pieces_model list --local"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])  # type: ignore[no-untyped-call] # nbformat leaves it untyped
    (tmp_path / "analysis.ipynb").write_text(nbformat.writes(notebook), "utf-8")  # type: ignore[no-untyped-call] # likewise
    result = outcome_of(["sh", "-euc", block.text], tmp_path)
    assert result.returncode == 0, result.stdout
    assert "2 passed" in result.stdout


@pytest.fixture
def _small_emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with Emulator(models=SMALL, rate_bytes_per_s=None) as small:
        monkeypatch.setattr(emulator_server, "_shared", small)
        monkeypatch.setenv("PIECES_OS_URL", "emulator")
        yield


@pytest.mark.usefixtures("_small_emulator")
@pytest.mark.parametrize(
    "block", [block for block in blocks() if is_notebook(block)], ids=lambda block: block.heading.strip("# ")
)
def test_a_notebook_runs_as_it_stands(shell: InteractiveShell, block: Block) -> None:
    run(shell, "%load_ext pieces_nb")
    assert run(shell, block.text).success
    run(shell, "%unload_ext pieces_nb")


# What it tells to type


def spans() -> list[str]:
    """What stands in backquotes outside the blocks, with a table's escaped bars as they are meant."""
    prose = re.sub(r"(?ms)^```.*?^```", "", README)
    return [span.replace(r"\|", "|") for span in re.findall(r"`([^`\n]+)`", prose)]


def table_spans() -> list[str]:
    """The commands in the first column of the table, with the magic's name where it was left out."""
    lines = [line for line in README.splitlines() if line.startswith("| `%pieces_model")]
    rows = [line.replace(r"\|", "¦").split("|")[1] for line in lines]
    found = [span.replace("¦", "|") for row in rows for span in re.findall(r"`([^`]+)`", row)]
    return [span if span.startswith("%") else f"%pieces_model {span}" for span in found]


def readings(span: str) -> Iterator[str]:
    """What a line with placeholders stands for: each [part] left out, or taken in each of its forms."""
    parts = re.split(r"\[([^\]]*)\]", span)
    choices = [["", *part.split("|")] if index % 2 else [part] for index, part in enumerate(parts)]
    for chosen in product(*choices):
        line = "".join(chosen)
        for placeholder, value in PLACEHOLDERS.items():
            line = re.sub(rf"{re.escape(placeholder)}\b" if placeholder != "…" else placeholder, value, line)
        yield re.sub(r"\s+", " ", line)


MAGIC_LINES = sorted({*table_spans(), *(span for span in spans() if re.match(r"%pieces_model\b", span))})


@pytest.mark.parametrize("span", MAGIC_LINES)
def test_a_line_of_the_magic_can_be_typed(span: str) -> None:
    grammar = grammar_for(Front.NOTEBOOK)
    for line in readings(span):
        needs_more = " --set" not in line and line.split()[1:2] == ["update"]
        arguments = tokens.split(line.removeprefix("%pieces_model") + (" --set cpu=true" if needs_more else ""))
        assert grammar.parse(arguments) is not None, line


def test_the_table_has_every_verb() -> None:
    told = {line.split()[1] if " " in line.strip() else "" for span in table_spans() for line in readings(span)}
    assert told >= {verb.name for verb in VERBS} | {"help"}


def test_the_settings_it_names_are_there() -> None:
    named = re.findall(r"%config PiecesModelMagics\.(\w+)", README)
    assert named
    assert set(named) <= set(PiecesModelMagics.class_trait_names(config=True))


def test_the_commands_of_a_terminal_are_there() -> None:
    named = set(re.findall(r"pieces-nb ([a-z][a-z-]*)", README))
    assert {"demo", "emulator"} <= named
    assert named <= {verb.name for verb in (*VERBS, *own_verbs.VERBS)} | {"help"}


def test_python_names_in_the_text_are_there() -> None:
    import pieces_nb

    for owner, attribute in re.findall(r"`(ModelClient|Download)\.(\w+)", README):
        assert hasattr(getattr(pieces_nb, owner), attribute)
