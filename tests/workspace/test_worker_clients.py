"""The client of a process for runs of another: after a fork it is a new one."""

import os

import pytest

from vellum_nb import Client
from vellum_nb.workspace import sweeps


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_child_has_a_client_of_its_own():
    with Client(api_key="sk-0123456789", base_url="http://127.0.0.1:9") as client:
        settings = client.settings(max_connections=1, max_tries=1)
    session = sweeps._session_of  # private: its sockets would be shared
    ours = session(settings, os.getpid())
    assert session(settings, os.getpid()) is ours
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, b"new" if session(settings, os.getpid()) is not ours else b"old")
        os._exit(0)
    os.wait()
    assert os.read(read, 3) == b"new"
    os.close(read)
    os.close(write)
