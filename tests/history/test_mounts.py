"""A history on a network drive is warned about, once."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest

from vellum_nb import History
from vellum_nb.history.sqlite import mounts as drives

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a list of mounts")
LOCAL = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:35 / /run rw shared:5 - tmpfs tmpfs rw,size=1024k
"""


def mounted(where, kind):
    return f"{LOCAL}99 22 0:51 / {where} rw,relatime shared:9 - {kind} server:/share rw\n"


@pytest.fixture
def mounts(tmp_path, monkeypatch):
    file = tmp_path / "mountinfo"
    monkeypatch.setattr(drives, "_MOUNTS", file)
    return file


@LINUX
@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "ceph"])
def test_a_file_on_a_network_drive_is_told_from_a_local_one(kind, mounts):
    mounts.write_text(mounted("/mnt/team", kind))
    assert drives.network_drive(Path("/mnt/team/deep/runs.db")) == kind
    for local in ("/mnt/teamwork/runs.db", "/mnt/runs.db", "/run/runs.db"):
        assert drives.network_drive(Path(local)) is None


@LINUX
def test_what_is_mounted_within_or_over_a_network_drive_counts(mounts):
    text = mounted("/mnt/team", "nfs4")
    mounts.write_text(f"{text}100 99 254:1 / /mnt/team/disk rw - ext4 /dev/vdb rw\n")
    assert drives.network_drive(Path("/mnt/team/disk/runs.db")) is None
    mounts.write_text(f"{text}100 22 254:1 / /mnt/team rw - ext4 /dev/vdb rw\n")
    assert drives.network_drive(Path("/mnt/team/runs.db")) is None
    mounts.write_text(mounted(r"/mnt/our\040team", "nfs4"))
    assert drives.network_drive(Path("/mnt/our team/runs.db")) == "nfs4"


@LINUX
def test_opening_it_warns_once_with_how_to_silence_it(mounts, path, make_run, monkeypatch):
    mounts.write_text(mounted(path.parent, "cifs"))
    with (
        pytest.warns(
            RuntimeWarning, match="lies on a network drive \\(cifs\\).*local disk"
        ) as told,
        History(path) as history,
    ):
        history.begin(make_run())
    assert len(told) == 1
    assert str(path) in str(told[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with History(path) as history:
            assert history.count() == 1
        monkeypatch.setenv(drives.SILENCED, "ok")
        with History(path.with_name("other.db")):
            pass


@LINUX
def test_this_machines_own_mounts_can_be_read(tmp_path):
    found = drives._of_linux(drives._MOUNTS.read_text())
    assert found[Path("/")]
    assert found[Path("/proc")] == "proc"
