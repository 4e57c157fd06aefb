// Heading and tabs of the lab panel.
import { WidgetView, h, setText, consume, waitFor, widget } from "./kit.js";

function createView(model, el) {
  const view = new WidgetView(model, el);
  const id = `vnb-lab-${model.model_id ?? ""}-${Math.random().toString(36).slice(2, 8)}`;
  const text = (css, role) => h("span", { class: css, role });
  const texts = {
    heading: h("b", { class: "vnb-lab-title" }),
    source: text("vnb-source"),
    count: text("vnb-lab-count"),
    status: text("vnb-lab-count", "status"),
  };
  const tabs = model
    .get("tabs")
    .map((_, index) =>
      h(
        "button",
        {
          type: "button",
          role: "tab",
          id: `${id}-tab-${index}`,
          "aria-controls": `${id}-pane-${index}`,
          onclick: () => choose(index),
        },
        h("span"),
        h("span", { class: "vnb-lab-detail" }),
      ),
    );
  const list = h(
    "div",
    { role: "tablist", class: "vnb-lab-list", "aria-label": "Parts of the lab", onkeydown: move },
    tabs,
  );
  const root = h(
    "div",
    { class: "vnb-lab-head", "data-lm-suppress-shortcuts": "true" },
    h("div", { class: "vnb-lab-name" }, texts.heading, texts.source, texts.count),
    h("div", { class: "vnb-lab-bar" }, list, texts.status),
  );
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
