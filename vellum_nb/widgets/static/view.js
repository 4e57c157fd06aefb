// History table and comparison grid: pages of rows rendered by the kernel. Sorting, filtering,
// selection and actions are messages to the kernel.
import {
  WidgetView,
  button,
  formatNumber,
  setTrustedHtml,
  h,
  icon,
  plural,
  setAttribute,
  replaceChildren,
  setText,
  select,
  consume,
  waitFor,
  widget,
} from "./kit.js";
import { gridTracks, minWidth, runCell } from "./cells.js";

const DEBOUNCE_MS = 200;
const BUSY_DELAY_MS = 400; // before a slow request is reported
const BLIND_TIMEOUT_MS = 5000; // for the blind rating to appear and take the focus
const NARROW_WIDTH_PX = 640;
const MIN_ROW_HEIGHT_PX = 28;
const SIDE_WIDTH_PX = 1000; // from here on, an open case is next to the rows
const FULL_ROWS_KEY = "vellum-nb-full-rows"; // in the browser's storage
// Prefixes of columns to hide in a narrow view, in this order, unless the user has chosen them.
const DISPENSABLE = ["quality", "latency_s", "timestamp", "input", "deployment"];

function toggled(values, value) {
  return values.includes(value)
    ? values.filter((existing) => existing !== value)
    : [...values, value];
}

