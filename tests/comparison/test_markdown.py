"""The Markdown report, as GitHub's own parser shows it."""

import cmarkgfm
import pandas as pd
import pytest
from cmarkgfm.cmark import Options
from dom_kit import dom
from report_kit import compared, failed, judged, run, talk, wanted
from runs_kit import HOSTILE

import vellum_nb as vnb
from vellum_nb import InputError
from vellum_nb.models import NodeRun, RunError

OURS = {
    "h2", "h3", "p", "strong", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "code",
    "b", "i", "details", "summary",
}  # fmt: skip


def shown(markdown):
    """Return what GitHub makes of Markdown; only our elements, without attributes."""
    html = cmarkgfm.github_flavored_markdown_to_html(markdown, Options.CMARK_OPT_UNSAFE)
    page = dom(html)
    for line_break in page.select("br"):
        line_break.replace_with("\n")
    elements = page.find_all(name=True)
    assert {element.name for element in elements} <= OURS
    assert not any(element.attrs for element in elements)
    return page


def table_rows(page):
    return [[cell.text for cell in row.select("th, td")] for row in page.select("tr")]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_runs_is_shown_unchanged(text):
    nodes = {tag: (NodeRun(name=name),) for tag, name in (("v1", "n"), ("v2", text))}
    runs = [run("v1", text, text, nodes=nodes["v1"]), run("v1", "b", tags=(f"failure:{text}",))]
    runs += [run("v2", text, {text: text}, nodes=nodes["v2"]), run("v2", "b", text)]
    cases = wanted({text: text, "b": text}, **{text: text})
    markdown = compared(*runs, cases=cases, metrics="exact").to_markdown()
    page = shown(markdown)
    # inputs, a label's name and value, expected twice, the answer
    assert page.text.count(text) >= 5
    heads = ("answer", "state", "exact")
    assert {len(cells) for cells in table_rows(page) if cells[0].startswith(heads)} == {3}


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_conversations_is_shown_unchanged(text):
    said, error = ("hi", text), RunError(code="E", message=text)
    rejected = {"state": "REJECTED", "outputs": {}, "error": error}
    runs = [*talk("v1", text, "b", said=said), *talk("v2", "a", rejected, said=said)]
    page = shown(compared(*runs).to_markdown())
    # a message, an answer, an error in the state and at its turn
    assert page.text.count(text) >= 4
    assert len(page.select("details")) == 1
    assert [len(row) for row in table_rows(page)[-3:]] == [3, 3, 3]


def test_turns_of_a_conversation_are_folded():
    cmp = compared(*talk("v1", "a", "b", "c"), *talk("v2", "a", "x", "c"))
    folded = shown(cmp.to_markdown()).select_one("details")
    assert folded.select_one("summary").text == "3 turns; first difference of v2: turn 2"
    assert table_rows(folded) == [
        ["turn", "v1 (baseline)", "v2"],
        ["1: hi", "a", "= same answer"],
        ["2: why?", "b", "x"],
        ["3: bye", "c", "= same answer"],
    ]


def test_hostile_names_add_no_elements():
    tag = "v2|x\n# head <b>"
    markdown = compared(
        run("v1"), run(tag, "a", "no"), tags=("v1", tag), cases=wanted({"a": "yes"})
    ).to_markdown()
    page = shown(markdown)
    assert len(page.select("h2")) == 1
    rows = table_rows(page)
    assert "state" in {cells[0] for cells in rows}
    assert "v2|x # head <b>" in {cells[-1] for cells in rows}


def test_report_has_figures_groups_or_gaps():
    runs = [run("v1", str(n)) for n in range(8)] + [run("v2", str(n), "no") for n in range(7)]
    cmp = compared(
        *runs,
        failed("v2", "7"),
        cases=wanted(dict.fromkeys(map(str, range(8)), "yes")),
        metrics="exact",
    )
    markdown = cmp.to_markdown()
    page = shown(markdown)
    found = next(cells for cells in table_rows(page) if cells[0] == "v2")
    assert found[3:8] == ["0", "7", "0", "0", "1"]
    assert found[-1] == "should not replace"
    assert "**worse**" in markdown
    assert "### Regressions: 7 cases" in markdown
    _, heading, failures = markdown.partition("### Without an answer or a figure: 1 case\n")
    assert heading
    assert "without an answer" in failures
    assert "missing" not in failures
    assert "FAILED TIMEOUT: no answer within 120 s" in page.text
    assert "8 cases, 16 runs of 2026-11-24 " in markdown


def test_figures_have_the_verdict_of_the_decision():
    cmp = judged({"v1": ["no"] * 4 + ["yes"] * 36, "v2": ["yes"] * 40})
    assert cmp.result("v2").verdict == "undecided"
    rows = table_rows(shown(cmp.to_markdown()))
    assert next(cells for cells in rows if cells[0] == "v2")[-1] == "may replace"


@pytest.fixture
def mixed():
    return judged({"v1": ["yes", "yes", "no"], "v2": ["no", "yes", "yes"]})


@pytest.mark.parametrize(("only", "numbers"), [("worse", "1"), (["better", "worse"], "13")])
def test_selected_groups_are_listed(mixed, only, numbers):
    strong = [element.text for element in shown(mixed.to_markdown(only=only)).select("strong")]
    assert [text[5] for text in strong if text.startswith("Case ")] == list(numbers)


def test_omitted_cases_are_counted(mixed):
    text = mixed.to_markdown(only="worse")
    assert "Cases that are not listed here: 1 better, 1 identical." in text


def test_unknown_group_is_refused(mixed):
    message = "only: 'bad' is not a group of cases; available: worse, missing, "
    with pytest.raises(InputError, match=message):
        mixed.to_markdown(only="bad")


def test_rows_without_times_have_no_date():
    frame = pd.DataFrame({"model": ["a", "b"], "input.q": ["x", "x"], "output.o": ["1", "2"]})
    markdown = vnb.compare(frame, by="model").to_markdown()
    assert "\n1 case, 2 runs.\n" in markdown
    assert "1970" not in markdown
