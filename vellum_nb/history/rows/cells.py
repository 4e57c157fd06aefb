"""What a frame shows of JSON values, of many at once without a Python loop over them."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, compress, repeat
from typing import Any

from vellum_nb.history.rows.rows import clean
from vellum_nb.models import canonical_json

__all__ = ["cell", "cells", "given", "members"]

_STRUCTURED = frozenset({dict, list})
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
_AT_ONCE = 2000
"""Texts that are read as one, whose letters take as much memory as the widest of them."""
_BETWEEN = "\0"
_CUT = f",{_encode(_BETWEEN)},"


def cell(value: Any) -> Any:
    """Return what a frame shows of a JSON value: scalars as they are, the rest as JSON text."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if value is None or isinstance(value, bool | int):
        return value
    try:
        return clean(canonical_json(value))
    except ValueError:  # NaN or an infinity within
        return clean(_encode(value))


def cells(texts: Sequence[str | None]) -> list[Any]:
    """Return `cell` of each JSON text, None where there is none."""
    found: list[Any] = []
    for first in range(0, len(texts), _AT_ONCE):
        values, has_halves = _read(texts[first : first + _AT_ONCE], "null")
        found += _shown(values, has_halves=has_halves)
    return found


def members(texts: Sequence[str | None], only: Collection[str] = ()) -> dict[str, list[Any]]:
    """Return the cells of each name in `texts`, JSON objects, newest first; of `only` some names.

    The names come in the order in which the oldest objects brought them.
    """
    places = range(0, len(texts), _AT_ONCE)
    lots = [_members(texts[first : first + _AT_ONCE], only) for first in places]
    found: dict[str, list[Any]] = {}
    for name in dict.fromkeys(chain.from_iterable(lot for lot, _ in reversed(lots))):
        found[name] = []
        for lot, size in lots:
            found[name] += lot.pop(name) if name in lot else [None] * size
    return found


def _members(
    texts: Sequence[str | None], only: Collection[str]
) -> tuple[dict[str, list[Any]], int]:
    objects, has_halves = _read(texts, "{}")
    names = only or dict.fromkeys(chain.from_iterable(reversed(objects)))
    each = {name: list(map(dict.get, objects, repeat(name))) for name in names}
    shown = {name: _shown(values, has_halves=has_halves) for name, values in each.items()}
    return shown, len(texts)


def _read(texts: Sequence[str | None], missing: str) -> tuple[list[Any], bool]:
    """Return the values, and whether there may be halves of surrogate pairs in them."""
    there = list(filter(None, texts))
    if len(there) < len(texts):
        there = [text or missing for text in texts]
    joined = f"[{','.join(there)}]"
    values = json.loads(joined)
    if len(values) != len(there):  # of damaged texts two may be one value together
        values = list(map(json.loads, there))
    return values, "\\u" in joined and bool(_SURROGATE.search(joined))


def _shown(values: list[Any], *, has_halves: bool) -> list[Any]:
    """Return `cell` of each."""
    kinds = set(map(type, values))
    if has_halves or (float in kinds and any(map(operator.ne, values, values))):  # NaN
        return list(map(cell, values))
    if kinds.isdisjoint(_STRUCTURED):
        return values
    structured = list(map(_STRUCTURED.__contains__, map(type, values)))
    sources: dict[bool, Iterator[Any]] = {
        True: iter(_texts(list(compress(values, structured)))),
        False: compress(values, map(operator.not_, structured)),
    }
    return list(map(next, map(sources.__getitem__, structured)))


def given(values: Iterable[Any]) -> list[Any]:
    """Return the values that are not None."""
    return list(filter(partial(operator.is_not, None), values))


def _texts(values: list[Any]) -> list[str]:
    """Return each value as JSON, written as one list and cut where nothing else can be."""
    both = [_BETWEEN] * (2 * len(values) - 1)
    both[::2] = values
    texts = _encode(both)[1:-1].split(_CUT)
    return texts if len(texts) == len(values) else list(map(cell, values))