// A page without storage, such as a sandboxed frame, forgets the choice.
function remember(key, value) {
  try {
    if (value !== undefined) localStorage.setItem(key, value);
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

class TableView extends WidgetView {
  constructor(model, el, size, fields) {
    super(model, el);
    Object.assign(this, { size, fields, rows: [], active: -1, nodes: new Map() });
    Object.assign(this, { seq: 0, offset: 0, total: 0, all: 0 });
    this.subject = "case"; // what a row shows when it is opened
    this.id = `vnb-view-${Math.random().toString(36).slice(2)}`;
    this.state = this.traits();
    this.bar = h("div.vnb-view-bar");
    this.panel = h("div.vnb-view-panel", {
      hidden: true,
      onkeydown: (event) => this.panelKey(event),
    });
    this.alert = h("div.vnb-view-alert", { role: "alert", hidden: true });
    this.headRow = h("div.vnb-view-head", { role: "row", "aria-rowindex": 1 });
    this.body = h("div", { role: "rowgroup" });
    this.grid = h(
      "div.vnb-view-grid",
      {
        role: "grid",
        tabindex: "0",
        "data-lm-suppress-shortcuts": "true",
        onkeydown: (event) => this.gridKey(event),
        onclick: (event) => this.click(event),
      },
      h("div.vnb-view-headgroup", { role: "rowgroup" }, this.headRow),
      this.body,
    );
    this.empty = h("div.vnb-view-empty", { hidden: true });
    this.count = h("span.vnb-view-count", { role: "status" });
    this.status = h("span.vnb-sr-only", { role: "status" });
    const turn = (step, text) =>
      button(".vnb-view-button", () => this.page(this.offset + step * this.size), text);
    this.previous = turn(-1, "Previous");
    this.next = turn(1, "Next");
    this.pageRange = h("span.vnb-view-where");
    const pages = [this.previous, this.pageRange, this.next];
    this.pager = h("span.vnb-view-pager", { role: "group", "aria-label": "Pages" }, pages);
    this.foot = h("div.vnb-view-foot");
    this.root = h("div.vnb-view", { role: "region", "data-lm-suppress-shortcuts": "true" });
  }

  // Called by subclasses after they have added their own elements.
  start() {
    this.el.append(this.root);
    this.field.value = this.state.search;
    this.on("msg:custom", (message) => this.receive(message));
    this.on("change:_head", () => this.head());
    this.on("change:error", () => this.note());
    this.on("change:opened", () => this.showOpened());
    this.on(this.fields.map((name) => `change:${name}`).join(" "), () => this.follow());
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(this.root);
    this.cleanups.push(() => {
      this.observer.disconnect();
      clearTimeout(this.busyTimer);
    });
    this.head();
    this.note();
    const first = this.get("_first");
    if (first?.rows) this.take({ ...first, view: this.id, seq: 0 });
    this.requestRows(0, true);
  }

  get(name) {
    return this.model.get(name);
  }

  traits() {
    return Object.fromEntries(this.fields.map((name) => [name, this.get(name)]));
  }

  send(kind, content = {}) {
    try {
      this.model.send({ kind, ...content });
    } catch {
      // the kernel has closed the comm
      this.note("The kernel has stopped. Run the cell again.");
    }
  }

  // --- rows and pages

  requestRows(offset, quiet = false, options = {}) {
    this.seq += 1;
    this.waiting = true;
    setAttribute(this.grid, "aria-busy", "true");
    clearTimeout(this.busyTimer);
    const busy = this.state.search ? "Searching…" : `Reading ${formatNumber(this.total)} rows…`;
    if (!quiet) this.busyTimer = setTimeout(() => this.busy(busy), BUSY_DELAY_MS);
    const { id: view, seq, size: limit, state: query } = this;
    this.send("rows", { view, seq, offset: Math.max(0, offset), limit, query, ...options });
  }

  busy(text) {
    this.count.replaceChildren(h("span.vnb-view-quiet", text));
  }

  // Show the page that contains the row at `offset`. Call `onLoaded` when it has all its rows.
  page(offset, onLoaded = null) {
    this.active = -1;
    this.onLoaded = onLoaded;
    this.grid.scrollTop = 0;
    const index = Math.min(offset, Math.max(0, this.total - 1));
    this.requestRows(Math.floor(index / this.size) * this.size);
  }

  filter(changes) {
    this.state = { ...this.state, ...changes };
    this.head();
    this.page(0);
  }

  // Apply traits set by code or by another view of the model. They are stale while a request is
  // pending; its reply applies them.
  follow() {
    const traits = this.traits();
    if (this.waiting || JSON.stringify(traits) === JSON.stringify(this.state)) return;
    if (traits.search !== this.state.search) this.field.value = traits.search;
    this.filter(traits);
  }

  receive(message) {
    const isMine = message.view === this.id;
    if (message.kind === "rows" && isMine && message.seq >= this.seq) {
      this.waiting = false;
      clearTimeout(this.busyTimer);
      this.take(message);
      this.follow();
    } else if (message.kind === "changed") {
      if (message.restart) this.page(0);
      else this.requestRows(this.offset, true);
    } else if (message.kind === "outcome") this.showOutcome(message);
    else if (message.kind === "case_sets") {
      if (this.opened === "set") this.offer(message.names);
    } else if (message.kind === "status") setText(this.status, message.text);
    else if (message.kind === "progress" && isMine) this.progress(message);
    else if (message.kind === "total" && this.latest && !this.waiting) {
      const { total, all } = message;
      Object.assign(this, { total, all, latest: { ...this.latest, rough: false } });
      this.footer();
    } else if (message.kind === "row") {
      this.rows = this.rows.map((row) => (row.id === message.row.id ? message.row : row));
      this.draw();
    } else if (message.kind === "back") {
      requestAnimationFrame(() => this.grid.focus({ preventScroll: true }));
    }
  }

  take(message) {
    const isContinued = message.seq === this.continuationSeq;
    const activeId = this.rows[this.active]?.id;
    this.offset = isContinued ? this.offset : message.offset;
    this.rows = isContinued ? [...this.rows, ...message.rows] : message.rows;
    Object.assign(this, { total: message.total, all: message.all, latest: message });
    if (activeId) this.active = this.rows.findIndex((row) => row.id === activeId);
    this.grid.removeAttribute("aria-busy");
    setAttribute(this.grid, "aria-rowcount", this.total + 1);
    this.draw();
    this.footer();
    // Request the rows that did not fit into the message.
    const last = Math.min(this.total, this.offset + this.size);
    const next = this.offset + this.rows.length;
    if (message.seq !== 0 && message.rows.length && next < last) {
      this.continuationSeq = this.seq + 1;
      this.requestRows(next, true, { limit: last - next, scroll: true });
    } else {
      const { onLoaded } = this;
      this.onLoaded = null;
      onLoaded?.();
    }
  }

  // Reuse the nodes of unchanged rows: a refresh must not swallow a click or redirect it.
  draw() {
    const currentIds = new Set();
    this.rows.forEach((row, position) => {
      currentIds.add(row.id);
      const content = JSON.stringify([row, this.offset + position, this.appearance?.(row)]);
      let node = this.nodes.get(row.id);
      if (!node || node.vnbContent !== content) {
        const newNode = this.rowNode(row, this.offset + position);
        node?.replaceWith(newNode);
        node = newNode;
        node.vnbContent = content;
        this.nodes.set(row.id, node);
      }
      node.vnbPosition = position;
      if (this.body.children[position] !== node) {
        this.body.insertBefore(node, this.body.children[position] ?? null);
      }
    });
    for (const [id, node] of this.nodes) {
      if (!currentIds.has(id)) {
        node.remove();
        this.nodes.delete(id);
      }
    }
    this.mark();
  }

  // Update the pager, and the message shown if no row matches.
  footer(emptyText) {
    const { total, offset, latest } = this;
    const last = offset + this.rows.length;
    this.empty.hidden = total > 0;
    setText(this.empty, emptyText);
    this.pager.hidden = total <= this.size && !offset;
    this.previous.disabled = offset === 0;
    this.next.disabled = last >= total;
    const range = `${formatNumber(offset + 1)}–${formatNumber(last)}`;
    const totalText = `${formatNumber(total)}${latest?.rough ? "+" : ""}`;
    setText(this.pageRange, total ? `${range} of ${totalText}` : "");
  }

  // --- the active row

  // Activate a row by its position on the page; unless a selection is extended, on any page.
  activate(position, extend = false) {
    if (!this.rows.length) return;
    const index = Math.max(0, Math.min(this.offset + position, this.total - 1));
    if (!this.rows[index - this.offset] && !extend) {
      this.page(index, () => this.activate(index - this.offset));
    } else {
      this.active = Math.max(0, Math.min(position, this.rows.length - 1));
      this.mark();
      this.focusNode()?.scrollIntoView({ block: "nearest", inline: "nearest" });
      if (this.get("opened") && !extend) this.open(this.rows[this.active].id);
    }
  }

  focusNode() {
    return this.nodes.get(this.rows[this.active]?.id);
  }

  mark() {
    for (const node of this.body.querySelectorAll(".vnb-view-active")) {
      node.classList.remove("vnb-view-active");
    }
    this.place();
    const node = this.focusNode();
    if (!node) {
      this.grid.removeAttribute("aria-activedescendant");
      return;
    }
    node.classList.add("vnb-view-active");
    setAttribute(this.grid, "aria-activedescendant", node.id);
  }

  // --- the open case or run: a widget next to the rows that follows the active one

  // The widget may be added later. The keys of the grid work there, too, and buttons press them.
  openIn(container) {
    const onKey = (event) => {
      if (event.defaultPrevented || !this.get("opened")) return;
      const isPlain = !event.ctrlKey && !event.metaKey && /^[ajkhlndtf1-5]$/.test(event.key);
      const isKey = isPlain && this.details?.contains(event.target);
      if (event.key === "Escape") {
        event.stopPropagation();
        this.send("close");
      } else if (isKey && !event.target.closest("input, select, textarea") && this.key(event)) {
        consume(event);
      }
    };
    const onClick = ({ target }) => {
      const { press, release } = target.closest("[data-press]")?.dataset ?? {};
      if (release) this.chooseRelease(release);
      if (press) this.key({ key: press });
    };
    const listeners = new AbortController();
    this.container = container;
    container?.addEventListener("keydown", onKey, listeners);
    container?.addEventListener("click", onClick, listeners);
    this.cleanups.push(() => listeners.abort());
    const step = (press, title) => {
      const options = { title, "aria-label": title, "data-press": press };
      return button(".vnb-view-step", null, options, icon("chevron"));
    };
    this.where = h("span");
    const buttons = [step("k", "Previous (k)"), step("j", "Next (j)")];
    this.steps = h("span.vnb-case-steps", this.where, buttons);
    this.labelDetails();
  }

  labelDetails() {
    this.details = this.container?.querySelector(":scope > .vnb-case") ?? null;
    const names = { role: "region", "aria-label": `The ${this.subject} in full`, tabindex: "-1" };
    if (!this.details) return;
    for (const [name, value] of Object.entries(names)) setAttribute(this.details, name, value);
    if (this.steps.parentNode !== this.details) this.details.append(this.steps);
    this.observer.observe(this.details);
  }

  showOpened() {
    this.labelDetails();
    const opened = this.get("opened");
    const position = this.rows.findIndex((row) => row.id === opened);
    if (position >= 0) this.active = position;
    this.mark();
    if (opened) {
      setText(this.status, `The ${this.subject} is open; Enter moves to it, Escape closes it`);
    } else if (!this.root.contains(document.activeElement)) {
      this.grid.focus({ preventScroll: true });
    }
  }

  get isOpen() {
    return Boolean(this.details) && this.rows[this.active]?.id === this.get("opened");
  }

  // Place the open case or run next to the rows, or below its row if there is no room.
  place() {
    const { details, container, grid, nodes } = this;
    for (const node of [grid, ...nodes.values()]) node.style.marginBottom = "";
    if (!details) return;
    const opened = this.get("opened");
    const index = `${formatNumber(this.offset + this.active + 1)} of ${formatNumber(this.total)}`;
    setText(this.where, this.isOpen ? index : "");
    const isSide = this.root.clientWidth >= SIDE_WIDTH_PX;
    container.classList.toggle("vnb-grid-split", Boolean(opened) && isSide);
    container.classList.toggle("vnb-grid-stacked", Boolean(opened) && !isSide);
    const row = isSide || !opened ? null : (nodes.get(opened) ?? grid);
    const anchor = row ? row.getBoundingClientRect().bottom : grid.getBoundingClientRect().top;
    details.style.top = `${anchor - container.getBoundingClientRect().top}px`;
    if (row) row.style.marginBottom = `${details.offsetHeight}px`; // last: it can scroll the page
  }

  // Handle a key of a row; return whether it is one.
  key(event) {
    if (event.ctrlKey || event.metaKey) return false;
    const step = { j: 1, k: -1 }[event.key];
    if (step) this.activate(this.active < 0 ? 0 : this.active + step);
    else if (event.key === "Enter" && this.isOpen) this.details.focus({ preventScroll: true });
    else if (event.key === "Enter") this.open(this.rows[this.active]?.id);
    else if (event.key === "t") this.details?.querySelector(".vnb-trace-fold")?.click();
    else return false;
    return true;
  }

  gridKey(event) {
    if (event.target !== this.grid || event.altKey) return;
    const page = Math.max(
      1,
      Math.floor(
        this.grid.clientHeight / Math.max(MIN_ROW_HEIGHT_PX, this.focusNode()?.offsetHeight ?? 0),
      ) - 1,
    );
    const target = {
      ArrowDown: this.active + 1,
      ArrowUp: this.active - 1,
      PageDown: this.active + page,
      PageUp: this.active - page,
      Home: -this.offset,
      End: this.total - 1 - this.offset,
    }[event.key];
    if (target !== undefined) {
      this.activate(this.active < 0 && target < 0 ? -this.offset : target, event.shiftKey);
    } else if (event.key === "/") this.field.focus();
    else if (!this.key(event)) return;
    consume(event);
  }

  // --- search, panels, notes

  search(label, placeholder) {
    this.field = h("input", {
      type: "search",
      placeholder,
      "aria-label": label,
      spellcheck: "false",
      autocomplete: "off",
      oninput: () => this.typed(DEBOUNCE_MS),
      onkeydown: (event) => this.fieldKey(event),
    });
    return h("div.vnb-view-search", icon("search"), this.field);
  }

  typed(delay) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (this.field.value !== this.state.search) this.filter({ search: this.field.value });
    }, delay);
  }

  fieldKey(event) {
    if (event.key === "Enter") this.typed(0);
    else if (event.key === "Escape" && this.field.value) {
      this.field.value = "";
      this.typed(0);
    } else if (event.key === "ArrowDown") {
      this.grid.focus();
      this.activate(Math.max(0, this.active));
    } else return;
    consume(event);
  }

  // Button that opens a panel under the bar. `build` adds the content of the panel.
  panelButton(name, build, ...children) {
    const open = () => {
      this.bar.after(this.panel);
      this.toggle(name, build);
    };
    const options = { "aria-expanded": String(this.opened === name), "data-key": name };
    return button(".vnb-view-button", open, options, ...children);
  }

  toggle(name, build) {
    this.opened = this.opened === name ? "" : name;
    this.panel.hidden = !this.opened;
    for (const opener of this.bar.querySelectorAll("[aria-expanded]")) {
      setAttribute(opener, "aria-expanded", opener.dataset.key === this.opened);
    }
    this.panel.replaceChildren();
    if (!this.opened) return;
    build();
    this.panel.querySelector("input")?.focus();
  }

  panelKey(event) {
    const { form, tagName } = event.target;
    if (event.key === "Enter" && form && tagName === "INPUT") {
      consume(event); // JupyterLab keeps Enter from submitting a form in an output
      form.requestSubmit();
    }
    if (event.key !== "Escape" || !this.opened) return;
    consume(event);
    const opener = this.bar.querySelector(`[data-key="${this.opened}"]`);
    this.toggle(this.opened);
    (opener ?? this.grid).focus();
  }

  // Replace the panel by a form with one text field; Enter or `action` submits it. `label` names
  // the field; `before` and `after` are other parts of the form.
  textForm({ label, action, submit, before = [label], after = [], ...attributes }) {
    this.names = h("datalist", { id: `${this.id}-names` });
    const options = { "aria-label": label, spellcheck: "false", ...attributes };
    const field = h("input.vnb-view-field", options);
    const onsubmit = (event) => {
      event.preventDefault();
      submit(field.value);
    };
    const save = button(".vnb-view-button", null, { type: "submit" }, action);
    const parts = [before, field, this.names, save, after].flat();
    this.panel.replaceChildren(h("form.vnb-view-form", { onsubmit }, parts));
    return field;
  }

  // Offer names for the text field of the form.
  offer(names) {
    this.panel.querySelector("input").setAttribute("list", this.names.id);
    this.names.replaceChildren(...names.map((value) => h("option", { value })));
  }

  exportPanel(stem, noun, count) {
    const { formats } = this.get("_head");
    let format = formats[0];
    const choose = (name) => {
      format = formats.find((candidate) => candidate.name === name);
      field.value = field.value.replace(/\.[a-z]+$/, "") + format.suffix;
    };
    const options = formats.map(({ name, label }) => [name, label]);
    const kinds =
      options.length < 2 ? format.label : select("Format", options, format.name, choose);
    this.amount = h("span", `${plural(count, noun)} as`);
    const field = this.textForm({
      label: "File to write",
      value: stem + format.suffix,
      before: [this.amount, kinds, "to"],
      action: "Save",
      submit: (path) => {
        this.announce("Writing…");
        this.send("export", { format: format.name, path });
      },
      after: this.newOutcome(),
    });
  }

  newOutcome() {
    this.outcome = h("span.vnb-view-outcome", { role: "status" });
    return this.outcome;
  }

  announce(text) {
    this.outcome.className = "vnb-view-outcome";
    setText(this.outcome, text);
  }

  showOutcome({ error, text }) {
    if (!this.outcome) return;
    this.outcome.classList.toggle("vnb-view-bad", Boolean(error));
    this.outcome.replaceChildren(icon(error ? "FAILED" : "FULFILLED"), ` ${error || text}`);
  }

  // Open a panel below the grid: the rows must not move.
  below(name, build) {
    this.opened = "";
    this.grid.after(this.panel);
    this.toggle(name, build);
  }

  // Panel that adds cases to a case set. `cases` returns what identifies them.
  suitePanel(title, cases) {
    this.textForm({
      label: title,
      placeholder: "name of a case set; Escape goes back",
      maxlength: 200,
      value: this.suiteName ?? "",
      action: "Add",
      submit: (name) => {
        if (!name.trim()) return;
        this.suiteName = name;
        this.announce("Adding…");
        this.send("add_to_set", { ...cases(), name });
      },
      after: this.newOutcome(),
    });
    this.send("case_sets", cases());
  }

  note(text = this.get("error")) {
    this.alert.hidden = !text;
    replaceChildren(this.alert, text && icon("FAILED"), text && h("span", text));
    if (!text) return;
    this.waiting = false;
    clearTimeout(this.busyTimer);
    if (this.latest) this.footer();
  }
}

