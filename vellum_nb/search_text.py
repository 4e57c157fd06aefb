"""Text search: normalised words of texts, parsed queries, and where in a text they match.

The history's index stores what `document` makes, and a table marks what `Search.spans` finds.
"""

from __future__ import annotations

import json
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

VERSION = f"1/{unicodedata.unidata_version}"
"""Of the normaliser: a text that another one normalised may differ."""
BREAK = "¶"  # between two values, so that no phrase reaches from one into the other
LONGEST_PHRASE = 64  # words
_LONGEST_WORD = 100
_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u1160-\u11ff\u3099\u309a\uff9e\uff9f\ufe0f"
_PIECES = re.compile(rf"[\x00-\x7f]+(?![{_MARKS}])|.[{_MARKS}]*", re.DOTALL)
_FILE = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_QUOTED = re.compile(r'"([^"]*)("?)|([^"\s]+)')
_VARIANTS = "".join(map(chr, range(0xFE00, 0xFE10)))
_FIRST_ACCENT = 200  # combining classes above and below a letter; 10 to 36 are Semitic points
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
    """Translation table: a character as part of a word, a word by itself, nothing, or a space."""

    def __missing__(self, code: int) -> str:
        bare = "".join(filter(_is_base, unicodedata.normalize("NFKD", chr(code)))).casefold()
        self[code] = "".join(map(_letter, unicodedata.normalize("NFC", bare)))
        return self[code]


def _is_base(char: str) -> bool:
    """Return whether a character is neither an accent nor a formatting character."""
    if unicodedata.category(char) == "Cf" or char in _VARIANTS:
        return False
    rank = unicodedata.combining(char)
    return not (rank == 1 or rank in range(10, 37) or rank >= _FIRST_ACCENT)


def _letter(char: str) -> str:
    category = unicodedata.category(char)
    if category == "So" or (category[0] in "LMN" and any(ord(char) in part for part in _UNSPACED)):
        return f" {char} "
    return char if category[0] in "LMN" else " "


_LETTERS = _Letters({code: c if (c := chr(code).lower()).isalnum() else " " for code in range(128)})
_LETTERS[ord(BREAK)] = BREAK


