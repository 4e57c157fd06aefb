"""What all models share: frozen, and lenient to what a server adds or leaves empty."""

from __future__ import annotations

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

__all__ = ["Model", "Moment", "Reply", "fitting", "utc"]

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
"""A time that a server tells, in UTC: times can then be compared with each other."""


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


def fitting(kind: type[M], value: object) -> M | None:
    """Return `value` as a `kind`, or None when it is none."""
    try:
        return kind.model_validate(value)
    except ValidationError:
        return None
