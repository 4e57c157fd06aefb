// The history table and the grid of a comparison: one view of pages of rows that the kernel renders.
// The page sorts, filters, selects and acts by messages; all text goes in as text nodes.
import { figure, h, icon, plural, put, resync, say, select } from "./kit.js";
import { answerCell, caseCell, runCell, summaryTable, tracksOf, needOf } from "./cells.js";

const DEBOUNCE_MS = 200;
const PATIENCE_MS = 400;
const FOCUS_MS = 5000;  // in which a blind rating that was asked for comes
const NARROW = 640;
const CHIPS = 6;  // label values that stand side by side; more are a list to choose from
// What goes first where there is no room, unless the columns were chosen by hand.
const DISPENSABLE = ["quality", "latency_s", "timestamp", "outputs", "inputs"];
let views = 0;

class View {
  constructor(model, el, size) {
    views += 1;
    Object.assign(this, { model, el, size, seq: 0, offset: 0, total: 0, all: 0, rows: [], active: -1, nodes: new Map(), offs: [] });
    this.id = `vnb-view-${views}-${Math.random().toString(36).slice(2, 8)}`;
    this.bar = h("div", { class: "vnb-view-bar" });
    this.panel = h("div", { class: "vnb-view-panel", hidden: true, onkeydown: (event) => this.panelKey(event) });
    this.top = h("div");
    this.alert = h("div", { class: "vnb-view-alert", role: "alert", hidden: true });
    this.headRow = h("div", { role: "row", class: "vnb-view-head", "aria-rowindex": 1 });
    this.body = h("div", { role: "rowgroup" });
    this.grid = h("div", { role: "grid", tabindex: "0", class: "vnb-view-grid", "data-lm-suppress-shortcuts": "true", onkeydown: (event) => this.gridKey(event), onclick: (event) => this.click(event) },
      h("div", { role: "rowgroup", class: "vnb-view-headgroup" }, this.headRow), this.body);
    this.empty = h("div", { class: "vnb-view-empty", hidden: true });
    this.count = h("span", { role: "status", class: "vnb-view-count" });
    this.status = h("span", { role: "status", class: "vnb-view-heard" });
    const turn = (name, by) => h("button", { type: "button", class: "vnb-view-button", onclick: () => this.page(this.offset + by * this.size) }, name);
    this.previous = turn("Previous", -1);
    this.next = turn("Next", 1);
    this.where = h("span", { class: "vnb-view-where" });
    this.pager = h("span", { class: "vnb-view-pager", role: "group", "aria-label": "Pages" }, this.previous, this.where, this.next);
    this.foot = h("div", { class: "vnb-view-foot" });
    this.root = h("div", { class: "vnb-view", role: "region", "data-lm-suppress-shortcuts": "true" });
  }

  // Once the parts that differ are built.
  start() {
    this.el.append(this.root);
    this.on("msg:custom", (message) => this.receive(message));
    this.on("change:_head", () => this.renewed());
    this.on("change:error", () => this.note());
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(this.root);
    this.head();
    this.note();
    const first = this.get("_first");
    if (first?.rows) this.take({ ...first, view: this.id, seq: 0 });
    this.ask(0, true);
  }

  on(names, call) {
    this.model.on(names, call);
    this.offs.push(() => this.model.off(names, call));
  }

  close() {
    this.offs.forEach((off) => off());
    this.observer.disconnect();
    clearTimeout(this.timer);
    clearTimeout(this.patience);
  }

  get(name) { return this.model.get(name); }

  send(kind, content = {}) {
    try {
      this.model.send({ kind, ...content });
    } catch {  // the comm went with its kernel
      this.note("The kernel behind this is gone, so nothing here answers: run the cell again.");
    }
  }

  // --- rows and pages

  ask(offset, quiet = false) {
    this.seq += 1;
    this.waiting = true;
    put(this.grid, "aria-busy", "true");
    clearTimeout(this.patience);
    if (!quiet) this.patience = setTimeout(() => this.busy(this.working()), PATIENCE_MS);
    this.send("rows", { view: this.id, seq: this.seq, offset: Math.max(0, offset), limit: this.size, ...this.query() });
  }

  busy(text) { this.count.replaceChildren(h("span", { class: "vnb-view-quiet" }, text)); }

  working() { return "Loading…"; }

  // Show the page that has the row at `offset`; `then` is called when all its rows are there.
  page(offset, then = null) {
    this.active = -1;
    this.then = then;
    this.grid.scrollTop = 0;
    this.ask(Math.floor(Math.min(offset, Math.max(0, this.total - 1)) / this.size) * this.size);
  }

  restart() { this.page(0); }

  refresh() { this.ask(this.offset, true); }

  receive(message) {
    if (message.kind === "rows" && message.view === this.id && message.seq >= this.seq) {
      this.waiting = false;
      clearTimeout(this.patience);
      this.take(message);
      this.follow();
    } else if (message.kind === "exported") this.exported(message);
    else if (message.kind === "status") say(this.status, message.text);
  }

