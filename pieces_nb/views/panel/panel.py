"""`Panel`: follows the server's models and downloads, does what is clicked, has the view show it.

Everything that happens — a click, an answer, the end of a download — is an event in one inbox. The panel's thread takes
them in turn, makes a new state of each and has it shown; it is the only one that writes widgets after the start, and it
never calls the server itself: `Calls` does, and its outcomes are events again.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, assert_never

from pieces_nb.download.download import Download
from pieces_nb.errors import ModelNotFound, ModelStateError, PiecesError
from pieces_nb.machine import machine_of
from pieces_nb.model import resolve
from pieces_nb.model.models import Model
from pieces_nb.text import clock, format_duration, printable
from pieces_nb.views.notebook import Row, in_notebook, record
from pieces_nb.views.panel import events, html
from pieces_nb.views.panel import state as ps
from pieces_nb.views.panel.calls import Calls
from pieces_nb.views.panel.state import Action, Call, PanelState

if TYPE_CHECKING:
    from pieces_nb.client import ModelClient
    from pieces_nb.views.panel.view import View

log = logging.getLogger(__name__)

_FIRST_ANSWER_S = 2.5  # how long opening waits for the first answer; a server may take longer
POLL_S = 3.0  # between two questions for all models while the panel is in use or something goes on
POLL_IDLE_S = 20.0
POLL_HIDDEN_S = 30.0
IN_USE_S = 120.0  # so long after the last click, or change, it counts as in use
_LOOK_S = 0.5  # how often it looks for downloads that cells of this kernel began
_TICK_S = 1.0  # how often it says for how long a call has been under way
_SOON_S = 0.05  # until a list is asked for again that could not be while one was under way
_WIDGET = "application/vnd.jupyter.widget-view+json"


def poll_interval_s(state: PanelState, *, quiet_s: float, hidden: bool) -> float:
    """Return how long to wait between two questions for all models, `quiet_s` after the last click or change."""
    if hidden:
        return POLL_HIDDEN_S
    return POLL_S if state.is_lively or quiet_s < IN_USE_S else POLL_IDLE_S


class Panel:
    """A control panel for the models of one client: choose, download, watch, cancel, load, unload, update, delete.

    Made by `ModelClient.panel`; the last expression of a cell shows it. It follows what other programs do, too.
    `close()` ends it; downloads go on. Without widgets it shows as a few lines of text.

    Raises `ModelNotFound` or `AmbiguousModel` if `model` is none of the server's.
    """

    def __init__(
        self, client: ModelClient, model: str | Model | None = None, *, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._clock_s = clock_s
        self._state = PanelState()
        self._inbox: queue.SimpleQueue[events.Event | None] = queue.SimpleQueue()
        self._calls: Calls[events.Event] = Calls(self._inbox.put)
        self._wanted = model  # what to choose once the models are known
        self._view: View | None = None
        self._handles: list[tuple[Any, dict[str, Any]]] = []
        self._closing = threading.Event()
        self._lock = threading.Lock()  # guards starting and closing, each done once
        self._thread: threading.Thread | None = None
        now = clock_s()
        self._polled_at = now
        self._wants_list = False  # a list is wanted as soon as the question under way has come back
        self._shown: PanelState | None = None
        self._stops: dict[str, Callable[[], None]] = {}  # end the subscriptions to downloads, by model id
        self._changed_at = now  # when a call last changed something; older answers are out of date
        self._active_at = now
        self._looked_at = now
        self._was_viewed = False
        self._hidden = False
        self._take_first_answer()

    def _take_first_answer(self) -> None:
        """Wait a moment for the first list, so that what shows at once, and what a saved notebook keeps, is true."""
        self._poll()
        with suppress(queue.Empty):
            first = self._inbox.get(timeout=_FIRST_ANSWER_S)
            if isinstance(first, events.Listed):
                self._take_in_list(first)
                self._choose_wanted()

    def _choose_wanted(self) -> None:
        """Choose the model that was asked for; raises `ModelNotFound`, `AmbiguousModel`."""
        wanted = self._wanted
        if wanted is None or not self._state.connected:
            return
        self._wanted = None
        if isinstance(wanted, Model):
            if self._state.model(wanted.id) is None:
                raise ModelNotFound(f"The server has no model {wanted.id!r}.", model=wanted.id)
            self._state = ps.chose(self._state, wanted.id)
        else:
            self._state = ps.chose(self._state, resolve.resolve(wanted, self._state.models).id)

    # What it shows ---------------------------------------------------------------------------------------------------

    @property
    def state(self) -> PanelState:
        """Everything that shows, as one value."""
        return self._state

    @property
    def widget(self) -> Any:
        """The widget to put into a layout of one's own; from here on the panel follows the server."""
        self._start()
        assert self._view is not None
        return self._view.root

    @property
    def closed(self) -> bool:
        return self._closing.is_set()

    def __repr__(self) -> str:
        return "\n".join(ps.summary(self._state))

    def _as_text(self) -> dict[str, Any]:
        lines = ps.summary(self._state)
        return {"text/plain": "\n".join(lines), "text/html": html.summary(lines)}

    def _repr_mimebundle_(self, **_wanted: object) -> dict[str, Any]:
        if self.closed:
            return self._as_text()
        return {
            **self._as_text(),
            _WIDGET: {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id},
        }

    def _ipython_display_(self) -> None:
        """Show it as an output that `close()` can take the widget from: a saved one would be a dead one."""
        if self.closed or not in_notebook():
            raise NotImplementedError  # IPython's way to say: use the other representations
        from IPython.display import display

        handle = display(self._repr_mimebundle_(), raw=True, display_id=True)  # type: ignore[no-untyped-call]  # typed in part
        self._handles.append((handle, self._as_text()))

    # Its life --------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Build the widgets and start the thread, once."""
        with self._lock:
            if self._view is not None or self.closed:
                return
            from pieces_nb.views.panel.view import View

            self._view = View(self._inbox.put)
            self._look_for_downloads()
            self._join_running()
            self._show(self._clock_s())
            self._thread = threading.Thread(target=self._run, name="pieces-nb-panel", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End it: its thread and its widgets are gone when this returns. Downloads and calls under way go on."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
        self._inbox.put(None)
        self._calls.close()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=2.0)
        for stop in self._stops.values():
            stop()
        if self._view is not None:
            self._view.close()
        for handle, bundle in self._handles:
            handle.update(bundle, raw=True)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._step()
            except Exception:  # the top of the thread
                log.exception("a step of the panel broke")
                self._closing.wait(1.0)  # what breaks again and again must not spin

    def _step(self) -> None:
        assert self._view is not None
        with suppress(queue.Empty):
            event = self._inbox.get(timeout=self._pause_s())
            while event is not None:
                self._take_safely(event)
                self._shown = None
                event = self._inbox.get_nowait()
        if self._closing.is_set():
            return
        now = self._clock_s()
        if now - self._looked_at >= _LOOK_S:
            self._looked_at = now
            self._look_for_downloads()
        if self._wants_list or now >= self._next_poll_at():
            self._poll()
        if self._shown is not self._state or self._state.calls:
            self._show(now)

    def _show(self, now: float) -> None:
        assert self._view is not None
        self._shown = self._state
        self._view.show(self._state, now=now)

    def _pause_s(self) -> float:
        now = self._clock_s()
        until = [self._next_poll_at() - now, _LOOK_S if self._is_in_use(now) else 2.0]
        if self._state.calls:
            until.append(_TICK_S)
        if self._wants_list:
            until.append(_SOON_S)
        return max(0.01, min(until))

    def _is_in_use(self, now: float) -> bool:
        return not self._hidden and (self._state.is_lively or now - self._active_at < IN_USE_S)

    def _next_poll_at(self) -> float:
        quiet_s = self._clock_s() - self._active_at
        return self._polled_at + poll_interval_s(self._state, quiet_s=quiet_s, hidden=self._hidden)

    # Events ----------------------------------------------------------------------------------------------------------

    def _take_safely(self, event: events.Event) -> None:
        """Take one event; what goes wrong in it shows, and the panel lives on."""
        try:
            self._take(event)
        except Exception as exc:
            log.exception("the panel could not take %r", type(event).__name__)
            self._say(f"pieces_nb itself failed: {exc!r}", is_error=True)

    def _take(self, event: events.Event) -> None:
        match event:
            case events.Listed():
                self._take_in_list(event)
                self._choose_late()
                return
            case events.Found(downloads):
                self._follow(downloads)
                return
            case events.DownloadEnded(download):
                self._take_end(download)
                return
            case events.CallEnded():
                self._take_outcome(event)
                return
            case events.Viewed(times):
                self._hidden = times <= 0 and self._was_viewed
                self._was_viewed = self._was_viewed or times > 0
            case _:
                self._take_gesture(event)
        self._active_at = self._clock_s()

    def _take_gesture(
        self,
        event: events.Typed
        | events.Narrowed
        | events.Chose
        | events.Clicked
        | events.Confirmed
        | events.Edited
        | events.Applied
        | events.FormClosed
        | events.RowCanceled,
    ) -> None:
        """Take what a person did."""
        match event:
            case events.Typed(pattern):
                self._state = ps.filtered(self._state, pattern=pattern)
            case events.Narrowed(shows):
                self._state = ps.filtered(self._state, shows=shows)
            case events.Chose(model_id):
                self._state = ps.chose(self._state, model_id)
            case events.Clicked(action):
                self._click(action)
            case events.Confirmed(yes):
                question, self._state = self._state.question, replace(self._state, question=None)
                if yes and question is not None:
                    self._begin(question.action, question.model_id, force=True)
            case events.Edited():
                pass  # the form shows what it means whenever the state is shown
            case events.Applied():
                self._apply()
            case events.FormClosed():
                self._state = replace(self._state, editing_id="")
            case events.RowCanceled(model_id):
                self._cancel_row(model_id)
            case _:
                assert_never(event)

    def _click(self, action: Action) -> None:
        if action is Action.REFRESH:
            self._poll()
            return
        model = self._state.chosen
        if model is None or ps.why_not(self._state, action):
            return  # a second click, or one that crossed a change: the button is disabled by now
        question = ps.question_for(self._state, action, model)
        if question is not None:
            self._state = replace(self._state, question=question)
        elif action is Action.UPDATE:
            self._state = replace(self._state, editing_id="" if self._state.editing_id else model.id)
        else:
            self._begin(action, model.id)

    def _cancel_row(self, model_id: str) -> None:
        reason = ps.why_not(self._state, Action.CANCEL, model_id)
        if reason:
            self._allow_cancel(model_id, reason)
        else:
            self._begin(Action.CANCEL, model_id)

    def _allow_cancel(self, model_id: str, why: str) -> None:
        row = self._view.rows.get(model_id) if self._view is not None else None
        if row is not None:
            row.allow_cancel(f"Cancel failed: {why}")

    def _apply(self) -> None:
        model = self._state.model(self._state.editing_id)
        reading = self._view.form_reading() if self._view is not None else None
        if model is None or reading is None or reading.errors or not reading.changes:
            return
        if not ps.why_not(self._state, Action.UPDATE, model.id):
            self._begin(Action.UPDATE, model.id, changes=reading.values)

    # Calls -----------------------------------------------------------------------------------------------------------

    def _begin(self, action: Action, model_id: str, *, force: bool = False, changes: Any = None) -> None:
        model = self._state.model(model_id)
        if model is None:
            return
        call = Call(action, model_id, ps.title(model), self._clock_s())
        if self._calls.start(f"call-{model_id}", lambda: self._call(call, model, force=force, changes=changes)):
            self._state = ps.began(self._state, call)

    def _call(self, call: Call, model: Model, *, force: bool, changes: Any) -> events.CallEnded:
        """Make a button's call; runs apart."""
        try:
            return self._perform(call, model, force=force, changes=changes)
        except PiecesError as exc:
            return events.CallEnded(call, f"{call.action} failed. {exc}", is_error=True)
        except Exception as exc:  # the top of a thread: the panel shows what is stored here
            log.exception("a call of the panel broke")
            words = f"{call.title}: {call.action} failed, pieces_nb itself did: {exc!r}"
            return events.CallEnded(call, words, is_error=True)

    def _perform(self, call: Call, model: Model, *, force: bool, changes: Any) -> events.CallEnded:
        client, name = self._client, call.title

        def took() -> str:
            return format_duration(self._clock_s() - call.since)

        match call.action:
            case Action.DOWNLOAD:
                download = client.download(model)
                words = f"{name}: the download has begun" if not download.done else record(download)
                return events.CallEnded(call, words, download.model, download)
            case Action.CANCEL:
                canceled = client.cancel(model)
                # Where there is a row, the download's own end has the words.
                shown = model.id in self._state.followed
                return events.CallEnded(call, "" if shown else f"{name}: canceled", canceled)
            case Action.LOAD:
                return events.CallEnded(call, f"{name}: loaded in {took()}", client.load(model, force=force))
            case Action.UNLOAD:
                return events.CallEnded(call, f"{name}: unloaded", client.unload(model))
            case Action.UPDATE:
                after = client.update(model, changes)
                written = ", ".join(_change(model, after, field) for field in changes)
                return events.CallEnded(call, f"{name}: updated, read back: {written}", after)
            case Action.DELETE_CACHE:
                return events.CallEnded(call, f"{name}: the downloaded files are deleted", client.delete_cache(model))
            case Action.DELETE:
                client.delete(model)
                return events.CallEnded(call, f"{name}: deleted for good")
            case _:
                raise ModelStateError(f"{call.action} is nothing that is done to one model.")

    def _take_outcome(self, event: events.CallEnded) -> None:
        call = event.call
        self._state = ps.ended(self._state, call)
        self._changed_at = self._active_at = self._clock_s()
        if event.download is not None and not event.download.done:
            self._follow([event.download])
        if event.model is not None:
            self._state = ps.replaced(self._state, event.model)
        if event.is_error:
            self._allow_cancel(call.model_id, event.words)
        elif call.action is Action.DELETE:
            self._state = ps.removed(self._state, call.model_id)
        elif call.action is Action.UPDATE:
            self._state = replace(self._state, editing_id="")
        if event.words:
            self._say(event.words, is_error=event.is_error)
        self._poll()

    def _say(self, words: str, *, is_error: bool = False) -> None:
        self._state = ps.said(self._state, words, at=clock(datetime.now(UTC)), is_error=is_error)

    # Following -------------------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        """Ask for all models, apart."""
        self._wants_list = not self._calls.start("list", self._ask)
        if not self._wants_list:
            self._polled_at = self._clock_s()

    def _ask(self) -> events.Listed:
        asked_at = self._clock_s()
        client = self._client
        try:
            if self._state.trouble:
                client.connect()  # it may be another one than before
            models = client.models()
            free = machine_of(client.url).free_memory_bytes
            return events.Listed(asked_at, models, client.server, free)
        except PiecesError as exc:
            return events.Listed(asked_at, (), "", None, error=str(exc) or type(exc).__name__)
        except Exception as exc:  # the top of a thread: the panel shows what is stored here
            log.exception("the panel's question broke")
            return events.Listed(asked_at, (), "", None, error=f"pieces_nb itself failed: {exc!r}")

    def _take_in_list(self, event: events.Listed) -> None:
        at = clock(datetime.now(UTC))
        if event.error:
            self._state = ps.unanswered(self._state, event.error, at=at)
            return
        if event.asked_at < self._changed_at:
            self._poll()  # something was changed meanwhile: this answer may be of before that
            return
        before = self._state.models
        self._state = ps.read(
            self._state, event.models, server=event.server, free_memory_bytes=event.free_memory_bytes, at=at
        )
        if self._state.models != before:
            self._active_at = self._clock_s()
        self._join_running()

    def _choose_late(self) -> None:
        """The first answer came late, or only now: there is no caller any more who could be told."""
        try:
            self._choose_wanted()
        except PiecesError as exc:
            self._say(str(exc), is_error=True)

    def _join_running(self) -> None:
        """Follow the downloads that others began, or this program before a restart."""
        if self._view is None:
            return
        for model in self._state.models:
            if model.downloading and model.id not in self._view.rows:
                self._calls.start(f"join-{model.id}", partial(self._join, model))

    def _join(self, model: Model) -> events.Found | None:
        with suppress(PiecesError):  # it has ended meanwhile, or nobody answers: the next list says
            return events.Found(self._client.progress(model))
        return None

    def _look_for_downloads(self) -> None:
        """Take up what cells of this kernel have begun."""
        self._follow(self._client.downloads)

    def _follow(self, downloads: Sequence[Download]) -> None:
        assert self._view is not None
        for download in downloads:
            model_id = download.model.id
            row = self._view.rows.get(model_id)
            if download.closed or (row is not None and row.download is download):
                continue
            self._let_go(model_id)
            row = Row(download, button=True, on_cancel=self._row_canceler(model_id))
            self._view.add_row(model_id, row)
            self._state = replace(self._state, followed=frozenset(self._view.rows))
            self._stops[model_id] = download.subscribe(self._on_download)

    def _let_go(self, model_id: str) -> None:
        assert self._view is not None
        self._view.drop_row(model_id)
        stop = self._stops.pop(model_id, None)
        if stop is not None:
            stop()

    def _row_canceler(self, model_id: str) -> Callable[[], None]:
        return lambda: self._inbox.put(events.RowCanceled(model_id))

    def _on_download(self, download: Download) -> None:
        """Called in the download's thread, after its row has shown the same."""
        if download.done or download.closed:
            self._inbox.put(events.DownloadEnded(download))

    def _take_end(self, download: Download) -> None:
        assert self._view is not None
        model_id = download.model.id
        row = self._view.rows.get(model_id)
        if row is not None and row.download is download:
            self._let_go(model_id)
        self._state = replace(self._state, followed=frozenset(self._view.rows))
        self._changed_at = self._active_at = self._clock_s()
        self._state = ps.replaced(self._state, download.model)
        if download.done:
            self._say(record(download), is_error=download.error is not None and download.status != "CANCELED")
        self._poll()


def _change(before: Model, after: Model, field: str) -> str:
    from pieces_nb.model.fields import value_at
    from pieces_nb.views.panel.form import as_text

    old, new = (printable(as_text(value_at(model.raw, field)), limit=60) for model in (before, after))
    return f"{field} {old or '(nothing)'} → {new or '(nothing)'}"
