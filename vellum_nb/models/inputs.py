"""From natural Python values to plain JSON values and typed inputs, checked before the call."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, time
from difflib import get_close_matches
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeGuard
from uuid import UUID

from pydantic import BaseModel

from vellum_nb.errors import InputError, InputProblem
from vellum_nb.lazy import jsonschema
from vellum_nb.models.checks import available, cut
from vellum_nb.models.contract import VellumVariable, WorkflowInput
from vellum_nb.models.media import MEDIA_TYPES, media_dict, media_type_of
from vellum_nb.models.types import TYPES, value_type

# Plain JSON values

ROLES = ("SYSTEM", "ASSISTANT", "USER", "FUNCTION")
_KIND_NAMES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "bool"),
    (str, "text"),
    ((int, float), "number"),
    (Mapping, "dict"),
    ((list, tuple), "list"),
    (bytes, "bytes"),
    (Path, "path"),
)
_MAX_DEPTH = 100
_MAX_INTEGER_BITS = 13_288  # 4,000 digits; Python itself writes 4,300


def plain(value: object) -> Any:
    """Convert `value` to the plain JSON value that is sent.

    Paths and bytes become ``{"src": "data:..."}``, ``(role, text)`` pairs become messages, NumPy
    and pandas scalars become numbers, dataclasses and pydantic models become dicts. NaN and values
    that JSON cannot represent raise an `InputError`.

    Examples
    --------
    >>> plain({"turns": [("user", "hello")], "n": 3})
    {'turns': [{'role': 'USER', 'text': 'hello'}], 'n': 3}
    """
    return _plain(value, 0)


def is_pair(value: object) -> bool:
    """Return whether `value` is a ``(role, text)`` pair."""
    if not isinstance(value, tuple | list) or len(value) != 2:  # noqa: PLR2004
        return False
    role, text = value
    return isinstance(role, str) and role.upper() in ROLES and isinstance(text, str)


def format_value(value: object) -> str:
    """Format `value` for a message: its kind and a short `repr`."""
    if value is None:
        return "None"
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):  # an integer of too many digits, perhaps in a list
        text = "that is too large to display"
    kind = next((name for of, name in _KIND_NAMES if isinstance(value, of)), type(value).__name__)
    return f"the {kind} {cut(text)}"


def _plain(value: object, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        msg = f"is nested more than {_MAX_DEPTH} deep, or contains itself"
        raise InputError(msg)
    value = _unwrapped(value)
    if isinstance(value, Mapping):
        return {_key(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return _sequence(value, depth)
    if value is None or isinstance(value, bool):
        return value
    for kind, convert in _SCALARS:
        if isinstance(value, kind):
            return convert(value)
    msg = f"{format_value(value)} cannot be written as JSON; give text, numbers, lists or dicts"
    raise InputError(msg)


def _unwrapped(value: object) -> object:
    """Return the plain value of an enum member, NumPy scalar or model."""
    if isinstance(value, Enum):
        return value.value
    if type(value).__name__ in {"NAType", "NaTType"}:
        msg = f"a value is missing ({value}); give one, or leave the input out"
        raise InputError(msg)
    if hasattr(value, "dtype") and hasattr(value, "item"):
        return _from_array(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value


def _from_array(value: Any) -> object:
    if value.dtype.kind in "Mm":
        return str(value) if getattr(value, "ndim", 0) == 0 else [str(item) for item in value]
    return value.item() if getattr(value, "ndim", 0) == 0 else value.tolist()


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        msg = f"{format_value(value)} contains half of a surrogate pair, which UTF-8 cannot encode"
        raise InputError(msg) from None
    return str(value)


def _whole(value: int) -> int:
    if value.bit_length() > _MAX_INTEGER_BITS:
        msg = "is an integer of more than 4,000 digits, which JSON readers refuse"
        raise InputError(msg)
    return int(value)


def _number(value: float) -> float:
    if math.isnan(value):
        msg = "is not a number (NaN); give a value, or leave the input out"
        raise InputError(msg)
    if math.isinf(value):
        msg = "is infinite, which JSON cannot represent"
        raise InputError(msg)
    return float(value)


def _key(key: object) -> str:
    key = key.value if isinstance(key, Enum) else key
    if not isinstance(key, str):
        msg = f"{format_value(key)} is a key of a dict; keys must be text"
        raise InputError(msg)
    return _text(key)


def _sequence(value: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
    if is_chat(value):
        value = [
            {"role": item[0].upper(), "text": item[1]} if isinstance(item, tuple) else item
            for item in value
        ]
    return [_plain(item, depth + 1) for item in value]


_SCALARS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    (str, _text),
    (int, _whole),
    (float, _number),
    ((Path, bytes, bytearray), media_dict),
    ((date, time), lambda value: value.isoformat()),
    (UUID, str),
)


# Chat messages


def chat_messages(value: object) -> list[dict[str, Any]]:
    """Return `value` as a list of messages.

    A message is a ``(role, text)`` pair or a dict with ``role`` and ``text`` or ``content``.
    ``content`` is text, a typed value, or a list of both. An `InputError` names the first invalid
    message.
    """
    if not isinstance(value, list | tuple) or is_pair(value):
        msg = f"{format_value(value)} is not a list of messages; give [('user', 'text'), ...]"
        raise InputError(msg)
    return [_message(item, number) for number, item in enumerate(value, start=1)]


def is_chat(value: object) -> bool:
    """Return whether `value` is certainly a list of messages."""
    if not isinstance(value, list | tuple) or not value:
        return False
    return all((isinstance(item, tuple) and is_pair(item)) or _has_role(item) for item in value)


def _has_role(item: object) -> bool:
    if not isinstance(item, Mapping) or not ("text" in item or "content" in item):
        return False
    role = item.get("role")
    return isinstance(role, str) and role.upper() in ROLES


def _message(item: object, number: int) -> dict[str, Any]:
    if isinstance(item, tuple | list) and len(item) == 2:  # noqa: PLR2004  # (role, text)
        item = {"role": item[0], "text": item[1]}
    if not isinstance(item, Mapping):
        msg = f"message {number} is {format_value(item)}; give a dict or a (role, text) pair"
        raise InputError(msg)
    role = item.get("role")
    if not isinstance(role, str) or role.upper() not in ROLES:
        role_text = repr(role)
        msg = f"message {number} has the role {role_text:.60}; it must be one of {', '.join(ROLES)}"
        raise InputError(msg)
    text = item.get("text")
    if text is not None and not isinstance(text, str):
        msg = f"message {number} has {format_value(text)} as its text; text is expected"
        raise InputError(msg)
    other_fields = {key: field for key, field in item.items() if key not in {"role", "content"}}
    return {"role": role.upper(), **plain(other_fields), **_content(item.get("content"), number)}


def _content(content: object, number: int) -> dict[str, Any]:
    if content is None:
        return {}
    if isinstance(content, str):
        return {"text": plain(content)}
    if isinstance(content, list | tuple):
        content = {"type": "ARRAY", "value": content}
    try:
        return {"content": _part(content, "ARRAY")}
    except InputError as exc:
        msg = f"message {number}: {exc}"
        raise InputError(msg) from None


def _part(part: object, *more: str) -> dict[str, Any]:
    """Return the content of a message, or a part of it, of one of the types of chats or `more`."""
    allowed = [*(name for name, type_ in TYPES.items() if type_.in_chat), *more]
    if isinstance(part, str):
        part = {"type": "STRING", "value": part}
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or kind not in allowed:
        msg = f"its content is {format_value(part)}; its type must be one of {', '.join(allowed)}"
        raise InputError(msg)
    value = part.get("value")
    if kind in MEDIA_TYPES:
        return {"type": kind, "value": plain(media_dict(value, kind))}
    if kind == "ARRAY":
        if not isinstance(value, list | tuple):
            msg = f"its content is an ARRAY of {format_value(value)}; a list is expected"
            raise InputError(msg)
        return {"type": kind, "value": [_part(item) for item in value]}
    if kind == "STRING" and not isinstance(value, str):
        msg = f"its content is a STRING of {format_value(value)}; text is expected"
        raise InputError(msg)
    return {"type": kind, "value": plain(value)}


# Typed inputs

_EXPECTED = {  # of a kind of field; of others "a number" and the like
    "text": "text",
    "bool": "True or False",
    "enum": "one of the choices",
    "json": "a JSON value",
    "chat": "a list of messages",
    "image": "an image",
    "audio": "audio",
}


def to_wire(
    values: Mapping[str, object],
    variables: Sequence[VellumVariable] | None,
    *,
    where: str = "the deployment",
) -> list[WorkflowInput]:
    """Convert `values`, by name, to typed inputs for `variables`; None infers their types.

    Optional inputs can be None or absent. An `InputError` lists all unknown and missing names,
    wrong types and values outside the schema; `where` is the deployment and release tag in it.

    Examples
    --------
    >>> to_wire({"n": 3}, [VellumVariable(key="n", type="NUMBER")])
    [WorkflowInput(name='n', type='NUMBER', value=3)]
    """
    if variables is None:
        variables = [VellumVariable(key=k, type=infer_type(v)) for k, v in values.items()]
    inputs: list[WorkflowInput] = []
    problems: list[InputProblem] = []
    for variable in variables:
        value = values.get(variable.key)
        if variable.key not in values and not variable.is_required:
            continue
        try:
            sent = _checked(value, variable)
        except InputError as exc:
            problems.append(InputProblem(variable.key, str(exc)))
            continue
        if value is not None or _takes_none(variable):
            inputs.append(WorkflowInput(name=variable.key, type=wire_type(variable), value=sent))
    names, expected = [variable.key for variable in variables], f"an input of {where}"
    problems += [unknown_name(str(name), names, expected) for name in values if name not in names]
    if problems:
        msg = f"The inputs do not fit {where}; nothing was sent:"
        raise InputError(msg, problems)
    return inputs


def value_problem(value: object, variable: VellumVariable) -> str | None:
    """Return the problem of `value` for `variable` as a sentence, or None."""
    try:
        _checked(value, variable)
    except InputError as exc:
        return str(exc)
    return None


def default_of(variable: VellumVariable) -> Any:
    """Return the variable's default as a natural value, or None."""
    return variable.default.get("value") if variable.default else None


