"""What is under way in the cells of a grid, and what went wrong there."""

from __future__ import annotations

from collections.abc import Callable

from vellum_nb.errors import VellumNBError
from vellum_nb.experiments.cases import Case
from vellum_nb.widgets.base import SerialExecutor

__all__ = ["Busy"]


class Busy:
    """Does what is asked of a cell; the cell says so meanwhile, and why where it failed.

    `push` shows the row of a case anew.
    """

    def __init__(self, errands: SerialExecutor, push: Callable[[Case], None]) -> None:
        self._errands, self._push = errands, push
        self._words: dict[tuple[str, str], tuple[str, str]] = {}

    def words(self) -> dict[tuple[str, str], tuple[str, str]]:
        """Return, of a case and a release, what is under way and what went wrong."""
        return dict(self._words)

    def do(self, case: Case, release: str, words: str, call: Callable[[], None]) -> None:
        """Call `call` in a thread; the cell of `case` on `release` shows `words` until then."""
        key = case.case_id, release
        self._words[key] = (words, "")
        self._push(case)

        def errand() -> None:
            problem = ""
            try:
                call()
            except VellumNBError as exc:
                problem = str(exc)
            except Exception as exc:
                problem = f"{type(exc).__name__}: {exc}"
                raise
            finally:
                self._words[key] = ("", problem)
                if not problem:
                    del self._words[key]
                self._push(case)

        self._errands.submit(errand)
