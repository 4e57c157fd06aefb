"""A driver that lost its lease, suspended or cut off from the database: what it no longer does.

The server executes an external id again, so that each run that is sent twice is counted twice.
Leases are short.
"""

import sqlite3
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from counting_server import KEY
from runs_kit import progress_of
from sweep_processes import LONG, Proxy, wait_until

import vellum_nb as vnb
from vellum_nb.history import Sweeps
from vellum_nb.history.backends import open_backend
from vellum_nb.sweep.sweep import control_of

LEASE = {"lease_s": 2.0, "read": 2}  # seconds
CASES = [{"text": f"text {number}"} for number in range(24)]


def sql(place, statement):
    store = open_backend(place)
    try:
        return store.write(lambda transaction: transaction.execute(statement))
    finally:
        store.close()


def end_lease(place):
    """End the lease of the sweep, as if its driver had been gone for long."""
    store = open_backend(place)
    now = store.dialect.now
    store.close()
    assert sql(place, f"UPDATE leases SET expires_at = {now}") == 1


def suspend(kernel, place):
    """Suspend a kernel while it does not write, or others would wait for its lock."""
    while True:
        kernel.suspend()
        try:
            if isinstance(place, Path):
                with closing(sqlite3.connect(place, timeout=0.05)) as db:
                    db.execute("BEGIN IMMEDIATE")
            else:
                with psycopg.connect(place) as db:
                    db.execute("SELECT 1 FROM leases FOR UPDATE NOWAIT")
        except (sqlite3.OperationalError, psycopg.errors.LockNotAvailable):
            kernel.wake()
        else:
            return


def check_all_once(counting, place, cases=CASES):
    """Check that each planned run is there, right, and was executed once."""
    with vnb.History(place) as history:
        runs = history.runs()
    assert {run.state for run in runs} == {"FULFILLED"}
    texts = [case["text"] for case in cases]
    assert sorted(run.outputs["said"] for run in runs) == sorted(f"v1 {text}" for text in texts)
    assert {run: number for run, number in counting.executed.items() if number > 1} == {}
    assert counting.executed.keys() == {run.external_id for run in runs}


def has_lost_its_lease(outcome):
    """Whether a driver says that another one has its sweep, or found it done."""
    return "HistoryError" in outcome.get("error", "") or "LeaseLostError" in outcome.get(
        "error", ""
    )


@pytest.mark.slow
def test_driver_without_a_lease_overwrites_no_answer(kernels, counting, place):
    counting.held = True
    options = {"options": {"concurrency": 3}, "read": 2}
    first = kernels.start(counting.url, place, CASES[:6], **options)
    wait_until(lambda: counting.posts == 3)
    suspend(first, place)
    end_lease(place)
    second = kernels.start(counting.url, place, CASES[:6], **options)
    wait_until(lambda: counting.lookups >= 3)
    counting.held = False
    assert second.outcome()["state"] == "done"
    first.wake()
    assert first.outcome().get("state") == "done" or has_lost_its_lease(first.outcome())
    check_all_once(counting, place, CASES[:6])


@pytest.mark.slow
def test_suspended_driver_sends_nothing_after_its_lease_has_ended(kernels, counting, place):
    counting.script.extend(["", "", *["429 for 0.2 s"] * 4])
    options = {"options": {"concurrency": 6}, **LEASE}
    first = kernels.start(counting.url, place, CASES[:6], **options)
    wait_until(lambda: counting.posts == 6)
    suspend(first, place)
    second = kernels.start(counting.url, place, CASES[:6], waits_for_lease=True, **options)
    assert second.outcome()["state"] == "done"
    first.wake()
    assert first.outcome().get("state") == "done" or has_lost_its_lease(first.outcome())
    check_all_once(counting, place, CASES[:6])


@pytest.mark.slow
def test_driver_that_lost_its_lease_says_so(kernels, counting, place):
    counting.held = True
    options = {"options": {"concurrency": 2}, **LEASE}
    first = kernels.start(counting.url, place, CASES[:4], **options)
    wait_until(lambda: counting.posts == 2)
    suspend(first, place)
    second = kernels.start(counting.url, place, CASES[:4], waits_for_lease=True, **options)
    wait_until(lambda: counting.lookups >= 2)
    first.wake()
    wait_until(lambda: counting.lookups >= 6)
    counting.held = False
    assert second.outcome()["state"] == "done"
    assert has_lost_its_lease(first.outcome()), first.outcome()
    check_all_once(counting, place, CASES[:4])


