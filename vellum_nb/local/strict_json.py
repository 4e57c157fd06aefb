"""JSON as its standard has it."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

__all__ = ["strict_json"]


def strict_json(text: bytes | str) -> Any:
    """Return `text` as JSON without NaN and infinities; raises a `ValueError` if it is none."""
    return json.loads(text, parse_constant=_no_constant, parse_float=_finite)


def _no_constant(name: str) -> NoReturn:
    msg = f"JSON has no {name}"
    raise ValueError(msg)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        msg = f"the number {text:.40} is too large"
        raise ValueError(msg)
    return value
