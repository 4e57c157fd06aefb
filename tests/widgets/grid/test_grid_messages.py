"""What the browser may say to the grid, and what comes of it."""

from __future__ import annotations

import json

import pytest

import vellum_nb as vnb
from vellum_nb.widgets.grid import Callbacks


@pytest.fixture
def page(made, show, hands):
    run, wrong, rejected, known = made
    runs = [run(n, "v1") for n in range(4)]
    runs += [run(0, "v2"), wrong(1, "v2"), rejected(2, "v2")]
    return show(runs, cases=known(*range(4)), hands=hands[0])


def case(page, number):
    return page.cases()[number]["id"]


def test_a_window_is_clipped_whatever_is_asked_for(made, show):
    run = made[0]
    page = show([run(n, "v1") for n in range(80)], tags=("v1",))
    assert len(page.rows(limit=10**9)["rows"]) == 60
    assert len(page.rows(offset=-7, limit=-7)["rows"]) == 1
    assert page.rows(offset=10**30)["rows"] == []
    assert len(page.rows(offset="all", limit=None)["rows"]) == 1
    assert page.rows(offset=78)["total"] == 80


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"kind": "delete"}, "does not know the message 'delete'"),
        ({"kind": ["rows"]}, "does not know the message ['rows']"),
        ({}, "does not know the message None"),
        ({"kind": "open", "id": "<script>"}, "there is no case '<script>'"),
        ({"kind": "open", "id": {"a": 1}}, "there is no case {'a': 1}"),
        ({"kind": "baseline", "release": "v9"}, "'v9' is not among the release tags compared"),
        ({"kind": "baseline"}, "None is no release"),
        ({"kind": "metric", "name": 7}, "7 is no name"),
        ({"kind": "rate", "quality": 0.3}, "a rating is one of"),
        ({"kind": "rate", "quality": True}, "a rating is one of"),
        ({"kind": "rate", "quality": [1]}, "a rating is one of"),
        ({"kind": "blind", "release": "v2"}, "There is no blind rating here"),
    ],
)
def test_what_cannot_be_understood_is_refused_in_words(page, message, said):
    page.send(**message)
    assert said in page.view.error
    assert page.numbers() == [2, 3, 4, 1]
    page.send(kind="close")
    assert page.view.error == ""


def test_the_browser_can_set_nothing(page):
    page.set(error="x", opened="y", _head={}, _esm="export default {}")
    assert (page.view.error, page.view.opened) == ("", "")
    assert "class CasesGrid" in page.state("_esm")
    assert page.state("_head")["title"] == "triage"


def test_a_cell_tells_verdict_difference_and_chips(page):
    cell = page.cell(2, "v2")
    assert (cell["kind"], cell["word"]) == ("worse", "worse")
    assert "1.50 s" in cell["text"]
    assert "category: \N{MINUS SIGN}billing +account" in cell["text"]
    assert "reply: Thanks for writing." in cell["text"]
    assert cell["chips"] == [("category ✗", "bad"), ("score 0.00 \N{MINUS SIGN}1.00", "bad")]
    base = page.cell(2, "v1")
    assert (base["kind"], base["word"]) == ("baseline", "")
    assert base["chips"] == [("category ✓", ""), ("score 1.00", "")]


def test_a_missing_case_says_so_and_is_never_a_pass(page):
    cell = page.cell(4, "v2")
    assert (cell["kind"], cell["word"]) == ("missing", "missing")
    assert "Not run on v2. Counted as missing, never as a pass." in cell["text"]
    assert 'data-replay="v2"' in cell["html"]
    assert "0 better · 1 same · 2 worse · 1 missing" in page.release("v2")


def test_a_rejected_answer_shows_its_error(page):
    cell = page.cell(3, "v2")
    assert "USER_DEFINED_ERROR: no such plan" in cell["text"]
    assert cell["kind"] == "worse"


def test_an_answer_without_one_on_the_baseline_has_nothing_to_be_held_against(made, show):
    run, _, _, known = made
    page = show([run(0, "v2")], cases=known(0))
    cell = page.cell(1, "v2")
    assert cell["word"] == "nothing to compare with: no answer on v1"
    assert cell["kind"] == "alone"


def test_opening_a_case_shows_every_release_in_full(page, full_case):
    page.send(kind="open", id=case(page, 2))
    detail = full_case(page.whole)
    assert page.view.opened == case(page, 2)
    assert "ticket 1" in detail.head
    assert "category (expected)" in detail.head
    assert detail.answers.count("vnb-out-run") >= 2
    assert detail.bars.controls == ["rate"]
    page.send(kind="close")
    assert page.view.opened == ""
    assert full_case(page.whole).answers == ""


def test_a_rating_is_kept_and_shown(page, hands):
    page.send(kind="rate", id=case(page, 2), release="v2", quality=0.25)
    assert page.whole.wait(10)
    assert hands[1] == [("v2-1-0", 0.25, None)]
    assert ("rated 0.25", "") in page.cell(2, "v2")["chips"]
    assert page.wire.customs("status")[-1]["text"] == "Case 2 on v2: rated 0.25"
    assert page.whole.comparison.cases[1].runs["v2"].quality == 0.25


