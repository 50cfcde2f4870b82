"""An emulator of a few tiny models, and `pieces-nb` called in this process or as one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from pieces_nb.emulator import Emulator
from pieces_nb.views.terminal import program
from pieces_nb.wire.connection import VARIABLE

MODELS: list[dict[str, Any]] = [
    {"name": "Phi-2", "unique": "phi:2.7b-chat-v2-q4_K_S", "size": 20_000, "provider": "MICROSOFT", "parameters": 2.78},
    {"name": "Mistral 7B", "unique": "mistral:7b-instruct-q4_K_S", "size": 30_000, "quantization": "q4_K_S"},
    {"name": "Llama 3 8B", "unique": "llama3.1:8b-instruct-q4_K_S", "size": 40_000, "downloaded": True},
    {"name": "Gemma 2 2B", "unique": "gemma2:2b-instruct-q4_K_S", "size": 10_000, "loaded": True},
    {"name": "GPT-4o Chat Model", "unique": "gpt-4o", "cloud": True},
    {"name": "my-model", "unique": "mine:1b", "size": 5_000, "custom": True, "description": "before"},
]
DEADLINE_S = 30.0


@dataclass(frozen=True)
class Outcome:
    """What one call came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Outcome]


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulator, as fast as it goes, that PIECES_OS_URL names."""
    with Emulator(rate_bytes_per_s=None, models=MODELS) as running:
        monkeypatch.setenv(VARIABLE, running.url)
        yield running


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call `pieces-nb` in this process, on a terminal of `columns`."""

    def call(*arguments: str, columns: int = 80) -> Outcome:
        monkeypatch.setenv("COLUMNS", str(columns))
        capsys.readouterr()
        code = program.main(list(arguments))
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start `pieces-nb` as a process of its own."""
    environment = os.environ | options.pop("environment", {})
    return subprocess.Popen(
        [sys.executable, "-m", "pieces_nb", *arguments],
        env=environment,
        text=True,
        encoding="utf-8",
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | options),
    )


def finish(process: subprocess.Popen[str]) -> Outcome:
    """Wait for its end."""
    with process:
        out, err = process.communicate(timeout=DEADLINE_S)
    return Outcome(process.returncode, out or "", err or "")
