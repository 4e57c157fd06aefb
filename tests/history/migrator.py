"""Opens histories in forked children that kill themselves, for the tests of interrupted migrations.

Obeys lines on stdin. ``after N PATH``: fork a child that opens PATH and kills itself before its
N-th statement; print ``killed`` or, where there are fewer statements, ``done``. ``within MS PATH``:
the same, killed by a timer. ``race COUNT PATH``: COUNT children open PATH at once; print what they
printed to stderr as one JSON list.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import tempfile
import traceback
from pathlib import Path

from vellum_nb.history import History

KILLED = -signal.SIGKILL


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def dying(limit):
    """Return a class of connections that count statements together, and kill at the limit."""
    left = [limit]

    def count(_):
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1

    class Dying(sqlite3.Connection):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.set_trace_callback(count)

    return Dying


def open_and_die(path, limit):
    usual, kind = sqlite3.connect, dying(limit)
    sqlite3.connect = lambda *args, **options: usual(*args, **{"factory": kind} | options)
    History(path).close()


def open_in_time(path, milliseconds):
    signal.setitimer(signal.ITIMER_REAL, milliseconds / 1000)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process without a word to Python
    History(path).close()
    signal.setitimer(signal.ITIMER_REAL, 0)


def open_and_count(path, gun, told):
    os.dup2(told, 2)
    os.read(gun, 1)
    with History(path) as history:
        assert history.count() > 0


def fork(work, *args):
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work(*args)
        status = 0
    except BaseException:  # noqa: BLE001  (a child must not go on as its parent)
        traceback.print_exc()
    finally:
        os._exit(status)


def status(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def race(path, count):
    gun, trigger = os.pipe()
    with tempfile.TemporaryFile() as told:
        children = [fork(race_one, path, gun, trigger, told.fileno()) for _ in range(count)]
        os.close(gun)
        os.close(trigger)
        found = [status(pid) for pid in children]
        told.seek(0)
        return [*found, told.read().decode()]


def race_one(path, gun, trigger, told):
    os.close(trigger)
    open_and_count(path, gun, told)


def main():
    for line in sys.stdin:
        command, number, path = line.split()
        if command == "race":
            say(json.dumps(race(Path(path), int(number))))
            continue
        work = open_and_die if command == "after" else open_in_time
        found = status(fork(work, path, int(number)))
        names = {0: "done", KILLED: "killed", -signal.SIGALRM: "killed"}
        say(names.get(found, f"failed {found}"))


if __name__ == "__main__":
    main()
