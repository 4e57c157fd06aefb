"""Which rows, columns and cells the history's table shows; it follows what is recorded."""

import json
import sqlite3
import threading

import pytest
import traitlets
from dom_kit import dom, text_of, texts
from view_kit import ids

from vellum_nb import HistoryView
from vellum_nb.errors import APIConnectionError
from vellum_nb.widgets.outputs import side_by_side_html


def test_shows_the_newest_runs_first_in_the_usual_columns_or_in_all(history, record, table):
    for number in range(3):
        record(number, tag_moved=number == 1)
    answer = table().rows()
    assert ids(answer) == ["run-2", "run-1", "run-0"]
    assert [row["moved"] for row in answer["rows"]] == [False, True, False]
    assert dict(zip(answer["columns"], answer["rows"][0]["cells"], strict=True)) == {
        "state": "FULFILLED",
        "release_tag": "v1",
        "timestamp": "2026-07-01T12:00:02+00:00",
        "latency_s": 0.5,
        "input.ticket": "text 2",
        "outputs": "Thanks · billing",
        "quality": None,
    }
    page = table()
    known = [column["name"] for column in page.state("_head")["columns"]]
    assert set(history.frame().columns) == set(known) - {"inputs", "outputs"}
    assert len(page.rows(columns=known)["rows"][0]["cells"]) == len(known)
    assert page.view.error == ""


def test_says_why_a_run_has_no_outputs_and_writes_out_integers_beyond_a_browsers(record, table):
    for number, state in enumerate(["FULFILLED", "REJECTED", "FAILED", "CANCELLED", "STARTED"]):
        record(number, state)
    answer = table().rows(columns=["state", "latency_s", "outputs"])
    assert [row["cells"] for row in answer["rows"]] == [
        ["STARTED", None, "no answer yet"],
        ["CANCELLED", None, "cancelled after 1 s"],
        ["FAILED", None, "no answer within 30 s"],
        ["REJECTED", None, "NODE_EXECUTION: no such plan"],
        ["FULFILLED", 0.5, "Thanks · billing"],
    ]
    outputs = {"n": 2**53, "big": 2**70, "low": -(2**70), "b": True}
    record(9, outputs=outputs)
    row = table().rows(columns=[f"output.{name}" for name in outputs])["rows"][0]
    assert row["cells"] == [2**53, str(2**70), str(-(2**70)), "true"]


def test_row_in_doubt_says_so_and_may_be_looked_up(record, table):
    record(0, "CANCELLED", doubt="SENT")
    record(1, "FAILED", doubt="SENT")
    record(2, "STARTED")
    record(3, "CANCELLED")
    rows = table().rows(columns=["state", "outputs"])["rows"]
    assert [(row["doubt"], row["open"]) for row in rows] == [
        (False, False),
        (False, True),
        (True, True),
        (True, True),
    ]
    assert [row["cells"][1] for row in rows] == [
        "cancelled after 1 s",
        "no answer yet",
        "no answer was received; it may still have run: no answer within 30 s",
        "cancelled; it may still have run",
    ]


def test_runs_in_doubt_are_looked_up_and_others_are_not(history, record, table):
    record(0, "CANCELLED", doubt="SENT")
    record(1, "FULFILLED")
    record(2, "FAILED", doubt="SENT")
    asked = []

    def look_up(run):
        asked.append(run.id)
        if run.state == "FAILED":
            return run
        history.finish(run.model_copy(update={"state": "FULFILLED", "doubt": None, "error": None}))
        return history.get(run.id)

    page = table(look_up=look_up)
    assert page.state("_head")["can"] == ["look_up"]
    page.send(kind="look_up", ids=["run-0", "run-1", "run-2", "gone"])
    assert page.view.wait(10)
    assert sorted(asked) == ["run-0", "run-2"]
    told = page.wire.customs("looked_up")[-1]["text"]
    assert told == "2 runs looked up: 1 completed, 1 not listed yet."
    assert [row["state"] for row in page.rows()["rows"]] == ["FAILED", "FULFILLED", "FULFILLED"]
    page.send(kind="look_up", ids=["run-2"])
    assert page.view.wait(10)
    told = page.wire.customs("looked_up")[-1]["text"]
    assert told == "The server lists no execution of it yet."


