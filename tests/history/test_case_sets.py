"""Stored case sets: concurrent writers, damage, and versions that never change."""

import os
import sqlite3
import sys
import tracemalloc
from contextlib import ExitStack, closing
from datetime import UTC, datetime

import pytest

import vellum_nb as vnb
from vellum_nb.history import case_sets_of
from vellum_nb.history.case_sets import add_version
from vellum_nb.history.history import recorder_of
from vellum_nb.history.merge import Conflict
from vellum_nb.models import case_id
from vellum_nb.models.sweeps import CaseSetVersion, SweepCase


def member(text, **expected):
    inputs = {"ticket": text}
    return (SweepCase(0, case_id(inputs), inputs, expected),)


def adding(*members):
    """Return a change that adds cases."""
    return lambda stored: {m[0].case_id: m for m in members if m[0].case_id not in stored}


def add(history, name, *members, message=""):
    return case_sets_of(history).commit(name, adding(*members), message=message, deployment="d")


def add_many(place, name, versions):
    """Add one case per version, after the test has said so; run by a forked process."""
    with vnb.History(place) as history:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        for number in range(versions):
            add(history, "suite", member(f"{name} {number}"), message=name)


def test_cases_of_all_versions_can_be_read(history):
    first, second = member("a", category="x"), member("b")
    add(history, "suite", first)
    add(history, "suite", second)
    sets = case_sets_of(history)
    assert [*sets.members("suite", 1).values()] == [first]
    assert [*sets.members("suite").values()] == [first, second]


def test_change_without_effect_stores_no_version(history):
    add(history, "suite", member("a"))
    assert add(history, "suite", member("a")) is None


def test_text_that_a_database_cannot_store_is_stored(history):
    odd = member("a\0b \ud800 \x01")
    add(history, "suite", odd)
    assert [*case_sets_of(history).members("suite").values()] == [odd]


def test_error_in_a_change_stores_nothing(history):
    with pytest.raises(ZeroDivisionError):
        case_sets_of(history).commit("suite", lambda _: 1 / 0, message="", deployment=None)
    assert case_sets_of(history).latest() == []


def store_versions(count):
    """Return a history with a set of so many versions, each of which adds a case."""

    def write(tx):
        for number in range(1, count + 1):
            version = CaseSetVersion(
                id=str(number),
                name="suite",
                number=number,
                parent=str(number - 1) if number > 1 else None,
                created=datetime.now(UTC),
            )
            added = member(f"case {number}")
            add_version(tx, version, {added[0].case_id: added})

    history = vnb.History(":memory:")
    recorder_of(history).store.write(write)
    return history


def peak_memory(count):
    with store_versions(count) as history:
        tracemalloc.start()
        versions = case_sets_of(history).versions("suite")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert [counts.cases for counts in versions.values()] == [*range(count, 0, -1)]
    return peak


def test_memory_for_the_counts_of_1000_versions_grows_with_their_number():
    assert peak_memory(1000) < 6 * peak_memory(250)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")
def test_eight_processes_add_cases_at_once_without_losing_one(place, forks):
    vnb.History(place).close()
    with ExitStack() as stack:
        writers = [
            stack.enter_context(forks.process(__file__, "add_many", place, f"writer {n}", 10))
            for n in range(8)
        ]
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            writer.stdin.write("go\n")
            writer.stdin.flush()
        for writer in writers:
            assert writer.stdout.read() == ""
    with vnb.History(place) as history:
        sets = case_sets_of(history)
        versions = sets.versions("suite")
        assert len(sets.members("suite")) == 80
    assert [version.number for version in versions] == [*range(80, 0, -1)]
    assert [counts.cases for counts in versions.values()] == [*range(80, 0, -1)]


@pytest.fixture
def pair(tmp_path):
    """Return two histories that share the first version of a set."""
    paths = tmp_path / "ann.db", tmp_path / "bob.db"
    with vnb.History(paths[0]) as ann:
        add(ann, "suite", member("base", category="x"), member("old"))
        ann.backup(paths[1])
        with vnb.History(paths[1]) as bob:
            yield ann, bob


def update(history, changed):
    change = lambda _: {changed[0].case_id: changed}  # noqa: E731
    return case_sets_of(history).commit("suite", change, message="", deployment="d")


def remove(history, removed):
    change = lambda _: {removed[0].case_id: None}  # noqa: E731
    return case_sets_of(history).commit("suite", change, message="", deployment="d")


def cases(history):
    return [*case_sets_of(history).members("suite").values()]


def version_ids(history):
    return {version.id for version in case_sets_of(history).versions("suite")}


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_merge_adds_a_set_with_all_versions(target, pair, request):
    ann, _ = pair
    add(ann, "suite", member("new"))
    place = ":memory:" if target == "sqlite" else request.getfixturevalue("postgres_url")
    with vnb.History(place) as other:
        assert other.merge(ann).case_sets == 2
        assert cases(other) == cases(ann)
        assert other.merge(ann).case_sets == 0
        assert version_ids(other) == version_ids(ann)


def test_merge_of_later_versions_adds_no_version_of_its_own(pair):
    ann, bob = pair
    add(bob, "suite", member("new"))
    ann.merge(bob)
    assert version_ids(ann) == version_ids(bob)
    assert bob.merge(ann).case_sets == 0


def test_merge_combines_the_changes_of_both_histories(pair):
    ann, bob = pair
    add(ann, "suite", member("of ann"))
    remove(bob, member("old"))
    add(bob, "suite", member("of bob"))
    report = ann.merge(bob)
    assert report.case_sets == 2
    assert cases(ann) == [member("base", category="x"), member("of ann"), member("of bob")]
    newest, counts = next(iter(case_sets_of(ann).versions("suite").items()))
    assert (newest.number, newest.message, counts.cases) == (5, "merged", 3)


