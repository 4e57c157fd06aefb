"""The style of the comparison grid, on top of that of outputs."""

from __future__ import annotations

from vellum_nb.widgets.outputs_style import prevailing

__all__ = ["COMPARISON_CSS"]

COMPARISON_CSS = prevailing("""
.vnb-out .vnb-cmp-head {
  border-bottom: 1px solid var(--vnb-outline);
  font-size: 12px;
  padding: 9px 12px;
}
.vnb-out .vnb-cmp-head > b { font-size: 14px; margin-right: 8px; }
.vnb-out .vnb-cmp-head .vnb-tag { margin: 0; }
.vnb-out .vnb-cmp-empty { margin: 0; padding: 12px; }
.vnb-out .vnb-cmp-foot {
  border-top: 1px solid var(--vnb-outline);
  color: var(--vnb-quiet);
  font-size: 12px;
  margin: 0;
  padding: 8px 12px;
}
.vnb-out .vnb-cmp-notice {
  background: var(--vnb-notice);
  border-left: 3px solid var(--jp-warn-color1, #f57c00);
  font-size: 12px;
  margin: 0;
  padding: 6px 12px;
}
.vnb-out .vnb-cmp-notice .vnb-icon { color: var(--vnb-warn); }
.vnb-out table.vnb-cmp, .vnb-out table.vnb-cmp-summary {
  border: 0;
  border-collapse: collapse;
  border-spacing: 0;
  color: inherit;
  font-size: 12px;
  line-height: 18px;
  margin: 0;
  table-layout: fixed;
  width: 100%;
}
.vnb-out table.vnb-cmp-summary { table-layout: auto; }
.vnb-out table.vnb-cmp > thead > tr,
.vnb-out table.vnb-cmp > tbody > tr,
.vnb-out table.vnb-cmp-summary > tbody > tr { background: none; border: 0; padding: 0; }
.vnb-out table.vnb-cmp-summary > tbody > tr > th,
.vnb-out table.vnb-cmp-summary > tbody > tr > td {
  border: 0;
  font-weight: 400;
  line-height: 18px;
  max-width: none;
  padding: 6px 12px;
  text-align: left;
  vertical-align: middle;
  white-space: normal;
}
.vnb-out table.vnb-cmp-summary > tbody > tr > th:first-child { width: 92px; }
.vnb-out table.vnb-cmp-summary > tbody > tr > td:last-child { width: 60%; }
.vnb-out .vnb-cmp-bar { display: flex; gap: 1px; height: 16px; min-width: 80px; }
.vnb-out .vnb-cmp-bar > span { flex-basis: 4px; }
.vnb-out .vnb-cmp-differs { background: color-mix(in srgb, var(--vnb-brand) 45%, var(--vnb-page)); }
.vnb-out .vnb-cmp-same { background: var(--jp-layout-color2, #eee); }
.vnb-out .vnb-cmp-missing { border: 1px dashed var(--vnb-quiet); }
.vnb-out table.vnb-cmp { border-top: 1px solid var(--vnb-outline); }
.vnb-out table.vnb-cmp > thead > tr > th,
.vnb-out table.vnb-cmp > tbody > tr > th,
.vnb-out table.vnb-cmp > tbody > tr > td {
  border: 0 solid var(--vnb-outline);
  border-width: 0 0 1px 1px;
  font-weight: 400;
  line-height: 18px;
  max-width: none;
  overflow-wrap: anywhere;
  padding: 8px 12px;
  position: static;
  text-align: left;
  vertical-align: top;
  white-space: normal;
}
.vnb-out table.vnb-cmp > thead > tr > th:first-child,
.vnb-out table.vnb-cmp > tbody > tr > th:first-child { border-left-width: 0; }
.vnb-out table.vnb-cmp > tbody > tr:last-child > * { border-bottom-width: 0; }
.vnb-out table.vnb-cmp > thead > tr > th { background: var(--vnb-band); padding: 6px 12px; }
.vnb-out table.vnb-cmp > thead > tr > th:first-child { font-weight: 600; width: 20%; }
.vnb-out table.vnb-cmp > tbody > tr > td.vnb-cmp-base { background: var(--vnb-band); }
.vnb-out table.vnb-cmp > tbody > tr > td.vnb-cmp-is-differs {
  border-left: 3px solid var(--vnb-brand);
}
.vnb-out table.vnb-cmp > tbody > tr > td.vnb-cmp-gap {
  outline: 1px dashed var(--vnb-quiet);
  outline-offset: -4px;
}
.vnb-out .vnb-cmp-verdict { color: var(--vnb-quiet); margin-bottom: 4px; }
.vnb-out .vnb-cmp-is-differs > .vnb-cmp-verdict { color: var(--vnb-text); font-weight: 600; }
.vnb-out .vnb-cmp-label { display: none; font: 600 12px/18px var(--vnb-code); }
.vnb-out .vnb-cmp-input { margin-top: 4px; white-space: pre-wrap; }
.vnb-out .vnb-cmp-outputs {
  display: grid;
  grid-template-columns: fit-content(120px) minmax(0, 1fr);
  margin: 0;
  padding: 0;
}
.vnb-out .vnb-cmp-outputs > .vnb-out-row { border: 0; padding: 0 0 4px; }
.vnb-out .vnb-cmp-outputs > .vnb-out-row > dt { min-width: 64px; }
@container vnb-out (max-width: 639px) {
  .vnb-out table.vnb-cmp > thead { display: none; }
  .vnb-out table.vnb-cmp, .vnb-out table.vnb-cmp > tbody,
  .vnb-out table.vnb-cmp > tbody > tr { display: block; }
  .vnb-out table.vnb-cmp > tbody > tr { border-bottom: 1px solid var(--vnb-outline); }
  .vnb-out table.vnb-cmp > tbody > tr > th,
  .vnb-out table.vnb-cmp > tbody > tr > td {
    border-bottom: 1px solid var(--vnb-hair);
    border-left-width: 0;
    display: block;
  }
  .vnb-out table.vnb-cmp > tbody > tr > td:last-child { border-bottom-width: 0; }
  .vnb-out .vnb-cmp-label { display: inline-block; margin-bottom: 4px; }
  .vnb-out .vnb-cmp-label + .vnb-cmp-verdict { display: inline-block; margin-left: 8px; }
}
""")
