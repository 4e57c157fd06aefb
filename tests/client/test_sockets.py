"""What the client takes for granted of urllib3 and requests, and calls that end early."""

import inspect
import os
import threading
import tomllib
from pathlib import Path

import pytest
from urllib3.connection import HTTPConnection, HTTPSConnection

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_the_private_method_of_urllib3_is_as_it_was_and_its_version_has_an_upper_bound():
    """`_new_conn` is overridden: it must go on being how a connection makes its socket."""
    for kind in (HTTPConnection, HTTPSConnection):
        assert kind._new_conn is HTTPConnection._new_conn
        assert "self.sock" in inspect.getsource(kind.connect)
        assert "self._new_conn()" in inspect.getsource(kind.connect)
    source = inspect.getsource(HTTPConnection._new_conn)
    for used in ("self._dns_host", "self.port", "self.timeout", "self.socket_options"):
        assert used in source
    assert list(inspect.signature(HTTPConnection._new_conn).parameters) == ["self"]
    needed = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    (urllib3,) = [each for each in needed if each.startswith("urllib3")]
    assert ",<3" in urllib3


def test_an_error_of_ours_in_the_exchange_is_not_a_lost_answer(
    server, client, fulfilled, monkeypatch
):
    server.will(server.reply(200, fulfilled))

    def broken(*_):
        msg = "a bug"
        raise ValueError(msg)

    monkeypatch.setattr("vellum_nb.client.session.RecordingAdapter.exchange", broken)
    with pytest.raises(ValueError, match="a bug"):
        client.execute_workflow({}, workflow_deployment_name="w")


def test_no_thread_is_left_when_there_are_no_calls(server, client, fulfilled):
    server.will(server.reply(200, fulfilled))
    client.execute_workflow({}, workflow_deployment_name="w")
    watching = [each for each in threading.enumerate() if each.name == "vellum-nb-timeouts"]
    for thread in watching:
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_child_calls_with_the_client_of_its_parent_over_connections_of_its_own(
    server, client, fulfilled
):
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
