"""`pieces-nb demo`: what it says when something is in the way, and what a terminal is shown of a kernel's messages."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from pieces_nb import demo
from pieces_nb.errors import PiecesError


class Screen(io.StringIO):
    """A terminal that keeps what it was sent."""

    def isatty(self) -> bool:
        return True


def message(story: demo._Story, **row: object) -> None:
    story.message("comm_msg", {"data": {"state": {"placeholder": json.dumps(row)}}})


def test_a_bar_moves_on_one_line_of_a_terminal_and_gives_way_to_what_comes_next() -> None:
    screen = Screen()
    story = demo._Story(screen)
    message(story, name="Phi-2", words="40 %", percentage=40.0)
    message(story, name="Phi-2", words="60 %", percentage=60.0)
    story.message("stream", {"text": "done\n"})
    assert screen.getvalue() == (
        f"\r\x1b[2KPhi-2  {'█' * 8}{'░' * 12}  40 %\r\x1b[2KPhi-2  {'█' * 12}{'░' * 8}  60 %\r\x1b[2Kdone\n"
    )


def test_another_widgets_placeholder_is_no_bar() -> None:
    out = io.StringIO()
    story = demo._Story(out)
    message(story, name="Phi-2")
    story.message("comm_open", {"data": {"state": {"placeholder": "search"}}})
    story.message("comm_open", {"data": {}})
    story.message("status", {})
    assert out.getvalue() == ""


def test_a_long_table_is_shortened_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    lines = demo._shortened("\n".join("x" * 20 for _ in range(demo._KEPT_LINES + 2))).splitlines()
    assert lines[0] == "x" * 9 + "…"
    assert lines[-1] == "… 2 more lines"


def failing_notebook(folder: Path) -> None:
    cell = nbformat.v4.new_code_cell("raise RuntimeError('of the cell')")  # type: ignore[no-untyped-call]
    notebook = nbformat.v4.new_notebook(cells=[cell])  # type: ignore[no-untyped-call] # nbformat leaves it untyped
    (folder / "quickstart.ipynb").write_text(nbformat.writes(notebook), "utf-8")  # type: ignore[no-untyped-call]


def test_a_cell_that_fails_fails_the_demo_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_notebook(tmp_path)
    monkeypatch.setattr(demo, "notebooks_folder", lambda: tmp_path)
    out = io.StringIO()
    assert demo.run_notebook(out) == 1
    assert out.getvalue().rstrip().endswith("The cell above failed: RuntimeError: of the cell")


def test_what_the_kernel_said_is_shown_when_things_break(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), demo._kernel_log() as log:
        log.write("no space left") / 0
    assert capsys.readouterr().err == "no space left"


def test_without_nbclient_it_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nbclient", None)  # how an import is made to fail
    monkeypatch.delitem(sys.modules, "nbclient.exceptions", raising=False)
    with pytest.raises(PiecesError, match=r"The demo needs nbclient.*: pip install 'pieces_nb\[demo\]' brings it"):
        demo.run_notebook(io.StringIO())


def test_without_jupyterlab_it_says_what_brings_it_and_opens_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "jupyterlab", None)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it opens something"))
    with pytest.raises(PiecesError, match=r"The demo needs jupyterlab: pip install 'pieces_nb\[demo\]' brings it"):
        demo.open_lab()
    assert capsys.readouterr().out == ""


def test_notebooks_that_are_missing_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "__file__", str(tmp_path / "pieces_nb" / "demo.py"))
    with pytest.raises(PiecesError, match=r"The example notebooks are missing beside .*; installing pieces_nb again"):
        demo.notebooks_folder()


@pytest.mark.parametrize(("ends", "code"), [("well", 0), ("badly", 3), ("by Ctrl-C", 0)])
def test_lab_gets_a_copy_that_goes_with_it(ends: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def run(command: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        opened.append(Path(command[-1]))
        assert opened[0].read_bytes() == (demo.notebooks_folder() / "quickstart.ipynb").read_bytes()
        if ends == "by Ctrl-C":
            raise KeyboardInterrupt
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(subprocess, "run", run)
    assert demo.open_lab() == code
    assert not opened[0].exists()
