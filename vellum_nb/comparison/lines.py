"""Cases on one line, their order and their filters, for the grid and the reports."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

from vellum_nb.comparison.cases import Case, error_text, is_answer
from vellum_nb.comparison.figures import ComparisonFigures
from vellum_nb.comparison.pairs import VERDICTS, Against
from vellum_nb.history import clean
from vellum_nb.lazy import Bools, np
from vellum_nb.models import Run
from vellum_nb.models.checks import cut
from vellum_nb.rendering.answer import AnswerCell
from vellum_nb.rendering.diff import MISSING, side_html
from vellum_nb.rendering.format import (
    figure,
    is_prose,
    is_short,
    one_line,
    plain_text,
    plural,
    same_value,
    signed,
    visible_name,
)
from vellum_nb.rendering.html import render
from vellum_nb.search_text import Search, document

STATES = {
    "different": "Different",
    "regressions": "Regressions",
    "missing": "No answer",
    "unstable": "Unstable",
    "disputed": "Judge disagrees",
}
"""States of cases to filter by, and their labels."""
_LABELS, _VALUES, _MAX_CHIP_CHARS = 4, 40, 40
_FEW, _MAX_LABEL_VALUES = 6, 40  # many values of a label group several cases each
_MAX_FAILURE_NAMES = 200  # for completion
MAX_NAME_CHARS = 40
_MAX_VALUE_CHARS, _MAX_TEXT_CHARS, _MAX_TITLE_CHARS, _MAX_INPUT_CHARS = 24, 100, 400, 160
_MAX_VALUES = 6
ICONS = {
    "worse": "down-arrow",
    "better": "up-arrow",
    **dict.fromkeys(("missing", "alone"), "CANCELLED"),
    "error": "FAILED",
}
"""Icons of verdicts; other verdicts have icons of their own names."""
SIGNS = {"better": "↑", "same": "=", "noise": "≈", "worse": "↓", "missing": "⊘", "differs": "≠"}
"""Signs of verdicts, for bars and for pages without icons."""

Busy = Mapping[tuple[str, str], tuple[str, str]]
"""Activity and error of a cell, by case id and release."""

IDLE = "", ""


def label_text(value: object) -> str:
    """Return a label as displayed and filtered by: at most 200 characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return clean(text[:200])


def grouping_labels(figures: ComparisonFigures) -> dict[str, Counter[str]]:
    """Return the number of cases by value of each label that groups cases: few values, no ids."""
    labels: dict[str, Counter[str]] = {}
    for case in figures.cases:
        for name, value in case.labels.items():
            if value is not None:
                labels.setdefault(name, Counter())[label_text(value)] += 1
    return {
        name: values
        for name, values in labels.items()
        if len(values) <= _FEW or len(values) <= min(_MAX_LABEL_VALUES, values.total() / 2)
    }


def grouped_by_text(values: Iterable[object]) -> dict[str, list[int]]:
    """Return the positions of each label, by its text; None is left out."""
    groups: dict[str, list[int]] = {}
    for at, value in enumerate(values):
        if value is not None:
            groups.setdefault(label_text(value), []).append(at)
    return groups


def short_name(name: str) -> str:
    """Return a name with visible controls, abridged."""
    return cut(visible_name(name), MAX_NAME_CHARS)


def cell_state(release: str, can_replay: bool, busy: str, problem: str) -> dict[str, Any]:  # noqa: FBT001
    """Return the actions, activity and error of a cell."""
    named = {"name": release, "release": cut(visible_name(release), 120)}
    can_replay = can_replay and not busy
    state = {"can_replay": can_replay, "busy": busy, "problem": cut(problem, 300)}
    return {"gap": "", "latency": "", **named, **state}


def verdict_of(
    figures: ComparisonFigures, case: Case, release: str, metric: str | None, base: Run | None
) -> tuple[str, str]:
    """Return the verdict on an answer as an icon name and in words."""
    if release == case.baseline:
        return "baseline", ""
    if base is None:
        return "alone", f"nothing to compare with: no answer on {short_name(case.baseline)}"
    status = case.status(release)
    verdict = status if metric is None else figures.verdict(case, release, metric)
    name = "" if metric is None else short_name(metric)
    words = {
        "better": "better",
        "worse": "worse",
        "noise": "within the noise",
        "error": f"{name} failed",
        "same": "identical" if status == "same" else f"same {name}",
    }
    return (verdict, words[verdict]) if verdict in words else (status, status)


