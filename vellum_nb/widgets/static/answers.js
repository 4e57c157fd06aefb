// A bar under each answer, and the text of those that stream. The answers are static HTML, which
// the kernel draws again when one comes; the bars are kept and moved to their new places, so that an
// open editor keeps what was typed.
import { Drawn, h, put, say, whenFound, widget } from "./kit.js";

const act = (name, onclick, ...words) => h("button", { type: "button", class: `vnb-act ${name}`, onclick }, ...words);

// Away from https and this machine a page has no clipboard.
async function copy(text) { await navigator.clipboard.writeText(text); }

function showLive(section, live) {
  const facts = section.querySelector(".vnb-live-facts");
  if (facts && live.facts) say(facts, live.facts);
  section.setAttribute("aria-busy", "true");
  for (const place of section.querySelectorAll(".vnb-live")) {
    const at = Number(place.dataset.at);
    const text = live.texts?.[at] ?? "";
    // Text that grows is added to, never drawn again: what a reader has selected stays selected.
    const node = place.firstChild ?? place.appendChild(document.createTextNode(""));
    if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
    else node.data = text;
    place.classList.toggle("vnb-waiting", !text);
    place.classList.toggle("vnb-growing", Boolean(text) && at === live.growing);
  }
}

class Bar {
  constructor(model, at) {
    Object.assign(this, { model, at, state: { id: "", tag: "", saved: 0 } });
    this.open = "";  // which of "editor" and "trace" this view shows
    this.status = h("span", { role: "status", class: "vnb-sr-only" });
    this.busy = h("span", { role: "status", class: "vnb-sr-only" });
    this.note = h("div", { class: "vnb-act-note vnb-act-line" });
    this.problem = h("div", { class: "vnb-act-problem" });
    this.trace = h("div", { class: "vnb-act-trace" });
    this.lookedUp = h("div", { role: "status", class: "vnb-act-note vnb-act-line" });
    this.lookUp = act("vnb-look-up", () => this.send("look up"), "Look up");
    this.thumbs = [["up", 1, "good"], ["down", 0, "bad"]].map(([name, quality, word]) => {
      const button = act(`vnb-thumb-${name}`, () => this.rate(button));
      return Object.assign(button, { quality, word });
    });
    this.correct = act("vnb-correct", () => this.toggle("editor"), "Correct…");
    this.goOn = act("vnb-go-on", () => this.send("continue"), "Continue");
    this.traced = act("vnb-traced", () => this.toggle("trace"), "Trace");
    this.word = h("span", {}, "Copy");
    this.copied = act("vnb-copy", () => copy(this.model.get("texts")[this.at]).then(
      () => this.report("Copied", `The outputs of ${this.state.tag} are copied`),
      () => this.report("Not copied", `The browser does not let the outputs of ${this.state.tag} be copied`),
    ), this.word);
    this.save = act("vnb-save", () => this.send("save", { texts: Object.fromEntries(this.fields.map(({ name, value }) => [name, value])) }));
    this.rows = h("div", { class: "vnb-edit-rows" });
    const buttons = h("div", { class: "vnb-edit-buttons" }, this.save, act("", () => this.leave(), "Cancel"));
    this.editor = h("div", { class: "vnb-edit", role: "group", onkeydown: (event) => {
      if (event.key === "Escape") { event.stopPropagation(); this.leave(); }
    } }, this.rows, buttons);
    const has = (control) => model.get("controls").includes(control);
    const row = h("div", { class: "vnb-acts" }, has("look up") ? this.lookUp : "", has("rate") ? [...this.thumbs, this.correct] : [],
      h("span", { class: "vnb-acts-gap" }), this.copied, this.goOn, has("trace") ? this.traced : "");
    this.node = h("div", { class: "vnb-out-foot", "data-lm-suppress-shortcuts": "true" },
      row, this.lookedUp, this.note, this.editor, this.problem, this.trace, this.busy, this.status);
  }

  get fields() { return [...this.rows.querySelectorAll("textarea")]; }

  send(event, more = {}) { this.model.send({ event, id: this.state.id, ...more }); }

  rate(thumb) {
    const quality = thumb.getAttribute("aria-pressed") === "true" ? null : thumb.quality;
    for (const each of this.thumbs) each.setAttribute("aria-pressed", String(each.quality === quality));
    this.send("rate", { quality });
  }

  report(short, long) {
    say(this.word, short);
    say(this.status, long);
    setTimeout(() => { say(this.word, "Copy"); say(this.status, ""); }, 2000);
  }

  toggle(what) {
    const isRead = what === "editor" || this.state.trace;
    this.open = this.open === what && isRead ? "" : what;
    if (this.open === "editor" && !this.fields.length) this.send("correct");
    if (this.open === "trace" && !this.state.trace) this.send("trace");
    this.draw();
    if (this.open === "editor") this.fields[0]?.focus();
  }

