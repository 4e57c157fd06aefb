"""Servers that answer what no API should: the history stays right, and errors are ours."""

import json
import time

import command_kit
import pytest

import vellum_nb as vnb

KEY = "sk-hostile-0123456789"
NAME = "triage\x1b[2J\x1b]0;owned\x07\nfake\u202eline\x9b31m"
NAMED = dict.fromkeys(("created", "last_deployed_on"), "2026-01-01T00:00:00Z") | {
    "id": "00000000-0000-4000-8000-000000000001",
    "name": NAME,
    "label": "\x1b[31mred",
    "status": "ACTIVE",
    "environment": "PRODUCTION",
    "input_variables": [{"id": "i", "key": "text\x1b[5m", "type": "STRING"}],
    "output_variables": [],
    "description": "\x1b[0m",
}
EVENTS = "/v1/workflow-deployments/d1/execution-events"
TAGS = "/v1/workflow-deployments/shout/release-tags"
RELEASES = "/v1/workflow-deployments/shout/releases"


@pytest.fixture
def ws(hostile, tmp_path):
    with vnb.connect(hostile.url, api_key=KEY, history=tmp_path / "runs.db") as workspace:
        yield workspace


def execution(number, **more):
    times = {"start": "2026-01-15T09:30:00Z", "end": "2026-01-15T09:30:01Z"}
    return {"span_id": f"e{number}", **times, "inputs": [], "outputs": [], **more}


def page(*results, count=None):
    return {"count": count, "next": "more", "results": list(results)}


def event(state, **data):
    whole = {"execution_id": "e1", "type": "WORKFLOW", "data": {"id": "e1", "state": state, **data}}
    return json.dumps(whole).encode() + b"\n"


def release(id_):
    return {"id": id_, "created": "2026-01-15T09:30:00Z", "workflow_version": {}}


def test_pages_that_repeat_end_with_an_error_and_what_came_is_kept(hostile, ws):
    hostile.answers[EVENTS] = page(*map(execution, range(200)), count=10**9)
    with pytest.raises(vnb.APIResponseError, match="same page twice after 200"):
        ws.sync("shout")
    assert ws.history.count() == 200


def test_times_without_a_zone_are_utc_and_may_be_mixed(hostile, ws):
    mixed = execution(1, start="2026-01-15T09:30:00", end="2026-01-15T11:30:02+02:00")
    edge = execution(2, start="0001-01-01T00:00:00+14:00", end=None, error={"message": "no"})
    hostile.answers[EVENTS] = page(mixed, edge, mixed, count=3)
    assert ws.sync("shout").added == 2
    (run,) = ws.history.runs(execution_id="e1")
    assert run.latency_s == 2.0
    assert run.timestamp.isoformat() == "2026-01-15T09:30:00+00:00"


def test_figures_and_values_that_nobody_can_keep_hold_nothing_up(hostile, ws):
    usage = [{"ml_model_name": "m", "ml_model_usage": {"input_token_count": 10**30}}]
    costs = [{"value": 1e308}, {"value": 1e308}, {"value": 0.5}]
    value = {"id": "i", "name": "x", "type": "NUMBER", "value": float("nan")}
    deep = {"name": "y", "type": "JSON", "value": "[" * 100_000}
    hostile.answers[EVENTS] = page(
        execution(1, usage_results=[{"usage": usage, "cost": costs}]),
        execution(2, inputs=[value], latest_actual={"output": {**deep, "id": "o"}, "quality": 1}),
        count=2,
    )
    assert ws.sync("shout").added == 2
    (run,) = ws.history.runs(execution_id="e1")
    assert (run.tokens_in, run.cost_usd, run.model) == (None, 0.5, "m")
    (run,) = ws.history.runs(execution_id="e2")
    assert (run.quality, run.desired) == (1.0, {"y": "[" * 100_000})
    assert ws.sync("shout").known == 2


