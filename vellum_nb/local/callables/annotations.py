"""From a Python annotation to Vellum's type and JSON schema."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from vellum_nb.local.types import VellumType

__all__ = ["Kind", "kind_of"]

_BARE: tuple[dict[str, Any], ...] = ({"type": "string"}, {"type": "number"}, {})


@dataclass(frozen=True, slots=True)
class Kind:
    """What an annotation says.

    Attributes
    ----------
    type : str
        Vellum's type.
    schema : dict or None
        Its JSON schema, where that says more than the type.
    optional : bool
        Whether None is allowed.
    description : str
        From `Annotated`.
    field : FieldInfo or None
        The pydantic field of the annotation, which may hold a default.
    adapter : TypeAdapter or None
        Converts JSON to the annotated type; None where pydantic knows no way.
    problem : str
        Why there is no adapter.
    """

    type: str
    schema: dict[str, Any] | None
    optional: bool
    description: str
    field: FieldInfo | None
    adapter: TypeAdapter[Any] | None
    problem: str = ""


def kind_of(annotation: Any) -> Kind:
    """Return what `annotation` says about a variable.

    Examples
    --------
    >>> from typing import Literal
    >>> kind = kind_of(Literal["free", "pro"] | None)
    >>> kind.type, kind.schema, kind.optional
    ('JSON', {'type': 'string', 'enum': ['free', 'pro']}, True)
    """
    core, metadata, optional = _unwrapped(annotation)
    marker = next((m for m in metadata if isinstance(m, VellumType)), None)
    field = next((m for m in metadata if isinstance(m, FieldInfo)), None)
    rest = tuple(
        m
        for m in metadata
        if not isinstance(m, VellumType | str) and not hasattr(m, "documentation")
    )
    inner: Any = Annotated[(core, *rest)] if rest else core
    description = _description(metadata)
    try:
        adapter: TypeAdapter[Any] = _adapter(inner)
        raw = adapter.json_schema()
        json.dumps(raw, allow_nan=False)
    except (PydanticUserError, ValueError, TypeError) as exc:
        named = marker.name if marker else "JSON"
        problem = str(exc).splitlines()[0]
        return Kind(named, None, optional, description, field, None, problem)
    if marker is not None:
        return Kind(marker.name, None, optional, description, field, adapter)
    schema = _tidy(raw)
    said = None if schema in _BARE else schema
    return Kind(_type_of(schema), said, optional, description, field, adapter)


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def _unwrapped(annotation: Any) -> tuple[Any, list[Any], bool]:
    """Take `Annotated` and ``| None`` off, however they are nested."""
    metadata: list[Any] = []
    optional = False
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *more = get_args(annotation)
            metadata = [*more, *metadata]
        elif origin in (Union, types.UnionType) and type(None) in get_args(annotation):
            kinds = tuple(kind for kind in get_args(annotation) if kind is not type(None))
            annotation, optional = Union[kinds], True  # noqa: UP007 - built at run time
        else:
            return annotation, metadata, optional


def _description(metadata: list[Any]) -> str:
    for item in reversed(metadata):
        if isinstance(item, FieldInfo) and item.description:
            return item.description
        if isinstance(doc := getattr(item, "documentation", None), str):
            return doc  # PEP 727, as FastAPI and others use it
        if isinstance(item, str):
            return item
    return ""


def _tidy(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with its root in place and without what the variable says elsewhere."""
    schema = dict(raw)
    definitions = schema.get("$defs", {})
    while (ref := schema.pop("$ref", None)) is not None:
        schema = {**definitions[ref.removeprefix("#/$defs/")], **schema}
    schema = {k: v for k, v in schema.items() if k not in {"title", "description", "default"}}
    if definitions and "$ref" not in str({k: v for k, v in schema.items() if k != "$defs"}):
        schema.pop("$defs", None)
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    branches = [branch.get("type") for branch in schema.get("anyOf", ())]
    if branches and set(branches) <= {"integer", "number"}:
        schema = {**{k: v for k, v in schema.items() if k != "anyOf"}, "type": "number"}
    front = {"type": schema["type"]} if "type" in schema else {}
    return {**front, **schema}


def _type_of(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "JSON"
    return {"string": "STRING", "number": "NUMBER", "integer": "NUMBER"}.get(
        str(schema.get("type")), "JSON"
    )
