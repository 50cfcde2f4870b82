"""A kernel to measure in, as a notebook has one: what a widget costs is known only where its messages are sent."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jupyter_client.manager import KernelManager

_ROOT = Path(__file__).parents[2]
_DEADLINE_S = 240.0


class Kernel:
    """A running kernel that finds this repository's modules, or those of another environment. `run` is one cell."""

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self._env = {**(os.environ if env is None else env), "PIECES_OS_URL": ""}
        if env is None:
            self._env["PYTHONPATH"] = str(_ROOT)

    def __enter__(self) -> Self:
        self._manager = KernelManager()
        # Not in the repository: a kernel finds modules in its own folder first.
        self._manager.start_kernel(cwd=tempfile.gettempdir(), env=self._env, stderr=subprocess.DEVNULL)
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def run(self, code: str) -> Any:
        """Run a cell and return what it printed as JSON."""
        printed: list[str] = []

        def note(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream" and content["name"] == "stdout":
                printed.append(content["text"])

        reply = self._client.execute_interactive(code, timeout=_DEADLINE_S, output_hook=note, store_history=False)
        if reply["content"]["status"] != "ok":
            raise RuntimeError("\n".join(reply["content"].get("traceback", ["the cell was aborted"])))
        return json.loads("".join(printed))

    def call(self, function: str, *arguments: object) -> Any:
        """Return what a function of `in_kernel` returns."""
        words = ", ".join(repr(argument) for argument in arguments)
        return self.run(
            f"import json\nfrom tests.benchmarks import in_kernel\nprint(json.dumps(in_kernel.{function}({words})))"
        )