def test_figures_of_a_stream_that_nobody_can_keep_do_not_lose_the_run(hostile, ws):
    meta = {"usage": {"input_token_count": 10**30}, "cost": {"value": float("inf")}}
    data = {"type": "PROMPT", "data": {"execution_meta": meta}}
    node = {"id": "n", "node_id": "n", "node_result_id": "n", "state": "FULFILLED", "data": data}
    told = json.dumps({"execution_id": "e1", "type": "NODE", "data": node}).encode() + b"\n"
    hostile.answers["/v1/execute-workflow-stream"] = told + event("FULFILLED", outputs=[])
    run = ws.run("shout", {"text": "x"}, expand_meta=True)
    assert (run.state, run.tokens_in, run.cost_usd) == ("FULFILLED", None, None)
    assert ws.trace(run)["tokens_in"].isna().all()


@pytest.mark.parametrize("id_", [5, None, "", ["e"]])
def test_an_execution_id_that_is_none_fails_the_run(hostile, ws, id_):
    hostile.answers["/v1/execute-workflow-async"] = {"execution_id": id_}
    with pytest.raises(vnb.APIResponseError, match="execution_id"):
        ws.submit("shout", {"text": "x"})
    assert [run.error.code for run in ws.history.runs()] == ["BAD_RESPONSE"]


@pytest.mark.parametrize("status", [400, 404, 421])
def test_an_execution_of_another_workspace_holds_nobody_up(hostile, ws, status):
    hostile.answers["/v1/execute-workflow-async"] = {"execution_id": "ours"}
    run = ws.submit("shout", {"text": "x"}).run
    theirs = {"id": "theirs", "execution_id": "theirs", "external_id": None}
    ws.history.begin(run.model_copy(update=theirs))
    hostile.answers["/v1/workflows/executions/theirs/status"] = (status, {})
    told = {"status": "FULFILLED", "execution_id": "ours", "outputs": {}}
    hostile.answers["/v1/workflows/executions/ours/status"] = told
    assert [pending.run.id for pending in ws.resume_pending()] == [run.id]
    assert ws.history.get("theirs").state == "STARTED"


def test_a_key_that_may_not_ask_gets_a_message(hostile, ws):
    hostile.answers["/v1/execute-workflow-async"] = {"execution_id": "ours"}
    ws.submit("shout", {"text": "x"})
    with pytest.raises(vnb.AuthenticationError):
        ws.resume_pending()


def test_an_execution_that_never_ends_can_be_waited_for_and_left(hostile, ws):
    hostile.answers["/v1/execute-workflow-async"] = {"execution_id": "e1"}
    path = "/v1/workflows/executions/e1/status"
    hostile.answers[path] = {"status": "INITIATED", "execution_id": "e1"}
    pending = ws.submit("shout", {"text": "x"})
    assert pending.wait(0.5, poll=0.01).state == "STARTED"
    assert hostile.asked.count(path) <= 12, "the pauses between two questions do not grow"
    detail = execution(1, end="2026-01-15T09:30:01")
    hostile.answers["/v1/workflow-executions/e1/detail"] = detail
    hostile.answers[path] = (404, {})
    with pytest.raises(vnb.NotFoundError):
        pending.status()
    hostile.answers[path] = {"status": "FULFILLED", "execution_id": "e1", "outputs": {"a": 1}}
    run = pending.wait(20, poll=0.01)
    assert run.finished_at.tzinfo is not None
    assert run.outputs == {"a": 1}
    assert run == ws.history.get(run.id)


