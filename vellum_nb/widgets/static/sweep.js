// Live view of a sweep. The kernel renders and escapes the tables; heading, buttons and notices are
// built once and then updated, to keep the focus.
import {
  WidgetView,
  button,
  setTrustedHtml,
  h,
  icon,
  onKernelEnd,
  setAttribute,
  setText,
  widget,
} from "./kit.js";

const BUSY_DELAY_MS = 1500;
const ACTIVE = ["running", "paused", "stopping"];

const clock = (t) => t.toLocaleTimeString("en-GB");
// With the date, unless it is today.
const moment = (t) =>
  t.toDateString() === new Date().toDateString()
    ? clock(t)
    : `${t.toLocaleDateString("sv")} ${clock(t)}`;

const span = (name, ...parts) => h(`span.vnb-sweep-${name}`, ...parts);
const div = (name, ...children) => h(`div.vnb-sweep-${name}`, ...children);

function setAction(node, action, label, enabled) {
  node.dataset.act = action;
  setAttribute(node, "aria-disabled", !enabled);
  node.firstChild.replaceWith(icon({ cut: "stop", resume: "play" }[action] ?? action));
  setText(node.lastChild, label);
}

class SweepView extends WidgetView {
  constructor(model, el) {
    super(model, el);
    this.build();
    el.append(this.root);
    this.on("change:view_model change:parts change:hint change:error", () => this.show());
    this.on("msg:custom", () => {
      // the kernel has received the click
      clearTimeout(this.timer);
      this.timer = 0;
      this.show();
    });
    onKernelEnd(this, () => {
      this.ended = true;
      this.show();
    });
    this.show();
  }

  build() {
    this.hint = span("hint", { role: "note" });
    this.pause = this.action("pause");
    this.stop = this.action("stop");
    this.compare = this.action("compare");
    this.buttons = span("buttons", this.pause, this.stop, this.compare);
    this.alert = h("div.vnb-notice", { role: "alert" }, icon("FAILED"), h("span"));
    this.status = span("status", { role: "status" });
    const tags = h("div", { role: "table", "aria-label": "Release tags" });
    const facts = span("facts");
    const names = ["resumed", "notes", "verdicts", "adding", "legend"];
    const [resumed, notes, verdicts, adding, legend] = names.map((name) => div(name));
    setAttribute(adding, "aria-live", "polite");
    verdicts.addEventListener("click", ({ target }) => {
      const { show, release, metric } = target.closest("[data-show]")?.dataset ?? {};
      if (show) this.send({ kind: "compare", show, release, metric });
    });
    this.parts = { facts, resumed, notes, verdicts, adding, tags, legend, figures: h("div") };
    const head = div("head", facts, this.hint, this.buttons);
    const foot = div("foot", legend, this.status);
    const options = { role: "region", "data-lm-suppress-shortcuts": "true" };
    this.root = h("div.vnb-sweep", options, head, this.alert, resumed, notes, verdicts);
    this.root.append(adding, tags, foot, this.parts.figures);
  }

  send(message) {
    this.model.send(message);
    clearTimeout(this.timer);
    const hint = "the kernel is busy and will do this later; interrupt it to stop now";
    this.timer = setTimeout(() => setText(this.hint, hint), BUSY_DELAY_MS);
  }

  // Uses aria-disabled because a disabled button loses the focus.
  action(name) {
    const onclick = ({ currentTarget: node, detail }) => {
      if (node.getAttribute("aria-disabled") === "true" || detail > 1) return; // a double click
      this.send({ kind: node.dataset.act });
    };
    return button(`.vnb-sweep-${name}`, onclick, icon(""), h("span"));
  }

  show() {
    const next = this.model.get("view_model");
    if (!next.state) return;
    setAttribute(this.root, "aria-label", `Sweep of ${next.title}`);
    this.showButtons(next);
    const error = this.model.get("error");
    const notice = error || next.notice;
    this.alert.hidden = !notice;
    this.alert.classList.toggle("vnb-sweep-resumed", next.decided && !error);
    this.alert.firstChild.replaceWith(icon(next.decided && !error ? "FULFILLED" : "FAILED"));
    setText(this.alert.lastChild, notice);
    setText(
      this.status,
      this.ended && ACTIVE.includes(next.state) ? "as it was when the kernel ended" : next.status,
    );
    for (const [name, node] of Object.entries(this.parts)) {
      setTrustedHtml(node, this.model.get("parts")[name]);
      node.hidden = !node.firstChild;
      for (const time of node.querySelectorAll("time")) {
        setText(time, (name === "figures" ? clock : moment)(new Date(time.dateTime)));
      }
    }
  }

  showButtons({ state, decided, compare, compared }) {
    const { activeElement } = document;
    const hadFocus = activeElement === document.body || this.root.contains(activeElement);
    const isOpened = compared && this.parts.verdicts.contains(activeElement); // then hidden
    const hasEnded = compare && (isOpened || ACTIVE.includes(this.root.dataset.state));
    const ended = this.ended && "The kernel has stopped. Run the cells again to continue.";
    const hint = ended || this.model.get("hint");
    if (hint || !this.timer) setText(this.hint, hint);
    this.buttons.hidden = Boolean(hint);
    const canResume = ["paused", "stopped", "ready"].includes(state);
    if (canResume) setAction(this.pause, "resume", "Resume", !decided);
    else setAction(this.pause, "pause", "Pause", state === "running");
    const isStopping = state === "stopping";
    const [action, label] = isStopping ? ["cut", "Cut off"] : ["stop", "Stop"];
    setAction(this.stop, action, label, ACTIVE.includes(state));
    this.stop.title = isStopping
      ? "Do not wait for the active runs. They are looked up when the sweep is resumed."
      : "";
    setAction(this.compare, "compare", compared ? "Hide comparison" : compare, true);
    setAttribute(this.compare, "aria-expanded", compared);
    this.pause.hidden = this.stop.hidden = Boolean(compare);
    this.compare.hidden = !compare;
    if (hasEnded && hadFocus) this.compare.focus({ preventScroll: true });
    this.root.dataset.state = state;
  }
}

export default widget((model, el) => new SweepView(model, el));
