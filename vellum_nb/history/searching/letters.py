"""How a text becomes words.

The one normaliser of every way to search. Indexes are fed with what it makes of a text, and rows
that no index knows are compared by it, so that all of them find the same runs.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

__all__ = ["BREAK", "LONGEST_WORD", "folded", "joined", "letters", "place", "spans", "words"]

BREAK = "¶"
"""Stands between two values, so that no phrase reaches from one into the other; never a word."""

LONGEST_WORD = 100
_SHORT_RUN = 40
_ASCII = {code: char if (char := chr(code).lower()).isalnum() else " " for code in range(128)}
_LOWERED = bytes(ord(_ASCII.get(code, chr(code))) for code in range(256))
_FOREIGN = "vellum_nb.foreign"  # how an encoder treats what is no ASCII
_NO_LATIN = "vellum_nb.no_latin"  # and what is no Latin-1
_RUNS = re.compile(r"[^\x00-\x7f]+")
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


_LETTERS = _Letters({**_ASCII, ord(BREAK): BREAK})


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
    return joined([text]).strip()


def joined(texts: Iterable[str]) -> str:
    """Return the words of several texts, as `Search.finds_in` and the indexes want them."""
    found = _letters(f" {f' {BREAK} '.join(map(_plain, texts))} ")
    while "  " in found:
        found = found.replace("  ", " ")
    if _has_long_words(found):
        return f" {' '.join([word[:LONGEST_WORD] for word in found.split()])} "
    return found


def letters(text: str) -> str:
    """Return the words of `text` as they are, with any number of spaces before each."""
    return _letters(f" {_plain(text)} ")


def folded(text: str, *, latin: bool) -> bytes:
    """Return `text` so that all its `words` are in it, but for what more there is between them.

    Quicker with `latin`, where words of other letters than a to z are not looked for: these are
    question marks.
    """
    if not latin:
        return text.encode("ascii", _FOREIGN).lower()
    found = text.encode("latin-1", _NO_LATIN)
    for sign, meant in _LATIN_OTHERS:
        found = found.replace(sign, meant)
    return found.translate(_LATIN)


def _plain(text: str) -> str:
    """Return what of a text is read."""
    if text.startswith(("data:", "DATA:")) and (file := _FILE.match(text)):
        text = file.group()
    return text.replace(BREAK, " ")


def _has_long_words(found: str) -> bool:
    at, last = 0, len(found) - 1
    while 0 <= at < last:
        at = found.rfind(" ", at + 1, at + LONGEST_WORD + 2)
    return at < 0


def _letters(text: str) -> str:
    return text.encode("ascii", _FOREIGN).translate(_LOWERED).decode()


def _of_error(error: Any) -> tuple[bytes, int]:
    """Return what becomes of letters that are no ASCII, where the encoder meets them."""
    return _of_run(error.object[error.start : error.end]), error.end


def _of_latin_error(error: Any) -> tuple[bytes, int]:
    found, end = _of_error(error)
    return found if found.isascii() else found.decode().encode("ascii", "replace"), end


codecs.register_error(_FOREIGN, _of_error)
codecs.register_error(_NO_LATIN, _of_latin_error)


def _of_run(run: str) -> bytes:
    return _remembered(run) if len(run) <= _SHORT_RUN else _read(run).encode()


@lru_cache(maxsize=10_000)
def _remembered(run: str) -> bytes:
    return _read(run).encode()


def _read(run: str) -> str:
    return unicodedata.normalize("NFKC", run).translate(_LETTERS)


def _of_latin() -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Return a table of what becomes of a letter in Latin-1, and those that it does not do for."""
    table, others = bytearray(bytes(range(256)).lower()), []
    for code in range(128, 256):
        found = _read(chr(code))
        if found.isascii() and len(found) != 1:
            others.append((bytes([code]), found.encode()))
        else:
            table[code] = ord(found) if found.isascii() else ord("?")
    return bytes(table), others


_LATIN, _LATIN_OTHERS = _of_latin()


def place(text: str, at: int) -> int:
    """Return where in `text` begins what stands `at` in its `letters`.

    Examples
    --------
    >>> letters("Größe: 12")
    ' grosse  12 '
    >>> place("Größe: 12", letters("Größe: 12").index("12"))
    7
    """
    begin, stand = 0, 1
    for run in _RUNS.finditer(text):
        stand += run.start() - begin
        if at < stand:
            return run.start() - (stand - at)
        meant = len(_read(run.group()))
        if at < stand + meant:
            return _place_in_run(text, run, at - stand)
        begin, stand = run.end(), stand + meant
    return begin + at - stand


def _place_in_run(text: str, run: re.Match[str], beyond: int) -> int:
    for cluster in _CLUSTERS.finditer(text, *run.span()):
        beyond -= len(_read(cluster.group()))
        if beyond < 0:
            return cluster.start()
    return run.start()


def spans(text: str) -> list[tuple[str, int, int]]:
    """Return the words of a short text with where each begins and ends.

    Examples
    --------
    >>> spans("Größe: 12")
    [('grosse', 0, 5), ('12', 7, 9)]
    """
    found: list[tuple[str, int, int]] = []
    word, begin, end = "", 0, 0
    for cluster in _CLUSTERS.finditer(text.replace(BREAK, " ")):
        for char in _read(cluster.group()):
            if char != " ":
                begin = begin if word else cluster.start()
                word, end = word + char, cluster.end()
            elif word:
                found.append((word[:LONGEST_WORD], begin, end))
                word = ""
    return [*found, (word[:LONGEST_WORD], begin, end)] if word else found
