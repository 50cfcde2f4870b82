"""The bars of downloads on a page, as somebody with a mouse and eyes has them."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from tests.browser.lab import until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

# With ipykernel 6 a click is done when the cell ends.
CLICKS_ARE_HEARD = tuple(map(int, version("ipykernel").split(".")[:2])) >= (7, 1)


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


def violations(page: Page, where: str) -> list[str]:
    """Return what axe-core finds wrong inside an element: rule, element, reason."""
    from axe_playwright_python.sync_playwright import Axe

    found: dict[str, Any] = Axe().run(page, context=where).response
    return [
        f"{violation['id']}: {node['html'][:200]}: {node['failureSummary']}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]
