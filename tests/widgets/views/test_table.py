"""Rows, columns and cells of the table of a history, and how it follows the history."""

import json
import sqlite3
import threading

import pytest
import traitlets
from actions_kit import SomeActions
from dom_kit import dom, text_of, texts
from view_kit import TablePage, ids, run

import vellum_nb as vnb
from vellum_nb import HistoryView
from vellum_nb.errors import APIConnectionError

UNANSWERED = "no answer was received; it may still have run"


def test_table_shows_the_newest_runs_first(record, table):
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


def test_table_shows_authors_if_there_are_any(history, table):
    started = {"state": "STARTED", "outputs": {}, "latency_s": None}
    history.begin(run(0, "v1", author="Ann", **started))
    answer = table().rows()
    assert dict(zip(answer["columns"], answer["rows"][0]["cells"], strict=True))["author"] == "Ann"


def test_table_can_show_all_columns_of_the_frame(history, record, table):
    record(0)
    page = table()
    columns = [column["name"] for column in page.state("_head")["columns"]]
    assert set(history.frame().columns) == set(columns) - {"inputs", "outputs"}
    assert len(page.rows(columns=columns)["rows"][0]["cells"]) == len(columns)
    assert page.view.error == ""


@pytest.mark.parametrize(
    ("state", "latency", "outputs"),
    [
        ("STARTED", None, "no answer yet"),
        ("CANCELLED", None, "cancelled after 1 s"),
        ("FAILED", None, "no answer within 30 s"),
        ("REJECTED", None, "NODE_EXECUTION: no such plan"),
        ("FULFILLED", 0.5, "Thanks · billing"),
    ],
)
def test_row_has_the_outputs_or_the_reason_for_none(record, table, state, latency, outputs):
    record(0, state)
    (row,) = table().rows(columns=["state", "latency_s", "outputs"])["rows"]
    assert row["cells"] == [state, latency, outputs]


def test_integers_beyond_those_of_javascript_are_text(record, table):
    outputs = {"n": 2**53, "big": 2**70, "low": -(2**70), "b": True}
    record(9, outputs=outputs)
    row = table().rows(columns=[f"output.{name}" for name in outputs])["rows"][0]
    assert row["cells"] == [2**53, str(2**70), str(-(2**70)), "true"]


@pytest.mark.parametrize(
    ("state", "fields", "marks"),
    [
        ("CANCELLED", {"doubt": "SENT"}, (True, True, "cancelled; it may still have run")),
        ("FAILED", {"doubt": "SENT"}, (True, True, f"{UNANSWERED}: no answer within 30 s")),
        ("STARTED", {}, (False, True, "no answer yet")),
        ("CANCELLED", {}, (False, False, "cancelled after 1 s")),
    ],
)
def test_row_has_its_doubt(record, table, state, fields, marks):
    record(0, state, **fields)
    (row,) = table().rows(columns=["outputs"])["rows"]
    assert (row["doubt"], row["open"], *row["cells"]) == marks


@pytest.fixture
def looked_up(history, record, table):
    """Return a function that looks up runs, with the ids that were requested; one is settled."""
    record(0, "CANCELLED", doubt="SENT")
    record(1, "FULFILLED")
    record(2, "FAILED", doubt="SENT")
    requested = []

    def look_up(run):
        requested.append(run.id)
        if run.state == "FAILED":
            return run
        history.finish(run.model_copy(update={"state": "FULFILLED", "doubt": None, "error": None}))
        return history.get(run.id)

    page = table(actions=SomeActions(look_up=look_up))

    def send(*run_ids):
        page.send(kind="look_up", ids=list(run_ids))
        assert page.view.wait(10)
        return page.wire.customs("looked_up")[-1]["text"]

    return page, send, requested


def test_only_runs_in_doubt_are_looked_up(looked_up):
    page, send, requested = looked_up
    assert page.state("_head")["can"] == ["look_up", "set"]
    text = send("run-0", "run-1", "run-2", "gone")
    assert text == "2 runs looked up: 1 completed, 1 not listed yet."
    assert sorted(requested) == ["run-0", "run-2"]
    assert [row["state"] for row in page.rows()["rows"]] == ["FAILED", "FULFILLED", "FULFILLED"]


def test_look_up_reports_that_a_run_is_not_listed(looked_up):
    _, send, _ = looked_up
    assert send("run-2") == "The server lists no execution of it yet."


def test_failed_look_up_is_shown(record, table):
    record(0, "CANCELLED", doubt="SENT")

    def refuse(_run):
        raise APIConnectionError("the server <refused>")

    page = table(actions=SomeActions(look_up=refuse))
    page.send(kind="look_up", ids=["run-0"])
    assert page.view.wait(10)
    assert page.view.error == "the server <refused>"


