// The grid of a comparison: summary, filters, cases down and releases across.
import { figure, h, icon, plural, resync, say, select } from "./kit.js";

const VERDICTS = { worse: "down-arrow", better: "up-arrow", missing: "CANCELLED", alone: "CANCELLED", error: "FAILED" };

// The top of the grid: a row a release with its bar, its words, its interval and its figures.

function summaryTable(summary) {
  const score = summary.metric;
  const columns = [["release", ""], [`${figure(summary.cases)} ${plural(summary.cases, "case")}${score ? ", better · same · worse" : ""}`, "vnb-grid-bar-head"], ["", ""]];
  if (score) columns.push([axisHead(summary), "vnb-grid-axis-head"], [`mean ${score}`, "vnb-grid-number"], ["p", "vnb-grid-number"]);
  columns.push(["median latency", "vnb-grid-number"]);
  const costs = summary.releases.some((release) => release.cost);
  if (costs) columns.push(["mean cost", "vnb-grid-number"]);
  const head = h("tr", {}, columns.map(([text, cls], at) => (at === 2 ? h("td") : h("th", { scope: "col", class: cls }, text))));
  const rows = summary.releases.map((release) => h("tr", { "data-release": release.name },
    h("th", { scope: "row", class: "vnb-grid-who" }, h("b", {}, release.label), release.baseline ? h("span", {}, " baseline") : null, release.same.length ? h("span", {}, ` = ${release.same.join(" = ")}`) : null),
    h("td", { class: "vnb-grid-bar-cell" }, release.parts.length ? bar(release.parts) : h("span", { class: "vnb-grid-quiet" }, release.counts)),
    h("td", { class: "vnb-grid-words" }, words(release)),
    ...(score ? [h("td", { class: "vnb-grid-plot-cell" }, plot(summary, release)), number(release.mean, release.mean_delta, `mean ${score}`), number(release.p, "", "p", release.p_told)] : []),
    number(release.latency, release.latency_delta, "median latency"),
    ...(costs ? [number(release.cost, release.cost_delta, "mean cost")] : []),
  ));
  return h("table", { class: "vnb-grid-summary", "aria-label": "Releases against the baseline" }, h("thead", {}, head), h("tbody", {}, rows));
}

function bar(parts) {
  return h("span", { class: "vnb-grid-bar", "aria-hidden": "true" }, parts.map(([kind, text, count]) => h("span", { class: `vnb-grid-part vnb-grid-${kind}`, style: `flex-grow:${count}` }, text)));
}

// The first count stands out; the sentence under it says what to make of them.
function words(release) {
  if (release.baseline) return [h("span", { class: "vnb-grid-remark" }, [release.words, release.remark].filter(Boolean).join(" · "))];
  const [first, ...rest] = release.words.split(" · ");
  return [h("b", {}, first), rest.length ? ` · ${rest.join(" · ")}` : null, release.remark ? h("span", { class: "vnb-grid-remark" }, release.remark) : null];
}

function number(value, delta, label, title) {
  return h("td", { class: "vnb-grid-number", "data-label": label, title: title || null }, value, delta ? h("span", { class: "vnb-grid-delta" }, ` ${delta}`) : null);
}

function place(axis, value) { return 100 * (value - axis.low) / (axis.high - axis.low); }

function axisHead(summary) {
  const axis = summary.axis;
  const name = h("span", {}, `difference in ${summary.metric}, 95\u00a0%`);
  if (!axis) return name;
  const ticks = h("span", { class: "vnb-grid-ticks", "aria-hidden": "true" }, axis.ticks.map(([value, text]) => h("span", { style: `left:${place(axis, value)}%` }, text)));
  return h("span", {}, name, ticks);
}

function plot(summary, release) {
  const axis = summary.axis;
  if (!axis) return null;
  const band = release.baseline ? summary.band?.widest : summary.band?.of[release.name];
  const parts = [];
  if (band) parts.push(h("span", { class: "vnb-grid-band", style: `left:${place(axis, -band)}%;width:${place(axis, band) - place(axis, -band)}%` }));
  parts.push(h("span", { class: "vnb-grid-zero", style: `left:${place(axis, 0)}%` }));
  let label = "";
  if (release.interval) {
    const [low, mean, high] = release.interval;
    parts.push(h("span", { class: "vnb-grid-interval", style: `left:${place(axis, low)}%;width:${place(axis, high) - place(axis, low)}%` }), h("span", { class: "vnb-grid-dot", style: `left:${place(axis, mean)}%` }));
    label = `difference ${mean.toPrecision(2)}, 95 % interval ${low.toPrecision(2)} to ${high.toPrecision(2)}`;
  } else if (release.baseline && summary.band) {
    const at = place(axis, band ?? 0);
    parts.push(h("span", { class: "vnb-grid-band-text", style: at < 45 ? `left:calc(${at}% + 6px)` : `right:calc(${100 - place(axis, -(band ?? 0))}% + 6px)` }, summary.band.text));
    label = summary.band.text;
  }
  return h("span", { class: "vnb-grid-plot", role: "img", "aria-label": label || "no interval", title: label || null }, parts);
}

