"""JSON Schema findings in plain words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema import ValidationError

_AT_MOST = 3
_UNCHECKED = ("pattern", "patternProperties")
_NAMES = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "object": "a dict",
    "array": "a list",
    "null": "null",
}


def schema_problem(value: Any, schema: Mapping[str, Any]) -> str | None:
    """Return why `value` does not fit `schema`, or None.

    A schema that is itself wrong, or that points elsewhere, allows everything: the server
    decides then. Nothing is ever fetched.

    Examples
    --------
    >>> schema_problem(200, {"type": "integer", "maximum": 72})
    '200 is more than the maximum of 72'
    """
    check = _checker(json.dumps(schema, sort_keys=True, default=str))
    found = check(value) if check else []
    if not found:
        return None
    more = f"; and {len(found) - _AT_MOST} more" if len(found) > _AT_MOST else ""
    return "; ".join(_sentence(error) for error in found[:_AT_MOST]) + more


@lru_cache(maxsize=256)
def _checker(schema: str) -> Callable[[Any], list[ValidationError]] | None:
    """Return what finds the errors of a value; None for a schema that is wrong. Made once each."""
    import jsonschema  # slow to load, and most inputs have no schema
    import referencing
    from referencing.exceptions import Unresolvable

    nothing_fetched: referencing.Registry[Any] = referencing.Registry()
    # A pattern of a stranger can take for ever (`^(a+)+$`): the server checks those.
    checks = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        jsonschema.Draft202012Validator, dict.fromkeys(_UNCHECKED, lambda *_: ())
    )
    validator = checks(json.loads(schema), registry=nothing_fetched)
    try:
        validator.check_schema(validator.schema)
    except jsonschema.SchemaError:
        return None

    def check(value: Any) -> list[ValidationError]:
        try:
            found = list(validator.iter_errors(value))
        except (Unresolvable, RecursionError, OverflowError, re.error):
            return []
        return sorted(found, key=lambda error: [str(step) for step in error.path])

    return check


def _sentence(error: ValidationError) -> str:
    words = _WORDS.get(str(error.validator))
    value, limit = error.instance, error.validator_value
    text = words(_short(value), limit) if words else _cut(error.message)
    if error.validator == "required":
        text = _cut(error.message.replace(" is a required property", " is missing"))
    if error.validator in {"anyOf", "oneOf"}:
        text = f"{_short(value)} is none of what is allowed: {_choices(limit)}"
    return f"{_place(error)}{text}"


def _place(error: ValidationError) -> str:
    path = "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path
    )
    return f"at {path.removeprefix('.')}: " if path else ""


def _short(value: Any) -> str:
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"  # noqa: PLR2004


def _of_text(value: str) -> str:
    return "the text " if value[0] in "'\"" else ""


def _type_words(types: Any) -> str:
    names = [types] if isinstance(types, str) else types
    return " or ".join(_NAMES.get(name, str(name)) for name in names)


def _choices(schemas: Any) -> str:
    return ", ".join(
        _type_words(schema["type"]) if "type" in schema else _short(dict(schema))
        for schema in schemas
        if isinstance(schema, Mapping)
    )


_WORDS: dict[str, Callable[[str, Any], str]] = {
    "maximum": lambda value, limit: f"{value} is more than the maximum of {limit}",
    "minimum": lambda value, limit: f"{value} is less than the minimum of {limit}",
    "exclusiveMaximum": lambda value, limit: f"{value} is not less than {limit}",
    "exclusiveMinimum": lambda value, limit: f"{value} is not more than {limit}",
    "multipleOf": lambda value, limit: f"{value} is no multiple of {limit}",
    "type": lambda value, limit: (
        f"{_of_text(value)}{value} is given; {_type_words(limit)} is expected"
    ),
    "enum": lambda value, limit: f"{value} is not one of {', '.join(map(_short, limit))}",
    "const": lambda value, limit: f"{value} is not {limit!r}",
    "minLength": lambda value, limit: f"{value} is shorter than {limit} characters",
    "maxLength": lambda value, limit: f"{value} is longer than {limit} characters",
    "minItems": lambda value, limit: f"{value} has fewer than {limit} items",
    "maxItems": lambda value, limit: f"{value} has more than {limit} items",
}
