"""The scripts of the widgets on a blank page with a fake model: no JupyterLab, no kernel."""

# ruff: noqa: E501  # rows of data and lines of a script

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import axe_playwright_python
import comm
import pytest
from actions_kit import SomeActions
from playwright.sync_api import Page, expect
from view_kit import known, run
from wire_kit import Page as Kernel
from wire_kit import Wire

import vellum_nb
from vellum_nb import History
from vellum_nb.comparison import compare_runs
from vellum_nb.comparison.cases import with_failure, without_failure
from vellum_nb.errors import InputError
from vellum_nb.rendering.html import asset, script
from vellum_nb.widgets.grid import ComparisonView
from vellum_nb.widgets.table import HistoryView

pytestmark = pytest.mark.browser

MODEL = """
class Model {
  constructor(traits) { this.traits = traits; this.sent = []; this.calls = []; this.queue = []; }
  get(name) { return this.traits[name]; }
  set(name, value) { this.traits[name] = value; this.emit(`change:${name}`); }
  save_changes() { this.queue.push(["selected_ids", this.traits.selected_ids]); }
  send(message) { this.sent.push(message); this.queue.push(["message", message]); this.last = message; }
  waiting() { return this.queue.length > 0; }
  take() { return this.queue.splice(0); }
  on(names, call) { for (const name of names.split(" ")) this.calls.push([name, call]); }
  off(names, call) {
    this.calls = this.calls.filter(([name, each]) => !names.split(" ").includes(name) || each !== call);
  }
  emit(name, ...args) { for (const [each, call] of [...this.calls]) if (each === name) call(...args); }
}
"""


AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def violations(page, place):
    """Return what axe finds wrong in an element, which is chosen by a selector."""
    page.evaluate(AXE)
    options = {"runOnly": {"type": "tag", "values": RULES}}
    result = page.evaluate("([place, options]) => axe.run(place, options)", [place, options])
    return [
        f"{each['id']}: {node['target']} {node['failureSummary'][:300]}"
        for each in result["violations"]
        for node in each["nodes"]
    ]


# JupyterLab's dark theme, as far as the style sheets use it.
DARK = {
    "--jp-layout-color0": "#111", "--jp-layout-color1": "#212121", "--jp-layout-color2": "#424242",
    "--jp-layout-color3": "#616161", "--jp-ui-font-color0": "#fff", "--jp-ui-font-color1": "rgba(255, 255, 255, 0.87)",
    "--jp-ui-font-color3": "rgba(255, 255, 255, 0.5)", "--jp-border-color2": "#424242", "--jp-brand-color1": "#2196f3",
    "--jp-error-color1": "#f44336", "--jp-success-color1": "#4caf50", "--jp-warn-color0": "#ef6c00",
    "--jp-warn-color1": "#fb8c00", "--jp-accept-color-normal": "#1976d2", "--jp-input-border-color": "#bdbdbd",
}  # fmt: skip


