// What one row of the history table or of a comparison is drawn as. All text goes in as text nodes.
import { figure, h, icon, plural } from "./kit.js";

// The width a column needs, and what it grows to where there is room.
const WIDTHS = {
  state: [114], tag: [104, "172px"], time: [124], seconds: [96], number: [92], quality: [80],
  code: [112, "1fr"], outputs: [120, "2fr"], text: [120, "2fr"],
};

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

export function needOf(columns) { return columns.reduce((sum, column) => sum + WIDTHS[column.kind][0], 44); }

// Something must take what is left, or the last columns would not reach the edge.
export function tracksOf(columns) {
  const tracks = columns.map(({ kind }) => (WIDTHS[kind][1] ? `minmax(${WIDTHS[kind][0]}px, ${WIDTHS[kind][1]})` : `${WIDTHS[kind][0]}px`));
  return ["32px", ...tracks, ...(tracks.some((track) => track.includes("fr")) ? [] : ["1fr"])].join(" ");
}

const SHOW = {
  state: (value) => [icon(value, `vnb-view-icon vnb-is-${value}`), ` ${value}`],
  tag: (value, row) => {
    const name = h("span", { class: "vnb-view-code vnb-view-cut" }, value);
    if (!row.moved) return [name];
    const title = "This tag pointed at another release after the call than before it";
    return [name, h("span", { class: "vnb-table-moved", title }, icon("moved"), h("span", {}, " moved"))];
  },
  time: (value) => [localTime(value)],
  seconds: (value) => [seconds(value)],
  number: (value) => [numberText(value)],
  quality: (value) => {
    if (value !== 0 && value !== 1) return [numberText(value)];
    return [icon(value ? "thumb-up" : "thumb-down"), ` ${value}`];
  },
  code: (value) => [h("span", { class: "vnb-view-code" }, ...marked(value))],
  text: (value) => marked(value),
};

export function runCell(column, value, row) {
  const kind = column.kind;
  const node = h("div", { role: "gridcell", class: `vnb-table-cell vnb-table-${kind}` });
  const failed = row.state === "REJECTED" || row.state === "FAILED";
  if (failed && (kind === "outputs" || column.name.startsWith("error_"))) node.classList.add("vnb-view-bad");
  else if (kind === "outputs" && row.state !== "FULFILLED") node.classList.add("vnb-view-quiet");
  if (value === null || value === undefined) {
    if (kind === "seconds") node.append("—");
    return node;
  }
  const show = SHOW[kind] ?? SHOW.text;
  node.append(...(typeof value === "number" && show === SHOW.text ? [numberText(value)] : show(value, row)));
  node.title = kind === "time" ? String(value) : kind === "quality" ? `quality ${value}` : Array.isArray(value) ? value.join("") : String(value);
  return node;
}

const VERDICTS = { worse: "down-arrow", better: "up-arrow", missing: "CANCELLED", alone: "CANCELLED", error: "FAILED" };

// One row of the grid: the case, then an answer a release with its difference, verdict and chips.

const MARKS = { "+": ["ins", "+"], "-": ["del", "\u2212"] };

function pieceNodes(pieces) {
  const nodes = [];
  let before = "";
  for (const [mark, text] of pieces) {
    if (mark === "~") nodes.push(h("span", { class: "vnb-grid-cut", title: `${text} left out here` }, "…"));
    else if (mark === "@") nodes.push(h("span", { class: "vnb-grid-name" }, text));
    else if (mark === "=") nodes.push(text);
    else {
      const [tag, sign] = MARKS[mark];
      if (mark === "+" && before === "-") nodes.push(" ");  // so that the two are not read as one word
      nodes.push(h(tag, { class: `vnb-${tag}` }, h("b", { class: "vnb-mark" }, sign), h("span", {}, text)));
    }
    before = mark;
  }
  return nodes;
}

