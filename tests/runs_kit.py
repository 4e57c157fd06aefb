"""Runs made by hand, each later than the one before."""

from datetime import UTC, datetime, timedelta
from itertools import count

from IPython.core.formatters import DisplayFormatter

from vellum_nb.history import ordered_runs
from vellum_nb.models import Run, case_id
from vellum_nb.sweep.sweep import control_of

TYPES = [
    "STRING", "NUMBER", "JSON", "CHAT_HISTORY", "SEARCH_RESULTS", "ARRAY", "ERROR",
    "FUNCTION_CALL", "IMAGE", "AUDIO", "VIDEO", "DOCUMENT", "SOMETHING_NEW",
]  # fmt: skip
HOSTILE = [
    "<script>alert(1)</script>", "</span></del><img src=x onerror=alert(1)>", '" onclick="x',
    "[x](javascript:alert(1))", "![x](https://evil.example/a.png)", "https://evil.example",
    "www.evil.example", "me@evil.example", "mailto:me@evil.example", "@somebody #1 GH-1 :smile:",
    "| a | b |", "# head", "- item", "1. item", "> quote", "```\ncode\n```", "*a* _b_ ~~c~~ `d`",
    "$x$ $$y$$", "<!-- a -->", "&lt;b&gt; &#64;", "\\*a\\*", "a\\", "[a]: https://evil.example",
    "</style><script>alert(1)</script>", "<link rel=stylesheet href=https://evil.example/a.css>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>", "javascript:alert(1)",
    "</title><base href=https://evil.example>", "</code></td></tr></table>",
    "line\n\nline\n---\nline", "<pre>\n</pre>", "-]{+x+}",
]  # fmt: skip
"""What a workflow returns to become more than text in HTML, in Markdown or on GitHub."""

_NUMBERS = count(1)


def later_run(tag, inputs, outputs, /, **fields):
    number = next(_NUMBERS)
    known = {
        "id": str(number),
        "deployment": "triage",
        "release_tag": tag,
        "timestamp": datetime(2026, 11, 24, tzinfo=UTC) + timedelta(seconds=number),
        "inputs": inputs,
        "outputs": outputs,
        "case_id": case_id(inputs),
        "state": "FULFILLED",
    }
    return Run(**(known | fields))


def bundle_of(value):
    """Return what a notebook stores of `value`, by its media types."""
    data, _ = DisplayFormatter().format(value)
    assert isinstance(data, dict)
    return data


def html_of(value):
    """Return what a notebook shows of `value`."""
    return str(bundle_of(value)["text/html"])


def page(history, **options):
    """Return the first 100 runs, sorted."""
    return ordered_runs(history, **options).runs(offset=0, limit=100)


def progress_of(sweep):
    """Return the progress of a sweep, as its views get it."""
    return control_of(sweep).progress()
