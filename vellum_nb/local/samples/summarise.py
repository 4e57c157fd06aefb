"""`summarise`: two releases that shorten a text and stream the summary.

v2 ranks sentences by similarity to the others (TextRank), prefers figures and requests, and avoids
repetition (MMR). v1 is better for texts that begin with their point.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from typing import Annotated, Literal, TypedDict

from pydantic import Field

from vellum_nb.local.samples.text import field, not_empty, stems, words
from vellum_nb.local.samples.text import sentences as split

_MOST_SENTENCES = 100  # limit of ranked sentences
_EMPTY = "the text is empty; nothing to summarise"
_ROUNDS, _DAMPING = 15, 0.85
_NOVELTY = 0.4  # penalty of a sentence similar to a selected one
_BULLET_WORDS = 12
_CUES = {"must", "please", "never", "cause", "therefore", "decided", "shown", "ask", "until"}
_CUE_BONUS = 1.5  # for a sentence that asks, decides or concludes, or names a figure

Text = Annotated[str, field("the text to shorten", long=True)]
Length = Annotated[int, Field(ge=1, le=10, description="how many sentences to keep")]
_Styles = Literal["paragraph", "bullets"]
Style = Annotated[_Styles, Field(description="running text or one line per sentence")]


class Rest(TypedDict):
    """Outputs beside the streamed `summary`."""

    bullets: list[str]
    word_count: int


Chunk = tuple[Literal["summary"], str]
Summary = Generator[Chunk, None, Rest]


def summarise_v1(text: Text, *, sentences: Length = 3) -> Summary:
    """Keep the first sentences."""
    chosen = split(not_empty(text, _EMPTY))[: int(sentences)]
    yield from _streamed(" ".join(chosen))
    return {"bullets": chosen, "word_count": sum(len(words(sentence)) for sentence in chosen)}


def summarise_v2(text: Text, *, sentences: Length = 3, style: Style = "paragraph") -> Summary:
    """Keep the sentences that share most with the others, in their order, without repetition."""
    all_sentences = split(not_empty(text, _EMPTY))[:_MOST_SENTENCES]
    chosen = [all_sentences[place] for place in _choose(all_sentences, count=int(sentences))]
    bullets = style == "bullets"
    yield from _streamed("\n".join(f"- {s}" for s in chosen) if bullets else " ".join(chosen))
    short: list[str] = []
    for sentence in chosen:
        parts = sentence.rstrip(".").split()
        ellipsis = "…" if len(parts) > _BULLET_WORDS else ""
        short.append(" ".join(parts[:_BULLET_WORDS]) + ellipsis)
    return {
        "bullets": short,
        "word_count": sum(len(words(sentence_text)) for sentence_text in chosen),
    }


def _streamed(summary: str) -> Iterator[Chunk]:
    return (("summary", piece) for piece in re.split(r"(?=[ \n])", summary))


def _choose(sentences: Sequence[str], *, count: int) -> list[int]:
    import numpy as np  # takes longer to import than the rest of a local server

    bags = [Counter(stems(sentence)) for sentence in sentences]
    alike = np.array([[0.0 if a is b else _likeness(a, b) for b in bags] for a in bags])
    out = alike.sum(axis=1)
    rank = np.ones(len(bags))
    for _ in range(_ROUNDS):
        rank = 1 - _DAMPING + _DAMPING * alike @ (rank / np.where(out, out, 1.0))
    for place, sentence in enumerate(sentences):
        terms = words(sentence)
        if not _CUES.isdisjoint(terms) or any(word.isdigit() for word in terms):
            rank[place] *= _CUE_BONUS
    chosen: list[int] = []

    def worth(place: int) -> tuple[float, int]:
        repeated = max(alike[place, chosen], default=0.0) * _NOVELTY
        return rank[place] * (1 - min(1.0, repeated)), -place

    while len(chosen) < min(count, len(sentences)):
        chosen.append(max(set(range(len(sentences))) - {*chosen}, key=worth))
    return sorted(chosen)


def _likeness(a: Counter[str], b: Counter[str]) -> float:
    shared = (a & b).total()
    return shared / math.log(2 + a.total() * b.total()) if shared else 0.0