@pytest.mark.parametrize("run_ids", [["run-0"], [], None, "run-0", [1]])
def test_table_without_look_ups_ignores_requests(record, table, run_ids):
    record(0, "CANCELLED", doubt="SENT")
    page = table()
    assert page.state("_head")["can"] == []
    page.send(kind="look_up", ids=run_ids)
    assert page.view.wait(10)
    assert page.rows()["rows"][0]["state"] == "CANCELLED"


def test_table_is_sorted_in_both_directions(record, table):
    for number, latency in enumerate([0.3, 0.1, 0.2]):
        record(number, latency_s=latency)
    page = table()
    assert ids(page.rows(order_by="latency_s", descending=False)) == ["run-1", "run-2", "run-0"]
    assert ids(page.rows(order_by="latency_s", descending=True)) == ["run-0", "run-2", "run-1"]
    assert ids(page.rows(order_by="input.ticket", descending=False))[0] == "run-0"


def test_search_counts_the_matching_runs(record, table):
    for number in range(12):
        record(number)
    record(99, deployment="other", inputs={"ticket": "text 1"})
    page = table(deployment="ticket-triage")
    answer = page.rows(search="TEXT 1")
    assert ids(answer) == ["run-11", "run-10", "run-1"]
    assert (answer["total"], answer["all"]) == (3, 12)
    assert repr(page.view) == "HistoryView(3 runs)"


def test_large_values_are_not_loaded_for_their_rows(history, record, table):
    record(0, inputs={"ticket": "Dear team. " * 5_000})
    with sqlite3.connect(history.path) as db:
        db.execute("DELETE FROM large_values")
    assert table().rows()["rows"][0]["cells"][4].startswith("Dear team. Dear team. ")


def test_matching_words_are_marked(record, table):
    record(0, inputs={"ticket": "Refunds for the café"}, outputs={"reply": "No CAFÉ, no refund!"})
    record(1, inputs={"ticket": "A café"})
    answer = table().rows(search="cafe refund", columns=["input.ticket", "output.reply"])
    assert [row["cells"] for row in answer["rows"]] == [
        [["", "Refunds", " for the ", "café", ""], ["No ", "CAFÉ", ", no ", "refund", "!"]]
    ]


def test_long_text_is_cut_around_the_matching_word(record, table):
    record(0, inputs={"ticket": f"{'word ' * 400}charged twice{' word' * 400}"})
    (row,) = table().rows(search="charged", columns=["input.ticket"])["rows"]
    (cell,) = row["cells"]
    assert cell[:2] == ["…word ", "charged"]  # a column shows some 25 signs
    assert cell[2].startswith(" twice word")
    assert cell[2].endswith("…")
    assert len("".join(cell)) < 200


@pytest.mark.slow
@pytest.mark.parametrize("search", ["", "東京"])
def test_size_of_a_page_is_bounded(record, table, search):
    outputs = {f"out{number}": "東京" * 20 for number in range(110)}
    for number in range(45):
        record(number, outputs=outputs)
    for few in (39, 109):
        columns = ["state", *(f"output.{name}" for name in list(outputs)[:few])]
        answer = table().rows(columns=columns, limit=200, search=search)
        assert len(answer["rows"]) == (45 if few < 100 else 40)
        assert len(json.dumps(answer, ensure_ascii=False).encode()) < 100_000


def test_filters_of_the_code_are_chips_that_can_be_removed(record, table):
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


def test_runs_are_filtered_by_rating(history, record, table):
    for number, quality in enumerate([None, 1.0, 0.5, 0.0]):
        record(number)
        history.annotate(f"run-{number}", quality=quality)
    page = table()
    filters = {each["name"]: each["values"] for each in page.state("_head")["filters"]}
    names = filters["rating"]
    assert [value for value, _ in names] == ["rated", "unrated", "good", "bad"]
    shown = {}
    for value, _ in names:
        page.send(kind="filter", name="rating", value=value)
        shown[value] = ids(page.rows())
        page.send(kind="drop_filter", name="rating")
    assert shown == {
        "rated": ["run-3", "run-2", "run-1"],
        "unrated": ["run-0"],
        "good": ["run-1"],
        "bad": ["run-3"],
    }


def test_unknown_filter_is_refused(history, table):
    page = table(deployment="ticket-triage")
    page.send(kind="drop_filter", name="deployment")
    assert "unknown filter 'deployment'" in page.view.error
    with pytest.raises(TypeError, match="Unknown filter tag; available: .*release_tag"):
        HistoryView(history, tag="v1")


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


