"""The only formatters of numbers, names, short texts and typed values.

`same_value` compares values in the form that is written here.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeGuard

from vellum_nb.escaping import printable
from vellum_nb.models import Run
from vellum_nb.models.checks import cut
from vellum_nb.models.media import MEDIA_TYPES

DASH = "\N{EN DASH}"
"""Placeholder for an unknown figure."""

_MINUS = "\N{MINUS SIGN}"
_MIN_P = 0.00001
_MIN_TWO_DECIMAL_P = 0.0095  # p values from here on have two decimals
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_MIN_COUNT = 10  # whole numbers from here on are counts, not scores
_MIN_WHOLE_FIGURE = 1000  # figures from here on have no decimals
_MAX_PRECISE_UNCERTAINTY = 3.55  # uncertainties up to here have one more decimal
_MIN_TWO_DECIMALS = 0.095  # figures from here on have two decimals
_MAX_EXACT_FLOAT = 1e15  # larger floats have no exact digits after the point
_NESTED = (Mapping, list, tuple)
_MAX_SHORT_CHARS = 24  # characters; shorter values share a line
_MAX_LINE_CHARS = 100  # characters of JSON on one line
# Characters with a meaning in GitHub's Markdown.
_MARKDOWN = re.compile(r"[<>&*_`\[\]|\\~$#@]|:(?=\S)|(?<=www)\.", re.IGNORECASE)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Bidirectional controls reorder the text after the name.
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def p_value(p: float | None) -> str:
    """Format a p value: two decimals, one digit below 0.01, never less than 0.00001.

    >>> p_value(0.4531), p_value(0.00391), p_value(0.00098), p_value(0.0000119), p_value(1e-9)
    ('0.45', '0.004', '0.001', '0.00001', '< 0.00001')
    """
    if p is None or math.isnan(p):
        return DASH
    if p < _MIN_P:
        return f"< {_MIN_P:.5f}"
    return f"{p:.2f}" if p >= _MIN_TWO_DECIMAL_P else f"{Decimal(f'{p:.1g}'):f}"


def p_sentence(p: float | None) -> str:
    """Format a p value for a sentence.

    >>> p_sentence(0.5), p_sentence(1e-9), p_sentence(None)
    ('p = 0.50', 'p < 0.00001', 'p unknown')
    """
    text = p_value(p)
    return "p unknown" if p is None else f"p {text}" if text.startswith("<") else f"p = {text}"


def money(usd: float | None, column: Iterable[float | None] = ()) -> str:
    """Format dollars, with four decimals if any amount of the column is below 10 cents.

    >>> money(0.92), money(1240), money(0.00213), money(0), money(0.92, [0.00213, 0.92])
    ('$0.92', '$1,240.00', '$0.0021', '$0.00', '$0.9200')
    """
    if usd is None or math.isnan(usd):
        return DASH
    digits = 4 if any(0 < abs(amount or 0) < 0.1 for amount in (usd, *column)) else 2  # noqa: PLR2004
    return f"${usd:,.{digits}f}"


def duration(seconds: float | None) -> str:
    """Format a duration with at most two units.

    >>> duration(0.004), duration(1.8391), duration(17.2), duration(200), duration(200_000)
    ('4 ms', '1.84 s', '17.2 s', '3 min 20 s', '2 d 7 h')
    """
    if seconds is None or math.isnan(seconds):
        return DASH
    if round(seconds * 1000) < _MIN_WHOLE_FIGURE:
        return f"{round(seconds * 1000)} ms"
    if seconds < _MIN_COUNT:
        return f"{seconds:.2f} s"
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s"
    total = round(seconds)
    units = ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "min"), (_MINUTE, "min", 1, "s"))
    unit, name, small, below = next(row for row in units if total >= row[0])
    remainder = total % unit // small
    tail = f" {remainder} {below}" if remainder else ""
    return f"{total // unit:,} {name}{tail}"


def percent(share: float | None) -> str:
    """Format a share as whole percent, with one digit below 1 %.

    >>> percent(0.714), percent(0.0031), percent(0)
    ('71 %', '0.3 %', '0 %')
    """
    if share is None or math.isnan(share):
        return DASH
    value = 100 * share
    return f"{value:.1g} %" if 0 < abs(value) < 1 else f"{round(value):,} %"


def interval_digits(rows: Iterable[Mapping[str, Any]], low: str, high: str) -> int | None:
    """Return the number of decimals for the means of a column, by its narrowest interval.

    Half the interval keeps two digits if they are below 36, otherwise one. One more digit shows
    an end that would round to zero. None without an interval.

    >>> interval_digits([{"low": 0.36, "high": 0.64}, {"low": 0.2, "high": 0.9}], "low", "high")
    2
    >>> interval_digits([{"low": 0.0036, "high": 0.23}], "low", "high")
    3
    """
    ends = [(row[low], row[high]) for row in rows if row[high] > row[low]]
    if not ends:
        return None
    half = min(high - low for low, high in ends) / 2
    digits = max(0, math.ceil(math.log10(_MAX_PRECISE_UNCERTAINTY / half)))
    return digits + any(end and not round(end, digits) for pair in ends for end in pair)


def figure(value: float | None, like: float | None = None, digits: int | None = None) -> str:
    """Format a figure with as few digits as distinguish it from similar figures.

    `like` sets the number of decimals unless the figure would round to zero; `digits` sets it
    always.

    >>> figure(0.5), figure(0.00213), figure(12345.6), figure(118.0), figure(0.0731, like=0.59)
    ('0.50', '0.0021', '12,346', '118', '0.07')
    """
    if value is None or math.isnan(value):
        return DASH
    if digits is not None:
        return f"{value:z,.{digits}f}".replace("-", _MINUS)
    sign, size = (_MINUS if value < 0 else ""), abs(value)
    if size >= _MIN_COUNT and float(value).is_integer():
        return f"{sign}{size:,.0f}"
    if size >= _MIN_WHOLE_FIGURE and (like is None or abs(like) >= _MIN_WHOLE_FIGURE):
        return f"{sign}{size:,.0f}"
    if size == 0 or max(size, abs(like or 0.0)) >= _MIN_TWO_DECIMALS:
        text = f"{size:,.2f}"
        if size == 0 or float(text.replace(",", "")):
            return f"{sign}{text}"
    return f"{sign}{size:.2g}"


def signed(value: float, like: float | None = None, digits: int | None = None) -> str:
    r"""Format a difference with its sign.

    >>> signed(-0.5) == "\N{MINUS SIGN}0.50", signed(0.26)
    (True, '+0.26')
    """
    text = figure(value, like, digits)
    return text if text.startswith(_MINUS) else f"+{text}"


def plural(count: int, noun: str, several: str | None = None) -> str:
    """Format `count` with its noun.

    >>> plural(1, "run"), plural(1200, "run"), plural(2, "entry", "entries")
    ('1 run', '1,200 runs', '2 entries')
    """
    return f"{count:,} {noun if count == 1 else several or f'{noun}s'}"


def between(least: int, most: int) -> str:
    """Format a range of counts.

    >>> between(4, 1200), between(7, 7)
    ('4 to 1,200', '7')
    """
    return f"{least:,} to {most:,}" if least < most else f"{most:,}"


def doubt_text(run: Run) -> str:
    """Describe a run in doubt; empty for other runs."""
    if run.doubt is None:
        return ""
    is_certain = run.doubt == "EXECUTED" and (run.execution_id or run.external_id == run.id)
    end = "cancelled" if run.state == "CANCELLED" else "no answer was received"
    return f"{end}; it {'was executed' if is_certain else 'may still have run'}"


def one_line(text: str, limit: int | None = None) -> str:
    """Return `text` on one line, truncated to `limit` characters."""
    line = " ".join(text.split())
    return line if limit is None else cut(line, limit)


def visible_name(name: str) -> str:
    r"""Return `name` with visible bidirectional controls.

    >>> visible_name("v1\u202e2v")
    'v1[U+202E]2v'
    """
    return _BIDI.sub(lambda match: f"[U+{ord(match[0]):04X}]", name)


def is_short(value: object) -> bool:
    """Return whether a value fits on a line with others."""
    if isinstance(value, str):
        return len(value) <= _MAX_SHORT_CHARS and "\n" not in value
    return value is None or isinstance(value, int | float)


def is_prose(value: object) -> TypeGuard[str]:
    """Return whether a value is a long text, and neither JSON nor an identifier."""
    return isinstance(value, str) and not is_short(value) and value.lstrip()[:1] not in {"{", "["}


def markdown_code(text: str) -> str:
    """Return `text` as Markdown that GitHub displays literally.

    >>> markdown_code("a|b")
    '<code>a&#124;b</code>'
    """
    return f"<code>{markdown_text(text)}</code>"


def markdown_text(text: str) -> str:
    """Return `text` as part of inline HTML that Markdown displays literally."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _MARKDOWN.sub(lambda match: _entity(match[0]), printable(text))
    return text.replace("\n", "<br>")


