"""Failure names: what went wrong in an answer, as tags of its run, and how many cases have each.

The tag ``failure:wrong category`` names a failure, ``failure@ann:wrong category`` also who did.
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

_LONGEST = 80
_MOST = 12  # names that a judge proposes for one answer
_TAG = re.compile(r"failure(?:@([^:]*))?:(.*)", re.DOTALL)

Failures: TypeAlias = tuple[dict[str, str], dict[str, str]]
"""Names to who gave them ("": not known), and proposed names to the judge."""


def named(tags: Iterable[str]) -> dict[str, str]:
    """Return the failures that tags name, and who named each.

    Examples
    --------
    >>> named(["checked", "failure@ann:rude", "failure: too  long"])
    {'rude': 'ann', 'too long': ''}
    """
    found = [(_clean(each[2]), each[1] or "") for each in map(_TAG.fullmatch, tags) if each]
    return {name: author for name, author in found if name}


def with_failure(tags: Sequence[str], name: str, author: str | None) -> list[str]:
    """Return tags that name one more failure; one that is named already stays as it is.

    Raises
    ------
    InputError
        The name is not text, has nothing to see, or is longer than 80 characters.
    """
    check_text("name", name)
    name = _clean(name)
    if len(name) > _LONGEST or not any(map(str.isprintable, name)):
        msg = f"{name!r:.100} is not a failure's name: give 1 to {_LONGEST} characters"
        raise InputError(msg)
    by = f"@{_clean(author).replace(':', '-')}" if author else ""
    return [*tags] if name in named(tags) else [*tags, f"failure{by}:{name}"]


def without_failure(tags: Sequence[str], name: str) -> list[str]:
    """Return tags that do not name this failure."""
    return [tag for tag in tags if _clean(name) not in named([tag])]


def failures_of(case: Case, release: str, metrics: Sequence[Metric]) -> Failures:
    """Return the failures of the answers of a case on `release`, and what judges propose."""
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
    """Return what the output `failures` of a judge names: a text, or a list of texts."""
    found: list[Any] = []
    with suppress(Exception):  # `evaluate` reports what a function of inputs raises
        made: Any = judge.judgements[case_id(judge.request(run, dict(expected)))]
        for each in made if isinstance(made, list) else [made]:
            names = each.outputs.get("failures")
            found += names if isinstance(names, list) else [names]
    texts = (_clean(each) for each in found if isinstance(each, str))
    return [text for text in texts if 0 < len(text) <= _LONGEST][:_MOST]


def failure_rows(
    releases: Sequence[str], cases: Sequence[Case], found: Sequence[Mapping[str, Failures]]
) -> list[dict[str, Any]]:
    """Return one row per name and release, the most frequent name first, of `found` by case."""
    numbers = {each: sum(bool(case.answers(each)) for case in cases) for each in releases}
    counts, proposals = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    totals = Counter[str]()
    for release, (names, others) in (pair for case in found for pair in case.items()):
        counts.update((name, release) for name in names)
        proposals.update((name, release) for name in others)
        totals.update([*names, *others])
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
