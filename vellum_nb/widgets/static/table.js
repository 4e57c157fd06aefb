// The history table: heading, filter, columns, rows in sight, export and side by side.
import { figure, h, icon, plural, resync, select } from "./kit.js";

// The width a column needs, and what it grows to where there is room.
const WIDTHS = {
  state: [114], tag: [104, "172px"], time: [124], seconds: [96], number: [92], quality: [80],
  code: [112, "1fr"], outputs: [120, "2fr"], text: [120, "2fr"],
};

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

function localTime(iso) {
  const t = new Date(iso);
  const two = (n) => String(n).padStart(2, "0");
  const day = `${two(t.getDate())} ${MONTHS[t.getMonth()]}`;
  const clock = `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`;
  return t.getFullYear() === new Date().getFullYear() ? `${day} ${clock}` : `${day} ${t.getFullYear()} ${clock.slice(0, 5)}`;
}

// A text in which something was found comes in pieces: those at odd places were found.
function marked(value) {
  if (!Array.isArray(value)) return [String(value)];
  return value.map((piece, index) => (index % 2 ? h("b", {}, piece) : piece));
}

function seconds(value) { return value.toFixed(value !== 0 && Math.abs(value) < 0.1 ? 3 : 2); }

function numberText(value) {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
}

const SHOW = {
  state: (value) => [icon(value, `vnb-view-icon vnb-is-${value}`), ` ${value}`],
  tag: (value, row) => {
    const name = h("span", { class: "vnb-table-code vnb-table-cut" }, value);
    if (!row.moved) return [name];
    const title = "This tag pointed at another release after the call than before it";
    return [name, h("span", { class: "vnb-table-moved", title }, icon("moved"), h("span", {}, " moved"))];
  },
  time: (value) => [localTime(value)],
  seconds: (value) => [seconds(value)],
  number: (value) => [numberText(value)],
  quality: (value) => {
    if (value !== 0 && value !== 1) return [numberText(value)];
    return [icon(value ? "thumb-up" : "thumb-down"), ` ${value}`];
  },
  code: (value) => [h("span", { class: "vnb-table-code" }, ...marked(value))],
  text: (value) => marked(value),
};

function cellNode(column, value, row) {
  const kind = column.kind;
  const node = h("div", { role: "gridcell", class: `vnb-table-cell vnb-table-${kind}` });
  const failed = row.state === "REJECTED" || row.state === "FAILED";
  if (failed && (kind === "outputs" || column.name.startsWith("error_"))) node.classList.add("vnb-table-bad");
  else if (kind === "outputs" && row.state !== "FULFILLED") node.classList.add("vnb-table-quiet");
  if (value === null || value === undefined) {
    if (kind === "seconds") node.append("—");
    return node;
  }
  const show = SHOW[kind] ?? SHOW.text;
  node.append(...(typeof value === "number" && show === SHOW.text ? [numberText(value)] : show(value, row)));
  node.title = kind === "time" ? String(value) : kind === "quality" ? `quality ${value}` : Array.isArray(value) ? value.join("") : String(value);
  return node;
}

// The rows that are in sight: which are fetched, drawn, active and selected.

const ROW = 28;
const MARGIN = 20;
const VISIBLE = 13;

class Body {
  // `host`: ask(offset, limit, scroll), selected() -> Set of ids, select(ids), selectRange(from, to, keep), open().
  constructor(host, grid, head, id) {
    Object.assign(this, { host, grid, head, id, columns: [], search: "", total: 0, active: -1, anchor: -1 });
    this.rows = new Map();
    this.nodes = new Map();
    this.wanted = null;
    this.space = h("div", { role: "rowgroup", class: "vnb-table-space" });
    grid.append(this.space);
    this.top = 0;
    grid.addEventListener("scroll", () => { if (grid.clientHeight) { this.top = grid.scrollTop; this.schedule(); } });
    grid.addEventListener("keydown", (event) => this.key(event));
    this.space.addEventListener("click", (event) => this.click(event));
    // A table that was hidden, as in a tab, comes back where it was.
    this.observer = new ResizeObserver(() => { if (grid.clientHeight) grid.scrollTop = this.top; this.schedule(); });
    this.observer.observe(grid);
  }