  take(message) {
    const more = message.seq === this.restSeq;
    const active = this.rows[this.active]?.id;
    this.offset = more ? this.offset : message.offset;
    this.rows = more ? [...this.rows, ...message.rows] : message.rows;
    Object.assign(this, { total: message.total, all: message.all, latest: message });
    if (active) this.active = this.rows.findIndex((row) => row.id === active);
    this.grid.removeAttribute("aria-busy");
    put(this.grid, "aria-rowcount", this.total + 1);
    this.draw();
    this.footer();
    // What did not fit into one message comes in the next.
    const last = Math.min(this.total, this.offset + this.size);
    const next = this.offset + this.rows.length;
    if (message.seq === 0 || !message.rows.length || next >= last) {
      const { then } = this;
      this.then = null;
      then?.();
      return;
    }
    this.seq += 1;
    this.restSeq = this.seq;
    this.send("rows", { view: this.id, seq: this.seq, offset: next, limit: last - next, scroll: true, ...this.query() });
  }

  // A row keeps its node, so that a click is never lost to a refresh or falls on another row.
  draw() {
    const drawn = new Set();
    this.rows.forEach((row, at) => {
      drawn.add(row.id);
      const content = JSON.stringify([row, this.offset + at, this.look(row)]);
      let node = this.nodes.get(row.id);
      if (!node || node.vnbContent !== content) {
        const made = this.rowNode(row, this.offset + at);
        node?.replaceWith(made);
        node = made;
        node.vnbContent = content;
        this.nodes.set(row.id, node);
      }
      node.vnbAt = at;
      if (this.body.children[at] !== node) this.body.insertBefore(node, this.body.children[at] ?? null);
    });
    for (const [id, node] of this.nodes) if (!drawn.has(id)) { node.remove(); this.nodes.delete(id); }
    this.mark();
  }

  pages() {
    const last = this.offset + this.rows.length;
    this.pager.hidden = this.total <= this.size && !this.offset;
    this.previous.disabled = this.offset === 0;
    this.next.disabled = last >= this.total;
    say(this.where, this.total ? `${figure(this.offset + 1)}–${figure(last)} of ${figure(this.total)}${this.latest?.rough ? "+" : ""}` : "");
  }

  // --- the active row

