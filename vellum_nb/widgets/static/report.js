// The cases of a report in a file: the grid's own view of rows that are already in the page.
import { CasesGrid } from "./view.js";
import { formatNumber, h, setTrustedHtml } from "./kit.js";

// Answers the view's messages in place of a kernel.
class PageModel {
  constructor(page, detail) {
    this.page = page;
    this.detail = detail;
    this.listeners = {};
    this.values = { opened: "", error: "", _head: page.head, search: "", release: "" };
    Object.assign(this.values, { states: [], labels: {}, failures: [], full: false, inline: false });
    this.sets = Object.fromEntries(
      Object.entries(page.states).map(([release, states]) => [
        release,
        Object.fromEntries(Object.entries(states).map(([name, on]) => [name, new Set(on)])),
      ]),
    );
    this.texts = new Map();
  }

  get(name) {
    return this.values[name];
  }

  on(names, listener) {
    for (const name of names.split(" ")) (this.listeners[name] ??= []).push(listener);
  }

  off() {}

  set(name, value) {
    this.values[name] = value;
    this.notify(`change:${name}`);
  }

  notify(name, message) {
    for (const listener of this.listeners[name] ?? []) listener(message);
  }

  send({ kind, ...message }) {
    if (["rows", "open", "close"].includes(kind)) this[kind](message);
  }

  rows({ view, seq, offset, limit, query }) {
    Object.assign(this.values, query);
    const numbers = this.find(query);
    const rows = numbers.slice(offset, offset + limit).map((number) => {
      const html = this.element(number).querySelector(".vnb-grid-row").outerHTML;
      return { id: `case-${number}`, number, html, failures: {} };
    });
    const [total, all] = [numbers.length, this.page.order.length];
    this.notify("msg:custom", { kind: "rows", view, seq, offset, rows, total, all });
  }

  find({ search, states, labels, failures, release }) {
    const on = this.sets[release] ?? this.sets[""];
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = Object.entries(labels).filter(([, values]) => values.length);
    return this.page.order.filter(
      (number) =>
        (!states.length || states.some((state) => on[state].has(number))) &&
        wanted.every(([name, values]) => values.includes(this.page.labels[name][number - 1])) &&
        (!failures.length ||
          failures.some((name) => this.page.failures[number - 1].includes(name))) &&
        words.every((word) => this.text(number).includes(word)),
    );
  }

  element(number) {
    return document.getElementById(`case-${number}`);
  }

  text(number) {
    if (!this.texts.has(number)) {
      this.texts.set(number, this.element(number).textContent.toLowerCase());
    }
    return this.texts.get(number);
  }

  open({ id }) {
    const title = `<b class="vnb-case-title">Case ${formatNumber(Number(id.slice(5)))}</b>`;
    setTrustedHtml(this.detail, title + document.getElementById(id).lastElementChild.outerHTML);
    this.detail.classList.remove("vnb-none");
    this.detail.scrollTop = 0;
    this.set("opened", id);
  }

  close() {
    this.detail.classList.add("vnb-none");
    this.set("opened", "");
  }
}

const data = document.getElementById("vnb-page").textContent;
const grid = h("div");
const detail = h("div", { class: "vnb vnb-case vnb-none" });
const cases = document.querySelector("#cases > .vnb-groups");
cases.before(h("div", { class: "vnb-grid-view" }, grid, detail));
cases.hidden = true;
new CasesGrid(new PageModel(JSON.parse(data), detail), grid);
