// The history table: heading, filter, columns, export, footer; `Body` draws the rows.

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
      else node.append(h("button", { type: "button", class: "vnb-table-sort", "data-name": column.name, title: `${column.name}: sort`, onclick: () => this.sort(column.name) }, ...(on ? [icon(descending ? "down" : "up", "vnb-table-arrow")] : []), h("span", { class: "vnb-table-cut" }, column.name)));
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
    const words = total === this.all ? ` ${runsWord(total)}` : ` of ${figure(this.all ?? total)} ${runsWord(this.all ?? total)}`;
    const more = this.latest?.rough ? "+" : "";  // an exact count is under way
    this.count.replaceChildren(h("b", {}, figure(total) + more), words, ...(count ? [h("span", { class: "vnb-table-dot" }, "·"), `${figure(count)} selected`] : []));
    this.clearSelection.hidden = !count;
    this.sideButton.disabled = !count;
    this.sideButton.title = count ? "Show the selected runs side by side" : "Select runs first";
    this.empty.hidden = total > 0;
    this.grid.hidden = false;
    this.reach();
  }
}
