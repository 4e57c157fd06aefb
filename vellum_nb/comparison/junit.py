"""A figures as JUnit XML, which continuous integration shows: one test case for each case."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from vellum_nb.comparison.cases import Case
from vellum_nb.comparison.figures import ComparisonFigures
from vellum_nb.comparison.gate import Failure, reason_of

__all__ = ["junit"]

# What XML 1.0 has no way to write.
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(figures: ComparisonFigures, metrics: Sequence[str], failures: Sequence[Failure]) -> str:
    """Return one suite for each release and metric.

    A case that is worse is a failure, one without an answer or figure an error; one that the
    metric does not apply to is skipped. The last test case of a suite is the release as a whole: it
    fails where the release does not pass.
    """
    root = ET.Element("testsuites", name=_clean(figures.deployment))
    for release in figures.others:
        for metric in metrics:
            failure = next(
                (f for f in failures if (f.release, f.metric) == (release, metric)), None
            )
            root.append(_suite(figures, release, metric, failure))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(
    figures: ComparisonFigures, release: str, metric: str, failure: Failure | None
) -> ET.Element:
    name = f"{figures.deployment} {release} against {figures.baseline}: {metric}"
    suite = ET.Element("testsuite", name=_clean(name))
    for case in figures.cases:
        suite.append(_case(figures, case, release, metric))
    whole = ET.SubElement(suite, "testcase", classname=_clean(name), name="all cases")
    line = _clean(figures.line(release, metric))
    if failure is not None:
        message = _clean("; ".join(failure.reasons))
        ET.SubElement(whole, "failure", message=message, type="RegressionError").text = line
    else:
        ET.SubElement(whole, "system-out").text = line
    for kind in ("failure", "error", "skipped"):
        number = sum(each.find(kind) is not None for each in suite)
        suite.set(f"{kind}s" if kind != "skipped" else kind, str(number))
    suite.set("tests", str(len(suite)))
    return suite


def _case(figures: ComparisonFigures, case: Case, release: str, metric: str) -> ET.Element:
    made = ET.Element(
        "testcase",
        classname=_clean(f"{figures.deployment} {release} {metric}"),
        name=f"case {case.number} ({case.case_id})",
    )
    found = case.counting(release)
    if found is not None and found.latency_s is not None:
        made.set("time", f"{found.latency_s:.6f}")
    verdict = figures.verdict(case, release, metric)
    kind = {"worse": "failure", "missing": "error", "error": "error", "unscored": "skipped"}
    if verdict in kind:
        message = _clean(reason_of(figures, case, release, metric))
        ET.SubElement(made, kind[verdict], message=message)
    return made


def _clean(text: str) -> str:
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text)
