"""Runs side by side in a terminal."""

from __future__ import annotations

from datetime import UTC, datetime

from vellum_nb.models import Run, RunError
from vellum_nb.rendering.text import side_by_side_text


def run_of(tag, state="FULFILLED", **fields):
    usual = {"id": tag, "deployment": "d", "timestamp": datetime(2026, 7, 1, tzinfo=UTC)}
    return Run(**usual, release_tag=tag, state=state, inputs={}, case_id="c", **fields)


def test_words_that_differ_from_the_first_run_are_marked():
    runs = [
        run_of("v1", outputs={"priority": "normal", "n": 1}, latency_s=0.003),
        run_of("v2", outputs={"priority": "high", "n": 1}),
    ]
    lines = [line.split() for line in side_by_side_text(runs).splitlines()]
    assert lines[0] == ["v1", "·", "FULFILLED", "·", "3", "ms", "v2", "·", "FULFILLED"]
    assert lines[1:] == [["priority", "normal", "[-normal-]{+high+}"], ["n", "1", "1"]]


def test_a_run_without_outputs_says_why_and_is_missing_not_the_same():
    error = RunError(code="NODE_EXECUTION", message="broke")
    text = side_by_side_text(
        [run_of("v1", outputs={"a": "x"}), run_of("v2", "REJECTED", error=error)]
    )
    lines = [line.split() for line in text.splitlines()]
    assert lines[1] == ["error", "NODE_EXECUTION:", "broke"]
    assert lines[2] == ["a", "x", "(missing)"]


def test_an_answer_cannot_drive_the_terminal():
    text = side_by_side_text([run_of("v1", outputs={"a": "\x1b[2Jgone\r\x07"})])
    assert "\ufffd[2Jgone" in text
    assert all(sign.isprintable() or sign == "\n" for sign in text)


def test_long_text_is_wrapped_to_the_width():
    text = side_by_side_text([run_of("v1", outputs={"a": "word " * 60})], width=40)
    assert max(map(len, text.splitlines())) <= 40
    assert text.count("word") == 60


def test_errors_cannot_drive_the_terminal_either():
    error = RunError(code="X", message="\x1b]0;title\x07")
    text = side_by_side_text(
        [run_of("\x1b[1mv1", "REJECTED", error=error, outputs={"\x1b[2J": "x"})]
    )
    assert "\x1b" not in text
