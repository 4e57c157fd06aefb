"""The options of a sweep: limits, what to do with existing runs, and wrong values."""

import gc
import inspect
from dataclasses import fields

import pytest
from counting_server import KEY

import vellum_nb as vnb
from vellum_nb.errors import InputError
from vellum_nb.history import Sweeps
from vellum_nb.sweep.options import SweepArguments, SweepChanges, SweepOptions
from vellum_nb.sweep.sweep import control_of

CASES = [{"text": f"t{number}"} for number in range(3)]


@pytest.fixture
def ws(tmp_path):
    def echo(text: str) -> str:
        return text

    with vnb.LocalServer() as server:
        server.deploy(echo, name="echo", release_tags=["v1"])
        with vnb.connect(server, history=tmp_path / "runs.db") as ws:
            yield ws


def swept(ws, **options):
    return ws.sweep("echo", CASES, release_tags=["v1"], concurrency=1, progress=False, **options)


@pytest.mark.parametrize("limits", [{"max_calls": 2}, vnb.Limits(max_calls=2)])
def test_sweep_stops_at_a_limit_given_as_a_dict_or_an_object(ws, limits):
    assert "max_calls=2 is reached" in repr(swept(ws, limits=limits))


def test_resume_changes_the_limits_that_a_dict_names(ws):
    sweep = swept(ws, limits={"max_calls": 1, "stop_after_failures": 5})
    assert sweep.resume(limits={"max_calls": None}).state == "done"
    assert control_of(sweep).record.options == {"concurrency": 1, "stop_after_failures": 5}


def test_resume_replaces_all_limits_by_an_object(ws):
    sweep = swept(ws, limits={"max_calls": 1, "stop_after_failures": 5})
    assert sweep.resume(limits=vnb.Limits(max_calls=2)).state == "stopped"
    assert control_of(sweep).record.options == {"concurrency": 1, "max_calls": 2}


def test_stored_maximum_of_an_earlier_version_is_ignored(ws):
    sweep = swept(ws, limits={"max_calls": 1})
    lease = Sweeps(ws.history).acquire(control_of(sweep).record)
    lease.change(options={"max_concurrency": 512, "max_calls": 2})
    lease.release()
    opened = ws.open_sweep(sweep.id)
    assert control_of(opened).options.limits == vnb.Limits(max_calls=2)
    assert len(opened.resume().runs()) == 2


def test_seed_of_the_first_run_outlives_a_resume_without_the_rule(ws):
    ws.server.deploy(lambda text: {"output": text * 2}, name="echo", release_tags=["v2"])
    cases = [{"text": str(n), "expected.output": str(n)} for n in range(30)]
    options = {"release_tags": ["v1", "v2"], "concurrency": 1, "progress": False}
    decided = options | {"stop_when": vnb.StopWhen(seed=5)}
    first = ws.sweep("echo", cases, limits={"max_calls": 2}, **decided)
    opened = ws.open_sweep(first.id, stop_when=None, limits={"max_calls": 4})
    assert opened.resume().state == "stopped"
    assert ws.sweep("echo", cases, limits={"max_calls": 6}, **decided).id == first.id


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"existing": "x"}, "existing must be one of 'resume', 'reuse', 'restart', not 'x'"),
        (
            {"limits": {"max_cals": 5}},
            "Unknown limit 'max_cals'; available: max_calls, max_seconds, max_cost_usd, stop_after",
        ),
        ({"limits": 5}, "limits must be vnb.Limits(...) or a dict, such as"),
        (
            {"limits": {"max_calls": 1.5}},
            "max_calls must be a whole number of at least 1 or None, not 1.5",
        ),
        (
            {"limits": {"stop_after_failures": 0}},
            "stop_after_failures must be a whole number of at least 1",
        ),
        (
            {"limits": {"max_cost_usd": "1"}},
            "max_cost_usd must be a number above 0 or None, not '1'",
        ),
        (
            {"limits": {"max_seconds": True}},
            "max_seconds must be a number above 0 or None, not True",
        ),
    ],
)
def test_wrong_option_is_refused_with_the_valid_ones(ws, options, message):
    with pytest.raises(InputError) as caught:
        swept(ws, **options)
    assert message in str(caught.value)
    assert ws.history.count() == 0


def test_signature_of_a_sweep_is_that_of_its_options():
    parameters = inspect.signature(vnb.Workspace.sweep).parameters.values()
    given = {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}
    declared = {field.name: field.default for field in fields(SweepOptions)}
    assert given == declared | {"limits": None}
    assert SweepArguments.__annotations__.keys() == declared.keys() - {"dry_run"}
    assert SweepChanges.__annotations__.keys() < declared.keys()


def test_unknown_option_of_a_sweep_is_a_type_error(ws):
    with pytest.raises(TypeError, match=r"sweep\(\) got an unexpected keyword argument 'metrics'"):
        swept(ws, metrics="exact")


def test_opened_sweep_takes_no_plan_and_no_stop_rule(ws):
    sweep = swept(ws)
    with pytest.raises(TypeError, match="unexpected keyword argument 'repeats'"):
        ws.open_sweep(sweep.id, repeats=3)
    with pytest.raises(InputError, match="make the same call of ws.sweep"):
        ws.open_sweep(sweep.id, stop_when="decided")


def test_mocks_are_refused_by_a_server_that_would_execute_the_nodes(counting):
    cases = [{"text": "a", "mocks": [{"node_id": "x", "then_outputs": {}}]}]
    with (
        vnb.connect(counting.url, api_key=KEY, history=":memory:") as ws,
        pytest.raises(InputError, match="'mocks' needs a local server.*rename or drop"),
    ):
        ws.sweep("count", cases, release_tags=["v1"])
    assert counting.posts == 0


def test_column_of_mocks_that_is_an_input_is_sent_as_an_input(ws):
    ws.server.deploy(lambda mocks: {"seen": mocks}, name="jokes", release_tags=["v1"])
    sweep = ws.sweep("jokes", [{"mocks": "haha"}], release_tags=["v1"], progress=False)
    assert [run.outputs for run in sweep.runs()] == [{"seen": "haha"}]


def test_running_sweep_is_opened_after_its_object_was_dropped(counting):
    counting.held = True
    with vnb.connect(counting.url, api_key=KEY, history=":memory:") as ws:
        options = {"release_tags": ["v1"], "background": True, "progress": False}
        sweep_id = ws.sweep("count", CASES, **options).id
        gc.collect()
        sweep = ws.open_sweep(sweep_id)
        assert sweep.state == "running"
        counting.held = False
        assert sweep.wait().state == "done"
