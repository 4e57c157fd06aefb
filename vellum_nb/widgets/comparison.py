"""A comparison as static HTML: a line a release on top, then cases down and releases across."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from vellum_nb.experiments import Comparison
from vellum_nb.experiments.cases import Case, Status
from vellum_nb.experiments.wording import value_text
from vellum_nb.models import Run
from vellum_nb.widgets.markup import asset, error_html, icon, shown_name, state_html
from vellum_nb.widgets.outputs import LEFT, OUTPUT_CSS, output_html

__all__ = ["comparison_html"]

COMPARISON_CSS = asset("comparison.css")
_LIMIT = 50
_INPUT = 400  # characters of an input; the case is known by its beginning
_WORDS: dict[Status, str] = {
    "differs": '<span class="vnb-cmp-mark">\N{NOT EQUAL TO}</span> differs',
    "same": '<span class="vnb-cmp-mark">=</span> same',
    "missing": f"{icon('missing')} missing",
}
_ORDER: tuple[Status, ...] = ("differs", "missing", "same")


def comparison_html(comparison: Comparison, *, limit: int = _LIMIT) -> str:
    """Return `comparison` as HTML: cases that differ first, then missing ones, then the same.

    Parameters
    ----------
    comparison : Comparison
        What is shown.
    limit : int, default 50
        How many cases are shown; a sentence says how many there are.

    Returns
    -------
    str
        HTML with its own ``style`` element; it needs no script.
    """
    style = f"<style>{OUTPUT_CSS}{COMPARISON_CSS}</style>"
    return f'{style}<div class="vnb-out">{_head(comparison)}{_body(comparison, limit)}</div>'


def _name(name: str) -> str:
    return escape(shown_name(name))


def _head(comparison: Comparison) -> str:
    number = len(comparison.cases)
    noun = "case" if number == 1 else "cases"
    return (
        f'<div class="vnb-cmp-head"><b>Compare</b> <span class="vnb-quiet">'
        f"{_name(comparison.deployment)} · {number:,} {noun} · baseline "
        f'<span class="vnb-tag">{_name(comparison.baseline)}</span></span></div>'
    )


def _body(comparison: Comparison, limit: int) -> str:
    if not comparison.cases:
        tags = ", ".join(_name(tag) for tag in comparison.release_tags)
        return (
            f'<p class="vnb-cmp-empty">No runs of {_name(comparison.deployment)} on {tags} are '
            "stored yet. Run it on these release tags first.</p>"
        )
    summary = "".join(_summary(comparison, tag) for tag in comparison.others)
    notices = "".join(_moved(tag) for tag in comparison.moved_tags)
    verdicts = "".join(_verdict(comparison, each) for each in _judged(comparison))
    cases = _sorted(comparison)
    return (
        f'<table class="vnb-cmp-summary"><tbody>{summary}</tbody></table>{verdicts}{notices}'
        f"{_grid(comparison, cases[:limit])}{_foot(len(cases), limit)}"
    )


def _summary(comparison: Comparison, tag: str) -> str:
    counts = {status: comparison.count(tag, status) for status in _ORDER}
    bar = "".join(
        f'<span class="vnb-cmp-{status}" style="flex-grow:{count}"></span>'
        for status, count in counts.items()
        if count
    )
    words = " · ".join(
        text for status, count in counts.items() if (text := _counted(status, count))
    )
    return (
        f'<tr><th scope="row"{LEFT}><span class="vnb-tag">{_name(tag)}</span></th>'
        f'<td><span class="vnb-cmp-bar" aria-hidden="true">{bar}</span></td>'
        f'<td{LEFT} class="vnb-number">{words}</td></tr>'
    )


def _counted(status: Status, count: int) -> str:
    if status == "differs":
        return f"<b>{count:,} {'differs' if count == 1 else 'differ'}</b>"
    return f"{count:,} {status}" if count or status == "same" else ""


def _judged(comparison: Comparison) -> Sequence[str]:
    return comparison.others if comparison.metrics else ()


def _verdict(comparison: Comparison, release: str) -> str:
    """Return what the first metric makes of a release, in words."""
    line, remark = comparison.line(release), comparison.remark(release)
    name = comparison.metrics[0].name
    return (
        f'<p class="vnb-cmp-foot"><b>{escape(line)}</b><br>'
        f'<span class="vnb-quiet">by {escape(name)}: {escape(remark)}</span></p>'
    )


def _moved(tag: str) -> str:
    return (
        f'<p class="vnb-cmp-notice">{icon("failed")} <span class="vnb-tag">{_name(tag)}</span> '
        "moved while these runs were made: each release that is known has its own column.</p>"
    )


def _sorted(comparison: Comparison) -> list[tuple[int, Case]]:
    """Return the cases with their numbers, those worth a look first."""

    def rank(numbered: tuple[int, Case]) -> tuple[bool, int]:
        case = numbered[1]
        found = {case.status(each) for each in comparison.releases}
        worse = any(comparison.verdict(case, each) == "worse" for each in _judged(comparison))
        return not worse, min(_ORDER.index(status) for status in found)

    return sorted(enumerate(comparison.cases, 1), key=rank)


def _grid(comparison: Comparison, cases: Iterable[tuple[int, Case]]) -> str:
    tags = (comparison.baseline, *comparison.others)
    names = comparison.output_names
    rows = "".join(_case_row(number, case, tags, names) for number, case in cases)
    heads = "".join(_tag_head(comparison, tag) for tag in tags)
    return (
        f'<table class="vnb-cmp"><thead><tr><th scope="col"{LEFT}>case</th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _tag_head(comparison: Comparison, tag: str) -> str:
    name = f'<span class="vnb-tag">{_name(tag)}</span>'
    if tag == comparison.baseline:
        return (
            f'<th scope="col"{LEFT} class="vnb-cmp-base">{icon("pin")} {name} '
            '<span class="vnb-quiet">baseline</span></th>'
        )
    base = _name(comparison.baseline)
    return f'<th scope="col"{LEFT}>{name} <span class="vnb-quiet">against {base}</span></th>'


def _case_row(number: int, case: Case, tags: Sequence[str], names: Sequence[str]) -> str:
    cells = "".join(_cell(case, tag, names) for tag in tags)
    return f'<tr><th scope="row" valign="top"{LEFT}>{_case(number, case)}</th>{cells}</tr>'


def _case(number: int, case: Case) -> str:
    inputs = {name: value for name, value in case.inputs.items() if value is not None}
    texts = {name: _shortened(value) for name, value in inputs.items()}
    if len(texts) == 1:
        body = f'<div class="vnb-cmp-input">{escape(next(iter(texts.values())))}</div>'
    else:
        body = "".join(
            f'<div class="vnb-cmp-input"><span class="vnb-quiet">{_name(name)}</span> '
            f"{escape(text)}</div>"
            for name, text in texts.items()
        )
    return f'<span class="vnb-quiet">case {number}</span>{body}'


def _shortened(value: object) -> str:
    is_media = isinstance(value, dict) and isinstance(value.get("src"), str)
    text = value_text(value, "IMAGE" if is_media else "JSON")
    return text if len(text) <= _INPUT else f"{text[:_INPUT]}…"


def _cell(case: Case, tag: str, names: Sequence[str]) -> str:
    label = f'<span class="vnb-cmp-label">{_name(tag)}</span> '
    run, status = case.runs.get(tag), case.status(tag)
    if case.answer(tag) is None:
        return f'<td valign="top"{LEFT} class="vnb-cmp-gap">{label}{_gap(run, tag)}</td>'
    base = case.answer(case.baseline)
    if tag == case.baseline:
        verdict, kind = "baseline", "vnb-cmp-base"
    elif base is None:
        verdict, kind = (
            f"nothing to hold against: no answer on {_name(case.baseline)}",
            "",
        )
    else:
        verdict, kind = _WORDS[status], f"vnb-cmp-is-{status}"
    html = f'<div class="vnb-cmp-verdict">{verdict}</div>'
    return f'<td valign="top"{LEFT} class="{kind}">{label}{html}{_answer(run, base, names)}</td>'


def _gap(run: Run | None, tag: str) -> str:
    why = f"No run of this case on {_name(tag)}." if run is None else error_html(run)
    state = "" if run is None else f" {state_html(run)}"
    return (
        f'<div class="vnb-cmp-verdict">{_WORDS["missing"]}{state}</div>'
        f'<div class="vnb-quiet">{why}</div>'
    )


def _answer(run: Run | None, base: Run | None, names: Sequence[str]) -> str:
    if run is None:
        return ""
    problem = error_html(run)
    state = f"<div>{state_html(run)}</div>{problem}" if problem else ""
    known = run.outputs if base is None else {**base.outputs, **run.outputs}
    shown = [name for name in names if name in known] if run.outputs else []
    rows = "".join(
        f'<div class="vnb-out-row"><dt>{_name(name)} </dt>'
        f"<dd>{output_html(name, run, base)}</dd></div>"
        for name in shown
    )
    return f'{state}<dl class="vnb-cmp-outputs">{rows}</dl>' if rows else state


def _foot(number: int, limit: int) -> str:
    if number <= limit:
        return ""
    return (
        f'<p class="vnb-cmp-foot">{limit:,} of {number:,} cases shown, those that differ first. '
        "<code>.frame()</code> and <code>.to_csv(path)</code> hold them all.</p>"
    )
