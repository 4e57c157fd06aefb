"""The history's file goes while a run is under way: its answer is not lost with it."""

import sys

import pytest
from runs_kit import html_of

import vellum_nb as vnb

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps open files in place")


@pytest.fixture
def ws(tmp_path):
    """Connect to a deployment that deletes the history while it runs."""
    path = tmp_path / "runs.db"

    def lose(text: str) -> str:
        path.unlink(missing_ok=True)
        return f"paid for {text}"

    with vnb.LocalServer() as server:
        server.deploy(lose)
        with vnb.connect(server, history=path) as workspace:
            yield workspace


def test_the_error_brings_the_run_that_could_not_be_recorded(ws):
    with pytest.raises(vnb.HistoryError, match="was deleted") as caught:
        ws.run("lose", {"text": "tea"})
    assert caught.value.run.state == "FULFILLED"
    assert caught.value.run.outputs == {"output": "paid for tea"}
    assert "the error's `run` has its answer" in caught.value.__notes__[0]


def test_the_form_shows_the_answer_and_that_it_could_not_be_recorded(ws):
    form = ws.form("lose")
    form.value = {"text": "tea"}
    form.submit()
    (run,) = form.wait(120)
    assert run.outputs == {"output": "paid for tea"}
    assert "was deleted" in form._runs.answers._trouble.value
    assert "paid for tea" in html_of(form)
    form.close()