@pytest.mark.slow
def test_two_kernels_that_are_suspended_in_turn_execute_each_run_once(kernels, counting, place):
    counting.latency = 0.03
    counting.faults = {"429": 0.1, "503 with Retry-After": 0.05, "reset after": 0.02}
    cases = [{"text": f"text {number}"} for number in range(150)]
    options = {"options": {"concurrency": 4}, **LEASE, "waits_for_lease": True}
    running = [kernels.start(counting.url, place, cases, **options) for _ in range(2)]
    while not any(kernel.is_done for kernel in running):
        running = [
            kernels.start(counting.url, place, cases, **options)
            if kernel.outcome_exists
            else kernel
            for kernel in running
        ]
        for kernel, other in (running, reversed(running)):
            until_more_is_sent(counting, other)
            if kernel.is_alive:
                suspend(kernel, place)
                until_more_is_sent(counting, other)
                kernel.wake()
    for kernel in running:
        kernel.outcome()
    check_all_once(counting, place, cases)


def until_more_is_sent(counting, kernel):
    """Wait until ten more runs were sent, or the kernel that may send has ended."""
    before = counting.posts
    wait_until(lambda: counting.posts >= before + 10 or kernel.outcome_exists)


@pytest.fixture
def proxy(postgres, postgres_url):
    """Return a proxy to the database server; `url` is the history's URL through it."""
    made = Proxy(postgres.port)
    made.url = postgres_url.replace(f":{postgres.port}/", f":{made.port}/")
    yield made
    made.cut()
    made.thaw()


def test_driver_that_is_cut_off_from_the_database_is_replaced_and_nothing_runs_twice(
    kernels, counting, proxy, postgres_url
):
    counting.latency = 0.05
    cases = [{"text": f"text {number}"} for number in range(60)]
    options = {"options": {"concurrency": 4}, **LEASE}
    first = kernels.start(counting.url, proxy.url, cases, **options)
    wait_until(lambda: counting.posts >= 20)
    proxy.cut()
    second = kernels.start(counting.url, postgres_url, cases, waits_for_lease=True, **options)
    assert second.outcome()["state"] == "done"
    proxy.heal()
    first.outcome()
    check_all_once(counting, postgres_url, cases)


def test_driver_that_is_cut_off_from_the_database_begins_no_run(
    kernels, counting, proxy, postgres_url
):
    counting.latency = 0.05
    options = {"options": {"concurrency": 4}, "read": 2}
    cases = [{"text": f"text {number}"} for number in range(60)]
    first = kernels.start(counting.url, proxy.url, cases, **options)
    wait_until(lambda: counting.posts >= 20)
    proxy.cut()
    with vnb.History(postgres_url) as history:
        begun = history.count()
    wait_until(lambda: not counting.busy)
    assert counting.posts <= begun
    proxy.heal()
    assert first.outcome()["state"] == "done"
    check_all_once(counting, postgres_url, cases)


def freeze(proxy, database, *, in_write):
    """Hold back what the database answers, in the middle of a write or outside of one."""
    with psycopg.connect(database, autocommit=True) as db:
        while True:
            proxy.freeze()
            try:
                db.execute("SELECT 1 FROM leases FOR UPDATE NOWAIT")
                is_in_write = False
            except psycopg.errors.LockNotAvailable:
                is_in_write = True
            if is_in_write == in_write:
                return
            proxy.thaw()


@pytest.mark.parametrize("in_write", [False, True])  # in a write, the database keeps its lock
def test_run_whose_beginning_was_acknowledged_too_late_is_not_sent(
    kernels, counting, proxy, postgres_url, in_write
):
    """The database records the run, and its answer is held up until another driver is done."""
    counting.latency = 0.05
    options = {"options": {"concurrency": 1}, **LEASE}
    first = kernels.start(counting.url, proxy.url, CASES, **options)
    wait_until(lambda: counting.posts >= 5)
    freeze(proxy, postgres_url, in_write=in_write)
    second = kernels.start(counting.url, postgres_url, CASES, waits_for_lease=True, **options)
    outcome = second.outcome()
    assert outcome.get("state") == "done", outcome
    proxy.thaw()
    assert first.outcome().get("state") == "done" or has_lost_its_lease(first.outcome())
    check_all_once(counting, postgres_url)


@pytest.fixture
def halfway(counting, place):
    """Return a workspace with a sweep under way, of which four runs are at the server."""
    counting.held = True
    with vnb.connect(counting.url, api_key=KEY, history=place, timeout=(10, LONG)) as ws:
        options = {"release_tags": ["v1"], "concurrency": 4, "progress": False}
        sweep = ws.sweep("count", CASES[:12], background=True, **options)
        wait_until(lambda: counting.posts == 4)
        yield ws, sweep
        counting.held = False
        sweep.stop(now=True)
        sweep.wait(LONG)


@pytest.mark.parametrize("for_good", [True, False])
def test_running_rows_of_a_sweep_that_are_deleted_come_back_with_their_answers(
    halfway, counting, place, for_good
):
    ws, sweep = halfway
    ws.history.delete([run.id for run in ws.history.runs(state="STARTED")])
    if for_good:
        ws.history.vacuum()
    counting.held = False
    sweep.wait(LONG)
    if for_good:
        assert progress_of(sweep).done == 12
    else:
        ws.history.undelete()
    assert len(sweep.runs()) == 12
    check_all_once(counting, place, CASES[:12])


