"""The scripts of the widgets on a blank page with a fake model: no JupyterLab, no kernel."""

# ruff: noqa: E501  # rows of data and lines of a script

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Page, expect

from vellum_nb.widgets.markup import asset, script

pytestmark = pytest.mark.browser

MODEL = """
class Model {
  constructor(traits) { this.traits = traits; this.sent = []; this.calls = []; this.saved = 0; }
  get(name) { return this.traits[name]; }
  set(name, value) { this.traits[name] = value; this.emit(`change:${name}`); }
  save_changes() { this.saved += 1; }
  send(message) { this.sent.push(message); }
  on(names, call) { for (const name of names.split(" ")) this.calls.push([name, call]); }
  off(names, call) {
    this.calls = this.calls.filter(([name, each]) => !names.split(" ").includes(name) || each !== call);
  }
  emit(name, ...args) { for (const [each, call] of [...this.calls]) if (each === name) call(...args); }
}
"""


AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
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
        self.page.set_content(f"<style>{asset('colours.css', css)}</style><body>{html}</body>")
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
        self.page.evaluate(AXE)
        found = []
        for theme, colours in (("light", {}), ("dark", DARK)):
            style = "".join(f"{name}: {value};" for name, value in colours.items())
            self.page.evaluate("(style) => { document.documentElement.style = style; }", style)
            self.page.evaluate("document.body.style.background = 'var(--jp-layout-color1, #fff)'")
            result = self.page.evaluate(
                "(tags) => axe.run('#el', {runOnly: {type: 'tag', values: tags}})", RULES
            )
            found += [
                f"{theme} {each['id']}: {node['target']} {node['failureSummary'][:300]}"
                for each in result["violations"]
                for node in each["nodes"]
            ]
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
def _blank_page(_browser: Browser) -> Iterator[Page]:
    page = _browser.new_page(viewport={"width": 1280, "height": 900})
    yield page
    page.close()


@pytest.fixture
def blank(_blank_page: Page) -> Iterator[Blank]:
    blank = Blank(_blank_page)
    yield blank
    _blank_page.evaluate("() => window.close_?.()")
    assert not blank.errors


HOSTILE = '<img src=x onerror="document.title = 1">'
COLUMNS = [
    {"name": "state", "kind": "state", "sortable": True},
    {"name": "release_tag", "kind": "tag", "sortable": True},
    {"name": "latency_s", "kind": "seconds", "sortable": True},
    {"name": "outputs", "kind": "outputs", "sortable": False},
]


def runs(offset: int, count: int, total: int = 250, **more: Any) -> dict[str, Any]:
    rows = [
        {
            "id": f"run-{n}",
            "state": "FULFILLED",
            "moved": False,
            "cells": ["FULFILLED", "v1", 0.5, f"text {n}"],
        }
        for n in range(offset, offset + count)
    ]
    names = [column["name"] for column in COLUMNS]
    message = {"offset": offset, "limit": count, "total": total, "all": total, "rough": False}
    return message | {"columns": names, "search": "", "rows": rows, "seq": 0, "view": ""} | more


@pytest.fixture
def table(blank: Blank) -> Blank:
    names = [column["name"] for column in COLUMNS]
    head = {"title": "triage", "chips": [], "columns": COLUMNS, "default": names, "note": ""}
    head |= {"formats": [{"name": "csv", "suffix": ".csv", "label": "CSV"}]}
    traits = {"search": "", "order_by": "state", "descending": True, "columns": names}
    blank.render(
        "view.js", "view.css", kind="runs", _head=head, _first=runs(0, 40), _side="", error="",
        selected_ids=[], **traits,
    )  # fmt: skip
    return blank


def reply(blank: Blank, **more: Any) -> None:
    """Answer the last question for rows as the kernel does."""
    asked = blank.sent("rows")[-1]
    fields = {"seq": asked["seq"], "view": asked["view"], "kind": "rows"} | more
    count = min(asked["limit"], 250 - asked["offset"])
    blank.answer(**(runs(asked["offset"], count) | fields))


