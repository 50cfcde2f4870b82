"""A download as HTML: name, words, a bar in the colour of its condition, the last minute's speed as a small line.

Colours are the front end's own, so that they fit its theme. What a server says is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from pieces_nb.views.outputs import line_html
from pieces_nb.views.words import Condition, condition, name_of, progress_words, record, with_note

if TYPE_CHECKING:
    from pieces_nb.download.download import Download

TRAIL_S = 60.0
_SAMPLE_S = 1.0  # a point of the line stands for at least so long
_FEWEST = 5  # speeds that make a line
_TRAIL_WIDTH, _TRAIL_HEIGHT = 60, 14
_PLAIN = "tex2jax_ignore mathjax_ignore"  # a $ in a name begins no mathematics
_COLOURS = {
    Condition.WAITING: "var(--jp-ui-font-color3)",
    Condition.RUNNING: "var(--jp-brand-color1)",
    Condition.STALLED: "var(--jp-warn-color1)",
    Condition.NO_ANSWER: "var(--jp-error-color1)",
    Condition.LEFT: "var(--jp-ui-font-color3)",
    Condition.DONE: "var(--jp-success-color1)",
    Condition.FAILED: "var(--jp-error-color1)",
    Condition.CANCELED: "var(--jp-ui-font-color3)",
}


class _Sample(NamedTuple):
    at: float
    percentage: float


class Trail:
    """The speed of the last minute, or of a shorter life, for a line of 60 points. One thread's; callers pass `now`."""

    def __init__(self) -> None:
        self._samples: list[_Sample] = []
        self.svg = ""  # the line as it was last drawn; '' while there is little to compare

    def note(self, percentage: float | None, *, now: float) -> None:
        """Take in how far it is; more often than once a second changes nothing."""
        samples = self._samples
        if percentage is None or (samples and now - samples[-1].at < _SAMPLE_S):
            return
        if samples and percentage < samples[-1].percentage:
            samples.clear()  # a new attempt
        samples.append(_Sample(now, percentage))
        while now - samples[0].at > TRAIL_S:
            samples.pop(0)
        self.svg = _line_svg(_speeds(samples), now=now)


def _speeds(samples: Sequence[_Sample]) -> list[_Sample]:
    """Return percentage points a second, each at the end of its second."""
    return [
        _Sample(late.at, (late.percentage - early.percentage) / (late.at - early.at))
        for early, late in pairwise(samples)
    ]


def _line_svg(speeds: Sequence[_Sample], *, now: float) -> str:
    most = max((speed.percentage for speed in speeds), default=0.0)
    if len(speeds) < _FEWEST or most <= 0:
        return ""
    span_s = now - speeds[0].at  # of a young download its whole life: a line of the full width
    points = " ".join(
        f"{_TRAIL_WIDTH * (1 - (now - speed.at) / span_s):.0f},{_TRAIL_HEIGHT - 1 - 12 * speed.percentage / most:.0f}"
        for speed in speeds
    )
    return (
        f'<svg width="{_TRAIL_WIDTH}" height="{_TRAIL_HEIGHT}" aria-hidden="true" style="flex: none">'
        f'<polyline points="{points}" fill="none" style="stroke: var(--jp-brand-color1); stroke-width: 1.5"/></svg>'
    )


def bar_html(name: str, words: str, *, percentage: float | None, how: Condition, label: str, trail: str = "") -> str:
    """Return name and words above a bar of the full width. The texts need no escaping before."""
    at = f' aria-valuenow="{percentage:.1f}"' if percentage is not None else ""
    return (
        f'<div class="{_PLAIN}" style="line-height: 1.5; padding: 2px 0">'
        '<div style="display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 12px">'
        f'<span style="flex: 1 1 18em; font-weight: 600; overflow-wrap: anywhere">{escape(name)}</span>{trail}'
        '<span style="flex: 0 1 auto; font-variant-numeric: tabular-nums; overflow-wrap: anywhere">'
        f"{escape(words)}</span></div>"
        f'<div role="progressbar" aria-label="{escape(label)}" aria-valuemin="0" aria-valuemax="100"{at} '
        f'aria-valuetext="{escape(words)}" data-condition="{how}" '
        'style="height: 8px; border-radius: 4px; overflow: hidden; background: var(--jp-layout-color3)">'
        f'<div style="width: {percentage or 0.0:.1f}%; height: 100%; background: {_paint(how)}"></div></div></div>'
    )


def _paint(how: Condition) -> str:
    """Return the colour of a condition; without an answer the bar is striped, for those who see no colours."""
    colour = _COLOURS[how]
    if how is Condition.NO_ANSWER:
        return f"repeating-linear-gradient(45deg, {colour} 0 6px, transparent 6px 10px)"
    return colour


def row_html(download: Download, *, trail: str = "", note: str = "", words: str = "") -> str:
    """Return the row of one download: its name, words and bar; or, at the end, its record. `note` is said after all.

    `words` are its `progress_words`, for one who has them already.
    """
    if download.done:
        return record_html(download, note=note)
    return bar_html(
        name_of(download),
        with_note(words or progress_words(download), note),
        percentage=download.percentage,
        how=condition(download),
        label=f"download of {name_of(download)}",
        trail=trail,
    )


def record_html(download: Download, *, note: str = "") -> str:
    """Return the record as one line, marked in the colour of the outcome."""
    colour = _COLOURS[condition(download)]
    line = with_note(record(download), note)
    return f'<div style="border-left: 3px solid {colour}; padding-left: 8px; margin: 2px 0">{line_html(line)}</div>'


def mimebundle(downloads: Sequence[Download], *, notes: Sequence[str] = ()) -> dict[str, str]:
    """Return the records as text and as HTML: what every front end and every saved notebook can show."""
    noted = list(zip(downloads, notes or [""] * len(downloads), strict=True))
    return {
        "text/plain": "\n".join(with_note(record(download), note) for download, note in noted),
        "text/html": "".join(record_html(download, note=note) for download, note in noted),
    }
