"""Runs aligned: which release is a column, which run belongs to which case. Failure names.

A failure name is a tag of a run, such as ``failure:wrong category``, or with its author
``failure@ann:wrong category``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import zip_longest
from typing import Any, Literal, TypeAlias, Union

from vellum_nb.comparison import statistics as stats
from vellum_nb.comparison.conversations import ConversationRuns, own_inputs, turns_before
from vellum_nb.errors import InputError, InputProblem
from vellum_nb.history import collection_paused
from vellum_nb.lazy import Ints, pd
from vellum_nb.models import Run
from vellum_nb.models.checks import available, check_text
from vellum_nb.models.inputs import format_value, is_chat, unknown_name
from vellum_nb.models.sweeps import SweepCase
from vellum_nb.rendering.format import same_value, value_key

Chosen: TypeAlias = Union["pd.DataFrame", str, "Case", Run, Iterable[Union[str, "Case", Run]]]
Status = Literal["same", "differs", "missing"]

_EXPECTED = ("expected", "desired")
_NAME = "conversation"  # label, and column without a prefix
_MIN_LIKENESS = 0.8  # of a label and the output that it may misspell
_ID_CHARS = 8  # of an abridged release id
_MAX_NAME_CHARS = 80  # of a failure name
_MAX_PROPOSALS = 12  # failure names proposed by a judge for one answer
_FAILURE_TAG = re.compile(r"failure(?:@([^:]*))?:(.*)", re.DOTALL)

Failures: TypeAlias = tuple[dict[str, str], dict[str, str]]
"""Failure names of an answer with their authors (or ""), and names proposed by judges."""


def is_answer(run: Run | None) -> bool:
    """Return whether a run has an answer: FULFILLED or REJECTED."""
    return run is not None and run.state in {"FULFILLED", "REJECTED"}


def error_text(run: Run | None) -> str:
    """Return code and message of the error of a run, or ""."""
    if run is None or run.error is None:
        return ""
    return ": ".join(filter(None, (run.error.code, run.error.message)))


def same_answer(a: Run, b: Run) -> bool:
    """Return whether two runs have the same outputs, or the same error."""
    if a is b:
        return True
    return a.state == b.state and a.error == b.error and same_value(a.outputs, b.outputs)


@dataclass(frozen=True, slots=True, eq=False)
class Conversations:
    """The stored conversations of a case, and their script.

    Attributes
    ----------
    runs : dict
        The runs of all turns by `conversation_id`.
    expected : dict
        The expected values of the turns before the last one, by turn.
    stopped : dict
        The `conversation_id` of the newest conversation on each release tag, used if none of its
        conversations has the last turn.
    script : dict
        The planned turns by number.
    """

    runs: Mapping[str, Sequence[Run]] = field(default_factory=dict)
    expected: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    stopped: Mapping[str, str] = field(default_factory=dict)
    script: Mapping[int, SweepCase] = field(default_factory=dict)


_NO_CONVERSATIONS = Conversations()


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One case and its runs on each release.

    Attributes
    ----------
    number : int
        Position among the cases, starting at 1.
    case_id : str
        Hash of the inputs.
    baseline : str
        The release that the others are compared with.
    tries : dict
        All runs of this case by release, oldest first, without empty releases.
    expected : dict
        Expected value by output, of a conversation those of the last turn.
    labels : dict
        Other columns of the table of cases.
    inputs : dict
        The inputs.
    previous_execution_id : str or None
        The execution that the case continues.
    turns : int
        Number of turns of a conversation, else 0. Its runs are those of the last turn.
    conversations : Conversations
        The runs of all turns, their expected values and script.
    turn : int
        Number of the turn in `by_turn` of a conversation, else 0.
    """

    case_id: str
    baseline: str
    number: int = 0
    tries: Mapping[str, Sequence[Run]] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    previous_execution_id: str | None = None
    turns: int = 0
    conversations: Conversations = _NO_CONVERSATIONS
    turn: int = 0

    @property
    def runs(self) -> dict[str, Run]:
        """The run that represents each release, without empty releases."""
        return {release: run for release in self.tries if (run := self.counting(release))}

    def counting(self, release: str) -> Run | None:
        """Return the run that represents a release: the newest answer, or the newest run."""
        tries = self.tries.get(release, ())
        return next(filter(is_answer, reversed(tries)), tries[-1] if tries else None)

    def answers(self, release: str) -> list[Run]:
        """Return all runs on `release` with an answer, oldest first."""
        return list(filter(is_answer, self.tries.get(release, ())))

    def answer(self, release: str) -> Run | None:
        """Return the run that represents a release if it has an answer."""
        run = self.counting(release)
        return run if is_answer(run) else None

    def is_same(self, a: Run, b: Run) -> bool:
        """Return whether two runs of this case have the same answers, in every turn."""
        pairs = zip_longest(self.turn_runs(a), self.turn_runs(b))
        return all(one and other and same_answer(one, other) for one, other in pairs)

    def status(self, release: str) -> Status:
        """Return whether an answer differs from the baseline's; "missing" if one of them is."""
        base, answer = self.answer(self.baseline), self.answer(release)
        if base is None or answer is None:
            return "missing"
        return "same" if self.is_same(base, answer) else "differs"

    def repeats(self, release: str) -> tuple[int, int]:
        """Return the number of answers on `release` that differ from the newest, and of all."""
        answers = self.answers(release)
        return sum(not self.is_same(answer, answers[-1]) for answer in answers), len(answers)

    @property
    def is_unstable(self) -> bool:
        """Whether repeats on one release have different answers."""
        return any(self.repeats(release)[0] for release in self.tries)

    def checks(self, release: str) -> dict[str, bool]:
        """Return whether each expected output was met in every turn; empty without an answer."""
        run = self.answer(release)
        met: dict[str, bool] = {}
        for of_turn in self.conversation(run).checks if run else ():
            met |= {name: is_met and met.get(name, True) for name, is_met in of_turn.items()}
        return met

    @property
    def by_turn(self) -> list[Case]:
        """Several turns of a conversation as cases, with the runs that count; else the case."""
        if self.turns < 2:  # noqa: PLR2004
            return [self]
        talks = {name: self.turns_on(name) for name in {**self.tries, **self.conversations.stopped}}
        return [
            replace(
                self,
                turn=turn,
                tries={name: [runs[turn]] for name, runs in talks.items() if turn in runs},
                expected=self.expected_at(turn),
                turns=0,
                conversations=_NO_CONVERSATIONS,
            )
            for turn in range(1, self.turns + 1)
        ]

    def turns_on(self, release: str, repeat: int | None = None) -> dict[int, Run]:
        """Return the runs of a conversation by turn; by default, of the one that counts."""
        if release not in self.tries and repeat is None:
            stopped = self.conversations.stopped.get(release, "")
            runs = self.conversations.runs.get(stopped, ())
            return {run.turn or 1: run for run in sorted(runs, key=lambda run: run.timestamp)}
        chosen = self.tries.get(release, ())[repeat or 0 :]
        run = self.counting(release) if repeat is None else next(iter(chosen), None)
        return {each.turn or 1: each for each in self.conversation(run).runs} if run else {}

    @property
    def is_open(self) -> bool:
        """Whether a simulated user continues the conversation."""
        return any(turn.is_open for turn in self.conversations.script.values())

    @property
    def decisive(self) -> Case:
        """The turn that explains the result of a conversation; the case itself for a single turn.

        It is the first turn that meets other expected values on one release than on another, or
        else the first that is not as expected, or else the first that differs, or else the last.
        """

        def rank(turn: Case) -> tuple[int, int]:
            checks = [turn.checks(r) if turn.answer(r) else {"": False} for r in turn.tries]
            if not all(all(met.values()) for met in checks):
                return int(all(met == checks[0] for met in checks)), turn.turn
            if any(turn.status(release) == "differs" for release in turn.tries):
                return 2, turn.turn
            return 3, -turn.turn

        return self if self.turns < 2 else min(self.by_turn, key=rank)  # noqa: PLR2004

    def unmet(self, release: str, output: str) -> Case:
        """Return the first turn that misses the expected value of `output`; else the case."""
        turns = (turn for turn in self.by_turn if turn.checks(release).get(output) is False)
        return next(turns, self)

    @property
    def expected_names(self) -> list[str]:
        """The outputs with an expected value in any turn."""
        values = (*self.conversations.expected.values(), self.expected)
        return list(dict.fromkeys(name for of_turn in values for name in of_turn))

    def expected_at(self, turn: int) -> Mapping[str, Any]:
        """Return the expected values of a turn."""
        earlier = self.conversations.expected
        return self.expected if turn == self.turns else earlier.get(turn, {})

    def turn_runs(self, run: Run) -> tuple[Run, ...]:
        """Return the run of each turn of the conversation that ends with `run`; else only `run`."""
        return self.conversation(run).runs if self.turns > 1 else (run,)

    def conversation(self, run: Run) -> ConversationRuns:
        """Return all turns of the conversation that ends with `run`, a run of this case."""
        runs = self.conversations.runs.get(run.conversation_id or "", ())
        last = next((each for each in runs if each.id == run.id), run)
        before = list(turns_before(runs, last))
        expected = [self.expected_at(each.turn or 0) for each in before]
        return ConversationRuns((*before, last), (*expected, self.expected))


