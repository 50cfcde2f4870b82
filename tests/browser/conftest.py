"""Fixtures for tests in a real browser: `open_notebook(cells)` gives a page, `emulator` another program to talk to.

The browser lives as long as the tests of this folder run, no longer: Playwright's loop would be in the way of others.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.lab import EmulatorProcess, Lab, NotebookPage, launch, why_no_browser
from tests.needs import cannot

if TYPE_CHECKING:
    from playwright.sync_api import Browser

OpenNotebook = Callable[..., NotebookPage]
_numbers = itertools.count(1)


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if reason := why_no_browser():
        cannot(reason)
    server = Lab(tmp_path_factory.mktemp("lab"))
    try:
        yield server.wait_until_ready()
    finally:
        server.close()


@pytest.fixture(scope="package")
def browser(lab: Lab) -> Iterator[Browser]:  # noqa: ARG001 - first the reasons to skip
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = launch(playwright)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture
def open_notebook(lab: Lab, browser: Browser, request: pytest.FixtureRequest) -> Iterator[OpenNotebook]:
    """Return a function that writes a notebook of these cells and opens it: `open_notebook(cells, width=1200)`."""
    context = browser.new_context(viewport={"width": 1200, "height": 1000})

    def open_it(cells: Sequence[str], *, width: int = 1200, height: int = 1000) -> NotebookPage:
        name = f"{request.node.originalname[:40]}_{next(_numbers)}.ipynb"
        lab.write(name, cells)
        notebook = NotebookPage(context, lab, name)
        notebook.page.set_viewport_size({"width": width, "height": height})
        return notebook

    try:
        yield open_it
    finally:
        context.close()
        lab.shut_kernels_down()


@pytest.fixture
def notebook7(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, Lab]]:
    """The browser and a Notebook 7, which has other pages and the same widgets."""
    server = Lab(tmp_path_factory.mktemp("notebook7"), notebook7=True)
    try:
        yield browser, server.wait_until_ready()
    finally:
        server.shut_kernels_down()
        server.close()


@pytest.fixture
def start_emulator(tmp_path: Path) -> Iterator[Callable[..., EmulatorProcess]]:
    """Return a function that starts an emulator as another program: `start_emulator(rate_bytes_per_s=1e6)`."""
    started: list[EmulatorProcess] = []

    def start(*, rate_bytes_per_s: float = 8e6, flags: Sequence[str] = ()) -> EmulatorProcess:
        emulator = EmulatorProcess(tmp_path, rate_bytes_per_s=rate_bytes_per_s, flags=flags)
        started.append(emulator)
        return emulator.start()

    yield start
    for emulator in started:
        emulator.close()


@pytest.fixture
def emulator(start_emulator: Callable[..., EmulatorProcess]) -> EmulatorProcess:
    """An emulator whose downloads of some 26 MB take about three seconds."""
    return start_emulator()
