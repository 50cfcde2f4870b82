"""The panel's widgets. Shows a state, sends events; asks no server and decides nothing.

One thread at a time calls `show` and what else writes; a front end writes only the filter, the form and its choices,
which the panel never does. There are as many widgets as a page needs, whatever the number of models, and one Layout and
one Style of a kind for all of them: how they look is the style sheet's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ipywidgets

from pieces_nb.model.fields import FIELDS
from pieces_nb.model.models import Model
from pieces_nb.model.rules import FLAGS
from pieces_nb.text import clock, printable
from pieces_nb.views.outputs import hears_clicks
from pieces_nb.views.panel import events, form, html
from pieces_nb.views.panel import state as ps
from pieces_nb.views.panel.state import Action, PanelState

Send = Callable[[events.Event], None]
_scopes = itertools.count(1)
_NAME_LIMIT = 200


class Parts:
    """Makes widgets that share their Layout and Style."""

    def __init__(self) -> None:
        strings = ipywidgets.widgets.widget_string
        self.layout = ipywidgets.Layout()
        self._html_style = strings.HTMLStyle()
        self._button_style = ipywidgets.ButtonStyle()
        self._text_style = strings.TextStyle()
        self._choice_style = ipywidgets.widgets.widget_selection.ToggleButtonsStyle()

    def html(self, classes: str = "", value: str = "") -> Any:
        return ipywidgets.HTML(value, layout=self.layout, style=self._html_style, _dom_classes=tuple(classes.split()))

    def button(self, words: str, classes: str, on_click: Callable[[], None]) -> Any:
        """Return a button; what stands on further lines of its words is part of its name and not seen."""
        button = ipywidgets.Button(
            description=words,
            tooltip="",
            layout=self.layout,
            style=self._button_style,
            _dom_classes=tuple(classes.split()),
        )
        button.on_click(lambda _button: on_click())
        hears_clicks(button)
        return button

    def box(self, children: Any, classes: str, **more: Any) -> Any:
        return ipywidgets.Box(children, layout=self.layout, _dom_classes=tuple(classes.split()), **more)

    def text(self, kind: type[Any], words: str, classes: str, **more: Any) -> Any:
        box = kind(
            description=words,
            layout=self.layout,
            style=self._text_style,
            _dom_classes=tuple(classes.split()),
            **more,
        )
        hears_clicks(box)
        return box

    def choice(self, words: str, classes: str, options: Any, value: str) -> Any:
        choice = ipywidgets.ToggleButtons(
            description=words,
            options=options,
            value=value,
            layout=self.layout,
            style=self._choice_style,
            _dom_classes=tuple(classes.split()),
        )
        hears_clicks(choice)
        return choice

    def close(self) -> None:
        for shared in (self.layout, self._html_style, self._button_style, self._text_style, self._choice_style):
            shared.close()


def _named(words: str, model: Model) -> str:
    return f"{words}\n{printable(model.title, limit=_NAME_LIMIT)}"


class RowView:
    """A row of the table: what stands in it, its main button, and the one that opens the card."""

    def __init__(self, parts: Parts, send: Send) -> None:
        self.model_id = ""
        self.html = parts.html("pnb-text")
        self.main = parts.button("", "pnb-main", lambda: send(events.MainClicked(self.model_id)))
        self.more = parts.button("⋯", "pnb-more", lambda: send(events.MoreClicked(self.model_id)))
        self._parts = (self.html, self.main, self.more)
        self.box = parts.box(self._parts, "pnb-row")

    def show(self, state: PanelState, model: Model, below: tuple[Any, ...]) -> None:
        """Show a model and, below it, its card or a question."""
        self.model_id = model.id
        self.show_cells(state, model)
        self.main.description = _named("", model)
        opens = "Close the card of" if state.card_id == model.id else "Open the card of"
        self.more.description = _named(f"⋯\n{opens}", model)
        children = (*self._parts, *below)
        if self.box.children != children:
            self.box.children = children

    def show_cells(self, state: PanelState, model: Model) -> None:
        operation = state.operation_on(model)
        since = clock(operation.started) if operation is not None else ""
        self.html.value = html.row(state, model, clock=since)


class View:
    """The tree of widgets; `root` is what is displayed."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._parts = Parts()
        self._scope = f"pnb-panel-{next(_scopes)}"
        self._form: FormView | None = None
        self._drafts: dict[str, dict[str, str]] = {}
        self._build_top()
        self._build_card()
        self._head = self._parts.html("pnb-head", html.head())
        self._rows = [RowView(self._parts, send) for _ in range(ps.PAGE)]
        self._table = self._parts.box((self._head,), "pnb-table pnb-late")
        self._build_bottom()
        self.root = self._parts.box(
            (
                *(self._connection, self._ink, self._refresh, self._pattern, *self._toggles),
                *(self._table, *self._pager, self._log),
            ),
            f"pnb-root {self._scope}",
            _view_count=0,  # asks front ends to say when they show it and when not
        )
        self.root.observe(lambda change: self._send(events.Viewed(change["new"] or 0)), "_view_count")

    # Building --------------------------------------------------------------------------------------------------------

    def _build_top(self) -> None:
        parts, send = self._parts, self._send
        self._connection = parts.html("pnb-connection")
        self._ink = parts.html("pnb-ink")
        self._refresh = parts.button("Refresh\nask the server again now", "pnb-w1", lambda: send(events.Refreshed()))
        self._pattern = parts.text(ipywidgets.Text, "Filter", "pnb-filter pnb-late", placeholder="words of a name")
        self._pattern.observe(lambda change: send(events.Typed(change["new"])), "value")
        self._toggles = [self._toggle(flag) for flag in FLAGS]

    def _toggle(self, flag: str) -> Any:
        classes = f"pnb-toggle pnb-toggle-{flag} pnb-late"
        return self._parts.button(flag, classes, lambda: self._send(events.Toggled(flag)))

    def _build_card(self) -> None:
        parts = self._parts
        self._card = parts.html("pnb-full")
        self._acts = {
            Action.UPDATE: self._act(Action.UPDATE, "pnb-custom pnb-w2"),
            Action.DELETE: self._act(Action.DELETE, "pnb-custom pnb-w2"),
            Action.DELETE_CACHE: self._act(Action.DELETE_CACHE, "pnb-files pnb-w2"),
        }
        self._card_box = parts.box((self._card, *self._acts.values()), "pnb-card")
        self._words = parts.html("pnb-grow")
        self._yes = parts.button("Yes", "pnb-danger pnb-w3", lambda: self._send(events.Answered(yes=True)))
        self._no = parts.button("Keep", "pnb-w1", lambda: self._send(events.Answered(yes=False)))
        self._ask_box = parts.box((self._words, self._yes, self._no), "pnb-ask")

    def _act(self, action: Action, classes: str) -> Any:
        return self._parts.button("", classes, lambda: self._send(events.Clicked(action)))

    def _build_bottom(self) -> None:
        parts, send = self._parts, self._send
        self._pager = (
            parts.button("‹\nprevious page", "pnb-pager pnb-previous", lambda: send(events.Turned(-1))),
            parts.button("›\nnext page", "pnb-pager pnb-next", lambda: send(events.Turned(1))),
        )
        self._log = parts.html("pnb-full pnb-last")

    # Showing ---------------------------------------------------------------------------------------------------------

    def show(self, state: PanelState) -> None:
        """Write what has changed; a trait that stays the same sends nothing."""
        self._connection.value = html.connection(state)
        self._ink.value = html.ink(state, self._scope)
        self._show_card(state)
        models = ps.shown(state)
        for row, model in zip(self._rows, models, strict=False):
            row.show(state, model, self._below(state, model))
        children = (self._head, *(row.box for row in self._rows[: len(models)]))
        for row in self._rows[len(models) :]:
            row.model_id = ""
        if self._table.children != children:
            self._table.children = children
        self._log.value = html.log(state)

    def show_progress(self, state: PanelState) -> None:
        """Write only how far the downloads of the page are."""
        for row in self._rows:
            model = state.model(row.model_id) if row.model_id in state.progress else None
            if model is not None:
                row.show_cells(state, model)

    def _below(self, state: PanelState, model: Model) -> tuple[Any, ...]:
        card = (self._card_box,) if state.card_id == model.id else ()
        asked = state.question is not None and state.question.model_id == model.id
        return (*card, self._ask_box) if asked else card

    def _show_card(self, state: PanelState) -> None:
        model = state.model(state.card_id)
        if model is not None:
            self._card.value = html.card(model)
            self._acts[Action.UPDATE].description = _named("Close form\nof" if state.editing else "Update…", model)
            self._acts[Action.DELETE].description = _named("Delete…", model)
            self._acts[Action.DELETE_CACHE].description = _named("Delete files…\nof", model)
        if state.question is not None:
            self._words.value = html.question(state.question.words)
            asked = state.model(state.question.model_id)
            self._yes.description = _named(state.question.yes, asked) if asked is not None else state.question.yes
            self._no.description = _named("Keep", asked) if asked is not None else "Keep"
        self._show_form(state, model)

    # The form --------------------------------------------------------------------------------------------------------

    def _show_form(self, state: PanelState, model: Model | None) -> None:
        wanted = model if state.editing else None
        if self._form is not None and (wanted is None or self._form.model_id != wanted.id):
            self._close_form()
        if wanted is not None and self._form is None:
            self._form = FormView(wanted, self._parts, self._send, self._scope, self._drafts.get(wanted.id, {}))
        below = self._form.widgets if self._form is not None else ()
        children = (self._card, *self._acts.values(), *below)
        if self._card_box.children != children:
            self._card_box.children = children
        if self._form is not None:
            self._form.show()

    def _close_form(self) -> None:
        assert self._form is not None
        self.keep_draft()
        self._card_box.children = (self._card, *self._acts.values())
        self._form.close()
        self._form = None

    def keep_draft(self) -> frozenset[str]:
        """Keep what the form holds unsaved; return the ids of all models with unsaved changes."""
        if self._form is not None:
            changed = self._form.changed()
            if changed:
                self._drafts[self._form.model_id] = changed
            else:
                self._drafts.pop(self._form.model_id, None)
        return frozenset(self._drafts)

    def drop_draft(self, model_id: str) -> frozenset[str]:
        """Forget unsaved changes: they are saved now, or not wanted; return the ids of models with others."""
        self._drafts.pop(model_id, None)
        if self._form is not None and self._form.model_id == model_id:
            self._form.revert()
        return frozenset(self._drafts)

    def form_reading(self) -> form.Reading | None:
        """Return what the form means, which then says what keeps it from being done; None if there is no form."""
        if self._form is None:
            return None
        self._form.wanted = True
        return self._form.reading()

    # The focus -------------------------------------------------------------------------------------------------------

    def focus_row(self, model_id: str) -> None:
        """Put the focus on a row, for somebody whose button has just gone."""
        for row in self._rows:
            if row.model_id == model_id:
                row.more.focus()

    def close(self) -> None:
        if self._form is not None:
            self._close_form()
        trees = [self.root, self._card_box, self._ask_box, *(row.box for row in self._rows)]
        for widget in {id(widget): widget for tree in trees for widget in _tree(tree)}.values():
            widget.close()
        self._parts.close()


