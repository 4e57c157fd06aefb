"""What a form would run or has run, as static HTML: for GitHub, nbconvert, and a closed kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from vellum_nb.models import Run, VellumVariable
from vellum_nb.models.inputs import field_kind, plain
from vellum_nb.rendering.values import value_text
from vellum_nb.widgets.outputs import side_by_side_html
from vellum_nb.widgets.outputs_style import LEFT
from vellum_nb.widgets.spec import FormSpec
from vellum_nb.widgets.trace import trace_html

__all__ = ["form_html"]

_LONGEST = 2_000
_MEDIA = {"image", "audio", "video", "document"}
_TYPES = {"bool": "BOOLEAN", "enum": "ENUM"}
_HEAD = "".join(f"<th{LEFT}>{name}</th>" for name in ("input", "type", "value"))


def form_html(
    spec: FormSpec,
    variables: Sequence[VellumVariable],
    values: Mapping[str, Any],
    *,
    tags: Sequence[str],
    runs: Sequence[Run],
) -> str:
    """Return the form as a table of its inputs, below it the answers and traces there are.

    The same form gives the same text; there is no time in it before a run.
    """
    rows = "".join(_row(variable, values) for variable in variables)
    about = "".join(f"<p>{escape(line)}</p>" for line in (spec.description, *spec.notes) if line)
    chosen = ", ".join(tags) or "no release tag"
    answers = side_by_side_html(runs) + "".join(map(_trace, runs)) if runs else ""
    return (
        f"<div><p><b>{escape(spec.label)}</b> · {escape(spec.source)} · "
        f"run on: {escape(chosen)}</p>{about}"
        f"<table><thead><tr>{_HEAD}</tr></thead><tbody>{rows}</tbody></table>{answers}</div>"
    )


def _row(variable: VellumVariable, values: Mapping[str, Any]) -> str:
    name = f"{variable.key} *" if variable.is_required else variable.key
    kind = _TYPES.get(field_kind(variable), variable.type)
    value = _text(variable, values[variable.key]) if variable.key in values else ""
    return (
        f"<tr><td{LEFT}>{escape(name)}</td><td{LEFT}>{escape(kind)}</td>"
        f"<td{LEFT}><pre>{escape(value)}</pre></td></tr>"
    )


def _trace(run: Run) -> str:
    if not run.nodes:
        return ""
    title = f"Trace of {run.release_tag}"
    table = trace_html(run.nodes, title=title)
    return f'<details class="vnb-out"><summary>{escape(title)}</summary>{table}</details>'


def _text(variable: VellumVariable, value: Any) -> str:
    if field_kind(variable) in _MEDIA:
        src = value.get("src", "") if isinstance(value, Mapping) else value
        text = str(src)
        return f"{text.partition(',')[0]},…" if text.startswith("data:") else text
    text = value_text(plain(value), variable.type)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
