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
_GLIMPSE = 70  # characters
# What XML 1.0 has no way to write.
_KINDS = {"worse": "failure", "missing": "error", "error": "error", "unscored": "skipped"}


@dataclass(frozen=True, slots=True)
class Result:
    """How a release fares by one metric: it passes where there is no reason."""

    release: str
    metric: str
    reasons: tuple[str, ...]
    worse: tuple[Case, ...]  # the worst first
    missing: tuple[Case, ...]  # without an answer or figure, where they are too many
    problem: str  # of a judge that does not count as checked


def failures(
    figures: ComparisonFigures,
    metrics: Sequence[str],
    releases: Sequence[str],
    **limits: Any,
) -> list[Result]:
    """Return how each release fares by each metric; `limits` as of `assert_no_regressions`."""
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
    return [_result(figures, each, name, **limits) for each in releases for name in metrics]


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
    found = figures.against[release, metric]
    too_many = max_missing is not None and len(missing) > max_missing
    if not found.compared:
        reasons.append("nothing could be compared: no case has a figure on both releases")
    elif too_many:
        what = plural(len(missing), "case has", "cases have")
        reasons.append(f"{what} no answer or no figure; {_allowed('max_missing', max_missing)}")
    if max_regressions is not None and len(worse) > max_regressions:
        what = plural(len(worse), "case is", "cases are")
        reasons.append(f"{what} worse; {_allowed('max_regressions', max_regressions)}")
    if alpha is not None and figures.finding(release, metric, alpha=alpha) == "worse":
        by_signs = math.isnan(found.change.mean)
        p = p_sentence((figures.sign_p if by_signs else figures.p)[release, metric])
        reasons.append(f"it is worse as a whole, and unlikely by chance: {p}, alpha={alpha}")
    problem = figures.checks[metric].problem if metric in figures.checks else ""
    reasons += [problem] if problem and require_checked_judge else []
    named = missing if too_many or not found.compared else ()
    return Result(release, metric, tuple(reasons), tuple(worse), tuple(named), problem)


def _allowed(name: str, most: int | None) -> str:
    return f"{name}={most} allows {f'{most:,}' if most else 'none'}"


def check(figures: ComparisonFigures, results: Sequence[Result]) -> None:
    """Raise `RegressionError` where a release does not pass; else warn of unchecked judges."""
    found = [each for each in results if each.reasons]
    notes = dict.fromkeys(each.problem for each in found or results if each.problem)
    if not found:
        for note in notes:
            warn(note, stacklevel=3)
        return
    releases = ", ".join(dict.fromkeys(each.release for each in found))
    against = f"did not pass against {figures.baseline}, {plural(len(figures.cases), 'case')}:"
    lines = [f"{figures.deployment}: {releases} {against}"]
    for each in found:
        of = each.release, each.metric
        lines.append(f"  {figures.line(*of)} ({each.metric})")
        lines += [f"  {reason}" for reason in each.reasons]
        lines += [f"  - {_case_line(figures, case, *of)}" for case in each.worse[:_SHOWN]]
        if len(each.worse) > _SHOWN:
            call = f"regressions({each.metric!r}, release={each.release!r})"
            lines.append(f"  … and {len(each.worse) - _SHOWN:,} more; {call} has them all")
        lines += [f"  - {_case_line(figures, case, *of)}" for case in each.missing[:_SHOWN]]
    lines += [f"  {note}" for note in notes if f"  {note}" not in lines]
    error = RegressionError(printable("\n".join(lines)))
    error.case_ids = tuple(dict.fromkeys(case.case_id for each in found for case in each.worse))
    error.reasons = tuple(
        f"{each.release} by {each.metric}: {reason}" for each in found for reason in each.reasons
    )
    raise error


def _case_line(figures: ComparisonFigures, case: Case, release: str, metric: str) -> str:
    inputs = value_line(next(iter(case.inputs.values()), None), _GLIMPSE)
    reason = _reason(figures, case, release, metric)
    return f"case {case.number} ({case.case_id}) · {inputs} · {reason}"


def _reason(figures: ComparisonFigures, case: Case, release: str, metric: str) -> str:
    """Return in a line how a case fares: its figures and short outputs, or why there are none."""
    verdict = figures.verdict(case, release, metric)
    values = [figures.value(case, each, metric) for each in (case.baseline, release)]
    if verdict == "unscored":
        return f"{metric} does not apply"
    if verdict == "error" and values[1] is None:
        return f"{metric} raised; errors() lists the runs and messages"
    runs = {each: case.counting(each) for each in (case.baseline, release)}
    if verdict == "missing":
        return ", ".join(
            f"{run.state if run else 'no run'} on {each}"
            for each, run in runs.items()
            if not case.answers(each)
        )
    words = ["?" if value is None else number_text(round(value, 6)) for value in values]
    parts = [f"{metric} {' → '.join(words)}"]
    base, other = runs[case.baseline], runs[release]
    if other is not None and other.error is not None:
        parts.append(one_line(error_text(other), _GLIMPSE))
    elif base is not None and other is not None:
        for name in other.outputs:
            texts = [value_line(run.outputs.get(name), _GLIMPSE) for run in (base, other)]
            differs = output_status(name, other, base) == "differs"
            if differs and all(len(text) < _GLIMPSE for text in texts):
                parts.append(f"{name}: {' → '.join(texts)}")
    return " · ".join(parts)


def junit(figures: ComparisonFigures, results: Sequence[Result]) -> str:
    """Return JUnit XML: one suite for each release and metric, its last test case the whole.

    A case that is worse is a failure, one without an answer or figure an error; one that the
    metric does not apply to is skipped.
    """
    root = ET.Element("testsuites", name=xml_text(figures.deployment))
    for each in results:
        name = f"{figures.deployment} {each.release} against {figures.baseline}: {each.metric}"
        suite = ET.SubElement(root, "testsuite", name=xml_text(name))
        for case in figures.cases:
            suite.append(_test_case(figures, case, each.release, each.metric))
        whole = ET.SubElement(suite, "testcase", classname=xml_text(name), name="all cases")
        made = ET.SubElement(whole, "failure" if each.reasons else "system-out")
        line = figures.line(each.release, each.metric)
        made.text = xml_text(f"{line} · {each.problem}" if each.problem else line)
        if each.reasons:
            made.attrib |= {"message": xml_text("; ".join(each.reasons)), "type": "RegressionError"}
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