  activate(at, extend = false) {
    if (!this.rows.length) return;
    const index = Math.max(0, Math.min(at, this.rows.length - 1));
    if (at >= this.rows.length && this.offset + this.rows.length < this.total && !extend) { this.page(this.offset + this.size, () => this.activate(0)); return; }
    if (at < 0 && this.offset > 0 && !extend) { this.page(this.offset - this.size, () => this.activate(this.rows.length - 1)); return; }
    this.active = index;
    this.mark();
    this.focusNode()?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  focusNode() { return this.nodes.get(this.rows[this.active]?.id); }

  mark() {
    for (const node of this.body.querySelectorAll(".vnb-view-active")) node.classList.remove("vnb-view-active");
    const node = this.focusNode();
    if (!node) { this.grid.removeAttribute("aria-activedescendant"); return; }
    node.classList.add("vnb-view-active");
    put(this.grid, "aria-activedescendant", node.id);
  }

  gridKey(event) {
    if (event.target !== this.grid || event.altKey) return;
    const page = Math.max(1, Math.floor(this.grid.clientHeight / Math.max(28, this.focusNode()?.offsetHeight ?? 28)) - 1);
    const to = { ArrowDown: this.active + 1, ArrowUp: this.active - 1, PageDown: this.active + page, PageUp: this.active - page }[event.key];
    if (to !== undefined) this.activate(this.active < 0 && to < 0 ? 0 : to, event.shiftKey);
    else if (event.key === "Home") { if (this.offset) this.page(0, () => this.activate(0)); else this.activate(0); }
    else if (event.key === "End") { if (this.offset + this.rows.length < this.total) this.page(this.total - 1, () => this.activate(this.rows.length - 1)); else this.activate(this.rows.length - 1); }
    else if (event.key === "/") this.field.focus();
    else if (!this.key(event)) return;
    event.preventDefault();
    event.stopPropagation();
  }

  // --- search, panels, notes

  search(label, placeholder) {
    this.field = h("input", { type: "text", placeholder, "aria-label": label, spellcheck: "false", autocomplete: "off", oninput: () => this.typed(DEBOUNCE_MS), onkeydown: (event) => this.fieldKey(event) });
    this.clear = h("button", { type: "button", class: "vnb-view-bare", "aria-label": "Clear the filter", title: "Clear the filter", hidden: true, onclick: () => { this.field.value = ""; this.typed(0); this.field.focus(); } }, icon("close"));
    return h("div", { class: "vnb-view-search" }, icon("search"), this.field, this.clear);
  }

  typed(wait) {
    clearTimeout(this.timer);
    this.clear.hidden = !this.field.value;
    this.timer = setTimeout(() => { if (this.field.value !== this.query().search && this.field.value !== this.query().query?.search) this.filter({ search: this.field.value }); }, wait);
  }

  fieldKey(event) {
    if (event.key === "Enter") this.typed(0);
    else if (event.key === "Escape" && this.field.value) { this.field.value = ""; this.typed(0); }
    else if (event.key === "ArrowDown") { this.grid.focus(); this.activate(Math.max(0, this.active)); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  toggle(name, button, fill) {
    this.opened = this.opened === name ? "" : name;
    this.opener = button;
    this.panel.hidden = !this.opened;
    for (const each of this.root.querySelectorAll(".vnb-view-bar [aria-expanded]")) put(each, "aria-expanded", each === button && Boolean(this.opened));
    this.panel.replaceChildren();
    if (!this.opened) return;
    fill();
    this.panel.querySelector("input")?.focus();
  }

  panelKey(event) {
    if (event.key !== "Escape" || !this.opened) return;
    event.preventDefault();
    event.stopPropagation();
    this.toggle(this.opened, this.opener);
    this.opener.focus();
  }

  exportPanel(formats, stem, noun) {
    const field = h("input", { type: "text", class: "vnb-view-field", "aria-label": "File to write", spellcheck: "false", value: stem + formats[0].suffix });
    let format = formats[0].name;
    const kinds = formats.length < 2 ? null : select("Format", formats.map((each) => [each.name, each.label]), format, (name) => {
      format = name;
      field.value = field.value.replace(/\.[a-z]+$/, "") + formats.find((each) => each.name === name).suffix;
    });
    this.outcome = h("span", { role: "status", class: "vnb-view-outcome" });
    this.noun = noun;
    const save = () => { this.outcome.className = "vnb-view-outcome"; say(this.outcome, "Writing…"); this.send("export", { format, path: field.value }); };
    field.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); save(); } });
    this.panel.replaceChildren(h("div", { class: "vnb-view-export" }, h("span", {}, `${figure(this.exportCount())} ${plural(this.exportCount(), noun)} as`), kinds ?? "CSV", h("span", {}, "to"), field,
      h("button", { type: "button", class: "vnb-view-button", onclick: save }, "Save"), this.outcome));
  }

  exported(message) {
    if (!this.outcome) return;
    this.outcome.classList.toggle("vnb-view-bad", Boolean(message.error));
    this.outcome.replaceChildren(...(message.error ? [icon("FAILED"), ` ${message.error}`] : [icon("FULFILLED"), ` Wrote ${figure(message.count)} ${plural(message.count, this.noun)} to `, h("span", { class: "vnb-view-code" }, message.path)]));
  }

  note(text = this.get("error")) {
    this.alert.hidden = !text;
    this.alert.replaceChildren(...(text ? [icon("FAILED"), h("span", {}, text)] : []));
    if (!text) return;
    this.waiting = false;
    clearTimeout(this.patience);
    if (this.latest) this.footer();
  }
}

class RunsTable extends View {
  constructor(model, el) {
    super(model, el, 100);
    this.root.classList.add("vnb-table");
    put(this.root, "aria-label", "History");
    put(this.grid, "aria-label", "Runs");
    put(this.grid, "aria-multiselectable", "true");
    this.state = this.traits();
    this.title = h("span", { class: "vnb-view-subtitle" });
    this.chips = h("span", { class: "vnb-view-chips" });
    this.columnsButton = h("button", { type: "button", class: "vnb-view-button", "aria-expanded": "false", onclick: () => this.toggle("columns", this.columnsButton, () => this.columnsPanel()) });
    this.exportButton = h("button", { type: "button", class: "vnb-view-button", "aria-expanded": "false", onclick: () => this.toggle("export", this.exportButton, () => this.exportPanel([{ name: "csv", suffix: ".csv" }], "runs", "run")) }, "Export…");
    this.reached = h("span", { role: "progressbar", class: "vnb-view-quiet", "aria-valuemin": 0, "aria-valuemax": 100, hidden: true });
    this.clearSelection = h("button", { type: "button", class: "vnb-view-bare", onclick: () => this.select([]) }, "Clear");
    this.sideButton = h("button", { type: "button", class: "vnb-view-button vnb-view-accent", onclick: () => this.showSide() }, "Side by side");
    this.sideBox = h("section", { class: "vnb-view-side", "aria-label": "Selected runs side by side", hidden: true });
    this.bar.append(h("b", { class: "vnb-view-title" }, "History"), this.title, this.search("Filter runs by text", "Filter runs"), this.chips, h("span", { class: "vnb-view-fill" }), this.columnsButton, this.exportButton);
    this.field.value = this.state.search;
    this.foot.append(this.count, this.clearSelection, this.reached, h("span", { class: "vnb-view-fill" }), this.pager, this.sideButton);
    this.root.append(this.bar, this.panel, this.alert, this.grid, this.empty, this.foot, this.sideBox, this.status);
    this.on("change:_side", () => this.side());
    this.on("change:selected_ids", () => this.selection());
    this.on("change:search change:order_by change:descending change:columns", () => this.follow());
    this.start();
    this.side();
  }

