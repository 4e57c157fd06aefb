// Blind rating. Built once; after that only texts, answers and attributes change, so that the focus
// stays where it is. Answers come as safe HTML, everything else goes in as text.
import { h, onKernelEnd, resync, say } from "./kit.js";

const BUSY_MS = 1500;
const KEYS = { 1: "A", 2: "B", 3: "tie", s: "skip" };
const LAST = { A: "A better", B: "B better", tie: "tie", skip: "skipped" };

function fill(node, html) {
  if (node.dataset.html === undefined || node.vnbHtml !== html) node.innerHTML = html;
  node.dataset.html = "";
  node.vnbHtml = html;
}

class Blind {
  constructor(model, el) {
    this.model = model;
    this.asking = null;  // the step that the kernel was told something about, and has not answered
    this.build();
    el.append(this.root);
    const show = () => this.show();
    model.on("change:view_model change:error change:sending", show);
    const stop = onKernelEnd(model, () => this.end());
    this.off = () => { stop(); model.off("change:view_model change:error change:sending", show); };
    this.show();
  }

  close() {
    this.off();
    clearTimeout(this.timer);
  }

  // The kernel is gone, and with it whoever asked; what was rated is in the history.
  end() {
    this.ended = true;
    clearTimeout(this.timer);
    for (const bar of this.bars) for (const button of bar.querySelectorAll("button")) button.disabled = true;
    this.alert.hidden = false;
    const { kept, state } = this.model.get("view_model");
    say(this.alert, kept ? `The kernel behind this has ended. ${state === "ended" ? "The results are" : "What was rated is"} kept: run the cell again.` : "The kernel behind this has ended, and the ratings with it: there was no history.");
  }

  build() {
    this.facts = h("span", { class: "vnb-blind-quiet vnb-blind-facts" });
    this.bar = h("span", { class: "vnb-blind-progress", role: "progressbar", "aria-label": "rated", "aria-valuemin": 0 }, h("i"));
    this.count = h("b");
    this.of = h("span");
    this.progress = h("span", { class: "vnb-blind-count" }, this.bar, h("span", {}, this.count, this.of));
    this.alert = h("div", { class: "vnb-blind-notice", role: "alert" });
    this.question = h("h3", { class: "vnb-blind-question" });
    this.caption = h("div", { class: "vnb-blind-caption" });
    this.inputs = h("div");
    this.answers = h("div", { class: "vnb-blind-answers" });
    this.asked = h("div", { class: "vnb-blind-body vnb-out" }, this.question,
      h("div", { class: "vnb-blind-case" }, this.caption, this.inputs), this.answers);
    this.words = h("div", { class: "vnb-blind-body vnb-blind-words" });
    this.result = h("div", { class: "vnb-blind-body vnb-blind-result", tabindex: -1 });
    this.bars = [this.rating(), this.ending(), this.sends()];
    this.noteField = h("textarea", { rows: 2, "aria-label": "Note on this case", maxlength: 10000 });
    this.note = h("div", { class: "vnb-blind-note" }, this.noteField,
      h("span", { class: "vnb-blind-quiet" }, "kept with your rating of this case; Esc goes back to the keys"));
    this.note.hidden = true;
    this.foot = h("div", { class: "vnb-blind-foot" });
    this.status = h("span", { class: "vnb-blind-heard", role: "status" });
    this.root = h("div", { class: "vnb-blind", role: "region", tabindex: 0, "data-lm-suppress-shortcuts": "true" },
      h("div", { class: "vnb-blind-head" }, h("b", {}, "Blind rating"), this.facts, this.progress),
      this.alert, this.asked, this.words, this.result, ...this.bars, this.note, this.foot, this.status);
    this.root.addEventListener("keydown", (event) => this.key(event));
  }

  rating() {
    const tool = h("div", { class: "vnb-blind-bar-of-keys", role: "group", "aria-label": "Your rating" });
    const choice = (key, said, label) => this.button(label, () => this.rate(said), key);
    this.first = choice("1", "A", "A better");
    this.undone = this.button("Undo", () => this.act("undo"), "u");
    this.undone.classList.add("vnb-blind-plain");
    this.last = h("span", { class: "vnb-blind-quiet vnb-blind-last" });
    this.noting = this.button("Add a note…", () => this.openNote());
    this.noting.setAttribute("aria-keyshortcuts", "n");
    this.noting.title = "n";
    const skip = this.button("Skip", () => this.rate("skip"));
    skip.setAttribute("aria-keyshortcuts", "s");
    skip.title = "s";
    for (const each of [this.noting, skip]) each.classList.add("vnb-blind-plain");
    this.noting.classList.add("vnb-blind-right");
    tool.append(this.first, choice("2", "B", "B better"), choice("3", "tie", "Tie"), this.undone, this.last, this.noting, skip);
    return tool;
  }

  ending() {
    this.finish = this.button("Show the results", () => this.act("finish"));
    this.finish.classList.add("vnb-blind-main");
    this.again = this.button("Rate the skipped", () => this.act("again"));
    const undo = this.button("Undo", () => this.act("undo"), "u");
    undo.classList.add("vnb-blind-plain");
    return h("div", { class: "vnb-blind-bar-of-keys", role: "group", "aria-label": "All rated" }, this.finish, this.again, undo);
  }

