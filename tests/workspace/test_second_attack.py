"""A second attack: the same root causes where the first one did not look."""

import json
import multiprocessing
import sqlite3
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing

import pytest
from counting_server import KEY, check_all_once
from sweep_processes import LONG, wait_until

import vellum_nb as vnb
from vellum_nb.history import backends, leases
from vellum_nb.sweep import retry_policy
from vellum_nb.sweep.sweep import control_of

CASES = [{"text": f"text {number}"} for number in range(6)]
FOUR = {"options": {"concurrency": 4}}


@pytest.fixture
def connected(counting, tmp_path):
    """Return what opens a workspace with so many seconds to read an answer."""
    return lambda read: vnb.connect(
        counting.url, api_key=KEY, history=tmp_path / "runs.db", timeout=(10, read)
    )


def swept(ws, cases=CASES, **options):
    return ws.sweep("count", cases, release_tags=["v1"], progress=False, **options)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_look_ups")
def test_call_that_waits_in_an_executor_is_not_made_after_its_sweep_was_cut(
    connected, counting, monkeypatch
):
    """A process pool hands a call to its only process while that makes another one."""
    monkeypatch.setattr(leases, "_MARGIN_S", leases.LEASE_S - 8)  # private: else it takes 45 s
    counting.held = True
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as executor:
        with connected(LONG) as ws:
            sweep = swept(ws, concurrency=4, executor=executor, background=True)
            wait_until(lambda: counting.posts == 1)
            sweep.stop(now=True)
            sweep.wait(LONG)
        with connected(2) as ws:
            sweep = swept(ws, concurrency=8, background=True)
            wait_until(lambda: counting.posts == len(CASES))  # the others are sent by this one
            counting.held = False
            sweep.wait(LONG)
            executor.shutdown()  # every call that was handed to it has been made
            check_all_once(counting, sweep, CASES)


@pytest.mark.slow
def test_listing_delay_that_grows_is_noticed_before_a_run_is_sent_again(
    connected, counting, monkeypatch
):
    """All times are a tenth of the real ones: a server that lists at once, then after 20 s."""
    monkeypatch.setattr(retry_policy, "SHORTEST_S", 0.8)
    counting.latency, counting.faults = 0.02, {"reset after": 0.1}
    cases = [{"text": f"text {number}"} for number in range(400)]

    def grow():
        wait_until(lambda: counting.posts > 100)
        counting.lag = 2.0

    threading.Thread(target=grow).start()
    with connected(12) as ws:
        check_all_once(counting, swept(ws, cases, concurrency=8), cases)


def reboot(place):
    """Have what a history knows of the machine be of an earlier boot."""
    with closing(sqlite3.connect(place)) as db:
        ((clock,),) = db.execute("SELECT value FROM settings WHERE name = 'clock'")
        boot, start = json.loads(clock)
        earlier = json.dumps([f"earlier {boot}", start])
        db.execute("UPDATE settings SET value = ? WHERE name = 'clock'", (earlier,))
        db.execute("UPDATE leases SET holder = json_set(holder, '$.machine', 'earlier')")
        db.commit()


@pytest.fixture
def crashed(kernels, counting, tmp_path):
    """Return the history of a machine that crashed with four runs in doubt, and is up again.

    The server lists after three seconds, and a run in doubt is sent again after five.
    """
    place = tmp_path / "runs.db"
    counting.lag = 3.0
    counting.script.extend(["reset after"] * 4)
    first = kernels.start(counting.url, place, CASES[:4], **AFTER_CRASH)
    wait_until(lambda: counting.lookups >= 4)
    first.kill()
    reboot(place)
    return place


AFTER_CRASH = {**FOUR, "read": 5, "lease_s": 6, "waits_for_lease": True}


@pytest.mark.slow
@pytest.mark.parametrize("ahead_s", [-86_400, 0, 3_600])
def test_reboot_ages_no_doubt_whatever_the_wall_clock_says(kernels, counting, crashed, ahead_s):
    kernel = kernels.start(counting.url, crashed, CASES[:4], **AFTER_CRASH, ahead_s=ahead_s)
    assert kernel.outcome()["state"] == "done"
    assert set(counting.executed.values()) == {1}


@pytest.mark.slow
def test_lease_ends_after_a_reboot_though_the_first_process_had_a_wrong_clock(
    kernels, counting, crashed
):
    """The machine has no battery for its clock, which is right as soon as it has a network."""
    first = kernels.start(counting.url, crashed, [], **FOUR, ahead_s=-86_400)
    assert "InputError" in first.outcome()["error"]  # it opens the history, and sweeps nothing
    later = kernels.start(counting.url, crashed, CASES[:4], **AFTER_CRASH).outcome()
    assert later.get("state") == "done", later


def test_second_machine_with_the_same_file_does_not_take_a_live_lease(
    kernels, counting, tmp_path, monkeypatch
):
    """A container and its host, for example: each has a boot, and a clock, of its own."""
    place = tmp_path / "runs.db"
    counting.held = True
    kernel = kernels.start(counting.url, place, CASES[:4], **FOUR)
    wait_until(lambda: counting.posts == 4)
    for module in (backends, leases):
        monkeypatch.setattr(module, "boot_id", lambda: "of another machine")
    leases._machine.cache_clear()
    with (
        vnb.connect(counting.url, api_key=KEY, history=place) as ws,
        pytest.raises(vnb.HistoryError, match="is running in process"),
    ):
        swept(ws, CASES[:4], background=True).stop(now=True)
    leases._machine.cache_clear()
    counting.held = False
    assert kernel.outcome()["state"] == "done"
    assert set(counting.executed.values()) == {1}


def test_seed_that_is_left_out_is_that_of_the_stored_sweep(connected):
    """As the error for another seed advises."""
    options = {"release_tags": ["v1", "v2"], "stop_when": "decided", "progress": False}
    cases = [{"text": f"{n}", "expected.said": f"v1 {n}"} for n in range(12)]
    with connected(LONG) as ws:
        first = ws.sweep(
            "count", cases, limits={"max_calls": 4}, **options | {"stop_when": vnb.StopWhen(seed=5)}
        )
        again = ws.sweep("count", cases, limits={"max_calls": 8}, **options)
    assert (again.id, control_of(again).record.order()) == (
        first.id,
        control_of(first).record.order(),
    )
