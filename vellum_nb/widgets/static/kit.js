// What all widgets are drawn with. Text goes in as text nodes, never as HTML.
import { ICONS } from "./icons.js";

export function h(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child || child === 0));
  return node;
}

export function button(kind, onclick, options, ...children) {
  return h("button", { type: "button", class: kind.split(" ").map((name, at) => (at ? name : `vnb-view-${name}`)).join(" "), onclick, ...options }, ...children);
}

// Put other children into a node; the focus stays on what has the same `data-key`.
export function refill(node, ...children) {
  const key = node.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  node.replaceChildren(...children.filter(Boolean));
  if (key) node.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}

// What draws a model in a place of the page; what it listens to ends with it.
export class Drawn {
  constructor(model, el) { Object.assign(this, { model, el, ends: [] }); }

  on(names, call) {
    this.model.on(names, call);
    this.ends.push(() => this.model.off(names, call));
  }

  close() {
    this.ends.forEach((end) => end());
    clearTimeout(this.timer);
  }
}

// What anywidget asks of a script, made of a function that returns what is drawn.
export function widget(draw) {
  const render = ({ model, el }) => {
    resync(model);
    const drawn = draw(model, el);
    return () => drawn.close();
  };
  return { render };
}

// Call with what `find` finds once it is there: other widgets come into the page when they like.
export function whenFound(drawn, find, call) {
  let frame = requestAnimationFrame(function look() {
    const found = find();
    if (found) call(found); else frame = requestAnimationFrame(look);
  });
  drawn.ends.push(() => cancelAnimationFrame(frame));
}

export function icon(name, css = "vnb-glyph") {
  const path = `<path d="${ICONS[name] ?? ""}" fill="currentColor"/>`;
  const svg = fill(h("i"), `<svg viewBox="0 0 24 24" aria-hidden="true">${path}</svg>`).firstChild;
  svg.setAttribute("class", css);
  return svg;
}

// The one place where HTML is trusted: Python made and escaped it, or it is an icon.
export function fill(node, html) {
  if (node.vnbHtml !== html) node.innerHTML = html;
  return Object.assign(node, { vnbHtml: html });
}

export function swallow(event) {
  event.preventDefault();
  event.stopPropagation();
}

export function say(node, text) { if (node.textContent !== String(text)) node.textContent = text; }
export function put(node, name, value) { if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value); }
export function figure(value) { return typeof value === "number" ? value.toLocaleString("en-US") : value; }
export function plural(count, word) { return count === 1 ? word : `${word}s`; }

export function select(label, options, value, changed) {
  const node = h("select", { "aria-label": label, onchange: () => changed(node.value) }, options.map(([name, text]) => h("option", { value: name }, text)));
  node.value = value;
  return node;
}

// anywidget gives a model up whose module has not loaded within 2 s, as on a busy machine: it would
// be drawn all the same, and never receive a message again. Such a model is handed its messages
// without anywidget (0.9 to 0.11: `_handle_comm_msg`), and asks for what it missed.
function resync(model) {
  const raw = ownModel(model);
  if (typeof raw?._handle_comm_msg !== "function" || !raw.comm?.on_msg) return;
  const nothing = { content: { data: { method: "nothing" } } };
  raw._handle_comm_msg(nothing).catch(() => {
    if (Object.hasOwn(raw, "_handle_comm_msg")) return;  // another view of the model was first
    let own = raw;
    while (!Object.hasOwn(own, "_handle_comm_msg")) own = Object.getPrototypeOf(own);
    raw._handle_comm_msg = Object.getPrototypeOf(own)._handle_comm_msg;
    raw.comm.on_msg(raw._handle_comm_msg.bind(raw));
    raw.comm.send({ method: "request_state" }, {});
  });
}

function ownModel(model) {
  let raw = null;
  const take = (it) => { raw = it; };
  model.on("change:_vnb_views", take);  // the only way from anywidget's model to Jupyter's own
  model.set("_vnb_views", (model.get("_vnb_views") ?? 0) + 1);
  model.off("change:_vnb_views", take);
  return raw;
}

// Calls when the kernel behind what is drawn ends, of which its model learns nothing.
export function onKernelEnd(drawn, call) {
  const changed = ownModel(drawn.model)?.widget_manager?.kernel?.statusChanged;
  const listen = (_, status) => { if (["restarting", "autorestarting", "terminating", "dead"].includes(status)) call(); };
  changed?.connect(listen);
  drawn.ends.push(() => changed?.disconnect(listen));
}