// One row of the grid: the case, then an answer a release with its difference, verdict and chips.

const MARKS = { "+": ["ins", "+"], "-": ["del", "\u2212"] };

function pieceNodes(pieces) {
  const nodes = [];
  let before = "";
  for (const [mark, text] of pieces) {
    if (mark === "~") nodes.push(h("span", { class: "vnb-grid-cut", title: `${text} left out here` }, "…"));
    else if (mark === "@") nodes.push(h("span", { class: "vnb-grid-name" }, text));
    else if (mark === "=") nodes.push(text);
    else {
      const [tag, sign] = MARKS[mark];
      if (mark === "+" && before === "-") nodes.push(" ");  // so that the two are not read as one word
      nodes.push(h(tag, { class: `vnb-${tag}` }, h("b", { class: "vnb-mark" }, sign), h("span", {}, text)));
    }
    before = mark;
  }
  return nodes;
}

function outputNodes(outputs) {
  const blocks = [];
  let line = null;
  for (const output of outputs) {
    const name = h("span", { class: output.told ? "vnb-grid-name" : "vnb-grid-heard" }, `${output.name}: `);
    const note = output.note ? h("span", { class: "vnb-grid-note" }, output.note === "new" ? " new output" : " output missing") : null;
    const body = [name, ...pieceNodes(output.pieces), note];
    if (!output.inline) {
      line = null;
      blocks.push(h("div", { class: "vnb-grid-text", dir: "auto", title: output.name }, body));
    } else {
      if (line) line.append(h("span", { class: "vnb-grid-between", "aria-hidden": "true" }, " · "));
      else blocks.push(line = h("div", { class: "vnb-grid-text" }));
      line.append(h("span", { class: "vnb-grid-inline", title: output.name }, body));
    }
  }
  return blocks;
}

function chip(text, tone, title, name) {
  return h("span", { class: `vnb-grid-chip ${tone ? `vnb-grid-is-${tone}` : ""}`, title: title || null }, name ? icon(name) : null, text);
}

function caseCell(row, options) {
  const labels = row.labels.map(([name, value]) => chip(value, "", `${name}: ${value}`));
  const inputs = row.inputs.map(([name, text]) => h("div", { class: "vnb-grid-input", dir: "auto" }, name ? h("span", { class: "vnb-grid-name" }, `${name}: `) : null, text));
  return h("div", { role: "rowheader", class: "vnb-grid-cell vnb-grid-case", ...options },
    h("div", { class: "vnb-grid-caption" }, h("span", { class: "vnb-grid-quiet" }, `case ${figure(row.n)}`), labels, row.unstable ? chip("unstable", "warn", "Repeats on one release brought different answers", "unstable") : null),
    inputs, row.more ? h("div", { class: "vnb-grid-quiet" }, `${row.more} inputs more`) : null);
}

