// The top of the grid: a row a release with its bar, its words, its interval and its figures.

function summaryTable(summary) {
  const score = summary.metric;
  const columns = [["release", ""], [`${figure(summary.cases)} ${casesWord(summary.cases)}${score ? ", better · same · worse" : ""}`, "vnb-grid-bar-head"], ["", ""]];
  if (score) columns.push([axisHead(summary), "vnb-grid-axis-head"], [`mean ${score}`, "vnb-grid-number"], ["p", "vnb-grid-number"]);
  columns.push(["median latency", "vnb-grid-number"]);
  const costs = summary.releases.some((release) => release.cost);
  if (costs) columns.push(["mean cost", "vnb-grid-number"]);
  const head = h("tr", {}, columns.map(([text, cls], at) => (at === 2 ? h("td") : h("th", { scope: "col", class: cls }, text))));
  const rows = summary.releases.map((release) => h("tr", { "data-release": release.name },
    h("th", { scope: "row", class: "vnb-grid-who" }, h("b", {}, release.label), release.baseline ? h("span", {}, " baseline") : null, release.same.length ? h("span", {}, ` = ${release.same.join(" = ")}`) : null),
    h("td", { class: "vnb-grid-bar-cell" }, release.parts.length ? bar(release.parts) : h("span", { class: "vnb-grid-quiet" }, release.counts)),
    h("td", { class: "vnb-grid-words" }, words(release)),
    ...(score ? [h("td", { class: "vnb-grid-plot-cell" }, plot(summary, release)), number(release.mean, release.mean_delta, `mean ${score}`), number(release.p, "", "p", release.p_told)] : []),
    number(release.latency, release.latency_delta, "median latency"),
    ...(costs ? [number(release.cost, release.cost_delta, "mean cost")] : []),
  ));
  return h("table", { class: "vnb-grid-summary", "aria-label": "Releases against the baseline" }, h("thead", {}, head), h("tbody", {}, rows));
}

function bar(parts) {
  return h("span", { class: "vnb-grid-bar", "aria-hidden": "true" }, parts.map(([kind, text, count]) => h("span", { class: `vnb-grid-part vnb-grid-${kind}`, style: `flex-grow:${count}` }, text)));
}

// The first count stands out; the sentence under it says what to make of them.
function words(release) {
  if (release.baseline) return [h("span", { class: "vnb-grid-remark" }, [release.words, release.remark].filter(Boolean).join(" · "))];
  const [first, ...rest] = release.words.split(" · ");
  return [h("b", {}, first), rest.length ? ` · ${rest.join(" · ")}` : null, release.remark ? h("span", { class: "vnb-grid-remark" }, release.remark) : null];
}

function number(value, delta, label, title) {
  return h("td", { class: "vnb-grid-number", "data-label": label, title: title || null }, value, delta ? h("span", { class: "vnb-grid-delta" }, ` ${delta}`) : null);
}

function place(axis, value) { return 100 * (value - axis.low) / (axis.high - axis.low); }

function axisHead(summary) {
  const axis = summary.axis;
  const name = h("span", {}, `difference in ${summary.metric}, 95\u00a0%`);
  if (!axis) return name;
  const ticks = h("span", { class: "vnb-grid-ticks", "aria-hidden": "true" }, axis.ticks.map(([value, text]) => h("span", { style: `left:${place(axis, value)}%` }, text)));
  return h("span", {}, name, ticks);
}

function plot(summary, release) {
  const axis = summary.axis;
  if (!axis) return null;
  const band = release.baseline ? summary.band?.widest : summary.band?.of[release.name];
  const parts = [];
  if (band) parts.push(h("span", { class: "vnb-grid-band", style: `left:${place(axis, -band)}%;width:${place(axis, band) - place(axis, -band)}%` }));
  parts.push(h("span", { class: "vnb-grid-zero", style: `left:${place(axis, 0)}%` }));
  let label = "";
  if (release.interval) {
    const [low, mean, high] = release.interval;
    parts.push(h("span", { class: "vnb-grid-interval", style: `left:${place(axis, low)}%;width:${place(axis, high) - place(axis, low)}%` }), h("span", { class: "vnb-grid-dot", style: `left:${place(axis, mean)}%` }));
    label = `difference ${mean.toPrecision(2)}, 95 % interval ${low.toPrecision(2)} to ${high.toPrecision(2)}`;
  } else if (release.baseline && summary.band) {
    const at = place(axis, band ?? 0);
    parts.push(h("span", { class: "vnb-grid-band-text", style: at < 45 ? `left:calc(${at}% + 6px)` : `right:calc(${100 - place(axis, -(band ?? 0))}% + 6px)` }, summary.band.text));
    label = summary.band.text;
  }
  return h("span", { class: "vnb-grid-plot", role: "img", "aria-label": label || "no interval", title: label || null }, parts);
}
