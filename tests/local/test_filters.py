"""Filters and orderings of execution events."""

import json
from datetime import timedelta
from functools import reduce
from typing import Any

import pytest
from execution_kit import START, condition, group, record

from vellum_nb.errors import VellumNBError
from vellum_nb.local.ledger import ExecutionRecord, Ledger, parse_filters, parse_ordering


def kept(number: int, status: str, external_id: str | None, metadata: Any) -> ExecutionRecord:
    id_, start = f"e{number}", START + timedelta(milliseconds=number)
    more = {"status": status, "external_id": external_id, "metadata": metadata}
    return record(execution_id=id_, deployment_id="d", start=start, **more)


@pytest.fixture(scope="module")
def ledger():
    ledger = Ledger()
    ledger.begin(kept(1, "FULFILLED", "job-1", {"user": "müller", "vip": True, "n": 7}))
    ledger.begin(kept(2, "REJECTED", "job-2", {"user": "o'hara", "vip": False, "tags": ["a", 1]}))
    ledger.begin(kept(3, "INITIATED", None, None))
    ledger.begin(kept(4, "FULFILLED", "job-4\ud83d", {"user": "line\nbreak", "none": None}))
    return ledger


def found(ledger: Ledger, filters: Any, order: str = "timestamp") -> str:
    text = filters if isinstance(filters, str) or filters is None else json.dumps(filters)
    where, ordering = parse_filters(text), parse_ordering(order)
    _, records = ledger.records("d", where=where, ordering=ordering)
    return "".join(each.execution_id[1:] for each in records)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (None, "1234"),
        (" ", "1234"),
        (condition("state", "!=", "FULFILLED"), "23"),
        (condition("state", "contains", "JECT"), "2"),
        (condition("state", ">", "FULFILLED"), "23"),
        (condition("execution_id", "<=", "e2"), "12"),
        (condition("external_id", "==", "job-4\ud83d"), "4"),
        (condition("external_id", "!=", "job-2"), "134"),
        (condition("external_id", "==", None), "3"),
        (condition("external_id", "!=", None), "124"),
        (condition("timestamp", ">=", "2026-01-31T12:00:00.003Z"), "34"),
        (condition("timestamp", ">", "2026-01-31T13:00:00.003+01:00"), "4"),
        (condition("timestamp", "<", "2026-01-31T12:00:00.003"), "12"),
        (condition("timestamp", "!=", "2026-01-31T12:00:00.002Z"), "134"),
        (condition("timestamp", "<=", START.timestamp() + 1), "1234"),
        (condition("metadata", "contains", {"vip": True}), "1"),
        (condition("metadata", "contains", {"vip": False, "user": "o'hara"}), "2"),
        (condition("metadata", "contains", {"vip": 1}), ""),
        (condition("metadata", "contains", {"user": "line\nbreak"}), "4"),
        (condition("metadata", "contains", {"tags": ["a", 1]}), "2"),
        (condition("metadata", "contains", {"none": None}), "4"),
        (condition("metadata", "contains", {}), "124"),
        (condition("metadata", "contains", "müller"), "1"),
        (condition("metadata", "==", {"n": 7, "vip": True, "user": "müller"}), "1"),
        (condition("metadata", "!=", {"n": 7, "vip": True, "user": "müller"}), "234"),
        (group(negated=True), ""),
    ],
    ids=str,
)
def test_a_filter_finds_what_it_says(ledger, filters, expected):
    assert found(ledger, filters) == expected


@pytest.mark.parametrize(
    ("filters", "reason"),
    [
        ("{", "filters: not valid JSON"),
        ("[" * 100_000, "filters: not valid JSON"),
        ('{"a": NaN}', "filters: not valid JSON .*NaN"),
        ('{"a": 1e999}', "filters: not valid JSON .*too large"),
        (condition("cost", "==", 1), "at lhs_variable.value: Input should be 'timestamp'"),
        (condition("state", "~", "x"), "at operator: Input should be '==', .*, not '~'"),
        (condition("timestamp", "contains", "2026-01-31"), "timestamp contains '2026-01-31'"),
        (condition("timestamp", ">", "soon"), "give a time such as 2026-01-31T12:00:00Z"),
        (condition("state", "==", 5), "state == 5 cannot be compared: give text"),
        (condition("metadata", ">", {"a": 1}), "metadata > .* it knows contains"),
        (group(condition("state", "==", "x"), 7), r"filters at conditions\[1\]: Input should"),
        (group(group(combinator="XOR")), r"at conditions\[0\].combinator: .*, not 'XOR'"),
        ({**group(), "negated": "yes"}, "at negated: Input should be a valid boolean, not 'yes'"),
        ({**condition("state", "==", "x"), "rhs_variable": {}}, "at rhs_variable.value: Field"),
        (group(*[condition("state", "==", "x")] * 300), "more than 200 conditions"),
        (reduce(lambda inner, _: group(inner), range(30), group()), "20 groups in each other"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_filter_that_makes_no_sense_is_refused_and_says_where(filters, reason):
    text = filters if isinstance(filters, str) else json.dumps(filters)
    with pytest.raises(VellumNBError, match=reason):
        parse_filters(text)


def test_an_ordering_may_have_several_parts(ledger):
    assert found(ledger, None, "state, -timestamp") == "4132"


def test_metadata_nested_too_deep_for_sqlite_spoil_no_filter():
    nested: dict[str, Any] = {}
    for _ in range(900):
        nested = {"a": nested}
    ledger = Ledger()
    ledger.begin(kept(1, "FULFILLED", None, {"user": "ü", "deep": [nested]}))
    ledger.begin(kept(2, "FULFILLED", None, {"user": "ü"}))
    assert found(ledger, condition("metadata", "contains", {"user": "ü"})) in {"2", "12"}
    with pytest.raises(VellumNBError, match="nested too deeply; at most 200 levels"):
        found(ledger, condition("metadata", "contains", {"deep": [nested]}))


def test_an_offset_beyond_all_counting_gives_an_empty_page(ledger):
    assert ledger.records("d", offset=10**30) == (4, [])