// `act`: replay(release), open().
function answerCell(cell, column, options, act) {
  const tag = h("span", { class: "vnb-grid-tag" }, column.label, cell.kind === "baseline" ? h("span", { class: "vnb-grid-remark" }, " baseline") : null, " ");
  const busy = cell.busy ? h("div", { class: "vnb-grid-quiet" }, cell.busy) : null;
  const problem = cell.problem ? h("div", { class: "vnb-grid-problem" }, icon("FAILED"), ` ${cell.problem}`) : null;
  const node = h("div", { role: "gridcell", class: `vnb-grid-cell vnb-grid-at-${cell.kind}`, ...options }, tag);
  const verdict = h("div", { class: "vnb-grid-verdict" }, cell.word ? [icon(VERDICTS[cell.kind] ?? cell.kind), h("span", {}, cell.word)] : null, h("span", { class: "vnb-grid-latency" }, cell.latency ?? ""));
  if (cell.word) node.append(verdict);
  else if (cell.latency) node.append(h("span", { class: "vnb-grid-latency vnb-grid-aside" }, cell.latency));
  if (cell.kind === "missing") {
    const replay = cell.replay && !cell.busy ? h("button", { type: "button", class: "vnb-grid-button", onclick: () => act.replay(column.name) }, icon("play"), `Run this case on ${column.label}`) : null;
    node.append(...[h("div", { class: "vnb-grid-quiet" }, cell.gap), cell.error ? h("div", { class: "vnb-grid-problem" }, cell.error) : null, replay, busy, problem].filter(Boolean));
    return node;
  }
  const more = cell.cut ? h("button", { type: "button", class: "vnb-grid-link", tabindex: "-1", onclick: () => act.open() }, "show all") : null;
  const chips = [...cell.chips.map(([text, tone, title]) => chip(text, tone, title)),
    cell.unstable ? chip(cell.unstable, "warn", "Repeats on this release brought different answers", "unstable") : null,
    cell.quality === null || cell.quality === undefined ? null : chip(`rated ${Number(cell.quality).toFixed(2)}`, "", "How a person rated this answer, from 0 to 1")].filter(Boolean);
  node.append(...[
    cell.error ? h("div", { class: "vnb-grid-problem" }, icon("FAILED"), ` ${cell.error}`) : null,
    ...outputNodes(cell.outputs), more,
    chips.length ? h("div", { class: "vnb-grid-chips" }, chips) : null,
    busy, problem].filter(Boolean));
  return node;
}

// The rows in sight. They differ in height: each is measured when it is drawn, and what is being
// read stays where it is when rows above it turn out taller or lower than was thought.

const GUESS = 132;
const MARGIN = 4;  // rows
const BATCH = 16;
const KEPT = 400;

class Body {
  // `host`: ask(offset, limit, generation), draw(row, index) -> node, moved(first, last).
  constructor(host, grid, head, id) {
    Object.assign(this, { host, grid, head, id, total: 0, generation: 0, guess: GUESS, active: -1, column: 2, columns: 3 });
    this.rows = new Map();
    this.nodes = new Map();
    this.heights = this.tops = new Float64Array(1);
    this.anchor = [0, 0];  // the first row in sight, and how much of it is above the edge
    this.pending = null;
    this.space = h("div", { role: "rowgroup", class: "vnb-grid-space" });
    grid.append(this.space);
    grid.addEventListener("scroll", () => this.scrolled());
    for (const name of ["wheel", "pointerdown", "touchstart"]) grid.addEventListener(name, () => { this.reveal = null; }, { passive: true });
    this.observer = new ResizeObserver(() => this.resized());
    this.observer.observe(grid);
  }

  close() { this.observer.disconnect(); cancelAnimationFrame(this.frame); }

  get room() { return (this.grid.clientHeight || 600) - this.head.offsetHeight; }

  resized() {
    const width = this.grid.clientWidth;
    if (!width) return;
    if (width !== this.width) { this.width = width; this.heights.fill(NaN); this.stack(); }
    this.schedule();
  }

  scrolled() {
    if (this.grid.clientHeight && Math.abs(this.grid.scrollTop - this.set) > 1) this.hold();
    this.schedule();
  }

  // Note what is at the upper edge.
  hold() {
    const top = this.grid.scrollTop;
    const index = this.rowAt(top);
    this.anchor = [index, top - (this.tops[index] ?? 0)];
    this.set = top;
  }

