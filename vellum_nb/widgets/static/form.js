// Focus and accessibility of a form. A disabled button passes the focus on, because Jupyter would
// treat the next key as a command; ARIA attributes repeat what only the style shows.
import { WidgetView, consume, h, setAttribute, setText, waitFor, widget } from "./kit.js";

const RENDER_DELAY_MS = 300; // until the answers are in the page
const MAX_ANNOUNCED_CHARS = 500; // of an answer in a chat

function describe(field) {
  const isInvalid = field.classList.contains("vnb-bad");
  const part = (name) => field.querySelector(`:scope > ${name}`);
  const descriptions = [part(".vnb-help"), isInvalid && part(".vnb-problem")].filter(
    (node) => node && node.textContent.trim(),
  );
  for (const node of descriptions) node.id ||= `vnb-${Math.random().toString(36).slice(2)}`;
  for (const control of field.querySelectorAll("input, textarea, select")) {
    const turn = control.closest(".vnb-turn-row");
    setAttribute(
      control,
      "aria-invalid",
      isInvalid && (!turn || turn.classList.contains("vnb-turn-bad")),
    );
    if (descriptions.length) {
      setAttribute(control, "aria-describedby", descriptions.map((node) => node.id).join(" "));
    } else control.removeAttribute("aria-describedby");
    const label = control.id && field.querySelector(`label[for="${CSS.escape(control.id)}"]`);
    if (label && label.textContent.endsWith(" *")) setAttribute(control, "aria-required", true);
  }
  labelGroup(field, part(".vnb-caption") ?? part(".vnb-how")?.querySelector("label"));
}

function labelGroup(node, label, prefix = "", role = "group") {
  if (!label?.textContent) return;
  setAttribute(node, "role", role);
  setAttribute(node, "aria-label", prefix + label.textContent);
}

function setAttributes(nodes, attributes) {
  for (const node of nodes) {
    for (const [name, value] of Object.entries(attributes)) setAttribute(node, name, value);
  }
}

function describeAll(root) {
  root.querySelectorAll(".vnb-field").forEach(describe);
  root
    .querySelectorAll(".vnb-fold")
    .forEach((fold) => setAttribute(fold, "aria-expanded", fold.classList.contains("vnb-open")));
  labelGroup(root, root.querySelector(".vnb-title"), "Form of ", "region");
  const turns = { role: "list", "aria-label": "Turns" };
  setAttributes(root.querySelectorAll(".vnb-dialog-turns"), turns);
  setAttributes(root.querySelectorAll(".vnb-dialog-turn"), { role: "listitem" });
  for (const tags of root.querySelectorAll(".vnb-tags")) {
    labelGroup(tags, { textContent: "Run on release tags" });
  }
  root.querySelectorAll(".vnb-column").forEach((row) => labelGroup(row, row.querySelector("b")));
  // ipywidgets sets the title "null" if a widget has no tooltip; screen readers read it.
  root.querySelectorAll('[title="null"]').forEach((node) => node.removeAttribute("title"));
}

// Move the focus from a disabled button; after Run on a file of cases, to the view of the sweep,
// and in a chat to the next message.
function moveFocus(view, root, button) {
  const isCases = button.matches(".vnb-case-run");
  const targets = isCases
    ? ".vnb-sweep-buttons > *, .vnb-case-run"
    : ".vnb-say textarea, .vnb-run, .vnb-cancel";
  const move = () => {
    const isLost = [document.body, button].includes(document.activeElement);
    const target = [...root.querySelectorAll(targets)].find(
      (candidate) => !candidate.disabled && candidate.offsetParent,
    );
    if (isLost) target?.focus();
    return !isLost || target;
  };
  if (!move()) waitFor(view, move, () => {});
}

