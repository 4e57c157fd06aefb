"""Runs as light rows: what is counted by stays in memory, what was said is read on demand."""

from __future__ import annotations

import gc
import tracemalloc
from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vellum_nb as vnb
from vellum_nb.errors import HistoryError
from vellum_nb.history.reading.records import Record
from vellum_nb.models import Run, case_id
from vellum_nb.rendering.values import same_value

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
def kept():
    with vnb.History(":memory:") as history:
        yield history


@given(VALUES, VALUES)
def test_two_answers_share_a_mark_where_their_values_are_the_same(a, b):
    one, other = (Record.of_run(made(1, "v1", {"x": value})) for value in (a, b))
    assert (one.mark == other.mark) == same_value(a, b)


def test_a_stored_answer_has_the_mark_of_the_run_itself(kept):
    runs = [
        made(1, "v1", {"b": 1.0, "a": [float("nan"), "é\ud800"]}),
        made(2, "v1", {}),
        made(3, "v1", {"text": "x" * 100_000}),
    ]
    kept.merge(runs)
    stored = {each.id: each for each in kept.records()}
    for run in runs:
        assert stored[run.id].mark == Record.of_run(run).mark
        assert same_value(stored[run.id].outputs, run.outputs)
        assert stored[run.id].output_names == tuple(run.outputs)
        assert stored[run.id].inputs == run.inputs


def test_a_comparison_does_not_hold_what_was_said(kept):
    text = "a long answer, " * 1_000  # 15 kB, which stays in its row
    tags = ("v1", "v2")
    kept.merge([made(n, t, {"text": f"{n} {t} {text}"}) for n in range(1_000) for t in tags])
    import_module("scipy.stats")
    tracemalloc.start()
    try:
        compared = vnb.Comparison(
            kept.records(), deployment="triage", release_tags=tags, metrics=vnb.metrics.length()
        )
        assert compared.count("v2", "differs") == 1_000
        assert compared.against("v2").counts["same"] == 1_000
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 12_000_000  # of 30 MB
    assert compared.cases[999].answer("v2").outputs["text"] == f"999 v2 {text}"


def test_a_function_of_ones_own_is_handed_whole_runs(kept):
    runs = [made(n, t, {"n": n}, note=f"{t}{n}") for n in range(3) for t in ("v1", "v2")]
    kept.merge(runs)
    seen = []
    vnb.Comparison(
        kept.records(),
        deployment="triage",
        release_tags=["v1", "v2"],
        metrics=[lambda run: seen.append(run.note) or 1.0],
    ).summary()
    assert sorted(seen) == sorted(run.note for run in runs)


def few(history, **fields):
    """Record two small runs and return them side by side."""
    history.merge([made(1, t, {"text": f"said by {t}"}, note="n", **fields) for t in ("v1", "v2")])
    return vnb.Comparison(history.records(), deployment="triage", release_tags=["v1", "v2"])


def test_a_small_comparison_is_read_after_its_runs_were_deleted_and_its_history_closed():
    with vnb.History(":memory:") as history:
        compared = few(history)
        history.delete(["v1-1"])
        history.vacuum()
    assert compared.frame()["output.text@v1"].tolist() == ["said by v1"]
    assert compared.long()["output.text"].tolist() == ["said by v1", "said by v2"]
    assert compared.cases[0].runs["v2"].note == "n"
    assert "said by v2" in compared._repr_html_()


def test_so_it_is_after_the_workspace_was_left():
    with vnb.connect("local", history=":memory:") as ws:
        for tag in ("v1", "v2"):
            ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
        compared = ws.compare("ticket-triage")
    assert compared.frame()["input.ticket"].tolist() == ["I was charged twice"]
    assert "I was charged twice" in compared.to_markdown()


def test_a_small_comparison_holds_large_values_too(kept):
    image = "x" * 100_000
    compared = few(kept, inputs={"image": image})
    kept.delete(["v1-1", "v2-1"])
    kept.vacuum()
    assert compared.cases[0].inputs == {"image": image}


def test_a_run_that_was_deleted_since_says_so_where_much_was_said(kept):
    image = "x" * 5_000_000  # twice that is more than is held
    compared = few(kept, inputs={"image": image})
    assert compared.count("v2", "differs") == 1
    kept.delete(["v1-1"])
    kept.vacuum()
    with pytest.raises(HistoryError, match="not in the history any more"):
        compared.frame()
