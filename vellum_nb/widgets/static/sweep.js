// The live view of a sweep. Built once; after that only texts, widths and attributes change, so
// that nothing jumps and the focus stays where it is. All text goes in as text.

const PATHS = {
  pause: "M7 5h3.5v14H7zM13.5 5H17v14h-3.5z",
  resume: "M7 4v16l13-8z",
  stop: "M6 6h12v12H6z",
  FULFILLED: "M12 2C6.48 2 2 6.48 2 12s4.48 10 10 10 10-4.48 10-10S17.52 2 12 2zm-2 15l-5-5 1.41-1.41L10 14.17l7.59-7.59L19 8l-9 9z",
  REJECTED: "M12 2C6.47 2 2 6.47 2 12s4.47 10 10 10 10-4.47 10-10S17.53 2 12 2zm5 13.59L15.59 17 12 13.41 8.41 17 7 15.59 10.59 12 7 8.41 8.41 7 12 10.59 15.59 7 17 8.41 13.41 12 17 15.59z",
  FAILED: "M1 21h22L12 2 1 21zm12-3h-2v-2h2v2zm0-4h-2v-4h2v4z",
  CANCELLED: "M12 2C6.48 2 2 6.48 2 12s4.48 10 10 10 10-4.48 10-10S17.52 2 12 2zM4 12c0-4.42 3.58-8 8-8 1.85 0 3.55.63 4.9 1.69L5.69 16.9C4.63 15.55 4 13.85 4 12zm8 8c-1.85 0-3.55-.63-4.9-1.69L18.31 7.1C19.37 8.45 20 10.15 20 12c0 4.42-3.58 8-8 8z",
};
const FIGURES = [["done", "done"], ["failed", "failed"], ["running", "running"], ["to_go", "to go"], ["median", "median s"], ["cost", "cost $"]];
const KINDS = ["done", "failed", "running"];
const LATEST = 5;
const PATIENCE_MS = 1500;
const ACTIVE = ["running", "paused", "stopping"];
const GONE = "the kernel has ended: run the cells again and the sweep goes on";

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function glyph() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "vnb-sweep-icon");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("fill", "currentColor");
  svg.append(path);
  return svg;
}

function draw(svg, name) { put(svg.firstChild, "d", PATHS[name] ?? ""); }

function say(node, text) { if (node.textContent !== text) node.textContent = text; }

function put(node, name, value) { if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value); }

function clock(iso) {
  if (!iso) return "";
  const t = new Date(iso);
  return [t.getHours(), t.getMinutes(), t.getSeconds()].map((n) => String(n).padStart(2, "0")).join(":");
}

// The day too, where it is not today.
function moment(iso) {
  const t = new Date(iso);
  if (t.toDateString() === new Date().toDateString()) return clock(iso);
  const day = [t.getFullYear(), t.getMonth() + 1, t.getDate()].map((n) => String(n).padStart(2, "0")).join("-");
  return `${day} ${clock(iso)}`;
}

function figure(value) { return typeof value === "number" ? value.toLocaleString("en-US") : value; }

class View {
  constructor(model, el) {
    this.model = model;
    this.rows = [];
    this.build();
    el.append(this.root);
    const on = (names, call) => {
      model.on(names, call);
      this.offs = [...(this.offs ?? []), () => model.off(names, call)];
    };
    on("change:_told change:hint change:error", () => this.show());
    on("msg:custom", (message) => { if (message.kind === "heard") this.heard(); });
    this.offs.push(whenKernelEnds(model, () => { this.gone = true; this.show(); }));
    this.show();
  }

  close() {
    this.offs.forEach((off) => off());
    clearTimeout(this.timer);
  }

