"""Fixtures of the widgets' tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from form_kit import SPEC, Recorder, answer, release
from sweep_view_kit import Gated

from vellum_nb.widgets import RunForm


@pytest.fixture
def make():
    forms = []

    def make(execute=lambda request, _: answer(request), *, spec=SPEC, read=release, **calls):
        recorder = Recorder(execute)
        forms.append(RunForm(spec, run=recorder, release=read, count=lambda: 128, **calls))
        return forms[-1], recorder

    yield make
    for form in forms:
        form.close()


@pytest.fixture
def gated():
    found = Gated()
    yield found
    found.close()
