"""What a search means: how a text becomes words, and which words a search looks for.

The one normaliser of every way to search. Indexes are fed with what it makes of a text, and rows
that no index knows are compared by it, so that all of them find the same runs.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

__all__ = ["BREAK", "LONGEST_PHRASE", "Needle", "Search", "joined", "spans", "words"]

BREAK = "¶"
"""Stands between two values, so that no phrase reaches from one into the other; never a word."""

_LONGEST_WORD = 100
LONGEST_PHRASE = 64
_PIECE, _OVERLAP = 400, 100
_SHORT_PIECE = 40
_BEFORE, _EXCERPT = 30, 90
_ASCII = {code: char if (char := chr(code).lower()).isalnum() else " " for code in range(128)}
_QUOTED = re.compile(r'"([^"]*)("?)|([^"\s]+)')
_CLUSTERS = re.compile(
    r".[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u1160-\u11ff\u3099\u309a\uff9e\uff9f\ufe0f]*",
    re.DOTALL,
)
_FILE = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)

_VARIANTS = "".join(map(chr, range(0xFE00, 0xFE10)))
_POINTS = range(10, 37)
_FIRST_ACCENT = 200
# Scripts that put no spaces between words: Thai, Lao, Tibetan, Burmese, Khmer, kana, Chinese.
_UNSPACED = (
    range(0x0E00, 0x10A0),
    range(0x1780, 0x1800),
    range(0x2E80, 0x3130),
    range(0x31A0, 0x3200),
    range(0x3400, 0xA000),
    range(0xAA60, 0xAA80),
    range(0xF900, 0xFB00),
    range(0x1AFF0, 0x1B170),
    range(0x20000, 0x3FFFE),
)


class _Letters(dict[int, str]):
    """What becomes of a character: part of a word, a word by itself, nothing, or a space."""

    def __missing__(self, code: int) -> str:
        bare = "".join(filter(_is_seen, unicodedata.normalize("NFKD", chr(code)))).casefold()
        self[code] = "".join(map(_letter, unicodedata.normalize("NFC", bare)))
        return self[code]


def _is_seen(char: str) -> bool:
    """Return whether a character is no accent, and not one of those that only direct others."""
    if unicodedata.category(char) == "Cf" or char in _VARIANTS:
        return False
    # Above, below, or Hebrew and Arabic points; marks of other scripts are letters of their own.
    rank = unicodedata.combining(char)
    return not (rank == 1 or rank in _POINTS or rank >= _FIRST_ACCENT)


def _letter(char: str) -> str:
    category = unicodedata.category(char)
    if category == "So" or (category[0] in "LMN" and any(ord(char) in part for part in _UNSPACED)):
        return f" {char} "
    return char if category[0] in "LMN" else " "


_LETTERS = _Letters(_ASCII)


def words(text: str) -> str:
    """Return the words of `text`, one space between two.

    Letters and digits make words. Case and accents are ignored; signs of scripts that are written
    without spaces, and symbols such as emoji, are words by themselves. Of a file in the text
    (``data:image/png;base64,…``) only the kind is read.

    Examples
    --------
    >>> words("Größe: 12.5 kg, «naïve» STRASSE")
    'grosse 12 5 kg naive strasse'
    >>> words("東京 tower")
    '東 京 tower'
    """
    if text.startswith(("data:", "DATA:")) and (file := _FILE.match(text)):
        text = file.group()
    found = (text.translate(_ASCII) if text.isascii() else _by_pieces(text)).split()
    if found and max(map(len, found)) > _LONGEST_WORD:
        found = [word[:_LONGEST_WORD] for word in found]
    return " ".join(found)


def _by_pieces(text: str) -> str:
    """Return what `_letters` does, but for spaces; sooner where few pieces are not ASCII."""
    pieces = [piece if piece.isascii() else _piece(piece) for piece in text.split()]
    read = " ".join(pieces)
    return read.translate(_ASCII) if read.isascii() else _letters(text)


def _piece(piece: str) -> str:
    return _remembered(piece) if len(piece) <= _SHORT_PIECE else _letters(piece)


@lru_cache(maxsize=10_000)
def _remembered(piece: str) -> str:
    return _letters(piece)


def _letters(text: str) -> str:
    if text.isascii():
        return text.translate(_ASCII)
    return unicodedata.normalize("NFKC", text).translate(_LETTERS)


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
        if not self.touches(joined([text])):
            return None
        begin = max(0, (self.first(text) or 0) - _BEFORE)
        cut = text[begin : begin + _EXCERPT]
        if begin:
            cut = "…" + cut.partition(" ")[2]
        if begin + _EXCERPT < len(text):
            cut = cut.rpartition(" ")[0] + "…"
        return " ".join(cut.split())

    def first(self, text: str) -> int | None:
        """Return where the first needle in `text` begins; long texts are read piece by piece."""
        for start in range(0, max(len(text), 1), _PIECE):
            piece = text[start : start + _PIECE + _OVERLAP]
            if self.touches(joined([piece])):
                for begin, _ in self.marks(piece):
                    if begin or not start:  # what begins a later piece may be half a word
                        return start + begin
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


def joined(texts: list[str]) -> str:
    """Return the words of several texts, as `Search.finds_in` and the indexes want them."""
    return f" {f' {BREAK} '.join(map(words, texts))} "


def spans(text: str) -> list[tuple[str, int, int]]:
    """Return the words of a short text with where each begins and ends.

    Examples
    --------
    >>> spans("Größe: 12")
    [('grosse', 0, 5), ('12', 7, 9)]
    """
    found: list[tuple[str, int, int]] = []
    word, begin, end = "", 0, 0
    for cluster in _CLUSTERS.finditer(text):
        for char in _letters(cluster.group()):
            if char != " ":
                begin = begin if word else cluster.start()
                word, end = word + char, cluster.end()
            elif word:
                found.append((word[:_LONGEST_WORD], begin, end))
                word = ""
    return [*found, (word[:_LONGEST_WORD], begin, end)] if word else found


def _hits(needle: Needle, found: list[tuple[str, int, int]]) -> list[tuple[int, int]]:
    count = len(needle.words)
    hits = []
    for at in range(len(found) - count + 1):
        text = f" {' '.join(word for word, _, _ in found[at : at + count])} "
        if text.startswith(needle.text):
            hits.append((found[at][1], found[at + count - 1][2]))
    return hits
