"""Arguments: checks of ids, names, limits and texts; options in signatures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from inspect import Parameter, signature
from numbers import Integral, Real
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel

from vellum_nb.errors import InputError, VellumNBError

F = TypeVar("F", bound=Callable[..., Any])


def cut(text: str, most: int = 60) -> str:
    """Return a text with at most `most` characters, with an ellipsis if it was longer.

    >>> cut("charged twice", 8)
    'charged…'
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


def describe(name: str, value: object) -> str:
    """Return a short `repr` of an argument, or only its type if it could contain a secret."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  (a foreign repr may raise anything)
        text = "\n"
    if "\n" in text or "://" in text or name == "api_key":
        return f"<{type(value).__name__}>"
    return cut(text)


def refuse(
    name: str, value: object, expected: str, error: type[VellumNBError] = InputError
) -> NoReturn:
    """Raise `error` for an invalid argument, with its name, its value and the expected kind.

    Examples
    --------
    >>> refuse("limit", "5", "a whole number")
    Traceback (most recent call last):
    vellum_nb.errors.InputError: limit must be a whole number, not '5'
    """
    msg = f"{name} must be {expected}, not {describe(name, value)}"
    raise error(msg)


def cut_list(names: Iterable[object], most: int | None = 3) -> str:
    """Return the first names, and the number of remaining ones."""
    texts = [str(name) for name in names]
    more = 0 if most is None else len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more:,} more" if more > 0 else "")


def available(names: Iterable[object], most: int | None = None) -> str:
    """Return the end of a message about an unknown name: the valid ones.

    Examples
    --------
    >>> available(["v1", "v2"]), available([])
    ('; available: v1, v2', '; available: none')
    """
    return f"; available: {cut_list(names, most) or 'none'}"


def check_text(
    name: str, value: object, *, optional: bool = False, error: type[VellumNBError] = InputError
) -> None:
    """Raise `error` unless `value` is a str, or None and `optional`."""
    if not (isinstance(value, str) or (optional and value is None)):
        refuse(name, value, "a text or None" if optional else "a text", error)


def check_integer(
    name: str,
    value: object,
    *,
    least: int = 0,
    optional: bool = False,
    error: type[VellumNBError] = InputError,
) -> None:
    """Raise `error` unless `value` is an integer, but not a bool, of at least `least`."""
    if optional and value is None:
        return
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_integer or int(value) < least:  # type: ignore[call-overload]
        expected = f"a whole number of at least {least}{' or None' if optional else ''}"
        refuse(name, value, expected, error)


def check_number(
    name: str,
    value: object,
    *,
    above: float | None = None,
    optional: bool = False,
    error: type[VellumNBError] = InputError,
) -> None:
    """Raise `error` unless `value` is a number, but not a bool, above `above`, or of at least 0."""
    if optional and value is None:
        return
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not (value >= 0 if above is None else value > above):  # type: ignore[operator]
        limit = "of at least 0" if above is None else f"above {above:g}"
        refuse(name, value, f"a number {limit}{' or None' if optional else ''}", error)


def check_tags(release_tags: object) -> tuple[str, ...]:
    """Return one or several release tags as a tuple without duplicates."""
    tags: object = [release_tags] if isinstance(release_tags, str) else release_tags
    is_list = isinstance(tags, Iterable) and getattr(tags, "ndim", 1) == 1
    names = list(tags) if is_list else []  # type: ignore[call-overload]
    if not names or not all(isinstance(name, str) and name for name in names):
        refuse("release_tags", release_tags, "release tags, such as ['v1', 'v2']")
    return tuple(dict.fromkeys(names))


def check_list(name: str, values: object, expected: str) -> list[Any]:
    """Return `values` as a list; refuse a text, a mapping and a model."""
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping | BaseModel):
        refuse(name, values, expected)
    return list(values)


def check_texts(name: str, values: object, *, error: type[VellumNBError] = InputError) -> list[str]:
    """Return `values` as a list of texts; refuse a single text and a table."""
    is_table = getattr(values, "ndim", 1) != 1
    if not isinstance(values, Iterable) or isinstance(values, str | bytes) or is_table:
        refuse(name, values, "a list of texts", error)
    texts = list(values)
    for text in texts:
        check_text(name, text, error=error)
    return texts


def check_keywords(function: str, given: Iterable[str], names: Collection[str]) -> None:
    """Raise Python's `TypeError` for a keyword that is not among the options of a TypedDict."""
    if unknown := set(given).difference(names):
        msg = f"{function}() got an unexpected keyword argument {min(unknown)!r}"
        raise TypeError(msg)


def with_options(options: Any, defaults: Mapping[str, Any] | None = None) -> Callable[[F], F]:
    """List the keys of the TypedDict `options` in the signature that help and completion show."""

    def decorate(function: F) -> F:
        *parameters, _ = signature(function).parameters.values()
        for name in defaults or options.__annotations__:
            kind = options.__annotations__[name]
            # help shows the text of a ForwardRef better than its repr
            types = {"annotation": getattr(kind, "__forward_arg__", kind)}
            default = (defaults or {}).get(name)
            parameters.append(Parameter(name, Parameter.KEYWORD_ONLY, default=default, **types))
        vars(function)["__signature__"] = signature(function).replace(parameters=parameters)
        return function

    return decorate
