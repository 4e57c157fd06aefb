"""Metrics against what outputs should have been."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from vellum_nb.errors import InputError
from vellum_nb.experiments.metrics.metric import Metric, Value
from vellum_nb.fitting import fitting
from vellum_nb.rendering.values import same_value, value_text

__all__ = ["checks", "exact", "numeric_close", "score", "similarity"]

_NOTHING: Any = object()


def checks(outputs: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, bool]:
    """Return for each output of which it is known what it should be, whether it is that.

    Examples
    --------
    >>> checks({"category": "billing"}, {"category": "billing", "priority": "high"})
    {'category': True, 'priority': False}
    """
    return {name: same_value(outputs.get(name, _NOTHING), want) for name, want in expected.items()}


@fitting(InputError)
def score() -> Metric:
    """Return the share of expected outputs that were met; the default where some are known."""

    def share(run: Any, expected: dict[str, Any]) -> float | None:
        met = checks(run.outputs, expected)
        return sum(met.values()) / len(met) if met else None

    return _metric(share, "score", 0.0)


@fitting(InputError)
def exact(output: str | None = None) -> Metric:
    """Return whether every expected output was met; or this one.

    Parameters
    ----------
    output : str, optional
        The output's name. Default: all of which it is known what they should be.
    """

    def every(run: Any, expected: dict[str, Any]) -> bool | None:
        met = checks(run.outputs, _wanted(expected, output))
        return all(met.values()) if met else None

    return _metric(every, _named("exact", output), rejected=False)


@fitting(InputError)
def numeric_close(output: str | None = None, *, rel: float = 1e-9, abs: float = 0.0) -> Metric:  # noqa: A002  (as in math.isclose)
    """Return whether the expected numbers were met, nearly; numbers written as text count too.

    Parameters
    ----------
    output : str, optional
        The output's name. Default: all whose expected value is a number.
    rel, abs : float
        The relative and the absolute tolerance, as of `math.isclose`.
    """

    def close(run: Any, expected: dict[str, Any]) -> bool | None:
        wanted = {
            k: n for k, v in _wanted(expected, output).items() if (n := _number(v)) is not None
        }
        if not wanted:
            return None
        found = {name: _number(run.outputs.get(name)) for name in wanted}
        return all(
            (n := found[name]) is not None and math.isclose(n, want, rel_tol=rel, abs_tol=abs)
            for name, want in wanted.items()
        )

    return _metric(close, _named("numeric_close", output), rejected=False)


@fitting(InputError)
def similarity(output: str | None = None) -> Metric:
    """Return how alike the expected outputs are to the texts that came, from 0 to 1.

    The share of characters that need not be inserted or deleted (rapidfuzz's Indel similarity);
    over several outputs the mean. Structured values are compared as JSON text.

    Parameters
    ----------
    output : str, optional
        The output's name. Default: all of which it is known what they should be.
    """

    def alike(run: Any, expected: dict[str, Any]) -> float | None:
        from rapidfuzz.distance import Indel

        wanted = _wanted(expected, output)
        if not wanted:
            return None
        found = run.outputs
        likeness = [
            Indel.normalized_similarity(value_text(found[name], "JSON"), value_text(want, "JSON"))
            if name in found
            else 0.0
            for name, want in wanted.items()
        ]
        return sum(likeness) / len(likeness)

    return _metric(alike, _named("similarity", output), 0.0)


def _metric(fn: Callable[..., Value], name: str, rejected: Value) -> Metric:
    fn.takes_records = True  # type: ignore[attr-defined]  # read by Metric
    return Metric(fn, name=name, rejected=rejected)


def _named(name: str, output: str | None) -> str:
    return name if output is None else f"{name}({output})"


def _wanted(expected: dict[str, Any], output: str | None) -> dict[str, Any]:
    if output is None:
        return expected
    return {output: expected[output]} if output in expected else {}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
