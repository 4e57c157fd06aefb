"""Ctrl-C at each step at which Python may interrupt a write: all of it is written, or nothing."""

import dis
import gc
import signal
import sys
from signal import SIGINT, raise_signal

import pytest

from vellum_nb import History

TRACED = ("/vellum_nb/", "contextlib.py", "test_interrupted_writes.py")
CALLS = {"CALL", "CALL_KW", "CALL_FUNCTION_EX", "JUMP_BACKWARD"}


class CtrlC:
    """Sends one SIGINT at a step, counted from 1: where a function begins, or a call has ended."""

    def __init__(self, at):
        self.at = at
        self.last = {}

    def __call__(self, frame, _event, _arg):
        code = frame.f_code  # exceptions in a discarded generator are lost
        if code.co_name == "<genexpr>" or not any(part in code.co_filename for part in TRACED):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        self.step()
        return self.opcode

    def opcode(self, frame, event, _arg):
        if event == "opcode":
            if self.last.get(frame) in CALLS:
                self.step()
            self.last[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
        return self.opcode

    def step(self):
        self.at -= 1
        if self.at == 0:
            raise_signal(SIGINT)


def interrupted(call, at):
    """Return whether the interrupt came, and whether there was a step for it."""
    ctrl_c, before = CtrlC(at), sys.gettrace()
    sys.settrace(ctrl_c)
    try:
        call()
    except KeyboardInterrupt:
        return True, True
    finally:
        sys.settrace(before)
    return False, ctrl_c.at <= 0


@pytest.mark.slow
def test_ctrl_c_during_a_write_leaves_all_or_nothing_and_keeps_no_other_out(
    place, history, make_run
):
    gc.collect()  # in a `__del__`, of what other tests left, an interrupt is lost
    usual = signal.getsignal(SIGINT)
    annotated = make_run(id="annotated")
    history.begin(annotated)
    with History(place) as other:
        for name in ("begin", "annotate", "merge"):
            at, is_step = 0, True
            while is_step:
                at += 1
                some = [make_run(state="FULFILLED"), make_run(state="FULFILLED")]
                changes = {"note": f"{name} {at}", "tags": [str(at)]}
                write = {
                    "begin": lambda some=some: history.begin(some[0]),
                    "annotate": lambda changes=changes: history.annotate("annotated", **changes),
                    "merge": lambda some=some: history.merge(some),
                }[name]
                _, is_step = interrupted(write, at)
                assert signal.getsignal(SIGINT) is usual, (name, at)
                other.begin(make_run(id=f"{name} {at}"))  # would wait for a lock that was left
                runs = other.runs(ids=[run.id for run in some])
                assert len(runs) in {"begin": (0, 1), "annotate": (0,), "merge": (0, 2)}[name]
                kept = other.get("annotated")
                assert (kept.note, kept.tags) in {(None, ()), (f"{name} {at}", (str(at),))} | {
                    (f"annotate {n}", (str(n),)) for n in range(at)
                } or name == "merge"
            assert at > 20, name
        assert history.count() == other.count()
