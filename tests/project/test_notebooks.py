"""The example notebooks as they are committed: their outputs are part of what readers see without a kernel."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from pieces_nb import errors
from pieces_nb.text import Front
from pieces_nb.verbs import tokens
from pieces_nb.verbs.actions import grammar_for

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# Cells whose outputs strict nbval cannot compare, by notebook: each starts a live bar or a panel, or tells of
# the machine it runs on, and the cell after it checks.
IGNORED_OUTPUTS = {
    "control_panel.ipynb": 1,
    "quickstart.ipynb": 1,
    "when_something_is_wrong.ipynb": 2,
    "workflows.ipynb": 1,
}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
MACHINES = re.compile(r"/home/|/root/|/Users/|/tmp/|/var/|/work/|/usr/|[A-Z]:\\\\|\\\\Users\\\\|site-packages")
STARTS_A_LIVE_BAR = re.compile(r"download .*--no-wait|progress .*--watch|client\.download\(|pieces_model panel")
TELLS_OF_THE_MACHINE = re.compile(r"pieces_model doctor")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call] # nbformat leaves it untyped


def code_cells(path: Path) -> list[Any]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def outputs(path: Path) -> list[Any]:
    return [output for cell in code_cells(path) for output in cell.outputs]


def tags(cell: Any) -> list[str]:
    return list(cell.metadata.get("tags", []))


def test_the_quickstart_is_among_them() -> None:
    assert FOLDER / "quickstart.ipynb" in NOTEBOOKS


def test_it_is_valid(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata


def test_every_cell_was_run_in_order_and_keeps_its_output(path: Path) -> None:
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert [cell.source for cell in cells if not cell.outputs] == []
    for cell in cells:
        counts = {output.execution_count for output in cell.outputs if output.output_type == "execute_result"}
        assert counts <= {cell.execution_count}


def test_it_connects_to_the_emulator_before_anything_touches_a_model(path: Path) -> None:
    lines = [line.strip() for cell in code_cells(path) for line in cell.source.splitlines()]
    acts = [line for line in lines if "pieces_model" in line or "ModelClient(" in line or "ModelClient." in line]
    assert acts[0] in ("%pieces_model connect emulator", "client = ModelClient.emulator()")
    assert [line for line in acts if re.search(r"ModelClient\((?!['\"]emulator)", line)] == []
    assert [line for line in acts if re.search(r"connect(?! emulator)", line)] == []


def test_an_error_is_there_only_where_it_is_meant_and_is_one_line(path: Path) -> None:
    for cell in code_cells(path):
        found = [output for output in cell.outputs if output.output_type == "error"]
        assert len(found) == ("raises-exception" in tags(cell)), cell.source
        for error in found:
            assert issubclass(getattr(errors, error.ename), errors.PiecesError)
            assert len(error.traceback) == 1
            assert "\n" not in error.traceback[0]
        assert [one for one in cell.outputs if one.output_type == "stream" and one.name == "stderr"] == []


def test_no_widget_is_left_in_an_output(path: Path) -> None:
    assert [output for output in outputs(path) if WIDGET_VIEW in output.get("data", {})] == []


def test_nothing_in_it_says_whose_machine_it_ran_on(path: Path) -> None:
    kept = [json.dumps(output, ensure_ascii=False) for output in outputs(path)]
    assert [text for text in kept if MACHINES.search(text)] == []
    addresses = re.findall(r"https?://[^\s\"'<]+", " ".join(kept))
    assert [one for one in addresses if not re.match(r"http://127\.0\.0\.1:\d+", one)] == []
    assert set(re.findall(r"this runs on (\S+)", " ".join(kept))) <= {"HOST"}


def test_only_cells_with_something_live_or_of_the_machine_are_not_compared_and_the_next_one_is(path: Path) -> None:
    cells = code_cells(path)
    ignored = [index for index, cell in enumerate(cells) if "nbval-ignore-output" in tags(cell)]
    assert len(ignored) == IGNORED_OUTPUTS.get(path.name, 0)
    for index in ignored:
        source = cells[index].source
        assert STARTS_A_LIVE_BAR.search(source) or TELLS_OF_THE_MACHINE.search(source)
        assert "nbval-ignore-output" not in tags(cells[index + 1])
    assert {tag for cell in cells for tag in tags(cell)} <= {"nbval-ignore-output", "raises-exception"}


def test_results_read_well_without_a_kernel(path: Path) -> None:
    for output in outputs(path):
        if output.output_type == "execute_result":
            assert output.data["text/plain"].strip()
        if output.output_type == "display_data":
            assert set(output.data) <= {"text/plain", "text/html"}


def test_what_its_text_tells_to_type_can_be_typed(path: Path) -> None:
    grammar = grammar_for(Front.NOTEBOOK)
    texts = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]
    for line in re.findall(r"`%pieces_model([^`]*)`", "\n".join(texts)):
        assert grammar.parse(tokens.split(line.replace("…", "phi-2"), {})) is not None