def line_html(
    figures: ComparisonFigures,
    case: Case,
    metric: str | None,
    icon: Callable[[str], str],
    *,
    replayed: frozenset[str] = frozenset(),
    busy: Busy | None = None,
    titled: bool = False,
) -> str:
    """Return a case as one line; `icon` draws a name of `ICONS`, `titled` adds tooltips."""
    activity, turn = busy or {}, case.decisive
    cells = [
        cell_state(release, release in replayed, *activity.get((case.case_id, release), IDLE))
        | _cell(figures, case, turn, release, metric)
        for release in (figures.baseline, *figures.others)
    ]
    title = _inputs_text(case)
    text = {"text": cut(title, _MAX_INPUT_CHARS), "title": cut(title, _MAX_TITLE_CHARS)}
    look = {"icon": icon, "icons": ICONS, "titled": titled}
    return render("grid_line.html.j2", **look, case=case, turn=turn.turn, cells=cells, **text)


def _inputs_text(case: Case) -> str:
    """Return the first long text of the inputs, or all of them."""
    inputs = {name: value for name, value in case.inputs.items() if value is not None}
    long = filter(is_prose, inputs.values())
    named = [f"{visible_name(name)}: {plain_text(value)}" for name, value in inputs.items()]
    rest = plain_text(next(iter(inputs.values()))) if len(inputs) == 1 else " · ".join(named)
    return one_line(next(long, rest)[: 4 * _MAX_TITLE_CHARS])


def _cell(
    figures: ComparisonFigures, case: Case, turn: Case, release: str, metric: str | None
) -> dict[str, Any]:
    run, base = case.counting(release), case.counting(case.baseline)
    problem = AnswerCell.of_problem(run)
    error = one_line(problem.to_text()[:_MAX_TITLE_CHARS]) if problem else ""
    made: dict[str, Any] = {"parts": [], "html": "", "error": error, "score": "", "tone": ""}
    made |= {"repeats": "", "note": "", "failures": failure_text(figures, case, release)}
    if run is None or not is_answer(run):
        tries = len(case.tries.get(release, ()))
        gap = f"no answer in {plural(tries, 'try', 'tries')}" if tries else "not run"
        word = run.state.lower() if run else "missing"
        title = f"{gap} on {short_name(release)}; it never counts as a pass. {error}"
        return made | {"kind": "missing", "word": word, "gap": gap, "title": title.strip()}
    base = base if is_answer(base) else None
    kind, word = verdict_of(figures, case, release, metric, base)
    met = case.checks(release)
    if kind == "baseline" and met:
        word = "as expected" if all(met.values()) else "not as expected"
    is_same = release != case.baseline and base is not None and case.status(release) == "same"
    run, base = turn.counting(release) or run, turn.answer(case.baseline)
    values = [] if is_same or problem else _values(run, turn.expected, turn.checks(release))
    unlike, answers = case.repeats(release)
    title = "; ".join(_titled(*value) for value in values)
    made |= {
        "kind": kind,
        "word": word,
        "same": is_same,
        "met": all(met.values()) if met else None,
        "parts": _parts(values),
        "html": "" if is_same or problem or values else _text_html(run, base),
        "title": cut(title or error or word, _MAX_TITLE_CHARS),
        "repeats": f"{answers - unlike:,} of {answers:,}" if unlike else "",
    }
    if values and base is not None and run is not base:
        made["note"] = _other_difference(run, base, [name for name, *_ in values])
    return made | score_of(figures, case, release, metric, kind)


def failure_text(figures: ComparisonFigures, case: Case, release: str) -> str:
    """Return the failures of an answer; those that are only proposed have a question mark."""
    names, proposals = figures.failures[case.number - 1][release]
    texts = [*map(short_name, names), *(f"{short_name(name)}?" for name in proposals)]
    return cut(", ".join(texts), _MAX_TITLE_CHARS)


def _values(
    run: Run, expected: Mapping[str, Any], met: Mapping[str, bool]
) -> list[tuple[str, str, str]]:
    """Return the short outputs and those that are not as expected: name, value, expected value."""
    values = []
    for name in dict.fromkeys([*run.outputs, *expected]):
        value, is_wrong = run.outputs.get(name, MISSING), met.get(name) is False
        if is_wrong or (value is not MISSING and is_short(value)):
            text = "missing" if value is MISSING else value_text(value)
            values.append((name, text, value_text(expected[name]) if is_wrong else ""))
    return values[:_MAX_VALUES]


def value_text(value: object) -> str:
    """Return a value as short text on one line."""
    text = plain_text(value)
    return cut(one_line(visible_name(text[: 4 * _MAX_VALUE_CHARS])) or '""', _MAX_VALUE_CHARS)


