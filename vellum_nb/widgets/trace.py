"""The trace of a run as static HTML: a line a node, with a bar where it stands in time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from vellum_nb.models import NodeRun
from vellum_nb.rendering.format import visible_name
from vellum_nb.rendering.states import icon

__all__ = ["TRACE_CSS", "in_order", "trace_html"]

_SHOWN = 200
_DEEPEST = 6
_NARROWEST = 0.5  # per cent: a node of no time at all is still seen
_ERROR = 2000  # characters
_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)
_STATES = {
    "FULFILLED": ("ok", ""),
    "REJECTED": ("bad", "REJECTED"),
    "INITIATED": ("waiting", "not ended"),
    "STREAMING": ("waiting", "streaming"),
}

TRACE_CSS = """
.vnb-out .vnb-trace { border: 0; border-collapse: collapse; font-size: 12px; margin: 0; width: 100%; }
.vnb-out .vnb-trace caption { color: var(--vnb-quiet); font-size: 11px; padding: 4px 12px; text-align: left; }
.vnb-out .vnb-trace tr { background: none; border: 0; }
.vnb-out .vnb-trace :is(th, td) {
  background: none; border: 0; border-top: 1px solid var(--vnb-hair); font-weight: 400;
  line-height: 18px; max-width: none; overflow-wrap: anywhere; padding: 4px 12px; text-align: left;
  vertical-align: top; white-space: normal;
}
.vnb-out .vnb-trace th { width: 40%; }
.vnb-out .vnb-trace .vnb-trace-kind { color: var(--vnb-quiet); font-size: 11px; }
.vnb-out .vnb-trace .vnb-trace-time { padding-left: 0; padding-right: 0; }
.vnb-out .vnb-trace .vnb-trace-took { text-align: right; white-space: nowrap; width: 1%; }
.vnb-out .vnb-trace .vnb-trace-track {
  background: var(--vnb-band); display: block; height: 10px; margin-top: 4px; overflow: hidden;
}
.vnb-out .vnb-trace .vnb-trace-track > span { background: var(--vnb-brand); display: block; height: 10px; }
.vnb-out .vnb-trace .vnb-trace-bad > span {
  background: repeating-linear-gradient(-45deg, var(--vnb-red) 0 4px, var(--vnb-page) 4px 6px);
}
.vnb-out .vnb-trace .vnb-trace-more td { border-top: 0; padding-top: 0; }
.vnb-out .vnb-trace .vnb-depth-1 th { padding-left: 24px; }
.vnb-out .vnb-trace .vnb-depth-2 th { padding-left: 36px; }
.vnb-out .vnb-trace .vnb-depth-3 th { padding-left: 48px; }
.vnb-out .vnb-trace .vnb-depth-4 th { padding-left: 60px; }
.vnb-out .vnb-trace .vnb-depth-5 th { padding-left: 72px; }
.vnb-out .vnb-trace .vnb-depth-6 th { padding-left: 84px; }
"""  # noqa: E501


def trace_html(nodes: Sequence[NodeRun], *, title: str = "") -> str:
    """Return `nodes` as a table: name and state, a bar in time, how long it took, its error.

    Parameters
    ----------
    nodes : sequence of NodeRun
        In any order.
    title : str, optional
        What the nodes are those of, for the caption.

    Examples
    --------
    >>> "1 node" in trace_html([NodeRun(name="Reply", state="FULFILLED")])
    True
    """
    if not nodes:
        return '<p class="vnb-note">No node of this run is known.</p>'
    begin, length = _span(nodes)
    rows = [_row(node, depth, begin, length) for depth, node in in_order(nodes)[:_SHOWN]]
    count = "1 node" if len(nodes) == 1 else f"{len(nodes):,} nodes"
    facts = [escape(visible_name(title)), count, _seconds(length)]
    more = f"the first {_SHOWN} are shown; run.trace() has all" if len(nodes) > _SHOWN else ""
    caption = " · ".join(part for part in (*facts, more) if part)
    body = "".join(rows)
    return f'<table class="vnb-trace"><caption>{caption}</caption><tbody>{body}</tbody></table>'


def in_order(nodes: Sequence[NodeRun]) -> list[tuple[int, NodeRun]]:
    """Return nodes by their start, each behind the one it ran in, with its depth from 0."""
    by_start = sorted(nodes, key=lambda node: _utc(node.start) or _BEFORE_ALL)
    known = {node.span_id for node in by_start if node.span_id}
    inside: dict[str | None, list[NodeRun]] = {}
    for node in by_start:
        parent = node.parent_span_id if node.parent_span_id in known else None
        inside.setdefault(parent, []).append(node)
    found: list[tuple[int, NodeRun]] = []
    todo = [(0, node) for node in reversed(inside.pop(None, []))]
    while todo:
        depth, node = todo.pop()
        found.append((depth, node))
        todo += [(depth + 1, each) for each in reversed(inside.pop(node.span_id, []))]
    # A server may tell of nodes that ran in each other: those have no place of their own.
    return found + [(0, node) for rest in inside.values() for node in rest]


def _span(nodes: Sequence[NodeRun]) -> tuple[datetime | None, float]:
    starts = [start for node in nodes if (start := _utc(node.start))]
    if not starts:
        return None, 0.0
    ends = [end for node in nodes if (end := _utc(node.end))]
    begin = min(starts)
    return begin, max((max(ends + starts) - begin).total_seconds(), 0.0)


def _row(node: NodeRun, depth: int, begin: datetime | None, length: float) -> str:
    picture, word = _STATES.get(node.state, ("waiting", node.state))
    kind = f' <span class="vnb-trace-kind">{escape(visible_name(node.kind))}</span>'
    state = f' <span class="vnb-trace-kind">{escape(word)}</span>' if word else ""
    heard = "" if word else '<span class="vnb-heard">FULFILLED</span>'
    start, end = _utc(node.start), _utc(node.end)
    took = max((end - start).total_seconds(), 0.0) if start and end else None
    return (
        f'<tr class="vnb-depth-{min(depth, _DEEPEST)}"><th scope="row">{icon(picture)}{heard} '
        f"{escape(visible_name(node.name))}{kind if node.kind else ''}{state}</th>"
        f'<td class="vnb-trace-time">{_bar(node, begin, length)}</td>'
        f'<td class="vnb-trace-took vnb-number">{_seconds(took)}</td></tr>{_details(node)}'
    )


def _bar(node: NodeRun, begin: datetime | None, length: float) -> str:
    start = _utc(node.start)
    if begin is None or start is None:
        return ""
    end = _utc(node.end)
    offset = (start - begin).total_seconds()
    lasted = max((end - start).total_seconds(), 0.0) if end else length - offset
    left = min(100 * offset / length, 100 - _NARROWEST) if length else 0.0
    width = min(max(100 * lasted / length, _NARROWEST), 100 - left) if length else 100.0
    bad = " vnb-trace-bad" if node.state == "REJECTED" else ""
    return (
        f'<span class="vnb-trace-track{bad}" aria-hidden="true">'
        f'<span style="margin-left:{left:.2f}%;width:{width:.2f}%"></span></span>'
    )


def _details(node: NodeRun) -> str:
    facts = [escape(visible_name(node.model))] if node.model else []
    if node.tokens_in is not None or node.tokens_out is not None:
        facts.append(f"{node.tokens_in or 0:,} tokens in · {node.tokens_out or 0:,} out")
    if node.cost_usd is not None:
        facts.append(f"${node.cost_usd:.4f}")
    used = f'<span class="vnb-quiet">{" · ".join(facts)}</span>' if facts else ""
    text = node.error or ""
    error = f'<pre class="vnb-text vnb-error">{escape(text[:_ERROR])}</pre>' if text else ""
    return (
        f'<tr class="vnb-trace-more"><td colspan="3">{used}{error}</td></tr>'
        if used or error
        else ""
    )


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=UTC)