  close() { this.observer.disconnect(); cancelAnimationFrame(this.frame); }

  schedule() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.draw());
  }

  span() {
    const first = Math.floor(this.grid.scrollTop / ROW);
    const count = Math.ceil((this.grid.clientHeight || VISIBLE * ROW) / ROW);
    return [Math.max(0, Math.min(first, this.total - 1)), Math.min(this.total, first + count + 1)];
  }

  // Forget what was loaded and start at the top: the order or the filter is another one.
  restart() {
    this.grid.scrollTop = 0;
    this.active = this.anchor = -1;
    this.fetch(false);
  }

  fetch(scroll) {
    const [first, last] = this.span();
    const offset = Math.max(0, first - MARGIN);
    this.wanted = [offset, Math.max(last, first + VISIBLE) + MARGIN];
    this.grid.setAttribute("aria-busy", "true");
    this.host.ask(offset, this.wanted[1] - offset, scroll);
  }

  // Take rows that Python sent; rows above the eye that are new do not push away what is read.
  take(message, columns) {
    const top = Math.floor(this.grid.scrollTop / ROW);
    const seen = this.rows.get(top)?.id;
    const activeId = this.rows.get(this.active)?.id;
    const anchorId = this.rows.get(this.anchor)?.id;
    const sameQuery = this.search === message.search;
    this.rows = new Map(message.rows.map((row, index) => [message.offset + index, row]));
    this.loaded = [message.offset, message.offset + message.limit];
    this.columns = columns;
    this.search = message.search;
    this.wanted = null;
    this.resize(message.total);
    this.grid.removeAttribute("aria-busy");
    if (sameQuery && top > 0 && seen) {
      const index = this.indexOf(seen);
      if (index >= 0 && index !== top) this.grid.scrollTop += (index - top) * ROW;
    }
    if (activeId) this.active = Math.max(this.indexOf(activeId), -1);
    if (anchorId) this.anchor = this.indexOf(anchorId);
    this.draw();
  }

  resize(total) {
    this.total = total;
    this.space.style.height = `${Math.max(1, total) * ROW}px`;
    this.grid.setAttribute("aria-rowcount", total + 1);
  }

  indexOf(id) {
    for (const [index, row] of this.rows) if (row.id === id) return index;
    return -1;
  }

  draw() {
    const [first, last] = this.span();
    const selected = this.host.selected();
    const drawn = new Set();
    for (let index = first; index < last; index += 1) drawn.add(this.drawRow(index, selected));
    for (const [key, node] of this.nodes) {
      if (!drawn.has(key)) { node.remove(); this.nodes.delete(key); }
    }
    // Screen readers go by the order of the nodes.
    [...drawn].forEach((key, at) => {
      const node = this.nodes.get(key);
      if (this.space.children[at] !== node) this.space.insertBefore(node, this.space.children[at] ?? null);
    });
    const active = this.nodes.get(this.keyAt(this.active));
    if (active) this.grid.setAttribute("aria-activedescendant", active.id);
    else this.grid.removeAttribute("aria-activedescendant");
    const [low, high] = this.loaded ?? [0, 0];
    if (!this.wanted && last > first && (first < low || last > high)) this.fetch(true);
  }

  keyAt(index) {
    const row = this.rows.get(index);
    return row ? `run ${row.id}` : `row ${index}`;
  }

  // A run keeps its node, so that a click is never lost to a refresh or falls on another run.
  drawRow(index, selected) {
    const row = this.rows.get(index);
    const key = this.keyAt(index);
    const on = Boolean(row && selected.has(row.id));
    let node = this.nodes.get(key);
    if (!node) {
      node = h("div", { role: "row", class: "vnb-table-row" });
      this.nodes.set(key, node);
      this.space.append(node);
    }
    const content = JSON.stringify([index, row, on, this.columns]);
    if (node.vnbContent !== content) this.fillRow(node, index, row, on);
    node.vnbContent = content;
    node.classList.toggle("vnb-table-active", index === this.active);
    return key;
  }

  fillRow(node, index, row, on) {
    node.style.transform = `translateY(${index * ROW}px)`;
    node.id = `${this.id}-${index}`;
    node.dataset.index = index;
    node.setAttribute("aria-rowindex", index + 2);
    node.setAttribute("aria-selected", on);
    const cells = row
      ? this.columns.map((column, at) => cellNode(column, row.cells[at], row))
      : [h("div", { role: "gridcell", class: "vnb-table-cell vnb-table-quiet" }, "…")];
    const box = h("input", { type: "checkbox", tabindex: "-1", "aria-label": `Select row ${index + 1}` });
    box.checked = on;
    node.replaceChildren(h("div", { role: "gridcell", class: "vnb-table-box" }, h("label", {}, box)), ...cells);
  }

  click(event) {
    const node = event.target.closest(".vnb-table-row");
    if (!node) return;
    const index = Number(node.dataset.index);
    const inBox = event.target.closest(".vnb-table-box");
    if (inBox) event.preventDefault();
    else if (String(window.getSelection() ?? "") && !event.shiftKey) return;
    this.grid.focus({ preventScroll: true });
    if (event.shiftKey && this.anchor >= 0) this.range(this.anchor, index, event.ctrlKey || event.metaKey);
    else if (inBox || event.ctrlKey || event.metaKey) this.toggle(index);
    else this.only(index);
  }

  toggle(index) {
    const row = this.rows.get(index);
    this.active = this.anchor = index;
    if (row) {
      const ids = this.host.selected();
      if (!ids.delete(row.id)) ids.add(row.id);
      this.host.select([...ids]);
    }
    this.draw();
  }

  only(index) {
    const row = this.rows.get(index);
    this.active = this.anchor = index;
    if (row) this.host.select([row.id]);
    this.draw();
  }

  range(from, to, keep) {
    this.active = to;
    this.host.selectRange(from, to, keep ? [...this.host.selected()] : []);
    this.draw();
  }

  key(event) {
    if (event.target !== this.grid) return;
    const page = Math.max(1, Math.floor((this.grid.clientHeight - this.head.offsetHeight) / ROW) - 1);
    const to = { ArrowDown: this.active + 1, ArrowUp: this.active - 1, PageDown: this.active + page, PageUp: this.active - page, Home: 0, End: this.total - 1 }[event.key];
    const command = event.ctrlKey || event.metaKey;
    if (to !== undefined) this.move(to, event.shiftKey);
    else if (event.key === " ") this.toggle(Math.max(0, this.active));
    else if (event.key === "a" && command) this.range(0, this.total - 1, false);
    else if (event.key === "Escape" && this.host.selected().size) this.host.select([]);
    else if (event.key === "Enter" && !event.shiftKey && !command) this.host.open();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  move(to, extend) {
    if (!this.total) return;
    const index = Math.max(0, Math.min(to, this.total - 1));
    if (extend) {
      if (this.anchor < 0) this.anchor = Math.max(0, this.active);
      this.range(this.anchor, index, false);
    } else this.anchor = index;
    this.active = index;
    const room = this.grid.clientHeight - this.head.offsetHeight;
    const top = index * ROW;
    if (top < this.grid.scrollTop) this.grid.scrollTop = top;
    else if (top + ROW > this.grid.scrollTop + room) this.grid.scrollTop = top + ROW - room;
    this.draw();
  }
}