def field_kind(variable: VellumVariable) -> str:
    """Return the kind of field that fits `variable`, from its type and JSON schema.

    ``text``, ``number``, ``bool``, ``enum``, ``json``, ``chat`` or a media type in small letters.

    Examples
    --------
    >>> field_kind(VellumVariable(key="urgent", type="JSON", schema={"type": "boolean"}))
    'bool'
    """
    schema = variable.json_schema or {}
    if variable.type in {"STRING", "JSON"} and isinstance(schema.get("enum"), list):
        return "enum"
    if variable.type == "JSON" and schema.get("type") == "boolean":
        return "bool"
    return value_type(variable.type).field


def type_name(variable: VellumVariable) -> str:
    """Return the type of `variable` that users see, from its type and JSON schema.

    Examples
    --------
    >>> type_name(VellumVariable(key="urgent", type="JSON", schema={"type": "boolean"}))
    'BOOLEAN'
    """
    return {"bool": "BOOLEAN", "enum": "ENUM"}.get(field_kind(variable), variable.type)


def infer_type(value: object) -> str:
    """Return the input type that a value without a variable is sent as.

    JSON for a value that cannot be sent, which is reported when it is checked.

    Examples
    --------
    >>> infer_type([("user", "hello")])
    'CHAT_HISTORY'
    """
    if is_chat(value):
        return "CHAT_HISTORY"
    media = media_type_of(value)
    if media is not None:
        return media
    try:
        return plain_type(plain(value))
    except InputError:
        return "JSON"


