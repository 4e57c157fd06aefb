// The cases of a report in a file: the grid's own view of rows that are already in the page.
import { CasesGrid } from "./view.js";
import { formatNumber, h, setTrustedHtml } from "./kit.js";

function element(number) {
  return document.getElementById(`case-${number}`);
}

function text(number) {
  const node = element(number);
  node.vnbText ??= node.textContent.toLowerCase();
  return node.vnbText;
}

// Answers the view's messages in place of a kernel. `page` has order, states, labels and failures.
class PageModel {
  constructor(page, detail) {
    const query = { search: "", states: [], labels: {}, failures: [], release: "" };
    this.values = { ...query, full: false, inline: false, opened: "", _head: page.head };
    Object.assign(this, { page, detail, listeners: {} });
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
      const html = element(number).querySelector(".vnb-grid-row").outerHTML;
      return { id: `case-${number}`, number, html, failures: {} };
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
        words.every((word) => text(number).includes(word)),
    );
  }

  show(id) {
    this.detail.classList.toggle("vnb-none", !id);
    if (id) {
      const title = `<b class="vnb-case-title">Case ${formatNumber(Number(id.slice(5)))}</b>`;
      setTrustedHtml(this.detail, title + document.getElementById(id).lastElementChild.outerHTML);
      this.detail.scrollTop = 0;
    }
    this.values.opened = id;
    this.notify("change:opened");
  }
}

function start() {
  const page = JSON.parse(document.getElementById("vnb-page").textContent);
  const cases = document.querySelector("#cases > .vnb-groups");
  const [grid, detail] = [h("div"), h("div", { class: "vnb vnb-case vnb-none" })];
  cases.before(h("div", { class: "vnb-grid-view" }, grid, detail));
  cases.hidden = true;
  return new CasesGrid(new PageModel(page, detail), grid);
}

start();
