"""The example notebook of the panel, run by nbclient: what its widgets hold, which nbval does not look at."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[3] / "notebooks" / "control_panel.ipynb"
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.mark.full
def test_the_panel_of_the_example_notebook_has_followed_its_cells() -> None:
    notebook: Any = nbformat.reads(NOTEBOOK.read_text(), as_version=4)  # type: ignore[no-untyped-call]  # has no types
    NotebookClient(notebook, timeout=120, kernel_name="python3", store_widget_state=True).execute()
    models = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"].values()
    states = [model["state"] for model in models]
    words = unescape(re.sub("<[^>]*>", " ", json.dumps([state.get("value") for state in states], ensure_ascii=False)))
    buttons = [state for state in states if state.get("_model_name") == "ButtonModel"]

    assert "Pieces OS emulator" in words
    assert "Phi-2 (emulated): done" in words
    assert "9 local models" in words
    assert sum(button["description"].startswith("⋯") for button in buttons) == 10
    assert len(states) <= 100


def test_the_saved_notebook_has_text_in_place_of_the_widget() -> None:
    saved = json.loads(NOTEBOOK.read_text())
    shown = [output["data"] for cell in saved["cells"] for output in cell.get("outputs", []) if "data" in output]

    assert any("`%pieces_model panel` shows it live" in "".join(data["text/plain"]) for data in shown)
    assert not any(WIDGET in data for data in shown), "a saved widget is a dead one: it hides the text beside it"
