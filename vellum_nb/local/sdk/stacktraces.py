"""The part of an SDK's stack trace that is about the workflow's own code."""

from __future__ import annotations

import re
from pathlib import PurePath

__all__ = ["own_frames"]

_FRAME = re.compile(r'  File "(?P<file>[^"]*)"(?P<rest>.*)')
_FOREIGN = re.compile(r"[\\/](vellum|vellum_nb|pydantic)[\\/]|[\\/]threading\.py$")


def own_frames(stacktrace: str | None) -> str | None:
    """Return `stacktrace` without the SDK's frames; files by name, folders are nobody's business.

    Examples
    --------
    >>> print(
    ...     own_frames('''Traceback (most recent call last):
    ...   File "/x/vellum/workflows/runner/runner.py", line 5, in run
    ...     self.node.run()
    ...   File "/home/ada/nodes.py", line 7, in run
    ...     1 / 0
    ... ZeroDivisionError: division by zero''')
    ... )
    Traceback (most recent call last):
      File "nodes.py", line 7, in run
        1 / 0
    ZeroDivisionError: division by zero
    """
    if stacktrace is None:
        return None
    kept: list[str] = []
    ours = True
    for line in stacktrace.rstrip().splitlines():
        frame = _FRAME.fullmatch(line)
        if frame is not None:
            ours = _FOREIGN.search(frame["file"]) is None
            line = f'  File "{_name(frame["file"])}"{frame["rest"]}'  # noqa: PLW2901 - the same line, shorter
        elif not line.startswith("    "):
            ours = True
        if ours:
            kept.append(line)
    return "\n".join(kept)


def _name(path: str) -> str:
    return "<cell>" if "ipykernel_" in path else PurePath(path).name