def plain_type(value: object) -> str:
    """Return the type of a plain JSON value: STRING, NUMBER or JSON."""
    if isinstance(value, str):
        return "STRING"
    return "NUMBER" if is_number(value) else "JSON"


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a plain JSON value is a number, which a bool is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def wire_type(variable: VellumVariable) -> str:
    """Return the type to send: JSON, if the contract lacks inputs of this type."""
    return variable.type if value_type(variable.type).is_input else "JSON"


def _takes_none(variable: VellumVariable) -> bool:
    return wire_type(variable) == "JSON" and _schema_problem(None, variable) is None


def unknown_name(name: str, names: Collection[str], expected: str) -> InputProblem:
    """Return the problem of a name that is not in `names`, with the most similar one as a hint."""
    close = get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    message = f"is not {expected}{available(names)}.{hint}"
    return InputProblem(name, message, suggestion=close[0] if close else "")


def _checked(value: object, variable: VellumVariable) -> Any:
    if value is None:
        if variable.is_required and not _takes_none(variable):
            kind = field_kind(variable)
            msg = f"a value is required: {_EXPECTED.get(kind, f'a {kind}')}"
            raise InputError(msg)
        return None
    sent = _converted(value, variable.type)
    problem = _schema_problem(sent, variable)
    if problem:
        raise InputError(problem)
    return sent


