"""Gate: whether a release passes against the baseline, as an error or as JUnit XML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict
from xml.etree import ElementTree as ET

from vellum_nb.comparison.cases import Case, error_text
from vellum_nb.comparison.decisions import Decisions
from vellum_nb.comparison.figures import ComparisonFigures
from vellum_nb.errors import InconclusiveError, RegressionError
from vellum_nb.escaping import printable, printed, warn
from vellum_nb.models.checks import check_integer, check_keywords, refuse
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


class RegressionLimits(TypedDict, total=False):
    """Limits of `Comparison.assert_no_regressions`, which documents them."""

    max_regressions: int | None
    max_missing: int | None
    alpha: float | None


REGRESSION_LIMITS: Mapping[str, Any] = {"max_regressions": 0, "max_missing": 0, "alpha": 0.05}
"""Their defaults."""


@dataclass(frozen=True, slots=True)
class Result:
    """Gate result of one release for one metric.

    Fails if it has `reasons`, is inconclusive if it only has `doubts`, and passes otherwise.
    """

    release: str
    metric: str
    reasons: tuple[str, ...]
    worse: tuple[Case, ...]  # worst first
    missing: tuple[Case, ...]  # without an answer or figure, if too many
    problem: str  # of an unchecked judge
    doubts: tuple[str, ...] = ()
    sentence: str = ""  # the decision, if a margin decides
    caveats: tuple[str, ...] = ()  # labels by which cases may be dependent

    @property
    def problems(self) -> list[str]:
        """The judge's problem, if it is among the reasons."""
        return [self.problem] if self.problem and self.problem in self.reasons else []

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings."""
        texts = (f"{printable(self.release)}: {text}" for text in self.caveats)
        return tuple(filter(None, (self.problem, *texts)))


@dataclass(frozen=True, slots=True, repr=False)
class GateResult:
    """Result of a gate that passed. Prints one sentence per release.

    Attributes
    ----------
    sentences : tuple of str
        The verdict on each release, as in `Comparison.decide`, or its counts by each metric.
    """

    sentences: tuple[str, ...]

    @printed
    def __str__(self) -> str:
        return "\n".join(self.sentences)

    __repr__ = __str__


def failures(
    figures: ComparisonFigures,
    metrics: Sequence[str],
    releases: Sequence[str],
    given: RegressionLimits,
    *,
    require_checked_judge: bool = False,
) -> list[Result]:
    """Return the gate results by release and metric; limits as in `assert_no_regressions`."""
    limits: dict[str, Any] = {**REGRESSION_LIMITS, **given}
    check_keywords("assert_no_regressions", given, REGRESSION_LIMITS)
    for name in ("max_regressions", "max_missing"):
        check_integer(name, limits[name], optional=True)
    alpha = limits["alpha"]
    is_number = isinstance(alpha, int | float) and not isinstance(alpha, bool)
    if alpha is not None and not (is_number and 0 <= alpha <= 1):
        refuse("alpha", alpha, "a number from 0 to 1, or None for no limit")
    figures.check_others()
    limits["require_checked_judge"] = require_checked_judge
    return [_result(figures, release, m, **limits) for release in releases for m in metrics]


def _result(
    figures: ComparisonFigures,
    release: str,
    metric: str,
    *,
    max_regressions: int | None,
    max_missing: int | None,
    alpha: float | None,
    require_checked_judge: bool,
) -> Result:
    worse = figures.cases_by("worse", (release,), metric)
    missing = [case for case in figures.cases if _is_gap(figures, case, release, metric)]
    omitted = sum(not all(map(case.tries.get, (release, figures.baseline))) for case in missing)
    reasons, doubts = [], []
    result, against = figures.result(release, metric), figures.against[release, metric]
    too_many = max_missing is not None and len(missing) > max_missing
    if not result.compared:
        reasons.append("nothing could be compared: no case has a figure on both releases")
    elif too_many and figures.order is not None and len(missing) - omitted <= (max_missing or 0):
        cases = plural(omitted, "case was", "cases were")
        doubts.append(f"{cases} not run, and no difference was decided without them")
    elif too_many:
        count = plural(len(missing), "case has", "cases have")
        reasons.append(f"{count} no answer or no figure; {_allowed('max_missing', max_missing)}")
    if max_regressions is not None and len(worse) > max_regressions:
        count = plural(len(worse), "case is", "cases are")
        reasons.append(f"{count} worse; {_allowed('max_regressions', max_regressions)}")
    if alpha is not None and figures.finding(release, metric, alpha=alpha) == "worse":
        chance = f"{p_sentence(result.p)}, {result.test}, alpha={alpha}"
        reasons.append(f"it is significantly worse overall: {chance}")
    by_cases = max_regressions is not None and max_regressions < result.compared
    by_test = alpha is not None and against.can_show(alpha / len(figures.others))
    if not (by_cases or by_test) and (max_regressions, alpha) != (None, None):
        doubts.append(_could_not_fail(result.compared, max_regressions, alpha))
    problem = figures.checks[metric].problem if metric in figures.checks else ""
    reasons += [problem] if problem and require_checked_judge else []
    note = figures.cluster_note(release, metric) if alpha is not None else ""
    return Result(
        release,
        metric,
        tuple(reasons),
        tuple(worse),
        missing=tuple(missing if too_many or not result.compared else ()),
        problem=problem,
        doubts=tuple(doubts),
        caveats=(note,) if note else (),
    )


def _is_gap(figures: ComparisonFigures, case: Case, release: str, metric: str) -> bool:
    """Return whether a figure is missing that could have been worse."""
    if figures.is_left_out(case, release, metric):
        return False
    verdict = figures.verdict(case, release, metric)
    has = [figures.value(case, name, metric) is not None for name in (release, figures.baseline)]
    return verdict in {"missing", "error"} or (verdict == "unscored" and any(has))


def _could_not_fail(number: int, max_regressions: int | None, alpha: float | None) -> str:
    allowed = "all" if max_regressions is None else f"{max_regressions:,}"
    text = f"no outcome of {plural(number, 'case')} could fail: {allowed} of them may be worse"
    return text if alpha is None else f"{text}, and they are too few for a test at alpha={alpha}"


def decided(
    figures: ComparisonFigures,
    decisions: Decisions,
    releases: Sequence[str],
    *,
    require_checked_judge: bool = False,
) -> list[Result]:
    """Return the gate results of decisions by release and metric."""
    results = []
    for release in releases:
        whole = decisions[release]
        for metric, decision in whole.by_metric.items():
            problem = figures.checks[metric].problem if metric in figures.checks else ""
            is_unchecked, fails = bool(problem) and require_checked_judge, "should not replace"
            reasons = [problem] if is_unchecked else []
            reasons += [decision.reason] if decision.verdict == fails else []
            is_overruled = is_unchecked and whole.verdict != fails
            is_open = decision.verdict == "cannot tell yet"
            result = Result(
                release,
                metric,
                tuple(reasons),
                worse=tuple(figures.cases_by("worse", (release,), metric)),
                missing=(),
                problem=problem,
                doubts=(decision.reason,) if is_open else (),
                sentence=f"{'Otherwise, ' if is_overruled else ''}{whole.sentence}",
                caveats=tuple(decisions.caveats.get(release, ())),
            )
            results.append(result)
    return results


def _allowed(name: str, most: int | None) -> str:
    return f"{name}={most} allows {f'{most:,}' if most else 'none'}"


def check(
    figures: ComparisonFigures, results: Sequence[Result], *, allow_inconclusive: bool = False
) -> GateResult:
    """Raise `RegressionError` if a release does not pass, `InconclusiveError` if it is unknown.

    Warn of unchecked judges if all pass, and of doubts with `allow_inconclusive`.
    """
    failed = [result for result in results if result.reasons]
    open_ = [result for result in results if result.doubts]
    notes = dict.fromkeys(note for result in failed or results for note in result.notes)
    if not failed and open_ and allow_inconclusive:
        doubts = ((r.sentence, doubt) for r in open_ for doubt in r.doubts)
        notes |= dict.fromkeys(" ".join(filter(None, texts)) for texts in doubts)
        open_ = []
    if not failed and not open_:
        for note in notes:
            warn(note, stacklevel=3)
        sentences = (r.sentence or _passed_text(figures, r) for r in results)
        return GateResult(tuple(dict.fromkeys(sentences)))
    chosen = failed or open_
    releases = ", ".join(dict.fromkeys(result.release for result in chosen))
    against = f"against {figures.baseline}, {plural(len(figures.cases), 'case')}:"
    is_plural = len({result.release for result in chosen}) > 1
    verb = "did not pass" if failed else f"{'are' if is_plural else 'is'} inconclusive"
    lines = [f"{figures.deployment}: {releases} {verb} {against}"]
    for result in chosen:
        lines += _result_lines(figures, result)
    lines += [f"  {note}" for note in notes if f"  {note}" not in lines]
    text = printable("\n".join(dict.fromkeys(lines)))
    reasons = (
        f"{r.release} by {r.metric}: {reason}" for r in chosen for reason in r.reasons or r.doubts
    )
    error: RegressionError | InconclusiveError = InconclusiveError(text)
    if failed:
        error = RegressionError(text)
        error.case_ids = tuple(dict.fromkeys(case.case_id for r in failed for case in r.worse))
    sentences = (text for r in chosen if r.sentence for text in (*r.problems, r.sentence))
    error.reasons = tuple(dict.fromkeys(sentences)) or tuple(reasons)
    raise error


def _passed_text(figures: ComparisonFigures, result: Result) -> str:
    """Return the counts of a release that passes without a margin, as a sentence."""
    name, line = printable(result.release), figures.result(result.release, result.metric).line
    counts = f"{line.removeprefix(f'{name}: ')} ({result.metric})"
    return f"{name} passes against {printable(figures.baseline)}: {counts}."


def _result_lines(figures: ComparisonFigures, result: Result) -> list[str]:
    """Return the lines of a message about a release that does not pass."""
    key = result.release, result.metric
    first = result.sentence or f"{figures.result(*key).line} ({result.metric})"
    texts = [text for text in result.reasons or result.doubts if text not in result.sentence]
    if result.sentence:
        texts = [*result.problems, first, *(text for text in texts if text != result.problem)]
    else:
        texts = [first, *texts]
    lines = [f"  {text}" for text in texts]
    worse = result.worse if result.reasons else ()
    lines += [f"  - {_case_line(figures, case, *key)}" for case in worse[:_SHOWN]]
    if len(worse) > _SHOWN:
        call = f"regressions({result.metric!r}, release={result.release!r})"
        lines.append(f"  … and {len(worse) - _SHOWN:,} more; {call} has them all")
    return lines + [f"  - {_case_line(figures, case, *key)}" for case in result.missing[:_SHOWN]]


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


def junit(
    figures: ComparisonFigures, results: Sequence[Result], *, allow_inconclusive: bool = False
) -> str:
    """Return JUnit XML: one suite per result, with a last test case for all cases.

    With results of both gates, the names of the suites include the gate. A worse case is a failure
    unless a margin decides, a case without an answer or figure is an error, and a case outside the
    scope of the metric is skipped.
    """
    root = ET.Element("testsuites", name=xml_text(figures.deployment))
    are_both = len({bool(result.sentence) for result in results}) > 1
    for result in results:
        gate = (" (margin)" if result.sentence else " (regressions)") if are_both else ""
        pair = f"{figures.deployment} {result.release} against {figures.baseline}"
        name = f"{pair}: {result.metric}{gate}"
        suite = ET.SubElement(root, "testsuite", name=xml_text(name))
        kinds = _KINDS | ({"worse": "system-out", "missing": "skipped"} if result.sentence else {})
        class_name = f"{figures.deployment} {result.release} {result.metric}{gate}"
        for case in figures.cases:
            made = _test_case(figures, case, result.release, result.metric, kinds)
            made.set("classname", xml_text(class_name))
            suite.append(made)
        suite.append(_summary(figures, result, name, allow_inconclusive=allow_inconclusive))
        for kind in ("failure", "error", "skipped"):
            number = sum(test.find(kind) is not None for test in suite)
            suite.set(f"{kind}s" if kind != "skipped" else kind, str(number))
        suite.set("tests", str(len(suite)))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _summary(
    figures: ComparisonFigures, result: Result, name: str, *, allow_inconclusive: bool
) -> ET.Element:
    """Return the test case for the release as a whole."""
    test = ET.Element("testcase", classname=xml_text(name), name="all cases")
    row = figures.result(result.release, result.metric)
    kind, messages, error = "system-out", result.reasons or result.doubts, ""
    if result.reasons:
        kind, error = "failure", RegressionError.__name__
    elif result.doubts:  # `assert_no_regressions` cannot allow them
        is_allowed = allow_inconclusive and bool(result.sentence)
        kind, error = "skipped" if is_allowed else "error", InconclusiveError.__name__
    made = ET.SubElement(test, kind)
    texts = (*result.problems, result.sentence, row.line, *result.notes)
    made.text = xml_text("\n".join(dict.fromkeys(filter(None, texts))))
    if error:
        made.set("message", xml_text("; ".join(messages)))
        made.set("type", error)
    return test


def _test_case(
    figures: ComparisonFigures, case: Case, release: str, metric: str, kinds: Mapping[str, str]
) -> ET.Element:
    made = ET.Element("testcase", name=f"case {case.number} ({case.case_id})")
    run = case.counting(release)
    if run is not None and run.latency_s is not None:
        made.set("time", f"{run.latency_s:.6f}")
    verdict = figures.verdict(case, release, metric)
    if verdict in {*kinds, "better"}:
        reason = xml_text(_reason(figures, case, release, metric))
        is_left_out = figures.is_left_out(case, release, metric)
        kind = "skipped" if is_left_out else kinds.get(verdict, "system-out")
        if kind == "system-out":
            ET.SubElement(made, kind).text = f"{verdict}: {reason}"
        else:
            ET.SubElement(made, kind, message=reason)
    return made