def _letters_of(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return text.translate(_LETTERS)


def normalize(texts: Iterable[str]) -> str:
    """Return the words of texts between single spaces, as the index stores them.

    Letters and digits make words. Case and accents are ignored; signs of scripts without spaces,
    and symbols such as emoji, are words by themselves. Of a file in a text
    (``data:image/png;base64,…``) only the kind is read.

    Examples
    --------
    >>> normalize(["Größe: 12.5 kg, «naïve» STRASSE", "東京 tower"])
    ' grosse 12 5 kg naive strasse ¶ 東 京 tower '
    """
    words = _letters_of(f" {BREAK} ".join(map(_searched, texts))).split()
    return f" {' '.join([word[:_LONGEST_WORD] for word in words])} "


def _searched(text: str) -> str:
    if text[:5].lower() == "data:" and (file := _FILE.match(text)):
        text = file.group()
    return text.replace(BREAK, " ")


def document(inputs: str | None, outputs: str | None, *texts: str | None) -> str:
    """Return the normalised text of a run: of the values in its JSON payloads, then of `texts`.

    Examples
    --------
    >>> document('{"q":"Refund?"}', '{"n":12.5,"ok":true}', None)
    ' refund ¶ 12 5 ¶ true '
    """
    values: list[str] = []
    for payload in filter(None, (inputs, outputs)):
        try:
            _collect(json.loads(payload, parse_constant=str), values)
        except (ValueError, RecursionError):  # damaged, or deeper than Python reads
            values.append(payload)
    every = (*values, *texts)
    return normalize(text for text in every if isinstance(text, str))  # bytes: damaged


def _collect(value: Any, into: list[str]) -> None:
    if isinstance(value, str):
        into.append(value)
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _collect(item, into)
    elif value is not None:
        into.append(str(value))


# ---------------------------------------------------------------- what a search looks for


@dataclass(frozen=True, slots=True)
class Term:
    """Words that follow each other; of the last one only the beginning if it `is_prefix`."""

    words: tuple[str, ...]
    is_prefix: bool

    @property
    def text(self) -> str:
        """The part of a document that contains the term."""
        return f" {' '.join(self.words)}{'' if self.is_prefix else ' '}"


@dataclass(frozen=True, slots=True)
class Search:
    """A parsed query: all of its terms must occur.

    Examples
    --------
    >>> Search.of('refund "Stripe fee" e-mail').terms[1:]
    (Term(words=('stripe', 'fee'), is_prefix=False), Term(words=('e', 'mail'), is_prefix=True))
    >>> Search.of("refund").matches(["Two refunds."]), Search.of('"refund"').matches(["refunds"])
    (True, False)
    """

    terms: tuple[Term, ...] = ()

    @classmethod
    def of(cls, text: str) -> Self:
        """Parse words, and phrases ``"in quotes"``.

        A quotation mark that is not closed counts as closed at the end, with a last word that may
        go on, as while one types.
        """
        found: dict[Term, None] = {}
        for phrase, closed, word in _QUOTED.findall(text):
            parts = normalize([phrase or word]).split()
            for start in range(0, len(parts), LONGEST_PHRASE):
                piece = tuple(parts[start : start + LONGEST_PHRASE])
                is_last = start + LONGEST_PHRASE >= len(parts)
                found[Term(piece, is_prefix=is_last and not closed)] = None
        return cls(tuple(found))

    def matches(self, texts: Iterable[str]) -> bool:
        """Return whether all terms occur in `texts`, each within one of them."""
        return self.matches_document(normalize(texts))

    def matches_document(self, text: str) -> bool:
        """Return whether all terms occur in what `document` or `normalize` made."""
        return bool(self.terms) and all(term.text in text for term in self.terms)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where in `text` terms occur: begin and end, in order, without overlaps.

        Examples
        --------
        >>> Search.of("policy refund").spans("Refund? Our policies… policy.")
        [(0, 6), (22, 28)]
        """
        aligned = _Aligned(text)
        hits = (hit for term in self.terms for hit in _pattern(term).finditer(aligned.normal))
        merged: list[tuple[int, int]] = []
        for begin, end in sorted(map(aligned.span, hits)):
            if merged and begin < merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((begin, end))
        return merged

    def first(self, text: str) -> int | None:
        """Return where in `text` the first term begins."""
        return next((begin for begin, _ in self.spans(text)), None)

    def excerpt(self, text: str, before: int = 30, length: int = 90) -> str | None:
        """Return a line of `text` around the first term, None where nothing is found.

        Examples
        --------
        >>> Search.of("refund").excerpt(f"{'We are sorry. ' * 9}We refund you.{' Thanks.' * 30}")
        '…are sorry. We are sorry. We refund you. Thanks. Thanks. Thanks. Thanks. Thanks. Thanks.…'
        """
        first = self.first(text)
        if first is None:
            return None
        begin = max(0, first - before)
        cut = text[begin : begin + length]
        if begin:
            cut = "…" + cut.partition(" ")[2]
        if begin + length < len(text):
            cut = cut.rpartition(" ")[0] + "…"
        return " ".join(cut.split())


class _Aligned:
    """The letters of a text, with where in the text each of them stands."""

    def __init__(self, text: str) -> None:
        parts: list[str] = [" "]
        self._at, self._from, self._ends = [0], [0], [0]
        size = 1
        for piece in _PIECES.finditer(text.replace(BREAK, " ")):
            letters = _letters_of(piece.group())
            if letters:
                parts.append(letters)
                self._at.append(size)
                self._from.append(piece.start())
                self._ends.append(piece.end() if len(letters) != len(piece.group()) else -1)
                size += len(letters)
        self.normal = "".join(parts) + " "

    def span(self, hit: re.Match[str]) -> tuple[int, int]:
        """Return where in the text a match of `_pattern` begins and ends."""
        begin = hit.start() + 1
        end = hit.end() - 1  # of a cut text, the last letter
        while self.normal[begin] == " ":
            begin += 1
        return self._place(begin)[0], self._place(end)[1]

    def _place(self, at: int) -> tuple[int, int]:
        piece = bisect_right(self._at, at) - 1
        if self._ends[piece] >= 0:
            return self._from[piece], self._ends[piece]
        place = self._from[piece] + at - self._at[piece]
        return place, place + 1


@lru_cache(maxsize=100)
def _pattern(term: Term) -> re.Pattern[str]:
    """Return what finds a term in letters, which may have several spaces between words."""
    parts = [word if len(word) < _LONGEST_WORD else f"{word}[^ ]*" for word in term.words]
    return re.compile(f" +{' +'.join(parts)}{'[^ ]*' if term.is_prefix else ''}(?= )")
