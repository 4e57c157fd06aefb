"""``vellum-nb case-set``: named lists of cases, listed, grown from a file, and written to one."""

from __future__ import annotations

import argparse
from pathlib import PurePath
from typing import TYPE_CHECKING

from vellum_nb.cli.commands import existing, opened
from vellum_nb.cli.printing import data, print_safely
from vellum_nb.errors import InputError

if TYPE_CHECKING:
    from vellum_nb.sweep.case_sets import CaseSet
    from vellum_nb.workspace import Workspace

_CONFLICTS = 2  # exit status
_LISTED = 20  # names in an error


def cases_of(workspace: Workspace, cases: str) -> str | CaseSet:
    """Return `cases` if it is a file, by its suffix, or the case set of that name."""
    from vellum_nb.sweep.cases import SUFFIXES

    if "://" in cases or PurePath(cases).suffix.lower() in SUFFIXES:
        return cases
    return _stored_set(workspace, cases, f"; a file ends in {', '.join(SUFFIXES)}")


def _stored_set(workspace: Workspace, name: str, hint: str = "") -> CaseSet:
    from vellum_nb.history import case_sets_of
    from vellum_nb.models.checks import available

    names = [version.name for version in case_sets_of(workspace.history).latest()]
    if name not in names:
        msg = f"There is no case set {name!r:.200}{hint}{available(names, _LISTED)}"
        raise InputError(msg)
    return workspace.case_set(name)


def add_case_set_add(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``case-set add``."""
    command.add_argument("set", metavar="SET", help="the name of the set; created if it is new")
    command.add_argument("cases", metavar="CASES", help="a .csv, .jsonl, .json or .parquet file")
    text = "whose inputs the cases have; needed for a new set"
    command.add_argument("--deployment", metavar="NAME", help=text)
    command.add_argument("--message", default="", help="reason of the change")


def add_case_set_export(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``case-set export``."""
    command.add_argument("set", metavar="SET", help="the name of the set")
    command.add_argument("path", metavar="FILE", help="the CSV to write, such as cases/billing.csv")
    command.add_argument("--version", type=int, metavar="N", help="default: the newest version")


def list_case_sets(args: argparse.Namespace) -> int:
    """Print the sets of a history."""
    with opened(args, existing(args.history)) as workspace:
        frame = workspace.case_sets
    if args.json:
        print(frame.to_json(orient="records", date_format="iso", force_ascii=True), file=data())
    else:
        print_safely(frame.to_string(index=False), data())
    return 0


def add_cases(args: argparse.Namespace) -> int:
    """Add cases of a file; return 2 if expected outputs differ from those of the set."""
    with opened(args, args.history) as workspace:
        suite = workspace.case_set(args.set, deployment=args.deployment)
        change = suite.add(args.cases, message=args.message)
    print_safely(str(change), data())
    return _CONFLICTS if change.conflicts else 0


def export_case_set(args: argparse.Namespace) -> int:
    """Write a set as CSV."""
    with opened(args, existing(args.history)) as workspace:
        suite = _stored_set(workspace, args.set)
        print_safely(f"Wrote {suite.to_csv(args.path, version=args.version)}", data())
    return 0
