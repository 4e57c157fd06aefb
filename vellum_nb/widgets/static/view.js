// The history table and the grid of a comparison: one view of pages of rows that the kernel renders.
// The page sorts, filters, selects and acts by messages; all text goes in as text nodes.
import { Drawn, button, figure, fill, h, icon, plural, put, refill, say, select, swallow, whenFound, widget } from "./kit.js";
import { needOf, runCell, tracksOf } from "./cells.js";

const DEBOUNCE_MS = 200;
const PATIENCE_MS = 400;
const FOCUS_MS = 5000;  // in which a blind rating that was asked for comes
const NARROW = 640;
const CHIPS = 6;  // label values that stand side by side; more are a list to choose from
// What goes first where there is no room, unless the columns were chosen by hand.
const DISPENSABLE = ["quality", "latency_s", "timestamp", "outputs", "inputs"];

function flipped(values, value) {
  return values.includes(value) ? values.filter((each) => each !== value) : [...values, value];
}

class View extends Drawn {
  constructor(model, el, size, fields) {
    super(model, el);
    Object.assign(this, { size, fields, seq: 0, offset: 0, total: 0, all: 0, rows: [], active: -1, nodes: new Map() });
    this.id = `vnb-view-${Math.random().toString(36).slice(2)}`;
    this.state = this.traits();
    this.bar = h("div", { class: "vnb-view-bar" });
    this.panel = h("div", { class: "vnb-view-panel", hidden: true, onkeydown: (event) => this.panelKey(event) });
    this.alert = h("div", { class: "vnb-view-alert", role: "alert", hidden: true });
    this.headRow = h("div", { role: "row", class: "vnb-view-head", "aria-rowindex": 1 });
    this.body = h("div", { role: "rowgroup" });
    this.grid = h("div", { role: "grid", tabindex: "0", class: "vnb-view-grid", "data-lm-suppress-shortcuts": "true", onkeydown: (event) => this.gridKey(event), onclick: (event) => this.click(event) },
      h("div", { role: "rowgroup", class: "vnb-view-headgroup" }, this.headRow), this.body);
    this.empty = h("div", { class: "vnb-view-empty", hidden: true });
    this.count = h("span", { role: "status", class: "vnb-view-count" });
    this.status = h("span", { role: "status", class: "vnb-sr-only" });
    this.previous = button("button", () => this.page(this.offset - this.size), {}, "Previous");
    this.next = button("button", () => this.page(this.offset + this.size), {}, "Next");
    this.where = h("span", { class: "vnb-view-where" });
    this.pager = h("span", { class: "vnb-view-pager", role: "group", "aria-label": "Pages" }, this.previous, this.where, this.next);
    this.foot = h("div", { class: "vnb-view-foot" });
    this.root = h("div", { class: "vnb-view", role: "region", "data-lm-suppress-shortcuts": "true" });
  }

  // Once the parts that differ are built.
  start() {
    this.el.append(this.root);
    this.field.value = this.state.search;
    this.on("msg:custom", (message) => this.receive(message));
    this.on("change:_head", () => this.head());
    this.on("change:error", () => this.note());
    this.on(this.fields.map((name) => `change:${name}`).join(" "), () => this.follow());
    const observer = new ResizeObserver(() => this.fit());
    observer.observe(this.root);
    this.ends.push(() => { observer.disconnect(); clearTimeout(this.patience); });
    this.head();
    this.note();
    const first = this.get("_first");
    if (first?.rows) this.take({ ...first, view: this.id, seq: 0 });
    this.ask(0, true);
  }

  get(name) { return this.model.get(name); }
  traits() { return Object.fromEntries(this.fields.map((name) => [name, this.get(name)])); }

  send(kind, content = {}) {
    try {
      this.model.send({ kind, ...content });
    } catch {  // the comm went with its kernel
      this.note("The kernel behind this is gone, so nothing here answers: run the cell again.");
    }
  }

  // --- rows and pages

  ask(offset, quiet = false, more = {}) {
    this.seq += 1;
    this.waiting = true;
    put(this.grid, "aria-busy", "true");
    clearTimeout(this.patience);
    if (!quiet) this.patience = setTimeout(() => this.busy(this.state.search ? "Searching…" : `Reading ${figure(this.total)} rows…`), PATIENCE_MS);
    this.send("rows", { view: this.id, seq: this.seq, offset: Math.max(0, offset), limit: this.size, query: this.state, ...more });
  }

