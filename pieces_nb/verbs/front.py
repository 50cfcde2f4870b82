"""What verbs and those who show them say to each other: the front end a verb is given, and the values it returns.

A verb returns `Rows`, `Said`, `Downloading`, `Ended` or the panel; one that only a terminal has, its `Outcome` too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pieces_nb.doctor import Check
    from pieces_nb.download.download import Download
    from pieces_nb.rows import Parts, Rows
    from pieces_nb.text import Front, Part


class FrontEnd(Protocol):
    """Who shows what a verb does while it does it."""

    front: Front
    lives_on: bool  # whether this process goes on when the verb is done: what it holds open then stays

    def wait(self, downloads: Sequence[Download], *, timeout_s: float | None) -> None:
        """Wait for the ends of downloads, with bars meanwhile. Raises what `Downloads.wait` raises."""

    def looks_at(self) -> Check | None:
        """What `doctor` says of it: which it is, and whether clicks are heard while a cell waits."""

    def confirm(self, question: str) -> bool:
        """Ask a person; False where nobody can be asked."""

    def tell(self, *parts: Part) -> None:
        """Say one line on the way, made of texts and next steps."""


class Said(NamedTuple):
    """Lines for people, a table below them, and the same as data for JSON, which the table joins as `table_name`."""

    lines: tuple[Parts, ...]
    data: Any
    table: Rows | None = None
    table_name: str = ""
    as_it_is: bool = False  # for a program rather than for people: no line is folded


class Downloading(NamedTuple):
    """Downloads that run: whoever shows them waits for them, at most `timeout_s`, or goes on at once."""

    downloads: Sequence[Download]
    waits: bool
    timeout_s: float | None = None


class Ended(NamedTuple):
    """A program that has run in the terminal and said everything itself."""

    exit_code: int
