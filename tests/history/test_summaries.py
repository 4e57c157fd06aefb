"""Runs in short: scalars stay in memory, payloads are read on demand."""

from __future__ import annotations

import gc
import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vellum_nb as vnb
from vellum_nb.history import MissingRunError, RunSummary, fetch, in_turn
from vellum_nb.models import Run, case_id

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
NUMBERS = st.sampled_from([0, 1, 1.0, -0.0, 2**60, 1e22, 10**22, float("nan"), True, False])
VALUES = st.recursive(
    NUMBERS | st.none() | st.sampled_from(["1", "1.0", "e", ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=4,
)


def made(number, tag, outputs, **fields):
    inputs = {"n": number}
    known = {"id": f"{tag}-{number}", "deployment": "triage", "release_tag": tag, "inputs": inputs}
    known |= {"timestamp": NOON + timedelta(seconds=number), "case_id": case_id(inputs)}
    return Run(**(known | {"state": "FULFILLED", "outputs": outputs} | fields))


@pytest.fixture
def stored():
    with vnb.History(":memory:") as history:
        yield history


def same(a, b):
    """Return whether two JSON values are equal: 1 is 1.0, but not true; NaN is NaN."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or (a != a and b != b)  # noqa: PLR0124
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    return a == b


@given(VALUES, VALUES)
def test_two_answers_share_a_mark_where_their_values_are_the_same(a, b):
    one, other = (RunSummary.of_run(made(1, "v1", {"x": value})) for value in (a, b))
    assert (one.mark == other.mark) == same(a, b)


def test_a_stored_answer_has_the_mark_and_the_fields_of_the_run_itself(stored):
    runs = [
        made(1, "v1", {"b": 1.0, "a": [float("nan"), "é\ud800"]}, quality=0.5, cost_usd=0.1),
        made(2, "v1", {}, state="REJECTED", error={"code": "E", "message": "m"}),
        made(3, "v1", {"text": "x" * 100_000}, desired={"text": "y"}, output_types={"text": "S"}),
    ]
    stored.merge(runs)
    summaries = {each.id: each for each in stored.summaries()}
    for run in runs:
        found, of_run = summaries[run.id], RunSummary.of_run(run)
        for name in ("mark", "micros", "state", "error", "is_answer", "quality", "cost_usd"):
            assert getattr(found, name) == getattr(of_run, name), name
        for name in ("inputs", "outputs", "desired", "output_types"):
            assert same(getattr(found, name), getattr(run, name)), name
        assert found.output_names == tuple(run.outputs)
        assert found.group == found.release_tag == "v1"
        assert repr(found.run) == repr(run)


def test_many_summaries_do_not_hold_their_payloads(stored):
    text = "a long answer, " * 1_000  # 15 kB, which stays in its row
    tags = ("v1", "v2")
    stored.merge([made(n, t, {"text": f"{n} {t} {text}"}) for n in range(1_000) for t in tags])
    stored.summaries()
    tracemalloc.start()
    try:
        summaries = stored.summaries()
        lengths = [len(each.outputs["text"]) for each in in_turn(summaries)]
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 12_000_000  # of 30 MB
    assert len(lengths) == 2_000
    assert summaries[-1].outputs["text"] == f"0 v2 {text}" or summaries[-1].release_tag == "v1"


def test_few_summaries_are_read_after_a_vacuum_and_after_the_history_was_closed():
    with vnb.History(":memory:") as history:
        image = "x" * 100_000
        history.merge([made(1, "v1", {"text": "answer"}, inputs={"image": image}, note="n")])
        (summary,) = history.summaries()
        history.delete(["v1-1"])
        history.vacuum()
    assert summary.outputs == {"text": "answer"}
    assert summary.inputs == {"image": image}
    assert summary.run.note == "n"


def test_a_run_that_was_removed_since_says_so_where_payloads_are_long(stored):
    stored.merge([made(n, "v1", {"text": f"{n} " + "x" * 100_000}) for n in range(200)])
    summaries = stored.summaries()
    stored.delete([each.id for each in summaries])
    stored.vacuum()
    with pytest.raises(MissingRunError, match="was removed from the history"):
        assert [each.outputs for each in summaries]


def test_filters_choose_and_a_tag_that_a_sweep_reuses_is_that_of_the_run(stored):
    stored.merge([made(n, "v1", {"n": n}) for n in range(3)])
    (found,) = stored.summaries(ids=["v1-1"])
    found.release_tag = found.group = "production"
    fetch([found])
    assert found.run.release_tag == "production"
    assert stored.summaries(release_tag="v2") == []