class RunsTable extends TableView {
  constructor(model, el) {
    super(model, el, 100, ["search", "order_by", "descending", "columns"]);
    this.subject = "run";
    this.root.classList.add("vnb-table");
    this.el.classList.add("vnb-grid-view");
    setAttribute(this.root, "aria-label", "History");
    setAttribute(this.grid, "aria-label", "Runs");
    setAttribute(this.grid, "aria-multiselectable", "true");
    this.title = h("span.vnb-view-subtitle");
    this.chips = h("span.vnb-view-chips");
    this.columnsButton = this.panelButton("columns", () => this.columnsPanel());
    this.clearSelection = button(".vnb-view-bare", () => this.select([]), "Clear");
    const showSide = () => this.showSide();
    this.sideButton = button(".vnb-view-button.vnb-view-accent", showSide, "Side by side");
    const lookUpOptions = {
      hidden: true,
      title: "Look up the selected runs that are in doubt (l)",
      "aria-keyshortcuts": "l",
    };
    const lookUp = () => this.lookUp();
    this.lookUpButton = button(".vnb-view-button", lookUp, lookUpOptions, icon("doubt"), "Look up");
    this.suiteButton = button(".vnb-view-button", () => this.addRuns(), "Add to a case set…");
    this.lookedUp = h("span.vnb-view-quiet", { role: "status" });
    const closeSide = () => {
      this.send("close_side");
      this.sideButton.focus();
    };
    const closeOptions = { "aria-label": "Close side by side", title: "Close" };
    const close = button(".vnb-view-bare", closeSide, closeOptions, icon("close"));
    this.sideBody = h("div");
    const sideHead = h("div.vnb-view-sidebar", h("b.vnb-view-fill", "Side by side"), close);
    const sideOptions = { "aria-label": "Selected runs side by side", hidden: true };
    this.sideBox = h("section.vnb-view-side", sideOptions, sideHead, this.sideBody);
    const fill = () => h("span.vnb-view-fill");
    const openExport = () => this.exportPanel("runs", "run", this.total);
    const exportButton = this.panelButton("export", openExport, "Export…");
    const heading = [h("b.vnb-view-title", "History"), this.title];
    const search = this.search("Filter runs by text", "Filter runs");
    this.bar.append(...heading, search, this.chips, fill(), this.columnsButton, exportButton);
    const { bar, panel, alert, grid, empty, foot, sideBox, status } = this;
    foot.append(this.count, this.clearSelection, fill(), this.pager, this.lookedUp);
    foot.append(this.lookUpButton, this.suiteButton, this.sideButton);
    this.root.append(bar, panel, alert, grid, empty, foot, sideBox, status);
    this.on("change:_side", () => this.side());
    this.on("change:details", () => this.addDetails());
    this.on("change:selected_ids", () => {
      this.draw();
      this.footer();
    });
    this.start();
    this.side();
    this.openIn(this.el);
    this.addDetails();
  }

