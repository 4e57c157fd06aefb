"""Fixtures of the widgets' tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from form_kit import SPEC, Execute, Recorder, answer, release

from vellum_nb.models import WorkflowDeploymentRelease
from vellum_nb.widgets import RunForm
from vellum_nb.widgets.spec import FormSpec


@pytest.fixture
def make() -> Iterator[Callable[..., tuple[RunForm, Recorder]]]:
    forms: list[RunForm] = []

    def make(
        execute: Execute = lambda request, _: answer(request),
        *,
        spec: FormSpec = SPEC,
        read: Callable[[str], WorkflowDeploymentRelease] = release,
        **calls: Any,
    ) -> tuple[RunForm, Recorder]:
        recorder = Recorder(execute)
        forms.append(RunForm(spec, run=recorder, release=read, count=lambda: 128, **calls))
        return forms[-1], recorder

    yield make
    for form in forms:
        form.close()
