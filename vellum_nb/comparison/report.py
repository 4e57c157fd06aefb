"""Reports of a comparison: one view model as page, overview, Markdown and text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import unified_diff
from html import escape
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vellum_nb.comparison.cases import Case, error_text, is_answer
from vellum_nb.comparison.figures import ComparisonFigures, metric_figures, summary_rows
from vellum_nb.errors import HistoryError, InputError, VellumNBError
from vellum_nb.escaping import printable, printed
from vellum_nb.models import Run
from vellum_nb.models.base import key_finder
from vellum_nb.models.inputs import format_value
from vellum_nb.rendering.diff import (
    Difference,
    OutputStatus,
    diff_html,
    output_difference,
    output_status,
    typed_output,
    word_diff,
)
from vellum_nb.rendering.format import cut, duration, plain_text, plural, value_text, visible_name
from vellum_nb.rendering.html import (
    NO_MATH,
    difference_html,
    error_html,
    render,
    stylesheet,
    value_html,
)

if TYPE_CHECKING:
    import pandas as pd

GROUPS = {
    "worse": "Worse",
    "missing": "Without an answer or a figure",
    "better": "Better",
    "changed": "Changed, neither better nor worse",
    "same": "Identical outputs",
}
"""The groups of cases, in the order in which they are worth a look, and their titles."""


_UNTIMED = datetime(1970, 1, 2, tzinfo=UTC)  # rows of a frame without times count from 1970
_NAMED = 20  # cases of a verdict that the plain text names
_LIMIT = 50  # cases of the overview
_FOLD = 200  # characters; more of code that is the same is folded
_INPUT = 400  # characters of an input there; the case is known by its beginning


@dataclass(frozen=True, slots=True)
class Answer:
    """An output of one case on one release: the value, and how it differs from the baseline's."""

    status: OutputStatus
    value: Any
    kind: str
    difference: Difference | None = None

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
    """One case on one release."""

    release: str
    run: Run | None  # the one that counts
    status: str  # same, differs, missing; baseline on the baseline
    scores: Mapping[str, tuple[float | None, str]]  # metric to its figure and verdict
    facts: Sequence[str]
    error: str
    outputs: Mapping[str, Answer]


@dataclass(frozen=True, slots=True)
class ReportModel:
    """All that a report shows; cells are made when they are shown."""

    figures: ComparisonFigures
    title: str
    span: str
    summary: Mapping[str, Mapping[str, Any]]  # release, the baseline first, to its row
    metrics: Mapping[str, Sequence[Mapping[str, Any]]]  # metric to a row a release: `_metric_row`
    groups: Mapping[str, Sequence[Case]]  # each of `GROUPS` to its cases
    code: Mapping[str, CodeDiff]  # release to how its code differs from the baseline's

    def cells(self, case: Case) -> list[Cell]:
        """Return `case` on each release, the baseline first."""
        return [_cell(self.figures, case, each) for each in self.summary]

    def names(self, cells: Sequence[Cell]) -> list[str]:
        """Return the names of the outputs that any of `cells` has."""
        names = dict.fromkeys(name for cell in cells for name in cell.outputs)
        return [name for name in self.figures.output_names if name in names]


def report_model(figures: ComparisonFigures, code: Mapping[str, Any] | None = None) -> ReportModel:
    """Return the view model of a comparison."""
    rows = dict(zip(figures.releases, summary_rows(figures), strict=True))
    others = ", ".join(figures.others)
    against = f"{others} against {figures.baseline}" if others else figures.baseline
    releases = (figures.baseline, *figures.others)
    return ReportModel(
        figures=figures,
        title=f"{figures.deployment}: {against}",
        span=_span(figures),
        summary={each: rows[each] for each in releases},
        metrics={
            metric.name: [_metric_row(figures, each, metric.name) for each in releases]
            for metric in figures.metrics
        },
        groups=_grouped(figures),
        code=code or {},
    )


