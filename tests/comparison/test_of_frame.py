"""`vnb.compare`: the rows of a DataFrame side by side."""

import inspect

import numpy as np
import pandas as pd
import pytest

import vellum_nb as vnb
from vellum_nb.errors import InputError


@pytest.fixture(scope="module")
def ws():
    with vnb.connect("local", history=":memory:") as workspace:
        cases = [
            {"ticket": "I was charged twice", "expected.category": "billing", "who": "ann"},
            {"ticket": "The site is down", "expected.category": "outage", "who": "bob"},
        ]
        workspace.sweep(
            "ticket-triage", cases, release_tags=["v1", "v2"], repeats=2, progress=False
        )
        yield workspace


def test_frame_of_a_sweep_compares_as_its_history(ws):
    from_history = ws.compare("ticket-triage", metrics=["exact"])
    sweep = ws.open_sweep(ws.sweeps()["sweep_id"][0])
    of_sweep = vnb.compare(sweep.frame(), metrics=["exact"])
    assert of_sweep.releases == ("v1", "v2")
    assert of_sweep.result("v2").line == from_history.result("v2").line
    expected = from_history.frame()
    pd.testing.assert_frame_equal(of_sweep.frame()[expected.columns], expected)


def test_csv_compares_as_its_frame(ws, tmp_path):
    path = ws.history.to_csv(tmp_path / "runs.csv")
    of_csv = vnb.compare(vnb.read_csv(path), metrics=vnb.metrics.length)
    of_frame = vnb.compare(ws.history.frame(), metrics=vnb.metrics.length)
    pd.testing.assert_frame_equal(of_csv.frame(), of_frame.frame())
    pd.testing.assert_frame_equal(of_csv.summary(columns="all"), of_frame.summary(columns="all"))


def test_values_of_any_column_are_compared(ws):
    frame = ws.history.frame(release_tag="v2").assign(team=["a", "a", "b", "b"])
    assert vnb.compare(frame, by="repeat").releases == ("0", "1")
    assert set(vnb.compare(frame, by="team").releases) == {"a", "b"}


def test_release_ids_are_compared_without_moved_tags(ws):
    by_release = vnb.compare(ws.history.frame(), by="release_id")
    assert set(by_release.releases) == set(ws.history.frame()["release_id"])
    assert by_release.moved_tags == ()


def test_failed_row_is_a_missing_answer(ws):
    assert vnb.compare(ws.history.frame().assign(state="FAILED")).result("v2").missing == 2


def test_single_value_has_nothing_to_compare_with(ws):
    one = vnb.compare(ws.history.frame(), by="environment")
    assert "against local, 2 cases: nothing to compare it with" in repr(one)
    with pytest.raises(InputError, match="has only one: compare a second one with local"):
        one.blind()


def test_frame_of_inputs_with_outputs_is_compared():
    frame = pd.DataFrame(
        {
            "model": ["small", "large", "large"],
            "input.n": [1, 1, 2],
            "output.answer": ['{"a": 1}', '{"a":1}', "[2"],
            "expected.answer": [None, None, "[2"],
            "latency_s": [0.5, 1.5, None],
        }
    )
    compared = vnb.compare(frame, by="model", baseline="small", metrics=["score", "latency_s"])
    assert compared.deployment == "runs"
    found = compared.frame()
    assert found["changed"].tolist() == [False, pd.NA]
    assert found["metric.score@large"].tolist()[1] == 1.0
    assert found["delta.latency_s@large"].tolist()[0] == 1.0
    assert compared.cases[0].runs["large"].outputs == {"answer": {"a": 1}}


@pytest.mark.parametrize("written", ["0", "0.0", "0.25", "1", "1.0", "1.00"])
def test_a_rating_in_tags_is_read_in_any_notation_of_its_number(written):
    tags = [[f"rating@ann:{written}"], ["rating@ann:1.5", "rating@ann:high"]]
    frame = pd.DataFrame({"release_tag": "v1", "input.n": [1, 2], "output.a": "x", "tags": tags})
    rated, unrated = (case.runs["v1"] for case in vnb.compare(frame).cases)
    assert rated.ratings == {"ann": float(written)}
    assert unrated.ratings == {}