const DEBOUNCE_MS = 200;
const PATIENCE_MS = 400;
// What goes first where there is no room, unless the columns were chosen by hand.
const DISPENSABLE = ["quality", "latency_s", "timestamp", "outputs", "inputs"];
let views = 0;

class Table {
  constructor(model, el) {
    views += 1;
    this.model = model;
    this.id = `vnb-table-${model.model_id ?? ""}-${views}-${Math.random().toString(36).slice(2, 8)}`;
    this.seq = 0;
    this.root = h("div", { class: "vnb-table", role: "region", "aria-label": "History", "data-lm-suppress-shortcuts": "true" });
    this.build();
    el.append(this.root);
    this.listen();
    const first = model.get("_first");
    if (first?.rows) this.take({ ...first, view: this.id, seq: 0 });
    this.head();
    this.note();
    this.side();
    this.body.fetch(false);
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(this.root);
  }

  listen() {
    const on = (names, call) => {
      this.model.on(names, call);
      this.offs = [...(this.offs ?? []), () => this.model.off(names, call)];
    };
    on("msg:custom", (message) => this.receive(message));
    on("change:_head", () => this.head());
    on("change:error", () => this.note());
    on("change:_side", () => this.side());
    on("change:selected_ids", () => this.selection());
    on("change:search change:order_by change:descending change:columns", () => this.follow());
  }

