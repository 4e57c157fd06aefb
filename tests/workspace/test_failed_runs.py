"""Runs that bring no usable answer: what is raised, and what the row says."""

import math
from datetime import date
from uuid import UUID

import pytest

import vellum_nb as vnb

EXECUTE = "/v1/execute-workflow"
ANSWERS = {
    "hang-up": lambda _: None,
    "silence": lambda handler: handler.rfile.read(1),
    "page": b"<html>Welcome</html>",
    "new-state": {"execution_id": "e", "data": {"id": "e", "state": "PAUSED"}},
    "trouble": (500, {"detail": "out of order"}),
}


@pytest.fixture
def broken(hostile, tmp_path):
    with vnb.connect(
        hostile.url, api_key="k", history=tmp_path / "runs.db", timeout=(5, 0.5)
    ) as ws:
        yield ws


@pytest.mark.parametrize(
    ("name", "kind", "code", "said"),
    [
        ("hang-up", vnb.APIConnectionError, "CONNECTION", "may have received it"),
        ("silence", vnb.APITimeoutError, "TIMEOUT", "no answer within 0.5 s"),
        ("page", vnb.APIResponseError, "BAD_RESPONSE", "<html>Welcome"),
        ("trouble", vnb.ServerError, "HTTP_500", "out of order"),
    ],
)
def test_without_an_answer_the_error_is_raised_and_the_row_says_failed(
    hostile, broken, name, *, kind, code, said
):
    hostile.answers[EXECUTE] = ANSWERS[name]
    with pytest.raises(kind, match=said) as caught:
        broken.run(name, {"text": "x"})
    (run,) = broken.history.runs()
    assert (run.state, run.error.code) == ("FAILED", code)
    assert said in run.error.message
    assert run.finished_at is not None
    assert run.id in caught.value.__notes__[0]


def test_a_state_that_ends_no_run_is_a_failed_run(hostile, broken):
    hostile.answers[EXECUTE] = ANSWERS["new-state"]
    run = broken.run("new-state", {"text": "x"})
    assert (run.state, run.error.code) == ("FAILED", "BAD_RESPONSE")
    assert "'PAUSED'" in run.error.message
    assert broken.history.get(run.id) == run


def test_metadata_is_sent_and_kept_in_plain_values(ws):
    metadata = {"day": date(2026, 7, 1), "n": (1, 2)}
    run = ws.run("shout", {"text": "x"}, metadata=metadata, external_id=UUID(int=7))
    assert run.metadata == {"day": "2026-07-01", "n": [1, 2]}
    assert run.external_id == str(UUID(int=7))
    assert ws.history.get(run.id) == run


def test_options_that_cannot_be_sent_are_all_named_before_anything_is_recorded(ws):
    with pytest.raises(vnb.InputError, match="shout' do not fit; nothing was sent") as caught:
        ws.run("shout", {"text": "x"}, metadata={"a": math.nan}, external_id="\ud800")
    assert [problem.variable for problem in caught.value.problems] == ["external_id", "metadata"]
    assert ws.history.count() == 0


@pytest.mark.parametrize("way", ["run", "stream", "submit"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": None}, "inputs: None is given; a dict is expected"),
        ({"inputs": "hi"}, "inputs: the text 'hi' is given; a dict is expected"),
        ({"inputs": {1: 2}}, "inputs: the number 1 is given; keys that are text are expected"),
        ({"inputs": {"text": 10**5000}}, "text: is an integer of more than 4,000 digits"),
        ({"deployment": None}, "deployment: None is given; text is expected"),
        ({"metadata": [1]}, r"metadata: the list \[1\] is given; a dict is expected"),
        ({"previous_execution_id": 5}, "previous_execution_id: the number 5 is given"),
    ],
)
def test_what_has_the_wrong_form_is_refused_before_anything_is_recorded(ws, way, change, said):
    given = {"deployment": "shout", "inputs": {"text": "hi"}, **change}
    with pytest.raises(vnb.InputError, match=said):
        getattr(ws, way)(given.pop("deployment"), given.pop("inputs"), **given)
    assert ws.history.count() == 0