  build() {
    this.facts = make("span", { class: "vnb-sweep-facts" });
    this.hint = make("span", { class: "vnb-sweep-hint", role: "note" });
    this.pause = this.button("pause");
    this.stop = this.button("stop");
    this.buttons = make("span", { class: "vnb-sweep-buttons" }, this.pause, this.stop);
    this.alert = make("div", { class: "vnb-sweep-notice", role: "alert" }, glyph(), make("span"));
    draw(this.alert.firstChild, "FAILED");
    this.resumed = make("div", { class: "vnb-sweep-resumed" });
    this.plan = make("span", { role: "columnheader" });
    this.table = make("div", { role: "table", class: "vnb-sweep-table", "aria-label": "Release tags" },
      make("div", { role: "row", class: "vnb-sweep-row vnb-sweep-heads" }, make("span", { role: "columnheader" }, "release tag"), this.plan,
        ...FIGURES.map(([name, label]) => make("span", { role: "columnheader", class: `vnb-sweep-figure vnb-sweep-${name}` }, label))));
    this.status = make("span", { class: "vnb-sweep-status", role: "status" });
    const legend = make("div", { class: "vnb-sweep-legend" },
      ...[...KINDS, "to go"].map((kind) => make("span", { "aria-hidden": "true" }, make("i", { class: `vnb-sweep-${kind.replace(" ", "-")}` }), kind)), this.status);
    this.sums = make("div", { class: "vnb-sweep-sums" });
    this.latest = make("div", { role: "table", class: "vnb-sweep-latest", "aria-label": "Latest outputs" });
    this.outputs = Array.from({ length: LATEST }, () => this.output());
    this.root = make("div", { class: "vnb-sweep", role: "region", "data-lm-suppress-shortcuts": "true" },
      make("div", { class: "vnb-sweep-head" }, make("b", {}, "Sweep"), this.facts, this.hint, this.buttons),
      this.alert, this.resumed, this.table, legend, this.sums,
      make("div", { class: "vnb-sweep-title" }, make("b", {}, "Latest outputs"), make("span", {}, `newest first, the last ${LATEST}`)), this.latest);
  }

  // aria-disabled, not disabled: a button that is disabled loses the focus.
  button(name) {
    const icon = glyph();
    const word = make("span");
    const button = make("button", { type: "button", class: `vnb-sweep-${name}` }, icon, word);
    button.addEventListener("click", (event) => {
      const second = event.detail > 1;  // of a double click: it was meant for what stood there before
      if (button.getAttribute("aria-disabled") === "true" || second) return;
      this.model.send({ kind: button.dataset.act });
      clearTimeout(this.timer);
      this.timer = setTimeout(() => say(this.hint, "the kernel is busy and will hear this later; interrupt it to stop now"), PATIENCE_MS);
    });
    return button;
  }

