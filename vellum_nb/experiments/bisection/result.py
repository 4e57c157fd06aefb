"""What a bisection found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from vellum_nb.models import Run
from vellum_nb.rendering.values import json_text, same_value

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Bisection", "Candidate", "Tested", "told"]

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

        Columns: `release_tag`, `release_id`, `created` (UTC), `value` (what `check` said, as
        text), `changed` (whether the release differs from the oldest), `reused` (whether the
        history had the run already), `state`, `latency_s`, `id`.
        """
        import pandas as pd

        rows = [
            (
                each.candidate.release_tag,
                each.candidate.release_id,
                each.candidate.created,
                told(value),
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
        made = f"{runs - self.reused} run{'' if runs - self.reused == 1 else 's'}"
        more = f" and {self.reused} of the history" if self.reused else ""
        gap = ""
        if self.between:
            number = len(self.between)
            noun, verb = ("release", "lies") if number == 1 else ("releases", "lie")
            gap = f"; {number} {noun} without a release tag {verb} between"
        return (
            f"<Bisection of {self.deployment}: {self.first_changed} is the first that changed, "
            f"{self.last_same} the last that did not{gap}; {made}{more}, "
            f"{self._number} releases>"
        )

    def _repr_html_(self) -> str:
        table: str = self.frame().to_html(index=False, border=0, na_rep="", escape=True)
        return f"<p>{escape(repr(self)[1:-1])}</p>{table}"


def told(value: Any) -> str:
    """Return what `check` said, in a line.

    Examples
    --------
    >>> told({"b": 1, "a": "x"})
    '{"a": "x", "b": 1}'
    """
    text = value if isinstance(value, str) else json_text(value)
    text = " ".join(text.split())
    return text if len(text) <= _GLIMPSE else f"{text[: _GLIMPSE - 1]}…"
