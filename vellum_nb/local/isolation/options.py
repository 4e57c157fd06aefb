"""What a process for one run may have."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vellum_nb.local.refusals import bad_request

__all__ = ["Process", "process_for"]

_MIB = 1024 * 1024
_LEAST = 256 * _MIB
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Process:
    """What the process of each run may have.

    Attributes
    ----------
    memory_limit : int, optional
        Bytes of address space, Python's own part of about 200 MiB included.
    env : tuple of str
        Names of environment variables that the run needs and gets.
    """

    memory_limit: int | None = None
    env: tuple[str, ...] = ()

    def dumps(self) -> str:
        """Return it as text."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Process:
        """Return what `dumps` wrote."""
        found: dict[str, Any] = json.loads(text)
        return cls(found["memory_limit"], tuple(found["env"]))


def process_for(isolation: str, *, memory_limit: int | None, env: Sequence[str]) -> Process | None:
    """Return the process of each run, or None when runs stay in the kernel's process.

    Raises
    ------
    VellumNBError
        When the options make no sense, alone or together.

    Examples
    --------
    >>> process_for("process", memory_limit=None, env=["OPENAI_API_KEY"])
    Process(memory_limit=None, env=('OPENAI_API_KEY',))
    """
    if isolation == "kernel":
        if memory_limit is not None or env:
            msg = 'memory_limit and env are for runs in a process: say isolation="process"'
            raise bad_request(msg)
        return None
    if isolation != "process":
        msg = f'isolation={isolation!r:.40} is not known; it is "kernel" or "process"'
        raise bad_request(msg)
    if isinstance(env, str) or not all(_NAME.fullmatch(name) for name in env):
        msg = f"env is a list of names of environment variables, not {env!r:.60}"
        raise bad_request(msg)
    if memory_limit is not None:
        _check_limit(memory_limit)
    return Process(memory_limit, tuple(env))


def _check_limit(memory_limit: int) -> None:
    if os.name == "nt":
        msg = "memory_limit cannot be kept on Windows; leave it out"
        raise bad_request(msg)
    if memory_limit < _LEAST:
        msg = (
            f"memory_limit={memory_limit} cannot be kept: it is in bytes, and Python itself needs "
            f"a part of it; give {_LEAST} (256 MiB) or more"
        )
        raise bad_request(msg)
