"""Which run stands in which cell: alignment, columns, what is missing."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from vellum_nb.comparison import Comparison
from vellum_nb.errors import InputError
from vellum_nb.history import History, read_csv
from vellum_nb.models import Run, case_id
from vellum_nb.models.sweeps import SweepCase

START = datetime(2026, 11, 24, tzinfo=UTC)
TAGS = ("v1", "v2", "v3")
STATES = ("FULFILLED", "REJECTED", "FAILED", "CANCELLED", "STARTED")


def made(number: int, tag: str, ticket: str, said: Any = "x", **fields: Any) -> Run:
    inputs = {"ticket": ticket}
    known = {
        "id": str(number),
        "deployment": "triage",
        "release_tag": tag,
        "timestamp": START + timedelta(seconds=number),
        "inputs": inputs,
        "outputs": {"said": said},
        "case_id": case_id(inputs),
        "state": "FULFILLED",
    }
    return Run(**(known | fields))


@st.composite
def histories(draw: st.DrawFn) -> list[Run]:
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from([*TAGS, "other"]),
                st.sampled_from("abcd"),
                st.sampled_from(["x", "y", 1, None]),
                st.sampled_from(STATES),
                st.sampled_from([None, "r1", "r2"]),
                st.sampled_from([None, "local", "cloud"]),
            ),
            max_size=25,
        )
    )
    return [
        made(at, tag, ticket, said, state=state, release_id=release, environment=environment)
        for at, (tag, ticket, said, state, release, environment) in enumerate(rows)
    ]


def of(runs: list[Run], **options: Any) -> Comparison:
    return Comparison(runs, deployment="triage", release_tags=TAGS, **options)


@given(histories(), st.randoms())
def test_the_order_in_which_runs_come_does_not_matter(runs, rng):
    shuffled = list(runs)
    rng.shuffle(shuffled)
    one, other = of(runs), of(shuffled)
    assert one.releases == other.releases
    assert one.frame().equals(other.frame())


@given(histories())
def test_every_run_stands_in_just_one_cell_and_none_is_lost(runs):
    compared = of(runs)
    placed = Counter(
        record.id
        for case in compared.cases
        for release in compared.releases
        for record in case.tries.get(release, ())
    )
    assert placed == Counter(run.id for run in runs if run.release_tag in TAGS)
    for case in compared.cases:
        for release, records in case.tries.items():
            assert {record.case_id for record in records} == {case.case_id}
            assert all(release.startswith(record.release_tag) for record in records)


@given(histories())
def test_every_case_is_answered_failed_or_missing_on_every_release(runs):
    compared = of(runs, metrics=[lambda run: run.state == "FULFILLED"])
    summary = compared.summary()
    total = summary["n"] + summary["missing"] + summary["failed"]
    assert (total == summary["cases"]).all()
    assert (summary["cases"] == len(compared.cases)).all()
    for release in compared.others:
        statuses = Counter(compared.statuses[release])
        assert sum(statuses.values()) == len(compared.cases)
        counts = compared.against(release).counts
        assert sum(counts.values()) == len(compared.cases)
        assert counts["missing"] == statuses["missing"] == compared.count(release, "missing")


@given(histories())
def test_no_case_without_an_answer_on_both_is_the_same_better_or_worse(runs):
    compared = of(runs, metrics=[lambda run: len(str(run.outputs))])
    for case in compared.cases:
        for release in compared.others:
            both = case.answer(release) and case.answer(compared.baseline)
            assert (compared.verdict(case, release) == "missing") == (not both)


@given(histories())
def test_a_column_holds_runs_of_one_release_where_releases_are_known(runs):
    compared = of(runs)
    for release in compared.releases:
        records = [r for case in compared.cases for r in case.tries.get(release, ())]
        assert len({(r.environment, r.release_id) for r in records if r.release_id}) <= 1


@given(histories())
def test_the_rows_of_a_history_align_as_the_runs_do(runs):
    with History(":memory:") as history:
        history.merge([run for run in runs if run.state != "STARTED"])
        stored, light = of([r for r in runs if r.state != "STARTED"]), of(history.runs())
        assert light.frame().equals(stored.frame())
        assert light.long().equals(stored.long())
        assert [case.runs for case in light.cases] == [case.runs for case in stored.cases]


@given(histories())
def test_the_csv_of_any_comparison_reads_back(runs):
    compared = of(runs, metrics=["exact", lambda run: len(str(run.outputs))])
    with TemporaryDirectory() as folder:
        path = compared.to_csv(Path(folder) / "cmp.csv")
        assert_frame_equal(read_csv(path), compared.frame())


def test_the_newest_answer_is_shown_and_all_repeats_are_kept():
    runs = [made(1, "v1", "a"), made(2, "v2", "a", "old"), made(3, "v2", "a", "new")]
    case = of(runs).cases[0]
    assert case.runs["v2"].outputs == {"said": "new"}
    assert [record.outputs["said"] for record in case.answers("v2")] == ["old", "new"]
    assert case.repeats("v2") == (1, 2)
    assert case.is_unstable


def test_a_tag_that_moved_has_a_column_a_release_oldest_first():
    long = "0123456789"
    runs = [
        made(1, "v1", "a", release_id="one"),
        made(2, "v2", "a", release_id=f"b{long}"),
        made(3, "v2", "a", release_id=f"a{long}"),
        made(4, "v2", "b", release_id=None),
    ]
    compared = of(runs)
    assert compared.releases == (
        "v1",
        "v2 (release b0123456…)",
        "v2 (release a0123456…)",
        "v2 (release unknown)",
        "v3",
    )
    assert compared.moved_tags == ("v2",)
    assert of(runs, baseline="v2 (release b0123456…)").baseline == "v2 (release b0123456…)"


def test_ids_that_begin_alike_are_written_out():
    runs = [made(n, "v1", "a", release_id=f"same-beginning-{n}") for n in (1, 2)]
    assert of(runs).releases[:2] == (
        "v1 (release same-beginning-1)",
        "v1 (release same-beginning-2)",
    )


def test_one_tag_in_two_environments_has_two_columns_and_did_not_move():
    runs = [
        made(1, "v1", "a", release_id="1", environment="local"),
        made(2, "v1", "a", release_id="2", environment="production"),
    ]
    compared = of(runs)
    assert compared.releases[:2] == ("v1 (local)", "v1 (production)")
    assert compared.moved_tags == ()


def test_the_baseline_of_a_tag_that_moved_is_its_newest_release():
    runs = [made(1, "v1", "a", release_id="old"), made(2, "v1", "a", release_id="new")]
    assert of(runs).baseline == of(runs, baseline="v1").baseline == "v1 (release new)"
    with pytest.raises(InputError, match=r"'v9' is not among .*: v1 \(release old\), v1 \("):
        of(runs, baseline="v9")


def test_cases_that_are_known_come_first_and_are_missing_where_they_were_not_run():
    known = [
        SweepCase(
            0, case_id({"ticket": "never"}), {"ticket": "never"}, {"said": "x"}, {"who": "ann"}
        ),
        SweepCase(1, case_id({"ticket": "b"}), {"ticket": "b"}, {"said": "y"}),
    ]
    compared = of([made(1, "v1", "a"), made(2, "v1", "b")], cases=known)
    frame = compared.frame()
    assert frame["input.ticket"].tolist() == ["never", "b", "a"]
    assert frame["expected.said"].tolist()[:2] == ["x", "y"]
    assert frame["label.who"].tolist()[0] == "ann"
    assert frame["state@v1"].tolist() == ["missing", "FULFILLED", "FULFILLED"]
    only = of([made(1, "v1", "a")], cases=known, only=[case_id({"ticket": "b"})])
    assert [case.inputs for case in only.cases] == [{"ticket": "b"}]


def test_what_a_reader_said_goes_before_what_a_table_says():
    known = [SweepCase(0, case_id({"ticket": "a"}), {"ticket": "a"}, {"said": "table", "n": 1})]
    runs = [
        made(1, "v1", "a", desired={"said": "older"}),
        made(2, "v2", "a", desired={"said": "z"}),
    ]
    assert of(runs, cases=known).cases[0].expected == {"said": "z", "n": 1}