  close() {
    this.offs.forEach((off) => off());
    this.observer.disconnect();
    this.body.close();
    clearTimeout(this.timer);
    clearTimeout(this.patience);
  }

  get(name) { return this.model.get(name); }

  build() {
    this.title = h("span", { class: "vnb-table-subtitle" });
    this.field = h("input", { type: "text", placeholder: "Filter runs", "aria-label": "Filter runs by text", spellcheck: "false", autocomplete: "off" });
    this.field.addEventListener("input", () => this.typed(DEBOUNCE_MS));
    this.field.addEventListener("keydown", (event) => this.fieldKey(event));
    this.clear = h("button", { type: "button", class: "vnb-table-bare", "aria-label": "Clear the filter", title: "Clear the filter", onclick: () => this.clearFilter() }, icon("close"));
    this.chips = h("span", { class: "vnb-table-chips" });
    this.columnsButton = h("button", { type: "button", class: "vnb-table-button", onclick: () => this.open("columns") });
    this.exportButton = h("button", { type: "button", class: "vnb-table-button", onclick: () => this.open("export") }, "Export…");
    this.panel = h("div", { class: "vnb-table-panel", hidden: true, id: `${this.id}-panel` });
    this.alert = h("div", { class: "vnb-table-alert", role: "alert", hidden: true });
    this.headRow = h("div", { role: "row", class: "vnb-table-head", "aria-rowindex": 1 });
    this.grid = h("div", { role: "grid", tabindex: "0", class: "vnb-table-grid", "aria-label": "Runs", "aria-multiselectable": "true", "data-lm-suppress-shortcuts": "true" }, h("div", { role: "rowgroup", class: "vnb-table-headgroup" }, this.headRow));
    this.empty = h("div", { class: "vnb-table-empty", hidden: true });
    this.count = h("span", { role: "status" });
    this.searched = h("span", { role: "progressbar", class: "vnb-table-searched", "aria-valuemin": 0, "aria-valuemax": 100, hidden: true });
    this.clearSelection = h("button", { type: "button", class: "vnb-table-bare", onclick: () => this.select([]) }, "Clear");
    this.sideButton = h("button", { type: "button", class: "vnb-table-button vnb-table-accent", onclick: () => this.showSide() }, "Side by side");
    this.sideBox = h("section", { class: "vnb-table-side", "aria-label": "Selected runs side by side", hidden: true });
    const bar = h("div", { class: "vnb-table-bar" }, h("b", { class: "vnb-table-title" }, "History"), this.title,
      h("div", { class: "vnb-table-search" }, icon("search"), this.field, this.clear), this.chips,
      h("span", { class: "vnb-table-fill" }), this.columnsButton, this.exportButton);
    const foot = h("div", { class: "vnb-table-foot" }, this.count, this.clearSelection, this.searched, h("span", { class: "vnb-table-fill" }), this.sideButton);
    this.root.append(bar, this.panel, this.alert, this.grid, this.empty, foot, this.sideBox);
    this.body = new Body({
      ask: (offset, limit, scroll) => this.ask(offset, limit, scroll),
      selected: () => new Set(this.get("selected_ids")),
      select: (ids) => this.select(ids),
      selectRange: (from, to, keep) => this.selectRange(from, to, keep),
      open: () => this.showSide(),
    }, this.grid, this.headRow, this.id);
    this.state = { search: this.get("search"), order_by: this.get("order_by"), descending: this.get("descending"), columns: this.get("columns") };
    this.field.value = this.state.search;
  }

