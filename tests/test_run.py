"""Repr, HTML and pickling of a run."""

import math
import pickle
from datetime import UTC, datetime

import pytest
from dom_kit import dom, text_of
from runs_kit import html_of

import vellum_nb as vnb
from vellum_nb.models import RunError


@pytest.fixture
def run():
    return vnb.Run(
        id="run-1",
        deployment="<b>triage",
        release_tag="v1",
        timestamp=datetime(2026, 7, 1, tzinfo=UTC),
        state="FULFILLED",
        inputs={"ticket": "hi"},
        outputs={"reply": "<script>alert(1)</script>", "score": math.nan, "tags": ["é"]},
        case_id="c",
    )


def test_repr_has_release_state_or_outputs(run):
    assert repr(run) == "<Run <b>triage v1: FULFILLED (reply, score, tags)>"


def test_html_shows_outputs_as_text(run):
    html = html_of(run)
    assert not dom(html).select("script")
    text = text_of(html)
    assert "<b>triage · v1 · FULFILLED" in text
    for output in ("<script>alert(1)</script>", "NaN", '["é"]'):
        assert output in text


def test_rejected_run_shows_its_error(run):
    error = RunError(code="NODE_EXECUTION", message="<i>broke")
    rejected = run.model_copy(update={"state": "REJECTED", "outputs": {}, "error": error})
    assert repr(rejected) == "<Run <b>triage v1: REJECTED (NODE_EXECUTION)>"
    assert "NODE_EXECUTION: <i>broke" in text_of(html_of(rejected))


def test_run_can_be_pickled(run):
    whole = run.model_copy(update={"outputs": {"reply": "x"}})
    assert pickle.loads(pickle.dumps(whole)) == whole  # noqa: S301  (our own)
