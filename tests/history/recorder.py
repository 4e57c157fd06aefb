"""Processes that record runs, for the tests that kill them or let many of them race."""

import itertools
import os
import sys
import threading
from datetime import UTC, datetime

from vellum_nb.history import History
from vellum_nb.models import Run

PAYLOAD = "x" * 500


def say(line):
    os.write(1, f"{line}\n".encode())


def run_of(name, deployment):
    return Run(
        id=name,
        external_id=name,
        deployment=deployment,
        release_tag="v1",
        timestamp=datetime.now(UTC),
        inputs={"text": PAYLOAD},
        case_id="c",
    )


def record(history, name, deployment, tell):
    run = run_of(name, deployment)
    history.begin(run)
    tell(f"began {run.id}")
    history.finish(run.model_copy(update={"state": "FULFILLED", "outputs": {"reply": name}}))
    tell(f"ended {run.id}")


def record_for_ever(path, deployment):
    history = History(path)

    def work(thread):
        for number in itertools.count():
            record(history, f"{deployment}-{thread}-{number}", deployment, say)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def open_once(path):
    History(path).close()
    say("closed")


def race(path, runs):
    """Open a history when a line comes on stdin, and record some runs."""
    say("ready")
    sys.stdin.readline()
    with History(path) as history:
        for number in range(runs):
            record(history, f"{os.getpid()}-{number}", "race", lambda _: None)
    say("done")
