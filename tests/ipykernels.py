"""What the installed release of ipykernel can do, and what it does wrong."""

from __future__ import annotations

from importlib.metadata import version

_VERSION = tuple(map(int, version("ipykernel").split(".")[:2]))

# Before, a click is done when the cell ends.
CLICKS_ARE_HEARD = _VERSION >= (7, 1)
# These can leave a request unread until somebody connects anew (ipykernel's issue 1554), as a reloaded page does.
READS_LATE = (7, 1) <= _VERSION < (7, 4)
NUDGE_S = 5.0
