"""The outputs of runs as safe static HTML: one run, several side by side, and the trace of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import chain

from vellum_nb.models import NodeRun, Run
from vellum_nb.rendering.diff import Op, diff_html, difference
from vellum_nb.rendering.format import duration, money, visible_name
from vellum_nb.rendering.html import difference_html, error_html, value_html
from vellum_nb.rendering.values import same_value
from vellum_nb.widgets.markup import asset, icon

__all__ = [
    "LEFT",
    "OUTPUT_CSS",
    "in_order",
    "legend_html",
    "output_html",
    "output_style_html",
    "side_by_side_html",
    "trace_html",
    "value_html",
]

LEFT = ' style="text-align: left"'
"""For cells: Jupyter sets tables right-aligned, and drops the style sheet of untrusted outputs."""


OUTPUT_CSS = asset("colours.css", "outputs.css")


def output_style_html() -> str:
    """Return the style as an element, to stand before the HTML that needs it."""
    return f"<style>{OUTPUT_CSS}</style>"


_NODES = 200
_DEEPEST = 6
_NARROWEST = 0.5  # per cent: a node of no time at all is still seen
_ERROR = 2000  # characters
_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)
_NODE_STATES = {
    "FULFILLED": ("FULFILLED", ""),
    "REJECTED": ("REJECTED", "REJECTED"),
    "INITIATED": ("STARTED", "not ended"),
    "STREAMING": ("STARTED", "streaming"),
}


def _state_icon(state: str) -> str:
    return icon(state, f"vnb-icon vnb-icon-{state}", 14)


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
    rows = [_node_row(node, depth, begin, length) for depth, node in in_order(nodes)[:_NODES]]
    count = "1 node" if len(nodes) == 1 else f"{len(nodes):,} nodes"
    facts = [escape(visible_name(title)), count, duration(length)]
    more = f"the first {_NODES} are shown; ws.trace(run) has all" if len(nodes) > _NODES else ""
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


def _node_row(node: NodeRun, depth: int, begin: datetime | None, length: float) -> str:
    picture, word = _NODE_STATES.get(node.state, ("STARTED", node.state))
    kind = f' <span class="vnb-trace-kind">{escape(visible_name(node.kind))}</span>'
    state = f' <span class="vnb-trace-kind">{escape(word)}</span>' if word else ""
    spoken = "" if word else '<span class="vnb-heard">FULFILLED</span>'
    start, end = _utc(node.start), _utc(node.end)
    took = max((end - start).total_seconds(), 0.0) if start and end else None
    return (
        f'<tr class="vnb-depth-{min(depth, _DEEPEST)}"><th scope="row">'
        f"{_state_icon(picture)}{spoken} {escape(visible_name(node.name))}"
        f"{kind if node.kind else ''}{state}</th>"
        f'<td class="vnb-trace-time">{_bar(node, begin, length)}</td>'
        f'<td class="vnb-trace-took vnb-number">{"" if took is None else duration(took)}</td>'
        f"</tr>{_details(node)}"
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
        facts.append(money(node.cost_usd))
    used = f'<span class="vnb-quiet">{" · ".join(facts)}</span>' if facts else ""
    text = node.error or ""
    error = f'<pre class="vnb-text vnb-error">{escape(text[:_ERROR])}</pre>' if text else ""
    return (
        f'<tr class="vnb-trace-more"><td colspan="3">{used}{error}</td></tr>'
        if used or error
        else ""
    )


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=UTC)


_MOST_OUTPUTS = 200
_LEGEND = (Op("insert", "inserted"), Op("delete", "deleted"))


def side_by_side_html(
    runs: Sequence[Run],
    *,
    markdown: bool = False,
    legend: bool = True,
    live: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """Return `runs` beside each other, the differences marked against the first.

    In less than 640 pixels the columns stand under each other.

    Parameters
    ----------
    runs : sequence of Run
        The first is the baseline.
    markdown : bool, default False
        Show text outputs as Markdown; differences are then told, not marked.
    legend : bool, default True
        Say above the columns how differences are marked.
    live : mapping, optional
        Release tag of each run that streams, to the texts of its outputs so far.

    Returns
    -------
    str
        HTML with its own ``style`` element.
    """
    if not runs:
        return _page('<p class="vnb-note">No runs to show.</p>')
    baseline = runs[0] if len(runs) > 1 else None
    live = live or {}
    all_names = _names(runs, *live.values())
    names = all_names[:_MOST_OUTPUTS]
    columns = "".join(
        _live_column(run, names, live[run.release_tag])
        if run.release_tag in live and run.state == "STARTED"
        else _column(run, baseline, names, markdown=markdown)
        for run in runs
    )
    return _page(
        f"{_notes(runs, legend=legend and not markdown)}{_left_out(len(all_names))}"
        f'<div class="vnb-out-grid">{columns}</div>'
    )


def output_html(name: str, run: Run, baseline: Run | None = None, *, markdown: bool = False) -> str:
    """Return the output `name` of `run`, with its differences against `baseline` if there is one.

    An output that `run` lacks is *missing*, never empty.
    """
    if name not in run.outputs:
        return f'<div class="vnb-missing">{_state_icon("CANCELLED")} missing</div>'
    value, kind = run.outputs[name], _kind(run, name)
    if baseline is None or baseline is run or not baseline.outputs:
        return value_html(value, kind, markdown=markdown)
    if name not in baseline.outputs:
        added = '<p class="vnb-note">new: the baseline has no such output</p>'
        return added + value_html(value, kind, markdown=markdown)
    if same_value(value, baseline.outputs[name]):
        return value_html(value, kind, markdown=markdown)
    return _changed(name, run, baseline, markdown=markdown)


def legend_html(release_tag: str) -> str:
    """Return how differences against `release_tag` are marked.

    Examples
    --------
    >>> legend_html("v1").endswith(" against v1")
    True
    """
    marked = " ".join(diff_html([op]) for op in _LEGEND)
    return f"changed words are marked {marked} against {escape(visible_name(release_tag))}"


def _changed(name: str, run: Run, baseline: Run, *, markdown: bool) -> str:
    value, kind = run.outputs[name], _kind(run, name)
    if markdown and isinstance(value, str):
        return f'<p class="vnb-note">differs</p>{value_html(value, kind, markdown=True)}'
    old_kind = _kind(baseline, name)
    return difference_html(difference(baseline.outputs[name], value, kind, old_kind=old_kind))


def _kind(run: Run, name: str) -> str:
    guess = "STRING" if isinstance(run.outputs.get(name), str) else "JSON"
    return run.output_types.get(name, guess)


def _names(runs: Sequence[Run], *more: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(chain(*(run.outputs for run in runs), *more)))


def _column(run: Run, baseline: Run | None, names: Sequence[str], *, markdown: bool) -> str:
    rows = []
    problem = error_html(run)
    if problem:
        rows.append(_row("error" if run.error else "state", problem))
    if run.outputs or not problem:
        rows += [_row(name, output_html(name, run, baseline, markdown=markdown)) for name in names]
    if not rows:
        rows.append(_row("outputs", '<span class="vnb-null">none</span>'))
    # Rows of answers stand in line across the columns; an error has no row to stand in line with.
    lines = "" if run.outputs else " vnb-out-alone"
    return _section(run, _head(run, _verdict(run, baseline)), rows, len(names), classes=lines)


def _live_column(run: Run, names: Sequence[str], own: Mapping[str, str]) -> str:
    places = {
        name: f'<pre class="vnb-text vnb-live{"" if text else " vnb-waiting"}" data-at="{at}">'
        f"{escape(text)}</pre>"
        for at, (name, text) in enumerate(own.items())
    }
    rows = [_row(name, places.get(name, "")) for name in names]
    rows = rows or [_row("outputs", '<span class="vnb-quiet">waiting for the first words</span>')]
    when = run.timestamp.astimezone().strftime("%H:%M:%S")
    head = _head(run, f"run recorded {when}", '<span class="vnb-live-facts vnb-quiet"></span>')
    return _section(run, head, rows, len(names), classes=" vnb-out-live")


def _section(run: Run, head: str, rows: Sequence[str], count: int, *, classes: str) -> str:
    return (
        f'<section class="vnb-out-run{classes}" style="grid-row:span {count + 3}" '
        f'aria-label="{escape(visible_name(run.release_tag))}">{head}'
        f'<dl class="vnb-out-rows">{"".join(rows)}</dl></section>'
    )


def _row(name: str, html: str) -> str:
    return f'<div class="vnb-out-row"><dt>{escape(visible_name(name))}</dt><dd>{html}</dd></div>'


def _head(run: Run, right: str, *more: str) -> str:
    facts = [f'{_state_icon(run.state)} <span class="vnb-state">{run.state}</span>', *more]
    if run.latency_s is not None:
        facts.append(f'<span class="vnb-number">{duration(run.latency_s)}</span>')
    if run.cost_usd is not None:
        facts.append(f'<span class="vnb-number">{money(run.cost_usd)}</span>')
    if run.tag_moved:
        facts.append("the tag moved during the call")
    facts_html = ' <span class="vnb-dot">·</span> '.join(facts)
    aside = f' <span class="vnb-aside">{right}</span>' if right else ""
    return (
        f'<div class="vnb-out-head"><span class="vnb-facts"><b class="vnb-tag">'
        f"{escape(visible_name(run.release_tag))}</b> {facts_html}</span>{aside}</div>"
    )


def _verdict(run: Run, baseline: Run | None) -> str:
    if baseline is None:
        return ""
    if run is baseline:
        return "baseline"
    if "STARTED" in {run.state, baseline.state}:
        return ""
    if not run.outputs or not baseline.outputs:
        return "nothing to compare"
    names = _names([baseline, run])
    differing = sum(
        name not in run.outputs
        or name not in baseline.outputs
        or not same_value(run.outputs[name], baseline.outputs[name])
        for name in names
    )
    return f"{differing} of {len(names)} outputs differ" if differing else "all outputs the same"


def _notes(runs: Sequence[Run], *, legend: bool) -> str:
    notes = []
    if len(runs) > 1 and legend:
        notes.append(legend_html(runs[0].release_tag))
    if len({run.case_id for run in runs if run.state != "STARTED"}) > 1:
        notes.append("the runs have different inputs, which may be why they differ")
    if len({run.deployment for run in runs}) > 1:
        names = ", ".join(run.deployment for run in runs)
        notes.append(f"in this order: {escape(names)}")
    return "".join(_note(note) for note in notes) + _not_sent(runs)


def _not_sent(runs: Sequence[Run]) -> str:
    """Say above the columns, where there is room, which inputs a release did not get."""
    lacks = [
        f'<b class="vnb-tag">{escape(run.release_tag)}</b> was not sent '
        f"{escape(', '.join(run.not_sent))}"
        for run in runs
        if run.not_sent
    ]
    return _note(" · ".join(lacks)) if lacks else ""


def _left_out(count: int) -> str:
    more = count - _MOST_OUTPUTS
    return _note(f"{more:,} outputs more are not shown; the run holds them all") if more > 0 else ""


def _note(html: str) -> str:
    return f'<p class="vnb-note vnb-out-note">{html}</p>'


def _page(html: str) -> str:
    return f'{output_style_html()}<div class="vnb-out">{html}</div>'
