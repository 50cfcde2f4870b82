"""What a notebook allows: outputs that are live while they live and true when they are reopened; clicks that are heard.

JupyterLab and Notebook 7 keep of a live widget only its number; a page that is opened again, or whose kernel has been
restarted, has no widget of that number. So what is live are two outputs of a cell, the words and the widget, and a
style sheet (no script) that shows the widget while it is connected, and otherwise the words.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from pieces_nb.locks import Lock
from pieces_nb.text import Front, Step, worded

if TYPE_CHECKING:
    from pieces_nb.doctor import Check

VIEW = "application/vnd.jupyter.widget-view+json"
NOTHING = {"text/plain": ""}
KEEP_FIRST_S, KEEP_EVERY_S = 1.0, 5.0  # how old the words in a saved page may be, at first and later
_WORDS_CLASS = "pieces-nb-words"
_LIVE_CLASS = "pieces-nb-live"
_CONNECTED = f".{_LIVE_CLASS}:not(.jupyter-widgets-disconnected)"
_STYLE = (
    "<style>"
    f".jp-OutputArea-child:has(.{_WORDS_CLASS}):has(+ .jp-OutputArea-child {_CONNECTED}), "
    f".jp-OutputArea-child:has(.{_WORDS_CLASS}) + .jp-OutputArea-child:not(:has({_CONNECTED})) "
    "{ display: none !important }"
    "</style>"
)


# Where this runs -----------------------------------------------------------------------------------------------------


def in_notebook() -> bool:
    """Whether a kernel runs this, so that widgets have a front end. A terminal's IPython has none."""
    return _kernel() is not None


def _shell() -> Any:
    if "IPython" not in sys.modules:
        return None  # `pieces-nb` in a terminal, which need not pay for its import
    from IPython.core.getipython import get_ipython

    return get_ipython()


def _kernel() -> Any:
    return getattr(_shell(), "kernel", None)


def running_cell() -> str:
    """Return what tells apart the cell that this thread runs; '' where an output would come under another cell.

    Outputs of other threads, and of callbacks, go to whichever cell ran last.
    """
    if not in_notebook() or threading.current_thread() is not threading.main_thread():
        return ""
    header = (_shell().get_parent() or {}).get("header", {})
    return str(header.get("msg_id", "")) if header.get("msg_type") == "execute_request" else ""


# Clicks --------------------------------------------------------------------------------------------------------------


def hears_clicks(*widgets: Any) -> None:
    """Let what a person does to these widgets be heard while a cell runs, where kernel and front end allow it.

    JupyterLab and Notebook 7 send it to a thread of the kernel's that is free (a subshell). ipykernel 7.4 sends it on
    to the thread from which the widget was last updated, the one that the cell keeps busy, unless it is told to leave
    the front end's choice alone. That is private to ipykernel: other releases are left as they are.
    """
    for widget in widgets:
        comm: Any = getattr(widget, "comm", None)
        if hasattr(comm, "_reply_subshell_for"):
            # On this one object, never on the class, which others use too.
            comm._reply_subshell_for = _front_ends_choice


def _front_ends_choice(_data: object, default: str | None) -> str | None:
    return default


_have_been_heard = False  # at some time in this kernel: without widgets the front end has no thread open


def clicks_are_heard() -> bool:
    """Whether the front end has opened such a thread, so that a click is heard while a cell runs.

    False until it has, in a moment after the first widget, and for good with ipykernel 6 and with other front ends.
    """
    global _have_been_heard
    try:
        heard = bool(_kernel().shell_channel_thread.manager.list_subshell())
    except AttributeError:  # ipykernel 6, or one that has other names for it
        return False
    _have_been_heard |= heard
    return heard


def check() -> Check:
    """Return what `doctor` says of this front end."""
    from pieces_nb.doctor import Check

    if not in_notebook():
        return Check("front end", True, "a terminal's IPython: bars of text, no buttons", (), {"kernel": False})
    heard = clicks_are_heard() or _have_been_heard
    seen = "clicks are heard while a cell waits" if heard else "clicks are not heard while a cell waits, as far as seen"
    step = () if heard else ("■ ends the waiting; a click is done when the cell ends.",)
    return Check("front end", heard or None, f"a Jupyter kernel: {seen}", step, {"kernel": True, "clicks_heard": heard})


# Outputs -------------------------------------------------------------------------------------------------------------


class Standing(NamedTuple):
    """How things stand, for a page that is opened later: lines of text, the server's address, and what to do then."""

    lines: Sequence[str]
    server: str
    then: Sequence[str | Step]

    def bundle(self, now: datetime) -> dict[str, str]:
        """Return it as text and as HTML, with the time at which it stood so."""
        at = f", {self.server}" if self.server else ""
        as_of = f"As of {now:%H:%M} on {now:%Y-%m-%d}{at}. {worded(self.then, Front.NOTEBOOK)}"
        body = "".join(line_html(line) for line in self.lines)
        note = f'<div style="color: var(--jp-ui-font-color2); line-height: 1.5">{escape(as_of)}</div>'
        html = f'{_STYLE}<div class="{_WORDS_CLASS} tex2jax_ignore mathjax_ignore">{body}{note}</div>'
        return {"text/plain": "\n".join([*self.lines, as_of]), "text/html": html}


def line_html(text: str) -> str:
    return f'<div class="tex2jax_ignore mathjax_ignore" style="line-height: 1.5">{escape(text)}</div>'


class LiveOutput:
    """Two outputs of a cell that look as one: a widget while it lives, words in the saved page. Thread-safe."""

    def __init__(
        self, box: Any, standing: Callable[[], Standing], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._box = box
        self._standing = standing
        self._clock = clock
        self._lock = Lock()  # guards what follows, and the order of the updates
        self._words: Any = None
        self._widget: Any = None
        self._kept_at = float("-inf")
        self._pause_s = KEEP_FIRST_S
        self._ended = False
        box.add_class(_LIVE_CLASS)

    def display(self) -> None:
        """Show it under the running cell; to be called by the thread that runs the cell."""
        from IPython.display import display

        view = {VIEW: {"version_major": 2, "version_minor": 0, "model_id": self._box.model_id}}
        with self._lock:
            # Both begin and end empty for programs that compare outputs; what comes between are updates.
            self._words = display(NOTHING, raw=True, display_id=True)  # type: ignore[no-untyped-call]  # typed in part
            self._widget = display({**NOTHING, **view}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        self.keep()

    def keep(self) -> None:
        """Bring the words up to date, if they are old enough; call it at every change."""
        with self._lock:
            now = self._clock()
            if self._words is None or self._ended or now - self._kept_at < self._pause_s:
                return
            if self._kept_at > float("-inf"):
                self._pause_s = min(KEEP_EVERY_S, 2 * self._pause_s)
            self._kept_at = now
            self._words.update(self._standing().bundle(datetime.now().astimezone()), raw=True)

    @property
    def ended(self) -> bool:
        """Whether it has become what stays."""
        return self._ended

    def become(self, bundle: dict[str, str]) -> None:
        """Leave this and no widget in the page; later calls change nothing any more."""
        with self._lock:
            if self._ended or self._words is None:
                return
            self._ended = True
            self._words.update(bundle, raw=True)
            self._widget.update(NOTHING, raw=True)


def close_widgets(*widgets: Any) -> None:
    """Close widgets and what they leave open themselves: their Layout and Style models."""
    for widget in widgets:
        for part in (getattr(widget, "style", None), getattr(widget, "layout", None), widget):
            if part is not None and hasattr(part, "close"):
                with suppress(Exception):  # closed twice, by two threads
                    part.close()