  traits() { return { search: this.get("search"), order_by: this.get("order_by"), descending: this.get("descending"), columns: this.get("columns") }; }

  query() { return this.state; }

  filter(part) {
    this.state = { ...this.state, ...part };
    this.head();
    this.restart();
  }

  working() { return this.state.search ? "Searching…" : "Sorting…"; }

  receive(message) {
    super.receive(message);
    if (message.kind === "total" && this.latest && !this.waiting) {
      Object.assign(this, { total: message.total, all: message.all, latest: { ...this.latest, rough: false } });
      this.footer();
    } else if (message.kind === "progress" && message.view === this.id) this.progress(message);
  }

  // Code or another view of this table changed what is shown. While a request of ours is under way
  // the traits are behind it: then its answer decides.
  follow() {
    const now = this.traits();
    if (this.waiting || JSON.stringify(now) === JSON.stringify(this.state)) return;
    if (now.search !== this.state.search) this.field.value = now.search;
    this.state = now;
    this.head();
    this.restart();
  }

  renewed() { this.head(); }

  head() {
    const { title, chips, columns } = this.get("_head");
    say(this.title, title ?? "");
    this.clear.hidden = !this.field.value;
    this.chips.replaceChildren(...(chips ?? []).map((chip) => h("button", { type: "button", class: "vnb-view-chip", title: "Take this filter away", "aria-label": `Take away the filter ${chip.text}`, onclick: () => this.send("drop_filter", { name: chip.name }) }, icon("close"), ` ${chip.text}`)));
    this.kinds = new Map((columns ?? []).map((column) => [column.name, column]));
    this.columnsLabel();
    if (this.opened === "columns") this.columnsPanel();
  }

  take(message) {
    this.full = message.columns.map((name) => this.kinds.get(name) ?? { name, kind: "text" });
    this.fit(message);
    super.take(message);
  }

  // Leave out what has no room; columns that were chosen by hand are all kept and scroll.
  fit(message = this.latest) {
    if (!this.full) return;
    const chosen = JSON.stringify(this.state.columns) !== JSON.stringify(this.get("_head").default);
    let drawn = this.full;
    for (const name of chosen ? [] : DISPENSABLE) {
      if (this.root.clientWidth === 0 || needOf(drawn) <= this.root.clientWidth) break;
      drawn = drawn.filter((column) => column.name !== name);
    }
    const same = JSON.stringify(drawn) === JSON.stringify(this.drawn);
    this.drawn = drawn;
    this.places = drawn.map((column) => message.columns.indexOf(column.name));
    this.root.style.setProperty("--vnb-tracks", tracksOf(drawn));
    this.root.style.setProperty("--vnb-need", `${needOf(drawn)}px`);
    this.headers();
    this.columnsLabel();
    if (!same && this.rows.length && message === this.latest) this.draw();
  }

  columnsLabel() {
    const count = this.drawn?.length ?? this.state.columns.length;
    const hidden = this.drawn ? this.state.columns.filter((name) => !this.drawn.some((column) => column.name === name)) : [];
    this.columnsButton.replaceChildren(icon("columns"), h("span", { class: "vnb-view-word" }, "Columns"), h("span", { class: "vnb-view-subtitle" }, `${count} of ${this.kinds?.size ?? 0}`));
    this.columnsButton.title = hidden.length ? `No room for: ${hidden.join(", ")}` : "Choose the columns";
  }

  // What stays as it is is not drawn again: it may be under a click, or have the focus.
  headers() {
    const { order_by: by, descending } = this.state;
    const content = JSON.stringify([this.drawn, by, descending]);
    if (content === this.headContent) { this.boxes(); return; }
    this.headContent = content;
    const focused = this.headRow.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    this.allBox = h("input", { type: "checkbox", "aria-label": "Select all runs found", tabindex: "-1", onchange: () => (this.get("selected_ids").length ? this.select([]) : this.selectRange(0, Math.max(0, this.total - 1), [])) });
    this.headRow.replaceChildren(h("div", { role: "columnheader", class: "vnb-table-box" }, h("label", {}, this.allBox)), ...this.drawn.map((column) => {
      const on = column.name === by;
      const sort = !column.sortable ? null : on ? (descending ? "descending" : "ascending") : "none";
      const name = h("span", { class: "vnb-view-cut" }, column.name);
      const arrow = on ? icon(descending ? "down-arrow" : "up-arrow", "vnb-view-icon vnb-table-arrow") : null;
      const content = column.sortable ? h("button", { type: "button", class: "vnb-table-sort", "data-name": column.name, title: `${column.name}: sort`, onclick: () => this.sort(column) }, arrow, name) : name;
      return h("div", { role: "columnheader", class: `vnb-table-cell vnb-table-${column.kind}`, "aria-sort": sort }, content);
    }));
    if (focused) [...this.headRow.querySelectorAll("button")].find((button) => button.dataset.name === focused)?.focus();
    put(this.grid, "aria-colcount", this.drawn.length + 1);
    this.boxes();
  }

