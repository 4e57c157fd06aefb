"""Bias of a judge: whether its error depends on length, the release or a label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vellum_nb.comparison.cases import Case
from vellum_nb.comparison.statistics import LEAST_UNITS, NO_ESTIMATE, Estimate, holm, slope
from vellum_nb.errors import InputError
from vellum_nb.history import cell, frame_of_cells
from vellum_nb.models.checks import available
from vellum_nb.rendering.format import value_key

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


_PER_LENGTH = 400  # characters, about 100 tokens
_ALPHA = 0.05
_TWO = 2


@dataclass(frozen=True, slots=True)
class RatedAnswer:
    """An answer that people rated and a judge judged."""

    case: Case
    release: str
    rating: tuple[float, float]  # the rating, and 1 if it passes
    error: float  # of the judge
    characters: int  # of the outputs that the judge reads


def bias_frame(answers: Sequence[RatedAnswer], by: Sequence[str]) -> pd.DataFrame:
    """Return the effects documented in `Agreement.bias`."""
    import numpy as np

    numbers: dict[str, int] = {}
    cases = np.array([numbers.setdefault(a.case.case_id, len(numbers)) for a in answers], np.intp)
    controls = np.array([a.rating for a in answers]).reshape(-1, 2)
    errors = np.array([a.error for a in answers])
    rows: list[tuple[str, Any, Estimate]] = []
    for column in by:
        terms = list(_terms(column, answers, cases))
        effects = [(value, slope(errors, x, controls, cases)) for value, x in terms]
        missing = [(None, NO_ESTIMATE)]
        rows += [(column, value, effect) for value, effect in effects or missing]
    corrected = holm([effect.p for *_, effect in rows])
    findings = [_finding(e, p) for (*_, e), p in zip(rows, corrected, strict=True)]
    cells: dict[str, list[Any]] = {
        "by": [column for column, *_ in rows],
        "value": [cell(value) for _, value, _ in rows],
        "effect": [effect.mean for *_, effect in rows],
        "low": [effect.low for *_, effect in rows],
        "high": [effect.high for *_, effect in rows],
        "p": corrected,
        "n": [effect.n for *_, effect in rows],
        "finding": findings,
    }
    return frame_of_cells(cells)


def _finding(effect: Estimate, p: float | None) -> str:
    if p is None:
        return "missing"
    if p > _ALPHA:
        return "undecided"
    return "too high" if effect.mean > 0 else "too low"


def _terms(
    column: str, answers: Sequence[RatedAnswer], cases: NDArray[np.intp]
) -> Iterator[tuple[Any, NDArray[np.float64]]]:
    """Yield the regressors of a column: the length, or an indicator of each frequent value.

    Of two values, the second is compared with the first.
    """
    import numpy as np

    if column == "length":
        yield "100 tokens", np.array([a.characters / _PER_LENGTH for a in answers])
        return
    values = _values(column, answers)
    keys = np.array([value_key(value) for value in values], dtype=object)
    first = {key: at for at, key in reversed(list(enumerate(keys.tolist())))}
    levels = sorted(first, key=lambda key: first[key])
    for key in levels[1:] if len(levels) == _TWO else levels:
        is_value = keys == key
        if min(len(np.unique(cases[mask])) for mask in (is_value, ~is_value)) >= LEAST_UNITS:
            yield values[first[key]], is_value.astype(np.float64)


def _values(column: str, answers: Sequence[RatedAnswer]) -> list[Any]:
    """Return the value of a column per answer, or raise if no case has it."""
    if column == "release":
        return [answer.release for answer in answers]
    side, _, name = column.partition(".")
    sides = {"label": [a.case.labels for a in answers], "input": [a.case.inputs for a in answers]}
    dicts = sides.get(side, [])
    if answers and not any(name in values for values in dicts):
        known = (f"{s}.{key}" for s, values in sides.items() for row in values for key in row)
        columns = dict.fromkeys(["length", "release", *known])
        msg = f"{column!r} is not a column of the rated cases{available(columns)}"
        raise InputError(msg)
    return [values.get(name) for values in dicts]
