"""Masking of a secret in texts that come from outside, as it is or escaped."""

from __future__ import annotations

import re
from functools import cached_property, lru_cache
from html import escape

HIDDEN = "[API key]"
_LONG = 16
"""A shorter secret may be a part of other words, so it is masked as a whole word only."""
_SHORTEST = 8
"""A shorter secret is not looked for in exports: it may be an ordinary word."""
_ASCII_ESCAPE = re.compile(rb"\\u00[2-7]")
_NAMED = rb"((?:key|token|secret|credentials?|authorization|bearer)[^A-Za-z0-9]{1,5}(?:is )?)"


class SecretMask:
    r"""Finds a secret in texts: plain, in another case, or as JSON, HTML and URLs escape it.

    A secret of 16 characters or more is masked wherever it stands. A shorter one is masked as a
    whole word; one of letters alone, such as ``demo``, only after ``key``, ``token`` and the like.

    Examples
    --------
    >>> SecretMask("sk-0123456789abc").hide(b"bad key \\u0073K-0123456789abc!")
    b'bad key [API key]!'
    >>> SecretMask("demo").hide(b"no deployment 'demo' for the key 'demo'")
    b"no deployment 'demo' for the key '[API key]'"
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._lowered = secret.lower().encode()

    def hide(self, content: bytes) -> bytes:
        """Return an error's text without the secret."""
        return self._pattern.sub(self._replaced, content)

    def hide_in_reply(self, content: bytes) -> bytes:
        """Return a reply without the secret; a short one may be an ordinary word in it."""
        if len(self._secret) < _LONG:
            return content
        if self._lowered in content.lower() or _ASCII_ESCAPE.search(content):
            return self.hide(content)
        return content

    def found_in(self, text: str) -> bool:
        """Return whether the secret stands in a text that is to be exported."""
        if len(self._secret) < _SHORTEST:
            return False
        return self._anywhere.search(text.encode("utf-8", "replace")) is not None

    @cached_property
    def _anywhere(self) -> re.Pattern[bytes]:
        return re.compile(b"".join(map(_any_form, self._secret)), re.IGNORECASE)

    @cached_property
    def _pattern(self) -> re.Pattern[bytes]:
        if len(self._secret) >= _LONG:
            return self._anywhere
        before = _NAMED if self._secret.isalpha() else rb"(?<![a-z0-9_-])"
        return re.compile(before + self._anywhere.pattern + rb"(?![a-z0-9_-])", re.IGNORECASE)

    @staticmethod
    def _replaced(match: re.Match[bytes]) -> bytes:
        return b"".join([*match.groups(b""), HIDDEN.encode()])


_mask_of = lru_cache(maxsize=8)(SecretMask)


def stands_in(secret: str, text: str) -> bool:
    """Return whether `secret` stands in a text that is to be exported."""
    return _mask_of(secret).found_in(text)


def _any_form(letter: str) -> bytes:
    """Return a pattern for one character, as it is or escaped."""
    codes = {ord(letter.lower()), ord(letter.upper())}
    forms = {re.escape(letter), re.escape(escape(letter)), *(rf"&#0*{code};" for code in codes)}
    forms |= {rf"\\+u00{code:02x}" for code in codes} | {rf"%{code:02x}" for code in codes}
    forms |= {rf"&#x0*{code:x};" for code in codes}
    forms |= {rf"\\*{re.escape(letter)}", '""'} if letter == '"' else set()
    forms |= {rf"\\*{re.escape(letter)}"} if letter in "/\\" else set()
    return f"(?:{'|'.join(sorted(forms, key=len, reverse=True))})".encode()
