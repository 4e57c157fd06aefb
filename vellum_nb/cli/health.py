"""The commands for damage: check, repair. Each takes the file itself: it may not open."""

from __future__ import annotations

import argparse

import vellum_nb
from vellum_nb.cli.printing import data

__all__ = ["add_check", "add_repair"]


def add_check(parser: argparse.ArgumentParser) -> None:
    """Say what `history check` takes."""
    parser.add_argument("file", nargs="?", metavar="FILE", help="default: the user's own history")
    parser.set_defaults(command=_check)


def add_repair(parser: argparse.ArgumentParser) -> None:
    """Say what `history repair` takes."""
    parser.add_argument("file", metavar="FILE", help="the damaged history; it is only read")
    parser.add_argument("--to", metavar="NEW", help="default: FILE with -repaired in its name")
    parser.set_defaults(command=_repair)


def _check(args: argparse.Namespace) -> int:
    """Print what is broken; 0 when nothing is."""
    found = vellum_nb.check_history(args.file)
    print(found, file=data())
    return 0 if found.ok else 1


def _repair(args: argparse.Namespace) -> int:
    """Save what can be read into a new file."""
    print(vellum_nb.repair_history(args.file, to=args.to), file=data())
    return 0
