// What opens beside the rows of the grid: filters, the case in full, export.

const DEBOUNCE_MS = 250;
const RATING_MS = 5000;  // in which a rating that was asked for comes
const CHIPS = 6;  // label values that stand side by side; more are a list to choose from

class WholeGrid extends Grid {
  // --- filters

  filterChips() {
    const { filters, labels } = this.get("_head");
    const focused = this.chips.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const chips = filters.map(({ name, label, count }) => this.toggle(`state ${name}`, [label, " ", h("span", { class: "vnb-grid-quiet" }, figure(count))], this.query.states.includes(name), (on) => {
      this.filter({ states: on ? [...this.query.states, name] : this.query.states.filter((each) => each !== name) });
    }));
    for (const label of labels) chips.push(h("span", { class: "vnb-grid-divider" }), this.labelGroup(label));
    this.chips.replaceChildren(...chips);
    if (focused) [...this.chips.querySelectorAll("[data-key]")].find((node) => node.dataset.key === focused)?.focus();
  }

  toggle(key, content, on, changed) {
    return h("button", { type: "button", class: "vnb-grid-toggle", "aria-pressed": String(on), "data-key": key, onclick: () => changed(!on) }, on ? icon("check") : null, content);
  }

  labelGroup({ name, label, values, more }) {
    const chosen = this.query.labels[name] ?? [];
    const choose = (picked) => {
      const labels = { ...this.query.labels, [name]: picked };
      if (!picked.length) delete labels[name];
      this.filter({ labels });
    };
    if (values.length + more <= CHIPS) {
      return h("span", { class: "vnb-grid-group", role: "group", "aria-label": label }, h("span", { class: "vnb-grid-quiet" }, label), values.map(([value, text, count]) => this.toggle(`${name} ${value}`, [text, " ", h("span", { class: "vnb-grid-quiet" }, figure(count))], chosen.includes(value), (on) => choose(on ? [...chosen, value] : chosen.filter((each) => each !== value)))));
    }
    const options = [["", "all"], ...values.map(([value, text, count]) => [value, `${text} (${figure(count)})`])];
    return h("label", { class: "vnb-grid-group" }, h("span", { class: "vnb-grid-quiet" }, label), select(label, options, chosen[0] ?? "", (value) => choose(value ? [value] : [])));
  }

  filter(part) {
    this.query = { ...this.query, ...part };
    this.filterChips();
    this.body.restart();
  }

  typed(wait) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { if (this.field.value !== this.query.search) this.filter({ search: this.field.value }); }, wait);
  }

  fieldKey(event) {
    if (event.key === "Enter") this.typed(0);
    else if (event.key === "Escape" && this.field.value) { this.field.value = ""; this.typed(0); }
    else if (event.key === "ArrowDown") { this.grid.focus(); this.body.go(Math.max(0, this.body.active)); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // --- the case in full

  dress() {
    this.full = this.whole?.querySelector(".vnb-case") ?? null;
    if (!this.full) return;
    this.full.setAttribute("role", "region");
    this.full.setAttribute("aria-label", "The case in full");
    this.full.setAttribute("tabindex", "-1");
    if (this.full.querySelector(":scope > .vnb-grid-shut")) return;
    // At the end: Jupyter counts the nodes before those of its widgets.
    this.full.append(h("button", { type: "button", class: "vnb-grid-shut", "aria-label": "Close the case (Escape)", title: "Close (Escape)", onclick: () => this.send("close") }, icon("close")));
  }

  opened() {
    this.dress();
    if (!this.get("opened")) { if (!this.root.contains(document.activeElement)) this.grid.focus({ preventScroll: true }); return; }
    if (!this.wanted) return;
    this.wanted = false;
    say(this.told, "The case is shown in full below; Escape closes it");
    requestAnimationFrame(() => this.full?.scrollIntoView({ block: "nearest" }));
  }

  // --- the blind rating, which stands in the place of the grid

  blind() {
    const column = this.get("_head").columns[this.body.column - 1];
    this.send("blind", { release: column?.name ?? "" });
    const until = Date.now() + RATING_MS;
    const focus = () => {
      const rating = this.whole?.querySelector(".vnb-blind");
      if (rating) rating.focus();
      else if (Date.now() < until) requestAnimationFrame(focus);
    };
    focus();
  }

  returned() { requestAnimationFrame(() => this.grid.focus({ preventScroll: true })); }

  // --- export

  toggleExport() {
    this.panel.hidden = !this.panel.hidden;
    this.exportButton.setAttribute("aria-expanded", String(!this.panel.hidden));
    if (this.panel.hidden) return;
    const { formats, title } = this.get("_head");
    const stem = `${title.replace(/[^\w.-]+/g, "-") || "comparison"}-compared`;
    const field = h("input", { type: "text", class: "vnb-grid-field", "aria-label": "File to write", spellcheck: "false" });
    field.value = stem + formats[0].suffix;
    let format = formats[0].name;
    const kind = select("Format", formats.map((each) => [each.name, each.label]), format, (name) => {
      format = name;
      field.value = field.value.replace(/\.[a-z]+$/, "") + formats.find((each) => each.name === name).suffix;
    });
    this.outcome = h("span", { role: "status", class: "vnb-grid-outcome" });
    const save = () => { this.outcome.className = "vnb-grid-outcome"; say(this.outcome, "Writing…"); this.send("export", { format, path: field.value }); };
    field.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); save(); } });
    this.panel.replaceChildren(h("span", {}, `All ${figure(this.all ?? 0)} ${casesWord(this.all)} as`), kind, h("span", {}, "to"), field, h("button", { type: "button", class: "vnb-grid-button", onclick: save }, "Write"), this.outcome);
    this.panel.onkeydown = (event) => { if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); this.toggleExport(); this.exportButton.focus(); } };
    field.focus();
  }

  exported(message) {
    if (!this.outcome) return;
    this.outcome.classList.toggle("vnb-grid-bad", Boolean(message.error));
    this.outcome.replaceChildren(...(message.error ? [icon("error"), ` ${message.error}`] : [icon("ok"), ` Wrote ${figure(message.count)} ${casesWord(message.count)} to `, h("span", { class: "vnb-grid-code" }, message.path)]));
  }
}

export default {
  render({ model, el }) {
    hearAgain(model);
    const grid = new WholeGrid(model, el);
    return () => grid.close();
  },
};
