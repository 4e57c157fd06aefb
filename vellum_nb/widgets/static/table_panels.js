// What opens in the history table: column chooser, export, side by side; and what it says.

class PanelTable extends Table {
  open(name) {
    this.opened = this.opened === name ? null : name;
    this.panel.hidden = !this.opened;
    this.columnsButton.setAttribute("aria-expanded", this.opened === "columns");
    this.exportButton.setAttribute("aria-expanded", this.opened === "export");
    this.panel.replaceChildren();
    if (this.opened === "columns") this.columnsPanel();
    if (this.opened === "export") this.exportPanel();
    this.panel.querySelector("input")?.focus();
  }

  shut(event) {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    const button = this.opened === "columns" ? this.columnsButton : this.exportButton;
    this.open(this.opened);
    button.focus();
  }

  columnsPanel() {
    const { columns, default: usual } = this.get("_head");
    const focused = document.activeElement?.dataset?.column;
    const boxes = columns.map(({ name }) => {
      const box = h("input", { type: "checkbox", "data-column": name });
      box.checked = this.state.columns.includes(name);
      box.addEventListener("change", () => this.choose(name, box.checked));
      return h("label", { class: "vnb-table-choice", title: name }, box, h("span", { class: "vnb-table-cut" }, name));
    });
    const reset = h("button", { type: "button", class: "vnb-table-button", onclick: () => this.change({ columns: usual }) }, "Default columns");
    this.panel.replaceChildren(h("fieldset", { class: "vnb-table-choices", onkeydown: (event) => this.shut(event) }, h("legend", {}, "Columns shown"), ...boxes), reset);
    if (focused) [...this.panel.querySelectorAll("input")].find((box) => box.dataset.column === focused)?.focus();
  }

  choose(name, on) {
    const present = this.state.columns.filter((column) => column !== name);
    const columns = on ? [...present, name] : present;
    if (!columns.length) { this.columnsPanel(); return; }
    const order = this.get("_head").columns.map((column) => column.name);
    const rank = (column) => (this.state.columns.includes(column) ? this.state.columns.indexOf(column) : 1000 + order.indexOf(column));
    this.change({ columns: columns.sort((a, b) => rank(a) - rank(b)) });
  }

  exportPanel() {
    const field = h("input", { type: "text", class: "vnb-table-field", value: "runs.csv", "aria-label": "File to write", spellcheck: "false" });
    this.outcome = h("span", { role: "status", class: "vnb-table-outcome" });
    const save = () => {
      this.outcome.className = "vnb-table-outcome";
      this.outcome.textContent = "Writing…";
      this.model.send({ kind: "export", path: field.value });
    };
    field.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); save(); } });
    const total = this.latest?.total ?? 0;
    this.panel.replaceChildren(h("div", { class: "vnb-table-export", onkeydown: (event) => this.shut(event) },
      h("span", {}, this.latest?.reach ? "All runs that match to" : `${figure(total)} ${runsWord(total)} to`), field,
      h("button", { type: "button", class: "vnb-table-button", onclick: save }, "Save CSV"), this.outcome));
  }

  exported(message) {
    if (!this.outcome) return;
    this.outcome.classList.toggle("vnb-table-bad", Boolean(message.error));
    this.outcome.replaceChildren(...(message.error ? [icon("FAILED"), ` ${message.error}`] : [icon("FULFILLED", "vnb-is-FULFILLED"), ` Wrote ${figure(message.count)} ${runsWord(message.count)} to `, h("span", { class: "vnb-table-code" }, message.path)]));
  }

  showSide() {
    if (!this.get("selected_ids").length) return;
    this.wantSide = true;
    this.model.send({ kind: "side_by_side", ids: this.get("selected_ids") });
    if (!this.sideBox.hidden) this.reveal();
  }

  // The one place where HTML is trusted: Python made and escaped it.
  side() {
    const html = this.get("_side");
    this.sideBox.hidden = !html;
    if (!html) { this.sideBox.replaceChildren(); return; }
    const body = h("div");
    body.innerHTML = html;
    const close = h("button", { type: "button", class: "vnb-table-bare", "aria-label": "Close side by side", title: "Close", onclick: () => this.closeSide() }, icon("close"));
    this.sideBox.replaceChildren(h("div", { class: "vnb-table-sidebar" }, h("b", {}, "Side by side"), h("span", { class: "vnb-table-fill" }), close), body);
    if (this.wantSide) this.reveal();
  }

  reveal() {
    this.wantSide = false;
    this.sideBox.scrollIntoView({ block: "nearest" });
  }

  closeSide() {
    this.model.send({ kind: "close_side" });
    this.sideButton.focus();
  }

  progress({ what, reach }) {
    if (!this.waiting) {
      this.latest = { ...this.latest, reach, what };
      this.reach();
    } else if (what === "sorted") {
      clearTimeout(this.patience);
      this.busy(`Sorting… ${Math.floor((100 * reach[0]) / reach[1])} %`);
    }
  }

  // How much of a long history has been searched or sorted, until it is all of it.
  reach() {
    const [done, total] = this.latest?.reach ?? [0, 0];
    const what = this.latest?.what ?? "searched";
    const percent = total ? Math.floor((100 * done) / total) : 100;
    this.searched.hidden = !total;
    this.searched.textContent = `${percent} % ${what} so far`;
    const [name, which] = what === "sorted" ? ["Sorted so far", ""] : ["Searched so far", ", the last ones first"];
    this.searched.title = `${figure(done)} of ${figure(total)} runs${which}`;
    this.searched.setAttribute("aria-label", name);
    this.searched.setAttribute("aria-valuenow", percent);
    const nothing = total ? "Nothing found so far." : this.all ? "No run matches the filter." : "No runs yet. Runs appear here as soon as they are sent.";
    if (this.empty.textContent !== nothing) this.empty.textContent = nothing;
  }

  note() {
    const text = this.get("error");
    this.alert.hidden = !text;
    this.alert.replaceChildren(...(text ? [icon("FAILED"), h("span", {}, text)] : []));
    if (!text) return;
    this.waiting = this.body.wanted = null;
    clearTimeout(this.patience);
    if (this.latest) this.footer(); // it may have said that the search goes on
    else this.count.replaceChildren();
  }
}

export default {
  render({ model, el }) {
    hearAgain(model);
    const table = new PanelTable(model, el);
    return () => table.close();
  },
};