def row(blank: Blank, text: str) -> Any:
    return blank.page.get_by_role("row").filter(has_text=text)


def test_a_table_shows_pages_of_rows_and_turns_them(table: Blank) -> None:
    reply(table)
    expect(table.page.locator(".vnb-table-row")).to_have_count(100)
    expect(table.page.locator(".vnb-view-where")).to_have_text("1–100 of 250")  # noqa: RUF001
    table.page.get_by_role("button", name="Next").click()
    assert table.sent("rows")[-1]["offset"] == 100
    reply(table)
    expect(row(table, "text 100")).to_be_visible()
    table.page.get_by_role("grid").focus()
    table.page.keyboard.press("End")
    assert table.sent("rows")[-1]["offset"] == 200
    reply(table)
    expect(table.page.locator(".vnb-table-row")).to_have_count(50)
    expect(table.page.locator(".vnb-view-active")).to_contain_text("text 249")
    expect(table.page.get_by_role("button", name="Next")).to_be_disabled()


def test_what_does_not_fit_into_one_message_comes_in_the_next(table: Blank) -> None:
    asked = table.sent("rows")[-1]
    table.answer(**(runs(0, 60) | {"seq": asked["seq"], "view": asked["view"], "kind": "rows"}))
    rest = table.sent("rows")[-1]
    assert (rest["offset"], rest["limit"]) == (60, 40)
    reply(table)
    expect(table.page.locator(".vnb-table-row")).to_have_count(100)


def test_a_header_sorts_and_the_filter_searches(table: Blank) -> None:
    reply(table)
    table.page.get_by_role("button", name="latency_s").click()
    asked = table.sent("rows")[-1]
    query = asked["query"]
    assert (query["order_by"], query["descending"], asked["offset"]) == ("latency_s", True, 0)
    reply(table)
    expect(table.page.get_by_role("columnheader", name="latency_s")).to_have_attribute(
        "aria-sort", "descending"
    )
    table.page.get_by_label("Filter runs by text").fill("charged")
    table.page.keyboard.press("Enter")
    table.page.wait_for_function("window.model.sent.at(-1).query.search === 'charged'")


def test_rows_are_selected_by_mouse_and_keyboard(table: Blank) -> None:
    reply(table)
    row(table, "text 3").first.locator("label").click()
    assert table.get("selected_ids") == ["run-3"]
    row(table, "text 5").first.locator("label").click(modifiers=["Shift"])
    assert table.get("selected_ids") == ["run-3", "run-4", "run-5"]
    table.page.keyboard.press("ArrowDown")
    table.page.keyboard.press("Space")
    assert table.get("selected_ids")[-1] == "run-6"
    table.page.keyboard.press("Enter")
    assert table.sent("side_by_side")[-1]["ids"] == ["run-3", "run-4", "run-5", "run-6"]
    table.page.keyboard.press("Control+a")
    assert table.sent("select_range")[-1] | {"keep": []} == {
        "kind": "select_range", "from": 0, "to": 249, "keep": [],
    }  # fmt: skip
    table.page.keyboard.press("Escape")
    assert table.get("selected_ids") == []


def test_a_row_keeps_its_node_when_others_come_in_above_it(table: Blank) -> None:
    reply(table)
    table.page.evaluate("document.querySelector('.vnb-table-row').mine = true")
    fresh = runs(0, 100)
    fresh["rows"] = [{**fresh["rows"][0], "id": "new"}, *fresh["rows"][:99]]
    asked = table.sent("rows")[-1]
    table.answer(**(fresh | {"seq": asked["seq"], "view": asked["view"], "kind": "rows"}))
    assert table.page.evaluate("document.querySelectorAll('.vnb-table-row')[0].mine") is None


