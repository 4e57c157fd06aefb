"""The look of the form: Jupyter's own variables, every rule under `.vnb`."""

from __future__ import annotations

from vellum_nb.widgets.icons import mask

__all__ = ["STYLE", "style_html"]

_BASE = """
.vnb {
  --vnb-page: var(--jp-layout-color1);
  --vnb-text: var(--jp-ui-font-color1);
  --vnb-quiet: color-mix(in srgb, var(--jp-ui-font-color0) 64%, var(--vnb-page));
  --vnb-band: color-mix(in srgb, var(--jp-layout-color2) 45%, var(--vnb-page));
  --vnb-outline: var(--jp-border-color2);
  --vnb-hair: color-mix(in srgb, var(--jp-border-color2) 60%, var(--vnb-page));
  --vnb-brand: var(--jp-brand-color1);
  --vnb-brand-text: color-mix(in srgb, var(--jp-brand-color1) 80%, var(--jp-ui-font-color0));
  --vnb-chosen: color-mix(in srgb, var(--jp-brand-color1) 14%, var(--vnb-page));
  --vnb-red: var(--jp-error-color1);
  --vnb-red-text: color-mix(in srgb, var(--jp-error-color1) 72%, var(--jp-ui-font-color0));
  --vnb-notice: color-mix(in srgb, var(--jp-warn-color1) 13%, var(--vnb-page));
  --vnb-code: var(--jp-code-font-family);
  --jp-widgets-color: var(--vnb-text);
  --jp-widgets-label-color: var(--vnb-text);
  background: var(--vnb-page);
  border: 1px solid var(--vnb-outline);
  border-radius: 2px;
  box-sizing: border-box;
  color: var(--vnb-text);
  container: vnb / inline-size;
  font: var(--jp-ui-font-size1)/18px var(--jp-ui-font-family);
  overflow: hidden;
  width: auto;
}
.vnb * { box-sizing: border-box; }
.vnb .jupyter-widgets { margin: 0; max-width: 100%; min-width: 0; }
.vnb .widget-box { overflow: visible; }
.vnb .vnb-style, .vnb .vnb-none, .vnb .vnb-folded { display: none; }
.vnb .widget-html-content, .vnb .widget-html, .vnb .widget-html > .widget-html-content {
  align-self: auto; color: inherit; font-size: inherit; height: auto; line-height: 18px;
  min-width: 0; padding: 0;
}
.vnb code { background: none; color: inherit; font: 12px/18px var(--vnb-code); padding: 0; }
.vnb .vnb-icon { flex: none; height: 16px; vertical-align: -3px; width: 16px; }
.vnb .widget-label, .vnb .widget-label-basic {
  color: var(--vnb-text); font-size: inherit; height: auto; line-height: 18px; text-align: left;
  white-space: normal; width: auto;
}
.vnb label.widget-label:empty { display: none; }
.vnb .vnb-label { font-weight: 600; }
.vnb .vnb-trouble > .widget-html-content:empty, .vnb .vnb-notices > div:empty { display: none; }
"""

_HEAD = """
.vnb .vnb-header { border-bottom: 1px solid var(--vnb-outline); }
.vnb .vnb-header > .widget-html-content { width: 100%; }
.vnb .vnb-head {
  align-items: center; display: flex; flex-wrap: wrap; gap: 0 8px; min-height: 35px;
  padding: 4px 12px;
}
.vnb .vnb-title { font-size: 14px; font-weight: 700; overflow-wrap: anywhere; }
.vnb .vnb-source {
  background: var(--vnb-band); border: 1px solid var(--vnb-outline); border-radius: 2px;
  font-size: 11px; padding: 0 6px;
}
.vnb .vnb-head .vnb-count { color: var(--vnb-quiet); font-size: 11px; margin-left: auto; }
.vnb .vnb-about { color: var(--vnb-quiet); font-size: 12px; margin: -4px 0 0; padding: 0 12px 8px; }
"""

