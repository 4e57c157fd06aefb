"""Names that turn text round are written out; errands are run in turn, faults or not."""

from __future__ import annotations

import threading

from form_kit import PATIENCE, SPEC, parts, shown, variable

from vellum_nb.widgets.base import SerialExecutor
from vellum_nb.widgets.spec import FormSpec, TagChoice

TURNED = "v1\u202e2v"
WRITTEN = "v1[U+202E]2v"


def test_names_and_tags_that_turn_text_round_are_written_out(make):
    tags = (TagChoice("r1", (TURNED, "x\u2066y")),)
    variables = (variable(TURNED), variable("chat\u200f", "CHAT_HISTORY", required=False))
    fields = {"label": TURNED, "tags": tags, "variables": variables, "latest_release_id": "r1"}
    form, recorder = make(spec=FormSpec(**{**SPEC.__dict__, **fields}))
    assert [box.description for box in parts(form, "vnb-chip")[0].children[:1]] == [WRITTEN]
    assert "x[U+2066]y" in shown(form)
    assert f"{WRITTEN} *" in [control.description for control in parts(form, "vnb-control")]
    form.value = {TURNED: "hi"}
    form.submit()
    (run,) = form.wait(PATIENCE)
    assert (run.release_tag, recorder.requests[0].inputs) == (TURNED, {TURNED: "hi"})
    assert f'aria-label="{WRITTEN}"' in shown(form)


def test_errands_are_run_in_turn_and_a_fault_stops_none(monkeypatch):
    faults: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: faults.append(str(args.exc_value)))
    errands, done, gate = SerialExecutor("vellum-nb-test"), [], threading.Event()

    def fail() -> None:
        assert gate.wait(PATIENCE)
        msg = "planted"
        raise RuntimeError(msg)

    errands.submit(lambda: done.append(1))
    errands.submit(fail)
    errands.submit(lambda: done.append(2))
    assert not errands.wait(0)
    gate.set()
    assert errands.wait(PATIENCE)
    errands.submit(lambda: done.append(3))
    assert errands.wait(PATIENCE)
    assert (done, faults) == ([1, 2, 3], ["planted"])
