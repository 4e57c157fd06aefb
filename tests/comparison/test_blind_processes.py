"""Blind ratings by several kernels at once: one session, one rating per pair, sent once."""

import time
from contextlib import ExitStack

import pytest
import rater
from rater import CASES
from test_blind import compared

from vellum_nb import History


class Kernels:
    """Processes that receive the same commands at the same time."""

    def __init__(self, processes):
        self.processes = processes

    def tell(self, line):
        for process in self.processes:
            process.write_line(line)

    def hear(self):
        return [process.stdout.readline().strip() for process in self.processes]


@pytest.fixture
def kernels(place, forks, tmp_path):
    """Return a function that starts kernels, which log the ratings they send to ``sent``."""
    with ExitStack() as stack:

        def start(number):
            arguments = rater.__file__, "main", place, tmp_path / "sent"
            started = [stack.enter_context(forks.process(*arguments)) for _ in range(number)]
            kernels = Kernels(started)
            assert kernels.hear() == ["ready"] * number
            return kernels

        History(place).close()
        yield start


def test_kernels_that_begin_at_once_share_one_session(kernels, place):
    three = kernels(3)
    for number in range(8):
        three.tell(f"begin question-{number}")
        assert len(set(three.hear())) == 1
    with History(place) as history:
        comparison = compared(history, CASES)
        newest = [comparison.blind(question=f"question-{n}").record for n in range(8)]
    assert {record.generation for record in newest} == {1}


@pytest.mark.parametrize("choice", ["tie", "skip"])
def test_a_pair_that_kernels_rate_at_once_has_one_rating_that_counts(kernels, place, choice):
    three = kernels(3)
    three.tell("begin which")
    ((session_id),) = set(three.hear())
    for _ in range(8):
        three.tell(f"rate {choice}")
        three.hear()
    with History(place) as history:
        positions = [rating.position for rating in history.blind_ratings.ratings(session_id)]
    assert len(positions) >= 8
    assert sorted(positions) == list(range(len(positions)))


def rated_session(place):
    with History(place) as history:
        session = compared(history, CASES).blind(question="which")
        while session.current is not None:
            session.rate("A")
        session.finish()
    return session.record.id


def test_kernels_that_send_at_once_send_each_rating_once(kernels, place, tmp_path):
    rated_session(place)
    two = kernels(2)
    for action in ("begin which", "send 0.01"):
        two.tell(action)
        two.hear()
    counts = [int(line.split()[0]) for line in two.hear()]
    assert sorted(counts) == [0, CASES]
    sent = (tmp_path / "sent").read_text().split()
    assert len(sent) == len(set(sent)) == 2 * CASES
    two.tell("send 0")
    two.hear()
    assert two.hear() == ["0 []"] * 2
    assert (tmp_path / "sent").read_text().split() == sent


def test_what_a_killed_kernel_sent_is_not_sent_again(kernels, place, tmp_path):
    session_id = rated_session(place)
    one, log = kernels(1), tmp_path / "sent"
    for action in ("begin which", "send 0.1"):
        one.tell(action)
        one.hear()
    while not log.exists() or len(log.read_text().split()) < 10:
        time.sleep(0.01)
    one.processes[0].kill()
    with History(place) as history:
        session = compared(history, CASES).blind(question="which")
        assert session.record.id == session_id
        done, unsent = CASES - session.unsent, session.unsent
        assert done >= 4
        later = []
        assert session.send(lambda run, *_: later.append(run.id)) == (unsent, [])
        assert session.unsent == 0
    before = log.read_text().split()
    assert len(before) <= 2 * done + 2
    assert len(set(before) | set(later)) == 2 * CASES
    assert not set(before[: 2 * done]) & set(later)
