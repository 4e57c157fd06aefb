"""Whether a file lies on a network drive, where SQLite's locks may not hold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

__all__ = ["SILENCED", "network_drive", "warn_of_network_drive"]

SILENCED = "VELLUM_NB_NETWORK_DRIVE"

_MOUNTS = Path("/proc/self/mountinfo")
_KINDS = frozenset(
    (
        *("9p", "afpfs", "afs", "beegfs", "ceph", "cifs", "davfs", "fuse.ceph", "fuse.davfs2"),
        *("fuse.gcsfuse", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "gfs2"),
        *("glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb2", "smb3", "smbfs", "virtiofs"),
        "webdav",
    )
)
_ESCAPED = re.compile(r"\\([0-7]{3})")
_REMOTE = 4  # what Windows calls a network drive
_told: set[Path] = set()


def warn_of_network_drive(path: Path) -> None:
    """Warn, once for each file, that it lies on a network drive."""
    if path in _told or os.environ.get(SILENCED):
        return
    _told.add(path)
    kind = network_drive(path)
    if kind:
        warnings.warn(
            f"The history {path} lies on a network drive ({kind}), where two computers that write "
            f"to it at once can damage it: keep it on a local disk, or set {SILENCED}=ok",
            RuntimeWarning,
            stacklevel=2,
        )


def network_drive(path: Path) -> str | None:
    """Return the kind of the network drive that `path` lies on; None where it is a local one.

    Examples
    --------
    >>> network_drive(Path(__file__))
    """
    place = path.parent.resolve()
    if sys.platform == "win32":
        return _of_windows(place)
    try:
        mounts = _of_linux(_MOUNTS.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        mounts = _of_mount_command()
    around = [where for where in mounts if place.is_relative_to(where)]
    kind = mounts[max(around, key=lambda where: len(where.parts))] if around else ""
    return kind if kind in _KINDS else None


def _of_linux(text: str) -> dict[Path, str]:
    """Return the kind of each mount; of two at one place the last one covers the other."""
    found = {}
    for line in text.splitlines():  # 36 35 98:0 /root /where rw,noatime shared:1 - ext4 /dev/sda
        before, dash, after = line.partition(" - ")
        if dash:
            where = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), before.split()[4])
            found[Path(where)] = after.split()[0]
    return found


def _of_mount_command() -> dict[Path, str]:
    """Return the same of a Mac: ``//me@host/share on /Volumes/share (smbfs, nodev)``."""
    try:
        done = subprocess.run(
            ["/sbin/mount"], capture_output=True, text=True, check=False, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    lines = re.findall(r" on (/.*) \((\w+)[,)]", done.stdout)
    return {Path(where): kind for where, kind in lines}


def _of_windows(place: Path) -> str | None:
    if place.drive.startswith("\\\\"):
        return "UNC"
    import ctypes

    windll = getattr(ctypes, "windll", None)
    kind = windll.kernel32.GetDriveTypeW(f"{place.drive}\\") if windll else 0
    return "mapped" if kind == _REMOTE else None
