"""Outputs of one or several runs, and traces, as safe static HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from html import escape
from itertools import chain
from typing import Any

from vellum_nb.comparison.conversations import checks
from vellum_nb.comparison.traces import (
    NodeDifference,
    first_difference,
    in_order,
    is_comparable,
    pairs,
)
from vellum_nb.models import NodeRun, Run
from vellum_nb.models.base import utc
from vellum_nb.rendering.answer import AnswerCell, check_html
from vellum_nb.rendering.diff import (
    MISSING,
    Op,
    Row,
    Side,
    difference,
    output_status,
    side_html,
)
from vellum_nb.rendering.format import (
    duration,
    is_prose,
    is_short,
    money,
    output_kind,
    plain_text,
    plural,
    visible_name,
)
from vellum_nb.rendering.html import asset, icon, render
from vellum_nb.widgets.markup import name_html

LEFT = ' style="text-align: left"'
"""Style of table cells: Jupyter right-aligns them, and drops style sheets if untrusted."""
OUTPUT_CSS = asset("outputs.css")

_MAX_OUTPUTS = 200
_MAX_NODES = 200
_MAX_COMPARED_CHARS = 30_000  # of the values of two traces: comparing more takes longer than 0.2 s
_MAX_SHOWN_CHARS = 300_000
_MAX_RUN_CHARS = 150_000  # of HTML; later outputs are only shown if they are short
_MAX_ROW_CHARS = 1_000
_MAX_SUMMARIZED_CHARS = 3_000
_MAX_DEPTH = 6
_MIN_BAR_PERCENT = 0.5  # keeps nodes of no duration visible
_NODE_STATES = {
    "FULFILLED": ("FULFILLED", ""),
    "REJECTED": ("REJECTED", "REJECTED"),
    "INITIATED": ("STARTED", "not ended"),
    "STREAMING": ("STARTED", "streaming"),
}


def side_by_side_traces(runs: Sequence[Run], compared: str = "", *, turn: int = 0) -> str:
    """Return traces side by side, the first difference marked; empty if none can be compared.

    If the values of nodes are known, `compared`, or the first other run, is listed against the
    first run, node by node. A single run has its own trace. Those of a
    `turn` of a conversation are folded.
    """
    traced = [run for run in runs[1:] if run.nodes]
    if not runs or not runs[0].nodes or (runs[1:] and not traced):
        return ""
    base = runs[0]
    candidate = next((run for run in traced if run.release_tag == compared), (*traced, base)[0])
    has_values = all(any(n.inputs or n.outputs for n in run.nodes) for run in (base, candidate))
    if candidate is not base and has_values and is_comparable(base.nodes, candidate.nodes):
        return _steps_html(base, candidate, turn)
    marks: dict[str, dict[int, str]] = {base.release_tag: {}}
    words = []
    for run in traced:
        tag, tag_marks = visible_name(run.release_tag), marks.setdefault(run.release_tag, {})
        first = first_difference(base.nodes, run.nodes)
        words.append(f"{tag}: {_conclusion(base, run, first)}")
        if first is not None and first.other is not None:
            tag_marks[id(first.other)] = f"first difference: {first.change}"
        if first is not None and first.base is not None:
            text = f"first difference to {tag}: {first.change}"
            before = marks[base.release_tag].get(id(first.base))
            marks[base.release_tag][id(first.base)] = f"{before}; {text}" if before else text
    tables = [
        trace_html(run.nodes, title=run.release_tag, marks=marks[run.release_tag])
        for run in (base, *traced)
    ]
    body = "".join(f"<div>{table}</div>" for table in tables)
    summary = f"Traces side by side · {escape(' · '.join(words))}" if words else "Trace"
    summary = f"Turn {turn:,} · {summary}" if turn else summary
    return (
        f'<details class="vnb-out"{"" if turn else " open"}><summary class="vnb-trace-fold">'
        f'{summary}</summary><div class="vnb-out-grid">{body}</div></details>'
    )


def _conclusion(base: Run, run: Run, first: NodeDifference | None) -> str:
    if first is not None:
        return f"first difference at {visible_name(first.name)} ({first.change})"
    return "no node differs" if is_comparable(base.nodes, run.nodes) else "not comparable"


def _steps_html(base: Run, run: Run, turn: int) -> str:
    """Return the nodes of two runs as a list: what differs in each, and its values unfolded."""
    first = first_difference(base.nodes, run.nodes)
    listed = list(pairs(base.nodes, run.nodes))
    steps, size = [], 0
    for depth, one, two in listed[:_MAX_NODES]:
        nodes = [(of, node) for of, node in ((base, one), (run, two)) if node is not None]
        values = [_with_outputs(of, _node_values(node)) for of, node in nodes]
        size += sum(len(plain_text(value.outputs)) for value in values)
        html = '<p class="vnb-note vnb-out-note">too long to show; read the values in run.nodes</p>'
        if size <= _MAX_SHOWN_CHARS:
            is_marked = size <= _MAX_COMPARED_CHARS
            html = _columns_html(values, "inputs and outputs", is_marked=is_marked)
        step = {
            "name": nodes[-1][1].name,
            "depth": min(depth, _MAX_DEPTH),
            "is_first": first is not None and one is first.base and two is first.other,
            "changes": _changes_html(one, two),
            "took": [duration(n.duration_s) for _, n in nodes if n.duration_s is not None],
            "html": html,
        }
        steps.append(step)
    return render(
        "trace_steps.html.j2",
        turn=turn,
        title=f"{visible_name(run.release_tag)} against {visible_name(base.release_tag)}",
        conclusion=_conclusion(base, run, first),
        steps=steps,
        omitted=len(listed) > len(steps),
    )


def _node_values(node: NodeRun | None) -> dict[str, Any]:
    """Return inputs, outputs, model and error of a node by name, if they are known."""
    if node is None:
        return {}
    values = {f"in {name}": value for name, value in (node.inputs or {}).items()}
    values |= {f"out {name}": value for name, value in (node.outputs or {}).items()}
    state = None if node.state == "FULFILLED" else node.state
    more = {"model": node.model, "state": state, "error": node.error}
    return values | {name: value for name, value in more.items() if value is not None}


def _changes_html(base: NodeRun | None, node: NodeRun | None) -> str:
    """Return what differs between two nodes, one line per value; short values in full."""
    if base is None or node is None:
        return "not run" if node is None else "new"
    has_values = [n.inputs is not None or n.outputs is not None for n in (base, node)]
    if not all(has_values):
        differs = base.outputs_hash != node.outputs_hash or any(has_values)
        return "values not stored" if differs else ""
    old, new = _node_values(base), _node_values(node)
    are_same = base.outputs_hash == node.outputs_hash is not None  # whatever their names
    lines = []
    for name in dict.fromkeys((*old, *new)):
        if are_same and name.startswith("out "):
            continue
        sides = old.get(name, MISSING), new.get(name, MISSING)
        if changes := difference(*sides, "JSON"):
            texts = [plain_text(value) or '""' for value in sides]
            is_long = sum(map(len, texts)) > _MAX_SUMMARIZED_CHARS
            ops = [Op("label", "differs" if is_long else changes.summary)]
            if all(map(is_short, sides)):
                ops = [Op("delete", texts[0]), Op("insert", texts[1])]
            lines.append(Row(name, ops))
    return "".join(line.to_html() for line in lines)


def trace_html(
    nodes: Sequence[NodeRun], *, title: str = "", marks: Mapping[int, str] | None = None
) -> str:
    """Return `nodes` as a table: name and state, timeline, duration, error.

    `marks` maps the `id()` of a node to a remark.
    """
    if not nodes:
        return '<p class="vnb-note">This run has no recorded nodes.</p>'
    starts = [utc(node.start) for node in nodes if node.start]
    ends = [utc(node.end) for node in nodes if node.end]
    begin = min(starts, default=None)
    length = max((max(starts + ends) - begin).total_seconds(), 0.0) if begin else 0.0
    rows = [_node_row(node, depth, begin, length) for depth, node in in_order(nodes)[:_MAX_NODES]]
    options = {"title": title, "count": len(nodes), "length": length, "marks": marks or {}}
    return render("trace.html.j2", rows=rows, icon=_icon, mark_of=id, **options)


def _node_row(node: NodeRun, depth: int, begin: datetime | None, length: float) -> dict[str, Any]:
    picture, word = _NODE_STATES.get(node.state, ("STARTED", node.state))
    took, bar = node.duration_s, None
    if begin is not None and node.start is not None:
        offset = (utc(node.start) - begin).total_seconds()
        lasted = length - offset if took is None else took
        margin = min(100 * offset / length, 100 - _MIN_BAR_PERCENT) if length else 0.0
        bar = (
            margin,
            min(max(100 * lasted / length, _MIN_BAR_PERCENT), 100 - margin) if length else 100.0,
        )
    values = "".join(
        _row(name, AnswerCell(name, "alone", value, output_kind(value, None)).to_html())
        for name, value in _node_values(node).items()
        if node.inputs or node.outputs
    )
    row = {"node": node, "depth": min(depth, _MAX_DEPTH), "picture": picture, "word": word}
    return row | {"took": took, "bar": bar, "values_html": values}


def side_by_side_html(
    runs: Sequence[Run],
    *,
    markdown: bool = False,
    legend: bool = True,
    inline: bool = False,
    compared: str = "",
    remarks: Mapping[str, str] | None = None,
    expected: Mapping[str, Any] | None = None,
    below: Mapping[str, str] | None = None,
    live: Mapping[str, Mapping[str, str]] | None = None,
    inputs: bool = False,
) -> str:
    """Return `runs` side by side with their style, and differences from the first run marked.

    Below 640 pixels the columns are stacked. `markdown` renders text as Markdown and names changes
    without marking them; `legend` explains the marks; `inline` shows removed and new words
    together. The first run marks what the run with the tag `compared`, or the only other one, has
    lost. `remarks` is HTML for the heading of a run, by release tag, and `below` for a row below
    its outputs; `expected` maps outputs to expected values. `live` maps the release tag of each
    streaming run to its partial outputs.
    `inputs` shows the inputs too: once if they are equal, otherwise above the outputs of each run.
    """
    live, remarks, below = live or {}, remarks or {}, below or {}
    other = _compared(runs, compared) if not inline else None
    names = list(dict.fromkeys(chain(*(run.outputs for run in runs), *live.values())))
    more, names = len(names) - _MAX_OUTPUTS, names[:_MAX_OUTPUTS]
    baseline = runs[0] if len(runs) > 1 else None
    rows_of = partial(output_rows, markdown=markdown, inline=inline, expected=expected)
    columns = "".join(
        _live_column(run, names, live[run.release_tag])
        if run.release_tag in live and run.state == "STARTED"
        else section_html(
            visible_name(run.release_tag),
            _head(run, remarks.get(run.release_tag) or _verdict(run, baseline)),
            [
                *rows_of(run, names, baseline, other=other if run is baseline else None),
                below.get(run.release_tag, ""),
            ],
            len(names) + (2 if below else 0),  # failures and a note
            # Rows of outputs are aligned across columns; an error is not.
            classes=("" if run.outputs else " vnb-out-alone")
            + (" vnb-out-compared" if compared and run is other else ""),
        )
        for run in runs
    )
    notes = _notes(runs, compared, legend=legend and not markdown, inline=inline)
    if more > 0:
        notes.append(f"{more:,} more outputs are in the run")
    above = _columns_html([_with_outputs(e, e.inputs) for e in runs], "inputs") if inputs else ""
    return _styled_html(notes if runs else ["No runs to show."], above, columns)


def heads_html(
    runs: Sequence[Run],
    *,
    compared: str,
    inline: bool,
    remarks: Mapping[str, str],
    below: Mapping[str, str],
) -> str:
    """Return notes and headings as in `side_by_side_html`, and the row `below` each heading."""
    sections = [
        section_html(
            visible_name(run.release_tag),
            _head(run, remarks.get(run.release_tag, "")),
            [below.get(run.release_tag, "")],
            2,
            classes=" vnb-out-compared"
            if run is not runs[0] and run.release_tag == compared
            else "",
        )
        for run in runs
    ]
    notes = _notes(runs, compared, legend=True, inline=inline)
    return _styled_html(notes, "", "".join(sections), " vnb-out-heads")


def _styled_html(notes: Sequence[str], above: str, columns: str, classes: str = "") -> str:
    """Return columns with their style, below notes and other HTML."""
    lines = "".join(f'<p class="vnb-note vnb-out-note">{note}</p>' for note in notes)
    grid = f'<div class="vnb-out-grid{classes}">{columns}</div>' if columns else ""
    return f'<style>{OUTPUT_CSS}</style><div class="vnb-out">{lines}{above}{grid}</div>'


def _with_outputs(run: Run, values: Mapping[str, Any]) -> Run:
    """Return a run with other values as its outputs, to show them in the same way."""
    update = {"outputs": values, "output_types": {}, "state": "FULFILLED", "error": None}
    return run.model_copy(update=update)


def _columns_html(runs: Sequence[Run], title: str, *, is_marked: bool = True) -> str:
    """Return outputs as columns, with differences from the first run marked; once if all equal."""
    same = all(run.outputs == runs[0].outputs for run in runs)
    runs, count = runs[:1] if same else runs, len(runs)
    names = list(dict.fromkeys(chain(*(run.outputs for run in runs))))[:_MAX_OUTPUTS]
    columns = []
    for run in runs:
        tag = "" if same else f'<b class="vnb-tag">{name_html(run.release_tag)}</b> '
        heading = f"{title} of all runs" if same and count > 1 else title
        head = f'<div class="vnb-out-head"><span class="vnb-facts">{tag}{heading}</span></div>'
        base = runs[0] if run is not runs[0] and is_marked else None
        other = _compared(runs, "") if run is runs[0] and is_marked else None
        rows = output_rows(run, names, base, other=other)
        label = heading if same else f"{title} of {visible_name(run.release_tag)}".capitalize()
        columns.append(section_html(label, head, rows, len(names)))
    return f'<div class="vnb-out-grid">{"".join(columns)}</div>'


def section_html(
    label: str, head: str, rows: Sequence[str], count: int, *, classes: str = ""
) -> str:
    """Return one column with up to `count` rows."""
    body = f'{head}<dl class="vnb-out-rows">{"".join(rows)}</dl>'
    return (
        f'<section class="vnb-out-run{classes}" style="grid-row:span {count + 3}" '
        f'aria-label="{escape(label)}">{body}</section>'
    )


def _compared(runs: Sequence[Run], tag: str) -> Run | None:
    """Return the run whose losses the first one marks: the chosen one, or the only other one."""
    others = runs[1:]
    chosen = next((run for run in others if run.release_tag == tag), None)
    return chosen or (others[0] if len(others) == 1 else None)


def output_rows(
    run: Run,
    names: Sequence[str],
    baseline: Run | None = None,
    *,
    other: Run | None = None,
    markdown: bool = False,
    inline: bool = False,
    expected: Mapping[str, Any] | None = None,
) -> list[str]:
    """Return the error of `run` and its outputs `names` as rows, with marked differences.

    They are marked from `baseline`, or for the baseline itself, towards `other`.
    """
    rows = []
    if problem := AnswerCell.of_problem(run):
        rows.append(_row(problem.label, problem.to_html(markdown=markdown)))
    side: Side = "both" if inline else "new"
    expected = expected or {}
    met, room = checks(run.outputs, expected), _MAX_RUN_CHARS
    for name in names if run.outputs or not problem else ():
        value = run.outputs.get(name)
        if other is not None and name in run.outputs and name in other.outputs:
            html = AnswerCell.of(name, other, run).baseline_html(markdown=markdown)
        else:
            html = AnswerCell.of(name, run, baseline).to_html(markdown=markdown, side=side)
        if room <= 0 and len(html) > _MAX_ROW_CHARS:
            html = '<p class="vnb-note">too long to show with the others; it is in run.outputs</p>'
        room -= len(html)
        if name in met:
            html += check_html(expected[name], is_met=met[name], icon=_icon)
        css = "vnb-prose" if is_prose(value) else ""
        if not css and met.get(name) is False:
            css = "vnb-wrong"
        rows.append(_row(name, html, css, is_narrow=is_short(value)))
    return rows or [_row("outputs", '<span class="vnb-null">none</span>')]


def legend_html(runs: Sequence[Run], *, compared: str = "", inline: bool = False) -> str:
    """Return the legend of the marks of `side_by_side_html`."""
    other = _compared(runs, compared)
    base = name_html(runs[0].release_tag)
    if inline:
        both = side_html([Op("delete", "removed"), Op("insert", "new")], "both")
        return f"changed words are marked {both} against {base}"
    new, old = "new words", f"only in {visible_name(runs[0].release_tag)}"
    new = new if other is None else f"new in {visible_name(other.release_tag)}"
    marks = [side_html([Op("insert", new)], "new")]
    marks += [side_html([Op("delete", old)], "old")] if other else []
    who = f"{name_html(other.release_tag)} against" if other else "against"
    caret = '<span class="vnb-caret" aria-hidden="true">\u2038</span>'
    return f"{who} {base}: {' '.join(marks)} {caret} words removed here"


def _live_column(run: Run, names: Sequence[str], texts: Mapping[str, str]) -> str:
    places = {
        name: f'<pre class="vnb-text vnb-live{"" if text else " vnb-waiting"}" data-at="{at}">'
        f"{escape(text)}</pre>"
        for at, (name, text) in enumerate(texts.items())
    }
    rows = [_row(name, places.get(name, "")) for name in names]
    rows = rows or [_row("outputs", '<span class="vnb-quiet">waiting for the first words</span>')]
    when = run.timestamp.astimezone().strftime("%H:%M:%S")
    head = _head(run, f"run recorded {when}", '<span class="vnb-live-facts vnb-quiet"></span>')
    tag = visible_name(run.release_tag)
    return section_html(tag, head, rows, len(names), classes=" vnb-out-live")


def _icon(state: str) -> str:
    return icon(state, f"vnb-icon vnb-icon-{state}", 14)


def _row(name: str, html: str, css: str = "", *, is_narrow: bool = False) -> str:
    kind = f' class="{css}"' if css else ""
    row = "vnb-out-row vnb-out-short" if is_narrow else "vnb-out-row"
    return f'<div class="{row}"><dt>{name_html(name)}</dt><dd{kind}>{html}</dd></div>'


def _head(run: Run, right: str, *more: str) -> str:
    facts = [f'{_icon(run.state)} <span class="vnb-state">{run.state}</span>', *more]
    if run.latency_s is not None:
        facts.append(f'<span class="vnb-number">{duration(run.latency_s)}</span>')
    if run.cost_usd is not None:
        facts.append(f'<span class="vnb-number">{money(run.cost_usd)}</span>')
    if run.doubt is not None:
        facts.append(f"{icon('doubt', 'vnb-icon', 14)} in doubt")
    if run.tag_moved:
        facts.append("the tag moved during the call")
    facts_html = ' <span class="vnb-dot">·</span> '.join(facts)
    aside = f' <span class="vnb-aside">{right}</span>' if right else ""
    return (
        f'<div class="vnb-out-head"><span class="vnb-facts"><b class="vnb-tag">'
        f"{name_html(run.release_tag)}</b> {facts_html}</span>{aside}</div>"
    )


def _verdict(run: Run, baseline: Run | None) -> str:
    if baseline is None or run is baseline:
        return "" if baseline is None else "baseline"
    if "STARTED" in {run.state, baseline.state}:
        return ""
    if not run.outputs or not baseline.outputs:
        return "nothing to compare"
    names = {**baseline.outputs, **run.outputs}
    differing = sum(output_status(name, run, baseline) != "same" for name in names)
    return f"{differing} of {len(names)} outputs differ" if differing else "all outputs identical"


def _notes(runs: Sequence[Run], compared: str, *, legend: bool, inline: bool) -> list[str]:
    """Return the notes above the columns."""
    notes = []
    if len(runs) > 1 and legend:
        notes.append(legend_html(runs, compared=compared, inline=inline))
    if len({run.case_id for run in runs if run.state != "STARTED"}) > 1:
        notes.append("the runs have different inputs, a possible cause of differences")
    if len({run.deployment for run in runs}) > 1:
        notes.append(f"in this order: {escape(', '.join(run.deployment for run in runs))}")
    lacks = [
        f'<b class="vnb-tag">{escape(run.release_tag)}</b> was not sent '
        f"{escape(', '.join(run.not_sent))}"
        for run in runs
        if run.not_sent
    ]
    return [*notes, " · ".join(lacks)] if lacks else notes


def lookup_text(runs: Sequence[Run]) -> str:
    """Summarize the look-ups of runs in doubt, given the updated runs."""
    if len(runs) == 1 and not runs[0].in_doubt:
        return f"Looked up: it ended as {runs[0].state}."
    if len(runs) == 1:
        is_listed = runs[0].execution_id is not None
        return "It is still running." if is_listed else "The server lists no execution of it yet."
    ended = sum(not run.in_doubt for run in runs)
    running = sum(run.in_doubt and run.execution_id is not None for run in runs)
    counts = {"completed": ended, "still running": running}
    counts["not listed yet"] = len(runs) - ended - running
    parts = ", ".join(f"{count:,} {status}" for status, count in counts.items() if count)
    return f"{plural(len(runs), 'run')} looked up: {parts}."
