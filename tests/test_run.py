"""What a run shows of itself, without any widget."""

import math
import pickle
from datetime import UTC, datetime

import pytest
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


def test_repr_says_where_it_ran_and_what_came_and_html_shows_every_output_as_text(run):
    assert repr(run) == "<Run <b>triage v1: FULFILLED (reply, score, tags)>"
    html = html_of(run)
    assert "&lt;script&gt;alert(1)" in html
    assert "&lt;b&gt;triage · v1 · FULFILLED" in html
    assert "<script" not in html
    assert "NaN" in html
    assert "[&quot;é&quot;]" in html


def test_a_run_without_outputs_says_why_and_a_run_travels_between_processes(run):
    error = RunError(code="NODE_EXECUTION", message="<i>broke")
    rejected = run.model_copy(update={"state": "REJECTED", "outputs": {}, "error": error})
    assert repr(rejected) == "<Run <b>triage v1: REJECTED (NODE_EXECUTION)>"
    assert "NODE_EXECUTION: &lt;i&gt;broke" in html_of(rejected)
    whole = run.model_copy(update={"outputs": {"reply": "x"}})
    assert pickle.loads(pickle.dumps(whole)) == whole  # noqa: S301  (our own)