def test_versions_of_both_histories_have_the_counts_of_their_own_cases(pair):
    ann, bob = pair
    add(ann, "suite", member("of ann"))
    remove(bob, member("old"))
    add(bob, "suite", member("of bob"), member("more"))
    ann.merge(bob)
    counts = case_sets_of(ann).versions("suite").values()
    assert [tuple(of_version) for of_version in counts] == [
        (4, 2, 0, 1),
        (3, 2, 0, 0),
        (1, 0, 0, 1),
        (3, 1, 0, 0),
        (2, 2, 0, 0),
    ]


def test_histories_that_merge_each_other_have_the_same_versions(pair):
    ann, bob = pair
    add(ann, "suite", member("of ann"))
    add(bob, "suite", member("of bob"))
    with vnb.History(":memory:") as before:
        before.merge(ann)
        ann.merge(bob)
        bob.merge(before)
    assert version_ids(ann) == version_ids(bob)
    assert cases(ann) == cases(bob)
    assert ann.merge(bob).case_sets == bob.merge(ann).case_sets == 0


def test_merge_continues_after_an_earlier_merge(pair):
    ann, bob = pair
    add(ann, "suite", member("of ann"))
    add(bob, "suite", member("of bob"))
    ann.merge(bob)
    add(bob, "suite", member("later"))
    remove(ann, member("of ann"))
    ann.merge(bob)
    texts = [turns[0].inputs["ticket"] for turns in cases(ann)]
    assert sorted(texts) == ["base", "later", "of bob", "old"]


def test_merge_combines_different_values_of_one_case(pair):
    ann, bob = pair
    update(ann, member("base", category="x", priority="high"))
    update(bob, member("base", category="y"))
    report = ann.merge(bob)
    assert cases(ann)[0] == member("base", category="y", priority="high")
    assert report.case_conflicts == ()


def test_newer_of_two_different_expected_outputs_prevails_and_is_reported(pair):
    ann, bob = pair
    update(bob, member("base", category="of bob"))
    update(ann, member("base", category="of ann"))
    report = bob.merge(ann)
    assert cases(bob)[0] == member("base", category="of ann")
    assert report.case_conflicts == (Conflict(member("base")[0].case_id, ("expected.category",)),)
    assert "1 cases differ, the newer stay" in str(report)


def test_update_prevails_over_a_removal(pair):
    ann, bob = pair
    remove(ann, member("base"))
    update(bob, member("base", category="y"))
    ann.merge(bob)
    assert member("base", category="y") in cases(ann)


def test_sets_of_one_name_without_a_common_version_are_united(tmp_path):
    with vnb.History(tmp_path / "a.db") as ann, vnb.History(tmp_path / "b.db") as bob:
        add(ann, "suite", member("of ann"), member("both"))
        add(bob, "suite", member("both"), member("of bob"))
        ann.merge(bob)
        assert cases(ann) == [member("of ann"), member("both"), member("of bob")]


def damage(path, statement):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


DAMAGE = {
    "content": "UPDATE case_set_changes SET content = '[{\"inputs\": 5}]' WHERE position = 0",
    "broken JSON": "UPDATE case_set_changes SET content = '[{' WHERE position = 0",
    "a lost version": "DELETE FROM case_set_versions WHERE number = 1",
    "lost changes": "DELETE FROM case_set_changes",
    "a cycle": "UPDATE case_set_versions SET parent = id",
    "an impossible time": "UPDATE case_set_versions SET created = 9000000000000000000",
}


@pytest.mark.parametrize("statement", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_found_and_is_not_merged(path, statement):
    with vnb.History(path) as history:
        add(history, "suite", member("a"), member("b"))
        add(history, "suite", member("c"))
        add(history, "whole", member("d"))
    damage(path, statement)
    check = vnb.check_history(path)
    assert any("case set" in problem.lower() for problem in check.problems), check
    with vnb.History(":memory:") as other:
        report = other.merge(path)
        assert "case set suite" in report.unreadable
        assert cases(other) == []


def test_damaged_case_is_an_error_when_it_is_read(path):
    with vnb.History(path) as history:
        add(history, "suite", member("a"))
    damage(path, DAMAGE["broken JSON"])
    with vnb.History(path) as history, pytest.raises(vnb.HistoryError, match="is damaged"):
        cases(history)


def test_backup_has_the_case_sets(history_file, tmp_path):
    with vnb.History(history_file.backup(tmp_path / "copy.db")) as copy:
        assert cases(copy) == cases(history_file)
    assert vnb.check_history(tmp_path / "copy.db").ok


@pytest.fixture
def history_file(path):
    with vnb.History(path) as history:
        add(history, "suite", member("a"))
        yield history


def add_for_ever(place, name):
    """Add a case per version, and print each that was stored; run by a process to be killed."""
    with vnb.History(place) as history:
        for number in range(10**9):
            add(history, "suite", *(member(f"{name} {number} {part}") for part in range(3)))
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")
def test_killed_writer_leaves_whole_versions(place, forks):
    for name in "abcdef":
        with forks.process(__file__, "add_for_ever", place, name) as writer:
            stored = [int(writer.stdout.readline()) for _ in range(8)]
            writer.kill()
            stored += [int(line) for line in writer.stdout if line.endswith("\n")]
        with vnb.History(place) as history:
            versions = case_sets_of(history).versions("suite")
            texts = {turns[0].inputs["ticket"] for turns in cases(history)}
        assert {f"{name} {number} {part}" for number in stored for part in range(3)} <= texts
        assert all(counts.added == 3 for counts in versions.values())
