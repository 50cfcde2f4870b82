"""Bars in a terminal."""

from __future__ import annotations

import io
import re

import pytest

from pieces_nb.download import state as ds
from pieces_nb.views.terminal.bars import TerminalBars, wait_shown
from tests.views.puppet import Puppet, Waiting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm")


def lines_of(out: io.StringIO) -> list[str]:
    """What was drawn, line by line, less what moves the cursor."""
    return [re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]+", out.getvalue()) if line.strip()]


@pytest.mark.usefixtures("_eighty_columns")
def test_in_a_terminal_a_bar_moves_and_is_gone_at_the_end() -> None:
    out = Terminal()
    download = Puppet().tell(ds.SocketOpened()).at(10)
    bars = TerminalBars([download], file=out)
    download.at(20, 30).show()
    (last,) = [line for line in lines_of(out) if "30 %" in line][-1:]
    assert last.startswith("Phi-2 ")
    assert "|" in last
    assert "20.0 MB/s" in last
    assert max(map(len, lines_of(out))) < 80
    bars.close()
    drawn = out.getvalue()
    download.at(40).show()
    assert out.getvalue() == drawn
    assert drawn.endswith("\r")


@pytest.mark.usefixtures("_eighty_columns")
def test_several_bars_have_a_total_below() -> None:
    out = Terminal()
    downloads = [Puppet("A").at(10), Puppet("B").at(20)]
    bars = TerminalBars(downloads, file=out)
    downloads[0].complete()
    assert any(line.startswith("1 of 2 ended") for line in lines_of(out))
    assert any(line.startswith("A") and "done" in line for line in lines_of(out))
    bars.close()


@pytest.mark.usefixtures("_eighty_columns")
def test_a_bar_of_one_that_waits_for_its_turn_says_so_before_any_news() -> None:
    out = Terminal()
    bars = TerminalBars([Puppet("A").at(10), Puppet("B", queued=True)], file=out)
    assert any(line.startswith("B") and "waiting for its turn" in line for line in lines_of(out))
    bars.close()


@pytest.mark.usefixtures("_eighty_columns")
def test_a_hostile_name_moves_no_cursor() -> None:
    out = Terminal()
    download = Puppet("evil\x1b[2J{bar}\n%s").at(10)
    bars = TerminalBars([download], file=out)
    download.at(20).show()
    bars.close()
    assert "\x1b[2J" not in out.getvalue()


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_where_there_is_no_terminal_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    monkeypatch.setenv("TERM", term)
    out = io.StringIO() if term == "xterm" else Terminal()
    download = Puppet().at(10)
    bars = TerminalBars([download], file=out)
    download.at(20).show()
    bars.close()
    assert out.getvalue() == ""


@pytest.mark.usefixtures("_eighty_columns")
def test_outside_a_notebook_waiting_draws_bars_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr("sys.stderr", out)
    wait_shown([Waiting()], timeout_s=None)
    assert any("done" in line for line in lines_of(out))
