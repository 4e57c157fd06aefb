"""`Metric`: a function of a run to a figure, with what a comparison must know of it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from vellum_nb.errors import InputError
from vellum_nb.history.reading.records import Record
from vellum_nb.models import Run
from vellum_nb.models.plain import shown

if TYPE_CHECKING:
    from vellum_nb.experiments.metrics.judges import Judging

__all__ = ["Evaluation", "Metric", "Value"]

Value: TypeAlias = bool | int | float | None
"""What a metric says of a run; None: it does not apply."""

Evaluation: TypeAlias = tuple[float | None, str | None]
"""A figure, or why there is none; neither where the metric does not apply."""


class Metric:
    """How good a run is, as a figure: higher is better unless told.

    Parameters
    ----------
    fn : callable
        Called as ``fn(run)``, or ``fn(run, expected)`` where it takes two arguments; `expected`
        is a dict, output name to what it should be, as far as that is known. Returns a bool (pass
        or fail), a number, or None where it does not apply. What it raises marks the run, and
        does not end the comparison.
    name : str, optional
        What columns call it. Default: the function's name.
    lower_is_better : bool, default False
        As of latency and cost. Default: the function's attribute ``lower_is_better``, if it has
        one.
    rejected : bool or float, optional
        The figure of a rejected run, without calling `fn`. Default: `fn` is called.
    tolerance : float, default 0
        Differences up to it count as none.

    Raises
    ------
    InputError
        `fn` cannot be called with a run.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> polite = vnb.Metric(lambda run: "sorry" in run.outputs["reply"], name="polite")
    >>> polite
    <Metric polite: higher is better>
    """

    def __init__(
        self,
        fn: Callable[..., Value],
        *,
        name: str | None = None,
        lower_is_better: bool | None = None,
        rejected: Value = None,
        tolerance: float = 0.0,
    ) -> None:
        self.fn = fn
        self.name = name or _name_of(fn)
        if lower_is_better is None:
            lower_is_better = bool(getattr(fn, "lower_is_better", False))
        self.lower_is_better = lower_is_better
        self.rejected = rejected
        self.tolerance = float(tolerance)
        self._takes_expected = _takes_expected(fn, self.name)
        self._takes_records = bool(getattr(fn, "takes_records", False))
        # The one output that one of our own looks at, as far as it is called by a name.
        self.looks_at: str | None = getattr(fn, "looks_at", None)

    def __call__(self, run: Run, expected: Mapping[str, Any] | None = None) -> Value:
        """Return the figure of `run`, as the function gives it."""
        if self.rejected is not None and run.state == "REJECTED":
            return self.rejected
        return self.fn(run, dict(expected or {})) if self._takes_expected else self.fn(run)

    def evaluate(self, record: Record, expected: Mapping[str, Any]) -> Evaluation:
        """Return the figure of a run, or why there is none; never raises but on an interrupt."""
        run: Any = record if self._takes_records else record.made()
        try:
            value = self(run, expected)
        except Exception as exc:  # noqa: BLE001  (a user's function may raise anything)
            return None, f"{type(exc).__name__}: {exc}"
        return _checked(value)

    def prepare(self, work: Sequence[tuple[Record, Mapping[str, Any]]]) -> None:
        """Be told of all that is going to be evaluated; what can be done at once is done here."""

    def bound(self, judging: Judging | None) -> Metric:  # noqa: ARG002  (for a judge)
        """Return the metric as a comparison uses it: what asks others is told how."""
        return self

    @property
    def is_built_in(self) -> bool:
        """Whether it is one of `vellum_nb.metrics` that only reads: any thread may ask it."""
        return self._takes_records

    @property
    def sign(self) -> int:
        """1 where higher is better, else -1."""
        return -1 if self.lower_is_better else 1

    def __repr__(self) -> str:
        which = "lower" if self.lower_is_better else "higher"
        return f"<Metric {self.name}: {which} is better>"


def _name_of(fn: Callable[..., Any]) -> str:
    name = getattr(fn, "__name__", type(fn).__name__)
    return "metric" if name == "<lambda>" else str(name)


def _takes_expected(fn: Callable[..., Any], name: str) -> bool:
    """Return whether the function takes a second positional argument."""
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # some builtins tell nothing
        return False
    for arguments in ((None, None), (None,)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return len(arguments) > 1
    msg = f"the metric {name} takes {signature}; it is called with a run, or (run, expected)"
    raise InputError(msg)


def _checked(value: object) -> Evaluation:
    if value is None:
        return None, None
    if isinstance(value, str):
        return None, f"{shown(value)} is neither a bool nor a number"
    try:
        number = float(value)  # type: ignore[arg-type]  # numpy's numbers too
    except (TypeError, ValueError):
        return None, f"{shown(value)} is neither a bool nor a number"
    if not math.isfinite(number):
        return None, f"{number} is no figure to compare"
    return number, None
