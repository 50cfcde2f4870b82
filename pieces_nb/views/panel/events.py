"""What can happen to a panel: what a person does in it, and what its calls and downloads come back with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pieces_nb.download.download import Download
from pieces_nb.model.models import Model
from pieces_nb.views.panel.state import Action, Call, Shows


class Typed(NamedTuple):
    """The filter's text changed."""

    pattern: str


class Narrowed(NamedTuple):
    """The filter by state changed."""

    shows: Shows


class Chose(NamedTuple):
    """A model was chosen, or none."""

    model_id: str


class Clicked(NamedTuple):
    """A button was clicked; it acts on the chosen model."""

    action: Action


class Confirmed(NamedTuple):
    """The question was answered."""

    yes: bool


class Edited(NamedTuple):
    """Something was typed into the form."""


class Applied(NamedTuple):
    """The form's changes are wanted."""


class FormClosed(NamedTuple):
    """The form is not wanted any more."""


class RowCanceled(NamedTuple):
    """The Cancel of a progress row was clicked."""

    model_id: str


class Viewed(NamedTuple):
    """How many times the panel shows in front ends, where these say so."""

    times: int


class Listed(NamedTuple):
    """A question for all models came back: with them, or with why not."""

    asked_at: float
    models: Sequence[Model]
    server: str
    free_memory_bytes: int | None
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


class DownloadEnded(NamedTuple):
    """A download that is followed has ended."""

    download: Download


Event = (
    Typed
    | Narrowed
    | Chose
    | Clicked
    | Confirmed
    | Edited
    | Applied
    | FormClosed
    | RowCanceled
    | Viewed
    | Listed
    | Found
    | CallEnded
    | DownloadEnded
)
