"""Which cases the grid shows, in which order: one comparison by one metric."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.cases import Case
from vellum_nb.comparison.figures import VERDICTS
from vellum_nb.errors import InputError
from vellum_nb.history import clean
from vellum_nb.models import Run
from vellum_nb.search_text import Search, Term, document
from vellum_nb.widgets.table import read_int

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "CaseOrder",
    "GridQuery",
    "GridWindow",
    "QUALITIES",
    "RANKS",
    "STATES",
    "inputs_of",
    "label_text",
    "read_query",
    "read_window",
    "refused",
]

STATES = ("chosen", "different", "regressions", "missing", "unstable")
QUALITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
_MAX_ROWS = 60
_MAX_TEXT = 500
_MAX_LABELS = 50


@dataclass(frozen=True)
class GridQuery:
    """Which cases are shown.

    Attributes
    ----------
    states : frozenset of str
        Of `STATES`; a case is shown that is in any. None: all cases.
    labels : tuple
        Label and values; a case is shown that has one of the values, of each label.
    search : str
        Words that the inputs, the outputs or an error have, as `History.search` takes them.
    """

    states: frozenset[str] = frozenset()
    labels: tuple[tuple[str, frozenset[str]], ...] = field(default=())
    search: str = ""


@dataclass(frozen=True)
class GridWindow:
    """Which rows are wanted, and which view on the page wants them."""

    view: str
    seq: int
    offset: int
    limit: int


def read_query(content: object) -> GridQuery:
    """Return the query of a message; what is not understood is left out.

    Examples
    --------
    >>> read_query({"states": ["missing", "all"], "search": 1})
    GridQuery(states=frozenset({'missing'}), labels=(), search='')
    """
    content_query: Mapping[str, Any] = content if isinstance(content, dict) else {}
    search = content_query.get("search")
    return GridQuery(
        states=frozenset(each for each in _texts(content_query.get("states")) if each in STATES),
        labels=_labels(content_query.get("labels")),
        search=search[:_MAX_TEXT] if isinstance(search, str) else "",
    )


def _labels(value: object) -> tuple[tuple[str, frozenset[str]], ...]:
    if not isinstance(value, dict):
        return ()
    pairs = [(name, frozenset(_texts(values))) for name, values in value.items()]
    return tuple(sorted((n, v) for n, v in pairs if isinstance(n, str) and v)[:_MAX_LABELS])


def _texts(value: object) -> list[str]:
    if not isinstance(value, list):
        return []
    return [each for each in value[:_MAX_TEXT] if isinstance(each, str)]


def read_window(content: Mapping[str, Any]) -> GridWindow:
    """Return the rows that a message asks for, clipped to what may travel at once.

    Examples
    --------
    >>> read_window({"offset": -5, "limit": 10**9, "view": "a"})
    GridWindow(view='a', seq=0, offset=0, limit=60)
    """
    view = content.get("view")
    return GridWindow(
        view=view[:60] if isinstance(view, str) else "",
        seq=read_int(content.get("seq"), 0, 2**53),
        offset=read_int(content.get("offset"), 0, 2**53),
        limit=read_int(content.get("limit"), 1, _MAX_ROWS),
    )


def refused(why: str) -> NoReturn:
    """Raise what the grid says of a message that it could not use."""
    msg = f"The grid left something out: {why}."
    raise InputError(msg)


RANKS = ("worse", "better", "changed", "missing", "same")
_WORSE, _BETTER, _CHANGED, _MISSING, _SAME = range(len(RANKS))
_LABEL = 200  # characters
_CODE = {verdict: code for code, verdict in enumerate(VERDICTS)}


def label_text(value: object) -> str:
    """Return a label as it is shown and filtered by: its beginning, where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return clean(text[:_LABEL])


def inputs_of(case: Case) -> Mapping[str, Any]:
    """Return the inputs of a case."""
    return case.inputs