_FIELDS = """
.vnb .vnb-fields {
  align-items: flex-start; display: flex; flex-flow: row wrap; gap: 12px 16px; padding: 12px;
}
.vnb .vnb-fields:empty { display: none; }
.vnb .vnb-field.vnb-field {
  align-items: baseline; display: grid; flex: 1 1 100%; gap: 4px 8px;
  grid-template-columns: auto minmax(0, 1fr) auto;
}
.vnb .vnb-field.vnb-short { flex: 1 1 144px; max-width: 200px; }
.vnb .vnb-field.vnb-bool { max-width: none; }
.vnb .vnb-field > .vnb-control { display: contents; }
.vnb .vnb-field > .vnb-control > label.widget-label, .vnb .vnb-field > .vnb-head {
  font-weight: 600; grid-area: 1 / 1; margin: 0; max-width: 100%; overflow-wrap: anywhere;
}
.vnb .vnb-field > .vnb-help {
  color: var(--vnb-quiet); font-size: 12px; grid-area: 1 / 2; overflow-wrap: anywhere;
}
.vnb .vnb-field > .vnb-type {
  color: var(--vnb-quiet); font-size: 11px; grid-area: 1 / 3; text-align: right;
}
.vnb .vnb-short:not(.vnb-bool) > .vnb-help { grid-area: 3 / 1 / 4 / -1; }
.vnb .vnb-field > .vnb-control > input, .vnb .vnb-field > .vnb-control > textarea,
.vnb .vnb-field > .vnb-control > select { grid-area: 2 / 1 / 3 / -1; width: 100%; }
.vnb input[type="text"], .vnb textarea, .vnb select {
  background-color: var(--vnb-page); border: 1px solid var(--jp-input-border-color);
  border-radius: 0; box-shadow: none; color: var(--vnb-text); flex: 1 1 auto;
  font: var(--jp-ui-font-size1)/18px var(--jp-ui-font-family); height: 28px; margin: 0;
  min-height: 28px; outline-offset: -1px; padding: 4px 8px; width: 100%;
}
.vnb textarea { field-sizing: content; height: auto; max-height: 40lh; min-height: 64px; resize: vertical; }
.vnb .vnb-json textarea, .vnb textarea.vnb-json {
  font: 12px/17px var(--vnb-code); min-height: 44px; padding: 5px 8px; tab-size: 2;
}
.vnb .vnb-number input[type="text"] { font-variant-numeric: tabular-nums; text-align: right; }
.vnb select {
  appearance: none; background-image: none; padding-right: 28px;
}
.vnb .widget-dropdown { position: relative; }
.vnb .vnb-field > .vnb-control.widget-dropdown::after, .vnb .vnb-unlabelled.widget-dropdown::after {
  background: currentColor; content: ""; height: 18px; justify-self: end; pointer-events: none;
  mask: DOWN center / 18px no-repeat; width: 18px;
}
.vnb .vnb-field > .vnb-control.widget-dropdown::after {
  align-self: center; grid-area: 2 / 3; margin-right: 8px;
}
.vnb .vnb-unlabelled.widget-dropdown::after { position: absolute; right: 8px; top: 5px; }
.vnb select option { background: var(--jp-layout-color1); color: var(--jp-ui-font-color1); }
.vnb :is(input, textarea, select):focus { border-color: var(--vnb-brand); }
.vnb :is(input[type="text"], textarea, select):focus-visible {
  outline: 2px solid var(--vnb-brand); outline-offset: -1px;
}
.vnb input::placeholder, .vnb textarea::placeholder { color: var(--vnb-quiet); opacity: 1; }
.vnb .vnb-unlabelled { display: block; flex: 1 1 auto; height: auto; width: auto; }
.vnb .vnb-unlabelled > label {
  clip-path: inset(50%); height: 1px; overflow: hidden; position: absolute; width: 1px;
}
.vnb .vnb-bool { min-height: 48px; }
.vnb .vnb-bool > .vnb-control > label.widget-label-basic { display: contents; }
.vnb .vnb-bool > .vnb-control > label > span {
  font-weight: 600; grid-area: 1 / 1; overflow-wrap: anywhere;
}
.vnb .vnb-bool > .vnb-control > label > input { align-self: center; grid-area: 2 / 1; margin: 6px 0; }
.vnb .vnb-bool > .vnb-control > label::after {
  align-self: center; content: "false"; grid-area: 2 / 1; margin-left: 24px;
}
.vnb .vnb-bool > .vnb-control > label:has(input:checked)::after { content: "true"; }
.vnb input[type="checkbox"] {
  appearance: none; background: var(--vnb-page); border: 1.5px solid var(--jp-input-border-color);
  border-radius: 2px; flex: none; height: 16px; margin: 0; width: 16px;
}
.vnb input[type="checkbox"]:checked {
  background: var(--jp-accept-color-normal, var(--vnb-brand));
  border-color: var(--jp-accept-color-normal, var(--vnb-brand));
}
.vnb input[type="checkbox"]:checked::before {
  background: white; content: ""; display: block; height: 100%; mask: CHECK center / 13px no-repeat;
  width: 100%;
}
.vnb input[type="checkbox"]:focus-visible { outline: 2px solid var(--vnb-brand); outline-offset: 2px; }
.vnb .vnb-check { height: auto; line-height: 18px; width: auto; }
.vnb .vnb-check > label.widget-label-basic { align-items: center; display: flex; gap: 8px; min-height: 24px; }
"""

