"""Which rows, columns and cells the history table shows."""

from __future__ import annotations

import json

import pytest
import traitlets

from vellum_nb import HistoryView
from vellum_nb.widgets.base import static_html
from vellum_nb.widgets.outputs import side_by_side_html


def ids(answer):
    return [row["id"] for row in answer["rows"]]


def test_shows_the_newest_runs_first_in_the_usual_columns(browse, record, show):
    for number in range(3):
        record(number)
    answer = browse(show()).rows()
    assert ids(answer) == ["run-2", "run-1", "run-0"]
    assert answer["columns"] == [
        *("state", "release_tag", "timestamp", "latency_s"),
        *("input.ticket", "outputs", "quality"),
    ]
    assert answer["rows"][0]["cells"] == [
        *("FULFILLED", "v1", "2026-07-01T12:00:02+00:00", 0.5),
        *("text 2", "Thanks · billing", None),
    ]


def test_every_column_of_the_frame_can_be_shown(history, browse, record, show):
    record(0)
    view = show()
    known = [column["name"] for column in browse(view).state("_head")["columns"]]
    assert set(history.frame().columns) == set(known) - {"inputs", "outputs"}
    row = browse(view).rows(columns=known)["rows"][0]
    assert len(row["cells"]) == len(known)
    assert view.error == ""


def test_says_why_a_run_has_no_outputs(browse, record, show):
    for number, state in enumerate(["FULFILLED", "REJECTED", "FAILED", "CANCELLED", "STARTED"]):
        record(number, state)
    answer = browse(show()).rows(columns=["state", "latency_s", "outputs"])
    assert [row["cells"] for row in answer["rows"]] == [
        ["STARTED", None, "no answer yet"],
        ["CANCELLED", None, "cancelled after 1 s"],
        ["FAILED", None, "no answer within 30 s"],
        ["REJECTED", None, "NODE_EXECUTION: no such plan"],
        ["FULFILLED", 0.5, "Thanks · billing"],
    ]


def test_marks_a_tag_that_moved(browse, record, show):
    record(0)
    record(1, tag_moved=True)
    assert [row["moved"] for row in browse(show()).rows()["rows"]] == [True, False]


def test_sorts_by_a_column_either_way(browse, record, show):
    for number, latency in enumerate([0.3, 0.1, 0.2]):
        record(number, latency_s=latency)
    browser = browse(show())
    assert ids(browser.rows(order_by="latency_s", descending=False)) == ["run-1", "run-2", "run-0"]
    assert ids(browser.rows(order_by="latency_s", descending=True)) == ["run-0", "run-2", "run-1"]
    assert ids(browser.rows(order_by="input.ticket", descending=False))[0] == "run-0"


def test_filters_by_text_and_counts_what_it_finds(browse, record, show):
    for number in range(12):
        record(number)
    record(99, deployment="other", inputs={"ticket": "text 1"})
    view = show(deployment="ticket-triage")
    answer = browse(view).rows(search="TEXT 1")
    assert ids(answer) == ["run-11", "run-10", "run-1"]
    assert (answer["total"], answer["all"]) == (3, 12)
    assert repr(view) == "HistoryView(3 runs)"


def test_the_rows_of_large_values_are_shown_without_loading_them(history, browse, record, show):
    record(0, inputs={"ticket": "Dear team. " * 5_000})
    history._store.write(lambda tx: tx.execute("DELETE FROM large_values", {}))
    cells = browse(show()).rows()["rows"][0]["cells"]
    assert cells[4].startswith("Dear team. Dear team. ")


def test_an_excerpt_shows_the_match_of_a_long_text(browse, record, show):
    record(0, inputs={"ticket": f"{'word ' * 400}charged twice{' word' * 400}"})
    answer = browse(show()).rows(search="charged", columns=["input.ticket"])
    (cell,) = answer["rows"][0]["cells"]
    assert cell[:2] == ["…word ", "charged"]  # a column shows some 25 signs
    assert cell[2].startswith(" twice word")
    assert cell[2].endswith("…")
    assert len("".join(cell)) < 200


def test_words_are_found_and_marked_as_a_search_of_the_history_finds_them(browse, record, show):
    record(0, inputs={"ticket": "Refunds for the café"}, outputs={"reply": "No CAFÉ, no refund!"})
    record(1, inputs={"ticket": "A café"})
    answer = browse(show()).rows(search="cafe refund", columns=["input.ticket", "output.reply"])
    assert [row["cells"] for row in answer["rows"]] == [
        [
            ["", "Refunds", " for the ", "café", ""],
            ["No ", "CAFÉ", ", no ", "refund", "!"],
        ]
    ]


