"""Filters and orderings of execution events, from the query of a request to SQL.

Source: https://docs.vellum.ai/developers/workflows-sdk/tutorials/workflow-execution-filtering
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from vellum_nb.local.engine.events import from_json
from vellum_nb.local.ledger.ledger import EVERYTHING, Where, metadata_text, micros, storable
from vellum_nb.local.refusals import bad_request

_MAX_DEPTH = 20
_MAX_CONDITIONS = 200
_COMPARED = {"==": "=", "=": "=", "!=": "<>", ">=": ">=", "<=": "<=", ">": ">", "<": "<"}
_TEXTS = ("state", "execution_id", "external_id")
_FIELDS = ("timestamp", *_TEXTS, "metadata")
# SQLite does not read JSON as deeply nested as Python does.
_READABLE = "CASE WHEN json_valid(metadata) THEN metadata ELSE '{}' END"
_VALUE = "CASE type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE json_quote(value) END"


def parse_filters(filters: str | None) -> Where:
    """Return the condition of the query parameter `filters`."""
    if filters is None or not filters.strip():
        return EVERYTHING
    try:
        content = from_json(filters)
    except (ValueError, RecursionError) as exc:
        msg = f"filters: not valid JSON ({exc})"
        raise bad_request(msg) from None
    reader = _Reader()
    return Where(reader.read(content, "", 0), reader.values)


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
            msg = f"ordering: {part!r:.60} is not known; use {names}"
            raise bad_request(msg)
    return [(part.removeprefix("-"), part.startswith("-")) for part in parts]


class _Reader:
    """Reads one filter into SQL; `values` are its parameters."""

    def __init__(self) -> None:
        self.values: dict[str, str | int] = {}
        self._conditions = 0

    def read(self, node: Any, place: str, depth: int) -> str:
        self._conditions += 1
        if depth > _MAX_DEPTH or self._conditions > _MAX_CONDITIONS:
            most = f"more than {_MAX_CONDITIONS} conditions, or {_MAX_DEPTH} groups in each other"
            raise _bad(place, most)
        if not isinstance(node, Mapping):
            raise _bad(place, f"an object is expected, not {type(node).__name__}")
        kind = node.get("type")
        if kind == "LOGICAL_CONDITION_GROUP":
            return self._group(node, place, depth)
        if kind == "LOGICAL_CONDITION":
            return self._condition(node, place)
        known = "LOGICAL_CONDITION_GROUP, LOGICAL_CONDITION"
        raise _bad(place, f"the type {kind!r:.60} is not known; use {known}")

    def _group(self, node: Mapping[str, Any], place: str, depth: int) -> str:
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
        sql = f" {combinator} ".join(parts) or "1"
        return f"NOT ({sql})" if negated else f"({sql})"

    def _condition(self, node: Mapping[str, Any], place: str) -> str:
        name = _operand(node, "lhs_variable", place)
        operator = node.get("operator")
        if not isinstance(name, str) or name not in _FIELDS:
            known = ", ".join(_FIELDS)
            raise _bad(place, f"the field {name!r:.60} is not known; use {known}")
        if not isinstance(operator, str):
            raise _bad(place, f"the operator is {operator!r:.60}; use {_operators(name)}")
        value = _operand(node, "rhs_variable", place)
        if name == "timestamp":
            return self._compare(name, operator, _time(value, place), place)
        if value is None and operator in {"==", "=", "!="}:
            return f"{name} IS {'NOT ' if operator == '!=' else ''}NULL"
        if name == "metadata":
            return self._metadata(operator, value, place)
        if not isinstance(value, str):
            raise _bad(place, f"{name} is compared with {value!r:.60}; text is expected")
        if operator == "contains":
            return self._contains(name, storable(value))
        return self._compare(name, operator, storable(value), place)

    def _metadata(self, operator: str, value: Any, place: str) -> str:
        """Compare whole metadata, or search a text or members in them."""
        if operator == "contains" and isinstance(value, Mapping):
            tests = [
                f"EXISTS (SELECT 1 FROM json_each({_READABLE}) "
                f"WHERE key = {self._bind(storable(key))} AND {_VALUE} = "
                f"{self._bind(metadata_text(item))})"
                for key, item in value.items()
            ]
            return f"({' AND '.join(tests) or 'metadata IS NOT NULL'})"
        if operator == "contains" and isinstance(value, str):
            return self._contains("metadata", metadata_text(value)[1:-1])
        if operator in {"==", "=", "!="} and isinstance(value, Mapping):
            return self._compare("metadata", operator, metadata_text(value), place)
        msg = "metadata knows contains with text or an object, and ==, != with an object"
        raise _bad(place, f"{msg}; not {operator} with {value!r:.60}")

    def _compare(self, name: str, operator: str, value: str | int, place: str) -> str:
        compared = _COMPARED.get(operator)
        if compared is None:
            raise _bad(place, f"the operator {operator!r:.60} is not known; use {_operators(name)}")
        parameter = self._bind(value)
        return (
            f"{name} IS NOT {parameter}"
            if operator == "!="
            else (f"ifnull({name} {compared} {parameter}, 0)")
        )

    def _contains(self, name: str, text: str) -> str:
        return f"ifnull(instr({name}, {self._bind(text)}) > 0, 0)"

    def _bind(self, value: str | int) -> str:
        parameter = f"f{len(self.values)}"
        self.values[parameter] = value
        return f":{parameter}"


def _operand(node: Mapping[str, Any], key: str, place: str) -> Any:
    variable = node.get(key)
    if not isinstance(variable, Mapping) or "value" not in variable:
        raise _bad(place, f'{key} is missing; {{"type": "STRING", "value": ...}} is expected')
    return variable["value"]


def _time(value: Any, place: str) -> int:
    try:
        if isinstance(value, str):
            when = datetime.fromisoformat(value)
        else:
            seconds: Any = None if isinstance(value, bool) else value
            when = datetime.fromtimestamp(seconds, UTC)
        return micros(when if when.tzinfo else when.replace(tzinfo=UTC))
    except (ValueError, TypeError, OverflowError, OSError):
        msg = f"timestamp is compared with {value!r:.60}; a time such as 2026-01-31T12:00:00Z is "
        raise _bad(place, f"{msg}expected") from None


def _operators(name: str) -> str:
    operators = [operator for operator in _COMPARED if operator != "="]
    return ", ".join(operators if name == "timestamp" else [*operators, "contains"])


def _bad(place: str, problem: str) -> Exception:
    where = f" at {place.rstrip('.')}" if place else ""
    msg = f"filters{where}: {problem}"
    return bad_request(msg)