def turn_cases(cases: Iterable[Case]) -> list[Case]:
    """Return each turn of the conversations as a case with its own inputs and labels."""
    turns: list[Case] = []
    for case in cases:
        for turn in case.by_turn if case.turns else ():
            at, first = turn.turn or 1, next(iter(turn.runs.values()), None)
            planned = case.conversations.script.get(at) or SweepCase(0, case.case_id, {})
            inputs = planned.inputs or (own_inputs(first) if first else {})
            if first is None and not inputs:
                continue
            changes: Any = {"number": len(turns) + 1, "inputs": inputs, "labels": planned.labels}
            changes |= {"turn": at, "turns": 0, "conversations": _NO_CONVERSATIONS}
            changes |= {"expected": {}} if planned.is_open else {}  # it belongs to the end
            turns.append(replace(turn, **changes))
    return turns


def case_row(case: Case) -> dict[str, Any]:
    """Return a case as a row of a table of cases; a conversation has its script as `turns`.

    Without an expected output, the outputs of answers that are rated 1 are expected, if they agree.
    """
    if case.turns:
        return {"turns": [case_row(turn) for turn in _scripted(case)]}
    expected = dict(case.expected)
    good = [run.outputs for run in case.runs.values() if run.quality == 1]
    if good and not expected and all(same_value(outputs, good[0]) for outputs in good):
        expected = good[0]
    previous = case.previous_execution_id
    return row_of(SweepCase(0, case.case_id, case.inputs, expected, case.labels, previous))


