"""Damaged histories: what can be read is saved, nothing is made up, the file stays as it is.

Which pages hold a run is told by its mark, which stands in no index and in each of its pages.
"""

from __future__ import annotations

import json
import random
import re
import shlex
import sqlite3
import subprocess
import sys
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import vellum_nb as vnb
from vellum_nb import History, HistoryError, Run
from vellum_nb.history.sqlite.migrations import SCHEMA_VERSION
from vellum_nb.models.sweeps import SweepCase, SweepRecord

OLD = [
    file
    for file in sorted(Path(__file__).with_name("files").glob("v*.db"))
    if file.stem != f"v{SCHEMA_VERSION}"
]
PAGE = 2048
RUNS = 60
COPIES = 35
MARK = re.compile(rb"<(\d+)>")


@dataclass(frozen=True)
class Whole:
    content: bytes
    runs: dict[str, str]
    pages: dict[str, set[int]]
    count: int


def a_run(number):
    mark = f"<{number}>"
    return Run(
        id=f"run-{number * 7919 % RUNS}-{number}",
        external_id=f"e{number}",
        execution_id=f"x{number}",
        deployment=f"d{number % 3}",
        release_tag=mark,
        timestamp=datetime(2026, 7, 1, tzinfo=UTC) + timedelta(seconds=number),
        inputs={"text": mark * (number % 7 * 300 + 1)},
        outputs={"reply": f"ré{mark}" * (number % 5 * 100 + 1)},
        metadata={"mark": mark * 9},
        note="n" * 300,  # some ten runs a page
        case_id="c",
        state="FULFILLED",
    )