  // --- talking to Python

  ask(offset, limit, scroll) {
    this.seq += 1;
    this.waiting = true;
    clearTimeout(this.patience);
    this.patience = setTimeout(() => this.busy(scroll ? "Loading…" : this.state.search ? "Searching…" : "Sorting…"), PATIENCE_MS);
    this.model.send({ kind: "rows", view: this.id, seq: this.seq, offset, limit, scroll, ...this.state });
  }

  receive(message) {
    if (message.kind === "rows" && message.view === this.id && message.seq >= this.seq) {
      this.waiting = false;
      clearTimeout(this.patience);
      this.take(message);
      this.follow();
    } else if (message.kind === "total" && this.latest && !this.waiting) {
      this.latest = { ...this.latest, total: message.total, rough: false };
      this.all = message.all;
      this.body.resize(message.total);
      this.footer();
    } else if (message.kind === "progress" && message.view === this.id) this.progress(message);
    else if (message.kind === "exported") this.exported(message);
  }

  // What takes longer than a moment says so, in place of the count of what is still shown.
  busy(text) {
    this.count.replaceChildren(h("span", { class: "vnb-table-quiet" }, text));
    this.searched.hidden = true;
  }

  take(message) {
    this.all = message.all;
    this.shown = message.columns;
    const kinds = new Map((this.get("_head").columns ?? []).map((column) => [column.name, column]));
    this.full = message.columns.map((name) => kinds.get(name) ?? { name, kind: "text" });
    this.latest = message;
    this.fit(true);
    this.footer();
  }

  // Code or another view of this table changed what is shown. While a request of ours is under way
  // the traits are behind it: then its answer decides.
  follow() {
    if (this.waiting) return;
    const now = { search: this.get("search"), order_by: this.get("order_by"), descending: this.get("descending"), columns: this.get("columns") };
    if (JSON.stringify(now) === JSON.stringify(this.state)) return;
    if (now.search !== this.state.search) this.field.value = now.search;
    this.state = now;
    this.head();
    this.body.restart();
  }

  change(part) {
    this.state = { ...this.state, ...part };
    this.head();
    this.body.restart();
  }

  // --- filter

  typed(wait) {
    clearTimeout(this.timer);
    this.clear.hidden = !this.field.value;
    this.timer = setTimeout(() => {
      if (this.field.value !== this.state.search) this.change({ search: this.field.value });
    }, wait);
  }

