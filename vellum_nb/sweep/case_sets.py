"""`CaseSet`: a named list of cases in the history, each change of which is a version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from vellum_nb.clock import micros
from vellum_nb.comparison.conversations import own_inputs, runs_by_turn
from vellum_nb.errors import InputError
from vellum_nb.escaping import printed
from vellum_nb.history import CaseSets, cell, frame_of_cells, frame_of_records, parse_location
from vellum_nb.lazy import pd
from vellum_nb.models import Run, canonical_json
from vellum_nb.models import case_id as case_hash
from vellum_nb.models.checks import check_integer, check_text, cut, cut_list, refuse
from vellum_nb.models.sweeps import CaseSetVersion, Member, SweepCase, conversations
from vellum_nb.rendering.format import plural
from vellum_nb.sweep.case_formats import inspect_samples, promptfoo_tests
from vellum_nb.sweep.cases import (
    PREVIOUS,
    Cases,
    Releases,
    Table,
    checked_cases,
    has_turns,
    read_table,
)
from vellum_nb.sweep.conversations import Conversation, turn_table, user_cells, with_user_of

Resolve = Callable[..., Releases]  # deployment, tag: the release that types cells of new cases
Turns = Callable[[str], Sequence[Run]]  # the stored runs of a conversation
Scripts = Callable[[Sequence[str]], Mapping[str, dict[str, Any]]]  # stored, by case id
Save = Callable[[Path | str, "pd.DataFrame | str"], Path]
_MAX_NAME = 200
_CONVERSATION, _TURN, _USER = "conversation", "turn", ("user", "max_turns")  # columns
_SETS = {"name": "text", "deployment": "text", "cases": "int", "version": "int"}
_SETS |= {"changed": "time", "author": "text"}
_VERSIONS = {"version": "int", "created": "time", "author": "text", "message": "text"}
_VERSIONS |= dict.fromkeys(("cases", "added", "updated", "removed"), "int") | {"id": "text"}
_DIFF = dict.fromkeys(("case_id", "change", "column"), "text") | dict.fromkeys(("before", "after"))


@dataclass(frozen=True, slots=True)
class CaseConflict:
    """An expected output that differs between a new case and the set."""

    case_id: str
    output: str
    kept: Any
    given: Any


@dataclass(frozen=True, slots=True, repr=False)
class CaseSetChange:
    """Result of a change of a `CaseSet`; its text is a summary.

    Attributes
    ----------
    version : int or None
        Number of the new version, or None if nothing changed.
    added, updated, removed : tuple of str
        Ids of the changed cases.
    duplicates : int
        Number of given rows whose case was already there, or given twice.
    conflicts : tuple of CaseConflict
        Expected outputs that differ from those of the set, which are kept: `case_id`, `output`,
        `kept`, `given`. `CaseSet.update` replaces them.
    notes : tuple of str
        Warnings, such as columns that look misspelt.
    """

    name: str
    version: int | None = None
    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    duplicates: int = 0
    conflicts: tuple[CaseConflict, ...] = ()
    notes: tuple[str, ...] = ()

    @printed
    def __str__(self) -> str:
        counts = {name: len(getattr(self, name)) for name in ("added", "updated", "removed")}
        parts = [f"{count:,} {name}" for name, count in counts.items() if count]
        parts += [f"{self.duplicates:,} already there"] if self.duplicates else []
        version = "unchanged" if self.version is None else f"version {self.version}"
        lines = [f"{self.name}, {version}: {', '.join(parts) or 'no cases'}"]
        if self.conflicts:
            listed = (
                f"{conflict.case_id[:8]} {conflict.output} "
                f"(kept {_short(conflict.kept)}, not {_short(conflict.given)})"
                for conflict in self.conflicts
            )
            differ = plural(
                len(self.conflicts), "expected output differs", "expected outputs differ"
            )
            lines.append(f"  - {differ}: {cut_list(listed)}")
        return "\n".join([*lines, *(f"  - {note}" for note in self.notes)])

    @printed
    def __repr__(self) -> str:
        return f"<CaseSetChange of {self}>"


def _short(value: Any) -> str:
    return cut(str(cell(value)), 40)


class CaseSet:
    """A named list of cases in the history. Made by `vellum_nb.Workspace.case_set`.

    Each change stores a new version; an old version never changes. Several people can add cases at
    the same time. Pass the set to `vellum_nb.Workspace.sweep` to run its newest version.

    Attributes
    ----------
    name : str
        Name of the set.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> ws = vnb.connect("local", history=":memory:")
    >>> suite = ws.case_set("billing", deployment="ticket-triage")
    >>> suite.add([{"ticket": "I was charged twice", "expected.category": "billing"}])
    <CaseSetChange of billing, version 1: 1 added>
    >>> suite
    <CaseSet billing of ticket-triage, version 1: 1 case>
    """

    def __init__(
        self,
        sets: CaseSets,
        name: str,
        deployment: str | None,
        *,
        resolve: Resolve,
        conversation: Turns,
        scripts: Scripts,
        save: Save,
    ) -> None:
        _check_name(name)
        check_text("deployment", deployment, optional=True)
        self.name = name
        self._sets, self._resolve, self._save = sets, resolve, save
        self._conversation, self._scripts = conversation, scripts
        stored = sets.latest(name)
        self._deployment = stored[0].deployment if stored else deployment
        if deployment is not None and self._deployment not in {None, deployment}:
            msg = (
                f"Case set {name!r} has cases of {self._deployment}, not of {deployment}; choose "
                "another name"
            )
            raise InputError(msg)

    @property
    def deployment(self) -> str | None:
        """Deployment whose inputs its cases have; None before the first cases."""
        return self._deployment

    @property
    def version(self) -> int:
        """Number of the newest version; 0 before the first cases."""
        stored = self._sets.latest(self.name)
        return stored[0].number if stored else 0

    @property
    def has_conversations(self) -> bool:
        """Whether its cases are conversations."""
        return any(turns[0].turn for turns in self._sets.members(self.name).values())

    def __len__(self) -> int:
        return len(self._sets.members(self.name))

    @printed
    def __repr__(self) -> str:
        of = f" of {self._deployment}" if self._deployment else ""
        return f"<CaseSet {self.name}{of}, version {self.version}: {plural(len(self), 'case')}>"

    def add(
        self, cases: Cases, *, labels: Mapping[str, object] | None = None, message: str = ""
    ) -> CaseSetChange:
        """Add cases, and store them as a new version.

        A case that the set already has is counted as a duplicate: new expected outputs and labels
        are added to it, and existing ones are kept.

        Parameters
        ----------
        cases : DataFrame, list of dicts, runs, or path
            Cases as for `vellum_nb.Workspace.sweep`. Runs (``ws.history.frame(...)``) expect their
            desired outputs or, if they are rated 1, their own outputs. A run of a conversation
            adds its whole script, with the ratings of each turn.
        labels : dict, optional
            Labels of all these cases, such as ``{"source": "production"}``.
        message : str, optional
            Reason of the change, for `versions`.

        Returns
        -------
        CaseSetChange
            Added and updated cases, and conflicting expected outputs.

        Raises
        ------
        InputError
            A value does not fit the deployment, or the deployment is unknown. Nothing was stored.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag="v1")
        >>> run = ws.rate(run, quality=0, desired={"category": "billing"})
        >>> suite = ws.case_set("billing")
        >>> print(suite.add(run, labels={"source": "production"}))
        billing, version 1: 1 added
        >>> suite.frame()["expected.category"].tolist()
        ['billing']
        """
        members, notes = self._read(cases, labels)
        return self._change(partial(_add, members), message, notes)

    def update(self, cases: Cases, *, message: str = "") -> CaseSetChange:
        """Replace expected outputs and labels of cases of the set, and store a new version.

        Expected outputs and labels that are not given do not change.

        Parameters
        ----------
        cases : DataFrame, list of dicts, runs, or path
            Cases of the set, recognised by their inputs, such as an edited `frame`. A case with
            other inputs is another case: use `remove` and `add`.
        message : str, optional
            Reason of the change.

        Raises
        ------
        InputError
            A case is not in the set, or a value does not fit. Nothing was stored.
        """
        members, notes = self._read(cases, None)
        return self._change(partial(_update, members), message, notes)

    def remove(self, case_ids: str | Iterable[str], *, message: str = "") -> CaseSetChange:
        """Remove cases, and store a new version. Older versions still have them.

        Parameters
        ----------
        case_ids : str or iterable of str
            Ids of the cases: the index of `frame`.
        message : str, optional
            Reason of the change.

        Raises
        ------
        InputError
            The set has no such case. Nothing was stored.
        """
        ids = [case_ids] if isinstance(case_ids, str) else list(case_ids)
        return self._change(partial(_remove, ids), message, ())

    def frame(self, version: int | None = None) -> pd.DataFrame:
        """Return one row per case, or per turn of a conversation, with `case_id` as the index.

        Columns: ``input.<name>``, ``expected.<output>``, ``label.<name>``; `previous_execution_id`,
        `conversation` and `turn` if a case has them. `vellum_nb.Workspace.sweep` accepts the frame.

        Parameters
        ----------
        version : int, optional
            Number of the version. Default: the newest.
        """
        rows = list(_rows(self._members(version).values()))
        names = dict.fromkeys(name for row in rows for name in row)
        ordered = sorted(names, key=lambda name: _ORDER.index(name.partition(".")[0]))
        frame = frame_of_cells(
            {name: [cell(row.get(name)) for row in rows] for name in ordered}, {}
        )
        return (
            frame.set_index("case_id") if rows else pd.DataFrame(index=pd.Index([], name="case_id"))
        )

    def newest(self) -> tuple[CaseSetVersion, Table]:
        """Return the newest version, and its cases as rows of values, for a sweep."""
        version, members = self._sets.newest(self.name)
        rows = [{n: v for n, v in row.items() if n != "case_id"} for row in _rows(members.values())]
        if version is None or not rows:
            msg = f"Case set {self.name!r} has no cases: add some with add(...)"
            raise InputError(msg)
        columns = tuple(dict.fromkeys(name for row in rows for name in row))
        return version, Table(rows, columns, "dicts", f"case set {self.name}")

    def versions(self) -> pd.DataFrame:
        """Return one row per version, newest first.

        Columns: `version` (number), `created`, `author` (``VELLUM_NB_AUTHOR``, or your user name
        on a server), `message`, numbers of `cases`, `added`, `updated` and `removed`, `id`.
        """
        rows = []
        for version, counts in self._sets.versions(self.name).items():
            fields = version.model_dump(include={"author", "message", "id"})
            moment = {"version": version.number, "created": micros(version.created)}
            rows.append(fields | moment | counts._asdict())
        return frame_of_records(_VERSIONS, rows)

    def diff(self, old: int, new: int) -> pd.DataFrame:
        """Return the differences between two versions, one row per changed value.

        Columns: `case_id`, `change` (``added``, ``removed`` or ``updated``), `column` (as in
        `frame`), and the values `before` and `after`.

        Parameters
        ----------
        old, new : int
            Numbers of the versions.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> suite = ws.case_set("billing", deployment="ticket-triage")
        >>> added = suite.add([{"ticket": "I was charged twice", "expected.category": "account"}])
        >>> row = {"ticket": "I was charged twice", "expected.category": "billing"}
        >>> updated = suite.update([row], message="an account is not charged")
        >>> suite.diff(1, 2)[["change", "column", "before", "after"]].values.tolist()
        [['updated', 'expected.category', 'account', 'billing']]
        """
        before, after = (self._members(number) for number in (old, new))
        rows = []
        for case_id in dict.fromkeys([*before, *after]):
            sides = [_cells(members.get(case_id)) for members in (before, after)]
            change = "updated" if sides[0] and sides[1] else "added" if sides[1] else "removed"
            for column in dict.fromkeys([*sides[0], *sides[1]]):
                values = {n: s.get(column) for n, s in zip(("before", "after"), sides, strict=True)}
                if values["before"] != values["after"]:
                    rows.append({"case_id": case_id, "change": change, "column": column} | values)
        return frame_of_records(_DIFF, rows)

    def to_csv(self, path: str | Path, *, version: int | None = None) -> Path:
        """Write the cases to a CSV, in the order in which they were added.

        A sweep with this file runs the same cases, with the same ids. New cases are added at the
        end, so ``git diff`` shows what changed.

        Parameters
        ----------
        path : str or Path
            File to write, such as ``"cases/billing.csv"``.
        version : int, optional
            Number of the version. Default: the newest.

        Raises
        ------
        HistoryError
            The file cannot be written, or would contain the API key.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> suite = ws.case_set("billing", deployment="ticket-triage")
        >>> change = suite.add([{"ticket": "I was charged twice", "expected.category": "billing"}])
        >>> print(suite.to_csv("billing.csv").read_text().strip())
        "input.ticket","expected.category"
        "I was charged twice","billing"
        """
        return self._save(parse_location(path), self.frame(version))

    def to_promptfoo(self, path: str | Path, *, version: int | None = None) -> Path:
        """Write the cases as a JSON list of tests for promptfoo: ``tests: file://tests.json``.

        A single expected output is the value of ``equals``; several are an object. Labels are
        ``metadata``. Parameters and errors are those of `to_csv`; conversations are refused.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> suite = ws.case_set("billing", deployment="ticket-triage")
        >>> change = suite.add([{"ticket": "I was charged twice", "expected.category": "billing"}])
        >>> tests = suite.to_promptfoo("tests.json")
        >>> vnb.read_cases(tests, output="category").equals(suite.frame().reset_index(drop=True))
        True
        """
        return self._save(parse_location(path), promptfoo_tests(self._single_turns(version)))

    def to_inspect(self, path: str | Path, *, version: int | None = None) -> Path:
        """Write the cases as JSON lines for Inspect AI: ``json_dataset("cases.jsonl")``.

        A single input or expected output is the text of ``input`` or ``target``; several are JSON.
        ``metadata`` has the labels, and all values in ``inputs`` and ``expected``. Parameters and
        errors are those of `to_csv`; conversations are an `InputError`.
        """
        return self._save(parse_location(path), inspect_samples(self._single_turns(version)))

    def _single_turns(self, version: int | None) -> list[SweepCase]:
        members = self._members(version).values()
        if any(turns[0].turn for turns in members):
            msg = f"Case set {self.name!r} has conversations, which only to_csv can write"
            raise InputError(msg)
        return [turns[0] for turns in members]

    def _members(self, version: int | None) -> dict[str, Member]:
        check_integer("version", version, least=1, optional=True)
        return self._sets.members(self.name, version)

    def _read(self, cases: Cases, labels: Mapping[str, object] | None) -> tuple[list[Member], Any]:
        """Return the given cases with their labels, checked on the deployment, and notes."""
        table = read_table(parse_location(cases))  # hides the password of a URL
        table = _with_rated_outputs(_without_answers(table, self._scripts))
        deployment = self._deployment or self._deployment_of(table)
        releases = self._resolve(deployment)
        table, notes = _of_deployment(table, deployment)
        members: list[Member] = []
        for part in _by_conversation(table, self._conversation):
            talk = None
            if has_turns(part, releases):
                part, talk = with_user_of(part, None, releases)  # noqa: PLW2901
                settings = (talk or Conversation()).resolved(releases)
                part = turn_table(part, settings, releases)  # noqa: PLW2901
            checked = checked_cases(replace(part, keeps_duplicates=True), releases, deployment)
            labelled = [
                replace(case, position=0, labels={**case.labels, **(labels or {})})
                for case in checked.cases
            ]
            members += map(tuple, conversations(self._with_user(labelled, talk)))
            notes += checked.notes
        self._deployment = deployment
        return members, notes

    def _with_user(
        self, cases: Sequence[SweepCase], talk: Conversation | None
    ) -> Iterator[SweepCase]:
        """Yield the cases with a simulated user, if any, as labels; it is part of their ids."""
        if talk is None or (user := talk.user) is None:
            yield from cases
            return
        release = self._resolve(user.deployment, user.release_tag)[user.release_tag]
        resolved = user.resolved(release, {name for case in cases for name in case.labels})
        cells = user_cells(replace(talk, user=resolved))
        for case in cases:
            of_talk = {"script": case.case_id, **cells}
            yield replace(case, case_id=case_hash(of_talk), labels={**case.labels, **cells})

    def _deployment_of(self, table: Table) -> str:
        """Return the deployment of the runs of a table."""
        names = {str(row["deployment"]) for row in table.rows if row.get("deployment")}
        if table.stored and len(names) == 1:
            return names.pop()
        problem = f"{table.name} has runs of {cut_list(sorted(names))}" if len(names) > 1 else ""
        msg = (
            f"{problem or 'The inputs of these cases are unknown'}: name their deployment, as in "
            f"ws.case_set({self.name!r}, deployment='...')"
        )
        raise InputError(msg)

    def _change(self, change: _Change, message: str, notes: Sequence[str]) -> CaseSetChange:
        check_text("message", message)
        reports = list[CaseSetChange]()

        def apply(members: dict[str, Member]) -> _Members:
            changes, report = change(members, CaseSetChange(self.name, notes=tuple(notes)))
            changed = [case_id for case_id, member in changes.items() if member is not None]
            added = tuple(case_id for case_id in changed if case_id not in members)
            updated = tuple(case_id for case_id in changed if case_id in members)
            removed = tuple(case_id for case_id, member in changes.items() if member is None)
            reports.append(replace(report, added=added, updated=updated, removed=removed))
            return changes

        stored = self._sets.commit(self.name, apply, message=message, deployment=self._deployment)
        return replace(reports[-1], version=None if stored is None else stored.number)


_Members: TypeAlias = dict[str, Member | None]
_Change: TypeAlias = Callable[[dict[str, Member], CaseSetChange], tuple[_Members, CaseSetChange]]


def _check_name(name: object) -> None:
    if not (isinstance(name, str) and name.strip() and name.isprintable()) or len(name) > _MAX_NAME:
        refuse("name", name, f"a text of at most {_MAX_NAME} characters, such as 'billing'")


def _add(
    given: Sequence[Member], members: dict[str, Member], report: CaseSetChange
) -> tuple[_Members, CaseSetChange]:
    """Return the changes that add cases; expected outputs and labels of the set are kept."""
    changes: _Members = {}
    conflicts: list[CaseConflict] = []
    duplicates = 0
    for member in given:
        case_id = member[0].case_id
        stored = changes.get(case_id) or members.get(case_id)
        if stored is not None:
            duplicates += 1
            conflicts += _conflicts(stored, member)
            member = _combined(member, stored)  # noqa: PLW2901
        if stored is None or _differ(stored, member):
            changes[case_id] = member
    kinds = {canonical_json(_kind(turns)) for turns in (*members.values(), *given)}
    if len(kinds) > 1:
        are_all = all(turns[0].turn for turns in (*members.values(), *given))
        what = "different simulated users" if are_all else "and cases without turns"
        msg = (
            f"Case set {report.name!r} would have conversations {'with ' * are_all}{what}, which "
            "no sweep can run together; put them into two sets"
        )
        raise InputError(msg)
    return changes, replace(report, duplicates=duplicates, conflicts=tuple(conflicts))


def _kind(member: Member) -> list[Any]:
    """Return what all cases of a sweep have in common."""
    return [bool(member[0].turn), _user(member[0])]


def _user(case: SweepCase) -> dict[str, Any]:
    """Return the columns of the simulated user of a conversation, if it has one."""
    has_user = case.turn and isinstance(case.labels.get(_USER[0]), Mapping)
    return {name: case.labels.get(name) for name in _USER} if has_user else {}


def _update(
    given: Sequence[Member], members: dict[str, Member], report: CaseSetChange
) -> tuple[_Members, CaseSetChange]:
    """Return the changes that replace expected outputs and labels."""
    _check_ids(report.name, [member[0].case_id for member in given], members)
    changes: _Members = {}
    for member in given:
        case_id = member[0].case_id
        stored = changes.get(case_id) or members[case_id]
        if _differ(stored, updated := _combined(stored, member)):
            changes[case_id] = updated
    return changes, report


def _remove(
    ids: Sequence[str], members: dict[str, Member], report: CaseSetChange
) -> tuple[_Members, CaseSetChange]:
    """Return the changes that remove cases."""
    _check_ids(report.name, ids, members)
    return dict.fromkeys(ids), report


def _check_ids(name: str, ids: Sequence[str], members: Mapping[str, Member]) -> None:
    if unknown := [case_id for case_id in ids if case_id not in members]:
        msg = (
            f"Case set {name!r} has no case {cut_list(map(repr, unknown))}; frame() lists its cases"
        )
        raise InputError(msg)


def _combined(base: Member, over: Member) -> Member:
    """Return a case with the expected outputs and labels of both; those of `over` prevail."""
    return tuple(
        replace(
            turn,
            expected={**turn.expected, **other.expected},
            labels={**turn.labels, **other.labels},
        )
        for turn, other in zip(base, over, strict=True)
    )


def _differ(first: Member, second: Member) -> bool:
    texts = (canonical_json([[t.expected, t.labels] for t in turns]) for turns in (first, second))
    return len(set(texts)) > 1


def _conflicts(stored: Member, given: Member) -> Iterator[CaseConflict]:
    for old, new in zip(stored, given, strict=True):
        for name in old.expected.keys() & new.expected.keys():
            kept, other = old.expected[name], new.expected[name]
            if canonical_json(kept) != canonical_json(other):
                yield CaseConflict(old.case_id, name, kept, other)


def _of_deployment(table: Table, deployment: str) -> tuple[Table, list[str]]:
    """Return a table without the stored runs of other deployments, unless all are, and a note."""
    rows = [row for row in table.rows if row.get("deployment") in {None, deployment}] or table.rows
    skipped = len(table.rows) - len(rows) if table.stored else 0
    if not skipped:
        return table, []
    return replace(table, rows=rows), [f"left out: {plural(skipped, 'run')} of other deployments"]


def _by_conversation(table: Table, conversation: Turns) -> Iterator[Table]:
    """Yield the single runs of a table, and the scripts of the conversations of its other runs."""
    given: dict[str, dict[int, dict[str, Any]]] = {}
    single = []
    for row in table.rows:
        if table.stored and (name := row.get("conversation_id")):
            given.setdefault(name, {})[int(row.get("turn") or 0)] = row
        else:
            single.append(row)
    if single:
        yield replace(table, rows=single)
    if given:
        rows = [{"turns": _script(name, conversation(name), of)} for name, of in given.items()]
        yield replace(table, rows=rows, columns=("turns",), has_runs=False)


def _script(
    name: str, runs: Sequence[Run], given: Mapping[int, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the turns of a script, with ratings as expected outputs, and the given labels."""
    by_turn = runs_by_turn(runs)
    if list(by_turn) != list(range(1, len(by_turn) + 1)):
        msg = f"Conversation {name!r:.100} cannot be added: the history has only its turns "
        raise InputError(msg + cut_list(by_turn))
    turns = []
    for turn, run in by_turn.items():
        stored = _with_rated_outputs(read_table([run])).rows[0]
        cells = {f"input.{key}": value for key, value in own_inputs(run).items()}
        for key, value in {**stored, **given.get(turn, {})}.items():
            if key.startswith((*_EXPECTED, "label.")):
                cells[key.replace("desired.", "expected.", 1)] = value
        turns.append(cells)
    if start := by_turn[1].previous_execution_id:
        turns[0][PREVIOUS] = start
    return turns


