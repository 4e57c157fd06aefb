"""What a search means: which words it looks for, and where in a text they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from vellum_nb.history.searching.letters import LONGEST_WORD, joined, letters, place, spans, words

__all__ = ["LONGEST_PHRASE", "Needle", "Search"]

LONGEST_PHRASE = 64
_BEFORE, _EXCERPT = 30, 90
_PIECE = 400
_QUOTED = re.compile(r'"([^"]*)("?)|([^"\s]+)')


@dataclass(frozen=True, slots=True)
class Needle:
    """Words that must follow each other; of the last one only the beginning if it is `open`."""

    words: tuple[str, ...]
    open: bool

    @property
    def text(self) -> str:
        """What is looked for in words between spaces."""
        return f" {' '.join(self.words)}{'' if self.open else ' '}"


@dataclass(frozen=True, slots=True)
class Search:
    """What a search looks for: all of its needles.

    Examples
    --------
    >>> Search.of('refund "Stripe fee" e-mail').needles[1:]
    (Needle(words=('stripe', 'fee'), open=False), Needle(words=('e', 'mail'), open=True))
    >>> Search.of("refund").finds(["Two refunds."]), Search.of('"refund"').finds(["Two refunds."])
    (True, False)
    """

    needles: tuple[Needle, ...]

    @classmethod
    def of(cls, text: str) -> Self:
        """Read what somebody typed: words, and phrases ``"in quotes"``.

        A quotation mark that is not closed yet counts as closed at the end, with a last word that
        may go on: so it is while one types.
        """
        found: dict[Needle, None] = {}
        for phrase, closed, word in _QUOTED.findall(text):
            parts = words(phrase or word).split()
            for start in range(0, len(parts), LONGEST_PHRASE):
                piece = tuple(parts[start : start + LONGEST_PHRASE])
                last = start + LONGEST_PHRASE >= len(parts)
                found[Needle(piece, open=last and not closed)] = None
        return cls(tuple(found))

    @property
    def empty(self) -> bool:
        """Whether there is no word to look for: such a search finds nothing."""
        return not self.needles

    def finds(self, texts: list[str]) -> bool:
        """Return whether all needles are in `texts`, each within one of them."""
        return self.finds_in(joined(texts))

    def finds_in(self, document: str) -> bool:
        """Return whether all needles are in what `joined` made."""
        return bool(self.needles) and all(needle.text in document for needle in self.needles)

    def touches(self, document: str) -> bool:
        """Return whether one needle at least is in what `joined` made."""
        return any(needle.text in document for needle in self.needles)

    def excerpt(self, text: str) -> str | None:
        """Return a line of `text` around what is found first, None where nothing is.

        Examples
        --------
        >>> Search.of("refund").excerpt(f"{'We are sorry. ' * 9}We refund you.{' Thanks.' * 30}")
        '…are sorry. We are sorry. We refund you. Thanks. Thanks. Thanks. Thanks. Thanks. Thanks.…'
        """
        first = self.first(text)
        if first is None:
            return None
        begin = max(0, first - _BEFORE)
        cut = text[begin : begin + _EXCERPT]
        if begin:
            cut = "…" + cut.partition(" ")[2]
        if begin + _EXCERPT < len(text):
            cut = cut.rpartition(" ")[0] + "…"
        return " ".join(cut.split())

    def first(self, text: str) -> int | None:
        """Return where in `text` the first needle begins."""
        for piece in (text[:_PIECE], text):
            found = letters(piece)
            hits = [hit for needle in self.needles if (hit := _pattern(needle).search(found))]
            # what ends the piece may go on behind it
            begins = [hit.start() for hit in hits if piece == text or hit.end() < len(found) - 1]
            if begins:
                return place(text, min(begins) + 1)
        return None

    def marks(self, text: str) -> list[tuple[int, int]]:
        """Return where in `text` needles are found: begin and end, in order, not overlapping.

        Examples
        --------
        >>> Search.of("policy refund").marks("Refund? Our policies… policy.")
        [(0, 6), (22, 28)]
        """
        found = spans(text)
        hits = [hit for needle in self.needles for hit in _hits(needle, found)]
        merged: list[tuple[int, int]] = []
        for begin, end in sorted(hits):
            if merged and begin < merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((begin, end))
        return merged


@lru_cache(maxsize=100)
def _pattern(needle: Needle) -> re.Pattern[str]:
    """Return what finds a needle in the `letters` of a text."""
    parts = [word if len(word) < LONGEST_WORD else f"{word}[^ ]*" for word in needle.words]
    return re.compile(f" {' +'.join(parts)}{'' if needle.open else '(?= )'}")


def _hits(needle: Needle, found: list[tuple[str, int, int]]) -> list[tuple[int, int]]:
    count = len(needle.words)
    hits = []
    for at in range(len(found) - count + 1):
        text = f" {' '.join(word for word, _, _ in found[at : at + count])} "
        if text.startswith(needle.text):
            hits.append((found[at][1], found[at + count - 1][2]))
    return hits