  sort({ name, kind }) {
    const { order_by: by, descending } = this.state;
    const first = ["time", "seconds", "number", "quality"].includes(kind);
    this.filter({ order_by: name, descending: by === name ? !descending : first });
  }

  look(row) { return [this.drawn, this.get("selected_ids").includes(row.id)]; }

  rowNode(row, index) {
    const on = this.get("selected_ids").includes(row.id);
    const box = h("input", { type: "checkbox", tabindex: "-1", "aria-label": `Select row ${index + 1}` });
    box.checked = on;
    return h("div", { role: "row", class: "vnb-table-row", id: `${this.id}-${index}`, "aria-rowindex": index + 2, "aria-selected": String(on) },
      h("div", { role: "gridcell", class: "vnb-table-box" }, h("label", {}, box)), ...this.drawn.map((column, at) => runCell(column, row.cells[this.places[at]], row)));
  }

  // --- selection

  click(event) {
    const node = event.target.closest(".vnb-table-row");
    if (!node) return;
    const inBox = event.target.closest(".vnb-table-box");
    if (inBox) event.preventDefault();
    else if (String(window.getSelection() ?? "") && !event.shiftKey) return;
    this.grid.focus({ preventScroll: true });
    const at = node.vnbAt;
    const many = event.ctrlKey || event.metaKey;
    if (event.shiftKey && this.anchor !== undefined) { this.active = at; this.selectRange(this.anchor, this.offset + at, many ? this.get("selected_ids") : []); }
    else { this.active = at; this.anchor = this.offset + at; if (inBox || many) this.flip(at); else this.select([this.rows[at].id]); }
    this.mark();
  }

  key(event) {
    const command = event.ctrlKey || event.metaKey;
    if (event.key === " ") { this.active = Math.max(0, this.active); this.anchor = this.offset + this.active; this.flip(this.active); }
    else if (event.key === "a" && command) this.selectRange(0, Math.max(0, this.total - 1), []);
    else if (event.key === "Escape" && this.get("selected_ids").length) this.select([]);
    else if (event.key === "Enter" && !event.shiftKey && !command) this.showSide();
    else return false;
    return true;
  }

  activate(at, extend = false) {
    super.activate(at, extend);
    if (extend) this.selectRange(this.anchor ?? this.offset + this.active, this.offset + this.active, []);
    else this.anchor = this.offset + this.active;
  }

  flip(at) {
    const id = this.rows[at]?.id;
    const ids = new Set(this.get("selected_ids"));
    if (!id) return;
    if (!ids.delete(id)) ids.add(id);
    this.select([...ids]);
  }

  select(ids) {
    this.model.set("selected_ids", ids);
    this.model.save_changes();
    this.selection();
  }

  selectRange(from, to, keep) {
    const [low, high] = from < to ? [from, to] : [to, from];
    const here = this.rows.slice(Math.max(0, low - this.offset), high - this.offset + 1).map((row) => row.id);
    if (low >= this.offset && here.length === high - low + 1) this.select([...new Set([...keep, ...here])]);
    else this.send("select_range", { from, to, keep });
  }

  selection() {
    this.draw();
    this.boxes();
    this.footer();
  }

  boxes() {
    const count = this.get("selected_ids").length;
    if (!this.allBox) return;
    this.allBox.checked = count > 0 && count >= this.total;
    this.allBox.indeterminate = count > 0 && !this.allBox.checked;
  }

  footer() {
    const { total, all, latest } = this;
    const count = this.get("selected_ids").length;
    const words = total === all ? ` ${plural(total, "run")}` : ` of ${figure(all)} ${plural(all, "run")}`;
    this.count.replaceChildren(h("b", {}, figure(total) + (latest?.rough ? "+" : "")), words, ...(count ? [h("span", { class: "vnb-table-dot" }, "·"), `${figure(count)} selected`] : []));
    this.clearSelection.hidden = !count;
    this.sideButton.disabled = !count;
    this.sideButton.title = count ? "Show the selected runs side by side" : "Select runs first";
    this.empty.hidden = total > 0;
    say(this.empty, all ? "No run matches the filter." : "No runs yet. Runs appear here as soon as they are sent.");
    this.reached.hidden = true;
    this.pages();
  }

