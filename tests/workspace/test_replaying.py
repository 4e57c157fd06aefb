"""Cases of a comparison run once more, on a real local server; and its exports' key."""

import pandas as pd
import pytest

import vellum_nb as vnb


@pytest.fixture
def cmp(ws):
    for text in ("a", "b", "c"):
        for tag in ("v1", "v2"):
            ws.run("shout", {"text": text}, release_tag=tag)
    return ws.compare("shout", release_tags=["v1", "v2"])


def louder(text: str) -> dict[str, object]:
    """Say it louder."""
    return {"loud": f"{text.upper()}!"}


def replay_of(sweep):
    frame = sweep.frame()
    return dict(zip(frame["case_id"], frame["label.replay_of"], strict=True))


def test_cases_are_run_on_another_release_and_say_what_they_replay(ws, server, cmp):
    server.deploy(louder, name="shout", release_tags=["v3"])
    sweep = cmp.replay(cmp.frame("changed"), release_tag="v3", progress=False)
    assert repr(sweep) == "<Sweep of shout on v3: done, 3 of 3 runs>"
    assert replay_of(sweep) == {case.case_id: case.runs["v1"].id for case in cmp.cases}
    assert {run.outputs["loud"] for run in sweep.runs()} == {"A!", "B!", "C!"}
    after = ws.compare("shout", release_tags=["v1", "v2", "v3"])
    assert after.result("v3").missing == 0
    assert after.frame()["label.replay_of"].tolist() == [c.runs["v1"].id for c in cmp.cases]


@pytest.mark.parametrize(
    "chosen",
    [
        lambda cmp: [cmp.cases[1].case_id, cmp.cases[1]],
        lambda cmp: cmp.frame().iloc[[1]],
        lambda cmp: cmp.frame().iloc[1],
        lambda cmp: cmp.cases[1].runs["v1"],
    ],
)
def test_cases_are_given_in_any_way(cmp, chosen):
    sweep = cmp.replay(chosen(cmp), release_tag="v2", repeats=2, progress=False)
    assert len(sweep.runs()) == 2
    assert replay_of(sweep) == {cmp.cases[1].case_id: cmp.cases[1].runs["v1"].id}


def test_what_is_expected_and_labels_go_along(ws):
    cases = [{"text": "a", "expected.loud": "A", "who": "ann"}]
    sweep = ws.sweep("shout", cases, release_tags=["v1"], progress=False)
    replay = sweep.compare().replay(release_tag="v2", progress=False)
    frame = replay.frame()
    assert frame[["expected.loud", "label.who"]].to_numpy().tolist() == [["A", "ann"]]
    assert frame["label.replay_of"].tolist() == [run.id for run in sweep.runs()]
    assert replay.compare(metrics="exact").summary()["metric.exact"].tolist() == [1.0]


def test_an_input_that_the_release_does_not_know_is_kept_and_not_sent(ws):
    ws.run("shout", {"text": "a", "times": 2}, release_tag="v2")
    (run,) = ws.compare("shout").replay(release_tag="v1", progress=False).runs()
    assert (run.state, run.not_sent) == ("FULFILLED", ("times",))
    assert run.inputs == {"text": "a", "times": 2}


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        ("nonsense", "the text 'nonsense' is not a case of this comparison; frame"),
        (7, "the number 7 is not a case: give rows of frame"),
        (pd.DataFrame({"a": [1]}), "the DataFrame has no column case_id"),
    ],
)
def test_what_is_no_case_is_refused_and_nothing_run(ws, cmp, cases, message):
    before = ws.history.count()
    with pytest.raises(vnb.InputError, match=message):
        cmp.replay(cases, release_tag="v2")
    assert ws.history.count() == before


def test_where_nothing_is_worse_nothing_is_replayed_and_nothing_of_a_frame(ws, cmp):
    sweep = ws.sweep("shout", [{"text": "a", "expected.loud": "A"}], release_tags=["v1", "v2"])
    cmp = sweep.compare()
    before = ws.history.count()
    empty = cmp.replay(cmp.regressions(), release_tag="v2")
    sentence = "<Sweep of shout on v2: no cases: nothing was replayed>"
    assert repr(empty) == sentence
    assert empty._repr_mimebundle_() == {"text/plain": sentence}
    assert (empty.state, empty.runs(), len(empty.frame())) == ("done", [], 0)
    assert {"state", "release_tag", "case_id"} <= set(empty.frame())
    assert empty.wait() is empty.resume() is empty.retry_failed() is empty
    with pytest.raises(vnb.InputError, match="no cases: nothing was replayed, so there is nothing"):
        empty.compare()
    assert (ws.history.count(), len(ws.sweeps())) == (before, 1)
    of_frame = vnb.compare(ws.history.frame())
    with pytest.raises(vnb.InputError, match=r"has no workspace.*ws.compare\(...\)"):
        of_frame.replay(release_tag="v1")


def test_exports_of_a_workspace_are_searched_for_its_key(ws, server, tmp_path):
    ws.run("shout", {"text": f"key {server.api_key}"}, release_tag="v1")
    sweep = ws.sweep("shout", [{"text": server.api_key}], release_tags=["v1"], progress=False)
    with pytest.raises(vnb.VellumNBError, match="contain the API key, in input.text"):
        sweep.to_csv(tmp_path / "report")
    for cmp in (ws.compare("shout"), sweep.compare(), ws.open_sweep(sweep.id).compare()):
        for write in (cmp.to_csv, cmp.to_html, cmp.to_markdown, cmp.to_parquet):
            with pytest.raises(vnb.VellumNBError, match="contain the API key, in input.text"):
                write(tmp_path / "report")
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("report")] == []
