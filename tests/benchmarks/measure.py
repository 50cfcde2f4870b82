"""Measuring side by side, and what becomes of it: spreads, lines with goals, the table. Knows no topic."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import psutil

_PACKAGES = (
    "ipykernel",
    "ipywidgets",
    "pandas",
    "requests",
    "urllib3",
    "websocket-client",
    "tqdm",
    "pieces-os-client",
)


class Spread(NamedTuple):
    """A median between its quartiles."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        if len(values) < 2:
            return cls(values[0], values[0], values[0])
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))


class Goal(NamedTuple):
    """What a figure is to reach: at least, or at most, so much."""

    sign: str  # "≥" or "≤"
    bound: float

    def is_reached(self, value: float) -> bool:
        return value >= self.bound if self.sign == "≥" else value <= self.bound

    def verdict(self, spread: Spread) -> str:
        if self.is_reached(spread.median):
            return "reached"
        best = spread.high if self.sign == "≥" else spread.low
        return "missed, by less than the noise" if self.is_reached(best) else "missed"


def at_least(bound: float) -> Goal:
    return Goal("≥", bound)


def at_most(bound: float) -> Goal:
    return Goal("≤", bound)


class Line(NamedTuple):
    """One line of the table. `detail` says what was measured on the way."""

    what: str
    spread: Spread
    unit: str
    goal: Goal | None = None
    detail: str = ""

    @property
    def missed(self) -> bool:
        return self.goal is not None and not self.goal.is_reached(self.spread.median)

    def cells(self) -> tuple[str, ...]:
        low, median, high = (_figure(value) for value in self.spread)
        unit = f" {self.unit}" if self.unit else ""
        spread = "" if low == high else f"{low} – {high}"
        goal = f"{self.goal.sign} {_figure(self.goal.bound)}{unit}" if self.goal else ""
        verdict = self.goal.verdict(self.spread) if self.goal else ""
        return self.what, f"{median}{unit}", spread, goal, verdict, self.detail


_HEADINGS = ("figure", "median", "quartiles", "goal", "verdict", "measured")


def table(lines: Sequence[Line]) -> str:
    """Return the lines as a table in Markdown."""
    rows = [_HEADINGS, tuple("---" for _ in _HEADINGS), *(line.cells() for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _figure(number: float) -> str:
    if number == 0:
        return "0"
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


# Measuring -----------------------------------------------------------------------------------------------------------


def seconds(function: Callable[[], object]) -> float:
    """Return how long a call takes, after the rubbish of the one before it is gone."""
    gc.collect()
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def interleaved(
    contestants: Mapping[str, Callable[[], object]],
    *,
    repetitions: int,
    warm_up: int = 1,
    measure: Callable[[Callable[[], object]], float] = seconds,
) -> dict[str, list[float]]:
    """Return a figure for each contestant and round: A, B, A, B …, so that what disturbs one disturbs the other."""
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(warm_up + repetitions):
        for name, function in contestants.items():
            figure = measure(function)
            if turn >= warm_up:
                figures[name].append(figure)
    return figures


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Return the spread of the rounds' own ratios: a slow spell of the machine is in both."""
    return Spread.of([a / b for a, b in zip(above, below, strict=True)])


def milliseconds(values: Sequence[float]) -> str:
    return f"{_figure(statistics.median(values) * 1e3)} ms"


# The machine ---------------------------------------------------------------------------------------------------------


def machine() -> str:
    """Return in one line what this ran on."""
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GiB"
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    return (
        f"{_processor()}, {os.cpu_count()} cores, {memory}, {platform.platform(terse=True)}{load}; "
        f"Python {platform.python_version()}, {packages}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
