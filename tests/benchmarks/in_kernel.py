"""What runs inside a kernel: widgets and their messages. Each function returns what JSON can hold.

The `contestants` here follow the same burst of frames: ours, and the two ways that people write themselves.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psutil
import websocket

from pieces_nb import Download, Model, ModelClient
from tests.benchmarks import wire
from tests.benchmarks.server import control

_END_S = 60.0


class Message(NamedTuple):
    """One message of a widget, when it was handed to the kernel's line to the front end."""

    at: float
    kind: str
    text: str


@contextmanager
def _widget_messages() -> Iterator[list[Message]]:
    """Note all messages of widgets; the same small cost for every contestant."""
    from ipykernel.comm.comm import BaseComm

    sent: list[Message] = []
    publish = BaseComm.publish_msg

    def noted(self: Any, msg_type: str, data: Any = None, *args: Any, **kwargs: Any) -> None:
        state = (data or {}).get("state", {})
        text = state.get("value") if isinstance(state, dict) else None
        sent.append(Message(time.monotonic(), msg_type, text if isinstance(text, str) else ""))
        publish(self, msg_type, data, *args, **kwargs)  # type: ignore[no-untyped-call]  # comm has no types

    BaseComm.publish_msg = noted  # type: ignore[method-assign]  # undone below
    try:
        yield sent
    finally:
        BaseComm.publish_msg = publish  # type: ignore[method-assign]


def _open_widgets() -> int:
    from ipywidgets.widgets import widget

    return len(widget._instances)  # Widget.widgets, deprecated, is the same


# One burst -----------------------------------------------------------------------------------------------------------


def _frames(url: str, model_id: str) -> Iterator[dict[str, Any]]:
    line = websocket.create_connection(f"{url.replace('http', 'ws', 1)}/model/{model_id}/download/progress")
    while True:
        progress = json.loads(line.recv())
        yield progress
        if progress["status"] == "COMPLETED":
            line.close()
            return


def _ours(url: str, model_id: str) -> None:
    from pieces_nb.views import notebook as display

    with ModelClient(url) as client:
        download = client.download(Model(wire.model(1, model_id=model_id)))
        display.wait_shown([download], timeout_s=_END_S)


def _naive(url: str, model_id: str) -> None:
    import ipywidgets
    from IPython.display import display

    bar = ipywidgets.FloatProgress(max=100.0)
    display(bar)  # type: ignore[no-untyped-call]  # typed in part
    for progress in _frames(url, model_id):
        bar.value = progress["percentage"]
    bar.close()


def _tqdm(url: str, model_id: str) -> None:
    from tqdm.notebook import tqdm_notebook

    with tqdm_notebook(total=100.0, mininterval=0.1) as bar:
        for progress in _frames(url, model_id):
            bar.update(progress["percentage"] - bar.n)


_CONTESTANTS: dict[str, Callable[[str, str], None]] = {"ours": _ours, "naive": _naive, "tqdm": _tqdm}


def burst(who: str, url: str, frames: int, turn: int) -> dict[str, float]:
    """Follow one burst; return what it cost and what it sent."""
    with _widget_messages() as sent:
        cpu, begun = time.process_time(), time.monotonic()
        _CONTESTANTS[who](url, f"burst-{frames}-{who}{turn}")
        sys.stdout.flush()  # waits for the thread that sends, naive's hundred thousand messages too
        ended = time.monotonic()
        cpu = time.process_time() - cpu
    updates = sum(message.kind == "comm_msg" for message in sent)
    return {"cpu_s": cpu, "wall_s": ended - begun, "updates": updates, "messages": len(sent)}


def end_shown(url: str, frames: int, turn: int) -> dict[str, float]:
    """Return how long after the snapshot that confirms it the end was shown, and the updates before."""
    from pieces_nb.views import notebook as display

    with ModelClient(url) as client, _widget_messages() as sent:
        download = client.download(Model(wire.model(1, model_id=f"burst-{frames}-end{turn}")))
        display.wait_shown([download], timeout_s=_END_S)
        raw = download.model.raw
        shown_at = next(message.at for message in sent if ": done" in message.text)
        values = [message for message in sent if message.kind == "comm_msg" and message.text]
        took_s = shown_at - raw["openedAt"]
        return {
            "after_snapshot_s": shown_at - raw["answeredAt"],
            "updates_per_s": (len(values) - 1) / took_s,
        }


# Many downloads ------------------------------------------------------------------------------------------------------


