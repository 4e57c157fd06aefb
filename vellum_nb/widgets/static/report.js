// The cases of a report in a file: the grid's own view of the rows that the page has compressed.
import { CasesGrid } from "./view.js";
import { formatNumber, h, setTrustedHtml } from "./kit.js";

// Read the cases of the page as elements that are not displayed.
async function readCases() {
  const packed = atob(document.getElementById("vnb-cases").textContent);
  const blob = new Blob([Uint8Array.from(packed, (letter) => letter.charCodeAt(0))]);
  const html = new Response(blob.stream().pipeThrough(new DecompressionStream("deflate"))).text();
  return setTrustedHtml(h("template"), await html).content.firstElementChild;
}

// Answers the view's messages in place of a kernel. `page` has order, states, labels and failures.
class PageModel {
  constructor(page, cases, detail) {
    const query = { search: "", states: [], labels: {}, failures: [], release: "" };
    this.values = { ...query, full: false, inline: false, opened: "", _head: page.head };
    const lines = cases.querySelectorAll(".vnb-case-line");
    this.cases = new Map(Array.from(lines, (node) => [node.id, { node }]));
    Object.assign(this, { page, detail, listeners: {} });
  }

  text(number) {
    const line = this.cases.get(`case-${number}`);
    line.text ??= line.node.textContent.toLowerCase();
    return line.text;
  }

  get(name) {
    return this.values[name];
  }

  on(names, listener) {
    for (const name of names.split(" ")) (this.listeners[name] ??= []).push(listener);
  }

  send({ kind, ...message }) {
    if (kind === "rows") this.rows(message);
    else if (kind === "open") this.show(message.id);
    else if (kind === "close") this.show("");
  }

  notify(name, message) {
    for (const listener of this.listeners[name] ?? []) listener(message);
  }

  rows({ view, seq, offset, limit, query }) {
    Object.assign(this.values, query);
    const numbers = this.find(query);
    const rows = numbers.slice(offset, offset + limit).map((number) => {
      const id = `case-${number}`;
      const html = this.cases.get(id).node.querySelector(".vnb-grid-row").outerHTML;
      return { id, number, html, failures: {}, notes: {} };
    });
    const counts = { total: numbers.length, all: this.page.order.length };
    this.notify("msg:custom", { kind: "rows", view, seq, offset, rows, ...counts });
  }

  find({ search, states, labels, failures, release }) {
    const { page } = this;
    const on = page.states[release] ?? page.states[""];
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = Object.entries(labels).filter(([, values]) => values.length);
    return page.order.filter(
      (number) =>
        (!states.length || states.some((state) => on[state].includes(number))) &&
        chosen.every(([name, values]) => values.includes(page.labels[name][number - 1])) &&
        (!failures.length || failures.some((name) => page.failures[number - 1].includes(name))) &&
        words.every((word) => this.text(number).includes(word)),
    );
  }

  show(id) {
    this.detail.classList.toggle("vnb-none", !id);
    if (id) {
      const title = `<b class="vnb-case-title">Case ${formatNumber(Number(id.slice(5)))}</b>`;
      setTrustedHtml(this.detail, title + this.cases.get(id).node.lastElementChild.outerHTML);
      this.detail.scrollTop = 0;
    }
    this.values.opened = id;
    this.notify("change:opened");
  }
}

async function start() {
  const need = document.getElementById("vnb-cases-need");
  if (!("DecompressionStream" in window)) return null;
  const cases = await readCases().catch(() => null);
  if (!cases) {
    need.textContent = "The cases in this file are damaged.";
    return null;
  }
  need.hidden = true;
  const [grid, detail] = [h("div"), h("div.vnb.vnb-case.vnb-none")];
  need.after(h("div.vnb-grid-view", grid, detail));
  const showRows = (isPrinted) => (isPrinted ? need.after(cases) : cases.remove());
  addEventListener("beforeprint", () => showRows(true));
  addEventListener("afterprint", () => showRows(false));
  matchMedia("print").addEventListener("change", (event) => showRows(event.matches));
  const page = JSON.parse(document.getElementById("vnb-page").textContent);
  const view = new CasesGrid(new PageModel(page, cases, detail), grid);
  addEventListener("keydown", (event) => {
    const { key } = event;
    if (event.target !== document.body || event.ctrlKey || event.metaKey) return;
    if (!["j", "k", "/"].includes(key)) return;
    event.preventDefault();
    view.grid.dispatchEvent(new KeyboardEvent("keydown", { key }));
  });
  return view;
}

start();
