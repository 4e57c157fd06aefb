// Actions under each answer, and the text of streaming answers. The kernel renders the answers as
// static HTML and replaces it for each new answer. The bars of actions are reused, because an open
// editor must keep its text.
import { WidgetView, button, h, setAttribute, setText, waitFor, widget } from "./kit.js";

function showLive(section, live) {
  const facts = section.querySelector(".vnb-live-facts");
  if (facts && live.facts) setText(facts, live.facts);
  section.setAttribute("aria-busy", "true");
  for (const place of section.querySelectorAll(".vnb-live")) {
    const index = Number(place.dataset.at);
    const text = live.texts?.[index] ?? "";
    // Append to the text node instead of replacing it: the user's selection must survive.
    const node = place.firstChild ?? place.appendChild(document.createTextNode(""));
    if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
    else node.data = text;
    place.classList.toggle("vnb-waiting", !text);
    place.classList.toggle("vnb-growing", Boolean(text) && index === live.growing);
  }
}

/** Return the control of a value to correct.
 * @param {"text"|"number"|"boolean"|"json"} kind */
function correctionField(kind) {
  if (kind === "number") return h("input", { type: "text", inputmode: "decimal" });
  if (kind === "boolean") {
    return h("select", h("option", "true"), h("option", "false"));
  }
  if (kind === "json") return h("textarea.vnb-json", { rows: "1", spellcheck: "false" });
  return h("textarea", { rows: "1", spellcheck: "true" });
}

const drafts = new Map(); // values of corrections that are not saved, by run id

class ActionBar {
  constructor(model, index) {
    Object.assign(this, { model, index, state: { id: "", tag: "", saved: 0 } });
    this.open = ""; // "editor", "trace" or neither
    this.status = h("span.vnb-sr-only", { role: "status" });
    this.busy = h("span.vnb-sr-only", { role: "status" });
    this.note = h("div.vnb-act-note.vnb-act-line");
    this.problem = h("div.vnb-act-problem");
    this.trace = h("div.vnb-act-trace");
    this.lookUpResult = h("div.vnb-act-note.vnb-act-line", { role: "status" });
    this.lookUpButton = button(".vnb-act.vnb-look-up", () => this.send("look up"), "Look up");
    const thumb = (name, quality, word) => {
      const node = button(`.vnb-act.vnb-thumb-${name}`, () => this.rate(node));
      return Object.assign(node, { quality, word });
    };
    this.thumbs = [thumb("up", 1, "good"), thumb("down", 0, "bad")];
    this.correctButton = button(".vnb-act.vnb-correct", () => this.toggle("editor"), "Correct…");
    this.continueButton = button(".vnb-act.vnb-go-on", () => this.send("continue"), "Continue");
    this.traceButton = button(".vnb-act.vnb-traced", () => this.toggle("trace"), "Trace");
    this.copyLabel = h("span", "Copy");
    this.copyButton = button(".vnb-act.vnb-copy", () => this.copy(), this.copyLabel);
    this.saveButton = button(".vnb-act.vnb-save", () => this.send("save", { texts: this.values }));
    this.rows = h("div.vnb-edit-rows", { oninput: () => drafts.set(this.state.id, this.values) });
    const cancel = button(".vnb-act", () => this.leave(), "Cancel");
    const buttons = h("div.vnb-edit-buttons", this.saveButton, cancel);
    const onkeydown = (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.leave();
    };
    this.editor = h("div.vnb-edit", { role: "group", onkeydown }, this.rows, buttons);
    const has = (control) => model.get("controls").includes(control);
    const left = has("rate") ? [...this.thumbs, this.correctButton] : [];
    if (has("look up")) left.unshift(this.lookUpButton);
    const right = [this.copyButton];
    if (has("continue")) right.push(this.continueButton);
    if (has("trace")) right.push(this.traceButton);
    const row = h("div.vnb-acts", left, h("span.vnb-acts-gap"), right);
    this.node = h("div.vnb-out-foot", { "data-lm-suppress-shortcuts": "true" });
    this.node.append(row, this.lookUpResult, this.note, this.editor);
    this.node.append(this.problem, this.trace, this.busy, this.status);
  }

  get fields() {
    return [...this.rows.querySelectorAll("textarea, input, select")];
  }

  get values() {
    return Object.fromEntries(this.fields.map(({ name, value }) => [name, value]));
  }

  send(event, content = {}) {
    this.model.send({ event, id: this.state.id, ...content });
  }

  rate(thumb) {
    const quality = thumb.getAttribute("aria-pressed") === "true" ? null : thumb.quality;
    for (const other of this.thumbs) {
      other.setAttribute("aria-pressed", String(other.quality === quality));
    }
    this.send("rate", { quality });
  }

  // Fails if the page is served neither by HTTPS nor from this machine.
  async copy() {
    const { tag } = this.state;
    try {
      await navigator.clipboard.writeText(this.model.get("texts")[this.index]);
      this.report("Copied", `The outputs of ${tag} are copied`);
    } catch {
      this.report("Not copied", `The browser does not let the outputs of ${tag} be copied`);
    }
  }

  report(label, announcement) {
    setText(this.copyLabel, label);
    setText(this.status, announcement);
    setTimeout(() => {
      setText(this.copyLabel, "Copy");
      setText(this.status, "");
    }, 2000);
  }

  toggle(part) {
    const isLoaded = part === "editor" || this.state.trace;
    this.open = this.open === part && isLoaded ? "" : part;
    if (this.open === "editor" && !this.fields.length) this.send("correct");
    if (this.open === "trace" && !this.state.trace) this.send("trace");
    this.draw();
    if (this.open === "editor") this.fields[0]?.focus();
  }

