"""What WebSockets hear. No sockets here: a sink is anything that can send, close and be cut."""

from __future__ import annotations

import json
from typing import Any, Literal, Protocol

from pieces_nb.emulator.catalogue import SCHEMA
from pieces_nb.emulator.settings import Settings, Switches

Status = Literal["UNKNOWN", "INITIALIZED", "IN-PROGRESS", "COMPLETED", "FAILED", "CANCELED", "RESET"]
TERMINAL: frozenset[Status] = frozenset(("COMPLETED", "FAILED", "CANCELED"))


class Sink(Protocol):
    """A WebSocket, seen from here."""

    def send(self, text: str) -> None:
        """Send one text frame; a socket that is gone takes it too."""

    def shut(self) -> None:
        """Close with a close frame."""

    def cut(self) -> None:
        """Break the connection without a close frame."""


class Audience:
    """Sinks that hear the same. Used by the loop only."""

    def __init__(self) -> None:
        self._sinks: set[Sink] = set()

    def connect(self, sink: Sink) -> None:
        """Add a listener."""
        self._sinks.add(sink)

    def disconnect(self, sink: Sink) -> None:
        """Forget a listener; one that is unknown is fine."""
        self._sinks.discard(sink)

    def send(self, frame: dict[str, Any]) -> None:
        """Send one frame to everybody."""
        if self._sinks:
            text = json.dumps(frame)
            for sink in tuple(self._sinks):
                sink.send(text)

    def cut(self) -> None:
        """Break every connection without a word."""
        for sink in tuple(self._sinks):
            sink.cut()

    def shut(self) -> None:
        """Close every connection properly."""
        for sink in tuple(self._sinks):
            sink.shut()


def progress(status: Status, percentage: float | None, message: str | None, *, switches: Switches) -> dict[str, Any]:
    """Return what a frame says of a transfer, in the way in which this server says it."""
    found: dict[str, Any] = {"schema": SCHEMA, "status": status}
    if percentage is not None and switches.percentages != "none":
        found["percentage"] = int(percentage) if switches.percentages == "int" else round(percentage, 2)
    if message is not None and switches.failed_frame_says_why:
        found["message"] = message
    return found


class Channel(Audience):
    """The progress of one model: the last frame, and who listens."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._last: tuple[Status, str] | None = None

    def publish(self, status: Status, percentage: float | None = None, message: str | None = None) -> None:
        """Send one frame to everybody, and remember it for those who come later."""
        text = json.dumps(progress(status, percentage, message, switches=self._settings.switches))
        self._last = (status, text)
        for sink in tuple(self._sinks):
            self._send(sink, status, text)

    def relay(self, text: str) -> None:
        """Send one frame as it is written, whatever it says, and remember it too."""
        self._last = ("UNKNOWN", text)
        for sink in tuple(self._sinks):
            sink.send(text)

    def forget(self) -> None:
        """Make the model one without history."""
        self._last = None

    def connect(self, sink: Sink) -> None:
        """Add a listener and say what a new one hears."""
        super().connect(sink)
        switches = self._settings.switches
        if self._last is None:
            if switches.idle != "nothing":
                sink.send(json.dumps({} if switches.idle == "empty" else {"status": "UNKNOWN"}))
        elif switches.repeat_old_status:
            self._send(sink, *self._last)

    def _send(self, sink: Sink, status: Status, text: str) -> None:
        sink.send(text)
        if status in TERMINAL and self._settings.switches.close_after_terminal:
            sink.shut()
