// The live view of a sweep. The kernel renders its figures, safely; heading, buttons and notices are
// built once, so that nothing jumps and the focus stays where it is.
import { Drawn, fill, h, icon, onKernelEnd, put, say, widget } from "./kit.js";

const PATIENCE_MS = 1500;
const ACTIVE = ["running", "paused", "stopping"];

const clock = (t) => t.toLocaleTimeString("en-GB");
// The day too, where it is not today.
const moment = (t) => (t.toDateString() === new Date().toDateString() ? clock(t) : `${t.toLocaleDateString("sv")} ${clock(t)}`);

function span(name, role, ...children) { return h("span", { class: `vnb-sweep-${name}`, role }, ...children); }
function div(name, ...children) { return h("div", { class: `vnb-sweep-${name}` }, ...children); }

class View extends Drawn {
  constructor(model, el) {
    super(model, el);
    this.build();
    el.append(this.root);
    this.on("change:view_model change:parts change:hint change:error", () => this.show());
    this.on("msg:custom", () => {  // the kernel has received what a button sent
      clearTimeout(this.timer);
      this.timer = 0;
      this.show();
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
    this.status = span("status", "status");
    const legend = ["done", "failed", "running", "to go"].map((kind) => (
      h("span", { "aria-hidden": "true" }, h("i", { class: `vnb-sweep-${kind.replace(" ", "-")}` }), kind)));
    const tags = h("div", { role: "table", "aria-label": "Release tags" });
    this.parts = { resumed: div("resumed"), notes: div("notes"), tags, figures: h("div") };
    this.root = h("div", { class: "vnb-sweep", role: "region", "data-lm-suppress-shortcuts": "true" },
      div("head", h("b", {}, "Sweep"), this.facts, this.hint, this.buttons), this.alert,
      this.parts.resumed, this.parts.notes, tags,
      div("legend", legend, this.status), this.parts.figures);
  }

  // aria-disabled, not disabled: a button that is disabled loses the focus.
  button(name) {
    const onclick = ({ currentTarget: button, detail }) => {
      const second = detail > 1;  // of a double click: it was meant for what stood there before
      if (button.getAttribute("aria-disabled") === "true" || second) return;
      this.model.send({ kind: button.dataset.act });
      clearTimeout(this.timer);
      this.timer = setTimeout(() => say(this.hint, "the kernel is busy and will do this later; interrupt it to stop now"), PATIENCE_MS);
    };
    return h("button", { type: "button", class: `vnb-sweep-${name}`, onclick }, icon(""), h("span"));
  }

  show() {
    const now = this.model.get("view_model");
    if (!now.state) return;
    put(this.root, "aria-label", `Sweep of ${now.title}`);
    say(this.facts, [now.title, now.runs, ...(now.began ? [`started ${clock(new Date(now.began))}`] : [])].join(" · "));
    this.showButtons(now);
    const error = this.model.get("error");
    const notice = error || now.notice;
    this.alert.hidden = !notice;
    this.alert.classList.toggle("vnb-sweep-resumed", now.decided && !error);
    this.alert.firstChild.replaceWith(icon(now.decided && !error ? "FULFILLED" : "FAILED"));
    say(this.alert.lastChild, notice);
    say(this.status, this.ended && ACTIVE.includes(now.state) ? "as it was when the kernel ended" : now.status);
    for (const [name, node] of Object.entries(this.parts)) {
      fill(node, this.model.get("parts")[name]);
      node.hidden = !node.firstChild;
      for (const time of node.querySelectorAll("time")) say(time, (name === "figures" ? clock : moment)(new Date(time.dateTime)));
    }
  }

  showButtons({ state, decided }) {
    const ended = this.ended && state !== "done" && "the kernel has ended: run the cells again and the sweep goes on";
    const hint = ended || this.model.get("hint");
    if (hint || !this.timer) say(this.hint, hint);
    this.buttons.hidden = Boolean(hint);
    const offer = (button, act, label, enabled) => {
      button.dataset.act = act;
      put(button, "aria-disabled", !enabled);
      button.firstChild.replaceWith(icon({ cut: "stop", resume: "play" }[act] ?? act));
      say(button.lastChild, label);
    };
    const waits = ["paused", "stopped", "ready"].includes(state);
    if (waits) offer(this.pause, "resume", "Resume", !decided);
    else offer(this.pause, "pause", "Pause", state === "running");
    const cut = state === "stopping";
    offer(this.stop, cut ? "cut" : "stop", cut ? "Cut off" : "Stop", ACTIVE.includes(state));
    this.stop.title = cut ? "Do not wait for what runs; it is looked up when the sweep is resumed" : "";
    this.root.dataset.state = state;
  }
}

export default widget((model, el) => new View(model, el));
