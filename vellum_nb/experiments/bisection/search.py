"""Which release changed the answer to one case first: binary search over releases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from vellum_nb.errors import VellumNBError
from vellum_nb.experiments.bisection.result import Bisection, Candidate, Tested, told
from vellum_nb.models import Run
from vellum_nb.models.plain import shown
from vellum_nb.rendering.values import same_value

__all__ = ["Check", "RunsOf", "bisected"]

_UNSTABLE = 5  # runs of a release whose runs disagree

Check: TypeAlias = Callable[[Run], Any]
"""A function of a run; what it returns is what changes, or does not."""

RunsOf: TypeAlias = Callable[[Candidate, int], Sequence[Run]]
"""Returns so many runs of the case on a release, those there are already first."""


def bisected(
    deployment: str,
    inputs: dict[str, Any],
    releases: Sequence[Candidate],
    *,
    check: Check | None,
    runs_of: RunsOf,
    repeats: int | None,
    known: frozenset[str],
    can_try: Callable[[Candidate], bool],
) -> Bisection:
    """Find the first of `releases`, oldest first, that changed the answer.

    Parameters
    ----------
    check
        What is looked at. None: state, outputs and error.
    runs_of
        Returns runs of the case on a release.
    repeats
        How many runs of each release count. None: one, and more where runs disagree.
    known
        The ids of the runs that the history had before.
    can_try
        Whether there are, or can be, runs on a release.

    Raises
    ------
    VellumNBError
        There is no change, `check` raised, or the runs of a release disagree too much.
    """
    usable = [each for each in releases if can_try(each)]
    if len(usable) < 2:  # noqa: PLR2004  (an oldest and a newest)
        msg = _too_few(deployment, releases, usable)
        raise VellumNBError(msg)
    search = _Search(deployment, check or _everything, runs_of, repeats)
    edge = search.edge(usable)
    if repeats is None and not search.is_stable(edge):
        search.times = _UNSTABLE
        edge = search.edge(usable)
    return Bisection(
        deployment,
        inputs,
        releases=releases,
        tested=list(search.tested.values()),
        edge=edge,
        reused=known,
    )


class _Search:
    """Binary search; remembers what each release answered."""

    def __init__(self, deployment: str, check: Check, runs_of: RunsOf, repeats: int | None) -> None:
        self._deployment = deployment
        self._check = check
        self._runs_of = runs_of
        self._adapts = repeats is None
        self.times = repeats or 1
        self.tested: dict[str, Tested] = {}

    def edge(self, usable: Sequence[Candidate]) -> tuple[Candidate, Candidate]:
        """Return the last release that answers as the oldest does, and the next."""
        old = self._answer(usable[0])
        new = self._answer(usable[-1])
        if same_value(old, new):
            msg = (
                f"Nothing changed: {usable[-1].name} of {self._deployment}, the newest, gives "
                f"{told(new)}, and so does {usable[0].name}, the oldest. Give another check=..., "
                "or first=... and last=... between which it changed"
            )
            raise VellumNBError(msg)
        low, high = 0, len(usable) - 1
        while high - low > 1:
            middle = (low + high) // 2
            if same_value(self._answer(usable[middle]), old):
                low = middle
            else:
                high = middle
        return usable[low], usable[high]

    def is_stable(self, edge: Sequence[Candidate]) -> bool:
        """Return whether another run on both sides of the change says the same as the first."""
        self.times = max(self.times, 2)
        values = [self._answer(each) for each in edge]
        agree = all(_agree(self.tested[each.release_id].values) for each in edge)
        return agree and not same_value(*values)

    def _answer(self, candidate: Candidate) -> Any:
        found = self.tested.get(candidate.release_id)
        if found is None or len(found.runs) < self.times:
            found = self._tested(candidate, self.times)
            if self._adapts and not _agree(found.values) and len(found.runs) < _UNSTABLE:
                found = self._tested(candidate, _UNSTABLE)
            self.tested[candidate.release_id] = found
        if found.value is _NOTHING:
            self._refuse(found)
        return found.value

    def _tested(self, candidate: Candidate, times: int) -> Tested:
        runs = tuple(self._runs_of(candidate, times))
        values = tuple(self._checked(run, candidate) for run in runs)
        return Tested(candidate, runs, values, _most(values))

    def _checked(self, run: Run, candidate: Candidate) -> Any:
        try:
            return self._check(run)
        except Exception as exc:
            msg = (
                f"check raised {type(exc).__name__}: {exc} on the run of {candidate.name}, which "
                f"is {run.state}; look at ws.history.get({run.id!r}), and make check fit it"
            )
            raise VellumNBError(msg) from exc

    def _refuse(self, found: Tested) -> None:
        msg = (
            f"{len(found.runs)} runs of {self._deployment} on {found.candidate.name} disagree, "
            f"and none of their answers is that of more than half ({_listed(found.values)}): "
            "give a check=... that tells what matters of them, or more repeats=..."
        )
        raise VellumNBError(msg)


_NOTHING = object()


def _most(values: Sequence[Any]) -> Any:
    """Return the value of more than half, or `_NOTHING`."""
    for value in values:
        if 2 * sum(same_value(value, other) for other in values) > len(values):
            return value
    return _NOTHING


def _agree(values: Sequence[Any]) -> bool:
    return all(same_value(values[0], other) for other in values[1:])


def _everything(run: Run) -> Any:
    return run.outputs if run.error is None else f"{run.error.code}: {run.error.message}"


def _listed(values: Sequence[Any]) -> str:
    different = list(dict.fromkeys(told(value) for value in values))
    return ", ".join(shown(each) for each in different[:3])


def _too_few(deployment: str, releases: Sequence[Candidate], usable: Sequence[Candidate]) -> str:
    if len(releases) < 2:  # noqa: PLR2004
        return f"{deployment} has {len(releases)} release there: nothing can have changed"
    return (
        f"Of {len(releases)} releases of {deployment} only {len(usable)} can be run: the others "
        "have no release tag. Give them tags in Vellum, at least the oldest and the newest"
    )
