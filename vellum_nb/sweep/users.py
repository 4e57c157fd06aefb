"""Simulated users: a workflow that reads a conversation and returns the next message of its user.

Each message is a step of the plan, a case without inputs in front of the turn that sends it. So a
message is planned, limited, executed once and stored like every run, before the turn begins.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from vellum_nb.comparison.conversations import ConversationRuns
from vellum_nb.errors import InputError
from vellum_nb.escaping import printed
from vellum_nb.models import Run, VellumVariable, WorkflowDeploymentRelease, case_id
from vellum_nb.models.checks import available, check_text, refuse
from vellum_nb.models.sweeps import (
    SweepCase,
    SweepRecord,
    conversations,
    is_user,
    planned_id,
    planned_ids,
)

_PARTS = ("transcript", "messages", "turn")
_SIDES = ("label", "expected")
_TRUE = frozenset({"true", "yes", "1", "1.0"})


@dataclass(frozen=True, slots=True)
class SimulatedUser:
    """A workflow that writes the messages of a user; made by `Workspace.user`."""

    deployment: str
    release_tag: str = "LATEST"
    inputs: Mapping[str, str] | None = None
    message: str | None = None
    stop: str | None = None
    release_id: str | None = None  # of the plan

    def __post_init__(self) -> None:
        for name in ("deployment", "release_tag"):
            check_text(name, getattr(self, name))
        for name in ("message", "stop", "release_id"):
            check_text(name, getattr(self, name), optional=True)
        if self.inputs is not None and not isinstance(self.inputs, Mapping):
            refuse("inputs", self.inputs, "a dict, such as inputs={'goal': 'label.goal'}")

    @printed
    def __str__(self) -> str:
        return f"{self.deployment} on {self.release_tag}"

    def resolved(
        self, release: WorkflowDeploymentRelease | None, labels: Iterable[str]
    ) -> SimulatedUser:
        """Return the user with the names that are inferred from its release and the labels."""
        version = None if release is None else release.workflow_version
        variables = {v.key: v for v in version.input_variables} if version else {}
        outputs = {v.key: v for v in version.output_variables} if version else {}
        label_names = set(labels)
        columns = dict(self.inputs or {})
        for name, variable in variables.items():
            inferred = _column(variable, label_names)
            if inferred is not None:
                columns.setdefault(name, inferred)
        self._check_columns(columns, variables, label_names)
        texts = [name for name, v in outputs.items() if v.type == "STRING" and name != self.stop]
        message = self.message or (texts[0] if len(texts) == 1 else None)
        for option, output in (("message", message), ("stop", self.stop)):
            is_unknown = output is not None and outputs and output not in outputs
            if is_unknown or (output is None and option == "message" and len(texts) > 1):
                problem = f"{output!r} is not an output" if output else "name its output"
                self._refuse(f"{option}: {problem}{available(outputs)}")
        release_id = release.id if release else None
        return replace(self, inputs=columns, message=message, release_id=release_id)

    def _check_columns(
        self,
        columns: Mapping[str, str],
        variables: Mapping[str, VellumVariable],
        labels: Iterable[str],
    ) -> None:
        valid = {*_PARTS, *(f"label.{name}" for name in labels)}
        for name, column in columns.items():
            if variables and name not in variables:
                self._refuse(f"inputs: it has no input {name!r}{available(variables)}")
            if column not in valid and not str(column).startswith("expected."):
                self._refuse(f"inputs: {column!r:.80} is not a column{available(sorted(valid))}")
        for name, variable in variables.items():
            if variable.is_required and name not in columns:
                self._refuse(f"inputs: {name!r} has no column{available(sorted(valid))}")

    def _refuse(self, problem: str) -> None:
        msg = f"ws.user({self.deployment!r}): {problem}; nothing was sent"
        raise InputError(msg)

    def request(self, case: SweepCase, talk: Sequence[Run]) -> dict[str, Any]:
        """Return the inputs of the workflow after the answered turns `talk`."""
        said = ConversationRuns(tuple(talk), ())
        parts: dict[str, Any] = {"turn": said.turns + 1}
        parts |= {"transcript": said.transcript, "messages": said.messages}
        parts |= {f"label.{name}": value for name, value in case.labels.items()}
        parts |= {f"expected.{name}": value for name, value in case.expected.items()}
        return {name: parts.get(column) for name, column in (self.inputs or {}).items()}

    def text(self, run: Run) -> str:
        """Return the message of a run."""
        value = self._message(run)
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def _message(self, run: Run) -> Any:
        """Return the output with the message: the only text of a release without declarations."""
        texts = [value for value in run.outputs.values() if isinstance(value, str)]
        only = texts[0] if len(texts) == 1 else None
        return only if self.message is None else run.outputs.get(self.message)

    def noise(self, runs: Iterable[Run]) -> str:
        """Return a note on messages of this user that differ after the same conversation."""
        messages: dict[str, list[str]] = {}
        for run in runs:
            messages.setdefault(run.case_id, []).append("" if self.stops(run) else self.text(run))
        repeated = [texts for texts in messages.values() if len(texts) > 1]
        if not repeated:
            return f"{self}: its noise is unknown, as no conversation came up twice; use repeats=2"
        differing = sum(len(set(texts)) > 1 for texts in repeated)
        return f"{self} wrote different messages after {differing} of {len(repeated)} conversations"

    def stops(self, run: Run) -> bool:
        """Return whether a run of this user ends the conversation: its `stop`, or no message."""
        if run.deployment != self.deployment or run.state != "FULFILLED":
            return False
        is_done = str(run.outputs.get(self.stop or "")).strip().lower() in _TRUE
        return is_done or self._message(run) is None or not self.text(run).strip()


def _column(variable: VellumVariable, labels: Iterable[str]) -> str | None:
    """Return the column of an input by its name or type, if any."""
    if variable.key in _PARTS:
        return variable.key
    if variable.type == "CHAT_HISTORY":
        return "messages"
    return f"label.{variable.key}" if variable.key in labels else None


def with_users(
    cases: Sequence[SweepCase], user: SimulatedUser, message: str, max_turns: int
) -> list[SweepCase]:
    """Return the steps of conversations that a simulated user continues after their script.

    The id of a conversation is that of its script and its user. Expected values of the last turn
    belong to the turn that turns out to be the last.
    """
    steps: list[SweepCase] = []
    identity = {"user": asdict(user), "max_turns": max_turns}
    for script in conversations(cases):
        opening, last = script[0], script[-1]
        blank = [] if isinstance(opening.inputs.get(message), list) else ""  # of a chat input
        simulated = replace(opening, inputs={**opening.inputs, message: blank}, expected={})
        speaks = replace(opening, inputs={}, expected=last.expected)
        made = [] if is_unscripted(script, message) else [*script]
        if made and len(made) < max_turns:
            made[-1] = replace(last, expected={})
        for _ in range(len(made), max_turns):
            made += [speaks, simulated]
        made[-1] = replace(made[-1], expected=last.expected)
        script_id = case_id({"script": opening.case_id, **identity})
        steps += [replace(step, case_id=script_id, turn=n) for n, step in enumerate(made, 1)]
    return [replace(step, position=position) for position, step in enumerate(steps)]


def is_unscripted(script: Sequence[SweepCase], message: str) -> bool:
    """Return whether the user begins a conversation: its only turn has no message."""
    said = script[0].inputs.get(message)
    texts = [part.get("text") for part in said] if isinstance(said, list) else [said]
    return len(script) == 1 and not any(texts)


def compared_cases(cases: Sequence[SweepCase]) -> list[SweepCase]:
    """Return the turns of scripts; the last of one that a simulated user continues is open."""
    made: list[SweepCase] = []
    for steps in conversations(cases):
        first = next((at for at, step in enumerate(steps) if is_user(step)), len(steps))
        script = list(steps[: max(1, first)])
        if first < len(steps):
            end, turn = steps[-1].expected, max(1, first)
            script[-1] = replace(script[-1], expected=end, turn=turn, is_open=True)
        made += script
    return made


def states_with_ends(
    states: Mapping[str, str],
    sweep: SweepRecord,
    cases: Sequence[SweepCase],
    stops: Iterable[str],
) -> dict[str, str]:
    """Return the states with OVER for each step after a conversation that its user has ended.

    `stops` are the ids of the runs that ended one.
    """
    made, ended = dict(states), set(stops)
    for run_id, place in planned_ids(sweep, states) if ended else ():
        position = place.position + 1
        while run_id in ended and position < len(cases) and cases[position].turn > 1:
            made[planned_id(sweep, replace(place, position=position), sweep.round)] = "OVER"
            position += 1
    return made
