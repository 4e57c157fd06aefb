"""What the columns of a table of cases are for."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from vellum_nb.errors import InputError
from vellum_nb.experiments.sweep.reading import Table

__all__ = ["Columns", "Use", "sorted_out"]

Use = Literal["input", "expected", "label"]

_ROOMS: dict[str, Use] = {
    "input": "input",
    "expected": "expected",
    "desired": "expected",
    "label": "label",
}
_LABELS_OF_A_HISTORY = frozenset({"execution_id", "note", "tags"})
_UNNAMED = "Unnamed: "  # as pandas calls a column without a name


@dataclass(frozen=True, slots=True)
class Columns:
    """Column name to what it is for, and the name it has there; what is ignored is absent."""

    uses: dict[str, tuple[Use, str]]

    def of(self, use: Use) -> list[str]:
        """Return the names that columns of this use stand for."""
        return list(dict.fromkeys(name for found, name in self.uses.values() if found == use))

    def doubtful(self, variables: Iterable[str]) -> dict[str, str]:
        """Return labels that look like a mistyped input: the label, and the variable meant."""
        free = [name for name in variables if name not in self.of("input")]
        labels = [] if not free else self.of("label")
        found = {label: get_close_matches(label, free, n=1, cutoff=0.75) for label in labels}
        return {label: close[0] for label, close in found.items() if close}


def sorted_out(table: Table, variables: Collection[str] | None) -> Columns:
    """Return what the columns of `table` are for.

    Parameters
    ----------
    table
        In one of stored runs only ``input.…``, ``desired.…`` and the like count, since the
        columns of the history may be called as a variable is.
    variables
        The input variables of all releases; None where they cannot be read: then every column is
        an input that is not named otherwise.

    Raises
    ------
    InputError
        Two columns are the same input or the same expected output.
    """
    prefixed = any(name.startswith("input.") for name in table.columns)
    uses: dict[str, tuple[Use, str]] = {}
    for name in table.columns:
        use = _use(name, variables, stored=table.stored, prefixed=prefixed)
        if use is not None:
            uses[name] = use
    return Columns(_without_twins(uses, table))


def _use(
    name: str, variables: Collection[str] | None, *, stored: bool, prefixed: bool
) -> tuple[Use, str] | None:
    room, _, rest = name.partition(".")
    if rest and room in _ROOMS:
        return _ROOMS[room], rest
    if stored:
        return ("label", name) if name in _LABELS_OF_A_HISTORY else None
    if not name or name.startswith(_UNNAMED):
        return None
    is_input = not prefixed if variables is None else name in variables
    return ("input" if is_input else "label"), name


def _without_twins(uses: dict[str, tuple[Use, str]], table: Table) -> dict[str, tuple[Use, str]]:
    """Return `uses`; of two inputs of one name neither may give way, which is refused.

    ``expected.x`` goes before ``desired.x``, and a label that is called so before the history's
    own column; any other label gets the name of its column.
    """
    seen: dict[tuple[Use, str], str] = {}
    kept: dict[str, tuple[Use, str]] = {}
    for column in sorted(uses, key=_rank):
        use = uses[column]
        other = seen.setdefault(use, column)
        if other == column:
            kept[column] = use
        elif use[0] == "input":
            both = f"{other} and {column} of {table.name}"
            msg = f"{both} are both the input {use[1]}; leave one out"
            raise InputError(msg)
        elif use[0] == "label" and not table.stored:
            kept[column] = ("label", column)
    return {column: kept[column] for column in uses if column in kept}


def _rank(column: str) -> int:
    if column.startswith(("expected.", "label.")):
        return 0
    return 2 if column.startswith("desired.") else 1
