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
