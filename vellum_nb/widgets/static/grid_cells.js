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
    const name = h("span", { class: output.told ? "vnb-grid-name" : "vnb-grid-heard" }, `${output.name}: `);
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

function caseCell(row, options) {
  const labels = row.labels.map(([name, value]) => chip(value, "", `${name}: ${value}`));
  const inputs = row.inputs.map(([name, text]) => h("div", { class: "vnb-grid-input", dir: "auto" }, name ? h("span", { class: "vnb-grid-name" }, `${name}: `) : null, text));
  return h("div", { role: "rowheader", class: "vnb-grid-cell vnb-grid-case", ...options },
    h("div", { class: "vnb-grid-caption" }, h("span", { class: "vnb-grid-quiet" }, `case ${figure(row.n)}`), labels, row.unstable ? chip("unstable", "warn", "Repeats on one release brought different answers", "unstable") : null),
    inputs, row.more ? h("div", { class: "vnb-grid-quiet" }, `${row.more} inputs more`) : null);
}

// `act`: replay(release), open().
function answerCell(cell, column, options, act) {
  const tag = h("span", { class: "vnb-grid-tag" }, column.label, cell.kind === "baseline" ? h("span", { class: "vnb-grid-remark" }, " baseline") : null, " ");
  const busy = cell.busy ? h("div", { class: "vnb-grid-quiet" }, cell.busy) : null;
  const problem = cell.problem ? h("div", { class: "vnb-grid-problem" }, icon("error"), ` ${cell.problem}`) : null;
  const node = h("div", { role: "gridcell", class: `vnb-grid-cell vnb-grid-at-${cell.kind}`, ...options }, tag);
  const verdict = h("div", { class: "vnb-grid-verdict" }, cell.word ? [icon(cell.kind), h("span", {}, cell.word)] : null, h("span", { class: "vnb-grid-latency" }, cell.latency ?? ""));
  if (cell.word) node.append(verdict);
  else if (cell.latency) node.append(h("span", { class: "vnb-grid-latency vnb-grid-aside" }, cell.latency));
  if (cell.kind === "missing") {
    const replay = cell.replay && !cell.busy ? h("button", { type: "button", class: "vnb-grid-button", onclick: () => act.replay(column.name) }, icon("run"), `Run this case on ${column.label}`) : null;
    node.append(...[h("div", { class: "vnb-grid-quiet" }, cell.gap), cell.error ? h("div", { class: "vnb-grid-problem" }, cell.error) : null, replay, busy, problem].filter(Boolean));
    return node;
  }
  const more = cell.cut ? h("button", { type: "button", class: "vnb-grid-link", tabindex: "-1", onclick: () => act.open() }, "show all") : null;
  const chips = [...cell.chips.map(([text, tone, title]) => chip(text, tone, title)),
    cell.unstable ? chip(cell.unstable, "warn", "Repeats on this release brought different answers", "unstable") : null,
    cell.quality === null || cell.quality === undefined ? null : chip(`rated ${Number(cell.quality).toFixed(2)}`, "", "How a person rated this answer, from 0 to 1")].filter(Boolean);
  node.append(...[
    cell.error ? h("div", { class: "vnb-grid-problem" }, icon("error"), ` ${cell.error}`) : null,
    ...outputNodes(cell.outputs), more,
    chips.length ? h("div", { class: "vnb-grid-chips" }, chips) : null,
    busy, problem].filter(Boolean));
  return node;
}