@pytest.mark.parametrize("search", ["", "東京"])
def test_a_page_is_small_however_much_there_is_to_show(browse, record, show, search):
    outputs = {f"out{number}": "東京" * 20 for number in range(110)}
    for number in range(45):
        record(number, outputs=outputs)
    for few in (39, 109):
        columns = ["state", *(f"output.{name}" for name in list(outputs)[:few])]
        answer = browse(show()).rows(columns=columns, limit=200, search=search)
        assert len(answer["rows"]) == (45 if few < 100 else 40)
        assert len(json.dumps(answer, ensure_ascii=False).encode()) < 100_000


def test_filters_given_in_code_are_chips_that_can_be_taken_away(browse, record, show):
    record(0)
    record(1, release_tag="v2")
    view = show(deployment="ticket-triage", release_tag="v2", since="2026-07-01")
    browser = browse(view)
    assert ids(browser.rows()) == ["run-1"]
    assert browser.state("_head")["chips"] == [
        {"name": "release_tag", "text": "release_tag v2"},
        {"name": "since", "text": "since 1 Jul 2026"},
    ]
    browser.send(kind="drop_filter", name="release_tag")
    assert ids(browser.rows()) == ["run-1", "run-0"]
    browser.send(kind="drop_filter", name="deployment")
    assert "no filter 'deployment'" in view.error


def test_an_unknown_filter_is_refused_with_those_there_are(history):
    with pytest.raises(TypeError, match=r"no filter tag; there are: .*release_tag"):
        HistoryView(history, side_by_side=side_by_side_html, tag="v1")


@pytest.mark.slow
def test_a_long_history_sends_no_more_than_a_short_one(multiply, browse, record, show):
    def sent():
        browser = browse(show())
        assert len(browser.rows()["rows"]) == 40
        assert len(browser.rows(offset=500, scroll=True)["rows"]) == 40
        return sum(len(json.dumps(data)) for data in browser.wire.sent)

    for number in range(1000):
        record(number, "STARTED")
    small = sent()
    multiply(7)
    assert sent() < 1.05 * small
    browser = browse(show())
    assert browser.rows(offset=127_990)["total"] == 128_000
    assert len(browser.ids()) == 10


def test_code_sets_what_is_shown_and_is_told_what_there_is(browse, record, show):
    record(0)
    view = show(search="text")
    assert view.search == "text"
    view.columns = ["state", "output.reply"]
    assert browse(view).rows()["rows"][0]["cells"] == ["FULFILLED", "Thanks"]
    with pytest.raises(traitlets.TraitError, match="no column is called colour; there are: exec"):
        view.columns = ["colour"]
    with pytest.raises(traitlets.TraitError, match="no order is called outputs"):
        view.order_by = "outputs"


def test_repr_and_static_form_are_the_same_for_the_same_runs(record, show):
    for number in range(12):
        record(number, inputs={"ticket": f"<script>{number}</script>"})
    assert repr(show()) == "HistoryView(12 runs)"
    html = static_html(show())
    assert html == static_html(show())
    assert html.count("<tr>") == 11
    assert "History: 12 runs, the first 10 shown" in html
    assert "<script>" not in html
    assert "2026" not in html


def test_an_empty_history_says_so(show):
    view = show()
    assert repr(view) == "HistoryView(0 runs)"
    assert (
        static_html(view)
        == '<div class="tex2jax_ignore mathjax_ignore"><p>History: no runs.</p></div>'
    )


def test_runs_of_several_deployments_say_whose_they_are_and_show_all_their_inputs(record, show):
    record(0, inputs={"ticket": "hi"})
    record(1, inputs={"text": "a b", "sentences": 3}, deployment="summarise")
    mixed = show()
    assert mixed.columns[:2] == ["state", "deployment"]
    html = static_html(mixed)
    assert ">summarise</td>" in html
    assert ">a b · 3</td>" in html
    assert ">hi</td>" in html
    assert "deployment" not in show(deployment="summarise").columns


def test_an_integer_that_browsers_do_not_know_is_text(browse, history, record, show):
    record(0, outputs={"n": 2**53, "big": 2**70, "low": -(2**70), "b": True})
    columns = ["output.n", "output.big", "output.low", "output.b"]
    (row,) = browse(show()).rows(columns=columns)["rows"]
    assert row["cells"] == [2**53, str(2**70), str(-(2**70)), "true"]


def test_who_made_a_run_can_be_shown_and_chosen(browse, history, record, show):
    for number, author in enumerate(["ada", "bob"]):
        history._author = author
        record(number)
    answer = browse(show()).rows(columns=["author"], order_by="author", descending=False)
    assert [row["cells"] for row in answer["rows"]] == [["ada"], ["bob"]]
    answer = browse(show(author="bob")).rows(columns=["author"])
    assert [row["cells"] for row in answer["rows"]] == [["bob"]]
