"""The bars of downloads on a page, as somebody with a mouse and eyes has them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.browser.lab import EmulatorProcess, until

if TYPE_CHECKING:
    from playwright.sync_api import Locator

WHAT_STOOD_THERE = re.compile(r"Phi-2 \(emulated\): [\d.]+ % · .* · downloading")


def connect(emulator: EmulatorProcess) -> str:
    return f"%load_ext pieces_nb\n%pieces_model connect {emulator.url}"


def client(emulator: EmulatorProcess) -> str:
    return f"from pieces_nb import ModelClient\nclient = ModelClient({emulator.url!r})"


def cancel_button(output: Locator) -> Locator:
    return output.get_by_role("button", name="Cancel")


def percentages(place: Locator) -> list[float]:
    """Return where the bars in a place stand, as a screen reader is told."""
    bars = place.locator("[role=progressbar][aria-valuenow]")
    return [float(value) for value in bars.evaluate_all("bars => bars.map(bar => bar.getAttribute('aria-valuenow'))")]


def live(output: Locator) -> Locator:
    """Return what lives in an output; the words beside it that a saved page keeps are hidden meanwhile."""
    return output.locator(".pieces-nb-live")


def wait_for_bar(place: Locator, *, beyond: float = 0.0) -> None:
    until(lambda: any(value > beyond for value in percentages(place)), what=f"a bar beyond {beyond:g} %")


def wait_for_moving_bar(place: Locator) -> None:
    """Wait until the first bar in a place stands further right than it did."""
    wait_for_bar(place)
    before = percentages(place)[0]
    until(lambda: max(percentages(place), default=0.0) > before, what="the bar moves")


def is_true(output: Locator, emulator: EmulatorProcess) -> None:
    """The place of a dead bar says what was, where, when, and how to have it live; and nothing beside it."""
    output.get_by_text(WHAT_STOOD_THERE).wait_for()
    as_of = rf"As of \d\d:\d\d on \d{{4}}-\d\d-\d\d, {emulator.url}\. `%pieces_model progress --watch` shows it live\."
    output.get_by_text(re.compile(as_of)).wait_for()
    visible = output.inner_text()
    assert "Error displaying widget" not in visible
    assert "Loading widget" not in visible
    assert output.locator(".jupyter-widgets-disconnected:visible").count() == 0
