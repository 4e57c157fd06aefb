// The heading of the lab panel: what it is, and the tabs that say which part is shown.
import { h, resync } from "./kit.js";

function render({ model, el }) {
  resync(model);
  const id = `vnb-lab-${model.model_id ?? ""}-${Math.random().toString(36).slice(2, 8)}`;
  const title = h("b", { class: "vnb-lab-title" });
  const source = h("span", { class: "vnb-lab-source" });
  const count = h("span", { class: "vnb-lab-count" });
  const list = h("div", { role: "tablist", class: "vnb-lab-list", "aria-label": "Parts of the lab" });
  const status = h("span", { class: "vnb-lab-count", role: "status" });
  const tabs = model.get("tabs").map((_tab, at) => {
    const tab = h("button", { type: "button", role: "tab", id: `${id}-tab-${at}`, "aria-controls": `${id}-pane-${at}` });
    tab.addEventListener("click", () => choose(at));
    list.append(tab);
    return tab;
  });
  const root = h("div", { class: "vnb-lab-head", "data-lm-suppress-shortcuts": "true" },
    h("div", { class: "vnb-lab-name" }, title, source, count), h("div", { class: "vnb-lab-bar" }, list, status));
  el.append(root);

  function choose(at) {
    model.set("index", at);
    model.save_changes();
    show();
  }

  list.addEventListener("keydown", (event) => {
    const last = tabs.length - 1;
    const at = model.get("index");
    const to = { ArrowLeft: at ? at - 1 : last, ArrowRight: at < last ? at + 1 : 0, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    choose(to);
    tabs[to].focus();
  });

  function show() {
    title.textContent = model.get("heading");
    source.textContent = model.get("source");
    source.hidden = !model.get("source");
    count.textContent = model.get("count");
    status.textContent = model.get("status");
    model.get("tabs").forEach((tab, at) => {
      const on = at === model.get("index");
      tabs[at].setAttribute("aria-selected", on);
      tabs[at].tabIndex = on ? 0 : -1;
      tabs[at].replaceChildren(h("span", {}, tab.title), ...(tab.detail ? [h("span", { class: "vnb-lab-detail" }, tab.detail)] : []));
    });
    name();
  }

  // The panes are other widgets, which come into the page when they like.
  function name() {
    const panes = root.closest(".vnb-lab")?.querySelectorAll(":scope > .vnb-lab-pane") ?? [];
    panes.forEach((pane, at) => {
      pane.id = `${id}-pane-${at}`;
      pane.setAttribute("role", "tabpanel");
      pane.setAttribute("aria-labelledby", `${id}-tab-${at}`);
    });
    return panes.length === tabs.length;
  }

  const names = "change:heading change:source change:count change:status change:tabs change:index";
  model.on(names, show);
  show();
  let tries = 0;
  const timer = setInterval(() => { tries += 1; if (name() || tries > 50) clearInterval(timer); }, 100);
  return () => { model.off(names, show); clearInterval(timer); };
}

export default { render };
