"""Lists and objects become columns in Arrow, as the JSON text that rows have for them."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vellum_nb.history.reading import spreading
from vellum_nb.history.rows.cells import cell, cells, members

TEXTS = st.sampled_from(["", "a", "2026-07-01", 'q"\\\n\x00\x7f', "é😀", '":1.0,', "[null", ",b"])
KEYS = st.sampled_from(["a", "b", "n", "é", "", 'q"\\', ",", "2026-07-01", "\x1f"])
FLOATS = st.sampled_from([0.5, 1.0, -0.0, 1e-4, 9.9e-5, 1e9, 123456789.125, 1e16, 5e-324, 0.1])
LEAVES = [
    st.none(),
    st.booleans(),
    st.integers(-9, 9),
    st.sampled_from([2**53 + 1, -(2**63), 2**63, 10**25, 0]),
    FLOATS,
    FLOATS | st.integers(0, 2),
    st.floats(),
    TEXTS,
    st.sampled_from(["2026-07-01", "2026-07-02T10:00:00"]),
]


@st.composite
def shapes(draw, depth=3):
    """Return a strategy of values that are alike, as those of one output are, mostly."""
    kind = draw(st.sampled_from(["leaf", "list", "object"] if depth else ["leaf"]))
    if kind == "leaf":
        leaf = draw(st.sampled_from(LEAVES))
        return st.none() | leaf if draw(st.booleans()) else leaf
    inner = [draw(shapes(depth=depth - 1)) for _ in range(draw(st.integers(1, 3)))]
    if kind == "list":
        return st.lists(inner[0], max_size=3)
    names = draw(st.lists(KEYS, min_size=len(inner), max_size=len(inner), unique=True))
    gaps = [draw(st.booleans()) for _ in names]
    parts = dict(zip(names, inner, strict=True))
    always = {name: part for (name, part), gap in zip(parts.items(), gaps, strict=True) if not gap}
    sometimes = {name: part for name, part in parts.items() if name not in always}
    return st.fixed_dictionaries(always, optional=sometimes)


@st.composite
def outputs(draw):
    """Return the outputs of some runs of one deployment."""
    size = draw(st.integers(1, 9))
    kinds = {name: draw(shapes()) for name in ("out", "a")}
    return [{name: draw(kind) for name, kind in kinds.items()} for _ in range(size)]


def lines_of(values):
    texts = [json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in values]
    return pa.array([f"{text}\n" for text in texts])


def shown(values):
    return {name: [cell(each.get(name)) for each in values] for name in reversed_names(values)}


def reversed_names(values):
    return dict.fromkeys(name for each in reversed(values) for name in each)


def listed(piece):
    return piece if isinstance(piece, list) else piece.to_pylist()


@settings(max_examples=300)
@given(values=outputs())
@example(values=[{"out": [None, {"a": 1}]}, {"out": [{"a": 2}]}])
@example(values=[{"out": [None, [1]]}, {"out": None}])
@example(values=[{"out": {"a": 1.0}}, {"out": {"a": 1}}, {"out": {"a": 0.5}}])
@example(values=[{"out": {"a": None}}, {"out": {}}, {"out": {"a": "x"}}])
@example(values=[{"out": {"s": '":1.0,', "a": 1}}, {"out": {"s": "", "a": 0.5}}])
@example(values=[{"out": {"b": {",": None}, "s": [",", ":b"]}}, {"out": {"b": {}, "s": []}}])
@example(values=[{"out": {"é": None}}, {"out": {"é": 1}}])
def test_what_arrow_makes_of_lists_and_objects_is_what_cell_shows(values):
    found = {name: listed(piece) for name, piece in spreading.spread(lines_of(values)).items()}
    assert repr(numbers(found)) == repr(numbers(shown(values)))
    assert repr(members([line.as_py() for line in lines_of(values)])) == repr(shown(values))


def numbers(found):
    """Return the cells; a column of numbers only may have 1 as 1.0."""
    for name, each in found.items():
        if {type(value) for value in each} - {type(None)} == {int, float}:
            found[name] = [None if value is None else float(value) for value in each]
    return found


@pytest.mark.parametrize(
    "value",
    [
        {"b": "x", "a": [1, 2], "c": True},
        [{"tool": "search", "ms": 12, "error": None}, {"tool": 'a "b"\n', "ms": 3, "error": "no"}],
        [{"score": 1.0}, {"score": 0.25}, {"score": 0.0}],
        {"when": "2026-07-01", "days": ["2026-07-01"], "é": {"\\": [[], [1], None]}},
        [],
        {},
        ["a", None],
    ],
    ids=str,
)
def test_usual_lists_and_objects_never_become_python_values(value, monkeypatch):
    lines = lines_of([{"out": value, "text": "later"}, {"out": value, "text": ""}, {"text": "x"}])
    monkeypatch.setattr(spreading, "members", None)
    found = spreading.spread(lines)["out"]
    assert found.to_pylist() == [cell(value), cell(value), None]


@pytest.mark.parametrize("number", [20, 1000])
def test_objects_whose_names_differ_by_run_become_what_cell_shows(number):
    values = [
        {"out": {f"{(at * step) % number}": None if at % 3 else at for step in range(1, 6)}}
        for at in range(300)
    ]
    assert spreading.spread(lines_of(values))["out"].to_pylist() == shown(values)["out"]


@pytest.mark.parametrize("first", [[], {}, None], ids=str)
@pytest.mark.parametrize("last", [[[]], [[1]], [{"a": 1}], ["s"], {"a": [1]}, {"a": {}}], ids=str)
def test_what_is_empty_for_the_first_part_of_a_batch_may_hold_values_then(first, last):
    values = [{"out": first}] * 100_000 + [{"out": last}]
    assert listed(spreading.spread(lines_of(values))["out"]) == shown(values)["out"]


def test_more_than_a_megabyte_is_read_as_one_block():
    values = [{"text": "x" * 100}] * 20_000
    assert spreading.spread(lines_of(values))["text"].num_chunks == 1


def test_only_the_runs_that_are_in_doubt_become_python_values(monkeypatch):
    values = [{"out": {"a": 1}}, {"out": {"a": 2.5}}, {"out": {"a": 1e-9}}, {"out": {"a": 4.5}}]
    read = []
    monkeypatch.setattr(
        spreading, "members", lambda texts, only: read.extend(texts) or members(texts, only)
    )
    found = spreading.spread(lines_of(values))["out"].to_pylist()
    assert found == ['{"a":1}', '{"a":2.5}', '{"a":1e-09}', '{"a":4.5}']
    assert read == ['{"out":{"a":1}}\n', '{"out":{"a":1e-09}}\n']


@pytest.mark.parametrize(
    "texts",
    [
        ['["\\u0000"]', '{"b":"\\u0000","a":1}', "1"],
        ["[NaN]", "NaN", "Infinity", '["x"]', None],
        ['["\\ud83d"]', '"\\ud83d\\ude00"', "[1]"],
        ["{}", None, "[]", "true", "1", "1.0", '"a"', f"{10**30}"],
        [],
    ],
)
def test_many_json_texts_become_what_cell_makes_of_each(texts):
    expected = [None if text is None else cell(json.loads(text)) for text in texts]
    assert repr(cells(texts)) == repr(expected)
    assert repr(cells(texts * 3000)) == repr(expected * 3000)
