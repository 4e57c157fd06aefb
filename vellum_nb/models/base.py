"""What all models share: frozen, and lenient to what a server adds or leaves empty."""

from __future__ import annotations

import json
from datetime import UTC, datetime
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


def utc(moment: datetime) -> datetime:
    """Return `moment` in UTC; one without a zone is taken as UTC.

    Examples
    --------
    >>> utc(datetime.fromisoformat("2026-07-01T09:30+02:00")).isoformat()
    '2026-07-01T07:30:00+00:00'
    """
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # within hours of the year 1 or 9999
        return moment.replace(tzinfo=UTC)


Moment = Annotated[datetime, AfterValidator(utc)]
"""A time in a reply, in UTC, so that times can be compared with each other."""


class Model(BaseModel):
    """A frozen pydantic model that ignores fields it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, protected_namespaces=()
    )


class Reply(Model):
    """A model of something a server sends: null counts as absent where there is a default."""

    @field_validator("*", mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None:
            return value
        field = cls.model_fields[str(info.field_name)]
        return None if field.is_required() else field.get_default(call_default_factory=True)


def validated(kind: type[M], value: object) -> M | None:
    """Return `value` as a `kind`, or None when it does not validate."""
    try:
        return kind.model_validate(value)
    except ValidationError:
        return None


def read_json(kind: type[M], body: bytes) -> M | str:
    """Return JSON as a `kind`, or why it is not one."""
    try:
        return kind.model_validate_json(body)
    except ValidationError:
        repaired = _repaired(body)
    try:
        return kind.model_validate_json(repaired)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(step) for step in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])


def _repaired(body: bytes) -> bytes:
    """Return JSON without the byte order mark and half surrogates that Python tolerates."""
    try:
        value = json.loads(body.decode("utf-8-sig", "replace"))
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return body
