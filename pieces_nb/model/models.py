"""`Model` and `ModelDownloadProgress` as they come from the wire. Lenient; never loses an unknown field, never acts.

Source: the Pieces OpenAPI schemas Model, Models, ModelDownloadProgress.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from pieces_nb.errors import ProtocolError
from pieces_nb.text import printable

log = logging.getLogger(__name__)


class ModelState(StrEnum):
    """What a model can be, in one word; a loaded model is downloaded too."""

    CLOUD = "cloud"
    AVAILABLE = "available"
    DOWNLOADING = "downloading"
    DOWNLOADED = "downloaded"
    LOADED = "loaded"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    """Return a finite number; None for anything else, booleans and numerals in quotes included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _byte_count(value: object) -> int | None:
    """Return the `value` of the wire's `{"value": 26214400, "readable": "26.2 MB"}`."""
    number = _number(value.get("value")) if isinstance(value, Mapping) else None
    return int(number) if number is not None and 0 <= number < 2**63 else None


class Model:
    """One model as one answer described it: a view on `raw`, whose fields are read when asked for.

    A field that is missing, null or of a wrong type reads as '' (text), None (number, date) or False (flag).
    """

    __slots__ = ("raw",)

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw

    @classmethod
    def from_wire(cls, value: object, *, source: str = "The server") -> Model:
        """Return the model that a decoded JSON answer of `source` holds; `ProtocolError` if it is no object."""
        if not isinstance(value, dict):
            raise ProtocolError(f"{source} answered with {_kind(value)} where the Model API has a Model object.")
        return cls(value)

    @property
    def id(self) -> str:
        """The wire's `id`, a UUID."""
        return _text(self.raw.get("id"))

    @property
    def name(self) -> str:
        """The name that people see."""
        return _text(self.raw.get("name"))

    @property
    def unique(self) -> str:
        """The name used to load, such as `llama3.2:1b-instruct-q4_K_S`."""
        return _text(self.raw.get("unique"))

    @property
    def title(self) -> str:
        """What to call it: the name, or failing that `unique`, or the id."""
        return self.name or self.unique or self.id

    @property
    def shown(self) -> str:
        """That in a sentence: printable, 80 characters at most."""
        return printable(self.title, limit=80)

    def flag(self, name: str) -> bool | None:
        """Return a flag as the wire has it; None where it is missing or is none: unknown, not false."""
        value = self.raw.get(name)
        return value if isinstance(value, bool) else None

    @property
    def argument(self) -> str:
        """How to name it on a command line: its name, in quotes if need be; a name that is awkward there, its id."""
        if self.name.startswith("-"):
            return self.id  # quotes hide no flag
        if re.fullmatch(r"[\w.:+-]+", self.name):
            return self.name
        return f'"{self.name}"' if re.fullmatch(r"[\w .:+()/,'-]+", self.name) else self.id

    @property
    def cloud(self) -> bool:
        """Whether it runs at a provider."""
        return self.raw.get("cloud") is True

    @property
    def custom(self) -> bool:
        """Whether somebody here made it."""
        return self.raw.get("custom") is True

    @property
    def downloaded(self) -> bool:
        """Whether its files are here."""
        return self.raw.get("downloaded") is True

    @property
    def downloading(self) -> bool:
        """Whether its files are on their way."""
        return self.raw.get("downloading") is True

    @property
    def loaded(self) -> bool:
        """Whether it is in memory."""
        return self.raw.get("loaded") is True

    @property
    def state(self) -> ModelState:
        """All of that in one word."""
        if self.cloud:
            return ModelState.CLOUD
        if self.loaded:
            return ModelState.LOADED
        if self.downloaded:
            return ModelState.DOWNLOADED
        return ModelState.DOWNLOADING if self.downloading else ModelState.AVAILABLE

    @property
    def size_bytes(self) -> int | None:
        """The size of its files."""
        return _byte_count(self.raw.get("bytes"))

    @property
    def ram_bytes(self) -> int | None:
        """The memory it takes when loaded."""
        return _byte_count(self.raw.get("ram"))

    @property
    def parameters_b(self) -> float | None:
        """Its parameters in billions."""
        return _number(self.raw.get("parameters"))

    @property
    def quantization(self) -> str:
        """Such as `q4_K_S`."""
        return _text(self.raw.get("quantization"))

    @property
    def provider(self) -> str:
        """Such as `META`."""
        return _text(self.raw.get("provider"))

    @property
    def description(self) -> str:
        """What its maker says about it."""
        return _text(self.raw.get("description"))

    @property
    def created(self) -> datetime | None:
        """When it was registered; with a time zone."""
        stamp = self.raw.get("created")
        text = _text(stamp.get("value")) if isinstance(stamp, Mapping) else ""
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.id)

    def _repr_html_(self) -> str:
        from pieces_nb.views.card import card_html

        return card_html(self)

    def __repr__(self) -> str:
        return f"Model({self.title!r}, state={str(self.state)!r}, id={self.id!r})"


def models_from_wire(value: object, *, source: str = "The server") -> list[Model]:
    """Return the models of `{"iterable": [Model, …]}`; an item that is no object is left out, and logged."""
    items = value.get("iterable") if isinstance(value, dict) else None
    if not isinstance(items, list):
        raise ProtocolError(f"{source} answered with {_kind(value)} where the Model API has a list of models.")
    models = [Model(item) for item in items if isinstance(item, dict)]
    if len(models) < len(items):
        log.info("%d of %d entries in the list of models are no objects", len(items) - len(models), len(items))
    return models


class DownloadStatus(StrEnum):
    """The wire's words for a download."""

    UNKNOWN = "UNKNOWN"
    INITIALIZED = "INITIALIZED"
    IN_PROGRESS = "IN-PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    RESET = "RESET"

    @property
    def is_terminal(self) -> bool:
        """Whether a download in it has ended."""
        return self in _TERMINAL


_TERMINAL = frozenset({DownloadStatus.COMPLETED, DownloadStatus.FAILED, DownloadStatus.CANCELED})
_STATUSES = {status.value: status for status in DownloadStatus}


class ModelDownloadProgress(NamedTuple):
    """One frame of the progress WebSocket. A status nobody knows is UNKNOWN; `percentage` is 0–100 or None."""

    status: DownloadStatus
    percentage: float | None = None

    @classmethod
    def from_wire(cls, value: object) -> ModelDownloadProgress:
        """Return what a decoded frame says; what it does not say in the wire's terms is UNKNOWN and None."""
        if not isinstance(value, dict):
            return cls(DownloadStatus.UNKNOWN)
        word = value.get("status")
        percentage = _number(value.get("percentage"))
        return cls(
            _STATUSES.get(word, DownloadStatus.UNKNOWN) if isinstance(word, str) else DownloadStatus.UNKNOWN,
            percentage if percentage is not None and 0 <= percentage <= 100 else None,
        )


def _kind(value: object) -> str:
    """Say in JSON's words what a decoded value is."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object of another kind"
