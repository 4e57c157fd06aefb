"""The scripts of stored conversations, to run them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vellum_nb.comparison.cases import row_of
from vellum_nb.errors import InputError
from vellum_nb.history import Sweeps
from vellum_nb.models.sweeps import conversations, is_user
from vellum_nb.sweep.conversations import Conversation
from vellum_nb.sweep.options import SweepOptions
from vellum_nb.sweep.users import compared_cases

_ORIGIN = "label.replay_of"


def scripted(
    sweeps: Sweeps, rows: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], Conversation | None]:
    """Return rows of stored runs, of conversations with their `turns`, and how these are sent."""
    talks: list[Conversation | None] = []
    made: list[dict[str, Any]] = []
    for row in rows:
        case, talk = _script(sweeps, row) if "sweep_id" in row else (dict(row), None)
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


def _script(sweeps: Sweeps, row: Mapping[str, Any]) -> tuple[dict[str, Any], Conversation]:
    """Return the case of a conversation as a list of turns, and how they were sent."""
    sweep_id, case_id = row["sweep_id"], row["case_id"]
    record = next(iter(sweeps.every(sweep_id)), None) if sweep_id else None
    steps = [case for case in sweeps.cases(sweep_id) if case.case_id == case_id] if record else []
    if record is None or not steps:
        msg = (
            f"the history has no sweep with the script of the conversation {case_id}; run its "
            "turns with ws.sweep(...)"
        )
        raise InputError(msg)
    talk = SweepOptions.from_stored(record).conversation or Conversation()
    steps = next(conversations(steps))
    turns = compared_cases(steps)
    earlier = row["earlier_expected"]
    expected = [{**turn.expected, **earlier.get(n, {})} for n, turn in enumerate(turns, 1)]
    expected[-1] |= row["desired"]
    inputs = [turn.inputs for turn in turns]
    if is_user(turns[0]):  # the user begins
        inputs = [{**steps[1].inputs, str(talk.input): ""}]
    cells = (
        row_of(replace(turn, inputs=sent, expected=values))
        for turn, sent, values in zip(turns, inputs, expected, strict=True)
    )
    return {"turns": [{**of_turn, _ORIGIN: row["id"]} for of_turn in cells]}, talk
