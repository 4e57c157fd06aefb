"""Stored runs laid side by side: which case was answered how on which release tag."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vellum_nb.experiments.wording import same_value
from vellum_nb.models import Run

__all__ = ["Case", "Status", "align"]

Status = Literal["same", "differs", "missing"]

_ANSWERS = ("FULFILLED", "REJECTED")


@dataclass(frozen=True, slots=True)
class Case:
    """One case and its run on each release tag.

    Attributes
    ----------
    case_id : str
        The identity of the inputs.
    inputs : dict
        The inputs themselves.
    runs : dict
        Release tag to the run that counts; a tag without any run is absent.
    baseline : str
        The tag the others are held against.
    """

    case_id: str
    inputs: dict[str, Any]
    runs: dict[str, Run]
    baseline: str

    def answer(self, tag: str) -> Run | None:
        """Return the run on `tag` if it brought an answer, FULFILLED or REJECTED."""
        run = self.runs.get(tag)
        return run if run is not None and run.state in _ANSWERS else None

    def status(self, tag: str) -> Status:
        """Return how the answer on `tag` stands to the baseline's; without both it is missing."""
        base, run = self.answer(self.baseline), self.answer(tag)
        if base is None or run is None:
            return "missing"
        return "same" if same_answer(base, run) else "differs"


def same_answer(a: Run, b: Run) -> bool:
    """Return whether two runs brought the same outputs, or the same error."""
    if a.state != b.state:
        return False
    errors = [(run.error.code, run.error.message) if run.error else None for run in (a, b)]
    return errors[0] == errors[1] and same_value(a.outputs, b.outputs)


def align(runs: Iterable[Run], *, tags: Sequence[str], baseline: str) -> tuple[Case, ...]:
    """Return one `Case` for each set of inputs among `runs`, in the order they were first run.

    Of several runs of a case on a tag the newest that brought an answer counts; if none did, the
    newest.

    Examples
    --------
    >>> align([], tags=["v1", "v2"], baseline="v1")
    ()
    """
    cases: dict[str, Case] = {}
    for run in sorted(runs, key=lambda run: run.timestamp):
        if run.release_tag not in tags:
            continue
        case = cases.setdefault(run.case_id, Case(run.case_id, run.inputs, {}, baseline))
        if run.state in _ANSWERS or case.answer(run.release_tag) is None:
            case.runs[run.release_tag] = run
    return tuple(cases.values())
