"""Private methods of urllib3, threads and forked processes."""

import inspect
import os
import threading
import tomllib
from pathlib import Path

import pytest
from urllib3.connection import HTTPConnection, HTTPSConnection

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.mark.parametrize("kind", [HTTPConnection, HTTPSConnection])
def test_connection_of_urllib3_makes_its_socket_with_the_overridden_method(kind):
    method = kind._new_conn
    assert method is HTTPConnection.__dict__["_new_conn"]
    assert "self.sock" in inspect.getsource(kind.connect)
    assert "self._new_conn()" in inspect.getsource(kind.connect)
    attributes = ("self._dns_host", "self.port", "self.timeout", "self.socket_options")
    assert [name for name in attributes if name not in inspect.getsource(method)] == []
    assert list(inspect.signature(method).parameters) == ["self"]


def test_urllib3_has_an_upper_bound():
    dependencies = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    (urllib3,) = [each for each in dependencies if each.startswith("urllib3")]
    assert ",<3" in urllib3


def test_fault_in_the_client_is_not_a_lost_answer(server, client, fulfilled, monkeypatch):
    server.will(server.reply(200, fulfilled))

    def broken(*_):
        msg = "a bug"
        raise ValueError(msg)

    monkeypatch.setattr("vellum_nb.client.session.RecordingAdapter.exchange", broken)
    with pytest.raises(ValueError, match="a bug"):
        client.execute_workflow({}, workflow_deployment_name="w")


def test_idle_client_has_no_thread(server, client, fulfilled):
    server.will(server.reply(200, fulfilled))
    client.execute_workflow({}, workflow_deployment_name="w")
    watching = [each for each in threading.enumerate() if each.name == "vellum-nb-timeouts"]
    for thread in watching:
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_forked_process_opens_its_own_connections(server, client, fulfilled):
    server.will(server.reply(200, fulfilled))
    client.execute_workflow({}, workflow_deployment_name="w")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = int(client.execute_workflow({}, workflow_deployment_name="w") is None)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    client.execute_workflow({}, workflow_deployment_name="w")
    first, of_child, last = (request.connection for request in server.seen)
    assert first == last != of_child
