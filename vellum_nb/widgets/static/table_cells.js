// What one cell, icon or figure of the history table looks like. All text goes in as text nodes.

const ICONS = {
  FULFILLED: "M12 2C6.48 2 2 6.48 2 12s4.48 10 10 10 10-4.48 10-10S17.52 2 12 2zm-2 15l-5-5 1.41-1.41L10 14.17l7.59-7.59L19 8l-9 9z",
  REJECTED: "M12 2C6.47 2 2 6.47 2 12s4.47 10 10 10 10-4.47 10-10S17.53 2 12 2zm5 13.59L15.59 17 12 13.41 8.41 17 7 15.59 10.59 12 7 8.41 8.41 7 12 10.59 15.59 7 17 8.41 13.41 12 17 15.59z",
  FAILED: "M1 21h22L12 2 1 21zm12-3h-2v-2h2v2zm0-4h-2v-4h2v4z",
  STARTED: "M11.99 2C6.47 2 2 6.48 2 12s4.47 10 9.99 10C17.52 22 22 17.52 22 12S17.52 2 11.99 2zM12 20c-4.42 0-8-3.58-8-8s3.58-8 8-8 8 3.58 8 8-3.58 8-8 8zm.5-13H11v6l5.25 3.15.75-1.23-4.5-2.67z",
  CANCELLED: "M12 2C6.48 2 2 6.48 2 12s4.48 10 10 10 10-4.48 10-10S17.52 2 12 2zM4 12c0-4.42 3.58-8 8-8 1.85 0 3.55.63 4.9 1.69L5.69 16.9C4.63 15.55 4 13.85 4 12zm8 8c-1.85 0-3.55-.63-4.9-1.69L18.31 7.1C19.37 8.45 20 10.15 20 12c0 4.42-3.58 8-8 8z",
  search: "M15.5 14h-.79l-.28-.27C15.41 12.59 16 11.11 16 9.5 16 5.91 13.09 3 9.5 3S3 5.91 3 9.5 5.91 16 9.5 16c1.61 0 3.09-.59 4.23-1.57l.27.28v.79l5 4.99L20.49 19l-4.99-5zm-6 0C7.01 14 5 11.99 5 9.5S7.01 5 9.5 5 14 7.01 14 9.5 11.99 14 9.5 14z",
  close: "M19 6.41L17.59 5 12 10.59 6.41 5 5 6.41 10.59 12 5 17.59 6.41 19 12 13.41 17.59 19 19 17.59 13.41 12z",
  down: "M20 12l-1.41-1.41L13 16.17V4h-2v12.17l-5.58-5.59L4 12l8 8 8-8z",
  up: "M4 12l1.41 1.41L11 7.83V20h2V7.83l5.58 5.59L20 12l-8-8-8 8z",
  moved: "M16 17.01V10h-2v7.01h-3L15 21l4-3.99h-3zM9 3L5 6.99h3V14h2V6.99h3L9 3z",
  good: "M1 21h4V9H1v12zm22-11c0-1.1-.9-2-2-2h-6.31l.95-4.57.03-.32c0-.41-.17-.79-.44-1.06L14.17 1 7.59 7.59C7.22 7.95 7 8.45 7 9v10c0 1.1.9 2 2 2h9c.83 0 1.54-.5 1.84-1.22l3.02-7.05c.09-.23.14-.47.14-.73v-2z",
  bad: "M15 3H6c-.83 0-1.54.5-1.84 1.22l-3.02 7.05c-.09.23-.14.47-.14.73v2c0 1.1.9 2 2 2h6.31l-.95 4.57-.03.32c0 .41.17.79.44 1.06L9.83 23l6.59-6.59c.36-.36.58-.86.58-1.41V5c0-1.1-.9-2-2-2zm4 0v12h4V3h-4z",
  columns: "M4 5h4.67v14H4zM9.67 5h4.66v14H9.67zM15.33 5H20v14h-4.67z",
};

// The width a column needs, and what it grows to where there is room.
const WIDTHS = {
  state: [114], tag: [104, "172px"], time: [124], seconds: [96], number: [92], quality: [80],
  code: [112, "1fr"], outputs: [120, "2fr"], text: [120, "2fr"],
};

function h(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

function icon(name, extra = "") {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `vnb-table-icon ${extra}`);
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name] ?? ICONS.STARTED);
  path.setAttribute("fill", "currentColor");
  svg.append(path);
  return svg;
}

function figure(count) { return count.toLocaleString("en-US"); }

function runsWord(count) { return count === 1 ? "run" : "runs"; }

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

function localTime(iso) {
  const t = new Date(iso);
  const two = (n) => String(n).padStart(2, "0");
  const day = `${two(t.getDate())} ${MONTHS[t.getMonth()]}`;
  const clock = `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`;
  return t.getFullYear() === new Date().getFullYear() ? `${day} ${clock}` : `${day} ${t.getFullYear()} ${clock.slice(0, 5)}`;
}

// A text in which something was found comes in pieces: those at odd places were found.
function marked(value) {
  if (!Array.isArray(value)) return [String(value)];
  return value.map((piece, index) => (index % 2 ? h("b", {}, piece) : piece));
}

function seconds(value) { return value.toFixed(value !== 0 && Math.abs(value) < 0.1 ? 3 : 2); }

function numberText(value) {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
}

const SHOW = {
  state: (value) => [icon(value, `vnb-is-${value}`), ` ${value}`],
  tag: (value, row) => {
    const name = h("span", { class: "vnb-table-code vnb-table-cut" }, value);
    if (!row.moved) return [name];
    const title = "This tag pointed at another release after the call than before it";
    return [name, h("span", { class: "vnb-table-moved", title }, icon("moved"), h("span", {}, " moved"))];
  },
  time: (value) => [localTime(value)],
  seconds: (value) => [seconds(value)],
  number: (value) => [numberText(value)],
  quality: (value) => {
    if (value !== 0 && value !== 1) return [numberText(value)];
    return [icon(value ? "good" : "bad"), ` ${value}`];
  },
  code: (value) => [h("span", { class: "vnb-table-code" }, ...marked(value))],
  text: (value) => marked(value),
};

function cellNode(column, value, row) {
  const kind = column.kind;
  const node = h("div", { role: "gridcell", class: `vnb-table-cell vnb-table-${kind}` });
  const failed = row.state === "REJECTED" || row.state === "FAILED";
  if (failed && (kind === "outputs" || column.name.startsWith("error_"))) node.classList.add("vnb-table-bad");
  else if (kind === "outputs" && row.state !== "FULFILLED") node.classList.add("vnb-table-quiet");
  if (value === null || value === undefined) {
    if (kind === "seconds") node.append("—");
    return node;
  }
  const show = SHOW[kind] ?? SHOW.text;
  node.append(...(typeof value === "number" && show === SHOW.text ? [numberText(value)] : show(value, row)));
  node.title = kind === "time" ? String(value) : kind === "quality" ? `quality ${value}` : Array.isArray(value) ? value.join("") : String(value);
  return node;
}
