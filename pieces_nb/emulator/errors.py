"""The emulator's two kinds of errors. No texts of its own: whoever raises one says what happened and what to do."""

from __future__ import annotations


class EmulatorError(Exception):
    """The emulator cannot start or run: port in use, home in use or unreadable. One line for a person."""


class Refused(Exception):
    """A call gets an error answer: an HTTP status and one sentence, sent as text/plain."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class TransferFailed(Exception):
    """A download ended without its file. The text is what a client may read."""
