"""Forks processes that sweep, for the tests that kill them.

Started as a program of its own that has imported everything, so that a child costs a fork. It
obeys lines on stdin: ``URL KEY HISTORY NAME CALLS``. A child prints its process id, sweeps, and
prints how far it came; ``gone STATUS`` follows its end.
"""

from __future__ import annotations

import os
import sys
import traceback

import vellum_nb as vnb
from vellum_nb.workspace import sweeps

# The server lists executions at once; a life that is shorter than the look-ups, 8 s, would come to
# nothing, and the test take minutes.
sweeps._SHORTEST_LOOKUP_S = 0.0

TAGS = ["v1", "v2"]


def say(line):
    os.write(1, f"{line}\n".encode())


def sweep(url, key, history, name, calls):
    say(f"pid {os.getpid()}")
    with vnb.connect(url, api_key=key, history=history, timeout=(10, 0.5)) as ws:
        cases = [{"text": f"{name} {n}"} for n in range(calls // len(TAGS))]
        done = ws.sweep("count", cases, release_tags=TAGS, concurrency=32)
        say(f"swept {done!r}")


def main():
    vnb.connect  # noqa: B018  (has everything imported)
    for line in sys.stdin:
        url, key, history, name, calls = line.split()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                sweep(url, key, history, name, int(calls))
                status = 0
            except BaseException:  # noqa: BLE001  (told by its caller's status)
                traceback.print_exc()
            finally:
                os._exit(status)
        say(f"gone {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}")


if __name__ == "__main__":
    main()
