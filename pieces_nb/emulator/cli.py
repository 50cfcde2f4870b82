"""`pieces-nb emulator`: the emulator as a process of its own. Parses and prints, no more.

The flags of switches and faults come from their fields.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import queue
import signal
import sys
import threading
import typing
from collections.abc import Callable, Iterator
from typing import Any

from pieces_nb.emulator import replay
from pieces_nb.emulator.errors import EmulatorError
from pieces_nb.emulator.server import Emulator
from pieces_nb.emulator.settings import DEFAULT_RATE_BYTES_PER_S, Faults, Switches

_WAIT_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the emulator's options."""
    parser.add_argument(
        "--port", type=_port, default=0, metavar="N", help="default: a free one that Pieces OS does not use"
    )
    parser.add_argument(
        "--home", type=_folder, metavar="DIR", help="keep files and custom models here; default: a temporary folder"
    )
    parser.add_argument(
        "--rate",
        type=_positive,
        default=DEFAULT_RATE_BYTES_PER_S,
        metavar="BYTES_PER_S",
        help="of each download; inf is as fast as it goes (default: %(default)g)",
    )
    parser.add_argument("--replay", metavar="FILE", help="serve the download that `pieces-nb trace` recorded in FILE")
    parser.add_argument(
        "--replay-speed", type=_positive, default=1.0, metavar="X", help="X times as fast as recorded (default: 1)"
    )
    _add_fields(parser.add_argument_group("what is unknown of the real server"), Switches)
    _add_fields(parser.add_argument_group("faults, for all models"), Faults, but=("rate_bytes_per_s",))


def run(namespace: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGHUP (0) or Ctrl-C (130); 1 if it cannot start."""
    try:
        return serve(namespace)
    except EmulatorError as error:
        print(error, file=sys.stderr)
        return 1


def serve(namespace: argparse.Namespace) -> int:
    """Do the same, but raise EmulatorError."""
    stop: queue.SimpleQueue[None] = queue.SimpleQueue()  # An Event's set() may block in a signal handler.
    emulator = Emulator(
        home=namespace.home,
        port=namespace.port,
        rate_bytes_per_s=None if math.isinf(namespace.rate) else namespace.rate,
        switches=_from_fields(Switches, namespace),
        faults=_from_fields(Faults, namespace),
        recording=replay.read(namespace.replay).faster(namespace.replay_speed) if namespace.replay else None,
    )
    try:
        with _on_signals(lambda: stop.put(None)), emulator:
            print(f"Emulator listening on {emulator.url}", flush=True)
            _wait(stop, emulator)
    except KeyboardInterrupt:
        return 130
    return 0


def _wait(stop: queue.SimpleQueue[None], emulator: Emulator) -> None:
    # In slices: on Windows a wait without an end does not hear Ctrl-C.
    while True:
        with contextlib.suppress(queue.Empty):
            return stop.get(timeout=_WAIT_S)
        if not emulator.running:
            raise EmulatorError("The emulator has stopped by itself.")


def main(arguments: list[str] | None = None) -> int:
    """Run from a command line of its own."""
    parser = argparse.ArgumentParser(prog="python -m pieces_nb.emulator", description="A stand-in for Pieces OS.")
    add_arguments(parser)
    return run(parser.parse_args(arguments))


@contextlib.contextmanager
def _on_signals(act: Callable[[], None]) -> Iterator[None]:
    """Act on SIGTERM and on SIGHUP, unless that is ignored as under nohup."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread may say what signals do.
        return
    with contextlib.ExitStack() as undo:
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before = signal.signal(number, lambda *_: act())
                undo.callback(signal.signal, number, before)
        yield


def _port(word: str) -> int:
    if not word.isascii() or not word.isdigit() or int(word) > 65535:
        raise argparse.ArgumentTypeError(f"{word!r} is no port; it must be 0 to 65535")
    return int(word)


def _folder(word: str) -> str:
    if not word:  # An unset variable of a script: a Path would make the current folder of it.
        raise argparse.ArgumentTypeError("'' names no folder")
    return word


def _number(word: str, *, least: float, most: float, wanted: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{word!r} is not {wanted}")
    return value


def _positive(word: str) -> float:
    return _number(word, least=1e-9, most=math.inf, wanted="a number above 0")


def _seconds(word: str) -> float:
    return _number(word, least=0, most=86400, wanted="a number of seconds")


def _percent(word: str) -> float:
    return _number(word, least=0, most=100, wanted="a percentage from 0 to 100")


def _add_fields(group: argparse._ArgumentGroup, kind: type[Switches | Faults], *, but: tuple[str, ...] = ()) -> None:
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if field.name not in but:
            flag = f"--{field.name.replace('_', '-')}"
            text = field.metadata["help"].replace("%", "%%")
            group.add_argument(flag, default=field.default, help=text, **_how(field.name, hints[field.name]))


def _how(name: str, hint: Any) -> dict[str, Any]:
    words = [word for part in (hint, *typing.get_args(hint)) for word in typing.get_args(part) if isinstance(word, str)]
    if words:
        return {"choices": list(dict.fromkeys(words))}
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if name.endswith("_at"):
        return {"type": _percent, "metavar": "P"}
    if hint is float:
        return {"type": _seconds, "metavar": "S"}
    return {"metavar": "TEXT"}


def _from_fields(kind: Callable[..., Any], namespace: argparse.Namespace) -> Any:
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]  # The two classes of settings.
    return kind(**{name: getattr(namespace, name) for name in names if hasattr(namespace, name)})
