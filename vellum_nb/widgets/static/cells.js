// Cells of the history table.
import { h, icon } from "./kit.js";

// Minimum width in pixels, and the maximum if the column can grow.
const CHECKBOX_WIDTH_PX = 44;
const WIDTHS = {
  state: [114],
  tag: [104, "172px"],
  time: [124],
  seconds: [96],
  number: [92],
  quality: [80],
  code: [112, "1fr"],
  outputs: [120, "2fr"],
  text: [120, "2fr"],
};

function localTime(iso) {
  const time = new Date(iso);
  const detail =
    time.getFullYear() === new Date().getFullYear() ? { second: "2-digit" } : { year: "numeric" };
  const options = { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", ...detail };
  return time.toLocaleString("en-GB", options).replace(",", "");
}

// Highlight the matches of a search. They are the elements at odd positions.
function highlighted(value) {
  if (!Array.isArray(value)) return [String(value)];
  return value.map((piece, index) => (index % 2 ? h("b", piece) : piece));
}

function numberText(value) {
  return String(Number.isInteger(value) ? value : Number(value.toPrecision(6)));
}

/**
 * @param {Array<{ kind: string }>} columns
 * @returns {number} Minimum width of the table in pixels
 */
export function minWidth(columns) {
  return columns.reduce((sum, column) => sum + WIDTHS[column.kind][0], CHECKBOX_WIDTH_PX);
}

/**
 * @param {Array<{ kind: string }>} columns
 * @returns {string} Value of `grid-template-columns`. If no column grows, a last track
 *   fills the row.
 */
export function gridTracks(columns) {
  const tracks = columns.map(({ kind }) =>
    WIDTHS[kind][1] ? `minmax(${WIDTHS[kind][0]}px, ${WIDTHS[kind][1]})` : `${WIDTHS[kind][0]}px`,
  );
  const filler = tracks.some((track) => track.includes("fr")) ? [] : ["1fr"];
  return ["32px", ...tracks, ...filler].join(" ");
}

const RENDERERS = {
  state: (value, row) => {
    const glyph = icon(row.doubt ? "doubt" : value, `vnb-glyph vnb-is-${value}`);
    return [glyph, ` ${value}`, row.doubt && h("span.vnb-sr-only", ", in doubt")];
  },
  tag: (value, row) => {
    const name = h("span.vnb-view-code.vnb-view-cut", value);
    if (!row.moved) return [name];
    const title = "This tag pointed at another release after the call than before it";
    return [name, h("span.vnb-table-moved", { title }, icon("moved"), h("span", " moved"))];
  },
  time: (value) => [localTime(value)],
  seconds: (value) => [value.toFixed(value !== 0 && Math.abs(value) < 0.1 ? 3 : 2)],
  number: (value) => [numberText(value)],
  quality: (value) => {
    if (value !== 0 && value !== 1) return [numberText(value)];
    return [icon(value ? "thumb-up" : "thumb-down"), ` ${value}`];
  },
  code: (value) => [h("span.vnb-view-code", ...highlighted(value))],
  text: (value) => highlighted(value),
};

/**
 * @param {{ name: string, kind: string }} column
 * @param {any} value Texts with matches of a search are arrays.
 * @param {Record<string, any>} row
 * @returns {HTMLElement}
 */
export function runCell(column, value, row) {
  const { kind } = column;
  const failed = row.state === "REJECTED" || row.state === "FAILED";
  const isBad = failed && !row.doubt && (kind === "outputs" || column.name.startsWith("error_"));
  const isQuiet = kind === "outputs" && row.state !== "FULFILLED";
  const tone = isBad ? "vnb-view-bad" : isQuiet ? "vnb-view-quiet" : "";
  const options = { role: "gridcell", class: `vnb-table-cell vnb-table-${kind} ${tone}` };
  if (value === null || value === undefined) return h("div", options, kind === "seconds" && "—");
  const isNumber = typeof value === "number" && ["text", "outputs"].includes(kind);
  const render = RENDERERS[isNumber ? "number" : kind] ?? RENDERERS.text;
  return h("div", { ...options, title: titleOf(kind, value, row) }, render(value, row));
}

function titleOf(kind, value, row) {
  if (kind === "state" && row.doubt) return `${value}, in doubt: it may have been executed`;
  if (kind === "quality") return `quality ${value}`;
  return Array.isArray(value) ? value.join("") : String(value);
}
