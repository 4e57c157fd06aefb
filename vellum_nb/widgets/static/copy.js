// A Copy button under each answer. The answers are static HTML, drawn anew when they change.

function piece(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Away from https and this machine a page has no clipboard of its own.
  const field = piece("textarea", { readonly: "", style: "position:fixed;opacity:0" });
  const before = document.activeElement;
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  before?.focus();
  if (!done) throw new Error("refused");
}

function render({ model, el }) {
  const status = piece("span", { role: "status", class: "vnb-heard" });
  el.append(status);
  let focused = null;

  function makeFoot(tag, at) {
    const word = piece("span", {}, "Copy");
    const name = `Copy the outputs of ${tag}`;
    const button = piece("button", { type: "button", class: "vnb-copy", "aria-label": name, title: name }, word);
    const say = (short, long) => {
      word.textContent = short;
      status.textContent = long;
      setTimeout(() => { word.textContent = "Copy"; status.textContent = ""; }, 2000);
    };
    button.addEventListener("click", () => copy(model.get("texts")[at]).then(
      () => say("Copied", `The outputs of ${tag} are copied`),
      () => say("Not copied", `The browser does not let the outputs of ${tag} be copied`),
    ));
    button.addEventListener("focus", () => { focused = { at, button }; });
    button.addEventListener("blur", () => setTimeout(() => { if (button.isConnected) focused = null; }));
    return piece("div", { class: "vnb-out-foot", "data-lm-suppress-shortcuts": "true" }, button);
  }

  function dress(answers) {
    answers.querySelectorAll(".vnb-out-run").forEach((section, at) => {
      if (!section.querySelector(":scope > .vnb-out-foot")) {
        section.append(makeFoot(section.getAttribute("aria-label"), at));
      }
      const button = section.querySelector(":scope > .vnb-out-foot > .vnb-copy");
      button.disabled = !model.get("texts")[at];
      if (focused?.at === at && !focused.button.isConnected && document.activeElement === document.body) button.focus();
    });
  }

  let answers = null;
  const observer = new MutationObserver(() => dress(answers));
  let frame = requestAnimationFrame(function attach() {
    answers = el.closest(".vnb-results")?.querySelector(".vnb-answers");
    if (!answers) { frame = requestAnimationFrame(attach); return; }
    observer.observe(answers, { childList: true, subtree: true });
    dress(answers);
  });
  const changed = () => { if (answers) dress(answers); };
  model.on("change:texts", changed);
  return () => {
    cancelAnimationFrame(frame);
    observer.disconnect();
    model.off("change:texts", changed);
  };
}

export default { render };
