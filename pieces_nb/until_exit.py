"""Memory that comes back: models that are unloaded when this process ends, also when it is killed.

`Watcher` is this process's side. The other side is a small process of its own (`main`), which notices the end by its
standard input, a pipe that the system closes whatever the end was; it unloads what it holds and ends. A model that
somebody unloaded meanwhile is held no longer: whoever loads it after that has it for themselves.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pieces_nb.errors import ModelNotFound, PiecesError
from pieces_nb.locks import Lock

if TYPE_CHECKING:
    from pieces_nb.model.models import Model
    from pieces_nb.operations import Operation
    from pieces_nb.wire.http import Transport

READY = "watching"
POLL_S = 5.0  # between two looks at whether a model that is held is still in memory
GIVE_UP_S = 60.0  # how long after the end a load that was under way, or a server that is silent, is waited for
_START_S = 20.0
_END_S = 10.0
_SOON_S = 0.5

# The package is the one that this process has, wherever that is. After its import, which imports nothing else, its
# folder comes last, and -P keeps the working directory out: a `queue.py` beside a notebook is not Python's.
_PROGRAM = """\
import sys
sys.path.insert(0, sys.argv[1])
import pieces_nb
sys.path.append(sys.path.pop(0))
from pieces_nb.until_exit import main
main(poll_s=float(sys.argv[2]))
"""


class Held(NamedTuple):
    """A model to give back. Until it is `confirmed`, its load may still be under way."""

    url: str
    confirmed: bool = False


# This process's side -------------------------------------------------------------------------------------------------


class Watcher:
    """What is to be given back, and the process that does it: there while something is held. Thread-safe."""

    def __init__(self, *, command: Iterable[str] = (), poll_s: float = POLL_S) -> None:
        ours = (sys.executable, "-P", "-c", _PROGRAM, str(Path(__file__).parents[1]))
        self._command = [*(command or ours), f"{poll_s:g}"]
        self._lock = Lock()  # guards the two below, and one writer of the pipe at a time
        self._process: subprocess.Popen[str] | None = None
        self._held: dict[str, Held] = {}

    @property
    def pid(self) -> int | None:
        """The watching process, None while nothing is held."""
        process = self._process
        return process.pid if process is not None else None

    def holds(self, model_id: str) -> bool:
        return model_id in self._held

    def expect(self, url: str, model_id: str) -> None:
        """Hold a model that is about to be loaded; `PiecesError` if nobody can watch, before anything is loaded."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._begin()
            self._held[model_id] = Held(url)
            self._send(expect=model_id, url=url)

    def confirm(self, model_id: str) -> None:
        """Say that it is in memory now."""
        with self._lock:
            if model_id in self._held:
                self._held[model_id] = self._held[model_id]._replace(confirmed=True)
                self._send(confirm=model_id)

    @contextmanager
    def holding(self, url: str, model_id: str) -> Iterator[Callable[[Operation[Model]], object]]:
        """Hold what the block loads, from before it is asked for; the block hands over the load that it begins.

        Nothing if the block fails; a load that may still take effect, this one or one before it, stays held.
        """
        begun: list[Operation[Model]] = []
        before = self._held.get(model_id)
        may_come_yet = before is not None and not before.confirmed
        self.expect(url, model_id)
        try:
            yield begun.append
        except BaseException:
            if not may_come_yet and not any(one.may_take_effect for one in begun):
                self.release(model_id)
            raise
        self.confirm(model_id)

    def release(self, model_id: str) -> None:
        """Hold it no longer; without anything to hold the watcher ends."""
        with self._lock:
            if self._held.pop(model_id, None) is not None:
                self._send(release=model_id)
            process = None if self._held else self._detached()
        _end(process)

    def close(self, *, within_s: float = _END_S) -> None:
        """Give everything back now; the watcher is gone when this returns, or at its own time if the server is slow."""
        with self._lock:
            process = self._detached()
            self._held.clear()
        _end(process, within_s=within_s)

    def abandon(self) -> None:
        """Let go of the pipe in a forked child: the watcher watches its parent alone."""
        process = self._detached()
        self._held = {}
        if process is not None and process.stdin is not None:
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), process.stdin.fileno())
            process.returncode = 0  # it is not this process's child

    def _detached(self) -> subprocess.Popen[str] | None:
        """Return the process, which hears of nothing more; whoever comes next starts another."""
        process, self._process = self._process, None
        return process

    def _begin(self) -> None:
        """Start the watching process, and tell it what one that has died was told."""
        _end(self._detached())
        self._process = self._started()
        for model_id, seen in self._held.items():
            self._send(expect=model_id, url=seen.url)
            if seen.confirmed:
                self._send(confirm=model_id)

    def _started(self) -> subprocess.Popen[str]:
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                **_apart(),
            )
        except OSError as exc:
            raise PiecesError(f"Nothing is loaded: the process that would give it back cannot start ({exc}).") from exc
        if _first_line(process) != READY:
            process.kill()
            process.communicate()
            raise PiecesError("Nothing is loaded: the process that would give it back ended at its start.")
        assert process.stdout is not None
        process.stdout.close()
        return process

    def _send(self, **message: str) -> None:
        process = self._process
        if process is not None and process.stdin is not None:
            with suppress(OSError):  # somebody has ended it: there is nobody to tell
                process.stdin.write(json.dumps(message) + "\n")
                process.stdin.flush()