  // A first search, or a sort by an output, reads many runs: how far it is.
  progress({ what, reach: [done, total] }) {
    const percent = total ? Math.floor((100 * done) / total) : 100;
    clearTimeout(this.patience);
    this.busy(`${what === "sorted" ? "Sorting" : "Searching"}… ${percent} % of ${figure(total)} runs`);
    this.reached.hidden = false;
    put(this.reached, "aria-label", what === "sorted" ? "Sorted so far" : "Searched so far");
    put(this.reached, "aria-valuenow", percent);
  }

  // --- columns and side by side

  columnsPanel() {
    const { columns, default: usual, note } = this.get("_head");
    const focused = document.activeElement?.dataset?.column;
    const boxes = columns.map(({ name }) => {
      const box = h("input", { type: "checkbox", "data-column": name, onchange: () => this.choose(name, box.checked) });
      box.checked = this.state.columns.includes(name);
      return h("label", { class: "vnb-table-choice", title: name }, box, h("span", { class: "vnb-view-cut" }, name));
    });
    const reset = h("button", { type: "button", class: "vnb-view-button", onclick: () => this.filter({ columns: usual }) }, "Default columns");
    this.panel.replaceChildren(h("fieldset", { class: "vnb-table-choices" }, h("legend", {}, "Columns shown"), boxes), reset, h("div", { class: "vnb-view-quiet" }, note));
    if (focused) [...this.panel.querySelectorAll("input")].find((box) => box.dataset.column === focused)?.focus();
  }

  choose(name, on) {
    const present = this.state.columns.filter((column) => column !== name);
    const columns = on ? [...present, name] : present;
    if (!columns.length) { this.columnsPanel(); return; }
    const order = [...this.kinds.keys()];
    const rank = (column) => (this.state.columns.includes(column) ? this.state.columns.indexOf(column) : 1000 + order.indexOf(column));
    this.filter({ columns: columns.sort((a, b) => rank(a) - rank(b)) });
  }

  exportCount() { return this.total; }

  showSide() {
    const ids = this.get("selected_ids");
    if (!ids.length) return;
    this.reveals = true;
    this.send("side_by_side", { ids });
    if (!this.sideBox.hidden) this.reveal();
  }

  // The one place where HTML is trusted: Python made and escaped it.
  side() {
    const html = this.get("_side");
    this.sideBox.hidden = !html;
    if (!html) { this.sideBox.replaceChildren(); return; }
    const body = h("div");
    body.innerHTML = html;
    const shut = h("button", { type: "button", class: "vnb-view-bare", "aria-label": "Close side by side", title: "Close", onclick: () => { this.send("close_side"); this.sideButton.focus(); } }, icon("close"));
    this.sideBox.replaceChildren(h("div", { class: "vnb-view-sidebar" }, h("b", {}, "Side by side"), h("span", { class: "vnb-view-fill" }), shut), body);
    if (this.reveals) this.reveal();
  }

  reveal() {
    this.reveals = false;
    this.sideBox.scrollIntoView({ block: "nearest" });
  }
}

class CasesGrid extends View {
  constructor(model, el) {
    super(model, el, 25);
    this.root.classList.add("vnb-grid");
    put(this.grid, "aria-label", "Cases and releases");
    this.column = 2;
    this.filters = { states: [], labels: {}, search: "", ...this.get("query") };
    this.top.className = "vnb-grid-summary-box";
    this.chips = h("span", { class: "vnb-grid-filters", role: "group", "aria-label": "Filters" });
    this.about = h("span", { class: "vnb-grid-remark" });
    this.keys = h("span", { class: "vnb-grid-keys" });
    this.foot.append(this.pager, this.status, this.about, this.keys);
    this.root.append(this.bar, this.panel, this.top, h("div", { class: "vnb-grid-filterbar" }, this.search("Search inputs and outputs", "search inputs and outputs"), this.chips, this.count), this.alert, this.grid, this.empty, this.foot);
    this.field.value = this.filters.search;
    this.on("change:opened", () => this.opened_());
    // The case in full stands outside of this view; Escape closes it from there, too.
    this.escape = (event) => { if (event.key === "Escape" && !event.defaultPrevented && this.get("opened")) { event.stopPropagation(); this.send("close"); } };
    requestAnimationFrame(() => {
      this.whole = this.el.closest(".vnb-grid-view");
      this.whole?.addEventListener("keydown", this.escape);
      this.dress();
    });
    this.start();
  }

  close() {
    super.close();
    this.whole?.removeEventListener("keydown", this.escape);
  }

  query() { return { query: this.filters }; }

  filter(part) {
    this.filters = { ...this.filters, ...part };
    this.filterChips();
    this.restart();
  }

  follow() {}

