"""The panel's one style sheet. Only colours of the theme; every class begins with `pnb-`.

The widgets stay as they are: which verb a row's button says, which toggle is on and how many models it counts is drawn
from classes in the panel's own HTML. So one message changes a row together with its button, and no button is touched
while it has the focus. What is in `content` is part of a button's name for screen readers too.

A button's text is the model it acts on, on a second line that the box cuts off: `Load` is seen, `Load Phi-2` is its
name.
"""

from __future__ import annotations

# The verb that a row's button says, by the class in its row.
VERBS = {
    "download": "Download",
    "cancel": "Cancel",
    "load": "Load",
    "unload": "Unload",
    "busy": "…",
}

_BASE = """
.pnb-root {
  --pnb-text: var(--jp-ui-font-color1);
  --pnb-dim: color-mix(in srgb, var(--jp-ui-font-color1) 78%, transparent);
  --pnb-line: color-mix(in srgb, var(--jp-ui-font-color1) 18%, transparent);
  --pnb-shade: color-mix(in srgb, var(--jp-layout-color2) 55%, var(--jp-layout-color1));
  --pnb-face: var(--jp-layout-color2);
  --pnb-blue: color-mix(in srgb, var(--jp-brand-color1) 85%, var(--jp-ui-font-color0));
  --pnb-green: color-mix(in srgb, var(--jp-success-color1) 80%, var(--jp-ui-font-color0));
  --pnb-amber: color-mix(in srgb, var(--jp-warn-color0) 62%, var(--jp-ui-font-color0));
  --pnb-red: color-mix(in srgb, var(--jp-error-color1) 78%, var(--jp-ui-font-color0));
  --pnb-track: color-mix(in srgb, var(--jp-ui-font-color1) 14%, transparent);
  container-type: inline-size; box-sizing: border-box; width: 100%; max-width: 1400px; padding: 6px 8px;
  display: flex; flex-flow: row wrap; align-items: center; gap: 6px; overflow: visible;
  color: var(--pnb-text); font-size: var(--jp-ui-font-size1); line-height: 1.45;
}
.pnb-root .widget-html, .pnb-root .widget-html-content { margin: 0; min-width: 0; width: auto; height: auto;
  overflow: visible; line-height: 1.45; font-size: inherit; color: inherit; align-self: auto; }
.pnb-root .widget-html > .widget-label { display: none; }
.pnb-root b { font-weight: 600; }
.pnb-root code { font-size: 95%; background: none; color: inherit; }
.pnb-dim { color: var(--pnb-dim); }
.pnb-bad { color: var(--pnb-red); }
.pnb-sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.pnb-root .pnb-full { flex: 1 0 100%; }
.pnb-root .pnb-grow { flex: 1 1 240px; }
.pnb-root .pnb-late { order: 2; }
.pnb-foot { flex: 1 1 240px; }
.pnb-foot, .pnb-root .pnb-pager { order: 3; }
.pnb-root .pnb-last { order: 4; }
.pnb-root .pnb-ink, .pnb-root .pnb-ink > .widget-html-content { display: contents; }
.pnb-root .pnb-connection { flex: 1 1 0; min-width: min(100%, 340px); overflow-wrap: anywhere; }
.pnb-asked { flex: 0 0 auto; color: var(--pnb-dim); white-space: nowrap; }
.pnb-bars { order: 1; flex: 1 0 100%; display: grid; grid-template-columns: max-content 1fr max-content;
  gap: 2px 10px; align-items: center; }
.pnb-bar { display: flex; height: 8px; border-radius: 4px; overflow: hidden; background: var(--pnb-track);
  min-width: 60px; }
.pnb-bar > i { background: var(--pnb-blue); }
.pnb-bar > i + i { background: color-mix(in srgb, var(--jp-ui-font-color1) 50%, transparent); }
"""

