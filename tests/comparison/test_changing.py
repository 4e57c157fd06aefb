"""Comparisons after a changed baseline, a rating or another run."""

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


@pytest.fixture
def counted():
    """Return a metric that records the ids of its runs."""

    def counted(run):
        counted.asked.append(run.id)
        return True

    counted.asked = []
    return counted


def test_changed_baseline_equals_one_that_was_given(sweep, counted):
    metrics = ["score", "length", counted]
    compared = sweep.compare(metrics=metrics)
    compared.summary()
    turned = compared.with_baseline("v2")
    turned.summary()
    assert len(counted.asked) == len(set(counted.asked)) == 6
    made = sweep.compare(baseline="v2", metrics=metrics)
    pd.testing.assert_frame_equal(turned.frame(), made.frame())
    pd.testing.assert_frame_equal(turned.summary(columns="all"), made.summary(columns="all"))
    assert repr(turned) == repr(made)
    assert compared.baseline == "v1"
    pd.testing.assert_frame_equal(
        turned.with_baseline("v1").summary(columns="all"), compared.summary(columns="all")
    )
    with pytest.raises(InputError, match="'v9' is not a compared release; available: v1, v2"):
        compared.with_baseline("v9")
    with pytest.raises(AttributeError, match="cannot assign to field 'baseline'"):
        compared.baseline = "v2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"runs": 5}, "runs must be a list of runs, not 5"),
        ({"runs": ["v1"]}, "runs must be a list of runs, not 'v1'"),
        ({"without": "v1"}, "without must be a list of texts, not 'v1'"),
    ],
)
def test_invalid_runs_are_refused(sweep, arguments, message):
    with pytest.raises(InputError, match=message):
        sweep.compare().with_runs(**arguments)


def test_rating_makes_a_new_comparison(ws, sweep):
    compared = sweep.compare(metrics=["quality"])
    assert compared.summary()["metric.quality"].isna().all()
    run = compared.cases[0].runs["v2"]
    rated = compared.with_runs([ws.rate(run, quality=0.75)])
    assert rated.figures.value(rated.cases[0], "v2", rated.metrics[0].name) == 0.75
    assert rated.cases[0].runs["v2"].quality == 0.75
    assert compared.figures.value(compared.cases[0], "v2", compared.metrics[0].name) is None
    assert compared.with_runs() is compared


def test_correction_becomes_the_expected_output(ws, sweep):
    compared = sweep.compare()
    case = compared.cases[1]
    category = case.runs["v2"].outputs["category"]
    assert (compared.figures.value(case, "v2", compared.metrics[0].name), category) == (0.0, "bug")
    run = ws.rate(case.runs["v2"], desired={"category": category})
    corrected = compared.with_runs([run])
    assert corrected.cases[1].expected["category"] == category
    assert corrected.figures.value(corrected.cases[1], "v2", corrected.metrics[0].name) == 1.0
    assert corrected.cases[1].checks("v2") == {"category": True}


def test_additional_run_is_a_repeat(ws, sweep):
    compared = sweep.compare()
    case = compared.cases[1]
    assert compared.summary(columns="all")["runs"].tolist() == [3, 3]
    run = ws.run("ticket-triage", case.inputs, release_tag="v2")
    assert compared.with_runs([run], release="v2").summary(columns="all")["runs"].tolist() == [3, 4]
    other = ws.run("ticket-triage", {"ticket": "no case"}, release_tag="v2")
    with pytest.raises(InputError, match="is of none of the cases compared"):
        compared.with_runs([other], release="v2")


def test_removed_run_is_missing_until_it_is_restored(sweep):
    compared = sweep.compare()
    run = compared.cases[0].runs["v2"]
    without = compared.with_runs(without=[run.id])
    assert without.result("v2").missing == 1
    pd.testing.assert_frame_equal(without.with_runs([run]).frame(), compared.frame())


def test_metrics_are_computed_only_for_new_runs(ws, sweep, counted):
    compared = sweep.compare(metrics=counted)
    rated = ws.rate(compared.cases[0].runs["v2"], quality=1.0)
    compared.with_runs([rated]).summary()
    assert counted.asked.count(rated.id) == 2
    assert len(counted.asked) == 7