REFUSE_ANSWERS = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'no answers today'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON runs FOR EACH ROW WHEN (NEW.state = 'FULFILLED')
EXECUTE FUNCTION refuse()
"""


@pytest.fixture
def pending_folder(tmp_path, monkeypatch):
    """Return the folder in which runs wait for the database, of this test alone."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_answers_whose_merge_fails_are_merged_by_a_later_process(
    counting, proxy, postgres, pending_folder
):
    database = proxy.url.rpartition("/")[2]
    counting.held = True
    with vnb.connect(counting.url, api_key=KEY, history=proxy.url, timeout=(10, LONG)) as ws:
        options = {"release_tags": ["v1"], "concurrency": 4, "progress": False}
        sweep = ws.sweep("count", CASES[:8], background=True, **options)
        wait_until(lambda: counting.posts == 4)
        proxy.cut()
        counting.held = False
        wait_until(lambda: pending_answers(pending_folder) >= 4)
        postgres.execute(REFUSE_ANSWERS, database)
        proxy.heal()
        with suppress(vnb.HistoryError):
            sweep.wait(LONG)
    postgres.execute("DROP TRIGGER refuse ON runs", database)
    with vnb.connect(counting.url, api_key=KEY, history=proxy.url, timeout=(10, LONG)) as ws:
        assert ws.sweep("count", CASES[:8], **options).state == "done"
    check_all_once(counting, proxy.url, CASES[:8])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_lease_that_could_not_be_released_is_free_at_once_for_its_process(
    counting, proxy, pending_folder
):
    counting.held = True
    with vnb.connect(counting.url, api_key=KEY, history=proxy.url, timeout=(10, LONG)) as ws:
        options = {"release_tags": ["v1"], "concurrency": 4, "progress": False}
        sweep = ws.sweep("count", CASES[:4], background=True, **options)
        wait_until(lambda: counting.posts == 4)
        proxy.cut()
        counting.held = False
        sweep.stop()
        with suppress(vnb.HistoryError):
            sweep.wait(LONG)
        assert control_of(sweep).driver is None
        proxy.heal()
        assert sql(proxy.url, "UPDATE leases SET token = token") == 1
        assert sweep.resume(progress=False).state == "done"
    check_all_once(counting, proxy.url, CASES[:4])


CONNECTION_LOST_AT_COMMIT = """
CREATE FUNCTION disconnect() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER disconnect AFTER UPDATE OF {0} ON sweeps DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (OLD.{0} IS DISTINCT FROM NEW.{0}) EXECUTE FUNCTION disconnect()
"""


@pytest.fixture
def disconnecting(postgres, postgres_url):
    """Return a context in which the connection is lost when a change of a column is committed."""

    @contextmanager
    def while_changing(column):
        database = postgres_url.rpartition("/")[2]
        postgres.execute(CONNECTION_LOST_AT_COMMIT.format(column), database)
        yield
        postgres.execute("DROP TRIGGER disconnect ON sweeps", database)

    return while_changing


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_round_that_was_not_stored_sends_nothing(
    counting, disconnecting, postgres_url, pending_folder
):
    counting.script.extend(["answer shape"] * 4)
    with vnb.connect(counting.url, api_key=KEY, history=postgres_url, timeout=(10, 2)) as ws:
        sweep = ws.sweep("count", CASES[:4], release_tags=["v1"], progress=False)
        with disconnecting("round"), pytest.raises(vnb.HistoryError):
            sweep.retry_failed()
        assert counting.posts == 4
        assert Sweeps(ws.history).every(sweep.id)[0].round == 0
        assert progress_of(sweep.retry_failed()).done == 4
        assert {run.state for run in ws.open_sweep(sweep.id).runs()} == {"FULFILLED"}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_limits_that_were_not_stored_do_not_apply(
    counting, disconnecting, postgres_url, pending_folder
):
    counting.held = True
    options = {"release_tags": ["v1"], "concurrency": 1, "progress": False}
    with vnb.connect(counting.url, api_key=KEY, history=postgres_url, timeout=(10, LONG)) as ws:
        sweep = ws.sweep("count", CASES, limits={"max_calls": 4}, background=True, **options)
        wait_until(lambda: counting.posts == 1)
        with disconnecting("options"), pytest.raises(vnb.HistoryError):
            ws.open_sweep(sweep.id, limits={"max_calls": 2})
        counting.held = False
        assert "max_calls=4 is reached" in repr(sweep.wait(LONG))
        assert ws.open_sweep(sweep.id).resume(progress=False).state == "stopped"
    assert counting.posts == 4


def pending_answers(folder):
    """Return how many answers wait in a file for the database."""
    for path in folder.rglob("pending-*.db"):
        with vnb.History(path) as history:
            return history.count(state="FULFILLED")
    return 0
