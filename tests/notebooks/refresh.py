"""`python -m tests.notebooks.refresh [NOTEBOOK …]`: runs the example notebooks and keeps their outputs.

Their outputs are part of what readers see, so they come from a run, never from a hand. Metadata that changes with every
run (times, widget state, version numbers) is left out, and so is the name of the machine, which `doctor` says.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

WIDGET = "application/vnd.jupyter.widget-view+json"  # in a saved page it is dead: the text beside it stays
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def refresh(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # typed in part
    NotebookClient(notebook, timeout=120, kernel_name="python3", store_widget_state=False).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            data.pop(WIDGET, None)
            data.update({kind: _nameless(text) for kind, text in data.items() if isinstance(text, str)})
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, path)  # type: ignore[no-untyped-call]  # likewise


def _nameless(text: str) -> str:
    return text.replace(f"this runs on {socket.gethostname()} ", "this runs on HOST ")


def main() -> None:
    names = sys.argv[1:] or sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
    for name in names:
        print(f"{name} …", flush=True)
        refresh(NOTEBOOKS / Path(name).name)


if __name__ == "__main__":
    main()
