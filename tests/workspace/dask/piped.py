"""What a worker loads, or hands over, when a test writes to its pipe."""

from __future__ import annotations

from pathlib import Path


class Piped:
    """A call that is loaded when its pipe was written to. It leaves a file, and says a word.

    With `answers` the word is handed over when that pipe was written to.
    """

    def __init__(self, pipe, left, answers=None):
        self.pipe, self.left, self.answers = pipe, left, answers

    def __reduce__(self):
        return _loaded, (self.pipe, self.left, self.answers)

    def __call__(self, _task):
        self.left.touch()
        return "done" if self.answers is None else _Answer(self.answers)


class _Answer:
    def __init__(self, pipe):
        self.pipe = pipe

    def __reduce__(self):
        return str, (self.pipe.read_text(),)


def _loaded(pipe, *others):
    Path.read_text(pipe)
    return Piped(pipe, *others)