def _tree(widget: Any) -> Iterator[Any]:
    """Yield a widget and all that it holds."""
    for child in getattr(widget, "children", ()):
        yield from _tree(child)
    yield widget


class FormView:
    """The form of one custom model: a box or a choice for each field, what they change, Apply and Undo."""

    def __init__(self, model: Model, parts: Parts, send: Send, scope: str, draft: Mapping[str, str]) -> None:
        self.model_id = model.id
        self.wanted = False
        self._scope = scope
        self._before = form.texts(model)
        self._boxes = {name: self._box(parts, name, draft.get(name, text)) for name, text in self._before.items()}
        for box in self._boxes.values():
            box.observe(lambda _change: send(events.Edited()), "value")
        self._fields = parts.box(tuple(self._boxes.values()), "pnb-form")
        self._changes = parts.html("pnb-full")
        self._apply = parts.button(
            _named("Apply\nthe changes to", model), "pnb-primary pnb-w1", lambda: send(events.Applied())
        )
        self._undo = parts.button(_named("Undo\nthe changes to", model), "pnb-w1", lambda: send(events.Reverted()))
        self.widgets = (self._fields, self._changes, self._apply, self._undo)

    def _box(self, parts: Parts, name: str, text: str) -> Any:
        classes = html.field_class(name)
        offered = form.choices(name, text)
        if offered:
            options = [(f"{words or 'not set'}\n{name}", words) for words in offered]
            wide = " pnb-flag" if FIELDS[name].word == "true or false" else " pnb-wide"
            return parts.choice(name, f"{classes}{wide}", options, text)
        if name == "description":
            return parts.text(ipywidgets.Textarea, name, f"{classes} pnb-wide", value=text, rows=2)
        hint = (
            "" if FIELDS[name].word == "text" else "one word such as META" if FIELDS[name].word == "WORD" else "number"
        )
        return parts.text(ipywidgets.Text, name, classes, value=text, placeholder=hint)

    def _texts(self) -> dict[str, str]:
        return {name: box.value for name, box in self._boxes.items()}

    def reading(self) -> form.Reading:
        return form.read(self._before, self._texts())

    def changed(self) -> dict[str, str]:
        """Return the texts that are not as they were."""
        return {name: text for name, text in self._texts().items() if text != self._before[name]}

    def revert(self) -> None:
        for name, box in self._boxes.items():
            box.value = self._before[name]

    def show(self) -> None:
        self._changes.value = html.reading(self.reading(), self._scope, wanted=self.wanted)

    def close(self) -> None:
        for widget in (*self._boxes.values(), *self.widgets):
            widget.close()
