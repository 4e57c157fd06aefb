"""Filters and orderings of execution events, from the query of a request to SQL.

Source: https://docs.vellum.ai/developers/workflows-sdk/tutorials/workflow-execution-filtering
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictBool, TypeAdapter, ValidationError

from vellum_nb.local.engine.events import from_json
from vellum_nb.local.ledger.ledger import EVERYTHING, Where, metadata_text, micros, storable
from vellum_nb.local.refusals import Refused

_MAX_DEPTH = 20
_MAX_CONDITIONS = 200
_EQUAL = frozenset({"==", "=", "!="})
_EXPECTED = {
    "metadata": "it knows contains with text or an object, and ==, != with an object",
    "timestamp": "give a time such as 2026-01-31T12:00:00Z and one of ==, !=, >=, <=, >, <",
}
# SQLite does not read JSON as deeply nested as Python does.
_READABLE = "CASE WHEN json_valid(metadata) THEN metadata ELSE '{}' END"
_VALUE = "CASE type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE json_quote(value) END"


class _Name(BaseModel):
    value: Literal["timestamp", "state", "execution_id", "external_id", "metadata"]


class _Value(BaseModel):
    value: Any


class _Condition(BaseModel):
    type: Literal["LOGICAL_CONDITION"]
    lhs_variable: _Name
    operator: Literal["==", "=", "!=", ">=", "<=", ">", "<", "contains"]
    rhs_variable: _Value


class _Group(BaseModel):
    type: Literal["LOGICAL_CONDITION_GROUP"]
    combinator: Literal["AND", "OR"] | None = None
    negated: StrictBool | None = None
    conditions: list[_Node]


_Node = Annotated[_Condition | _Group, Field(discriminator="type")]
_FILTERS: TypeAdapter[_Condition | _Group] = TypeAdapter(_Node)


def parse_filters(filters: str | None) -> Where:
    """Return the condition of the query parameter `filters`."""
    if filters is None or not filters.strip():
        return EVERYTHING
    try:
        node = _FILTERS.validate_python(from_json(filters))
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_context=False)[0]
        steps = [step for step in error["loc"] if not str(step).startswith("LOGICAL_")]
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
        msg = f"{error['msg']}, not {error['input']!r:.60}"
        raise _bad(msg, place.lstrip(".")) from None
    except (ValueError, RecursionError) as exc:
        msg = f"not valid JSON ({exc})"
        raise _bad(msg) from None
    values: dict[str, str | int] = {}
    conditions = itertools.count(1)

    def read(node: _Condition | _Group, depth: int = 0) -> str:
        if depth > _MAX_DEPTH or next(conditions) > _MAX_CONDITIONS:
            msg = f"more than {_MAX_CONDITIONS} conditions, or {_MAX_DEPTH} groups in each other"
            raise _bad(msg)
        if isinstance(node, _Condition):
            return _condition(node, values)
        parts = [read(each, depth + 1) for each in node.conditions]
        sql = f" {node.combinator or 'AND'} ".join(parts) or "1"
        return f"NOT ({sql})" if node.negated else f"({sql})"

    return Where(read(node), values)


def parse_ordering(ordering: str | None) -> str:
    """Return the query parameter `ordering` as SQL; default: newest first."""
    keys = ordering_keys(ordering, ("timestamp", "state")) or [("timestamp", True)]
    columns = [*keys, ("number", keys[-1][1])]
    return ", ".join(f"{name} DESC" if is_reversed else name for name, is_reversed in columns)


def ordering_keys(ordering: str | None, known: Collection[str]) -> list[tuple[str, bool]]:
    """Return the keys of an ordering, each with whether it is reversed by a leading minus."""
    parts = [part.strip() for part in (ordering or "").split(",") if part.strip()]
    for part in parts:
        if part.removeprefix("-") not in known:
            names = ", ".join(f"{name}, -{name}" for name in known)
            raise Refused(400, f"ordering: {part!r:.60} is not known; use {names}")
    return [(part.removeprefix("-"), part.startswith("-")) for part in parts]


def _condition(condition: _Condition, values: dict[str, str | int]) -> str:
    """Return a condition as SQL; its parameters are added to `values`."""
    name, operator = condition.lhs_variable.value, condition.operator
    value = condition.rhs_variable.value

    def bound(value: str | int) -> str:
        parameter = f"f{len(values)}"
        values[parameter] = value
        return f":{parameter}"

    if value is None and operator in _EQUAL and name != "timestamp":
        return f"{name} IS {'NOT ' if operator == '!=' else ''}NULL"
    if name == "metadata" and operator == "contains" and isinstance(value, Mapping):
        tests = [
            f"EXISTS (SELECT 1 FROM json_each({_READABLE}) WHERE key = {bound(storable(key))} "
            f"AND {_VALUE} = {bound(metadata_text(item))})"
            for key, item in value.items()
        ]
        return f"({' AND '.join(tests) or 'metadata IS NOT NULL'})"
    parameter = bound(_comparable(name, operator, value))
    if operator == "!=":
        return f"{name} IS NOT {parameter}"
    if operator == "contains":
        return f"ifnull(instr({name}, {parameter}) > 0, 0)"
    return f"ifnull({name} {operator} {parameter}, 0)"


def _comparable(name: str, operator: str, value: Any) -> str | int:
    """Return `value` as SQLite compares it with the column `name`."""
    if name == "metadata" and operator == "contains" and isinstance(value, str):
        return metadata_text(value)[1:-1]
    if name == "metadata" and operator in _EQUAL and isinstance(value, Mapping):
        return metadata_text(value)
    if name not in {"metadata", "timestamp"} and isinstance(value, str):
        return storable(value)
    if name == "timestamp" and operator != "contains" and not isinstance(value, bool):
        with suppress(ValueError, TypeError, OverflowError, OSError):
            is_text = isinstance(value, str)
            when = datetime.fromisoformat(value) if is_text else datetime.fromtimestamp(value, UTC)
            return micros(when if when.tzinfo else when.replace(tzinfo=UTC))
    msg = f"{name} {operator} {value!r:.60} cannot be compared: {_EXPECTED.get(name, 'give text')}"
    raise _bad(msg)


def _bad(problem: str, place: str = "") -> Refused:
    where = f" at {place}" if place else ""
    return Refused(400, f"filters{where}: {problem}")
