"""`pair-grader`: a judge of duels, which prefers the reply that addresses the question."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypedDict

from vellum_nb.local.samples.text import field, stems

_CONCRETE = re.compile(r"\d|\bsorry\b|\bapolog|\bwe will\b|\bwithin\b", re.IGNORECASE)
_TIE = 0.05  # largest difference of equal replies

Question = Annotated[str, field("the question that both answer", long=True)]
Reply = Annotated[str, field("a reply", long=True)]


class Verdict(TypedDict):
    """Outputs of the judge."""

    winner: Literal["first", "second", "tie"]
    reason: str


def pair_grader(question: Question, a: Reply, b: Reply) -> Verdict:
    """Prefer the reply that repeats more words of the question and makes concrete promises."""
    first, second = _score(question, a), _score(question, b)
    reason = f"{first:.2f} against {second:.2f}"
    if abs(first - second) <= _TIE:
        return {"winner": "tie", "reason": reason}
    return {"winner": "first" if first > second else "second", "reason": reason}


def _score(question: str, reply: str) -> float:
    asked, answered = set(stems(question)), set(stems(reply))
    concrete = {match.group().casefold() for match in _CONCRETE.finditer(reply)}
    return len(asked & answered) / max(1, len(asked)) + len(concrete) / 4