  schedule() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.draw());
  }

  // Another filter or another order: nothing that was loaded counts any more.
  restart() {
    this.generation += 1;
    this.rows.clear();
    this.active = -1;
    this.anchor = [0, 0];
    this.reveal = null;
    this.pending = [0, BATCH];
    this.grid.setAttribute("aria-busy", "true");
    this.host.ask(0, BATCH, this.generation);
  }

  // The same rows may say something else now; what is shown stays until they come.
  refresh() {
    this.generation += 1;
    this.stale = true;
    const [first, last] = this.span();
    this.pending = [first, Math.max(last, first + BATCH)];
    this.host.ask(first, this.pending[1] - first, this.generation);
  }

  take(message) {
    if (message.seq !== this.generation) return;
    if (this.stale || message.total !== this.total) { this.rows.clear(); this.stale = false; }
    message.rows.forEach((row, at) => this.rows.set(message.offset + at, row));
    this.pending = null;
    this.grid.removeAttribute("aria-busy");
    if (message.total !== this.total || this.heights.length !== this.total) this.size(message.total);
    this.forget(message.offset);
    this.draw();
  }

  size(total) {
    this.total = total;
    this.heights = new Float64Array(total).fill(NaN);
    this.tops = new Float64Array(total + 1);
    this.grid.setAttribute("aria-rowcount", total + 1);
    if (this.active >= total) this.active = total - 1;
    this.stack();
  }

  forget(near) {
    if (this.rows.size <= KEPT) return;
    const far = [...this.rows.keys()].sort((a, b) => Math.abs(b - near) - Math.abs(a - near));
    for (const index of far.slice(0, this.rows.size - KEPT)) this.rows.delete(index);
  }

  stack() {
    let top = 0;
    for (let index = 0; index < this.total; index += 1) {
      this.tops[index] = top;
      const height = this.heights[index];
      top += height === height ? height : this.guess;
    }
    this.tops[this.total] = top;
    this.space.style.height = `${Math.max(1, top)}px`;
  }

  rowAt(top) {
    let low = 0;
    let high = Math.max(0, this.total - 1);
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.tops[middle] <= top) low = middle; else high = middle - 1;
    }
    return low;
  }

  span() {
    if (!this.total) return [0, 0];
    const top = this.grid.scrollTop;
    return [this.rowAt(top), Math.min(this.total, this.rowAt(top + this.room) + 1)];
  }

  draw() {
    if (this.grid.clientHeight === 0 && this.total) return;  // hidden, as in a tab
    for (let round = 0; round < 6; round += 1) {
      this.settle();
      const [first, last] = this.span();
      this.place(Math.max(0, first - 1), Math.min(this.total, last + 1));
      if (!this.measure()) break;
    }
    this.settle();
    const [first, last] = this.span();
    this.host.moved(first, last);
    this.mark();
    this.fetch(first, last);
  }

  // Scroll so that the row that is held stays where it is, or the one that is wanted is in sight.
  settle() {
    if (this.reveal !== null && this.reveal !== undefined) {
      const [top, bottom] = [this.tops[this.reveal], this.tops[this.reveal + 1]];
      const now = this.tops[this.anchor[0]] + this.anchor[1];
      if (top < now || bottom - top > this.room) this.to(top);
      else if (bottom > now + this.room) this.to(bottom - this.room);
      else this.to(now);
      this.hold();
    } else this.to((this.tops[this.anchor[0]] ?? 0) + this.anchor[1]);
  }

  to(top) {
    if (Math.abs(this.grid.scrollTop - top) > 0.5) this.grid.scrollTop = top;
    this.set = this.grid.scrollTop;
  }

  place(first, last) {
    const keep = new Set();
    for (let index = first; index < last; index += 1) keep.add(this.drawRow(index));
    for (const [key, node] of this.nodes) if (!keep.has(key)) { node.remove(); this.nodes.delete(key); }
    [...keep].forEach((key, at) => {  // screen readers go by the order of the nodes
      const node = this.nodes.get(key);
      if (this.space.children[at] !== node) this.space.insertBefore(node, this.space.children[at] ?? null);
    });
  }

  drawRow(index) {
    const row = this.rows.get(index);
    const key = row ? row.id : `row ${index}`;
    const content = `${index} ${row ? JSON.stringify(row) : ""} ${this.host.look}`;
    let node = this.nodes.get(key);
    if (!node || node.vnbContent !== content) {
      const made = this.host.draw(row, index);
      node?.replaceWith(made);
      node = made;
      node.vnbContent = content;
      node.vnbIndex = index;
      node.vnbLoaded = Boolean(row);
      this.nodes.set(key, node);
      if (!node.isConnected) this.space.append(node);
    }
    node.style.transform = `translateY(${this.tops[index]}px)`;
    node.style.minHeight = row ? "" : `${this.guess}px`;
    return key;
  }

  // Return whether a row has another height than was thought.
  measure() {
    let changed = false;
    const found = [...this.nodes.values()].filter((node) => node.vnbLoaded).map((node) => [node.vnbIndex, node.offsetHeight]);
    for (const [index, height] of found) {
      if (this.heights[index] !== height) { this.heights[index] = height; changed = true; }
    }
    if (!this.guessed && found.length > 2) {
      this.guessed = true;
      this.guess = Math.round(found.reduce((sum, [, height]) => sum + height, 0) / found.length);
      changed = true;
    }
    if (changed) this.stack();
    return changed;
  }

  fetch(first, last) {
    let from = Math.max(0, first - MARGIN);
    const to = Math.min(this.total, last + MARGIN);
    while (from < to && this.rows.has(from)) from += 1;
    if (from >= to || this.stale) return;
    if (this.pending && this.pending[0] <= from && from < this.pending[1]) return;
    // Upwards the batch ends where rows are known; downwards it goes on.
    this.pending = [from, Math.max(to, from + BATCH)];
    this.host.ask(from, this.pending[1] - from, this.generation);
  }

  // --- the active cell

  move(rows, columns) { this.go(this.active + rows, this.column + columns); }

  go(index, column = this.column) {
    if (!this.total) return;
    this.active = Math.max(0, Math.min(index, this.total - 1));
    this.column = Math.max(0, Math.min(column, this.columns - 1));
    this.reveal = this.active;
    this.draw();
    this.cell()?.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.reveal = this.active;
  }

  cell() {
    const row = this.rows.get(this.active);
    return row ? this.nodes.get(row.id)?.children[this.column] : null;
  }

  mark() {
    for (const node of this.space.querySelectorAll(".vnb-grid-active")) node.classList.remove("vnb-grid-active");
    const cell = this.cell();
    if (!cell) { this.grid.removeAttribute("aria-activedescendant"); return; }
    cell.classList.add("vnb-grid-active");
    this.grid.setAttribute("aria-activedescendant", cell.id);
  }

  replace(row) {
    for (const [index, old] of this.rows) if (old.id === row.id) this.rows.set(index, row);
    this.draw();
  }
}

