// A bar under each answer, and the text of those that stream. The answers are static HTML, which
// the kernel draws anew when one comes; the bars are kept and moved to their new places.
import { h, resync } from "./kit.js";

function makeButton(name, word, clicked) {
  const button = h("button", { type: "button", class: `vnb-act ${name}` }, word);
  button.addEventListener("click", clicked);
  return button;
}

function callIt(button, name) {
  if (button.title === name) return;
  button.title = name;
  button.setAttribute("aria-label", name);
}

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Away from https and this machine a page has no clipboard of its own.
  const field = h("textarea", { readonly: "", style: "position:fixed;opacity:0" });
  const before = document.activeElement;
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  before?.focus();
  if (!done) throw new Error("refused");
}

// Text that grows is added to, never drawn again: what a reader has selected stays selected.
function grow(place, text) {
  if (!place.firstChild) {
    if (text) place.append(document.createTextNode(text));
  } else if (text.startsWith(place.firstChild.data)) {
    const more = text.slice(place.firstChild.data.length);
    if (more) place.firstChild.appendData(more);
  } else {
    place.firstChild.data = text;
  }
}

function showLive(section, live) {
  const facts = section.querySelector(".vnb-live-facts");
  if (facts && live.facts && facts.textContent !== live.facts) facts.textContent = live.facts;
  section.setAttribute("aria-busy", "true");
  for (const place of section.querySelectorAll(".vnb-live")) {
    const at = Number(place.dataset.at);
    const text = live.texts?.[at] ?? "";
    grow(place, text);
    place.classList.toggle("vnb-waiting", !text);
    place.classList.toggle("vnb-growing", Boolean(text) && at === live.growing);
  }
}

// The bar under one answer. It outlives the answer's HTML, which is drawn again when it changes, so
// that an open editor keeps what was typed.
const UP = 1;
const DOWN = 0;

function makeEditor(save, cancel) {
  const rows = h("div", { class: "vnb-edit-rows" });
  const buttons = h("div", { class: "vnb-edit-buttons" }, save, cancel);
  const node = h("div", { class: "vnb-edit", role: "group" }, rows, buttons);
  node.hidden = true;
  const texts = new Map();
  return {
    node,
    texts: () => Object.fromEntries([...texts].map(([name, field]) => [name, field.value])),
    isFilled: () => texts.size > 0,
    focus: () => rows.querySelector("textarea")?.focus(),
    clear: () => { texts.clear(); rows.replaceChildren(); },
    fill(outputs, tag) {
      node.setAttribute("aria-label", `Correct the outputs of ${tag}`);
      for (const { name, label, text, json } of outputs) {
        const field = h("textarea", { class: json ? "vnb-json" : "", rows: "1", spellcheck: String(!json) });
        field.value = text;
        texts.set(name, field);
        rows.append(h("label", {}, h("span", {}, json ? `${label} (JSON)` : label), field));
      }
    },
  };
}

