"""`Panel`: follows the server's models and downloads, does what is clicked, has the view show it.

Everything that happens — a click, an answer, a download that moves, an operation of a cell — is an event in one inbox.
The panel's thread takes them in turn, makes a new state of each and has it shown; it is the only one that writes
widgets after the start, and it never calls the server itself: `Calls` does, and its outcomes are events again.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, assert_never

from pieces_nb.errors import ModelNotFound, PiecesError
from pieces_nb.history import Entry, Operation
from pieces_nb.locks import Lock
from pieces_nb.model import resolve
from pieces_nb.model.models import Model
from pieces_nb.text import Front, Step
from pieces_nb.views.outputs import VIEW, LiveOutput, Standing, in_notebook
from pieces_nb.views.panel import events
from pieces_nb.views.panel import state as ps
from pieces_nb.views.panel.asking import Asking, now_words
from pieces_nb.views.panel.calls import Calls
from pieces_nb.views.panel.doing import Doing, outcome_words
from pieces_nb.views.panel.following import Following
from pieces_nb.views.panel.state import Action, Call, PanelState
from pieces_nb.views.words import record

if TYPE_CHECKING:
    from pieces_nb.client import ModelClient
    from pieces_nb.download.download import Download
    from pieces_nb.views.panel.view import View

log = logging.getLogger(__name__)

_FIRST_ANSWER_S = 2.5  # how long opening waits for the first answer; a server may take longer
POLL_S = 3.0  # between two questions for all models while something goes on
POLL_SHOWN_S = 5.0  # while the panel is in use
POLL_IDLE_S = 20.0
POLL_HIDDEN_S = 30.0
IN_USE_S = 60.0  # so long after the last click, or change, it counts as in use
MOVES_S = 0.2  # between two pictures of what only moves
_LOOK_S = 0.5  # how often it looks for downloads that cells of this kernel began
_LOOK_IDLE_S = 2.0
_SOON_S = 0.05  # until a list is asked for again that could not be while one was under way
_LIVE_AGAIN = (Step("panel", "client.panel()"), " shows it live.")


def poll_interval_s(state: PanelState, *, quiet_s: float, hidden: bool) -> float:
    """Return how long to wait between two questions for all models, `quiet_s` after the last click or change."""
    if hidden:
        return POLL_HIDDEN_S
    if state.is_lively:
        return POLL_S
    return POLL_SHOWN_S if quiet_s < IN_USE_S else POLL_IDLE_S


class Panel:
    """A panel for the models of one client: filter, download, watch, cancel, load, unload, update, delete.

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
        self._calls = Calls(self._inbox.put)
        self._asking = Asking(client, clock_s)
        self._doing = Doing(client, clock_s)
        self._following = Following(clock_s, lambda download: self._inbox.put(events.DownloadMoved(download)))
        self._wanted = model  # whose card to open once the models are known
        self._view: View | None = None
        self._outputs: list[LiveOutput] = []
        self._closing = threading.Event()
        self._lock = Lock()  # guards starting and closing, each done once
        self._thread: threading.Thread | None = None
        self._stop_watching: Callable[[], None] = lambda: None
        now = clock_s()
        self._polled_at = self._changed_at = self._active_at = self._moved_at = now
        self._looked_at = float("-inf")  # the thread looks for downloads first of all: what that imports takes a while
        # `_changed_at`: when a call last changed something; older answers are out of date.
        self._wants_list = False  # a list is wanted as soon as the question under way has come back
        self._shown: PanelState | None = None
        self._has_moved = False
        self._told: weakref.WeakSet[Download] = weakref.WeakSet()  # downloads whose end was said
        self._verbs: dict[str, Action | None] = {}  # what the buttons of the page say
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
                self._open_wanted()

    def _open_wanted(self) -> None:
        """Open the card that was asked for; raises `ModelNotFound`, `AmbiguousModel`."""
        wanted = self._wanted
        if wanted is None or not self._state.connected:
            return
        self._wanted = None
        if not isinstance(wanted, Model):
            wanted = resolve.resolve(wanted, self._state.models)
        elif self._state.model(wanted.id) is None:
            raise ModelNotFound(f"The server has no model {wanted.id!r}.", model=wanted.id)
        self._state = ps.sought(self._state, wanted)

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

    def _standing(self) -> Standing:
        server = self._state.server
        return Standing(ps.summary(self._state, whole=True), server.url if server is not None else "", _LIVE_AGAIN)

    def _as_text(self) -> dict[str, Any]:
        return self._standing().bundle(datetime.now().astimezone())

    def _repr_mimebundle_(self, **_wanted: object) -> dict[str, Any]:
        if self.closed:
            return self._as_text()
        return {**self._as_text(), VIEW: {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}}

    def _ipython_display_(self) -> None:
        """Show it, with words that a saved page has in its place."""
        if self.closed or not in_notebook():
            raise NotImplementedError  # IPython's way to say: use the other representations
        output = LiveOutput(self.widget, self._standing)
        output.display()
        self._outputs.append(output)

    # Its life --------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Build the widgets and start the thread, once."""
        with self._lock:
            if self._view is not None or self.closed:
                return
            from pieces_nb.views.panel.view import View

            self._view = View(self._inbox.put)
            self._stop_watching = self._client.history.watch(self._on_operation)
            self._state = ps.operating(self._state, self._client.history.running())
            self._join_running()
            self._show()
            self._thread = threading.Thread(target=self._run, name="pieces-nb-panel", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End it: its thread and its widgets are gone when this returns. Downloads and calls under way go on."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
        self._stop_watching()
        self._inbox.put(None)
        self._calls.close()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=2.0)
        self._following.close()
        if self._view is not None:
            self._view.close()
        for output in self._outputs:
            output.become(self._as_text())

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._step()
            except Exception:  # the top of the thread
                log.exception("a step of the panel broke")
                self._closing.wait(1.0)  # what breaks again and again must not spin

    def _step(self) -> None:
        with suppress(queue.Empty):
            event = self._inbox.get(timeout=self._pause_s())
            while event is not None:
                self._take_safely(event)
                event = self._inbox.get_nowait()
        if self._closing.is_set():
            return
        now = self._clock_s()
        if now - self._looked_at >= _LOOK_S:
            self._looked_at = now
            self._look_for_downloads()
        if self._wants_list or now >= self._next_poll_at():
            self._poll()
        if self._shown is not self._state:
            self._show()
        elif self._has_moved and now - self._moved_at >= MOVES_S:
            self._show_progress()

    def _show(self) -> None:
        assert self._view is not None
        self._show_progress(whole=True)
        self._verbs = {model.id: ps.main_action(self._state, model) for model in ps.shown(self._state)}

    def _show_progress(self, *, whole: bool = False) -> None:
        """Show how far the downloads are, or with `whole` everything that has changed."""
        assert self._view is not None
        self._has_moved, self._moved_at = False, self._clock_s()
        self._state = ps.progressing(self._state, self._following.progress())
        self._shown = self._state
        if whole:
            self._view.show(self._state)
        else:
            self._view.show_progress(self._state)

    def _pause_s(self) -> float:
        now = self._clock_s()
        look_s = _LOOK_S if self._is_in_use(now) else _LOOK_IDLE_S
        until = [self._next_poll_at() - now, self._looked_at + look_s - now]
        if self._wants_list:
            until.append(_SOON_S)
        if self._has_moved:
            until.append(self._moved_at + MOVES_S - now)
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
                self._open_late()
            case events.Found(downloads):
                self._follow(downloads)
            case events.DownloadMoved(download):
                self._take_move(download)
            case events.CallEnded():
                self._take_outcome(event)
            case events.Operated(operation, entry):
                self._take_operation(operation, entry)
            case events.Viewed(times):
                self._hidden = times <= 0 and self._was_viewed
                self._was_viewed = self._was_viewed or times > 0
                self._active_at = self._clock_s()
            case _:
                self._active_at = self._clock_s()
                self._take_gesture(event)

    def _take_gesture(self, event: events.Gesture) -> None:
        """Take what a person did."""
        match event:
            case events.Typed(pattern):
                self._state = ps.filtered(self._state, pattern)
            case events.Toggled(flag):
                self._state = ps.toggled(self._state, flag)
            case events.Turned(by):
                self._state = ps.turned(self._state, by)
            case events.Refreshed():
                self._poll()
            case events.MainClicked(model_id):
                self._click_main(model_id)
            case events.MoreClicked(model_id):
                self._state = replace(ps.opened(self._state, model_id), drafts=self._drafts())
            case events.Clicked(action):
                self._click(action, self._state.card_id)
            case events.Answered(yes):
                self._answer(yes)
            case events.Edited():
                self._state = replace(self._state, drafts=self._drafts())
            case events.Applied():
                self._apply()
            case events.Reverted():
                self._forget_draft(self._state.card_id)
            case _:
                assert_never(event)

    def _drafts(self) -> frozenset[str]:
        return self._view.keep_draft() if self._view is not None else frozenset()

    def _forget_draft(self, model_id: str) -> None:
        if self._view is not None:
            self._state = replace(self._state, drafts=self._view.drop_draft(model_id))

    def _click_main(self, model_id: str) -> None:
        model = self._state.model(model_id)
        action = ps.main_action(self._state, model) if model is not None else None
        # One that crossed a change does not mean what its button says now.
        if action is not None and self._verbs.get(model_id) is action:
            self._click(action, model_id)

    def _click(self, action: Action, model_id: str) -> None:
        model = self._state.model(model_id)
        if model is None or self._state.call_on(model_id) is not None:
            return
        reason = ps.why_not(self._state, action, model_id)
        question = ps.question_for(self._state, action, model)
        if reason:
            self._say(f"{ps.title(model)}: not now, {reason}.", is_error=True)
        elif action is Action.UPDATE:
            self._state = replace(self._state, editing=not self._state.editing, drafts=self._drafts())
        elif question is not None:
            self._state = replace(self._state, question=question)
        else:
            self._begin(action, model)

    def _answer(self, yes: bool) -> None:
        question, self._state = self._state.question, replace(self._state, question=None)
        model = self._state.model(question.model_id) if question is not None else None
        if question is None or model is None:
            return
        if yes:
            self._begin(question.action, model, force=True)
        self._focus(model.id)  # the button that was clicked goes with the question

    def _apply(self) -> None:
        model = self._state.model(self._state.card_id)
        reading = self._view.form_reading() if self._view is not None else None
        if model is None or reading is None:
            return
        self._state = replace(self._state)  # shown anew: the form says what keeps it
        if reading.changes and not reading.errors and not ps.why_not(self._state, Action.UPDATE, model.id):
            self._begin(Action.UPDATE, model, changes=reading.values)

    # Calls -----------------------------------------------------------------------------------------------------------

    def _begin(self, action: Action, model: Model, *, force: bool = False, changes: Any = None) -> None:
        call = Call(action, model.id, ps.title(model), self._clock_s(), now_words())
        perform = partial(self._doing.perform, call, model, force=force, changes=changes)
        if self._calls.start(f"call-{model.id}", perform):
            self._state = ps.began(self._state, call)

    def _take_outcome(self, event: events.CallEnded) -> None:
        call = event.call
        self._state = ps.ended(self._state, call)
        self._changed_at = self._active_at = self._clock_s()
        if event.download is not None and event.download.done:
            self._tell_end(event.download)
        elif event.download is not None:
            self._follow([event.download])
        if event.model is not None:
            self._state = ps.replaced(self._state, event.model)
        if not event.is_error and call.action is Action.DELETE:
            self._state = ps.removed(self._state, call.model_id)
        elif not event.is_error and call.action is Action.UPDATE:
            self._forget_draft(call.model_id)
            self._state = replace(self._state, editing=False)
            self._focus(call.model_id)
        if event.words:
            self._say(event.words, is_error=event.is_error)
        self._poll()

    def _focus(self, model_id: str) -> None:
        if self._view is not None:
            self._view.focus_row(model_id)

    def _say(self, words: str, *, is_error: bool = False) -> None:
        self._state = ps.said(self._state, words, at=now_words(), is_error=is_error)

    # What cells do ---------------------------------------------------------------------------------------------------

    def _on_operation(self, operation: Operation, entry: Entry | None) -> None:
        """Called in the thread that acts."""
        if not self._doing.is_ours(operation):
            self._inbox.put(events.Operated(operation, entry))

    def _take_operation(self, operation: Operation, entry: Entry | None) -> None:
        others = [found for found in self._state.operations if found.number != operation.number]
        model = self._state.model(operation.model_id)
        if entry is None:
            self._state = ps.operating(self._state, [*others, operation])
            return
        self._state = ps.operating(self._state, others)
        self._changed_at = self._active_at = self._clock_s()
        words = outcome_words(operation, entry) if model is not None else ""
        if words:
            self._say(words, is_error=bool(entry.error))
        self._poll()

    # Following -------------------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        """Ask for all models, apart."""
        ask = partial(self._asking.ask, anew=bool(self._state.trouble))
        self._wants_list = not self._calls.start("list", ask)
        if not self._wants_list:
            self._polled_at = self._clock_s()

    def _take_in_list(self, event: events.Listed) -> None:
        if event.error or event.server is None:
            self._state = ps.unanswered(self._state, event.error, at=now_words())
            return
        if event.asked_at < self._changed_at:
            self._poll()  # something was changed meanwhile: this answer may be of before that
            return
        before = self._state
        self._state = ps.read(before, event.models, server=event.server, machine=event.machine, at=event.asked)
        if self._state.models != before.models:
            self._active_at = self._clock_s()
        self._join_running()

    def _open_late(self) -> None:
        """The first answer came late, or only now: there is no caller any more who could be told."""
        try:
            self._open_wanted()
        except PiecesError as exc:
            exc.front = Front.NOTEBOOK
            self._say(str(exc), is_error=True)

    def _join_running(self) -> None:
        """Follow the downloads that others began, or this program before a restart."""
        if self._view is None:
            return
        for model in self._state.models:
            if model.downloading and model.id not in self._state.progress:
                self._calls.start(f"join-{model.id}", partial(self._asking.join, model))

    def _look_for_downloads(self) -> None:
        """Take up what cells of this kernel have begun."""
        self._follow(self._client.downloads)

    def _follow(self, downloads: Sequence[Download]) -> None:
        for download in downloads:
            self._following.follow(download)
        if downloads:
            self._state = ps.progressing(self._state, self._following.progress())

    def _take_move(self, download: Download) -> None:
        if not self._following.has(download):
            return
        if not (download.done or download.closed):
            self._has_moved = True
            return
        self._following.let_go(download)
        self._changed_at = self._active_at = self._clock_s()
        self._state = ps.progressing(self._state, self._following.progress())
        self._state = ps.replaced(self._state, download.model)
        self._tell_end(download)
        self._poll()

    def _tell_end(self, download: Download) -> None:
        """Say once how a download has ended: its own word may come before that of the call that began it, or after."""
        if download.done and download not in self._told:
            self._told.add(download)
            self._say(record(download), is_error=download.error is not None and download.status != "CANCELED")
