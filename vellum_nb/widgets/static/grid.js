// The grid of a comparison: heading, columns, rows, keys; `Body` says which rows are drawn.

const NARROW = 640;
let grids = 0;

class Grid {
  constructor(model, el) {
    grids += 1;
    this.model = model;
    this.el = el;
    this.id = `vnb-grid-${grids}-${Math.random().toString(36).slice(2, 8)}`;
    this.query = { states: [], labels: {}, search: "" };
    this.look = 0;
    this.root = h("div", { class: "vnb-grid", role: "region", "data-lm-suppress-shortcuts": "true" });
    this.build();
    el.append(this.root);
    this.listen();
    this.head();
    this.note();
    const first = this.get("_first");
    if (first?.rows) this.take({ ...first, view: this.id, seq: this.body.generation });
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(this.root);
  }

  listen() {
    this.offs = [];
    const on = (names, call) => {
      this.model.on(names, call);
      this.offs.push(() => this.model.off(names, call));
    };
    on("msg:custom", (message) => this.receive(message));
    on("change:_head", () => this.renewed());
    on("change:error", () => this.note());
    on("change:opened", () => this.opened());
    // The case in full stands outside of this view; Escape closes it from there, too.
    requestAnimationFrame(() => {
      this.whole = this.el.closest(".vnb-grid-view");
      this.escape = (event) => { if (event.key === "Escape" && !event.defaultPrevented && this.get("opened")) { event.stopPropagation(); this.send("close"); } };
      this.whole?.addEventListener("keydown", this.escape);
      this.dress();
    });
  }

  close() {
    this.offs.forEach((off) => off());
    this.observer.disconnect();
    this.body.close();
    this.whole?.removeEventListener("keydown", this.escape);
    clearTimeout(this.timer);
  }

  get(name) { return this.model.get(name); }

  send(kind, content = {}) {
    try {
      this.model.send({ kind, ...content });
    } catch {  // the comm went with its kernel
      this.note("The kernel that made this comparison is gone, so nothing here answers: run the cell again.");
    }
  }

  build() {
    this.bar = h("div", { class: "vnb-grid-top" });
    this.panel = h("div", { class: "vnb-grid-panel", hidden: true });
    this.summary = h("div", { class: "vnb-grid-summary-box" });
    this.field = h("input", { type: "text", placeholder: "search inputs and outputs", "aria-label": "Search inputs and outputs", spellcheck: "false", autocomplete: "off" });
    this.field.addEventListener("input", () => this.typed(DEBOUNCE_MS));
    this.field.addEventListener("keydown", (event) => this.fieldKey(event));
    this.chips = h("span", { class: "vnb-grid-filters", role: "group", "aria-label": "Filters" });
    this.count = h("span", { class: "vnb-grid-count", role: "status" });
    this.filters = h("div", { class: "vnb-grid-filterbar" }, h("label", { class: "vnb-grid-search" }, icon("search"), this.field), this.chips, this.count);
    this.alert = h("div", { class: "vnb-grid-alert", role: "alert", hidden: true });
    this.headRow = h("div", { role: "row", class: "vnb-grid-head", "aria-rowindex": 1 });
    this.grid = h("div", { role: "grid", tabindex: "0", class: "vnb-grid-rows", "aria-label": "Cases and releases", "data-lm-suppress-shortcuts": "true" }, h("div", { role: "rowgroup", class: "vnb-grid-headgroup" }, this.headRow));
    this.grid.addEventListener("keydown", (event) => this.key(event));
    this.grid.addEventListener("click", (event) => this.click(event));
    this.empty = h("div", { class: "vnb-grid-empty", hidden: true });
    this.where = h("span", {});
    this.told = h("span", { class: "vnb-grid-heard", role: "status" });
    this.foot = h("span", { class: "vnb-grid-remark" });
    this.keys = h("span", { class: "vnb-grid-keys" });
    this.root.append(this.bar, this.panel, this.summary, this.filters, this.alert, this.grid, this.empty,
      h("div", { class: "vnb-grid-foot" }, this.where, this.told, this.foot, this.keys));
    this.body = new Body(this.host(), this.grid, this.headRow, this.id);
  }