def _scripted(case: Case) -> list[Case]:
    """Return the turns of the script of a conversation."""
    if case.is_open:
        msg = (
            "a simulated user continued this conversation, and a case has only its script: add the "
            "script with suite.add([{'turns': [...]}]), and give the user to ws.sweep(...)"
        )
        raise InputError(msg)
    turns = turn_cases([case])
    if len(turns) < case.turns:
        msg = (
            f"Case {case.number} cannot be added: the history lacks some of its {case.turns} turns"
        )
        raise InputError(msg)
    start = case.conversations.script.get(1) or next(iter(turns[0].runs.values()))
    turns[0] = replace(turns[0], previous_execution_id=start.previous_execution_id)
    return turns


def row_of(case: SweepCase) -> dict[str, Any]:
    """Return a case, or a turn, as a row of a table of cases."""
    cells = case.cells()
    if _NAME in case.labels and _NAME not in case.inputs:
        cells[_NAME] = cells.pop(f"label.{_NAME}")
    previous = case.previous_execution_id
    return cells | ({"previous_execution_id": previous} if previous else {})


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a comparison."""

    of_tag: dict[str, tuple[str, ...]]  # several for a tag that moved, oldest first
    moved: tuple[str, ...]  # tags with several releases of one environment
    runs: list[tuple[str, Run]]  # column and run

    @property
    def labels(self) -> tuple[str, ...]:
        """All columns in order."""
        return tuple(label for labels in self.of_tag.values() for label in labels)

    def baseline(self, name: str | None) -> str:
        """Return the baseline column; for a tag that moved, its newest one."""
        if name is None:
            return next(iter(self.of_tag.values()))[-1]
        if name in self.labels:
            return name
        if name in self.of_tag:
            return self.of_tag[name][-1]
        msg = f"{name!r} is not a compared release{available(self.labels)}"
        raise InputError(msg)


@collection_paused()
def split(runs: Iterable[tuple[Run, str]], tags: Sequence[str], *, by_tag: bool = True) -> Columns:
    """Return the columns of `tags`, and the column of each of `runs`, given with their tags.

    A tag with runs on several releases or in several environments is split into several columns.
    Without `by_tag`, columns are not release tags and never split.
    """
    of_tag: dict[str, list[Run]] = {tag: [] for tag in tags}
    for run, tag in runs:
        if tag in of_tag:
            of_tag[tag].append(run)
    placed: list[tuple[str, Run]] = []
    labels: dict[str, tuple[str, ...]] = {}
    moved: list[str] = []
    for tag, tag_runs in of_tag.items():
        of_releases = tag_runs if by_tag else []
        kinds = {(run.environment, run.release_id) for run in of_releases if run.release_id}
        names = _names(tag, kinds)
        pairs = sorted(
            ((names.get((run.environment, run.release_id), names[None]), run) for run in tag_runs),
            key=lambda pair: pair[1].timestamp,
            reverse=True,
        )
        placed += pairs
        labels[tag] = tuple(reversed(dict.fromkeys(label for label, _ in pairs))) or (tag,)
        environments = {environment for environment, _ in kinds}
        if len(environments) < len(kinds) or any(run.tag_moved for run in of_releases):
            moved.append(tag)
    return Columns(labels, tuple(moved), placed)


def _names(tag: str, kinds: set[tuple[str | None, str]]) -> dict[Any, str]:
    """Return the column of each environment and release of a tag, and under None of others."""
    if len(kinds) <= 1:
        return dict.fromkeys([*kinds, None], tag)
    environments = [environment for environment, _ in kinds]
    ids = {release for _, release in kinds}
    short = len({id_[:_ID_CHARS] for id_ in ids}) == len(ids)
    names: dict[Any, str] = {None: f"{tag} (release unknown)"}
    for environment, release in kinds:
        parts = [environment or "no environment"] if len(set(environments)) > 1 else []
        if environments.count(environment) > 1:
            is_cut = short and len(release) > _ID_CHARS
            parts.append(f"release {release[:_ID_CHARS]}…" if is_cut else f"release {release}")
        names[environment, release] = f"{tag} ({', '.join(parts)})"
    return names


@collection_paused()
def align(
    columns: Columns,
    baseline: str,
    *,
    known: Sequence[SweepCase] = (),
    only: frozenset[str] | None = None,
) -> tuple[Case, ...]:
    """Return one `Case` per set of inputs, those of `known` first, then by first run.

    `known` are cases of the comparison with or without runs, `only` the ids of the compared ones.
    """
    cases: dict[str, Case] = {}
    for planned in known:
        old = cases.get(planned.case_id) or case_of(planned, baseline)
        expected, labels = {**planned.expected, **old.expected}, {**planned.labels, **old.labels}
        cases[planned.case_id] = replace(old, expected=expected, labels=labels)
    tries: dict[str, dict[str, list[Run]]] = {}
    desired: dict[str, dict[str, Any]] = {}
    for release, run in sorted(columns.runs, key=lambda pair: pair[1].timestamp):
        tries.setdefault(run.case_id, {}).setdefault(release, []).append(run)
        if run.case_id not in cases:
            cases[run.case_id] = case_of(run, baseline)
        if run.desired:  # takes precedence over the table
            desired.setdefault(run.case_id, {}).update(run.desired)
    chosen = [case for case in cases.values() if only is None or case.case_id in only]
    return tuple(
        replace(
            case,
            number=number,
            tries=tries.get(case.case_id, {}),
            expected={**case.expected, **desired.get(case.case_id, {})},
        )
        for number, case in enumerate(chosen, 1)
    )


def case_of(of: Run | SweepCase, baseline: str) -> Case:
    """Return the case of a run or of a planned case, without runs."""
    previous = None if of.turn else of.previous_execution_id
    fields: Any = {"inputs": of.inputs, "previous_execution_id": previous, "turns": of.turn or 0}
    return Case(of.case_id, baseline, **fields)


def last_turns(pairs: Sequence[tuple[Run, str]], turns: Mapping[str, int]) -> list[tuple[Run, str]]:
    """Return the runs with their tags, of conversations only those of the last turn.

    They have the cost and the latency of the whole conversation, and `tag_moved` if it was
    continued on another release. `turns` are the numbers of turns by case id; without one, the last
    turn is that of the longest conversation of the case, or for 0, of each conversation.
    """
    by_conversation: dict[str, list[Run]] = {}
    last = dict(turns)
    for run, _ in pairs:
        if run.turn is not None and run.conversation_id is not None:
            by_conversation.setdefault(run.conversation_id, []).append(run)
            if run.case_id not in turns:
                last[run.case_id] = max(run.turn, last.get(run.case_id, 0))
    ends = {name: max(run.turn or 0 for run in runs) for name, runs in by_conversation.items()}
    return [
        (with_totals(run, by_conversation), tag)
        for run, tag in pairs
        if run.turn is None
        or run.turn == (last.get(run.case_id) or ends.get(run.conversation_id or ""))
    ]


def with_ends(cases: Iterable[SweepCase], pairs: Iterable[tuple[Run, str]]) -> list[SweepCase]:
    """Return the cases; one that a simulated user continues has the turns of its longest run."""
    longest: dict[str, int] = {}
    for run, _ in pairs:
        longest[run.case_id] = max(run.turn or 0, longest.get(run.case_id, 0))
    return [
        replace(case, turn=max(case.turn, longest.get(case.case_id, 0))) if case.is_open else case
        for case in cases
    ]


def with_conversations(
    cases: Sequence[Case], pairs: Sequence[tuple[Run, str]], planned: Iterable[SweepCase]
) -> tuple[Case, ...]:
    """Return `cases` with the runs, script and expected values of all turns of conversations."""
    of_case: dict[str, list[tuple[Run, str]]] = {}
    script: dict[str, dict[int, SweepCase]] = {}
    for run, tag in sorted(pairs, key=lambda pair: pair[0].timestamp):
        if run.conversation_id is not None:
            of_case.setdefault(run.case_id, []).append((run, tag))
    for turn in planned:
        script.setdefault(turn.case_id, {}).setdefault(turn.turn, turn)
    return tuple(
        _with_conversations(case, of_case.get(case.case_id, []), script.get(case.case_id, {}))
        if case.turns
        else case
        for case in cases
    )


def _with_conversations(
    case: Case, pairs: Sequence[tuple[Run, str]], script: Mapping[int, SweepCase]
) -> Case:
    """Return `case` with its runs, oldest first, and its planned turns."""
    all_runs: dict[str, list[Run]] = {}
    newest: dict[str, str] = {}
    values = [(turn.turn, turn.expected) for turn in script.values() if not turn.is_open]
    for run, tag in pairs:
        name = newest[tag] = run.conversation_id or ""
        all_runs.setdefault(name, []).append(run)
        values.append((run.turn or 0, run.desired or {}))
    expected: dict[int, dict[str, Any]] = {}
    for turn, of_turn in values:
        if of_turn and 0 < turn < case.turns:
            expected.setdefault(turn, {}).update(of_turn)
    ended = {run.conversation_id for runs in case.tries.values() for run in runs}
    has_end = {tag for run, tag in pairs if run.conversation_id in ended}
    stopped = {tag: name for tag, name in newest.items() if tag not in has_end}
    return replace(case, conversations=Conversations(all_runs, expected, stopped, script))


def with_totals(run: Run, by_conversation: Mapping[str, Sequence[Run]]) -> Run:
    """Return the run of the last turn with the cost and latency of its conversation."""
    runs = by_conversation.get(run.conversation_id or "", ())
    if len(runs) < 2:  # noqa: PLR2004
        return run
    fields: dict[str, Any] = {"tag_moved": len({each.release_id for each in runs} - {None}) > 1}
    fields["tag_moved"] |= any(each.tag_moved for each in runs)
    for name in ("cost_usd", "latency_s"):
        figures = [figure for each in runs if (figure := getattr(each, name)) is not None]
        fields[name] = math.fsum(figures) if figures else None  # in any order
    return run.model_copy(update=fields)


def whole_conversations(cases: Iterable[SweepCase]) -> list[SweepCase]:
    """Return the cases with one case per conversation, whose input is what the user says."""
    whole: list[SweepCase] = []
    messages: list[Any] = []
    for case in cases:
        if case.turn > 1 and whole and whole[-1].case_id == case.case_id:
            whole.pop()
        else:
            messages = []
        messages.append(_said(case.inputs))
        is_text = all(isinstance(message, str) for message in messages)
        turns = "\n".join(messages) if is_text else list(messages)
        whole.append(replace(case, inputs={"turns": turns}) if case.turn else case)
    return whole


def _said(inputs: Mapping[str, Any]) -> Any:
    """Return the only message of a turn as text, or all of its inputs."""
    if not inputs:
        return "(simulated user)"
    values = [value for value in inputs.values() if value != []]  # a chat history that begins
    if len(values) != 1:
        return dict(inputs)
    (value,) = values
    is_message = is_chat(value) and len(value) == 1 and isinstance(value[0].get("text"), str)
    return value[0]["text"] if is_message else value


def with_runs_of(case: Case, new: Sequence[tuple[Run, str]], without: Collection[str] = ()) -> Case:
    """Return `case` with runs added, replaced or removed; `new` has the column of each run.

    The desired outputs of the new runs become expected ones.
    """
    columns = {run.conversation_id: name for name, runs in case.tries.items() for run in runs}
    columns |= {conversation: tag for tag, conversation in case.conversations.stopped.items()}
    pairs = {run.id: (run, name) for name, runs in case.tries.items() for run in runs}
    for run in (run for runs in case.conversations.runs.values() for run in runs):  # without totals
        pairs[run.id] = run, columns.get(run.conversation_id, run.release_tag)
    for run, name in new:
        if run.turn and run.id in pairs:  # it can have the totals of its conversation
            old = pairs[run.id][0]
            totals = {name: getattr(old, name) for name in ("cost_usd", "latency_s", "tag_moved")}
            run = run.model_copy(update=totals)  # noqa: PLW2901
        pairs[run.id] = run, name
    remaining = [pair for run_id, pair in pairs.items() if run_id not in without]
    remaining.sort(key=lambda pair: pair[0].timestamp)
    turns = case.turns
    if case.is_open or not case.conversations.script:
        turns = max([turns, *(run.turn or 0 for run, _ in remaining)])
    tries: dict[str, list[Run]] = {}
    for run, name in last_turns(remaining, {case.case_id: 0 if case.is_open else turns}):
        tries.setdefault(name, []).append(run)
    ends, expected = {run.id for runs in tries.values() for run in runs}, dict(case.expected)
    for run, _ in new:
        expected |= (run.desired or {}) if run.id in ends else {}
    changed = replace(case, tries=tries, turns=turns, expected=expected)
    script = case.conversations.script
    return _with_conversations(changed, remaining, script) if turns else changed


def replay_rows(
    deployment: str, cases: Sequence[Case], releases: Sequence[str], chosen: Chosen | None
) -> list[dict[str, Any]]:
    """Return the chosen cases as rows of stored runs, with the label ``replay_of``.

    The row of a conversation has a `sweep_id` and the expected values of the earlier turns.
    """
    by_id = {case.case_id: case for case in cases}
    selected: dict[str, Case | Run] = {}
    for item in cases if chosen is None else _listed(chosen):
        case = item if isinstance(item, Case | Run) else by_id.get(item)
        if case is None:
            msg = f"{format_value(item)} is not a case of this comparison; frame() has each case_id"
            raise InputError(msg)
        selected[case.case_id] = case
    return [_replay_row(deployment, releases, case) for case in selected.values()]


def _listed(cases: Any) -> Iterable[Any]:
    if isinstance(cases, str | Case | Run):
        return [cases]
    if hasattr(cases, "iloc"):  # a frame, or one row of it
        if "case_id" not in cases:
            msg = "the DataFrame has no column case_id; rows of frame() or regressions() have"
            raise InputError(msg)
        ids = cases["case_id"]
        return [ids] if isinstance(ids, str) else list(ids)
    if isinstance(cases, Iterable) and not isinstance(cases, Mapping):
        return cases
    msg = f"{format_value(cases)} is not a case: give rows of frame(), a case_id, cases or runs"
    raise InputError(msg)


def _replay_row(deployment: str, releases: Sequence[str], case: Case | Run) -> dict[str, Any]:
    if isinstance(case, Run):
        run: Run | None = case
        expected = {} if case.turn else case.desired or {}  # a turn is not the whole case
        labels = {}
    else:
        run = next((run for name in releases if (run := case.counting(name))), None)
        expected, labels = dict(case.expected), dict(case.labels)
    row: dict[str, Any] = {
        "id": run.id if run else "",
        "deployment": deployment,
        "case_id": case.case_id,
        "state": "",
        "inputs": dict(case.inputs),
        "previous_execution_id": case.previous_execution_id,
        "desired": expected,
        "labels": labels | ({"replay_of": run.id} if run else {}),
    }
    if case.turns if isinstance(case, Case) else case.turn:
        earlier = case.conversations.expected if isinstance(case, Case) else {}
        row |= {"sweep_id": run.sweep_id if run else None, "earlier_expected": earlier}
    return row


def outputs_meant(name: str, outputs: Iterable[str]) -> tuple[str, ...]:
    """Return the outputs of which a label could be meant as the expected value."""
    names = tuple(dict.fromkeys(outputs))
    if name in names:
        return (name,)
    prefix, _, output = re.sub(r"[\s._-]+", ".", name).partition(".")
    is_close = bool(get_close_matches(prefix.lower(), _EXPECTED))
    is_short = prefix.lower() in {"exp", "expect"}
    if is_close and not output:
        return names
    if (is_close or is_short) and output in names:
        return (output,)
    return tuple(get_close_matches(name, names, 1, _MIN_LIKENESS))


def label_note(name: str, outputs: Iterable[str]) -> str | None:
    """Return a note on a label that looks like the expected value of an output."""
    meant = outputs_meant(name, outputs)
    if not meant:
        return None
    if meant == (name,):
        return (
            f"the column {name} is not compared with the output {name}: rename it to "
            f"expected.{name} if it is the expected value"
        )
    listed = f"<output>? The outputs are: {', '.join(meant)}"
    output = f"{meant[0]}?" if len(meant) == 1 else listed
    return f"the column {name} is used as a label; did you mean expected.{output}"


def expected_problem(column: str, outputs: Collection[str], role: str) -> InputProblem | None:
    """Return a problem if a column such as ``expected.category`` names none of the outputs."""
    name = column.partition(".")[2]
    if not outputs or name in outputs:
        return None
    return replace(unknown_name(name, outputs, role), variable=column)


def cluster_numbers(cases: Sequence[Case], name: str) -> Ints:
    """Return the cluster index of each case: cases with the same label or input share a cluster.

    A case without a value is a cluster of its own. `InputError`: all cases lack a value.
    """
    values = case_values(cases, "cluster", name)
    keys = [at if value is None else value_key(value) for at, value in enumerate(values)]
    return pd.factorize(pd.Series(keys, dtype="object"))[0]


def case_values(cases: Sequence[Case], option: str, name: str) -> list[Any]:
    """Return the label or input `name` of each case, or None; `InputError`: no case has a value."""
    check_text(option, name)
    side, _, label = name.partition(".")
    rows = [
        {f"label.{key}": value for key, value in case.labels.items()}
        | {f"input.{key}": value for key, value in case.inputs.items()}
        for case in cases
    ]
    column = name if side == "label" and label else f"input.{name.removeprefix('input.')}"
    values = [row.get(column) for row in rows]
    if all(value is None for value in values):
        names = available(dict.fromkeys(key for row in rows for key in row))
        msg = f"{option}={name!r}: no case has such a label or input{names}"
        raise InputError(msg)
    return values


def named(tags: Iterable[str]) -> dict[str, str]:
    """Return the failures named by tags, and the author of each.

    Examples
    --------
    >>> named(["checked", "failure@ann:rude", "failure: too  long"])
    {'rude': 'ann', 'too long': ''}
    """
    matches = filter(None, map(_FAILURE_TAG.fullmatch, tags))
    return {name: match[1] or "" for match in matches if (name := _clean(match[2]))}


def with_failure(tags: Sequence[str], name: str, author: str | None) -> list[str]:
    """Return tags with a failure added, unless it is there; raise for an invalid name."""
    check_text("name", name)
    name = _clean(name)
    if len(name) > _MAX_NAME_CHARS or not any(map(str.isprintable, name)):
        msg = (
            f"{name!r:.100} is not a failure name; give 1 to {_MAX_NAME_CHARS} printable characters"
        )
        raise InputError(msg)
    by = f"@{_clean(author).replace(':', '-')}" if author else ""
    return [*tags] if name in named(tags) else [*tags, f"failure{by}:{name}"]


def without_failure(tags: Sequence[str], name: str) -> list[str]:
    """Return tags without this failure."""
    return [tag for tag in tags if _clean(name) not in named([tag])]


def failure_names(texts: Iterable[Any]) -> list[str]:
    """Return the valid failure names among the proposals of a judge."""
    names = (_clean(text) for text in texts if isinstance(text, str))
    return [name for name in names if 0 < len(name) <= _MAX_NAME_CHARS][:_MAX_PROPOSALS]


def failure_rows(
    releases: Sequence[str], cases: Sequence[Case], failures: Sequence[Mapping[str, Failures]]
) -> list[dict[str, Any]]:
    """Return one row per name and release, most frequent name first."""
    numbers = {r: sum(bool(case.answers(r)) for case in cases) for r in releases}
    counts, proposals = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    totals = Counter[str]()
    for release, (names, proposed) in (pair for case in failures for pair in case.items()):
        counts.update((name, release) for name in names)
        proposals.update((name, release) for name in proposed)
        totals.update([*names, *proposed])
    rows = []
    for name in sorted(totals, key=lambda name: (-totals[name], name)):
        for release, n in numbers.items():
            share = stats.share_interval(counts[name, release] / max(1, n), n)
            row = {"name": name, "release": release, "count": counts[name, release], "n": n}
            row |= {"share": share.mean, "low": share.low, "high": share.high}
            rows.append(row | {"proposed": proposals[name, release]})
    return rows


def _clean(text: str) -> str:
    return " ".join(text.split())