def _entity(letter: str) -> str:
    # The comment prevents a link to the mail address.
    return "<!-- -->&#64;" if letter == "@" else f"&#{ord(letter)};"


def xml_text(text: str) -> str:
    """Replace characters that XML, and therefore SVG, does not allow."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def value_text(value: object, kind: str) -> str:
    """Return `value` of Vellum's type `kind` as text.

    A value that does not match its type is written as JSON.

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
    """Return an input, label or expected output of unknown type as text."""
    return value_text(value, input_kind(value))


def input_kind(value: object) -> str:
    """Guess the type of a structured input."""
    is_media = isinstance(value, Mapping) and isinstance(value.get("src"), str)
    return "IMAGE" if is_media else "JSON"


def output_kind(value: object, declared: str | None) -> str:
    """Return the declared type of an output, or guess it from the value."""
    return declared or ("STRING" if isinstance(value, str) else "JSON")


def number_text(value: object) -> str:
    """Format a number without needless digits or exponent.

    >>> number_text(12.50)
    '12.5'
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_EXACT_FLOAT:
        return str(int(value))
    try:
        return str(value)
    except ValueError:  # Python refuses to write more than 4,300 digits
        return "(an integer with too many digits to display)"


def json_text(value: object) -> str:
    """Return `value` as JSON with sorted keys, indented if it is long.

    >>> json_text({"b": 1, "a": "é"})
    '{"a": "é", "b": 1}'
    """
    options: dict[str, Any] = {"ensure_ascii": False, "sort_keys": True, "default": str}
    try:
        text = json.dumps(value, **options)
        return text if len(text) <= _MAX_LINE_CHARS else json.dumps(value, indent=2, **options)
    except RecursionError:
        return "(nested too deeply to display)"
    except (TypeError, ValueError):
        return number_text(value)


def value_line(value: object, limit: int = 60) -> str:
    """Return a value on one line of at most `limit` characters; text is unquoted.

    >>> value_line({"b": 1, "a": "x"}, 12)
    '{"a": "x", …'
    """
    return one_line(value if isinstance(value, str) else json_text(value), limit)


def same_value(a: object, b: object) -> bool:
    """Compare two plain JSON values; 1 equals 1.0 but not true.

    >>> same_value({"n": 1}, {"n": 1.0}), same_value(1, True)
    (True, False)
    """
    if isinstance(a, _NESTED) and isinstance(b, _NESTED):
        return value_key(a) == value_key(b)
    if isinstance(a, bool) is not isinstance(b, bool):
        return False
    return a == b or (a != a and b != b)  # noqa: PLR0124  (NaN differs from itself)


def value_key(value: object) -> str:
    """Return a canonical text that is equal for equal values, see `same_value`.

    >>> value_key({"b": 1.0, "a": "x"})
    '{"a":"x","b":1}'
    """
    try:
        text = _encode(value)
        if ".0" in text or "e+" in text:  # whole numbers can be written as floats
            text = _encode(_decode(text))
    except (RecursionError, TypeError, ValueError):  # too deep or too large for JSON
        return f"{type(value).__name__} {id(value)}"
    return text


def _whole(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=repr).encode
_decode = json.JSONDecoder(parse_float=_whole).decode


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
    return f"{name}({', '.join(f'{key}={json_text(arg)}' for key, arg in arguments.items())})"


def _media(media: Any) -> str:
    source: str = media["src"]
    if source[:5].lower() != "data:":
        return source
    mime = source[5:].partition(",")[0].partition(";")[0] or "data"
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
    return f"[{mime[:60]}, {len(source):,} characters, sha256 {digest[:8]}]"


_WRITERS: dict[str, Callable[[Any], str]] = {
    "NUMBER": lambda n: json_text(n) if isinstance(n, bool) else number_text(n + 0),
    "CHAT_HISTORY": _chat,
    "SEARCH_RESULTS": _search_results,
    "FUNCTION_CALL": _function_call,
    "ERROR": lambda error: f"{error.get('code', 'ERROR')}: {error['message']}",
    "ARRAY": lambda items: "\n".join(map(_typed, items)),
    **dict.fromkeys(MEDIA_TYPES, _media),
}