  // Add the widget of the open run, which the kernel creates for the first one.
  async addDetails() {
    const { widget_manager: manager } = this.model;
    if (!manager || !this.get("details")) return;
    const model = await manager.get_model(this.get("details").replace("IPY_MODEL_", ""));
    const view = await manager.create_view(model);
    const tell = (type) => view.luminoWidget.processMessage({ type }); // a parent would tell it
    tell("before-attach");
    this.el.append(view.el);
    tell("after-attach");
    this.cleanups.push(() => {
      tell("before-detach");
      tell("after-detach");
      view.remove();
    });
    await view.displayed;
    if (this.get("opened")) this.showOpened();
  }

  open(id) {
    if (id) this.send("open", { id });
  }

  showOpened() {
    super.showOpened();
    this.fit();
  }

  get selected() {
    return this.get("selected_ids");
  }

  head() {
    const { title, chips, filters, columns } = this.get("_head");
    setText(this.title, title ?? "");
    const chip = ({ name, text }) => {
      const label = `Remove the filter ${text}`;
      const options = { title: "Remove this filter", "aria-label": label, "data-key": name };
      const drop = () => this.send("drop_filter", { name });
      return button(".vnb-view-chip", drop, options, icon("close"), ` ${text}`);
    };
    const menu = ({ name, values }) =>
      select(name, [["", `${name}: all`], ...values], "", (value) =>
        this.send("filter", { name, value }),
      );
    replaceChildren(this.chips, ...(chips ?? []).map(chip), ...(filters ?? []).map(menu));
    this.kinds = new Map((columns ?? []).map((column) => [column.name, column]));
    this.columnsLabel();
    if (this.opened === "columns") this.columnsPanel();
  }

  take(message) {
    this.allColumns = message.columns.map((name) => this.kinds.get(name) ?? { name, kind: "text" });
    this.fit(message);
    super.take(message);
  }

