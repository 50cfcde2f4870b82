"""A kernel to measure in, as a notebook has one: what a widget costs is known only where its messages are sent."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zmq
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
        """Run a cell that sets `value`, and return that."""
        wanted = self._client.execute(code, store_history=False, user_expressions={"value": "json.dumps(value)"})
        content = self._reply(wanted)["content"]
        if content["status"] != "ok":
            raise RuntimeError("\n".join(content.get("traceback", ["the cell was aborted"])))
        return json.loads(ast.literal_eval(content["user_expressions"]["value"]["data"]["text/plain"]))

    def _reply(self, wanted: str) -> dict[str, Any]:
        """Wait for the reply, and take in meanwhile, as a page does, what the cell sends, which may be very much."""
        shell, iopub = self._client.shell_channel.socket, self._client.iopub_channel.socket
        poller = zmq.Poller()
        poller.register(shell, zmq.POLLIN)
        poller.register(iopub, zmq.POLLIN)
        deadline = time.monotonic() + _DEADLINE_S
        while (remaining := deadline - time.monotonic()) > 0:
            ready = dict(poller.poll(int(remaining * 1e3)))
            if iopub in ready:
                iopub.recv_multipart()
            if shell in ready:
                reply: dict[str, Any] = self._client.get_shell_msg(timeout=1)
                if reply["parent_header"].get("msg_id") == wanted:
                    return reply
        raise TimeoutError(f"no reply from the kernel within {_DEADLINE_S:g} s")

    def call(self, function: str, *arguments: object) -> Any:
        """Return what a function of `in_kernel` returns."""
        words = ", ".join(repr(argument) for argument in arguments)
        return self.run(f"import json\nfrom tests.benchmarks import in_kernel\nvalue = in_kernel.{function}({words})")
