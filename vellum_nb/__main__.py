"""The command line, and what its errors look like: one line on stderr, and a status."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from vellum_nb.cli import parser
from vellum_nb.cli.printing import let_any_text_through, say
from vellum_nb.errors import VellumNBError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    let_any_text_through()
    args = parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = args.command
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            return command(args)
    except VellumNBError as exc:
        say(f"vellum-nb: {exc}")
        return 1
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as exc:
        say(f"vellum-nb: {exc}")
        return 1
    except KeyboardInterrupt as exc:
        for line in ("interrupted", *getattr(exc, "__notes__", ())):
            say(f"vellum-nb: {line}")
        return 130


def _warn(message: Warning | str, *_where: object, **_more: object) -> None:
    say(f"vellum-nb: {message}")


if __name__ == "__main__":
    sys.exit(main())
