// The heading of the lab panel: what it is, and the tabs that say which part is shown.
import { Drawn, h, say, swallow, whenFound, widget } from "./kit.js";

function draw(model, el) {
  const drawn = new Drawn(model, el);
  const id = `vnb-lab-${model.model_id ?? ""}-${Math.random().toString(36).slice(2, 8)}`;
  const text = (css, role) => h("span", { class: css, role });
  const texts = { heading: h("b", { class: "vnb-lab-title" }), source: text("vnb-source"), count: text("vnb-lab-count"), status: text("vnb-lab-count", "status") };
  const tabs = model.get("tabs").map((_, at) => h("button", {
    type: "button", role: "tab", id: `${id}-tab-${at}`, "aria-controls": `${id}-pane-${at}`, onclick: () => choose(at),
  }, h("span"), h("span", { class: "vnb-lab-detail" })));
  const list = h("div", { role: "tablist", class: "vnb-lab-list", "aria-label": "Parts of the lab", onkeydown: move }, tabs);
  const root = h("div", { class: "vnb-lab-head", "data-lm-suppress-shortcuts": "true" },
    h("div", { class: "vnb-lab-name" }, texts.heading, texts.source, texts.count), h("div", { class: "vnb-lab-bar" }, list, texts.status));
  el.append(root);

  function choose(at) {
    model.set("index", at);
    model.save_changes();
    show();
  }

  function move(event) {
    const last = tabs.length - 1;
    const at = model.get("index");
    const to = { ArrowLeft: at ? at - 1 : last, ArrowRight: at < last ? at + 1 : 0, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    swallow(event);
    choose(to);
    tabs[to].focus();
  }

  function show() {
    for (const [key, node] of Object.entries(texts)) say(node, model.get(key));
    texts.source.hidden = !model.get("source");
    model.get("tabs").forEach((tab, at) => {
      const on = at === model.get("index");
      tabs[at].setAttribute("aria-selected", on);
      tabs[at].tabIndex = on ? 0 : -1;
      say(tabs[at].firstChild, tab.title);
      say(tabs[at].lastChild, tab.detail);
      tabs[at].lastChild.hidden = !tab.detail;
    });
    name();
  }

  function name() {
    const panes = root.closest(".vnb-lab")?.querySelectorAll(":scope > .vnb-lab-pane") ?? [];
    panes.forEach((pane, at) => Object.assign(pane, { id: `${id}-pane-${at}`, role: "tabpanel" })
      .setAttribute("aria-labelledby", `${id}-tab-${at}`));
    return panes.length === tabs.length;
  }

  drawn.on("change:heading change:source change:count change:status change:tabs change:index", show);
  show();
  whenFound(drawn, name, () => {});
  return drawn;
}

export default widget(draw);
