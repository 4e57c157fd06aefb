// What a form needs from the browser: the focus never falls out of it when a button is disabled
// (Jupyter would take the next key for a command), and screen readers learn what the style shows.
import { Drawn, h, put, say, whenFound, widget } from "./kit.js";

function describe(field) {
  const bad = field.classList.contains("vnb-bad");
  const part = (name) => field.querySelector(`:scope > ${name}`);
  const about = [part(".vnb-help"), bad && part(".vnb-problem")].filter((node) => node && node.textContent.trim());
  for (const node of about) node.id ||= `vnb-${Math.random().toString(36).slice(2)}`;
  for (const control of field.querySelectorAll("input, textarea, select")) {
    const turn = control.closest(".vnb-turn-row");
    put(control, "aria-invalid", bad && (!turn || turn.classList.contains("vnb-turn-bad")));
    if (about.length) put(control, "aria-describedby", about.map((node) => node.id).join(" "));
    else control.removeAttribute("aria-describedby");
    const label = control.id && field.querySelector(`label[for="${CSS.escape(control.id)}"]`);
    if (label && label.textContent.endsWith(" *")) put(control, "aria-required", true);
  }
  group(field, part(".vnb-caption") ?? part(".vnb-how")?.querySelector("label"));
}

function group(node, named, before = "", role = "group") {
  if (!named?.textContent) return;
  put(node, "role", role);
  put(node, "aria-label", before + named.textContent);
}

function describeAll(root) {
  root.querySelectorAll(".vnb-field").forEach(describe);
  root.querySelectorAll(".vnb-fold").forEach((fold) => put(fold, "aria-expanded", fold.classList.contains("vnb-open")));
  group(root, root.querySelector(".vnb-title"), "Form of ", "region");
  for (const tags of root.querySelectorAll(".vnb-tags")) group(tags, { textContent: "Run on release tags" });
  // ipywidgets writes, and screen readers read, "null" where a widget has no tooltip.
  root.querySelectorAll('[title="null"]').forEach((node) => node.removeAttribute("title"));
}

function keepFocus(root, button) {
  const move = () => [...root.querySelectorAll(".vnb-run, .vnb-cancel")].find((other) => !other.disabled)?.focus();
  move();
  // Where no other button is enabled yet, one will be in a moment.
  if (document.activeElement === button) setTimeout(() => {
    if ([document.body, button].includes(document.activeElement)) move();
  }, 200);
}

function watch(root, ends) {
  const answers = root.querySelector(".vnb-answers");
  const status = h("span", { class: "vnb-sr-only", role: "status" });
  root.append(status);  // at the end: Jupyter counts the nodes before those of its widgets
  let lost = null;  // the button that lost the focus by being disabled, before the observer is called
  let timer = null;

  // What stands below does not move while answers come in, nor when the last one is shorter than what
  // stood there: the place is kept until the next run.
  const hold = () => { answers.style.minHeight = `${answers.offsetHeight}px`; };
  const sizes = new ResizeObserver(() => {
    const isRunning = root.querySelector(".vnb-cancel")?.disabled === false;
    if (isRunning && answers.offsetHeight > parseFloat(answers.style.minHeight || 0)) hold();
  });

  // Screen readers learn when runs begin and how they ended; eyes see the bar and the answers.
  function begin() {
    answers.style.minHeight = "";
    hold();
    clearTimeout(timer);
    say(status, "Running");
  }

  function end() {
    const heads = [...answers.querySelectorAll(".vnb-out-head")].map((head) => head.innerText.replace(/\s+/g, " ").trim());
    say(status, [root.querySelector(".vnb-progress")?.textContent.trim(), ...heads].filter(Boolean).join(", "));
  }

  function changed({ target, attributeName }) {
    if (attributeName === "disabled") {
      if (target.disabled && [document.activeElement, lost].includes(target)) keepFocus(root, target);
      lost = null;
      if (target.matches(".vnb-cancel")) timer = target.disabled ? setTimeout(end, 300) : begin();  // when the answers are drawn
    } else if (target.matches(".vnb-field, .vnb-turn-row")) describe(target.closest(".vnb-field"));
    else if (target.matches(".vnb-fold")) put(target, "aria-expanded", target.classList.contains("vnb-open"));
  }

  // All of a release's chip ticks its box.
  const tick = ({ target }) => { if (!target.closest("label")) target.closest(".vnb-chip")?.querySelector("input").click(); };
  const listening = new AbortController();
  const observer = new MutationObserver((changes) => {
    if (changes.some(({ type }) => type === "childList")) describeAll(root);
    changes.filter(({ type }) => type !== "childList").forEach(changed);
  });
  root.addEventListener("focusout", ({ target }) => { lost = target.disabled ? target : null; }, listening);
  root.addEventListener("click", tick, listening);
  sizes.observe(answers);
  observer.observe(root, { attributes: true, attributeFilter: ["class", "disabled"], childList: true, subtree: true });
  describeAll(root);
  ends.push(() => {
    observer.disconnect();
    sizes.disconnect();
    clearTimeout(timer);
    status.remove();
    listening.abort();
  });
}

export default widget((model, el) => {
  const drawn = new Drawn(model, el);
  whenFound(drawn, () => el.closest(".vnb-form:has(.vnb-answers)"), (root) => watch(root, drawn.ends));
  return drawn;
});