def _without_answers(table: Table, scripts: Scripts) -> Table:
    """Return the frame of a comparison as a table of its cases, of conversations their scripts."""
    if not set(table.columns) >= _OF_A_COMPARISON:
        return table
    talks = [row["case_id"] for row in table.rows if _is_conversation(row)]
    script_of = scripts(talks) if talks else {}
    if missing := [case_id for case_id in talks if case_id not in script_of]:
        msg = (
            f"the history has no sweep with the scripts of {cut_list(missing)}; add their runs, "
            "or their turns: [{'turns': [...]}]"
        )
        raise InputError(msg)
    rows = [_case_cells(row, script_of.get(row["case_id"])) for row in table.rows]
    return replace(table, rows=rows, columns=tuple(dict.fromkeys(n for row in rows for n in row)))


def _is_conversation(row: Mapping[str, Any]) -> bool:
    return any(n.startswith("turns@") and isinstance(v, int | float) for n, v in row.items())


def _case_cells(row: Mapping[str, Any], script: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the cells of a case of a comparison; expected values are those at its end."""
    cells = {n: v for n, v in row.items() if n.startswith(_OF_A_CASE)}
    if script is None:
        plain = {n: v for n, v in row.items() if "@" not in n and n not in _OF_A_COMPARISON}
        return plain | cells
    *earlier, last = script["turns"]
    expected = {n: v for n, v in cells.items() if n.startswith("expected.")}
    return {**script, "turns": [*earlier, {**last, **expected}]}


_OF_A_COMPARISON = frozenset({"case_id", "changed"})
_OF_A_CASE = ("input.", "expected.", "label.")  # prefixes of columns


def _with_rated_outputs(table: Table) -> Table:
    """Return stored runs that are rated 1 with their outputs as the expected ones."""
    if not table.stored:
        return table
    rows = []
    for row in table.rows:
        is_good = row.get("quality") == 1 and not any(n.startswith(_EXPECTED) for n in row)
        outputs = {n: v for n, v in row.items() if n.startswith("output.")} if is_good else {}
        rows.append(row | {f"expected.{n.removeprefix('output.')}": v for n, v in outputs.items()})
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return replace(table, rows=rows, columns=tuple(dict.fromkeys([*table.columns, *columns])))


_EXPECTED = ("expected.", "desired.")  # prefixes of columns


_ORDER = (
    "case_id",
    _CONVERSATION,
    _TURN,
    "input",
    "expected",
    "label",
    "user",
    "max_turns",
    PREVIOUS,
)


def _rows(members: Iterable[Member]) -> Iterator[dict[str, Any]]:
    """Yield a row per case or turn. Conversations of the same name get the start of their ids."""
    names: set[str] = set()
    for member in members:
        for case in member:
            row: dict[str, Any] = {"case_id": case.case_id}
            if case.turn:
                name = str(case.labels.get(_CONVERSATION) or case.case_id[:8])
                name = f"{name} {case.case_id[:8]}" if name in names else name
                row |= {_CONVERSATION: name, _TURN: case.turn}
            yield row | _values(case)
        names |= {row[_CONVERSATION]} if case.turn else set()


def _values(case: SweepCase) -> dict[str, Any]:
    """Return the cells of a case; name and user of a conversation have columns of their own."""
    values = case.cells()
    for name in (_CONVERSATION, *_user(case)) if case.turn else ():
        values.pop(f"label.{name}", None)
    values |= _user(case)
    return values | ({PREVIOUS: case.previous_execution_id} if case.previous_execution_id else {})


def _cells(member: Member | None) -> dict[str, Any]:
    """Return the cells of a case for a diff."""
    cells: dict[str, Any] = {}
    for case in member or ():
        prefix = f"turn {case.turn}: " if case.turn else ""
        cells |= {f"{prefix}{name}": cell(value) for name, value in _values(case).items()}
    return cells


def case_sets_frame(sets: CaseSets) -> pd.DataFrame:
    """Return the frame of `Workspace.case_sets`."""
    rows = []
    for version in sets.latest():
        fields = version.model_dump(include={"name", "deployment", "author"})
        cases = len(sets.members(version.name))
        numbers = {"cases": cases, "version": version.number, "changed": micros(version.created)}
        rows.append(fields | numbers)
    return frame_of_records(_SETS, rows)
