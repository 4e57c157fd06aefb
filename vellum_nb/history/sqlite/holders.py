"""Which other processes hold a lock on a file, where the system tells."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["writers"]

_LOCKS = Path("/proc/locks")
_FIELDS = 8


def writers(path: Path) -> list[str]:
    """Return the processes, but this one, that write to the SQLite file `path` just now.

    Examples
    --------
    >>> writers(Path("nobody has this file"))
    []
    """
    try:
        lines = _LOCKS.read_text(encoding="ascii", errors="replace").splitlines()
        files = [path.with_name(f"{path.name}{end}") for end in ("", "-shm")]
        inodes = {str(file.stat().st_ino) for file in files if file.exists()}
    except OSError:
        return []
    pids = set()
    for line in lines:  # 1: POSIX  ADVISORY  WRITE 4711 08:01:123456 120 120
        fields = line.split()
        writes = len(fields) == _FIELDS and fields[3] == "WRITE"
        if writes and fields[5].rpartition(":")[2] in inodes:
            pids.add(int(fields[4]))
    return [f"process {pid}{_name(pid)}" for pid in sorted(pids - {os.getpid()}) if pid > 0]


def _name(pid: int) -> str:
    try:
        return f" ({Path(f'/proc/{pid}/comm').read_text(encoding='utf-8').strip()})"
    except OSError:
        return ""
