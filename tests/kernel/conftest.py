"""A real kernel, and the emulator as a separate process."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from tests.ipykernels import NUDGE_S, READS_LATE

DEADLINE_S = 60.0


@dataclass
class Outcome:
    """What one cell sent: its outputs in order, and how it ended."""

    status: str = ""
    outputs: list[dict[str, Any]] = field(default_factory=list)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [output["content"] for output in self.outputs if output["msg_type"] == kind]

    @property
    def text(self) -> str:
        """Everything a reader sees at the end, as text: streams, results, displays as last updated."""
        shown: dict[str, str] = {}
        for number, output in enumerate(self.outputs):
            content = output["content"]
            if output["msg_type"] == "stream":
                shown[str(number)] = content["text"]
            elif "data" in content and output["msg_type"] in ("execute_result", "display_data", "update_display_data"):
                key = content.get("transient", {}).get("display_id") or str(number)
                shown[key] = content["data"].get("text/plain", "")
        return "\n".join(shown.values())

    @property
    def error(self) -> dict[str, Any]:
        (error,) = self.of("error")
        return error


class Kernel:
    """A kernel driven as a front end drives it, and a view on the messages of its widgets."""

    def __init__(self) -> None:
        self.widget_html: dict[str, str] = {}
        try:
            self._begin()
        except RuntimeError:  # it died: another process took a port that was chosen for it
            self.close()
            self._begin()

    def _begin(self) -> None:
        self._manager = KernelManager(kernel_name="python3")
        # No ipykernel warning of ours to catch: what the process says goes nowhere.
        self._manager.start_kernel(stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self._client: Any = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=DEADLINE_S)

    def start(self, code: str) -> str:
        return str(self._client.execute(code))

    def finish(self, message_id: str, *, until: Callable[[Outcome], bool] | None = None) -> Outcome:
        """Read what a cell sends up to its end, or until a condition holds, which must be before that."""
        outcome = Outcome()
        deadline = time.monotonic() + DEADLINE_S
        nudge_at = time.monotonic() + NUDGE_S
        while time.monotonic() < deadline:
            if until is not None and until(outcome):
                return outcome
            if READS_LATE and not outcome.of("status") and time.monotonic() >= nudge_at:
                self._connect_anew()
                nudge_at += NUDGE_S
            try:
                message = self._client.get_iopub_msg(timeout=0.2)
            except queue.Empty:
                continue
            self._note_widget(message)
            if message["parent_header"].get("msg_id") != message_id and message["msg_type"] != "update_display_data":
                continue
            outcome.outputs.append(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                outcome.status = "error" if outcome.of("error") else "ok"
                assert until is None or until(outcome), f"the cell ended before: {outcome}"
                return outcome
        raise AssertionError(f"the cell did not end: {outcome}")

    def _connect_anew(self) -> None:
        another = self._manager.blocking_client()
        another.start_channels()
        another.wait_for_ready(timeout=DEADLINE_S)
        another.stop_channels()

    def wait_until(self, condition: Callable[[Outcome], bool]) -> None:
        """Read what the widgets send while no cell runs, until a condition holds."""
        self.finish("no cell's", until=condition)

    def _note_widget(self, message: dict[str, Any]) -> None:
        if message["msg_type"] in ("comm_open", "comm_msg"):
            content = message["content"]
            state = content["data"].get("state", {})
            if "value" in state:
                self.widget_html[content["comm_id"]] = str(state["value"])

    def run(self, code: str) -> Outcome:
        return self.finish(self.start(code))

    def value(self, expression: str) -> str:
        """Return the text of an expression, evaluated in the kernel."""
        outcome = self.run(f"print({expression})")
        assert outcome.status == "ok", outcome.error
        return outcome.text.strip()

    def shown_percentages(self) -> list[float]:
        """Return the percentages that bars in the front end show now."""
        found = [
            re.search(r'aria-label="download of [^>]* aria-valuenow="([\d.]+)"', html)
            for html in self.widget_html.values()
        ]
        return [float(match.group(1)) for match in found if match]

    def says(self, words: str) -> Callable[[Outcome], bool]:
        """Whether a widget in the front end says these words."""
        return lambda _: any(words in html for html in self.widget_html.values())

    def bar_beyond(self, percentage: float) -> Callable[[Outcome], bool]:
        return lambda _: any(shown > percentage for shown in self.shown_percentages())

    def interrupt(self) -> None:
        self._manager.interrupt_kernel()

    def restart(self) -> None:
        self._manager.restart_kernel(now=False, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self._client.wait_for_ready(timeout=DEADLINE_S)
        self.widget_html.clear()

    def close(self) -> None:
        self._client.stop_channels()
        # A kernel that is measured is asked to end, and writes down what it ran; others are killed, which is quick.
        self._manager.shutdown_kernel(now="COVERAGE_PROCESS_CONFIG" not in os.environ)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    kernel = Kernel()
    try:
        yield kernel
    finally:
        kernel.close()


@pytest.fixture
def emulator_url() -> Iterator[str]:
    """An emulator of its own, slow enough to be met in mid-download."""
    yield from _emulator("8e6")


@pytest.fixture
def slow_emulator_url() -> Iterator[str]:
    """Another, whose downloads outlast the restart of a kernel."""
    yield from _emulator("5e5")


def _emulator(rate: str) -> Iterator[str]:
    command = [sys.executable, "-m", "pieces_nb.emulator", "--rate", rate]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield line.split()[-1]
        process.terminate()