def test_a_rating_that_fails_says_so_in_its_cell(made, show):
    def refuse(*_):
        msg = "the history is locked"
        raise vnb.HistoryError(msg)

    run = made[0]
    page = show([run(0, "v1"), run(0, "v2")], hands=Callbacks(rate=refuse))
    page.send(kind="rate", id=case(page, 1), release="v2", quality=1.0)
    assert page.whole.wait(10)
    cell = page.cell(1, "v2")
    assert "the history is locked" in cell["text"]
    assert "saving" not in cell["text"]


def test_without_a_workspace_nothing_is_rated_or_run(made, show):
    run = made[0]
    page = show([run(0, "v1"), run(0, "v2"), run(1, "v1")])
    assert page.state("_head")["can"] == []
    page.send(kind="rate", id=case(page, 1), release="v2", quality=1.0)
    assert "Ratings cannot be saved here" in page.view.error
    assert "data-replay" not in page.cell(2, "v2")["html"]
    page.send(kind="replay", id=case(page, 2), release="v2")
    assert "Case 2 cannot be run on v2 from here" in page.view.error


def test_an_answer_that_is_not_there_cannot_be_rated(page):
    page.send(kind="rate", id=case(page, 4), release="v2", quality=1.0)
    assert "There is no answer of case 4 on v2 to rate" in page.view.error


def test_a_missing_case_is_run_and_counted(page, hands):
    page.send(kind="replay", id=case(page, 4), release="v2")
    assert page.whole.wait(10)
    assert hands[1] == [(4, "v2")]
    assert page.cell(4, "v2")["word"] == "same"
    assert "0 better · 2 same · 2 worse" in page.release("v2")
    assert page.whole.comparison.count("v2", "missing") == 0


def test_another_baseline_holds_the_others_against_it(page):
    page.send(kind="open", id=case(page, 2))
    page.send(kind="baseline", release="v2")
    assert [each["name"] for each in page.state("_head")["columns"]] == ["v2", "v1"]
    assert page.cell(2, "v1")["kind"] == "better"
    assert "2 better · 1 same · 0 worse · 1 missing" in page.release("v1")
    assert page.whole.comparison.baseline == "v2"
    page.send(kind="baseline", release="v1")
    assert page.cell(2, "v2")["kind"] == "worse"


def test_blind_rating_is_opened_by_the_function_it_was_handed(made, show):
    import ipywidgets as ipw

    run = made[0]
    asked = []

    def blind(comparison, pair):
        asked.append((comparison, pair))
        return ipw.HTML("blind")

    tags = ("v1", "v2", "v3")
    page = show([run(0, tag) for tag in tags], tags=tags, hands=Callbacks(blind=blind))
    assert page.state("_head")["can"] == ["blind"]
    for release in ("", "v3"):
        page.send(kind="blind", release=release)
    assert asked == [(page.whole.comparison, ("v1", other)) for other in ("v2", "v3")]
    grid, _, place = page.whole.children
    back, rating = place.children
    assert rating.value == "blind"
    assert grid.layout.display == "none"
    back.click()
    assert (grid.layout.display, place.children) == (None, ())


def test_an_export_is_written_and_never_over_another_file(page, tmp_path):
    page.whole.export_folder = tmp_path
    path = tmp_path / "compared.csv"
    page.send(kind="export", format="csv", path=str(path))
    assert page.wire.customs("exported")[-1] == {
        "kind": "exported",
        "path": str(path),
        "count": 4,
    }
    assert vnb.read_csv(path).equals(page.whole.comparison.frame())
    page.send(kind="export", format="csv", path=str(path))
    assert "exists already" in page.wire.customs("exported")[-1]["error"]
    html = tmp_path / "compared.html"
    page.send(kind="export", format="html", path=str(tmp_path / "compared"))
    assert page.wire.customs("exported")[-1]["path"] == str(html)
    assert html.read_text("utf-8").startswith("<")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"format": "exe", "path": "x"}, "not as 'exe'"),
        ({"format": None, "path": "x"}, "not as None"),
        ({"format": "csv", "path": ""}, "Give the file a name"),
        ({"format": "csv", "path": "a\0b"}, "Give the file a name"),
        ({"format": "csv", "path": 7}, "Give the file a name"),
        ({"format": "csv", "path": "/nowhere/at/all/x.csv"}, "/nowhere/at/all"),
    ],
)
def test_an_export_that_cannot_be_says_why(page, asked, said):
    page.send(kind="export", **asked)
    assert said in page.wire.customs("exported")[-1]["error"]


def test_no_rows_and_no_releases_but_the_baseline_are_shown_too(made, show):
    run = made[0]
    empty = show([])
    assert empty.rows()["rows"] == []
    assert "0 cases" in empty.release("v1")
    alone = show([run(0, "v1")], tags=("v1",))
    assert alone.numbers() == [1]
    assert json.dumps(alone.state("_head"))
