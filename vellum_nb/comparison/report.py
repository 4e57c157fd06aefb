"""Reports of a comparison: one view model, shown as page, overview, Markdown and text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vellum_nb.comparison.cases import Case, error_text, is_answer
from vellum_nb.comparison.figures import Against, ComparisonFigures, cases_by
from vellum_nb.errors import InputError
from vellum_nb.history import clean
from vellum_nb.models import Run
from vellum_nb.models.inputs import format_value
from vellum_nb.rendering.diff import Difference, difference
from vellum_nb.rendering.format import (
    cut,
    duration,
    figure,
    markdown_code,
    money,
    one_line,
    p_value,
    percent,
    plural,
    printable,
)
from vellum_nb.rendering.html import (
    NO_MATH,
    difference_html,
    error_html,
    render,
    stylesheet,
    value_html,
)
from vellum_nb.rendering.values import output_kind, plain_text, value_text

__all__ = [
    "GROUPS",
    "ReportModel",
    "checked_groups",
    "is_named_in",
    "markdown",
    "overview",
    "page",
    "report_model",
    "tables_beside",
    "text",
]

GROUPS = {
    "worse": "Worse",
    "missing": "Missing, or without a figure",
    "better": "Better",
    "changed": "Changed, neither better nor worse",
    "same": "Same",
}
"""The groups of cases, in the order in which they are worth a look, and their titles."""

_UNTIMED = datetime(1970, 1, 2, tzinfo=UTC)  # rows of a frame without times count from 1970
_LIMIT = 50  # cases of the overview
_INPUT = 400  # characters of an input there; the case is known by its beginning


@dataclass(frozen=True, slots=True)
class MetricRow:
    """What one metric says of one release; `compared` is missing for the baseline.

    `row` is the release's row of the summary.
    """

    release: str
    head: str
    row: Mapping[str, Any]
    compared: Against | None
    p: float | None
    sign_p: float | None
    finding: str
    line: str
    remark: str

    def value(self, name: str = "") -> float | None:
        """Return a figure of the metric: its mean, or ``"low"``, ``"delta"`` and so on."""
        value = float(self.row[f"{self.head}.{name}" if name else self.head])
        return None if math.isnan(value) else value

    @property
    def without_figure(self) -> int:
        """How many cases have no figure on one of the two."""
        counts = self.compared.counts if self.compared else {}
        return sum(counts.get(each, 0) for each in ("missing", "unscored", "error"))


@dataclass(frozen=True, slots=True)
class Answer:
    """An output of one case on one release: the value, and its difference to the baseline's."""

    value: Any
    kind: str
    difference: Difference | None
    is_same: bool
    is_absent: bool
    is_new: bool = False

    @property
    def text(self) -> str:
        """The whole value."""
        return value_text(self.value, self.kind)

    @property
    def html(self) -> str:
        """The value, or its difference, as safe HTML."""
        if self.difference is None:
            return value_html(self.value, self.kind)
        return difference_html(self.difference)

    @property
    def is_abridged(self) -> bool:
        """Whether the HTML of the difference leaves something out."""
        html = self.difference.to_html() if self.difference else ""
        return any(name in html for name in ("vnb-fold", "vnb-note", "vnb-key"))


@dataclass(frozen=True, slots=True)
class Cell:
    """One case on one release.

    Attributes
    ----------
    run : Run or None
        The run that counts.
    status : str
        ``same``, ``differs``, ``missing``; ``baseline`` on the baseline.
    scores : dict
        Metric to its figure and verdict.
    unlike, answers : int
        How many repeats differ from the one that counts, of how many.
    """

    release: str
    run: Run | None
    status: str
    scores: Mapping[str, tuple[float | None, str]]
    unlike: int
    answers: int
    outputs: Mapping[str, Answer]

    @property
    def state(self) -> str:
        """The state of the run, or that there is none."""
        return "missing" if self.run is None else self.run.state

    @property
    def facts(self) -> list[str]:
        """Latency and repeats, in words."""
        facts = []
        if self.run is not None and self.run.latency_s is not None:
            facts.append(duration(self.run.latency_s))
        unlike = f", {self.unlike:,} of them differ" if self.unlike else ""
        return [*facts, f"{self.answers:,} answers{unlike}"] if self.answers > 1 else facts

    @property
    def error(self) -> str:
        """Code and message of the error, if there is one."""
        return error_text(self.run)


