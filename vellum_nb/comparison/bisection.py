"""Bisection: a binary search for the release that changed the answer to one case."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any, TypeAlias

from vellum_nb.comparison.cases import error_text
from vellum_nb.errors import VellumNBError
from vellum_nb.escaping import printed
from vellum_nb.lazy import pd
from vellum_nb.models import Run
from vellum_nb.models.inputs import format_value
from vellum_nb.rendering.format import plural, same_value, value_line

_MAX_REPEATS = 5  # runs per release if they disagree
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A release that could have changed the answer."""

    release_id: str
    release_tag: str | None  # None if it cannot be run
    created: datetime | None

    @property
    def name(self) -> str:
        """Its tag, or its id."""
        return self.release_tag or self.release_id


@dataclass(frozen=True, slots=True)
class Tested:
    """The runs of one release, and the result of `check` for each."""

    candidate: Candidate
    runs: tuple[Run, ...]
    values: tuple[Any, ...]

    @property
    def agrees(self) -> bool:
        """Whether `check` returned the same for all runs."""
        return all(same_value(self.values[0], value) for value in self.values)

    @property
    def value(self) -> Any:
        """Result of more than half of the runs, or `_NOTHING`."""
        for value in self.values:
            if 2 * sum(same_value(value, v) for v in self.values) > len(self.values):
                return value
        return _NOTHING


class Bisection:
    """Result of `vellum_nb.Workspace.bisect`.

    Attributes
    ----------
    deployment : str
        The deployment's name.
    inputs : dict
        The case.
    first_changed : str
        Release tag of the first release that changed the answer.
    last_same : str
        Release tag of the last release that did not.
    between : tuple of str
        Ids of releases between the two without a release tag, which cannot be run. Any of them
        could have changed the answer.
    runs : tuple of Run
        The compared runs, oldest release first.
    reused : int
        Number of runs that were in the history.
    """

    def __init__(
        self,
        deployment: str,
        inputs: dict[str, Any],
        *,
        releases: Sequence[Candidate],
        tested: Sequence[Tested],
        edge: tuple[Candidate, Candidate],
        stored_ids: frozenset[str],
    ) -> None:
        self.deployment = deployment
        self.inputs = inputs
        self.last_same, self.first_changed = edge[0].name, edge[1].name
        first, last = map(releases.index, edge)
        self.between = tuple(release.release_id for release in releases[first + 1 : last])
        self._number = len(releases)
        self._tested = sorted(tested, key=lambda test: releases.index(test.candidate))
        self._stored_ids = stored_ids
        self.runs = tuple(run for test in self._tested for run in test.runs)
        self.reused = sum(run.id in stored_ids for run in self.runs)

    def frame(self) -> pd.DataFrame:
        """Return one row per run, oldest release first.

        Columns: `release_tag`, `release_id`, `created` (UTC), `value` (result of `check`, as text),
        `changed` (differs from the oldest release), `reused` (was in the history), `state`,
        `latency_s`, `id`.
        """
        oldest = self._tested[0].value
        rows = [
            {
                "release_tag": test.candidate.release_tag,
                "release_id": test.candidate.release_id,
                "created": test.candidate.created,
                "value": value_line(value),
                "changed": not same_value(test.value, oldest),
                "reused": run.id in self._stored_ids,
                "state": run.state,
                "latency_s": run.latency_s,
                "id": run.id,
            }
            for test in self._tested
            for run, value in zip(test.runs, test.values, strict=True)
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
"""A function of a run; bisection searches for a change of its result."""

RunsOf: TypeAlias = Callable[[Candidate, int], Sequence[Run]]
"""A function that returns a number of runs of the case on a release, stored runs first."""


def bisected(
    deployment: str,
    inputs: dict[str, Any],
    releases: Sequence[Candidate],
    *,
    check: Check | None,
    runs_of: RunsOf,
    repeats: int | None,
    stored_ids: frozenset[str],
    can_try: Callable[[Candidate], bool],
) -> Bisection:
    """Find the first of `releases`, oldest first, that changed the answer.

    `runs_of` returns runs of the case on a release, `stored_ids` are the ids of stored runs, and
    `can_try` is true for a release that has or can have runs. The default `check` compares outputs
    and errors; the default `repeats` is one, and more if runs disagree.
    """
    usable = [release for release in releases if can_try(release)]
    if len(usable) < 2:  # noqa: PLR2004  (an oldest and a newest)
        hint = ". Add release tags to the others in Vellum" if len(usable) < len(releases) else ""
        msg = (
            f"Only {len(usable)} of {plural(len(releases), 'release')} of {deployment} can be run, "
            f"and a change lies between two{hint}"
        )
        raise VellumNBError(msg)
    everything: Check = lambda run: error_text(run) if run.error else run.outputs  # noqa: E731
    search = _Search(deployment, check or everything, runs_of, repeats)
    edge = search.edge(usable)
    if repeats is None and not search.is_stable(edge):
        search.times = _MAX_REPEATS
        edge = search.edge(usable)
    tested = list(search.tested.values())
    return Bisection(
        deployment, inputs, releases=releases, tested=tested, edge=edge, stored_ids=stored_ids
    )


class _Search:
    """Binary search that caches the answer of each release."""

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
        places = range(len(usable) - 1)  # the newest differs
        changed = bisect_left(
            places, 1, lo=1, key=lambda at: not same_value(self._answer(usable[at]), old)
        )
        return usable[changed - 1], usable[changed]

    def is_stable(self, edge: Sequence[Candidate]) -> bool:
        """Return whether a second run on both sides of the change confirms the first."""
        self.times = max(self.times, 2)
        values = [self._answer(candidate) for candidate in edge]
        agree = all(self.tested[candidate.release_id].agrees for candidate in edge)
        return agree and not same_value(*values)

    def _answer(self, candidate: Candidate) -> Any:
        tested = self.tested.get(candidate.release_id)
        if tested is None or len(tested.runs) < self.times:
            tested = self._tested(candidate, self.times)
            if self._adapts and not tested.agrees and len(tested.runs) < _MAX_REPEATS:
                tested = self._tested(candidate, _MAX_REPEATS)
            self.tested[candidate.release_id] = tested
        if tested.value is _NOTHING:
            different = list(dict.fromkeys(map(value_line, tested.values)))
            msg = (
                f"{len(tested.runs)} runs of {self._deployment} on {candidate.name} disagree, and "
                "none of their answers is that of more than half "
                f"({', '.join(map(format_value, different[:3]))}): give a check=... of what "
                "matters, or more repeats=..."
            )
            raise VellumNBError(msg)
        return tested.value

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
