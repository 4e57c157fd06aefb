"""From a table to the checked cases of a sweep: every case on every release, before any call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from vellum_nb.errors import InputError, InputProblem
from vellum_nb.experiments.sweep.columns import Columns, sorted_out
from vellum_nb.experiments.sweep.reading import OF_A_FRAME, Table
from vellum_nb.experiments.sweep.texts import natural, untyped
from vellum_nb.models import VellumVariable, WorkflowDeploymentRelease, case_id
from vellum_nb.models.inputs import plain, to_wire
from vellum_nb.models.plain import shown
from vellum_nb.models.sweeps import SweepCase

__all__ = ["CheckedCases", "Releases", "checked_cases", "recheck"]

Releases = Mapping[str, WorkflowDeploymentRelease | None]
Variables = Sequence[VellumVariable]

_REQUIRED = "a value is required"
_TYPED = "; in a DataFrame text stays text: give the path of the file, or convert the column"


@dataclass(frozen=True, slots=True)
class CheckedCases:
    """Cases that fit, what is worth telling about them, and which inputs go not where."""

    cases: list[SweepCase]
    notes: tuple[str, ...]
    not_sent: Mapping[str, tuple[str, ...]]


def checked_cases(table: Table, releases: Releases, deployment: str) -> CheckedCases:
    """Return the cases of `table`, checked on every release.

    Raises
    ------
    InputError
        Lists every problem, with its row.
    """
    return _Checker(table, releases, deployment).checked()


def recheck(cases: Sequence[SweepCase], releases: Releases, deployment: str) -> None:
    """Check stored cases once more, on the releases of now.

    Raises
    ------
    InputError
        Lists every problem, with its row.
    """
    table = Table([], (), "dicts", stored=True, name="the sweep")
    _Checker(table, releases, deployment).recheck(cases)


class _Checker:
    """Checks one table."""

    def __init__(self, table: Table, releases: Releases, deployment: str) -> None:
        self._table = table
        self._deployment = deployment
        self._releases = releases
        self._groups = _groups(releases)
        self._known = _known(releases)
        self._outputs = _outputs(releases)
        names = list(self._known) if self._known is not None else None
        self._columns: Columns = sorted_out(table, names)
        self._doubtful = self._columns.doubtful(names or ())
        self._problems: list[InputProblem] = []
        self._notes: list[str] = []

    def checked(self) -> CheckedCases:
        """Check every case, then say what is wrong with all of them together."""
        self._look_at_columns()
        rows = self._rows()
        cases = [case for number, row in rows if (case := self._case(number, row)) is not None]
        self._refuse()
        if self._table.stored:
            cases = self._each_once(cases)
        else:
            self._tell_twins(cases)
        cases = [replace(case, position=at) for at, case in enumerate(cases)]
        return CheckedCases(cases, tuple(self._notes), self._not_sent(cases))

    def recheck(self, cases: Sequence[SweepCase]) -> None:
        """Check cases whose values are as they are sent."""
        for case in cases:
            self._fitting(case.position + 1, dict(case.inputs))
        self._refuse()

    def _refuse(self) -> None:
        if self._problems:
            number = len(self._problems)
            what = "1 value does" if number == 1 else f"{number:,} values do"
            msg = f"{self._table.name}: {what} not fit {self._deployment}; nothing was sent:"
            raise InputError(msg, self._problems)

    def _look_at_columns(self) -> None:
        """Note what looks mistyped; an input that no release knows is a problem, once."""
        for label, variable in self._doubtful.items():
            self._notes.append(f"the column {label} is kept as a label; is {variable} meant?")
        if self._known is None:
            return
        tags = ", ".join(self._releases)
        for name in self._columns.of("input"):
            if name in self._known:
                continue
            if self._table.stored:
                self._notes.append(f"{name} is no input on {tags}: kept, and not sent")
                continue
            hint = _hint(name, self._known)
            known = ", ".join(self._known) or "none"
            message = f"is no input of {self._deployment} on {tags}; its inputs: {known}{hint}"
            self._problems.append(InputProblem(f"input.{name}", message))
        for name in self._columns.of("expected"):
            if self._outputs and name not in self._outputs:
                hint = _hint(name, self._outputs)
                self._notes.append(f"expected.{name}: there is no output {name}{hint}")

    def _rows(self) -> list[tuple[int, dict[str, Any]]]:
        """Return the rows with their numbers; of stored runs only those of this deployment."""
        rows = list(enumerate(self._table.rows, start=1))
        if not self._table.stored:
            return rows
        own = [each for each in rows if each[1].get("deployment") == self._deployment]
        if own and len(own) < len(rows):
            others = len(rows) - len(own)
            self._notes.append(f"{others:,} runs of other deployments are left out")
        return own or rows

    def _case(self, number: int, row: Mapping[str, Any]) -> SweepCase | None:
        sides: dict[str, dict[str, Any]] = {"input": {}, "expected": {}, "label": {}}
        before = len(self._problems)
        for column, value in row.items():
            use = self._columns.uses.get(column)
            if use is None:
                continue
            try:
                sides[use[0]][use[1]] = self._value(use[0], use[1], value)
            except InputError as exc:
                variable = use[1] if use[0] == "input" else column
                self._problems.append(InputProblem(variable, str(exc), number))
        if len(self._problems) > before:
            return None
        inputs = self._fitting(number, sides["input"])
        if len(self._problems) > before:
            return None
        return SweepCase(number, case_id(inputs), inputs, sides["expected"], sides["label"])

    def _value(self, side: str, name: str, value: Any) -> Any:
        if side == "label":
            return _label(untyped(value, self._table))
        known = self._known if side == "input" else self._outputs
        variable = (known or {}).get(name)
        found = natural(value, variable, self._table) if variable else untyped(value, self._table)
        return found if side == "input" else plain(found)

    def _fitting(self, number: int, given: dict[str, Any]) -> dict[str, Any]:
        """Return the inputs in plain values, in the order given; note what does not fit."""
        sent: dict[str, Any] = {}
        found: dict[tuple[str, str], list[str]] = {}
        for tags, variables in self._groups:
            try:
                sent = self._wire(given, variables, tags[0]) | sent
            except InputError as exc:
                for each in exc.problems:
                    found.setdefault((each.variable, each.message), []).extend(tags)
        for (variable, message), tags in found.items():
            where = "" if len(tags) == len(self._releases) else f", on {', '.join(tags)}"
            text = f"{self._explained(variable, message)}{where}"
            if self._table.name == OF_A_FRAME and isinstance(given.get(variable), str):
                text = f"{text}{_TYPED}"
            self._problems.append(InputProblem(variable, text, number))
        if self._known is not None:
            sent |= self._kept({k: v for k, v in given.items() if k not in self._known}, number)
        return {name: sent[name] for name in given if name in sent}

    def _kept(self, unknown: Mapping[str, Any], number: int) -> dict[str, Any]:
        """Return inputs that no release knows, which stay part of the case."""
        try:
            return {name: plain(value) for name, value in unknown.items()}
        except InputError as exc:
            self._problems.append(InputProblem(", ".join(unknown), str(exc), number))
            return {}

    def _wire(
        self, given: Mapping[str, Any], variables: Variables | None, tag: str
    ) -> dict[str, Any]:
        if variables is not None:
            keys = {variable.key for variable in variables}
            given = {name: value for name, value in given.items() if name in keys}
        wire = to_wire(given, variables, where=f"{self._deployment} {tag}")
        return {item.name: item.value for item in wire}

    def _explained(self, variable: str, message: str) -> str:
        label = next((label for label, meant in self._doubtful.items() if meant == variable), None)
        if label is None or not message.startswith(_REQUIRED):
            return message
        return f"{message}; is the column {label} meant?"

    def _each_once(self, cases: Sequence[SweepCase]) -> list[SweepCase]:
        """Return each case once, with what any of its runs expected."""
        found: dict[str, SweepCase] = {}
        for case in cases:
            first = found.setdefault(case.case_id, case)
            if not first.expected and case.expected:
                found[case.case_id] = replace(first, expected=case.expected)
        if len(found) < len(cases):
            self._notes.append(f"{len(cases):,} runs are of {len(found):,} cases, each taken once")
        return list(found.values())

    def _tell_twins(self, cases: Sequence[SweepCase]) -> None:
        """Note rows of the same inputs: all are sent, and a comparison takes them as one case."""
        first: dict[str, int] = {}
        rows = [(each.position, first.setdefault(each.case_id, each.position)) for each in cases]
        twins = [(row, other) for row, other in rows if row != other]
        if not twins:
            return
        row, other = twins[0]
        have = "1 row has" if len(twins) == 1 else f"{len(twins):,} rows have"
        self._notes.append(
            f"{have} the inputs of an earlier one, such as row {row:,} of row {other:,}: all are "
            "sent, and a comparison takes them as one case"
        )

    def _not_sent(self, cases: Sequence[SweepCase]) -> dict[str, tuple[str, ...]]:
        given = dict.fromkeys(name for case in cases for name in case.inputs)
        found: dict[str, tuple[str, ...]] = {}
        for tags, variables in self._groups:
            if variables is None:
                continue
            keys = {variable.key for variable in variables}
            unknown = tuple(name for name in given if name not in keys)
            found |= dict.fromkeys(tags, unknown)
        return {tag: names for tag, names in found.items() if names}


def _groups(releases: Releases) -> list[tuple[list[str], Variables | None]]:
    """Return the tags with the same input variables together: each is checked once."""
    found: list[tuple[list[str], Variables | None]] = []
    for tag, release in releases.items():
        variables = None if release is None else release.workflow_version.input_variables
        for tags, known in found:
            if known == variables:
                tags.append(tag)
                break
        else:
            found.append(([tag], variables))
    return found


def _readable(releases: Releases) -> Iterator[WorkflowDeploymentRelease]:
    return (release for release in releases.values() if release is not None)


def _known(releases: Releases) -> dict[str, VellumVariable] | None:
    """Return the input variables of all releases; None where none of them can be read."""
    known: dict[str, VellumVariable] = {}
    for release in _readable(releases):
        known = {v.key: v for v in release.workflow_version.input_variables} | known
    return known if any(True for _ in _readable(releases)) else None


def _outputs(releases: Releases) -> dict[str, VellumVariable]:
    known: dict[str, VellumVariable] = {}
    for release in _readable(releases):
        known = {v.key: v for v in release.workflow_version.output_variables} | known
    return known


def _hint(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _label(value: Any) -> Any:
    with suppress(InputError):
        return plain(value)
    try:
        return str(value)
    except (ValueError, RecursionError):  # as in `shown`, which puts up with it
        return shown(value)
