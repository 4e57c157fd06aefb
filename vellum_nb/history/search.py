"""Whether a run contains a text; SQLite calls this for each row that a search looks at."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["matches", "needle"]


def needle(text: str) -> str:
    """Return `text` as `matches` wants it: case is ignored.

    Examples
    --------
    >>> matches(needle("STRASSE"), '{"q":"Straße 7"}', "{}")
    True
    """
    return text.casefold()


def matches(term: str, inputs: str, outputs: str, *texts: str | None) -> bool:
    """Return whether `term` is in a value of the JSON `inputs` or `outputs`, or in `texts`."""
    if any(text is not None and term in text.casefold() for text in texts):
        return True
    return _in_json(term, inputs) or _in_json(term, outputs)


def _in_json(term: str, text: str) -> bool:
    # Looking into the text first spares most rows the parsing; names and commas match there too.
    if "\\u" not in text and json.dumps(term, ensure_ascii=False)[1:-1] not in text.casefold():
        return False
    return _in_value(term, json.loads(text))


def _in_value(term: str, value: Any) -> bool:
    if isinstance(value, dict):
        return any(_in_value(term, item) for item in value.values())
    if isinstance(value, list):
        return any(_in_value(term, item) for item in value)
    if isinstance(value, str):
        return term in value.casefold()
    return value is not None and term in json.dumps(value).casefold()
