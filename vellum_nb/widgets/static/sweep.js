// The live view of a sweep. Built once; after that only texts, widths and attributes change, so
// that nothing jumps and the focus stays where it is. All text goes in as text.
import { Drawn, figure, h, icon, onKernelEnd, put, redraw, say, widget } from "./kit.js";

const FIGURES = [["done", "done"], ["failed", "failed"], ["running", "running"], ["to_go", "to go"], ["median", "median s"], ["cost", "cost $"]];
const KINDS = ["done", "failed", "running"];
const CELLS = ["time", "tag", "state", "seconds", "case", "short", "text"];
const LATEST = 5;
const PATIENCE_MS = 1500;
const ACTIVE = ["running", "paused", "stopping"];

const clock = (t) => t.toLocaleTimeString("en-GB");
// The day too, where it is not today.
const moment = (t) => (t.toDateString() === new Date().toDateString() ? clock(t) : `${t.toLocaleDateString("sv")} ${clock(t)}`);

function span(name, role, ...children) { return h("span", { class: `vnb-sweep-${name}`, role }, ...children); }
function div(name, role, ...children) { return h("div", { class: `vnb-sweep-${name}`, role }, ...children); }

class View extends Drawn {
  constructor(model, el) {
    super(model, el);
    this.rows = [];
    this.build();
    el.append(this.root);
    this.on("change:view_model change:hint change:error", () => this.show());
    this.on("msg:custom", ({ kind }) => {
      if (kind !== "received") return;
      clearTimeout(this.timer);
      this.timer = 0;
      this.showButtons(this.model.get("view_model").state);
    });
    onKernelEnd(this, () => { this.ended = true; this.show(); });
    this.show();
  }

  build() {
    this.facts = span("facts");
    this.hint = span("hint", "note");
    this.pause = this.button("pause");
    this.stop = this.button("stop");
    this.buttons = span("buttons", null, this.pause, this.stop);
    this.alert = h("div", { class: "vnb-notice", role: "alert" }, icon("FAILED"), h("span"));
    this.resumed = div("resumed");
    this.plan = h("span", { role: "columnheader" });
    this.table = div("table", "table", div("row vnb-sweep-heads", "row", h("span", { role: "columnheader" }, "release tag"), this.plan,
      FIGURES.map(([name, label]) => span(`figure vnb-sweep-${name}`, "columnheader", label))));
    this.status = span("status", "status");
    const legend = div("legend", null, ...[...KINDS, "to go"].map((kind) => h("span", { "aria-hidden": "true" },
      h("i", { class: `vnb-sweep-${kind.replace(" ", "-")}` }), kind)), this.status);
    this.sums = div("sums");
    this.latest = div("latest", "table");
    this.outputs = Array.from({ length: LATEST }, () => {
      const cells = Object.fromEntries(CELLS.map((name) => [name, span(name, "cell")]));
      cells.state.append(icon(""), h("span"));
      const row = div("output", "row", ...Object.values(cells));
      this.latest.append(row);
      return { row, ...cells };
    });
    put(this.table, "aria-label", "Release tags");
    put(this.latest, "aria-label", "Latest outputs");
    this.root = h("div", { class: "vnb-sweep", role: "region", "data-lm-suppress-shortcuts": "true" },
      div("head", null, h("b", {}, "Sweep"), this.facts, this.hint, this.buttons), this.alert, this.resumed, this.table, legend,
      this.sums, div("title", null, h("b", {}, "Latest outputs"), h("span", {}, `newest first, the last ${LATEST}`)), this.latest);
  }

  // aria-disabled, not disabled: a button that is disabled loses the focus.
  button(name) {
    const onclick = (event) => {
      const second = event.detail > 1;  // of a double click: it was meant for what stood there before
      if (button.getAttribute("aria-disabled") === "true" || second) return;
      this.model.send({ kind: button.dataset.act });
      clearTimeout(this.timer);
      this.timer = setTimeout(() => say(this.hint, "the kernel is busy and will do this later; interrupt it to stop now"), PATIENCE_MS);
    };
    const button = h("button", { type: "button", class: `vnb-sweep-${name}`, onclick }, icon(""), h("span"));
    return button;
  }

  show() {
    const now = this.model.get("view_model");
    if (!now.state) return;
    put(this.root, "aria-label", `Sweep of ${now.title}`);
    say(this.facts, [now.title, now.runs, ...(now.began ? [`started ${clock(new Date(now.began))}`] : [])].join(" · "));
    this.showButtons(now.state);
    this.showNotices(now);
    say(this.plan, now.plan);
    now.tags.forEach((tag, at) => this.showTag((this.rows[at] ??= this.tagRow()), tag));
    now.sums.forEach((sum, at) => this.showSum(this.sums.children[at] ?? this.sum(sum.label), sum, now.cost));
    say(this.status, this.ended && ACTIVE.includes(now.state) ? "as it was when the kernel ended" : now.status);
    this.outputs.forEach((output, at) => this.showOutput(output, now.latest[at]));
  }

