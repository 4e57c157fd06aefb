"""Base of all models: frozen models, lenient JSON, masking of the API key."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from html import escape
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
)

M = TypeVar("M", bound=BaseModel)
_canonical = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode


def utc(moment: datetime) -> datetime:
    """Convert `moment` to UTC; a naive datetime is taken as UTC."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # within hours of the year 1 or 9999
        return moment.replace(tzinfo=UTC)


Moment = Annotated[datetime, AfterValidator(utc)]
"""Timestamp in a reply, converted to UTC."""


class Model(BaseModel):
    """Frozen pydantic model that ignores unknown fields."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, protected_namespaces=()
    )


class Reply(Model):
    """Model of a reply. A null is replaced by the default of its field, if it has one."""

    @field_validator("*", mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None:
            return value
        field = cls.model_fields[str(info.field_name)]
        return None if field.is_required() else field.get_default(call_default_factory=True)


def validated(kind: type[M], value: object) -> M | None:
    """Validate `value` as a `kind`; return None if it is invalid."""
    try:
        return kind.model_validate(value)
    except ValidationError:
        return None


def first_problem(exc: ValidationError) -> str:
    """Return the place and message of the first error, without the invalid value."""
    error = exc.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(step) for step in error["loc"])
    return f"{place}: {error['msg']}" if place else str(error["msg"])


def read_json(kind: type[M], body: bytes) -> M | str:
    """Parse JSON as a `kind`; return the reason if it is invalid."""
    try:
        return kind.model_validate_json(body)
    except ValidationError:
        repaired = _repaired(body)
    try:
        return kind.model_validate_json(repaired)
    except ValidationError as exc:
        return first_problem(exc)


def _repaired(body: bytes) -> bytes:
    """Remove a byte order mark and lone surrogates from JSON."""
    try:
        value = json.loads(body.decode("utf-8-sig", "replace"))
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return body


def canonical_json(value: object) -> str:
    """Return `value` as JSON with sorted keys, no spaces and plain Unicode.

    Equal values give equal text in every process. A change of this function changes the `case_id`
    of every stored run. NaN, infinity and circular structures raise ValueError.

    Examples
    --------
    >>> canonical_json({"b": 1, "a": ["é"]})
    '{"a":["é"],"b":1}'
    """
    return _canonical(value)


# Masking of a secret in text of servers, plain or escaped

HIDDEN = "[API key]"
_LONG = 16
"""Characters. A shorter secret may be part of other words: it is masked as a whole word only."""
_SHORTEST = 8
"""Characters. Exports are not searched for a shorter secret: it may be an ordinary word."""
_ASCII_ESCAPE = re.compile(rb"\\u00[2-7]")
_ESCAPES = (b"\\u00", b"&#", *(b"%%%d" % digit for digit in range(2, 8)))
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")  # letters that only `_ESCAPES` represent
_NAMED = rb"((?:key|token|secret|credentials?|authorization|bearer)[^A-Za-z0-9]{1,5}(?:is )?)"


class SecretMask:
    r"""Finds a secret in text: plain, in another case, or escaped for JSON, HTML or URLs.

    A secret of 16 characters or more is always masked, a shorter one only as a separate word. If
    it has only letters, such as ``demo``, it is masked only after ``key``, ``token`` and the like.

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
        """Mask the secret in the text of an error."""
        return self._pattern.sub(self._replaced, content)

    def hide_in_reply(self, content: bytes) -> bytes:
        """Mask the secret in a reply, unless it is short and could be an ordinary word."""
        if len(self._secret) < _LONG:
            return content
        if self._lowered in content.lower() or _ASCII_ESCAPE.search(content):
            return self.hide(content)
        return content

    def found_in(self, text: str) -> bool:
        """Return whether a text to export contains the secret."""
        if len(self._secret) < _SHORTEST:
            return False
        content = text.encode("utf-8", "replace").lower()
        if self._lowered in content:
            return True
        if _PLAIN.fullmatch(self._secret) and not any(map(content.__contains__, _ESCAPES)):
            return False  # without the pattern, which takes ten times as long
        return self._anywhere.search(content) is not None

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
    """Return whether a text to export contains `secret`."""
    return _mask_of(secret).found_in(text)


def key_finder(leaks: Callable[[str], bool] | None = None) -> Callable[[str], bool]:
    """Return a predicate for text that contains an API key: by `leaks`, or ``VELLUM_API_KEY``."""
    leaks = leaks or (lambda _: False)
    return lambda text: leaks(text) or stands_in(os.environ.get("VELLUM_API_KEY", ""), text)


def _any_form(letter: str) -> bytes:
    """Return a pattern for one character, plain or escaped."""
    codes = {ord(letter.lower()), ord(letter.upper())}
    forms = {re.escape(letter), re.escape(escape(letter)), *(rf"&#0*{code};" for code in codes)}
    forms |= {rf"\\+u00{code:02x}" for code in codes} | {rf"%{code:02x}" for code in codes}
    forms |= {rf"&#x0*{code:x};" for code in codes}
    forms |= {rf"\\*{re.escape(letter)}", '""'} if letter == '"' else set()
    forms |= {rf"\\*{re.escape(letter)}"} if letter in "/\\" else set()
    return f"(?:{'|'.join(sorted(forms, key=len, reverse=True))})".encode()
