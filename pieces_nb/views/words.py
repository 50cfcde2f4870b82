"""A download in words, the same for notebook, panel and terminal. Draws nothing, asks no server.

People's words: downloading, stalled, canceled. The wire's own (IN-PROGRESS) stay in values, columns and JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from pieces_nb.download import state as ds
from pieces_nb.model.models import DownloadStatus
from pieces_nb.text import clock, format_bytes, format_duration, format_percentage, printable

if TYPE_CHECKING:
    from pieces_nb.download.download import Download

SEPARATOR = " · "
_NAME_LIMIT = 60
_STATUS_WORDS = {
    DownloadStatus.INITIALIZED: "starting",
    DownloadStatus.IN_PROGRESS: "downloading",
    DownloadStatus.COMPLETED: "done",
    DownloadStatus.FAILED: "failed",
    DownloadStatus.CANCELED: "canceled",
    DownloadStatus.RESET: "starting again",
    DownloadStatus.UNKNOWN: "downloading",
}


class Condition(StrEnum):
    """How a download is, as far as a glance can tell: what decides a bar's colour."""

    WAITING = "waiting"
    RUNNING = "running"
    STALLED = "stalled"
    NO_ANSWER = "no answer"
    LEFT = "no longer followed"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"


def condition(download: Download) -> Condition:
    if download.done:
        by_status = {DownloadStatus.COMPLETED: Condition.DONE, DownloadStatus.CANCELED: Condition.CANCELED}
        return by_status.get(download.status, Condition.FAILED)
    if download.closed:
        return Condition.LEFT
    if download.state.queued:
        return Condition.WAITING
    if download.state.silent_since is not None:
        return Condition.NO_ANSWER
    return Condition.STALLED if download.stalled_since is not None else Condition.RUNNING


def name_of(download: Download) -> str:
    return printable(download.model.title, limit=_NAME_LIMIT)


def status_word(status: DownloadStatus) -> str:
    """Return a status of the wire in people's words."""
    return _STATUS_WORDS[status]


def record(download: Download) -> str:
    """Return the line that stays: model, outcome, size, duration, mean speed; of a running one, how far it is."""
    if not download.done:
        return f"{name_of(download)}: {progress_words(download)}"
    return f"{name_of(download)}: {SEPARATOR.join(_outcome(download))}"


def _outcome(download: Download) -> list[str]:
    state = download.state
    word = status_word(download.status)
    if state.queued:
        return [f"{word} before it began"]
    if download.status is not DownloadStatus.COMPLETED:
        reason = f" ({state.reason})" if state.reason else ""
        return [f"{word}{reason} after {format_duration(state.duration_s)}"]
    size = [format_bytes(state.size_bytes)] if state.size_bytes is not None else []
    if state.reason:
        return [f"{word}, {state.reason}", *size]
    speed = download.mean_bytes_per_s
    return [word, *size, format_duration(state.duration_s), *([f"{format_bytes(speed)}/s"] if speed else [])]


def progress_words(download: Download) -> str:
    """Return how far a download is: percentage, bytes, speed, time left, and in words how it is."""
    return SEPARATOR.join([*figure_words(download).values(), *condition_words(download)])


def with_note(words: str, note: str) -> str:
    return f"{words}{SEPARATOR}{note}" if note else words


def figure_words(download: Download) -> dict[str, str]:
    """Return what is known of: percentage, bytes, speed, left."""
    state = download.state
    figures = {}
    if state.percentage is not None:
        figures["percentage"] = format_percentage(state.percentage)
    if state.done_bytes is not None and state.size_bytes is not None:
        figures["bytes"] = f"{format_bytes(state.done_bytes)} of {format_bytes(state.size_bytes)}"
    if (speed := download.speed_bytes_per_s) is not None:
        figures["speed"] = f"{format_bytes(speed)}/s"
    if (left_s := download.time_left_s) is not None:
        figures["left"] = f"{format_duration(left_s)} left"
    return figures


def condition_words(download: Download) -> list[str]:
    """Return how a download is that has not ended: what is the matter, or else that it downloads, or waits for it."""
    if condition(download) is Condition.WAITING:
        return [download.status_words]
    return list(_troubles(download)) or [status_word(download.status)]


def _troubles(download: Download) -> Iterator[str]:
    state = download.state
    if state.silent_since is not None:
        since = clock(ds.wall_time(state, state.silent_since))
        yield f"no answer since {since} ({printable(state.heard, limit=120)})"
    elif (stalled := download.stalled_since) is not None:
        connection = "the connection is open" if state.socket_open else "the connection is closed"
        yield f"stalled since {clock(stalled)}, {connection}"
    elif not state.socket_open and state.socket_words:
        yield f"reconnecting ({printable(state.socket_words, limit=80)})"
    if download.closed:
        yield "no longer followed"


def fitting_words(download: Download, limit: int) -> str:
    """Return `progress_words` in at most `limit` characters: what matters least goes first."""
    figures = figure_words(download)
    words = condition_words(download)
    if figures and words == [status_word(DownloadStatus.IN_PROGRESS)]:
        words = []  # the moving figures say so themselves
    for dispensable in ("bytes", "speed", "left"):
        if len(SEPARATOR.join([*figures.values(), *words])) > limit:
            figures.pop(dispensable, None)
    return printable(SEPARATOR.join([*figures.values(), *words]), limit=limit)


class Figures(NamedTuple):
    """What one row contributes to the total of several."""

    done_bytes: float
    size_bytes: int | None
    speed_bytes_per_s: float
    ended: bool
    completed: bool


def figures_of(download: Download) -> Figures:
    state = download.state
    return Figures(
        done_bytes=state.done_bytes or 0.0,
        size_bytes=state.size_bytes,
        speed_bytes_per_s=download.speed_bytes_per_s or 0.0,
        ended=download.done,
        completed=download.done and download.error is None,
    )


def total_words(rows: Sequence[Figures]) -> str:
    """Return the sum of several rows: how many have ended, their bytes and speeds; sizes as far as they are known."""
    ended = sum(row.ended for row in rows)
    failed = sum(row.ended and not row.completed for row in rows)
    words = [f"{ended} of {len(rows)} ended" + (f", {failed} of them not completed" if failed else "")]
    if sizes := [row.size_bytes for row in rows if row.size_bytes is not None]:
        unknown = len(rows) - len(sizes)
        without = f", without {unknown} of unknown size" if unknown else ""
        words.append(f"{format_bytes(sum(row.done_bytes for row in rows))} of {format_bytes(sum(sizes))}{without}")
    speed = sum(row.speed_bytes_per_s for row in rows)
    if speed > 0:
        words.append(f"{format_bytes(speed)}/s")
    return SEPARATOR.join(words)


def total_percentage(rows: Sequence[Figures]) -> float | None:
    """Return how far several are together, 0–100; None while a size is unknown."""
    size = sum(row.size_bytes or 0 for row in rows)
    if not size or any(row.size_bytes is None for row in rows):
        return None
    return 100 * sum(row.done_bytes for row in rows) / size
