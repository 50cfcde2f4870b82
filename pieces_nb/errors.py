"""The error tree. Every expected failure is one of these; each says what failed, where, and what to do next.

    PiecesError
     ├─ PiecesUnreachable (ConnectionError)     nothing answered
     ├─ PiecesServerError                       an HTTP error, with the server's words
     ├─ ProtocolError                           an answer that is not what the Model API says
     ├─ ModelNotFound (LookupError)
     ├─ AmbiguousModel (LookupError)
     ├─ ModelStateError                         the model is not downloaded, not custom, in the cloud, …
     ├─ DownloadFailed
     ├─ DownloadCanceled
     ├─ CancelNotConfirmed
     ├─ WaitTimeout (TimeoutError)              the download goes on
     └─ BadArguments (ValueError)
         └─ ConfirmationRequired
    StoppedWaiting (KeyboardInterrupt)          ■ or Ctrl-C while waiting; the download goes on

An error is made of parts, words and `Step`s: a step is data, and whoever shows the error words it (`front`). How errors
show is here too: one line when a magic raised them, the user's own frames when Python code did. All can be pickled and
copied: what they are made of are `args`, what they know are attributes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from types import TracebackType

from pieces_nb.text import Front, Part, printable, worded

# contextlib's frames stand between ours and the user's wherever a `with` of ours raises.
_OURS = (__file__.removesuffix("errors.py"), contextlib.__file__)


class _ShortTraceback(BaseException):
    """How an expected failure reads, and how it shows in IPython. `PIECES_NB_DEBUG=1` shows everything."""

    front = Front.PYTHON  # whose words its next steps are in; whoever shows it sets it
    shows_one_line = False  # the magic sets it on what it raises

    def __init__(self, *parts: Part) -> None:
        # Past OSError, which some of these are too: of more than two parts it keeps two.
        BaseException.__init__(self, *parts)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The message, in pieces: words, and next steps as data."""
        return self.args

    def __str__(self) -> str:
        return told(self, self.front)

    @property
    def _render_traceback_(self) -> Callable[[], list[str]]:
        # IPython asks with hasattr: an AttributeError here means its own, full rendering.
        if os.environ.get("PIECES_NB_DEBUG") == "1":
            raise AttributeError("_render_traceback_")
        return self._one_line if self.shows_one_line else self._users_frames

    def _one_line(self) -> list[str]:
        return [f"\x1b[31m{type(self).__name__}\x1b[0m: {printable(str(self))}"]

    def _users_frames(self) -> list[str]:
        """IPython's own rendering, of the frames outside this package and without the chain of causes."""
        from IPython.core.getipython import get_ipython

        shell = get_ipython()
        if shell is None:
            return self._one_line()
        chain = (self.__cause__, self.__context__, self.__suppress_context__)
        try:
            self.__cause__, self.__context__ = None, None
            lines: Sequence[str] = shell.InteractiveTB.structured_traceback(
                type(self), self, _without_ours(self.__traceback__), tb_offset=1
            )
        finally:
            self.__cause__, self.__context__, self.__suppress_context__ = chain
        return list(lines)


def told(exc: BaseException, front: Front) -> str:
    """Return the message of an error, its next steps in the words of `front`."""
    return worded(exc.parts, front) if isinstance(exc, _ShortTraceback) else str(exc)


def _without_ours(traceback: TracebackType | None) -> TracebackType | None:
    """Return the traceback less this package's frames (new objects; the given one stays as it is)."""
    frames = []
    while traceback is not None:
        if not traceback.tb_frame.f_code.co_filename.startswith(_OURS):
            frames.append(traceback)
        traceback = traceback.tb_next
    kept: TracebackType | None = None
    for frame in reversed(frames):
        kept = TracebackType(kept, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return kept


class PiecesError(_ShortTraceback, Exception):
    """What every expected failure of this package is."""


class PiecesUnreachable(PiecesError, ConnectionError):
    """Nothing answered at `url` (in time).

    `timed_out`: something took the call and stayed silent; `connected`: the call may have arrived; `posted`: it was a
    POST, which is never made twice.
    """

    def __init__(self, *parts: Part, url: str = "", timed_out: bool = False, connected: bool = False) -> None:
        super().__init__(*parts)
        self.url = url
        self.timed_out = timed_out
        self.connected = connected or timed_out
        self.posted = False


class PiecesServerError(PiecesError):
    """The server answered with an HTTP error: `status`, and its own words as `text`."""

    def __init__(self, *parts: Part, status: int = 0, text: str = "", url: str = "") -> None:
        super().__init__(*parts)
        self.status = status
        self.text = text
        self.url = url


class ProtocolError(PiecesError):
    """An answer that is not what the Model API says: not JSON, a redirect, too large, another program."""

    def __init__(self, *parts: Part, url: str = "") -> None:
        super().__init__(*parts)
        self.url = url


class ModelNotFound(PiecesError, LookupError):
    """No model is meant by `model`; `nearest` are names like it."""

    def __init__(self, *parts: Part, model: str = "", nearest: Sequence[str] = ()) -> None:
        super().__init__(*parts)
        self.model = model
        self.nearest = tuple(nearest)


class AmbiguousModel(PiecesError, LookupError):
    """Several models are meant by `model`: `candidates`."""

    def __init__(self, *parts: Part, model: str = "", candidates: Sequence[str] = ()) -> None:
        super().__init__(*parts)
        self.model = model
        self.candidates = tuple(candidates)


class ModelStateError(PiecesError):
    """The model is not in a state for this: not downloaded, not custom, in the cloud, not downloading."""


class DownloadFailed(PiecesError):
    """A download ended in FAILED (or, of several, some did)."""


class DownloadCanceled(PiecesError):
    """A download ended in CANCELED."""


class CancelNotConfirmed(PiecesError):
    """A cancel was asked for and no snapshot confirms it."""


class WaitTimeout(PiecesError, TimeoutError):
    """Waiting took longer than allowed; what was waited for goes on."""


class BadArguments(PiecesError, ValueError):
    """Arguments that cannot be meant so."""


class ConfirmationRequired(BadArguments):
    """What this would delete is in the message; `--yes` does it."""


class StoppedWaiting(_ShortTraceback, KeyboardInterrupt):
    """■ or Ctrl-C ended the waiting; the download goes on."""