function outputNodes(outputs) {
  const blocks = [];
  let line = null;
  for (const output of outputs) {
    const name = h("span", { class: output.named ? "vnb-grid-name" : "vnb-view-heard" }, `${output.name}: `);
    const note = output.note ? h("span", { class: "vnb-grid-note" }, output.note === "new" ? " new output" : " output missing") : null;
    const body = [name, ...pieceNodes(output.pieces), note];
    if (!output.inline) {
      line = null;
      blocks.push(h("div", { class: "vnb-grid-text", dir: "auto", title: output.name }, body));
    } else {
      if (line) line.append(h("span", { class: "vnb-grid-between", "aria-hidden": "true" }, " · "));
      else blocks.push(line = h("div", { class: "vnb-grid-text" }));
      line.append(h("span", { class: "vnb-grid-inline", title: output.name }, body));
    }
  }
  return blocks;
}

function chip(text, tone, title, name) {
  return h("span", { class: `vnb-grid-chip ${tone ? `vnb-grid-is-${tone}` : ""}`, title: title || null }, name ? icon(name) : null, text);
}

export function caseCell(row, options) {
  const labels = row.labels.map(([name, value]) => chip(value, "", `${name}: ${value}`));
  const inputs = row.inputs.map(([name, text]) => h("div", { class: "vnb-grid-input", dir: "auto" }, name ? h("span", { class: "vnb-grid-name" }, `${name}: `) : null, text));
  return h("div", { role: "rowheader", class: "vnb-grid-cell vnb-grid-case", ...options },
    h("div", { class: "vnb-grid-caption" }, h("span", { class: "vnb-view-quiet" }, `case ${figure(row.n)}`), labels, row.unstable ? chip("unstable", "warn", "Repeats on one release brought different answers", "unstable") : null),
    inputs, row.more ? h("div", { class: "vnb-view-quiet" }, `${row.more} inputs more`) : null);
}

// `act`: replay(release), open().
export function answerCell(cell, column, options, act) {
  const tag = h("span", { class: "vnb-grid-tag" }, column.label, cell.kind === "baseline" ? h("span", { class: "vnb-grid-remark" }, " baseline") : null, " ");
  const busy = cell.busy ? h("div", { class: "vnb-view-quiet" }, cell.busy) : null;
  const problem = cell.problem ? h("div", { class: "vnb-grid-problem" }, icon("FAILED"), ` ${cell.problem}`) : null;
  const node = h("div", { role: "gridcell", class: `vnb-grid-cell vnb-grid-at-${cell.kind}`, ...options }, tag);
  const verdict = h("div", { class: "vnb-grid-verdict" }, cell.word ? [icon(VERDICTS[cell.kind] ?? cell.kind), h("span", {}, cell.word)] : null, h("span", { class: "vnb-grid-latency" }, cell.latency ?? ""));
  if (cell.word) node.append(verdict);
  else if (cell.latency) node.append(h("span", { class: "vnb-grid-latency vnb-grid-aside" }, cell.latency));
  if (cell.kind === "missing") {
    const replay = cell.replay && !cell.busy ? h("button", { type: "button", class: "vnb-view-button", onclick: () => act.replay(column.name) }, icon("play"), `Run this case on ${column.label}`) : null;
    node.append(...[h("div", { class: "vnb-view-quiet" }, cell.gap), cell.error ? h("div", { class: "vnb-grid-problem" }, cell.error) : null, replay, busy, problem].filter(Boolean));
    return node;
  }
  const more = cell.cut ? h("button", { type: "button", class: "vnb-grid-link", tabindex: "-1", onclick: () => act.open() }, "show all") : null;
  const chips = [...cell.chips.map(([text, tone, title]) => chip(text, tone, title)),
    cell.unstable ? chip(cell.unstable, "warn", "Repeats on this release brought different answers", "unstable") : null,
    cell.quality === null || cell.quality === undefined ? null : chip(`rated ${Number(cell.quality).toFixed(2)}`, "", "How a person rated this answer, from 0 to 1")].filter(Boolean);
  node.append(...[
    cell.error ? h("div", { class: "vnb-grid-problem" }, icon("FAILED"), ` ${cell.error}`) : null,
    ...outputNodes(cell.outputs), more,
    chips.length ? h("div", { class: "vnb-grid-chips" }, chips) : null,
    busy, problem].filter(Boolean));
  return node;
}
