// Helpers shared by all widgets. Text becomes text nodes, never HTML.
import ICONS from "./icons.json" with { type: "json" };

const KERNEL_ENDS = ["restarting", "autorestarting", "terminating", "dead"];

/**
 * Create an element.
 * @param {string} selector Tag and classes, such as "div.vnb-view-bar"
 * @param {...any} parts Attributes as an object, which can be omitted; then the children: nodes,
 *   strings, numbers or arrays of them. `on…` adds a listener. Null, undefined and false are
 *   ignored, and so are falsy children other than 0.
 * @returns {any} The new HTMLElement
 */
export function h(selector, ...parts) {
  const [tag, ...classes] = selector.split(".");
  const [attributes, children] = splitParts(parts);
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  node.append(...children.flat().filter((child) => child || child === 0));
  return node;
}

function splitParts([first, ...others]) {
  return first?.constructor === Object ? [first, others] : [{}, [first, ...others]];
}

/**
 * Create a button.
 * @param {string} selector Its classes, such as ".vnb-act.vnb-copy"
 * @param {((event: MouseEvent) => void) | null} onclick
 * @param {...any} parts Attributes, which can be omitted, and children
 * @returns {HTMLButtonElement}
 */
export function button(selector, onclick, ...parts) {
  const [attributes, children] = splitParts(parts);
  return h(`button${selector}`, { type: "button", onclick, ...attributes }, ...children);
}

/**
 * Replace the children of a node. The focus moves to the new child with the same `data-key`.
 * @param {HTMLElement} node
 * @param {...any} children Falsy ones are ignored.
 */
export function replaceChildren(node, ...children) {
  const active = /** @type {HTMLElement} */ (document.activeElement);
  const key = node.contains(active) ? active.dataset.key : null;
  node.replaceChildren(...children.filter(Boolean));
  if (key) node.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}

/** One view of a widget's model. Closing it removes its listeners. */
export class WidgetView {
  /**
   * @param {any} model
   * @param {HTMLElement} el
   */
  constructor(model, el) {
    this.model = model;
    this.el = el;
    /** @type {Array<() => void>} */
    this.cleanups = [];
  }

  on(names, callback) {
    this.model.on(names, callback);
    this.cleanups.push(() => this.model.off(names, callback));
  }

  close() {
    for (const cleanup of this.cleanups) cleanup();
    clearTimeout(this.timer);
  }
}

/**
 * Return the default export that anywidget expects of a module.
 * @param {(model: any, el: HTMLElement) => WidgetView} createView
 */
export function widget(createView) {
  const render = ({ model, el }) => {
    resync(model);
    const view = createView(model, el);
    return () => view.close();
  };
  return { render };
}

/**
 * Look for something once per frame and call back when it exists. Other widgets are added to the
 * page at any time.
 * @template T
 * @param {WidgetView} view Closing it ends the search.
 * @param {() => T} find
 * @param {(result: T) => void} callback
 */
export function waitFor(view, find, callback) {
  let frame = requestAnimationFrame(function look() {
    const result = find();
    if (result) callback(result);
    else frame = requestAnimationFrame(look);
  });
  view.cleanups.push(() => cancelAnimationFrame(frame));
}

/**
 * @param {string} name
 * @param {string} [css]
 * @returns {SVGElement}
 */
export function icon(name, css = "vnb-glyph") {
  const path = `<path d="${ICONS[name] ?? ""}" fill="currentColor"/>`;
  const html = `<svg viewBox="0 0 24 24" aria-hidden="true">${path}</svg>`;
  const svg = setTrustedHtml(h("i"), html).firstChild;
  svg.setAttribute("class", css);
  return svg;
}

/**
 * Set the HTML of a node, if it differs. The only place that trusts HTML: the kernel has escaped
 * it, or it is an icon.
 * @template {HTMLElement} T
 * @param {T} node
 * @param {string} html
 * @returns {T}
 */
export function setTrustedHtml(node, html) {
  if (node.vnbHtml !== html) node.innerHTML = html;
  return Object.assign(node, { vnbHtml: html });
}

/**
 * Keep an event from the page and from the browser.
 * @param {Event} event
 */
export function consume(event) {
  event.preventDefault();
  event.stopPropagation();
}

/**
 * Set the text of a node, if it differs: a live region is announced only when it changes.
 * @param {Node} node
 * @param {string | number} text
 */
export function setText(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

/**
 * Set an attribute, if it differs.
 * @param {Element} node
 * @param {string} name
 * @param {string | number | boolean} value
 */
export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/**
 * Format a number with thousands separators; return other values unchanged.
 * @param {any} value
 * @returns {any}
 */
export function formatNumber(value) {
  return typeof value === "number" ? value.toLocaleString("en-US") : value;
}

/**
 * @param {number} count
 * @param {string} word
 * @returns {string} The count and the word, in the plural unless `count` is 1
 */
export function plural(count, word) {
  return `${formatNumber(count)} ${count === 1 ? word : `${word}s`}`;
}

/**
 * Create a labelled `<select>`.
 * @param {string} label
 * @param {Array<[string, string]>} options Pairs of value and text
 * @param {string} value
 * @param {(value: string) => void} onChange
 * @returns {HTMLSelectElement}
 */
export function select(label, options, value, onChange) {
  const node = h(
    "select",
    { "aria-label": label, "data-key": label, onchange: () => onChange(node.value) },
    options.map(([name, text]) => h("option", { value: name }, text)),
  );
  node.value = value;
  return node;
}

// anywidget abandons a model if its module does not load within 2 s, as on a busy machine: the
// widget is drawn, but never receives a message. Bypass anywidget's handler for such a model (0.9
// to 0.11: `_handle_comm_msg`) and request the state that it missed.
function resync(model) {
  const base = backboneModel(model);
  if (typeof base?._handle_comm_msg !== "function" || !base.comm?.on_msg) return;
  const probe = { content: { data: { method: "nothing" } } };
  base._handle_comm_msg(probe).catch(() => {
    if (Object.hasOwn(base, "_handle_comm_msg")) return; // already replaced for another view
    let owner = base;
    while (!Object.hasOwn(owner, "_handle_comm_msg")) owner = Object.getPrototypeOf(owner);
    base._handle_comm_msg = Object.getPrototypeOf(owner)._handle_comm_msg;
    base.comm.on_msg(base._handle_comm_msg.bind(base));
    base.comm.send({ method: "request_state" }, {});
  });
}

// Return Jupyter's model behind anywidget's. Only listeners receive it.
function backboneModel(model) {
  let base = null;
  const listener = (sender) => {
    base = sender;
  };
  model.on("change:_vnb_views", listener);
  model.set("_vnb_views", (model.get("_vnb_views") ?? 0) + 1);
  model.off("change:_vnb_views", listener);
  return base;
}

/**
 * Call back when the view's kernel stops or restarts. Models are not told.
 * @param {WidgetView} view
 * @param {() => void} callback
 */
export function onKernelEnd(view, callback) {
  const statusChanged = backboneModel(view.model)?.widget_manager?.kernel?.statusChanged;
  const listener = (_, status) => {
    if (KERNEL_ENDS.includes(status)) callback();
  };
  statusChanged?.connect(listener);
  view.cleanups.push(() => statusChanged?.disconnect(listener));
}
