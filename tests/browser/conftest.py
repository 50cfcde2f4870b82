"""Fixtures for tests in a real browser: `open_notebook(cells)` gives a page, `emulator` another program to talk to.

Browser and JupyterLab live as long as the tests of this folder run, no longer: Playwright's loop would be in the way of
others.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.lab import EmulatorProcess, Lab, NotebookPage, launch, why_no_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

OpenNotebook = Callable[..., NotebookPage]
_numbers = itertools.count(1)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if reason := why_no_browser():
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = launch(playwright)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="package")
def lab(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:  # noqa: ARG001 - or it is skipped
    server = Lab(tmp_path_factory.mktemp("lab"))
    try:
        yield server.wait_until_ready()
    finally:
        server.close()


@pytest.fixture(scope="package")
def page(lab: Lab, browser: Browser) -> Iterator[Page]:  # noqa: ARG001 - it is looked at with the page
    """One JupyterLab on the screen for all tests: each opens a notebook in it and is the only one there."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


@pytest.fixture
def open_notebook(lab: Lab, page: Page, request: pytest.FixtureRequest) -> Iterator[OpenNotebook]:
    """Return a function that writes a notebook of these cells and opens it: `open_notebook(cells, width=1200)`."""
    opened: list[NotebookPage] = []

    def open_it(cells: Sequence[str], *, width: int = 1200, height: int = 1000) -> NotebookPage:
        name = f"{request.node.originalname[:40]}_{next(_numbers)}.ipynb"
        lab.write(name, cells)
        page.set_viewport_size({"width": width, "height": height})
        opened.append(NotebookPage(page, lab, name))
        return opened[-1]

    yield open_it
    for notebook in opened:
        notebook.leave()
    lab.shut_kernels_down()


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


@pytest.fixture
def slow(start_emulator: Callable[..., EmulatorProcess]) -> EmulatorProcess:
    """An emulator whose downloads last longer than any test."""
    return start_emulator(rate_bytes_per_s=2e5)
