"""What a program that runs notebooks keeps of them: nbclient, on which papermill and nbconvert stand."""

from __future__ import annotations

import re
from typing import Any

import nbformat
from nbclient import NotebookClient

VIEW = "application/vnd.jupyter.widget-view+json"


def run(cells: list[str]) -> list[list[dict[str, Any]]]:
    """Return the outputs of the cells as they are saved after a run."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])  # type: ignore[no-untyped-call]  # typed in part
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return [cell.outputs for cell in notebook.cells]


def texts(outputs: list[dict[str, Any]]) -> list[str]:
    return [output["data"]["text/plain"] for output in outputs if "data" in output]


def test_a_notebook_that_a_program_has_run_has_records_and_no_dead_widget(emulator_url: str) -> None:
    connect = f"%load_ext pieces_nb\n%pieces_model connect {emulator_url}"
    client = f"from pieces_nb import ModelClient\nclient = ModelClient({emulator_url!r})"
    saved = run(
        [
            f"{connect}\n{client}",
            "%pieces_model download llama3.2",
            "phi = client.download('phi-2')\nphi",
            "_ = await phi",
            "gemma = client.download('gemma')\n_ = gemma.wait()",
            "str(client.load('phi-2').state)",
        ]
    )
    for outputs in saved:
        assert not [output for output in outputs if VIEW in output.get("data", {})]
        assert not [output for output in outputs if output["output_type"] == "error"]
    done = re.compile(r"(Llama 3\.2 1B|Phi-2) \(emulated\): done · [\d.]+ MB · [\d.]+ s · [\d.]+ [kM]B/s")
    assert [bool(done.fullmatch(text)) for text in texts(saved[1])] == [False, False, True]
    assert [bool(done.fullmatch(text)) for text in texts(saved[2])] == [True, False]
    assert texts(saved[3]) == ["", ""]
    assert texts(saved[4]) == ["", ""]
    assert texts(saved[5]) == ["", "", "'loaded'"]
