"""Rows sent to the page: bounded size, escaped text."""

import json

import pytest
from dom_kit import text_of, texts
from html_kit import HOSTILE, assert_harmless
from view_kit import FullCase, known, run, wrong

from vellum_nb.rendering.answer import AnswerCell
from vellum_nb.widgets.grid import MAX_PAGE_BYTES

LONG = 1_000_000


def size(message):
    return len(json.dumps(message))


@pytest.mark.slow
@pytest.mark.parametrize("letter", ["x", "漢", "\u202e", '"', "\n"])
def test_page_of_huge_answers_is_bounded(grid, letter):
    tags = ("v1", "v2", "v3", "v4", "v5")
    outputs = {tag: {f"o{n}": letter * 20_000 + tag for n in range(12)} for tag in tags}
    inputs = [{"ticket": letter * 9_000 + str(n)} for n in range(30)]
    runs = [run(n, tag, inputs=inputs[n], outputs=outputs[tag]) for n in range(30) for tag in tags]
    page = grid(runs, tags=tags)
    message = page.rows(limit=60)
    assert 1 <= len(message["rows"]) < 30
    assert size(message) < MAX_PAGE_BYTES + 1_000
    assert size(page.state("_first")) < MAX_PAGE_BYTES + 1_000
    assert all(text_of(row["html"]).count("show all") == len(tags) for row in message["rows"])


def test_page_of_many_releases_is_bounded(grid):
    tags = tuple(f"release-{n}" for n in range(60))
    runs = [
        run(n, tag, outputs={"reply": f"{tag} {'word ' * 400}"}) for n in range(2) for tag in tags
    ]
    assert size(grid(runs, tags=tags).rows()) < 100_000


def test_omitted_rows_can_be_requested(grid):
    runs = [
        run(n, tag, outputs={f"o{o}": tag * 900 for o in range(8)})
        for n in range(40)
        for tag in ("v1", "v2")
    ]
    page = grid(runs)
    numbers = []
    while len(numbers) < 40:
        numbers += page.numbers(offset=len(numbers), limit=60)
    assert sorted(numbers) == list(range(1, 41))


def test_excerpt_contains_a_late_change():
    old = "same words " * 90_000
    cell = AnswerCell("reply", "differs", old + "new end", "STRING", old + "old end", "STRING")
    pieces, is_cut = cell.excerpt(700)
    assert is_cut
    assert {("delete", "old"), ("insert", "new")} <= set(pieces)
    assert sum(len(text) for _, text in pieces) < 1_000


def test_lone_surrogates_are_replaced(grid):
    half = "broken \ud83d end"
    runs = [
        run(0, tag, outputs={"reply": f"{half} {tag}"}, inputs={"ticket": half})
        for tag in ("v1", "v2")
    ]
    page = grid(runs)
    json.dumps(page.rows(), ensure_ascii=False).encode()  # as Jupyter sends it
    page.act("open", 1)
    FullCase(page.whole).answers.encode()
    FullCase(page.whole).head.encode()
    assert all(text.encode() for text in FullCase(page.whole).bars.texts)
    assert page.view.error == ""


def test_huge_answer_of_an_opened_case_is_cut(grid):
    page = grid([run(0, "v1", outputs={"reply": "x" * LONG}), run(0, "v2", outputs={"reply": "y"})])
    page.act("open", 1)
    html = FullCase(page.whole).answers
    assert len(html) < 400_000
    assert sum(map(len, FullCase(page.whole).bars.texts)) < 400_000
    assert "more characters" in text_of(html)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_escaped(grid, text):
    inputs = {text: text, "other": {"deep": text}}
    runs = [
        run(0, tag, outputs={text: f"{text} {tag}", "json": {text: [text]}}, inputs=inputs)
        for tag in ("v1", text)
    ]
    page = grid(runs, tags=("v1", text), cases=known(0, labels=[text]))
    page.act("open", 1)
    detail = FullCase(page.whole)
    assert page.view.error == ""
    assert_harmless(detail.head)
    assert_harmless(detail.answers)
    assert_harmless(page.whole.static_html())
    assert_harmless(page.state("_head")["summary"])
    assert_harmless(page.state("_head")["verdicts"])
    for full in (True, False):
        assert_harmless(page.rows(full=full)["rows"][0]["html"])


def test_static_form_of_the_grid_shows_differences(grid):
    view = grid([run(0, "v1"), wrong(0, "v2")], cases=known(0)).whole
    assert repr(view) == "ComparisonView(triage against v1, 1 case on 2 releases)"
    assert "account" in texts(view.static_html(), "td ins")[0]


def test_script_sets_html_in_one_place(grid):
    lines = grid([run(0, "v1")]).state("_esm").splitlines()
    assert len({line.strip() for line in lines if "innerHTML" in line}) == 1  # `setTrustedHtml`


def test_objects_with_another_order_are_equal(grid):
    values = {"v1": {"a": 1, "b": 2}, "v2": {"b": 2, "a": 1}}
    page = grid([run(0, tag, outputs={"x": value}) for tag, value in values.items()])
    cells = [page.element(1, release) for release in values]
    assert ['{"a": 1, "b": 2}' in text_of(cell) for cell in cells] == [True, True]
    assert not cells[1].select("del")


def test_changes_beyond_an_excerpt_are_counted():
    old, new = ({f"key {n}": value + n for n in range(50)} for value in (0, 1000))
    pieces, is_cut = AnswerCell("x", "differs", new, "JSON", old, "JSON").excerpt(700)
    assert is_cut
    assert pieces[-1] == ("cut", "42 changes")


def labelled(grid, labels):
    runs = [run(n, "v1") for n in range(300)]
    return grid(runs, tags=("v1",), cases=known(*range(300), labels=labels))


def test_labels_are_bounded_but_can_be_filtered(grid):
    page = labelled(grid, [f"{n} {'long ' * 500}" for n in range(40)])
    assert size(page.state("_head")) < 100_000
    [label] = page.state("_head")["labels"]
    value, text = label["values"][0]
    assert (len(label["values"]), len(text), text[-5:]) == (40, 44, "… (8)")
    assert len(page.numbers(labels={"topic": [value]})) == 8


def test_ids_get_no_filter(grid):
    page = labelled(grid, [f"id {n}" for n in range(300)])
    assert page.state("_head")["labels"] == []
    assert len(page.numbers(labels={"topic": ["id 7"]})) == 1