@dataclass(frozen=True, slots=True)
class ReportModel:
    """All that a report shows; cases are made when they are shown."""

    figures: ComparisonFigures
    title: str
    span: str
    releases: tuple[str, ...]
    summary: Mapping[str, Mapping[str, Any]]
    metrics: Mapping[str, Sequence[MetricRow]]
    groups: Mapping[str, Sequence[Case]]
    code: Mapping[str, Any]

    def cells(self, case: Case) -> list[Cell]:
        """Return `case` on each release, the baseline first."""
        base = case.counting(case.baseline)
        return [_cell(self.figures, case, each, base) for each in self.releases]

    def names(self, cells: Sequence[Cell]) -> list[str]:
        """Return the names of the outputs that any of `cells` has."""
        names = dict.fromkeys(name for cell in cells for name in cell.outputs)
        return [name for name in self.figures.output_names if name in names]


def report_model(
    figures: ComparisonFigures, summary: Sequence[Mapping[str, Any]], code: Mapping[str, Any]
) -> ReportModel:
    """Return the view model of a comparison."""
    releases = (figures.baseline, *figures.others)
    rows = dict(zip(figures.releases, summary, strict=True))
    others = ", ".join(figures.others)
    against = f"{others} against {figures.baseline}" if others else figures.baseline
    return ReportModel(
        figures=figures,
        title=f"{figures.deployment}: {against}",
        span=_span(figures),
        releases=releases,
        summary={each: rows[each] for each in releases},
        metrics={
            metric.name: [_metric_row(figures, each, metric.name, rows[each]) for each in releases]
            for metric in figures.metrics
        },
        groups=_grouped(figures),
        code=code,
    )


def _metric_row(
    figures: ComparisonFigures, release: str, metric: str, row: Mapping[str, Any]
) -> MetricRow:
    key = release, metric
    is_base = release == figures.baseline
    return MetricRow(
        release=release,
        head=f"metric.{metric}",
        row=row,
        compared=figures.against.get(key),
        p=figures.p.get(key),
        sign_p=figures.sign_p.get(key),
        finding="baseline" if is_base else figures.finding(release, metric),
        line="" if is_base else figures.line(release, metric),
        remark="" if is_base else figures.remark(release, metric),
    )


def _span(figures: ComparisonFigures) -> str:
    """Return how many cases and runs there are, and from when, in a line."""
    if not figures.cases:
        return f"no stored runs on {', '.join(figures.releases)}"
    moments = [run.timestamp for run in figures.table["run"].tolist()]
    counts = f"{plural(len(figures.cases), 'case')}, {plural(len(moments), 'run')}"
    if not moments or max(moments) < _UNTIMED:
        return counts
    first, last = (f"{each:%Y-%m-%d %H:%M}" for each in (min(moments), max(moments)))
    return f"{counts} of {first} UTC" if first == last else f"{counts} of {first} to {last} UTC"


def _grouped(figures: ComparisonFigures) -> dict[str, list[Case]]:
    """Return group to its cases; each case is in one, the worst that it is on any release.

    By the first metric; without any, by whether answers differ.
    """
    others, cases = figures.others, figures.cases
    name = figures.metrics[0].name if figures.metrics else None
    differs = [
        any(s[at] == "differs" for s in figures.statuses.values()) for at in range(len(cases))
    ]
    members: dict[str, Sequence[Case]] = {
        "worse": cases_by(figures, others, "worse", name) if name else (),
        "missing": [case for case in cases if _is_missing(figures, case, name)],
        "better": cases_by(figures, others, "better", name) if name else (),
        "changed": [case for case in cases if differs[case.number - 1]],
        "same": cases,
    }
    groups: dict[str, list[Case]] = {}
    placed: set[int] = set()
    for group in GROUPS:
        groups[group] = [case for case in members[group] if case.number not in placed]
        placed |= {case.number for case in groups[group]}
    return groups


def _is_missing(figures: ComparisonFigures, case: Case, metric: str | None) -> bool:
    if not all(case.answers(each) for each in figures.releases):
        return True
    return metric is not None and any(
        figures.verdict(case, each, metric) == "error" for each in figures.others
    )


def _cell(figures: ComparisonFigures, case: Case, release: str, base: Run | None) -> Cell:
    run = case.counting(release)
    is_base = release == case.baseline
    scores = {
        metric.name: (
            figures.value(case, release, metric.name),
            "" if is_base else figures.verdict(case, release, metric.name),
        )
        for metric in figures.metrics
    }
    unlike, answers = case.repeats(release)
    outputs = {
        name: answer
        for name in figures.output_names
        if (answer := _answer(run, None if is_base else base, name)) is not None
    }
    status: str = "missing" if not is_answer(run) else case.status(release)
    if is_base and status != "missing":
        status = "baseline"
    return Cell(release, run, status, scores, unlike, answers, outputs)


