"""How the tests are shared out among processes: those that compute beside those that wait, the slow ones first.

Each process has ports of its own.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadFileScheduling, LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

# What no test needs and costs each process seconds is not found, in those that tests start too.
_without = str(Path(__file__).with_name("without"))
if _without not in sys.path:
    sys.path.insert(0, _without)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_without, os.environ.get("PYTHONPATH")]))

# Compiled modules are kept, whatever the shell says: these tests start some two hundred processes.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# From the slowest on; what is not named comes last. A notebook is a file, and its cells stay together.
SLOW = (
    "tests/browser",
    "tests/witnesses",
    "tests/kernel",
    "tests/faults",
    "tests/everywhere/test_programs.py",
    "tests/project/test_readme.py",
    "tests/views/terminal/test_process.py",
    "tests/everywhere",
    "notebooks",
    "tests/hostile",
    "tests/emulator",
)
# They wait more than they compute. Half of the processes begin with these, the others with the rest.
WAITING = (
    "tests/faults",
    "notebooks/workflows.ipynb",
    "tests/hostile/test_downloads.py",
    "tests/hostile/test_answers.py",
    "tests/download/test_download.py",
    "tests/views/panel/test_panel.py",
    "tests/views/terminal/test_trace.py",
    "tests/views/terminal/test_verbs.py",
    "tests/client",
    "tests/verbs/test_actions.py",
    "tests/emulator/test_switches.py",
)
# Their tests share nothing that is dear to make, so each may go to any process.
INDEPENDENT = (
    "tests/kernel",
    "tests/faults",
    "tests/everywhere/test_programs.py",
    "tests/project/test_readme.py",
    "tests/views/terminal/test_process.py",
    "tests/hostile",
)
MOST_WORKERS = 8
# A port that one process has given up is no other process's next: it would hear from those who still ask for the first.
# They lie below those from which a system connects, so that nobody who asks for a closed one is answered by themself.
FIRST_PORT, PORTS_EACH = 10_000, 2_500


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Three for each core, as most tests wait for something; none for a file or a test that was named."""
    if any(".py" in argument or ".ipynb" in argument for argument in config.args):
        return 0
    return min(3 * (os.cpu_count() or 1), MOST_WORKERS)


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    config.option.loadscopereorder = False  # the order is ours
    return _ByFileOrTest(config, log)


class _ByFileOrTest(LoadFileScheduling):  # type: ignore[misc] # xdist ships no types
    """Files stay whole, but for those whose tests are independent."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(INDEPENDENT) else str(super()._split_scope(nodeid))

    def _assign_work_unit(self, node: WorkerController) -> None:
        waits = self.nodes.index(node) % 2 == 1
        first = next((scope for scope in self.workqueue if scope.startswith(WAITING) == waits), None)
        if first is not None:
            self.workqueue.move_to_end(first, last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow ones first, in every process alike: one that began last would be waited for alone."""
    if hasattr(config, "workerinput"):
        items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    return next((place for place, folder in enumerate(SLOW) if item.nodeid.startswith(folder)), len(SLOW))


def _own_ports() -> None:
    """Let each listener of this process, told to choose a port, have the next of the process's own."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % MOST_WORKERS
    first = FIRST_PORT + number * PORTS_EACH
    begin = first + random.randrange(PORTS_EACH)  # elsewhere than those of another run beside this
    ports = itertools.cycle([*range(begin, first + PORTS_EACH), *range(first, begin)])  # each given to one thread only
    bind = socket.socket.bind

    def bind_to_own(listening: socket.socket, address: Any) -> None:
        if listening.type != socket.SOCK_STREAM or not isinstance(address, tuple) or address[1] != 0:
            return bind(listening, address)
        for port in itertools.islice(ports, PORTS_EACH):
            try:
                return bind(listening, (address[0], port, *address[2:]))
            except OSError as exc:
                if exc.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
        raise OSError(errno.EADDRINUSE, f"none of the {PORTS_EACH} ports from {first} on is free")

    socket.socket.bind = bind_to_own  # type: ignore[method-assign, assignment]


_own_ports()
