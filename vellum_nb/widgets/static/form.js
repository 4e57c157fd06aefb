// What a form needs from the browser: the focus never falls out of it when a button is disabled
// (Jupyter would take the next key for a command), and screen readers learn what the style shows.
const CONTROLS = "input, textarea, select";

function idOf(node) {
  if (!node.id) node.id = `vnb-${Math.random().toString(36).slice(2)}`;
  return node.id;
}

function describe(field) {
  const bad = field.classList.contains("vnb-bad");
  const part = (name) => field.querySelector(`:scope > ${name}`);
  const told = [part(".vnb-help"), bad && part(".vnb-problem")].filter((node) => node && node.textContent.trim());
  const words = told.map(idOf).join(" ");
  for (const control of field.querySelectorAll(CONTROLS)) {
    const turn = control.closest(".vnb-turn-row");
    control.setAttribute("aria-invalid", String(bad && (!turn || turn.classList.contains("vnb-turn-bad"))));
    if (words) control.setAttribute("aria-describedby", words);
    else control.removeAttribute("aria-describedby");
    const label = control.id && field.querySelector(`label[for="${CSS.escape(control.id)}"]`);
    if (label && label.textContent.endsWith(" *")) control.setAttribute("aria-required", "true");
  }
  const name = part(".vnb-caption") ?? part(".vnb-how")?.querySelector("label");
  group(field, name?.textContent);
}

function group(node, name, before = "", role = "group") {
  if (!name) return;
  node.setAttribute("role", role);
  node.setAttribute("aria-label", before + name);
}

function fold(button) {
  button.setAttribute("aria-expanded", String(button.classList.contains("vnb-open")));
}

function keepFocus(root, button, lost) {
  if (!button.disabled || ![document.activeElement, lost].includes(button)) return;
  const buttons = [...root.querySelectorAll(".vnb-run, .vnb-cancel")];
  const move = () => buttons.find((other) => !other.disabled)?.focus();
  move();
  // Where no other button is enabled yet, one will be in a moment.
  if (document.activeElement === button) setTimeout(() => {
    if ([document.body, button].includes(document.activeElement)) move();
  }, 200);
}

// What stands below does not move while answers come in, nor when the last one is shorter than what
// stood there: the place is kept until the next run.
function holdHeight(root) {
  const answers = root.querySelector(".vnb-answers");
  const hold = () => { answers.style.minHeight = `${answers.offsetHeight}px`; };
  const observer = new ResizeObserver(() => {
    const isRunning = root.querySelector(".vnb-cancel")?.disabled === false;
    if (isRunning && answers.offsetHeight > parseFloat(answers.style.minHeight || 0)) hold();
  });
  observer.observe(answers);
  return {
    begin() { answers.style.minHeight = ""; hold(); },
    stop: () => observer.disconnect(),
  };
}

// Screen readers are told when runs begin and how they ended; eyes see the bar and the answers.
function announcer(root) {
  const status = document.createElement("span");
  status.className = "vnb-heard";
  status.setAttribute("role", "status");
  root.append(status);  // at the end: Jupyter counts the nodes before those of its widgets
  const ended = () => {
    const answers = [...root.querySelectorAll(".vnb-answers .vnb-out-head")].map((head) => head.innerText.replace(/\s+/g, " ").trim());
    const far = root.querySelector(".vnb-progress")?.textContent.trim();
    status.textContent = [far, ...answers].filter(Boolean).join(", ");
  };
  let timer = null;
  return {
    begin() { clearTimeout(timer); status.textContent = "Running"; },
    end() { timer = setTimeout(ended, 300); },  // when the answers are drawn
    stop() { clearTimeout(timer); status.remove(); },
  };
}

function describeAll(root) {
  root.querySelectorAll(".vnb-field").forEach(describe);
  root.querySelectorAll(".vnb-fold").forEach(fold);
  group(root, root.querySelector(".vnb-title")?.textContent, "Form of ", "region");
  for (const tags of root.querySelectorAll(".vnb-tags")) group(tags, "Run on release tags");
  // ipywidgets writes, and screen readers read, "null" where a widget has no tooltip.
  root.querySelectorAll('[title="null"]').forEach((node) => node.removeAttribute("title"));
}

function watch(root) {
  const place = holdHeight(root);
  const told = announcer(root);
  let lost = null;  // the button that lost the focus by being disabled, before the observer hears of it
  const lose = ({ target }) => { lost = target.disabled ? target : null; };
  root.addEventListener("focusout", lose);
  const observer = new MutationObserver((changes) => {
    if (changes.some(({ type }) => type === "childList")) describeAll(root);
    for (const { target, attributeName } of changes) {
      if (attributeName === "disabled") {
        keepFocus(root, target, lost);
        lost = null;
        if (target.classList.contains("vnb-cancel")) {
          if (target.disabled) told.end();
          else { place.begin(); told.begin(); }
        }
      } else if (attributeName === "class") {
        if (target.classList.contains("vnb-field")) describe(target);
        else if (target.classList.contains("vnb-turn-row")) describe(target.closest(".vnb-field"));
        else if (target.classList.contains("vnb-fold")) fold(target);
      }
    }
  });
  observer.observe(root, {
    attributes: true, attributeFilter: ["class", "disabled"], childList: true, subtree: true,
  });
  describeAll(root);
  return () => {
    observer.disconnect();
    place.stop();
    told.stop();
    root.removeEventListener("focusout", lose);
  };
}

function render({ el }) {
  let stop = null;
  let frame = requestAnimationFrame(function attach() {
    const root = el.closest(".vnb-form");
    if (root?.querySelector(".vnb-answers")) stop = watch(root);
    else frame = requestAnimationFrame(attach);
  });
  return () => {
    cancelAnimationFrame(frame);
    if (stop) stop();
  };
}

export default { render };
