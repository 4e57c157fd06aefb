"""Words, stems and sentences for the samples: small, deterministic, no dependencies."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from pydantic import Field

from vellum_nb.local.refusals import Reject

_COMMON = """
a about after again all also am an and any are as at be because been before being but by can
could did do does doing don't each for from further had has have having he her here hers him his
how i i'm i've if in into is it it's its itself just me more most my no nor not now of off on
once only or other our out over own please same she should so some such than that that's the
their them then there these they this those through to too under until up us very was we were
what when where which while who whom why will with would you your yours
"""
STOP_WORDS = frozenset(_COMMON.split())

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_BOUNDARY = re.compile(
    r"(?:(?<=[.!?\u2026])|(?<=[.!?\u2026][\"')\]\u201d\u2019]))\s+"
    r"|\n\s*\n|(?<=[\u3002\uff01\uff1f])"
)
_ABBREVIATIONS = ("e.g.", "i.e.", "dr.", "mr.", "mrs.", "ms.", "no.", "approx.", "vs.", "st.")
_SHORTEST = 3  # minimum of letters of a stem
_SUFFIXES = ("ingly", "edly", "ings", "ing", "ies", "ied", "ed", "es", "ly", "s")


def field(description: str, *, long: bool) -> Any:
    """Return the field of a text input, multi-line in a form if `long`."""
    return Field(description=description, json_schema_extra={"x-multiline": long})


def not_empty(text: str, message: str, *, wordless: bool = False) -> str:
    """Return `text`; reject the run with `message` if it is blank or, by default, has no words."""
    if not (text.strip() if wordless else words(text)):
        raise Reject(message)
    return text


def words(text: str) -> list[str]:
    """Return the words of `text`, case-folded, in order."""
    normal = unicodedata.normalize("NFKC", text).replace("\u2019", "'").casefold()
    return _WORD.findall(normal)


def stem(word: str) -> str:
    """Remove common English suffixes: `charged` and `charges` have the same stem."""
    if len(word) <= _SHORTEST or not word.isascii():
        return word
    fitting = (s for s in _SUFFIXES if word.endswith(s) and len(word) - len(s) >= _SHORTEST)
    ending = "" if word.endswith("ss") else next(fitting, "")
    word = word.removesuffix(ending) + ("i" if ending in {"ies", "ied"} else "")
    if len(word) > _SHORTEST and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    if len(word) > _SHORTEST and word[-1] in "ey":
        return word[:-1] + ("i" if word[-1] == "y" else "")
    return word


def stems(text: str) -> list[str]:
    """Return the stems of the words of `text`, without stop words."""
    return [stem(word) for word in words(text) if word not in STOP_WORDS]


def sentences(text: str) -> list[str]:
    """Split `text` into sentences: at full stops, question marks and empty lines."""
    result: list[str] = []
    for piece in _BOUNDARY.split(text):
        part = " ".join(piece.split())
        if not part:
            continue
        if result and result[-1].lower().endswith(_ABBREVIATIONS):
            result[-1] = f"{result[-1]} {part}"
        else:
            result.append(part)
    return result
