"""Which runs a filter names, and in which order they come."""

from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import pytest
from runs_kit import page

from vellum_nb import HistoryError
from vellum_nb.models import RunError

on_file = pytest.mark.usefixtures("path")  # one database is enough
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.fixture
def filled(history, record):
    """Four runs, a second apart."""
    record(id="a", inputs={"q": "Refund POLICY"}, release_tag="v1", outputs={"n": 10})
    fields = {"sweep_id": "s", "case_id": "k", "external_id": "e"}
    record(id="b", inputs={"q": "x"}, release_tag="v2", outputs={"n": 9}, **fields)
    error = RunError(code="TIMEOUT", message="took too long")
    record(id="c", inputs={"q": "y"}, release_tag="v3", state="FAILED", error=error)
    record(id="d", inputs={"q": "z"}, deployment="docs-qa", state="STARTED", note="see Ünal")
    return history


def names(runs):
    return "".join(run.id for run in runs)


SELECTED = [
    ({}, "dcba"),
    ({"deployment": "ticket-triage"}, "cba"),
    ({"deployment": ["ticket-triage", "docs-qa"]}, "dcba"),
    ({"deployment": None, "release_tag": None, "limit": None}, "dcba"),
    ({"release_tag": "v2"}, "b"),
    ({"release_tag": ("v1", "v2")}, "dba"),
    ({"release_tag": []}, ""),
    ({"state": "STARTED"}, "d"),
    ({"state": ["FAILED", "STARTED"]}, "dc"),
    ({"ids": ["a", "d", "nobody"]}, "da"),
    ({"ids": []}, ""),
    ({"sweep_id": "s"}, "b"),
    ({"case_id": "k", "external_id": ["e", "f"]}, "b"),
    ({"search": "refund policy"}, "a"),
    ({"limit": 2}, "dc"),
    ({"limit": 0}, ""),
    ({"deployment": "ticket-triage", "limit": 1}, "c"),
    ({"deployment": "' OR 1 --"}, ""),
]


def test_filters_select_runs_newest_first(filled):
    for filters, expected in SELECTED:
        assert names(filled.runs(**filters)) == expected, filters
        assert filled.count(**filters) == len(expected), filters
        assert "".join(filled.frame(**filters)["id"]) == expected, filters


def test_filter_names_ratings(filled):
    for name, quality in (("a", 1), ("b", 0), ("c", 0.5)):
        filled.annotate(name, quality=quality)
    assert names(filled.runs(rating="unrated")) == "d"
    assert names(filled.runs(rating=["good", "bad"])) == "ba"
    assert names(filled.runs(rating=[])) == ""
    with pytest.raises(HistoryError, match="Unknown rating 'fair'; available: rated, unrated"):
        filled.runs(rating="fair")


def test_since_includes_its_time_unlike_until(filled):
    moment = NOON + timedelta(seconds=2)
    far = moment.astimezone(timezone(timedelta(hours=5)))
    texts = ("2026-07-01 12:00:02", "2026-07-01T14:00:02+02:00")
    for same in (moment, moment.replace(tzinfo=None), far, *texts):
        assert names(filled.runs(since=same)) == "dc"
        assert names(filled.runs(until=same)) == "ba"


def test_a_name_with_half_an_emoji_is_found_by_it(history, record):
    record(id="hit", deployment="a\ud83d", release_tag="v\ud83d")
    assert names(history.runs(deployment="a\ud83d", release_tag=["v\ud83d", "v1"])) == "hit"
    assert history.count(release_tag="\ud83d") == history.delete("\ud83d").runs == 0
    assert history.delete(["hit"]).ids == ("hit",)