// The grid of a comparison: heading, columns, rows, keys; `Body` says which rows are drawn.

const NARROW = 640;
const DEBOUNCE_MS = 250;
const RATING_MS = 5000;  // in which a rating that was asked for comes
const CHIPS = 6;  // label values that stand side by side; more are a list to choose from
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
    else if (message.kind === "status") say(this.told, message.text);
    else if (message.kind === "exported") this.exported(message);
    else if (message.kind === "back") this.returned();
    else if (message.kind === "filter") this.filter({ states: message.states });
  }

  take(message) {
    this.all = message.all;
    this.body.take(message);
    const order = this.get("_head").order;
    say(this.count, message.total === message.all ? `${figure(message.all)} ${plural(message.all, "case")}, ${order}` : `${figure(message.total)} of ${figure(message.all)} ${plural(message.all, "case")}, ${order}`);
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
    say(this.where, total ? `${plural(last - first, "case")} ${range} of ${figure(total)}` : "");
  }

  note(text = this.get("error")) {
    this.alert.hidden = !text;
    this.alert.replaceChildren(...(text ? [icon("FAILED"), h("span", {}, text)] : []));
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
    this.summary.replaceChildren(summaryTable(head.summary), ...head.summary.notes.map((text) => h("div", { class: "vnb-grid-notice" }, icon("FAILED"), ` ${text}`)));
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

  // --- filters

  filterChips() {
    const { filters, labels } = this.get("_head");
    const focused = this.chips.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const chips = filters.map(({ name, label, count }) => this.toggle(`state ${name}`, [label, " ", h("span", { class: "vnb-grid-quiet" }, figure(count))], this.query.states.includes(name), (on) => {
      this.filter({ states: on ? [...this.query.states, name] : this.query.states.filter((each) => each !== name) });
    }));
    for (const label of labels) chips.push(h("span", { class: "vnb-grid-divider" }), this.labelGroup(label));
    this.chips.replaceChildren(...chips);
    if (focused) [...this.chips.querySelectorAll("[data-key]")].find((node) => node.dataset.key === focused)?.focus();
  }

  toggle(key, content, on, changed) {
    return h("button", { type: "button", class: "vnb-grid-toggle", "aria-pressed": String(on), "data-key": key, onclick: () => changed(!on) }, on ? icon("check") : null, content);
  }

  labelGroup({ name, label, values, more }) {
    const chosen = this.query.labels[name] ?? [];
    const choose = (picked) => {
      const labels = { ...this.query.labels, [name]: picked };
      if (!picked.length) delete labels[name];
      this.filter({ labels });
    };
    if (values.length + more <= CHIPS) {
      return h("span", { class: "vnb-grid-group", role: "group", "aria-label": label }, h("span", { class: "vnb-grid-quiet" }, label), values.map(([value, text, count]) => this.toggle(`${name} ${value}`, [text, " ", h("span", { class: "vnb-grid-quiet" }, figure(count))], chosen.includes(value), (on) => choose(on ? [...chosen, value] : chosen.filter((each) => each !== value)))));
    }
    const options = [["", "all"], ...values.map(([value, text, count]) => [value, `${text} (${figure(count)})`])];
    return h("label", { class: "vnb-grid-group" }, h("span", { class: "vnb-grid-quiet" }, label), select(label, options, chosen[0] ?? "", (value) => choose(value ? [value] : [])));
  }

  filter(part) {
    this.query = { ...this.query, ...part };
    this.filterChips();
    this.body.restart();
  }

  typed(wait) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { if (this.field.value !== this.query.search) this.filter({ search: this.field.value }); }, wait);
  }

  fieldKey(event) {
    if (event.key === "Enter") this.typed(0);
    else if (event.key === "Escape" && this.field.value) { this.field.value = ""; this.typed(0); }
    else if (event.key === "ArrowDown") { this.grid.focus(); this.body.go(Math.max(0, this.body.active)); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // --- the case in full

  dress() {
    this.full = this.whole?.querySelector(".vnb-case") ?? null;
    if (!this.full) return;
    this.full.setAttribute("role", "region");
    this.full.setAttribute("aria-label", "The case in full");
    this.full.setAttribute("tabindex", "-1");
    if (this.full.querySelector(":scope > .vnb-grid-shut")) return;
    // At the end: Jupyter counts the nodes before those of its widgets.
    this.full.append(h("button", { type: "button", class: "vnb-grid-shut", "aria-label": "Close the case (Escape)", title: "Close (Escape)", onclick: () => this.send("close") }, icon("close")));
  }

  opened() {
    this.dress();
    if (!this.get("opened")) { if (!this.root.contains(document.activeElement)) this.grid.focus({ preventScroll: true }); return; }
    if (!this.wanted) return;
    this.wanted = false;
    say(this.told, "The case is shown in full below; Escape closes it");
    requestAnimationFrame(() => this.full?.scrollIntoView({ block: "nearest" }));
  }

  // --- the blind rating, which stands in the place of the grid

  blind() {
    const column = this.get("_head").columns[this.body.column - 1];
    this.send("blind", { release: column?.name ?? "" });
    const until = Date.now() + RATING_MS;
    const focus = () => {
      const rating = this.whole?.querySelector(".vnb-blind");
      if (rating) rating.focus();
      else if (Date.now() < until) requestAnimationFrame(focus);
    };
    focus();
  }

  returned() { requestAnimationFrame(() => this.grid.focus({ preventScroll: true })); }

  // --- export

  toggleExport() {
    this.panel.hidden = !this.panel.hidden;
    this.exportButton.setAttribute("aria-expanded", String(!this.panel.hidden));
    if (this.panel.hidden) return;
    const { formats, title } = this.get("_head");
    const stem = `${title.replace(/[^\w.-]+/g, "-") || "comparison"}-compared`;
    const field = h("input", { type: "text", class: "vnb-grid-field", "aria-label": "File to write", spellcheck: "false" });
    field.value = stem + formats[0].suffix;
    let format = formats[0].name;
    const kind = select("Format", formats.map((each) => [each.name, each.label]), format, (name) => {
      format = name;
      field.value = field.value.replace(/\.[a-z]+$/, "") + formats.find((each) => each.name === name).suffix;
    });
    this.outcome = h("span", { role: "status", class: "vnb-grid-outcome" });
    const save = () => { this.outcome.className = "vnb-grid-outcome"; say(this.outcome, "Writing…"); this.send("export", { format, path: field.value }); };
    field.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); save(); } });
    this.panel.replaceChildren(h("span", {}, `All ${figure(this.all ?? 0)} ${plural(this.all, "case")} as`), kind, h("span", {}, "to"), field, h("button", { type: "button", class: "vnb-grid-button", onclick: save }, "Write"), this.outcome);
    this.panel.onkeydown = (event) => { if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); this.toggleExport(); this.exportButton.focus(); } };
    field.focus();
  }

  exported(message) {
    if (!this.outcome) return;
    this.outcome.classList.toggle("vnb-grid-bad", Boolean(message.error));
    this.outcome.replaceChildren(...(message.error ? [icon("FAILED"), ` ${message.error}`] : [icon("FULFILLED"), ` Wrote ${figure(message.count)} ${plural(message.count, "case")} to `, h("span", { class: "vnb-grid-code" }, message.path)]));
  }
}

export default {
  render({ model, el }) {
    resync(model);
    const grid = new Grid(model, el);
    return () => grid.close();
  },
};
