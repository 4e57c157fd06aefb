"""Metrics of a run alone: what its outputs look like, what it took, how it was rated."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vellum_nb.errors import InputError
from vellum_nb.experiments.metrics.metric import Metric, Value
from vellum_nb.fitting import fitting
from vellum_nb.rendering.values import value_text

__all__ = ["contains", "cost_usd", "json_schema", "json_valid", "latency_s", "length", "quality"]
__all__ += ["regex"]


@fitting(InputError)
def contains(text: str, output: str | None = None, *, ignore_case: bool = True) -> Metric:
    """Return whether an output contains `text`.

    Parameters
    ----------
    text : str
        What is looked for.
    output : str, optional
        The output's name. Default: any output.
    ignore_case : bool, default True
        Whether capitals and small letters are the same.
    """
    wanted = text.casefold() if ignore_case else text

    def found(run: Any) -> bool:
        texts = _texts(run, output)
        return any(wanted in (each.casefold() if ignore_case else each) for each in texts)

    return _metric(found, "contains", output, rejected=False)


@fitting(InputError)
def regex(pattern: str, output: str | None = None) -> Metric:
    """Return whether an output has a place that matches `pattern`.

    Parameters
    ----------
    pattern : str
        A regular expression of Python's `re`.
    output : str, optional
        The output's name. Default: any output.

    Raises
    ------
    InputError
        The pattern is none.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as exc:
        msg = f"{pattern!r} is no regular expression: {exc}"
        raise InputError(msg) from exc

    def found(run: Any) -> bool:
        return any(compiled.search(each) for each in _texts(run, output))

    return _metric(found, "regex", output, rejected=False)


@fitting(InputError)
def json_valid(output: str | None = None) -> Metric:
    """Return whether the outputs that are text are JSON; structured ones are.

    Parameters
    ----------
    output : str, optional
        The output's name. Default: every output.
    """

    def valid(run: Any) -> bool:
        values = _values(run, output)
        return bool(values) and all(_parsed(value)[0] for value in values)

    return _metric(valid, "json_valid", output, rejected=False)


@fitting(InputError)
def json_schema(schema: Mapping[str, Any], output: str | None = None) -> Metric:
    """Return whether an output fits a JSON schema; text is read as JSON first.

    Parameters
    ----------
    schema : mapping
        A JSON schema; its ``$schema`` says of which draft, 2020-12 by default.
    output : str, optional
        The output's name. Default: every output.

    Raises
    ------
    InputError
        The schema is none.
    """
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for

    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(dict(schema))
    except SchemaError as exc:
        msg = f"this is no JSON schema: {exc.message}"
        raise InputError(msg) from exc
    validator = kind(dict(schema))

    def fits(run: Any) -> bool:
        read = [_parsed(value) for value in _values(run, output)]
        return bool(read) and all(ok and validator.is_valid(value) for ok, value in read)

    return _metric(fits, "json_schema", output, rejected=False)


@fitting(InputError)
def length(output: str | None = None, *, lower_is_better: bool = True) -> Metric:
    """Return how many characters the outputs have.

    Parameters
    ----------
    output : str, optional
        The output's name. Default: all outputs together.
    lower_is_better : bool, default True
        Whether short is good.
    """

    def characters(run: Any) -> int | None:
        texts = list(_texts(run, output))
        return sum(map(len, texts)) if texts else None

    return _metric(characters, "length", output, lower_is_better=lower_is_better)


def latency_s() -> Metric:
    """Return the seconds that the run took; lower is better."""
    return _metric(lambda run: run.latency_s, "latency_s", lower_is_better=True)


def cost_usd() -> Metric:
    """Return what the run cost, where that is known; lower is better."""
    return _metric(lambda run: run.cost_usd, "cost_usd", lower_is_better=True)


def quality() -> Metric:
    """Return how a person rated the run, from 0 to 1, where one did."""
    return _metric(lambda run: run.quality, "quality")


def _metric(
    fn: Callable[..., Value],
    name: str,
    output: str | None = None,
    *,
    rejected: Value = None,
    lower_is_better: bool = False,
) -> Metric:
    fn.takes_records = True  # type: ignore[attr-defined]  # read by Metric, as is `looks_at`
    fn.looks_at = output  # type: ignore[attr-defined]
    named = name if output is None else f"{name}({output})"
    return Metric(fn, name=named, rejected=rejected, lower_is_better=lower_is_better)


def _values(run: Any, output: str | None) -> list[Any]:
    if output is None:
        return list(run.outputs.values())
    return [run.outputs[output]] if output in run.outputs else []


def _texts(run: Any, output: str | None) -> Iterator[str]:
    return (value_text(value, "JSON") for value in _values(run, output))


def _parsed(value: object) -> tuple[bool, Any]:
    if not isinstance(value, str):
        return True, value
    try:
        return True, json.loads(value)
    except (ValueError, RecursionError):
        return False, None
