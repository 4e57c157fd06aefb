"""JUnit XML as programs that read it see it."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from report_kit import compared, failed, judged, run, wanted

from vellum_nb import InputError

YES, NO = "yes", "no"


def suites(text):
    return {suite.get("name"): suite for suite in ET.fromstring(text)}  # noqa: S314  (ours)


def test_a_suite_for_each_release_and_metric_a_test_case_for_each_case():
    runs = [run("v1", "a"), run("v2", "a", NO), run("v3", "a")]
    runs += [run("v1", "b"), failed("v2", "b"), run("v3", "b")]
    cmp = compared(
        *runs,
        tags=("v1", "v2", "v3"),
        cases=wanted({"a": YES, "b": YES}),
        metrics=["exact", "latency_s"],
    )
    found = suites(cmp.to_junit(metric=["exact", "latency_s"]))
    assert list(found) == [
        f"words {tag} against v1: {name}" for tag in ("v2", "v3") for name in ("exact", "latency_s")
    ]
    worse = found["words v2 against v1: exact"]
    assert {key: worse.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3", "failures": "2", "errors": "1", "skipped": "0",
    }  # fmt: skip
    cases = list(worse)
    assert [case.get("name") for case in cases] == [
        f"case 1 ({cmp.cases[0].case_id})", f"case 2 ({cmp.cases[1].case_id})", "all cases",
    ]  # fmt: skip
    assert cases[0].find("failure").get("message") == "exact 1 → 0 · answer: yes → no"
    assert cases[0].get("time") == "0.250000"
    assert cases[1].find("error").get("message") == "FAILED on v2"
    assert "1 case is worse; max_regressions=0" in cases[2].find("failure").get("message")
    good = found["words v3 against v1: exact"]
    assert (good.get("failures"), good.get("errors")) == ("0", "0")


def test_the_release_all_in_all_passes_where_as_many_may_be_worse():
    cmp = judged({"v1": [YES] * 9, "v2": [NO] + [YES] * 8})
    (suite,) = suites(cmp.to_junit(max_regressions=1)).values()
    assert suite[-1].find("failure") is None
    assert suite[-1].find("system-out").text.startswith("v2: 0 better · 1 worse")


def test_a_case_that_the_metric_does_not_apply_to_is_skipped():
    cmp = compared(
        run("v1"),
        run("v2"),
        run("v1", "b"),
        run("v2", "b"),
        cases=wanted({"a": YES}),
        metrics="exact",
    )
    (suite,) = suites(cmp.to_junit()).values()
    assert suite.get("skipped") == "1"


@pytest.mark.parametrize("text", ["<a>&\"'", "\x00\x1b[2J\ufffe", "]]>", "\ud83d"])
def test_whatever_runs_say_the_file_is_xml(tmp_path, text):
    cmp = compared(run("v1"), run("v2", answer=text), cases=wanted({"a": YES}), metrics="exact")
    path = cmp.to_junit(tmp_path / "junit.xml")
    root = ET.parse(path).getroot()  # noqa: S314  (ours)
    assert root.find(".//failure") is not None


def test_without_a_metric_there_is_nothing_to_tell():
    with pytest.raises(InputError, match="nothing distinguishes better from worse"):
        compared(run("v1"), run("v2")).to_junit()
