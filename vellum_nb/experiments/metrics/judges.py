"""A metric that is another workflow: its runs are kept as all others, and made once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from vellum_nb.errors import InputError
from vellum_nb.experiments.metrics.metric import Evaluation, Metric, Value
from vellum_nb.history.reading.records import Record
from vellum_nb.models import Run, case_id

__all__ = ["Judge", "Judging", "judge"]

Inputs: TypeAlias = Mapping[str, str] | Callable[[Run, dict[str, Any]], Mapping[str, Any]]
_SIDES = ("input", "output", "expected")


@dataclass(frozen=True, slots=True)
class Judging:
    """How a judge is asked.

    Attributes
    ----------
    find : callable
        ``find(deployment, release_tag, case_ids)``: the fulfilled runs that are there.
    run : callable
        ``run(deployment, release_tag, cases)``: runs each set of inputs, in this order; or says
        why it did not.
    """

    find: Callable[[str, str, Sequence[str]], Sequence[Run]]
    run: Callable[[str, str, Sequence[Mapping[str, Any]]], Sequence[Run | str]]


def judge(
    deployment: str,
    *,
    inputs: Inputs | None = None,
    output: str | None = None,
    release_tag: str = "LATEST",
    name: str | None = None,
    lower_is_better: bool = False,
    rejected: Value = 0.0,
) -> Metric:
    """Return what another workflow says of each answer.

    Its runs are kept in the same history. An answer that it has judged is not judged again: the
    same inputs on the same release tag are looked up, also those of last year.

    Parameters
    ----------
    deployment : str
        The name of the workflow that judges.
    inputs : mapping or callable, optional
        Its input variable to what it is told, named as the columns of the frame:
        ``{"question": "input.ticket", "answer": "output.reply", "right": "expected.category"}``.
        Or a function of (run, expected) to its inputs. Default: ``inputs``, ``outputs`` and
        ``expected``, whole.
    output : str, optional
        Which of its outputs is the figure: a number, a bool, or such text. Default: ``score``, or
        its only one.
    release_tag : str, default "LATEST"
        Which of its releases judges.
    name : str, optional
        What columns call it. Default: the deployment's name.
    lower_is_better : bool, default False
        Whether low figures are good.
    rejected : bool or float, default 0
        The figure of a run that was rejected, and so has nothing to judge; None asks anyway.
    """
    return Judge(
        deployment,
        inputs=inputs,
        output=output,
        release_tag=release_tag,
        name=name or deployment,
        lower_is_better=lower_is_better,
        rejected=rejected,
    )


class Judge(Metric):
    """What `judge` returns; `bound` gives it the workspace that it asks through."""

    def __init__(
        self,
        deployment: str,
        *,
        inputs: Inputs | None,
        output: str | None,
        release_tag: str,
        name: str,
        lower_is_better: bool,
        rejected: Value,
        judging: Judging | None = None,
    ) -> None:
        super().__init__(
            self._judged, name=name, lower_is_better=lower_is_better, rejected=rejected
        )
        self.deployment = deployment
        self.release_tag = release_tag
        self.inputs = inputs
        self.output = output
        self._judging = judging
        self._known: dict[str, Run | str] = {}

    def bound(self, judging: Judging | None) -> Judge:
        """Return the same judge, which can ask.

        Raises
        ------
        InputError
            There is no workspace to ask through.
        """
        found = self._judging or judging
        if found is None:
            msg = (
                f"the judge {self.name} needs a workspace to run {self.deployment!r}: use "
                "ws.compare(...), sweep.compare(...), or ws.judge(...) in its place"
            )
            raise InputError(msg)
        return Judge(
            self.deployment,
            inputs=self.inputs,
            output=self.output,
            release_tag=self.release_tag,
            name=self.name,
            lower_is_better=self.lower_is_better,
            rejected=self.rejected,
            judging=found,
        )

    def prepare(self, work: Sequence[tuple[Record, Mapping[str, Any]]]) -> None:
        """Look up what was judged before, and have the rest judged."""
        asked: dict[str, Mapping[str, Any]] = {}
        for record, expected in work:
            if self.rejected is not None and record.state == "REJECTED":
                continue
            try:
                told = self._told(record.made(), dict(expected))
                asked.setdefault(case_id(told), told)
            except Exception:  # noqa: BLE001, S112  (`evaluate` raises it again, for this run)
                continue
        self._ask(asked)

    def _ask(self, asked: Mapping[str, Mapping[str, Any]]) -> None:
        if self._judging is None or not asked:
            return
        found = self._judging.find(self.deployment, self.release_tag, list(asked))
        self._known |= {run.case_id: run for run in found}
        left = {key: told for key, told in asked.items() if key not in self._known}
        if left:
            runs = self._judging.run(self.deployment, self.release_tag, list(left.values()))
            self._known |= dict(zip(left, runs, strict=True))

    def _judged(self, run: Run, expected: dict[str, Any]) -> Value:
        told = self._told(run, expected)
        key = case_id(told)
        if key not in self._known:
            self._ask({key: told})
        verdict = self._known[key]
        if isinstance(verdict, str) or verdict.state != "FULFILLED":
            msg = f"the judge {self.deployment} {_why(verdict)}"
            raise ValueError(msg)
        return self._figure(verdict)

    def evaluate(self, record: Record, expected: Mapping[str, Any]) -> Evaluation:
        """Return the judge's figure of a run, or why there is none."""
        value, problem = super().evaluate(record, expected)
        return value, problem.removeprefix("ValueError: ") if problem else None

    def _told(self, run: Run, expected: dict[str, Any]) -> dict[str, Any]:
        if callable(self.inputs):
            return dict(self.inputs(run, expected))
        sides = {"input": run.inputs, "output": run.outputs, "expected": expected}
        if self.inputs is None:
            return {"inputs": run.inputs, "outputs": run.outputs, "expected": expected}
        return {variable: _found(sides, column) for variable, column in self.inputs.items()}

    def _figure(self, verdict: Run) -> Value:
        outputs = verdict.outputs
        name = self.output or ("score" if "score" in outputs else next(iter(outputs), ""))
        if name not in outputs or (self.output is None and len(outputs) > 1 and name != "score"):
            listed = ", ".join(outputs) or "none"
            msg = f"which output of {self.deployment} is the figure? give output=...: {listed}"
            raise ValueError(msg)
        return _as_figure(outputs[name], self.deployment, name)


def _found(sides: Mapping[str, Mapping[str, Any]], column: str) -> Any:
    side, _, name = column.partition(".")
    if side not in _SIDES or not name:
        msg = f"{column!r} is no column: write input.<name>, output.<name> or expected.<name>"
        raise ValueError(msg)
    return sides[side].get(name)


def _as_figure(value: object, deployment: str, name: str) -> Value:
    if isinstance(value, bool | int | float):
        return value
    text = str(value).strip()
    words = {"true": True, "yes": True, "pass": True, "false": False, "no": False, "fail": False}
    if text.casefold() in words:
        return words[text.casefold()]
    try:
        return float(text)
    except ValueError:
        msg = f"{name} of {deployment} is {text[:60]!r}: neither a number nor a bool"
        raise ValueError(msg) from None


def _why(verdict: Run | str) -> str:
    if isinstance(verdict, str):
        return verdict
    told = f": {verdict.error.code}: {verdict.error.message}" if verdict.error else ""
    return f"ended {verdict.state}{told}"
