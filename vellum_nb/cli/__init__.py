"""The command line: parse, call one public function, print.

Data goes to stdout, messages to stderr; our errors are one line and exit status 1.
"""

from __future__ import annotations

from vellum_nb.cli.arguments import parser

__all__ = ["parser"]
