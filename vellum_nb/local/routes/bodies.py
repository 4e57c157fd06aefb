"""From the bytes of a request to a model, strictly JSON."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from vellum_nb.local.refusals import bad_request
from vellum_nb.local.strict_json import strict_json

__all__ = ["read_body"]

M = TypeVar("M", bound=BaseModel)
_MOST_PROBLEMS = 5


def read_body(body: bytes, model: type[M]) -> M:
    """Return `body` as `model`. An empty body is ``{}``, an explicit null is an absent field.

    Raises
    ------
    VellumNBError
        When it is no JSON object or lacks what the model requires.
    """
    content = _parsed(body) if body else {}
    if not isinstance(content, dict):
        kind = "null" if content is None else type(content).__name__
        msg = f"The body is a JSON {kind}; an object is expected"
        raise bad_request(msg)
    try:
        return model.model_validate({k: v for k, v in content.items() if v is not None})
    except ValidationError as exc:
        found = exc.errors(include_url=False, include_input=False, include_context=False)
        problems = [f"{_place(error['loc'])}: {error['msg']}" for error in found[:_MOST_PROBLEMS]]
        raise bad_request("; ".join(problems)) from None


def _parsed(body: bytes) -> Any:
    try:
        return strict_json(body)
    except RecursionError:
        msg = "The body is nested too deeply"
        raise bad_request(msg) from None
    except ValueError as exc:
        msg = f"The body is no JSON: {exc}"
        raise bad_request(msg) from None


def _place(loc: tuple[int | str, ...]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)
    return text.removeprefix(".") or "body"
