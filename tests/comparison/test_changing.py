"""Another baseline, a rating, a further run: a comparison that goes with them."""

from __future__ import annotations

import pandas as pd
import pytest

import vellum_nb as vnb
from vellum_nb.errors import InputError

CASES = [
    {"ticket": text, "expected.category": "billing"}
    for text in ("I was charged twice", "a bug in the app", "where is my invoice")
]


@pytest.fixture
def ws():
    with vnb.connect("local", history=":memory:") as ws:
        yield ws


@pytest.fixture
def sweep(ws):
    return ws.sweep("ticket-triage", CASES, release_tags=["v1", "v2"], progress=False)


def test_another_baseline_gives_what_one_made_with_it_gives(sweep):
    compared = sweep.compare(metrics=["score", "length"])
    compared.summary()
    turned, made = (
        compared.with_baseline("v2"),
        sweep.compare(baseline="v2", metrics=["score", "length"]),
    )
    pd.testing.assert_frame_equal(turned.frame(), made.frame())
    pd.testing.assert_frame_equal(turned.summary(), made.summary())
    assert repr(turned) == repr(made)
    assert compared.baseline == "v1"
    pd.testing.assert_frame_equal(turned.with_baseline("v1").summary(), compared.summary())


def test_metrics_are_not_asked_again_for_another_baseline(sweep):
    asked = []

    def counted(run):
        asked.append(run.id)
        return True

    compared = sweep.compare(metrics=counted)
    compared.summary()
    compared.with_baseline("v2").summary()
    assert len(asked) == len(set(asked)) == 6


def test_a_baseline_that_is_not_there_names_those_that_are(sweep):
    with pytest.raises(InputError, match="'v9' is not among those compared: v1, v2"):
        sweep.compare().with_baseline("v9")


def test_a_rating_gives_another_comparison_and_leaves_this_one(ws, sweep):
    compared = sweep.compare(metrics=["quality"])
    assert compared.summary()["metric.quality"].isna().all()
    run = compared.cases[0].runs["v2"]
    rated = compared.with_runs([ws.rate(run, quality=0.75)])
    assert rated.value(rated.cases[0], "v2") == 0.75
    assert rated.cases[0].runs["v2"].quality == 0.75
    assert compared.value(compared.cases[0], "v2") is None
    assert compared.with_runs() is compared


def test_a_correction_is_expected_from_then_on(ws, sweep):
    compared = sweep.compare()
    case = compared.cases[1]
    category = case.runs["v2"].outputs["category"]
    assert (compared.value(case, "v2"), category) == (0.0, "bug")
    run = ws.rate(case.runs["v2"], desired={"category": category})
    corrected = compared.with_runs([run])
    assert corrected.cases[1].expected["category"] == category
    assert corrected.value(corrected.cases[1], "v2") == 1.0
    assert corrected.cases[1].checks("v2") == {"category": True}


def test_a_further_run_counts_as_a_repeat(ws, sweep):
    compared = sweep.compare()
    case = compared.cases[1]
    assert compared.summary()["runs"].tolist() == [3, 3]
    run = ws.run("ticket-triage", case.inputs, release_tag="v2")
    assert compared.with_runs([run], release="v2").summary()["runs"].tolist() == [3, 4]
    other = ws.run("ticket-triage", {"ticket": "no case"}, release_tag="v2")
    with pytest.raises(InputError, match="is of none of the cases compared"):
        compared.with_runs([other], release="v2")


def test_a_run_that_was_deleted_is_missing_and_may_come_back(sweep):
    compared = sweep.compare()
    run = compared.cases[0].runs["v2"]
    without = compared.with_runs(without=[run.id])
    assert without.count("v2", "missing") == 1
    pd.testing.assert_frame_equal(without.with_runs([run]).frame(), compared.frame())


def test_metrics_are_asked_only_of_runs_that_are_new(ws, sweep):
    asked = []

    def counted(run):
        asked.append(run.id)
        return True

    compared = sweep.compare(metrics=counted)
    rated = ws.rate(compared.cases[0].runs["v2"], quality=1.0)
    compared.with_runs([rated]).summary()
    assert asked.count(rated.id) == 2
    assert len(asked) == 7


def test_a_comparison_does_not_change(sweep):
    with pytest.raises(AttributeError, match="a Comparison does not change"):
        sweep.compare().baseline = "v2"
