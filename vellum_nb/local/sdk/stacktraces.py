"""The part of an SDK's stack trace that is about the workflow's own code."""

from __future__ import annotations

import re
from pathlib import PurePath

from vellum_nb.local.deployments.sources import strip_packages

__all__ = ["own_frames"]

_FRAME = re.compile(r'  File "(?P<file>[^"]*)"(?P<rest>.*)')
_FOREIGN = re.compile(r"[\\/](site-packages|dist-packages|vellum_nb[\\/]local[\\/]sdk)[\\/]")
_LIBRARY = re.compile(r"[\\/](python\d\.\d+|Lib)[\\/]|^<(frozen|unknown)")
_LINK = re.compile(r"\n\n(?:During handling|The above exception)[^\n]*\n\n")


def own_frames(stacktrace: str | None) -> str | None:
    """Return `stacktrace` without the frames of libraries; None when no other is in it.

    Files and modules are told as the project names them: where it was loaded is this machine's
    business.

    Examples
    --------
    >>> print(
    ...     own_frames('''Traceback (most recent call last):
    ...   File "/x/site-packages/vellum/workflows/runner/runner.py", line 5, in run
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
    links = _LINK.findall(stacktrace or "")
    blocks = [_own(block) for block in _LINK.split((stacktrace or "").rstrip())]
    told = ""
    for link, block in zip(["", *links], blocks, strict=True):
        if block:
            told = f"{told}{link if told else ''}{block}"
    return strip_packages(told) or None


def _own(block: str) -> str:
    """Return one exception's part, or nothing if no frame of it is the workflow's."""
    kept: list[str] = []
    ours, frames = True, 0
    for line in block.splitlines():
        frame = _FRAME.fullmatch(line)
        if frame is not None:
            file = frame["file"]
            ours = not (_FOREIGN.search(file) or _LIBRARY.search(file))
            frames += ours
            kept += [f'  File "{_name(file)}"{frame["rest"]}'] if ours else []
        elif ours or not line.startswith("    "):
            ours = True
            kept.append(line)
    return "\n".join(kept) if frames else ""


def _name(path: str) -> str:
    return "<cell>" if "ipykernel_" in path else PurePath(path).name
