"""`ws.trend` on real sweeps of a local server."""

import pytest

from vellum_nb.errors import InputError

CASES = [{"text": text, "expected.loud": text.upper()} for text in "abcdefgh"]


def swept(ws, cases=CASES, existing="restart"):
    return ws.sweep("shout", cases, release_tags=["v1"], existing=existing, progress=False)


def test_sweeps_of_a_tag_are_points(ws):
    for _ in range(2):
        swept(ws)
    frame = ws.trend("shout", release_tags="v1", by="sweep").frame()
    assert frame["cases"].tolist() == [8, 8]
    assert frame["release"].tolist() == ["v1", "v1"]
    assert frame["change"].tolist()[1] == 0.0


def test_reused_runs_count_at_the_time_of_their_sweep(ws):
    swept(ws)
    more = [*CASES, {"text": "i", "expected.loud": "I"}]
    swept(ws, more, existing="reuse")
    frame = ws.trend("shout", release_tags="v1", by="sweep").frame()
    assert frame["cases"].tolist() == [8, 9]
    assert frame["note"].tolist() == ["", ""]


def test_only_the_given_cases_count(ws):
    swept(ws)
    frame = ws.trend("shout", CASES[:7], release_tags="v1").frame()
    assert frame["cases"].tolist() == [7]


def test_runs_outside_a_sweep_are_no_trend(ws):
    ws.run("shout", {"text": "a"}, release_tag="v1")
    with pytest.raises(InputError, match="no sweep of shout has runs of these cases on v1"):
        ws.trend("shout", release_tags="v1")


def test_unknown_tag_is_refused(ws):
    swept(ws)
    with pytest.raises(InputError, match="no runs of shout on production; available: v1"):
        ws.trend("shout")


def test_case_set_selects_its_cases(ws):
    swept(ws)
    suite = ws.case_set("weekly", deployment="shout")
    suite.add(CASES[:7])
    assert ws.trend("shout", suite, release_tags="v1").frame()["cases"].tolist() == [7]
