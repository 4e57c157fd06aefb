"""Eight writers, two of them sweeps, a reader, and two that hold the whole file, on one history.

Started as ``crowd.py PATH``. Prints ``ended ID`` for each run that was acknowledged, kills two
writers in the midst of it, and prints ``gone STATUS...`` of the others at last.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import time
from contextlib import closing
from functools import partial

from recorder import fork, record, say

import vellum_nb as vnb

RUNS = 25
CASES = 12
HELD_S = 0.7


def write(path):
    with vnb.History(path) as history:
        for number in range(RUNS):
            record(history, f"{os.getpid()}-{number}", "plain", say)


def write_for_ever(path, begun):
    def tell(line):
        say(line)
        os.write(begun, b".")

    with vnb.History(path) as history:
        for number in range(10**9):
            record(history, f"{os.getpid()}-{number}", "victim", tell)


def sweep(path):
    name = f"echo-{os.getpid()}"
    with vnb.LocalServer() as server:
        server.deploy(lambda text: {"reply": text}, name=name, release_tags=["v1"])
        ws = vnb.connect(server, history=path)
        cases = [{"text": f"{name} {number}"} for number in range(CASES)]
        done = ws.sweep(name, cases, release_tags=["v1"], repeats=2, progress=False)
        assert len(done.frame()) == 2 * CASES
        for run_id in done.frame()["id"]:
            say(f"ended {run_id}")
        ws.close()


def read(path):
    most = 0
    deadline = time.monotonic() + 2
    with vnb.History(path) as history:
        while time.monotonic() < deadline or most == 0:
            count = len(history.frame(limit=10_000))
            assert count >= most, "a run that was there is there no more"
            most = count
            history.page(order_by="latency_s", limit=20)


def hold(path):
    for _ in range(2):
        with closing(sqlite3.connect(path, timeout=100, isolation_level=None)) as db:
            db.execute("BEGIN EXCLUSIVE")
            time.sleep(HELD_S)
            db.execute("ROLLBACK")
        time.sleep(0.2)


def vacuum(path):
    time.sleep(0.5)
    with vnb.History(path) as history:
        history.vacuum()


def main(path):
    with vnb.History(path):
        pass
    seen, begun = os.pipe()
    victims = [fork(partial(write_for_ever, path, begun)) for _ in range(2)]
    works = [*[write] * 4, *[sweep] * 2, read, hold, vacuum]
    others = [fork(partial(work, path)) for work in works]
    for pid in victims:
        os.read(seen, 7)  # not before some runs are acknowledged
        time.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
    ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in (*victims, *others)]
    say(f"gone {ends}")


if __name__ == "__main__":
    main(sys.argv[1])