def test_columns_are_chosen_and_an_export_reports(table: Blank) -> None:
    reply(table)
    table.page.get_by_role("button", name="Columns").click()
    table.page.get_by_label("latency_s").uncheck()
    assert table.sent("rows")[-1]["query"]["columns"] == ["state", "release_tag", "outputs"]
    table.page.keyboard.press("Escape")
    table.page.get_by_role("button", name="Export…").click()
    table.page.get_by_label("File to write").fill("found.csv")
    table.page.keyboard.press("Enter")
    assert table.sent("export")[-1]["path"] == "found.csv"
    table.answer(kind="exported", path="/x/found.csv", count=250)
    expect(table.page.get_by_text("Wrote 250 runs to")).to_be_visible()


def test_hostile_cells_stay_text(table: Blank) -> None:
    fields = runs(0, 1, total=1)
    fields["rows"][0]["cells"] = ["FULFILLED", HOSTILE, 0.5, ["\u202e", HOSTILE, ""]]
    asked = table.sent("rows")[-1]
    table.answer(**(fields | {"seq": asked["seq"], "view": asked["view"], "kind": "rows"}))
    expect(row(table, "onerror")).to_be_visible()
    assert table.page.title() == ""
    cell = row(table, "onerror").locator(".vnb-table-outputs")
    expect(cell).to_have_css("unicode-bidi", "isolate")  # U+202E turns nothing round it


def test_progress_and_errors_are_shown(table: Blank) -> None:
    reply(table)
    view = table.sent("rows")[-1]["view"]
    table.answer(kind="progress", view=view, reach=[50, 200])
    expect(table.page.get_by_role("status").first).to_have_text("Searching… 25 % of 200 runs")
    table.set("error", "The history was closed")
    expect(table.page.get_by_role("alert")).to_have_text("The history was closed")
    expect(table.page.get_by_role("status").first).to_have_text("250 runs")


def cases(offset: int, count: int, total: int = 40) -> dict[str, Any]:
    rows = [
        {"id": f"case-{n}", "html": f"""<div role="row" class="vnb-grid-row">
        <div role="rowheader" class="vnb-grid-cell vnb-grid-case">case {n + 1}</div>
        <div role="gridcell" class="vnb-grid-cell vnb-grid-at-baseline">old</div>
        <div role="gridcell" class="vnb-grid-cell vnb-grid-at-worse">new {n}
        <button type="button" class="vnb-view-button" data-replay="v2">Run</button></div></div>"""}
        for n in range(offset, offset + count)
    ]  # fmt: skip
    return {"offset": offset, "total": total, "all": total, "rows": rows, "seq": 0, "view": ""}


@pytest.fixture
def grid(blank: Blank) -> Blank:
    named = [{"name": name, "label": name, "worse": 2} for name in ("v1", "v2")]
    summary = '<table class="vnb-grid-summary"><tbody><tr><th>v1</th></tr></tbody></table>'
    head = {
        "title": "triage", "about": "", "baseline": "v1", "columns": named, "releases": named,
        "metrics": [{"name": "score", "label": "score"}], "metric": "score", "can": ["rate", "code"],
        "formats": [{"name": "csv", "suffix": ".csv", "label": "CSV"}], "filters":
        [{"name": "regressions", "label": "Regressions", "count": 2}], "labels": [],
        "summary": summary, "notes": [], "order": "regressions first", "foot": "",
    }  # fmt: skip
    html = '<div class="vnb-grid-view"><div id="el"></div></div>'
    blank.render(
        "view.js", "view.css", html, kind="cases", _head=head, _first=cases(0, 8), error="",
        opened="", code="", search="", states=[], labels={},
    )  # fmt: skip
    asked = blank.sent("rows")[-1]
    blank.answer(**(cases(0, 25) | {"seq": asked["seq"], "view": asked["view"], "kind": "rows"}))
    return blank


