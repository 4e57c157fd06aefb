"""Failure names, which are tags of runs, and the number of cases with each.

The tag ``failure:wrong category`` names a failure, ``failure@ann:wrong category`` also its author.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from vellum_nb.comparison.cases import Case
from vellum_nb.comparison.metrics import Judge, Metric
from vellum_nb.comparison.statistics import share_interval
from vellum_nb.errors import InputError
from vellum_nb.models import Run, case_id
from vellum_nb.models.checks import check_text

_MAX_NAME_CHARS = 80
_MAX_PROPOSALS = 12  # names proposed by a judge for one answer
_TAG = re.compile(r"failure(?:@([^:]*))?:(.*)", re.DOTALL)

Failures: TypeAlias = tuple[dict[str, str], dict[str, str]]
"""Author (or "") by name, and judge by proposed name."""


def named(tags: Iterable[str]) -> dict[str, str]:
    """Return the failures named by tags, and the author of each.

    Examples
    --------
    >>> named(["checked", "failure@ann:rude", "failure: too  long"])
    {'rude': 'ann', 'too long': ''}
    """
    pairs = [(_clean(match[2]), match[1] or "") for match in map(_TAG.fullmatch, tags) if match]
    return {name: author for name, author in pairs if name}


def with_failure(tags: Sequence[str], name: str, author: str | None) -> list[str]:
    """Return tags with a failure added, unless it is there.

    Raises
    ------
    InputError
        The name is not text, is blank, or exceeds 80 characters.
    """
    check_text("name", name)
    name = _clean(name)
    if len(name) > _MAX_NAME_CHARS or not any(map(str.isprintable, name)):
        msg = (
            f"{name!r:.100} is not a failure name; give 1 to {_MAX_NAME_CHARS} printable characters"
        )
        raise InputError(msg)
    by = f"@{_clean(author).replace(':', '-')}" if author else ""
    return [*tags] if name in named(tags) else [*tags, f"failure{by}:{name}"]


def without_failure(tags: Sequence[str], name: str) -> list[str]:
    """Return tags without this failure."""
    return [tag for tag in tags if _clean(name) not in named([tag])]


def failures_of(case: Case, release: str, metrics: Sequence[Metric]) -> Failures:
    """Return the failures of a case's answers on `release`, and those proposed by judges."""
    runs = case.answers(release)
    names = named(tag for run in runs for tag in run.tags)
    judges = [metric for metric in metrics if isinstance(metric, Judge)]
    proposals = {
        name: judge.name
        for judge in judges
        for run in runs
        for name in _proposed(judge, run, case.expected)
    }
    return names, {name: judge for name, judge in proposals.items() if name not in names}


def _proposed(judge: Judge, run: Run, expected: Mapping[str, Any]) -> list[str]:
    """Return the failures in a judge's output `failures`: text, or a list of texts."""
    proposed: list[Any] = []
    with suppress(Exception):  # `evaluate` reports errors of user functions
        judgements: Any = judge.judgements[case_id(judge.request(run, dict(expected)))]
        for judgement in judgements if isinstance(judgements, list) else [judgements]:
            names = judgement.outputs.get("failures")
            proposed += names if isinstance(names, list) else [names]
    texts = (_clean(name) for name in proposed if isinstance(name, str))
    return [text for text in texts if 0 < len(text) <= _MAX_NAME_CHARS][:_MAX_PROPOSALS]


def failure_rows(
    releases: Sequence[str], cases: Sequence[Case], failures: Sequence[Mapping[str, Failures]]
) -> list[dict[str, Any]]:
    """Return one row per name and release, most frequent name first."""
    numbers = {r: sum(bool(case.answers(r)) for case in cases) for r in releases}
    counts, proposals = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    totals = Counter[str]()
    for release, (names, proposed) in (pair for case in failures for pair in case.items()):
        counts.update((name, release) for name in names)
        proposals.update((name, release) for name in proposed)
        totals.update([*names, *proposed])
    rows = []
    for name in sorted(totals, key=lambda name: (-totals[name], name)):
        for release, n in numbers.items():
            share = share_interval(counts[name, release] / max(1, n), n)
            row = {"name": name, "release": release, "count": counts[name, release], "n": n}
            row |= {"share": share.mean, "low": share.low, "high": share.high}
            rows.append(row | {"proposed": proposals[name, release]})
    return rows


def _clean(text: str) -> str:
    return " ".join(text.split())