TIMES = pd.Series(["2026-11-25 10:00", "2026-11-24T10:00:00Z", "2026-11-23"])


@pytest.mark.parametrize(
    "times",
    [
        TIMES,
        pd.to_datetime(TIMES, format="mixed", utc=True),
        pd.to_datetime(["2026-11-25", "2026-11-24", "2026-11-23"]),
    ],
    ids=["text", "aware", "naive"],
)
def test_timestamps_are_text_or_datetimes(times):
    values = {"release_tag": ["v2", "v1", "v1"], "input.n": 1, "output.answer": ["x", "new", "old"]}
    compared = vnb.compare(pd.DataFrame(values).assign(timestamp=times))
    assert compared.releases == ("v1", "v2")
    assert compared.frame()["output.answer@v1"].tolist() == ["new"]


def test_values_are_converted_to_json():
    values = {"release_tag": ["v1", "v2"], "input.day": [pd.Timestamp("2026-07-01")] * 2}
    frame = pd.DataFrame(values)
    frame["output.scores"] = [np.array([1, 2]), np.array([1, 3])]
    comparison = vnb.compare(frame)
    assert comparison.cases[0].inputs == {"day": "2026-07-01T00:00:00"}
    assert comparison.cases[0].runs["v2"].outputs == {"scores": [1, 3]}
    with pytest.raises(InputError, match=r"the column 'output.scores' of the frame: the set"):
        vnb.compare(frame.assign(**{"output.scores": [{1}, {2}]}))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda f: f, {"by": "tag"}, "no column 'tag' to compare by; available: release_tag"),
        (lambda f: f.filter(["release_tag"]), {}, "the frame has no cases"),
        (lambda f: f.assign(team=None), {"by": "team"}, "'team' has no value"),
        (lambda f: f, {"deployment": "other"}, "no runs of 'other'; available: ticket-triage"),
        (lambda f: pd.concat([f, f.assign(deployment="x")]), {}, "give deployment="),
        (lambda f: f, {"deployment": ["echo"]}, "deployment.*a text or None"),
        (lambda f: f.filter(["case_id", "release_tag"]), {}, "no output.<name> columns, so there"),
        (lambda f: f, {"baseline": "v9"}, "'v9' is not a compared release"),
    ],
)
def test_invalid_frame_is_refused(ws, change, options, message):
    with pytest.raises(InputError, match=message):
        vnb.compare(change(ws.history.frame()), **options)


@pytest.mark.parametrize("compare", [vnb.compare, vnb.Workspace.compare, vnb.Sweep.compare])
def test_signature_has_the_shared_options(compare):
    options = inspect.signature(compare).parameters
    assert options["alpha"].default == 0.05
    assert options["progress"].default is True
    assert "options" not in options


def test_unknown_option_is_refused(ws):
    with pytest.raises(TypeError, match="unexpected keyword argument 'metric'"):
        vnb.compare(ws.history.frame(), metric="exact")


def test_scores_of_a_frame_are_metrics():
    frame = pd.DataFrame(
        {
            "release_tag": ["v1", "v2"],
            "input.q": ["a", "a"],
            "output.r": ["x", "y"],
            "metric.helpful": [0.25, 0.75],
        }
    )
    assert vnb.compare(frame).result("v2", "helpful").delta.mean == 0.5
    assert vnb.compare(frame, metrics=["helpful", "length"]).summary()["metric.length"][0] == 1


def test_scores_below_zero_have_no_bounds():
    frame = pd.DataFrame({"release_tag": ["v1"], "input.q": ["a"], "metric.gain": [-2.0]})
    (metric,) = vnb.compare(frame).metrics
    assert metric.bounds is None


def test_exported_comparison_is_compared_by_its_scores(ws, tmp_path):
    cmp = ws.compare("ticket-triage", metrics=["exact", "length"])
    wide = vnb.compare(vnb.read_csv(cmp.to_csv(tmp_path / "cases.csv")))
    assert wide.releases == cmp.releases
    assert wide.result("v2", "length").delta.mean == cmp.result("v2", "length").delta.mean
    long = vnb.compare(cmp.frame(rows="runs"), by="release")
    assert long.result("v2", "length").delta.mean == cmp.result("v2", "length").delta.mean