class Blank:
    """One widget on a blank page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def render(self, name: str, css: str, html: str = '<div id="el"></div>', **traits: Any) -> None:
        self.page.set_content(f"<style>{asset(css)}</style><body>{html}</body>")
        self.page.evaluate(
            """async ([code, model, traits]) => {
              const url = URL.createObjectURL(new Blob([code], {type: "text/javascript"}));
              const widget = window.widget = (await import(url)).default;
              window.model = new (eval(`(${model})`))(traits);
              window.close_ = widget.render({model, el: document.getElementById("el")});
            }""".replace("model, el:", "model: window.model, el:"),
            [script(name), MODEL.strip(), traits],
        )

    def violations(self) -> list[str]:
        """Return what axe finds wrong in light and in dark."""
        found = []
        for theme, colours in (("light", {}), ("dark", DARK)):
            style = "".join(f"{name}: {value};" for name, value in colours.items())
            self.page.evaluate("(style) => { document.documentElement.style = style; }", style)
            self.page.evaluate("document.body.style.background = 'var(--jp-layout-color1, #fff)'")
            found += [f"{theme} {problem}" for problem in violations(self.page, "#el")]
        return found

    def sent(self, kind: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.page.evaluate("window.model.sent")
        return [each for each in found if not kind or kind in (each.get("kind"), each.get("event"))]

    def answer(self, **message: Any) -> None:
        self.page.evaluate("(message) => window.model.emit('msg:custom', message)", message)

    def set(self, name: str, value: Any) -> None:
        self.page.evaluate("([name, value]) => window.model.set(name, value)", [name, value])

    def get(self, name: str) -> Any:
        return self.page.evaluate("(name) => window.model.get(name)", name)


@pytest.fixture(scope="module")
def _blank_page(_browser):
    page = _browser.new_page(viewport={"width": 1280, "height": 900})
    yield page
    page.close()


@pytest.fixture
def blank(_blank_page):
    blank = Blank(_blank_page)
    yield blank
    _blank_page.evaluate("() => window.close_?.()")
    assert not blank.errors


TAGS = ["a", "b"]
HOSTILE = '<img src=x onerror="document.title = 1">'


class Live:
    """A view of the kernel on a blank page: messages go to and fro, as over a comm."""

    def __init__(self, blank: Blank, view: Any, html: str) -> None:
        self.blank, self.page, self.view = blank, blank.page, view
        self.kernel = Kernel(view)
        self._seen = len(view.comm.sent)
        state = {name: value for name, value in view.get_state().items() if name[:4] != "_esm"}
        blank.render("view.js", "view.css", html, **state)
        self.exchange()

    def exchange(self) -> None:
        """Hand messages over until neither side has more to say."""
        while True:
            messages = self.page.evaluate("window.model.take()")
            for name, value in messages:
                if name == "message":
                    self.kernel.send(**value)
                else:
                    self.kernel.set(**{name: value})
            news, self._seen = self.view.comm.sent[self._seen :], len(self.view.comm.sent)
            for data in news:
                if data.get("method") == "custom":
                    self.blank.answer(**data["content"])
                for name, value in data.get("state", {}).items():
                    self.blank.set(name, value)
            if not (messages or news):
                return

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.exchange()

    def click(self, what: Any, **options: Any) -> None:
        what.click(**options)
        self.exchange()

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def row(self, text: str) -> Any:
        return self.page.get_by_role("row").filter(has_text=text).first

    @property
    def status(self) -> Any:
        return self.page.get_by_role("status").first


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    with History(tmp_path_factory.mktemp("history") / "runs.db") as history:
        runs = [run(number, "v1", inputs={"ticket": f"ticket {number}."}) for number in range(249)]
        hostile = {"inputs": {"ticket": f"\u202e{HOSTILE}"}, "outputs": {HOSTILE: HOSTILE}}
        history.merge([*runs, run(300, HOSTILE, **hostile)])
        yield history


@pytest.fixture
def table(blank, history, monkeypatch):
    monkeypatch.setattr(comm, "create_comm", Wire)
    view = HistoryView(history)
    yield Live(blank, view, '<div id="el"></div>')
    view.close()


def named_failure(each: Any, name: str, has: Any) -> Any:
    change = with_failure(each.tags, name, "ann") if has else without_failure(each.tags, name)
    return each.model_copy(update={"tags": tuple(change)})


def added(name: str, _deployment: str, cases: list[Any]) -> str:
    if name == HOSTILE:
        raise InputError(f"no set {name}")
    return f"{name}, version 3: {len(cases)} added"


@pytest.fixture
def grid(blank, monkeypatch):
    monkeypatch.setattr(comm, "create_comm", Wire)
    outputs = {f"o{number}": "long " * 200 for number in range(8)}
    runs = [run(n, tag, outputs={"category": tag} | outputs) for n in range(40) for tag in TAGS]
    runs += [run(40, "a")]
    labels = {"constructor": "odd", "__proto__": "even"}  # names that every object of a page has
    cases = [replace(each, labels=labels) for each in known(*range(41))]
    comparison = compare_runs(runs, deployment="triage", release_tags=TAGS, cases=cases)
    actions = SomeActions(
        rate=lambda each, **_: each,
        run_case=lambda *_: [run(40, "b")],
        name_failure=named_failure,
        note=lambda each, text: each.model_copy(update={"note": text}),
        trace=lambda _: (),
        case_sets=lambda _: ["monthly", HOSTILE],
        add_cases=added,
    )
    view = ComparisonView(comparison, actions)
    live = Live(blank, view.table, '<div class="vnb-grid-view"><div id="el"></div></div>')
    live.whole = view  # type: ignore[attr-defined]
    yield live
    view.close()


def test_table_shows_pages_of_rows(table):
    rows = table.page.locator(".vnb-table-row")
    expect(rows).to_have_count(100)
    expect(table.page.locator(".vnb-view-where")).to_have_text("1–100 of 250")  # noqa: RUF001
    table.click(table.button("Next"))
    expect(table.row("ticket 149.")).to_be_visible()
    table.page.get_by_role("grid").focus()
    table.press("End")
    expect(rows).to_have_count(50)
    expect(table.page.locator(".vnb-view-active")).to_contain_text("ticket 0.")
    expect(table.button("Next")).to_be_disabled()


def test_header_sorts_while_the_filter_searches(table):
    table.click(table.button("input.ticket"))
    header = table.page.get_by_role("columnheader", name="input.ticket")
    expect(header).to_have_attribute("aria-sort", "ascending")
    expect(table.page.locator(".vnb-table-row").first).to_contain_text("ticket 0.")
    table.page.get_by_label("Filter runs by text").fill("ticket 7")
    table.page.keyboard.press("Enter")
    table.page.wait_for_function("window.model.waiting()")
    table.exchange()
    expect(table.status).to_have_text("11 of 250 runs")
    assert (table.view.order_by, table.view.search) == ("input.ticket", "ticket 7")


def test_selected_rows_are_shown_side_by_side(table):
    def selected() -> list[int]:
        return [int(each.split("-")[1]) for each in table.view.selected_ids]

    table.click(table.row("ticket 243.").locator("label"))
    assert selected() == [243]
    table.click(table.row("ticket 241.").locator("label"), modifiers=["Shift"])
    assert selected() == [243, 242, 241]
    table.press("ArrowDown", "Space")
    assert selected() == [243, 242, 241, 240]
    table.press("Enter")
    side = table.page.get_by_role("region", name="Selected runs side by side")
    expect(side.locator(".vnb-out-run")).to_have_count(8)  # inputs and answers of four runs
    table.press("Control+a")
    assert len(selected()) == 250
    table.press("Escape")
    assert selected() == []


def test_click_opens_a_run_and_keys_follow(table):
    table.click(table.row("ticket 243.").locator(".vnb-table-time"))
    assert table.view.opened == "v1-243-0"
    table.press("j")
    assert table.view.opened == "v1-242-0"
    assert table.view.selected_ids == ["v1-243-0"]
    table.press("Escape")
    assert table.view.opened == ""
    assert table.view.selected_ids == ["v1-243-0"]
    table.press("Enter")
    assert table.view.opened == "v1-242-0"


def test_menu_adds_a_filter_as_a_chip(table):
    table.page.get_by_label("state").select_option("REJECTED")
    table.exchange()
    expect(table.page.get_by_text("No run matches the filter.")).to_be_visible()
    table.click(table.button("Remove the filter state REJECTED"))
    expect(table.status).to_have_text("250 runs")


def test_chosen_columns_are_exported(table, tmp_path):
    table.view.export_folder = tmp_path
    table.page.get_by_role("button", name="Columns").click()
    table.page.get_by_label("latency_s").uncheck()
    table.exchange()
    assert "latency_s" not in table.view.columns
    table.press("Escape")
    table.button("Export…").click()
    table.page.get_by_label("File to write").fill("found.csv")
    table.press("Enter")
    expect(table.page.get_by_text(f"Wrote 250 runs to {tmp_path}/found.csv")).to_be_visible()


def test_hostile_cells_stay_text(table):
    expect(table.row("onerror")).to_be_visible()
    cell = table.row("onerror").locator(".vnb-table-text").first
    expect(cell).to_have_css("unicode-bidi", "isolate")  # U+202E turns nothing round it
    table.click(table.row("onerror").locator("label"))
    table.click(table.button("Side by side"))
    assert table.page.locator("#el img").count() == 0
    assert table.page.title() == ""


def test_progress_or_error_is_shown(table):
    view = table.page.evaluate("window.model.last.view")
    table.blank.answer(kind="progress", view=view, reach=[50, 200])
    expect(table.status).to_have_text("Searching… 25 % of 200 runs")
    table.view.error = "The history was closed"
    table.exchange()
    expect(table.page.get_by_role("alert")).to_have_text("The history was closed")
    expect(table.status).to_have_text("250 runs")


def test_grid_shows_pages_of_cases(grid):
    expect(grid.page.locator(".vnb-grid-row")).to_have_count(40)
    expect(grid.page.get_by_text("41 cases, regressions first")).to_be_visible()
    grid.click(grid.button("Next"))
    expect(grid.page.locator(".vnb-grid-row")).to_have_count(1)


def test_rows_are_shown_on_one_line_or_in_full(grid):
    rows = grid.page.locator(".vnb-grid-row")
    assert rows.first.evaluate("row => row.offsetHeight") == 36
    grid.page.get_by_role("grid").focus()
    messages = len(grid.view.comm.customs("rows"))
    grid.press("c")
    expect(rows).to_have_count(25)
    assert len(grid.view.comm.customs("rows")) > messages + 1  # too large for one
    expect(rows.nth(1)).to_contain_text("o1: ")
    grid.page.evaluate("window.close_()")
    again = Live(grid.blank, grid.view, '<div id="el"></div>')
    expect(again.page.locator(".vnb-grid-row")).to_have_count(25)  # the choice is remembered
    again.click(again.button("One line per case (c)"))
    expect(again.page.locator(".vnb-grid-row")).to_have_count(40)


def test_verdict_leads_to_the_cases_behind_it(grid):
    grid.page.get_by_label("Search inputs and outputs").fill("ticket 3")
    grid.click(grid.button("Show 40 differences"))
    expect(grid.button("Different 40")).to_have_attribute("aria-pressed", "true")
    expect(grid.page.locator(".vnb-grid-row")).to_have_count(40)
    assert (grid.view.release, grid.view.search) == ("b", "")
    expect(grid.page.get_by_role("grid")).to_be_focused()
    grid.click(grid.button("on b"))
    assert grid.view.release == ""


def test_open_case_follows_the_selection(grid):
    def opened() -> int:
        numbers = {case.case_id: case.number for case in grid.whole.comparison.cases}
        return numbers[grid.view.opened]

    grid.page.get_by_role("grid").focus()
    grid.press("j", "Enter")
    assert opened() == 41  # it has no answer on b
    grid.press("j", "j")
    assert opened() == 2
    grid.press("k")
    assert opened() == 1
    grid.press("End")
    assert opened() == 40
    grid.press("Escape")
    assert not grid.view.opened
    expect(grid.page.get_by_role("grid")).to_be_focused()


def test_grid_is_controlled_by_keyboard(grid):
    grid.page.get_by_role("grid").focus()
    grid.press("j", "j", "5")
    assert grid.whole.wait(10)  # type: ignore[attr-defined]
    grid.exchange()
    expect(grid.page.get_by_text("on b: rated 1")).to_have_count(1)
    grid.press("h", "Enter")
    assert grid.view.opened
    expect(grid.page.locator(".vnb-view-active")).to_contain_text("a, expected billing")
    grid.click(grid.button("No answer 1"))
    grid.click(grid.button("Run this case on b"))
    assert grid.whole.wait(10)  # type: ignore[attr-defined]
    grid.exchange()
    expect(grid.button("No answer 0")).to_be_visible()


def test_key_m_writes_a_note(grid):
    page = grid.page
    page.get_by_role("grid").focus()
    grid.press("j", "j", "m")
    field = page.get_by_role("textbox", name="Note on case 1 on b")
    expect(field).to_be_focused()
    field.fill(HOSTILE)
    grid.press("Enter")
    assert grid.whole.wait(10)
    grid.exchange()
    expect(page.get_by_role("grid")).to_be_focused()
    grid.press("m")
    expect(field).to_have_value(HOSTILE)
    assert grid.blank.violations() == []
    grid.press("Escape")
    expect(page.get_by_role("grid")).to_be_focused()


def test_key_a_adds_the_case_to_a_case_set(grid):
    page = grid.page
    page.get_by_role("grid").focus()
    grid.press("j", "j", "a")
    assert grid.whole.wait(10)
    grid.exchange()
    field = page.get_by_role("combobox", name="Add case 1 to")
    expect(field).to_be_focused()
    names = page.locator("datalist option").evaluate_all("all => all.map((each) => each.value)")
    assert names == ["monthly", HOSTILE]
    outcome = page.locator(".vnb-view-outcome")
    for name, text in ((HOSTILE, f"no set {HOSTILE}"), ("weekly", "weekly, version 3: 1 added")):
        field.fill(name)
        grid.press("Enter")
        assert grid.whole.wait(10)
        grid.exchange()
        expect(outcome).to_have_text(text)
        expect(field).to_have_value(name)
    assert grid.blank.violations() == []
    grid.press("Escape")
    expect(page.get_by_role("grid")).to_be_focused()
    grid.press("j", "a")
    expect(page.get_by_role("combobox", name="Add case 2 to")).to_have_value("weekly")


def test_key_f_names_failures(grid):
    page = grid.page
    page.get_by_role("grid").focus()
    grid.press("j", "j", "f")
    field = page.get_by_role("combobox", name="Failure of case 1 on b")
    for name in ("rude", HOSTILE):
        field.fill(name)
        grid.press("Enter")
        assert grid.whole.wait(10)
        grid.exchange()
        expect(field).to_have_value("")
    grid.press("Escape")
    expect(page.get_by_role("grid")).to_be_focused()
    grid.press("j", "f")
    names = page.locator("datalist option").evaluate_all("all => all.map((each) => each.value)")
    assert names == ["rude", HOSTILE]
    grid.press("Escape", "k", "f")
    grid.click(page.get_by_role("button", name="Remove rude"))
    assert grid.whole.wait(10)
    grid.exchange()
    expect(page.get_by_role("button", name="Remove rude")).to_have_count(0)
    expect(field).to_be_focused()
    assert grid.blank.violations() == []
    grid.press("Escape")
    page.get_by_role("combobox", name="failure", exact=True).select_option(HOSTILE)
    grid.exchange()
    expect(page.locator(".vnb-grid-row")).to_have_count(1)
    expect(page.locator(".vnb-grid-row")).to_contain_text(HOSTILE[:30])
    assert page.locator("#el img").count() == 0


def test_failure_of_a_whole_case_is_one_of_its_first_candidate(grid):
    grid.page.get_by_role("grid").focus()
    grid.press("j", "j", "h", "h", "f")
    expect(grid.page.get_by_role("combobox", name="Failure of case 1 on b")).to_be_focused()


def test_the_difference_of_the_code_is_folded_until_it_is_asked_for(grid):
    grid.page.get_by_text("Code and prompts of the releases").click()
    expect(grid.page.get_by_text("Reading…")).to_be_visible()
    grid.page.wait_for_function("window.model.waiting()")
    grid.exchange()
    assert grid.whole.wait(10)  # type: ignore[attr-defined]
    grid.exchange()
    expect(grid.page.get_by_text("No code difference to display:")).to_be_visible()


def test_filters_survive_another_display(grid):
    grid.click(grid.button("No answer 1"))
    grid.page.get_by_role("combobox", name="constructor").select_option("odd")
    grid.exchange()
    assert grid.view.labels == {"constructor": ["odd"]}
    expect(grid.page.locator(".vnb-grid-row")).to_have_count(1)
    grid.page.evaluate("window.close_()")
    again = Live(grid.blank, grid.view, '<div id="el"></div>')
    expect(again.button("No answer 1")).to_have_attribute("aria-pressed", "true")
    expect(again.page.locator(".vnb-grid-row")).to_have_count(1)


def test_answers_are_rated_in_their_bar(blank):
    html = (
        '<div class="vnb vnb-results"><div class="vnb-answers"><section class="vnb-out-run">one'
        '</section></div><div id="el"></div></div>'
    )
    bar = {
        "id": "r1", "tag": "v1", "quality": None, "note": "", "rates": True, "goes_on": True,
        "traces": True, "busy": "", "problem": "", "editor": [], "saved": 0, "trace": "",
    }  # fmt: skip
    blank.render(
        "answers.js",
        "form.css",
        html,
        controls=["rate", "trace"],
        texts=["hi"],
        bars=[bar],
        live=[],
    )
    thumb = blank.page.get_by_role("button", name="Rate the answer of v1: good")
    thumb.click()
    assert blank.sent("rate")[-1] == {"event": "rate", "id": "r1", "quality": 1}
    blank.page.get_by_role("button", name="Correct the outputs of v1…").click()
    assert blank.sent("correct")
    kinds = {"reply": ("text", "old"), "score": ("number", "1"), "sure": ("boolean", "true")}
    editor = [{"name": n, "label": n, "text": t, "kind": k} for n, (k, t) in kinds.items()]
    blank.set("bars", [{**bar, "editor": editor}])
    blank.page.get_by_label("reply").fill("new")
    blank.page.get_by_label("score").fill("2")
    blank.page.get_by_label("sure").select_option("false")
    blank.set("bars", [{**bar, "id": "r2"}])  # another run is selected meanwhile
    blank.set("bars", [{**bar, "editor": editor}])
    blank.page.get_by_role("button", name="Correct the outputs of v1…").click()
    blank.page.get_by_role("button", name="Save correction").click()
    assert blank.sent("save")[-1]["texts"] == {
        "reply": "new", "score": "2", "sure": "false"
    }  # fmt: skip


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(blank):
    blank.render(
        "upload.js",
        "form.css",
        accept="",
        label="Choose a file",
        max_bytes=10,
        instead="Give its path.",
    )
    files = [{"name": "big.csv", "mimeType": "text/csv", "buffer": b"x" * 11}]
    blank.page.get_by_label("Choose a file").set_input_files(files)
    expect(blank.page.get_by_role("alert")).to_contain_text("Nothing was sent. Give its path.")
    assert blank.sent() == []


def test_tabs_of_the_lab_work_from_the_keyboard(blank):
    tabs = [{"title": title, "detail": ""} for title in ("Run", "History", "Compare")]
    blank.render(
        "lab.js",
        "lab.css",
        heading="triage",
        source="local",
        count="2 runs",
        status="",
        tabs=tabs,
        index=0,
    )
    blank.page.get_by_role("tab", name="Run").focus()
    blank.page.keyboard.press("ArrowRight")
    assert blank.get("index") == 1
    expect(blank.page.get_by_role("tab", name="History")).to_be_focused()


def test_closed_views_listen_to_nothing(table):
    table.page.evaluate("() => { window.close_(); window.close_ = null; }")
    assert table.page.evaluate("window.model.calls.length") == 0


def test_axe_finds_nothing_wrong_with_the_table(table):
    table.click(table.row("ticket 243.").locator("label"))
    table.page.get_by_role("button", name="Columns").click()
    assert table.blank.violations() == []


def test_axe_finds_nothing_wrong_with_the_grid(grid):
    assert grid.blank.violations() == []  # one line per case
    grid.click(grid.button("No answer 1"))
    grid.button("Export…").click()
    grid.page.get_by_role("grid").focus()
    grid.press("c")
    assert grid.blank.violations() == []


def test_scripts_are_modules_without_globals():
    for name in ("view", "answers", "blind", "form", "lab", "sweep", "upload"):
        text = script(f"{name}.js")
        assert "export default" in text
        assert "import " not in text.replace("import url", "")


def test_styles_name_a_colour_for_pages_without_jupyters_theme():
    for path in Path(vellum_nb.__file__).parent.rglob("*.css"):
        assert not re.findall(r"var\(--jp-[\w-]+\)", path.read_text("utf-8")), path
