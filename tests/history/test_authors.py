"""Who made a run."""

from __future__ import annotations

import getpass

import pytest

import vellum_nb as vnb
from vellum_nb import History


@pytest.fixture
def team(place, make_run, monkeypatch):
    """Return a history with a run of each of two people, and one of nobody."""
    monkeypatch.setenv("VELLUM_NB_AUTHOR", "")
    with History(place) as history:
        history.begin(make_run(id="nobody's"))
    for name in ("ada", "bob"):
        monkeypatch.setenv("VELLUM_NB_AUTHOR", name)
        with History(place) as history:
            history.begin(make_run(id=f"{name}'s"))
    with History(place) as history:
        yield history


def test_each_run_tells_who_made_it(team):
    assert [run.author for run in team.runs()] == ["bob", "ada", None]
    assert [run.id for run in team.runs(author="ada")] == ["ada's"]
    assert team.count(author=["ada", "bob"]) == 2
    assert [run.author for run in team.page(order_by="author")] == ["bob", "ada", None]


def test_the_frame_has_a_column_for_it_where_a_run_has_one(team):
    columns = list(team.frame())
    assert columns[-3:] == ["model", "author", "id"]
    assert team.frame()["author"].tolist()[:2] == ["bob", "ada"]
    assert "author" not in team.frame(ids=["nobody's"])


def test_a_file_of_ones_own_names_nobody_and_a_shared_history_the_user(
    tmp_path, postgres_url, make_run, monkeypatch
):
    monkeypatch.delenv("VELLUM_NB_AUTHOR", raising=False)
    for place, author in ((tmp_path / "runs.db", None), (postgres_url, getpass.getuser())):
        with History(place) as history:
            history.begin(make_run(id="mine"))
            history.begin(make_run(id="theirs", author="eve"))
            assert (history.get("mine").author, history.get("theirs").author) == (author, "eve")


def test_runs_and_sweeps_of_a_workspace_are_signed(postgres_url, monkeypatch):
    monkeypatch.setenv("VELLUM_NB_AUTHOR", "ada")
    with vnb.LocalServer() as server:
        server.deploy(lambda text: text, name="echo", release_tags=["v1"])
        with vnb.connect(server, history=postgres_url) as ws:
            assert ws.run("echo", {"text": "a"}, release_tag="v1").author == "ada"
            ws.sweep("echo", [{"text": "b"}], release_tags=["v1"], progress=False)
            assert [run.author for run in ws.history.runs()] == ["ada", "ada"]