def test_an_output_without_a_name_cannot_be_rated_and_a_tag_said_to_be_elsewhere_is_an_error(
    hostile, ws
):
    nameless = {"id": "o", "name": "", "type": "STRING", "value": "x"}
    reply = {"execution_id": "e1", "data": {"state": "FULFILLED", "outputs": [nameless]}}
    hostile.answers["/v1/execute-workflow"] = reply
    with pytest.raises(vnb.InputError, match="no output to rate"):
        ws.rate(ws.run("shout", {"text": "x"}), quality=1)
    hostile.answers[f"{RELEASES}/v1"] = release("r1")
    hostile.answers[f"{RELEASES}/v2"] = release("r2")
    there = {"id": "r1", "timestamp": "2026-01-15T09:30:00Z"}
    for name, ref in [("other", {**there, "id": "r2"}), ("v1", there)]:
        answer = {"name": name, "source": "USER", "history_item": ref, "release": ref}
        hostile.answers[f"{TAGS}/v1"] = answer
        with pytest.raises(vnb.APIResponseError, match="v1 of shout was not moved to r2"):
            ws.move_tag("shout", "v1", "v2", confirm=False)


@pytest.mark.parametrize("way", ["run", "stream"])
def test_a_key_that_the_server_echoes_reaches_no_row_and_no_export(hostile, ws, tmp_path, way):
    outputs = [{"id": "o", "name": "said", "type": "STRING", "value": f"your key is {KEY}"}]
    rejected = {"id": "e1", "state": "FULFILLED", "outputs": outputs}
    hostile.answers["/v1/execute-workflow"] = {"execution_id": KEY, "data": rejected}
    error = {"message": f"no {KEY}", "code": "X"}
    grown = event("STREAMING", output={"name": "said", "type": "STRING", "delta": KEY})
    whole = grown + event("REJECTED", error=error)
    hostile.answers["/v1/execute-workflow-stream"] = whole
    if way == "run":
        shown = repr(ws.run("shout", {"text": "x"}).outputs)
        assert "your key is [API key]" in shown
    else:
        stream = ws.stream("shout", {"text": "x"})
        shown = f"{[*stream]}{stream.texts}{stream.run!r}{stream.run.error}"
    ws.history.to_jsonl(tmp_path / "runs.jsonl")
    kept = (tmp_path / "runs.jsonl").read_text() + repr(ws.history.frame().to_dict())
    assert KEY not in shown + kept
    assert "[API key]" in kept


@pytest.mark.parametrize("way", ["run", "stream", "submit"])
def test_an_interrupt_of_the_look_up_leaves_an_executed_run_in_doubt(
    hostile, ws, way, interrupt_after
):
    used = (400, {"detail": "external_id already exists"})
    for path in ("execute-workflow", "execute-workflow-stream", "execute-workflow-async"):
        hostile.answers[f"/v1/{path}"] = used
    hostile.answers[EVENTS] = page(count=0)

    def asked():
        until = time.monotonic() + 120
        while EVENTS not in hostile.asked and time.monotonic() < until:
            time.sleep(0.01)

    interrupt_after(asked)
    with pytest.raises(KeyboardInterrupt):
        getattr(ws, way)("shout", {})
    (run,) = ws.history.runs()
    assert (run.state, run.doubt) == ("FAILED", "EXECUTED")
    found = execution(1, parent_context={"external_id": run.external_id})
    hostile.answers[EVENTS] = page(found, count=1)
    assert ws.sync("shout").completed == 1
    (run,) = ws.history.runs()
    assert (run.state, run.doubt, run.error) == ("FULFILLED", None, None)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_control_characters_of_a_name_do_not_reach_the_terminal(hostile, options):
    hostile.answers["/v1/workflow-deployments"] = page(NAMED, count=1)
    if not options:  # else the key may not read them
        tags = page({"name": NAME, "source": "USER"}, count=1)
        hostile.answers[f"/v1/workflow-deployments/{NAMED['id']}/release-tags"] = tags
    done = command_kit.run("deployments", *options, "--target", hostile.url, VELLUM_API_KEY=KEY)
    assert done.returncode == 0, done.stderr
    assert "triage" in done.stdout
    assert not any(sign in done.stdout for sign in "\x1b\x07\x9b\u202e")
    if options:
        assert json.loads(done.stdout)[0]["name"] == NAME
    else:
        assert len(done.stdout.splitlines()) == 4
        assert done.stdout.count("triage") == 2
