"""A recorded download, served again: the model, its frames and snapshots, at the times at which they were recorded.

A recording (`pieces-nb trace` makes one) is data of somebody else's: every line is checked, nothing of it is run or is
part of a path. The call that starts the download starts the recording too; what it does not tell (a cancel, loading,
deleting the files) is emulated as ever.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from pieces_nb.emulator import fields
from pieces_nb.emulator.catalogue import Seed
from pieces_nb.emulator.content import Content
from pieces_nb.emulator.entry import Entry
from pieces_nb.emulator.errors import EmulatorError, Refused
from pieces_nb.emulator.home import Home
from pieces_nb.emulator.service import Service
from pieces_nb.emulator.settings import Settings

FORMAT = 1
_MOST_BYTES = 64 * 1024 * 1024
_MOST_LINE_BYTES = 1024 * 1024
_MOST_SECONDS = 1e7
_MOST_DEPTH = 32
_MOST_ID = 200


# Reading -------------------------------------------------------------------------------------------------------------


class Frame(NamedTuple):
    """One frame, as text, at a time in seconds after the start."""

    at: float
    text: str


class Snapshot(NamedTuple):
    """What a snapshot says from a time on."""

    at: float
    model: dict[str, Any]


class Line(NamedTuple):
    """What becomes of a progress socket: from `at` on it opens, or is `refused` (404 or close)."""

    at: float
    refused: str | None


class Break(NamedTuple):
    """The server ends the open sockets: properly, or `cut`."""

    at: float
    cut: bool


class Answer(NamedTuple):
    """The answer to the call that starts the download, `at` so many seconds after it. Status 0: there was none."""

    at: float
    status: int
    text: str


@dataclass(frozen=True)
class Recording:
    """One download. Times are in seconds after its start, all that came before is at 0."""

    model_id: str
    snapshots: tuple[Snapshot, ...]
    frames: tuple[Frame, ...]
    lines: tuple[Line, ...]
    breaks: tuple[Break, ...]
    answer: Answer
    duration_s: float

    def faster(self, factor: float) -> Recording:
        """Return the same, `factor` times as fast."""
        return replace(
            self,
            snapshots=tuple(one._replace(at=one.at / factor) for one in self.snapshots),
            frames=tuple(one._replace(at=one.at / factor) for one in self.frames),
            lines=tuple(one._replace(at=one.at / factor) for one in self.lines),
            breaks=tuple(one._replace(at=one.at / factor) for one in self.breaks),
            answer=self.answer._replace(at=self.answer.at / factor),
            duration_s=self.duration_s / factor,
        )

    def snapshot_at(self, at: float) -> dict[str, Any]:
        """Return the last snapshot up to a time; before any, the first."""
        return next((one.model for one in reversed(self.snapshots) if one.at <= at), self.snapshots[0].model)

    def refusal_at(self, at: float) -> str | None:
        """Return how a socket is refused at a time, if it is."""
        return next((one.refused for one in reversed(self.lines) if one.at <= at), None)


def read(path: str | Path) -> Recording:
    """Return the recording in a file. Raises EmulatorError, one line that names the line at fault."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as exc:
        raise EmulatorError(f"The recording {path} cannot be read: {getattr(exc, 'strerror', None) or exc}.") from exc
    if len(raw) > _MOST_BYTES:
        raise EmulatorError(f"The recording {path} is larger than {_MOST_BYTES >> 20} MiB.")
    return _Reader(str(path)).read(raw)


class _Wrong(Exception):
    """What is wrong with a line."""


