"""Two grids, and a grid and whoever else rates, show one another's ratings."""

from __future__ import annotations

import threading

import pytest
from wire_kit import Page

import vellum_nb as vnb


@pytest.fixture
def ws():
    def said(ticket: str) -> str:
        return ticket

    with vnb.LocalServer() as server, vnb.connect(server, history=":memory:") as ws:
        for tag in ("v1", "v2"):
            server.deploy(said, name="echo", release_tags=[tag], description=tag)
            for ticket in ("a", "b"):
                ws.run("echo", {"ticket": ticket}, release_tag=tag)
        yield ws


def ratings(grid):
    return {
        (case.number, release): run.quality
        for case in grid.comparison.cases
        for release, run in case.runs.items()
        if run.quality is not None
    }


def test_a_grid_shows_what_another_grid_and_the_workspace_rated(ws, full_case):
    one, other = (ws.compare("echo", release_tags=["v1", "v2"]).view() for _ in range(2))
    one.rate(one.comparison.cases[0], "v2", 0.25)
    assert one.wait(10)
    assert other.wait(10)
    assert ratings(one) == ratings(other) == {(1, "v2"): 0.25}
    case = other.comparison.cases[1]
    other.open_case(case)
    ws.rate(case.runs["v1"], quality=1.0)
    assert all(grid.wait(10) for grid in (one, other))
    assert ratings(one) == ratings(other) == {(1, "v2"): 0.25, (2, "v1"): 1.0}
    assert [bar["quality"] for bar in full_case(other).bars.bars] == [1.0, None]
    ws.history.annotate(case.runs["v1"].id, quality=None)
    ws.history.annotate(case.runs["v1"].id, note="read")
    assert all(grid.wait(10) for grid in (one, other))
    assert ratings(one) == ratings(other) == {(1, "v2"): 0.25}
    for grid in (one, other):
        grid.close()


def test_a_grid_that_is_closed_and_runs_of_others_disturb_nobody(ws):
    grid = ws.compare("echo", release_tags=["v1", "v2"]).view()
    before = grid.comparison
    ws.run("echo", {"ticket": "c"}, release_tag="v1")
    run = next(iter(ws.history.runs(release_tag="v2")))
    assert grid.wait(10)
    assert grid.comparison is before
    grid.close()
    ws.rate(run, quality=1.0)
    assert ratings(grid) == {}
    assert "vellum-nb-grid-runs" not in {thread.name for thread in threading.enumerate()}


def test_a_history_that_is_closed_before_a_grid_has_read_anew_leaves_no_traceback(ws):
    grid = ws.compare("echo", release_tags=["v1", "v2"]).view()
    for run in ws.history.runs():  # the later ones are heard in a moment, and there is none
        ws.history.delete([run.id])
    ws.history.close()
    assert grid.wait(10)
    grid.close()


def answered(grid):
    return {(case.number, release) for case in grid.comparison.cases for release in case.tries}


def test_a_grid_shows_what_is_deleted_and_brought_back(ws, full_case):
    grid = ws.compare("echo", release_tags=["v1", "v2"]).view()
    all_of_them = {(number, tag) for number in (1, 2) for tag in ("v1", "v2")}
    case = grid.comparison.cases[1]
    gone = case.runs["v2"]
    grid.replay(case, "v2")
    assert grid.wait(10)
    newer = grid.comparison.cases[1].runs["v2"]
    assert newer.id != gone.id
    grid.open_case(grid.comparison.cases[1])
    ws.history.delete([newer.id])
    assert grid.wait(10)
    assert grid.comparison.cases[1].runs["v2"].id == gone.id
    ws.history.delete([gone.id])
    assert grid.wait(10)
    assert answered(grid) == all_of_them - {(2, "v2")}
    assert grid.comparison.statuses["v2"] == ["same", "missing"]
    assert len(full_case(grid).bars.bars) == 1
    ws.history.delete([grid.comparison.cases[0].runs["v1"].id])
    assert grid.wait(10)
    assert dict(grid.comparison.cases[0].inputs) == {"ticket": "a"}
    for _ in range(3):
        ws.history.undelete()
    assert grid.wait(10)
    assert grid.comparison.cases[1].runs["v2"].id == newer.id
    assert answered(grid) == all_of_them
    assert grid.comparison.statuses["v2"] == ["same", "same"]
    ws.history.delete(ws.history.runs())
    assert grid.wait(10)
    assert answered(grid) == set()
    assert not full_case(grid).answers  # the head says where the case was not run
    grid.close()


def test_the_code_of_two_releases_is_read_when_it_is_asked_for(ws):
    def louder(ticket: str) -> str:
        return f"{ticket}!"

    ws.server.deploy(louder, name="echo", release_tags=["v3"])
    ws.run("echo", {"ticket": "a"}, release_tag="v3")
    grid = ws.compare("echo", release_tags=["v1", "v3"]).view()
    page = Page(grid.table)
    assert "code" in page.state("_head")["can"]
    assert page.state("code") == ""
    page.send(kind="code")
    assert grid.wait(10)
    assert "v3: 1 file differs" in page.state("code")
    assert "louder" in page.state("code")
    grid.close()
