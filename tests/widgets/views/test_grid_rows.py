"""What travels to the page: bounded, plain, harmless."""

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


@pytest.mark.parametrize("letter", ["x", "漢", "\u202e", '"', "\n"])
def test_a_page_of_huge_answers_stays_small(grid, letter):
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


def test_a_page_of_very_many_releases_stays_small_and_a_row_that_was_left_out_can_be_asked_for(
    grid,
):
    tags = tuple(f"release-{n}" for n in range(60))
    runs = [
        run(n, tag, outputs={"reply": f"{tag} {'word ' * 400}"}) for n in range(2) for tag in tags
    ]
    assert size(grid(runs, tags=tags).rows()) < 100_000
    runs = [
        run(n, tag, outputs={f"o{o}": tag * 900 for o in range(8)})
        for n in range(40)
        for tag in ("v1", "v2")
    ]
    page = grid(runs)
    found = []
    while len(found) < 40:
        found += page.numbers(offset=len(found), limit=60)
    assert sorted(found) == list(range(1, 41))


def test_a_change_far_down_a_long_text_is_in_sight():
    old = "same words " * 90_000
    cell = AnswerCell("reply", "differs", old + "new end", "STRING", old + "old end", "STRING")
    pieces, is_cut = cell.excerpt(700)
    assert is_cut
    assert {("delete", "old"), ("insert", "new")} <= set(pieces)
    assert sum(len(text) for _, text in pieces) < 1_000


def test_half_a_character_travels_as_a_replacement_and_a_huge_answer_opens_cut(grid):
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
    runs = [run(0, "v1", outputs={"reply": "x" * LONG}), run(0, "v2", outputs={"reply": "y"})]
    page = grid(runs)
    page.act("open", 1)
    html = FullCase(page.whole).answers
    assert len(html) < 400_000
    assert "more characters" in text_of(html)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_hostile_stays_text(grid, text):
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
    assert_harmless(page.rows()["rows"][0]["html"])


def test_a_grid_reads_without_a_kernel_marks_no_equal_values_and_counts_very_many_changes(grid):
    page = grid([run(0, "v1"), wrong(0, "v2")], cases=known(0))
    assert repr(page.whole) == "ComparisonView(triage against v1, 1 case on 2 releases)"
    assert "account" in texts(page.whole.static_html(), "td ins")[0]
    lines = page.state("_esm").splitlines()
    assert (
        len({line.strip() for line in lines if "innerHTML" in line}) == 1
    )  # `setTrustedHtml` of kit.js
    values = {"v1": {"a": 1, "b": 2}, "v2": {"b": 2, "a": 1}}
    page = grid([run(0, tag, outputs={"x": value}) for tag, value in values.items()])
    cells = [page.element(1, release) for release in values]
    assert ['{"a": 1, "b": 2}' in text_of(cell) for cell in cells] == [True, True]
    assert not cells[1].select("del")
    changed_much = ({f"key {n}": value + n for n in range(50)} for value in (0, 1000))
    old, new = changed_much
    pieces, is_cut = AnswerCell("x", "differs", new, "JSON", old, "JSON").excerpt(700)
    assert is_cut
    assert pieces[-1] == ("cut", "42 changes")


def test_very_many_and_very_long_labels_stay_small_and_are_filtered_by(grid):
    labels = [f"{n} {'long ' * 500}" for n in range(300)]
    page = grid(
        [run(n, "v1") for n in range(300)], tags=("v1",), cases=known(*range(300), labels=labels)
    )
    assert size(page.state("_head")) < 100_000
    [label] = page.state("_head")["labels"]
    value, text, count = label["values"][0]
    assert (len(text), count, label["more"]) == (40, 1, 260)
    assert len(page.numbers(labels={"topic": [value]})) == 1
