"""`ws.compare(archived=True)`: runs in archives count as those in the history do."""

from __future__ import annotations

import warnings
from datetime import timedelta
from pathlib import Path

import command_kit
import pandas as pd
import pytest
from vellum_nb.history.reading import light

import vellum_nb as vnb
from vellum_nb.errors import InputError

TEXTS = ("a", "b", "c")
TAGS = ["v1", "v2"]
TWO, ALL = {"release_tags": TAGS}, {"archived": True}
EVER = "2999-01-01"


@pytest.fixture
def runs(ws):
    """Three cases on two release tags, each twice; return them, the oldest first."""
    for _ in range(2):
        for tag in TAGS:
            for text in TEXTS:
                ws.run("shout", {"text": text}, release_tag=tag)
    return ws.history.runs()[::-1]


@pytest.fixture
def archive(ws, tmp_path):
    """Return what archives the runs that were sent before another one, or all."""

    def archive(before=None):
        when = EVER if before is None else before.timestamp
        name = f"{len(ws.history.archives())}.parquet"
        return ws.history.archive(before=when, path=tmp_path / name).path

    return archive


@pytest.fixture(params=["few", "many"])
def _few_or_many(request, monkeypatch):
    """Hold what was said, and read it when it is asked for, as of very many runs."""
    if request.param == "many":
        monkeypatch.setattr(light, "_FEW", 0)


def told(compared):
    """Return all that a comparison says."""
    return compared.frame(), compared.long(), compared.summary()