def _titled(name: str, value: str, expected: str) -> str:
    return f"{short_name(name)}: {value}" + (f", expected {expected}" if expected else "")


def _parts(values: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """Return the values as class and text; expected values follow the wrong ones.

    >>> "".join(text for _, text in _parts([("a", "1", "2"), ("b", "3", "")]))
    '1, expected 2 · 3'
    """
    all_wrong = len(values) > 1 and all(expected for *_, expected in values)
    parts: list[tuple[str, str]] = []
    for _, value, expected in values:
        parts += [("between", " · ")] if parts else []
        parts += [("wrong" if expected else "value", value)]
        parts += [("expected", f", expected {expected}")] if expected and not all_wrong else []
    joined = " · ".join(expected for *_, expected in values)
    return [*parts, ("expected", f", expected {joined}")] if all_wrong else parts


def _text_html(run: Run, base: Run | None) -> str:
    """Return the beginning of the first output, or its first change, as HTML."""
    against = None if base is run else base
    cells = [AnswerCell.of(name, run, against) for name in run.outputs]
    chosen = next((cell for cell in cells if cell.status == "differs"), cells[0] if cells else None)
    return side_html(chosen.excerpt(_MAX_TEXT_CHARS)[0], "new") if chosen else ""


def _other_difference(run: Run, base: Run, names: list[str]) -> str:
    """Return the name of an output outside of the line that differs, if those in it do not."""
    both = dict.fromkeys([*run.outputs, *base.outputs])
    unlike = [
        name
        for name in both
        if not same_value(run.outputs.get(name, MISSING), base.outputs.get(name, MISSING))
    ]
    return short_name(unlike[0]) if unlike and not set(unlike) & set(names) else ""


def score_of(
    figures: ComparisonFigures, case: Case, release: str, metric: str | None, kind: str
) -> dict[str, str]:
    """Return the score of the baseline or its change on a candidate, and its tone."""
    value = None if metric is None else figures.value(case, release, metric)
    if value is None or metric is None:
        return {}
    if release == case.baseline:
        return {"score": figure(value)}
    delta = float(figures.against[release, metric].delta[case.number - 1])
    least = max(figures.scored[metric].metric.tolerance, 1e-9)
    if math.isnan(delta) or abs(delta) <= least:
        return {}
    tone = {"better": "good", "worse": "bad"}.get(kind, "")
    return {"score": signed(delta, like=max(abs(delta), abs(value))), "tone": tone}


class CaseOrder:
    """Cases of a comparison, ordered by a metric or, without a metric, by changed answers.

    Worse cases first, then unanswered, unstable, better, changed and identical ones; without a
    metric, changed ones first. `places` are sorted by rank and total difference.
    """

    def __init__(self, figures: ComparisonFigures, metric: str | None) -> None:
        self.figures, self.metric = figures, metric
        self._states: dict[str, dict[str, Bools]] = {}
        states, compared = self.states(), figures.others
        worse, better = states["regressions"], self._has(compared, "better")
        is_changed = states["different"] | self._has(compared, "noise", "error")
        ranks = np.select(
            [worse, states["missing"], states["unstable"], better, is_changed]
            if metric
            else [is_changed, states["missing"]],
            range(5) if metric else range(2),
            default=5,
        )
        size = np.zeros(len(figures.cases))
        for pairs in self._against(compared):
            delta = np.abs(pairs.delta)
            delta[np.isnan(delta)] = np.nanmax(delta, initial=1.0)  # a rejected run has no figure
            for rank, verdict in ((0, "worse"), (3, "better")):
                is_so = (ranks == rank) & (pairs.codes == VERDICTS.index(verdict))
                size += np.where(is_so, delta, 0.0)
        self.places: list[int] = np.lexsort((-size, ranks)).tolist()

    def states(self, release: str = "") -> dict[str, Bools]:
        """Return a Boolean per case for each of `STATES`, on any release or on one."""
        figures = self.figures
        compared = (release,) if release in figures.others else figures.others
        key = release if release in figures.others else ""
        if key not in self._states:
            cases = figures.cases
            alone = np.array([not case.answers(figures.baseline) for case in cases], dtype=bool)
            check = figures.checks.get(self.metric or "")
            disputed = set(check.disagreements["case_id"]) if check else set()
            self._states[key] = {
                "different": self._is(compared, "differs"),
                "regressions": self._has(compared, "worse"),
                "missing": self._is(compared, "missing") if compared else alone,
                "unstable": figures.unstable,
                "disputed": np.array([case.case_id in disputed for case in cases], dtype=bool),
            }
        return self._states[key]

    def _against(self, releases: Sequence[str]) -> list[Against]:
        figures, metric = self.figures, self.metric
        return [figures.against[release, metric] for release in releases] if metric else []

    def _has(self, releases: Sequence[str], *verdicts: str) -> Bools:
        """Return whether each case has one of `verdicts` on any of `releases`."""
        codes = [VERDICTS.index(verdict) for verdict in verdicts]
        return self._any(np.isin(pairs.codes, codes) for pairs in self._against(releases))

    def _is(self, releases: Sequence[str], status: str) -> Bools:
        """Return whether each case has `status` on any of `releases`."""
        statuses = self.figures.statuses
        return self._any(np.array(statuses[name], dtype=object) == status for name in releases)

    def _any(self, masks: Iterable[Bools]) -> Bools:
        matching: Bools = np.any([np.zeros(len(self.figures.cases), dtype=bool), *masks], axis=0)
        return matching

    @cached_property
    def labels(self) -> dict[str, Counter[str]]:
        """Number of cases by value of the labels to filter by."""
        return dict(islice(grouping_labels(self.figures).items(), _LABELS))

    @cached_property
    def failures(self) -> list[dict[str, None]]:
        """Failures of each case, named or proposed on any release."""
        failures = self.figures.failures
        return [
            dict.fromkeys(name for both in case.values() for names in both for name in names)
            for case in failures
        ]

    def find(
        self,
        states: Sequence[str],
        labels: Mapping[str, Sequence[str]],
        failures: Sequence[str],
        search: str,
        release: str = "",
    ) -> list[int]:
        """Return the ordered places of the matching cases.

        A case matches any of `states` (on `release`, if given), any of `failures`, and all labels
        and search terms.
        """
        places, cases = self.places, self.figures.cases
        if states:
            on = self.states(release)
            places = [at for at in places if any(on[state][at] for state in states)]
        for name, values in labels.items():
            if values:
                places = [at for at in places if label_text(cases[at].labels.get(name)) in values]
        if failures:
            places = [at for at in places if not self.failures[at].keys().isdisjoint(failures)]
        if search:
            looking = Search.of(search)
            places = [at for at in places if _matches(looking, cases[at])]
        return places

    def filters(self) -> dict[str, Any]:
        """Return the filters of a page with their numbers of cases, and the order in words."""
        states = self.states()
        counts = Counter(name for names in self.failures for name in names)
        failures = counts.most_common(_MAX_FAILURE_NAMES)
        return {
            "filters": [
                {"name": "", "label": "All", "count": len(self.places)},
                *(
                    {"name": name, "label": label, "count": int(states[name].sum())}
                    for name, label in STATES.items()
                    if (name != "regressions" or self.metric is not None)
                    and (name != "disputed" or states[name].any())
                ),
            ],
            "labels": [
                {
                    "name": name,
                    "label": cut(visible_name(name), _MAX_CHIP_CHARS),
                    "values": [_option(value, n) for value, n in values.most_common()],
                }
                for name, values in self.labels.items()
            ],
            "failures": {
                "values": [_option(name, number) for name, number in failures[:_VALUES]],
                "names": [name for name, _ in failures],
            },
            "order": "those that differ first" if self.metric is None else "regressions first",
        }


def _matches(search: Search, case: Case) -> bool:
    """Return whether a run of the case has all terms in its inputs, outputs or error."""
    groups = (*case.conversations.runs.values(), *case.tries.values())
    runs = [run for runs in groups for run in runs]
    texts = [dict(case.inputs), *(run.outputs for run in runs), *map(error_text, runs)]
    if not _may_match(search, json.dumps(texts)):
        return False
    inputs = json.dumps(dict(case.inputs))
    return any(
        _may_match(search, f"{inputs} {outputs} {error}")
        and search.matches_document(document(inputs, outputs, error))
        for outputs, error in [("{}", ""), *((json.dumps(e.outputs), error_text(e)) for e in runs)]
    )


def _may_match(search: Search, text: str) -> bool:
    """Return False if an ASCII text lacks a word; much faster than normalizing the text."""
    raw = text.lower()
    if not raw.isascii() or "\\u" in raw:
        return True
    return all(word in raw for term in search.terms for word in term.words)


def _option(value: str, count: int) -> tuple[str, str]:
    """Return a value of a filter with its text."""
    return value, f"{cut(visible_name(value), _MAX_CHIP_CHARS)} ({count:,})"
