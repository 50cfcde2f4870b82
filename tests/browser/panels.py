"""The panel on a page, as somebody with a mouse, a keyboard and eyes has it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.browser.lab import DEADLINE_S, until

if TYPE_CHECKING:
    from playwright.sync_api import Locator

# Of the element with the focus: its role's words and its text, as a screen reader has them.
FOCUSED = """() => {
    const it = document.activeElement;
    if (!it || it === document.body) return "nothing";
    const drawn = ["::before", "::after"].map(where => getComputedStyle(it, where).content.replaceAll('"', ""));
    const words = [drawn[0], it.textContent || it.getAttribute("aria-label") || "", drawn[1]];
    return words.filter(text => text && text !== "none" && text !== "normal").join(" ").replace(/\\s+/g, " ").trim();
}"""


class PanelOnPage:
    """A panel in the output of a cell."""

    def __init__(self, output: Locator) -> None:
        self.output = output
        self.root.wait_for()

    @property
    def root(self) -> Locator:
        return self.output.locator(".pnb-root")

    def row(self, name: str) -> Locator:
        """Return the row of the model whose name begins so."""
        named = self.output.page.locator(".pnb-name", has_text=re.compile(rf"^{re.escape(name)}"))
        return self.root.locator(".pnb-row", has=named)

    def button(self, words: str) -> Locator:
        """Return the button whose name begins so: `Load Phi-2`."""
        return self.root.get_by_role("button", name=re.compile(rf"^{re.escape(words)}")).first

    def click(self, words: str) -> None:
        self.button(words).click()

    def toggle(self, flag: str) -> None:
        self.root.locator(f".pnb-toggle-{flag}").click()

    def find(self, words: str) -> None:
        """Type into the filter."""
        self.root.get_by_label("Filter").fill(words)

    def says(self, words: str | re.Pattern[str], *, within_s: float = DEADLINE_S) -> None:
        self.output.get_by_text(words).first.wait_for(timeout=within_s * 1000)

    def row_says(self, name: str, words: str | re.Pattern[str]) -> None:
        self.row(name).get_by_text(words).first.wait_for()

    def wait_for_movement(self) -> None:
        """Wait until a bar stands further right than it did."""
        wait_for_movement(self.output)

    def focused(self) -> str:
        """Return the name of what has the focus on the page."""
        return str(self.output.page.evaluate(FOCUSED))


def wait_for_movement(place: Locator) -> None:
    """Wait until the first bar in a place stands further right than it did."""

    def value() -> float:
        found = place.locator("progress[value]").evaluate_all("bars => bars.map(bar => bar.value)")
        return float(found[0]) if found else -1.0

    until(lambda: value() >= 0, what="a bar with a percentage")
    before = value()
    until(lambda: value() > before >= 0, what="the bar moves")
