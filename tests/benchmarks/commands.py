"""What a person waits for: Tab in a shell, a command of the terminal, the first table of a kernel.

Each is whole, from the start of a process or the first line of a cell, and against our emulator.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import NamedTuple

from pieces_nb.emulator import Emulator
from tests.benchmarks.installed import installed
from tests.benchmarks.kernel import Kernel
from tests.benchmarks.measure import Line, Spread, at_most, ratios

# What the script `pieces-nb` of an installed package does.
_PIECES_NB = (sys.executable, "-c", "import sys; from pieces_nb.__main__ import main; sys.exit(main())")
_SDK_LISTS = """
import os
from pieces_os_client.api.models_api import ModelsApi
from pieces_os_client.api_client import ApiClient
from pieces_os_client.configuration import Configuration
client = ApiClient(Configuration(host=os.environ["PIECES_OS_URL"]))
for model in ModelsApi(client).models_snapshot().iterable:
    print(model.id, model.name, model.downloaded, model.loaded)
"""
_COMMANDS = {
    "word": (*_PIECES_NB, "__complete", "bash", "pieces-nb downl"),
    "name": (*_PIECES_NB, "__complete", "bash", "pieces-nb download "),
    "status": (*_PIECES_NB, "status"),
    "list": (*_PIECES_NB, "list"),
    "sdk": (sys.executable, "-c", _SDK_LISTS),
}


class Cost(NamedTuple):
    """What a process took: on the clock, and of CPU, in seconds."""

    wall_s: float
    cpu_s: float


def _cost(command: tuple[str, ...], env: Mapping[str, str]) -> Cost:
    """Return what a command took, which has to succeed and to say something."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    # Not in the repository: an interpreter finds modules in its own folder first.
    run = subprocess.run(command, capture_output=True, check=True, env=env, cwd=tempfile.gettempdir())
    took_s, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run.stdout.strip(), command
    return Cost(took_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def commands(*, repetitions: int = 15) -> list[Line]:
    took: dict[str, list[Cost]] = {name: [] for name in _COMMANDS}
    with installed() as env, Emulator() as emulator:
        for turn in range(1 + repetitions):  # the first compiles what is not compiled
            for name, command in _COMMANDS.items():
                figure = _cost(command, {**env, "PIECES_OS_URL": emulator.url})
                if turn:
                    took[name].append(figure)
    wall = {name: [cost.wall_s for cost in costs] for name, costs in took.items()}
    said = {name: _words(costs) for name, costs in took.items()}
    return [
        Line(
            "Tab in a shell that offers the names of models",
            Spread.of([figure * 1e3 for figure in wall["name"]]),
            "ms",
            at_most(150),
            f"{said['name']}; a Tab that offers words {said['word']}",
        ),
        Line(
            "`pieces-nb list`, of the time of `pieces-nb status`",
            ratios(wall["list"], wall["status"]),
            "×",
            at_most(1.3),
            f"list {said['list']}; status {said['status']}",
        ),
        Line(
            "`pieces-nb list`, of the time of a script that lists with the SDK",
            ratios(wall["list"], wall["sdk"]),
            "×",
            at_most(0.25),
            f"list {said['list']}; the script {said['sdk']}",
        ),
    ]


def _words(costs: list[Cost]) -> str:
    """Return the median and, of what others on the machine do not disturb, the least."""
    wall, cpu = statistics.median(cost.wall_s for cost in costs), min(cost.cpu_s for cost in costs)
    return f"{wall * 1e3:.0f} ms (of CPU at least {cpu * 1e3:.0f} ms)"


_IN_A_CELL = {
    "table": (
        "shell = get_ipython(); shell.run_line_magic('load_ext', 'pieces_nb'); "
        "display(shell.run_line_magic('pieces_model', 'list'))"
    ),
    "libraries": "import pandas, requests",
}
_TIMED = """
import json, os, time
os.environ["PIECES_OS_URL"] = {url!r}
begun, cpu = time.perf_counter(), time.process_time()
{statement}
value = [time.perf_counter() - begun, time.process_time() - cpu]
"""


def first_table(*, repetitions: int = 9) -> list[Line]:
    took: dict[str, list[Cost]] = {name: [] for name in _IN_A_CELL}
    with installed() as env, Emulator() as emulator:
        for turn in range(1 + repetitions):  # the first compiles what is not compiled
            for name, statement in _IN_A_CELL.items():
                with Kernel(env) as kernel:
                    figure = Cost(*kernel.run(_TIMED.format(url=emulator.url, statement=statement)))
                if turn:
                    took[name].append(figure)
    table, libraries = ([cost.wall_s for cost in took[name]] for name in ("table", "libraries"))
    return [
        Line(
            "The first table of a kernel (`%load_ext`, `list`), of the time of `import pandas, requests`",
            ratios(table, libraries),
            "×",
            at_most(1.15),
            f"the table {_words(took['table'])}; the imports {_words(took['libraries'])}",
        )
    ]