  close() {
    const hadFocus = this.editor.contains(document.activeElement);
    this.rows.replaceChildren();
    this.open = "";
    this.draw();
    if (hadFocus) this.correctButton.focus();
  }

  leave() {
    drafts.delete(this.state.id);
    this.close();
    this.send("close"); // clears the errors of the correction
  }

  fillEditor() {
    setAttribute(this.editor, "aria-label", `Correct the outputs of ${this.state.tag}`);
    for (const { name, label, text, kind } of this.state.editor) {
      const field = correctionField(kind);
      field.name = name;
      field.value = drafts.get(this.state.id)?.[name] ?? text;
      this.rows.append(h("label", h("span", kind === "json" ? `${label} (JSON)` : label), field));
    }
  }

  draw() {
    const { busy = "", editor, trace } = this.state;
    const isNew = this.open === "editor" && !this.fields.length && editor?.length;
    if (isNew) this.fillEditor();
    this.editor.hidden = this.open !== "editor" || !this.fields.length;
    if (isNew) this.fields[0].focus();
    if (!trace) this.trace.replaceChildren(h("div.vnb-act-note.vnb-act-line", busy));
    this.trace.hidden = this.open !== "trace" || !(trace || busy);
    setText(this.saveButton, busy ? "Saving…" : "Save correction");
    setAttribute(this.correctButton, "aria-expanded", this.open === "editor");
    setAttribute(this.traceButton, "aria-expanded", this.open === "trace");
  }

  update(next) {
    const previous = this.state;
    this.state = next;
    if (next.id === previous.id && next.saved > previous.saved) drafts.delete(next.id);
    if (next.id !== previous.id || (next.saved > previous.saved && this.open === "editor")) {
      this.close();
    }
    const { tag } = next;
    for (const thumb of this.thumbs) {
      // Keep the clicked state until the rating is saved.
      if (!next.busy) thumb.setAttribute("aria-pressed", String(next.quality === thumb.quality));
      thumb.disabled = !next.rates;
    }
    const names = [
      [this.correctButton, `Correct the outputs of ${tag}…`],
      [this.copyButton, `Copy the outputs of ${tag}`],
      [this.lookUpButton, `Look up whether the run of ${tag} was executed`],
      [this.continueButton, `Continue from the answer of ${tag}`],
      [this.traceButton, `Trace of ${tag}`],
      ...this.thumbs.map((thumb) => [thumb, `Rate the answer of ${tag}: ${thumb.word}`]),
    ];
    for (const [node, name] of names) {
      setAttribute(node, "title", name);
      setAttribute(node, "aria-label", name);
    }
    const hadFocus = document.activeElement === this.lookUpButton;
    this.lookUpButton.hidden = !next.in_doubt;
    this.lookUpButton.setAttribute("aria-disabled", String(Boolean(next.busy)));
    this.correctButton.disabled = !next.rates;
    this.continueButton.disabled = !next.goes_on;
    this.traceButton.disabled = !next.traces;
    this.copyButton.disabled = !this.model.get("texts")[this.index];
    if (next.trace && next.trace !== previous.trace) {
      this.trace.innerHTML = next.trace; // escaped by the kernel
    }
    if (hadFocus && this.lookUpButton.hidden) {
      [this.copyButton, this.continueButton, this.traceButton]
        .find((node) => node.isConnected && !node.disabled)
        ?.focus();
    }
    setText(this.busy, next.busy);
    setText(this.lookUpResult, next.in_doubt && next.busy ? next.busy : next.looked_up);
    setText(this.note, next.note);
    if (this.problem.textContent !== next.problem) {
      this.problem.replaceChildren(
        ...(next.problem ? [h("div", { role: "alert" }, next.problem)] : []),
      );
    }
    this.draw();
  }
}

function draw(model, el) {
  const view = new WidgetView(model, el);
  const bars = [];
  let answers = null;
  let focused = null;

  function barAt(index) {
    if (bars[index]) return bars[index];
    const bar = new ActionBar(model, index);
    bars[index] = bar;
    bar.node.addEventListener("focusin", ({ target }) => {
      focused = target;
    });
    bar.node.addEventListener("focusout", () =>
      setTimeout(() => {
        if (focused?.isConnected && document.activeElement !== focused) focused = null;
      }),
    );
    return bar;
  }

  function attachBars() {
    if (!answers) return;
    const sections = answers.querySelectorAll(".vnb-out-run");
    sections.forEach((section, index) => {
      const bar = barAt(index);
      if (bar.node.parentNode !== section) section.append(bar.node);
      if (model.get("bars")[index]) bar.update(model.get("bars")[index]);
      const live = model.get("live")[index];
      if (live && section.classList.contains("vnb-out-live")) showLive(section, live);
    });
    bars.splice(sections.length);
    const isLost =
      focused?.isConnected && !focused.disabled && document.activeElement === document.body;
    if (isLost) focused.focus({ preventScroll: true });
  }

  const observer = new MutationObserver((changes) => {
    if (changes.some(({ target }) => !target.closest?.(".vnb-out-foot, .vnb-live"))) attachBars();
  });
  waitFor(
    view,
    () => el.closest(".vnb-results")?.querySelector(".vnb-answers"),
    (node) => {
      answers = node;
      observer.observe(answers, { childList: true, subtree: true });
      attachBars();
    },
  );
  view.on("change:texts change:bars change:live", attachBars);
  view.cleanups.push(() => observer.disconnect());
  return view;
}

export default widget(draw);