def _metric_row(figures: ComparisonFigures, release: str, metric: str) -> dict[str, Any]:
    """Return `metric_figures`, how it compares (`against`), finding, line and remark."""
    key = release, metric
    row = metric_figures(figures, *key) | {"release": release, "against": figures.against.get(key)}
    if release == figures.baseline:
        return row | {"finding": "baseline", "line": "", "remark": ""}
    words = {"line": figures.line(*key), "remark": figures.remark(*key)}
    return row | words | {"finding": figures.finding(*key), "sign_p": figures.sign_p[key]}


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
    differs = zip(cases, *figures.statuses.values(), strict=True)
    members: dict[str, Sequence[Case]] = {
        "worse": figures.cases_by("worse", others, name) if name else (),
        "missing": [
            case
            for case in cases
            if not all(case.answers(each) for each in figures.releases)
            or (name and any(figures.verdict(case, each, name) == "error" for each in others))
        ],
        "better": figures.cases_by("better", others, name) if name else (),
        "changed": [case for case, *statuses in differs if "differs" in statuses],
        "same": cases,
    }
    groups: dict[str, list[Case]] = {}
    placed: set[int] = set()
    for group in GROUPS:
        groups[group] = [case for case in members[group] if case.number not in placed]
        placed |= {case.number for case in groups[group]}
    return groups


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
    known = {**(base.outputs if base else {}), **run.outputs} if run and run.outputs else {}
    outputs = {
        name: _answer(name, run, None if is_base else base)
        for name in figures.output_names
        if run and name in known
    }
    status = "baseline" if is_base and is_answer(run) else case.status(release)
    return Cell(release, run, status, scores, facts, error_text(run), outputs)


def _answer(name: str, run: Run, base: Run | None) -> Answer:
    status, typed = output_status(name, run, base), typed_output(name, run)
    found = output_difference(name, run, base) if status == "differs" and base else None
    return Answer(status, *typed, found)


def page(model: ReportModel, beside: Mapping[str, str]) -> str:
    """Return the report as one HTML page with all cases: no script, nothing loaded."""
    return render(
        "report.html.j2",
        model=model,
        groups=GROUPS,
        beside=beside,
        css=stylesheet("report.css"),
        is_answer=is_answer,
    )


def overview(model: ReportModel, *, limit: int = _LIMIT) -> str:
    """Return the comparison as HTML for a notebook, regressions first; it needs no script."""
    groups = ("worse", "better", "changed", "missing", "same")
    cases = [case for group in groups for case in model.groups[group]]
    return render(
        "comparison.html.j2",
        model=model,
        cases=cases[:limit],
        is_answer=is_answer,
        total=len(cases),
        limit=limit,
        css=stylesheet("colours.css") + stylesheet("comparison.css"),
        short=lambda value: cut(plain_text(value), _INPUT),
        state_html=error_html,
    )


def markdown(model: ReportModel, only: str | Sequence[str] | None = None) -> str:
    """Return the comparison as Markdown with all cases of some groups; hostile text is literal."""
    chosen = set(GROUPS) if only is None else {only} if isinstance(only, str) else set(only)
    unknown = sorted(str(each) for each in chosen - set(GROUPS))
    if unknown:
        known = ", ".join(GROUPS)
        msg = f"only={format_value(only)}: no cases are called {unknown[0]}; there are: {known}"
        raise InputError(msg)
    left_out = [
        f"{len(own):,} {'identical' if each == 'same' else each}"
        for each, own in model.groups.items()
        if own and each not in chosen
    ]
    made = render(
        "report.md.j2",
        model=model,
        groups={each: title for each, title in GROUPS.items() if each in chosen},
        left_out=", ".join(left_out),
    )
    return re.sub(r"\n{3,}", "\n\n", made).strip() + "\n"


def text(model: ReportModel) -> str:
    """Return the comparison in a few lines of plain text."""
    figures = model.figures
    cases = plural(len(figures.cases), "case")
    lines = [f"{figures.deployment} against {figures.baseline}, {cases}"]
    for at, release in enumerate(figures.others, 1):
        for number, (name, rows) in enumerate(model.metrics.items()):
            lines.append(f"  {rows[at]['line']} ({name})")
            if number == 0:
                lines.append(f"    {rows[at]['remark']}")
                for verdict in ("worse", "better"):
                    if found := figures.cases_by(verdict, (release,), name):
                        named = ", ".join(f"{case.number:,}" for case in found[:_NAMED])
                        named += ", …" if len(found) > _NAMED else ""
                        lines.append(f"    cases that are {verdict}: {named}")
        if not model.metrics:
            lines.append(f"  {release}: {figures.output_counts(release)}")
    lines += [f"  {each}" for each in figures.notes]
    lines += [f"  {tag} moved while these runs were made" for tag in figures.moved_tags]
    return printable("\n".join(lines))


