"""Forks processes that record runs, for the tests that kill them or let many of them race.

Started as a program of its own that has imported everything, so that a child costs a fork. It
obeys lines on stdin:

``kill PATH ROUND``: fork a child that records until it is killed; three threads of it print each
id that was acknowledged, ``began ID`` and ``ended ID``. ``gone`` follows its death.

``open PATH``: fork a child that opens the history and closes it; ``gone STATUS`` follows.

``race PATH COUNT RUNS``: fork COUNT children that open PATH at the same moment and record RUNS
runs each; print ``gone STATUS...``.
"""

import itertools
import os
import sys
import threading
import traceback
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
    say(f"pid {os.getpid()}")
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
    say(f"pid {os.getpid()}")
    History(path).close()


def race(path, count, runs):
    start, gun = os.pipe()
    children = [fork(lambda: race_one(path, runs, start, gun)) for _ in range(count)]
    os.close(start)
    os.close(gun)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]


def race_one(path, runs, start, gun):
    os.close(gun)
    os.read(start, 1)  # ends for all at once when the parent has closed its end
    with History(path) as history:
        for number in range(runs):
            record(history, f"{os.getpid()}-{number}", "race", lambda _: None)


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


def main():
    for line in sys.stdin:
        command, path, *rest = line.split()
        if command == "kill":
            os.waitpid(fork(lambda: record_for_ever(path, rest[0])), 0)  # noqa: B023
            say("gone")
        elif command == "open":
            status = os.waitpid(fork(lambda: open_once(path)), 0)[1]  # noqa: B023
            say(f"gone {os.waitstatus_to_exitcode(status)}")
        else:
            say(f"gone {race(path, *map(int, rest))}")


if __name__ == "__main__":
    main()
