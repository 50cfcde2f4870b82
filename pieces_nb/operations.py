"""One command and its confirmation: load, unload, delete, update and create are operations of one kind.

The POST runs in a daemon thread of its own, so that an interrupt is heard and its answer may come at once or late. What
it has done a snapshot tells that was asked for after it was sent; how long that may take is its own deadline. A
download is no operation: it has a state, and a room, of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, TypeVar

from pieces_nb.errors import (
    ModelNotFound,
    ModelStateError,
    PiecesError,
    PiecesUnreachable,
    ProtocolError,
    StoppedWaiting,
    WaitTimeout,
)
from pieces_nb.model import fields, rules
from pieces_nb.model.models import Model
from pieces_nb.text import ByFront, Part
from pieces_nb.wire import endpoints

if TYPE_CHECKING:
    from pieces_nb.download.state import Timing
    from pieces_nb.wire.connection import Connection
    from pieces_nb.wire.http import Transport

log = logging.getLogger(__name__)

_SLICE_S = 0.1  # how long at most an interrupt stays unheard while nothing is asked
_T = TypeVar("_T")


def is_needed(model: Model, verb: str, *, followed: bool = False) -> bool:
    """Whether there is anything to do; raises `ModelStateError` where the model's state does not allow it.

    A rule that rests on a flag the server does not send stops nobody: the server decides.
    """
    refusal = rules.why_not(model, verb, followed=followed)
    if refusal is None or not refusal.certain:
        return True
    if refusal.already:
        return False
    raise ModelStateError(*refusal.parts(model))


class Command(NamedTuple, Generic[_T]):
    """What is sent, what is asked to see whether it is so, and the words for both."""

    verb: str
    title: str
    wanted: str  # what the model is to be: "loaded"
    post: Callable[[Transport], object]
    ask: Callable[[Transport], _T]
    holds: Callable[[_T], bool | None]  # None: what was seen does not tell
    tell: Callable[[_T], str]  # what was seen instead
    within_s: float
    longer: Part = ""  # how to allow it more time
    not_kept: type[PiecesError] = ModelStateError  # what is raised when the server said yes and it is not so


class Operation(Generic[_T]):
    """One command under way. Used by one thread at a time; `run()` sends it and returns what confirmed it."""

    def __init__(self, connection: Connection, command: Command[_T], timing: Timing) -> None:
        self._connection = connection
        self._command = command
        self._timing = timing
        self._answered = threading.Event()  # the POST has come back; guards the two below, written before
        self._failure: Exception | None = None
        self._answered_at = 0.0
        self._seen: list[_T] = []  # the last snapshot, if there was one
        self._last_words = ""  # what it showed, or why there was none
        self._unknown_since: float | None = None  # since when snapshots do not tell, after the server's yes

    def run(self) -> _T:
        """Send it, and return what was seen that confirms it.

        Raises what the server refused it with, `WaitTimeout` if it has not answered in time, `ModelStateError` if it
        said yes and it is not so, `StoppedWaiting` on ■ and Ctrl-C.
        """
        command, began = self._command, time.monotonic()
        try:
            # Within: an interrupt may come in the middle of the start, when the server has the call already.
            threading.Thread(target=self._post, name=f"pieces-nb-{command.verb}", daemon=True).start()
            # While the call is open a look now and then is enough: most are answered when it is done.
            self._pause(min(self._timing.poll_closed_s, command.within_s))
            return self.confirmed(command.within_s - (time.monotonic() - began))
        except KeyboardInterrupt:
            raise StoppedWaiting(
                f"{command.title}: nobody waits any more for it to be {command.wanted}; the server may go on with it."
            ) from None

    @property
    def may_take_effect(self) -> bool:
        """Whether the server has taken it or may have: what becomes so later is then this operation's doing."""
        return not self._answered.is_set() or self._failure is None or _may_have_arrived(self._failure)

    def was_refused(self, *, within_s: float) -> bool:
        """Whether the server has refused it, or does within that time: what is so then is somebody else's doing."""
        self._answered.wait(within_s)
        return not self.may_take_effect

    def _post(self) -> None:
        try:
            self._connection.call(self._command.post)
        except PiecesError as exc:
            self._failure = exc
        except Exception as exc:  # the top of the thread: the one who waits raises what is stored here
            log.exception("a call broke")
            self._failure = exc
        finally:
            self._answered_at = time.monotonic()
            self._answered.set()

    # Waiting for it --------------------------------------------------------------------------------------------------

    def confirmed(self, within_s: float) -> _T:
        """Return what confirms it, asked for until then; raises as `run` does."""
        deadline = time.monotonic() + within_s
        pause_s = self._timing.poll_soon_s
        while True:
            if not self.may_take_effect:
                raise self._failure or AssertionError
            if self._is_so():
                return self._seen[0]
            left_s = self._until(deadline) - time.monotonic()
            if left_s <= 0:
                self._fail()
            self._pause(min(pause_s if self._answered.is_set() else self._timing.poll_closed_s, left_s))
            pause_s = min(pause_s * 1.5, self._timing.poll_closed_s)

    def _is_so(self) -> bool:
        """Look, and say whether it is as wanted; where snapshots go on not telling, the server's yes counts."""
        command = self._command
        try:
            seen = self._connection.call(command.ask)
        except ModelNotFound:
            raise
        except PiecesError as exc:
            if self._connection.closed:
                raise
            self._last_words = str(exc)
            return False
        self._seen, self._last_words = [seen], command.tell(seen)
        holds = command.holds(seen)
        if holds is not None or not self._said_yes:
            self._unknown_since = None
            return holds is True
        now = time.monotonic()
        self._unknown_since = now if self._unknown_since is None else self._unknown_since
        return now - self._unknown_since >= self._timing.settle_s

    @property
    def _said_yes(self) -> bool:
        return self._answered.is_set() and self._failure is None

    def _until(self, deadline: float) -> float:
        """Return until when to look: a call that broke in the middle is given only a moment to turn out done."""
        if not self._answered.is_set() or self._failure is None or _timed_out(self._failure):
            return deadline
        return min(deadline, self._answered_at + self._timing.settle_s)

    def _pause(self, pause_s: float) -> None:
        """Wait so long, less if the answer comes meanwhile; in slices that hear an interrupt."""
        until = time.monotonic() + pause_s
        was_open = not self._answered.is_set()
        while (left_s := until - time.monotonic()) > 0:
            if was_open and self._answered.wait(min(left_s, _SLICE_S)):
                return
            if not was_open:
                time.sleep(min(left_s, _SLICE_S))

    def _fail(self) -> NoReturn:
        command, failure = self._command, self._failure
        if self._said_yes:
            raise command.not_kept(
                f"{command.title}: the server took the call, but the model is not {command.wanted}: "
                f"{self._last_words}, {command.within_s:g} s later."
            )
        if failure is not None and not _timed_out(failure):
            raise failure
        raise WaitTimeout(
            f"{command.title} was not {command.wanted} within {command.within_s:g} s; the server may still be at it",
            command.longer,
            f". Last seen: {self._last_words}.",
        ) from failure


