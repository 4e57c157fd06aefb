"""Differences of values by type: changes, summaries and texts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs_kit import TYPES

from vellum_nb.rendering.diff import MISSING, difference
from vellum_nb.rendering.format import same_value

WORDS = st.sampled_from(["a", "b", "a b", "a b c", "", "x y\nz"])
NUMBERS = st.integers(-3, 3) | st.floats() | st.sampled_from([1.0, 10**400])
SCALARS = st.none() | st.booleans() | NUMBERS | WORDS
KEYS = st.sampled_from(
    ["id", "type", "value", "text", "role", "content", "name", "document", "src"]
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner))
TURNS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["USER", "ASSISTANT"])}, optional={"text": WORDS}
    )
)
HITS = st.lists(
    st.fixed_dictionaries(
        {"text": WORDS, "score": st.floats(0, 1), "document": st.sampled_from(["a.md", "b.md"])}
    )
)
VALUES = JSON | TURNS | HITS


def text(old: Any, new: Any, kind: str, **options: Any) -> str:
    return difference(old, new, kind, **options).to_text()


@given(VALUES, VALUES, st.sampled_from(TYPES))
def test_difference_is_empty_for_equal_values(old, new, kind):
    diff = difference(old, new, kind)
    assert bool(diff) is not same_value(old, new)
    assert (diff.summary == "same") is not bool(diff)
    assert bool(diff.to_text()) is bool(diff.to_html()) is bool(diff.to_markdown()) is bool(diff)


@given(st.dictionaries(KEYS, SCALARS))
def test_order_of_keys_is_no_difference(value):
    assert not difference({"in": value}, {"in": dict(reversed(value.items()))}, "JSON")


def test_json_is_compared_by_path():
    old = {"id": 7, "lines": [{"sku": "a", "n": 1}], "note": "will look into it " * 6}
    new = {"id": 7, "lines": [{"sku": "a", "n": 4}], "note": "looked into it " + old["note"][18:]}
    diff = difference(old, new, "JSON")
    assert diff.summary == "2 of 4 fields differ"
    assert diff.to_text().startswith("lines[0].n: [-1-]{+4+} by +3\nnote: [-will look-]{+looked+}")
    assert [change.path for change in diff.changes] == [("lines", 0, "n"), ("note",)]


def test_short_json_is_marked_within_its_line():
    assert text(["card"], ["card", "risk"], "JSON") == '["card"{+, "risk"+}]'


def test_moved_item_is_no_deletion():
    diff = difference(["a", "b", "c", "d"], ["d", "a", "b", "c"], "JSON")
    (change,) = diff.changes
    assert (change.kind, change.moved_from, change.path) == ("move", 3, (0,))
    assert (diff.to_text(), diff.summary) == ("[0]: d moved from [3]", "1 moved")


def test_moved_item_can_have_changes():
    old = [{"id": n, "name": f"item {n}"} for n in range(5)]
    new = [{"id": 4, "name": "item four"}, *old[:4]]
    assert text(old, new, "JSON").splitlines()[1] == "[0].name: item [-4-]{+four+}"


def test_objects_with_other_ids_are_not_compared():
    old, new = ([{"id": key, "price": 3}, {"id": "z"}] for key in "ab")
    assert [change.kind for change in difference(old, new, "JSON").changes] == ["insert", "delete"]


def test_results_of_other_documents_are_not_compared():
    hits = [[{"text": "t", "score": 1, "document": name}] for name in ("a.md", "b.md")]
    diff = difference(*hits, "SEARCH_RESULTS")
    assert [change.kind for change in diff.changes] == ["insert", "delete"]
    assert diff.summary == "2 of 2 results differ"


def test_chat_is_compared_by_turn():
    old = [{"role": "USER", "text": "hi"}, {"role": "ASSISTANT", "text": "We will look"}]
    reply = {"role": "ASSISTANT", "content": {"type": "STRING", "value": "Bye"}}
    new = [
        old[0],
        {"role": "ASSISTANT", "text": "We looked"},
        {"role": "USER", "text": "ok"},
        reply,
    ]
    diff = difference(old, new, "CHAT_HISTORY")
    assert diff.summary == "3 of 4 turns differ"
    assert diff.to_text().splitlines() == [
        "turn 2 ASSISTANT: We [-will look-]{+looked+}",
        "turn 3 USER: {+ok+}",
        "turn 4 ASSISTANT: {+Bye+}",
    ]


def test_function_calls_are_compared_by_argument():
    pay, more = ({"name": "pay", "arguments": {"sum": n, "to": "ann"}} for n in (4, 5))
    assert text(pay, more, "FUNCTION_CALL") == "arguments.sum: [-4-]{+5+} by +1"
    refund = {"name": "refund", "arguments": {"sum": 4}}
    assert text(pay, refund, "FUNCTION_CALL") == '[-pay(sum=4, to="ann")-]{+refund(sum=4)+}'


def test_items_of_arrays_are_compared_by_type():
    old = [{"type": "STRING", "value": "a b"}, {"type": "NUMBER", "value": 1}]
    new = [{"type": "STRING", "value": "a c"}, {"type": "NUMBER", "value": 3}]
    assert text(old, new, "ARRAY") == "item 1: a [-b-]{+c+}\nitem 2: [-1-]{+3+} by +2"


def test_search_results_are_compared_by_document():
    def hit(name: str, score: float) -> dict[str, Any]:
        return {"text": f"about {name}", "score": score, "document": {"id": name, "label": name}}

    old, new = [hit("a.md", 0.9), hit("b.md", 0.5)], [hit("b.md", 0.75), hit("a.md", 0.9)]
    lines = text(old, new, "SEARCH_RESULTS").splitlines()
    assert "result 1 (b.md) score: [-0.5-]{+0.75+} by +0.25" in lines
    assert sum("moved from result" in line for line in lines) == 1
    assert len(lines) == 2


@pytest.mark.parametrize("kind", ["IMAGE", "AUDIO", "VIDEO", "DOCUMENT"])
def test_media_are_compared_by_source(kind):
    old, new = {"src": "data:image/png;base64," + "A" * 9000}, {"src": "https://e.com/a"}
    line = text(old, new, kind)
    assert line.endswith("]-]{+https://e.com/a+}")
    assert "sha256" in line
    assert len(line) < 100
    inside = [{"role": "USER", "content": {"type": kind, "value": side}} for side in (old, new)]
    assert text([inside[0]], [inside[1]], "CHAT_HISTORY") == f"turn 1 USER: {line}"


def test_error_instead_of_an_answer_is_reported():
    error = {"code": "NODE_EXECUTION", "message": "broke"}
    diff = difference("fine", error, "ERROR", old_kind="STRING")
    assert diff.summary == "an error instead of an answer"
    assert diff.to_text() == "[-fine-]{+NODE_EXECUTION: broke+}"
    back = difference(error, "fine", "STRING", old_kind="ERROR")
    assert back.summary == "an answer instead of an error"


@pytest.mark.parametrize("value", ["x", None, {}, 0])
def test_missing_value_differs_from_null(value):
    assert difference(MISSING, value, "JSON").summary == "new"
    assert difference(value, MISSING, "JSON").summary == "missing"
    assert not difference(MISSING, MISSING, "JSON")


def test_difference_of_numbers_is_reported():
    diff = difference(0.5, 0.8, "NUMBER")
    assert diff.summary == "0.5 → 0.8 (+0.3)"
    assert diff.to_text() == "[-0.5-]{+0.8+} by +0.3"


@pytest.mark.parametrize(
    ("old", "new", "expected"), [("3", 3, '[-"3"-]{+3+}'), (1, True, "[-1-]{+true+}")]
)
def test_values_of_other_types_differ(old, new, expected):
    assert text(old, new, "JSON") == expected