def test_look_up_that_fails_is_shown_and_a_table_without_look_ups_offers_none(record, table):
    record(0, "CANCELLED", doubt="SENT")

    def refuse(_run):
        raise APIConnectionError("the server <refused>")

    page = table(look_up=refuse)
    page.send(kind="look_up", ids=["run-0"])
    assert page.view.wait(10)
    assert page.view.error == "the server <refused>"
    page = table()
    assert page.state("_head")["can"] == []
    for value in (["run-0"], [], None, "run-0", [1]):
        page.send(kind="look_up", ids=value)
        assert page.view.wait(10)
    assert page.rows()["rows"][0]["state"] == "CANCELLED"


def test_sorts_by_a_column_either_way(record, table):
    for number, latency in enumerate([0.3, 0.1, 0.2]):
        record(number, latency_s=latency)
    page = table()
    assert ids(page.rows(order_by="latency_s", descending=False)) == ["run-1", "run-2", "run-0"]
    assert ids(page.rows(order_by="latency_s", descending=True)) == ["run-0", "run-2", "run-1"]
    assert ids(page.rows(order_by="input.ticket", descending=False))[0] == "run-0"


def test_filters_by_text_and_counts_what_it_finds(record, table):
    for number in range(12):
        record(number)
    record(99, deployment="other", inputs={"ticket": "text 1"})
    page = table(deployment="ticket-triage")
    answer = page.rows(search="TEXT 1")
    assert ids(answer) == ["run-11", "run-10", "run-1"]
    assert (answer["total"], answer["all"]) == (3, 12)
    assert repr(page.view) == "HistoryView(3 runs)"


def test_the_rows_of_large_values_are_shown_without_loading_them(history, record, table):
    record(0, inputs={"ticket": "Dear team. " * 5_000})
    with sqlite3.connect(history.path) as db:
        db.execute("DELETE FROM large_values")
    assert table().rows()["rows"][0]["cells"][4].startswith("Dear team. Dear team. ")


def test_words_are_found_and_marked_as_a_search_of_the_history_finds_them(record, table):
    record(0, inputs={"ticket": "Refunds for the café"}, outputs={"reply": "No CAFÉ, no refund!"})
    record(1, inputs={"ticket": "A café"})
    page = table()
    answer = page.rows(search="cafe refund", columns=["input.ticket", "output.reply"])
    assert [row["cells"] for row in answer["rows"]] == [
        [["", "Refunds", " for the ", "café", ""], ["No ", "CAFÉ", ", no ", "refund", "!"]]
    ]
    record(2, inputs={"ticket": f"{'word ' * 400}charged twice{' word' * 400}"})
    ((cell,),) = [r["cells"] for r in page.rows(search="charged", columns=["input.ticket"])["rows"]]
    assert cell[:2] == ["…word ", "charged"]  # a column shows some 25 signs
    assert cell[2].startswith(" twice word")
    assert cell[2].endswith("…")
    assert len("".join(cell)) < 200


@pytest.mark.parametrize("search", ["", "東京"])
def test_a_page_is_small_however_much_there_is_to_show(record, table, search):
    outputs = {f"out{number}": "東京" * 20 for number in range(110)}
    for number in range(45):
        record(number, outputs=outputs)
    for few in (39, 109):
        columns = ["state", *(f"output.{name}" for name in list(outputs)[:few])]
        answer = table().rows(columns=columns, limit=200, search=search)
        assert len(answer["rows"]) == (45 if few < 100 else 40)
        assert len(json.dumps(answer, ensure_ascii=False).encode()) < 100_000


def test_filters_given_in_code_are_chips_that_can_be_taken_away(history, record, table):
    record(0)
    record(1, release_tag="v2")
    page = table(deployment="ticket-triage", release_tag="v2", since="2026-07-01")
    assert ids(page.rows()) == ["run-1"]
    assert page.state("_head")["chips"] == [
        {"name": "release_tag", "text": "release_tag v2"},
        {"name": "since", "text": "since 1 Jul 2026"},
    ]
    page.send(kind="drop_filter", name="release_tag")
    assert ids(page.rows()) == ["run-1", "run-0"]
    page.send(kind="drop_filter", name="deployment")
    assert "unknown filter 'deployment'" in page.view.error
    with pytest.raises(TypeError, match="Unknown filter tag; available: .*release_tag"):
        HistoryView(history, side_by_side=side_by_side_html, tag="v1")


