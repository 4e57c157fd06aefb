"""Runs and comparisons with figures that are easy to calculate."""

from collections.abc import Mapping, Sequence
from typing import Any

from runs_kit import later_run

from vellum_nb.comparison import Comparison, compare_runs
from vellum_nb.comparison.pairs import Against
from vellum_nb.models import Run, RunError, case_id
from vellum_nb.models.sweeps import SweepCase


def run(tag: str, text: Any = "a", answer: Any = "yes", **fields: Any) -> Run:
    inputs = fields.pop("inputs", {"text": text})
    outputs = fields.pop("outputs", {"answer": answer})
    known = {"deployment": "words", "release_id": f"release-of-{tag}", "latency_s": 0.25}
    return later_run(tag, inputs, outputs, **known | fields)


def talk(
    tag: str, *answers: Any, said: Sequence[str] = ("hi", "why?", "bye"), **fields: Any
) -> list[Run]:
    """Return the runs of a conversation; an answer is a text, or fields of its run."""
    same = {"conversation_id": tag, "case_id": "talk", **fields}
    made = []
    for turn, (text, answer) in enumerate(zip(said, answers, strict=False), 1):
        own = answer if isinstance(answer, dict) else {"answer": answer}
        made.append(run(tag, text, turn=turn, **same | own))
    return made


def failed(tag: str, text: str = "a", state: str = "FAILED", code: str = "TIMEOUT") -> Run:
    error = RunError(code=code, message="no answer within 120 s")
    return run(tag, text, outputs={}, state=state, error=error)


def wanted(expected: Mapping[str, Any], **labels: Any) -> list[SweepCase]:
    """Return cases with the expected answer to each text."""
    return [
        SweepCase(at, case_id({"text": text}), {"text": text}, {"answer": answer}, labels)
        for at, (text, answer) in enumerate(expected.items())
    ]


def planned(texts: Sequence[str]) -> dict[str, Any]:
    """Return the options of a comparison whose sweep planned a case of each text, in this order."""
    cases = wanted(dict.fromkeys(texts, "yes"))
    return {"cases": cases, "order": [case.case_id for case in cases]}


def compared(*runs: Run, tags: Sequence[str] = ("v1", "v2"), **options: Any) -> Comparison:
    return compare_runs(runs, deployment="words", release_tags=tags, **options)


def against(comparison: Comparison, release: str) -> Against:
    """Return the comparison of a release with the baseline by the first metric."""
    return comparison.figures.against[release, comparison.metrics[0].name]


def judged(
    answers: Mapping[str, Sequence[str | None]], *, repeats: int = 1, **options: Any
) -> Comparison:
    """Return a comparison by `exact` of the answers of each tag; "yes" is correct."""
    texts = [f"case {number}" for number in range(max(map(len, answers.values())))]
    runs = [
        run(tag, text, answer)
        for tag, given in answers.items()
        for text, answer in zip(texts, given, strict=True)
        if answer is not None
        for _ in range(repeats)
    ]
    cases = wanted(dict.fromkeys(texts, "yes"))
    return compared(*runs, tags=tuple(answers), cases=cases, metrics="exact", **options)
