"""``vellum-nb watch``: one check of a release tag, and an exit status for cron or CI."""

from __future__ import annotations

import argparse
import json

from vellum_nb.cli.case_sets import cases_of
from vellum_nb.cli.commands import existing, opened
from vellum_nb.cli.printing import data

_EXIT_STATUSES = {"healthy": 0, "worse": 1, "cannot tell yet": 3}


def add_watch(made: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    made.add_argument("name", metavar="NAME", help="the deployment's name")
    text = "a file of cases, or a case set: only these, with their expected outputs; default: all"
    made.add_argument("--cases", metavar="CASES", help=text)
    text = "the release tag; default: production"
    made.add_argument("--release-tag", default="production", metavar="TAG", help=text)
    text = "another release tag whose runs also count as earlier runs"
    made.add_argument("--reference", metavar="TAG", help=text)
    text = "a metric with bounds; default: score"
    made.add_argument("--metric", default="score", metavar="METRIC", help=text)
    text = "time between two checks: 12h, 1d, 1w; default: 1d"
    made.add_argument("--every", default="1d", metavar="TIME", help=text)
    text = "acceptable loss; default: 0"
    made.add_argument("--margin", type=float, default=0.0, metavar="LOSS", help=text)
    made.add_argument("--since", help="only runs since then: 2026-11-24, UTC")
    text = "runs outside of sweeps as one series, such as imported executions with ratings"
    made.add_argument("--unpaired", action="store_true", help=text)
    made.add_argument("--json", action="store_true", help="print JSON")


def watch(args: argparse.Namespace) -> int:
    """Check once; 0 if healthy, 1 if worse, 3 if it cannot tell yet."""
    with opened(args, existing(args.history)) as workspace:
        found = workspace.watch(
            args.name,
            args.cases and cases_of(workspace, args.cases),
            tag=args.release_tag,
            reference=args.reference,
            metric=args.metric,
            every=args.every,
            margin=args.margin,
            since=args.since,
            paired=not args.unpaired,
        )
    names = ("status", "sentence", "evidence", "release_tag", "metric")
    values = {name: getattr(found, name) for name in names}
    text = json.dumps(values, ensure_ascii=False) if args.json else found.sentence
    print(text, file=data())
    return _EXIT_STATUSES[found.status]
