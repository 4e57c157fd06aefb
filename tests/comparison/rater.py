"""A kernel that rates blind, by a command per line on stdin.

``begin QUESTION``, ``rate CHOICE`` and ``send SECONDS``, which logs each actual and takes that
long. Prints ``ready``, then the result of each command.
"""

import sys
import time
from pathlib import Path

from fork_kit import say
from test_blind import compared

from vellum_nb import History

CASES = 40


def main(place, log):
    with History(place) as history:
        comparison, session = compared(history, CASES), None
        say("ready")
        for line in sys.stdin:
            action, value = line.split()
            if action == "begin":
                session = comparison.blind(question=value)
                say(session.record.id)
            elif action == "rate":
                say(session.rate(value))
            else:
                session.refresh()
                say("sending")
                say(*session.send(logging_to(Path(log), float(value))))


def logging_to(log, seconds):
    def rate(run, *_):
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{run.id}\n")
        time.sleep(seconds)

    return rate
