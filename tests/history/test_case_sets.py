"""Stored case sets: concurrent writers, damage, and versions that never change."""

import os
import sys
from contextlib import ExitStack

import pytest

import vellum_nb as vnb
from vellum_nb.history import CaseSets
from vellum_nb.models import case_id
from vellum_nb.models.sweeps import SweepCase


def member(text, **expected):
    inputs = {"ticket": text}
    return (SweepCase(0, case_id(inputs), inputs, expected),)


def adding(*members):
    """Return a change that adds cases."""
    return lambda stored: {m[0].case_id: m for m in members if m[0].case_id not in stored}


def add(history, name, *members, message=""):
    return CaseSets(history).commit(name, adding(*members), message=message, deployment="d")


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
    sets = CaseSets(history)
    assert [*sets.members("suite", 1).values()] == [first]
    assert [*sets.members("suite").values()] == [first, second]


def test_change_without_effect_stores_no_version(history):
    add(history, "suite", member("a"))
    assert add(history, "suite", member("a")) is None


def test_text_that_a_database_cannot_store_is_stored(history):
    odd = member("a\0b \ud800 \x01")
    add(history, "suite", odd)
    assert [*CaseSets(history).members("suite").values()] == [odd]


def test_error_in_a_change_stores_nothing(history):
    with pytest.raises(ZeroDivisionError):
        CaseSets(history).commit("suite", lambda _: 1 / 0, message="", deployment=None)
    assert CaseSets(history).latest() == []


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
        sets = CaseSets(history)
        versions = sets.versions("suite")
        assert len(sets.members("suite")) == 80
    assert [version.number for version in versions] == [*range(80, 0, -1)]
    assert [counts.cases for counts in versions.values()] == [*range(80, 0, -1)]
