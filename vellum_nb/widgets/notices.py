"""The lines of a form that tell where it comes from and what the releases disagree on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from vellum_nb.models import VellumVariable
from vellum_nb.rendering.format import visible_name
from vellum_nb.widgets.drift import differences_html, not_sent_html
from vellum_nb.widgets.icons import WARN
from vellum_nb.widgets.spec import FormSpec

__all__ = ["header_html", "notices_html"]


def header_html(spec: FormSpec, *, count: int | None) -> str:
    """Return the form's title, where runs go, and how many there are."""
    releases = "1 release" if len(spec.tags) == 1 else f"{len(spec.tags)} releases"
    facts = [releases]
    if count is not None:
        facts.append("history: 1 run" if count == 1 else f"history: {count:,} runs")
    about = f'<p class="vnb-about">{escape(spec.description)}</p>' if spec.description else ""
    return (
        f'<div class="vnb-head"><b class="vnb-title">{escape(visible_name(spec.label))}</b>'
        f'<span class="vnb-source">{escape(spec.source)}</span>'
        f'<span class="vnb-count">{" · ".join(facts)}</span></div>{about}'
    )


def notices_html(
    spec: FormSpec,
    by_tag: Mapping[str, Sequence[VellumVariable]],
    *,
    unread: Sequence[str] = (),
) -> str:
    """Return a line for each thing that one should know before a run.

    For one release: how its inputs differ from LATEST. For several: what is not sent to which.
    """
    lines = [escape(text) for text in (*spec.notes, *unread)]
    if len(by_tag) == 1:
        ((tag, variables),) = by_tag.items()
        lines.append(differences_html(tag, variables, spec.variables))
    else:
        lines.append(not_sent_html(by_tag))
    return "".join(
        f'<div class="vnb-notice" role="status">{WARN}<span>{line}</span></div>'
        for line in lines
        if line
    )