  showButtons(state) {
    const ended = this.ended && state !== "done" && "the kernel has ended: run the cells again and the sweep goes on";
    const hint = ended || this.model.get("hint");
    if (hint || !this.timer) say(this.hint, hint);
    this.buttons.hidden = Boolean(hint);
    const offer = (button, act, label, enabled) => {
      button.dataset.act = act;
      put(button, "aria-disabled", !enabled);
      redraw(button.firstChild, { cut: "stop", resume: "play" }[act] ?? act);
      say(button.lastChild, label);
    };
    const waits = ["paused", "stopped", "ready"].includes(state);
    if (waits) offer(this.pause, "resume", "Resume", true);
    else offer(this.pause, "pause", "Pause", state === "running");
    const cut = state === "stopping";
    offer(this.stop, cut ? "cut" : "stop", cut ? "Cut off" : "Stop", ACTIVE.includes(state));
    this.stop.title = cut ? "Do not wait for what runs; it is looked up when the sweep is resumed" : "";
    this.root.dataset.state = state;
  }

  showNotices(now) {
    const text = this.model.get("error") || now.notice;
    this.alert.hidden = !text;
    say(this.alert.lastChild, text);
    this.resumed.hidden = !now.resumed.length;
    const key = JSON.stringify([now.resumed, now.lost]);
    if (this.resumed.dataset.key === key) return;
    this.resumed.dataset.key = key;
    const parts = now.resumed.map(([part, bold]) => (bold ? h("b", {}, part) : part));
    this.resumed.replaceChildren(icon("FULFILLED"), h("span", {}, parts));
    if (now.lost) this.resumed.append(h("small", { title: "Its last sign of life" }, `the kernel was lost at ${moment(new Date(now.lost))}`));
  }

  tagRow() {
    const [name, note] = [h("b"), h("span")];
    const bar = h("div", { role: "progressbar", class: "vnb-sweep-bar", "aria-valuemin": 0 }, KINDS.map((kind) => h("i", { class: `vnb-sweep-${kind}` })));
    const figures = FIGURES.map(([key]) => span(`figure vnb-sweep-${key}`, "cell"));
    this.table.append(div("row", "row", span("name", "rowheader", name, " ", note), span("cell", "cell", bar), ...figures));
    return { name, note, bar, figures };
  }

  showTag({ name, note, bar, figures }, tag) {
    say(name, tag.tag);
    say(note, tag.note);
    const words = FIGURES.slice(0, 4).map(([key, label]) => `${figure(tag[key])} ${label}`).join(", ");
    const states = { label: tag.tag, valuemax: tag.planned, valuenow: tag.done + tag.failed, valuetext: words };
    for (const [key, value] of Object.entries(states)) put(bar, `aria-${key}`, value);
    KINDS.forEach((kind, at) => {
      bar.children[at].hidden = !tag[kind];
      bar.children[at].style.width = `${(100 * tag[kind]) / tag.planned}%`;
    });
    FIGURES.forEach(([key], at) => {
      say(figures[at], figure(tag[key]));
      figures[at].classList.toggle("vnb-sweep-none", tag[key] === 0);
      figures[at].classList.toggle("vnb-sweep-bad", key === "failed" && tag[key] > 0);
    });
  }

  sum(label) {
    const group = h("div", {}, span("label", null, label), div("value", null, h("span"), " ", h("small")),
      div("below", null, span("used", null, h("i")), h("span")));
    this.sums.append(group);
    return group;
  }

  showSum(group, sum, cost) {
    const [, value, below] = group.children;
    say(value.firstChild, sum.value);
    say(value.lastChild, sum.unit);
    say(below.lastChild, sum.below);
    below.firstChild.hidden = sum.label !== "cost" || cost === null;
    below.firstChild.firstChild.style.width = `${100 * cost}%`;
  }

  showOutput(output, run) {
    put(output.row, "aria-hidden", !run);
    const shown = run ?? Object.fromEntries(CELLS.map((name) => [name, ""]));
    say(output.time, run ? clock(new Date(run.time)) : "");
    redraw(output.state.firstChild, shown.state);
    say(output.state.lastChild, shown.state);
    put(output.row, "data-state", shown.state);
    for (const name of ["tag", "seconds", "case", "short", "text"]) say(output[name], shown[name]);
    for (const name of ["short", "text"]) put(output[name], "title", shown[name]);
  }
}

export default widget((model, el) => new View(model, el));