def _timed_out(failure: Exception) -> bool:
    return isinstance(failure, PiecesUnreachable) and failure.timed_out


def _may_have_arrived(failure: Exception) -> bool:
    """Whether a call that came back so may have been done all the same."""
    return isinstance(failure, ProtocolError) or (isinstance(failure, PiecesUnreachable) and failure.connected)


# The commands --------------------------------------------------------------------------------------------------------

_LONGER = ByFront(
    python=" (`client.settings.load_timeout_s` allows more)",
    notebook=" (`%config PiecesModelMagics.load_timeout_s` allows more)",
    terminal="",
)


def _of_one(
    verb: str,
    model: Model,
    wanted: str,
    post: Callable[[Transport, str], object],
    holds: Callable[[Model], bool | None],
    within_s: float,
) -> Command[Model]:
    """Return a command on one model that a snapshot of it confirms."""
    return Command(
        verb=verb,
        title=model.shown,
        wanted=wanted,
        post=lambda transport: post(transport, model.id),
        ask=lambda transport: endpoints.snapshot(transport, model.id),
        holds=holds,
        tell=lambda seen: str(seen.state),
        within_s=within_s,
    )


def load(model: Model, *, within_s: float) -> Command[Model]:
    def post(transport: Transport, model_id: str) -> None:
        endpoints.load(transport, model_id, timeout_s=within_s)

    command = _of_one("load", model, "loaded", post, lambda seen: seen.flag("loaded"), within_s)
    return command._replace(longer=_LONGER)


