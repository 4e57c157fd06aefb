"""Natural Python values as plain JSON values: what is sent, recorded and hashed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from datetime import date, time
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from vellum_nb.errors import InputError
from vellum_nb.models.media import media_dict

__all__ = ["ROLES", "is_pair", "plain", "format_value"]

ROLES = ("SYSTEM", "ASSISTANT", "USER", "FUNCTION")
_DEEPEST = 100
_SHOWN = 60
_MOST_BITS = 13_288  # 4,000 digits; Python itself writes 4,300


def plain(value: object) -> Any:
    """Return `value` as the plain JSON value that is sent.

    Paths and bytes become ``{"src": "data:..."}``, ``(role, text)`` pairs become messages, NumPy
    and pandas scalars become numbers, dataclasses and pydantic models become dicts.

    Raises
    ------
    InputError
        For NaN and for what JSON does not know.

    Examples
    --------
    >>> plain({"turns": [("user", "hello")], "n": 3})
    {'turns': [{'role': 'USER', 'text': 'hello'}], 'n': 3}
    """
    return _plain(value, 0)


def is_pair(value: object) -> bool:
    """Return whether `value` is a ``(role, text)`` pair."""
    if not isinstance(value, tuple | list) or len(value) != 2:  # noqa: PLR2004
        return False
    role, text = value
    return isinstance(role, str) and role.upper() in ROLES and isinstance(text, str)


def format_value(value: object) -> str:
    """Return `value` as messages show it: its kind and a short `repr`."""
    if value is None:
        return "None"
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):  # an integer of too many digits, perhaps in a list
        text = "that is too large to be shown"
    if len(text) > _SHOWN:
        text = f"{text[: _SHOWN - 1]}…"
    return f"the {_kind(value)} {text}"


def _kind(value: object) -> str:
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "bool"),
        (str, "text"),
        ((int, float), "number"),
        (Mapping, "dict"),
        ((list, tuple), "list"),
        (bytes, "bytes"),
        (Path, "path"),
    )
    return next((name for of, name in kinds if isinstance(value, of)), type(value).__name__)


def _plain(value: object, depth: int) -> Any:
    if depth > _DEEPEST:
        msg = f"is nested more than {_DEEPEST} deep, or contains itself"
        raise InputError(msg)
    value = _unwrapped(value)
    if isinstance(value, Mapping):
        return {_key(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return _sequence(value, depth)
    return _scalar(value)


def _scalar(value: object) -> Any:
    if value is None or isinstance(value, bool):
        return value
    for kind, convert in _SCALARS:
        if isinstance(value, kind):
            return convert(value)
    msg = f"{format_value(value)} is nothing that JSON knows; give text, numbers, lists or dicts"
    raise InputError(msg)


def _unwrapped(value: object) -> object:
    """Return what an enum member, NumPy scalar or model stands for."""
    if isinstance(value, Enum):
        return value.value
    if type(value).__name__ in {"NAType", "NaTType"}:
        msg = f"a value is missing ({value}); give one, or leave the input out"
        raise InputError(msg)
    if hasattr(value, "dtype") and hasattr(value, "item"):
        return _from_array(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value


def _from_array(value: Any) -> object:
    """Return a NumPy scalar or array (or a pandas series) as Python values."""
    if value.dtype.kind in "Mm":
        return str(value) if getattr(value, "ndim", 0) == 0 else [str(item) for item in value]
    return value.item() if getattr(value, "ndim", 0) == 0 else value.tolist()


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        msg = f"{format_value(value)} contains half of a surrogate pair, which UTF-8 cannot carry"
        raise InputError(msg) from None
    return str(value)


def _whole(value: int) -> int:
    if value.bit_length() > _MOST_BITS:
        msg = "is an integer of more than 4,000 digits, which JSON readers refuse"
        raise InputError(msg)
    return int(value)


def _number(value: float) -> float:
    if math.isnan(value):
        msg = "is not a number (NaN); give a value, or leave the input out"
        raise InputError(msg)
    if math.isinf(value):
        msg = "is infinite, which JSON does not know"
        raise InputError(msg)
    return float(value)


def _key(key: object) -> str:
    if isinstance(key, Enum):
        key = key.value
    if not isinstance(key, str):
        msg = f"{format_value(key)} is a key of a dict; keys must be text"
        raise InputError(msg)
    return _text(key)


def _sequence(value: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
    if value and all(_is_message(item) for item in value):
        return [_message(item, depth) for item in value]
    return [_plain(item, depth + 1) for item in value]


def _is_message(item: object) -> bool:
    """Return whether `item` is a pair, or a dict with a role; lists stay lists."""
    if isinstance(item, tuple):
        return is_pair(item)
    return isinstance(item, Mapping) and isinstance(item.get("role"), str)


def _message(item: Any, depth: int) -> Any:
    if isinstance(item, tuple):
        role, text = item
        return {"role": role.upper(), "text": _text(text)}
    return _plain(item, depth + 1)


_SCALARS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    (str, _text),
    (int, _whole),
    (float, _number),
    ((Path, bytes, bytearray), media_dict),
    ((date, time), lambda value: value.isoformat()),
    (UUID, str),
)
