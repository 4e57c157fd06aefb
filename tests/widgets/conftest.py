"""Fixtures of the widgets' tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from actions_kit import SomeActions
from form_kit import SPEC, Recorder, answer, release
from sweep_view_kit import Gated

import vellum_nb as vnb
from vellum_nb.widgets.form import RunForm


@pytest.fixture
def make():
    forms = []

    def make(execute=lambda request, _: answer(request), *, spec=SPEC, read=release, **options):
        recorder = Recorder(execute)
        names = {"rate", "trace", "look_up"} & options.keys()
        if functions := {name: options.pop(name) for name in names}:
            options["actions"] = SomeActions(**functions)
        forms.append(RunForm(spec, run=recorder, release=read, **options))
        return forms[-1], recorder

    yield make
    for form in forms:
        form.close()


@pytest.fixture
def gated():
    found = Gated()
    yield found
    found.close()


@pytest.fixture
def ws(tmp_path):
    def calm(ticket: str) -> dict[str, object]:
        return {"reply": f"calm {ticket}"}

    def loud(ticket: str) -> dict[str, object]:
        return {"reply": f"loud {ticket}"}

    with vnb.LocalServer() as server:
        server.deploy(calm, name="answer", release_tags=["v1"])
        server.deploy(loud, name="answer", release_tags=["v2"])
        with vnb.connect(server, history=tmp_path / "runs.db") as ws:
            yield ws