  // Hide dispensable columns that do not fit. Columns chosen by the user are all shown and scroll.
  fit(message = this.latest) {
    if (!this.allColumns) return;
    this.place();
    const width = this.grid.offsetWidth;
    const isChosen =
      JSON.stringify(this.state.columns) !== JSON.stringify(this.get("_head").default);
    let columns = this.allColumns;
    for (const name of isChosen ? [] : DISPENSABLE) {
      if (width === 0 || minWidth(columns) <= width) break;
      columns = columns.filter((column) => !column.name.startsWith(name));
    }
    const isSame = JSON.stringify(columns) === JSON.stringify(this.visible);
    this.visible = columns;
    this.cellIndexes = columns.map((column) => message.columns.indexOf(column.name));
    this.root.style.setProperty("--vnb-tracks", gridTracks(columns));
    this.root.style.setProperty("--vnb-need", `${minWidth(columns)}px`);
    this.headers();
    this.columnsLabel();
    if (!isSame && this.rows.length && message === this.latest) this.draw();
  }

  columnsLabel() {
    const { columns } = this.state;
    const visible = this.visible?.map((column) => column.name) ?? columns;
    const hidden = columns.filter((name) => !visible.includes(name));
    this.columnsButton.replaceChildren(
      icon("columns"),
      h("span.vnb-view-word", "Columns"),
      h("span.vnb-view-subtitle", `${visible.length} of ${this.kinds?.size ?? 0}`),
    );
    this.columnsButton.title = hidden.length
      ? `No room for: ${hidden.join(", ")}`
      : "Choose the columns";
  }

  // Redraw the headers only if they have changed: one may have the focus or be under a click.
  headers() {
    const { order_by: orderBy, descending } = this.state;
    const content = JSON.stringify([this.visible, orderBy, descending]);
    if (content !== this.headContent) {
      this.headContent = content;
      this.allBox = h("input", {
        type: "checkbox",
        "aria-label": "Select all runs found",
        tabindex: "-1",
        onchange: () => (this.selected.length ? this.select([]) : this.selectAll()),
      });
      const box = h("div.vnb-table-box", { role: "columnheader" }, h("label", this.allBox));
      const headers = this.visible.map((column) => this.header(column, orderBy, descending));
      replaceChildren(this.headRow, box, ...headers);
      setAttribute(this.grid, "aria-colcount", this.visible.length + 1);
    }
    this.footer();
  }

  header(column, orderBy, descending) {
    const { name, kind, sortable } = column;
    const isSorted = name === orderBy;
    const text = h("span.vnb-view-cut", name);
    const glyph = descending ? "down-arrow" : "up-arrow";
    const arrow = isSorted && icon(glyph, "vnb-glyph vnb-table-arrow");
    const options = { "data-key": name, title: `${name}: sort` };
    const sort = () => this.sort(column);
    const direction = descending ? "descending" : "ascending";
    return h(
      `div.vnb-table-cell.vnb-table-${kind}`,
      { role: "columnheader", "aria-sort": sortable && (isSorted ? direction : "none") },
      sortable ? button(".vnb-table-sort", sort, options, arrow, text) : text,
    );
  }

  sort({ name, kind }) {
    const { order_by: orderBy, descending } = this.state;
    this.filter({
      order_by: name,
      descending:
        orderBy === name ? !descending : ["time", "seconds", "number", "quality"].includes(kind),
    });
  }

  // State outside of the row that its node depends on.
  appearance(row) {
    return [this.visible, this.selected.includes(row.id)];
  }

  rowNode(row, index) {
    const isSelected = this.selected.includes(row.id);
    const box = h("input", {
      type: "checkbox",
      tabindex: "-1",
      "aria-label": `Select row ${index + 1}`,
      checked: isSelected,
    });
    const options = {
      role: "row",
      id: `${this.id}-${index}`,
      "aria-rowindex": index + 2,
      "aria-selected": String(isSelected),
    };
    const cells = this.visible.map((column, position) =>
      runCell(column, row.cells[this.cellIndexes[position]], row),
    );
    const boxCell = h("div.vnb-table-box", { role: "gridcell" }, h("label", box));
    return h("div.vnb-table-row", options, boxCell, cells);
  }

  // --- selection

  click(event) {
    const node = event.target.closest(".vnb-table-row");
    if (!node) return;
    const inBox = event.target.closest(".vnb-table-box");
    if (inBox) event.preventDefault();
    else if (String(window.getSelection() ?? "") && !event.shiftKey) return;
    this.grid.focus({ preventScroll: true });
    this.active = node.vnbPosition;
    const index = this.offset + this.active;
    const isMultiple = event.ctrlKey || event.metaKey;
    if (event.shiftKey && this.anchor !== undefined) {
      this.selectRange(this.anchor, index, isMultiple ? this.selected : []);
    } else {
      this.anchor = index;
      const { id } = this.rows[this.active];
      if (inBox || isMultiple) this.toggleSelected();
      else {
        this.select([id]);
        this.open(id);
      }
    }
    this.mark();
  }

  key(event) {
    const command = event.ctrlKey || event.metaKey;
    if (event.key === " ") {
      this.active = Math.max(0, this.active);
      this.anchor = this.offset + this.active;
      this.toggleSelected();
    } else if (event.key === "a" && command) this.selectAll();
    else if (event.key === "Escape" && this.selected.length && !this.get("opened")) {
      this.select([]);
    } else if (event.key === "l" && !command && this.canLookUp) this.lookUp();
    else if (event.key === "Enter" && this.selected.length > 1 && !this.isOpen) this.showSide();
    else return super.key(event);
    return true;
  }

  activate(position, extend = false) {
    super.activate(position, extend);
    const index = this.offset + this.active;
    if (extend) this.selectRange(this.anchor ?? index, index, []);
    else this.anchor = index;
  }

  toggleSelected() {
    if (this.rows[this.active]) this.select(toggled(this.selected, this.rows[this.active].id));
  }

  select(ids) {
    this.model.set("selected_ids", ids);
    this.model.save_changes();
  }

  selectAll() {
    this.selectRange(0, Math.max(0, this.total - 1), []);
  }

  selectRange(from, to, keep) {
    this.send("select_range", { from, to, keep });
  }

  footer() {
    const { total, all, latest, allBox } = this;
    const count = this.selected.length;
    const isAll = total > 0 && count >= total;
    if (allBox) Object.assign(allBox, { checked: isAll, indeterminate: count > 0 && !isAll });
    if (this.amount) setText(this.amount, `${plural(total, "run")} as`);
    const doubts = this.rows.filter((row) => row.doubt).length;
    const scope = this.rows.length < total ? " on this page" : "";
    const dot = () => h("span.vnb-table-dot", "·");
    replaceChildren(
      this.count,
      h("b", formatNumber(total) + (latest?.rough ? "+" : "")),
      total === all ? ` ${total === 1 ? "run" : "runs"}` : ` of ${plural(all, "run")}`,
      doubts && dot(),
      doubts && icon("doubt", "vnb-glyph vnb-table-doubt"),
      doubts && ` ${formatNumber(doubts)} in doubt${scope}`,
      count && dot(),
      count && `${formatNumber(count)} selected`,
    );
    this.clearSelection.hidden = !count;
    this.sideButton.disabled = this.suiteButton.disabled = !count;
    this.suiteButton.hidden = !this.get("_head").can.includes("set");
    this.lookUpState();
    this.sideButton.title = count ? "Show the selected runs side by side" : "Select runs first";
    super.footer(
      all
        ? "No run matches the filter."
        : "No runs yet. Runs appear here as soon as they are sent.",
    );
  }

