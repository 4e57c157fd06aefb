// A chart, drawn by Vega-Embed, which vl-convert puts in front of this script. It keeps to the width
// of its place, and tells which part of a scatter was chosen.
import { resync } from "./kit.js";

const PAUSE_MS = 150;

class Chart {
  constructor(model, el) {
    this.model = model;
    this.place = document.createElement("div");
    this.place.className = "vnb-chart";
    el.append(this.place);
    this.watch = new ResizeObserver(() => this.fit());
    this.watch.observe(this.place);
  }

  async fit() {
    const width = Math.floor(this.place.clientWidth);
    if (!width || width === this.width) return;
    this.width = width;
    if (this.view) {
      this.view.width(width).runAsync();
    } else if (!this.drawing) {
      this.drawing = true;
      await this.draw(width);
    }
  }

  async draw(width) {
    const spec = { ...this.model.get("_spec"), width, autosize: { type: "fit-x", contains: "padding" } };
    const { view } = await vegaEmbed(this.place, spec, { renderer: "svg", actions: false });
    this.view = view;
    // Vega gives the rectangle that is drawn a role and no name.
    this.place.querySelectorAll('[class*="brush_brush"]').forEach((node) => { node.removeAttribute("role"); node.setAttribute("aria-hidden", "true"); });
    if (this.closed) view.finalize();
    else if (width !== this.width) view.width(this.width).runAsync();
    if (this.model.get("_brush")) view.addSignalListener("brush", (_, chosen) => this.chose(chosen));
  }

  chose({ x, y }) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.model.send(x && y ? { kind: "brush", x, y } : { kind: "brush" }), PAUSE_MS);
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.watch.disconnect();
    this.view?.finalize();
  }
}

export default {
  render({ model, el }) {
    resync(model);
    const chart = new Chart(model, el);
    return () => chart.close();
  },
};
