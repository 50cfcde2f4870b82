"""What can happen to a panel: what a person does in it, and what its calls, downloads and cells come back with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pieces_nb.history import Entry, Operation
from pieces_nb.machine import Machine
from pieces_nb.model.models import Model
from pieces_nb.views.panel.state import Action, Call, Server

if TYPE_CHECKING:
    from pieces_nb.download.download import Download

# What a person does ---------------------------------------------------------------------------------------------------


class Typed(NamedTuple):
    """The filter's text changed."""

    pattern: str


class Toggled(NamedTuple):
    """A state toggle was clicked."""

    flag: str


class Turned(NamedTuple):
    """The page was turned, by so many."""

    by: int


class Refreshed(NamedTuple):
    """Refresh was clicked."""


class MainClicked(NamedTuple):
    """The main button of a model's row was clicked."""

    model_id: str


class MoreClicked(NamedTuple):
    """The button of a row that opens or closes the model's card was clicked."""

    model_id: str


class Clicked(NamedTuple):
    """A button of the open card was clicked."""

    action: Action


class Answered(NamedTuple):
    """The question was answered."""

    yes: bool


class Edited(NamedTuple):
    """Something was typed into the form."""


class Applied(NamedTuple):
    """The form's changes are wanted."""


class Reverted(NamedTuple):
    """The form's changes are not wanted any more."""


class Viewed(NamedTuple):
    """How many times the panel shows in front ends, where these say so."""

    times: int


Gesture = (
    Typed | Toggled | Turned | Refreshed | MainClicked | MoreClicked | Clicked | Answered | Edited | Applied | Reverted
)

# What comes back ------------------------------------------------------------------------------------------------------


class Listed(NamedTuple):
    """A question for all models came back: with them, or with why not."""

    asked_at: float
    asked: str  # the same as a time of day
    models: Sequence[Model] = ()
    server: Server | None = None
    machine: Machine = Machine()
    error: str = ""


class Found(NamedTuple):
    """Downloads that are followed from now on."""

    downloads: Sequence[Download]


class CallEnded(NamedTuple):
    """A button's call came back: with words and perhaps a snapshot or a download, or with an error."""

    call: Call
    words: str
    model: Model | None = None
    download: Download | None = None
    is_error: bool = False


class DownloadMoved(NamedTuple):
    """A download that is followed has moved, or ended."""

    download: Download


class Operated(NamedTuple):
    """An operation of this kernel that is not ours began, or ended with an entry."""

    operation: Operation
    entry: Entry | None


Event = Gesture | Viewed | Listed | Found | CallEnded | DownloadMoved | Operated
