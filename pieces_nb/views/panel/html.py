"""The panel's words as HTML: everything escaped, no mathematics, the classes of `style`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from pieces_nb.model import rules
from pieces_nb.model.models import Model
from pieces_nb.rows import flattened
from pieces_nb.text import format_bytes, printable
from pieces_nb.views.panel import state as ps
from pieces_nb.views.panel.form import Reading, as_text
from pieces_nb.views.panel.state import PanelState, Progress
from pieces_nb.views.panel.style import quoted, sheet

# Without these classes a `$` in a name would be typeset as mathematics.
_PLAIN = "tex2jax_ignore mathjax_ignore"
_LONGEST_VALUE = 600
_FLIPPING = ("downloaded", "downloading", "loaded")  # drawn by a rule: HTML that is written anew shuts its fold
_CODE = re.compile(r"`([^`]+)`")


def _block(body: str, classes: str = "", *, role: str = "") -> str:
    named = f' role="{role}"' if role else ""
    return f'<div class="{_PLAIN} {classes}"{named}>{body}</div>'


def _words(text: str) -> str:
    """Return a text for people as HTML, what stands in `backticks` as code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


# Above and below the table -------------------------------------------------------------------------------------------


def connection(state: PanelState) -> str:
    """Return who answers; of an outage since when and why. It changes only when that does: screen readers say it."""
    if state.trouble:
        since = f" since {escape(state.trouble_at)}" if state.trouble_at else ""
        known = " What shows is what was known then; the panel goes on asking." if state.models else ""
        body = f'<span class="pnb-dot"></span><b class="pnb-bad">No answer{since}</b>: {_words(state.trouble)}{known}'
        return _block(body, "pnb-s-out pnb-out", role="status")
    if state.server is None:
        return _block("Asking the server …", "pnb-dim", role="status")
    server = state.server
    body = f'<span class="pnb-dot"></span><b>{escape(server.name)}</b> {escape(printable(server.url, limit=200))}'
    return _block(body, "pnb-s-loaded", role="status")


def ink(state: PanelState, scope: str) -> str:
    """Return what changes at every answer: when it was asked for, the bars, toggles and flags, how many models.

    `scope` is the class of this panel's root: the rules for its toggles and its card's flags hold in it alone.
    """
    asked = f"{'last answer' if state.trouble else 'asked'} at {escape(state.asked_at)}" if state.asked_at else ""
    bars = "".join(_bar(share) for share in ps.shares(state))
    return (
        f"<style>{_toggles(state, scope)} {_flags(state, scope)}</style>"
        f'<span class="pnb-asked">{asked}</span>'
        f'<div class="pnb-bars {_PLAIN}">{bars}</div>{foot(state)}'
    )


def _toggles(state: PanelState, scope: str) -> str:
    on = "background: var(--pnb-blue); color: var(--jp-layout-color0);"
    lines = []
    for flag, count in state.counts.items():
        toggle = f".{scope} .pnb-toggle-{flag}"
        lines.append(f'{toggle}::after {{ content: " {count:,}"; }}')
        if flag in state.flags:
            lines.append(f'{toggle}.jupyter-button {{ {on} }} {toggle}::before {{ content: "✓ "; }}')
    return " ".join(lines)


def _flags(state: PanelState, scope: str) -> str:
    """Return rules that draw the flags among the fields of the card."""
    model = state.model(state.card_id)
    return " ".join(
        f".{scope} .pnb-now-{name}::after {{ content: {quoted(_value_text(model.raw[name]))}; }}"
        for name in _FLIPPING
        if model is not None and name in model.raw
    )


def _bar(share: ps.Share) -> str:
    def width(part: int) -> str:
        return f'<i style="flex: 0 0 {100 * part / share.total_bytes:.2f}%"></i>'

    size = format_bytes(share.models_bytes)
    in_models = "no model" if not share.models else f"{size} in {share.models} model{'s' if share.models > 1 else ''}"
    return (
        f'<span class="pnb-dim">{share.name}</span>'
        f'<div class="pnb-bar" aria-hidden="true">{width(share.models_bytes)}{width(share.other_bytes)}</div>'
        f"<span>{in_models} · {format_bytes(share.other_bytes)} other · "
        f"<b>{format_bytes(share.free_bytes)} free</b> of {format_bytes(share.total_bytes)}</span>"
    )


