"""A disk that is full: what is acknowledged stays, and nothing half written is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts a small file system")

FILLED = """
import json, shutil, sys
from datetime import UTC, datetime
from pathlib import Path
from vellum_nb import History, HistoryError
from vellum_nb.models import Run
disk = Path(sys.argv[1])
path, filler, found = disk / "runs.db", disk / "filler", {}

def run(name):
    return Run(id=name, deployment="d", release_tag="v", timestamp=datetime.now(UTC),
               inputs={"text": "x" * 20_000}, case_id="c")

def full(room):
    filler.write_bytes(b"x" * (shutil.disk_usage(disk).free - room))

with History(path) as history:
    history.begin(run("first"))
    acknowledged = 1
    full(200_000)
    try:
        for number in range(100):
            history.begin(run(str(number)))
            acknowledged += 1
    except HistoryError as exc:
        found["a full disk"] = str(exc)
    found["reads on"] = history.count() == acknowledged > 1
    try:
        history.backup(disk / "copy.db")
    except HistoryError as exc:
        found["no room for a backup"] = str(exc)
    found["leftovers"] = sorted(file.name for file in disk.iterdir())
    filler.unlink()
    history.begin(run("after"))
    found["goes on"] = history.count() == acknowledged + 1
print(json.dumps(found))
"""


@pytest.fixture
def on_a_small_disk(tmp_path):
    """Return what runs a program with a disk of 1 MB and returns the JSON that it prints."""

    def run(program):
        done = subprocess.run([*command, program], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=1M none "$1" && exec "$2" -c "$3" "$1"'
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", *rights, "--mount", "sh", "-c", script, "sh", disk, sys.executable]
    return run


def test_a_full_disk_is_reported_loses_nothing_and_the_history_goes_on(on_a_small_disk):
    found = on_a_small_disk(FILLED)
    assert found["reads on"] is found["goes on"] is True
    assert set(found["leftovers"]) == {"filler", "runs.db", "runs.db-shm", "runs.db-wal"}
    for name in ("a full disk", "no room for a backup"):
        assert "the disk is full; free some space and try again" in found[name]
