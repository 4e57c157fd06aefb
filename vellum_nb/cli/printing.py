"""Printing: data to stdout, messages to stderr."""

from __future__ import annotations

import io
import sys
from typing import TextIO


def let_any_text_through() -> None:
    """Escape characters that the encoding of the terminal does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def data() -> TextIO:
    """Return stdout for data: UTF-8 and line feeds, as in exported files."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    return sys.stdout


def print_safely(text: str, file: TextIO | None = None) -> None:
    """Print text with control characters escaped."""
    from vellum_nb.escaping import printable

    print(printable(text), file=file)


def say(text: str) -> None:
    """Write a message to stderr."""
    print_safely(text, sys.stderr)
