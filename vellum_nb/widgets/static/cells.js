// What one row of the history table or of a comparison is drawn as. All text goes in as text nodes.
import { h, icon } from "./kit.js";

// The width a column needs, and what it grows to where there is room.
const WIDTHS = {
  state: [114], tag: [104, "172px"], time: [124], seconds: [96], number: [92], quality: [80],
  code: [112, "1fr"], outputs: [120, "2fr"], text: [120, "2fr"],
};

function localTime(iso) {
  const time = new Date(iso);
  const more = time.getFullYear() === new Date().getFullYear() ? { second: "2-digit" } : { year: "numeric" };
  return time.toLocaleString("en-GB", { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", ...more }).replace(",", "");
}

// A text in which something was found comes in pieces: those at odd places were found.
function marked(value) {
  if (!Array.isArray(value)) return [String(value)];
  return value.map((piece, index) => (index % 2 ? h("b", {}, piece) : piece));
}

function numberText(value) { return String(Number.isInteger(value) ? value : Number(value.toPrecision(6))); }
export function needOf(columns) { return columns.reduce((sum, column) => sum + WIDTHS[column.kind][0], 44); }

// Something must take what is left, or the last columns would not reach the edge.
export function tracksOf(columns) {
  const tracks = columns.map(({ kind }) => (WIDTHS[kind][1] ? `minmax(${WIDTHS[kind][0]}px, ${WIDTHS[kind][1]})` : `${WIDTHS[kind][0]}px`));
  return ["32px", ...tracks, ...(tracks.some((track) => track.includes("fr")) ? [] : ["1fr"])].join(" ");
}

const SHOW = {
  state: (value, row) => {
    const shown = icon(row.doubt ? "doubt" : value, `vnb-glyph vnb-is-${value}`);
    return [shown, ` ${value}`, row.doubt && h("span", { class: "vnb-sr-only" }, ", in doubt")];
  },
  tag: (value, row) => {
    const name = h("span", { class: "vnb-view-code vnb-view-cut" }, value);
    if (!row.moved) return [name];
    const title = "This tag pointed at another release after the call than before it";
    return [name, h("span", { class: "vnb-table-moved", title }, icon("moved"), h("span", {}, " moved"))];
  },
  time: (value) => [localTime(value)],
  seconds: (value) => [value.toFixed(value !== 0 && Math.abs(value) < 0.1 ? 3 : 2)],
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
  const failed = row.state === "REJECTED" || row.state === "FAILED";
  const isBad = failed && !row.doubt && (kind === "outputs" || column.name.startsWith("error_"));
  const tone = isBad ? "vnb-view-bad" : kind === "outputs" && row.state !== "FULFILLED" ? "vnb-view-quiet" : "";
  const options = { role: "gridcell", class: `vnb-table-cell vnb-table-${kind} ${tone}` };
  if (value === null || value === undefined) return h("div", options, kind === "seconds" && "—");
  const show = SHOW[typeof value === "number" && ["text", "outputs"].includes(kind) ? "number" : kind] ?? SHOW.text;
  const inDoubt = kind === "state" && row.doubt ? `${value}, in doubt: it may have been executed` : "";
  const title = inDoubt ? inDoubt : kind === "quality" ? `quality ${value}` : Array.isArray(value) ? value.join("") : String(value);
  return h("div", { ...options, title }, show(value, row));
}