_BUTTONS = """
.pnb-root .jupyter-button { margin: 0; width: auto; height: 28px; padding: 0 10px; border-radius: 3px;
  white-space: pre-line; overflow: hidden; text-overflow: clip; flex: 0 0 auto; min-width: 0;
  font-size: var(--jp-ui-font-size1); background: var(--pnb-face); color: var(--pnb-text); box-shadow: none;
  border: 1px solid transparent; box-sizing: border-box; line-height: 26px; }
.pnb-root .jupyter-button:hover { border-color: var(--pnb-dim); box-shadow: none; }
.pnb-root .jupyter-button:focus-visible, .pnb-root summary:focus-visible, .pnb-root [tabindex]:focus-visible {
  outline: 2px solid var(--pnb-blue); outline-offset: 1px; }
.pnb-root .pnb-primary, .pnb-row:has(.pnb-v-load) > .pnb-main { background: var(--pnb-blue) !important;
  color: var(--jp-layout-color0) !important; }
.pnb-root .pnb-danger { color: var(--pnb-red); border-color: var(--pnb-red); }
.pnb-main { grid-area: main; } .pnb-more { grid-area: more; }
.pnb-root .pnb-main, .pnb-root .pnb-more { width: 100%; padding: 0 4px; overflow-wrap: anywhere; }
.pnb-main::before { display: block; }
.pnb-row:has(.pnb-v-busy) > .pnb-main, .pnb-root:has(.pnb-out) .pnb-main { background: none !important;
  color: var(--pnb-dim) !important; border-color: var(--pnb-line); cursor: default; }
.pnb-row:has(.pnb-v-none) > .pnb-main { visibility: hidden; }
.pnb-root :is(.pnb-w1, .pnb-w2, .pnb-w3) { padding: 0 4px; overflow-wrap: anywhere; }
.pnb-root .pnb-w1 { width: 84px; }
.pnb-root .pnb-pager { width: 40px; padding: 0; overflow-wrap: anywhere; }
.pnb-root .pnb-w2 { width: 110px; } .pnb-root .pnb-w3 { width: 132px; }
.pnb-root .pnb-toggle { border-radius: 14px; white-space: nowrap; }
.pnb-root .pnb-filter { flex: 0 1 230px; width: auto; margin: 0; height: 28px; }
.pnb-root .pnb-filter .widget-label { width: auto; flex: 0 0 auto; color: var(--pnb-dim); font-size: inherit; }
.pnb-root input[type="text"], .pnb-root textarea { background: var(--jp-layout-color1); color: var(--pnb-text);
  border: 1px solid var(--pnb-line); min-width: 0; font-size: var(--jp-ui-font-size1); }
.pnb-root input::placeholder { color: var(--pnb-dim); opacity: 1; }
.pnb-root:has(.pnb-one-page) .pnb-pager { display: none; }
.pnb-root:has(.pnb-first-page) .pnb-previous, .pnb-root:has(.pnb-last-page) .pnb-next { cursor: default;
  background: none; color: var(--pnb-dim); border-color: var(--pnb-line); }
"""

_ROWS = """
.pnb-table { flex: 1 0 100%; border: 1px solid var(--pnb-line); border-radius: 4px; overflow: hidden; min-width: 0;
  display: block; }
.pnb-head { padding: 4px 10px; background: var(--pnb-shade); color: var(--pnb-dim); }
.pnb-row { display: grid; grid-template-columns: minmax(0, 1fr) 96px 32px;
  grid-template-areas: "text main more" "card card card" "ask ask ask";
  gap: 0 8px; padding: 4px 10px; border-top: 1px solid var(--pnb-line); align-items: start; overflow: visible; }
.pnb-root .pnb-text { grid-area: text; }
.pnb-columns, .pnb-cells { display: grid; gap: 0 12px; align-items: baseline; padding-top: 4px;
  grid-template-columns: minmax(0, 1fr) 12em 5em minmax(0, 17em); }
.pnb-columns { padding: 0 144px 0 0; }
.pnb-title { display: flex; min-width: 0; align-items: baseline; gap: 2px 6px; }
.pnb-title > .pnb-tag { margin-left: 0; }
.pnb-name { font-weight: 600; min-width: 4em; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.pnb-size { text-align: right; white-space: nowrap; }
.pnb-memory { overflow-wrap: anywhere; }
.pnb-short { color: var(--pnb-amber); }
.pnb-tag { font-weight: 400; border: 1px solid var(--pnb-line); border-radius: 10px; padding: 0 7px; margin-left: 6px;
  color: var(--pnb-dim); white-space: nowrap; flex: 0 0 auto; line-height: 1.3; font-size: 95%; }
.pnb-dot { display: inline-block; box-sizing: border-box; width: 9px; height: 9px; border-radius: 50%;
  margin-right: 6px;  border: 2px solid currentColor; }
.pnb-s-loaded .pnb-dot { background: var(--pnb-green); border-color: var(--pnb-green); }
.pnb-s-moving .pnb-dot { background: var(--pnb-blue); border-color: var(--pnb-blue); }
.pnb-s-trouble { color: var(--pnb-amber); }
.pnb-s-trouble .pnb-dot { background: currentColor; }
.pnb-s-downloaded .pnb-dot { background: var(--pnb-dim); border-color: transparent; }
.pnb-s-available .pnb-dot { color: var(--pnb-dim); border-width: 1.5px; }
.pnb-s-cloud .pnb-dot { border-style: dotted; color: var(--pnb-dim); }
.pnb-s-out .pnb-dot { background: var(--pnb-red); border-color: var(--pnb-red); }
.pnb-way { grid-column: 1 / -1; display: flex; flex-wrap: wrap; align-items: center; gap: 0 10px;
  padding: 2px 0 3px 15px; }
.pnb-way progress { flex: 1 1 180px; height: 8px; appearance: none; border: none; border-radius: 4px; overflow: hidden;
  background: var(--pnb-track); color: var(--pnb-blue); }
.pnb-way progress::-webkit-progress-bar { background: var(--pnb-track); }
.pnb-way progress::-webkit-progress-value { background: var(--pnb-blue); }
.pnb-way progress::-moz-progress-bar { background: var(--pnb-blue); }
.pnb-way.pnb-s-trouble progress::-webkit-progress-value { background: var(--pnb-amber); }
.pnb-way.pnb-s-trouble progress::-moz-progress-bar { background: var(--pnb-amber); }
.pnb-way > span { flex: 0 1 auto; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.pnb-log { border-top: 1px solid var(--pnb-line); padding-top: 4px; overflow-wrap: anywhere; }
@container (max-width: 820px) {
  .pnb-columns, .pnb-cells { grid-template-columns: minmax(0, 1fr) 9.5em 4.5em; }
  .pnb-title { flex-wrap: wrap; } .pnb-name { max-width: 100%; }
  .pnb-cells > .pnb-memory { grid-column: 1 / -1; padding-left: 0; }
  .pnb-head .pnb-memory { display: none; }
  .pnb-bars { grid-template-columns: max-content 1fr; }
  .pnb-bars > span:nth-child(3n) { grid-column: 1 / -1; }
}
@container (max-width: 560px) {
  .pnb-columns, .pnb-cells { grid-template-columns: minmax(0, 1fr) max-content; }
  .pnb-title { grid-column: 1 / -1; }
  .pnb-columns > span + span { display: none; }
}
"""

