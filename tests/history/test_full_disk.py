"""A disk that is full: what is acknowledged stays, and nothing half written is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts a small file system")
FILES = Path(__file__).with_name("files")

FILLED = """
import json, shutil, sys
from pathlib import Path
from vellum_nb import History, HistoryError, repair_history
disk, source = map(Path, sys.argv[1:])
path, told = disk / "runs.db", {}

def tried(name, call):
    try:
        told[name] = str(call())
    except HistoryError as exc:
        told[name] = f"refused: {exc}"

shutil.copy(source / "v5.db", path)
before = path.read_bytes()
filler = disk / "filler"
filler.write_bytes(b"x" * (shutil.disk_usage(disk).free - 80_000))
tried("no room for the copy", lambda: History(path))
told["was left"] = path.read_bytes() == before
told["leftovers"] = sorted(file.name for file in disk.iterdir())
tried("no room for a repair", lambda: repair_history(path, to=disk / "new.db"))
filler.unlink()
with History(path) as history:
    begun = history.get("bare")
    count = history.count()
    acknowledged = 0
    filler.write_bytes(b"x" * (shutil.disk_usage(disk).free - 200_000))
    try:
        for number in range(100):
            fields = {"id": str(number), "state": "STARTED", "inputs": {"text": "x" * 20_000}}
            history.begin(begun.model_copy(update=fields))
            acknowledged += 1
    except HistoryError as exc:
        told["a full disk"] = f"refused: {exc}"
    told["reads on"] = history.count() - count == acknowledged > 0
    filler.unlink()
    history.begin(begun.model_copy(update={"id": "after", "state": "STARTED"}))
    told["goes on"] = history.count() - count == acknowledged + 1
print(json.dumps(told))
"""


@pytest.fixture
def on_a_small_disk(tmp_path):
    """Return what runs a program with a disk of 1 MB and returns the JSON that it prints."""

    def run(program):
        done = subprocess.run(
            [*command, program, FILES], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=1M none "$1" && exec "$2" -c "$3" "$1" "$4"'
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", *rights, "--mount", "sh", "-c", script, "sh", disk, sys.executable]
    return run


def test_a_full_disk_is_told_loses_nothing_and_can_be_gone_on_with(on_a_small_disk):
    told = on_a_small_disk(FILLED)
    assert told.pop("leftovers") == ["filler", "runs.db"]
    for name in ("was left", "reads on", "goes on"):
        assert told.pop(name) is True, name
    copy = told.pop("no room for the copy")
    assert copy.startswith("refused: The history ")
    assert "was left as it is: its tables have version 5" in copy
    assert "free some space there, or name another folder with VELLUM_NB_BACKUPS" in copy
    assert "the disk is full; free some space" in told.pop("no room for a repair")
    assert "the disk is full; free some space and try again" in told.pop("a full disk")
    assert told == {}


EVERY_ROOM = """
import json, shutil, sys
from pathlib import Path
from vellum_nb import History, HistoryError, repair_history
disk, source = map(Path, sys.argv[1:])
path, filler, new = disk / "runs.db", disk / "filler", disk / "new.db"

def tried(call):
    ends, left = [], set()
    while not (ends and ends[-1]):
        filler.write_bytes(b"x" * (shutil.disk_usage(disk).free - 16_384 * len(ends)))
        try:
            call()
            ends.append(True)
        except HistoryError:
            ends.append(False)
            left |= {file.name for file in disk.iterdir()}
        filler.unlink()
    return len(ends), sorted(left)

shutil.copy(source / "v6.db", path)
opened = tried(lambda: History(path).close())
for copy in disk.glob("*backup*"):
    copy.unlink()
print(json.dumps([opened, tried(lambda: repair_history(path, to=new))]))
"""


def test_whatever_room_is_missing_nothing_half_written_is_left(on_a_small_disk):
    (opened, after_opening), (repaired, after_repair) = on_a_small_disk(EVERY_ROOM)
    assert min(opened, repaired) > 5
    assert set(after_opening) <= {"filler", "runs.db", "runs.db-shm", "runs.db-wal"}
    assert after_repair == ["filler", "runs.db"]
