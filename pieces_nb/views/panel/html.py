"""The panel's words as HTML: everything escaped, no mathematics, only the theme's colours. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from pieces_nb.model.models import Model
from pieces_nb.text import printable
from pieces_nb.views.panel import state as ps
from pieces_nb.views.panel.form import Reading, as_text
from pieces_nb.views.panel.state import PanelState

# Without these classes a `$` in a name would be typeset as mathematics.
_PLAIN = "tex2jax_ignore mathjax_ignore"
_DIM = "color: var(--jp-ui-font-color2)"
_BAD = "color: var(--jp-error-color1)"
_CELL = "padding: 1px 10px 1px 0; text-align: left; vertical-align: top; overflow-wrap: anywhere"
_LONGEST_VALUE = 600
_CODE = re.compile(r"`([^`]+)`")


def block(*lines: str, style: str = "", role: str = "") -> str:
    """Return lines of ready HTML as one block."""
    named = f' role="{role}"' if role else ""
    body = "".join(f"<div>{line}</div>" for line in lines if line)
    return f'<div class="{_PLAIN}"{named} style="line-height: 1.5; overflow-wrap: anywhere; {style}">{body}</div>'


def _words(text: str) -> str:
    """Return a text for people as HTML, what stands in `backticks` as code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def connection(state: PanelState) -> str:
    if not state.asked:
        return block("Asking the server …", style=_DIM)
    if not state.trouble:
        kind, _, rest = printable(state.server, limit=200).partition(" at ")
        return block(f"<b>Connected</b> to {escape(kind)} at {escape(rest)}")
    since = f" since {escape(state.trouble_at)}" if state.trouble_at else ""
    lines = [f'<b style="{_BAD}">No answer{since}</b>: {_words(state.trouble)}']
    if state.models:
        lines.append("What shows is what was known then. The panel goes on asking.")
    return block(*lines, role="status")


def memory(state: PanelState) -> str:
    return block(escape(ps.memory_words(state)), style=_DIM)


def count(state: PanelState) -> str:
    return block(escape(ps.count_words(state)), style=_DIM)


def reasons(state: PanelState) -> str:
    return block(escape(ps.reasons(state)), style=f"{_DIM}; font-size: var(--jp-ui-font-size0)")


def calls(state: PanelState, *, now: float) -> str:
    return block(*(escape(words) for words in ps.calls_words(state, now=now)), role="status")


def messages(state: PanelState) -> str:
    """Return the outcomes, the newest first and plain, the older ones dimmed."""
    lines = []
    for position, message in enumerate(state.messages):
        colour = _BAD if message.is_error else _DIM if position else ""
        at = f'<span style="{_DIM}">{escape(message.at)}</span> ' if message.at else ""
        lines.append(f'{at}<span style="{colour}">{_words(message.words)}</span>')
    return block(*lines, role="log")


def question(words: str) -> str:
    return block(f"<b>{escape(printable(words))}</b>", style="margin-right: 10px")


def snapshot(state: PanelState) -> str:
    """Return the chosen model's fields, or what to do where there is none."""
    model = state.chosen
    if model is None:
        return block(_words(ps.empty_words(state)), style=f"{_DIM}; max-width: 48em; padding: 4px 0")
    rows = "".join(
        f'<tr><th scope="row" style="{_CELL}; overflow-wrap: normal; font-weight: normal; {_DIM}">'
        f"{_breakable(name)}</th>"
        f'<td style="{_CELL}">{escape(value)}</td></tr>'
        for name, value in _fields(model)
    )
    heading = f'<b>{escape(printable(model.title, limit=300))}</b> <span style="{_DIM}">{model.state}</span>'
    table = (
        '<div tabindex="0" role="region" aria-label="Snapshot" '
        'style="max-height: 17em; overflow: auto; margin-top: 2px; border-top: 1px solid var(--jp-border-color2)">'
        '<table style="border-collapse: collapse; border: none; font-size: var(--jp-ui-font-size1)">'
        f"{rows}</table></div>"
    )
    return f'<div class="{_PLAIN}" style="line-height: 1.5; overflow-wrap: anywhere">{heading}{table}</div>'


def _breakable(name: str) -> str:
    """Return a dotted name that may break after a dot, and nowhere else."""
    return escape(name).replace(".", ".<wbr>")


# The fields that matter most come first; the rest follows as the server sends it, its version marks last.
_FIRST = ("name", "unique", "description", "bytes.readable", "ram.readable", "parameters", "quantization", "provider")


def _fields(model: Model) -> list[tuple[str, str]]:
    flat = dict(_flat(model.raw))
    rest = [name for name in flat if name not in _FIRST]
    names = [name for name in _FIRST if name in flat] + sorted(rest, key=lambda name: "schema" in name.split("."))
    return [(printable(name, limit=80), printable(flat[name], limit=_LONGEST_VALUE)) for name in names]


def _flat(raw: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in raw.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value and name.count(".") < 2:
            yield from _flat(value, f"{name}.")
        else:
            yield name, as_text(value)


def changes(reading: Reading) -> str:
    """Return what the form would change, old → new, and what is wrong in it."""
    lines = [
        f"<code>{escape(change.field)}</code>: {_value(change.old)} → {_value(change.new)}"
        for change in reading.changes
    ]
    lines += [f'<span style="{_BAD}">{escape(words)}</span>' for words in reading.errors]
    return block(*(lines or [f'<span style="{_DIM}">Nothing is changed yet.</span>']), role="status")


def _value(text: str) -> str:
    return escape(printable(text, limit=120)) or f'<span style="{_DIM}">(nothing)</span>'


def summary(lines: Sequence[str]) -> str:
    return block(*(_words(line) for line in lines))
