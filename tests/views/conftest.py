"""What tests of views share: a page of a notebook that this process pretends to have."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pieces_nb.views import cells, notebook, outputs
from tests.views.puppet import Page, Puppet


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    page = Page()
    monkeypatch.setattr("IPython.display.display", page.display)
    monkeypatch.setattr(notebook, "in_notebook", lambda: True)
    for module in (notebook, cells, outputs):
        monkeypatch.setattr(module, "running_cell", lambda: page.cell)
    for module in (notebook, outputs):
        monkeypatch.setattr(module, "clicks_are_heard", lambda: page.clicks_are_heard)
    return page


@pytest.fixture(autouse=True)
def _no_thread_of_a_view_outlives_its_test() -> Iterator[None]:
    yield
    while Puppet.made:
        Puppet.made.pop().let_go()
