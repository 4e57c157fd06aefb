"""Bisection: which release changed the answer to one case first, by binary search over releases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias

from vellum_nb.errors import VellumNBError
from vellum_nb.models import Run
from vellum_nb.models.inputs import format_value
from vellum_nb.rendering.format import one_line, plural
from vellum_nb.rendering.values import json_text, same_value

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Bisection", "Candidate", "Check", "bisected"]

_GLIMPSE = 60  # characters of an answer


@dataclass(frozen=True, slots=True)
class Candidate:
    """A release that may have changed the answer.

    Attributes
    ----------
    release_id : str
        Its id.
    release_tag : str or None
        The tag on which it can be run; None where it has none.
    created : datetime or None
        When it was made.
    """

    release_id: str
    release_tag: str | None
    created: datetime | None

    @property
    def name(self) -> str:
        """What it is called: its tag, or its id."""
        return self.release_tag or self.release_id


@dataclass(frozen=True, slots=True)
class Tested:
    """What was found out about one release."""

    candidate: Candidate
    runs: tuple[Run, ...]
    values: tuple[Any, ...]
    value: Any


class Bisection:
    """What `vellum_nb.Workspace.bisect` found.

    Attributes
    ----------
    deployment : str
        The deployment's name.
    inputs : dict
        The case.
    first_changed : str
        The first release that changed the answer, by its release tag.
    last_same : str
        The last release that did not.
    between : tuple of str
        Ids of releases between the two that could not be tried: no release tag points at them.
        The answer may have changed on any of them.
    reused : int
        How many of the runs the history had already.
    """

    def __init__(
        self,
        deployment: str,
        inputs: dict[str, Any],
        *,
        releases: Sequence[Candidate],
        tested: Sequence[Tested],
        edge: tuple[Candidate, Candidate],
        reused: frozenset[str],
    ) -> None:
        self.deployment = deployment
        self.inputs = inputs
        self.last_same, self.first_changed = edge[0].name, edge[1].name
        places = [releases.index(each) for each in edge]
        skipped = releases[places[0] + 1 : places[1]]
        self.between = tuple(each.release_id for each in skipped)
        self._number = len(releases)
        self._tested = sorted(tested, key=lambda each: releases.index(each.candidate))
        self._first = self._tested[0].value
        self.reused = sum(run.id in reused for run in self.runs)
        self._reused = reused

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs that were looked at, oldest release first."""
        return tuple(run for each in self._tested for run in each.runs)

    def frame(self) -> pd.DataFrame:
        """Return one row a run that was looked at, oldest release first.

        Columns: `release_tag`, `release_id`, `created` (UTC), `value` (what `check` returned, as
        text), `changed` (whether the release differs from the oldest), `reused` (whether the
        history had the run already), `state`, `latency_s`, `id`.
        """
        import pandas as pd

        rows = [
            (
                each.candidate.release_tag,
                each.candidate.release_id,
                each.candidate.created,
                value_line(value),
                not same_value(each.value, self._first),
                run.id in self._reused,
                run.state,
                run.latency_s,
                run.id,
            )
            for each in self._tested
            for run, value in zip(each.runs, each.values, strict=True)
        ]
        names = ["release_tag", "release_id", "created", "value", "changed", "reused"]
        frame = pd.DataFrame(rows, columns=[*names, "state", "latency_s", "id"])
        frame["created"] = pd.to_datetime(frame["created"], utc=True).astype("datetime64[us, UTC]")
        texts = ("release_tag", "release_id", "value", "state", "id")
        return frame.astype(dict.fromkeys(texts, "str"))

    def __repr__(self) -> str:
        runs = len(self.runs)
        made = plural(runs - self.reused, "run")
        more = f" and {self.reused} of the history" if self.reused else ""
        gap = ""
        if self.between:
            verb = "lies" if len(self.between) == 1 else "lie"
            gap = f"; {plural(len(self.between), 'release')} without a release tag {verb} between"
        return (
            f"<Bisection of {self.deployment}: {self.first_changed} is the first that changed, "
            f"{self.last_same} the last that did not{gap}; {made}{more}, "
            f"{self._number} releases>"
        )

    def _repr_html_(self) -> str:
        table: str = self.frame().to_html(index=False, border=0, na_rep="", escape=True)
        return f"<p>{escape(repr(self)[1:-1])}</p>{table}"


def value_line(value: Any) -> str:
    """Return what `check` returned, in a line.

    Examples
    --------
    >>> value_line({"b": 1, "a": "x"})
    '{"a": "x", "b": 1}'
    """
    return one_line(value if isinstance(value, str) else json_text(value), _GLIMPSE)


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

    `runs_of` returns runs of the case on a release, `known` are the ids of those that the history
    had; `can_try` is whether there are, or can be, runs on a release. Without `check` state,
    outputs and error count; without `repeats` one run, and more where runs disagree.

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
                f"{value_line(new)}, and so does {usable[0].name}, the oldest. Give another "
                "check=..., or first=... and last=... between which it changed"
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
            "give a check=... of what matters, or more repeats=..."
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
    different = list(dict.fromkeys(value_line(value) for value in values))
    return ", ".join(format_value(each) for each in different[:3])


def _too_few(deployment: str, releases: Sequence[Candidate], usable: Sequence[Candidate]) -> str:
    if len(releases) < 2:  # noqa: PLR2004
        return f"{deployment} has {len(releases)} release there: nothing can have changed"
    return (
        f"Of {len(releases)} releases of {deployment} only {len(usable)} can be run: the others "
        "have no release tag. Give them tags in Vellum, at least the oldest and the newest"
    )
