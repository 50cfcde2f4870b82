"""What is measured, topic by topic: each is a function that returns lines for the table, with the project's goals."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pieces_nb import Model, ModelClient
from tests.benchmarks import wire
from tests.benchmarks.commands import commands, first_table
from tests.benchmarks.installed import installed
from tests.benchmarks.kernel import Kernel
from tests.benchmarks.measure import (
    Line,
    Spread,
    at_least,
    at_most,
    interleaved,
    milliseconds,
    ratios,
    seconds,
)
from tests.benchmarks.server import Server

Topic = Callable[[], Sequence[Line]]


# Imports -------------------------------------------------------------------------------------------------------------

_IMPORTS = {
    "package": "import pieces_nb",
    "client": "from pieces_nb import ModelClient",
    "sdk": "from pieces_os_client.api.model_api import ModelApi",
}


def _import_s(statement: str, env: Mapping[str, str]) -> float:
    """Return what an import takes in a new interpreter, its start not counted."""
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", code]
    # Not in the repository: an interpreter finds modules in its own folder first.
    run = subprocess.run(command, capture_output=True, check=True, text=True, env=env, cwd=tempfile.gettempdir())
    return float(run.stdout)


def imports() -> list[Line]:
    took: dict[str, list[float]] = {name: [] for name in _IMPORTS}
    with installed() as env:
        for turn in range(21):
            for name, statement in _IMPORTS.items():
                figure = _import_s(statement, env)
                if turn:
                    took[name].append(figure)
    sdk = f"SDK's ModelApi {milliseconds(took['sdk'])}"
    return [
        Line(
            "`import pieces_nb`, times faster than the SDK's ModelApi",
            ratios(took["sdk"], took["package"]),
            "×",
            at_least(50),
            f"{milliseconds(took['package'])}; {sdk}",
        ),
        Line(
            "`from pieces_nb import ModelClient`, times faster than the SDK's ModelApi",
            ratios(took["sdk"], took["client"]),
            "×",
            at_least(9),
            f"{milliseconds(took['client'])}; {sdk}",
        ),
    ]


_IN_A_CELL = {"load_ext": "get_ipython().run_line_magic('load_ext', 'pieces_nb')", "sdk": _IMPORTS["sdk"]}
_TIMED = """
import json, time
begun = time.perf_counter()
{statement}
value = (time.perf_counter() - begun) * 1e3
"""


def extension() -> list[Line]:
    took: dict[str, list[float]] = {name: [] for name in _IN_A_CELL}
    with installed() as env:
        for turn in range(8):
            for name, statement in _IN_A_CELL.items():
                with Kernel(env) as kernel:
                    figure = kernel.run(_TIMED.format(statement=statement))
                if turn:  # the first compiles what is not compiled
                    took[name].append(figure)
    sdk = f"the SDK's import in a kernel {statistics.median(took['sdk']):.0f} ms"
    return [Line("`%load_ext pieces_nb` in a new kernel", Spread.of(took["load_ext"]), "ms", at_most(25), sdk)]


# Calls ---------------------------------------------------------------------------------------------------------------


def _repeated(function: Callable[[], object], times: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(times):
            function()

    return run


def _sdk(url: str) -> tuple[Any, Any]:
    from pieces_os_client.api.model_api import ModelApi
    from pieces_os_client.api.models_api import ModelsApi
    from pieces_os_client.api_client import ApiClient
    from pieces_os_client.configuration import Configuration

    client = ApiClient(Configuration(host=url))
    return ModelApi(client), ModelsApi(client)


def snapshot() -> list[Line]:
    import requests

    times = 20  # short rounds: what disturbs one contestant disturbs the next
    with Server() as server, ModelClient(server.url) as client, requests.Session() as session:
        model_api, _ = _sdk(server.url)
        address = f"{server.url}/model/{wire.PLAIN_ID}"
        took = interleaved(
            {
                "ours": _repeated(lambda: client.get(wire.PLAIN_ID), times),
                "requests": _repeated(lambda: session.get(address).json(), times),
                "sdk": _repeated(lambda: model_api.models_specific_model_snapshot(wire.PLAIN_ID), times),
            },
            repetitions=80,
        )
    each = {name: [figure / times for figure in figures] for name, figures in took.items()}
    detail = ", ".join(f"{name} {milliseconds(figures)}" for name, figures in each.items())
    return [
        Line(
            "`client.get(id)`, of the time of `requests.Session.get(…).json()`",
            ratios(took["ours"], took["requests"]),
            "×",
            at_most(0.6),
            detail,
        ),
        Line(
            "`client.get(id)`, of the time of the SDK's snapshot",
            ratios(took["ours"], took["sdk"]),
            "×",
            at_most(0.9),
            detail,
        ),
    ]


# Tables --------------------------------------------------------------------------------------------------------------

_COUNTS = (100, 1_000, 10_000)


def _sdk_table(models_api: Any) -> Any:
    """Return the same nine columns from the SDK's objects."""
    import pandas as pd

    rows = [
        {
            "name": model.name,
            "state": "loaded" if model.loaded else "downloaded" if model.downloaded else "available",
            "size_gb": model.bytes.value / 1e9,
            "ram_gb": model.ram.value / 1e9,
            "parameters_b": model.parameters,
            "quantization": model.quantization,
            "provider": str(model.provider),
            "custom": model.custom,
            "id": model.id,
        }
        for model in models_api.models_snapshot().iterable
    ]
    return pd.DataFrame(rows)