@pytest.mark.usefixtures("_few_or_many")
@pytest.mark.parametrize("cut", [None, 5])
def test_a_comparison_says_the_same_of_runs_in_archives(ws, runs, archive, cut):
    options = {"release_tags": TAGS, "metrics": [vnb.metrics.length(), "latency_s"]}
    before = ws.compare("shout", **options)
    frames, line = told(before), repr(before)
    answers = [dict(case.runs) for case in before.cases]
    archive(None if cut is None else runs[cut])
    after = ws.compare("shout", **options, **ALL)
    for one, other in zip(frames, told(after), strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert repr(after) == repr(ws.compare("shout", metrics=options["metrics"], **ALL)) == line
    assert [case.runs for case in after.cases] == answers
    assert after.cases[0].repeats("v2") == (0, 2)


def test_without_the_option_runs_in_archives_are_left_out(ws, runs, archive):
    archive(runs[6])
    assert ws.compare("shout", **TWO).summary()["runs"].tolist() == [3, 3]
    assert ws.compare("shout", **TWO, **ALL).summary()["runs"].tolist() == [6, 6]


def test_since_means_the_same_in_archives_also_of_a_sweep(ws, runs, archive):
    sweep = ws.sweep("shout", [{"text": "z"}], release_tags=TAGS, repeats=2, progress=False)
    of_sweep = {"sweep": sweep, "since": max(run.timestamp for run in sweep.runs())}
    later = {"since": runs[4].timestamp}
    before = [ws.compare("shout", **TWO, **which).frame() for which in (of_sweep, later)]
    archive()
    pd.testing.assert_frame_equal(ws.compare("shout", **TWO, **of_sweep).frame(), before[0])
    pd.testing.assert_frame_equal(ws.compare("shout", **TWO, **later, **ALL).frame(), before[1])
    assert [row["answers@v1"] for row in before[1].to_dict("records")] == [2, 1, 1, 1]


@pytest.mark.usefixtures("_few_or_many")
def test_a_grid_shows_runs_in_archives_and_their_traces(ws, archive):
    run = ws.run("shout", {"text": "a"}, release_tag="v1", expand_meta=True)
    ws.run("shout", {"text": "a"}, release_tag="v2")
    archive()
    compared = ws.compare("shout", **TWO, **ALL)
    grid = compared.view()
    (row,) = grid._table._first["rows"]
    assert [cell["kind"] for cell in row["cells"]] == ["baseline", "differs"]
    assert ws.trace(compared.cases[0].runs["v1"].id).equals(ws.trace(run))
    grid.close()


def test_a_comparison_of_runs_in_archives_goes_on_where_they_were_brought_back(
    ws, runs, archive, monkeypatch
):
    monkeypatch.setattr(light, "_FEW", 0)
    path = archive()
    compared = ws.compare("shout", **TWO, **ALL)
    ws.history.unarchive(path)
    assert compared.frame()["output.loud@v2"].tolist() == ["A", "B", "C"]
    path.unlink()
    assert ws.compare("shout", **TWO, **ALL).frame().equals(compared.frame())


def test_a_tag_whose_runs_are_all_in_archives_is_told(ws, archive):
    ws.run("shout", {"text": "a"}, release_tag="v1")
    archive()
    ws.run("shout", {"text": "a"}, release_tag="v2")
    with pytest.warns(UserWarning, match="on v1 are in archives; archived=True comp") as caught:
        assert ws.compare("shout", **TWO).summary()["missing"].tolist() == [1, 0]
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ws.compare("shout", **TWO, **ALL).summary()["missing"].tolist() == [0, 0]


def test_where_all_runs_are_in_archives_the_option_is_told(ws, archive):
    ws.run("shout", {"text": "a"}, release_tag="v1")
    archive()
    also = "in archives it has runs on: v1; archived=True compares them, too$"
    with pytest.raises(InputError, match=f"no runs of shout on v1; it has runs on: none; {also}"):
        ws.compare("shout", release_tags=["v1"])
    with pytest.raises(InputError, match=f"no runs of shout; run it first, on .*; {also}"):
        ws.compare("shout")
    with pytest.raises(InputError, match="of shout on v2; .*in archives it has runs on: v1$"):
        ws.compare("shout", release_tags=["v2"], **ALL)
    with pytest.raises(InputError, match="of gate; run it first, on the tags to compare$"):
        ws.compare("gate")


@pytest.mark.parametrize("spoil", ["gone", "damaged"])
def test_an_archive_that_cannot_be_looked_into_is_named(ws, runs, archive, spoil):
    path = archive(runs[3])
    _ = path.unlink() if spoil == "gone" else path.write_bytes(path.read_bytes()[:100])
    not_read = f"the archive {path} could not be looked into$"
    with pytest.raises(InputError, match=f"no runs of shout on v9; .*: v1, v2; {not_read}"):
        ws.compare("shout", release_tags=["v9"])
    with pytest.raises(InputError, match=f"nothing was run on v9, .* it has: .*; {not_read}"):
        ws.compare("shout", release_tags=["v1", "v9"])
    assert ws.compare("shout", **TWO).summary()["runs"].tolist() == [3, 6]
    assert ws.compare("shout", release_tags=["v1", "LATEST"]).summary()["missing"].tolist() == [
        0,
        3,
    ]
    with pytest.raises(vnb.HistoryError, match="read without archived=True|is damaged"):
        ws.compare("shout", **TWO, **ALL)


def test_an_archive_that_can_be_read_tells_its_tags_beside_one_that_cannot(ws, server, archive):
    ws.run("shout", {"text": "a"}, release_tag="v1")
    archive()
    ws.run("shout", {"text": "a"}, release_tag="v2")
    old = ws.history.runs()[0].model_copy(
        update={"id": "old", "external_id": None, "execution_id": None, "release_tag": "gone"}
    )
    ws.history.merge([old.model_copy(update={"timestamp": old.timestamp - timedelta(days=9)})])
    path = ws.history.archives()["path"][0]
    archive(ws.history.runs()[0])
    server.stop()
    Path(path).write_bytes(b"")
    with pytest.warns(UserWarning, match="on gone are in archives"):
        ws.compare("shout", release_tags=["v2", "gone"])


def test_the_command_takes_archives_along(ws, server, runs, archive, tmp_path):
    archive(runs[6])
    known = {"VELLUM_API_KEY": server.api_key, "VELLUM_API_URL": server.url}
    known |= {"VELLUM_NB_HISTORY": str(tmp_path / "runs.db")}
    command = ("compare", "shout", "--release-tag", "v1", "--release-tag", "v2", "--json")
    shown = [command_kit.run(*command, *more, **known).stdout for more in ((), ("--archived",))]
    assert ['"runs": 3' in shown[0], '"runs": 6' in shown[1]] == [True, True]
