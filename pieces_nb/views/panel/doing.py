"""What the panel's buttons do. Each call runs in a thread of `Calls` and returns an event, its errors too."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, assert_never

from pieces_nb.errors import PiecesError
from pieces_nb.history import Entry, Operation
from pieces_nb.model.fields import value_at
from pieces_nb.model.models import Model
from pieces_nb.text import Front, format_duration, printable
from pieces_nb.views.panel.events import CallEnded
from pieces_nb.views.panel.form import as_text
from pieces_nb.views.panel.state import Action, Call

if TYPE_CHECKING:
    from pieces_nb.client import ModelClient

log = logging.getLogger(__name__)
_NOBODY = threading.Event()  # is never set: to wait without an end but the time's

# So long at least a row says that a call is under way. The second half of a double click comes in that time and does
# nothing; afterwards the button says another verb, and a click means that one.
BUSY_S = 0.3

_DONE = {
    Action.UNLOAD: "unloaded",
    Action.CANCEL: "",  # the download's own end has the words
    Action.UPDATE: "updated",
    Action.DELETE_CACHE: "the downloaded files are deleted",
    Action.DELETE: "deleted for good",
}


def took_words(seconds: float) -> str:
    """Return how long something took: `6.0 s`, of what is quicker than a tenth of a second `31 ms`."""
    return f"{max(1, round(seconds * 1000))} ms" if seconds < 0.1 else format_duration(seconds)


def outcome_words(operation: Operation, entry: Entry) -> str:
    """Return what a cell of this kernel has done; '' where something else says it."""
    name = printable(operation.model, limit=60)
    if operation.verb not in set(Action) - {Action.DOWNLOAD, Action.CANCEL}:
        return ""
    if entry.error:
        return f"{name}: {operation.verb} in a cell failed. {entry.error}"
    action = Action(operation.verb)
    done = f"loaded in {took_words(entry.seconds)}" if action is Action.LOAD else _DONE[action]
    return f"{name}: {done}, by a cell"


class Doing:
    """Does to a client's models what the buttons say."""

    def __init__(self, client: ModelClient, clock_s: Callable[[], float]) -> None:
        self._client = client
        self._clock_s = clock_s
        self._threads: set[int] = set()  # those that act for us now

    def is_ours(self, operation: Operation) -> bool:
        """Whether an operation is one of these calls."""
        return operation.thread_id in self._threads

    def perform(self, call: Call, model: Model, *, force: bool, changes: Any) -> CallEnded:
        """Make a button's call, and say so no sooner than `BUSY_S` after the click."""
        outcome = self._outcome(call, model, force=force, changes=changes)
        _NOBODY.wait(max(0.0, call.since + BUSY_S - self._clock_s()))
        return outcome

    def _outcome(self, call: Call, model: Model, *, force: bool, changes: Any) -> CallEnded:
        thread_id = threading.get_ident()
        self._threads.add(thread_id)
        try:
            return self._perform(call, model, force=force, changes=changes)
        except PiecesError as exc:
            exc.front = Front.NOTEBOOK
            return CallEnded(call, f"{call.title}: {call.action} failed. {exc}", is_error=True)
        except Exception as exc:  # the top of a thread: the panel shows what is stored here
            log.exception("a call of the panel broke")
            words = f"{call.title}: {call.action} failed, pieces_nb itself did: {exc!r}"
            return CallEnded(call, words, is_error=True)
        finally:
            self._threads.discard(thread_id)

    def _perform(self, call: Call, model: Model, *, force: bool, changes: Any) -> CallEnded:
        client, action, after = self._client, call.action, None
        match action:
            case Action.DOWNLOAD:
                download = client.download(model)
                return CallEnded(call, "", download.model, download)
            case Action.LOAD:
                return self._load(call, model, force=force)
            case Action.CANCEL:
                after = client.cancel(model)
            case Action.UNLOAD:
                after = client.unload(model)
            case Action.UPDATE:
                after = client.update(model, changes)
                written = ", ".join(_change(model, after, field) for field in changes)
                return CallEnded(call, f"{call.title}: updated, read back: {written}", after)
            case Action.DELETE_CACHE:
                after = client.delete_cache(model)
            case Action.DELETE:
                client.delete(model)
            case _:
                assert_never(action)
        done = _DONE[action]
        return CallEnded(call, f"{call.title}: {done}" if done else "", after)

    def _load(self, call: Call, model: Model, *, force: bool) -> CallEnded:
        before = self._client.get(model)
        if before.loaded:
            return CallEnded(call, f"{call.title}: was loaded already", before)
        began = self._clock_s()
        after = self._client.load(before, force=force)
        return CallEnded(call, f"{call.title}: loaded in {took_words(self._clock_s() - began)}", after)


def _change(before: Model, after: Model, field: str) -> str:
    old, new = (printable(as_text(value_at(model.raw, field)), limit=60) for model in (before, after))
    return f"{field} {old or '(nothing)'} → {new or '(nothing)'}"
