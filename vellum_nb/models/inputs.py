"""From natural Python values to typed inputs, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from vellum_nb.errors import InputError, InputProblem
from vellum_nb.models.chat import chat_messages, is_chat
from vellum_nb.models.deployments import VellumVariable
from vellum_nb.models.execution import WorkflowInput
from vellum_nb.models.media import MEDIA_TYPES, media_dict, media_type_of
from vellum_nb.models.plain import format_value, plain
from vellum_nb.models.schema import schema_problem

__all__ = [
    "default_of",
    "field_kind",
    "infer_type",
    "plain",
    "to_wire",
    "value_problem",
    "wire_type",
]

_KINDS = {
    "STRING": "text",
    "NUMBER": "number",
    "CHAT_HISTORY": "chat",
    **{name: name.lower() for name in MEDIA_TYPES},
}
_WITH_SCHEMA = frozenset({"STRING", "NUMBER", "JSON"})
_EXPECTED = {
    "text": "text",
    "number": "a number",
    "bool": "True or False",
    "enum": "one of the choices",
    "json": "a JSON value",
    "chat": "a list of messages",
    "image": "an image",
    "audio": "audio",
    "video": "a video",
    "document": "a document",
}


def to_wire(
    values: Mapping[str, object],
    variables: Sequence[VellumVariable] | None,
    *,
    where: str = "the deployment",
) -> list[WorkflowInput]:
    """Return `values` as typed inputs for `variables`.

    Parameters
    ----------
    values
        Input name to natural Python value. An optional input may be None or absent.
    variables
        The input variables of the release; None infers the types from the values.
    where
        Deployment and release tag, for messages.

    Raises
    ------
    InputError
        Lists every problem: unknown and missing names, wrong types, values outside the schema.

    Examples
    --------
    >>> to_wire({"n": 3}, [VellumVariable(key="n", type="NUMBER")])
    [WorkflowInput(name='n', type='NUMBER', value=3)]
    """
    if variables is None:
        variables = [VellumVariable(key=k, type=_inferred(v)) for k, v in values.items()]
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
        if value is not None or _keeps_none(variable):
            inputs.append(WorkflowInput(name=variable.key, type=wire_type(variable), value=sent))
    problems += _unknown(values, [variable.key for variable in variables], where)
    if problems:
        msg = f"The inputs do not fit {where}; nothing was sent:"
        raise InputError(msg, problems)
    return inputs


def value_problem(value: object, variable: VellumVariable) -> str | None:
    """Return what is wrong with `value` for `variable` as a plain sentence, or None.

    Examples
    --------
    >>> value_problem("7", VellumVariable(key="n", type="NUMBER"))
    "the text '7' is given; a number is expected"
    """
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

    Returns
    -------
    str
        ``text``, ``number``, ``bool``, ``enum``, ``json``, ``chat``, ``image``, ``audio``,
        ``video`` or ``document``.

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
    return _KINDS.get(variable.type, "json")


def infer_type(value: object) -> str:
    """Return the input type that a value without a variable is sent as.

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
    sent = plain(value)
    if isinstance(sent, str):
        return "STRING"
    if isinstance(sent, int | float) and not isinstance(sent, bool):
        return "NUMBER"
    return "JSON"


def _inferred(value: object) -> str:
    """Infer a type; a value that has none is reported when it is checked."""
    try:
        return infer_type(value)
    except InputError:
        return "JSON"


def wire_type(variable: VellumVariable) -> str:
    """Return the type to send: the contract has no inputs of the other types, JSON carries them."""
    return variable.type if variable.type in _KINDS else "JSON"


def _keeps_none(variable: VellumVariable) -> bool:
    if wire_type(variable) != "JSON":
        return False
    return variable.is_required or _schema_problem(None, variable) is None


def _unknown(values: Mapping[str, object], known: list[str], where: str) -> list[InputProblem]:
    problems = []
    for name in values:
        if name in known:
            continue
        close = get_close_matches(str(name), known, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        message = f"is no input of {where}; its inputs: {', '.join(known) or 'none'}.{hint}"
        problems.append(InputProblem(str(name), message))
    return problems


def _checked(value: object, variable: VellumVariable) -> Any:
    """Return `value` as it is sent."""
    if value is None:
        return _checked_none(variable)
    sent = _CONVERTERS.get(variable.type, _json)(value, variable)
    problem = _schema_problem(sent, variable)
    if problem:
        raise InputError(problem)
    return sent


def _checked_none(variable: VellumVariable) -> None:
    if not variable.is_required:
        return
    if wire_type(variable) == "JSON" and _schema_problem(None, variable) is None:
        return
    msg = f"a value is required: {_EXPECTED[field_kind(variable)]}"
    raise InputError(msg)


def _schema_problem(value: Any, variable: VellumVariable) -> str | None:
    if not variable.json_schema or variable.type not in _WITH_SCHEMA:
        return None
    return schema_problem(value, variable.json_schema)


def _wrong(value: object, expected: str) -> InputError:
    return InputError(f"{format_value(value)} is given; {expected} is expected")


def _string(value: object, _: VellumVariable) -> str:
    sent = value if isinstance(value, bytes) else plain(value)
    if not isinstance(sent, str):
        raise _wrong(value, "text")
    return sent


def _numeric(value: object, _: VellumVariable) -> float:
    sent = value if isinstance(value, bytes) else plain(value)
    if isinstance(sent, bool) or not isinstance(sent, int | float):
        raise _wrong(value, "a number")
    return sent


def _list(value: object, _: VellumVariable) -> list[Any]:
    sent = plain(value)
    if not isinstance(sent, list):
        raise _wrong(value, "a list")
    return sent


def _dict(value: object, _: VellumVariable) -> dict[str, Any]:
    sent = plain(value)
    if not isinstance(sent, dict):
        raise _wrong(value, "a dict")
    return sent


def _json(value: object, _: VellumVariable) -> Any:
    return plain(value)


def _media(value: object, variable: VellumVariable) -> dict[str, Any]:
    return dict(plain(media_dict(value, variable.type)))


_CONVERTERS: dict[str, Callable[[object, VellumVariable], Any]] = {
    "STRING": _string,
    "NUMBER": _numeric,
    "CHAT_HISTORY": lambda value, _: chat_messages(value),
    "ARRAY": _list,
    "SEARCH_RESULTS": _list,
    "FUNCTION_CALL": _dict,
    **dict.fromkeys(MEDIA_TYPES, _media),
}