  host() {
    const grid = this;
    return {
      ask: (offset, limit, generation) => this.send("rows", { view: this.id, seq: generation, offset, limit, query: this.query }),
      draw: (row, index) => this.drawRow(row, index),
      moved: (first, last) => this.moved(first, last),
      get look() { return grid.look; },
    };
  }

  // --- what Python says

  receive(message) {
    if (message.kind === "rows" && message.view === this.id) this.take(message);
    else if (message.kind === "row") this.body.replace(message.row);
    else if (message.kind === "told") say(this.told, message.text);
    else if (message.kind === "exported") this.exported(message);
    else if (message.kind === "back") this.returned();
    else if (message.kind === "filter") this.filter({ states: message.states });
  }

  take(message) {
    this.all = message.all;
    this.body.take(message);
    const order = this.get("_head").order;
    say(this.count, message.total === message.all ? `${figure(message.all)} ${casesWord(message.all)}, ${order}` : `${figure(message.total)} of ${figure(message.all)} ${casesWord(message.all)}, ${order}`);
    this.empty.hidden = message.total > 0;
    this.grid.hidden = message.total === 0;
    say(this.empty, message.all ? "No case is in these filters." : "There are no stored runs to compare yet: run the deployment on these release tags first.");
  }

  renewed() {
    const { baseline, metric, order } = this.get("_head");
    const again = baseline !== this.baseline || metric !== this.metric || order !== this.order;
    this.head();
    if (again) this.body.restart(); else this.body.refresh();
  }

  moved(first, last) {
    const total = this.body.total;
    const range = last - first > 1 ? `${figure(first + 1)}–${figure(last)}` : figure(last);
    say(this.where, total ? `${casesWord(last - first)} ${range} of ${figure(total)}` : "");
  }

  note(text = this.get("error")) {
    this.alert.hidden = !text;
    this.alert.replaceChildren(...(text ? [icon("error"), h("span", {}, text)] : []));
  }

  // --- heading and columns

  head() {
    const head = this.get("_head");
    const focused = this.bar.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
    this.root.setAttribute("aria-label", `Comparison of ${head.title}`);
    this.baseline = head.baseline;
    this.metric = head.metric;
    this.order = head.order;
    this.look += 1;
    const parts = [h("b", { class: "vnb-grid-title" }, "Compare"), h("span", { class: "vnb-grid-about" }, [head.title, head.about].filter(Boolean).join(" · ")), h("span", { class: "vnb-grid-fill" })];
    if (head.metrics.length > 1) parts.push(h("label", { class: "vnb-grid-choice" }, "by", select("Metric that decides", head.metrics.map((m) => [m.name, m.label]), head.metric, (name) => this.send("metric", { name }))));
    if (head.releases.length > 1) parts.push(h("label", { class: "vnb-grid-choice" }, "baseline", select("Baseline", head.releases.map((r) => [r.name, r.label]), head.baseline, (release) => this.send("baseline", { release }))));
    if (head.can.includes("blind")) parts.push(h("button", { type: "button", class: "vnb-grid-button", "aria-label": "Rate blind", onclick: () => this.blind() }, "Blind…"));
    this.exportButton = h("button", { type: "button", class: "vnb-grid-button", "aria-label": "Export…", "aria-expanded": String(!this.panel.hidden), onclick: () => this.toggleExport() }, "Export…");
    this.bar.replaceChildren(...parts, this.exportButton);
    this.summary.replaceChildren(summaryTable(head.summary), ...head.summary.notes.map((text) => h("div", { class: "vnb-grid-notice" }, icon("error"), ` ${text}`)));
    this.columns();
    this.filterChips();
    say(this.foot, head.foot);
    const rate = head.can.includes("rate") ? " · 1–5 rate" : "";
    say(this.keys, `j k cases · h l releases · Enter opens${rate}${head.can.includes("blind") ? " · b blind" : ""}`);
    if (focused) this.bar.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
  }

