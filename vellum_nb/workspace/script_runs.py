"""Runs of one conversation on several releases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vellum_nb.comparison.bisection import Check
from vellum_nb.comparison.cases import Case, error_text, replay_rows, with_totals
from vellum_nb.comparison.conversations import ConversationRuns
from vellum_nb.comparison.metrics import Metric
from vellum_nb.errors import VellumNBError
from vellum_nb.history import Sweeps
from vellum_nb.models import Run
from vellum_nb.models.sweeps import NOT_SENT
from vellum_nb.sweep.options import Existing, SweepOptions
from vellum_nb.workspace.runner import Runner
from vellum_nb.workspace.scripts import scripted, without_origin
from vellum_nb.workspace.sweeps import Compare, start_sweep

_EXPECTED = "expected."
_INPUT = "input."


class ScriptRuns:
    """The complete runs of the script of a conversation, each represented by its last turn."""

    def __init__(self, runner: Runner, compare: Compare, deployment: str, case: Case | Run) -> None:
        self._runner, self._compare, self._deployment = runner, compare, deployment
        self._case_id = case.case_id
        self._sweeps = Sweeps(runner.history)
        releases = list(case.tries) if isinstance(case, Case) else []
        rows = replay_rows(deployment, [case] if isinstance(case, Case) else [], releases, [case])
        cases, self._settings = scripted(self._sweeps, rows)
        self._turns = list(map(without_origin, cases[0]["turns"]))
        self._conversations: dict[str, list[Run]] = {}
        self._count = 0  # stored runs of the case

    @property
    def inputs(self) -> dict[str, Any]:
        """The script."""
        return {"turns": [_part(turn, _INPUT) for turn in self._turns]}

    def stored(self) -> list[Run]:
        """Return the last turns of the conversations that are complete, newest first."""
        by_name: dict[str, dict[int, Run]] = {}
        stored = self._runner.history.runs(deployment=self._deployment, case_id=self._case_id)
        self._count = len(stored)
        for run in stored:
            is_sent = run.error is None or run.error.code != NOT_SENT
            if run.conversation_id and run.turn and is_sent:  # newest first
                by_name.setdefault(run.conversation_id, {}).setdefault(run.turn, run)
        complete = []
        for name, by_turn in by_name.items():
            runs = [by_turn[turn] for turn in sorted(by_turn)]
            if self._is_complete(runs):
                self._conversations[name] = runs
                complete.append(with_totals(runs[-1], self._conversations))
        return complete

    def turns(self, run: Run) -> Sequence[Run]:
        """Return the runs of all turns of a complete conversation."""
        return self._conversations[run.conversation_id or ""]

    def new(self, release_tag: str, release_id: str | None) -> Run:
        """Run the script on a release; a run that was interrupted continues."""
        known = {run.conversation_id for run in self.stored()}
        has_run = any(runs[-1].release_id == release_id for runs in self._conversations.values())
        attempts: tuple[Existing, ...] = ("restart",) if has_run else ("resume", "restart")
        for existing in attempts:
            count = self._count
            options = SweepOptions(
                release_tags=[release_tag],
                existing=existing,
                progress=False,
                conversation=self._settings,
            )
            start_sweep(
                self._runner, self._compare, self._deployment, [{"turns": self._turns}], options
            )
            for run in self.stored():
                if run.conversation_id not in known:
                    return run
            if self._count > count:  # it was sent, and has no complete answer
                break
        msg = (
            f"there is no complete answer of {self._deployment} on {release_tag} to this "
            "conversation; ws.sweeps() has the sweep with its errors; run it again to continue"
        )
        raise VellumNBError(msg)

    def value(self, check: Check | None, run: Run) -> Any:
        """Return the result of `check` for each turn of a conversation, or for all of them."""
        runs = self.turns(run)
        if check is None:
            return [error_text(turn) if turn.error else turn.outputs for turn in runs]
        expected = [_part(turn, _EXPECTED) for turn in self._turns[: len(runs)]]
        expected += [{}] * (len(runs) - len(expected))
        conversation = ConversationRuns(tuple(runs), tuple(expected))
        if isinstance(check, Metric):
            figure, problem = check.evaluate(run, expected[-1], conversation)
            if problem is not None:
                raise VellumNBError(problem)
            return figure
        metric = Metric(check)
        if metric.is_of_conversation:
            return metric(run, expected[-1], conversation)
        return [metric(*turn) for turn in zip(runs, expected, strict=True)]

    def _is_complete(self, runs: Sequence[Run]) -> bool:
        """Return whether a conversation has all answers that it can have."""
        last = runs[-1]
        if last.state != "FULFILLED":
            return last.state == "REJECTED"
        if self._settings is None or self._settings.user is None:
            return last.turn == len(self._turns)
        sweep = next(iter(self._sweeps.every(last.sweep_id)), None) if last.sweep_id else None
        return sweep is not None and sweep.ended is not None


def _part(turn: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the cells of a turn whose column has this prefix, by the rest of the name."""
    return {
        name.removeprefix(prefix): cell for name, cell in turn.items() if name.startswith(prefix)
    }