  fieldKey(event) {
    if (event.key === "Enter") this.typed(0);
    else if (event.key === "Escape" && this.field.value) this.clearFilter();
    else if (event.key === "ArrowDown") { this.grid.focus(); this.body.move(Math.max(0, this.body.active), false); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  clearFilter() {
    this.field.value = "";
    this.typed(0);
    this.field.focus();
  }

  // --- heading

  head() {
    const head = this.get("_head");
    this.title.textContent = head.title ?? "";
    this.title.title = head.title ?? "";
    this.clear.hidden = !this.field.value;
    this.chips.replaceChildren(...(head.chips ?? []).map((chip) => h("button", {
      type: "button", class: "vnb-table-chip", title: "Take this filter away", "aria-label": `Take away the filter ${chip.text}`,
      onclick: () => this.model.send({ kind: "drop_filter", name: chip.name }),
    }, icon("close"), ` ${chip.text}`)));
    this.columnsLabel();
    if (this.opened === "columns") this.columnsPanel();
  }

  columnsLabel() {
    const all = this.get("_head").columns?.length ?? 0;
    const count = this.drawn?.length ?? this.state.columns.length;
    const missing = this.state.columns.length - count;
    this.columnsButton.replaceChildren(icon("columns"), h("span", { class: "vnb-table-word" }, "Columns"), h("span", { class: "vnb-table-subtitle" }, `${count} of ${all}`));
    this.columnsButton.title = missing ? `No room for: ${this.state.columns.filter((name) => !this.drawn.some((column) => column.name === name)).join(", ")}` : "Choose the columns";
  }

  // Leave out what has no room; columns that were chosen by hand are all kept and scroll.
  fit(redraw = false) {
    if (!this.full) return;
    const chosen = JSON.stringify(this.state.columns) !== JSON.stringify(this.get("_head").default);
    let drawn = this.full;
    const need = (columns) => columns.reduce((sum, column) => sum + WIDTHS[column.kind][0], 44);
    for (const name of chosen ? [] : DISPENSABLE) {
      if (this.root.clientWidth === 0 || need(drawn) <= this.root.clientWidth) break;
      drawn = drawn.filter((column) => column.name !== name);
    }
    const same = JSON.stringify(drawn) === JSON.stringify(this.drawn);
    if (same && !redraw) return;
    this.drawn = drawn;
    const tracks = drawn.map((column) => { const [least, most] = WIDTHS[column.kind]; return most ? `minmax(${least}px, ${most})` : `${least}px`; });
    // Something must take what is left, or the last columns would not stand at the edge.
    if (!tracks.some((track) => track.includes("fr"))) tracks.push("1fr");
    this.root.style.setProperty("--vnb-tracks", `32px ${tracks.join(" ")}`);
    this.root.style.setProperty("--vnb-need", `${need(drawn)}px`);
    this.headers();
    this.columnsLabel();
    const at = drawn.map((column) => this.shown.indexOf(column.name));
    this.body.take({ ...this.latest, rows: this.latest.rows.map((row) => ({ ...row, cells: at.map((index) => row.cells[index]) })) }, drawn);
  }

  // What stays as it is is not drawn anew: it may be under a click, or have the focus.
  headers() {
    const { order_by: by, descending } = this.state;
    const drawn = JSON.stringify([this.drawn, by, descending]);
    if (drawn === this.heads) { this.boxes(); return; }
    this.heads = drawn;
    this.all_box = h("input", { type: "checkbox", "aria-label": "Select all runs shown", tabindex: "-1" });
    const box = h("div", { role: "columnheader", class: "vnb-table-box" }, h("label", {}, this.all_box));
    this.all_box.addEventListener("change", () => (this.get("selected_ids").length ? this.select([]) : this.selectRange(0, Math.max(0, this.body.total - 1), [])));
    const focused = this.headRow.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    this.headRow.replaceChildren(box, ...this.drawn.map((column) => {
      const on = column.name === by;
      const sort = on ? (descending ? "descending" : "ascending") : "none";
      const node = h("div", { role: "columnheader", class: `vnb-table-cell vnb-table-${column.kind}`, "aria-sort": column.sortable ? sort : null });
      if (!column.sortable) node.append(column.name);
      else node.append(h("button", { type: "button", class: "vnb-table-sort", "data-name": column.name, title: `${column.name}: sort`, onclick: () => this.sort(column.name) }, ...(on ? [icon(descending ? "down-arrow" : "up-arrow", "vnb-view-icon vnb-table-arrow")] : []), h("span", { class: "vnb-table-cut" }, column.name)));
      return node;
    }));
    if (focused) [...this.headRow.querySelectorAll("button")].find((button) => button.dataset.name === focused)?.focus();
    this.grid.setAttribute("aria-colcount", this.drawn.length + 1);
    this.boxes();
  }

  sort(name) {
    const { order_by: by, descending } = this.state;
    const first = ["time", "seconds", "number", "quality"].includes(this.full.find((column) => column.name === name)?.kind);
    this.change({ order_by: name, descending: by === name ? !descending : first });
  }

  // --- selection

  select(ids) {
    this.model.set("selected_ids", ids);
    this.model.save_changes();
    this.selection();
  }

  selectRange(from, to, keep) {
    const [low, high] = from < to ? [from, to] : [to, from];
    const rows = [];
    for (let index = low; index <= high && rows.length === index - low; index += 1) {
      const row = this.body.rows.get(index);
      if (row) rows.push(row.id);
    }
    if (rows.length === high - low + 1) this.select([...new Set([...keep, ...rows])]);
    else this.model.send({ kind: "select_range", from, to, keep });
  }

  selection() {
    this.body.draw();
    this.boxes();
    this.footer();
  }

  boxes() {
    const count = this.get("selected_ids").length;
    if (!this.all_box) return;
    this.all_box.checked = count > 0 && count >= (this.latest?.total ?? 0);
    this.all_box.indeterminate = count > 0 && !this.all_box.checked;
  }

  footer() {
    const total = this.latest?.total ?? 0;
    const count = this.get("selected_ids").length;
    const words = total === this.all ? ` ${plural(total, "run")}` : ` of ${figure(this.all ?? total)} ${plural(this.all ?? total, "run")}`;
    const more = this.latest?.rough ? "+" : "";  // an exact count is under way
    this.count.replaceChildren(h("b", {}, figure(total) + more), words, ...(count ? [h("span", { class: "vnb-table-dot" }, "·"), `${figure(count)} selected`] : []));
    this.clearSelection.hidden = !count;
    this.sideButton.disabled = !count;
    this.sideButton.title = count ? "Show the selected runs side by side" : "Select runs first";
    this.empty.hidden = total > 0;
    this.grid.hidden = false;
    this.reach();
  }

  // --- panels: columns, export, side by side, and what the table reports

  open(name) {
    this.opened = this.opened === name ? null : name;
    this.panel.hidden = !this.opened;
    this.columnsButton.setAttribute("aria-expanded", this.opened === "columns");
    this.exportButton.setAttribute("aria-expanded", this.opened === "export");
    this.panel.replaceChildren();
    if (this.opened === "columns") this.columnsPanel();
    if (this.opened === "export") this.exportPanel();
    this.panel.querySelector("input")?.focus();
  }

  shut(event) {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    const button = this.opened === "columns" ? this.columnsButton : this.exportButton;
    this.open(this.opened);
    button.focus();
  }

  columnsPanel() {
    const { columns, default: usual, note } = this.get("_head");
    const focused = document.activeElement?.dataset?.column;
    const boxes = columns.map(({ name }) => {
      const box = h("input", { type: "checkbox", "data-column": name });
      box.checked = this.state.columns.includes(name);
      box.addEventListener("change", () => this.choose(name, box.checked));
      return h("label", { class: "vnb-table-choice", title: name }, box, h("span", { class: "vnb-table-cut" }, name));
    });
    const reset = h("button", { type: "button", class: "vnb-table-button", onclick: () => this.change({ columns: usual }) }, "Default columns");
    this.panel.replaceChildren(h("fieldset", { class: "vnb-table-choices", onkeydown: (event) => this.shut(event) }, h("legend", {}, "Columns shown"), ...boxes), reset, h("div", { class: "vnb-table-quiet" }, note));
    if (focused) [...this.panel.querySelectorAll("input")].find((box) => box.dataset.column === focused)?.focus();
  }

  choose(name, on) {
    const present = this.state.columns.filter((column) => column !== name);
    const columns = on ? [...present, name] : present;
    if (!columns.length) { this.columnsPanel(); return; }
    const order = this.get("_head").columns.map((column) => column.name);
    const rank = (column) => (this.state.columns.includes(column) ? this.state.columns.indexOf(column) : 1000 + order.indexOf(column));
    this.change({ columns: columns.sort((a, b) => rank(a) - rank(b)) });
  }

  exportPanel() {
    const field = h("input", { type: "text", class: "vnb-table-field", value: "runs.csv", "aria-label": "File to write", spellcheck: "false" });
    this.outcome = h("span", { role: "status", class: "vnb-table-outcome" });
    const save = () => {
      this.outcome.className = "vnb-table-outcome";
      this.outcome.textContent = "Writing…";
      this.model.send({ kind: "export", path: field.value });
    };
    field.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); save(); } });
    const total = this.latest?.total ?? 0;
    this.panel.replaceChildren(h("div", { class: "vnb-table-export", onkeydown: (event) => this.shut(event) },
      h("span", {}, this.latest?.reach ? "All runs that match to" : `${figure(total)} ${plural(total, "run")} to`), field,
      h("button", { type: "button", class: "vnb-table-button", onclick: save }, "Save CSV"), this.outcome));
  }

  exported(message) {
    if (!this.outcome) return;
    this.outcome.classList.toggle("vnb-table-bad", Boolean(message.error));
    this.outcome.replaceChildren(...(message.error ? [icon("FAILED"), ` ${message.error}`] : [icon("FULFILLED", "vnb-view-icon vnb-is-FULFILLED"), ` Wrote ${figure(message.count)} ${plural(message.count, "run")} to `, h("span", { class: "vnb-table-code" }, message.path)]));
  }

  showSide() {
    if (!this.get("selected_ids").length) return;
    this.wantSide = true;
    this.model.send({ kind: "side_by_side", ids: this.get("selected_ids") });
    if (!this.sideBox.hidden) this.reveal();
  }

  // The one place where HTML is trusted: Python made and escaped it.
  side() {
    const html = this.get("_side");
    this.sideBox.hidden = !html;
    if (!html) { this.sideBox.replaceChildren(); return; }
    const body = h("div");
    body.innerHTML = html;
    const close = h("button", { type: "button", class: "vnb-table-bare", "aria-label": "Close side by side", title: "Close", onclick: () => this.closeSide() }, icon("close"));
    this.sideBox.replaceChildren(h("div", { class: "vnb-table-sidebar" }, h("b", {}, "Side by side"), h("span", { class: "vnb-table-fill" }), close), body);
    if (this.wantSide) this.reveal();
  }

  reveal() {
    this.wantSide = false;
    this.sideBox.scrollIntoView({ block: "nearest" });
  }

  closeSide() {
    this.model.send({ kind: "close_side" });
    this.sideButton.focus();
  }

  progress({ what, reach }) {
    if (!this.waiting) {
      this.latest = { ...this.latest, reach, what };
      this.reach();
    } else if (what === "sorted") {
      clearTimeout(this.patience);
      this.busy(`Sorting… ${Math.floor((100 * reach[0]) / reach[1])} %`);
    }
  }

  // How much of a long history has been searched or sorted, until it is all of it.
  reach() {
    const [done, total] = this.latest?.reach ?? [0, 0];
    const what = this.latest?.what ?? "searched";
    const percent = total ? Math.floor((100 * done) / total) : 100;
    this.searched.hidden = !total;
    this.searched.textContent = `${percent} % ${what} so far`;
    const [name, which] = what === "sorted" ? ["Sorted so far", ""] : ["Searched so far", ", the last ones first"];
    this.searched.title = `${figure(done)} of ${figure(total)} runs${which}`;
    this.searched.setAttribute("aria-label", name);
    this.searched.setAttribute("aria-valuenow", percent);
    const nothing = total ? "Nothing found so far." : this.all ? "No run matches the filter." : "No runs yet. Runs appear here as soon as they are sent.";
    if (this.empty.textContent !== nothing) this.empty.textContent = nothing;
  }

  note() {
    const text = this.get("error");
    this.alert.hidden = !text;
    this.alert.replaceChildren(...(text ? [icon("FAILED"), h("span", {}, text)] : []));
    if (!text) return;
    this.waiting = this.body.wanted = null;
    clearTimeout(this.patience);
    if (this.latest) this.footer(); // it may have said that the search goes on
    else this.count.replaceChildren();
  }
}

export default {
  render({ model, el }) {
    resync(model);
    const table = new Table(model, el);
    return () => table.close();
  },
};