def head() -> str:
    """Return the table's head, and with it the style sheet: it never changes."""
    columns = "<span>Model</span><span>State</span><span class=pnb-size>Size</span><span class=pnb-memory>Memory</span>"
    return f"{sheet()}<div class=pnb-columns>{columns}</div>"


def foot(state: PanelState) -> str:
    """Return which models show, of how many, or what to do where none does."""
    last = ps.pages(state) - 1
    classes = " ".join(
        name
        for name, holds in (
            ("pnb-one-page", last == 0),
            ("pnb-first-page", state.page == 0),
            ("pnb-last-page", state.page == last),
        )
        if holds
    )
    place = f" · page {state.page + 1:,} of {last + 1:,}" if last else ""
    return _block(f"{_words(ps.count_words(state))}{place}", f"pnb-foot pnb-dim {classes}")


def log(state: PanelState) -> str:
    """Return the outcomes, the newest first."""
    lines = "".join(
        f'<div><span class="pnb-dim">{escape(message.at)}</span> '
        f'<span class="{"pnb-bad" if message.is_error else ""}">{_words(message.words)}</span></div>'
        for message in state.messages
    )
    return _block(lines, "pnb-log" if lines else "", role="log")


# A row ---------------------------------------------------------------------------------------------------------------


def row(state: PanelState, model: Model, *, clock: str = "") -> str:
    """Return a model's row, and in its classes what the buttons beside it say and which of the card's are there."""
    how = ps.standing(state, model, clock=clock)
    classes = ["pnb-cells", f"pnb-v-{_verb(state, model)}"]
    classes += [] if model.custom else ["pnb-not-custom"]
    classes += [] if model.downloaded else ["pnb-no-files"]
    since = f' <span class="pnb-dim">since {escape(how.since)}</span>' if how.since else ""
    cells = (
        f'<span class="pnb-title"><span class="pnb-name" title="{escape(printable(model.title, limit=1000))}">'
        f"{escape(printable(model.title, limit=320))}</span>{_tags(state, model)}</span>"
        f'<span class="pnb-s-{how.colour}"><span class="pnb-dot"></span>{escape(printable(how.word))}{since}</span>'
        f'<span class="pnb-size">{_size(model)}</span>'
        f"{_memory(state, model)}"
    )
    progress = state.progress.get(model.id)
    way = _way(model, progress) if progress is not None and not model.downloaded else ""
    return _block(f"{cells}{way}", " ".join(classes))


def _size(model: Model) -> str:
    return "" if model.size_bytes is None or model.cloud else format_bytes(model.size_bytes)


def _verb(state: PanelState, model: Model) -> str:
    """Return the class that has the row's button say its verb."""
    if state.call_on(model.id) is not None:
        return "busy"
    action = ps.main_action(state, model)
    return str(action) if action is not None else "none"


def _tags(state: PanelState, model: Model) -> str:
    tags = ["custom"] if model.custom else []
    tags += ["unsaved changes"] if model.id in state.drafts else []
    return "".join(f' <span class="pnb-tag">{tag}</span>' for tag in tags)


def _memory(state: PanelState, model: Model) -> str:
    free = state.machine.free_memory_bytes
    words = rules.memory_words(model, free)
    short = not model.loaded and bool(rules.missing_bytes(model.ram_bytes, free)) and bool(words)
    look = "pnb-short" if short else "" if model.loaded else "pnb-dim"
    return f'<span class="pnb-memory {look}">{escape(words)}</span>'


