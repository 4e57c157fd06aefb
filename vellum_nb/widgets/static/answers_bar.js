// The bar under one answer. It outlives the answer's HTML, which is drawn anew when it changes, so
// that an open editor keeps what was typed.
const UP = 1;
const DOWN = 0;

function makeEditor(save, cancel) {
  const rows = piece("div", { class: "vnb-edit-rows" });
  const buttons = piece("div", { class: "vnb-edit-buttons" }, save, cancel);
  const node = piece("div", { class: "vnb-edit", role: "group" }, rows, buttons);
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
        const field = piece("textarea", { class: json ? "vnb-json" : "", rows: "1", spellcheck: String(!json) });
        field.value = text;
        texts.set(name, field);
        rows.append(piece("label", {}, piece("span", {}, json ? `${label} (JSON)` : label), field));
      }
    },
  };
}

function makeBar(model, at) {
  let bar = { id: "", tag: "", saved: 0 };
  let open = "";  // which of "editor" and "trace" this view shows
  const send = (event, more = {}) => model.send({ event, id: bar.id, ...more });
  const status = piece("span", { role: "status", class: "vnb-heard" });
  const busy = piece("span", { class: "vnb-heard", role: "status" });
  const note = piece("div", { class: "vnb-act-note vnb-act-line" });
  const problem = piece("div", { class: "vnb-act-problem" });
  const trace = piece("div", { class: "vnb-act-trace" });
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
    () => say("Copied", `The outputs of ${bar.tag} are copied`),
    () => say("Not copied", `The browser does not let the outputs of ${bar.tag} be copied`),
  ));
  const word = piece("span", {}, "Copy");
  copied.append(word);
  const save = makeButton("vnb-save", "Save correction", () => send("save", { texts: editor.texts() }));
  const cancel = makeButton("vnb-unsave", "Cancel", () => leave());
  const editor = makeEditor(save, cancel);
  editor.node.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { event.stopPropagation(); leave(); }
  });
  const say = (short, long) => {
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
    if (!bar.trace) trace.replaceChildren(piece("div", { class: "vnb-act-note vnb-act-line" }, bar.busy ?? ""));
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
    problem.replaceChildren(...(text ? [piece("div", { role: "alert" }, text)] : []));
  }

  const has = (control) => model.get("controls").includes(control);
  const row = piece(
    "div", { class: "vnb-acts" }, ...(has("rate") ? [...thumbs, correct] : []),
    piece("span", { class: "vnb-acts-gap" }), copied, goOn, ...(has("trace") ? [traced] : []),
  );
  const node = piece(
    "div", { class: "vnb-out-foot", "data-lm-suppress-shortcuts": "true" },
    row, note, editor.node, problem, trace, busy, status,
  );
  return { node, take };
}
