// What the answers need of the page: elements, and the clipboard.
function piece(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function makeButton(name, word, clicked) {
  const button = piece("button", { type: "button", class: `vnb-act ${name}` }, word);
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

// Text that grows is added to, never drawn anew: what a reader has selected stays selected.
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
