"""The commands that keep a history: merge, archive, vacuum, refused."""

from __future__ import annotations

import argparse

import vellum_nb
from vellum_nb.cli.commands import there
from vellum_nb.cli.printing import data, say
from vellum_nb.errors import VellumNBError

__all__ = ["add_archive", "add_merge", "add_refused", "add_vacuum"]


def add_merge(parser: argparse.ArgumentParser) -> None:
    """Say what `history merge` takes."""
    parser.add_argument("other", metavar="OTHER", help="the file of another history")
    parser.set_defaults(command=_merge)


def add_archive(parser: argparse.ArgumentParser) -> None:
    """Say what `history archive` takes."""
    parser.add_argument("--before", required=True, help="runs from before then: 2026-01-01, UTC")
    parser.add_argument("--path", metavar="FILE", help="default: beside the history")
    parser.set_defaults(command=_archive)


def add_vacuum(parser: argparse.ArgumentParser) -> None:
    """Say what `history vacuum` takes."""
    parser.add_argument("--yes", action="store_true", help="forget deleted runs without asking")
    parser.set_defaults(command=_vacuum)


def add_refused(parser: argparse.ArgumentParser) -> None:
    """Say what `history refused` takes."""
    parser.add_argument("--retry", action="store_true", help="try them once more")
    parser.set_defaults(command=_refused)


def _merge(args: argparse.Namespace) -> int:
    """Take over another history; 2 where runs differ."""
    with vellum_nb.History(args.history) as history:
        report = history.merge(args.other)
    print(report)
    return 2 if report.conflicts else 0


def _archive(args: argparse.Namespace) -> int:
    """Move old runs to a file."""
    with vellum_nb.History(there(args.history)) as history:
        moved = history.archive(before=args.before, path=args.path)
    if moved.path is not None:
        print(moved.path)
    say(repr(moved)[1:-1])
    return 0


def _vacuum(args: argparse.Namespace) -> int:
    """Give space back; deleted runs are only forgotten when that was asked for."""
    with vellum_nb.History(there(args.history)) as history:
        waiting = int(history.deletions()["runs"].sum())
        if waiting and not args.yes:
            msg = f"{waiting:,} deleted runs could not be brought back any more; add --yes for that"
            raise VellumNBError(msg)
        done = history.vacuum()
    say(repr(done)[1:-1])
    return 0


def _refused(args: argparse.Namespace) -> int:
    """Print what a server refused, each with the reason; 2 where there is some."""
    with vellum_nb.History(there(args.history)) as history:
        if args.retry:
            done = history.retry_refused()
            say(repr(done)[1:-1])
        left = history.refused()
    for row in left.itertuples():
        print(f"{row.write}\t{row.runs}\t{row.problem}\t{row.path}", file=data())
    return 2 if len(left) else 0