def _end(process: subprocess.Popen[str] | None, *, within_s: float = _END_S) -> None:
    if process is not None and process.stdin is not None:
        with suppress(OSError):  # it has died, and what it was told last stays untold
            process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(within_s)


def _apart() -> dict[str, Any]:
    """Return how to start a process that the interrupt or the end of this one's group does not reach."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _first_line(process: subprocess.Popen[str]) -> str:
    """Return what it says first, '' if that is nothing or takes too long."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    stream = process.stdout
    assert stream is not None
    threading.Thread(target=lambda: lines.put(stream.readline()), name="pieces-nb-watcher-start", daemon=True).start()
    with suppress(queue.Empty):
        return lines.get(timeout=_START_S).strip()
    return ""


# The watching process's side -----------------------------------------------------------------------------------------


def watch(lines: Iterable[str], *, poll_s: float, give_up_s: float, ask: Callable[[str, str], Model | None]) -> None:
    """Hold what `lines` say until they end, then unload it. `ask(url, model_id)` returns a snapshot, or None."""
    held: dict[str, Held] = {}
    for message in _messages(lines, every_s=poll_s):
        if message is None:
            for model_id in [one for one, seen in held.items() if _has_gone(seen, one, ask)]:
                del held[model_id]
        else:
            _take(message, held)
    _give_back(held, give_up_s=give_up_s, ask=ask)


def _take(message: dict[str, str], held: dict[str, Held]) -> None:
    match message:
        case {"expect": model_id, "url": url}:
            held[model_id] = Held(url)
        case {"confirm": model_id} if model_id in held:
            held[model_id] = held[model_id]._replace(confirmed=True)
        case {"release": model_id}:
            held.pop(model_id, None)


def _has_gone(seen: Held, model_id: str, ask: Callable[[str, str], Model | None]) -> bool:
    """Whether somebody has taken it out of memory meanwhile."""
    model = ask(seen.url, model_id) if seen.confirmed else None
    return model is not None and model.raw.get("loaded") is False


def _messages(lines: Iterable[str], *, every_s: float) -> Iterator[dict[str, str] | None]:
    """Yield what is said, and None whenever nothing was for `every_s`, until the lines end."""
    inbox: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        for line in lines:
            inbox.put(line)
        inbox.put(None)

    threading.Thread(target=read, name="pieces-nb-watcher-reader", daemon=True).start()
    while True:
        try:
            line = inbox.get(timeout=every_s)
        except queue.Empty:
            yield None
            continue
        if line is None:
            return
        with suppress(ValueError):
            yield json.loads(line)


def _give_back(held: dict[str, Held], *, give_up_s: float, ask: Callable[[str, str], Model | None]) -> None:
    deadline = time.monotonic() + give_up_s
    left = dict(held)
    while left and time.monotonic() < deadline:
        for model_id, seen in list(left.items()):
            model = ask(seen.url, model_id)
            if model is not None and model.raw.get("loaded") is False and seen.confirmed:
                del left[model_id]
            elif model is not None and model.loaded:
                _unload(seen.url, model_id)
                left[model_id] = seen._replace(confirmed=True)
        if left:
            time.sleep(_SOON_S)


def _transport(url: str) -> Transport:
    from pieces_nb.wire.http import Transport  # not at the top: it is heavy, and needed only at a look

    return Transport(url, timeout_s=10.0)


def _ask(url: str, model_id: str) -> Model | None:
    from pieces_nb.model.models import Model
    from pieces_nb.wire import endpoints

    transport = _transport(url)
    try:
        return endpoints.snapshot(transport, model_id)
    except ModelNotFound:
        return Model({"loaded": False})
    except PiecesError:
        return None
    finally:
        transport.close()


def _unload(url: str, model_id: str) -> None:
    from pieces_nb.wire import endpoints

    transport = _transport(url)
    try:
        endpoints.unload(transport, model_id)
    except PiecesError:
        pass  # the next look tells
    finally:
        transport.close()


def main(*, poll_s: float) -> None:
    """Watch standard input to its end."""
    print(READY, flush=True)
    watch(sys.stdin, poll_s=poll_s, give_up_s=GIVE_UP_S, ask=_ask)