@pytest.mark.slow
def test_a_long_history_sends_no_more_than_a_short_one(multiply, record, table):
    def sent():
        page = table()
        assert len(page.rows()["rows"]) == 40
        assert len(page.rows(offset=500, scroll=True)["rows"]) == 40
        return sum(len(json.dumps(data)) for data in page.wire.sent)

    for number in range(1000):
        record(number, "STARTED")
    small = sent()
    multiply(7)
    assert sent() < 1.05 * small
    answer = table().rows(offset=127_990)
    assert (answer["total"], len(answer["rows"])) == (128_000, 10)


def test_code_sets_what_is_shown_and_is_reported_what_there_is(record, table):
    record(0)
    page = table(search="text")
    assert page.view.search == "text"
    page.view.columns = ["state", "output.reply"]
    assert page.rows()["rows"][0]["cells"] == ["FULFILLED", "Thanks"]
    with pytest.raises(traitlets.TraitError, match="unknown column colour; available: exec"):
        page.view.columns = ["colour"]
    with pytest.raises(traitlets.TraitError, match="unknown order outputs"):
        page.view.order_by = "outputs"


def test_repr_and_static_form_are_the_same_for_the_same_runs(record, table):
    empty = table().view
    assert repr(empty) == "HistoryView(0 runs)"
    (note,) = dom(empty.static_html()).select(".mathjax_ignore > p")
    assert note.text == "History: no runs."
    for number in range(12):
        record(number, inputs={"ticket": f"<script>{number}</script>"})
    html = table().view.static_html()
    assert html == table().view.static_html()
    assert "History: 12 runs, the first 10 shown" in text_of(html)
    cells = [[cell.text for cell in row.select("td")] for row in dom(html).select("tbody tr")]
    assert len(cells) == sum(any(text.endswith(" UTC") for text in row) for row in cells) == 10
    assert all("<script>" in "".join(row) for row in cells)


def test_runs_of_several_deployments_say_whose_they_are_and_show_all_their_inputs(record, table):
    record(0, inputs={"ticket": "hi"})
    record(1, inputs={"text": "a b", "sentences": 3}, deployment="summarise")
    mixed = table().view
    assert mixed.columns[:2] == ["state", "deployment"]
    assert {"summarise", "a b · 3", "hi"} <= set(texts(mixed.static_html(), "td"))
    assert "deployment" not in table(deployment="summarise").view.columns


def test_a_recorded_run_appears_by_itself_in_what_is_looked_at(record, table):
    record(0)
    page = table()
    page.rows(search="text")
    page.view.selected_ids = ["run-0"]
    record(1)
    page.becomes(lambda answer: ids(answer) == ["run-1", "run-0"])
    page.becomes(lambda answer: answer["rows"][0]["state"] == "FULFILLED")
    assert (page.view.search, page.view.selected_ids) == ("text", ["run-0"])


def test_deleted_runs_leave_the_table_and_the_selection_and_come_back(record, table, history):
    for number in range(3):
        record(number)
    page = table()
    page.rows()
    page.view.selected_ids = ["run-0", "run-1", "run-2"]
    history.delete(["run-0", "run-2"])
    page.becomes(lambda answer: ids(answer) == ["run-1"])
    assert page.wire.wait_for(lambda: page.view.selected_ids == ["run-1"])
    history.undelete()
    page.becomes(lambda answer: answer["total"] == 3)


def test_many_recorded_runs_make_few_refreshes(record, table):
    page = table()
    page.rows()
    for number in range(300):
        record(number, "STARTED")
    page.becomes(lambda answer: answer["total"] == 300)
    assert len(page.wire.customs("changed")) < 60


def test_the_first_run_brings_its_input_into_the_usual_columns(record, table):
    page = table()
    assert "input.ticket" not in page.rows()["columns"]
    record(0)
    page.becomes(lambda _: "input.ticket" in page.view.columns)
    page.view.columns = ["state"]
    record(1, inputs={"question": "why"})
    page.becomes(lambda _: "input.question" in json.dumps(page.state("_head")))
    assert page.view.columns == ["state"]


def test_a_closed_table_follows_the_history_no_more(record, table):
    page = table()
    page.rows()
    page.view.close()
    before = len(page.wire.sent)
    record(0)
    assert len(page.wire.sent) == before
    assert "vellum-nb-history-view" not in {thread.name for thread in threading.enumerate()}
