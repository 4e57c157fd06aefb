"""``vellum-nb compare``: stored runs side by side, and an exit status for CI."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from vellum_nb.cli.commands import cases_of, existing, opened
from vellum_nb.cli.printing import data, say
from vellum_nb.errors import InconclusiveError, InputError, RegressionError

if TYPE_CHECKING:
    from vellum_nb.comparison import Comparison
    from vellum_nb.comparison.gate import GateResult, RegressionLimits


Refusal = RegressionError | InconclusiveError

_STDOUT = "-"
_INCONCLUSIVE = 3  # exit status
_LISTED = ("worse", "missing", "better")
_NO_METRIC = (
    "without a metric, a gate cannot distinguish better from worse: give "
    "--metric, or --cases with a column expected.<output>, or rate runs"
)


def add_compare(made: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    made.add_argument("name", metavar="NAME", help="the deployment's name")
    text = "default: all that have runs"
    made.add_argument("--release-tag", action="append", metavar="TAG", help=text)
    made.add_argument("--baseline", metavar="TAG", help="default: the first release tag")
    text = "score, exact, similarity, latency_s and so on; the first decides; can be repeated"
    made.add_argument("--metric", action="append", metavar="METRIC", help=text)
    text = "a file of cases, or a case set: only these, with their expected outputs"
    made.add_argument("--cases", metavar="CASES", help=text)
    made.add_argument("--sweep-id", metavar="ID", help="only runs of this sweep")
    made.add_argument("--since", help="only runs since then: 2026-11-24, UTC")
    text = (
        "acceptable loss: 0.05, or METRIC=0.2, or METRIC=10%% of the baseline's mean; can be "
        "repeated; exit with 1 if a release is worse, and with 3 if the result is inconclusive"
    )
    made.add_argument("--margin", action="append", metavar="LOSS", help=text)
    text = "how a case without an answer on one release counts; default: by the metric"
    made.add_argument("--missing", choices=("fail", "bounds", "drop"), help=text)
    text = "exit with 0 instead of 3"
    made.add_argument("--allow-inconclusive", action="store_true", help=text)
    text = "exit with 1 when cases are worse"
    made.add_argument("--fail-on-regression", action="store_true", help=text)
    for name, kind in (("regressions", "worse cases"), ("missing", "cases without an answer")):
        text = f"accepted number of {kind}, or any; default: 0"
        made.add_argument(f"--max-{name}", type=_limit, default=0, metavar="N", help=text)
    text = "significance level; default: 0.05"
    made.add_argument("--alpha", type=float, default=0.05, metavar="P", help=text)
    text = "cases with the same value are not independent: label.NAME, or an input"
    made.add_argument("--cluster", metavar="NAME", help=text)
    text = "write a summary for a pull request; stdout without FILE"
    made.add_argument("--markdown", nargs="?", const=_STDOUT, metavar="FILE", help=text)
    made.add_argument("--junit", metavar="FILE", help="write JUnit XML")
    made.add_argument("--html", metavar="FILE", help="write a page, and its figures as CSV files")
    made.add_argument("--csv", metavar="FILE", help="write one row per case")
    made.add_argument("--json", action="store_true", help="print one row per release as JSON")


def _limit(text: str) -> int | None:
    return None if text == "any" else int(text)


def compare(args: argparse.Namespace) -> int:
    """Compare; 1 if a gate is given and a release is worse, 3 if the result is inconclusive."""
    with opened(args, existing(args.history)) as workspace:
        comparison = workspace.compare(
            args.name,
            release_tags=args.release_tag,
            baseline=args.baseline,
            sweep=args.sweep_id,
            since=args.since,
            metrics=args.metric,
            cases=args.cases and cases_of(workspace, args.cases),
            alpha=args.alpha,
            cluster=args.cluster,
            margin=_margin(args.margin),
            missing=args.missing,
        )
        error, passed = _gate(comparison, args)
        head = _head(error, passed)
        _print(comparison, args, head)
        _write(comparison, args, head)
    if error is None:
        for sentence in passed:
            say(f"vellum-nb: {sentence}")
        return 0
    say(f"vellum-nb: {error}")
    if isinstance(error, RegressionError):
        return 1
    return 0 if args.allow_inconclusive else _INCONCLUSIVE


def _margin(values: Sequence[str] | None) -> Any:
    """Return the option `margin`: one value, or values by metric."""
    if not values:
        return None
    pairs = [value.rpartition("=") for value in values]
    if len(pairs) == 1 and not pairs[0][1]:
        return values[0]
    unnamed = [value for name, _, value in pairs if not name]
    if unnamed:
        msg = (
            f"--margin {unnamed[0]}: name its metric, as METRIC={unnamed[0]}, if there are several"
        )
        raise InputError(msg)
    return {name: value for name, _, value in pairs}


def _gate(comparison: Comparison, args: argparse.Namespace) -> tuple[Refusal | None, Sequence[str]]:
    """Return the error of the gates, a regression before an inconclusive one; and what passed."""
    if not (args.fail_on_regression or args.margin):
        return None, ()
    if comparison.cases and not comparison.metrics:
        raise InputError(_NO_METRIC)
    errors: list[Refusal] = []
    passed: list[str] = []
    gates: list[Callable[[], GateResult]] = [comparison.assert_not_worse] if args.margin else []
    if args.fail_on_regression:
        gates.append(partial(comparison.assert_no_regressions, **_limits(args)))
    for gate in gates:
        try:
            passed += gate().sentences
        except (RegressionError, InconclusiveError) as exc:
            errors.append(exc)
    error = min(errors, key=lambda exc: isinstance(exc, InconclusiveError), default=None)
    return error, passed


def _print(comparison: Comparison, args: argparse.Namespace, head: str) -> None:
    if args.markdown == _STDOUT:
        print(head + comparison.to_markdown(only=_LISTED), end="", file=data())
    elif args.json:
        frame = comparison.summary(columns="all").astype(object)
        rows = frame.where(frame.notna(), None).to_dict(orient="records")
        print(json.dumps(rows, ensure_ascii=False), file=data())
    elif args.markdown is None:
        print(comparison)


def _head(error: Refusal | None, passed: Sequence[str]) -> str:
    """Return the result of the gate, which begins the summary; empty without a gate."""
    from vellum_nb.rendering.format import markdown_code

    verdict = "Passes" if passed else ""
    if error is not None:
        verdict = "Does not pass" if isinstance(error, RegressionError) else "Cannot tell yet"
    reasons = passed if error is None else error.reasons
    texts = "".join(f"> - {markdown_code(reason)}\n" for reason in reasons)
    return f"> **{verdict}.**\n>\n{texts}\n" if verdict else ""


def _write(comparison: Comparison, args: argparse.Namespace, head: str) -> None:
    from vellum_nb.files import write_file

    if args.markdown not in {None, _STDOUT}:
        text = head + comparison.to_markdown(only=_LISTED)
        write_file(text.encode(errors="replace"), args.markdown)
    if args.html is not None:
        comparison.to_html(args.html, overwrite=True)
    if args.csv is not None:
        comparison.to_csv(args.csv)
    if args.junit is not None:
        limits: RegressionLimits = (
            {} if args.margin and not args.fail_on_regression else _limits(args)
        )
        comparison.to_junit(args.junit, allow_inconclusive=args.allow_inconclusive, **limits)


def _limits(args: argparse.Namespace) -> RegressionLimits:
    return {
        "max_regressions": args.max_regressions,
        "max_missing": args.max_missing,
        "alpha": args.alpha,
    }