  // --- runs in doubt

  get canLookUp() {
    return this.get("_head").can.includes("look_up");
  }

  // Look up the selected runs or the active one. The kernel ignores those that are not in doubt.
  lookUp() {
    const activeRow = this.rows[this.active];
    const ids = this.selected.length || !activeRow ? this.selected : [activeRow.id];
    if (!ids.length) return;
    setText(this.lookedUp, "Looking up…");
    this.send("look_up", { ids });
  }

  receive(message) {
    if (message.kind === "looked_up") setText(this.lookedUp, message.text);
    else super.receive(message);
  }

  lookUpState() {
    const { selected, lookUpButton, rows } = this;
    const hadFocus = lookUpButton === document.activeElement;
    const openIds = rows.filter((row) => row.open).map((row) => row.id);
    const isOffPage = selected.some((id) => !rows.some((row) => row.id === id));
    lookUpButton.hidden = !this.canLookUp || !(openIds.length || isOffPage);
    lookUpButton.disabled = !isOffPage && !selected.some((id) => openIds.includes(id));
    if (hadFocus && (lookUpButton.hidden || lookUpButton.disabled)) {
      this.grid.focus({ preventScroll: true });
    }
  }

  // Progress of the first search, which builds the index.
  progress({ reach: [done, total] }) {
    const percent = total ? Math.floor((100 * done) / total) : 100;
    clearTimeout(this.busyTimer);
    this.busy(`Searching… ${percent} % of ${formatNumber(total)} runs`);
  }

  // --- columns and side by side

  columnsPanel() {
    const { columns, default: defaultColumns, note } = this.get("_head");
    const boxes = columns.map(({ name }) => {
      const box = h("input", {
        type: "checkbox",
        "data-key": name,
        checked: this.state.columns.includes(name),
        onchange: () => this.choose(name, box.checked),
      });
      return h("label.vnb-table-choice", { title: name }, box, h("span.vnb-view-cut", name));
    });
    replaceChildren(
      this.panel,
      h("fieldset.vnb-table-choices", h("legend", "Columns shown"), boxes),
      button(".vnb-view-button", () => this.filter({ columns: defaultColumns }), "Default columns"),
      h("div.vnb-view-quiet", note),
    );
  }

  choose(name, isShown) {
    const { columns } = this.state;
    const others = columns.filter((column) => column !== name);
    const order = [...columns, ...this.kinds.keys()];
    const chosen = isShown
      ? [...others, name].sort((a, b) => order.indexOf(a) - order.indexOf(b))
      : others;
    if (chosen.length) this.filter({ columns: chosen });
    else this.columnsPanel();
  }

  showSide() {
    if (!this.selected.length) return;
    this.send("side_by_side", { ids: this.selected });
    this.sideBox.scrollIntoView({ block: "nearest" });
  }

  addRuns() {
    const title = "Add the selected runs to";
    this.below("set", () => this.suitePanel(title, () => ({ ids: this.selected })));
  }

  side() {
    const html = this.get("_side");
    this.sideBox.hidden = !html;
    setTrustedHtml(this.sideBody, html);
    const isAsked = this.root.contains(document.activeElement); // not when the page is loaded
    if (html && isAsked) this.sideBox.scrollIntoView({ block: "nearest" });
  }
}

export class CasesGrid extends TableView {
  constructor(model, el) {
    super(model, el, 0, ["search", "states", "labels", "failures", "release", "full", "inline"]);
    if (remember(FULL_ROWS_KEY)) this.state.full = remember(FULL_ROWS_KEY) === "true";
    this.root.classList.add("vnb-grid");
    setAttribute(this.grid, "aria-label", "Cases and releases");
    this.column = 2;
    const onclick = (event) => this.showCases(event);
    this.verdicts = h("div.vnb-grid-verdicts", { onclick });
    this.adding = h("div.vnb-grid-adding", { "aria-live": "polite" });
    this.top = h("div.vnb-grid-summary-box");
    this.looks = h("span.vnb-grid-looks", { role: "group", "aria-label": "Rows" });
    this.codeBody = h("div.vnb-grid-code-body");
    const codeSummary = h("summary", "Code and prompts of the releases");
    const ontoggle = () => this.showCode(true);
    this.code = h("details.vnb-grid-code", { ontoggle }, codeSummary, this.codeBody);
    this.chips = h("span.vnb-grid-filters", { role: "group", "aria-label": "Filters" });
    this.about = h("span.vnb-grid-remark");
    this.keys = h("span.vnb-grid-keys");
    this.foot.append(this.pager, this.status, this.keys, this.about);
    const search = this.search("Search inputs and outputs", "search inputs and outputs");
    const filters = h("div.vnb-grid-filterbar", search, this.chips, this.count, this.looks);
    const { bar, panel, verdicts, adding, top, code, alert, grid, empty, foot } = this;
    this.root.append(bar, panel, verdicts, adding, top, code, filters, alert, grid, empty, foot);
    this.on("change:code", () => this.showCode());
    const showAdding = () => setTrustedHtml(this.adding, this.get("adding"));
    this.on("change:adding", showAdding);
    requestAnimationFrame(() => this.openIn(this.el.closest(".vnb-grid-view")));
    this.start();
    this.showCode();
    showAdding();
  }

  footer() {
    const { order } = this.get("_head");
    const text = `${plural(this.all, "case")}, ${order}`;
    setText(this.count, this.total === this.all ? text : `${formatNumber(this.total)} of ${text}`);
    this.grid.hidden = this.total === 0;
    super.footer(
      this.all
        ? "No case matches these filters."
        : "No runs to compare yet. Run the deployment on these release tags first.",
    );
  }

  // --- heading and columns

