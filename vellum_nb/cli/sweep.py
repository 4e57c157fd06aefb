"""``vellum-nb sweep``: many cases on many release tags, from a file."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from vellum_nb.cli.commands import opened
from vellum_nb.cli.printing import data, print_safely, say

if TYPE_CHECKING:
    from vellum_nb.sweep import Sweep, SweepPlan


_LIMITS: tuple[tuple[str, type, str], ...] = (
    ("repeats", int, "how often each case is run on each tag; default: 1"),
    ("concurrency", int, "calls at once; default: as many as the server handles well"),
    ("max-concurrency", int, "at most N calls at once; default: 128"),
    ("max-calls", int, "stop after N calls"),
    ("max-seconds", float, "stop after N seconds"),
    ("max-cost-usd", float, "stop when it has cost this much"),
    ("stop-after-failures", int, "stop when N runs have failed"),
)
_INTERRUPTED = 130
_INCOMPLETE = 2


def add_sweep(made: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    made.add_argument("name", metavar="NAME", help="the deployment's name")
    made.add_argument("cases", metavar="CASES", help="a .csv, .jsonl, .json or .parquet file")
    made.add_argument(
        "--release-tag", action="append", metavar="TAG", help="default: LATEST; may be repeated"
    )
    for name, kind, text in _LIMITS:
        made.add_argument(f"--{name}", type=kind, metavar="N", help=text)
    text = "decided: as soon as the score decides which release is better, or cannot any more"
    made.add_argument("--stop-when", choices=["decided"], help=text)
    text = "the folder of the files that cases name; no other files are read"
    made.add_argument("--files", metavar="FOLDER", help=text)
    made.add_argument("--dry-run", action="store_true", help="check and plan, send nothing")
    again = made.add_mutually_exclusive_group()
    again.add_argument(
        "--resume",
        action="store_true",
        help="resume the unfinished sweep of the same plan, if there is one; the default",
    )
    again.add_argument("--restart", action="store_true", help="run all of it again")
    made.add_argument("--reuse", action="store_true", help="use runs that are in the history")
    made.add_argument("--json", action="store_true", help="print plan or summary as JSON")


def sweep(args: argparse.Namespace) -> int:
    """Sweep; return 0 when every planned run was fulfilled, 2 when not, 130 when interrupted."""
    from vellum_nb.sweep.sweep import SweepInterrupt

    tags = args.release_tag or ["LATEST"]
    options: dict[str, Any] = {"release_tags": tags, "reuse": args.reuse, "restart": args.restart}
    for name in (*(name for name, _, _ in _LIMITS), "stop-when", "files"):
        given = getattr(args, name.replace("-", "_"))
        if given is not None:
            options[name.replace("-", "_")] = given
    with opened(args, args.history) as workspace:
        if args.dry_run:
            _print_plan(workspace.sweep(args.name, args.cases, dry_run=True, **options), args)
            return 0
        try:
            done = workspace.sweep(args.name, args.cases, **options)
        except SweepInterrupt as exc:
            done = exc.sweep
        _print_summary(done, args)
        return _status(done)


def _print_plan(plan: SweepPlan, args: argparse.Namespace) -> None:
    if not args.json:
        print_safely(str(plan))
        return
    names = ("deployment", "cases", "repeats", "planned", "found", "calls", "seconds", "cost_usd")
    fields = {name: getattr(plan, name) for name in (*names, "resumes", "notes")}
    fields["release_tags"] = json.loads(plan.frame().to_json(orient="records"))
    print(json.dumps(fields, ensure_ascii=False), file=data())


def _print_summary(done: Sweep, args: argparse.Namespace) -> None:
    now = done.progress()
    if args.json:
        of_tag = ("release_tag", "planned", "done", "failed", "median_s", "cost_usd")
        tags = [{name: getattr(tag, name) for name in of_tag} for tag in now.tags]
        names = ("state", "why", "found", "planned", "done", "failed", "cost_usd", "moved")
        fields = {name: getattr(now, name) for name in names}
        fields = {"sweep_id": done.id, **fields, "notes": done.notes, "release_tags": tags}
        print(json.dumps(fields, ensure_ascii=False), file=data())
        return
    lines = [f"{args.name}: {now.state}, {now.ended:,} of {now.planned:,} runs"]
    for tag in now.tags:
        took = "" if tag.median_s is None else f", median {tag.median_s:.2f} s"
        cost = "" if tag.cost_usd is None else f", ${tag.cost_usd:.4g}"
        lines.append(f"  {tag.release_tag}: {tag.done:,} done, {tag.failed:,} failed{took}{cost}")
    lines += [f"  note: {note}" for note in done.notes]
    if now.moved:
        lines.append(f"  moved during the sweep: {', '.join(now.moved)}")
    if now.cost_problem:
        lines.append(f"  {now.cost_problem}")
    print_safely("\n".join([*lines, f"  sweep {done.id}"]))


def _status(done: Sweep) -> int:
    now = done.progress()
    if now.is_decided:
        say(f"vellum-nb: {now.reason}")
    if now.state == "done" or now.is_decided:
        return _INCOMPLETE if now.failed else 0
    stored = f"{now.ended:,} of {now.planned:,} runs are recorded"
    limit = now.limit_reached
    more = f" with more, or no, --{limit.replace('_', '-')}" if limit else ""
    say(
        f"vellum-nb: {now.reason or 'interrupted'}: {stored}; "
        f"the same command{more} runs the other {now.planned - now.ended:,}"
    )
    return _INCOMPLETE if now.reason else _INTERRUPTED