_CARD = """
.pnb-card { grid-area: card; display: flex; flex-flow: row wrap; gap: 6px 8px; align-items: center; overflow: visible;
  margin: 6px -10px -4px; padding: 8px 10px; background: var(--pnb-shade); }
.pnb-card .jupyter-button { background: var(--jp-layout-color1); border-color: var(--pnb-line); }
.pnb-facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 4px 16px; }
.pnb-facts span { display: block; color: var(--pnb-dim); }
.pnb-card p { margin: 6px 0 2px; overflow-wrap: anywhere; }
.pnb-card summary { cursor: pointer; width: max-content; color: var(--pnb-text); }
.pnb-fields { max-height: 18em; overflow: auto; }
.pnb-fields table { border-collapse: collapse; border: none; font-size: inherit; margin: 0; table-layout: auto; }
.pnb-fields :is(th, td) { text-align: left; vertical-align: top; padding: 1px 12px 1px 0;
  font-weight: 400; max-width: none;  overflow-wrap: anywhere; white-space: normal; background: none; border: none; }
.pnb-fields th { color: var(--pnb-dim); overflow-wrap: normal; }
.pnb-row:has(.pnb-not-custom) .pnb-custom, .pnb-row:has(.pnb-no-files) .pnb-files { display: none; }
.pnb-form { flex: 1 0 100%; display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 260px), 1fr));
  gap: 8px 16px; align-items: start; overflow: visible; }
.pnb-form > * { margin: 0; width: auto; min-width: 0; height: auto; display: flex; flex-flow: column;
  align-items: stretch;  overflow: visible; }
.pnb-form > .pnb-wide { grid-column: 1 / -1; }
.pnb-form .widget-label { width: auto; text-align: left; color: var(--pnb-dim); overflow: visible; white-space: normal;
  font-size: inherit; line-height: 1.5; height: auto; justify-content: flex-start; }
.pnb-form div:has(> .jupyter-button) { display: flex; flex-flow: row wrap; gap: 4px; }
.pnb-form .pnb-flag .jupyter-button { width: 76px; padding: 0 4px; overflow-wrap: anywhere; }
.pnb-form .jupyter-button { height: 26px; line-height: 24px; border-radius: 13px; }
.pnb-form .jupyter-button.mod-active { background: var(--pnb-blue); color: var(--jp-layout-color0); }
.pnb-form .jupyter-button.mod-active::before { content: "✓ "; }
.pnb-form > *::after { color: var(--pnb-red); white-space: normal; overflow-wrap: anywhere; line-height: 1.4; }
.pnb-ask { grid-area: ask; display: flex; flex-flow: row wrap; gap: 6px 8px; align-items: center; margin-top: 6px;
  padding: 6px 10px; border: 1px solid var(--pnb-amber); border-radius: 3px; overflow: visible; }
"""


def _verbs() -> str:
    return "".join(
        f'.pnb-row:has(.pnb-v-{name}) > .pnb-main::before {{ content: "{words}"; }}\n' for name, words in VERBS.items()
    )


def sheet() -> str:
    """Return the style sheet, as an element."""
    return f"<style>{_BASE}{_BUTTONS}{_ROWS}{_verbs()}{_CARD}</style>"


def quoted(text: str) -> str:
    """Return a text as a string of CSS that can stand in a `<style>`: nothing in it ends the string or the element."""
    plain = " '.,;:()-–…"
    return '"' + "".join(c if c.isalnum() or c in plain else f"\\{ord(c):x} " for c in text) + '"'