_PROBLEMS = """
.vnb .vnb-problem:not(:has([role="alert"])) { display: none; }
.vnb .vnb-problem { color: var(--vnb-red-text); font-size: 12px; grid-column: 1 / -1; }
.vnb .vnb-problem .widget-html-content { line-height: 16px; }
.vnb .vnb-problem [role="alert"], .vnb .vnb-alert { display: flex; gap: 6px; overflow-wrap: anywhere; }
.vnb .vnb-problem .vnb-icon { height: 14px; width: 14px; }
.vnb .vnb-bad > .vnb-control > :is(input[type="text"], textarea, select),
.vnb .vnb-bad .vnb-turns textarea, .vnb .vnb-bad .vnb-media-row input {
  border-color: var(--vnb-red); box-shadow: inset 3px 0 var(--vnb-red);
}
.vnb .vnb-alert {
  border-left: 3px solid var(--vnb-red); color: var(--vnb-red-text); padding: 6px 12px;
}
.vnb .vnb-alert pre {
  background: none; color: inherit; font: inherit; margin: 0; padding: 0; white-space: pre-wrap;
}
.vnb .vnb-notice {
  background: var(--vnb-notice); border-left: 3px solid var(--jp-warn-color0); display: flex;
  gap: 8px; overflow-wrap: anywhere; padding: 6px 12px;
}
.vnb .vnb-notice .vnb-icon { color: var(--jp-warn-color0); }
.vnb .vnb-notice + .vnb-notice { border-top: 1px solid var(--vnb-page); }
@container vnb (min-width: 641px) {
  .vnb .vnb-bad.vnb-long:not(.vnb-chat, .vnb-media-field) > .vnb-control > :is(input, textarea) {
    width: calc(100% - 316px);
  }
  .vnb .vnb-bad.vnb-long:not(.vnb-chat, .vnb-media-field) > .vnb-problem {
    align-self: start; grid-row: 2; justify-self: end; margin-top: 4px; width: 300px;
  }
}
"""