class _Reader:
    """Reads one file, line by line."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._model_id = ""
        self._start = -1.0
        self._last = 0.0
        self._asked: dict[object, float] = {}
        self._post: object = None
        self._answer: Answer | None = None
        self._snapshots: list[Snapshot] = []
        self._frames: list[Frame] = []
        self._opening: dict[object, float] = {}
        self._opened: set[object] = set()
        self._lines: list[Line] = []
        self._breaks: list[Break] = []

    def read(self, raw: bytes) -> Recording:
        for number, line in enumerate(raw.split(b"\n"), 1):
            if not line.strip():
                continue
            try:
                self._take(_checked(line), first=not self._model_id)
            except _Wrong as exc:
                raise EmulatorError(f"The recording {self._name} is malformed in line {number}: {exc}.") from None
        if not self._snapshots:
            raise EmulatorError(f"The recording {self._name} holds no snapshot of a model.")
        return self._recording()

    def _take(self, line: dict[str, Any], *, first: bool) -> None:
        at = _time(line)
        if at < self._last:
            raise _Wrong("its time is before that of the line above")
        self._last = at
        if first:
            self._model_id = _model_id(line)
            return
        match line["kind"]:
            case "request":
                self._take_request(line, at)
            case "answer":
                self._take_answer(line, at)
            case "snapshot":
                self._take_snapshot(line, at)
            case "socket":
                self._take_socket(line, at)
            case "frame":
                self._frames.append(Frame(at, _frame_text(line)))

    def _take_request(self, line: dict[str, Any], at: float) -> None:
        path = str(line.get("path"))
        if line.get("method") == "POST" and path.endswith("/download") and self._post is None:
            self._post, self._start = _number(line), at

    def _take_answer(self, line: dict[str, Any], at: float) -> None:
        if self._post is None or line.get("n") != self._post or self._answer is not None:
            return
        status, body = line.get("status", 0), line.get("body")
        if not isinstance(status, int) or isinstance(status, bool) or not 0 <= status <= 599:
            raise _Wrong("its status is no HTTP status")
        self._answer = Answer(at, status, body if isinstance(body, str) else "")
        if isinstance(body, dict) and body.get("id") == self._model_id and status < 300 and fields.is_json(body):
            self._snapshots.append(Snapshot(at, body))

    def _take_snapshot(self, line: dict[str, Any], at: float) -> None:
        model = line.get("model")
        if model is None and line.get("same") is True:
            return
        if not isinstance(model, dict):
            raise _Wrong("its model is no object")
        if not fields.is_json(model):
            raise _Wrong("its model cannot be sent as JSON")
        self._snapshots.append(Snapshot(at, model | {"id": self._model_id}))

    def _take_socket(self, line: dict[str, Any], at: float) -> None:
        number, event, words = _number(line), line.get("event"), str(line.get("words", ""))
        match event:
            case "opening":
                self._opening[number] = at
            case "open":
                self._opened.add(number)
                self._lines.append(Line(self._opening.get(number, at), None))
            case "ended" if number in self._opened:
                self._breaks.append(Break(at, cut="closed" not in words))
            case "ended":
                self._lines.append(Line(self._opening.get(number, at), "404" if "404" in words else "close"))

    def _recording(self) -> Recording:
        # One that was joined has no call that starts it; then its first snapshot is its beginning.
        start = self._start if self._start >= 0 else self._snapshots[0].at

        def after(at: float) -> float:
            return max(0.0, at - start)

        answer = self._answer or Answer(self._last if self._post is not None else start, 0 if self._post else 200, "")
        return Recording(
            model_id=self._model_id,
            snapshots=tuple(Snapshot(after(at), model) for at, model in self._snapshots),
            frames=tuple(Frame(after(at), text) for at, text in self._frames),
            lines=tuple(sorted((Line(after(at), refused) for at, refused in self._lines), key=lambda line: line.at)),
            breaks=tuple(Break(after(at), cut) for at, cut in self._breaks),
            answer=answer._replace(at=after(answer.at)),
            duration_s=after(self._last),
        )


def _checked(line: bytes) -> dict[str, Any]:
    if len(line) > _MOST_LINE_BYTES:
        raise _Wrong(f"it is longer than {_MOST_LINE_BYTES >> 20} MiB")
    try:
        found = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _Wrong("it is no JSON") from None
    if not isinstance(found, dict) or not isinstance(found.get("kind"), str):
        raise _Wrong("it is no object with a kind")
    level: list[object] = [found]
    for _ in range(_MOST_DEPTH):
        level = [child for parent in level for child in _children(parent)]
    if level:
        raise _Wrong("it is nested too deep")
    return found


def _no_constant(word: str) -> None:
    raise ValueError(word)


def _children(parent: object) -> Iterable[object]:
    if isinstance(parent, dict):
        return parent.values()
    return parent if isinstance(parent, list) else ()


def _time(line: dict[str, Any]) -> float:
    at = line.get("t")
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at <= _MOST_SECONDS or not math.isfinite(at):
        raise _Wrong("its time t is no number of seconds")
    return float(at)


def _model_id(line: dict[str, Any]) -> str:
    model_id = line.get("model")
    if line["kind"] != "trace" or line.get("format") != FORMAT:
        raise _Wrong(f"it is not the beginning of a recording of format {FORMAT}")
    if not isinstance(model_id, str) or not 0 < len(model_id) <= _MOST_ID:
        raise _Wrong("it names no model")
    return model_id


def _number(line: dict[str, Any]) -> int:
    number = line.get("n")
    if not isinstance(number, int):
        raise _Wrong("it has no number n")
    return number


def _frame_text(line: dict[str, Any]) -> str:
    if isinstance(text := line.get("text"), str):
        return text
    if "data" not in line:
        raise _Wrong("its frame is empty")
    if not fields.is_json(line["data"]):
        raise _Wrong("its frame cannot be sent as JSON")
    return json.dumps(line["data"])


# Serving -------------------------------------------------------------------------------------------------------------


class ReplayService(Service):
    """A service of one model, whose downloads go as recorded."""

    def __init__(self, recording: Recording, *, home: Home, settings: Settings, executor: Executor) -> None:
        self._recording = recording
        self._began = 0.0
        wire = recording.snapshots[0].model
        super().__init__([Seed(wire, Content(recording.model_id, 0))], home=home, settings=settings, executor=executor)

    def _replays(self, entry: Entry) -> bool:
        return entry.model_id == self._recording.model_id

    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self._began

    def _view(self, entry: Entry) -> dict[str, Any]:
        if self._replays(entry) and entry.running:
            return self._recording.snapshot_at(self._now())
        return super()._view(entry)

    def socket_refused(self, model_id: str) -> str | None:
        """Return how the model's WebSocket refused to open at this time, if it did."""
        entry = self.entry(model_id)
        if self._replays(entry) and entry.running:
            return self._recording.refusal_at(self._now())
        return super().socket_refused(model_id)

    async def download(self, model_id: str) -> dict[str, Any]:
        """Start the recording, and answer as it was answered."""
        entry = self.entry(model_id)
        if not self._replays(entry) or entry.downloaded or entry.running:
            return await super().download(model_id)
        self._start(entry)
        answer = self._recording.answer
        await asyncio.sleep(answer.at)
        if answer.status >= 400:
            raise Refused(answer.status, answer.text or "(no words were recorded)")
        return self._view(entry)

    def _begin(self, entry: Entry) -> None:
        if not self._replays(entry):
            super()._begin(entry)
            return
        self._began = asyncio.get_running_loop().time()
        entry.channel.forget()
        entry.mark_downloading(True)
        entry.begun.set()
        self._tell(entry)

    async def _run(self, entry: Entry, start_late_s: float) -> None:
        if not self._replays(entry):
            await super()._run(entry, start_late_s)
            return
        if start_late_s:
            await asyncio.sleep(start_late_s)
            self._begin(entry)
        for event in self._events():
            await asyncio.sleep(max(0.0, event.at - self._now()))
            match event:
                case Frame(text=text):
                    entry.channel.relay(text)
                case Break(cut=True):
                    entry.channel.cut()
                case Break():
                    entry.channel.shut()
        await asyncio.sleep(max(0.0, self._recording.duration_s - self._now()))
        entry.wire = self._recording.snapshots[-1].model
        entry.downloaded = entry.wire.get("downloaded") is True
        if entry.downloaded:  # an empty file, which can be loaded and deleted
            self._home.models.file(entry.model_id).touch()
        self._ended(entry)

    def _events(self) -> Iterator[Frame | Break]:
        events: list[Frame | Break] = [*self._recording.frames, *self._recording.breaks]
        yield from sorted(events, key=lambda event: event.at)