  close() {
    const isHere = this.editor.contains(document.activeElement);
    this.rows.replaceChildren();
    this.open = "";
    this.draw();
    if (isHere) this.correct.focus();
  }

  leave() {
    this.close();
    this.send("close");  // what was wrong with the correction is wrong no more
  }

  fill() {
    put(this.editor, "aria-label", `Correct the outputs of ${this.state.tag}`);
    for (const { name, label, text, json } of this.state.editor) {
      const field = h("textarea", { name, class: json ? "vnb-json" : "", rows: "1", spellcheck: String(!json) });
      field.value = text;
      this.rows.append(h("label", {}, h("span", {}, json ? `${label} (JSON)` : label), field));
    }
  }

  draw() {
    const { busy = "", editor, trace } = this.state;
    const isNew = this.open === "editor" && !this.fields.length && editor?.length;
    if (isNew) this.fill();
    this.editor.hidden = this.open !== "editor" || !this.fields.length;
    if (isNew) this.fields[0].focus();
    if (!trace) this.trace.replaceChildren(h("div", { class: "vnb-act-note vnb-act-line" }, busy));
    this.trace.hidden = this.open !== "trace" || !(trace || busy);
    say(this.save, busy ? "Saving…" : "Save correction");
    put(this.correct, "aria-expanded", this.open === "editor");
    put(this.traced, "aria-expanded", this.open === "trace");
  }

  take(next) {
    const before = this.state;
    this.state = next;
    if (next.id !== before.id || (next.saved > before.saved && this.open === "editor")) this.close();
    const { tag } = next;
    for (const thumb of this.thumbs) {
      // While a click is being saved the thumb stays as it was clicked.
      if (!next.busy) thumb.setAttribute("aria-pressed", String(next.quality === thumb.quality));
      thumb.disabled = !next.rates;
    }
    const names = [[this.correct, `Correct the outputs of ${tag}…`], [this.copied, `Copy the outputs of ${tag}`],
      [this.lookUp, `Look up whether the run of ${tag} was executed`], [this.goOn, `Continue from the answer of ${tag}`], [this.traced, `Trace of ${tag}`],
      ...this.thumbs.map((thumb) => [thumb, `Rate the answer of ${tag}: ${thumb.word}`])];
    for (const [button, name] of names) { put(button, "title", name); put(button, "aria-label", name); }
    const hadFocus = document.activeElement === this.lookUp;
    this.lookUp.hidden = !next.in_doubt;
    this.lookUp.setAttribute("aria-disabled", String(Boolean(next.busy)));
    this.correct.disabled = !next.rates;
    this.goOn.disabled = !next.goes_on;
    this.traced.disabled = !next.traces;
    this.copied.disabled = !this.model.get("texts")[this.at];
    if (next.trace && next.trace !== before.trace) this.trace.innerHTML = next.trace;  // made by the kernel, everything in it escaped
    if (hadFocus && this.lookUp.hidden) [this.copied, this.goOn, this.traced].find((each) => each.isConnected && !each.disabled)?.focus();
    say(this.busy, next.busy);
    say(this.lookedUp, next.in_doubt && next.busy ? next.busy : next.looked_up);
    say(this.note, next.note);
    if (this.problem.textContent !== next.problem) this.problem.replaceChildren(...(next.problem ? [h("div", { role: "alert" }, next.problem)] : []));
    this.draw();
  }
}

function draw(model, el) {
  const drawn = new Drawn(model, el);
  const bars = [];
  let answers = null;
  let focused = null;

  function barAt(at) {
    if (bars[at]) return bars[at];
    const bar = bars[at] = new Bar(model, at);
    bar.node.addEventListener("focusin", ({ target }) => { focused = target; });
    bar.node.addEventListener("focusout", () => setTimeout(() => {
      if (focused?.isConnected && document.activeElement !== focused) focused = null;
    }));
    return bar;
  }

  function dress() {
    if (!answers) return;
    const sections = answers.querySelectorAll(".vnb-out-run");
    sections.forEach((section, at) => {
      const bar = barAt(at);
      if (bar.node.parentNode !== section) section.append(bar.node);
      if (model.get("bars")[at]) bar.take(model.get("bars")[at]);
      const live = model.get("live")[at];
      if (live && section.classList.contains("vnb-out-live")) showLive(section, live);
    });
    bars.splice(sections.length);
    const isLost = focused?.isConnected && !focused.disabled && document.activeElement === document.body;
    if (isLost) focused.focus({ preventScroll: true });
  }

  const observer = new MutationObserver((changes) => {
    if (changes.some(({ target }) => !target.closest?.(".vnb-out-foot, .vnb-live"))) dress();
  });
  whenFound(drawn, () => el.closest(".vnb-results")?.querySelector(".vnb-answers"), (found) => {
    answers = found;
    observer.observe(answers, { childList: true, subtree: true });
    dress();
  });
  drawn.on("change:texts change:bars change:live", dress);
  drawn.ends.push(() => observer.disconnect());
  return drawn;
}

export default widget(draw);
