"""``vellum-nb compare``: stored runs side by side, and an exit status for CI."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from vellum_nb.cli.commands import existing, opened
from vellum_nb.cli.printing import data, say
from vellum_nb.errors import InputError, RegressionError

if TYPE_CHECKING:
    from vellum_nb.comparison import Comparison


_STDOUT = "-"
_LISTED = ("worse", "missing", "better")
_NO_METRIC = (
    "without a metric, --fail-on-regression cannot distinguish better from worse: give "
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
    made.add_argument(
        "--cases", metavar="FILE", help="a file of cases: only these, with their expected outputs"
    )
    made.add_argument("--sweep-id", metavar="ID", help="only runs of this sweep")
    made.add_argument("--since", help="only runs since then: 2026-11-24, UTC")
    text = "exit with 1 when a release is worse"
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
    """Compare; 1 when a release is worse and --fail-on-regression is given."""
    with opened(args, existing(args.history)) as workspace:
        comparison = workspace.compare(
            args.name,
            release_tags=args.release_tag,
            baseline=args.baseline,
            sweep=args.sweep_id,
            since=args.since,
            metrics=args.metric,
            cases=args.cases,
            alpha=args.alpha,
            cluster=args.cluster,
        )
        error = _refusal(comparison, args)
        _print(comparison, args, error)
        _write(comparison, args, error)
    if error is None:
        return 0
    say(f"vellum-nb: {error}")
    return 1


def _refusal(comparison: Comparison, args: argparse.Namespace) -> RegressionError | None:
    if args.fail_on_regression:
        if comparison.cases and not comparison.metrics:
            raise InputError(_NO_METRIC)
        try:
            comparison.assert_no_regressions(**_limits(args))
        except RegressionError as exc:
            return exc
    return None


def _print(comparison: Comparison, args: argparse.Namespace, error: RegressionError | None) -> None:
    if args.markdown == _STDOUT:
        print(_markdown(comparison, args, error), end="", file=data())
    elif args.json:
        frame = comparison.summary().astype(object)
        rows = frame.where(frame.notna(), None).to_dict(orient="records")
        print(json.dumps(rows, ensure_ascii=False), file=data())
    elif args.markdown is None:
        print(comparison)


def _markdown(
    comparison: Comparison, args: argparse.Namespace, error: RegressionError | None
) -> str:
    """Return the summary, with the result of the gate first."""
    from vellum_nb.rendering.format import markdown_code

    head = ""
    if error is not None:
        reasons = "".join(f"> - {markdown_code(reason)}\n" for reason in error.reasons)
        head = f"> **Does not pass.**\n>\n{reasons}\n"
    elif args.fail_on_regression:
        head = "> **Passes.**\n\n"
    return head + comparison.to_markdown(only=_LISTED)


def _write(comparison: Comparison, args: argparse.Namespace, error: RegressionError | None) -> None:
    from vellum_nb.files import write_file

    if args.markdown not in {None, _STDOUT}:
        write_file(_markdown(comparison, args, error).encode(errors="replace"), args.markdown)
    if args.html is not None:
        comparison.to_html(args.html, overwrite=True)
    if args.csv is not None:
        comparison.to_csv(args.csv)
    if args.junit is not None:
        comparison.to_junit(args.junit, **_limits(args))


def _limits(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "max_regressions": args.max_regressions,
        "max_missing": args.max_missing,
        "alpha": args.alpha,
    }
