"""Alignment of runs: cells, columns and missing answers."""

from collections import Counter
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_kit import compared, failed, run, wanted

from vellum_nb.comparison import Comparison
from vellum_nb.errors import InputError
from vellum_nb.models import Run, RunError, case_id

TAGS = ("v1", "v2", "v3")
STATES = ("FULFILLED", "REJECTED", "FAILED", "CANCELLED", "STARTED")
ROWS = st.tuples(
    st.sampled_from([*TAGS, "other"]),
    st.sampled_from("abcd"),
    st.sampled_from(["x", "y", 1, None]),
    st.sampled_from(STATES),
    st.sampled_from([None, "r1", "r2"]),
    st.sampled_from([None, "local", "cloud"]),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Run]:
    return [
        run(tag, text, answer, state=state, release_id=release, environment=environment)
        for tag, text, answer, state, release, environment in draw(st.lists(ROWS, max_size=25))
    ]


def of(runs: list[Run], **options: Any) -> Comparison:
    return compared(*runs, tags=TAGS, **options)


@given(histories(), st.randoms())
def test_each_run_is_in_one_cell_in_any_order_of_runs(runs, rng):
    shuffled = list(runs)
    rng.shuffle(shuffled)
    found = of(runs)
    assert found.frame().equals(of(shuffled).frame())
    placed = Counter(
        each.id for case in found.cases for tries in case.tries.values() for each in tries
    )
    assert placed == Counter(each.id for each in runs if each.release_tag in TAGS)
    for case in found.cases:
        for release, tries in case.tries.items():
            assert {each.case_id for each in tries} == {case.case_id}
            assert all(release.startswith(each.release_tag) for each in tries)
    for release in found.releases:
        tries = [each for case in found.cases for each in case.tries.get(release, ())]
        assert len({(r.environment, r.release_id) for r in tries if r.release_id}) <= 1


@given(histories())
def test_case_is_answered_failed_or_missing(runs):
    found = of(runs, metrics=[lambda run: len(str(run.outputs))])
    summary = found.summary()
    assert (summary["n"] + summary["missing"] + summary["failed"] == summary["cases"]).all()
    assert (summary["cases"] == len(found.cases)).all()
    for release in found.figures.others:
        statuses = Counter(found.figures.statuses[release])
        counts = found.figures.against[release, found.metrics[0].name].counts
        assert sum(statuses.values()) == sum(counts.values()) == len(found.cases)
        assert counts["missing"] == statuses["missing"] == found.result(release).missing
        verdicts = found.frame()[f"verdict@{release}"].tolist()
        for case, verdict in zip(found.cases, verdicts, strict=True):
            both = case.answer(release) and case.answer(found.baseline)
            assert (verdict == "missing") == (not both)  # else better, worse or the same


def test_newest_of_the_repeats_is_shown():
    found = of([run("v1"), run("v2", answer="old"), run("v2", answer="new"), failed("v2")])
    case = found.cases[0]
    assert case.runs["v2"].outputs == {"answer": "new"}
    assert [each.outputs["answer"] for each in case.answers("v2")] == ["old", "new"]
    assert case.repeats("v2") == (1, 2)
    assert case.is_unstable
    table = found.answers
    assert table[["case", "release", "repeat", "counts"]].to_numpy().tolist() == [
        [0, 0, 0, True], [0, 1, 0, False], [0, 1, 1, True], [0, 1, 2, False],
    ]  # fmt: skip
    assert table["kind"].tolist() == [0, 1, 2, -1]


def test_missing_case_is_neither_changed_nor_unchanged():
    runs = [run("v1", "a"), run("v2", "a"), run("v1", "b"), run("v2", "b", "no"), run("v1", "c")]
    frame = compared(*runs, failed("v2", "c")).frame()
    assert list(frame.columns) == [
        "case_id", "changed", "input.text", "output.answer@v1", "output.answer@v2", "state@v1",
        "state@v2", "answers@v1", "answers@v2", "changed@v2",
    ]  # fmt: skip
    assert frame["changed"].tolist() == [False, True, pd.NA]
    assert frame["output.answer@v2"].isna().tolist() == [False, False, True]
    assert frame["state@v2"].tolist() == ["FULFILLED", "FULFILLED", "FAILED"]


def rejected(tag: str, message: str) -> Run:
    error = RunError(code="USER_DEFINED_ERROR", message=message)
    return run(tag, outputs={}, state="REJECTED", error=error)


@pytest.mark.parametrize(
    ("base", "message", "changed"),
    [(rejected("v1", "no"), "no", 0), (rejected("v1", "no"), "not today", 1), (run("v1"), "no", 1)],
)
def test_rejected_run_is_an_answer(base, message, changed):
    result = compared(base, rejected("v2", message)).result("v2")
    assert (result.unchanged, result.changed) == (1 - changed, changed)


def test_moved_tag_has_a_column_for_each_release():
    ids = ["b0123456789", "a0123456789", None]
    found = of([run("v1"), *(run("v2", release_id=each) for each in ids)])
    labels = [f"v2 (release {each})" for each in ("b0123456…", "a0123456…", "unknown")]
    assert found.releases == ("v1", *labels, "v3")
    assert found.moved_tags == ("v2",)
    assert found.with_baseline(labels[0]).baseline == labels[0]


def test_run_can_mark_its_tag_as_moved():
    assert of([run("v1", tag_moved=True)]).moved_tags == ("v1",)


def test_similar_release_ids_are_not_shortened():
    alike = of([run("v1", release_id=f"same-beginning-{n}") for n in (1, 2)])
    assert alike.releases[:2] == tuple(f"v1 (release same-beginning-{n})" for n in (1, 2))


def test_tag_in_two_environments_has_not_moved():
    places = [run("v1", release_id=each, environment=each) for each in ("local", "cloud")]
    assert of(places).releases[:2] == ("v1 (local)", "v1 (cloud)")
    assert of(places).moved_tags == ()


@pytest.mark.parametrize("options", [{}, {"baseline": "v1"}])
def test_newest_release_of_a_moved_tag_is_the_baseline(options):
    runs = [run("v1", release_id="old"), run("v1", release_id="new")]
    assert of(runs, **options).baseline == "v1 (release new)"
    assert compared(*runs, tags=["v1"], **options).baseline == "v1 (release new)"


def test_unknown_baseline_is_refused():
    runs = [run("v1", release_id="old"), run("v1", release_id="new")]
    with pytest.raises(InputError, match=r"'v9' is not a compared .*; available: v1 \(release old"):
        of(runs, baseline="v9")


def test_comparison_without_release_tags_is_refused():
    with pytest.raises(InputError, match="release_tags must be release tags, such as"):
        compared(tags=())


def test_given_cases_are_listed_first():
    known = wanted({"never": "x", "b": "y"}, who="ann")
    found = of([run("v1", "a"), run("v1", "b"), run("v1", "c", deployment="other")], cases=known)
    frame = found.frame()
    assert frame["input.text"].tolist() == ["never", "b", "a"]
    assert frame["expected.answer"].tolist()[:2] == ["x", "y"]
    assert frame["label.who"].tolist()[0] == "ann"
    assert frame["state@v1"].tolist() == ["missing", "FULFILLED", "FULFILLED"]
    only = of([run("v1", "a")], cases=known, only=[case_id({"text": "b"})])
    assert [case.inputs for case in only.cases] == [{"text": "b"}]
