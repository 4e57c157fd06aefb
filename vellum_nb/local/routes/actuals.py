"""Actuals as they are submitted: what an output should have been, or how good it was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vellum_nb.local.deployments.releases import Release
from vellum_nb.local.engine.inputs import wire_problem
from vellum_nb.local.ledger.ledger import Actual, ExecutionRecord
from vellum_nb.local.refusals import bad_request
from vellum_nb.local.routes.execution_views import output_id

__all__ = ["SubmitActuals", "checked_actuals"]

NonEmpty = Annotated[str, Field(min_length=1)]


class SubmittedActual(BaseModel):
    """One actual."""

    model_config = ConfigDict(frozen=True, strict=True)

    output_type: Literal["STRING", "JSON", "CHAT_HISTORY"]
    output_id: str | None = None
    output_key: NonEmpty | None = None
    quality: Annotated[float, Field(ge=0, le=1)] | None = None
    desired_output_value: Any = None
    metadata: dict[str, Any] | None = None
    timestamp: float | None = None


class SubmitActuals(BaseModel):
    """Body of POST /v1/submit-workflow-execution-actuals; one of the two ids is needed."""

    model_config = ConfigDict(frozen=True)

    actuals: list[SubmittedActual]
    execution_id: str | None = None
    external_id: NonEmpty | None = None


def checked_actuals(
    given: Sequence[SubmittedActual], record: ExecutionRecord, release: Release | None
) -> list[Actual]:
    """Return actuals of outputs that the execution has.

    Raises
    ------
    VellumNBError
        Names each actual that cannot be kept, and says why.
    """
    names = _names(record, release)
    ids = {output_id(record, release, name): name for name in names}
    problems: list[str] = []
    found: list[Actual] = []
    now = datetime.now(UTC)
    for number, actual in enumerate(given):
        problem = _name_problem(actual, names, ids) or _value_problem(actual)
        if problem:
            problems.append(f"actuals[{number}]: {problem}")
            continue
        name = actual.output_key or ids[str(actual.output_id)]
        body = {**actual.model_dump(exclude={"timestamp", "output_id"}), "output_key": name}
        found.append(Actual(record.execution_id, _time(actual.timestamp) or now, body))
    if problems:
        raise bad_request("; ".join(problems))
    return found


def _names(record: ExecutionRecord, release: Release | None) -> list[str]:
    declared = [variable.key for variable in release.output_variables] if release else []
    return list(dict.fromkeys([*(output.name for output in record.outputs), *declared]))


def _name_problem(actual: SubmittedActual, names: list[str], ids: Mapping[str, str]) -> str:
    if actual.output_key is None and actual.output_id is None:
        return "give output_key or output_id"
    known = ", ".join(names) or "none"
    if actual.output_key is not None and actual.output_key not in names:
        return f"there is no output {actual.output_key!r:.160}; there are: {known}"
    if actual.output_id is None:
        return ""
    if actual.output_id not in ids:
        return f"no output has the id {actual.output_id!r:.60}; there are: {known}"
    if actual.output_key not in {None, ids[actual.output_id]}:
        return f"output_id belongs to {ids[actual.output_id]!r}, not to {actual.output_key!r}"
    return ""


def _value_problem(actual: SubmittedActual) -> str:
    value, kind = actual.desired_output_value, actual.output_type
    if actual.timestamp is not None and _time(actual.timestamp) is None:
        return f"the timestamp {actual.timestamp!r} is no time; seconds since 1970 are expected"
    if value is None:
        return ""
    if kind == "JSON":
        return "" if isinstance(value, dict) else "desired_output_value: an object is expected"
    problem = wire_problem(value, kind)
    return f"desired_output_value: {problem}" if problem else ""


def _time(seconds: float | None) -> datetime | None:
    if seconds is None or not math.isfinite(seconds):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
