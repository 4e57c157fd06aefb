"""Runs side by side in a terminal."""

from runs_kit import later_run

from vellum_nb.cli.printing import side_by_side_text
from vellum_nb.models import RunError

BROKE = RunError(code="NODE_EXECUTION", message="broke \x1b]0;title\x07")


def shown(*runs, **options):
    text = side_by_side_text(runs, **options)
    assert all(sign.isprintable() or sign == "\n" for sign in text)  # nothing drives the terminal
    return [line.split() for line in text.splitlines()]


def test_changed_words_are_marked():
    lines = shown(
        later_run("v1", {}, {"priority": "normal", "n": 1}, latency_s=0.003),
        later_run("v2", {}, {"priority": "high"}),
    )
    assert lines[0] == ["v1", "·", "FULFILLED", "·", "3", "ms", "v2", "·", "FULFILLED"]
    assert lines[1:] == [["priority", "normal", "[-normal-]{+high+}"], ["n", "1", "(missing)"]]


def test_error_is_shown_beside_an_answer():
    failed = later_run("v2", {}, {}, state="REJECTED", error=BROKE)
    lines = shown(later_run("\x1b[1mv1", {}, {"\x1b[2J": "\x1b[2Jgone\r\x07"}), failed)
    assert lines[1][:3] == ["error", "NODE_EXECUTION:", "broke"]
    assert lines[2][-1] == "(missing)"
