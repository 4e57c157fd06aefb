// Blind rating. Built once; after that only texts, answers and attributes change, so that the focus
// stays where it is. What is asked comes as safe HTML, everything else goes in as text.
import { Drawn, figure, fill, h, onKernelEnd, put, say, swallow, widget } from "./kit.js";

const BUSY_MS = 1500;
const KEYS = { 1: "A", 2: "B", 3: "tie", s: "skip" };
const LAST = { A: "A better", B: "B better", tie: "tie", skip: "skipped" };

function part(name, ...children) { return h("div", { class: `vnb-blind-${name}` }, ...children); }
function quiet(name, ...children) { return h("span", { class: `vnb-blind-quiet vnb-blind-${name}` }, ...children); }

function button(label, onclick, { key = "", css = "", keys = key } = {}) {
  const hint = key && h("kbd", { "aria-hidden": "true" }, key);
  const options = { type: "button", class: css && `vnb-blind-${css}`, "aria-keyshortcuts": keys || null, onclick };
  return h("button", { ...options, title: key ? null : keys || null }, hint, h("span", {}, label));
}

class Blind extends Drawn {
  constructor(model, el) {
    super(model, el);
    this.asking = null;  // the step that the kernel was sent something about, and has not answered
    this.build();
    el.append(this.root);
    this.on("change:view_model change:error change:sending", () => this.show());
    onKernelEnd(this, () => this.end());
    this.show();
  }

  // The kernel has ended, and with it what showed this; what was rated is in the history.
  end() {
    this.ended = true;
    clearTimeout(this.timer);
    for (const each of this.root.querySelectorAll("button")) each.disabled = true;
    this.alert.hidden = false;
    const rest = this.model.get("view_model").kept ? ". What was rated is kept: run the cell again." : ", and the ratings with it: there was no history.";
    say(this.alert, `The kernel behind this has ended${rest}`);
  }

  build() {
    this.facts = quiet("facts");
    this.bar = h("span", { class: "vnb-blind-progress", role: "progressbar", "aria-label": "rated", "aria-valuemin": 0 }, h("i"));
    this.count = h("b");
    this.of = h("span");
    this.progress = h("span", { class: "vnb-blind-count" }, this.bar, h("span", {}, this.count, this.of));
    this.alert = h("div", { class: "vnb-notice", role: "alert" });
    this.question = part("body vnb-out");
    this.words = part("body vnb-blind-words");
    this.result = h("div", { class: "vnb-blind-body vnb-blind-result", tabindex: -1 });
    this.noteField = h("textarea", { rows: 2, "aria-label": "Note on this case", maxlength: 10000 });
    this.note = part("note", this.noteField, quiet("", "kept with your rating of this case; Esc goes back to the keys"));
    this.note.hidden = true;
    this.foot = part("foot");
    this.status = h("span", { class: "vnb-sr-only", role: "status" });
    this.buildBars();
    this.root = h("div", {
      class: "vnb-blind", role: "region", tabindex: 0, "data-lm-suppress-shortcuts": "true", onkeydown: (event) => this.key(event),
    }, part("head", h("b", {}, "Blind rating"), this.facts, this.progress),
    this.alert, this.question, this.words, this.result, this.rating, this.ending, this.sends, this.note, this.foot, this.status);
  }

  buildBars() {
    const undo = () => button("Undo", () => this.act("undo"), { key: "u", css: "plain" });
    const choice = (key, said, label) => button(label, () => this.rate(said), { key });
    const bar = (label, ...children) => h("div", { class: "vnb-blind-keys", role: "group", "aria-label": label }, ...children);
    this.undone = undo();
    this.last = quiet("last");
    const note = button("Add a note…", () => this.openNote(), { keys: "n", css: "plain vnb-blind-right" });
    const skip = button("Skip", () => this.rate("skip"), { keys: "s", css: "plain" });
    this.rating = bar("Your rating", choice("1", "A", "A better"), choice("2", "B", "B better"), choice("3", "tie", "Tie"),
      this.undone, this.last, note, skip);
    this.again = button("Rate the skipped", () => this.act("again"));
    this.ending = bar("Results", button("Show the results", () => this.act("finish"), { css: "main" }), this.again, this.undoEnd = undo());
    this.actuals = button("", () => { if (!this.ended) this.model.send({ kind: "actuals" }); });
    this.sent = h("span", { class: "vnb-blind-quiet", role: "status" });
    this.sends = bar("Actuals", this.actuals, this.sent);
  }