  receive(message) {
    super.receive(message);
    if (message.kind === "row") { this.rows = this.rows.map((row) => (row.id === message.row.id ? message.row : row)); this.draw(); }
    else if (message.kind === "back") requestAnimationFrame(() => this.grid.focus({ preventScroll: true }));
    else if (message.kind === "filter") this.filter({ states: message.states });
  }

  renewed() {
    const { baseline, metric } = this.get("_head");
    const again = baseline !== this.baseline || metric !== this.metric;
    this.head();
    if (again) this.restart(); else this.refresh();
  }

  footer() {
    const { order } = this.get("_head");
    const words = `${figure(this.all)} ${plural(this.all, "case")}, ${order}`;
    say(this.count, this.total === this.all ? words : `${figure(this.total)} of ${words}`);
    this.empty.hidden = this.total > 0;
    this.grid.hidden = this.total === 0;
    say(this.empty, this.all ? "No case is in these filters." : "There are no stored runs to compare yet: run the deployment on these release tags first.");
    this.pages();
  }

  // --- heading and columns

  head() {
    const head = this.get("_head");
    const focused = this.bar.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
    put(this.root, "aria-label", `Comparison of ${head.title}`);
    Object.assign(this, { baseline: head.baseline, metric: head.metric });
    const choice = (word, label, options, value, kind, key) => (options.length > 1 ? h("label", { class: "vnb-grid-choice" }, word, select(label, options.map((each) => [each.name, each.label]), value, (name) => this.send(kind, { [key]: name }))) : null);
    const action = (label, text, call) => h("button", { type: "button", class: "vnb-view-button", "aria-label": label, onclick: call }, text);
    this.exportButton = action("Export…", "Export…", () => this.toggle("export", this.exportButton, () => this.exportPanel(head.formats, `${head.title.replace(/[^\w.-]+/g, "-") || "comparison"}-compared`, "case")));
    put(this.exportButton, "aria-expanded", this.opened === "export");
    this.bar.replaceChildren(h("b", { class: "vnb-view-title" }, "Compare"), h("span", { class: "vnb-grid-about" }, [head.title, head.about].filter(Boolean).join(" · ")), h("span", { class: "vnb-view-fill" }),
      ...[choice("by", "Metric that decides", head.metrics, head.metric, "metric", "name"), choice("baseline", "Baseline", head.releases, head.baseline, "baseline", "release"),
        head.can.includes("blind") ? action("Rate blind", "Blind…", () => this.blind()) : null, this.exportButton].filter(Boolean));
    this.top.replaceChildren(summaryTable(head.summary), ...head.summary.notes.map((text) => h("div", { class: "vnb-grid-notice" }, icon("FAILED"), ` ${text}`)));
    this.columns();
    this.filterChips();
    say(this.about, head.foot);
    say(this.keys, `j k cases · h l releases · Enter opens${head.can.includes("rate") ? " · 1–5 rate" : ""}${head.can.includes("blind") ? " · b blind" : ""}`);
    if (focused) this.bar.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
  }

  columns() {
    const { columns, summary } = this.get("_head");
    this.root.style.setProperty("--vnb-others", Math.max(1, columns.length - 1));
    put(this.grid, "aria-colcount", columns.length + 1);
    const worse = (name) => summary.releases.find((release) => release.name === name)?.worse ?? 0;
    const words = (column, at) => (at === 0 ? "pinned baseline" : `against ${columns[0].label}${worse(column.name) ? ` · ${figure(worse(column.name))} worse` : ""}`);
    this.headRow.replaceChildren(h("div", { role: "columnheader", class: "vnb-grid-cell vnb-grid-case" }, h("b", {}, "case")),
      ...columns.map((column, at) => h("div", { role: "columnheader", class: `vnb-grid-cell ${at ? "" : "vnb-grid-at-baseline"}` }, at ? null : icon("pin"), h("b", { class: "vnb-view-code" }, column.label), h("span", { class: "vnb-grid-remark" }, words(column, at)))));
  }

  fit() {
    const narrow = this.root.clientWidth > 0 && this.root.clientWidth < NARROW;
    this.root.classList.toggle("vnb-grid-narrow", narrow);
  }

  look() { return this.get("_head").columns; }

  rowNode(row, index) {
    const { columns } = this.get("_head");
    const options = (column) => ({ id: `${this.id}-${index}-${column}`, "aria-colindex": column + 1, "data-column": column });
    const act = { open: () => this.open(row.id), replay: (release) => this.send("replay", { id: row.id, release }) };
    return h("div", { role: "row", class: "vnb-grid-row", "aria-rowindex": index + 2 }, caseCell(row, options(0)), row.cells.map((cell, at) => answerCell(cell, columns[at] ?? { name: "", label: "" }, options(at + 1), act)));
  }

  // --- the active cell

  focusNode() { return super.focusNode()?.children[this.column]; }

