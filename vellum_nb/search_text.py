"""Text search: normalised text, parsed queries, and their matches.

The index of the history stores the result of `document`; tables highlight `Search.spans`.
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
"""Version of the normaliser; another version can give another text."""
BREAK = "¶"  # separates values, so no phrase spans two of them
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
    """Translation table: a character becomes part of a word, a word, a space, or empty."""

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
    """Return the words of texts between single spaces, as stored in the index.

    Words consist of letters and digits. Case and accents are ignored. A character of a script
    without spaces, and a symbol such as an emoji, is a word. Only the MIME type of an embedded file
    (``data:image/png;base64,…``) is used.

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
    """Return the normalised text of a run: the values in its JSON payloads, then `texts`.

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
    all_texts = (*values, *texts)
    return normalize(text for text in all_texts if isinstance(text, str))  # bytes: damaged


def _collect(value: Any, into: list[str]) -> None:
    if isinstance(value, str):
        into.append(value)
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _collect(item, into)
    elif value is not None:
        into.append(str(value))


# Queries


@dataclass(frozen=True, slots=True)
class Term:
    """Consecutive words; the last one is a prefix if `is_prefix`."""

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

        An unclosed quotation mark, as while typing, is closed at the end, and its last word is a
        prefix.
        """
        terms: dict[Term, None] = {}
        for phrase, closed, word in _QUOTED.findall(text):
            parts = normalize([phrase or word]).split()
            for start in range(0, len(parts), LONGEST_PHRASE):
                piece = tuple(parts[start : start + LONGEST_PHRASE])
                is_last = start + LONGEST_PHRASE >= len(parts)
                terms[Term(piece, is_prefix=is_last and not closed)] = None
        return cls(tuple(terms))

    def matches(self, texts: Iterable[str]) -> bool:
        """Return whether all terms occur in `texts`, each within one of them."""
        return self.matches_document(normalize(texts))

    def matches_document(self, text: str) -> bool:
        """Return whether all terms occur in a result of `document` or `normalize`."""
        return bool(self.terms) and all(term.text in text for term in self.terms)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return begin and end of the matches in `text`, in order, without overlaps.

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
        """Return the position of the first match in `text`."""
        return next((begin for begin, _ in self.spans(text)), None)

    def excerpt(self, text: str, before: int = 30, length: int = 90) -> str | None:
        """Return a line of `text` around the first match, or None.

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
    """Normalised letters of a text, with their positions in it."""

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
        """Return begin and end in the text of a match of `_pattern`."""
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
    """Return a pattern for a term that allows several spaces between words."""
    parts = [word if len(word) < _LONGEST_WORD else f"{word}[^ ]*" for word in term.words]
    return re.compile(f" +{' +'.join(parts)}{'[^ ]*' if term.is_prefix else ''}(?= )")
