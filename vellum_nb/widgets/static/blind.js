// Blind rating. The elements are built once and then updated to keep the focus. The question and
// the result are HTML escaped by the kernel.
import {
  WidgetView,
  button,
  formatNumber,
  setTrustedHtml,
  h,
  onKernelEnd,
  setAttribute,
  setText,
  consume,
  widget,
} from "./kit.js";

const BUSY_DELAY_MS = 1500;
const KEYS = { 1: "A", 2: "B", 3: "tie", s: "skip" };
const LAST = { A: "A better", B: "B better", tie: "tie", skip: "skipped" };

const block = (name, ...children) => h(`div.vnb-blind-${name}`, ...children);
const quietText = (name, ...children) => h(`span.vnb-blind-quiet.vnb-blind-${name}`, ...children);

function keyButton(label, onclick, { key = "", css = "", keys = key } = {}) {
  const hint = key && h("kbd", { "aria-hidden": "true" }, key);
  const options = { "aria-keyshortcuts": keys || null, title: key ? null : keys || null };
  return button(css && `.vnb-blind-${css}`, onclick, options, hint, h("span", label));
}

class Blind extends WidgetView {
  constructor(model, el) {
    super(model, el);
    this.pendingStep = null; // step of the message that the kernel has not yet answered
    this.build();
    el.append(this.root);
    this.on("change:view_model change:error change:sending", () => this.show());
    onKernelEnd(this, () => this.end());
    this.show();
  }

  end() {
    this.ended = true;
    clearTimeout(this.timer);
    for (const control of this.root.querySelectorAll("button")) control.disabled = true;
    this.alert.hidden = false;
    const { kept } = this.model.get("view_model");
    const ratings = kept
      ? "Your ratings are saved. Run the cell again."
      : "Your ratings are lost, because there was no history.";
    setText(this.alert, `The kernel has stopped. ${ratings}`);
  }

  build() {
    this.facts = quietText("facts");
    const progress = { role: "progressbar", "aria-label": "rated", "aria-valuemin": 0 };
    this.progressBar = h("span.vnb-blind-progress", progress, h("i"));
    this.count = h("b");
    this.totalText = h("span");
    const counts = h("span", this.count, this.totalText);
    this.progress = h("span.vnb-blind-count", this.progressBar, counts);
    this.alert = h("div.vnb-notice", { role: "alert" });
    this.question = block("body.vnb-out");
    this.message = block("body");
    this.result = h("div.vnb-blind-body.vnb-blind-result", { tabindex: -1 });
    const noteOptions = { rows: 2, "aria-label": "Note on this case", maxlength: 10000 };
    this.noteField = h("textarea", noteOptions);
    const help = "kept with your rating of this case; Esc goes back to the keys";
    this.note = block("note", this.noteField, h("span.vnb-blind-quiet", help));
    this.note.hidden = true;
    this.foot = block("foot");
    this.status = h("span.vnb-sr-only", { role: "status" });
    this.buildBars();
    const head = block("head", h("b", "Blind rating"), this.facts, this.progress);
    this.root = h("div.vnb-blind", {
      role: "region",
      tabindex: 0,
      "data-lm-suppress-shortcuts": "true",
      onkeydown: (event) => this.key(event),
    });
    this.root.append(head, this.alert, this.question, this.message, this.result, this.rating);
    this.root.append(this.ending, this.actualsBar, this.note, this.foot, this.status);
  }

  buildBars() {
    const undo = () => keyButton("Undo", () => this.act("undo"), { key: "u", css: "plain" });
    const choice = (key, said, label) => keyButton(label, () => this.rate(said), { key });
    const bar = (label, ...children) =>
      h("div.vnb-blind-keys", { role: "group", "aria-label": label }, ...children);
    this.undoButton = undo();
    this.last = quietText("last");
    const noteOptions = { key: "n", css: "plain.vnb-blind-right" };
    const note = keyButton("Add a note…", () => this.openNote(), noteOptions);
    const skip = keyButton("Skip", () => this.rate("skip"), { key: "s", css: "plain" });
    this.endButton = keyButton("End rating…", () => this.act("end"), { css: "plain" });
    const choices = [choice("1", "A", "A better"), choice("2", "B", "B better")];
    choices.push(choice("3", "tie", "Tie"));
    const others = [this.undoButton, this.last, note, skip, this.endButton];
    this.rating = bar("Your rating", choices, others);
    const show = keyButton("Show the results", () => this.act("finish"), { css: "main" });
    this.keepButton = keyButton("Continue rating", () => this.act("keep"), { keys: "Escape" });
    this.rateSkipped = keyButton("Rate the skipped", () => this.act("again"));
    this.undoLast = undo();
    this.ending = bar("Results", show, this.keepButton, this.rateSkipped, this.undoLast);
    this.actualsButton = keyButton("", () => {
      if (!this.ended) this.model.send({ kind: "actuals" });
    });
    this.actualsStatus = h("span.vnb-blind-quiet", { role: "status" });
    this.actualsBar = bar("Actuals", this.actualsButton, this.actualsStatus);
  }