def tables_beside(path: Path) -> dict[str, Path]:
    """Return the files of the tables that come with the report at `path`."""
    stem = path.stem if path.suffix.lower() in {".html", ".htm"} else path.name
    return {rows: path.with_name(f"{stem}.{rows}.csv") for rows in ("runs", "cases")}


def refuse_others(path: Path, tables: Iterable[Path]) -> None:
    """Refuse to replace a table that did not come with an older report at `path`."""
    old = path.read_bytes() if path.is_file() else b""
    files = filter(Path.is_file, tables)
    others = [str(each) for each in files if f"<code>{each.name}</code>".encode() not in old]
    if others:
        msg = (
            f"Nothing was written: it would replace {' and '.join(others)}. Choose another name, "
            "or give overwrite=True"
        )
        raise HistoryError(msg)


def refuse_key(
    what: str, leaks: Callable[[str], bool] | None, frames: Iterable[pd.DataFrame], text: str = ""
) -> None:
    """Refuse to write `what` where its contents contain the API key.

    That is the key that `leaks` knows, or that of ``VELLUM_API_KEY``. The `VellumNBError` names the
    column and the case, and not the key.
    """
    holds = key_finder(leaks)
    place = "its text" if holds(text) else ""
    for frame in frames:
        for name, column in frame.items():
            values = [each if isinstance(each, str) else "" for each in column.tolist()]
            if holds(str(name)):
                place = "the name of a column"
            elif holds("\n".join(values)):
                row = next(at for at, value in enumerate(values) if holds(value))
                advice = "Delete the run that holds it with ws.history.delete(...), and use"
                place = f"{name} of case {frame['case_id'].iloc[row]}. {advice} another key"
    if place:
        msg = f"{what} was not written: it would contain the API key, in {place}"
        raise VellumNBError(msg)


@dataclass(frozen=True, repr=False)
class CodeDiff:
    r"""How the files of one release differ from those of another.

    In a notebook words that differ are marked, and what is the same is folded.

    Attributes
    ----------
    deployment, old, new : str
        What was compared.
    before, after : mapping
        Path to text.

    Examples
    --------
    >>> diff = CodeDiff("triage", "v1", "v2", {"a.py": "x = 1\n"}, {"a.py": "x = 2\n"})
    >>> diff
    <CodeDiff triage v1 → v2: 1 file differs (+1 -1)>
    >>> print(diff.text.splitlines()[-1])
    +x = 2
    """

    deployment: str
    old: str
    new: str
    before: Mapping[str, str]
    after: Mapping[str, str]

    @property
    def paths(self) -> list[str]:
        """The files that differ."""
        every = sorted({*self.before, *self.after})
        return [path for path in every if self.before.get(path) != self.after.get(path)]

    @property
    def text(self) -> str:
        """The difference as a unified diff; empty without differences."""
        return "".join(line for path in self.paths for line in self._unified(path))

    @property
    def sentence(self) -> str:
        """How many files and lines differ."""
        marks = [line[:1] for line in self.text.splitlines() if not line.startswith(("+++", "---"))]
        files = plural(len(self.paths), "file differs", "files differ")
        return f"{files} (+{marks.count('+')} -{marks.count('-')})"

    def _unified(self, path: str) -> Iterator[str]:
        lines = unified_diff(
            list(StringIO(self.before.get(path))),  # only line feeds end a line, as in editors
            list(StringIO(self.after.get(path))),
            f"{self.old}/{path}" if path in self.before else "/dev/null",
            f"{self.new}/{path}" if path in self.after else "/dev/null",
        )
        for line in lines:
            end = "" if line.endswith("\n") else "\n\\ No newline at end of file\n"
            yield f"{line}{end}"

    @printed
    def __repr__(self) -> str:
        found = self.sentence if self.paths else "no difference"
        return f"<CodeDiff {self.deployment} {self.old} → {self.new}: {found}>"

    @printed
    def _repr_html_(self) -> str:
        names = map(visible_name, (self.deployment, self.old, self.new))
        parts = ["<b>{}: code of {} and of {}</b>".format(*map(escape, names))]
        for path in self.paths:
            ops = word_diff(self.before.get(path, ""), self.after.get(path, ""))
            pieces = diff_html(ops, fold=_FOLD)
            parts.append(f'<p>{escape(path)}</p><pre class="vnb-text vnb-change">{pieces}</pre>')
        parts += [] if self.paths else ["<p>no difference</p>"]
        return f'<div class="{NO_MATH}">{"".join(parts)}</div>'
