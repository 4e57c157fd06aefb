"""Numbers, names, short texts and typed values for people: their only formatters.

Two values are compared in the form in which they are written here.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from vellum_nb.escaping import printable
from vellum_nb.models import Run

DASH = "\N{EN DASH}"
"""Stands for a figure that is not known."""

_MINUS = "\N{MINUS SIGN}"
_LEAST_P = 0.00001
_CENT = 0.0095  # from here on a p value has two decimals
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_COUNT = 10  # from here on a whole number is a count, not a score
_WHOLE = 1000  # from here on a figure needs no decimals
_TWO_DIGITS = 3.55  # an uncertainty up to here has a decimal more
_HUNDREDTHS = 0.095  # from here on it has two
_EXACT = 1e15  # beyond it a float has no digit to spare
_NESTED = (Mapping, list, tuple)
_ONE_LINE = 100  # characters of JSON that are written in one line
_TOO_LONG = "(an integer with too many digits to display)"
# What GitHub's Markdown would take for more than a letter, and what would turn the text around.
_MARKDOWN = re.compile(r"[<>&*_`\[\]|\\~$#@]|:(?=\S)|(?<=www)\.", re.IGNORECASE)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Bidirectional controls: they reorder the text after them, beyond the name itself.
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def p_value(p: float | None) -> str:
    """Return a p value: two decimals, one digit below 0.01, never less than 0.00001.

    >>> p_value(0.4531), p_value(0.00391), p_value(0.00098), p_value(0.0000119), p_value(1e-9)
    ('0.45', '0.004', '0.001', '0.00001', '< 0.00001')
    """
    if p is None or math.isnan(p):
        return DASH
    if p < _LEAST_P:
        return f"< {_LEAST_P:.5f}"
    return f"{p:.2f}" if p >= _CENT else f"{Decimal(f'{p:.1g}'):f}"


def p_sentence(p: float | None) -> str:
    """Return a p value for a sentence.

    >>> p_sentence(0.5), p_sentence(1e-9), p_sentence(None)
    ('p = 0.50', 'p < 0.00001', 'p unknown')
    """
    text = p_value(p)
    return "p unknown" if p is None else f"p {text}" if text.startswith("<") else f"p = {text}"


def money(usd: float | None, column: Iterable[float | None] = ()) -> str:
    """Return an amount of dollars; four decimals where it, or one of its `column`, is below 10 ct.

    >>> money(0.92), money(1240), money(0.00213), money(0), money(0.92, [0.00213, 0.92])
    ('$0.92', '$1,240.00', '$0.0021', '$0.00', '$0.9200')
    """
    if usd is None or math.isnan(usd):
        return DASH
    digits = 4 if any(0 < abs(each or 0) < 0.1 for each in (usd, *column)) else 2  # noqa: PLR2004
    return f"${usd:,.{digits}f}"


def duration(seconds: float | None) -> str:
    """Return a span of time, two units at most.

    >>> duration(0.004), duration(1.8391), duration(17.2), duration(200), duration(200_000)
    ('4 ms', '1.84 s', '17.2 s', '3 min 20 s', '2 d 7 h')
    """
    if seconds is None or math.isnan(seconds):
        return DASH
    if round(seconds * 1000) < _WHOLE:
        return f"{round(seconds * 1000)} ms"
    if seconds < _COUNT:
        return f"{seconds:.2f} s"
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    unit, name, small, below = next(
        each
        for each in (
            (_DAY, "d", _HOUR, "h"),
            (_HOUR, "h", _MINUTE, "min"),
            (_MINUTE, "min", 1, "s"),
        )
        if whole >= each[0]
    )
    rest = whole % unit // small
    return f"{whole // unit:,} {name} {rest} {below}" if rest else f"{whole // unit:,} {name}"


def percent(share: float | None) -> str:
    """Return a share in whole percent; one digit below 1 %.

    >>> percent(0.714), percent(0.0031), percent(0)
    ('71 %', '0.3 %', '0 %')
    """
    if share is None or math.isnan(share):
        return DASH
    value = 100 * share
    return f"{value:.1g} %" if 0 < abs(value) < 1 else f"{round(value):,} %"


def interval_digits(rows: Iterable[Mapping[str, Any]], low: str, high: str) -> int | None:
    """Return how many decimals the means of a column have, by its narrowest interval.

    Two digits of half its width where they are below 36, else one; None without an interval.

    >>> interval_digits([{"low": 0.36, "high": 0.64}, {"low": 0.2, "high": 0.9}], "low", "high")
    2
    """
    halves = [(row[high] - row[low]) / 2 for row in rows if row[high] > row[low]]
    return max(0, math.ceil(math.log10(_TWO_DIGITS / min(halves)))) if halves else None


def figure(value: float | None, like: float | None = None, digits: int | None = None) -> str:
    """Return a figure in as few digits as distinguish it from its like.

    With `like` it has as many decimals as that one, unless it would read as nothing; with `digits`
    it has so many.

    >>> figure(0.5), figure(0.00213), figure(12345.6), figure(118.0), figure(0.0731, like=0.59)
    ('0.50', '0.0021', '12,346', '118', '0.07')
    """
    if value is None or math.isnan(value):
        return DASH
    if digits is not None:
        return f"{value:z,.{digits}f}".replace("-", _MINUS)
    sign, size = (_MINUS if value < 0 else ""), abs(value)
    if size >= _COUNT and float(value).is_integer():
        return f"{sign}{size:,.0f}"
    if size >= _WHOLE and (like is None or abs(like) >= _WHOLE):
        return f"{sign}{size:,.0f}"
    if size >= _HUNDREDTHS or size == 0 or (like is not None and abs(like) >= _HUNDREDTHS):
        text = f"{size:,.2f}"
        if size == 0 or float(text.replace(",", "")):
            return f"{sign}{text}"
    return f"{sign}{size:.2g}"


def signed(value: float, like: float | None = None, digits: int | None = None) -> str:
    r"""Return a difference with its sign.

    >>> signed(-0.5) == "\N{MINUS SIGN}0.50", signed(0.26)
    (True, '+0.26')
    """
    text = figure(value, like, digits)
    return text if text.startswith(_MINUS) else f"+{text}"


def plural(count: int, noun: str, several: str | None = None) -> str:
    """Return `count` with its noun.

    >>> plural(1, "run"), plural(1200, "run"), plural(2, "entry", "entries")
    ('1 run', '1,200 runs', '2 entries')
    """
    return f"{count:,} {noun if count == 1 else several or f'{noun}s'}"


def doubt_text(run: Run) -> str:
    """Return what is known of a run in doubt, as half a sentence; nothing for another one."""
    if run.doubt is None:
        return ""
    is_certain = run.doubt == "EXECUTED" and (run.execution_id or run.external_id == run.id)
    end = "cancelled" if run.state == "CANCELLED" else "no answer came"
    return f"{end}; it {'was executed' if is_certain else 'may still have run'}"


def lookup_text(runs: Sequence[Run]) -> str:
    """Return what look-ups of runs in doubt found, given the runs as they are now."""
    if len(runs) == 1 and not runs[0].in_doubt:
        return f"Looked up: it ended as {runs[0].state}."
    if len(runs) == 1:
        is_listed = runs[0].execution_id is not None
        return "It is still running." if is_listed else "The server lists no execution of it yet."
    ended = sum(not run.in_doubt for run in runs)
    running = sum(run.in_doubt and run.execution_id is not None for run in runs)
    counts = {"completed": ended, "still running": running}
    counts["not listed yet"] = len(runs) - ended - running
    parts = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    return f"{plural(len(runs), 'run')} looked up: {parts}."


def cut(text: str, limit: int) -> str:
    """Return `text`, cut with an ellipsis where it has more than `limit` characters.

    >>> cut("charged twice", 8)
    'charged…'
    """
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def one_line(text: str, limit: int | None = None) -> str:
    """Return `text` in one line, cut to `limit` characters."""
    line = " ".join(text.split())
    return line if limit is None else cut(line, limit)


def visible_name(name: str) -> str:
    r"""Return `name` with the characters that reorder text written out.

    >>> visible_name("v1\u202e2v")
    'v1[U+202E]2v'
    """
    return _BIDI.sub(lambda match: f"[U+{ord(match[0]):04X}]", name)


def markdown_code(text: str) -> str:
    """Return `text` as Markdown that GitHub shows literally.

    >>> markdown_code("a|b")
    '<code>a&#124;b</code>'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _MARKDOWN.sub(lambda match: _entity(match[0]), printable(text))
    return f"<code>{text.replace(chr(10), '<br>')}</code>"


def _entity(letter: str) -> str:
    # The comment keeps a mail address from becoming a link.
    return "<!-- -->&#64;" if letter == "@" else f"&#{ord(letter)};"


def xml_text(text: str) -> str:
    """Replace what XML, and so SVG, cannot hold."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


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
    "ARRAY": lambda items: "\n".join(map(_typed, items)),
    **dict.fromkeys(("IMAGE", "AUDIO", "VIDEO", "DOCUMENT"), _media),
}
