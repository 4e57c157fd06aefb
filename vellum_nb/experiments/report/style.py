"""The style of the HTML report: a page of its own, light and dark, on paper too."""

from __future__ import annotations

__all__ = ["REPORT_CSS"]

REPORT_CSS = """
:root {
  color-scheme: light dark;
  --page: #fff; --text: #1f2328; --quiet: #59636e; --line: #d1d9e0; --band: #f6f8fa;
  --good: #1a7f37; --bad: #c62828; --good-ground: #dafbe1; --bad-ground: #ffebe9;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0d1117; --text: #e6edf3; --quiet: #9198a1; --line: #3d444d; --band: #151b23;
    --good: #57d06c; --bad: #ff8a80; --good-ground: #12361d; --bad-ground: #4a1a1a;
  }
}
* { box-sizing: border-box; }
body {
  background: var(--page); color: var(--text); margin: 0 auto; max-width: 110rem; padding: 1.5rem;
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", sans-serif;
}
h1 { font-size: 1.5rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; overflow-wrap: anywhere; }
p { margin: .25rem 0; max-width: 60rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0; }
th, td {
  border: 1px solid var(--line); padding: .3rem .55rem; text-align: left; vertical-align: top;
}
thead th { background: var(--band); }
thead th, tbody th { white-space: nowrap; }
.case th { overflow-wrap: anywhere; white-space: normal; }
td.figure, th.figure {
  font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap;
}
code, .text, .vnb-change {
  font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 12.5px;
  overflow-wrap: anywhere; white-space: pre-wrap;
}
.vnb-quiet, .quiet, .vnb-note { color: var(--quiet); }
.worse, .missing { color: var(--bad); font-weight: 600; }
.better { color: var(--good); font-weight: 600; }
.vnb-ins { background: var(--good-ground); color: var(--good); text-decoration: none; }
.vnb-del { background: var(--bad-ground); color: var(--bad); text-decoration: line-through; }
.vnb-mark { font-weight: 600; }
.case { border-top: 1px solid var(--line); margin: .75rem 0; padding-top: .5rem; }
.case table { table-layout: fixed; width: 100%; }
.case th:first-child { width: 9rem; }
.case p, .case pre { margin: 0; max-width: none; }
.case th div { font-weight: 400; }
.case h3 { font-size: 1rem; margin: 0 0 .25rem; }
dl { display: grid; gap: .1rem .75rem; grid-template-columns: max-content 1fr; margin: .25rem 0; }
dt { color: var(--quiet); } dd { margin: 0; min-width: 0; }
summary { cursor: pointer; font-weight: 600; padding: .25rem 0; }
footer { border-top: 1px solid var(--line); margin-top: 2rem; padding-top: .75rem; }
@media (max-width: 45rem) {
  body { padding: .75rem; }
  dl { grid-template-columns: 1fr; }
  .case table, .case tbody, .case tr, .case td, .case th { display: block; width: auto; }
  .case th:first-child { width: auto; }
  .case thead { display: none; }
  .case td::before { color: var(--quiet); content: attr(data-release) " "; }
}
@media print { details:not([open]) > * { display: block; } .case { break-inside: avoid; } }
"""