  heard() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.showButtons(this.model.get("_told").state);
  }

  offer(button, act, label, enabled) {
    button.dataset.act = act;
    put(button, "aria-disabled", !enabled);
    draw(button.firstChild, act === "cut" ? "stop" : act);
    say(button.lastChild, label);
  }

  output() {
    const cells = Object.fromEntries(["time", "tag", "state", "seconds", "case", "short", "text"].map((name) => [name, make("span", { role: "cell", class: `vnb-sweep-${name}` })]));
    cells.state.append(glyph(), make("span"));
    const row = make("div", { role: "row", class: "vnb-sweep-output" }, ...Object.values(cells));
    this.latest.append(row);
    return { row, ...cells };
  }

  show() {
    const told = this.model.get("_told");
    if (!told.state) return;
    put(this.root, "aria-label", `Sweep of ${told.title}`);
    say(this.facts, [told.title, told.runs, ...(told.began ? [`started ${clock(told.began)}`] : [])].join(" · "));
    this.showButtons(told.state);
    this.showNotices(told);
    say(this.plan, told.plan);
    told.tags.forEach((tag, at) => this.showTag((this.rows[at] ??= this.tagRow()), tag));
    this.showSums(told);
    say(this.status, this.gone && ACTIVE.includes(told.state) ? "as it was when the kernel ended" : told.status);
    this.outputs.forEach((output, at) => this.showOutput(output, told.latest[at]));
  }

  showButtons(state) {
    const hint = this.gone && state !== "done" ? GONE : this.model.get("hint");
    if (hint || !this.timer) say(this.hint, hint);
    this.buttons.hidden = Boolean(hint);
    const goesOn = state === "running";
    const waits = state === "paused" || state === "stopped" || state === "ready";
    const resume = !goesOn && state !== "stopping" && state !== "done";
    this.offer(this.pause, resume ? "resume" : "pause", resume ? "Resume" : "Pause", goesOn || waits);
    const cut = state === "stopping";
    this.offer(this.stop, cut ? "cut" : "stop", cut ? "Cut off" : "Stop", goesOn || cut || state === "paused");
    this.stop.title = cut ? "Do not wait for what runs; it is looked up when the sweep is resumed" : "";
    this.root.dataset.state = state;
  }

  showNotices(told) {
    const text = this.model.get("error") || told.notice;
    this.alert.hidden = !text;
    say(this.alert.lastChild, text);
    this.resumed.hidden = !told.resumed.length;
    const key = JSON.stringify([told.resumed, told.lost]);
    if (this.resumed.dataset.key === key) return;
    this.resumed.dataset.key = key;
    const icon = glyph();
    draw(icon, "FULFILLED");
    const parts = told.resumed.map(([part, bold]) => (bold ? make("b", {}, part) : part));
    this.resumed.replaceChildren(icon, make("span", {}, ...parts));
    if (told.lost) this.resumed.append(make("small", { title: "Its last sign of life" }, `the kernel was lost at ${moment(told.lost)}`));
  }

  tagRow() {
    const name = make("b");
    const note = make("span");
    const bar = make("div", { role: "progressbar", class: "vnb-sweep-bar", "aria-valuemin": 0 }, ...KINDS.map((kind) => make("i", { class: `vnb-sweep-${kind}` })));
    const figures = FIGURES.map(([key]) => make("span", { role: "cell", class: `vnb-sweep-figure vnb-sweep-${key}` }));
    const row = make("div", { role: "row", class: "vnb-sweep-row" }, make("span", { role: "rowheader", class: "vnb-sweep-name" }, name, " ", note),
      make("span", { role: "cell", class: "vnb-sweep-cell" }, bar), ...figures);
    this.table.append(row);
    return { name, note, bar, figures };
  }

  showTag({ name, note, bar, figures }, tag) {
    say(name, tag.tag);
    say(note, tag.note);
    put(bar, "aria-label", tag.tag);
    put(bar, "aria-valuemax", tag.planned);
    put(bar, "aria-valuenow", tag.done + tag.failed);
    put(bar, "aria-valuetext", FIGURES.slice(0, 4).map(([key, label]) => `${figure(tag[key])} ${label}`).join(", "));
    KINDS.forEach((kind, at) => {
      const piece = bar.children[at];
      piece.hidden = !tag[kind];
      piece.style.width = `${(100 * tag[kind]) / tag.planned}%`;
    });
    FIGURES.forEach(([key], at) => {
      say(figures[at], figure(tag[key]));
      figures[at].classList.toggle("vnb-sweep-none", tag[key] === 0);
      figures[at].classList.toggle("vnb-sweep-bad", key === "failed" && tag[key] > 0);
    });
  }

  showSums(told) {
    told.sums.forEach((sum, at) => {
      let group = this.sums.children[at];
      if (!group) {
        group = make("div", {}, make("span", { class: "vnb-sweep-label" }, sum.label),
          make("div", { class: "vnb-sweep-value" }, make("span"), " ", make("small")),
          make("div", { class: "vnb-sweep-below" }, make("span", { class: "vnb-sweep-used" }, make("i")), make("span")));
        this.sums.append(group);
      }
      const [, value, below] = group.children;
      say(value.firstChild, sum.value);
      say(value.lastChild, sum.unit);
      say(below.lastChild, sum.below);
      const used = sum.label === "cost" ? told.cost : null;
      below.firstChild.hidden = used === null;
      if (used !== null) below.firstChild.firstChild.style.width = `${100 * used}%`;
    });
  }

  showOutput(output, run) {
    put(output.row, "aria-hidden", !run);
    const shown = run ?? { time: null, tag: "", state: "", seconds: "", case: "", short: "", text: "" };
    say(output.time, clock(shown.time));
    draw(output.state.firstChild, shown.state);
    say(output.state.lastChild, shown.state);
    put(output.row, "data-state", shown.state);
    for (const name of ["tag", "seconds", "case", "short", "text"]) {
      say(output[name], shown[name]);
      put(output[name], "title", name === "text" || name === "short" ? shown[name] : "");
    }
  }
}

export default {
  render({ model, el }) {
    hearAgain(model);
    const view = new View(model, el);
    return () => view.close();
  },
};
