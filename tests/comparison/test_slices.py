"""`cmp.slices`: the difference for each value of a label, with one correction."""

import math

import pytest
from report_kit import compared as of_runs
from report_kit import judged, planned, run

from vellum_nb.comparison import Comparison, Metric
from vellum_nb.comparison import statistics as stats
from vellum_nb.errors import InputError
from vellum_nb.models import case_id
from vellum_nb.models.sweeps import SweepCase


def correct(run):
    return run.outputs["answer"] == "yes"


def sliced(answers: dict[str, dict[str, str]], **options) -> Comparison:
    """Compare the answers ("y" or "n" per case) of each release, by segment."""
    cases, runs = [], []
    for segment, by_release in answers.items():
        for at in range(max(map(len, by_release.values()))):
            text = f"{segment} {at}"
            labels = {} if segment == "none" else {"segment": segment, "customer": at // 2}
            inputs = {"text": text}
            cases.append(SweepCase(len(cases), case_id(inputs), inputs, {}, labels))
            runs += [
                run(release, text, "yes" if letters[at] == "y" else "no")
                for release, letters in by_release.items()
                if letters
            ]
    tags = list(next(iter(answers.values())))
    return of_runs(*runs, tags=tags, cases=cases, **{"metrics": correct} | options)


WORSE = {"v1": "y" * 12, "v2": "n" * 10 + "yy"}
BETTER = {"v1": "n" * 12, "v2": "y" * 7 + "n" * 5}
SAME = {"v1": "y" * 12, "v2": "y" * 12}


def test_worst_slice_is_first():
    frame = sliced({"smb": SAME, "new": BETTER, "big": WORSE}).slices("label.segment")
    assert frame["value"].tolist() == ["big", "smb", "new"]
    assert frame["finding"].tolist() == ["worse", "same", "better"]
    assert frame["delta"].tolist() == pytest.approx([-10 / 12, 0.0, 7 / 12])


def test_slice_has_the_figures_of_a_comparison_of_its_cases():
    row = sliced({"big": WORSE, "smb": SAME}).slices("label.segment").iloc[0]
    alone = sliced({"big": WORSE}).result("v2")
    assert (row["delta"], row["delta_low"], row["delta_high"], row["n"]) == (
        *(alone.delta.mean, alone.delta.low, alone.delta.high),
        12,
    )
    assert (row["mean"], row["mean_low"], row["mean_high"]) == (
        *(alone.mean.mean, alone.mean.low, alone.mean.high),
    )


def test_p_is_corrected_over_the_slices_of_each_release():
    answers = {
        "big": WORSE | {"v3": "n" * 6 + "y" * 6},
        "new": BETTER | {"v3": "n" * 12},
    }
    frame = sliced(answers).slices("label.segment").set_index(["release", "value"])["p"]
    by_release = {"v2": {"big": (0, 10), "new": (7, 0)}, "v3": {"big": (0, 6), "new": (0, 0)}}
    for release, counts in by_release.items():
        expected = stats.holm([stats.mcnemar(*pair) for pair in counts.values()])
        assert frame[release].reindex(list(counts)).tolist() == pytest.approx(expected)


def test_slice_that_cannot_show_a_difference_is_last_and_has_not_enough_data():
    frame = sliced({"tiny": {"v1": "yyy", "v2": "nnn"}, "smb": SAME}).slices("label.segment")
    assert frame[["value", "finding"]].to_numpy().tolist() == [
        ["smb", "same"],
        ["tiny", "not enough data"],
    ]


def test_more_slices_need_more_cases():
    six = {"v1": "yyyyyy", "v2": "nnnnnn"}
    assert sliced({"a": six}).slices("label.segment")["finding"].tolist() == ["worse"]
    frame = sliced({"a": six, "b": six, "c": six, "d": six}).slices("label.segment")
    assert frame["finding"].tolist() == ["not enough data"] * 4


def test_clusters_widen_the_interval_of_a_slice():
    cases = {"big": {"v1": "y" * 24, "v2": "nnyynnyynnyy" * 2}, "smb": {"v1": "yy", "v2": "yy"}}
    plain = sliced(cases).slices("label.segment").iloc[0]
    clustered = sliced(cases, cluster="label.customer").slices("label.segment").iloc[0]
    assert plain["delta"] == clustered["delta"] == -0.5
    assert clustered["delta_high"] - clustered["delta_low"] > (
        plain["delta_high"] - plain["delta_low"]
    )


def test_worst_slice_has_the_largest_increase_if_lower_is_better():
    metric = Metric(correct, lower_is_better=True)
    frame = sliced({"big": WORSE, "new": BETTER}, metrics=metric).slices("label.segment")
    assert frame[["value", "finding"]].to_numpy().tolist() == [["new", "worse"], ["big", "better"]]


def test_metric_and_release_are_selected():
    answers = {"smb": {"v1": "yy", "v2": "nn", "v3": "yy"}}
    metrics = [correct, Metric(lambda run: not correct(run), name="wrong")]
    frame = sliced(answers, metrics=metrics).slices("label.segment", metric="wrong", release="v2")
    assert frame[["release", "mean", "delta"]].to_numpy().tolist() == [["v2", 1.0, 1.0]]


def test_sweep_that_stopped_early_has_no_slices():
    runs = [run(tag, text) for tag in ("v1", "v2") for text in ("a", "b")]
    stopped = of_runs(*runs, metrics="exact", stopped_by="exact", **planned(["a", "b", "c"]))
    with pytest.raises(InputError, match=r"invalid after an early stop; .* sweep\.resume\(\)"):
        stopped.slices("text")


def test_cases_without_a_value_are_left_out():
    frame = sliced({"none": WORSE, "smb": SAME}).slices("label.segment")
    assert frame["value"].tolist() == ["smb"]


def test_slice_without_any_pair_is_missing():
    frame = sliced({"smb": SAME, "old": {"v1": "yyy", "v2": ""}}).slices("label.segment")
    row = frame.set_index("value").loc["old"]
    assert (row["finding"], row["cases"], row["n"]) == ("missing", 3, 0)
    assert math.isnan(row["p"])


def test_slices_of_an_input():
    frame = judged({"v1": ["yes", "no"], "v2": ["yes", "yes"]}).slices("text")
    assert sorted(frame["value"]) == ["case 0", "case 1"]


def test_unknown_label_lists_the_labels_and_inputs():
    with pytest.raises(InputError) as caught:
        sliced({"smb": SAME}).slices("label.tier")
    assert str(caught.value) == (
        "by='label.tier': no case has such a label or input; "
        "available: label.segment, label.customer, input.text"
    )
