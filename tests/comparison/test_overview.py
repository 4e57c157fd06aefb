"""The comparison grid as HTML."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from runs_kit import later_run

from vellum_nb.comparison import Comparison
from vellum_nb.models import Run, RunError


def run(tag: str, ticket: str, category: str | None = "billing", **fields: Any) -> Run:
    inputs = {"ticket": ticket, **fields.pop("more", {})}
    return later_run(tag, inputs, {} if category is None else {"category": category}, **fields)


def shown(*runs: Run, tags: tuple[str, ...] = ("v1", "v2")) -> str:
    return Comparison(runs, deployment="triage", release_tags=tags)._repr_html_()


def text_of(html: str) -> str:
    bare = re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", bare))).strip()


def rows(html: str) -> list[str]:
    grid = html.partition('<table class="vnb-cmp">')[2]
    return [text_of(row) for row in grid.split('<tr><th scope="row"')[1:]]


@pytest.fixture
def html() -> str:
    failed: dict[str, Any] = {"state": "FAILED", "error": RunError(code="CONNECTION")}
    return shown(
        run("v1", "same"), run("v2", "same"),
        run("v1", "absent"),
        run("v1", "lost"), run("v2", "lost", None, **failed),
        run("v1", "other"), run("v2", "other", "account"),
    )  # fmt: skip


def test_one_line_a_release_counts_what_differs(html: str) -> None:
    assert "v2 1 differs · 2 missing · 1 same" in text_of(html)


def test_cases_that_differ_come_first_and_same_ones_last(html: str) -> None:
    found = [re.search(r"case \d (\w+)", row) for row in rows(html)]
    assert [match and match[1] for match in found] == ["other", "absent", "lost", "same"]


def test_differences_are_marked_in_words(html: str) -> None:
    assert "differs category \N{MINUS SIGN} billing + account" in rows(html)[0]


def test_missing_says_missing_and_why(html: str) -> None:
    assert "missing No run of this case on v2." in rows(html)[1]
    assert "missing FAILED No usable answer came. CONNECTION" in rows(html)[2]
    assert html.count('class="vnb-cmp-gap"') == 2


def test_a_rejected_run_is_shown_with_its_reason() -> None:
    error = RunError(code="USER_DEFINED_ERROR", message="no such plan")
    html = shown(run("v1", "a"), run("v2", "a", None, state="REJECTED", error=error))
    assert "differs REJECTED The workflow refused these inputs." in rows(html)[0]
    assert "no such plan" in rows(html)[0]


def test_an_answer_without_baseline_is_held_against_nothing() -> None:
    assert "no answer on v1" in rows(shown(run("v2", "a")))[0]


def test_an_output_that_one_release_lacks_is_missing() -> None:
    html = shown(run("v1", "a"), run("v2", "a", outputs={"other": 1}))
    assert "category ? missing other new: the baseline has no such output 1" in rows(html)[0]


def test_several_inputs_are_named_and_long_ones_cut() -> None:
    html = shown(run("v1", "x" * 900, more={"vip": True}))
    assert "vip true" in rows(html)[0]
    assert "x" * 401 not in html


def test_more_cases_than_fit_are_announced() -> None:
    html = shown(*(run("v1", f"case {n}") for n in range(57)))
    assert len(rows(html)) == 50
    assert "50 of 57 cases shown" in text_of(html)


def test_no_case_is_a_sentence_that_says_what_to_do() -> None:
    assert "No runs of triage on v1, v2 are stored yet." in text_of(shown())


def test_a_tag_that_moved_is_announced() -> None:
    html = shown(run("v1", "a", release_id="1"), run("v1", "b", release_id="2"))
    assert "v1 moved while these runs were made" in text_of(html)


def test_one_release_tag_alone_is_shown() -> None:
    assert "billing" in rows(shown(run("v1", "a"), tags=("v1",)))[0]


def test_what_a_metric_makes_of_a_release_stands_on_top_and_regressions_come_first() -> None:
    def short(run: Run) -> bool:
        return len(run.outputs["category"]) < 8

    runs = [
        run("v1", "better", "<b>long</b>"), run("v2", "better", "brief"),
        run("v1", "worse", "brief"), run("v2", "worse", "much longer"),
    ]  # fmt: skip
    compared = Comparison(runs, deployment="triage", release_tags=("v1", "v2"), metrics=short)
    html = compared._repr_html_()
    assert "v2: 1 better · 1 worse · 0 same · p = 1.00 · noise floor unknown" in text_of(html)
    assert "by short: " in text_of(html)
    assert "case 2 worse" in rows(html)[0]


ODD = [
    float("nan"), float("inf"), -float("inf"), "half \ud83d", 10**4_000, [float("nan")],
    {"a\ud800": "\udfff"}, {"deep": [[[[1e400]]]]},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_every_value_that_the_history_keeps_is_shown(odd: Any) -> None:
    runs = [run("v1", "a", outputs={"x": odd}), run("v2", "a", outputs={"x": 1, "y": odd})]
    compared = Comparison(
        runs, deployment="triage", release_tags=("v1", "v2"), metrics=["length", "latency_s"]
    )
    for text in (
        compared._repr_html_(),
        compared.to_html(),
        compared.to_markdown(),
        compared.to_text(),
        repr(compared),
    ):
        text.encode()
    assert len(compared.frame()) == len(compared.cases)
    assert len(compared.long()) == len(runs)


def test_dollar_signs_are_no_mathematics() -> None:
    """MathJax leaves elements of these classes alone, in JupyterLab and in nbconvert's HTML."""
    compared = Comparison(
        [run("v1", "price in $ and $?")], deployment="triage", release_tags=("v1",)
    )
    for html in (compared._repr_html_(), compared.to_html()):
        outermost = re.search(r"<(?:body|div)[^>]*class=\"([^\"]*)\"", html)
        assert outermost
        assert {"tex2jax_ignore", "mathjax_ignore"} <= set(outermost[1].split())


def test_text_that_turns_around_leaves_its_surroundings_alone() -> None:
    turned = "\u202ev2"
    compared = Comparison(
        [run("v1", "a"), run(turned, "a", turned)], deployment="triage", release_tags=("v1", turned)
    )
    for html in (compared._repr_html_(), compared.to_html()):
        style, _, page = html.partition("</style>")
        assert "unicode-bidi: isolate" in style
        assert "[U+202E]v2" in page
        places = re.findall(r"<(\w+)[^>]*>[^<]*\u202e", page)
        assert set(places) <= {"div", "pre", "span", "dd", "td"}
