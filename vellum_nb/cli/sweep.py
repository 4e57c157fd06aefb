"""``vellum-nb sweep``: many cases on many release tags, from a file."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from vellum_nb.cli.commands import cases_of, opened
from vellum_nb.cli.printing import data, print_safely, say
from vellum_nb.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from vellum_nb.sweep import Sweep, SweepPlan
    from vellum_nb.sweep.progress import Progress


_NUMBERS: tuple[tuple[str, type, str], ...] = (
    ("repeats", int, "runs of each case on each tag; default: 1"),
    ("concurrency", int, "calls at once; default: adapted to the server, up to 128"),
)
_LIMITS: tuple[tuple[str, type, str], ...] = (
    ("max-calls", int, "stop after N calls"),
    ("max-seconds", float, "stop after N seconds"),
    ("max-cost-usd", float, "stop at this cost"),
    ("stop-after-failures", int, "stop when N runs have failed"),
)
_EXISTING = {
    "resume": "resume the unfinished sweep of the same plan, if any; the default for a file",
    "reuse": "resume, and use runs of the history; the default for a case set",
    "restart": "run all cases again",
}
_INTERRUPTED = 130
_INCOMPLETE = 2
_MAX_ERRORS = 5  # different ones that are printed
_MAX_MESSAGE = 200


def add_sweep(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command.add_argument("name", metavar="NAME", help="the deployment's name")
    text = "a .csv, .jsonl, .json or .parquet file, or the name of a case set"
    command.add_argument("cases", metavar="CASES", help=text)
    command.add_argument(
        "--release-tag", action="append", metavar="TAG", help="default: LATEST; can be repeated"
    )
    for name, kind, text in (*_NUMBERS, *_LIMITS):
        command.add_argument(f"--{name}", type=kind, metavar="N", help=text)
    text = "decided: as soon as the score decides which release is better, or cannot decide"
    command.add_argument("--stop-when", choices=["decided"], help=text)
    text = "stop as soon as the score excludes this loss, such as 0.05 or 10%%, or decides"
    command.add_argument(
        "--margin", metavar="LOSS", help=f"{text}; with --dry-run: show the power of all cases"
    )
    text = "the folder of the files that cases name; no other files are read"
    command.add_argument("--files", metavar="FOLDER", help=text)
    command.add_argument("--dry-run", action="store_true", help="check and plan only")
    existing = command.add_mutually_exclusive_group()
    for value, text in _EXISTING.items():
        existing.add_argument(
            f"--{value}", dest="existing", action="store_const", const=value, help=text
        )
    command.add_argument("--json", action="store_true", help="print plan or summary as JSON")


def sweep(args: argparse.Namespace) -> int:
    """Sweep; return 0 if every planned run was fulfilled, 2 if not, 130 if interrupted."""
    from vellum_nb.sweep import StopWhen
    from vellum_nb.sweep.sweep import SweepInterrupt, control_of

    options: dict[str, Any] = {"release_tags": args.release_tag or ["LATEST"]}
    names = [name for name, _, _ in _NUMBERS]
    options |= _given(args, [*names, "stop-when", "files", "existing"])
    if args.margin is not None:
        options["stop_when"] = StopWhen(margin=args.margin)
    options["limits"] = _given(args, [name for name, _, _ in _LIMITS])
    with opened(args, args.history) as workspace:
        cases = cases_of(workspace, args.cases)
        if args.dry_run:
            _print_plan(workspace.sweep(args.name, cases, dry_run=True, **options), args)
            return 0
        try:
            result = workspace.sweep(args.name, cases, **options)
        except SweepInterrupt as exc:
            result = exc.sweep
        now = control_of(result).progress()
        _print_summary(result, now, args)
        return _status(now, is_embedded=workspace.server is not None)


def _given(args: argparse.Namespace, options: list[str]) -> dict[str, Any]:
    """Return the values of the options that are given, by parameter name."""
    names = [option.replace("-", "_") for option in options]
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _print_plan(plan: SweepPlan, args: argparse.Namespace) -> None:
    power: pd.DataFrame | None = None
    if not args.json:
        print_safely(str(plan))
    if args.margin:
        try:
            power = plan.power()
        except InputError as exc:  # without stored runs, for example
            sys.stderr.write(f"vellum-nb: the power is unknown: {exc}\n")
    if not args.json:
        if power is not None:
            print_safely(power.to_string(index=False, float_format="{:.4g}".format))
        return
    names = ["deployment", "cases", "conversations", "repeats", "planned", "found", "least_calls"]
    names += ["calls", "seconds", "cost_usd", "resumes", "notes"]
    fields = {name: getattr(plan, name) for name in names}
    fields["release_tags"] = json.loads(plan.frame().to_json(orient="records"))
    if power is not None:
        fields["power"] = json.loads(power.to_json(orient="records"))
    print(json.dumps(fields, ensure_ascii=False), file=data())


def _errors(result: Sweep) -> list[tuple[int, str, str]]:
    """Return the numbers of failed or rejected runs by error, the most frequent first."""
    frame = result.failed()
    failed = frame[frame["state"] != "CANCELLED"][["error_code", "error_message"]].fillna("")
    errors = Counter(failed.itertuples(index=False, name=None)).most_common()
    return [(runs, code, " ".join(text.split())[:_MAX_MESSAGE]) for (code, text), runs in errors]


def _print_summary(result: Sweep, now: Progress, args: argparse.Namespace) -> None:
    errors = _errors(result) if now.failed else []
    if args.json:
        of_tag = ("release_tag", "planned", "done", "failed", "unsent", "median_s", "cost_usd")
        tags = [{name: getattr(tag, name) for name in of_tag} for tag in now.tags]
        names = ("state", "why", "found", "planned", "done", "failed", "unsent")
        fields = {name: getattr(now, name) for name in (*names, "cost_usd", "moved")}
        reasons = [{"runs": n, "code": code, "message": m} for n, code, m in errors[:_MAX_ERRORS]]
        fields |= {"notes": result.notes, "release_tags": tags, "errors": reasons}
        fields = {"sweep_id": result.id, **fields}
        print(json.dumps(fields, ensure_ascii=False), file=data())
        return
    lines = [f"{args.name}: {now.state}, {now.ended:,} of {now.planned:,} runs"]
    for tag in now.tags:
        latency = "" if tag.median_s is None else f", median {tag.median_s:.2f} s"
        cost = "" if tag.cost_usd is None else f", ${tag.cost_usd:.4g}"
        counts = f"{tag.done:,} done, {tag.failed:,} failed"
        counts += f", {tag.unsent:,} not sent" if tag.unsent else ""
        lines.append(f"  {tag.release_tag}: {counts}{latency}{cost}")
    for runs, code, message in errors[:_MAX_ERRORS]:
        lines.append(f"  {runs:,} failed with {code}: {message}")
    if omitted := sum(runs for runs, *_ in errors[_MAX_ERRORS:]):
        lines.append(f"  {omitted:,} failed with other errors")
    lines += [f"  note: {note}" for note in result.notes]
    if now.moved:
        lines.append(f"  moved during the sweep: {', '.join(now.moved)}")
    if now.cost_problem:
        lines.append(f"  {now.cost_problem}")
    print_safely("\n".join([*lines, f"  sweep {result.id}"]))


def _status(now: Progress, *, is_embedded: bool) -> int:
    if now.is_decided:
        say(f"vellum-nb: {now.reason}")
    if now.state == "done" or now.is_decided:
        return _INCOMPLETE if now.failed or now.unsent else 0
    stored = f"{now.ended:,} of {now.planned:,} runs are recorded"
    limit = now.limit_reached
    remedy = f" with a higher --{limit.replace('_', '-')}, or without it," if limit else ""
    outcome = f"executes the remaining {now.planned - now.ended:,}"
    if is_embedded:  # the next command has another one
        outcome = (
            "begins again, on a local server of its own (`vellum-nb serve` starts one to keep)"
        )
    say(f"vellum-nb: {now.reason or 'interrupted'}: {stored}; the same command{remedy} {outcome}")
    return _INCOMPLETE if now.reason else _INTERRUPTED
