"""Filters and orderings of execution events, from the query of a request to SQL.

Source: https://docs.vellum.ai/developers/workflows-sdk/tutorials/workflow-execution-filtering
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from vellum_nb.local.ledger.ledger import EVERYTHING, Where, metadata_text, micros, storable
from vellum_nb.local.refusals import bad_request
from vellum_nb.local.strict_json import strict_json

__all__ = ["parse_filters", "parse_ordering"]

_DEEPEST = 20
_MOST = 200
_COMPARED = {"==": "=", "=": "=", "!=": "<>", ">=": ">=", "<=": "<=", ">": ">", "<": "<"}
_ORDERINGS = {"timestamp": "timestamp", "state": "state"}


def parse_filters(filters: str | None) -> Where:
    """Return the condition that the query parameter `filters` asks for.

    Raises
    ------
    VellumNBError
        When it is no JSON, or no group of conditions as Vellum documents it; says where.

    Examples
    --------
    >>> import json
    >>> condition = {
    ...     "type": "LOGICAL_CONDITION",
    ...     "lhs_variable": {"type": "STRING", "value": "state"},
    ...     "operator": "!=",
    ...     "rhs_variable": {"type": "STRING", "value": "REJECTED"},
    ... }
    >>> parse_filters(json.dumps(condition))
    Where(sql='state IS NOT ?', values=('REJECTED',))
    """
    if filters is None or not filters.strip():
        return EVERYTHING
    try:
        content = strict_json(filters)
    except (ValueError, RecursionError) as exc:
        msg = f"filters: it is no JSON ({exc})"
        raise bad_request(msg) from None
    return _Reader().read(content, "", 0)


def parse_ordering(ordering: str | None) -> str:
    """Return what the query parameter `ordering` asks for, as SQL; default: newest first.

    Examples
    --------
    >>> parse_ordering("state,-timestamp")
    'state, timestamp DESC, number DESC'
    """
    parts = [part.strip() for part in (ordering or "").split(",") if part.strip()]
    columns: list[str] = []
    for part in parts or ["-timestamp"]:
        column = _ORDERINGS.get(part.removeprefix("-"))
        if column is None:
            known = ", ".join(f"{name}, -{name}" for name in _ORDERINGS)
            msg = f"ordering: {part!r:.60} is not known; use {known}"
            raise bad_request(msg)
        columns.append(f"{column} DESC" if part.startswith("-") else column)
    last = "number DESC" if columns[-1].endswith("DESC") else "number"
    return ", ".join([*columns, last])


class _Reader:
    """Reads one filter; counts its conditions, as SQLite has limits."""

    def __init__(self) -> None:
        self._count = 0

    def read(self, node: Any, place: str, depth: int) -> Where:
        self._count += 1
        if depth > _DEEPEST or self._count > _MOST:
            raise _bad(place, f"more than {_MOST} conditions, or {_DEEPEST} groups in each other")
        if not isinstance(node, Mapping):
            raise _bad(place, f"an object is expected, not {type(node).__name__}")
        kind = node.get("type")
        if kind == "LOGICAL_CONDITION_GROUP":
            return self._group(node, place, depth)
        if kind == "LOGICAL_CONDITION":
            return _condition(node, place)
        known = "LOGICAL_CONDITION_GROUP, LOGICAL_CONDITION"
        raise _bad(place, f"the type {kind!r:.60} is not known; use {known}")

    def _group(self, node: Mapping[str, Any], place: str, depth: int) -> Where:
        combinator, negated = node.get("combinator") or "AND", node.get("negated") or False
        if combinator not in {"AND", "OR"}:
            raise _bad(place, f"the combinator {combinator!r:.60} is not known; use AND, OR")
        if not isinstance(negated, bool):
            raise _bad(place, f"negated is {negated!r:.60}; true or false is expected")
        conditions = node.get("conditions")
        if not isinstance(conditions, list):
            raise _bad(place, "conditions is missing; a list is expected")
        parts = [
            self.read(item, f"{place}conditions[{n}].", depth + 1)
            for n, item in enumerate(conditions)
        ]
        sql = f" {combinator} ".join(part.sql for part in parts) or "1"
        values = tuple(value for part in parts for value in part.values)
        return Where(f"NOT ({sql})" if negated else f"({sql})", values)


def _condition(node: Mapping[str, Any], place: str) -> Where:
    name = _operand(node, "lhs_variable", place)
    operator = node.get("operator")
    field = _FIELDS.get(name) if isinstance(name, str) else None
    if field is None:
        raise _bad(place, f"the field {name!r:.60} is not known; use {', '.join(_FIELDS)}")
    if not isinstance(operator, str):
        raise _bad(place, f"the operator is {operator!r:.60}; use {_known(name)}")
    value = _operand(node, "rhs_variable", place)
    return field(str(name), operator, value, place)


def _operand(node: Mapping[str, Any], key: str, place: str) -> Any:
    variable = node.get(key)
    if not isinstance(variable, Mapping) or "value" not in variable:
        raise _bad(place, f'{key} is missing; {{"type": "STRING", "value": ...}} is expected')
    return variable["value"]


def _text(name: str, operator: str, value: Any, place: str) -> Where:
    if value is None and operator in {"==", "=", "!="}:
        return Where(f"{name} IS {'NOT ' if operator == '!=' else ''}NULL")
    if not isinstance(value, str):
        raise _bad(place, f"{name} is compared with {value!r:.60}; text is expected")
    if operator == "contains":
        return Where(f"ifnull(instr({name}, ?) > 0, 0)", (storable(value),))
    return Where(_comparison(name, operator, place), (storable(value),))


def _time(name: str, operator: str, value: Any, place: str) -> Where:
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else _of_epoch(value)
        number = micros(when if when.tzinfo else when.replace(tzinfo=UTC))
    except (ValueError, TypeError, OverflowError, OSError):
        msg = f"{name} is compared with {value!r:.60}; a time such as 2026-01-31T12:00:00Z is "
        raise _bad(place, f"{msg}expected") from None
    return Where(_comparison(name, operator, place), (number,))


def _of_epoch(value: Any) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return datetime.fromtimestamp(value, UTC)


def _metadata(name: str, operator: str, value: Any, place: str) -> Where:
    """Compare whole metadata, or find a text or parts of it in them."""
    if value is None and operator in {"==", "=", "!="}:
        return Where(f"{name} IS {'NOT ' if operator == '!=' else ''}NULL")
    if operator == "contains" and isinstance(value, Mapping):
        tests = [_member(name, key, item) for key, item in value.items()]
        sql = " AND ".join(test.sql for test in tests) or f"{name} IS NOT NULL"
        return Where(f"({sql})", tuple(v for test in tests for v in test.values))
    if operator == "contains" and isinstance(value, str):
        return Where(f"ifnull(instr({name}, ?) > 0, 0)", (metadata_text(value)[1:-1],))
    if operator in {"==", "=", "!="} and isinstance(value, Mapping):
        return Where(_comparison(name, operator, place), (metadata_text(value),))
    msg = f"{name} knows contains with text or an object, and ==, != with an object"
    raise _bad(place, f"{msg}; not {operator} with {value!r:.60}")


def _member(name: str, key: str, value: Any) -> Where:
    sql = f"EXISTS (SELECT 1 FROM json_each({_readable(name)}) WHERE key = ? AND {_VALUE} = ?)"
    return Where(sql, (storable(key), metadata_text(value)))


def _readable(name: str) -> str:
    """Return what SQLite can look into: it does not go as deep as Python does."""
    return f"CASE WHEN json_valid({name}) THEN {name} ELSE '{{}}' END"


_VALUE = "CASE type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE json_quote(value) END"


def _comparison(name: str, operator: str, place: str) -> str:
    compared = _COMPARED.get(operator)
    if compared is None:
        raise _bad(place, f"the operator {operator!r:.60} is not known; use {_known(name)}")
    if operator == "!=":
        return f"{name} IS NOT ?"
    return f"ifnull({name} {compared} ?, 0)"


def _known(name: str) -> str:
    operators = [operator for operator in _COMPARED if operator != "="]
    return ", ".join(operators if name == "timestamp" else [*operators, "contains"])


_FIELDS: Mapping[str, Callable[[str, str, Any, str], Where]] = {
    "timestamp": _time,
    "state": _text,
    "execution_id": _text,
    "external_id": _text,
    "metadata": _metadata,
}


def _bad(place: str, problem: str) -> Exception:
    where = f" at {place.rstrip('.')}" if place else ""
    msg = f"filters{where}: {problem}"
    return bad_request(msg)
