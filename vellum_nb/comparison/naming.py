"""Failure names proposed by a workflow from notes and worse cases, which people confirm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from vellum_nb.comparison.actions import Actions, CallLimits, require
from vellum_nb.comparison.cases import Case, failure_names
from vellum_nb.comparison.figures import ComparisonFigures
from vellum_nb.comparison.judge_calls import all_judgements, planned_calls
from vellum_nb.comparison.metrics import Judge, Judgement, answered
from vellum_nb.errors import InputError
from vellum_nb.escaping import printed
from vellum_nb.history import frame_of_records
from vellum_nb.lazy import pd
from vellum_nb.models import Run, case_id
from vellum_nb.models.checks import available, check_text, cut
from vellum_nb.models.inputs import plain
from vellum_nb.rendering.format import plain_text, plural

MAX_NAMES = 12
_MAX_ANSWERS = 200  # in one call
_MAX_CHARS = 1_000  # of a value
_MAX_TRANSCRIPT = 4_000  # characters
_EXAMPLES = 2
Answer: TypeAlias = tuple[Run, Case, str]
"""An answer, its case and its release."""


@dataclass(frozen=True, eq=False, repr=False)
class FailureProposals:
    """Proposed failure names, each with its answers. They count once they are confirmed.

    Attributes
    ----------
    names : tuple of str
        At most twelve names, the most frequent first.
    answers, omitted : int
        Numbers of answers that the workflow read, and that did not fit in its call.
    """

    names: tuple[str, ...]
    answers: int
    omitted: int
    _groups: Mapping[str, Sequence[Answer]] = field(default_factory=dict)
    _actions: Actions | None = None

    def frame(self) -> pd.DataFrame:
        """Return one row per name: ``name``, ``count`` of answers, and two examples.

        An example has the case and release in ``case_1``, ``release_1``, and in ``text_1`` the
        note, or else the outputs or the transcript, cut if they are long.
        """
        numbers = range(1, _EXAMPLES + 1)
        parts = [f"{part}_{number}" for number in numbers for part in ("case", "release", "text")]
        rows = []
        for name in self.names:
            group = self._groups[name]
            rows.append({**dict.fromkeys(parts), "name": name, "count": len(group)})
            for number, (run, case, release) in enumerate(group[:_EXAMPLES], 1):
                rows[-1] |= {f"case_{number}": case.number, f"release_{number}": release}
                answer = cut(case.conversation(run).text, _MAX_TRANSCRIPT)
                rows[-1][f"text_{number}"] = run.note or answer
        return frame_of_records(dict.fromkeys(["name", "count", *parts]), rows)

    def confirm(self, name: str, *, rename: str | None = None) -> int:
        """Name this failure on all answers of the group; return their number.

        Parameters
        ----------
        name : str
            A proposed name.
        rename : str, optional
            The name to use instead, for example an existing one.

        Raises
        ------
        InputError
            The name was not proposed, or `rename` is not a failure name.
        """
        check_text("name", name)
        check_text("rename", rename, optional=True)
        if name not in self._groups:
            msg = f"{name!r} was not proposed{available(self.names)}"
            raise InputError(msg)
        actions = require(self._actions, "confirm failures")
        for run, _, _ in self._groups[name]:
            actions.name_failure(run, rename or name, has=True)
        return len(self._groups[name])

    @printed
    def __repr__(self) -> str:
        read = plural(self.answers, "answer")
        left_out = f", {self.omitted:,} left out" if self.omitted else ""
        names = "; ".join(f"{n} ({len(self._groups[n]):,})" for n in self.names) or "no name"
        return f"<FailureProposals from {read}{left_out}: {names}>"


def odd_answers(figures: ComparisonFigures) -> list[Answer]:
    """Return the answers with a note, and those that are worse by any metric, in case order."""
    worse = {
        (case.case_id, release)
        for metric in figures.metrics
        for release in figures.others
        for case in figures.cases_by("worse", [release], metric.name)
    }
    return [
        (run, case, release)
        for case in figures.cases
        for release in figures.releases
        if (run := case.answer(release)) and (run.note or (case.case_id, release) in worse)
    ]


def propose(
    judge: Judge, odd: Sequence[Answer], actions: Actions, limits: CallLimits
) -> FailureProposals:
    """Return the names that `judge` gives to the answers in one call."""
    if not odd:
        msg = "no answer has a note or is worse: write notes with cmp.note, or compare by a metric"
        raise InputError(msg)
    read = odd[:_MAX_ANSWERS]
    inputs = {"answers": [_described(number, *of) for number, of in enumerate(read, 1)]}
    key = case_id(inputs)
    actions = judge.actions or actions
    calls = planned_calls(actions, judge.replaced(repeats=1), {key: inputs})
    judgements, _ = all_judgements(calls, limits)
    judgement = judgements.get(key, "was not called: the limits allow no call")
    groups = _groups(judge, judgement, read)
    names = tuple(sorted(groups, key=lambda name: -len(groups[name]))[:MAX_NAMES])
    proposed = {name: groups[name] for name in names}
    return FailureProposals(names, len(read), len(odd) - len(read), proposed, actions)


def _described(number: int, run: Run, case: Case, release: str) -> dict[str, Any]:
    talk = case.conversation(run)
    sides = {"inputs": case.inputs, "outputs": talk.answer, "expected": case.expected}
    texts = {side: {n: _short(v) for n, v in values.items()} for side, values in sides.items()}
    if case.turns:
        texts["outputs"][talk.transcript_name] = cut(talk.transcript, _MAX_TRANSCRIPT)
    return {"id": number, "release": release, **texts, "note": cut(run.note or "", _MAX_CHARS)}


def _short(value: Any) -> Any:
    """Return a value, or its text cut if it is long."""
    text = plain_text(value)
    return cut(text, _MAX_CHARS) if len(text) > _MAX_CHARS else plain(value)


def _groups(judge: Judge, judgement: Judgement, read: Sequence[Answer]) -> dict[str, list[Answer]]:
    """Return the answers by proposed name; raise an `InputError` for another kind of output."""
    workflow = f"the workflow {judge.deployment}"
    try:
        proposals = answered(judgement, workflow)[0].outputs.get("failures")
    except ValueError as exc:
        raise InputError(str(exc)) from None
    if not isinstance(proposals, Mapping):
        rule = "must return an output 'failures': an object of names, each with a list of ids"
        msg = f"{workflow} {rule}"
        raise InputError(msg)
    groups: dict[str, list[Answer]] = {}
    for text, ids in proposals.items():
        numbers = [n for n in ids if n in range(1, len(read) + 1)] if isinstance(ids, list) else []
        for name in failure_names([text]) if numbers else ():
            groups[name] = [read[int(n) - 1] for n in dict.fromkeys(numbers)]
    return groups
