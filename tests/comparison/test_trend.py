"""Trends: levels of points on the cases that they share, from runs made by hand."""

from datetime import UTC, datetime, timedelta
from itertools import count
from xml.etree import ElementTree as ET

import pandas as pd
import pytest
from report_kit import run
from runs_kit import html_of

from vellum_nb.comparison.trend import Measurement, Trend, trend_of
from vellum_nb.errors import InputError
from vellum_nb.models.sweeps import SweepCase

MINUS = "\N{MINUS SIGN}"
MONDAY = datetime(2026, 10, 5, 9, tzinfo=UTC)
_SWEEPS = count()


def correct(run) -> bool:
    return run.outputs["answer"] == "y"


def swept(letters, week=0.0, *, tag="production", release="r1", **fields) -> list[Measurement]:
    """Return the runs of a sweep: a case per letter ("y" is correct, " " is not run)."""
    sweep, time = f"sweep {next(_SWEEPS)}", MONDAY + timedelta(weeks=week)
    return [
        Measurement(
            run(tag, f"case {at}", letter, release_id=release, timestamp=time, **fields),
            tag,
            sweep,
            time,
        )
        for at, letter in enumerate(letters)
        if letter != " "
    ]


def trend(*sweeps, tags=("production",), **options) -> Trend:
    measured = [one for sweep in sweeps for one in sweep]
    options = {"metric": correct} | options
    return trend_of(measured, deployment="words", release_tags=tags, **options)


def test_level_is_the_mean_if_the_cases_do_not_change():
    frame = trend(swept("yyyyyyyynn"), swept("yyyyyynnnn", 1)).frame()
    assert frame["mean"].tolist() == [0.8, 0.6]
    assert frame["level"].tolist() == pytest.approx([0.8, 0.6])
    assert frame["n"].tolist() == [10, 10]


def test_new_cases_that_fail_do_not_move_the_line():
    frame = trend(swept("yyyyyyyynn"), swept("yyyyyyyynnnnnnn", 1), swept("yyyyyyyynnnnnnn", 2))
    frame = frame.frame()
    assert frame["mean"].round(3).tolist() == [0.8, 0.533, 0.533]
    assert frame["level"].round(3).tolist() == [0.533, 0.533, 0.533]
    assert frame["change"].tolist()[1:] == [0.0, 0.0]
    assert frame["added"].tolist() == [0, 5, 0]


def test_removed_cases_do_not_move_the_line():
    frame = trend(swept("yyyyyyyynn"), swept("yyyyyyyy  ", 1)).frame()
    assert frame["level"].tolist() == [1.0, 1.0]
    assert frame["removed"].tolist() == [0, 2]


def test_change_of_a_growing_set_is_chained():
    first, second = swept("yyyyyyyyyy"), swept("yyyyyyyynnyyyyyyyyyy", 1)
    frame = trend(first, second, swept("yyyyyyyynnnnnnyyyyyy", 2)).frame()
    # 2 of 10 in the first week, then 4 of 20
    assert frame["change"].round(6).tolist()[1:] == [-0.2, -0.4]
    assert frame["level"].iloc[-1] == frame["mean"].iloc[-1]


def test_interval_of_equal_cases_is_that_of_a_comparison():
    before, after = "y" * 30 + "n" * 10, "y" * 20 + "n" * 20
    row = trend(swept(before), swept(after, 1)).frame().iloc[1]
    compared = trend(swept(before), swept(after, 1)).points[1].change
    assert (row["low"], row["high"]) == (0.75 + compared.low, 0.75 + compared.high)
    assert row["high"] < 0.75
    assert row["p"] < 0.01


def test_point_with_fewer_than_six_common_cases_has_not_enough_data():
    frame = trend(swept("yyyyyyyy"), swept("yyyyy", 1), swept("yyyyyyyy", 2)).frame()
    assert frame["note"].tolist() == ["", "not enough data", ""]
    assert frame["level"].isna().tolist() == [False, True, False]


def test_line_begins_after_the_cases_were_replaced():
    old, new = "yyyyyyyy", " " * 8 + "nnnnnnnn"
    frame = trend(swept(old), swept(old, 1), swept(new, 2), swept(new, 3)).frame()
    assert frame["note"].tolist() == ["not enough data"] * 2 + ["", ""]


def test_release_that_changed_within_a_week_has_a_point_of_its_own():
    later = swept("nnnnnnnn", 0.5, release="r2")
    frame = trend(swept("yyyyyyyy"), later, names={"r1": "v1", "r2": "v2"}).frame()
    assert frame["release"].tolist() == ["v1", "v2"]
    assert frame["release_changed"].tolist() == [False, True]
    assert frame["change"].iloc[1] == -1.0


def test_newest_sweep_of_a_week_counts_for_each_case():
    frame = trend(swept("nnnnnnnn"), swept("yyyy", 0.5)).frame()
    assert frame["mean"].tolist() == [0.5]


def test_each_sweep_is_a_point_by_sweep():
    frame = trend(swept("nnnnnnnn"), swept("yyyyyyyy", 0.5), by="sweep").frame()
    assert frame["mean"].tolist() == [0.0, 1.0]


