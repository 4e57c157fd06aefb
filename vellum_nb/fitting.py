"""Whether what a public function is given is of the kind that its annotations name.

A wrong kind is refused at the door, in a sentence, and not by a `TypeError` from deep within.
Which values of a kind make sense is for the function itself to say.
"""

from __future__ import annotations

import ast
import io
import os
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property, wraps
from inspect import Parameter, getattr_static, isfunction, signature, unwrap
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TextIO, TypeVar, Union, get_args, get_origin

from vellum_nb.errors import VellumNBError

__all__ = ["fitting", "told"]

T = TypeVar("T", bound=Callable[..., Any])
_SHOWN = 60
_LOOKED_INTO = (list, tuple, set)
"""The series whose members are looked at; of all other values the type tells enough."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of value: whether a value is of it, and how a sentence names it."""

    fits: Callable[[Any], bool]
    words: str


def fitting(error: type[VellumNBError], *, apart: Collection[str] = ()) -> Callable[[T], T]:
    """Have a function, or the public methods of a class, refuse arguments of a wrong kind.

    Parameters
    ----------
    error
        What is raised.
    apart
        Methods that look at their arguments themselves: they may be given a password, which a
        traceback would show here.
    """

    def decorate(target: T) -> T:
        if not isinstance(target, type):
            function: T = _Door(target, target.__name__, error).guarding()
            return function
        for name in dir(target):
            method = getattr_static(target, name)
            if name not in apart and isfunction(method) and _is_public(name, method):
                shown = target.__name__ if name == "__init__" else f"{target.__name__}.{name}"
                setattr(target, name, _Door(method, shown, error).guarding())
        return target

    return decorate