def tables() -> list[Line]:
    lines, each, others = [], {}, {}
    with Server() as server, ModelClient(server.url) as client:
        _, models_api = _sdk(server.url)
        for count in _COUNTS:
            server.list_models(count)
            took = interleaved(
                {"ours": client.table, "sdk": lambda: _sdk_table(models_api)},
                repetitions=7 if count == _COUNTS[-1] else 15,
            )
            each[count] = statistics.median(took["ours"]) / count
            others[count] = statistics.median(took["sdk"]) / count
            lines.append(
                Line(
                    f"{count:,} models asked for and in a table, times faster than SDK + DataFrame",
                    ratios(took["sdk"], took["ours"]),
                    "×",
                    at_least(6) if count == _COUNTS[-1] else None,
                    f"ours {milliseconds(took['ours'])}, SDK {milliseconds(took['sdk'])}",
                )
            )
    growth = each[10_000] / each[1_000]
    detail = ", ".join(f"{seconds_each * 1e6:.1f} µs of {count:,}" for count, seconds_each in each.items())
    detail += f"; the SDK's grows {others[10_000] / others[1_000]:.2g} ×"
    return [
        *lines,
        # Linear, but for Python's collector: above some thousand models it looks through all that json.loads makes.
        Line("… time for one of 10,000, of that for one of 1,000", Spread.of([growth]), "×", at_most(1.2), detail),
    ]


# Frames --------------------------------------------------------------------------------------------------------------

_BURST = 100_000


class _Bursts:
    """Ways to read one burst; each returns when the end has been heard, and is timed from the open socket on."""

    def __init__(self, server: Server, client: ModelClient) -> None:
        self._url = server.url
        self._client = client
        self._turn = 0

    def _id(self) -> str:
        self._turn += 1
        return f"burst-{_BURST}-{self._turn}"

    def ours(self) -> float:
        """Read by Download, the confirming snapshot included."""
        download = self._client.download(Model(wire.model(1, model_id=self._id())))
        model = download.wait(60)
        ended_at = download.state.ended_at
        assert ended_at is not None
        return float(ended_at - model.raw["openedAt"])

    def bare(self, **options: Any) -> float:
        """Read by `recv()` and `json.loads`, nothing else."""
        import websocket

        address = f"{self._url.replace('http', 'ws', 1)}/model/{self._id()}/download/progress"
        line = websocket.create_connection(address, **options)

        def read() -> None:
            while json.loads(line.recv())["status"] != "COMPLETED":
                pass

        took_s = seconds(read)
        line.close()
        return took_s


def frames() -> list[Line]:
    with Server() as server, ModelClient(server.url) as client:
        bursts = _Bursts(server, client)
        took: dict[str, list[float]] = {"ours": [], "default": [], "same": []}
        for turn in range(10):
            for name, figure in (
                ("ours", bursts.ours()),
                ("default", bursts.bare()),
                ("same", bursts.bare(skip_utf8_validation=True, timeout=0.2)),
            ):
                if turn:
                    took[name].append(figure)
    each = {name: statistics.median(figures) / _BURST * 1e6 for name, figures in took.items()}
    detail = (
        f"a frame: ours {each['ours']:.1f} µs, default {each['default']:.1f} µs, same options {each['same']:.1f} µs"
    )
    what = f"{_BURST:,} frames read by a Download, times as fast as bare `recv()` + `json.loads`"
    return [
        Line(f"{what}, default options", ratios(took["default"], took["ours"]), "×", at_least(1.4), detail),
        Line(f"{what}, our options", ratios(took["same"], took["ours"]), "×", at_least(0.9), detail),
    ]