def test_run_without_an_answer_counts_as_a_failure_of_its_case():
    lost = swept("yyyyyyyyyy", 1, state="FAILED")[:2] + swept("  yyyyyyyy", 1)
    frame = trend(swept("yyyyyyyyyy"), lost).frame()
    assert frame["level"].tolist() == [1.0, 0.8]


def test_each_tag_has_a_line():
    made = trend(
        swept("yyyyyyyy"), swept("nnnnnnnn", tag="candidate"), tags=("production", "candidate")
    )
    assert made.frame().set_index("release_tag")["mean"].to_dict() == {
        "production": 1.0,
        "candidate": 0.0,
    }


def test_times_are_in_utc_with_microseconds():
    assert trend(swept("yyyyyyyy")).frame()["time"].tolist() == [pd.Timestamp(MONDAY)]


def test_sentence_says_that_a_release_is_worse():
    before, after = swept("y" * 30 + "n" * 10), swept("y" * 20 + "n" * 20, 1, release="r2")
    assert trend(before, after).sentences["production"] == (
        f"production: worse than on 2026-10-05: correct {MINUS}0.25 "
        f"({MINUS}0.39 to {MINUS}0.11, 95 %) on 40 common cases; r1 then, r2 now"
    )


def test_sentence_does_not_claim_a_change_by_chance():
    before, after = swept("y" * 30 + "n" * 10), swept("y" * 28 + "n" * 12, 1)
    sentence = trend(before, after).sentences["production"]
    assert f"no change shown since 2026-10-05: correct {MINUS}0.05" in sentence


def test_sentence_names_missing_data():
    assert "not enough data" in repr(trend(swept("yyyyyyyy")))


def test_names_are_escaped():
    made = trend(swept("yyyyyyyy", tag="<b>x</b>", release="<i>"), tags=("<b>x</b>",))
    assert "<b>x" not in html_of(made)
    assert "<i>" not in html_of(made)


def drawn(made) -> ET.Element:
    return ET.fromstring(made.chart().svg())  # noqa: S314


def test_chart_has_a_point_per_period_and_tag():
    production = [swept("yyyyyynn", week) for week in range(3)]
    candidate = [swept("yyyyyyyn", week, tag="candidate") for week in range(3)]
    made = trend(*production, *candidate, tags=("production", "candidate"))
    assert sum(text.endswith("(8 common cases)") for text in drawn(made).itertext()) == 6


def test_chart_names_releases_and_changes_of_the_cases():
    made = trend(
        swept("yyyyyynn"), swept("yyyyyynn", 1, release="r2"), swept("yyyyyynnnn", 2, release="r2")
    )
    texts = set(drawn(made).itertext())
    assert {"r1", "r2", "8 cases", "10 cases, 2 added"} <= texts


def test_chart_draws_a_change_of_release_dotted():
    same, moved = (
        trend(swept("yyyyyynn"), swept("yyyyyynn", 1, release=name)) for name in ("r1", "r2")
    )
    dotted = 'stroke-dasharray="2 3"'
    assert (dotted in same.chart().svg(), dotted in moved.chart().svg()) == (False, True)


def test_chart_counts_what_it_does_not_draw():
    days = [swept("yyyyyynn", at / 7) for at in range(110)]
    assert "6 older periods not drawn." in set(drawn(trend(*days, by="day")).itertext())


def test_chart_of_hostile_names_is_well_formed():
    tag = "</text><script>alert(1)</script>"
    weeks = swept("yyyyyynn", tag=tag), swept("yyyyyynn", 1, tag=tag, release="]]>")
    made = trend(*weeks, tags=(tag,))
    assert not [element for element in drawn(made).iter() if element.tag.endswith("script")]


def test_page_has_the_chart():
    assert html_of(trend(swept("yyyyyynn"), swept("yyyyyynn", 1))).count("<svg ") == 1


def test_chart_is_saved(tmp_path):
    path = trend(swept("yyyyyynn"), swept("yyyyyynn", 1)).chart().save(tmp_path / "trend.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_chart_without_a_line_is_refused():
    with pytest.raises(InputError, match="no line has two points to draw"):
        trend(swept("yyyyyynn")).chart()


def test_intervals_end_at_the_bounds_of_the_metric():
    frame = trend(swept("yyyyyyyynn"), swept("yyyyyyyyyy", 1)).frame()
    assert frame["high"].iloc[1] == 1.0


def test_other_period_is_refused():
    with pytest.raises(InputError, match="by must be 'sweep', 'day', 'week' or 'month', not 'y'"):
        trend(swept("yyyyyyyy"), by="y")


def test_runs_without_a_figure_are_refused():
    with pytest.raises(InputError, match="no run has a figure of score: give expected outputs"):
        trend(swept("yyyyyyyy"), metric="score")


def test_cases_have_expected_outputs():
    sweep = swept("yyyyyyyn")
    cases = [SweepCase(0, one.run.case_id, {}, {"answer": "y"}) for one in sweep]
    assert trend(sweep, metric="score", cases=cases).frame()["mean"].tolist() == [0.875]