  key(event) {
    const { state } = this.model.get("view_model");
    const { key } = event;
    const inText = event.target === this.noteField;
    if (inText ? key !== "Escape" : event.ctrlKey || event.metaKey || event.altKey) return;
    if (inText) this.root.focus();
    else if (state === "asking" && KEYS[key]) this.rate(KEYS[key]);
    else if (state === "asking" && key === "n") this.openNote();
    else if ((state === "asking" || state === "ready") && key === "u") this.act("undo");
    else return;
    swallow(event);
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
    const now = this.model.get("view_model");
    if (!now.state || this.ended) return;
    const isNew = now.step !== this.step;
    const hadFocus = this.root.contains(this.root.getRootNode().activeElement);
    put(this.root, "aria-label", `Blind rating of ${now.title}`);
    this.root.dataset.state = now.state;
    say(this.facts, `${now.title} · two releases, shuffled per case`);
    this.progress.hidden = !now.total;
    const values = { max: now.total, now: now.rated, text: `${now.rated} of ${now.total} rated` };
    for (const [name, value] of Object.entries(values)) put(this.bar, `aria-value${name}`, value);
    this.bar.firstChild.style.width = `${(100 * now.rated) / Math.max(1, now.total)}%`;
    say(this.count, figure(now.rated));
    say(this.of, ` of ${figure(now.total)} rated`);
    const error = this.model.get("error");
    this.alert.hidden = !error;
    say(this.alert, error);
    this.showState(now);
    if (isNew && !(now.state === "asking" && !this.note.hidden && this.asking !== null)) {
      this.noteField.value = now.note;
      this.note.hidden = now.state !== "asking" || !now.note;
    }
    say(this.foot, now.foot);
    if (isNew) this.settle(now, hadFocus);
    this.step = now.step;
  }

  showState(now) {
    const { state } = now;
    this.question.hidden = this.rating.hidden = state !== "asking";
    this.ending.hidden = state !== "ready" && !now.decided;
    this.words.hidden = !now.words;
    this.result.hidden = state !== "ended";
    this.again.hidden = (this.undoEnd.hidden = state !== "ready") || !now.skipped;
    this.undone.hidden = !now.last;
    say(this.last, now.last ? `last: ${LAST[now.last]}` : "");
    fill(this.question, now.question);
    fill(this.result, now.result);
    say(this.words, now.words);
    const sending = this.model.get("sending");
    this.sends.hidden = state !== "ended" || (!now.unsent && !sending);
    this.actuals.hidden = !now.unsent;
    this.actuals.disabled = sending === "sending…";
    say(this.actuals.lastChild, this.model.get("error") ? "Send again" : `Send ${now.unsent} ratings to Vellum as actuals`);
    say(this.sent, sending);
  }

  settle(now, hadFocus) {
    clearTimeout(this.timer);
    this.asking = null;
    const last = now.last && this.step ? `${LAST[now.last]}. ` : "";
    const rated = `${now.rated} of ${now.total} rated`;
    const words = { asking: `${last}Case ${now.case}, ${rated}`, ready: rated, ended: "Results", empty: this.words.textContent };
    say(this.status, words[now.state]);
    const active = this.root.getRootNode().activeElement;
    if (!hadFocus || (this.root.contains(active) && active.checkVisibility())) return;
    (now.state === "ended" ? this.result : this.root).focus();  // not the button: a key held down must not show the results
  }
}

export default widget((model, el) => new Blind(model, el));
