"""The magic in a real kernel: what a front end receives, and what ■ does."""

from __future__ import annotations

import time

import pytest

from .conftest import Kernel

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def connected(kernel: Kernel, emulator_url: str) -> Kernel:
    outcome = kernel.run(f"%load_ext pieces_nb\n%pieces_model connect {emulator_url}")
    assert outcome.status == "ok", outcome.error
    return kernel


def test_a_waiting_download_moves_its_bar_and_leaves_one_line(connected: Kernel) -> None:
    outcome = connected.run("%pieces_model download llama3.2")
    assert outcome.status == "ok"
    assert any(VIEW in content["data"] for content in outcome.of("display_data"))
    updates = outcome.of("update_display_data")
    assert updates
    assert VIEW not in updates[-1]["data"]
    (result,) = outcome.of("execute_result")
    assert result["data"]["text/plain"].startswith("Llama 3.2 1B (emulated): done · 12.4 MB")
    assert outcome.text.strip() == result["data"]["text/plain"]
    assert connected.value("len(__import__('ipywidgets').widgets.widget._instances)") == "0"


def test_interrupt_stops_the_waiting_with_one_line_and_the_bar_gets_its_button(connected: Kernel) -> None:
    cell = connected.start("%pieces_model download mistral")
    connected.finish(cell, until=connected.bar_beyond(5))
    connected.interrupt()
    error = connected.finish(cell).error
    assert error["ename"] == "StoppedWaiting"
    assert len(error["traceback"]) == 1
    assert "the download goes on" in error["traceback"][0]
    buttons = (
        "[w.description for w in __import__('ipywidgets').widgets.widget._instances.values() if hasattr(w, 'on_click')]"
    )
    assert connected.value(buttons) == "['Cancel']"
    outcome = connected.run("%pieces_model cancel mistral")
    assert outcome.status == "ok", outcome.error
    assert "available" in outcome.text


def test_an_awaited_download_gives_the_model_and_is_interrupted_at_once(connected: Kernel) -> None:
    connected.run("d = %pieces_model download llama3.2 --no-wait")
    assert "downloaded" in connected.run("await d").text
    connected.run("d = %pieces_model download mistral --no-wait")
    cell = connected.start("print('waiting')\nawait d")
    connected.finish(cell, until=connected.bar_beyond(0))
    began = time.monotonic()
    connected.interrupt()
    error = connected.finish(cell).error
    assert time.monotonic() - began < 5
    assert len(error["traceback"]) == 1
    assert "the download goes on" in error["traceback"][0]
    assert connected.value("d.done") == "False"


def open_widgets(kernel: Kernel) -> str:
    return kernel.value("len(__import__('ipywidgets').widgets.widget._instances)")


@pytest.mark.parametrize("wait", ["download.wait()", "await download"])
def test_python_code_that_waits_in_a_cell_has_its_bar_and_leaves_nothing_of_it(
    connected: Kernel, emulator_url: str, wait: str
) -> None:
    connected.run(f"from pieces_nb import ModelClient\nclient = ModelClient({emulator_url!r})")
    cell = connected.start(f"download = client.download('phi-2')\n_ = {wait}")
    connected.finish(cell, until=connected.bar_beyond(5))
    outcome = connected.finish(cell)
    assert outcome.status == "ok", outcome.error
    assert outcome.text.strip() == ""
    assert open_widgets(connected) == "0"


def test_a_bar_comes_under_the_cell_that_waits_and_once(connected: Kernel, emulator_url: str) -> None:
    connected.run(f"from pieces_nb import ModelClient\nclient = ModelClient({emulator_url!r})")
    outcome = connected.run(
        "downloads = client.download('llama 3.2'), client.download('phi-3')\nfor one in downloads:\n    one.wait()"
    )
    assert [VIEW in content["data"] for content in outcome.of("display_data")].count(True) == 2
    outcome = connected.run("gemma = client.download('gemma')\ngemma")
    assert [VIEW in content["data"] for content in outcome.of("display_data")].count(True) == 1
    cell = connected.start("gemma.wait()")
    outcome = connected.finish(cell)
    assert [VIEW in content["data"] for content in outcome.of("display_data")].count(True) == 1


