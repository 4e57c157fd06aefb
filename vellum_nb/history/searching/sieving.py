"""Comparing very many runs: a sieve first, which lets through what may have the words.

The texts of many runs come as one, joined by the database, and are folded and looked through at
once: that takes a fraction of what making words of each takes. The sieve does not know JSON. Of
most runs it can tell whether they are found; the others are to be compared by their words.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from typing import NamedTuple

from vellum_nb.history.searching.letters import LONGEST_WORD, folded
from vellum_nb.history.searching.words import Needle, Search
from vellum_nb.history.store.store import Snapshot, Store

__all__ = ["sieved"]

_END = "\x1e"  # between two runs; JSON escapes it
_JOINED = {"sqlite": "group_concat({}, char(30))", "postgresql": "string_agg({}, chr(30))"}
_ESCAPED = "\\u"  # may be a letter; it also marks runs whose large values are elsewhere
_SMALL = re.compile(rb"[:\[,]\s*-?(?:0\.0000|[0-9.]+e-)")
"""A fraction that JSON may spell otherwise than Python does, as whose its words count."""
_FIGURE = re.compile(r"[0-9]+e?")
_OTHERS = """ || '"' || """.join(
    f"coalesce(r.{name}, '')" for name in ("error_code", "error_message", "note", "tags")
)
_TEXT = (
    f"r.seq || ' ' || p.inputs || p.outputs || '\"' || replace({_OTHERS}, '{_END}', ' ') || "
    f"CASE WHEN p.large IS NULL THEN '' ELSE '{_ESCAPED}' END"
)
_MOST, _CHARACTERS = 5_000, 2_000_000  # runs that are looked through at once
_READERS = 2

Compared = Callable[[Sequence[int]], list[int]]


def sieved(
    store: Store, search: Search, seqs: Sequence[int], compared: Compared
) -> Iterator[tuple[int, list[int]]]:
    """Yield how many of the runs `seqs` are done, and which of the last ones are found.

    Those of which the sieve cannot tell are `compared`. Two threads take turns, each with
    a connection: the database reads for one while the other looks through what it has.
    """
    sift, free = _Sieve(search), SimpleQueue[Snapshot]()
    sql = (
        f"SELECT {_JOINED[store.dialect.name].format(_TEXT)} FROM runs r "
        f"JOIN payloads p ON p.seq = r.seq WHERE {store.dialect.one_of('p.seq')}"
    )

    def look(some: Sequence[int]) -> _Looked:
        snapshot = free.get()
        try:
            text = snapshot.read(sql, (store.dialect.listed(some),))[0][0] or ""
        finally:
            free.put(snapshot)
        found, likely = sift(text)
        return _Looked(len(some), len(text), found + compared(likely))

    with ExitStack() as ends:
        for _ in range(_READERS):
            free.put(ends.enter_context(store.snapshot()))
        aside = ends.enter_context(ThreadPoolExecutor(_READERS))
        ends.callback(aside.shutdown, cancel_futures=True)
        yield from _in_turns(lambda some: aside.submit(look, some), seqs)


class _Looked(NamedTuple):
    runs: int
    characters: int
    found: list[int]


def _in_turns(
    submit: Callable[[Sequence[int]], Future[_Looked]], seqs: Sequence[int]
) -> Iterator[tuple[int, list[int]]]:
    """Have all of `seqs` looked through, as many at once as make a text of a good length."""
    coming = deque[Future[_Looked]]()
    begun, done, number = 0, 0, 1
    while done < len(seqs):
        while begun < len(seqs) and len(coming) <= _READERS:
            coming.append(submit(seqs[begun : begun + number]))
            begun += number
        looked = coming.popleft().result()
        number = min(_MOST, 1 + _CHARACTERS * looked.runs // (looked.characters + 1))
        done += looked.runs
        yield done, looked.found


class _Marks(NamedTuple):
    """What tells in a folded text whether a needle is in it."""

    words: list[bytes]
    near: re.Pattern[bytes]
    sure: re.Pattern[bytes]
    named: re.Pattern[bytes]

    @classmethod
    def of(cls, needle: Needle) -> _Marks:
        words = [re.escape(word.encode()) for word in needle.words]
        end = b"" if needle.open else rb'(?=[ .,;!"])'
        return cls(
            words=[word.encode() for word in needle.words],
            near=re.compile(rb"(?:\\[bfnrt]|[^0-9a-z])+".join(words)),
            sure=re.compile(rb'[ "]' + b" ".join(words) + end),
            named=re.compile(words[-1] + rb'[^"]*"\s*:'),
        )


class _Sieve:
    """Tells which runs are found for sure, and which may be, by a text of all of them."""

    def __init__(self, search: Search) -> None:
        words = [word for needle in search.needles for word in needle.words]
        self._latin = all(word.isascii() for word in words)
        self._is_sure = self._latin and max(map(len, words)) < LONGEST_WORD
        self._has_figures = any(map(_FIGURE.fullmatch, words))
        self._needles = [_Marks.of(needle) for needle in search.needles]

    def __call__(self, text: str) -> tuple[list[int], list[int]]:
        found, likely = list[int](), list[int]()
        every = folded(text, latin=self._latin)
        if not self._may_be_found(every):
            return found, likely
        for line in every.split(_END.encode()):
            if self._may_be_found(line):
                seq = int(line[: line.index(b" ")])
                (found if self._is_found(line) else likely).append(seq)
        return found, likely

    def _may_be_found(self, line: bytes) -> bool:
        if _ESCAPED.encode() in line or (self._has_figures and _SMALL.search(line)):
            return True
        for needle in self._needles:
            if not all(word in line for word in needle.words):
                return False
            if len(needle.words) > 1 and self._is_sure and not needle.near.search(line):
                return False
        return True

    def _is_found(self, line: bytes) -> bool:
        """Return whether a run is found, whatever of it is JSON, a name or a file."""
        if not self._is_sure or any(sign in line for sign in (b"\\u", b'\\"', b"data:")):
            return False
        return all(
            needle.sure.search(line) and not needle.named.search(line) for needle in self._needles
        )
