"""Seven processes on one server: they record, sweep, annotate, delete and search.

Started as ``team.py URL FOLDER SECONDS``. Prints ``ended ID`` for each run that was acknowledged,
``noted ID TEXT`` for each note, and ``gone STATUS...`` at last.
"""

from __future__ import annotations

import os
import random
import sys
import time
from functools import partial

import pandas  # noqa: F401, ICN001 - once, for all
from recorder import fork, record, say

import vellum_nb as vnb

AWAY = ("was deleted", "no run")


def write(history, _folder):
    for number in range(20):
        record(history, f"{os.getpid()}-{time.time_ns()}-{number}", "plain", say)


def sweep(history, _folder):
    name = f"echo-{os.getpid()}-{time.time_ns()}"
    with vnb.LocalServer() as server:
        server.deploy(lambda text: {"reply": text}, name=name, release_tags=["v1"])
        with vnb.connect(server, history=str(history.path)) as ws:
            cases = [{"text": f"{name} {number}"} for number in range(8)]
            done = ws.sweep(name, cases, release_tags=["v1"], repeats=2, progress=False)
            ids = done.frame()["id"].tolist()
    assert len(set(ids)) == 16
    for run_id in ids:
        say(f"ended {run_id}")


def note(history, _folder):
    for run in history.runs(deployment="plain", limit=20):
        text = f"note {time.time_ns()}"
        try:
            history.annotate(run.id, note=text)
        except vnb.HistoryError as exc:
            if not any(words in str(exc) for words in AWAY):
                raise
        else:
            say(f"noted {run.id} {text}")
            DONE.add(note)


def delete(history, _folder):
    found = [run.id for run in history.runs(deployment="plain", state="FULFILLED", limit=40)]
    if found:
        gone = history.delete(random.sample(found, min(3, len(found))))
        if gone.runs and time.time_ns() % 2:
            history.undelete(gone.number)


def search(history, _folder):
    history.search("echo", limit=20)
    history.page(order_by="output.reply", limit=20)
    frame = history.frame(deployment="plain")
    assert frame["id"].is_unique


def work(do, url, folder, seconds):
    until = time.monotonic() + seconds
    with vnb.History(url) as history:
        while (now := time.monotonic()) < until or (do in MUST and not DONE and now < until + 100):
            do(history, folder)


MUST = (note,)  # once at least, however slow the machine is
DONE = set()


def main(url, folder, seconds):
    with vnb.History(url):
        pass
    tasks = (write, write, write, sweep, note, delete, search)
    pids = [fork(partial(work, do, url, folder, seconds)) for do in tasks]
    ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    say(f"gone {ends}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
