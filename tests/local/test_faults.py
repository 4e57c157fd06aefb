"""What a server does wrong when it is told to."""

from __future__ import annotations

import threading
import time

import pytest
import requests

from vellum_nb.errors import VellumNBError
from vellum_nb.local import Faults, LocalServer

RATES = ("rate_429", "rate_500", "rate_502", "rate_503")


class Counting:
    """A workflow that counts its runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.ran = threading.Event()

    def workflow(self, text: str) -> str:
        self.runs += 1
        self.ran.set()
        return text


@pytest.fixture
def counting():
    return Counting()


@pytest.fixture
def server(counting):
    def talk(text: str):
        yield from text

    with LocalServer() as server:
        server.deploy(counting.workflow, name="count")
        server.deploy(talk, name="talk")
        yield server


@pytest.fixture
def api(server, asking):
    return asking(server)


def execute(api, path="/v1/execute-workflow", name="count", **options):
    body = {
        "workflow_deployment_name": name,
        "inputs": [{"name": "text", "type": "STRING", "value": "x" * 200}],
    }
    return api.session.post(api.server.url + path, json=body, timeout=20, **options)


def test_nothing_goes_wrong_unless_it_is_asked_for(server, api):
    assert server.faults is None
    assert execute(api).status_code == 200


@pytest.mark.parametrize("rate", RATES)
def test_a_status_is_answered_and_nothing_runs(server, api, counting, rate):
    server.faults = Faults(**{rate: 1.0}, retry_after_s=7)
    answer = execute(api)
    assert answer.status_code == int(rate[-3:])
    assert "on purpose" in answer.json()["detail"]
    expected = "7" if rate in {"rate_429", "rate_503"} else None
    assert answer.headers.get("Retry-After") == expected
    assert counting.runs == 0


def test_a_reset_before_execution_runs_nothing(server, api, counting):
    server.faults = Faults(reset_before=1.0)
    with pytest.raises(requests.ConnectionError):
        execute(api)
    assert counting.runs == 0


def test_a_reset_after_execution_loses_the_answer_of_a_run(server, api, counting):
    server.faults = Faults(reset_after=1.0)
    with pytest.raises(requests.ConnectionError):
        execute(api)
    assert counting.runs == 1


def test_a_body_is_cut_off(server, api, counting):
    server.faults = Faults(truncated_body=1.0)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        execute(api)
    assert counting.runs == 1


def drain(answer, came):
    with answer:
        came.extend(answer.iter_content(None))


def test_a_stream_is_cut_off_after_something_came(server, api):
    server.faults = Faults(truncated_stream=1.0)
    came: list[bytes] = []
    answer = execute(api, "/v1/execute-workflow-stream", "talk", stream=True)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        drain(answer, came)
    assert came


def test_a_body_is_no_stream_and_a_stream_no_body(server, api):
    server.faults = Faults(truncated_stream=1.0)
    assert execute(api).json()["data"]["state"] == "FULFILLED"
    server.faults = Faults(truncated_body=1.0)
    assert b"FULFILLED" in execute(api, "/v1/execute-workflow-stream", "talk").content


def test_every_request_waits(server, api):
    server.faults = Faults(latency_s=0.2)
    began = time.monotonic()
    assert execute(api).status_code == 200
    assert time.monotonic() - began >= 0.2


def test_an_answer_drips(server, api):
    server.faults = Faults(drip_s=0.01)
    with execute(api, stream=True) as answer:
        size = int(answer.headers["Content-Length"])
        began = time.monotonic()
        content = answer.content
    assert len(content) == size
    assert time.monotonic() - began >= 0.01 * (size // 16 - 2)


@pytest.mark.parametrize("share", ["reset_before", "reset_after", "truncated_body"])
def test_a_connection_that_is_cut_is_no_error_of_the_server(server, api, caplog, share):
    server.faults = Faults(**{share: 1.0})
    with pytest.raises(requests.RequestException):
        execute(api)
    server.faults = None
    assert execute(api).status_code == 200
    server.stop()
    assert caplog.records == []


def test_only_matching_paths_are_touched(server, api):
    server.faults = Faults(rate_500=1.0, paths="/v1/execute-*")
    assert execute(api).status_code == 500
    assert api.get("/v1/workflow-deployments").status_code == 200


def test_the_same_seed_gives_the_same_faults(server, api):
    def statuses():
        server.faults = Faults(rate_429=0.3, rate_500=0.3, seed=4)
        return [api.get("/v1/workflow-deployments").status_code for _ in range(40)]

    first = statuses()
    assert first == statuses()
    assert set(first) == {200, 429, 500}
    assert 5 <= first.count(429) <= 20


def test_faults_can_be_there_from_the_start_and_go_away(asking):
    with LocalServer(faults=Faults(rate_503=1.0)) as server:
        api = asking(server)
        assert api.get("/v1/workflow-deployments").status_code == 503
        server.faults = None
        assert api.get("/v1/workflow-deployments").status_code == 200


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate_429": 1.5}, "rate_429 is 1.5; give a share between 0 and 1"),
        ({"latency_s": -1}, "latency_s is -1; give seconds from 0 on"),
        ({"drip_s": float("nan")}, "drip_s is nan"),
        ({"latency_s": float("inf")}, "latency_s is inf"),
        ({"rate_429": 0.6, "rate_500": 0.6}, "add up to 1.2"),
    ],
)
def test_what_makes_no_sense_is_refused(options, words):
    with pytest.raises(VellumNBError, match=words.replace("(", r"\(")):
        Faults(**options)