  busy(text) { this.count.replaceChildren(h("span", { class: "vnb-view-quiet" }, text)); }

  // Show the page that has the row at `offset`; `then` is called when all its rows are there.
  page(offset, then = null) {
    this.active = -1;
    this.then = then;
    this.grid.scrollTop = 0;
    this.ask(Math.floor(Math.min(offset, Math.max(0, this.total - 1)) / this.size) * this.size);
  }

  filter(part) {
    this.state = { ...this.state, ...part };
    this.head();
    this.page(0);
  }

  // Code or another view of this model changed what is shown. While a request of ours is under way
  // the traits are behind it: then its answer decides.
  follow() {
    const now = this.traits();
    if (this.waiting || JSON.stringify(now) === JSON.stringify(this.state)) return;
    if (now.search !== this.state.search) this.field.value = now.search;
    this.filter(now);
  }

  receive(message) {
    const mine = message.view === this.id;
    if (message.kind === "rows" && mine && message.seq >= this.seq) {
      this.waiting = false;
      clearTimeout(this.patience);
      this.take(message);
      this.follow();
    } else if (message.kind === "changed") { if (message.restart) this.page(0); else this.ask(this.offset, true); }
    else if (message.kind === "exported") this.exported(message);
    else if (message.kind === "status") say(this.status, message.text);
    else if (message.kind === "progress" && mine) this.progress(message);
    else if (message.kind === "total" && this.latest && !this.waiting) {
      Object.assign(this, { total: message.total, all: message.all, latest: { ...this.latest, rough: false } });
      this.footer();
    } else if (message.kind === "row") { this.rows = this.rows.map((row) => (row.id === message.row.id ? message.row : row)); this.draw(); }
    else if (message.kind === "back") requestAnimationFrame(() => this.grid.focus({ preventScroll: true }));
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
    if (message.seq !== 0 && message.rows.length && next < last) {
      this.restSeq = this.seq + 1;
      this.ask(next, true, { limit: last - next, scroll: true });
    } else {
      const { then } = this;
      this.then = null;
      then?.();
    }
  }