def _answer(run: Run | None, base: Run | None, name: str) -> Answer | None:
    if run is None:
        return None
    if name not in run.outputs:
        is_absent = base is not None and name in base.outputs and bool(run.outputs)
        return Answer(None, "JSON", None, is_same=False, is_absent=True) if is_absent else None
    value = run.outputs[name]
    kind = output_kind(value, run.output_types.get(name))
    if base is None or name not in base.outputs:
        is_new = base is not None and bool(base.outputs)
        return Answer(value, kind, None, is_same=False, is_absent=False, is_new=is_new)
    old = base.outputs[name]
    old_kind = output_kind(old, base.output_types.get(name))
    found = difference(old, value, kind, old_kind=old_kind)
    return Answer(value, kind, found or None, is_same=not found, is_absent=False)


def checked_groups(only: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the groups that are chosen, in our order; None is all.

    Raises
    ------
    InputError
        There is no such group.
    """
    if only is None:
        return tuple(GROUPS)
    chosen = {only} if isinstance(only, str) else set(only)
    unknown = sorted(str(each) for each in chosen - set(GROUPS))
    if unknown:
        known = ", ".join(GROUPS)
        msg = f"only={format_value(only)}: no cases are called {unknown[0]}; there are: {known}"
        raise InputError(msg)
    return tuple(each for each in GROUPS if each in chosen)


def page(model: ReportModel, beside: Mapping[str, str]) -> str:
    """Return the report as one HTML page with all cases: no script, nothing loaded."""
    return render(
        "report.html.j2",
        model=model,
        groups=GROUPS,
        beside=beside,
        css=stylesheet("report.css"),
        is_answer=is_answer,
        plain_text=plain_text,
        no_math=NO_MATH,
    )


def overview(model: ReportModel, *, limit: int = _LIMIT) -> str:
    """Return the comparison as HTML for a notebook, regressions first; it needs no script."""
    cases = [case for group in ("worse", "changed", "better", "missing", "same")
             for case in model.groups[group]]  # fmt: skip
    return render(
        "comparison.html.j2",
        model=model,
        cases=cases[:limit],
        is_answer=is_answer,
        total=len(cases),
        limit=limit,
        css=stylesheet("comparison.css"),
        short=lambda value: cut(plain_text(value), _INPUT),
        state_html=error_html,
        no_math=NO_MATH,
    )


def markdown(model: ReportModel, groups: Sequence[str]) -> str:
    """Return the comparison as Markdown with all cases of `groups`; hostile text is literal."""
    parts = [f"## {_words(model.title)}", f"{model.span}."]
    parts += [
        f"**{_words(tag)} moved while these runs were made**: each has a column."
        for tag in model.figures.moved_tags
    ]
    for metric, rows in model.metrics.items():
        parts += [f"### By {_words(metric)}", _markdown_metric(rows)]
        remarks = [f"- {_line(row.release)}: {row.remark}" for row in rows if row.remark]
        parts += ["\n".join(remarks)] if remarks else []
    parts += ["### Releases", _markdown_releases(model)]
    for release, diff in model.code.items():
        parts += [f"### Code of {_words(release)}", f"{diff.sentence}.", markdown_code(diff.text)]
    for group in groups:
        cases = model.groups[group]
        parts += [f"### {GROUPS[group]}: {plural(len(cases), 'case')}"] if cases else []
        for case in cases:
            parts += [_markdown_head(case), _markdown_case(model, case)]
    left_out = [
        f"{len(cases):,} {group}"
        for group, cases in model.groups.items()
        if cases and group not in groups
    ]
    if left_out:
        parts.append(f"Cases that are not listed here: {', '.join(left_out)}.")
    return clean("\n\n".join(parts) + "\n")


def _markdown_metric(rows: Sequence[MetricRow]) -> str:
    head = ["release", "mean (95 %)", "difference (95 %)", "better", "worse", "same", "noise"]
    head += ["no figure", "p (difference of means)", "p (sign test)", "noise floor", "finding"]
    lines = []
    for row in rows:
        mean = _interval(row, "", "low", "high")
        if row.compared is None:
            lines.append([_line(row.release), mean, *[""] * 9, row.finding])
            continue
        counts = [row.compared.counts[name] for name in ("better", "worse", "same", "noise")]
        delta = _interval(row, "delta", "delta_low", "delta_high")
        p = [p_value(each).replace("<", "&lt;") for each in (row.p, row.sign_p)]
        words = [f"{count:,}" for count in (*counts, row.without_figure)]
        floor = percent(row.compared.noise_floor)
        lines.append([_line(row.release), mean, delta, *words, *p, floor, _strong(row.finding)])
    return _table(head, lines)


def _interval(row: MetricRow, *names: str) -> str:
    middle, low, high = (row.value(name) for name in names)
    return figure(middle) + ("" if low is None else f" ({figure(low)} to {figure(high)})")


def _markdown_releases(model: ReportModel) -> str:
    head = ["release", "cases", "answered", "missing", "failed", "rejected", "changed"]
    head += ["latency p50", "latency p95", "cost a run"]
    lines = []
    for release, row in model.summary.items():
        counts = [f"{row[name]:,}" for name in ("cases", "n", "missing", "failed", "rejected")]
        changed = percent(None if row["changed_pct"] is None else row["changed_pct"] / 100)
        times = [duration(row[name]) for name in ("latency_p50", "latency_p95")]
        lines.append([_line(release), *counts, changed, *times, money(row["cost_usd"])])
    return _table(head, lines)


def _markdown_head(case: Case) -> str:
    lines = [
        f"- {prefix}{markdown_code(str(name))}: {markdown_code(plain_text(value))}"
        for prefix, values in (("", case.inputs), ("label ", case.labels))
        for name, value in values.items()
        if value is not None
    ]
    return "\n".join(
        [f"**Case {case.number}** (`{case.case_id}`)", *([""] if lines else []), *lines]
    )


def _markdown_case(model: ReportModel, case: Case) -> str:
    cells = model.cells(case)
    head = ["", f"{_line(cells[0].release)} (baseline)", *(_line(c.release) for c in cells[1:])]
    rows = [["state", *map(_markdown_state, cells)]]
    for metric in model.metrics:
        scores = [cell.scores[metric] for cell in cells]
        words = [f"{figure(value)} {_strong(verdict)}".strip() for value, verdict in scores]
        rows.append([_line(metric), *words])
    for name in model.names(cells):
        expected = ""
        if name in case.expected:
            expected = f"<br>expected {markdown_code(plain_text(case.expected[name]))}"
        answers = [_markdown_answer(cell.outputs.get(name)) for cell in cells]
        rows.append([f"{_line(name)}{expected}", *answers])
    return _table(head, rows)


def _markdown_state(cell: Cell) -> str:
    if cell.run is None:
        return "**missing**: no run"
    error = f" {markdown_code(cell.error)}" if cell.error else ""
    return ", ".join([f"{cell.state}{error}", *cell.facts])


def _markdown_answer(answer: Answer | None) -> str:
    if answer is None:
        return ""
    if answer.is_absent:
        return "no such output"
    if answer.difference is not None:
        return answer.difference.to_markdown()
    return "= same" if answer.is_same else markdown_code(answer.text)


def _strong(word: str) -> str:
    return f"**{word}**" if word in {"worse", "better"} else word


def _line(name: str) -> str:
    """Return a name as Markdown in one line."""
    return markdown_code(one_line(str(name)) or " ")


def _words(name: str) -> str:
    """Return a name as plain words in one line."""
    return _line(name).removeprefix("<code>").removesuffix("</code>")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def text(model: ReportModel) -> str:
    """Return the comparison in a few lines of plain text."""
    figures = model.figures
    cases = plural(len(figures.cases), "case")
    lines = [f"{figures.deployment} against {figures.baseline}, {cases}"]
    names = list(model.metrics)
    for at, release in enumerate(model.releases[1:], 1):
        lines += [f"  {model.metrics[name][at].line} ({name})" for name in names]
        lines += [f"    {model.metrics[name][at].remark}" for name in names[:1]]
        if not names:
            statuses = list(figures.statuses[release])
            kinds = ("differs", "same", "missing")
            counts = ", ".join(f"{statuses.count(kind)} {kind}" for kind in kinds)  # type: ignore[arg-type]
            lines.append(f"  {release}: {counts}")
    lines += [f"  {tag} moved while these runs were made" for tag in figures.moved_tags]
    return printable("\n".join(lines))


def tables_beside(path: Path) -> dict[str, Path]:
    """Return the files of the tables that come with the report at `path`."""
    stem = path.stem if path.suffix.lower() in {".html", ".htm"} else path.name
    return {rows: path.with_name(f"{stem}.{rows}.csv") for rows in ("runs", "cases")}


def is_named_in(page_path: Path, table: Path) -> bool:
    """Return whether an older report at `page_path` came with `table`."""
    try:
        with page_path.open("rb") as file:
            return f"<code>{table.name}</code>".encode() in file.read()
    except OSError:
        return False