_ACTIONS = """
.vnb .vnb-actions { padding: 12px 12px 16px; }
.vnb .vnb-actions, .vnb .vnb-options { display: flex; flex-direction: column; gap: 12px; }
.vnb .vnb-options { gap: 0; }
.vnb .vnb-tags, .vnb .vnb-runbar, .vnb .vnb-mend, .vnb .vnb-buttons, .vnb .vnb-fold-head {
  align-items: center; display: flex; flex-wrap: wrap; gap: 8px;
}
.vnb .vnb-tags > :first-child { margin-right: 8px; }
.vnb .vnb-chip {
  align-items: center; border: 1px solid var(--vnb-outline); border-radius: 2px; display: flex;
  gap: 6px; min-height: 28px; padding: 0 9px; position: relative;
}
.vnb .vnb-chip:hover { background: var(--jp-layout-color2); }
.vnb .vnb-chip:has(input:checked) { background: var(--vnb-chosen); border-color: var(--vnb-brand); }
.vnb .vnb-chip:has(input:focus-visible) { outline: 2px solid var(--vnb-brand); outline-offset: 2px; }
.vnb .vnb-chip input[type="checkbox"]:focus-visible { outline: none; }
.vnb .vnb-chip label::after { content: ""; inset: 0; position: absolute; }
.vnb .vnb-chip label > span { font: 600 12px/18px var(--vnb-code); overflow-wrap: anywhere; }
.vnb .vnb-others { color: var(--vnb-quiet); }
.vnb .jupyter-button {
  align-items: center; background: var(--jp-layout-color2); border: 0; border-radius: 0;
  box-shadow: none; color: var(--vnb-text); display: inline-flex; flex: none;
  font: var(--jp-ui-font-size1)/18px var(--jp-ui-font-family); gap: 8px; height: auto;
  justify-content: center; min-height: 28px; padding: 0 12px; white-space: normal; width: auto;
}
.vnb .jupyter-button:hover:enabled, .vnb .vnb-upload:hover { background: var(--jp-layout-color3); box-shadow: none; }
.vnb .jupyter-button:focus-visible { outline: 2px solid var(--vnb-brand); outline-offset: 2px; }
.vnb .jupyter-button:disabled { color: var(--jp-ui-font-color3); opacity: 1; }
.vnb .vnb-run.jupyter-button:enabled {
  background: var(--jp-accept-color-normal, var(--vnb-brand)); color: white;
}
.vnb .vnb-run.jupyter-button:enabled:hover { background: var(--jp-accept-color-hover, var(--vnb-brand)); }
.vnb .vnb-run.jupyter-button { font-weight: 600; min-width: 102px; }
.vnb :is(.vnb-run, .vnb-cancel, .vnb-add, .vnb-icon-button, .vnb-fold)::before {
  background: currentColor; content: ""; flex: none; height: 16px; width: 16px;
}
.vnb .vnb-run::before { mask: PLAY center / 16px no-repeat; }
.vnb .vnb-cancel::before { mask: STOP center / 12px no-repeat; }
.vnb .vnb-add::before { mask: PLUS center / 16px no-repeat; }
.vnb .vnb-up::before { mask: UP center / 16px no-repeat; }
.vnb .vnb-down::before { mask: DOWNARROW center / 16px no-repeat; }
.vnb .vnb-remove::before { mask: CLOSE center / 16px no-repeat; }
.vnb .vnb-fold::before { mask: CHEVRON center / 18px no-repeat; }
.vnb .vnb-fold.vnb-open::before { transform: rotate(90deg); }
.vnb :is(.vnb-fold, .vnb-plain, .vnb-link, .vnb-icon-button).jupyter-button { background: none; }
.vnb :is(.vnb-plain, .vnb-icon-button).jupyter-button:hover:enabled { background: var(--jp-layout-color2); }
.vnb .vnb-fold.jupyter-button { gap: 4px; padding: 0 4px 0 0; }
.vnb .vnb-hint { color: var(--vnb-quiet); }
.vnb .vnb-options > .vnb-fields { padding: 8px 0 0 20px; }
.vnb .vnb-link.jupyter-button {
  color: var(--vnb-brand-text); min-height: 24px; padding: 0 2px; text-decoration: none;
}
.vnb .vnb-link.jupyter-button:hover { text-decoration: underline; }
.vnb .vnb-progress > .widget-html-content { align-items: center; display: flex; gap: 8px; }
.vnb .vnb-progress { margin-left: 12px; }
.vnb .vnb-progress:not(:has(.vnb-bar)) { display: none; }
.vnb .vnb-progress span { font-variant-numeric: tabular-nums; min-width: 96px; }
.vnb .vnb-bar { background: var(--jp-layout-color2); height: 6px; overflow: hidden; width: 190px; }
.vnb .vnb-bar > div { background: var(--vnb-brand); height: 100%; }
.vnb .vnb-bar.vnb-busy {
  background: repeating-linear-gradient(-45deg, var(--vnb-brand) 0 4px, var(--jp-layout-color2) 4px 8px);
}
.vnb .vnb-mend { gap: 4px; }
.vnb .vnb-mend:empty { display: none; }
.vnb .vnb-mend .vnb-icon { margin-right: 4px; }
.vnb .vnb-loud { color: var(--vnb-red-text); }
.vnb .vnb-calm { color: var(--vnb-quiet); }
@container vnb (max-width: 640px) {
  .vnb .vnb-progress { flex: 1 1 100%; margin-left: 0; order: 9; }
  .vnb .vnb-progress > .widget-html-content { width: 100%; }
  .vnb .vnb-bar { flex: 1; }
  .vnb .vnb-hint { display: none; }
}
"""

_RESULTS = """
.vnb .vnb-results { border-top: 1px solid var(--vnb-outline); }
.vnb .vnb-results-head {
  align-items: center; color: var(--vnb-quiet); display: flex; flex-wrap: wrap; font-size: 11px;
  gap: 4px 12px; min-height: 26px; padding: 0 12px;
}
.vnb .vnb-line { flex: 1 1 auto; }
.vnb .vnb-line > .widget-html-content { display: flex; flex-wrap: wrap; gap: 0 12px; justify-content: space-between; }
.vnb .vnb-legend ins, .vnb .vnb-legend del {
  color: var(--vnb-text); font: 11px/16px var(--vnb-code); padding: 1px 2px; text-decoration: underline;
}
.vnb .vnb-legend ins { background: color-mix(in srgb, var(--jp-success-color1) 24%, var(--vnb-page)); }
.vnb .vnb-legend del {
  background: color-mix(in srgb, var(--jp-error-color1) 24%, var(--vnb-page)); text-decoration: line-through;
}
.vnb .vnb-answers > .widget-html-content { width: 100%; }
.vnb .vnb-out { border-width: 1px 0 0; }
.vnb .vnb-out .vnb-out-note:has(.vnb-ins) { display: none; }
"""

