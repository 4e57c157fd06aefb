"""Gate: whether a release passes against the baseline, as an error or as JUnit XML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

from vellum_nb.comparison.cases import Case, error_text
from vellum_nb.comparison.figures import ComparisonFigures
from vellum_nb.errors import InputError, RegressionError
from vellum_nb.escaping import printable, warn
from vellum_nb.models.checks import refuse
from vellum_nb.rendering.diff import output_status
from vellum_nb.rendering.format import (
    number_text,
    one_line,
    p_sentence,
    plural,
    value_line,
    xml_text,
)

_SHOWN = 20
_MAX_CHARS = 70  # of a value in a message
_KINDS = {"worse": "failure", "missing": "error", "error": "error", "unscored": "skipped"}


@dataclass(frozen=True, slots=True)
class Result:
    """Gate result of one release for one metric. Passes if `reasons` is empty."""

    release: str
    metric: str
    reasons: tuple[str, ...]
    worse: tuple[Case, ...]  # worst first
    missing: tuple[Case, ...]  # without an answer or figure, if too many
    problem: str  # of an unchecked judge


def failures(
    figures: ComparisonFigures,
    metrics: Sequence[str],
    releases: Sequence[str],
    **limits: Any,
) -> list[Result]:
    """Return the gate results by release and metric; `limits` as in `assert_no_regressions`."""
    for name in ("max_regressions", "max_missing", "alpha"):
        value = limits[name]
        kinds = (int, float) if name == "alpha" else (int,)
        fits = isinstance(value, kinds) and not isinstance(value, bool) and value >= 0
        if value is not None and not (fits and (name != "alpha" or value <= 1)):
            expected = "a number from 0 to 1" if name == "alpha" else "a whole number from 0 on"
            refuse(name, value, f"{expected}, or None for no limit")
    if not releases:
        msg = f"only {figures.baseline} is compared: name another release tag, too"
        raise InputError(msg)
    return [_result(figures, release, m, **limits) for release in releases for m in metrics]


def _result(
    figures: ComparisonFigures,
    release: str,
    metric: str,
    *,
    max_regressions: int | None,
    max_missing: int | None,
    alpha: float | None,
    require_checked_judge: bool = False,
) -> Result:
    worse = figures.cases_by("worse", (release,), metric)
    missing = [
        case
        for case in figures.cases
        if figures.verdict(case, release, metric) in {"missing", "error"}
        and not figures.is_left_out(case, release, metric)
    ]
    reasons = []
    result = figures.result(release, metric)
    too_many = max_missing is not None and len(missing) > max_missing
    if not result.compared:
        reasons.append("nothing could be compared: no case has a figure on both releases")
    elif too_many:
        count = plural(len(missing), "case has", "cases have")
        reasons.append(f"{count} no answer or no figure; {_allowed('max_missing', max_missing)}")
    if max_regressions is not None and len(worse) > max_regressions:
        count = plural(len(worse), "case is", "cases are")
        reasons.append(f"{count} worse; {_allowed('max_regressions', max_regressions)}")
    if alpha is not None and figures.finding(release, metric, alpha=alpha) == "worse":
        by_signs = result.delta is None or math.isnan(result.delta.mean)
        p = p_sentence(result.sign_p if by_signs else result.p)
        reasons.append(f"it is worse overall, and chance is an unlikely reason: {p}, alpha={alpha}")
    problem = figures.checks[metric].problem if metric in figures.checks else ""
    reasons += [problem] if problem and require_checked_judge else []
    named = missing if too_many or not result.compared else ()
    return Result(release, metric, tuple(reasons), tuple(worse), tuple(named), problem)


def _allowed(name: str, most: int | None) -> str:
    return f"{name}={most} allows {f'{most:,}' if most else 'none'}"


def check(figures: ComparisonFigures, results: Sequence[Result]) -> None:
    """Raise `RegressionError` if a release does not pass; otherwise warn of unchecked judges."""
    failed = [result for result in results if result.reasons]
    notes = dict.fromkeys(result.problem for result in failed or results if result.problem)
    if not failed:
        for note in notes:
            warn(note, stacklevel=3)
        return
    releases = ", ".join(dict.fromkeys(result.release for result in failed))
    against = f"did not pass against {figures.baseline}, {plural(len(figures.cases), 'case')}:"
    lines = [f"{figures.deployment}: {releases} {against}"]
    for result in failed:
        key = result.release, result.metric
        lines.append(f"  {figures.result(*key).line} ({result.metric})")
        lines += [f"  {reason}" for reason in result.reasons]
        lines += [f"  - {_case_line(figures, case, *key)}" for case in result.worse[:_SHOWN]]
        if len(result.worse) > _SHOWN:
            call = f"regressions({result.metric!r}, release={result.release!r})"
            lines.append(f"  … and {len(result.worse) - _SHOWN:,} more; {call} has them all")
        lines += [f"  - {_case_line(figures, case, *key)}" for case in result.missing[:_SHOWN]]
    lines += [f"  {note}" for note in notes if f"  {note}" not in lines]
    error = RegressionError(printable("\n".join(lines)))
    error.case_ids = tuple(dict.fromkeys(case.case_id for r in failed for case in r.worse))
    reasons = (f"{r.release} by {r.metric}: {reason}" for r in failed for reason in r.reasons)
    error.reasons = tuple(reasons)
    raise error


def _case_line(figures: ComparisonFigures, case: Case, release: str, metric: str) -> str:
    inputs = value_line(next(iter(case.inputs.values()), None), _MAX_CHARS)
    reason = _reason(figures, case, release, metric)
    return f"case {case.number} ({case.case_id}) · {inputs} · {reason}"


def _reason(figures: ComparisonFigures, case: Case, release: str, metric: str) -> str:
    """Return the figures and short outputs of a case in a line, or why they are missing."""
    verdict = figures.verdict(case, release, metric)
    values = [figures.value(case, column, metric) for column in (case.baseline, release)]
    if verdict == "unscored":
        return f"{metric} does not apply"
    if verdict == "error" and values[1] is None:
        return f"{metric} raised; errors() lists the runs and messages"
    runs = {column: case.counting(column) for column in (case.baseline, release)}
    if verdict == "missing":
        return ", ".join(
            f"{run.state if run else 'no run'} on {column}"
            for column, run in runs.items()
            if not case.answers(column)
        )
    words = ["?" if value is None else number_text(round(value, 6)) for value in values]
    parts = [f"{metric} {' → '.join(words)}"]
    base, answer = runs[case.baseline], runs[release]
    if answer is not None and answer.error is not None:
        parts.append(one_line(error_text(answer), _MAX_CHARS))
    elif base is not None and answer is not None:
        for name in answer.outputs:
            texts = [value_line(run.outputs.get(name), _MAX_CHARS) for run in (base, answer)]
            differs = output_status(name, answer, base) == "differs"
            if differs and all(len(text) < _MAX_CHARS for text in texts):
                parts.append(f"{name}: {' → '.join(texts)}")
    return " · ".join(parts)


def junit(figures: ComparisonFigures, results: Sequence[Result]) -> str:
    """Return JUnit XML: one suite per release and metric, with a last test case for all cases.

    A worse case is a failure, a case without an answer or figure an error, and a case outside the
    scope of the metric is skipped.
    """
    root = ET.Element("testsuites", name=xml_text(figures.deployment))
    for result in results:
        name = f"{figures.deployment} {result.release} against {figures.baseline}: {result.metric}"
        suite = ET.SubElement(root, "testsuite", name=xml_text(name))
        for case in figures.cases:
            suite.append(_test_case(figures, case, result.release, result.metric))
        summary = ET.SubElement(suite, "testcase", classname=xml_text(name), name="all cases")
        made = ET.SubElement(summary, "failure" if result.reasons else "system-out")
        line = figures.result(result.release, result.metric).line
        made.text = xml_text(f"{line} · {result.problem}" if result.problem else line)
        if result.reasons:
            made.set("message", xml_text("; ".join(result.reasons)))
            made.set("type", "RegressionError")
        for kind in ("failure", "error", "skipped"):
            number = sum(test.find(kind) is not None for test in suite)
            suite.set(f"{kind}s" if kind != "skipped" else kind, str(number))
        suite.set("tests", str(len(suite)))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _test_case(figures: ComparisonFigures, case: Case, release: str, metric: str) -> ET.Element:
    made = ET.Element(
        "testcase",
        classname=xml_text(f"{figures.deployment} {release} {metric}"),
        name=f"case {case.number} ({case.case_id})",
    )
    run = case.counting(release)
    if run is not None and run.latency_s is not None:
        made.set("time", f"{run.latency_s:.6f}")
    verdict = figures.verdict(case, release, metric)
    if verdict in {*_KINDS, "better"}:
        reason = xml_text(_reason(figures, case, release, metric))
        is_left_out = figures.is_left_out(case, release, metric)
        if kind := "skipped" if is_left_out else _KINDS.get(verdict):
            ET.SubElement(made, kind, message=reason)
        else:
            ET.SubElement(made, "system-out").text = f"better: {reason}"
    return made