def _way(model: Model, progress: Progress) -> str:
    """Return how far a download is: the bar, the speed of the last minute as a line, the figures."""
    percentage = 0.0 if progress.waits else progress.percentage  # without a value the bar would seem to be busy
    value = f' value="{percentage:.1f}"' if percentage is not None else ""
    trouble = " pnb-s-trouble" if progress.trouble else ""
    return (
        f'<div class="pnb-way{trouble}">'
        f'<progress max="100"{value} aria-label="download of {escape(ps.title(model))}"></progress>'
        f"{progress.trail}<span>{escape(printable(progress.words))}</span></div>"
    )


# The card ------------------------------------------------------------------------------------------------------------


def card(model: Model) -> str:
    """Return what matters of a model first, and all its fields folded."""
    facts = "".join(f"<div><span>{name}</span>{escape(value)}</div>" for name, value in _facts(model) if value)
    told = printable(model.description, limit=1000)
    description = f"<p>{escape(told)}{_abilities(model)}</p>" if told or _abilities(model) else ""
    return _block(f'<div class="pnb-facts">{facts}</div>{description}{_folded(model)}')


def _facts(model: Model) -> Iterator[tuple[str, str]]:
    tokens = model.raw.get("maxTokens")
    total = tokens.get("total") if isinstance(tokens, Mapping) else None
    parameters = model.parameters_b
    yield "Parameters", f"{parameters:g} billion" if parameters is not None else ""
    yield "Quantization", printable(model.quantization, limit=60)
    yield "Context", f"{total:,} tokens" if isinstance(total, int) and not isinstance(total, bool) else ""
    yield "Provider", printable(model.provider, limit=60)
    yield "Unique name", printable(model.unique, limit=120)


def _abilities(model: Model) -> str:
    able = model.raw.get("capabilities")
    names = [name for name, has in able.items() if has is True] if isinstance(able, Mapping) else []
    return "".join(f' <span class="pnb-tag">{escape(printable(str(name), limit=40))}</span>' for name in names)


def _folded(model: Model) -> str:
    fields = [(printable(name, limit=80), _value_text(value)) for name, value in flattened(model.raw).items()]
    rows = "".join(
        f'<tr><th scope="row">{escape(name).replace(".", ".<wbr>")}</th>{_cell(name, value)}</tr>'
        for name, value in fields
    )
    label = escape(f"All fields of {ps.title(model)}")
    return (
        f"<details><summary>all {len(fields)} fields</summary>"
        f'<div class="pnb-fields" tabindex="0" role="region" aria-label="{label}"><table>{rows}</table></div></details>'
    )


def _cell(name: str, value: str) -> str:
    return f'<td class="pnb-now-{name}"></td>' if name in _FLIPPING else f"<td>{escape(value)}</td>"


def _value_text(value: Any) -> str:
    return printable(as_text(value), limit=_LONGEST_VALUE)


def question(words: str) -> str:
    return _block(f"<b>{escape(printable(words))}</b>", role="alert")


def reading(reading: Reading, scope: str, *, wanted: bool = False) -> str:
    """Return what the form would change, old → new, and what is wrong, also as rules that say so beside the fields.

    `wanted`: Apply was clicked although something is wrong, or nothing has changed.
    """
    beside = " ".join(
        f".{scope} .{field_class(name)}::after {{ content: {quoted(words)}; }}"
        for name, words in reading.errors.items()
    )
    lines = [
        f"<div><code>{escape(change.field)}</code>: {_value(change.old)} → {_value(change.new)}</div>"
        for change in reading.changes
    ]
    if reading.errors:
        wrong = escape(" ".join(reading.errors.values()))
        strong = "b" if wanted else "span"
        lines.append(
            f'<{strong} class="pnb-bad">Fix the marked fields first.</{strong}><span class="pnb-sr"> {wrong}</span>'
        )
    if not lines:
        lines.append(
            "<b>Nothing is changed yet.</b>" if wanted else '<span class="pnb-dim">Nothing is changed yet.</span>'
        )
    return f"<style>{beside}</style>{_block(''.join(lines), role='status')}"


def field_class(name: str) -> str:
    return f"pnb-field-{name.replace('.', '-')}"


def _value(text: str) -> str:
    return escape(printable(text, limit=120)) or '<span class="pnb-dim">(nothing)</span>'
