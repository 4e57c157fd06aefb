"""What filters choose by, said of rows that no database holds."""

from __future__ import annotations

from typing import Any

from vellum_nb.history.reading.query import Filters, ids_of, moment

__all__ = ["Choice"]

_ONE_OF = {
    "ids": "id",
    "deployment": "deployment",
    "release_tag": "release_tag",
    "state": "state",
    "case_id": "case_id",
    "sweep_id": "sweep_id",
    "execution_id": "execution_id",
    "external_id": "external_id",
    "author": "author",
}
_EVER = 2**63 - 1


class Choice:
    """Filters without their search and limit, which `select` has found to make sense.

    Attributes
    ----------
    columns : tuple of str
        What `picks` looks at; the id and the time first.
    is_searched : bool
        Whether there are words beside them.
    """

    def __init__(self, filters: Filters) -> None:
        given: dict[str, Any] = {n: value for n, value in filters.items() if value is not None}
        given |= {"ids": ids_of(given["ids"])} if "ids" in given else {}
        self.is_searched = bool(str(given.get("search", "")).strip())
        self._since = moment("since", given["since"]) if "since" in given else -_EVER
        self._until = moment("until", given["until"]) if "until" in given else _EVER
        named = [name for name in _ONE_OF if name in given]
        self.columns = ("id", "timestamp", *(_ONE_OF[name] for name in named))
        self._wanted = [
            {value} if isinstance(value, str) else set(value)
            for value in (given[name] for name in named)
        ]

    def meets(self, first: int, last: int) -> bool:
        """Whether runs that were sent between two times may be chosen."""
        return last >= self._since and first < self._until

    def picks(self, row: tuple[Any, ...]) -> bool:
        """Whether the run with these `columns` is chosen."""
        return self._since <= row[1] < self._until and all(
            value in wanted for value, wanted in zip(row[2:], self._wanted, strict=True)
        )
