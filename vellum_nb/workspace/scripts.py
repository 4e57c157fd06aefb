"""The scripts of stored conversations, to run them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from vellum_nb.comparison.cases import row_of
from vellum_nb.errors import InputError
from vellum_nb.history import History, Sweeps
from vellum_nb.models.sweeps import SweepCase, SweepRecord, conversations, is_user
from vellum_nb.sweep.conversations import Conversation, user_cells
from vellum_nb.sweep.options import SweepOptions
from vellum_nb.sweep.users import compared_cases

_ORIGIN = "label.replay_of"


def scripted(
    sweeps: Sweeps, rows: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], Conversation | None]:
    """Return rows of stored runs, of conversations with their `turns`, and how these are sent."""
    scripts, talks = _Scripts(sweeps), list[Conversation | None]()
    made: list[dict[str, Any]] = []
    for row in rows:
        case, talk = dict(row), None
        if "sweep_id" in row:
            turns, talk = scripts.of(row)
            case = {"turns": [{**turn, _ORIGIN: row["id"]} for turn in turns]}
        made.append(case)
        if talk not in talks:
            talks.append(talk)
    if len(talks) > 1:
        msg = (
            "these cases do not fit in one sweep: give conversations without single cases, and "
            "only those that were run with the same Conversation(...)"
        )
        raise InputError(msg)
    return made, talks[0] if talks else None


def without_origin(turn: Mapping[str, Any]) -> dict[str, Any]:
    """Return a turn without the label of the replayed run."""
    return {name: cell for name, cell in turn.items() if name != _ORIGIN}


def stored_scripts(history: History, case_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the conversations that sweeps ran as rows of a table of cases, by `case_id`."""
    scripts = _Scripts(Sweeps(history))
    ids = {run.case_id: run.sweep_id for run in history.runs(case_id=case_ids) if run.sweep_id}
    made: dict[str, dict[str, Any]] = {}
    for case_id, sweep_id in ids.items():
        turns, talk = scripts.of({"sweep_id": sweep_id, "case_id": case_id})
        made[case_id] = {"turns": turns} | user_cells(talk)
    return made


class _Scripts:
    """The scripts of stored conversations; each sweep is read once."""

    def __init__(self, sweeps: Sweeps) -> None:
        self._sweeps, self._read = sweeps, cache(self._steps)

    def _steps(self, sweep_id: str | None) -> tuple[SweepRecord | None, dict[str, list[SweepCase]]]:
        record = next(iter(self._sweeps.every(sweep_id)), None) if sweep_id else None
        cases = self._sweeps.cases(record.id) if record else ()
        return record, {steps[0].case_id: steps for steps in conversations(cases)}

    def of(self, row: Mapping[str, Any]) -> tuple[list[dict[str, Any]], Conversation]:
        """Return the turns of a conversation, and how they were sent."""
        case_id = row["case_id"]
        record, steps_by_case = self._read(row["sweep_id"])
        if record is None or case_id not in steps_by_case:
            msg = (
                f"the history has no sweep with the script of the conversation {case_id}; run its "
                "turns with ws.sweep(...)"
            )
            raise InputError(msg)
        talk = SweepOptions.from_stored(record).conversation or Conversation()
        steps = steps_by_case[case_id]
        turns = compared_cases(steps)
        earlier = row.get("earlier_expected", {})
        expected = [{**turn.expected, **earlier.get(n, {})} for n, turn in enumerate(turns, 1)]
        expected[-1] |= row.get("desired", {})
        inputs = [turn.inputs for turn in turns]
        if is_user(turns[0]):  # the user begins
            inputs = [{**steps[1].inputs, str(talk.input): ""}]
        made = zip(turns, inputs, expected, strict=True)
        return [row_of(replace(t, inputs=i, expected=values)) for t, i, values in made], talk