class _Door:
    """Where the arguments of one function come in."""

    def __init__(
        self, function: Callable[..., Any], shown: str, error: type[VellumNBError]
    ) -> None:
        self.function = function
        self.shown = shown
        self.error = error
        self.seen: set[tuple[object, ...]] = set()

    def guarding(self) -> Any:
        """Return the function behind its door."""
        function, seen = self.function, self.seen

        @wraps(function)
        def guarded(*args: Any, **options: Any) -> Any:
            shape = (*map(type, args), *options, *map(type, options.values()))
            if shape not in seen:
                self._look(args, options)
                if not any(kind in _LOOKED_INTO for kind in shape):
                    seen.add(shape)
            return function(*args, **options)

        return guarded

    def _look(self, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        for name, value in (*zip(self.names, args, strict=False), *options.items()):
            kinds = self.wanted.get(name)
            if kinds is not None and not _fits(kinds, value):
                raise self._refusal(name, value)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The arguments that may come by place."""
        by_place = {Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD}
        found = signature(self.function).parameters.values()
        return tuple(each.name for each in found if each.kind in by_place)

    @cached_property
    def wanted(self) -> dict[str, list[_Kind]]:
        """The kinds of each argument that is not to take anything; read when first called."""
        known = unwrap(self.function).__globals__
        all_kinds = {
            each.name: _kinds(each.annotation, known)
            for each in signature(self.function).parameters.values()
            if each.kind is not Parameter.VAR_KEYWORD and each.annotation is not Parameter.empty
        }
        return {name: kinds for name, kinds in all_kinds.items() if kinds is not None}

    def _refusal(self, name: str, value: object) -> VellumNBError:
        words = list(dict.fromkeys(each.words for each in self.wanted[name] if each.words))
        last = words.pop()
        wanted = f"{', '.join(words)} or {last}" if words else last
        return self.error(f"{self.shown}: {name}={told(name, value)} does not fit: give {wanted}")


def _is_public(name: str, method: Any) -> bool:
    ours = method.__module__.startswith("vellum_nb.")
    return name == "__init__" or (ours and not name.startswith("_"))


def told(name: str, value: object) -> str:
    """Return `value` as a sentence shows it; what may be or hold a secret by its type only."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - whatever it is, it is not what is to be told
        text = "\n"
    is_short = "\n" not in text and "://" not in text and name != "api_key"
    if not is_short:
        return f"<{type(value).__name__}>"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _fits(kinds: list[_Kind], value: object) -> bool:
    return any(each.fits(value) for each in kinds)


def _kinds(annotation: Any, known: Mapping[str, Any]) -> list[_Kind] | None:
    """Return the kinds that an annotation names; None: anything goes."""
    if isinstance(annotation, str):
        return _of_text(annotation, known)
    if get_origin(annotation) in (Union, UnionType):
        return _joined(get_args(annotation), known)
    kind = _kind(annotation, known)
    return None if kind is None else [kind]


def _of_text(text: str, known: Mapping[str, Any]) -> list[_Kind] | None:
    with suppress(NameError, TypeError, AttributeError):
        return _kinds(eval(text, {**vars(typing), **known}), known)  # noqa: S307  (our own text)
    tree = ast.parse(text, mode="eval").body
    if isinstance(tree, ast.BinOp):
        return _joined([ast.unparse(tree.left), ast.unparse(tree.right)], known)
    if isinstance(tree, ast.Attribute):  # a class of a module that type checkers import
        return [_named(tree.attr)]
    return None


def _joined(parts: Iterable[Any], known: Mapping[str, Any]) -> list[_Kind] | None:
    found = [_kinds(part, known) for part in parts]
    if None in found:
        return None
    return [kind for kinds in found for kind in kinds or ()]


def _kind(annotation: Any, known: Mapping[str, Any]) -> _Kind | None:
    origin, args = get_origin(annotation) or annotation, get_args(annotation)
    if origin is Literal:
        return _Kind(lambda value: isinstance(value, str), " or ".join(map(repr, args)))
    if origin in _PLAIN:
        return _PLAIN[origin]
    if not isinstance(origin, type) or origin is object:
        return None
    if issubclass(origin, Iterable) and args:
        return _series(_kinds(args[0], known))
    words = "" if origin.__name__.startswith("_") else _with_article(origin.__name__)
    with suppress(TypeError):  # a protocol that says nothing while the program runs
        isinstance(None, origin)
        return _Kind(lambda value: isinstance(value, origin), words)
    return None


def _series(each: list[_Kind] | None) -> _Kind:
    def fits(value: object) -> bool:
        if isinstance(value, str):
            return each is None or _fits(each, value)
        if not isinstance(value, Iterable) or isinstance(value, bytes | io.IOBase):
            return False
        if each is None or type(value) not in _LOOKED_INTO:
            return _is_flat(value)
        return all(_fits(each, one) for one in value)

    many = [f"{kind.words.partition(' ')[2]}s" for kind in each or ()]
    return _Kind(fits, f"a list of {' or '.join(many)}" if many else "a list")


def _named(name: str) -> _Kind:
    def fits(value: object) -> bool:
        return any(each.__name__ == name for each in type(value).__mro__)

    return _Kind(fits, _with_article(name))


def _with_article(name: str) -> str:
    return f"an {name}" if name[0] in "AEIO" else f"a {name}"


def _is_dict(value: Any) -> bool:
    return isinstance(value, Mapping) or (hasattr(value, "keys") and _is_flat(value))  # or a row


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_flat(value: object) -> bool:
    """Return whether it is no table: going through one yields its columns."""
    return getattr(value, "ndim", 1) == 1


def _is_text_file(value: object) -> bool:
    return hasattr(value, "write") and not isinstance(value, io.RawIOBase | io.BufferedIOBase)


def _is_time(value: object) -> bool:
    return isinstance(value, date) or _named("datetime64").fits(value)


_PATH = _Kind(lambda v: isinstance(v, os.PathLike), "a path")
_TIME = _Kind(_is_time, "a time")
_DICT = _Kind(_is_dict, "a dict")
_PLAIN: dict[object, _Kind] = {
    NoneType: _Kind(lambda v: v is None, "None"),
    None: _Kind(lambda v: v is None, "None"),
    str: _Kind(lambda v: isinstance(v, str), "a text"),
    bool: _Kind(lambda v: type(v).__name__ in {"bool", "bool_"}, "True or False"),  # or numpy's
    int: _Kind(_is_whole, "a whole number"),
    float: _Kind(lambda v: isinstance(v, Real), "a number"),
    bytes: _Kind(lambda v: isinstance(v, bytes | bytearray | memoryview), "bytes"),
    type: _Kind(lambda v: isinstance(v, type), "a class"),
    Path: _PATH,
    os.PathLike: _PATH,
    TextIO: _Kind(_is_text_file, "a file that is open for text"),
    datetime: _TIME,
    date: _TIME,
    Mapping: _DICT,
    dict: _DICT,
    tuple: _Kind(lambda v: isinstance(v, tuple | list), "a tuple"),
    Callable: _Kind(callable, "a function"),
    Executor: _Kind(
        lambda v: isinstance(v, Executor),
        "an Executor (of concurrent.futures, or of a Dask client: `client.get_executor()`)",
    ),
}
