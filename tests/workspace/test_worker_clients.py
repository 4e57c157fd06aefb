"""The client of a process for runs of another: after a fork it is a new one."""

from __future__ import annotations

import os
import select
import threading

import pytest

from vellum_nb import Client
from vellum_nb.workspace import sweep_worker


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_child_has_a_client_of_its_own_though_a_thread_held_the_lock_at_the_fork():
    with Client(api_key="sk-0123456789", base_url="http://127.0.0.1:9") as client:
        settings = client.settings(max_connections=1, max_tries=1)
    ours = sweep_worker._session_of(settings)
    held, may_end = threading.Event(), threading.Event()

    def hold():
        with sweep_worker._LOCK:
            held.set()
            may_end.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)
    theirs, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(told, b"new" if sweep_worker._session_of(settings) is not ours else b"old")
        os._exit(0)
    ready, _, _ = select.select([theirs], [], [], 30)
    if not ready:
        os.kill(child, 9)
    os.waitpid(child, 0)
    may_end.set()
    thread.join()
    assert ready, "the child waits for a thread that it has not"
    assert os.read(theirs, 3) == b"new"
    os.close(theirs)
    os.close(told)
    assert sweep_worker._session_of(settings) is ours
