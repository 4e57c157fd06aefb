"""No export is written that would contain the API key."""

import json

import pytest
from actions_kit import SomeActions
from report_kit import compared, run, wanted

import vellum_nb as vnb
from vellum_nb.models import RunError
from vellum_nb.models.base import stands_in

KEY = 'sk-"<&>-0123456789abcdef'
WAYS = [
    lambda cmp, path: cmp.to_csv(path),
    lambda cmp, path: cmp.to_parquet(path),
    lambda cmp, path: cmp.to_markdown(path),
    lambda cmp, path: cmp.to_html(path),
    lambda cmp, path: cmp.to_html(path, interactive=True),
    lambda cmp, path: cmp.to_junit(path),
    lambda cmp, _: cmp.to_html(),
    lambda cmp, _: cmp.to_markdown(),
]
PLACES = {
    "an input": {"text": f"my key is {KEY}"},
    "an answer": {"answer": KEY},
    "deep in an answer": {"answer": {"a": [f"x{KEY}x"]}},
    "the name of an output": {"outputs": {KEY: 1}},
}


def with_key(**fields):
    text = fields.pop("text", "a")
    runs = [run("v1", text), run("v2", text, **fields)]
    actions = SomeActions(leaks=lambda found: stands_in(KEY, found))
    return compared(*runs, cases=wanted({text: "yes"}), metrics="exact", actions=actions)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", WAYS)
def test_the_export_is_refused_and_nothing_written(tmp_path, way, place):
    cmp = with_key(**PLACES[place])
    with pytest.raises(
        vnb.VellumNBError, match="was not written: it would contain the API key, in"
    ) as caught:
        way(cmp, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []
    assert KEY not in str(caught.value)
    assert json.dumps(KEY)[1:-1] not in str(caught.value)


def test_the_message_says_where_the_key_is_and_a_frame_knows_that_of_the_environment(
    tmp_path, monkeypatch
):
    cmp = with_key(answer=KEY)
    place = f"in output.answer@v2 of case {cmp.cases[0].case_id}. Delete the run"
    with pytest.raises(vnb.VellumNBError, match=place):
        cmp.to_csv(tmp_path / "a.csv")
    error = RunError(code="X", message=f"bad key {KEY}")
    cmp = with_key(outputs={}, state="REJECTED", error=error)
    with pytest.raises(vnb.VellumNBError, match="in error of case"):
        cmp.to_markdown(tmp_path / "a.md")
    frame = with_key(answer=KEY).frame(rows="runs").assign(**{"input.text": "a"})
    cmp = vnb.compare(frame)
    cmp.to_csv(tmp_path / "before.csv")
    monkeypatch.setenv("VELLUM_API_KEY", KEY)
    with pytest.raises(vnb.VellumNBError, match="contain the API key, in"):
        cmp.to_csv(tmp_path / "after.csv")


def test_without_the_key_everything_is_written(tmp_path):
    cmp = with_key(answer=KEY[:-1])
    for way in WAYS:
        way(cmp, tmp_path / "report.html")
    assert not stands_in("yes", "yes")  # a short key is an ordinary word