_BIGGER_FIELDS = """
.vnb :is(.vnb-chat, .vnb-media-field) > :is(.vnb-turns, .vnb-buttons, .vnb-paste, .vnb-media-row, .vnb-how) {
  grid-column: 1 / -1;
}
.vnb .vnb-chat > .vnb-help:not(.vnb-count):has(div:empty) { display: none; }
.vnb .vnb-chat > .vnb-help:not(.vnb-count) { grid-row: 2; grid-column: 1 / -1; }
.vnb .vnb-turn-row { align-items: flex-start; display: flex; gap: 8px; padding: 8px 0; }
.vnb .vnb-turn-row + .vnb-turn-row { border-top: 1px solid var(--vnb-hair); }
.vnb .vnb-turn-row > .widget-dropdown { flex: 0 0 116px; }
.vnb .vnb-turn-row textarea { display: block; min-height: 28px; }
.vnb .vnb-icon-button.jupyter-button { gap: 0; min-height: 28px; padding: 0; width: 28px; }
.vnb .vnb-turn-row > .vnb-icon-button + .vnb-icon-button { margin-left: -8px; }
.vnb .vnb-paste { display: flex; flex-direction: column; gap: 8px; }
.vnb .vnb-paste:empty { display: none; }
.vnb .vnb-paste > .jupyter-button { align-self: flex-start; }
.vnb .vnb-media-field > .vnb-how { display: contents; }
.vnb .vnb-media-field > .vnb-how > label { font-weight: 600; grid-area: 1 / 1; margin: 0; }
.vnb .vnb-media-field > .vnb-how > div { display: flex; gap: 1px; grid-area: 2 / 1 / 3 / -1; }
.vnb .vnb-how .jupyter-button.mod-active {
  background: var(--vnb-chosen); color: var(--vnb-brand-text); outline: 1px solid var(--vnb-brand); outline-offset: -1px;
}
.vnb .vnb-how .jupyter-button.mod-active:focus-visible { outline-width: 2px; outline-offset: 2px; }
.vnb .vnb-media-row { align-items: center; display: flex; flex-wrap: wrap; gap: 8px; min-height: 28px; }
.vnb .vnb-media-row > .vnb-unlabelled { flex: 1 1 240px; }
.vnb .vnb-upload {
  align-items: center; background: var(--jp-layout-color2); cursor: pointer; display: inline-flex;
  gap: 8px; min-height: 28px; padding: 0 12px; position: relative;
}
.vnb .vnb-upload input { inset: 0; opacity: 0; position: absolute; width: 100%; }
.vnb .vnb-upload:focus-within { outline: 2px solid var(--vnb-brand); outline-offset: 2px; }
.vnb .vnb-upload::before {
  background: currentColor; content: ""; height: 16px; mask: UPLOAD center / 16px no-repeat; width: 16px;
}
.vnb .vnb-upload-status:not(:empty) { margin-left: 8px; }
.vnb .vnb-facts { color: var(--vnb-quiet); }
.vnb .vnb-facts code { color: var(--vnb-text); }
.vnb .vnb-preview img { border: 1px solid var(--vnb-outline); display: block; max-height: 74px; max-width: 160px; }
.vnb .vnb-preview .vnb-note { display: none; }
.vnb .vnb-preview :is(audio, video) { display: block; max-height: 120px; max-width: 320px; }
@container vnb (max-width: 640px) {
  .vnb .vnb-turn-row { flex-wrap: wrap; }
  .vnb .vnb-turn-row > .widget-textarea { flex: 1 1 100%; order: 9; }
  .vnb .vnb-turn-row > .widget-dropdown { margin-right: auto; }
}
"""

_ICONS = {
    "DOWNARROW": "down-arrow",
    "DOWN": "down",
    "CHECK": "check",
    "PLAY": "play",
    "STOP": "stop",
    "PLUS": "plus",
    "UPLOAD": "upload",
    "UP": "up-arrow",
    "CLOSE": "close",
    "CHEVRON": "chevron",
}


def _with_icons(css: str) -> str:
    for word, name in _ICONS.items():
        css = css.replace(f"mask: {word} ", f"mask: {mask(name)} ")
    return css


STYLE = _with_icons(_BASE + _HEAD + _FIELDS + _PROBLEMS + _ACTIONS + _RESULTS + _BIGGER_FIELDS)


def style_html() -> str:
    """Return the style as an element."""
    return f"<style>{STYLE}</style>"