@pytest.mark.parametrize(
    "cell", ["x = %pieces_model download mistral --no-wait", "%pieces_model download mistral --no-wait"]
)
def test_a_download_that_no_cell_waits_for_has_its_bar_once_assigned_or_not(connected: Kernel, cell: str) -> None:
    outcome = connected.run(cell)
    assert [VIEW in content["data"] for content in outcome.of("display_data")].count(True) == 1
    assert outcome.of("execute_result") == []
    connected.wait_until(connected.bar_beyond(0))


def test_a_load_says_under_its_cell_for_how_long_it_has_been_loading(connected: Kernel) -> None:
    code = """
import threading
from ipywidgets import Widget
from pieces_nb.history import HISTORY
said = threading.Event()
def look(change):
    if "… 1 s" in str(change["new"]):
        said.set()
Widget.on_widget_constructed(lambda widget: widget.has_trait("value") and widget.observe(look, "value"))
with HISTORY.recording("load", "Phi-2"):
    assert said.wait(60)
"""
    outcome = connected.run(code)
    assert outcome.status == "ok", outcome.error
    assert connected.says("Loading Phi-2 … ")(outcome)
    assert outcome.text.strip() == ""
    assert any("Loading Phi-2" in update["data"]["text/plain"] for update in outcome.of("update_display_data"))
    assert open_widgets(connected) == "0"


def test_a_failed_call_is_a_failed_cell_of_one_line(connected: Kernel) -> None:
    error = connected.run("%pieces_model download gpt-4o-mini").error
    assert error["ename"] == "ModelStateError"
    assert len(error["traceback"]) == 1
    assert "cloud" in error["evalue"]


def test_an_error_in_python_shows_the_users_frames_and_none_of_ours(connected: Kernel) -> None:
    code = """
from pieces_nb import ModelClient

def deeper():
    client = ModelClient("http://127.0.0.1:9")
    client.get("phi-2")

deeper()
"""
    error = connected.run(code).error
    shown = "\n".join(error["traceback"])
    assert error["ename"] == "PiecesUnreachable"
    assert "deeper" in shown
    assert "pieces_nb/client.py" not in shown
    assert "urllib3" not in shown


def test_a_table_imports_nothing_that_follows_downloads_or_draws_bars(connected: Kernel) -> None:
    assert connected.run("models = %pieces_model list\nmodels").status == "ok"
    late = (
        "websocket",
        "pieces_nb.download.follower",
        "pieces_nb.views.notebook",
        "requests",
        "urllib3",
        "tornado.web",
    )
    assert connected.value(f"[name for name in {late!r} if name in __import__('sys').modules]") == "[]"


def test_no_wait_shows_a_live_bar_and_the_display_becomes_the_record(connected: Kernel) -> None:
    cell = connected.start("%pieces_model download llama3.2 --no-wait")
    outcome = connected.finish(cell)
    assert any(VIEW in content["data"] for content in outcome.of("display_data"))
    watched = connected.run("%pieces_model progress --watch")
    assert watched.status == "ok"
    last = watched.of("update_display_data")
    assert any(": done" in update["data"]["text/plain"] for update in last)


def test_a_download_outlives_the_kernel_and_is_found_again(kernel: Kernel, slow_emulator_url: str) -> None:
    connect = f"%load_ext pieces_nb\n%pieces_model connect {slow_emulator_url}"
    kernel.run(f"{connect}\n%pieces_model download phi-2 --no-wait")
    kernel.restart()
    kernel.run(connect)
    assert "Phi-2 (emulated)" in kernel.run("%pieces_model progress").text
    cell = kernel.start("%pieces_model progress --watch")
    kernel.finish(cell, until=kernel.bar_beyond(0))
    kernel.interrupt()
    assert kernel.finish(cell).error["ename"] == "StoppedWaiting"
    assert "available" in kernel.run("%pieces_model cancel phi-2").text


def test_unload_ext_in_mid_download_leaves_no_thread(connected: Kernel) -> None:
    connected.run("%pieces_model download mistral --no-wait")
    outcome = connected.run("%unload_ext pieces_nb")
    assert outcome.status == "ok"
    assert connected.value("[t.name for t in __import__('threading').enumerate() if 'pieces' in t.name]") == "[]"
    assert "UsageError" in connected.run("%pieces_model").text