class CaseOrder:
    """The cases of a comparison, ranked by a metric; None: by whether answers differ.

    Attributes
    ----------
    comparison : Comparison
        As given.
    metric : str or None
        The metric's name.
    chosen : frozenset of str
        The `case_id` of cases that somebody chose to look at.
    """

    def __init__(
        self, comparison: Comparison, metric: str | None, chosen: frozenset[str] = frozenset()
    ) -> None:
        self.comparison = comparison
        self.metric = metric
        self.chosen = chosen

    @cached_property
    def _codes(self) -> NDArray[np.int8]:
        import numpy as np

        others = self.comparison.others if self.metric is not None else ()
        columns = [self.comparison.against(each, self.metric).codes for each in others]
        shape = (len(self.comparison.cases), len(columns))
        return np.stack(columns, axis=1) if columns else np.zeros(shape, dtype=np.int8)

    @cached_property
    def _states(self) -> dict[str, NDArray[np.bool_]]:
        """Of each state that can be filtered by, which cases are in it."""
        import numpy as np

        comparison = self.comparison
        number, others = len(comparison.cases), comparison.others
        found = np.array([comparison.statuses[each] for each in others], dtype=object).reshape(
            len(others), number
        )
        return {
            "chosen": np.array([each.case_id in self.chosen for each in comparison.cases], bool),
            "different": (found == "differs").any(axis=0),
            "regressions": (self._codes == _CODE["worse"]).any(axis=1),
            "improvements": (self._codes == _CODE["better"]).any(axis=1),
            "missing": (found == "missing").any(axis=0) if others else self._unanswered(),
            "unstable": self.comparison.unstable_cases,
        }

    def _unanswered(self) -> NDArray[np.bool_]:
        import numpy as np

        only = self.comparison.baseline
        return np.array([not case.answers(only) for case in self.comparison.cases], dtype=bool)

    @cached_property
    def ranks(self) -> NDArray[np.int8]:
        """Of each case its place in `RANKS`."""
        import numpy as np

        states = self._states
        unsure = np.isin(self._codes, [_CODE["noise"], _CODE["error"]]).any(axis=1)
        ranks = np.full(len(self.comparison.cases), _SAME, dtype=np.int8)
        ranks[states["missing"]] = _MISSING
        ranks[states["different"] | unsure] = _CHANGED
        ranks[states["improvements"]] = _BETTER
        ranks[states["regressions"]] = _WORSE
        return ranks

    @cached_property
    def order(self) -> list[int]:
        """All cases by rank; within it by how much they lost or won, over all releases."""
        import numpy as np

        size = np.zeros(len(self.ranks))
        for at, release in enumerate(self.comparison.others if self.metric is not None else ()):
            delta = np.abs(self.comparison.against(release, self.metric).delta)
            delta[np.isnan(delta)] = np.nanmax(delta, initial=1.0)  # a run that was rejected
            for rank, verdict in ((_WORSE, "worse"), (_BETTER, "better")):
                counts = (self.ranks == rank) & (self._codes[:, at] == _CODE[verdict])  # type: ignore[index]
                size[counts] += delta[counts]
        found: list[int] = np.lexsort((np.arange(len(size)), -size, self.ranks)).tolist()
        return found

    def count(self, state: str) -> int:
        """Return how many cases are in a state."""
        return int(self._states[state].sum())

    @cached_property
    def labels(self) -> dict[str, Counter[str]]:
        """Label to its values, and how many cases have each."""
        found: dict[str, Counter[str]] = {}
        for case in self.comparison.cases:
            for name, value in case.labels.items():
                if value is not None:
                    found.setdefault(name, Counter())[label_text(value)] += 1
        return found

    def find(self, query: GridQuery) -> list[int]:
        """Return the places of the cases that `query` finds, in order."""
        found: Iterable[int] = self.order
        if query.states:
            masks = [self._states[each] for each in query.states]
            found = [row for row in found if any(mask[row] for mask in masks)]
        cases = self.comparison.cases
        for name, values in query.labels:
            found = [row for row in found if label_text(cases[row].labels.get(name)) in values]
        if query.search:
            looking = _Search(query.search)
            found = [row for row in found if looking.matches(cases[row])]
        return list(found)


class _Search:
    """Terms to be found in the values of inputs, outputs and errors, as `History.search` does."""

    def __init__(self, text: str) -> None:
        self._terms = Search.of(text).terms

    def matches(self, case: Case) -> bool:
        """Return whether all of them occur in one of the runs."""
        if not self._terms:
            return False
        text = json.dumps(dict(inputs_of(case)))
        inputs = document(text, "{}") if _possible(self._terms, text) else ""
        left = [term for term in self._terms if term.text not in inputs]
        runs = (each for repeats in case.tries.values() for each in repeats)
        return not left or any(_run_has(each, left) for each in runs)


def _run_has(run: Run, terms: Sequence[Term]) -> bool:
    error = () if run.error is None else (run.error.code, run.error.message)
    outputs = json.dumps(run.outputs)
    if not error and len(_possible(terms, outputs)) < len(terms):
        return False
    text = document("{}", outputs, *error)
    return all(term.text in text for term in terms)


def _possible(terms: Sequence[Term], text: str) -> Sequence[Term]:
    """Return which terms may occur in a JSON text: much quicker than to normalize it."""
    if not text.isascii() or "\\u" in text:
        return terms
    lower = text.lower()
    return [each for each in terms if all(word in lower for word in each.words)]