@on_file
@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"ids": [5]}, "ids must be a text, not 5"),
        ({"release_tag": ["v1", 2]}, "release_tag must be a text, not 2"),
        ({"state": "fulfilled"}, r"Unknown state 'fulfilled'; available: STARTED, FULFILLED"),
        ({"state": ["FAILED", "OK"]}, "Unknown state 'OK'"),
        ({"since": pd.NaT}, r"since=NaT is not a time"),
        ({"limit": 1.5}, r"limit must be a whole number of at least 0 or None, not 1\.5"),
        ({"limit": True}, "limit must be a whole number of .*, not True"),
        ({"limit": -1}, "limit must be a whole number of .*, not -1"),
        ({"since": "yesterday"}, r"since='yesterday' is not a time; .*2026-07-01"),
        ({"search": 12}, "search must be a text or None, not 12"),
    ],
)
def test_what_can_choose_no_run_is_refused_with_its_value(filled, filters, said):
    with pytest.raises(TypeError, match=r"Unknown filter tag; available: deployment, rel"):
        filled.runs(tag="v1", **filters)
    for read in (filled.runs, filled.frame, filled.count):
        with pytest.raises(HistoryError, match=said):
            read(**filters)


def test_runs_or_a_frame_of_them_stand_for_their_ids(filled):
    runs = filled.runs(deployment="ticket-triage")
    for ids in (runs, filled.frame(ids=runs), filled.frame(ids=runs)["id"]):
        assert names(filled.runs(ids=ids)) == names(runs)
    assert names(filled.runs(ids=runs[0])) == runs[0].id
    assert filled.count(ids=[]) == 0
    with pytest.raises(HistoryError, match=r"a frame without the column id; it has state"):
        filled.count(ids=filled.frame()[["state"]])


ORDERED = [
    ("timestamp", True, "dcba"),
    ("timestamp", False, "abcd"),
    ("release_tag", True, "cbda"),
    ("release_tag", False, "dabc"),
    ("error_code", False, "cdba"),
    ("error_code", True, "cdba"),
    ("output.n", False, "badc"),
    ("output.n", True, "abdc"),
    ("input.q", False, "abcd"),
    ("input.nobody", False, "dcba"),
    ("note", True, "dcba"),
    ("metadata", True, "dcba"),
]


def test_a_page_is_ordered_by_any_column_with_missing_values_last(filled):
    for order_by, descending, expected in ORDERED:
        runs = page(filled, order_by=order_by, descending=descending)
        assert names(runs) == expected, (order_by, descending)


ODD_NAMES = ['a"b', "a.b", "a\\b", "$", "[0]", "é", "' --"]


def test_a_page_is_ordered_by_an_input_of_any_name(history, record):
    for value in (2, 3, 1):
        record(id=str(value), inputs=dict.fromkeys(ODD_NAMES, value))
    for name in ODD_NAMES:
        assert names(page(history, order_by=f"input.{name}", descending=False)) == "123"


@on_file
@pytest.mark.parametrize("wrong", ["seq; DROP TABLE runs", "inputs", "input.", "nobody", 5])
def test_a_page_is_not_ordered_by_an_unknown_column(history, wrong):
    with pytest.raises(HistoryError, match="to sort by"):
        page(history, order_by=wrong)


def test_numbers_are_sorted_before_texts(history, record):
    ordered = [-1, True, 2.5, 10, "", "a", "b"]
    for value in ordered[::-1]:
        record(outputs={"x": value, "odd": "\x01"})
    runs = page(history, order_by="output.x", descending=False)
    assert [run.outputs["x"] for run in runs] == ordered
    assert page(history, order_by="output.x")[0].outputs["x"] == "b"


def test_values_without_an_order_are_sorted_last(history, record):
    for value in ("a", float("nan"), None, 1):
        record(outputs={"x": value})
    runs = page(history, order_by="output.x", descending=False)
    assert [run.outputs["x"] for run in runs[:2]] == [1, "a"]


def test_infinity_is_sorted_after_other_numbers(history, record):
    for value in (3, float("inf"), 1):
        record(outputs={"y": value})
    runs = page(history, order_by="output.y", descending=False)
    assert [run.outputs["y"] for run in runs] == [1, 3, float("inf")]
