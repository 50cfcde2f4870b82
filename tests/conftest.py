"""What tests share: a small emulator, a client of it, a look at what was sent, and a shell without a front end."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from pieces_nb import ModelClient
from pieces_nb.download.state import Timing
from pieces_nb.emulator import Emulator
from pieces_nb.history import HISTORY
from pieces_nb.wire.http import Answer, Transport
from tests.needs import insisting

# The design's figures, scaled down; what must never be reached in a test stays long.
QUICK = Timing(
    start_grace_s=2.0,
    settle_s=0.5,
    cancel_within_s=20.0,
    confirm_within_s=20.0,
    poll_s=0.5,
    poll_closed_s=0.1,
    poll_soon_s=0.05,
)
MODELS: list[dict[str, Any]] = [
    {"name": "Phi-2", "unique": "phi:2.7b", "id": "e3010a70-0000-4000-8000-000000000002", "provider": "MICROSOFT"},
    {"name": "Mistral 7B", "unique": "mistral:7b", "id": "e3010a70-0000-4000-8000-000000000004", "size": 200_000},
    {"name": "Phi-3 Mini", "unique": "phi3:3.8b", "id": "e3010a70-0000-4000-8000-000000000003"},
    {"name": "GPT-4o Chat Model", "unique": "gpt-4o", "id": "e3010a70-0000-4000-8000-000000000011", "cloud": True},
    {
        "name": "My Fine-Tune",
        "unique": "mine:1b",
        "id": "e3010a70-0000-4000-8000-000000000021",
        "custom": True,
        "downloaded": True,
        "description": "mine",
        "maxTokens": {"total": 2048},
        "fieldOfTomorrow": {"kept": [1, 2]},
    },
]
PHI, MISTRAL, PHI_3, GPT, MINE = (model["id"] for model in MODELS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return insisting((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return insisting((yield))


@pytest.fixture
def server() -> Iterator[Emulator]:
    with Emulator(models=MODELS, rate_bytes_per_s=None) as emulator:
        yield emulator


@pytest.fixture
def client(server: Emulator) -> Iterator[ModelClient]:
    with ModelClient(server.url, timing=QUICK) as client:
        yield client


@pytest.fixture
def rubbish() -> Iterator[None]:
    """At the end collect what this test left, so that a ResourceWarning falls on it, and not what was before it."""
    gc.freeze()
    yield
    gc.collect()
    gc.unfreeze()


@pytest.fixture
def posts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the POSTs that were sent: what could have changed the server."""
    sent: list[str] = []
    post: Callable[..., Answer] = Transport.post

    def recorded(transport: Transport, path: str, *arguments: Any, **options: Any) -> Answer:
        sent.append(path)
        return post(transport, path, *arguments, **options)

    monkeypatch.setattr(Transport, "post", recorded)
    return sent


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIECES_OS_URL", raising=False)
    monkeypatch.delenv("PIECES_NB_DEBUG", raising=False)


@pytest.fixture(autouse=True)
def _own_history() -> None:
    """The record of the process is one for all tests of it."""
    HISTORY.forget_what_runs()
    HISTORY.clear()


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    """An IPython in this process, the one that `get_ipython()` gives."""
    InteractiveShell.clear_instance()
    settings = Config()
    settings.HistoryManager.enabled = False
    settings.IPCompleter.use_jedi = False
    settings.InteractiveShell.colors = "nocolor"
    shell = InteractiveShell.instance(config=settings)
    yield shell
    InteractiveShell.clear_instance()
    atexit.unregister(shell.atexit_operations)  # else each lives to the end of the process, and takes its time there


def run(shell: InteractiveShell, cell: str) -> Any:
    """IPython's ExecutionResult of a cell: `success`, `result`, `error_in_exec`."""
    return shell.run_cell(cell)  # type: ignore[no-untyped-call] # IPython leaves it untyped