def test_search_and_columns_are_set_in_code(record, table):
    record(0)
    page = table(search="text")
    assert page.view.search == "text"
    page.view.columns = ["state", "output.reply"]
    assert page.rows()["rows"][0]["cells"] == ["FULFILLED", "Thanks"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("columns", ["colour"], "unknown column colour; available: release_tag"),
        ("order_by", "outputs", "unknown order outputs"),
    ],
)
def test_unknown_column_is_refused(record, table, name, value, message):
    record(0)
    with pytest.raises(traitlets.TraitError, match=message):
        setattr(table().view, name, value)


def test_static_form_of_an_empty_history_says_so(table):
    empty = table().view
    assert repr(empty) == "HistoryView(0 runs)"
    (note,) = dom(empty.static_html()).select(".mathjax_ignore > p")
    assert note.text == "History: no runs."


def test_static_form_has_the_newest_ten_runs(record, table):
    for number in range(12):
        record(number, inputs={"ticket": f"<script>{number}</script>"})
    html = table().view.static_html()
    assert html == table().view.static_html()
    assert "History: 12 runs, the first 10 shown" in text_of(html)
    rows = [[cell.text for cell in row.select("td")] for row in dom(html).select("tbody tr")]
    assert [any(cell.endswith(" UTC") for cell in row) for row in rows] == [True] * 10
    assert all("<script>" in "".join(row) for row in rows)


def test_runs_of_several_deployments_show_their_deployment_and_inputs(record, table):
    record(0, inputs={"ticket": "hi"})
    record(1, inputs={"text": "a b", "sentences": 3}, deployment="summarise")
    mixed = table().view
    assert mixed.columns[:2] == ["state", "deployment"]
    assert {"summarise", "a b · 3", "hi"} <= set(texts(mixed.static_html(), "td"))
    assert "deployment" not in table(deployment="summarise").view.columns


def test_recorded_run_appears_without_a_request(record, table):
    record(0)
    page = table()
    page.rows(search="text")
    page.view.selected_ids = ["run-0"]
    record(1)
    page.becomes(lambda answer: ids(answer) == ["run-1", "run-0"])
    page.becomes(lambda answer: answer["rows"][0]["state"] == "FULFILLED")
    assert (page.view.search, page.view.selected_ids) == ("text", ["run-0"])


def test_deleted_runs_leave_the_table_until_they_are_restored(record, table, history):
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


def test_default_columns_follow_the_inputs_of_recorded_runs(record, table):
    page = table()
    assert "input.ticket" not in page.rows()["columns"]
    record(0)
    page.becomes(lambda _: "input.ticket" in page.view.columns)
    page.view.columns = ["state"]
    record(1, inputs={"question": "why"})
    page.becomes(lambda _: "input.question" in json.dumps(page.state("_head")))
    assert page.view.columns == ["state"]


def test_closed_table_ignores_recorded_runs(record, table):
    page = table()
    page.rows()
    page.view.close()
    before = len(page.wire.sent)
    record(0)
    assert len(page.wire.sent) == before
    assert "vellum-nb-history-view" not in {thread.name for thread in threading.enumerate()}


@pytest.fixture
def selection(views):
    """Return the page of a table of a workspace with two runs, and their ids."""
    with vnb.connect("local", history=":memory:") as ws:
        for ticket in ("I was charged twice", "The app crashes"):
            ws.run("ticket-triage", {"ticket": ticket}, release_tag="v1")
        views.append(ws.history.view())
        yield TablePage(views[-1]), [run.id for run in ws.history.runs()]


def add_to_set(page, **content):
    page.send(kind="add_to_set", **content)
    assert page.view.wait(10)
    return page.wire.customs("outcome")[-1]


def test_selected_runs_are_added_to_a_case_set(selection):
    page, run_ids = selection
    assert "set" in page.state("_head")["can"]
    assert add_to_set(page, ids=run_ids, name="weekly")["text"] == "weekly, version 1: 2 added"
    page.send(kind="case_sets", ids=run_ids)
    assert page.view.wait(10)
    assert page.wire.customs("case_sets")[-1]["names"] == ["weekly"]


@pytest.mark.parametrize("ids_given", [["unknown"], [], "x", None])
def test_unknown_runs_are_not_added_to_a_case_set(selection, ids_given):
    page, _ = selection
    assert "The table left something out" in add_to_set(page, ids=ids_given, name="weekly")["error"]


def test_table_without_a_workspace_offers_no_case_sets(table):
    assert "set" not in table().state("_head")["can"]