  columns() {
    const { columns, summary } = this.get("_head");
    this.body.columns = columns.length + 1;
    const count = columns.length;
    this.root.style.setProperty("--vnb-others", Math.max(1, count - 1));
    this.grid.setAttribute("aria-colcount", count + 1);
    const worse = (name) => summary.releases.find((release) => release.name === name)?.worse ?? 0;
    const against = columns[0]?.label ?? "";
    this.headRow.replaceChildren(h("div", { role: "columnheader", class: "vnb-grid-cell vnb-grid-case" }, h("b", {}, "case")),
      ...columns.map((column, at) => h("div", { role: "columnheader", class: `vnb-grid-cell ${at ? "" : "vnb-grid-at-baseline"}` },
        at ? null : icon("pin"), h("b", { class: "vnb-grid-code" }, column.label),
        h("span", { class: "vnb-grid-remark" }, at === 0 ? "pinned baseline" : `against ${against}${worse(column.name) ? ` · ${figure(worse(column.name))} worse` : ""}`))));
  }

  fit() {
    const narrow = this.root.clientWidth > 0 && this.root.clientWidth < NARROW;
    if (narrow !== this.narrow) {
      this.narrow = narrow;
      this.root.classList.toggle("vnb-grid-narrow", narrow);
      this.look += 1;
      this.body.resized();
    }
  }

  // --- rows

  drawRow(row, index) {
    const columns = this.get("_head").columns;
    const options = (column) => ({ id: `${this.id}-${index}-${column}`, "aria-colindex": column + 1, "data-column": column });
    const node = h("div", { role: "row", class: "vnb-grid-row", "aria-rowindex": index + 2 });
    if (!row) { node.append(h("div", { role: "gridcell", class: "vnb-grid-cell vnb-grid-quiet" }, "…")); return node; }
    const act = { open: () => this.open(row.id), replay: (release) => this.send("replay", { id: row.id, release }) };
    node.append(caseCell(row, options(0)), ...row.cells.map((cell, at) => answerCell(cell, columns[at] ?? { name: "", label: "" }, options(at + 1), act)));
    return node;
  }

  click(event) {
    const cell = event.target.closest(".vnb-grid-row > [data-column]");
    if (!cell) return;
    const index = cell.parentNode.vnbIndex;
    if (event.target.closest("button")) return;
    this.grid.focus({ preventScroll: true });
    this.body.go(index, Number(cell.dataset.column));
    if (!String(window.getSelection() ?? "")) this.open(this.body.rows.get(index)?.id);
  }

  key(event) {
    if (event.target !== this.grid || event.ctrlKey || event.metaKey || event.altKey) return;
    const { body } = this;
    const page = Math.max(1, body.span()[1] - body.span()[0] - 1);
    const rows = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -body.total, End: body.total }[event.key];
    const columns = { l: 1, ArrowRight: 1, h: -1, ArrowLeft: -1 }[event.key];
    if (rows !== undefined) body.active < 0 && Math.abs(rows) === 1 ? body.go(0) : body.move(rows, 0);
    else if (columns !== undefined) body.active < 0 ? body.go(0) : body.move(0, columns);
    else if (/^[1-5]$/.test(event.key)) this.rate((Number(event.key) - 1) / 4);
    else if (event.key === "Enter" || event.key === " ") this.open(body.rows.get(body.active)?.id);
    else if (event.key === "b" && this.get("_head").can.includes("blind")) this.blind();
    else if (event.key === "/") this.field.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  rate(quality) {
    const row = this.body.rows.get(this.body.active);
    const column = this.get("_head").columns[this.body.column - 1];
    if (!row || !column) { say(this.told, "Choose an answer first: h and l go from release to release"); return; }
    this.send("rate", { id: row.id, release: column.name, quality });
  }

  open(id) { if (id) { this.wanted = true; this.send("open", { id }); } }
}