  head() {
    const { title, about, metrics, metric, releases, baseline, can, verdicts, summary, foot } =
      this.get("_head");
    setAttribute(this.root, "aria-label", `Comparison of ${title}`);
    const stem = `${title.replace(/[^\w.-]+/g, "-") || "comparison"}-compared`;
    const choice = (caption, label, options, value, kind, key) => {
      const pairs = options.map((option) => [option.name, option.label]);
      const menu = select(label, pairs, value, (name) => this.send(kind, { [key]: name }));
      return options.length > 1 && h("label.vnb-grid-choice", caption, menu);
    };
    const blindOptions = { "aria-label": "Rate blind", "data-key": "blind" };
    replaceChildren(
      this.bar,
      h("b.vnb-view-title", "Compare"),
      h("span.vnb-grid-about", [title, about].filter(Boolean).join(" · ")),
      choice("by", "Metric that decides", metrics, metric, "metric", "name"),
      choice("baseline", "Baseline", releases, baseline, "baseline", "release"),
      can.includes("blind") &&
        button(".vnb-view-button", () => this.blind(), blindOptions, "Blind…"),
      this.panelButton("export", () => this.exportPanel(stem, "case", this.all), "Export…"),
    );
    setTrustedHtml(this.verdicts, verdicts);
    setTrustedHtml(this.top, summary);
    this.code.hidden = !can.includes("code");
    this.columns();
    this.filterChips();
    setText(this.about, foot);
    this.size = this.state.full ? 25 : 40;
    const look = (name, text, full) => {
      const pressed = {
        title: text,
        "aria-pressed": String(this.state.full === full),
        "data-key": name,
      };
      return button(".vnb-view-button", () => this.showFull(full), pressed, icon(name));
    };
    const canUnfold = can.includes("full");
    this.looks.hidden = !canUnfold;
    const lines = look("lines", "One line per case (c)", false);
    replaceChildren(this.looks, lines, look("blocks", "Outputs in full (c)", true));
    const keys = [
      "j k=case,h l=release,Enter=open,n=next difference",
      canUnfold && "c=rows,d=differences",
      can.includes("rate") && "1–5=rate",
      can.includes("fail") && "f=failure,m=note",
      can.includes("set") && "a=case set",
      can.includes("blind") && "b=blind",
    ].filter(Boolean);
    const hints = keys.flatMap((group) => group.split(",")).map((hint) => hint.split("="));
    this.keys.replaceChildren(...hints.map(([key, what]) => h("span", h("kbd", key), ` ${what}`)));
  }

  columns() {
    const { columns } = this.get("_head");
    this.root.style.setProperty("--vnb-others", Math.max(1, columns.length - 1));
    setAttribute(this.grid, "aria-colcount", columns.length + 1);
    const heading = (selector, ...children) =>
      h(`div.vnb-grid-cell${selector}`, { role: "columnheader" }, ...children);
    this.headRow.replaceChildren(
      heading(".vnb-grid-case", h("b", "case")),
      ...columns.map(({ label, remark }, position) => {
        const parts = [h("b.vnb-view-code", label), h("span.vnb-grid-remark", remark)];
        return position
          ? heading("", ...parts)
          : heading(".vnb-grid-at-baseline", icon("pin"), ...parts);
      }),
    );
  }

  showCode(load = false) {
    const html = this.get("code");
    if (load && this.code.open && !html) this.send("code");
    this.codeBody.replaceChildren(html ? setTrustedHtml(h("div"), html) : "Reading…");
  }

  fit() {
    const width = this.root.clientWidth;
    this.root.classList.toggle("vnb-grid-narrow", width > 0 && width < NARROW_WIDTH_PX);
    this.place();
  }

  rowNode(row, index) {
    const node = setTrustedHtml(h("div"), row.html).firstElementChild;
    setAttribute(node, "role", "row");
    setAttribute(node, "aria-rowindex", index + 2);
    [...node.children].forEach((cell, position) => {
      cell.id = `${this.id}-${index}-${position}`;
      cell.dataset.column = position;
      setAttribute(cell, "role", position ? "gridcell" : "rowheader");
      setAttribute(cell, "aria-colindex", position + 1);
    });
    return node;
  }

  showFull(full) {
    remember(FULL_ROWS_KEY, full);
    this.filter({ full });
  }

  // Take the next step of a verdict: show the cases behind it, rate blind or add cases.
  showCases({ target }) {
    const { show, release, metric } = target.closest("[data-show]")?.dataset ?? {};
    if (show === "blind") this.blind(release);
    if (show === "add") this.send("add", { release });
    if (!show || show === "blind" || show === "add") return;
    if (metric && metric !== this.get("_head").metric) this.send("metric", { name: metric });
    this.field.value = "";
    this.filter({ search: "", states: [show], labels: {}, failures: [], release });
    this.grid.focus({ preventScroll: true });
  }

  // --- the active cell

  focusNode() {
    return super.focusNode()?.children[this.column];
  }

  chooseRelease(release) {
    this.column = this.get("_head").columns.findIndex(({ name }) => name === release) + 1;
    this.mark();
  }

  click(event) {
    const cell = event.target.closest(".vnb-grid-row > [data-column]");
    if (!cell || event.target.closest("details")) return; // a folded conversation
    const { id } = this.rows[cell.parentNode.vnbPosition];
    const action = event.target.closest("button");
    if (action) {
      if (action.dataset.replay) this.send("replay", { id, release: action.dataset.replay });
      else this.open(id);
      return;
    }
    this.grid.focus({ preventScroll: true });
    this.column = Number(cell.dataset.column);
    this.active = cell.parentNode.vnbPosition;
    this.mark();
    if (!String(window.getSelection() ?? "")) this.open(id);
  }

  key(event) {
    if (super.key(event)) return true;
    if (event.ctrlKey || event.metaKey) return false;
    const { columns, can } = this.get("_head");
    const columnStep = { l: 1, ArrowRight: 1, h: -1, ArrowLeft: -1 }[event.key];
    if (columnStep) {
      if (this.active >= 0) {
        this.column = Math.max(0, Math.min(this.column + columnStep, columns.length));
      }
      this.activate(Math.max(0, this.active));
    } else if (/^[1-5]$/.test(event.key)) this.rate((Number(event.key) - 1) / 4);
    else if (event.key === " ") this.open(this.rows[this.active]?.id);
    else if (event.key === "n" && this.isOpen) this.nextDifference();
    else if (event.key === "d" && can.includes("full")) this.filter({ inline: !this.state.inline });
    else if (event.key === "f" && can.includes("fail")) this.fail();
    else if (event.key === "m" && can.includes("note")) this.writeNote();
    else if (event.key === "a" && can.includes("set")) this.addCase();
    else if (event.key === "b" && can.includes("blind")) this.blind();
    else if (event.key === "c" && can.includes("full")) this.showFull(!this.state.full);
    else return false;
    return true;
  }

