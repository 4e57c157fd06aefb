"""Typed values as text, the form in which two of them are compared; and whether they are equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from vellum_nb.rendering.format import one_line

_EXACT = 1e15  # beyond it a float has no digit to spare
_NESTED = (Mapping, list, tuple)
_ONE_LINE = 100  # characters of JSON that are written in one line
_TOO_LONG = "(an integer with too many digits to display)"


def value_text(value: object, kind: str) -> str:
    """Return `value`, of Vellum's type `kind`, as text for people.

    Never fails: a value that is not what its type says is written as JSON.

    >>> value_text([{"role": "USER", "text": "hi"}], "CHAT_HISTORY")
    'USER: hi'
    >>> value_text(3.0, "NUMBER")
    '3'
    """
    if isinstance(value, str):
        return value
    try:
        return _WRITERS.get(kind, json_text)(value)
    except (AttributeError, KeyError, RecursionError, TypeError):
        return json_text(value)


def plain_text(value: object) -> str:
    """Return an input, a label or an expected output, whose type is not known, as text."""
    is_media = isinstance(value, Mapping) and isinstance(value.get("src"), str)
    return value_text(value, "IMAGE" if is_media else "JSON")


def output_kind(value: object, known: str | None) -> str:
    """Return Vellum's type of an output: the one that is `known`, else a guess."""
    return known or ("STRING" if isinstance(value, str) else "JSON")


def number_text(value: object) -> str:
    """Return a number without needless digits: `3` for 3.0, and no exponent where none is needed.

    >>> number_text(12.50)
    '12.5'
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    try:
        return str(value)
    except ValueError:  # Python writes no more than 4,300 digits
        return _TOO_LONG


def json_text(value: object) -> str:
    """Return `value` as JSON with sorted keys: in one line when short, indented when long.

    >>> json_text({"b": 1, "a": "é"})
    '{"a": "é", "b": 1}'
    """
    options: dict[str, Any] = {"ensure_ascii": False, "sort_keys": True, "default": str}
    try:
        text = json.dumps(value, **options)
        return text if len(text) <= _ONE_LINE else json.dumps(value, indent=2, **options)
    except RecursionError:
        return "(nested too deeply to display)"
    except (TypeError, ValueError):
        return number_text(value)


def value_line(value: object, limit: int = 60) -> str:
    """Return a value as JSON, text as it is, in one line of at most `limit` characters.

    >>> value_line({"b": 1, "a": "x"}, 12)
    '{"a": "x", …'
    """
    return one_line(value if isinstance(value, str) else json_text(value), limit)


def same_value(a: object, b: object) -> bool:
    """Return whether two plain JSON values are the same; 1 and 1.0 are, 1 and true are not.

    >>> same_value({"n": 1}, {"n": 1.0}), same_value(1, True)
    (True, False)
    """
    if isinstance(a, _NESTED) and isinstance(b, _NESTED):
        return value_key(a) == value_key(b)
    if isinstance(a, bool) is not isinstance(b, bool):
        return False
    return a == b or (a != a and b != b)  # noqa: PLR0124  (NaN differs from itself)


def value_key(value: object) -> str:
    """Return a text that only values share which are the same for `same_value`.

    >>> value_key({"b": 1.0, "a": "x"})
    '{"a":"x","b":1}'
    """
    try:
        text = _encode(value)
        if ".0" in text or "e+" in text:  # a whole number may be written with a point
            text = _encode(_decode(text))
    except (RecursionError, TypeError, ValueError):  # deeper, or larger, than JSON is written
        return f"{type(value).__name__} {id(value)}"
    return text


def _whole(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=repr).encode
_decode = json.JSONDecoder(parse_float=_whole).decode


def _number(value: Any) -> str:
    return json_text(value) if isinstance(value, bool) else number_text(value + 0)


def _chat(turns: Any) -> str:
    return "\n".join(f"{turn.get('role', '?')}: {_turn(turn)}" for turn in turns)


def _turn(turn: Mapping[str, Any]) -> str:
    content = turn.get("content")
    if isinstance(content, Mapping) and "type" in content:
        return _typed(content)
    text = turn.get("text")
    return text if isinstance(text, str) else json_text(text if content is None else content)


def _typed(item: Mapping[str, Any]) -> str:
    return value_text(item.get("value"), str(item["type"]))


def _array(items: Any) -> str:
    return "\n".join(map(_typed, items))


def _search_results(hits: Any) -> str:
    parts = []
    for hit in hits:
        document = hit.get("document")
        label = document.get("label") if isinstance(document, Mapping) else document
        head = f"{label or 'no document'} (score {number_text(hit.get('score'))})"
        parts.append(f"{head}\n{hit.get('text', '')}")
    return "\n\n".join(parts)


def _function_call(call: Any) -> str:
    name, arguments = call["name"], call.get("arguments")
    if not isinstance(arguments, Mapping):
        return f"{name}({json_text(arguments)})"
    return f"{name}({', '.join(f'{key}={json_text(each)}' for key, each in arguments.items())})"


def _error(error: Any) -> str:
    return f"{error.get('code', 'ERROR')}: {error['message']}"


def _media(media: Any) -> str:
    source: str = media["src"]
    if source[:5].lower() != "data:":
        return source
    mime = source[5:].partition(",")[0].partition(";")[0] or "data"
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
    return f"[{mime[:60]}, {len(source):,} characters, sha256 {digest[:8]}]"


_WRITERS: dict[str, Callable[[Any], str]] = {
    "NUMBER": _number,
    "CHAT_HISTORY": _chat,
    "SEARCH_RESULTS": _search_results,
    "FUNCTION_CALL": _function_call,
    "ERROR": _error,
    "ARRAY": _array,
    **dict.fromkeys(("IMAGE", "AUDIO", "VIDEO", "DOCUMENT"), _media),
}