  click(event) {
    const cell = event.target.closest(".vnb-grid-row > [data-column]");
    if (!cell || event.target.closest("button")) return;
    this.grid.focus({ preventScroll: true });
    this.column = Number(cell.dataset.column);
    this.activate(cell.parentNode.vnbAt);
    if (!String(window.getSelection() ?? "")) this.open(this.rows[this.active]?.id);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey) return false;
    const rows = { j: 1, k: -1 }[event.key];
    const columns = { l: 1, ArrowRight: 1, h: -1, ArrowLeft: -1 }[event.key];
    if (rows) this.activate(Math.max(this.offset ? -1 : 0, this.active + rows));
    else if (columns) { if (this.active >= 0) this.column = Math.max(0, Math.min(this.column + columns, this.get("_head").columns.length)); this.activate(Math.max(0, this.active)); }
    else if (/^[1-5]$/.test(event.key)) this.rate((Number(event.key) - 1) / 4);
    else if (event.key === "Enter" || event.key === " ") this.open(this.rows[this.active]?.id);
    else if (event.key === "b" && this.get("_head").can.includes("blind")) this.blind();
    else return false;
    return true;
  }

  rate(quality) {
    const row = this.rows[this.active];
    const column = this.get("_head").columns[this.column - 1];
    if (!row || !column) say(this.status, "Choose an answer first: h and l go from release to release");
    else this.send("rate", { id: row.id, release: column.name, quality });
  }

  // --- filters

  filterChips() {
    const { filters, labels } = this.get("_head");
    const focused = this.chips.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const flip = (values, value, on) => (on ? [...values, value] : values.filter((each) => each !== value));
    const chips = filters.map(({ name, label, count }) => this.toggleChip(`state ${name}`, label, count, this.filters.states.includes(name), (on) => this.filter({ states: flip(this.filters.states, name, on) })));
    for (const { name, label, values, more } of labels) {
      const chosen = this.filters.labels[name] ?? [];
      const choose = (picked) => {
        const { [name]: _, ...others } = this.filters.labels;
        this.filter({ labels: picked.length ? { ...others, [name]: picked } : others });
      };
      const few = values.length + more <= CHIPS;
      const options = [["", "all"], ...values.map(([value, text, count]) => [value, `${text} (${figure(count)})`])];
      chips.push(h("span", { class: "vnb-grid-divider" }), h("span", { class: "vnb-grid-group", role: "group", "aria-label": label }, h("span", { class: "vnb-view-quiet" }, label),
        few ? values.map(([value, text, count]) => this.toggleChip(`${name} ${value}`, text, count, chosen.includes(value), (on) => choose(flip(chosen, value, on)))) : select(label, options, chosen[0] ?? "", (value) => choose(value ? [value] : []))));
    }
    this.chips.replaceChildren(...chips);
    if (focused) [...this.chips.querySelectorAll("[data-key]")].find((node) => node.dataset.key === focused)?.focus();
  }

  toggleChip(key, text, count, on, changed) {
    return h("button", { type: "button", class: "vnb-grid-toggle", "aria-pressed": String(on), "data-key": key, onclick: () => changed(!on) }, on ? icon("check") : null, text, " ", h("span", { class: "vnb-view-quiet" }, figure(count)));
  }

  // --- the case in full, and the blind rating in the grid's place

  open(id) { if (id) { this.wants = true; this.send("open", { id }); } }

  dress() {
    this.full = this.whole?.querySelector(".vnb-case") ?? null;
    if (!this.full) return;
    for (const [name, value] of [["role", "region"], ["aria-label", "The case in full"], ["tabindex", "-1"]]) put(this.full, name, value);
    if (this.full.querySelector(":scope > .vnb-grid-shut")) return;
    // At the end: Jupyter counts the nodes before those of its widgets.
    this.full.append(h("button", { type: "button", class: "vnb-grid-shut", "aria-label": "Close the case (Escape)", title: "Close (Escape)", onclick: () => this.send("close") }, icon("close")));
  }

  opened_() {
    this.dress();
    if (!this.get("opened")) { if (!this.root.contains(document.activeElement)) this.grid.focus({ preventScroll: true }); return; }
    if (!this.wants) return;
    this.wants = false;
    say(this.status, "The case is shown in full below; Escape closes it");
    requestAnimationFrame(() => this.full?.scrollIntoView({ block: "nearest" }));
  }

  blind() {
    this.send("blind", { release: this.get("_head").columns[this.column - 1]?.name ?? "" });
    const until = Date.now() + FOCUS_MS;
    const focus = () => {
      const rating = this.whole?.querySelector(".vnb-blind");
      if (rating) rating.focus();
      else if (Date.now() < until) requestAnimationFrame(focus);
    };
    focus();
  }

  exportCount() { return this.all; }
}

export default {
  render({ model, el }) {
    resync(model);
    const view = model.get("kind") === "cases" ? new CasesGrid(model, el) : new RunsTable(model, el);
    return () => view.close();
  },
};