function makeBar(model, at) {
  let bar = { id: "", tag: "", saved: 0 };
  let open = "";  // which of "editor" and "trace" this view shows
  const send = (event, more = {}) => model.send({ event, id: bar.id, ...more });
  const status = h("span", { role: "status", class: "vnb-heard" });
  const busy = h("span", { class: "vnb-heard", role: "status" });
  const note = h("div", { class: "vnb-act-note vnb-act-line" });
  const problem = h("div", { class: "vnb-act-problem" });
  const trace = h("div", { class: "vnb-act-trace" });
  const thumbs = [UP, DOWN].map((quality) => {
    const button = makeButton(quality === UP ? "vnb-thumb-up" : "vnb-thumb-down", "", () => {
      const isPressed = button.getAttribute("aria-pressed") === "true";
      for (const thumb of thumbs) thumb.setAttribute("aria-pressed", String(thumb === button && !isPressed));
      send("rate", { quality: isPressed ? null : quality });
    });
    return button;
  });
  const correct = makeButton("vnb-correct", "Correct…", () => toggle("editor"));
  const goOn = makeButton("vnb-go-on", "Continue", () => send("continue"));
  const traced = makeButton("vnb-traced", "Trace", () => toggle("trace"));
  const copied = makeButton("vnb-copy", "", () => copy(model.get("texts")[at]).then(
    () => report("Copied", `The outputs of ${bar.tag} are copied`),
    () => report("Not copied", `The browser does not let the outputs of ${bar.tag} be copied`),
  ));
  const word = h("span", {}, "Copy");
  copied.append(word);
  const save = makeButton("vnb-save", "Save correction", () => send("save", { texts: editor.texts() }));
  const cancel = makeButton("vnb-unsave", "Cancel", () => leave());
  const editor = makeEditor(save, cancel);
  editor.node.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { event.stopPropagation(); leave(); }
  });
  const report = (short, long) => {
    word.textContent = short;
    status.textContent = long;
    setTimeout(() => { word.textContent = "Copy"; status.textContent = ""; }, 2000);
  };

  function toggle(what) {
    const isRead = what === "editor" || bar.trace;
    open = open === what && isRead ? "" : what;
    if (open === "editor" && !editor.isFilled()) send("correct");
    if (open === "trace" && !bar.trace) send("trace");
    draw();
    if (open === "editor") editor.focus();
  }

  function close() {
    const isHere = editor.node.contains(document.activeElement);
    editor.clear();
    open = "";
    draw();
    if (isHere) correct.focus();
  }

  function leave() {
    close();
    send("close");  // what was wrong with the correction is wrong no more
  }

  function draw() {
    if (open === "editor" && !editor.isFilled() && bar.editor?.length) {
      editor.fill(bar.editor, bar.tag);
      editor.node.hidden = false;
      editor.focus();
    }
    editor.node.hidden = open !== "editor" || !editor.isFilled();
    if (!bar.trace) trace.replaceChildren(h("div", { class: "vnb-act-note vnb-act-line" }, bar.busy ?? ""));
    trace.hidden = open !== "trace" || !(bar.trace || bar.busy);
    save.textContent = bar.busy ? "Saving…" : "Save correction";
    correct.setAttribute("aria-expanded", String(open === "editor"));
    traced.setAttribute("aria-expanded", String(open === "trace"));
  }

  function take(next) {
    if (next.id !== bar.id) { editor.clear(); open = ""; }
    const isSaved = next.id === bar.id && next.saved > bar.saved;
    const isTraced = next.trace !== bar.trace;
    bar = next;
    if (isSaved && open === "editor") close();
    thumbs.forEach((thumb, place) => {
      // While a click is being saved the thumb stays as it was clicked.
      if (!bar.busy) thumb.setAttribute("aria-pressed", String(bar.quality === [UP, DOWN][place]));
      callIt(thumb, `Rate the answer of ${bar.tag}: ${place ? "bad" : "good"}`);
      thumb.disabled = !bar.rates;
    });
    callIt(correct, `Correct the outputs of ${bar.tag}…`);
    callIt(copied, `Copy the outputs of ${bar.tag}`);
    callIt(goOn, `Continue from the answer of ${bar.tag}`);
    callIt(traced, `Trace of ${bar.tag}`);
    correct.disabled = !bar.rates;
    goOn.disabled = !bar.goes_on;
    traced.disabled = !bar.traces;
    copied.disabled = !model.get("texts")[at];
    if (isTraced && bar.trace) trace.innerHTML = bar.trace;  // made by the kernel, everything in it escaped
    if (busy.textContent !== bar.busy) busy.textContent = bar.busy;
    note.textContent = bar.note;
    showProblem(bar.problem);
    draw();
  }

  function showProblem(text) {
    if (problem.textContent === text) return;
    problem.replaceChildren(...(text ? [h("div", { role: "alert" }, text)] : []));
  }

  const has = (control) => model.get("controls").includes(control);
  const row = h(
    "div", { class: "vnb-acts" }, ...(has("rate") ? [...thumbs, correct] : []),
    h("span", { class: "vnb-acts-gap" }), copied, goOn, ...(has("trace") ? [traced] : []),
  );
  const node = h(
    "div", { class: "vnb-out-foot", "data-lm-suppress-shortcuts": "true" },
    row, note, editor.node, problem, trace, busy, status,
  );
  return { node, take };
}

function render({ model, el }) {
  resync(model);
  const bars = [];
  let answers = null;
  let focused = null;

  function barAt(at) {
    if (!bars[at]) {
      const bar = makeBar(model, at);
      bar.node.addEventListener("focusin", ({ target }) => { focused = target; });
      bar.node.addEventListener("focusout", () => setTimeout(() => {
        if (focused?.isConnected && document.activeElement !== focused) focused = null;
      }));
      bars[at] = bar;
    }
    return bars[at];
  }

  function dress() {
    if (!answers) return;
    const sections = answers.querySelectorAll(".vnb-out-run");
    sections.forEach((section, at) => {
      const { node, take } = barAt(at);
      const state = model.get("bars")[at];
      if (node.parentNode !== section) section.append(node);
      if (state) take(state);
      const live = model.get("live")[at];
      if (live && section.classList.contains("vnb-out-live")) showLive(section, live);
    });
    bars.splice(sections.length);
    if (focused?.isConnected && !focused.disabled && document.activeElement === document.body) {
      focused.focus({ preventScroll: true });
    }
  }

  const observer = new MutationObserver((changes) => {
    if (changes.some(({ target }) => !target.closest?.(".vnb-out-foot, .vnb-live"))) dress();
  });
  let frame = requestAnimationFrame(function attach() {
    answers = el.closest(".vnb-results")?.querySelector(".vnb-answers");
    if (!answers) { frame = requestAnimationFrame(attach); return; }
    observer.observe(answers, { childList: true, subtree: true });
    dress();
  });
  const events = ["change:texts", "change:bars", "change:live"];
  for (const event of events) model.on(event, dress);
  return () => {
    cancelAnimationFrame(frame);
    observer.disconnect();
    for (const event of events) model.off(event, dress);
  };
}

export default { render };
