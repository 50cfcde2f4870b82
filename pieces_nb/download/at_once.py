"""Cancels made at the same time, in a thread each, and what is said of those that fail."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from pieces_nb.errors import CancelNotConfirmed, PiecesError, StoppedWaiting

log = logging.getLogger(__name__)

_SLICE_S = 0.2  # how long at most an interrupt stays unheard
_T = TypeVar("_T")


def at_once(calls: Sequence[Callable[[], _T]], *, tolerated: tuple[type[Exception], ...] = ()) -> list[_T]:
    """Make calls in a thread each, and return what they gave, without those that a `tolerated` error ended.

    Any other failure is raised when all were tried, and tells all; `StoppedWaiting` on ■ and Ctrl-C.
    """
    outcomes = _outcomes(calls)
    if failures := [one for one in outcomes if isinstance(one, Exception) and not isinstance(one, tolerated)]:
        _raise_together(failures)
    return [one for one in outcomes if not isinstance(one, Exception)]


def _outcomes(calls: Sequence[Callable[[], _T]]) -> list[_T | Exception]:
    outcomes: list[_T | Exception] = [PiecesError("It was not made.")] * len(calls)

    def run(index: int) -> None:
        try:
            outcomes[index] = calls[index]()
        except PiecesError as exc:
            outcomes[index] = exc
        except Exception as exc:  # the top of the thread: raised by the one who waits
            log.exception("a call broke")
            outcomes[index] = exc

    threads = [
        threading.Thread(target=run, args=(index,), name="pieces-nb-call", daemon=True) for index in range(len(calls))
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(_SLICE_S)
    except KeyboardInterrupt:
        raise StoppedWaiting("Nobody waits any more for the cancels; the server may go on with them.") from None
    return outcomes


def _raise_together(failures: Sequence[Exception]) -> NoReturn:
    """Raise one error that tells all; what is no expected failure as it is."""
    if unexpected := next((one for one in failures if not isinstance(one, PiecesError)), None):
        raise unexpected
    if len(failures) == 1:
        raise failures[0]
    parts = [part for one in failures if isinstance(one, PiecesError) for part in (*one.parts, " ")]
    raise CancelNotConfirmed(*parts[:-1]) from failures[0]
