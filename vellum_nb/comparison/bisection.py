"""Bisection: which release changed the answer to one case first, by binary search over releases."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias

from vellum_nb.comparison.cases import error_text
from vellum_nb.errors import VellumNBError
from vellum_nb.escaping import printed
from vellum_nb.models import Run
from vellum_nb.models.inputs import format_value
from vellum_nb.rendering.format import plural, same_value, value_line

if TYPE_CHECKING:
    import pandas as pd


_UNSTABLE = 5  # runs of a release whose runs disagree
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A release that may have changed the answer."""

    release_id: str
    release_tag: str | None  # on which it can be run
    created: datetime | None

    @property
    def name(self) -> str:
        """Its name: its tag, or its id."""
        return self.release_tag or self.release_id


@dataclass(frozen=True, slots=True)
class Tested:
    """The runs of one release, and what `check` returned of each."""

    candidate: Candidate
    runs: tuple[Run, ...]
    values: tuple[Any, ...]

    @property
    def agrees(self) -> bool:
        """Whether `check` returned the same for all runs."""
        return all(same_value(self.values[0], other) for other in self.values)

    @property
    def value(self) -> Any:
        """What more than half of the runs gave, or `_NOTHING`."""
        for value in self.values:
            if 2 * sum(same_value(value, other) for other in self.values) > len(self.values):
                return value
        return _NOTHING


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
    runs : tuple of Run
        The runs that were looked at, oldest release first.
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
        known: frozenset[str],
    ) -> None:
        self.deployment = deployment
        self.inputs = inputs
        self.last_same, self.first_changed = edge[0].name, edge[1].name
        places = [releases.index(each) for each in edge]
        self.between = tuple(each.release_id for each in releases[places[0] + 1 : places[1]])
        self._number = len(releases)
        self._tested = sorted(tested, key=lambda each: releases.index(each.candidate))
        self._known = known
        self.runs = tuple(run for each in self._tested for run in each.runs)
        self.reused = sum(run.id in known for run in self.runs)

    def frame(self) -> pd.DataFrame:
        """Return one row per run that was looked at, oldest release first.

        Columns: `release_tag`, `release_id`, `created` (UTC), `value` (what `check` returned, as
        text), `changed` (whether the release differs from the oldest), `reused` (whether the
        history had the run already), `state`, `latency_s`, `id`.
        """
        import pandas as pd

        oldest = self._tested[0].value
        rows = [
            {
                "release_tag": each.candidate.release_tag,
                "release_id": each.candidate.release_id,
                "created": each.candidate.created,
                "value": value_line(value),
                "changed": not same_value(each.value, oldest),
                "reused": run.id in self._known,
                "state": run.state,
                "latency_s": run.latency_s,
                "id": run.id,
            }
            for each in self._tested
            for run, value in zip(each.runs, each.values, strict=True)
        ]
        frame = pd.DataFrame(rows)
        frame["created"] = pd.to_datetime(frame["created"], utc=True).astype("datetime64[us, UTC]")
        texts = ("release_tag", "release_id", "value", "state", "id")
        return frame.astype(dict.fromkeys(texts, "str"))

    @printed
    def __repr__(self) -> str:
        made = plural(len(self.runs) - self.reused, "run")
        more = f" and {self.reused} of the history" if self.reused else ""
        gap = ""
        if self.between:
            verb = "lies" if len(self.between) == 1 else "lie"
            gap = f"; {plural(len(self.between), 'release')} without a release tag {verb} between"
        return (
            f"<Bisection of {self.deployment}: {self.first_changed} is the first that changed, "
            f"{self.last_same} the last that did not{gap}; {made}{more}, {self._number} releases>"
        )

    @printed
    def _repr_html_(self) -> str:
        table: str = self.frame().to_html(index=False, border=0, na_rep="", escape=True)
        return f"<p>{escape(repr(self)[1:-1])}</p>{table}"


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
    """
    usable = [each for each in releases if can_try(each)]
    if len(usable) < 2:  # noqa: PLR2004  (an oldest and a newest)
        others = ". Add release tags to the others in Vellum" if len(usable) < len(releases) else ""
        msg = (
            f"Only {len(usable)} of {plural(len(releases), 'release')} of {deployment} can be run, "
            f"and a change lies between two{others}"
        )
        raise VellumNBError(msg)
    everything: Check = lambda run: error_text(run) if run.error else run.outputs  # noqa: E731
    search = _Search(deployment, check or everything, runs_of, repeats)
    edge = search.edge(usable)
    if repeats is None and not search.is_stable(edge):
        search.times = _UNSTABLE
        edge = search.edge(usable)
    tested = list(search.tested.values())
    return Bisection(deployment, inputs, releases=releases, tested=tested, edge=edge, known=known)


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
        """Return the last release that answers like the oldest, and the next."""
        old, new = self._answer(usable[0]), self._answer(usable[-1])
        if same_value(old, new):
            msg = (
                f"Nothing changed: {usable[-1].name} of {self._deployment}, the newest, gives "
                f"{value_line(new)}, and so does {usable[0].name}, the oldest. Give another "
                "check=..., or first=... and last=... between which it changed"
            )
            raise VellumNBError(msg)
        places = range(len(usable) - 1)  # the newest is known to differ
        changed = bisect_left(
            places, 1, lo=1, key=lambda at: not same_value(self._answer(usable[at]), old)
        )
        return usable[changed - 1], usable[changed]

    def is_stable(self, edge: Sequence[Candidate]) -> bool:
        """Return whether another run on both sides of the change gives the same as the first."""
        self.times = max(self.times, 2)
        values = [self._answer(each) for each in edge]
        agree = all(self.tested[each.release_id].agrees for each in edge)
        return agree and not same_value(*values)

    def _answer(self, candidate: Candidate) -> Any:
        found = self.tested.get(candidate.release_id)
        if found is None or len(found.runs) < self.times:
            found = self._tested(candidate, self.times)
            if self._adapts and not found.agrees and len(found.runs) < _UNSTABLE:
                found = self._tested(candidate, _UNSTABLE)
            self.tested[candidate.release_id] = found
        if found.value is _NOTHING:
            different = list(dict.fromkeys(map(value_line, found.values)))
            msg = (
                f"{len(found.runs)} runs of {self._deployment} on {candidate.name} disagree, and "
                "none of their answers is that of more than half "
                f"({', '.join(map(format_value, different[:3]))}): give a check=... of what "
                "matters, or more repeats=..."
            )
            raise VellumNBError(msg)
        return found.value

    def _tested(self, candidate: Candidate, times: int) -> Tested:
        runs = tuple(self._runs_of(candidate, times))
        values = []
        for run in runs:
            try:
                values.append(self._check(run))
            except Exception as exc:
                msg = (
                    f"check raised {type(exc).__name__}: {exc} on the run of {candidate.name}, "
                    f"which is {run.state}; look at ws.history.get({run.id!r}), and make check "
                    "fit it"
                )
                raise VellumNBError(msg) from exc
        return Tested(candidate, runs, tuple(values))
