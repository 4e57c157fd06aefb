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