  // The release of the active cell; of the name of a case, the one that its open case marks.
  get activeColumn() {
    const { columns } = this.get("_head");
    return columns[(this.column || 2) - 1] ?? columns[0];
  }

  // Return the active answer. If there is none, activate the first row and ask for a choice.
  activeAnswer() {
    const { name: release } = this.activeColumn;
    if (this.active >= 0) return { id: this.rows[this.active].id, release };
    this.busy("Choose an answer first: j and k, h and l");
    this.activate(Math.max(0, this.active));
    return null;
  }

  get activeLabel() {
    return `case ${formatNumber(this.rows[this.active].number)} on ${this.activeColumn.label}`;
  }

  rate(quality) {
    const answer = this.activeAnswer();
    if (answer) this.send("rate", { ...answer, quality });
  }

  // --- failures: names of what is wrong with the active answer

  fail() {
    this.failing = this.activeAnswer();
    if (this.failing) this.below("failure", () => this.failurePanel());
  }

  writeNote() {
    const answer = this.activeAnswer();
    if (!answer) return;
    const { notes } = this.rows[this.active];
    this.below("note", () =>
      this.textForm({
        label: `Note on ${this.activeLabel}`,
        placeholder: "what you noticed; Escape goes back",
        maxlength: 2000,
        spellcheck: "true",
        value: (Object.hasOwn(notes, answer.release) && notes[answer.release]) || "",
        action: "Save",
        submit: (text) => {
          this.send("note", { ...answer, text });
          this.toggle("note");
          this.grid.focus({ preventScroll: true });
        },
      }),
    );
  }

  addCase() {
    const { id, number } = this.rows[Math.max(0, this.active)] ?? {};
    if (!id) return;
    if (this.active < 0) this.activate(0);
    const title = `Add case ${formatNumber(number)} to`;
    this.below("set", () => this.suitePanel(title, () => ({ id })));
  }

  failurePanel() {
    this.failureList = h("span.vnb-view-chips");
    const field = this.textForm({
      label: `Failure of ${this.activeLabel}`,
      placeholder: "what is wrong; Escape goes back",
      maxlength: 80,
      action: "Add",
      submit: (name) => {
        if (name.trim()) this.send("fail", { ...this.failing, name, has: true });
        field.value = "";
      },
      after: this.failureList,
    });
    this.showFailures();
  }

  showFailures() {
    this.offer(this.get("_head").failures.names);
    const row = this.rows.find(({ id }) => id === this.failing.id);
    const chip = ([name, label, proposed]) => {
      const toggle = () => {
        this.panel.querySelector("input").focus();
        this.send("fail", { ...this.failing, name, has: proposed });
      };
      const options = { title: proposed ? "" : "Remove", "data-key": `failure ${name}` };
      const text = proposed ? h("span", "Confirm") : h("span.vnb-sr-only", "Remove");
      const glyph = icon(proposed ? "check" : "close");
      return button(".vnb-view-chip", toggle, options, glyph, text, ` ${label}`);
    };
    replaceChildren(this.failureList, ...(row?.failures[this.failing.release] ?? []).map(chip));
  }

  draw() {
    super.draw();
    if (this.opened === "failure") this.showFailures();
  }

  // --- filters

  filterChips() {
    const { filters, labels, failures, columns } = this.get("_head");
    const { states, labels: selected, release } = this.state;
    const onRelease = columns.find(({ name }) => name === release);
    const menus = labels.map((label) => ({
      ...label,
      chosen: Object.hasOwn(selected, label.name) ? selected[label.name] : [],
      choose: (values) => this.filter({ labels: { ...selected, [label.name]: values } }),
    }));
    if (failures.values.length) {
      const choose = (values) => this.filter({ failures: values });
      menus.push({ ...failures, label: "failure", chosen: this.state.failures, choose });
    }
    const chip = (key, text, count, isPressed, onclick) => {
      const options = { "aria-pressed": String(isPressed), "data-key": key };
      const number = h("span.vnb-view-quiet", formatNumber(count));
      const check = isPressed && icon("check");
      return button(".vnb-view-chip", onclick, options, check, `${text} `, number);
    };
    const dropRelease = () => this.filter({ release: "" });
    replaceChildren(
      this.chips,
      ...filters.map(({ name, label, count }) => {
        const choose = () => this.filter({ states: name ? toggled(states, name) : [] });
        const isPressed = name ? states.includes(name) : !states.length;
        return chip(`state ${name}`, label, count, isPressed, choose);
      }),
      onRelease && chip("release", `on ${onRelease.label}`, "", true, dropRelease),
      ...menus.map(({ label, values, chosen, choose }) =>
        select(label, [["", `${label}: all`], ...values], chosen[0] ?? "", (value) =>
          choose(value ? [value] : []),
        ),
      ),
    );
  }

  // --- details of a case; blind rating, which replaces the grid

  open(id) {
    const release = this.get("_head").columns[this.column - 1]?.name ?? "";
    if (id) this.send("open", { id, release });
  }

  take(message) {
    super.take(message);
    const opened = this.get("opened");
    if (!opened || this.active >= 0) return;
    const position = this.rows.findIndex((row) => row.id === opened);
    if (this.rows.length) this.activate(Math.max(0, position));
    else this.send("close");
  }

  // Scroll the open case to its next difference, or from the end to the first one.
  nextDifference() {
    const { details } = this;
    const marks = details.querySelectorAll(
      ":is(.vnb-out-rows, .vnb-case-body, .vnb-talk) :is(ins, .vnb-caret, .vnb-flag)",
    );
    const top = details.getBoundingClientRect().top + 80;
    const tops = [...marks].map((mark) => mark.getBoundingClientRect().top - top);
    const isAtEnd = details.scrollTop + details.clientHeight >= details.scrollHeight - 1;
    const next = isAtEnd ? undefined : tops.find((distance) => distance > 8);
    details.scrollBy(0, next ?? tops[0] ?? 0);
  }

  blind(release = this.get("_head").columns[this.column - 1]?.name ?? "") {
    this.send("blind", { release });
    const deadline = Date.now() + BLIND_TIMEOUT_MS;
    waitFor(
      this,
      () => this.container?.querySelector(".vnb-blind") ?? Date.now() > deadline,
      (rating) => rating.focus?.(),
    );
  }
}

export default widget((model, el) =>
  model.get("kind") === "cases" ? new CasesGrid(model, el) : new RunsTable(model, el),
);
