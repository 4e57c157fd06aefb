"""`failure_namer`: a workflow that names the failures of answers, for `propose_failures`."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from pydantic import Field

from vellum_nb.local.samples.text import stems

_MOST_NAMES = 12
_MAX_CHARS = 60  # of a name

Answers = Annotated[list[dict[str, Any]], Field(description="answers with id, outputs and note")]


def failure_namer(answers: Answers) -> dict[str, dict[str, list[int]]]:
    """Group answers by a common word of their notes, others by the output that is wrong.

    A name is the shortest note of its group. Replace this function by a prompt: it gets the
    answers, and returns an object of names, each with the ids of its answers.
    """
    noted = [answer for answer in answers if answer["note"]]
    groups: dict[str, list[int]] = {}
    while noted and len(groups) < _MOST_NAMES - 1:
        counts = Counter(word for answer in noted for word in set(stems(answer["note"])))
        word = max(counts, key=lambda word: (counts[word], word), default="")
        group = [a for a in noted if word in stems(a["note"])] or noted
        name = min((a["note"] for a in group), key=len)[:_MAX_CHARS]
        groups.setdefault(name, []).extend(answer["id"] for answer in group)
        noted = [answer for answer in noted if answer not in group]
    for answer in answers:
        if not answer["note"] and len(groups) < _MOST_NAMES:
            groups.setdefault(_wrong_output(answer), []).append(answer["id"])
    return {"failures": groups}


def _wrong_output(answer: dict[str, Any]) -> str:
    outputs, expected = answer["outputs"], answer["expected"]
    wrong = [name for name, value in expected.items() if outputs.get(name) != value]
    return f"wrong {wrong[0]}" if wrong else "worse than the baseline"
