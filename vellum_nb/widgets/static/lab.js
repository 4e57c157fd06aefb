// Heading and tabs of the lab panel.
import { WidgetView, button, h, setText, consume, waitFor, widget } from "./kit.js";

function createView(model, el) {
  const view = new WidgetView(model, el);
  const id = `vnb-lab-${model.model_id ?? ""}-${Math.random().toString(36).slice(2, 8)}`;
  const texts = {
    heading: h("b.vnb-lab-title"),
    source: h("span.vnb-source"),
    count: h("span.vnb-lab-count"),
    status: h("span.vnb-lab-count", { role: "status" }),
  };
  const tabs = model.get("tabs").map((_, index) => {
    const ids = { id: `${id}-tab-${index}`, "aria-controls": `${id}-pane-${index}` };
    const parts = [h("span"), h("span.vnb-lab-detail")];
    return button("", () => choose(index), { role: "tab", ...ids }, ...parts);
  });
  const options = { role: "tablist", "aria-label": "Parts of the lab", onkeydown: move };
  const list = h("div.vnb-lab-list", options, tabs);
  const name = h("div.vnb-lab-name", texts.heading, texts.source, texts.count);
  const root = h("div.vnb-lab-head", { "data-lm-suppress-shortcuts": "true" });
  root.append(name, h("div.vnb-lab-bar", list, texts.status));
  el.append(root);

  function choose(index) {
    model.set("index", index);
    model.save_changes();
    show();
  }

  function move(event) {
    const last = tabs.length - 1;
    const index = model.get("index");
    const target = {
      ArrowLeft: index ? index - 1 : last,
      ArrowRight: index < last ? index + 1 : 0,
      Home: 0,
      End: last,
    }[event.key];
    if (target === undefined) return;
    consume(event);
    choose(target);
    tabs[target].focus();
  }

  function show() {
    for (const [key, node] of Object.entries(texts)) setText(node, model.get(key));
    texts.source.hidden = !model.get("source");
    model.get("tabs").forEach(({ title, detail }, index) => {
      const isSelected = index === model.get("index");
      const [titleNode, detailNode] = tabs[index].children;
      tabs[index].setAttribute("aria-selected", isSelected);
      tabs[index].tabIndex = isSelected ? 0 : -1;
      setText(titleNode, title);
      setText(detailNode, detail);
      detailNode.hidden = !detail;
    });
    labelPanes();
  }

  // Return whether all panes are in the page.
  function labelPanes() {
    const panes = root.closest(".vnb-lab")?.querySelectorAll(":scope > .vnb-lab-pane") ?? [];
    panes.forEach((pane, index) => {
      pane.id = `${id}-pane-${index}`;
      pane.role = "tabpanel";
      pane.setAttribute("aria-labelledby", `${id}-tab-${index}`);
    });
    return panes.length === tabs.length;
  }

  view.on("change:heading change:source change:count change:status change:tabs change:index", show);
  show();
  waitFor(view, labelPanes, () => {});
  return view;
}

export default widget(createView);