def unload(model: Model, *, within_s: float) -> Command[Model]:
    return _of_one("unload", model, "unloaded", endpoints.unload, lambda seen: _is_off(seen, "loaded"), within_s)


def delete_cache(model: Model, *, within_s: float) -> Command[Model]:
    def holds(seen: Model) -> bool | None:
        return _is_off(seen, "downloaded")

    return _of_one("delete-cache", model, "deleted", endpoints.delete_cache, holds, within_s)


def _is_off(model: Model, flag: str) -> bool | None:
    value = model.flag(flag)
    return None if value is None else not value


def unload_all(loaded: Sequence[Model], *, within_s: float) -> Command[list[Model]]:
    """Confirmed by the list of models: one that has vanished from it is not in memory either."""
    ids = {model.id for model in loaded}

    def remaining(models: Sequence[Model]) -> list[Model]:
        return [model for model in models if model.id in ids and model.loaded]

    def hold(models: Sequence[Model]) -> bool | None:
        unknown = any(model.id in ids and model.flag("loaded") is None for model in models)
        return False if remaining(models) else None if unknown else True

    return Command(
        verb="unload-all",
        title=", ".join(model.shown for model in loaded),
        wanted="unloaded",
        post=endpoints.unload_all,
        ask=endpoints.models,
        holds=hold,
        tell=lambda models: f"loaded ({', '.join(model.shown for model in remaining(models))})",
        within_s=within_s,
    )


def delete(model: Model, *, within_s: float) -> Command[list[Model]]:
    """Confirmed by the list of models: how a server answers about a model that it has no more is its own affair."""
    return Command(
        verb="delete",
        title=model.shown,
        wanted="deleted",
        post=lambda transport: endpoints.delete(transport, model.id),
        ask=endpoints.models,
        holds=lambda models: all(other.id != model.id for other in models),
        tell=lambda _models: "it is still in the list",
        within_s=within_s,
    )


def update(model: Model, changes: Mapping[str, Any], *, within_s: float) -> Command[Model]:
    """Send the model with these fields changed; `model` has to be as fresh as can be: others write too."""
    body = fields.body(model.raw, changes)
    if unsendable := fields.what_json_cannot_hold(body):
        raise ProtocolError(f"{model.shown} cannot be sent back: its {unsendable} is nothing that JSON can hold.")

    def lost(seen: Model) -> list[str]:
        return [name for name, value in changes.items() if fields.value_at(seen.raw, name) != value]

    def post(transport: Transport, _model_id: str) -> None:
        endpoints.update(transport, body)

    command = _of_one("update", model, "updated", post, lambda seen: not lost(seen), within_s)
    return command._replace(
        tell=lambda seen: f"it did not keep {', '.join(lost(seen))}",
        not_kept=ProtocolError,
    )


def create(seeded: Mapping[str, Any], known: Sequence[Model], *, within_s: float) -> Command[Model | None]:
    """Confirmed by a model that was not in the list before; the answer's id says which, if there is an answer."""
    name = str(seeded["name"])
    known_ids = {model.id for model in known}
    answered: list[str] = []

    def new(transport: Transport) -> Model | None:
        models = endpoints.models(transport)
        created = [model for model in models if model.id in answered]
        named = [model for model in models if model.id not in known_ids and model.name == name]
        return next(iter(created or named), None)

    return Command(
        verb="create",
        title=Model(dict(seeded)).shown,
        wanted="created",
        post=lambda transport: answered.append(endpoints.create(transport, dict(seeded)).id),
        ask=new,
        holds=lambda seen: seen is not None,
        tell=lambda _seen: "it is not in the list",
        within_s=within_s,
    )
