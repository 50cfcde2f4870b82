"""Text for people: server text made printable, sizes, durations, times, next steps. Knows no error and no model."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

_INVISIBLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    r"\U000e0000-\U000e007f]"
)
_BLANKS = re.compile(r"\s+")


def printable(text: str, *, limit: int = 0) -> str:
    """Return `text` on one line, without control or direction characters (a terminal would obey them).

    Every run of white space becomes one blank, every other invisible character U+FFFD. With `limit`, at most that many
    characters, the last one then an ellipsis.
    """
    line = _INVISIBLE.sub("\N{REPLACEMENT CHARACTER}", _BLANKS.sub(" ", text)).strip()
    return line if not limit or len(line) <= limit else line[: limit - 1] + "…"


def format_bytes(size_bytes: float) -> str:
    """Return a decimal size (1 kB is 1000 bytes), three digits at most.

    >>> format_bytes(26_214_400)
    '26.2 MB'
    """
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(size) < 999.5 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" or abs(size) >= 99.95 else f"{size:.1f} {unit}"


def format_duration(duration_s: float) -> str:
    """Return `0.4 s`, `41 s`, `3 min 20 s` or `2 h 5 min`; nothing for what is no duration."""
    if not math.isfinite(duration_s) or duration_s < 0:
        return ""
    if duration_s < 9.95:
        return f"{duration_s:.1f} s"
    if duration_s < 59.5:
        return f"{duration_s:.0f} s"
    minutes, seconds = divmod(round(duration_s), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def format_percentage(percentage: float) -> str:
    """Return `37 %` or `37.5 %`; never 100 % before it is 100."""
    rounded = f"{math.floor(percentage * 10) / 10:.1f}"
    return f"{rounded.removesuffix('.0')} %"


def clock(moment: datetime) -> str:
    """Return the local time of day, `14:02`."""
    return moment.astimezone().strftime("%H:%M")


class Front(StrEnum):
    """Who speaks to the person: it decides in whose words a next step is told."""

    PYTHON = "python"
    NOTEBOOK = "notebook"
    TERMINAL = "terminal"


PROGRAMS = {Front.PYTHON: "", Front.NOTEBOOK: "%pieces_model", Front.TERMINAL: "pieces-nb"}


class Step(NamedTuple):
    """Something that the reader can do next: a line for the magic and the terminal, and the same in Python."""

    line: str  # what stands behind `%pieces_model` or `pieces-nb`
    python: str
    terminal: str = ""  # what a terminal types, where it is not the same line

    def typed(self, front: Front) -> str:
        """Return what to type where `front` speaks."""
        if front is Front.PYTHON:
            return self.python
        return f"{PROGRAMS[front]} {self.terminal if front is Front.TERMINAL and self.terminal else self.line}"

    def worded(self, front: Front) -> str:
        """Return the step as `front` says it, in backticks."""
        return f"`{self.typed(front)}`"


class ByFront(NamedTuple):
    """Words that are others for each front: an option, a setting."""

    python: str
    notebook: str
    terminal: str

    def worded(self, front: Front) -> str:
        return {Front.NOTEBOOK: self.notebook, Front.TERMINAL: self.terminal}.get(front, self.python)


FORCE = ByFront("`force=True`", "`--force`", "`--force`")
Part = str | Step | ByFront  # what a text is made of


def worded(parts: Iterable[Part], front: Front) -> str:
    """Return a text whose next steps are told in the words of `front`."""
    return "".join(part if isinstance(part, str) else part.worded(front) for part in parts)
