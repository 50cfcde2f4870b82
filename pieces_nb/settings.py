"""`Settings`, and the checks of arguments that several rooms share. Asks nobody."""

from __future__ import annotations

import math
import sys
from typing import Any

from pieces_nb.errors import BadArguments
from pieces_nb.text import printable


class WrongType(BadArguments, TypeError):
    """An argument of a type that cannot be meant: a `TypeError` in one line."""


def wrong_type(what: str, value: object) -> WrongType:
    """Return the error for a value where `what` belongs: `a model is a name, an id or a Model`."""
    return WrongType(f"{what}, not {printable(repr(value), limit=60)}.")


def seconds(name: str, value: object) -> float:
    """Return a number of seconds from 0 up, as it was given; raises `TypeError` or `BadArguments` in one line."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(f"{name} is a number of seconds", value)
    if not value >= 0:  # NaN too
        raise BadArguments(f"{name} is a number of seconds from 0 up, not {printable(repr(value), limit=60)}.")
    return value if value <= sys.float_info.max else math.inf


def seconds_or_none(name: str, value: object) -> float | None:
    """Return likewise a number of seconds, or None for no limit."""
    return None if value is None else seconds(name, value)


def count_or_none(name: str, value: object) -> int | None:
    """Return a whole number from 1 up, or None for no limit; raises `TypeError` or `BadArguments` in one line."""
    what = f"{name} is a whole number from 1 up"
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise wrong_type(what, value)
    if value is not None and value < 1:
        raise BadArguments(f"{what}, not {value}.")
    return value


class Settings:
    """Timeouts in seconds. `wait_timeout_s` is the magic's; None waits for ever.

    A value that cannot be is refused at once, when it is assigned later too.
    """

    timeout_s: float
    load_timeout_s: float
    wait_timeout_s: float | None
    stall_after_s: float

    # No dataclass: that module's import would take as long as all others of the client together.
    def __init__(
        self,
        *,
        timeout_s: float = 10.0,
        load_timeout_s: float = 600.0,
        wait_timeout_s: float | None = None,
        stall_after_s: float = 30.0,
    ) -> None:
        self.timeout_s = timeout_s
        self.load_timeout_s = load_timeout_s
        self.wait_timeout_s = wait_timeout_s
        self.stall_after_s = stall_after_s

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in Settings.__annotations__:
            raise AttributeError(f"Settings has {', '.join(Settings.__annotations__)}, not {name}.")
        checked = seconds_or_none(name, value) if name == "wait_timeout_s" else seconds(name, value)
        if name == "timeout_s" and (checked == 0 or checked == math.inf):
            raise BadArguments(f"timeout_s is how long a call may take; {checked:g} is no such time.")
        super().__setattr__(name, checked)

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"
