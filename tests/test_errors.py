"""Errors keep what they know when they travel between processes."""

import pickle
import subprocess
import sys

import pytest

import vellum_nb as vnb
from vellum_nb.errors import InputProblem

ERRORS = [
    vnb.APITimeoutError("no answer", sent=False),
    vnb.BadRequestError("refused", status_code=400, body={"detail": "no"}),
    vnb.InputError("do not fit:", [InputProblem("ticket", "is missing"), InputProblem("n", "7")]),
    vnb.HistoryError("locked"),
    vnb.RegressionError("worse"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_error_can_be_pickled(error):
    error.add_note("a note")
    back = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own)
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def test_notebook_shows_the_line_with_the_message(tmp_path):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell(history_manager=None)
    shown = []
    shell._showtraceback = lambda _type, _value, lines: shown.extend(lines)
    cell = "import vellum_nb as vnb\nws = vnb.connect('local', history=':memory:')\n"
    shell.run_cell(cell + "try:\n    ws.sweep('docs-qa', 'none.csv')\nfinally:\n    ws.close()\n")
    place, message = shown
    assert place.endswith("line 4: ws.sweep('docs-qa', 'none.csv')")
    assert message.endswith(": none.csv cannot be read: No such file or directory")


NO_NAME = "NotFoundError: There is no deployment 'triage'; available: angry-customer, "
NO_TAG = "NotFoundError: docs-qa has no release tag 'v9'; available: "
LINES = {
    "ws.run('triage', {'ticket': 'a'})": NO_NAME,
    "ws.run('ticket-triage', {'text': 'a'})": "inputs do not fit",
    "ws.run('docs-qa', {'question': 'a'}, release_tag='v9')": NO_TAG,
    "ws.stream('docs-qa', {'question': 'a'}, release_tag='v9')": NO_TAG,
    "ws.submit('docs-qa', {})": "inputs do not fit",
    "ws.form('triage')": NO_NAME,
    "ws.sweep('docs-qa', 'cases.csv', release_tags=['v9'])": "no release tag 'v9'; available: ",
    "ws.history.to_csv('reports/runs.csv')": "; the folder ",
    "ws.history.merge('cases.csv')": "it is not an SQLite file",
    "vnb.connect('local', history='cases.csv')": "it is not an SQLite file",
    "vnb.read_csv('runs.csv')": "runs.csv cannot be read",
    "vnb.connect('http://127.0.0.1:9', api_key='k').run('a', {})": "Connection refused",
}


@pytest.mark.slow
def test_terminal_shows_the_line_with_the_message(tmp_path):
    (tmp_path / "cases.csv").write_text("question\n" + "How much?\n" * 100)
    script = (
        "import traceback\nimport vellum_nb as vnb\nws = vnb.connect('local', history='h.db')\n"
    )
    for line in LINES:
        script += f"try:\n    {line}\nexcept vnb.VellumNBError:\n    traceback.print_exc()\n"
    (tmp_path / "script.py").write_text(script + next(iter(LINES)))
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    _, *shown = done.stderr.split("Traceback (most recent call last):\n")
    expected = [*LINES.items()]
    for (line, message), traceback in zip([*expected, expected[0]], shown, strict=True):
        assert line in traceback.splitlines()[1]
        assert message in traceback
    assert "contextlib" not in done.stderr
