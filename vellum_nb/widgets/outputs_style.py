"""The style of outputs and comparisons: Jupyter's own variables, every rule under `.vnb-out`."""

from __future__ import annotations

import re

from vellum_nb.widgets.assets import asset
from vellum_nb.widgets.trace import TRACE_CSS

__all__ = ["LEFT", "OUTPUT_CSS", "output_style_html", "prevailing"]

LEFT = ' style="text-align: left"'
"""For cells: Jupyter sets tables right-aligned, and drops the style sheet of untrusted outputs."""


def prevailing(css: str) -> str:
    """Return `css` with selectors that win over JupyterLab's for tables and code in an output.

    Examples
    --------
    >>> prevailing(".vnb-out { color: red } .vnb-out code { padding: 0 }")
    '.vnb-out { color: red } .vnb-out.vnb-out.vnb-out code { padding: 0 }'
    """
    return re.sub(r"\.vnb-out (?!\{)", ".vnb-out.vnb-out.vnb-out ", css)


OUTPUT_CSS = asset("colours.css") + prevailing(
    """
.vnb-out {
  background: var(--vnb-page);
  border: 1px solid var(--vnb-outline);
  color: var(--vnb-text);
  container: vnb-out / inline-size;
  font: 13px/18px var(--jp-ui-font-family, system-ui, sans-serif);
  font-size: var(--jp-ui-font-size1, 13px);
  overflow: hidden;
  text-align: left;
}
.vnb-out * { box-sizing: border-box; }
.vnb-out pre { word-break: normal; }
.vnb-out .vnb-out-grid {
  display: grid;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr));
  overflow: hidden;
}
.vnb-out .vnb-out-run {
  border-left: 1px solid var(--vnb-outline);
  display: grid;
  grid-template-rows: subgrid;
  margin: -1px 0 0 -1px;
  min-width: 0;
}
.vnb-out .vnb-out-head {
  align-items: center;
  background: var(--vnb-band);
  border: 0 solid var(--vnb-outline);
  border-width: 1px 0;
  display: flex;
  flex-wrap: wrap;
  gap: 0 8px;
  justify-content: space-between;
  min-height: 32px;
  padding: 6px 12px;
}
.vnb-out .vnb-aside, .vnb-out .vnb-dot, .vnb-out .vnb-quiet, .vnb-out .vnb-null {
  color: var(--vnb-quiet);
}
.vnb-out .vnb-facts { overflow-wrap: anywhere; }
.vnb-out .vnb-out-head > .vnb-aside { margin-left: auto; }
.vnb-out .vnb-tag, .vnb-out .vnb-key { font-family: var(--vnb-code); font-size: 12px; }
.vnb-out .vnb-tag { font-weight: 600; margin-right: 4px; }
.vnb-out .vnb-number { font-variant-numeric: tabular-nums; }
.vnb-out .vnb-icon { display: inline-block; height: 14px; vertical-align: -2px; width: 14px; }
.vnb-out .vnb-icon-ok { color: var(--vnb-good); }
.vnb-out .vnb-icon-bad, .vnb-out .vnb-icon-failed { color: var(--vnb-bad); }
.vnb-out .vnb-icon-waiting { color: var(--vnb-brand); }
.vnb-out .vnb-icon-stopped, .vnb-out .vnb-icon-missing { color: var(--vnb-quiet); }
.vnb-out .vnb-out-rows {
  align-content: start;
  display: grid;
  grid-row: 2 / -2;
  grid-template-columns: fit-content(160px) minmax(0, 1fr);
  grid-template-rows: subgrid;
  margin: 0;
  padding: 0;
}
.vnb-out .vnb-out-alone > .vnb-out-rows { grid-template-rows: none; }
.vnb-out .vnb-out-row {
  border-bottom: 1px solid var(--vnb-hair);
  display: grid;
  grid-column: 1 / -1;
  grid-template-columns: subgrid;
  padding: 6px 12px;
}
.vnb-out .vnb-out-row:last-child { border-bottom: 0; }
.vnb-out .vnb-out-row > dt {
  color: var(--vnb-quiet);
  float: none;
  font-weight: 400;
  margin: 0;
  min-width: 92px;
  overflow-wrap: anywhere;
  padding: 0 8px 0 0;
  width: auto;
}
.vnb-out .vnb-out-row > dd {
  font: 12px/18px var(--vnb-code);
  margin: 0;
  min-width: 0;
  overflow-wrap: anywhere;
  padding: 0;
  unicode-bidi: isolate;
  width: auto;
}
.vnb-out .vnb-text {
  background: none;
  border: 0;
  color: inherit;
  font: 12px/18px var(--vnb-code);
  margin: 0;
  overflow-wrap: anywhere;
  padding: 0;
  white-space: pre-wrap;
}
.vnb-out code { background: none; color: inherit; font: 12px/18px var(--vnb-code); padding: 0; }
.vnb-out .vnb-json { white-space: pre-wrap; }
.vnb-out .vnb-ins, .vnb-out .vnb-del {
  border-radius: 2px;
  box-decoration-break: clone;
  -webkit-box-decoration-break: clone;
  color: var(--vnb-text);
  padding: 1px 2px;
}
.vnb-out .vnb-ins { background: var(--vnb-insert); }
.vnb-out .vnb-del { background: var(--vnb-delete); }
/* The line is through the words alone: a minus that is struck through cannot be read. */
.vnb-out .vnb-ins, .vnb-out .vnb-del { text-decoration: none; }
.vnb-out .vnb-ins > span { text-decoration: underline; }
.vnb-out .vnb-del > span { text-decoration: line-through; }
.vnb-out .vnb-mark { font-weight: 700; user-select: none; }
.vnb-out .vnb-change { padding: 1px 0; }
.vnb-out .vnb-change .vnb-key { font-weight: 600; }
.vnb-out .vnb-fold { display: inline-block; font-style: italic; } /* no line goes through it */
.vnb-out .vnb-note { color: var(--vnb-quiet); font: 11px/16px inherit; margin: 0; }
.vnb-out .vnb-out-note {
  border-bottom: 1px solid var(--vnb-outline);
  font-family: inherit;
  font-size: 11px;
  padding: 6px 12px;
}
.vnb-out .vnb-out-note .vnb-ins, .vnb-out .vnb-out-note .vnb-del { font-family: var(--vnb-code); }
.vnb-out .vnb-error { color: var(--vnb-bad); }
.vnb-out .vnb-out-row .vnb-error, .vnb-out .vnb-out-row .vnb-quiet { font-size: 12px; }
.vnb-out .vnb-out-row > dd > div:is(.vnb-error, .vnb-quiet) {
  font-family: var(--jp-ui-font-family, system-ui, sans-serif);
}
.vnb-out .vnb-missing {
  border: 1px dashed var(--vnb-quiet);
  color: var(--vnb-quiet);
  display: inline-block;
  font-family: var(--jp-ui-font-family, system-ui, sans-serif);
  padding: 0 8px;
}
.vnb-out .vnb-media { display: block; height: auto; max-height: 360px; max-width: 100%; }
.vnb-out audio.vnb-media { height: 40px; width: 100%; }
.vnb-out .vnb-turn { display: grid; gap: 0 8px; grid-template-columns: 84px minmax(0, 1fr); }
.vnb-out .vnb-turn + .vnb-turn {
  border-top: 1px solid var(--vnb-hair);
  margin-top: 4px;
  padding-top: 4px;
}
.vnb-out .vnb-role { font-size: 11px; font-weight: 600; }
.vnb-out .vnb-hits, .vnb-out .vnb-array { margin: 0; padding: 0 0 0 24px; }
.vnb-out .vnb-hits > li + li { margin-top: 8px; }
.vnb-out .vnb-tree ul { list-style: none; margin: 0; padding: 0 0 0 16px; }
.vnb-out .vnb-tree summary {
  color: var(--vnb-quiet);
  cursor: pointer;
  line-height: 24px;
  min-height: 24px;
}
.vnb-out .vnb-tree summary .vnb-key { color: var(--vnb-text); }
.vnb-out .vnb-tree summary:focus-visible {
  outline: 2px solid var(--vnb-brand);
  outline-offset: -2px;
}
.vnb-out .vnb-md { font: 13px/18px var(--jp-ui-font-family, system-ui, sans-serif); }
.vnb-out .vnb-md > :first-child { margin-top: 0; }
.vnb-out .vnb-md > :last-child { margin-bottom: 0; }
.vnb-out .vnb-md h1, .vnb-out .vnb-md h2, .vnb-out .vnb-md h3, .vnb-out .vnb-md h4 {
  font-size: 14px;
  font-weight: 600;
  margin: 12px 0 4px;
}
.vnb-out .vnb-md p, .vnb-out .vnb-md ul, .vnb-out .vnb-md ol { margin: 0 0 8px; }
.vnb-out .vnb-md pre { background: var(--vnb-band); overflow-x: auto; padding: 8px; }
.vnb-out .vnb-md table { border-collapse: collapse; margin: 0 0 8px; }
.vnb-out .vnb-md th, .vnb-out .vnb-md td { border: 1px solid var(--vnb-outline); padding: 2px 8px; }
.vnb-out a { color: var(--vnb-brand-text); }
@container vnb-out (max-width: 639px) {
  .vnb-out .vnb-out-grid { grid-template-columns: minmax(0, 1fr); }
  .vnb-out .vnb-out-run { grid-row: auto; }
}
"""
    + TRACE_CSS
)


def output_style_html() -> str:
    """Return the style as an element, to stand before the HTML that needs it."""
    return f"<style>{OUTPUT_CSS}</style>"