def widgets() -> list[Line]:
    count = 20_000
    said: dict[str, list[dict[str, float]]] = {"ours": [], "naive": [], "tqdm": []}
    with Server() as server, Kernel() as kernel:
        for turn in range(6):
            for who, figures in said.items():
                figure = kernel.call("burst", who, server.url, count, turn)
                if turn:
                    figures.append(figure)
        ends = [kernel.call("end_shown", server.url, _BURST, turn) for turn in range(8)][1:]
    cpu = {who: [figure["cpu_s"] for figure in figures] for who, figures in said.items()}
    updates = {who: statistics.median(figure["updates"] for figure in figures) for who, figures in said.items()}
    detail = ", ".join(f"{who} {milliseconds(cpu[who])} of CPU and {updates[who]:,.0f} messages" for who in said)
    return [
        Line(
            f"{count:,} frames with a bar: CPU of the naive bar (an update a frame), times ours",
            ratios(cpu["naive"], cpu["ours"]),
            "×",
            None,
            detail,
        ),
        Line("… CPU of tqdm.notebook, times ours", ratios(cpu["tqdm"], cpu["ours"]), "×", None, detail),
        Line(
            f"{_BURST:,} frames: updates a second that reach the front end",
            Spread.of([figure["updates_per_s"] for figure in ends]),
            "/s",
            at_most(10),
        ),
        Line(
            "… from the confirming snapshot to the end shown",
            Spread.of([figure["after_snapshot_s"] * 1e3 for figure in ends]),
            "ms",
            at_most(100),
        ),
    ]


# Many at once --------------------------------------------------------------------------------------------------------


def hundred() -> list[Line]:
    count, window_s = 100, 8.0
    with Server() as server:
        runs = []
        for turn in range(3):
            with Kernel() as kernel:
                runs.append(kernel.call("many", server.url, count, window_s, turn))

    def spread(key: str) -> Spread:
        return Spread.of([run[key] for run in runs])

    most = max(run["busiest_second"] for run in runs)
    cost = ", ".join(f"{spread(key).median:.0f} {key}" for key in ("threads", "sockets", "widgets"))
    left = [run["left"] for run in runs if run["left"]]
    what = f"{count} downloads, 10 frames a second each"
    return [
        Line(
            f"{what}: widget updates a second",
            spread("updates_per_s"),
            "/s",
            at_most(50),
            f"the busiest second had {most}",
        ),
        Line(
            "… share of a core",
            spread("cores"),
            "cores",
            at_most(0.1),
            f"{cost}, {spread('mebibytes').median:.1f} MiB while they ran; opened in {spread('opened_s').median:.2f} s",
        ),
        Line(
            "… ends that are true and shown",
            Spread.of([float(min(run["ended"], run["shown"])) for run in runs]),
            "",
            at_least(count),
        ),
        Line("… from the end of all to the last one shown", spread("last_shown_s"), "s", at_most(2)),
        Line(
            "… until threads, sockets and widgets are back",
            spread("settled_s"),
            "s",
            at_most(1),
            f"left after 5 s: {left}" if left else "none left",
        ),
    ]


# The panel, completion -----------------------------------------------------------------------------------------------


def panel() -> list[Line]:
    with Server() as server:
        server.list_models(1_000)
        runs, first = [], []
        for _ in range(5):
            with Kernel() as kernel:
                first.append(kernel.call("panel", server.url)["cpu_s"] * 1e3)
                runs.append(kernel.call("panel", server.url))
    filled = Spread.of([run["filled_s"] * 1e3 for run in runs])
    return [
        Line(
            "The panel with 1,000 models: kernel time until they are in it",
            Spread.of([run["cpu_s"] * 1e3 for run in runs]),
            "ms",
            at_most(150),
            f"{filled.median:.0f} ms on the clock; the first in a kernel {statistics.median(first):.0f} ms of CPU",
        ),
        Line(
            "… widgets",
            Spread.of([float(run["widgets"]) for run in runs]),
            "",
            at_most(100),
            f"{statistics.median(run['messages'] for run in runs):.0f} messages; "
            f"{max(run['left'] for run in runs)} left after close()",
        ),
    ]


def completion(counts: Sequence[int] = (1_000, 10_000), *, repetitions: int = 15) -> list[Line]:
    from pieces_nb.verbs.completion import complete

    lines = []
    for count in counts:
        models = [Model(wire.model(number)) for number in range(count)]
        took = interleaved(
            {
                "some": lambda models=models: complete("%pieces_model download Lla", models),  # type: ignore[misc]
                "all": lambda models=models: complete("x = %pieces_model snapshot ", models),  # type: ignore[misc]
                "verb": lambda models=models: complete("%pieces_model dow", models),  # type: ignore[misc]
            },
            repetitions=repetitions,
        )
        lines.append(
            Line(
                f"Tab with {count:,} models: names that begin so",
                Spread.of([figure * 1e3 for figure in took["some"]]),
                "ms",
                at_most(100),
                f"all names {milliseconds(took['all'])}, a verb {milliseconds(took['verb'])}",
            )
        )
    return lines


TOPICS: dict[str, Topic] = {
    "imports": imports,
    "extension": extension,
    "commands": commands,
    "first-table": first_table,
    "snapshot": snapshot,
    "tables": tables,
    "frames": frames,
    "widgets": widgets,
    "hundred": hundred,
    "panel": panel,
    "completion": completion,
}
