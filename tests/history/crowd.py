"""Many processes on one history: they record, sweep, annotate, delete, search, hold and are killed.

Started as ``crowd.py PLACE``. Prints ``ended ID`` for each run that was acknowledged, ``noted ID
TEXT`` for each note, kills two writers in the midst of it, and prints ``gone STATUS...`` at last.
"""

import os
import random
import signal
import sqlite3
import sys
import time
import traceback
from contextlib import closing, suppress
from functools import partial

import pandas  # noqa: F401, ICN001 - once, for all
from recorder import record, say

import vellum_nb as vnb
import vellum_nb.local.server
from vellum_nb.history import ordered_runs

RUNS, CASES, NOTES = 25, 12, 5


def write(history):
    for number in range(RUNS):
        record(history, f"{os.getpid()}-{number}", "plain", say)


def write_for_ever(begun, history):
    def tell(line):
        say(line)
        os.write(begun, b".")

    for number in range(10**9):
        record(history, f"{os.getpid()}-{number}", "victim", tell)


def sweep(history):
    name = f"echo-{os.getpid()}"
    with vnb.LocalServer() as server:
        server.deploy(lambda text: {"reply": text}, name=name, release_tags=["v1"])
        with vnb.connect(server, history=str(history.path)) as ws:
            cases = [{"text": f"{name} {number}"} for number in range(CASES)]
            done = ws.sweep(name, cases, release_tags=["v1"], repeats=2, progress=False)
            ids = done.frame()["id"].tolist()
    assert len(set(ids)) == 2 * CASES
    for run_id in ids:
        say(f"ended {run_id}")


def note(history):
    noted = 0
    while noted < NOTES:
        time.sleep(0.01)
        for run in history.runs(deployment="plain", limit=20):
            text = f"note {time.time_ns()}"
            with suppress(vnb.HistoryError):  # it was deleted
                history.annotate(run.id, note=text)
                say(f"noted {run.id} {text}")
                noted += 1


def delete(history):
    for number in range(10):
        found = [run.id for run in history.runs(deployment="plain", state="FULFILLED", limit=40)]
        gone = history.delete(random.sample(found, min(3, len(found))))
        if gone.runs and number % 2:
            history.undelete(gone)
        time.sleep(0.05)


def read(history):
    until, most = time.monotonic() + 2, 0
    while time.monotonic() < until or most == 0:
        count = history.count(deployment="victim")
        assert count >= most, "a run that was there is there no more"
        most = count
        ordered_runs(history, order_by="latency_s").runs(offset=0, limit=20)
        history.search("echo", limit=20)
        assert history.frame(deployment="plain")["id"].is_unique


def hold(history):
    for _ in range(2):
        with closing(sqlite3.connect(history.path, timeout=100, isolation_level=None)) as db:
            db.execute("BEGIN EXCLUSIVE")
            time.sleep(0.7)
            db.execute("ROLLBACK")
        time.sleep(0.2)


def back_up(history):
    time.sleep(0.5)
    history.backup(f"{history.path}.copy")


def work(do, place):
    with vnb.History(place) as history:
        do(history)


def fork(work):
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    finally:
        if status:
            traceback.print_exc()
        os._exit(status)


def main(place):
    with vnb.History(place):
        pass
    seen, begun = os.pipe()
    victims = [fork(partial(work, partial(write_for_ever, begun), place)) for _ in range(2)]
    works = [*[write] * 4, sweep, sweep, note, delete, read]
    works += [] if place.startswith("postgresql:") else [hold, back_up]
    others = [fork(partial(work, do, place)) for do in works]
    for pid in victims:
        os.read(seen, 7)  # not before some runs are acknowledged
        time.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
    ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in (*victims, *others)]
    say(f"gone {ends}")


if __name__ == "__main__":
    main(sys.argv[1])
