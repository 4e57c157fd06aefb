// The live view of a sweep. Built once; after that only texts, widths and attributes change, so
// that nothing jumps and the focus stays where it is. All text goes in as text.
import { figure, h, icon, onKernelEnd, put, redraw, resync, say } from "./kit.js";

const FIGURES = [["done", "done"], ["failed", "failed"], ["running", "running"], ["to_go", "to go"], ["median", "median s"], ["cost", "cost $"]];
const KINDS = ["done", "failed", "running"];
const LATEST = 5;
const PATIENCE_MS = 1500;
const ACTIVE = ["running", "paused", "stopping"];
const ENDED = "the kernel has ended: run the cells again and the sweep goes on";

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
    on("change:view_model change:hint change:error", () => this.show());
    on("msg:custom", (message) => { if (message.kind === "received") this.received(); });
    this.offs.push(onKernelEnd(model, () => { this.ended = true; this.show(); }));
    this.show();
  }

  close() {
    this.offs.forEach((off) => off());
    clearTimeout(this.timer);
  }

  build() {
    this.facts = h("span", { class: "vnb-sweep-facts" });
    this.hint = h("span", { class: "vnb-sweep-hint", role: "note" });
    this.pause = this.button("pause");
    this.stop = this.button("stop");
    this.buttons = h("span", { class: "vnb-sweep-buttons" }, this.pause, this.stop);
    this.alert = h("div", { class: "vnb-sweep-notice", role: "alert" }, icon("FAILED", "vnb-sweep-icon"), h("span"));
    this.resumed = h("div", { class: "vnb-sweep-resumed" });
    this.plan = h("span", { role: "columnheader" });
    this.table = h("div", { role: "table", class: "vnb-sweep-table", "aria-label": "Release tags" },
      h("div", { role: "row", class: "vnb-sweep-row vnb-sweep-heads" }, h("span", { role: "columnheader" }, "release tag"), this.plan,
        ...FIGURES.map(([name, label]) => h("span", { role: "columnheader", class: `vnb-sweep-figure vnb-sweep-${name}` }, label))));
    this.status = h("span", { class: "vnb-sweep-status", role: "status" });
    const legend = h("div", { class: "vnb-sweep-legend" },
      ...[...KINDS, "to go"].map((kind) => h("span", { "aria-hidden": "true" }, h("i", { class: `vnb-sweep-${kind.replace(" ", "-")}` }), kind)), this.status);
    this.sums = h("div", { class: "vnb-sweep-sums" });
    this.latest = h("div", { role: "table", class: "vnb-sweep-latest", "aria-label": "Latest outputs" });
    this.outputs = Array.from({ length: LATEST }, () => this.output());
    this.root = h("div", { class: "vnb-sweep", role: "region", "data-lm-suppress-shortcuts": "true" },
      h("div", { class: "vnb-sweep-head" }, h("b", {}, "Sweep"), this.facts, this.hint, this.buttons),
      this.alert, this.resumed, this.table, legend, this.sums,
      h("div", { class: "vnb-sweep-title" }, h("b", {}, "Latest outputs"), h("span", {}, `newest first, the last ${LATEST}`)), this.latest);
  }

  // aria-disabled, not disabled: a button that is disabled loses the focus.
  button(name) {
    const button = h("button", { type: "button", class: `vnb-sweep-${name}` }, icon("", "vnb-sweep-icon"), h("span"));
    button.addEventListener("click", (event) => {
      const second = event.detail > 1;  // of a double click: it was meant for what stood there before
      if (button.getAttribute("aria-disabled") === "true" || second) return;
      this.model.send({ kind: button.dataset.act });
      clearTimeout(this.timer);
      this.timer = setTimeout(() => say(this.hint, "the kernel is busy and will do this later; interrupt it to stop now"), PATIENCE_MS);
    });
    return button;
  }

  received() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.showButtons(this.model.get("view_model").state);
  }

  offer(button, act, label, enabled) {
    button.dataset.act = act;
    put(button, "aria-disabled", !enabled);
    redraw(button.firstChild, { cut: "stop", resume: "play" }[act] ?? act);
    say(button.lastChild, label);
  }

  output() {
    const cells = Object.fromEntries(["time", "tag", "state", "seconds", "case", "short", "text"].map((name) => [name, h("span", { role: "cell", class: `vnb-sweep-${name}` })]));
    cells.state.append(icon("", "vnb-sweep-icon"), h("span"));
    const row = h("div", { role: "row", class: "vnb-sweep-output" }, ...Object.values(cells));
    this.latest.append(row);
    return { row, ...cells };
  }

  show() {
    const now = this.model.get("view_model");
    if (!now.state) return;
    put(this.root, "aria-label", `Sweep of ${now.title}`);
    say(this.facts, [now.title, now.runs, ...(now.began ? [`started ${clock(now.began)}`] : [])].join(" · "));
    this.showButtons(now.state);
    this.showNotices(now);
    say(this.plan, now.plan);
    now.tags.forEach((tag, at) => this.showTag((this.rows[at] ??= this.tagRow()), tag));
    this.showSums(now);
    say(this.status, this.ended && ACTIVE.includes(now.state) ? "as it was when the kernel ended" : now.status);
    this.outputs.forEach((output, at) => this.showOutput(output, now.latest[at]));
  }

  showButtons(state) {
    const hint = this.ended && state !== "done" ? ENDED : this.model.get("hint");
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

  showNotices(now) {
    const text = this.model.get("error") || now.notice;
    this.alert.hidden = !text;
    say(this.alert.lastChild, text);
    this.resumed.hidden = !now.resumed.length;
    const key = JSON.stringify([now.resumed, now.lost]);
    if (this.resumed.dataset.key === key) return;
    this.resumed.dataset.key = key;
        const parts = now.resumed.map(([part, bold]) => (bold ? h("b", {}, part) : part));
    this.resumed.replaceChildren(icon("FULFILLED", "vnb-sweep-icon"), h("span", {}, ...parts));
    if (now.lost) this.resumed.append(h("small", { title: "Its last sign of life" }, `the kernel was lost at ${moment(now.lost)}`));
  }

  tagRow() {
    const name = h("b");
    const note = h("span");
    const bar = h("div", { role: "progressbar", class: "vnb-sweep-bar", "aria-valuemin": 0 }, ...KINDS.map((kind) => h("i", { class: `vnb-sweep-${kind}` })));
    const figures = FIGURES.map(([key]) => h("span", { role: "cell", class: `vnb-sweep-figure vnb-sweep-${key}` }));
    const row = h("div", { role: "row", class: "vnb-sweep-row" }, h("span", { role: "rowheader", class: "vnb-sweep-name" }, name, " ", note),
      h("span", { role: "cell", class: "vnb-sweep-cell" }, bar), ...figures);
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

  showSums(now) {
    now.sums.forEach((sum, at) => {
      let group = this.sums.children[at];
      if (!group) {
        group = h("div", {}, h("span", { class: "vnb-sweep-label" }, sum.label),
          h("div", { class: "vnb-sweep-value" }, h("span"), " ", h("small")),
          h("div", { class: "vnb-sweep-below" }, h("span", { class: "vnb-sweep-used" }, h("i")), h("span")));
        this.sums.append(group);
      }
      const [, value, below] = group.children;
      say(value.firstChild, sum.value);
      say(value.lastChild, sum.unit);
      say(below.lastChild, sum.below);
      const used = sum.label === "cost" ? now.cost : null;
      below.firstChild.hidden = used === null;
      if (used !== null) below.firstChild.firstChild.style.width = `${100 * used}%`;
    });
  }

  showOutput(output, run) {
    put(output.row, "aria-hidden", !run);
    const shown = run ?? { time: null, tag: "", state: "", seconds: "", case: "", short: "", text: "" };
    say(output.time, clock(shown.time));
    redraw(output.state.firstChild, shown.state);
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
    resync(model);
    const view = new View(model, el);
    return () => view.close();
  },
};
