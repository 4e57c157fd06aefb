"""From what a user gives as metrics to metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from vellum_nb.errors import InputError
from vellum_nb.experiments.metrics import expected, judges, own
from vellum_nb.experiments.metrics.metric import Metric, Value

__all__ = ["Metrics", "chosen"]

One: TypeAlias = Metric | str | Callable[..., Value | Metric]
Metrics: TypeAlias = One | Sequence[One]
"""Metrics, functions of a run, names of built-in ones; one or several."""

_PLAIN: Mapping[str, Callable[[], Metric]] = {
    "score": expected.score,
    "exact": expected.exact,
    "numeric_close": expected.numeric_close,
    "similarity": expected.similarity,
    "json_valid": own.json_valid,
    "length": own.length,
    "latency_s": own.latency_s,
    "cost_usd": own.cost_usd,
    "quality": own.quality,
}
_WITH_MORE: Mapping[str, Callable[..., Metric]] = {
    "contains": own.contains,
    "regex": own.regex,
    "json_schema": own.json_schema,
    "judge": judges.judge,
}


def chosen(metrics: Metrics) -> tuple[Metric, ...]:
    """Return `metrics` as metrics: ``vnb.metrics.exact`` and ``"exact"`` are ``exact()``.

    Raises
    ------
    InputError
        One is none, or two have one name.
    """
    given = [metrics] if isinstance(metrics, str) or callable(metrics) else list(metrics)
    found = tuple(_metric(each) for each in given)
    names = [metric.name for metric in found]
    for name in names:
        if names.count(name) > 1:
            msg = f"{names.count(name)} metrics are called {name}: give Metric(fn, name=...)"
            raise InputError(msg)
    return found


def _metric(given: One) -> Metric:
    if isinstance(given, Metric):
        return given
    if isinstance(given, str):
        if given not in _PLAIN:
            known = ", ".join(_PLAIN)
            msg = f"no metric is called {given!r}; by name there are: {known}"
            raise InputError(msg)
        return _PLAIN[given]()
    for factory in _PLAIN.values():
        if given is factory:
            return factory()
    for name, maker in _WITH_MORE.items():
        if given is maker:
            msg = f"vnb.metrics.{name} wants to know more: give vnb.metrics.{name}(...)"
            raise InputError(msg)
    return Metric(given)  # type: ignore[arg-type]  # a function of a run
