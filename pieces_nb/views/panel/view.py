"""The panel's widgets. Shows a state, sends events; asks no server and decides nothing.

One thread at a time calls `show` and what else writes. The three controls that a front end writes too are guarded, so
that its messages do not meet a half-written control.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ipywidgets

from pieces_nb.model.fields import FIELDS
from pieces_nb.model.models import Model
from pieces_nb.views.notebook import Row, close_widgets
from pieces_nb.views.panel import events, form, html
from pieces_nb.views.panel import state as ps
from pieces_nb.views.panel.state import Action, PanelState, Shows

Send = Callable[[events.Event], None]

_TIPS = {
    Action.DOWNLOAD: "Download the chosen model",
    Action.CANCEL: "Cancel the download of the chosen model",
    Action.LOAD: "Load the chosen model into memory",
    Action.UNLOAD: "Take the chosen model out of memory",
    Action.UPDATE: "Change fields of the chosen custom model, in a form",
    Action.REFRESH: "Ask the server again now",
    Action.DELETE_CACHE: "Delete the downloaded files of the chosen model; asks first",
    Action.DELETE: "Delete the chosen custom model; asks first",
}


class _Guarded:
    """A widget whose messages from a front end wait while the panel writes."""

    guard: threading.RLock

    def set_state(self, sync_data: dict[str, Any]) -> None:
        with self.guard:
            super().set_state(sync_data)  # type: ignore[misc]  # ipywidgets' Widget has it


class _Text(_Guarded, ipywidgets.Text):  # type: ignore[misc]  # ipywidgets has no types
    pass


class _Dropdown(_Guarded, ipywidgets.Dropdown):  # type: ignore[misc]  # ipywidgets has no types
    pass


class _Select(_Guarded, ipywidgets.Select):  # type: ignore[misc]  # ipywidgets has no types
    pass


def _description_styles(width: str) -> tuple[Any, Any]:
    """Return styles that give labels a width: one for boxes of text, one for lists."""
    return (
        ipywidgets.widgets.widget_string.TextStyle(description_width=width),
        ipywidgets.widgets.widget_description.DescriptionStyle(description_width=width),
    )


class View:
    """The tree of widgets; `root` is what is displayed."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._guard = threading.RLock()  # guards the filter's and the chooser's traits, and _writing
        self._writing = False  # whether a change of the chooser is our own
        self._html_layout = ipywidgets.Layout(width="auto", margin="2px 0")
        self._html_style = ipywidgets.widgets.widget_string.HTMLStyle()
        self._button_layout = ipywidgets.Layout(width="auto", min_width="5.5em", margin="2px 6px 2px 0")
        self._button_style = ipywidgets.ButtonStyle()
        self._wrap = ipywidgets.Layout(flex_flow="row wrap", align_items="center", overflow="visible")
        self._stack = ipywidgets.Layout(overflow="visible")
        self._build_chooser()
        self._build_buttons()
        self._build_rest()

    # Building --------------------------------------------------------------------------------------------------------

    def _build_chooser(self) -> None:
        text_style, style = _description_styles("max-content")
        beside = ipywidgets.Layout(width="auto", flex="1 1 150px", min_width="0", margin="2px 0")
        # The label above its box: what is narrow keeps the whole width for names.
        wide = ipywidgets.Layout(width="auto", height="205px", flex_flow="column", align_items="stretch", margin="0")
        self._pattern = _Text(
            description="Filter",
            placeholder="part of a name",
            tooltip="Show the models whose name contains this",
            layout=beside,
            style=text_style,
        )
        self._shows = _Dropdown(
            description="Show",
            options=[(str(shows), shows) for shows in Shows],
            tooltip="Show the models in this state",
            layout=beside,
            style=style,
        )
        self._chooser = _Select(
            description="Model",
            options=[],
            value=None,
            rows=10,
            tooltip="The model that the buttons act on",
            layout=wide,
            style=style,
        )
        for control in (self._pattern, self._shows, self._chooser):
            control.guard = self._guard
        self._pattern.observe(lambda change: self._send(events.Typed(change["new"])), "value")
        self._shows.observe(lambda change: self._send(events.Narrowed(change["new"])), "value")
        self._chooser.observe(self._on_chosen, "value")

    def _on_chosen(self, change: Mapping[str, Any]) -> None:
        if not self._writing:
            self._send(events.Chose(change["new"] or ""))

    def _build_buttons(self) -> None:
        self._buttons = {action: self._button(str(action), _TIPS[action]) for action in Action}
        for action, button in self._buttons.items():
            button.on_click(lambda _button, action=action: self._send(events.Clicked(action)))
        self._yes = self._button("Yes", "Do it", style="danger")
        self._yes.on_click(lambda _button: self._send(events.Confirmed(yes=True)))
        self._no = self._button("Keep", "Do nothing")
        self._no.on_click(lambda _button: self._send(events.Confirmed(yes=False)))

    def _button(self, words: str, tip: str, *, style: str = "") -> Any:
        return ipywidgets.Button(
            description=words,
            tooltip=tip,
            button_style=style,
            layout=self._button_layout,
            style=self._button_style,
        )

    def _html(self) -> Any:
        return ipywidgets.HTML(layout=self._html_layout, style=self._html_style)

    def _build_rest(self) -> None:
        self._connection, self._count, self._snapshot, self._reasons = (self._html() for _ in range(4))
        self._words, self._calls, self._memory, self._messages = (self._html() for _ in range(4))
        self._question = ipywidgets.HBox([], layout=self._wrap)
        self._form_place = ipywidgets.VBox([], layout=self._stack)
        self._form: FormView | None = None
        self._rows_place = ipywidgets.VBox([], layout=self._stack)
        self._rows: dict[str, Row] = {}
        left = ipywidgets.VBox(
            [
                ipywidgets.HBox(
                    [self._pattern, self._shows],
                    layout=ipywidgets.Layout(flex_flow="row wrap", grid_gap="0 16px", overflow="visible"),
                ),
                self._chooser,
                self._count,
            ],
            layout=ipywidgets.Layout(flex="1 1 320px", min_width="0", margin="0 20px 4px 0"),
        )
        right = ipywidgets.VBox([self._snapshot], layout=ipywidgets.Layout(flex="2 1 320px", min_width="0"))
        top = ipywidgets.HBox([left, right], layout=ipywidgets.Layout(flex_flow="row wrap", overflow="visible"))
        buttons = ipywidgets.HBox(list(self._buttons.values()), layout=self._wrap)
        self.root = ipywidgets.VBox(
            [
                self._connection,
                top,
                buttons,
                self._reasons,
                self._question,
                self._form_place,
                self._calls,
                self._rows_place,
                self._memory,
                self._messages,
            ],
            layout=ipywidgets.Layout(padding="4px 8px", overflow="visible"),
            _view_count=0,  # asks front ends to say when they show it and when not
        )
        self.root.observe(lambda change: self._send(events.Viewed(change["new"] or 0)), "_view_count")

    # Showing ---------------------------------------------------------------------------------------------------------

    def show(self, state: PanelState, *, now: float) -> None:
        """Write what has changed; a trait that stays the same sends nothing."""
        self._connection.value = html.connection(state)
        self._show_options(state)
        self._count.value = html.count(state)
        self._snapshot.value = html.snapshot(state)
        for action, button in self._buttons.items():
            reason = ps.why_not(state, action)
            with button.hold_sync():
                button.disabled = bool(reason)
                button.tooltip = f"{action}: {reason}" if reason else _TIPS[action]
        self._reasons.value = html.reasons(state)
        self._show_question(state)
        self._show_form(state)
        self._calls.value = html.calls(state, now=now)
        self._memory.value = html.memory(state)
        self._messages.value = html.messages(state)

    def _show_options(self, state: PanelState) -> None:
        offered = tuple(ps.options(state))
        with self._guard, self._chooser.hold_sync():
            self._writing = True
            try:
                if offered != self._chooser.options:
                    self._chooser.options = offered
                wanted = state.chosen_id or None
                if self._chooser.value != wanted:
                    self._chooser.value = wanted
            finally:
                self._writing = False

    def _show_question(self, state: PanelState) -> None:
        question = state.question
        if question is None:
            if self._question.children:
                self._question.children = ()
            return
        self._words.value = html.question(question.words)
        self._yes.description = question.yes
        if not self._question.children:
            self._question.children = (self._words, self._yes, self._no)

    # The form --------------------------------------------------------------------------------------------------------

    def _show_form(self, state: PanelState) -> None:
        model = state.model(state.editing_id)
        if self._form is not None and (model is None or self._form.model_id != model.id):
            self._form_place.children = ()
            self._form.close()
            self._form = None
        if model is not None:
            if self._form is None:
                self._form = FormView(model, self._send, self._button)
                self._form_place.children = (self._form.box,)
            self._form.show(is_busy=state.call_on(model.id) is not None)

    def form_reading(self) -> form.Reading | None:
        """Return what the form's boxes mean now; None if there is no form."""
        return self._form.reading() if self._form is not None else None

    # The rows --------------------------------------------------------------------------------------------------------

    @property
    def rows(self) -> Mapping[str, Row]:
        """The progress rows by the ids of their models."""
        return self._rows

    def add_row(self, model_id: str, row: Row) -> None:
        self._rows[model_id] = row
        self._rows_place.children = tuple(row.box for row in self._rows.values())

    def drop_row(self, model_id: str) -> None:
        row = self._rows.pop(model_id, None)
        if row is not None:
            self._rows_place.children = tuple(row.box for row in self._rows.values())
            row.close()

    def close(self) -> None:
        for model_id in list(self._rows):
            self.drop_row(model_id)
        if self._form is not None:
            self._form.close()
        close_widgets(*_tree(self.root), self._words, self._yes, self._no)