class _Resources(NamedTuple):
    threads: int
    sockets: int
    widgets: int

    @classmethod
    def now(cls) -> _Resources:
        lines = psutil.Process().net_connections(kind="tcp")
        return cls(threading.active_count(), sum(bool(line.raddr) for line in lines), _open_widgets())


def many(url: str, count: int, window_s: float, turn: int) -> dict[str, Any]:
    """Follow so many paced downloads at once; return what a window in their middle cost, and their ends."""
    from pieces_nb.views import notebook as display

    with ModelClient(url) as client:  # what comes with the first use is not the downloads'
        display.wait_shown([client.download(Model(wire.model(1, model_id=f"burst-1-w{turn}")))], timeout_s=_END_S)
    rest = threading.Event()
    rest.wait(1.0)
    process, before = psutil.Process(), _Resources.now()
    resident = process.memory_info().rss
    control(url, "/benchmark/begin")
    with _widget_messages() as sent:
        client = ModelClient(url)
        begun = time.monotonic()
        models = [Model(wire.model(number, model_id=f"paced-{turn}-{number}")) for number in range(count)]
        downloads = [client.download(model) for model in models]
        block = display.LiveBlock(downloads, waiting=False)
        block.display()
        opened_s = time.monotonic() - begun
        rest.wait(2.5)  # sockets open, first snapshots in
        during, grown = _Resources.now(), process.memory_info().rss - resident
        cpu, since, until = time.process_time(), time.monotonic(), 0.0
        rest.wait(window_s)
        cpu, until = time.process_time() - cpu, time.monotonic()
        updates = [message for message in sent if message.kind == "comm_msg" and since <= message.at < until]
        ends = _ends(url, downloads, sent)
        block.close()
        client.close()
    settled = _settled(before, rest)
    return {
        "opened_s": opened_s,
        "cores": cpu / (until - since),
        "updates_per_s": len(updates) / (until - since),
        "busiest_second": _busiest_second([message.at for message in updates]),
        "threads": during.threads - before.threads,
        "sockets": during.sockets - before.sockets,
        "widgets": during.widgets - before.widgets,
        "mebibytes": grown / 2**20,
        **ends,
        **settled,
    }


def _busiest_second(moments: list[float]) -> int:
    return max((sum(at <= other < at + 1 for other in moments) for at in moments), default=0)


def _ends(url: str, downloads: list[Download], sent: list[Message]) -> dict[str, Any]:
    """Have all end at once; return how many did, truly, and when the last was shown."""
    finished = time.monotonic()
    control(url, "/benchmark/finish")
    for download in downloads:
        download.wait(_END_S)
    shown = [message.at for message in sent if ": done" in message.text and message.at >= finished]
    true = sum(str(download.status) == "COMPLETED" and download.model.downloaded for download in downloads)
    return {"ended": true, "shown": len(shown), "last_shown_s": max(shown) - finished}


def _settled(before: _Resources, rest: threading.Event) -> dict[str, Any]:
    """Wait until everything is back where it was, and say how long that took and what is left."""
    begun = time.monotonic()
    while (now := _Resources.now()) != before and time.monotonic() < begun + 5:
        rest.wait(0.02)
    left = {name: here - there for name, here, there in zip(before._fields, now, before, strict=True) if here != there}
    return {"settled_s": time.monotonic() - begun, "left": left}


# The panel -----------------------------------------------------------------------------------------------------------


def panel(url: str) -> dict[str, float]:
    """Open a panel as a cell does; return the kernel's time until the models are in it, and its widgets."""
    from IPython.display import display

    with ModelClient(url) as client:
        before = _open_widgets()
        with _widget_messages() as sent:
            cpu, begun = time.process_time(), time.monotonic()
            shown = client.panel()
            display(shown)  # type: ignore[no-untyped-call]  # typed in part
            returned_s = time.monotonic() - begun
            _quiet(sent)
            filled_s = sent[-1].at - begun
            cpu = time.process_time() - cpu
        widgets = _open_widgets() - before
        shown.close()
        left = _open_widgets() - before
    return {
        "returned_s": returned_s,
        "filled_s": filled_s,
        "cpu_s": cpu,
        "widgets": widgets,
        "messages": len(sent),
        "left": left,
    }


def _quiet(sent: list[Message], *, for_s: float = 0.4) -> None:
    """Wait until no message has come for a while."""
    rest, seen = threading.Event(), -1
    while len(sent) != seen:
        seen = len(sent)
        rest.wait(for_s)
