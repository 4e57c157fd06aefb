"""Watches: evidence that a release tag has become worse, from runs made by hand."""

from datetime import UTC, datetime, timedelta

import pytest
from report_kit import failed, run

from vellum_nb.comparison import Metric
from vellum_nb.comparison.watch import Watch, watch_of
from vellum_nb.errors import InputError

START = datetime(2026, 10, 5, 9, tzinfo=UTC)


def correct(run) -> bool:
    return run.outputs["answer"] == "y"


def day(letters, at, *, tag="production", **fields):
    """Return the runs of a daily sweep: a case per letter ("y" is correct)."""
    time = START + timedelta(days=at)
    fields = {"timestamp": time, "sweep_id": f"sweep {at}"} | fields
    return [run(tag, f"case {n}", letter, **fields) for n, letter in enumerate(letters)]


def watched(*days, **options) -> Watch:
    runs = [run for runs in days for run in runs]
    last = max((run.timestamp for run in runs), default=START)
    options = {"metric": correct, "release_tag": "production", "now": last} | options
    return watch_of(runs, deployment="words", **options)


GOOD, BAD = "y" * 32 + "n" * 8, "y" * 26 + "n" * 14


def test_equal_days_are_healthy():
    watch = watched(*(day(GOOD, at) for at in range(10)))
    assert watch.status == "healthy"
    assert watch.sentence == (
        "production: healthy: correct 0.80, 0.80 before (n = 40); evidence 0.027, "
        "alarm at 20, 10 checks"
    )


def test_drop_is_found_within_days():
    days = [day(GOOD, at) for at in range(10)] + [day(BAD, at) for at in range(10, 15)]
    watch = watched(*days)
    assert watch.status == "worse"
    assert "worse since about 2026-10-15 09:00: correct 0.65" in watch.sentence


def test_gain_is_no_alarm():
    days = [day(BAD, at) for at in range(10)] + [day(GOOD, at) for at in range(10, 20)]
    assert watched(*days).status == "healthy"


def test_alarm_ends_after_the_release_was_repaired():
    days = [day(GOOD, at) for at in range(10)] + [day(BAD, at) for at in range(10, 15)]
    assert watched(*days, *(day(GOOD, at) for at in range(15, 30))).status == "healthy"


def test_new_cases_that_fail_are_no_drop():
    days = [day(GOOD, at) for at in range(10)] + [day(GOOD + "n" * 40, at) for at in range(10, 20)]
    assert watched(*days).status == "healthy"


def test_loss_within_the_margin_is_no_alarm():
    days = [day(GOOD, at) for at in range(10)] + [day(BAD, at) for at in range(10, 15)]
    assert watched(*days, margin=0.2).status == "healthy"


def test_evidence_does_not_depend_on_later_runs():
    days = [day(GOOD, at) for at in range(6)] + [day(BAD, at) for at in range(6, 12)]
    whole = watched(*days).frame()["evidence"].tolist()
    assert [watched(*days[:n]).evidence for n in range(1, 13)] == whole


def test_runs_of_the_reference_count_as_earlier_ones():
    days = [day(GOOD, at, tag="v1") for at in range(10)] + [day(BAD, at) for at in range(10, 15)]
    assert watched(*days).status == "healthy"
    assert watched(*days, reference="v1").status == "worse"


def test_first_check_cannot_tell():
    watch = watched(day(GOOD, 0))
    assert (watch.status, watch.sentence) == (
        "cannot tell yet",
        "production: cannot tell yet: 0 cases with earlier figures; six are needed",
    )


def test_old_runs_cannot_tell():
    days = [day(GOOD, at) for at in range(10)]
    watch = watched(*days, now=START + timedelta(days=12))
    assert (watch.status, watch.sentence) == (
        "cannot tell yet",
        "production: cannot tell yet: no runs since 2026-10-14 09:00 (UTC)",
    )


def test_no_figure_cannot_tell():
    assert watched(day(GOOD, 0), metric="score").sentence == (
        "production: cannot tell yet: no runs with a figure"
    )


def test_failed_runs_count_as_failures():
    lost = [
        failed("production", f"case {n}").model_copy(
            update={"timestamp": START + timedelta(days=at), "sweep_id": "s"}
        )
        for at in range(10, 15)
        for n in range(10)
    ]
    rest = [day(GOOD, at)[10:] for at in range(10, 15)]
    assert watched(*(day(GOOD, at) for at in range(10)), lost, *rest).status == "worse"


def test_repeats_are_averaged():
    frame = watched(day("yyyyyyyy", 0), day("yyyyyyyy", 1), day("nnnnnnnn", 1)).frame()
    assert frame["n"].tolist() == [0, 8]
    assert frame["mean"].tolist()[1] == 0.5


def test_ratings_of_production_runs_are_one_series():
    runs = [
        run(
            "production",
            f"{at} {n}",
            timestamp=START + timedelta(days=at),
            quality=float(n % 10 < (8 if at < 20 else 5)),
        )
        for at in range(30)
        for n in range(20)
    ]
    assert watched(runs, metric="quality", paired=False).status == "worse"
    assert watched(runs[:400], metric="quality", paired=False).status == "healthy"
    assert watched(runs, metric="quality").status == "cannot tell yet"


@pytest.mark.parametrize(("later", "status"), [("abcdefgh", "worse"), ("a", "healthy")])
def test_lower_figures_can_be_better(later, status):
    length = Metric(lambda run: len(run.outputs["answer"]), bounds=(0, 10), lower_is_better=True)
    days = [day(["ab"] * 20, at) for at in range(5)]
    days += [day([later] * 20, at) for at in range(5, 9)]
    assert watched(*days, metric=length).status == status


def test_metric_without_bounds_is_refused():
    with pytest.raises(InputError, match=r"give vnb.Metric\(fn, bounds=\(low, high\)\)"):
        watched(day(GOOD, 0), metric="latency_s")


@pytest.mark.parametrize("every", ["soon", "1s", 5, None])
def test_other_durations_are_refused(every):
    with pytest.raises(InputError, match="every must be a duration such as '12h', '1d' or '1w'"):
        watched(day(GOOD, 0), every=every)
