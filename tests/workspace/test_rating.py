"""Ratings and corrections: to the server first, then into the history."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TypedDict

import pytest

import vellum_nb as vnb
from vellum_nb.local import ChatHistory


def told(ws, run):
    """Return what the server was told last about a run."""
    read = ws.client.workflow_deployment_event_execution
    return read(run.deployment, run.execution_id).latest_actual


@pytest.fixture
def run(ws):
    return ws.run("shout", {"text": "hi"}, external_id="mine")


@pytest.fixture
def rated(ws, run):
    return ws.rate(run, quality=1, desired={"loud": "HEY"}, metadata={"by": "ann"})


def test_a_rating_is_recorded(ws, rated):
    assert (rated.quality, rated.desired) == (1.0, {"loud": "HEY"})
    assert ws.history.get(rated.id) == rated
    frame = ws.history.frame()
    assert frame[["desired.loud", "quality"]].to_numpy().tolist() == [["HEY", 1.0]]


def test_a_rating_is_reported(ws, rated):
    actual = told(ws, rated)
    assert (actual.output.name, actual.output.value) == ("loud", "HEY")
    assert (actual.quality, actual.metadata) == (1.0, {"by": "ann"})


@pytest.mark.parametrize("name", ["id", "execution_id", "external_id"])
def test_a_run_can_be_named_by_any_of_its_ids(ws, run, name):
    assert ws.rate(getattr(run, name), quality=0).id == run.id
    assert told(ws, run).quality == 0


@pytest.fixture
def of_two_outputs(server, ws):
    def two(text: str) -> dict[str, str]:
        return {"a": text, "b": text}

    server.deploy(two)
    return ws.run("two", {"text": "x"})


def test_quality_is_reported_for_every_output(ws, of_two_outputs):
    assert ws.rate(of_two_outputs, quality=0.5).quality == 0.5
    actual = told(ws, of_two_outputs)
    assert (actual.output.name, actual.quality, actual.output.value) == ("b", 0.5, None)


def test_a_later_correction_leaves_the_earlier_one(ws, of_two_outputs):
    ws.rate(of_two_outputs, desired={"a": "1"}, quality=0.25)
    rated = ws.rate(of_two_outputs, desired={"b": "2"})
    assert (rated.desired, rated.quality) == ({"a": "1", "b": "2"}, 0.25)


def test_corrections_of_every_kind_are_synchronised(server, ws):
    def kinds(text: str) -> dict[str, object]:
        chat: ChatHistory = [{"role": "ASSISTANT", "text": text}]
        return {"number": 1, "list": [1], "object": {"a": 1}, "chat": chat, "flag": True}

    server.deploy(kinds)
    corrections = {
        "number": 2.5,
        "list": [1, {"a": "b"}],
        "object": {"a": [2]},
        "flag": False,
        "chat": [{"role": "ASSISTANT", "text": "better"}],
    }
    for name, value in corrections.items():
        run = ws.run("kinds", {"text": "x"})
        assert ws.rate(run, desired={name: value}).desired == {name: value}
        with vnb.connect(server, history=":memory:") as other:
            other.sync("kinds")
            (stored,) = other.history.runs(execution_id=run.execution_id)
            assert stored.desired == {name: value}


class Reply(TypedDict):
    reply: str


def test_a_rejected_run_is_rated_by_its_declared_outputs(server, ws):
    def moody(text: str) -> Reply:
        raise vnb.Reject("not today")

    server.deploy(moody)
    run = ws.run("moody", {"text": "x"})
    assert ws.rate(run, quality=0).quality == 0
    assert ws.rate(run, desired={"reply": "welcome"}).desired == {"reply": "welcome"}
    assert told(ws, run).output.value == "welcome"


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({}, "Nothing to rate this run with"),
        ({"quality": 2}, "from 0 \\(bad\\) to 1"),
        ({"desired": {"lout": "x"}}, "lout: is not an output; available: loud. Did you mean loud"),
        ({"desired": {"loud": float("nan")}}, "loud: is not a number"),
        ({"desired": ["HEY"]}, r"desired must be a dict, not \['HEY'\]"),
        ({"quality": 1, "metadata": "ann"}, "metadata must be a dict, not 'ann'"),
        ({"quality": float("nan")}, "quality must be a number from 0 .*, not nan"),
    ],
)
def test_wrong_rating_is_not_reported(ws, run, said, sentence):
    with pytest.raises(vnb.InputError, match=sentence):
        ws.rate(run, **said)
    assert told(ws, run) is None
    assert ws.history.get(run.id).quality is None


def test_rating_an_unknown_run_names_the_remedy(ws):
    with pytest.raises(vnb.HistoryError, match=r"'nobody'; ws\.sync"):
        ws.rate("nobody", quality=1)


def test_a_rating_that_the_server_refuses_is_not_recorded(ws, run, tmp_path):
    with (
        vnb.LocalServer() as other,
        vnb.connect(other, history=tmp_path / "runs.db") as stranger,
        pytest.raises(vnb.APIError),
    ):
        stranger.rate(run, quality=1)
    assert ws.history.get(run.id).quality is None


def test_a_run_that_is_not_in_the_history_is_rated_all_the_same(server, ws, run):
    with vnb.connect(server, history=":memory:") as other:
        assert other.rate(run, quality=1).quality == 1
        assert other.history.count() == 0
    assert told(ws, run).quality == 1


def test_the_form_takes_a_rating_back(ws, run):
    form = ws.form("shout")
    rate = form._runs.bars._actions.rate
    assert rate(run, 1.0, None).quality == 1
    assert rate(run, None, {"loud": "x"}).quality == 1
    assert rate(run, None, None).quality is None
    form.close()


@pytest.mark.parametrize("nothing", [None, 5, ["id"]])
def test_what_is_no_run_never_stands_for_another_one(ws, run, nothing):
    for call in (lambda: ws.rate(nothing, quality=0), lambda: ws.trace(nothing)):
        with pytest.raises(vnb.InputError, match="run must be a Run or a text, not"):
            call()
    assert ws.history.get(run.id).quality is None
    assert told(ws, run) is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_failures_that_several_kernels_name_at_once_are_all_kept(server, tmp_path, request, kind):
    where = request.getfixturevalue("postgres_url") if kind == "postgresql" else tmp_path / "r.db"
    with vnb.connect(server, history=where) as ws:
        run = ws.run("shout", {"text": "a"}, release_tag="v1")
    barrier, names = threading.Barrier(6), [f"failure {number}" for number in range(6)]

    def name(failure):
        with vnb.connect(server, history=where) as own:
            view = own.compare("shout", release_tags=["v1"]).view()
            for each in (failure, failure * 2):
                barrier.wait(120)
                view.name_failure(view.comparison.cases[0], "v1", each)
                assert view.wait(120)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(name, names))
    with vnb.History(where) as history:
        stored = sorted(history.get(run.id).tags)
    assert stored == sorted(f"failure:{each}" for name in names for each in (name, name * 2))