def texts(history):
    return {run.id: json.dumps(run.model_dump(), default=str) for run in history.runs()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "runs.db"
    with History(path) as history:
        for run in map(a_run, range(RUNS)):
            history.begin(run.model_copy(update={"state": "STARTED", "outputs": {}}))
            history.finish(run)
        history.delete([run.id for run in map(a_run, range(0, RUNS, 10))])
        fields = {"deployment": "d", "release_tags": ("v1",), "signature": "s", "cases": 40}
        cases = [SweepCase(n, f"c{n}", {"text": "x" * 200}) for n in range(40)]
        history.sweeps.add(
            SweepRecord(id="sweep", created=datetime(2026, 7, 1, tzinfo=UTC), **fields), cases
        )
        runs = texts(history)
    content = path.read_bytes()
    found = defaultdict(set)
    for page in range(len(content) // PAGE):
        for mark in MARK.findall(content[page * PAGE : (page + 1) * PAGE]):
            found[a_run(int(mark)).id].add(page)
    return Whole(content, runs, dict(found), len(content) // PAGE)


def overwrite(content, chance, page, what):
    content[page * PAGE : (page + 1) * PAGE] = what


def blanked(content, chance, count):
    pages = {chance.randrange(count) for _ in range(chance.randint(1, 5))}
    for page in pages:
        overwrite(content, chance, page, bytes(PAGE))
    return pages


def noise(content, chance, count):
    pages = {chance.randrange(count) for _ in range(chance.randint(1, 8))}
    for page in pages:
        overwrite(content, chance, page, chance.randbytes(PAGE))
    return pages


def misdirected(content, chance, count):
    pages = {chance.randrange(count) for _ in range(chance.randint(1, 3))}
    for page in pages:
        other = chance.randrange(count)
        overwrite(content, chance, page, bytes(content[other * PAGE : (other + 1) * PAGE]))
    return pages


def cut_off(content, chance, count):
    end = chance.randrange(len(content) // 2, len(content))
    del content[end:]
    return set(range(end // PAGE, count))


def flipped(content, chance, count):
    places = {chance.randrange(len(content)) for _ in range(chance.randint(1, 30))}
    for at in places:
        content[at] ^= 1 << chance.randrange(8)
    return {at // PAGE for at in places}


def first_page(content, chance, count):
    overwrite(content, chance, 0, chance.randbytes(PAGE))
    return {0, *blanked(content, chance, count)}


@pytest.mark.parametrize("damage", [blanked, noise, misdirected, cut_off, flipped, first_page])
def test_every_run_whose_pages_are_whole_is_saved_as_it_was(damage, whole, tmp_path):
    chance = random.Random(damage.__name__)  # noqa: S311  (no secret depends on it)
    saved = 0
    for number in range(COPIES):
        content = bytearray(whole.content)
        bad = damage(content, chance, whole.count)
        path, to = tmp_path / f"{number}.db", tmp_path / f"{number}-new.db"
        path.write_bytes(content)
        untouched = {name for name, pages in whole.pages.items() if not pages & bad}
        untouched &= whole.runs.keys()
        try:
            report = vnb.repair_history(path, to=to)
        except HistoryError as exc:
            assert "Nothing could be saved" in str(exc)  # noqa: PT017  (it may be saved as well)
            assert not untouched
            continue
        assert path.read_bytes() == content
        with History(to) as history:
            found = texts(history)
        assert {name: found.get(name) for name in untouched} == {
            name: whole.runs[name] for name in untouched
        }
        if report.payloads:
            report.payloads.unlink()
        made_up = found.keys() - whole.runs.keys()
        assert not made_up if damage is not flipped else len(made_up) <= 2
        assert report.runs == len(found) <= report.of
        assert set(report.lost).isdisjoint(found)
        saved += len(found)
        to.unlink()
    assert saved > COPIES * len(whole.runs) // 4, (
        "too little was saved: the test has lost its teeth"
    )


def test_what_is_whole_is_saved_whole_with_all_that_is_not_a_run(whole, tmp_path):
    path = tmp_path / "runs.db"
    path.write_bytes(whole.content)
    report = vnb.repair_history(path)
    assert report.path == tmp_path / "runs-repaired.db"
    assert (report.runs, report.of, report.lost, report.cut) == (54, 54, (), ())
    assert str(report).startswith(f"54 of 54 runs of {path} are in ")
    with History(path) as old, History(report.path) as new:
        assert texts(new) == whole.runs
        assert new.sweeps.every() == old.sweeps.every()
        assert new.sweeps.cases("sweep") == old.sweeps.cases("sweep")
        assert new.deletions().equals(old.deletions())
    assert vnb.check_history(report.path).ok


def test_runs_that_are_only_in_the_log_are_saved_as_well(tmp_path):
    path = tmp_path / "runs.db"
    code = """
import os, sys
from datetime import UTC, datetime
from vellum_nb import History, Run
history = History(sys.argv[1])
for number in range(30):
    fields = {"deployment": "d", "release_tag": "v", "timestamp": datetime.now(UTC), "case_id": "c"}
    history.begin(Run(id=str(number), inputs={"text": "x" * 3000}, **fields))
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code, path], check=True)
    log = path.with_name("runs.db-wal")
    before = path.read_bytes(), log.read_bytes()
    assert len(before[1]) > 100_000
    assert vnb.repair_history(path, to=tmp_path / "all.db").runs == 30
    torn = bytearray(before[1])
    torn[len(torn) // 2] ^= 255
    log.write_bytes(torn)
    assert 5 < vnb.repair_history(path, to=tmp_path / "some.db").runs < 30
    log.unlink()
    path.with_name("runs.db-shm").unlink(missing_ok=True)
    path.write_bytes(before[0])
    with pytest.raises(HistoryError, match="Nothing could be saved"):
        vnb.repair_history(path, to=tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_a_run_that_lost_its_payload_says_so_and_keeps_the_rest(whole, tmp_path):
    path = tmp_path / "runs.db"
    path.write_bytes(whole.content)
    name = a_run(3).id
    with closing(sqlite3.connect(path)) as db:
        chosen = "WHERE seq = (SELECT seq FROM runs WHERE id = ?)"
        db.execute(f"UPDATE payloads SET outputs = '{{\"torn' {chosen}", (name,))
        db.execute("DELETE FROM payloads WHERE seq = (SELECT seq FROM runs WHERE id = ?)", ("x",))
        other = a_run(4).id
        db.execute(f"DELETE FROM payloads {chosen}", (other,))
        db.execute("UPDATE runs SET state = 'ASLEEP' WHERE id = ?", (a_run(5).id,))
        db.commit()
    found = vnb.check_history(path)
    assert f"problem: outputs of run {name} cannot be read" in str(found)
    assert f"problem: state of run {a_run(5).id} cannot be read" in str(found)
    assert "problem: 1 run(s) without payloads" in str(found)
    report = vnb.repair_history(path)
    assert set(report.cut) == {name, other}
    assert "1 could not be read" in str(report)
    assert report.lost == (a_run(5).id,)
    with History(report.path) as history:
        run = history.get(name)
        assert run.metadata == {**a_run(3).metadata, "repaired": "lost: outputs"}
        assert (run.outputs, run.inputs) == ({}, a_run(3).inputs)
        assert history.get(other).metadata == {
            "repaired": "lost: inputs, outputs, output_types, not_sent"
        }
        assert history.get(other).execution_id == "x4"
    assert vnb.check_history(report.path).ok


def test_texts_of_many_pages_are_found_without_the_first_page(tmp_path):
    """Nearly all pages of such a history have no head that tells one."""
    path = tmp_path / "runs.db"
    long = "".join(map(str, range(100_000)))
    with History(path) as history:
        for run in map(a_run, range(20)):
            history.merge([run.model_copy(update={"outputs": {"text": f"{run.id} {long}"}})])
    content = bytearray(path.read_bytes())
    content[:PAGE] = bytes(PAGE)
    path.write_bytes(content)
    report = vnb.repair_history(path)
    assert (report.runs, report.cut) == (20, ())


@pytest.mark.parametrize("is_first_page_lost", [False, True])
def test_what_was_deleted_stays_deleted(is_first_page_lost, tmp_path):
    path = tmp_path / "runs.db"
    with History(path) as history:
        with history._store.write() as connection:
            pass
        connection.execute("PRAGMA secure_delete = OFF")  # so that old rows stay in free pages
        for run in map(a_run, range(RUNS)):
            history.begin(run)
        history.delete([a_run(number).id for number in range(10, 50)])
    content = bytearray(path.read_bytes())
    if is_first_page_lost:
        content[:PAGE] = bytes(PAGE)
    path.write_bytes(content)
    report = vnb.repair_history(path)
    assert report.runs == 20
    with History(report.path) as history:
        assert {int(run.id.rpartition("-")[2]) for run in history.runs()}.isdisjoint(range(10, 50))
        assert history.deletions()["runs"].sum() == 40


def test_payloads_whose_run_is_lost_are_written_beside_the_new_file(whole, tmp_path):
    path = tmp_path / "runs.db"
    path.write_bytes(whole.content)
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("SELECT seq FROM runs WHERE id IN (?, ?)", (a_run(2).id, a_run(3).id))
        seqs = [seq for (seq,) in found.fetchall()]
        db.execute("DELETE FROM runs WHERE seq IN (?, ?)", seqs)
        db.commit()
    report = vnb.repair_history(path)
    assert report.payloads == tmp_path / "runs-repaired.payloads.jsonl"
    assert (report.runs, report.of) == (52, 54)
    assert "2 could not be read; payloads of 2 of them are in " in str(report)
    rows = [json.loads(line) for line in report.payloads.read_text("utf-8").splitlines()]
    assert [row["seq"] for row in rows] == sorted(seqs)
    assert [json.loads(row["inputs"]) for row in rows] == [a_run(2).inputs, a_run(3).inputs]


@pytest.mark.parametrize("is_whole", [True, False])
def test_old_versions_are_repaired_into_the_present_one(is_whole, tmp_path):
    for file in OLD:
        path = tmp_path / file.name
        path.write_bytes(file.read_bytes())
        damaged = tmp_path / f"damaged-{file.name}"
        first = file.read_bytes()[:18] if is_whole else bytes(18)
        damaged.write_bytes(first + file.read_bytes()[18:])
        report = vnb.repair_history(damaged)
        with History(report.path) as history:
            kept = texts(history)
        with History(path) as history:
            assert kept == texts(history)
        assert report.runs == report.of == len(kept) > 20


def test_the_new_file_is_never_written_over_another(whole, tmp_path):
    path, taken = tmp_path / "runs.db", tmp_path / "taken.db"
    path.write_bytes(whole.content)
    taken.write_text("mine")
    with pytest.raises(HistoryError, match="There is a file .*taken.db already"):
        vnb.repair_history(path, to=taken)
    with pytest.raises(HistoryError, match="could not be repaired into .*No such file"):
        vnb.repair_history(path, to=tmp_path / "nowhere" / "new.db")
    with pytest.raises(HistoryError, match="There is no history .*missing.db"):
        vnb.repair_history(tmp_path / "missing.db")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["runs.db", "taken.db"]
    assert taken.read_text() == "mine"


def test_a_newer_history_is_not_repaired(whole, tmp_path):
    path = tmp_path / "runs.db"
    path.write_bytes(whole.content)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(HistoryError, match="version 99.*update vellum_nb"):
        vnb.repair_history(path)


@pytest.mark.parametrize("is_in_environment", [False, True])
def test_a_database_on_a_server_is_refused_without_its_password(is_in_environment, monkeypatch):
    url = "postgresql://ann:s3cret@db.example/team"
    if is_in_environment:
        monkeypatch.setenv("VELLUM_NB_HISTORY", url)
    for look in (vnb.check_history, vnb.repair_history):
        with pytest.raises(
            HistoryError, match="postgresql://ann@db.example/team is no file"
        ) as why:
            look(None if is_in_environment else url)
        assert "s3cret" not in str(why.value)


def test_a_check_reads_all_and_changes_nothing(whole, tmp_path):
    path = tmp_path / "runs.db"
    path.write_bytes(whole.content)
    found = vnb.check_history(path)
    assert (found.ok, found.runs, found.problems) == (True, 54, ())
    assert (found.version, found.size) == (SCHEMA_VERSION, len(whole.content))
    assert path.read_bytes() == whole.content
    assert [file.name for file in tmp_path.iterdir()] == ["runs.db"]


def test_every_damaged_page_of_a_history_is_told(whole, tmp_path):
    told = 0
    for page in range(0, whole.count, 5):
        content = bytearray(whole.content)
        overwrite(content, None, page, b"\xa5" * PAGE)
        path = tmp_path / "runs.db"
        path.write_bytes(content)
        told += not vnb.check_history(path).ok
    every = len(range(0, whole.count, 5))
    assert told > 0.8 * every, "of what is not told, SQLite sees only free pages and ends of texts"


def test_a_check_names_the_pages_that_are_lost(whole, tmp_path):
    path = tmp_path / "runs.db"
    content = bytearray(whole.content)
    with closing(sqlite3.connect(path)) as db:
        path.write_bytes(content)
        sql = "SELECT rootpage FROM sqlite_master WHERE name IN ('payloads', 'runs')"
        lost = sorted(root for (root,) in db.execute(sql))
    for page in lost:
        overwrite(content, None, page - 1, bytes(PAGE))
    path.write_bytes(content)
    found = vnb.check_history(path)
    told = ", ".join(map(str, lost))
    assert f"2 page(s) of its tables and indexes cannot be read: {told}" in found.notes


def test_the_command_line_checks_and_repairs(whole, tmp_path):
    def vellum_nb(*words):
        command = [sys.executable, "-m", "vellum_nb", "history", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    path = tmp_path / "my runs.db"
    path.write_bytes(whole.content)
    done = vellum_nb("check", path)
    assert (done.returncode, done.stdout.splitlines()[1]) == (0, "no problem found")
    path.write_bytes(whole.content[: -len(whole.content) // 10])
    done = vellum_nb("check", path)
    assert done.returncode == 1
    *told, advice = done.stdout.splitlines()
    assert any("cannot be read" in each for each in told)
    done = vellum_nb("repair", path, "--to", tmp_path / "new.db")
    assert done.returncode == 0, done.stderr
    assert re.match(r"\d+ of at least \d+ runs of .* pages are missing\n$", done.stdout)
    assert vellum_nb(*shlex.split(advice.partition(": vellum-nb history ")[2])).returncode == 0
    assert (tmp_path / "my runs-repaired.db").exists()
    done = vellum_nb("repair", path, "--to", tmp_path / "new.db")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert json.dumps(vellum_nb("check", tmp_path / "none.db").returncode) == "1"