  sends() {
    this.actuals = this.button("", () => { if (!this.ended) this.model.send({ kind: "actuals" }); });
    this.sent = h("span", { class: "vnb-blind-quiet", role: "status" });
    return h("div", { class: "vnb-blind-bar-of-keys" }, this.actuals, this.sent);
  }

  button(label, call, key) {
    const parts = key ? [h("kbd", { "aria-hidden": "true" }, key), h("span", {}, label)] : [h("span", {}, label)];
    const button = h("button", { type: "button", ...(key ? { "aria-keyshortcuts": key } : {}) }, ...parts);
    button.addEventListener("click", call);
    return button;
  }

  key(event) {
    const inText = event.target === this.noteField;
    if (inText && event.key === "Escape") {
      this.root.focus();
    } else if (inText || event.ctrlKey || event.metaKey || event.altKey || !this.known(event.key)) {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  known(key) {
    const { state } = this.model.get("view_model");
    if (state === "asking" && KEYS[key]) this.rate(KEYS[key]);
    else if (state === "asking" && key === "n") this.openNote();
    else if ((state === "asking" || state === "ready") && key === "u") this.act("undo");
    else return false;
    return true;
  }

  rate(said) {
    if (!this.act("rate", { said, note: this.noteField.value })) return;
    this.noteField.value = "";  // what is typed from now on is on the next case
    this.note.hidden = true;
  }

  act(kind, more = {}) {
    const { step } = this.model.get("view_model");
    if (this.ended || this.asking === step) return false;  // the kernel has not answered yet
    this.asking = step;
    this.model.send({ kind, step, ...more });
    this.timer = setTimeout(() => say(this.status, "the kernel is busy and will do this later"), BUSY_MS);
    return true;
  }

  openNote() {
    this.note.hidden = false;
    this.noteField.focus();
  }

  show() {
    const told = this.model.get("view_model");
    if (!told.state || this.ended) return;
    const fresh = told.step !== this.step;
    const hadFocus = this.root.contains(this.root.getRootNode().activeElement);
    this.root.setAttribute("aria-label", `Blind rating of ${told.title}`);
    this.root.dataset.state = told.state;
    say(this.facts, `${told.title} · two releases, shuffled per case`);
    this.showProgress(told);
    const error = this.model.get("error");
    this.alert.hidden = !error;
    say(this.alert, error);
    this.showState(told, fresh);
    say(this.foot, told.foot);
    if (fresh) this.settle(told, hadFocus);
    this.step = told.step;
  }

  showProgress(told) {
    this.progress.hidden = !told.total;
    this.bar.setAttribute("aria-valuemax", told.total);
    this.bar.setAttribute("aria-valuenow", told.rated);
    this.bar.setAttribute("aria-valuetext", `${told.rated} of ${told.total} rated`);
    this.bar.firstChild.style.width = `${(100 * told.rated) / Math.max(1, told.total)}%`;
    say(this.count, told.rated.toLocaleString("en-US"));
    say(this.of, ` of ${told.total.toLocaleString("en-US")} rated`);
  }

  showState(told, fresh) {
    const { state } = told;
    const [rating, ending, sends] = this.bars;
    this.asked.hidden = rating.hidden = state !== "asking";
    ending.hidden = state !== "ready";
    this.words.hidden = state !== "ready" && state !== "empty";
    this.result.hidden = state !== "ended";
    this.again.hidden = !told.skipped;
    this.undone.hidden = !told.last;
    say(this.last, told.last ? `last: ${LAST[told.last]}` : "");
    say(this.question, told.question);
    say(this.caption, told.caption);
    fill(this.inputs, told.inputs);
    fill(this.answers, told.a + told.b);
    fill(this.result, told.result);
    say(this.words, this.sentence(told));
    const sending = this.model.get("sending");
    sends.hidden = state !== "ended" || (!told.unsent && !sending);
    this.actuals.hidden = !told.unsent;
    this.actuals.disabled = sending === "sending…";
    say(this.actuals.firstChild, this.model.get("error") ? "Send again" : `Send ${told.unsent} ratings to Vellum as actuals`);
    say(this.sent, sending);
    if (!fresh || (state === "asking" && !this.note.hidden && this.asking !== null)) return;
    this.noteField.value = told.note;
    this.note.hidden = state !== "asking" || !told.note;
  }

  sentence(told) {
    if (told.state === "empty") return told.same ? "Nothing to rate: both releases gave the same outputs in every case." : "Nothing to rate: no case has an answer on both releases.";
    if (told.state !== "ready") return "";
    return told.skipped ? `${told.rated} rated, ${told.skipped} skipped. Skipped cases are left out of the results.` : "All are rated. After the results nothing can be changed.";
  }

  settle(told, hadFocus) {
    clearTimeout(this.timer);
    this.asking = null;
    const last = told.last && this.step ? `${LAST[told.last]}. ` : "";
    const now = { asking: `${last}Case ${told.case}, ${told.rated} of ${told.total} rated`, ready: `${told.rated} of ${told.total} rated`, ended: "Results", empty: this.words.textContent }[told.state];
    say(this.status, now);
    const active = this.root.getRootNode().activeElement;
    if (!hadFocus || (this.root.contains(active) && active.checkVisibility())) return;
    if (told.state === "ended") this.result.focus();
    else this.root.focus();  // not the button: a key held down must not show the results
  }
}

export default {
  render({ model, el }) {
    resync(model);
    const view = new Blind(model, el);
    return () => view.close();
  },
};
