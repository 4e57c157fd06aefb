"""What a server does wrong when it is told to."""

import threading
import time

import pytest
import requests
from execution_kit import inputs

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


def execute(api, how="", name="count", **options):
    given = inputs(text=("STRING", "x" * 200))
    body = {"workflow_deployment_name": name, "inputs": given}
    return api.post(how, json=body, **options)


@pytest.mark.parametrize("rate", RATES)
def test_a_request_answered_by_a_fault_is_not_executed(server, api, counting, rate):
    server.faults = Faults(**{rate: 1.0}, retry_after_s=7)
    answer = execute(api)
    assert answer.status_code == int(rate[-3:])
    assert "on purpose" in answer.json()["detail"]
    expected = "7" if rate in {"rate_429", "rate_503"} else None
    assert answer.headers.get("Retry-After") == expected
    assert counting.runs == 0


def drain(answer, came):
    with answer:
        came.extend(answer.iter_content(None))


def test_a_stream_is_cut_off_after_its_first_bytes(server, api):
    server.faults = Faults(truncated_stream=1.0)
    came: list[bytes] = []
    answer = execute(api, "-stream", "talk", stream=True)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        drain(answer, came)
    assert came


def test_a_fault_of_streams_does_not_affect_a_body(server, api):
    server.faults = Faults(truncated_stream=1.0)
    assert execute(api).json()["data"]["state"] == "FULFILLED"


def test_a_fault_of_bodies_does_not_affect_a_stream(server, api):
    server.faults = Faults(truncated_body=1.0)
    assert b"FULFILLED" in execute(api, "-stream", "talk").content


def test_faults_affect_only_matching_paths(server, api):
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


@pytest.mark.parametrize("share", ["reset_before", "reset_after", "truncated_body"])
def test_a_connection_is_cut_without_an_error_of_the_server(server, api, counting, caplog, share):
    server.faults = Faults(**{share: 1.0})
    with pytest.raises(requests.RequestException):
        execute(api)
    assert counting.runs == (share != "reset_before")
    server.faults = None
    assert execute(api).status_code == 200
    server.stop()
    assert caplog.records == []


def test_a_request_waits_and_its_answer_drips(server, api):
    server.faults = Faults(latency_s=0.2, drip_s=0.01)
    began = time.monotonic()
    with execute(api, stream=True) as answer:
        headers = time.monotonic()
        size = int(answer.headers["Content-Length"])
        assert len(answer.content) == size
    assert headers - began >= 0.2
    assert time.monotonic() - headers >= 0.01 * (size // 16 - 2)
