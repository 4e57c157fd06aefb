"""Whether a secret stands in a text, also as JSON, HTML or CSV write it."""

from __future__ import annotations

import json
from html import escape

__all__ = ["stands_in"]

_SHORTEST = 8  # a shorter one may be an ordinary word


def stands_in(secret: str, text: str) -> bool:
    """Return whether `secret` stands in `text`, as it is or escaped.

    Of a secret with fewer than 8 characters that is never told: it may be a word.

    Examples
    --------
    >>> stands_in("key-1&2345", "the key-1&amp;2345"), stands_in("key-12345", "other")
    (True, False)
    """
    if len(secret) < _SHORTEST:
        return False
    as_json = json.dumps(secret)[1:-1]
    forms = {secret, as_json, escape(secret), escape(as_json), secret.replace('"', '""')}
    return any(form in text for form in forms)