def test_a_grid_shows_cases_and_pages_of_them(grid: Blank) -> None:
    expect(grid.page.locator(".vnb-grid-row")).to_have_count(25)
    expect(grid.page.get_by_text("40 cases, regressions first")).to_be_visible()
    grid.page.get_by_role("button", name="Next").click()
    assert grid.sent("rows")[-1]["offset"] == 25


def test_keys_go_over_cases_rate_and_open(grid: Blank) -> None:
    grid.page.get_by_role("grid").focus()
    grid.page.keyboard.press("j")
    grid.page.keyboard.press("j")
    grid.page.keyboard.press("5")
    assert grid.sent("rate")[-1] == {
        "kind": "rate", "id": "case-1", "release": "v2", "quality": 1,
    }  # fmt: skip
    grid.page.keyboard.press("h")
    grid.page.keyboard.press("Enter")
    assert grid.sent("open")[-1]["id"] == "case-1"
    expect(grid.page.locator(".vnb-view-active")).to_contain_text("old")
    grid.page.get_by_role("button", name="Run").nth(2).click()
    assert grid.sent("replay")[-1] == {"kind": "replay", "id": "case-2", "release": "v2"}


def test_the_difference_of_the_code_is_folded_until_it_is_asked_for(grid: Blank) -> None:
    grid.page.get_by_text("Code and prompts of the releases").click()
    expect(grid.page.get_by_text("Reading…")).to_be_visible()
    grid.page.wait_for_function("window.model.sent.some(({ kind }) => kind === 'code')")
    grid.set("code", "<h4>v2: 1 file differs</h4>")
    expect(grid.page.get_by_role("heading", name="v2: 1 file differs")).to_be_visible()


def test_filters_are_pressed_and_survive_a_new_view(grid: Blank) -> None:
    grid.page.get_by_role("button", name="Regressions").click()
    assert grid.sent("rows")[-1]["query"]["states"] == ["regressions"]
    pressed = grid.page.get_by_role("button", name="Regressions")
    expect(pressed).to_have_attribute("aria-pressed", "true")
    grid.page.evaluate("""async () => {
      window.close_();
      document.getElementById("el").replaceChildren();
      window.model.traits.states = window.model.sent.at(-1).query.states;
      window.close_ = window.widget.render({model: window.model, el: document.getElementById("el")});
    }""")
    expect(pressed).to_have_attribute("aria-pressed", "true")
    assert grid.sent("rows")[-1]["query"]["states"] == ["regressions"]


def test_answers_are_copied_rated_and_corrected(blank: Blank) -> None:
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
    editor = [{"name": "reply", "label": "reply", "text": "old", "json": False}]
    blank.set("bars", [{**bar, "editor": editor}])
    blank.page.get_by_label("reply").fill("new")
    blank.page.get_by_role("button", name="Save correction").click()
    assert blank.sent("save")[-1]["texts"] == {"reply": "new"}


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(blank: Blank) -> None:
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


def test_tabs_of_the_lab_work_from_the_keyboard(blank: Blank) -> None:
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


def test_closed_views_listen_to_nothing(table: Blank) -> None:
    table.page.evaluate("() => { window.close_(); window.close_ = null; }")
    assert table.page.evaluate("window.model.calls.length") == 0


def test_axe_finds_nothing_wrong_with_the_table(table: Blank) -> None:
    reply(table)
    row(table, "text 3").first.locator("label").click()
    table.page.get_by_role("button", name="Columns").click()
    assert table.violations() == []


def test_axe_finds_nothing_wrong_with_the_grid(grid: Blank) -> None:
    grid.page.get_by_role("button", name="Regressions").click()
    grid.page.get_by_role("button", name="Export…").click()
    assert grid.violations() == []


def test_scripts_are_modules_without_globals() -> None:
    for name in ("view", "answers", "blind", "form", "lab", "sweep", "upload"):
        text = script(f"{name}.js")
        assert "export default" in text
        assert "import " not in text.replace("import url", "")