  // A row keeps its node, so that a click is never lost to a refresh or falls on another row.
  draw() {
    const drawn = new Set();
    this.rows.forEach((row, at) => {
      drawn.add(row.id);
      const content = JSON.stringify([row, this.offset + at, this.look?.(row)]);
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

  // Under the rows: how many there are, which page this is, and what to say where there is none.
  footer(none) {
    const { total, offset, latest } = this;
    const last = offset + this.rows.length;
    this.empty.hidden = total > 0;
    say(this.empty, none);
    this.pager.hidden = total <= this.size && !offset;
    this.previous.disabled = offset === 0;
    this.next.disabled = last >= total;
    say(this.where, total ? `${figure(offset + 1)}–${figure(last)} of ${figure(total)}${latest?.rough ? "+" : ""}` : "");
  }

  // --- the active row

  activate(at, extend = false) {
    if (!this.rows.length) return;
    if (at >= this.rows.length && this.offset + this.rows.length < this.total && !extend) this.page(this.offset + this.size, () => this.activate(0));
    else if (at < 0 && this.offset > 0 && !extend) this.page(this.offset - this.size, () => this.activate(this.rows.length - 1));
    else {
      this.active = Math.max(0, Math.min(at, this.rows.length - 1));
      this.mark();
      this.focusNode()?.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
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
    const last = () => this.activate(this.rows.length - 1);
    if (to !== undefined) this.activate(this.active < 0 && to < 0 ? 0 : to, event.shiftKey);
    else if (event.key === "Home") { if (this.offset) this.page(0, () => this.activate(0)); else this.activate(0); }
    else if (event.key === "End") { if (this.offset + this.rows.length < this.total) this.page(this.total - 1, last); else last(); }
    else if (event.key === "/") this.field.focus();
    else if (!this.key(event)) return;
    swallow(event);
  }

  // --- search, panels, notes

  search(label, placeholder) {
    this.field = h("input", { type: "text", placeholder, "aria-label": label, spellcheck: "false", autocomplete: "off", oninput: () => this.typed(DEBOUNCE_MS), onkeydown: (event) => this.fieldKey(event) });
    this.clear = button("bare", () => { this.field.value = ""; this.typed(0); this.field.focus(); }, { "aria-label": "Clear the filter", title: "Clear the filter", hidden: true }, icon("close"));
    return h("div", { class: "vnb-view-search" }, icon("search"), this.field, this.clear);
  }

  typed(wait) {
    clearTimeout(this.timer);
    this.clear.hidden = !this.field.value;
    this.timer = setTimeout(() => { if (this.field.value !== this.state.search) this.filter({ search: this.field.value }); }, wait);
  }

  fieldKey(event) {
    if (event.key === "Enter") this.typed(0);
    else if (event.key === "Escape" && this.field.value) { this.field.value = ""; this.typed(0); }
    else if (event.key === "ArrowDown") { this.grid.focus(); this.activate(Math.max(0, this.active)); }
    else return;
    swallow(event);
  }

  // A button that opens a panel under the bar, filled by `fill`.
  panelButton(name, fill, ...children) {
    return button("button", () => { this.bar.after(this.panel); this.toggle(name, fill); }, { "aria-expanded": String(this.opened === name), "data-key": name }, ...children);
  }

  toggle(name, fill) {
    this.opened = this.opened === name ? "" : name;
    this.panel.hidden = !this.opened;
    for (const each of this.bar.querySelectorAll("[aria-expanded]")) put(each, "aria-expanded", each.dataset.key === this.opened);
    this.panel.replaceChildren();
    if (!this.opened) return;
    fill();
    this.panel.querySelector("input")?.focus();
  }

  panelKey(event) {
    if (event.key !== "Escape" || !this.opened) return;
    swallow(event);
    const opener = this.bar.querySelector(`[data-key="${this.opened}"]`);
    this.toggle(this.opened);
    (opener ?? this.grid).focus();
  }

  exportPanel(stem, noun, count) {
    const { formats } = this.get("_head");
    let format = formats[0];
    const entered = (event) => { if (event.key === "Enter") { event.preventDefault(); save(); } };
    const field = h("input", { type: "text", class: "vnb-view-field", "aria-label": "File to write", spellcheck: "false", value: stem + format.suffix, onkeydown: entered });
    const kinds = formats.length < 2 ? format.label : select("Format", formats.map((each) => [each.name, each.label]), format.name, (name) => {
      format = formats.find((each) => each.name === name);
      field.value = field.value.replace(/\.[a-z]+$/, "") + format.suffix;
    });
    this.outcome = h("span", { role: "status", class: "vnb-view-outcome" });
    this.noun = noun;
    this.amount = h("span", {}, `${figure(count)} ${plural(count, noun)} as`);
    const save = () => { this.outcome.className = "vnb-view-outcome"; say(this.outcome, "Writing…"); this.send("export", { format: format.name, path: field.value }); };
    this.panel.replaceChildren(h("div", { class: "vnb-view-export" }, this.amount, kinds, h("span", {}, "to"), field, button("button", save, {}, "Save"), this.outcome));
  }

  exported({ error, path, count }) {
    if (!this.outcome) return;
    this.outcome.classList.toggle("vnb-view-bad", Boolean(error));
    this.outcome.replaceChildren(...(error ? [icon("FAILED"), ` ${error}`] : [icon("FULFILLED"), ` Wrote ${figure(count)} ${plural(count, this.noun)} to `, h("span", { class: "vnb-view-code" }, path)]));
  }

  note(text = this.get("error")) {
    this.alert.hidden = !text;
    refill(this.alert, text && icon("FAILED"), text && h("span", {}, text));
    if (!text) return;
    this.waiting = false;
    clearTimeout(this.patience);
    if (this.latest) this.footer();
  }
}

class RunsTable extends View {
  constructor(model, el) {
    super(model, el, 100, ["search", "order_by", "descending", "columns"]);
    this.root.classList.add("vnb-table");
    put(this.root, "aria-label", "History");
    put(this.grid, "aria-label", "Runs");
    put(this.grid, "aria-multiselectable", "true");
    this.title = h("span", { class: "vnb-view-subtitle" });
    this.chips = h("span", { class: "vnb-view-chips" });
    this.columnsButton = this.panelButton("columns", () => this.columnsPanel());
    this.clearSelection = button("bare", () => this.select([]), {}, "Clear");
    this.sideButton = button("button vnb-view-accent", () => this.showSide(), {}, "Side by side");
    this.lookUpButton = button("button", () => this.lookUp(), { hidden: true, title: "Look up the selected runs that are in doubt (l)", "aria-keyshortcuts": "l" }, icon("doubt"), "Look up");
    this.lookedUp = h("span", { role: "status", class: "vnb-view-quiet" });
    this.sideBox = h("section", { class: "vnb-view-side", "aria-label": "Selected runs side by side", hidden: true });
    this.bar.append(h("b", { class: "vnb-view-title" }, "History"), this.title, this.search("Filter runs by text", "Filter runs"), this.chips, h("span", { class: "vnb-view-fill" }), this.columnsButton, this.panelButton("export", () => this.exportPanel("runs", "run", this.total), "Export…"));
    this.foot.append(this.count, this.clearSelection, h("span", { class: "vnb-view-fill" }), this.pager, this.lookedUp, this.lookUpButton, this.sideButton);
    this.root.append(this.bar, this.panel, this.alert, this.grid, this.empty, this.foot, this.sideBox, this.status);
    this.on("change:_side", () => this.side());
    this.on("change:selected_ids", () => { this.draw(); this.footer(); });
    this.start();
    this.side();
  }

  get selected() { return this.get("selected_ids"); }

  head() {
    const { title, chips, columns } = this.get("_head");
    say(this.title, title ?? "");
    this.clear.hidden = !this.field.value;
    refill(this.chips, ...(chips ?? []).map(({ name, text }) => button("chip", () => this.send("drop_filter", { name }), { title: "Take this filter away", "aria-label": `Take away the filter ${text}`, "data-key": name }, icon("close"), ` ${text}`)));
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
    const { columns } = this.state;
    const drawn = this.drawn?.map((column) => column.name) ?? columns;
    const hidden = columns.filter((name) => !drawn.includes(name));
    this.columnsButton.replaceChildren(icon("columns"), h("span", { class: "vnb-view-word" }, "Columns"), h("span", { class: "vnb-view-subtitle" }, `${drawn.length} of ${this.kinds?.size ?? 0}`));
    this.columnsButton.title = hidden.length ? `No room for: ${hidden.join(", ")}` : "Choose the columns";
  }

  // What stays as it is is not drawn again: it may be under a click, or have the focus.
  headers() {
    const { order_by: by, descending } = this.state;
    const content = JSON.stringify([this.drawn, by, descending]);
    if (content !== this.headContent) {
      this.headContent = content;
      this.allBox = h("input", { type: "checkbox", "aria-label": "Select all runs found", tabindex: "-1", onchange: () => (this.selected.length ? this.select([]) : this.selectAll()) });
      refill(this.headRow, h("div", { role: "columnheader", class: "vnb-table-box" }, h("label", {}, this.allBox)), ...this.drawn.map((column) => {
        const on = column.name === by;
        const sort = column.sortable && (on ? (descending ? "descending" : "ascending") : "none");
        const name = h("span", { class: "vnb-view-cut" }, column.name);
        const arrow = on && icon(descending ? "down-arrow" : "up-arrow", "vnb-glyph vnb-table-arrow");
        const sorts = { class: "vnb-table-sort", "data-key": column.name, title: `${column.name}: sort` };
        return h("div", { role: "columnheader", class: `vnb-table-cell vnb-table-${column.kind}`, "aria-sort": sort }, column.sortable ? button("", () => this.sort(column), sorts, arrow, name) : name);
      }));
      put(this.grid, "aria-colcount", this.drawn.length + 1);
    }
    this.footer();
  }

  sort({ name, kind }) {
    const { order_by: by, descending } = this.state;
    this.filter({ order_by: name, descending: by === name ? !descending : ["time", "seconds", "number", "quality"].includes(kind) });
  }

  look(row) { return [this.drawn, this.selected.includes(row.id)]; }

  rowNode(row, index) {
    const on = this.selected.includes(row.id);
    const box = h("input", { type: "checkbox", tabindex: "-1", "aria-label": `Select row ${index + 1}`, checked: on });
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
    this.active = node.vnbAt;
    const at = this.offset + this.active;
    const many = event.ctrlKey || event.metaKey;
    if (event.shiftKey && this.anchor !== undefined) this.selectRange(this.anchor, at, many ? this.selected : []);
    else { this.anchor = at; if (inBox || many) this.flip(); else this.select([this.rows[this.active].id]); }
    this.mark();
  }

  key(event) {
    const command = event.ctrlKey || event.metaKey;
    if (event.key === " ") { this.active = Math.max(0, this.active); this.anchor = this.offset + this.active; this.flip(); }
    else if (event.key === "a" && command) this.selectAll();
    else if (event.key === "Escape" && this.selected.length) this.select([]);
    else if (event.key === "l" && !command && this.canLookUp) this.lookUp();
    else if (event.key === "Enter" && !event.shiftKey && !command) this.showSide();
    else return false;
    return true;
  }

  activate(at, extend = false) {
    super.activate(at, extend);
    const here = this.offset + this.active;
    if (extend) this.selectRange(this.anchor ?? here, here, []);
    else this.anchor = here;
  }

  flip() { if (this.rows[this.active]) this.select(flipped(this.selected, this.rows[this.active].id)); }

  select(ids) {
    this.model.set("selected_ids", ids);
    this.model.save_changes();
  }

  selectAll() { this.selectRange(0, Math.max(0, this.total - 1), []); }

  selectRange(from, to, keep) { this.send("select_range", { from, to, keep }); }

  footer() {
    const { total, all, latest, allBox } = this;
    const count = this.selected.length;
    const every = total > 0 && count >= total;
    if (allBox) Object.assign(allBox, { checked: every, indeterminate: count > 0 && !every });
    if (this.amount) say(this.amount, `${figure(total)} ${plural(total, "run")} as`);
    const words = total === all ? ` ${plural(total, "run")}` : ` of ${figure(all)} ${plural(all, "run")}`;
    const doubts = this.rows.filter((row) => row.doubt).length;
    const where = this.rows.length < total ? " on this page" : "";
    const dot = () => h("span", { class: "vnb-table-dot" }, "·");
    refill(this.count, h("b", {}, figure(total) + (latest?.rough ? "+" : "")), words, doubts && dot(), doubts && icon("doubt", "vnb-glyph vnb-table-doubt"), doubts && ` ${figure(doubts)} in doubt${where}`, count && dot(), count && `${figure(count)} selected`);
    this.clearSelection.hidden = !count;
    this.sideButton.disabled = !count;
    this.lookUpState();
    this.sideButton.title = count ? "Show the selected runs side by side" : "Select runs first";
    super.footer(all ? "No run matches the filter." : "No runs yet. Runs appear here as soon as they are sent.");
  }

  // --- runs in doubt

  get canLookUp() { return this.get("_head").can.includes("look_up"); }

  // The selected runs, or else the active one; the kernel takes those of them that are in doubt.
  lookUp() {
    const active = this.rows[this.active];
    const ids = this.selected.length || !active ? this.selected : [active.id];
    if (!ids.length) return;
    say(this.lookedUp, "Looking up…");
    this.send("look_up", { ids });
  }

  receive(message) {
    if (message.kind === "looked_up") say(this.lookedUp, message.text);
    else super.receive(message);
  }

  lookUpState() {
    const { selected, lookUpButton, rows } = this;
    const hadFocus = lookUpButton === document.activeElement;
    const open = rows.filter((row) => row.open).map((row) => row.id);
    const elsewhere = selected.some((id) => !rows.some((row) => row.id === id));
    lookUpButton.hidden = !this.canLookUp || !(open.length || elsewhere);
    lookUpButton.disabled = !elsewhere && !selected.some((id) => open.includes(id));
    if (hadFocus && (lookUpButton.hidden || lookUpButton.disabled)) this.grid.focus({ preventScroll: true });
  }

  // Progress of a first search, which reads many runs.
  progress({ reach: [done, total] }) {
    const percent = total ? Math.floor((100 * done) / total) : 100;
    clearTimeout(this.patience);
    this.busy(`Searching… ${percent} % of ${figure(total)} runs`);
  }

  // --- columns and side by side

  columnsPanel() {
    const { columns, default: usual, note } = this.get("_head");
    const boxes = columns.map(({ name }) => {
      const box = h("input", { type: "checkbox", "data-key": name, checked: this.state.columns.includes(name), onchange: () => this.choose(name, box.checked) });
      return h("label", { class: "vnb-table-choice", title: name }, box, h("span", { class: "vnb-view-cut" }, name));
    });
    refill(this.panel, h("fieldset", { class: "vnb-table-choices" }, h("legend", {}, "Columns shown"), boxes), button("button", () => this.filter({ columns: usual }), {}, "Default columns"), h("div", { class: "vnb-view-quiet" }, note));
  }

  choose(name, on) {
    const { columns } = this.state;
    const others = columns.filter((column) => column !== name);
    const order = [...columns, ...this.kinds.keys()];
    const chosen = on ? [...others, name].sort((a, b) => order.indexOf(a) - order.indexOf(b)) : others;
    if (chosen.length) this.filter({ columns: chosen }); else this.columnsPanel();
  }

  showSide() {
    if (!this.selected.length) return;
    this.reveals = this.sideBox.hidden;
    this.send("side_by_side", { ids: this.selected });
    if (!this.reveals) this.sideBox.scrollIntoView({ block: "nearest" });
  }

  side() {
    const html = this.get("_side");
    this.sideBox.hidden = !html;
    const shut = button("bare", () => { this.send("close_side"); this.sideButton.focus(); }, { "aria-label": "Close side by side", title: "Close" }, icon("close"));
    refill(this.sideBox, html && h("div", { class: "vnb-view-sidebar" }, h("b", {}, "Side by side"), h("span", { class: "vnb-view-fill" }), shut), html && fill(h("div"), html));
    if (html && this.reveals) this.sideBox.scrollIntoView({ block: "nearest" });
    this.reveals = false;
  }

}

class CasesGrid extends View {
  constructor(model, el) {
    super(model, el, 25, ["search", "states", "labels", "failures"]);
    this.root.classList.add("vnb-grid");
    put(this.grid, "aria-label", "Cases and releases");
    this.column = 2;
    this.top = h("div", { class: "vnb-grid-summary-box" });
    this.codeBody = h("div", { class: "vnb-grid-code-body" });
    this.code = h("details", { class: "vnb-grid-code", ontoggle: () => this.showCode(true) }, h("summary", {}, "Code and prompts of the releases"), this.codeBody);
    this.chips = h("span", { class: "vnb-grid-filters", role: "group", "aria-label": "Filters" });
    this.about = h("span", { class: "vnb-grid-remark" });
    this.keys = h("span", { class: "vnb-grid-keys" });
    this.foot.append(this.pager, this.status, this.about, this.keys);
    this.root.append(this.bar, this.panel, this.top, this.code, h("div", { class: "vnb-grid-filterbar" }, this.search("Search inputs and outputs", "search inputs and outputs"), this.chips, this.count), this.alert, this.grid, this.empty, this.foot);
    this.on("change:opened", () => this.showOpened());
    this.on("change:code", () => this.showCode());
    // The case in full stands outside of this view; Escape closes it from there, too.
    this.escape = (event) => { if (event.key === "Escape" && !event.defaultPrevented && this.get("opened")) { event.stopPropagation(); this.send("close"); } };
    this.ends.push(() => this.whole?.removeEventListener("keydown", this.escape));
    requestAnimationFrame(() => {
      this.whole = this.el.closest(".vnb-grid-view");
      this.whole?.addEventListener("keydown", this.escape);
      this.dress();
    });
    this.start();
    this.showCode();
  }

  footer() {
    const words = `${figure(this.all)} ${plural(this.all, "case")}, ${this.get("_head").order}`;
    say(this.count, this.total === this.all ? words : `${figure(this.total)} of ${words}`);
    this.grid.hidden = this.total === 0;
    super.footer(this.all ? "No case matches these filters." : "There are no stored runs to compare yet: run the deployment on these release tags first.");
  }

  // --- heading and columns

  head() {
    const { title, about, metrics, metric, releases, baseline, can, summary, foot } = this.get("_head");
    put(this.root, "aria-label", `Comparison of ${title}`);
    const choice = (word, label, options, value, kind, key) => options.length > 1 && h("label", { class: "vnb-grid-choice" }, word, select(label, options.map((each) => [each.name, each.label]), value, (name) => this.send(kind, { [key]: name })));
    refill(this.bar, h("b", { class: "vnb-view-title" }, "Compare"), h("span", { class: "vnb-grid-about" }, [title, about].filter(Boolean).join(" · ")),
      choice("by", "Metric that decides", metrics, metric, "metric", "name"), choice("baseline", "Baseline", releases, baseline, "baseline", "release"),
      can.includes("blind") && button("button", () => this.blind(), { "aria-label": "Rate blind", "data-key": "blind" }, "Blind…"),
      this.panelButton("export", () => this.exportPanel(`${title.replace(/[^\w.-]+/g, "-") || "comparison"}-compared`, "case", this.all), "Export…"));
    fill(this.top, summary);
    this.code.hidden = !can.includes("code");
    this.columns();
    this.filterChips();
    say(this.about, foot);
    say(this.keys, `j k cases · h l releases · Enter opens${can.includes("rate") ? " · 1–5 rate" : ""}${can.includes("fail") ? " · f failure" : ""}${can.includes("blind") ? " · b blind" : ""}`);
  }

  columns() {
    const { columns } = this.get("_head");
    this.root.style.setProperty("--vnb-others", Math.max(1, columns.length - 1));
    put(this.grid, "aria-colcount", columns.length + 1);
    this.headRow.replaceChildren(h("div", { role: "columnheader", class: "vnb-grid-cell vnb-grid-case" }, h("b", {}, "case")), ...columns.map(({ label, worse }, at) => {
      const words = at ? `against ${columns[0].label}${worse ? ` · ${figure(worse)} worse` : ""}` : "pinned baseline";
      return h("div", { role: "columnheader", class: `vnb-grid-cell ${at ? "" : "vnb-grid-at-baseline"}` }, at ? null : icon("pin"), h("b", { class: "vnb-view-code" }, label), h("span", { class: "vnb-grid-remark" }, words));
    }));
  }

  showCode(asks = false) {
    const html = this.get("code");
    if (asks && this.code.open && !html) this.send("code");
    this.codeBody.replaceChildren(html ? fill(h("div"), html) : "Reading…");
  }

  fit() { this.root.classList.toggle("vnb-grid-narrow", this.root.clientWidth > 0 && this.root.clientWidth < NARROW); }

  rowNode(row, index) {
    const node = fill(h("div"), row.html).firstElementChild;
    put(node, "aria-rowindex", index + 2);
    [...node.children].forEach((cell, at) => { cell.id = `${this.id}-${index}-${at}`; cell.dataset.column = at; put(cell, "aria-colindex", at + 1); });
    return node;
  }

  // --- the active cell

  focusNode() { return super.focusNode()?.children[this.column]; }

  click(event) {
    const cell = event.target.closest(".vnb-grid-row > [data-column]");
    if (!cell) return;
    const { id } = this.rows[cell.parentNode.vnbAt];
    const acts = event.target.closest("button");
    if (acts) { if (acts.dataset.replay) this.send("replay", { id, release: acts.dataset.replay }); else this.open(id); return; }
    this.grid.focus({ preventScroll: true });
    this.column = Number(cell.dataset.column);
    this.activate(cell.parentNode.vnbAt);
    if (!String(window.getSelection() ?? "")) this.open(id);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey) return false;
    const { columns, can } = this.get("_head");
    const rows = { j: 1, k: -1 }[event.key];
    const by = { l: 1, ArrowRight: 1, h: -1, ArrowLeft: -1 }[event.key];
    if (rows) this.activate(Math.max(this.offset ? -1 : 0, this.active + rows));
    else if (by) { if (this.active >= 0) this.column = Math.max(0, Math.min(this.column + by, columns.length)); this.activate(Math.max(0, this.active)); }
    else if (/^[1-5]$/.test(event.key)) this.rate((Number(event.key) - 1) / 4);
    else if (event.key === "Enter" || event.key === " ") this.open(this.rows[this.active]?.id);
    else if (event.key === "f" && can.includes("fail")) this.fail();
    else if (event.key === "b" && can.includes("blind")) this.blind();
    else return false;
    return true;
  }

  // The chosen answer; where there is none the first row is marked, so that one sees what to choose.
  chosen() {
    const column = this.get("_head").columns[this.column - 1];
    if (this.active >= 0 && column) return { id: this.rows[this.active].id, release: column.name };
    this.busy("Choose an answer first: j and k, h and l");
    this.activate(Math.max(0, this.active));
    return null;
  }

  rate(quality) {
    const answer = this.chosen();
    if (answer) this.send("rate", { ...answer, quality });
  }

  // --- failures: what is wrong with the chosen answer, in a word

  fail() {
    this.failing = this.chosen();
    if (!this.failing) return;
    this.opened = "";
    this.grid.after(this.panel);  // so that the rows do not move
    this.toggle("failure", () => this.failurePanel());
  }

  failurePanel() {
    const title = `Failure of case ${figure(this.rows[this.active].number)} on ${this.get("_head").columns[this.column - 1].label}`;
    this.names = h("datalist", { id: `${this.id}-names` });
    const field = h("input", { type: "text", class: "vnb-view-field", "aria-label": title, placeholder: "what is wrong; Escape goes back", maxlength: 80, list: this.names.id, spellcheck: "false", onkeydown: (event) => {
      if (event.key !== "Enter") return;
      swallow(event);
      if (field.value.trim()) this.send("fail", { ...this.failing, name: field.value, has: true });
      field.value = "";
    } });
    this.named = h("span", { class: "vnb-view-chips" });
    this.panel.replaceChildren(h("span", {}, title), field, this.names, this.named);
    this.namedChips();
  }

  namedChips() {
    this.names.replaceChildren(...this.get("_head").failures.names.map((name) => h("option", { value: name })));
    const found = this.rows.find((row) => row.id === this.failing.id)?.failures[this.failing.release] ?? [];
    refill(this.named, ...found.map(([name, label, proposed]) => button("chip", () => { this.panel.querySelector("input").focus(); this.send("fail", { ...this.failing, name, has: proposed }); }, { title: proposed ? "" : "Remove", "data-key": `failure ${name}` }, icon(proposed ? "check" : "close"), h("span", { class: proposed ? "" : "vnb-sr-only" }, proposed ? "Confirm" : "Remove"), ` ${label}`)));
  }

  draw() { super.draw(); if (this.opened === "failure") this.namedChips(); }

  // --- filters

  filterChips() {
    const { filters, labels, failures } = this.get("_head");
    const { states, labels: picked } = this.state;
    const groups = labels.map((each) => ({ ...each, chosen: Object.hasOwn(picked, each.name) ? picked[each.name] : [], choose: (some) => this.filter({ labels: { ...picked, [each.name]: some } }) }));
    if (failures.values.length) groups.push({ ...failures, name: "failures", label: "failure", more: 0, chosen: this.state.failures, choose: (some) => this.filter({ failures: some }) });
    const chip = (key, text, count, on, call) => h("button", { type: "button", class: "vnb-grid-toggle", "aria-pressed": String(on), "data-key": key, onclick: call }, on && icon("check"), text, " ", h("span", { class: "vnb-view-quiet" }, figure(count)));
    refill(this.chips, ...filters.map(({ name, label, count }) => chip(`state ${name}`, label, count, states.includes(name), () => this.filter({ states: flipped(states, name) }))), ...groups.flatMap(({ name, label, values, more, chosen, choose }) => {
      const options = [["", "all"], ...values.map(([value, text, count]) => [value, `${text} (${figure(count)})`])];
      return [h("span", { class: "vnb-grid-divider" }), h("span", { class: "vnb-grid-filters", role: "group", "aria-label": label }, h("span", { class: "vnb-view-quiet" }, label),
        values.length + more > CHIPS ? select(label, options, chosen[0] ?? "", (value) => choose(value ? [value] : [])) : values.map(([value, text, count]) => chip(`${name} ${value}`, text, count, chosen.includes(value), () => choose(flipped(chosen, value)))))];
    }));
  }

  // --- the case in full, and the blind rating in the grid's place

  open(id) { if (id) { this.wants = true; this.send("open", { id }); } }

  dress() {
    this.full = this.whole?.querySelector(".vnb-case") ?? null;
    const names = { role: "region", "aria-label": "The case in full", tabindex: "-1" };
    for (const [name, value] of Object.entries(this.full ? names : {})) put(this.full, name, value);
  }

  showOpened() {
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
    whenFound(this, () => this.whole?.querySelector(".vnb-blind") ?? Date.now() > until, (rating) => rating.focus?.());
  }
}

export default widget((model, el) => (model.get("kind") === "cases" ? new CasesGrid(model, el) : new RunsTable(model, el)));