def _tree(widget: Any) -> Iterator[Any]:
    """Yield a widget and all that it holds."""
    for child in getattr(widget, "children", ()):
        yield from _tree(child)
    yield widget


class FormView:
    """The form of one custom model: a box for each field, what they change, Apply and Close."""

    def __init__(self, model: Model, send: Send, button: Callable[..., Any]) -> None:
        self.model_id = model.id
        self._before = form.texts(model)
        self._text_style, self._style = _description_styles("12em")
        self._layout = ipywidgets.Layout(width="auto", min_width="0", margin="0")
        self._boxes = {name: self._box(name, text) for name, text in self._before.items()}
        for box in self._boxes.values():
            box.observe(lambda _change: send(events.Edited()), "value")
        self._changes = ipywidgets.HTML()
        self._apply = button("Apply", "Write the changes and read the model back", style="primary")
        self._apply.on_click(lambda _button: send(events.Applied()))
        self._close = button("Close form", "Close the form; nothing is written")
        self._close.on_click(lambda _button: send(events.FormClosed()))
        self._fields = ipywidgets.GridBox(
            list(self._boxes.values()),
            layout=ipywidgets.Layout(
                grid_template_columns="repeat(auto-fill, minmax(min(100%, 300px), 1fr))", grid_gap="3px 14px"
            ),
        )
        self._end = ipywidgets.HBox([self._apply, self._close])
        self.box = ipywidgets.VBox(
            [self._fields, self._changes, self._end],
            layout=ipywidgets.Layout(
                border="1px solid var(--jp-border-color2)", padding="6px 8px", margin="4px 0", overflow="visible"
            ),
        )

    def _box(self, name: str, text: str) -> Any:
        common = {"description": name, "layout": self._layout}
        kind = FIELDS[name]
        if kind.word == form.FLAG and text in ("", "true", "false"):
            words = [("not set", "")] if kind.optional or not text else []
            choices = [*words, ("true", "true"), ("false", "false")]
            return ipywidgets.Dropdown(
                options=choices, value=text, tooltip=f"{name}: true or false", style=self._style, **common
            )
        cleared = "; empty: no value" if kind.optional else ""
        tip = f"{name}: {'one word such as META' if kind.word == 'WORD' else kind.word}{cleared}"
        if name == "description":
            return ipywidgets.Textarea(value=text, rows=2, tooltip=tip, style=self._text_style, **common)
        return ipywidgets.Text(value=text, tooltip=tip, style=self._text_style, **common)

    def reading(self) -> form.Reading:
        return form.read(self._before, {name: box.value for name, box in self._boxes.items()})

    def show(self, *, is_busy: bool) -> None:
        reading = self.reading()
        self._changes.value = html.changes(reading)
        disabled = is_busy or bool(reading.errors) or not reading.changes
        self._apply.disabled = disabled
        self._apply.tooltip = (
            "A call for this model is under way"
            if is_busy
            else "Mend what is wrong first"
            if reading.errors
            else "Change something first"
            if not reading.changes
            else "Write the changes and read the model back"
        )

    def close(self) -> None:
        for button in (self._apply, self._close):
            button.close()  # their Layout and Style are the panel's
        close_widgets(*(widget for widget in _tree(self.box) if widget not in (self._apply, self._close)))
