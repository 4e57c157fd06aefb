"""Reports of a comparison: one view model as page, overview, Markdown and text."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vellum_nb.comparison.cases import Case, is_answer
from vellum_nb.comparison.decisions import Decision
from vellum_nb.comparison.figures import (
    NO_ANSWER,
    ComparisonFigures,
    ReleaseResult,
)
from vellum_nb.comparison.forest import forest_svg
from vellum_nb.comparison.frames import summary_rows
from vellum_nb.comparison.lines import (
    ICONS,
    SIGNS,
    CaseOrder,
    label_text,
    line_html,
    short_name,
)
from vellum_nb.comparison.transcripts import Transcript, transcript_html
from vellum_nb.errors import HistoryError, InputError, VellumNBError
from vellum_nb.escaping import printable
from vellum_nb.models import Run
from vellum_nb.models.base import key_finder
from vellum_nb.models.checks import available, check_texts, cut
from vellum_nb.rendering.answer import AnswerCell, check_html
from vellum_nb.rendering.diff import CodeDiff
from vellum_nb.rendering.format import (
    duration,
    percent,
    plain_text,
    plural,
    signed,
    visible_name,
)
from vellum_nb.rendering.html import asset, icon, render, script, stylesheet

if TYPE_CHECKING:
    import pandas as pd

GROUPS = {
    "worse": "Regressions",
    "missing": "Without an answer or a figure",
    "better": "Better",
    "changed": "Changed, neither better nor worse",  # or `_CHANGED` without metrics
    "same": "Identical outputs",
}
"""Groups of cases, most important first, and their titles."""


_CHANGED = "Different outputs"
_VERDICT_ICONS = {
    "may replace": "FULFILLED",
    "should not replace": "REJECTED",
    "cannot tell yet": "unknown",
}
_GLYPHS = {ICONS.get(verdict, verdict): sign for verdict, sign in SIGNS.items()} | {
    "FAILED": "!",
    "check": "✓",
    "close": "✗",
}
_COUNTED = ("better", "same", "noise", "worse", "missing", "unscored", "error")
_WORDS = {
    "missing": NO_ANSWER,
    "noise": "within the noise",
    "unscored": "without a figure",
    "error": "with a failed metric",
}
_LEAST_CHANGE = 0.1  # relative change of latency or cost that is mentioned
_LEAST_LATENCY_S = 0.01  # a smaller change cannot be noticed
_UNTIMED = datetime(1970, 1, 2, tzinfo=UTC)  # rows of a frame without times are before this
_MAX_NAMED_CASES = 20  # per verdict in plain text
_MAX_OVERVIEW_CASES = 50
_MAX_INPUT_CHARS = 400  # in the overview


@dataclass(frozen=True, slots=True)
class Cell:
    """One case on one release."""

    release: str
    run: Run | None  # the run that represents the release
    scores: Mapping[str, tuple[float | None, str]]  # figure and verdict by metric
    facts: Sequence[str]
    problem: AnswerCell | None
    outputs: Mapping[str, AnswerCell]
    checks: Mapping[str, bool]  # whether each expected output was met


@dataclass(frozen=True, slots=True)
class ReleaseVerdict:
    """The sentence on a candidate above a grid and in reports."""

    release: str
    decision: Decision | None  # None without a metric that has a margin
    head: str
    body: str
    added: str  # latency and cost
    warnings: Sequence[str]
    worse: int

    @property
    def icon(self) -> str:
        """The name of its icon."""
        return _VERDICT_ICONS[self.decision.verdict] if self.decision else "differs"


def release_verdicts(
    figures: ComparisonFigures, summary: Mapping[str, Mapping[str, Any]]
) -> list[ReleaseVerdict]:
    """Return the verdict on each candidate; `summary` has its figures by release."""
    decisions, base, verdicts = figures.all_decisions, figures.baseline, []
    for release in figures.others if figures.cases else ():
        decision = decisions.get(release)
        metric = decision.metric if decision else next(iter(figures.scored), None)
        verdicts.append(
            ReleaseVerdict(
                release,
                decision,
                *figures.verdict_sentence(release),
                added=added_text(summary[release], summary[base]),
                warnings=decisions.caveats.get(release, ()),
                worse=figures.result(release, metric).worse,
            )
        )
    return verdicts


def release_counts(figures: ComparisonFigures, release: str, metric: str | None) -> dict[str, Any]:
    """Return the counts of the cases of a release as parts of a bar, words and a remark."""
    if release == figures.baseline:
        answered = [len(case.answers(release)) for case in figures.cases]
        repeats, missing = max(answered, default=0), answered.count(0)
        words = plural(len(answered), "case")
        words += f" \N{MULTIPLICATION SIGN} {repeats:,} repeats" if repeats > 1 else ""
        return {"counts": words, "remark": f"{missing:,} {NO_ANSWER}" if missing else ""}
    counts: dict[str, int]
    result = figures.result(release, metric)
    if metric is None:
        counts = {"differs": result.changed, "same": result.unchanged, "missing": result.missing}
        words_of = {
            "differs": "differs" if counts["differs"] == 1 else "differ",
            "same": "identical",
            "missing": NO_ANSWER,
        }
        always, unknown = {"differs", "same"}, counts["missing"]
    else:
        counts = {verdict: getattr(result, verdict) for verdict in _COUNTED}
        words_of, always = _WORDS, {"better", "same", "worse"}
        unknown = counts["missing"] + counts["unscored"] + counts["error"]
    sizes = {**counts, "missing": unknown}
    return {
        "parts": [(v, SIGNS[v], sizes[v]) for v in counts if v in SIGNS],
        "words": [f"{n:,} {words_of.get(v, v)}" for v, n in counts.items() if n or v in always],
        "remark": cut(result.remark, 240) if metric else "",
    }


def counts_text(figures: ComparisonFigures, release: str, metric: str | None) -> str:
    """Return the counts of a release for the heading of its column."""
    parts = release_counts(figures, release, metric).get("parts")
    if parts is None:
        return "baseline"
    return "  ".join(f"{sign} {count:,}" for _, sign, count in parts if count)


@dataclass(frozen=True)
class ReportModel:
    """View model of a report; computed on demand."""

    figures: ComparisonFigures
    code: Mapping[str, CodeDiff] = field(default_factory=dict)  # by release

    @property
    def title(self) -> str:
        """The deployment with the question that the verdicts answer, or its only release."""
        *names, last = self.figures.others or ("",)
        joined, baseline = f"{', '.join(names)} or {last}" if names else last, self.figures.baseline
        question = f"does {joined} differ from {baseline}?" if last else baseline
        if self.figures.all_decisions:
            question = f"may {joined} replace {baseline}?"
        return f"{self.figures.deployment}: {question}"

    @property
    def span(self) -> str:
        """The numbers of cases and runs, and their period, in a line."""
        figures = self.figures
        if not figures.cases:
            return f"no stored runs on {', '.join(figures.releases)}"
        moments = [run.timestamp for run in figures.answers["run"].tolist()]
        counts = f"{plural(len(figures.cases), 'case')}, {plural(len(moments), 'run')}"
        if not moments or max(moments) < _UNTIMED:
            return counts
        first, last = (f"{time:%Y-%m-%d %H:%M}" for time in (min(moments), max(moments)))
        return f"{counts} of {first} UTC" if first == last else f"{counts} of {first} to {last} UTC"

    @property
    def releases(self) -> tuple[str, ...]:
        """The releases, baseline first."""
        return self.figures.baseline, *self.figures.others

    @cached_property
    def summary(self) -> dict[str, Mapping[str, Any]]:
        """Rows of the summary by release, baseline first."""
        rows = summary_rows(self.figures)
        return {release: rows[release] for release in self.releases}

    @cached_property
    def metrics(self) -> dict[str, list[ReleaseResult]]:
        """Results of the releases by metric, baseline first."""
        names = [metric.name for metric in self.figures.metrics]
        return {n: [self.figures.result(release, n) for release in self.releases] for n in names}

    @cached_property
    def groups(self) -> dict[str, list[Case]]:
        """Cases by group; each case is in the worst group of any release.

        Groups follow the first metric, or differences between answers without metrics.
        """
        figures, releases, name = self.figures, self.figures.others, next(iter(self.metrics), None)
        members: dict[str, Iterable[Case]] = {
            "worse": figures.cases_by("worse", releases, name) if name else (),
            "missing": [
                case
                for case in figures.cases
                if not all(case.answers(release) for release in figures.releases)
                or (name and any(figures.verdict(case, r, name) == "error" for r in releases))
            ],
            "better": figures.cases_by("better", releases, name) if name else (),
            "changed": figures.group("changed"),
            "same": figures.cases,
        }
        groups: dict[str, list[Case]] = {}
        placed: set[int] = set()
        for group in GROUPS:
            groups[group] = [case for case in members[group] if case.number not in placed]
            placed |= {case.number for case in groups[group]}
        return groups

    @cached_property
    def verdicts(self) -> list[ReleaseVerdict]:
        """The verdict on each candidate."""
        return release_verdicts(self.figures, self.summary)

    @property
    def has_costs(self) -> bool:
        """Whether any release has a cost."""
        return any(row["cost_usd"] == row["cost_usd"] for row in self.summary.values())

    @property
    def titles(self) -> dict[str, str]:
        """Titles of the groups."""
        return GROUPS if self.metrics else GROUPS | {"changed": _CHANGED}

    def cells(self, case: Case) -> list[Cell]:
        """Return `case` on each release, baseline first."""
        return [_cell(self.figures, case, release) for release in self.summary]

    def counts(self, release: str, metric: str | None) -> dict[str, Any]:
        """Return the counts of the cases of a release."""
        return release_counts(self.figures, release, metric)

    def listed(self, limit: int | None = None) -> Iterator[tuple[str, str, str, Sequence[Case]]]:
        """Yield the groups, the first `limit` cases: name, title, remark, cases."""
        names = list(GROUPS) if self.metrics else ["changed", "missing", "better", "worse", "same"]
        remaining = len(self.figures.cases) if limit is None else limit
        for name in names:
            cases = self.groups[name]
            note = plural(len(cases), "case")
            if name == "worse" and cases:
                metric, figures = next(iter(self.metrics)), self.figures
                worse = [r for r in figures.others if figures.result(r, metric).worse]
                note += f" worse on {' or '.join(map(visible_name, worse))}"
            if cases[:remaining]:
                yield name, self.titles[name], note, cases[:remaining]
            remaining -= len(cases[:remaining])

    def line(self, case: Case) -> str:
        """Return a case as one line of HTML."""
        return line_html(self.figures, case, next(iter(self.metrics), None), _glyph)

    def output_html(
        self, case: Case, cells: Sequence[Cell], at: int, name: str, *, complete: bool
    ) -> str:
        """Return an output of a cell, and whether it is as expected."""
        html, checks = _output_html(cells, at, name, complete=complete), cells[at].checks
        if name in checks:
            html += " " + check_html(case.expected[name], is_met=checks[name], icon=_glyph)
        return html

    def transcript(self, case: Case) -> Transcript:
        """Return the turns of a conversation on each release."""
        return Transcript.of(case, list(self.summary), {})

    def turns_html(self, case: Case, *, complete: bool) -> str:
        """Return the turns of a conversation as HTML."""
        return transcript_html(self.transcript(case), _glyph, complete=complete)

    def names(self, cells: Sequence[Cell]) -> list[str]:
        """Return the names of the outputs of `cells`."""
        names = dict.fromkeys(name for cell in cells for name in cell.outputs)
        return [name for name in self.figures.output_names if name in names]


def _cell(figures: ComparisonFigures, case: Case, release: str) -> Cell:
    run, base = case.counting(release), case.counting(case.baseline)
    is_base = release == case.baseline
    scores = {
        metric.name: (
            figures.value(case, release, metric.name),
            "" if is_base else figures.verdict(case, release, metric.name),
        )
        for metric in figures.metrics
    }
    unlike, answers = case.repeats(release)
    facts = [] if run is None or run.latency_s is None else [duration(run.latency_s)]
    if answers > 1:
        differ = f", {unlike:,} of them differ" if unlike else ""
        facts.append(f"{answers:,} answers{differ}")
    names = {*(base.outputs if base else ()), *run.outputs} if run and run.outputs else ()
    outputs = {
        name: AnswerCell.of(name, run, None if is_base else base)
        for name in figures.output_names
        if run and name in names
    }
    problem, checks = AnswerCell.of_problem(run), case.checks(release)
    return Cell(release, run, scores, facts, problem, outputs, checks)


def _output_html(cells: Sequence[Cell], at: int, name: str, *, complete: bool) -> str:
    """Return an output of a cell; the baseline marks what the only other release has lost."""
    answer = cells[at].outputs.get(name)
    if answer is None or answer.status == "same":
        return '<span class="vnb-quiet">= identical</span>' if answer else ""
    only = cells[1].outputs.get(name) if not at and cells[1:] and not cells[2:] else None
    if only is not None and only.status == "differs":
        return only.baseline_html(complete=complete)
    return answer.to_html(complete=complete)


def added_text(row: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """Return the added latency and cost as a sentence; empty if they are small."""
    parts = []
    slower, cost = row["latency_p50"] - base["latency_p50"], row["cost_usd"]
    if abs(slower) >= max(_LEAST_CHANGE * base["latency_p50"], _LEAST_LATENCY_S):
        parts.append(f"takes {duration(abs(slower))} {'longer' if slower > 0 else 'less'}")
    dearer = cost / base["cost_usd"] - 1 if base["cost_usd"] else math.nan
    if abs(dearer) >= _LEAST_CHANGE:
        parts.append(f"costs {percent(abs(dearer))} {'more' if dearer > 0 else 'less'}")
    return f"It {' and '.join(parts)}." if parts else ""


def _glyph(name: str) -> str:
    """Return an icon as a letter: legible without styles, and small."""
    return f'<span aria-hidden="true">{_GLYPHS.get(name, "•")}</span>'


_CASES_CSS = ("colours.css", "lines.css", "comparison.css", "transcript.css")


def page(
    model: ReportModel, beside: Mapping[str, str], *, interactive: bool = False
) -> tuple[str, str]:
    """Return the report as one HTML page without external resources, and its compressed HTML.

    With `interactive`, the cases are compressed, and the page includes the script of the grid; its
    policy allows only that.
    """
    scripts, digest, css = "", "", "".join(map(stylesheet, (*_CASES_CSS, "report.css")))
    cases, hidden = render("report_cases.html.j2", model=model, is_answer=is_answer), ""
    if interactive and model.figures.cases:
        code = f"\n{script('report.js')}\n"
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        data = json.dumps(_page_data(model), ensure_ascii=False).replace("<", "\\u003c")
        packed = base64.b64encode(zlib.compress(cases.encode(), 9)).decode()
        hidden, cases = cases, f'<script type="text/plain" id="vnb-cases">{packed}</script>'
        scripts = f'<script type="application/json" id="vnb-page">{data}</script>'
        scripts += f'<script type="module">{code}</script>'
        css = asset("view.css") + css
    html = render(
        "report.html.j2",
        model=model,
        beside=beside,
        css=css,
        forest=forest_svg(model.figures) if model.metrics else "",
        icon=icon,
        signed=signed,
        digest=digest,
        cases=cases,
        scripts=scripts,
    )
    return html, hidden


def _page_data(model: ReportModel) -> dict[str, Any]:
    """Return heading, order and filters of the cases for ``static/report.js``, by case number."""
    figures, metric = model.figures, next(iter(model.metrics), "")
    order = CaseOrder(figures, metric or None)
    filters = order.filters()
    columns = [
        {
            "name": release,
            "label": short_name(release),
            "remark": counts_text(figures, release, metric or None),
        }
        for release in model.summary
    ]
    empty: dict[str, Any] = {"metrics": [], "releases": [], "can": [], "formats": []}
    empty |= {"about": "", "verdicts": "", "summary": "", "foot": "", "metric": metric}
    return {
        "head": {"title": model.title, "baseline": figures.baseline, "columns": columns}
        | empty
        | filters,
        "order": [place + 1 for place in order.places],
        "states": {
            release: {
                name: (mask.nonzero()[0] + 1).tolist()
                for name, mask in order.states(release).items()
            }
            for release in ("", *figures.others)
        },
        "labels": {
            (name := label["name"]): [label_text(case.labels.get(name)) for case in figures.cases]
            for label in filters["labels"]
        },
        "failures": [list(names) for names in order.failures],
    }


def overview(model: ReportModel) -> str:
    """Return the comparison as HTML for a notebook, regressions first, without scripts."""
    return render(
        "comparison.html.j2",
        model=model,
        icon=icon,
        is_answer=is_answer,
        limit=_MAX_OVERVIEW_CASES,
        css="".join(map(stylesheet, _CASES_CSS)),
        short=lambda value: cut(plain_text(value), _MAX_INPUT_CHARS),
    )


def markdown(model: ReportModel, only: str | Sequence[str] | None = None) -> str:
    """Return the comparison as Markdown, with all cases of some groups. Escapes all markup."""
    names = GROUPS if only is None else [only] if isinstance(only, str) else only
    chosen = set(check_texts("only", names))
    unknown = sorted(chosen - set(GROUPS))
    if unknown:
        msg = f"only: {unknown[0]!r} is not a group of cases{available(GROUPS)}"
        raise InputError(msg)
    left_out = [
        f"{len(cases):,} {'identical' if group == 'same' else group}"
        for group, cases in model.groups.items()
        if cases and group not in chosen
    ]
    made = render(
        "report.md.j2",
        model=model,
        groups={group: title for group, title in model.titles.items() if group in chosen},
        left_out=", ".join(left_out),
    )
    return re.sub(r"\n{3,}", "\n\n", made).strip() + "\n"


def text(model: ReportModel) -> str:
    """Return the comparison in a few lines of plain text."""
    figures = model.figures
    cases = plural(len(figures.cases), "case")
    lines = [f"{figures.deployment} against {figures.baseline}, {cases}"]
    lines += [f"  {verdict.head}{verdict.body}" for verdict in model.verdicts]
    lines += [f"  {note}." for note in figures.all_decisions.notes]
    for at, release in enumerate(figures.others, 1):
        for number, (name, rows) in enumerate(model.metrics.items()):
            lines.append(f"  {rows[at].line} ({name})")
            if number == 0:
                lines.append(f"    {rows[at].remark}")
                for verdict in ("worse", "better"):
                    if matching := figures.cases_by(verdict, (release,), name):
                        named = ", ".join(
                            f"{case.number:,}" for case in matching[:_MAX_NAMED_CASES]
                        )
                        named += ", …" if len(matching) > _MAX_NAMED_CASES else ""
                        lines.append(f"    cases that are {verdict}: {named}")
        if not model.metrics:
            lines.append(f"  {release}: {figures.output_counts(release)}")
    lines += [f"  {note}" for note in figures.notes]
    lines += [f"  {tag} moved while these runs were made" for tag in figures.moved_tags]
    return printable("\n".join(lines))


def tables_beside(path: Path) -> dict[str, Path]:
    """Return the files of the tables of the report at `path`."""
    stem = path.stem if path.suffix.lower() in {".html", ".htm"} else path.name
    return {rows: path.with_name(f"{stem}.{rows}.csv") for rows in ("runs", "cases")}


def refuse_others(path: Path, tables: Iterable[Path]) -> None:
    """Raise if a table would replace a file that is not of an older report at `path`."""
    old = path.read_bytes() if path.is_file() else b""
    files = filter(Path.is_file, tables)
    unrelated = [str(file) for file in files if f"<code>{file.name}</code>".encode() not in old]
    if unrelated:
        msg = (
            f"Nothing was written: it would replace {' and '.join(unrelated)}. Choose another "
            "name, or give overwrite=True"
        )
        raise HistoryError(msg)


def refuse_key(
    title: str, leaks: Callable[[str], bool] | None, frames: Iterable[pd.DataFrame], text: str = ""
) -> None:
    """Raise if the contents of `title` include the API key of `leaks` or ``VELLUM_API_KEY``.

    The `VellumNBError` reports the column and the case, but not the key.
    """
    holds = key_finder(leaks)
    place = "its text" if holds(text) else ""
    for frame in frames:
        for name, column in frame.items():
            values = [value if isinstance(value, str) else "" for value in column.tolist()]
            if holds(str(name)):
                place = "the name of a column"
            elif holds("\n".join(values)):
                row = next(at for at, value in enumerate(values) if holds(value))
                advice = "Delete the run that holds it with ws.history.delete(...), and use"
                place = f"{name} of case {frame['case_id'].iloc[row]}. {advice} another key"
    if place:
        msg = f"{title} was not written: it would contain the API key, in {place}"
        raise VellumNBError(msg)
