"""Leases of sweeps: one driver at a time, and one that was killed loses the sweep."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime

import pytest

from vellum_nb import History, HistoryError
from vellum_nb.history import plans
from vellum_nb.models.sweeps import SweepRecord

SWEEP = SweepRecord(
    id="3f2a0000-0000-0000-0000-000000000001",
    deployment="echo",
    release_tags=("v1",),
    cases=0,
    signature="s",
    created=datetime(2026, 7, 1, tzinfo=UTC),
)


@pytest.fixture
def sweep(history):
    history.sweeps.add(SWEEP, [])
    return SWEEP


def test_a_sweep_is_driven_once_in_a_process_too(history, sweep):
    token = history.sweeps.acquire(sweep.id)
    assert history.sweeps.held() == {sweep.id}
    with pytest.raises(HistoryError, match="is under way in this process"):
        history.sweeps.acquire(sweep.id)
    history.sweeps.release(sweep.id, "another one's")
    assert history.sweeps.renew(sweep.id, token)
    assert history.sweeps.held() == {sweep.id}
    history.sweeps.release(sweep.id, token)
    assert history.sweeps.held() == set()
    history.sweeps.release(sweep.id, history.sweeps.acquire(sweep.id))
    assert history.sweeps.lost(sweep.id) is None


@pytest.fixture
def elsewhere(monkeypatch):
    """Let leases be those of another host while it is set."""
    myself = plans._this_process  # private: another host is not at hand
    other = {"host": "elsewhere", "pid": 7, "machine": "another boot"}

    def switch(*, on):
        monkeypatch.setattr(plans, "_this_process", (lambda: json.dumps(other)) if on else myself)

    return switch


def test_a_lease_of_another_host_holds_while_it_is_renewed_and_is_lost_when_not(
    history, sweep, elsewhere, monkeypatch
):
    monkeypatch.setattr(plans, "_LEASE", 1_000_000)
    elsewhere(on=True)
    token = history.sweeps.acquire(sweep.id)
    elsewhere(on=False)
    for _ in range(4):
        threading.Event().wait(0.5)
        history.sweeps.renew(sweep.id, token)
        with pytest.raises(HistoryError, match="in process 7 on elsewhere"):
            history.sweeps.acquire(sweep.id)
    threading.Event().wait(1.2)
    assert history.sweeps.held() == set()
    assert history.sweeps.lost(sweep.id) is not None
    mine = history.sweeps.acquire(sweep.id)
    with pytest.raises(HistoryError, match="in this process"):
        history.sweeps.renew(sweep.id, token)
    history.sweeps.release(sweep.id, token)
    assert history.sweeps.held() == {sweep.id}
    history.sweeps.renew(sweep.id, mine)


def test_of_many_that_want_a_lost_lease_one_gets_it(place, make_run):
    with History(place) as history:
        history.sweeps.add(SWEEP, [])
    tokens, kernels = [], [History(place) for _ in range(6)]

    def acquire(history):
        try:
            tokens.append(history.sweeps.acquire(SWEEP.id))
        except HistoryError:
            tokens.append(None)

    threads = [threading.Thread(target=acquire, args=[kernel]) for kernel in kernels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 6
    assert len([token for token in tokens if token]) == 1
    for kernel in kernels:
        kernel.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the lease has to expire")
def test_the_lease_of_a_process_that_was_killed_is_free_at_once(path):
    with History(path) as history:
        history.sweeps.add(SWEEP, [])
        code = (
            "import sys; from vellum_nb import History; "
            "History(sys.argv[1]).sweeps.acquire(sys.argv[2]); print('held', flush=True); input()"
        )
        command = [sys.executable, "-c", code, path, SWEEP.id]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout.readline() == "held\n"
            with pytest.raises(HistoryError, match=f"under way in process {child.pid}"):
                history.sweeps.acquire(SWEEP.id)
            child.kill()
        assert history.sweeps.lost(SWEEP.id) is not None
        history.sweeps.acquire(SWEEP.id)
