"""The panel on a page, as somebody with a mouse and eyes has it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.browser.lab import DEADLINE_S, until

if TYPE_CHECKING:
    from playwright.sync_api import Locator


class PanelOnPage:
    """A panel in the output of a cell."""

    def __init__(self, output: Locator) -> None:
        self.output = output
        self.chooser.wait_for()

    @property
    def chooser(self) -> Locator:
        return self.output.get_by_label("Model", exact=True)

    def choose(self, beginning: str) -> None:
        """Choose the model whose line begins so."""

        def label() -> str:
            labels = self.chooser.locator("option").all_text_contents()  # ipywidgets writes no-break spaces
            return next((words for words in labels if words.replace("\xa0", " ").startswith(beginning)), "")

        self.chooser.select_option(label=until(label, what=f"{beginning} is offered"))
        self.output.get_by_role("region", name="Snapshot").filter(has_text=beginning).wait_for()

    def button(self, words: str) -> Locator:
        """Return one of the panel's own buttons; those of rows have a title that names the model."""
        return self.output.get_by_role("button", name=words, exact=True).first

    def click(self, words: str) -> None:
        """Click when it can be clicked."""
        self.button(words).click()

    def row_cancel(self, name: str) -> Locator:
        return self.output.get_by_title(f"Cancel the download of {name}")

    def says(self, words: str | re.Pattern[str], *, within_s: float = DEADLINE_S) -> None:
        self.output.get_by_text(words).first.wait_for(timeout=within_s * 1000)

    def wait_for_movement(self) -> None:
        """Wait until a bar stands further right than it did."""
        wait_for_movement(self.output)


def wait_for_movement(place: Locator) -> None:
    """Wait until the first bar in a place stands further right than it did."""

    def value() -> float:
        found = place.locator("progress[value]").evaluate_all("bars => bars.map(bar => bar.value)")
        return float(found[0]) if found else -1.0

    until(lambda: value() >= 0, what="a bar with a percentage")
    before = value()
    until(lambda: value() > before >= 0, what="the bar moves")
