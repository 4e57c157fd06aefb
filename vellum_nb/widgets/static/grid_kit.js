// What the grid of a comparison is drawn with. All text goes in as text nodes.

const PATHS = {
  search: "M15.5 14h-.79l-.28-.27C15.41 12.59 16 11.11 16 9.5 16 5.91 13.09 3 9.5 3S3 5.91 3 9.5 5.91 16 9.5 16c1.61 0 3.09-.59 4.23-1.57l.27.28v.79l5 4.99L20.49 19l-4.99-5zm-6 0C7.01 14 5 11.99 5 9.5S7.01 5 9.5 5 14 7.01 14 9.5 11.99 14 9.5 14z",
  close: "M19 6.41L17.59 5 12 10.59 6.41 5 5 6.41 10.59 12 5 17.59 6.41 19 12 13.41 17.59 19 19 17.59 13.41 12z",
  check: "M9 16.17 4.83 12l-1.42 1.41L9 19 21 7l-1.41-1.41z",
  pin: "M16 9V4h1V2H7v2h1v5c0 1.7-1.3 3-3 3v2h6v7l1 1 1-1v-7h6v-2c-1.700 0-3-1.300-3-3z",
  worse: "M20 12l-1.41-1.41L13 16.17V4h-2v12.17l-5.58-5.59L4 12l8 8 8-8z",
  better: "M4 12l1.41 1.41L11 7.83V20h2V7.83l5.58 5.59L20 12l-8-8-8 8z",
  same: "M5 8h14v2H5zM5 14h14v2H5z",
  noise: "M3 10c2-3 5-3 7-1s4 2 6 0l2-2 1.500 1.400-2 2c-3 3-6 2.500-8 .6s-3.500-1.500-5 .6zM3 16c2-3 5-3 7-1s4 2 6 0l2-2 1.500 1.400-2 2c-3 3-6 2.500-8 .6s-3.500-1.500-5 .6z",
  differs: "M5 8h8.300l1.700-3 1.700 1-1.100 2H19v2h-4.600l-2.200 4H19v2h-7.900l-1.700 3-1.700-1 1.100-2H5v-2h4.900l2.200-4H5z",
  missing: "M12 2C6.48 2 2 6.48 2 12s4.48 10 10 10 10-4.48 10-10S17.520 2 12 2zM4 12c0-4.420 3.580-8 8-8 1.850 0 3.550.63 4.900 1.690L5.690 16.900C4.630 15.550 4 13.850 4 12zm8 8c-1.850 0-3.550-.63-4.900-1.690L18.310 7.100C19.370 8.450 20 10.150 20 12c0 4.420-3.580 8-8 8z",
  error: "M1 21h22L12 2 1 21zm12-3h-2v-2h2v2zm0-4h-2v-4h2v4z",
  unstable: "M3 13c2-4 6-4 8.500-1.500S17 13.500 19.500 10l1.600 1.200c-3.600 5-8 4-11 1.300-1.700-1.500-4-1.700-5.500 1.500z",
  run: "M7 4v16l13-8z",
  ok: "M12 2C6.48 2 2 6.48 2 12s4.48 10 10 10 10-4.48 10-10S17.52 2 12 2zm-2 15l-5-5 1.41-1.41L10 14.17l7.59-7.59L19 8l-9 9z",
};
PATHS.alone = PATHS.missing;

function h(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "vnb-grid-icon");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", PATHS[name] ?? PATHS.same);
  path.setAttribute("fill", "currentColor");
  svg.append(path);
  return svg;
}

function figure(count) { return Number(count).toLocaleString("en-US"); }

function casesWord(count) { return count === 1 ? "case" : "cases"; }

function say(node, text) { if (node.textContent !== text) node.textContent = text; }

function select(label, options, value, changed) {
  const node = h("select", { "aria-label": label }, options.map(([name, text]) => h("option", { value: name }, text)));
  node.value = value;
  node.addEventListener("change", () => changed(node.value));
  return h("span", { class: "vnb-grid-select" }, node);
}