  key(event) {
    const { state: stored, ending } = this.model.get("view_model");
    const state = ending ? "ending" : stored;
    const { key } = event;
    const inText = event.target === this.noteField;
    if (inText ? key !== "Escape" : event.ctrlKey || event.metaKey || event.altKey) return;
    if (inText) this.root.focus();
    else if (state === "asking" && KEYS[key]) this.rate(KEYS[key]);
    else if (state === "asking" && key === "n") this.openNote();
    else if (state === "ending" && key === "Escape") this.act("keep");
    else if ((state === "asking" || state === "ready") && key === "u") this.act("undo");
    else return;
    consume(event);
  }

  rate(said) {
    if (!this.act("rate", { said, note: this.noteField.value })) return;
    this.noteField.value = ""; // the next text belongs to the next case
    this.note.hidden = true;
  }

  act(kind, content = {}) {
    const { step } = this.model.get("view_model");
    if (this.ended || this.pendingStep === step) return false; // the kernel has not answered yet
    this.pendingStep = step;
    this.model.send({ kind, step, ...content });
    this.timer = setTimeout(
      () => setText(this.status, "the kernel is busy and will do this later"),
      BUSY_DELAY_MS,
    );
    return true;
  }

  openNote() {
    this.note.hidden = false;
    this.noteField.focus();
  }

  show() {
    const next = this.model.get("view_model");
    if (!next.state || this.ended) return;
    const isNew = next.step !== this.step;
    const hadFocus = this.root.contains(this.root.getRootNode().activeElement);
    setAttribute(this.root, "aria-label", `Blind rating of ${next.title}`);
    this.root.dataset.state = next.state;
    setText(this.facts, `${next.title} · two releases, shuffled per case`);
    this.progress.hidden = !next.total;
    const values = {
      max: next.total,
      now: next.rated,
      text: `${next.rated} of ${next.total} rated`,
    };
    for (const [name, value] of Object.entries(values)) {
      setAttribute(this.progressBar, `aria-value${name}`, value);
    }
    this.progressBar.firstChild.style.width = `${(100 * next.rated) / Math.max(1, next.total)}%`;
    setText(this.count, formatNumber(next.rated));
    setText(this.totalText, ` of ${formatNumber(next.total)} rated`);
    const error = this.model.get("error");
    this.alert.hidden = !error;
    setText(this.alert, error);
    this.showState(next);
    if (isNew && !(next.state === "asking" && !this.note.hidden && this.pendingStep !== null)) {
      this.noteField.value = next.note;
      this.note.hidden = next.state !== "asking" || !next.note;
    }
    setText(this.foot, next.foot);
    if (isNew) this.settle(next, hadFocus);
    this.step = next.step;
  }

  showState(next) {
    const { state } = next;
    this.question.hidden = this.rating.hidden = state !== "asking" || next.ending;
    this.ending.hidden = state !== "ready" && !next.decided && !next.ending;
    this.keepButton.hidden = !next.ending;
    this.endButton.hidden = next.decided || next.rated + next.skipped === 0;
    this.message.hidden = !next.words;
    this.result.hidden = state !== "ended";
    this.rateSkipped.hidden = (this.undoLast.hidden = state !== "ready") || !next.skipped;
    this.undoButton.hidden = !next.last;
    setText(this.last, next.last ? `last: ${LAST[next.last]}` : "");
    setTrustedHtml(this.question, next.question);
    setTrustedHtml(this.result, next.result);
    setText(this.message, next.words);
    const sending = this.model.get("sending");
    this.actualsBar.hidden = state !== "ended" || (!next.unsent && !sending);
    this.actualsButton.hidden = !next.unsent;
    this.actualsButton.disabled = sending === "sending…";
    setText(
      this.actualsButton.lastChild,
      `Send ${next.unsent === 1 ? "1 rating" : `${next.unsent} ratings`} to Vellum as actuals`,
    );
    setText(this.actualsStatus, sending);
  }

  settle(next, hadFocus) {
    clearTimeout(this.timer);
    this.pendingStep = null;
    const last = next.last && this.step ? `${LAST[next.last]}. ` : "";
    const rated = `${next.rated} of ${next.total} rated`;
    const words = {
      asking: `${last}Case ${next.case}, ${rated}`,
      ready: rated,
      ended: "Results",
      empty: this.message.textContent,
    };
    setText(this.status, next.ending ? next.words : words[next.state]);
    const active = this.root.getRootNode().activeElement;
    if (!hadFocus || (this.root.contains(active) && active.checkVisibility())) return;
    // Not the button: a key held down must not show the results.
    (next.state === "ended" ? this.result : this.root).focus();
  }
}

export default widget((model, el) => new Blind(model, el));
