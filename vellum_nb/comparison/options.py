"""`CompareOptions`: the options that every way to compare has in common."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypedDict, TypeVar

from vellum_nb.comparison.metrics import Metrics

_F = TypeVar("_F", bound=Callable[..., Any])


class CompareOptions(TypedDict, total=False):
    """Options of `Workspace.compare`, `Sweep.compare` and `vellum_nb.compare`.

    The last three concern judges, the others `vellum_nb.comparison.compare_runs`.
    """

    baseline: str | None
    metrics: Metrics | None
    alpha: float
    cluster: str | None
    max_calls: int | None
    max_cost_usd: float | None
    progress: bool


_NONE: dict[str, Any] = dict.fromkeys(CompareOptions.__annotations__)
_DEFAULTS = _NONE | {"alpha": 0.05, "progress": True}


def with_options(function: _F) -> _F:
    """List the `CompareOptions` in the signature that help and completion show."""
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    for name, default in _DEFAULTS.items():
        kind = CompareOptions.__annotations__[name]  # a ForwardRef, whose repr help would show
        types = {"default": default, "annotation": getattr(kind, "__forward_arg__", kind)}
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, **types))
    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return function


def metric_options(options: CompareOptions) -> dict[str, Any]:
    """Return the options that do not concern judges; raise a TypeError for an unknown one."""
    if unknown := [name for name in options if name not in _DEFAULTS]:
        msg = f"compare() got an unexpected keyword argument {unknown[0]!r}"
        raise TypeError(msg)
    return {k: v for k, v in options.items() if k not in {"max_calls", "max_cost_usd", "progress"}}
