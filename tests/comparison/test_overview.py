"""The comparison as HTML in a notebook."""

from typing import Any

import pytest
from dom_kit import dom, text_of, texts
from report_kit import compared, failed, judged, run, talk
from runs_kit import html_of

import vellum_nb as vnb


def rows(html: str) -> list[str]:
    """Return the text of each case: its line and what it unfolds to."""
    return texts(html, ".vnb-case-line")


def rows_html(html: str) -> list[str]:
    return [str(row) for row in dom(html).select(".vnb-case-line")]


def shown(*runs: Any, **options: Any) -> str:
    return html_of(compared(*runs, **options))


def test_reports_have_the_turns_of_a_conversation_in_its_folded_case():
    cmp = compared(*talk("v1", "a", "b", "c"), *talk("v2", "a", "x", "c"))
    for html in (html_of(cmp), cmp.to_html()):
        case = dom(html).select_one(".vnb-case-line")
        assert texts(str(case), ".vnb-talk-said") == ["User: hi", "User: why?", "User: bye"]
        assert texts(str(case), ".vnb-talk-first") == ["≠ first difference: turn 2"]
        assert texts(str(case), "del, ins") == ["b", "x"]
        assert "open" not in case.attrs


def test_every_report_says_that_no_metric_tells_which_is_better():
    runs = [
        run(tag, str(at), f"{tag if at < 3 else 'yes'}") for at in range(4) for tag in ("v1", "v2")
    ]
    cmp = compared(*runs, failed("v1", "5"), run("v2", "5"))
    head, tail = "v2 differs from v1", (
        " on 3 of 4 cases. 1 case has no answer. No metric says which is better. "
        "Rate the answers blind, or give a metric or expected outputs."
    )  # fmt: skip
    assert cmp.result("v2").remark == head + tail
    assert head + tail in str(cmp)
    assert all(f"<b>{head}</b>{tail}" in text for text in (cmp.to_html(), html_of(cmp)))
    assert f"**{head}**{tail}" in cmp.to_markdown()
    grid = str(vnb.ComparisonView(cmp).table.get_state("_head"))
    assert head in grid
    assert tail in grid
    assert "better nor worse" not in cmp.to_html() + cmp.to_markdown()
    assert "Different outputs: 3 cases" in cmp.to_markdown()


def test_equal_outputs_need_no_metric():
    equal = compared(run("v1"), run("v2"))
    assert equal.result("v2").remark == "v2 does not differ from v1: 1 case compared."
    none = compared(run("v1"), failed("v2"))
    assert none.result("v2").remark.endswith("No case has an answer on v2 and v1.")


def test_different_cases_are_listed_before_missing_ones():
    html = shown(
        run("v1", "same"), run("v2", "same"),
        run("v1", "absent"),
        run("v1", "lost"), failed("v2", "lost", code="CONNECTION"),
        run("v1", "other"), run("v2", "other", "no"),
    )  # fmt: skip
    assert "1 differs · 1 identical · 2 without an answer" in text_of(html)
    assert [row.split()[2] for row in rows(html)] == ["other", "absent", "lost", "same"]
    assert texts(rows_html(html)[0], "del, ins") == ["yes", "no"]
    assert "v2 ⊘missing: not run" in rows(html)[1]
    assert "FAILED without an answer · 250 ms No usable answer" in rows(html)[2]
    assert len(dom(html).select(".vnb-grid-at-missing")) == 2


def test_identical_cases_are_folded():
    html = shown(run("v1", "same"), run("v2", "same"), run("v1", "b"), run("v2", "b", "no"))
    folded = dom(html).select(".vnb-group:not([open]) > summary > b")
    assert [text_of(title) for title in folded] == ["Identical outputs"]
    assert "= identical" in rows(html)[1]


def test_rejected_run_shows_its_reason():
    refused = failed("v2", state="REJECTED", code="USER_DEFINED_ERROR")
    (row,) = rows(shown(run("v1"), refused))
    assert "REJECTED · 250 ms The workflow refused these inputs." in row
    assert "no answer within 120 s" in row


@pytest.mark.parametrize(
    ("runs", "tags", "text"),
    [
        ([run("v2")], ("v1", "v2"), "no answer on v1"),
        (
            [run("v1"), run("v2", outputs={"other": 1})],
            ("v1", "v2"),
            "answer yes ? missing other new: the baseline has no such output 1",
        ),
        ([run("v1")], ("v1",), "yes"),
    ],
)
def test_missing_answers_and_outputs_are_reported(runs, tags, text):
    (row,) = rows(shown(*runs, tags=tags))
    assert text in row


def test_comparison_without_runs_says_so():
    assert "No runs of words on v1, v2 are stored yet." in text_of(shown())


def test_long_inputs_are_cut():
    html = shown(run("v1", inputs={"text": "x" * 900, "vip": True}))
    assert "vip true" in rows(html)[0]
    assert "x" * 401 not in text_of(html)


def test_overview_is_limited_to_50_cases():
    html = shown(*(run("v1", f"case {n}") for n in range(57)))
    assert len(rows(html)) == 50
    assert "50 of 57 cases shown" in text_of(html)


def test_moved_tag_is_reported():
    html = shown(run("v1", "a", release_id="1"), run("v1", "b", release_id="2"))
    assert "v1 moved while these runs were made" in text_of(html)


def test_regressions_are_listed_first():
    html = html_of(judged({"v1": ["<b>a</b>", "<b>no</b>", "yes"], "v2": ["b", "yes", "no"]}))
    assert "v2: 1 better · 1 worse · 1 same · p = 1.00 · no repeats" in text_of(html)
    assert "by exact: " in text_of(html)
    first, second, last = rows(html)
    assert "3 case 2" in first
    assert "v2 ↓worse no, expected yes" in first
    assert "exact 1.00 0.00 worse" in first
    assert "↑better yes" in second
    assert "same exact" in last
    assert "<b>no</b>" in second


ODD = [
    float("nan"), float("inf"), -float("inf"), "half \ud83d", 10**4_000, [float("nan")],
    {"a\ud800": "\udfff"}, {"deep": [[[[1e400]]]]},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_stored_values_can_be_shown(odd):
    runs = [run("v1", outputs={"x": odd}), run("v2", outputs={"x": 1, "y": odd})]
    found = compared(*runs, metrics=["length", "latency_s"])
    texts = (html_of(found), found.to_html(), found.to_markdown(), str(found))
    for text in (*texts, repr(found)):
        text.encode()
    assert len(found.frame()) == len(found.cases)
    assert len(found.frame(rows="runs")) == len(runs)


HTML_FORMS = pytest.mark.parametrize("form", [html_of, lambda found: found.to_html()])


@HTML_FORMS
def test_dollar_signs_are_not_rendered_as_mathematics(form):
    """MathJax ignores elements of these classes, in JupyterLab and in nbconvert's HTML."""
    outermost = dom(form(compared(run("v1", "price in $ and $?")))).select_one("body, div")
    assert {"tex2jax_ignore", "mathjax_ignore"} <= set(outermost["class"].split())


@HTML_FORMS
def test_text_that_reverses_the_direction_is_isolated(form):
    turned = "\u202ev2"
    page = dom(form(compared(run("v1", "a"), run(turned, "a", turned), tags=("v1", turned))))
    assert "unicode-bidi: isolate" in page.style.string
    assert "[U+202E]v2" in page.text
    parents = {text.parent.name for text in page.find_all(string=lambda s: s and "\u202e" in s)}
    assert parents <= {"div", "pre", "span", "dd", "td", "code", "ins", "del"}