function watch(view, root) {
  const answers = root.querySelector(".vnb-answers");
  const status = h("span.vnb-sr-only", { role: "status" });
  root.append(status); // last, because Jupyter relies on the positions of its widgets' nodes
  let blurred = null; // button that lost the focus when it was disabled
  let timer = null;

  // Keep the content below from moving: until the next run, the answers never get shorter.
  const keepHeight = () => {
    answers.style.minHeight = `${answers.offsetHeight}px`;
  };
  const sizes = new ResizeObserver(() => {
    const isRunning = root.querySelector(".vnb-cancel")?.disabled === false;
    if (isRunning && answers.offsetHeight > parseFloat(answers.style.minHeight || 0)) keepHeight();
  });

  // Announce the start and the results of a run to screen readers.
  function begin() {
    answers.style.minHeight = "";
    keepHeight();
    clearTimeout(timer);
    setText(status, "Running");
  }

  function end() {
    const turn = [...root.querySelectorAll(".vnb-dialog-turn")].at(-1);
    const isChat = turn?.offsetParent;
    const nodes = isChat
      ? turn.querySelectorAll(".vnb-out-run")
      : answers.querySelectorAll(".vnb-out-head");
    const heads = [...nodes].map((node) =>
      node.innerText.replace(/\s+/g, " ").trim().slice(0, MAX_ANNOUNCED_CHARS),
    );
    const progress = root.querySelector(".vnb-progress")?.textContent.trim();
    setText(status, [progress, ...heads].filter(Boolean).join(", "));
  }

  function changed({ target, attributeName }) {
    if (attributeName === "disabled") {
      if (target.disabled && [document.activeElement, blurred].includes(target)) {
        moveFocus(view, root, target);
      }
      blurred = null;
      if (target.matches(".vnb-cancel")) {
        if (target.disabled) timer = setTimeout(end, RENDER_DELAY_MS);
        else begin();
      }
    } else if (target.matches(".vnb-field, .vnb-turn-row")) describe(target.closest(".vnb-field"));
    else if (target.matches(".vnb-fold")) {
      setAttribute(target, "aria-expanded", target.classList.contains("vnb-open"));
    }
  }

  // A click anywhere on a release's chip toggles its checkbox.
  const toggleChip = ({ target }) => {
    if (!target.closest("label")) target.closest(".vnb-chip")?.querySelector("input").click();
  };
  // Ctrl+Enter runs. `change` is the event of fields whose text is sent when they lose the focus.
  const runOnKey = (event) => {
    const { target, key, ctrlKey, metaKey, repeat } = event;
    const isInForm = root.contains(target) && target.closest(".vnb-fields, .vnb-actions");
    if (key !== "Enter" || !(ctrlKey || metaKey) || !isInForm) return;
    consume(event);
    target.dispatchEvent(new Event("change", { bubbles: true }));
    const buttons = [...root.querySelectorAll(".vnb-run, .vnb-case-run")];
    if (!repeat) buttons.find((candidate) => candidate.offsetParent)?.click();
  };
  const listeners = new AbortController();
  const observer = new MutationObserver((changes) => {
    if (changes.some(({ type }) => type === "childList")) describeAll(root);
    changes.filter(({ type }) => type !== "childList").forEach(changed);
  });
  const onFocusout = ({ target }) => {
    blurred = target.disabled ? target : null;
  };
  root.addEventListener("focusout", onFocusout, listeners);
  root.addEventListener("click", toggleChip, listeners);
  // Before JupyterLab, which runs the cell.
  window.addEventListener("keydown", runOnKey, { capture: true, signal: listeners.signal });
  sizes.observe(answers);
  const attributeFilter = ["class", "disabled"];
  observer.observe(root, { attributeFilter, childList: true, subtree: true });
  describeAll(root);
  view.cleanups.push(() => {
    observer.disconnect();
    sizes.disconnect();
    clearTimeout(timer);
    status.remove();
    listeners.abort();
  });
}

export default widget((model, el) => {
  const view = new WidgetView(model, el);
  waitFor(
    view,
    () => el.closest(".vnb-form:has(.vnb-answers)"),
    (root) => watch(view, root),
  );
  return view;
});
