"""Errors keep what they know when they travel between processes."""

import pickle

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
def test_an_error_that_was_pickled_says_the_same(error):
    error.add_note("a note")
    back = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own)
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def test_a_notebook_shows_the_line_that_was_run_and_the_message(tmp_path):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell(history_manager=None)
    shown = []
    shell._showtraceback = lambda _type, _value, lines: shown.extend(lines)
    cell = "import vellum_nb as vnb\nws = vnb.connect('local', history=':memory:')\n"
    shell.run_cell(cell + "try:\n    ws.sweep('docs-qa', 'none.csv')\nfinally:\n    ws.close()\n")
    place, message = shown
    assert place.endswith("line 4: ws.sweep('docs-qa', 'none.csv')")
    assert message.endswith(": none.csv cannot be read: No such file or directory")