def _schema_problem(value: Any, variable: VellumVariable) -> str | None:
    if not variable.json_schema or not value_type(variable.type).has_schema:
        return None
    return schema_problem(value, variable.json_schema)


def _converted(value: object, kind: str) -> Any:
    if kind == "CHAT_HISTORY":
        return chat_messages(value)
    if kind in MEDIA_TYPES:
        return plain(media_dict(value, kind))
    sent = plain(value)
    type_ = value_type(kind)
    if not isinstance(sent, type_.python) or (kind == "NUMBER" and isinstance(sent, bool)):
        msg = f"{format_value(value)} is given; {type_.expected} is expected"
        raise InputError(msg)
    return sent


# JSON Schema findings in plain words

_AT_MOST = 3
_MAX_CHARS = 80
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

    An invalid schema, or one with external references, allows everything: the server decides.
    References are never fetched.

    Examples
    --------
    >>> schema_problem(200, {"type": "integer", "maximum": 72})
    '200 is more than the maximum of 72'
    """
    check = _checker(json.dumps(schema, sort_keys=True, default=str))
    errors = check(value) if check else []
    if not errors:
        return None
    more = f"; and {len(errors) - _AT_MOST} more" if len(errors) > _AT_MOST else ""
    return "; ".join(_sentence(error) for error in errors[:_AT_MOST]) + more


@lru_cache(maxsize=256)
def _checker(schema: str) -> Callable[[Any], list[jsonschema.ValidationError]] | None:
    """Return a function that lists the errors of a value, or None for an invalid schema."""
    import referencing
    from referencing.exceptions import Unresolvable

    nothing_fetched: referencing.Registry[Any] = referencing.Registry()
    # Untrusted patterns such as `^(a+)+$` can take forever: only the server checks them.
    checks = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        jsonschema.Draft202012Validator, dict.fromkeys(_UNCHECKED, lambda *_: ())
    )
    validator = checks(json.loads(schema), registry=nothing_fetched)
    try:
        validator.check_schema(validator.schema)
    except jsonschema.SchemaError:
        return None

    def check(value: Any) -> list[jsonschema.ValidationError]:
        try:
            errors = list(validator.iter_errors(value))
        except (Unresolvable, RecursionError, OverflowError, re.error):
            return []
        return sorted(errors, key=lambda error: [str(step) for step in error.path])

    return check


def _sentence(error: jsonschema.ValidationError) -> str:
    words = _WORDS.get(str(error.validator))
    value, limit = error.instance, error.validator_value
    text = words(_short(value), limit) if words else cut(error.message, _MAX_CHARS)
    if error.validator == "required":
        text = cut(error.message.replace(" is a required property", " is missing"), _MAX_CHARS)
    if error.validator in {"anyOf", "oneOf"}:
        text = f"{_short(value)} is not one of: {_choices(limit)}"
    path = error.json_path.removeprefix("$").removeprefix(".")
    return f"at {path}: {text}" if path else text


def _short(value: Any) -> str:
    return cut(repr(value), _MAX_CHARS)


def _type_words(types: Any) -> str:
    names = [types] if isinstance(types, str) else types
    return " or ".join(_NAMES.get(name, str(name)) for name in names)


def _choices(schemas: Any) -> str:
    return ", ".join(
        _type_words(schema["type"]) if "type" in schema else _short(dict(schema))
        for schema in schemas
        if isinstance(schema, Mapping)
    )


_QUOTES = ("'", '"')
_WORDS: dict[str, Callable[[str, Any], str]] = {
    "maximum": lambda value, limit: f"{value} is more than the maximum of {limit}",
    "type": lambda value, limit: (
        f"{'the text ' if value.startswith(_QUOTES) else ''}{value} is given; "
        f"{_type_words(limit)} is expected"
    ),
    "enum": lambda value, limit: f"{value} is not one of {', '.join(map(_short, limit))}",
    "const": lambda value, limit: f"{value} is not {limit!r}",
    "minLength": lambda value, limit: f"{value} is shorter than {limit} characters",
    "maxLength": lambda value, limit: f"{value} is longer than {limit} characters",
    "minItems": lambda value, limit: f"{value} has fewer than {limit} items",
    "maxItems": lambda value, limit: f"{value} has more than {limit} items",
}
