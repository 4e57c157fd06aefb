"""Frames of a comparison: cases, turns, runs, errors, failures, slices, summary of releases."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from vellum_nb.clock import micros
from vellum_nb.comparison import statistics as stats
from vellum_nb.comparison.cases import case_values, error_text
from vellum_nb.comparison.figures import ComparisonFigures, release_finding
from vellum_nb.comparison.lines import grouped_by_text
from vellum_nb.comparison.metrics import Judge
from vellum_nb.comparison.pairs import VERDICTS
from vellum_nb.comparison.statistics import NO_ESTIMATE, Estimate
from vellum_nb.errors import InputError
from vellum_nb.escaping import printable
from vellum_nb.history import cell, clean, frame_of_cells, frame_of_records
from vellum_nb.lazy import np, pd
from vellum_nb.models import Run

_CHANGED = {"differs": True, "same": False, "missing": None}
FIRST_CHANGED = "first_changed."
"""Prefix of summary columns that count the cases by the first node that differs."""
_RUN_TEXTS = ("release_tag", "release_id", "environment")
_TEXTS = ("release", *_RUN_TEXTS, "finding", "test", "interval", "decision")
_SHORT_SUMMARY = (
    *("release", "cases", "n", "missing", "failed", "changed_pct"),
    *("wins", "ties", "losses", "p", "decision", "latency_p50", "cost_usd"),
)
NOT_ENOUGH = "not enough data"
_COLUMNS = (
    *("release", "value", "cases", "n", "mean", "mean_low", "mean_high"),
    *("delta", "delta_low", "delta_high", "p", "finding"),
)
_RATED_ENDS, _DELTA_ENDS = (0.0, 1.0), (-math.sqrt(0.5), math.sqrt(0.5))  # of a rating, and two


def _frame_of(cells: Mapping[str, list[Any]]) -> pd.DataFrame:
    """Return a DataFrame; column names are cleaned, since models and files supply them."""
    return frame_of_cells({clean(name): values for name, values in cells.items()})


def case_frame(figures: ComparisonFigures) -> pd.DataFrame:
    """Return one row per case; the first metric determines the verdicts."""
    cases, releases = figures.cases, figures.releases
    rows = list(zip(*figures.statuses.values(), strict=True)) or [()] * len(cases)
    cells: dict[str, list[Any]] = {
        "case_id": [case.case_id for case in cases],
        "changed": [True if "differs" in r else None if "missing" in r else False for r in rows],
        **_dict_cells("input.", [case.inputs for case in cases]),
        **_dict_cells("expected.", [case.expected for case in cases]),
        **_dict_cells("label.", [case.labels for case in cases]),
    }
    counting = {release: [case.counting(release) for case in cases] for release in releases}
    outputs = {
        release: _dict_cells("", [run.outputs if run else {} for run in runs])
        for release, runs in counting.items()
    }
    for name in figures.output_names:
        for release, columns in outputs.items():
            cells[f"output.{name}@{release}"] = columns.get(name, [None] * len(cases))
    for release, runs in counting.items():
        cells[f"state@{release}"] = [run.state if run else "missing" for run in runs]
    for release in releases:
        cells[f"answers@{release}"] = [len(case.answers(release)) for case in cases]
    for release, status in figures.statuses.items():
        cells[f"changed@{release}"] = [_CHANGED[one] for one in status]
    cells |= _reason_cells(figures) | _metric_cells(figures)
    turns = _turn_cells(figures)
    return _frame_of(cells | turns).astype(dict.fromkeys(map(clean, turns), "Int64"))


def turn_frame(figures: ComparisonFigures) -> pd.DataFrame:
    """Return one row per turn of each conversation; each is a case of `figures`."""
    frame = case_frame(figures)
    frame.insert(1, "turn", [case.turn for case in figures.cases])
    return frame.drop(columns="label.turn", errors="ignore")


def _turn_cells(figures: ComparisonFigures) -> dict[str, list[Any]]:
    """Return the numbers of the answered, changed and failed turns of each conversation."""
    cells: dict[str, list[Any]] = {}
    ids = [case.case_id for case in figures.cases]
    for release in figures.releases if figures.turns else ():
        answered, changed, failed = dict[str, int](), dict[str, int](), dict[str, int]()
        for case in figures.turns.cases if figures.turns else ():
            if (run := case.counting(release)) is None:
                continue
            is_answered = run.state == "FULFILLED"
            answered[case.case_id] = answered.get(case.case_id, 0) + is_answered
            if not is_answered or not all(case.checks(release).values()):
                failed.setdefault(case.case_id, case.turn)
            if case.status(release) == "differs":
                changed.setdefault(case.case_id, case.turn)
        numbers = {"turns": answered, "first_changed_turn": changed, "first_failed_turn": failed}
        for name, by_case in numbers.items():
            if name != "first_changed_turn" or release != figures.baseline:
                cells[f"{name}@{release}"] = list(map(by_case.get, ids))
    return cells


def _reason_cells(figures: ComparisonFigures) -> dict[str, list[Any]]:
    """Return the first node that differs, and the failures, if any."""
    cells: dict[str, list[Any]] = {
        f"first_changed_node@{release}": names
        for release, names in figures.first_changed.items()
        if any(name is not None for name in names)
    }
    for release in figures.releases if figures.failure_rows else ():
        cells[f"failures@{release}"] = [cell(list(f[release][0])) for f in figures.failures]
    return cells


def _metric_cells(figures: ComparisonFigures) -> dict[str, list[Any]]:
    cells: dict[str, list[Any]] = {}
    for name, scored in figures.scored.items():
        for at, release in enumerate(figures.releases):
            cells[f"metric.{name}@{release}"] = _cells(scored.mean[:, at])
        for release in figures.others:
            cells[f"delta.{name}@{release}"] = _cells(figures.against[release, name].delta)
    for release in figures.others if figures.metrics else ():
        codes = figures.against[release, figures.metrics[0].name].codes
        cells[f"verdict@{release}"] = [VERDICTS[code] for code in codes.tolist()]
    return cells


def run_frame(figures: ComparisonFigures) -> pd.DataFrame:
    """Return one row per run."""
    table = figures.answers
    runs: list[Run] = table["run"].tolist()
    cells: dict[str, list[Any]] = {
        "case_id": [case.case_id for _, case, _ in figures.runs],
        "release": [release for *_, release in figures.runs],
    }
    cells |= {name: [getattr(run, name) for run in runs] for name in _RUN_TEXTS}
    cells |= {"repeat": table["repeat"].tolist(), "state": table["state"].tolist()}
    cells["timestamp"] = [micros(run.timestamp) for run in runs]
    cells |= {name: _cells(table[name]) for name in ("latency_s", "cost_usd")}
    cells |= _dict_cells("output.", [run.outputs for run in runs])
    for metric in figures.metrics:
        cells[f"metric.{metric.name}"] = _cells(table[f"metric.{metric.name}"])
        errors = table[f"metric_error.{metric.name}"]
        if errors.notna().any():
            cells[f"metric_error.{metric.name}"] = _cells(errors)
    cells["error"] = [cell(error_text(run) or None) for run in runs]
    cells["id"] = [run.id for run in runs]
    return _frame_of(cells)


def error_frame(figures: ComparisonFigures) -> pd.DataFrame:
    """Return one row per run and metric that raised."""
    rows = [
        (metric.name, run.case_id, release, cell(message), run.id)
        for metric in figures.metrics
        for (run, _, release), message in zip(
            figures.runs, figures.answers[f"metric_error.{metric.name}"].tolist(), strict=True
        )
        if isinstance(message, str)
    ]
    names = ("metric", "case_id", "release", "message", "id")
    return _frame_of({name: [row[at] for row in rows] for at, name in enumerate(names)})


def failure_frame(figures: ComparisonFigures) -> pd.DataFrame:
    """Return one row per failure name and release."""
    names = ("name", "release", "count", "n", "share", "low", "high", "proposed")
    return frame_of_records(dict.fromkeys(names), figures.failure_rows)


def _dict_cells(prefix: str, dicts: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return one column per key of `dicts`."""
    keys = dict.fromkeys(key for values in dicts for key in values)
    return {prefix + key: [cell(values.get(key)) for values in dicts] for key in keys}


def _cells(values: Any) -> list[Any]:
    return list(map(cell, values.tolist()))


def summary_rows(figures: ComparisonFigures) -> dict[str, dict[str, Any]]:
    """Return counts, metrics, verdict, latency, cost and changed nodes by release."""
    changed = _first_changed(figures)
    return {release: _summary_row(figures, release) | changed[release] for release in changed}


def _summary_row(figures: ComparisonFigures, release: str) -> dict[str, Any]:
    runs = figures.answers[figures.answers["release"] == figures.releases.index(release)]
    row = _counts(figures, release, runs)
    for metric in figures.scored:
        for name, value in _metric_figures(figures, release, metric).items():
            row[f"metric.{metric}.{name.removeprefix('mean_')}".removesuffix(".mean")] = value
    if figures.metrics:
        row |= _verdict_figures(figures, release)
        decision = figures.all_decisions.get(release)
        row["decision"] = decision.verdict if decision else None
    seconds = runs.loc[runs["is_answer"], "latency_s"].dropna()
    row |= {f"latency_p{n}": float(seconds.quantile(n / 100)) for n in (50, 95)}
    row["latency_n"] = len(seconds)
    row |= figures.estimate("cost_usd", release).columns("cost_usd", ".")
    return row | _cost_per_pass(figures, release).columns("cost_per_pass", ".")


def _cost_per_pass(figures: ComparisonFigures, release: str) -> Estimate:
    """Return the cost per passed case, by the first metric that is pass or fail."""
    costs = figures.values("cost_usd", release)
    passes = np.full(len(costs), np.nan)
    for name, scored in reversed(figures.scored.items()):
        if scored.passes and scored.metric.sign > 0 and scored.count.any():
            passes = figures.values(name, release)
    has = ~np.isnan(costs + passes)
    clusters = None if figures.clusters is None else figures.clusters[has]
    return stats.mean_ratio(costs[has], passes[has], clusters=clusters)


def _first_changed(figures: ComparisonFigures) -> dict[str, dict[str, Any]]:
    """Return the numbers of cases by the first node that differs, by release; empty untraced."""
    counts = {release: Counter(figures.first_changed.get(release)) for release in figures.releases}
    total = sum(counts.values(), Counter[str | None]())
    if not any(name is not None for name in total):
        return {release: {} for release in figures.releases}
    columns = {name: f"{FIRST_CHANGED}{name}" for name, _ in total.most_common() if name}
    rows: dict[str, dict[str, Any]] = {}
    for release, nodes in counts.items():
        is_base = release == figures.baseline
        numbers = {"traced": nodes.total() - nodes[None]}
        numbers |= {column: nodes[name] for name, column in columns.items()}
        rows[release] = dict.fromkeys(numbers) if is_base else numbers
    return rows


def summary_frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the rows of a summary as a DataFrame."""
    frame = pd.DataFrame(list(rows))
    texts = [name for name in frame.columns if name in _TEXTS or name.endswith(".check")]
    empty = [name for name in frame.columns if frame[name].isna().all() and name not in texts]
    frame = frame.astype(dict.fromkeys(empty, "float64") | dict.fromkeys(texts, "str"))
    return frame[[*frame.columns.difference([*_RUN_TEXTS], sort=False), *_RUN_TEXTS]]


def short_summary(frame: pd.DataFrame, metrics: Iterable[str]) -> pd.DataFrame:
    """Return the columns of a summary to read on a screen."""
    ends = ("", ".low", ".high", ".delta", ".delta_low", ".delta_high", ".p", ".check")
    short = {*_SHORT_SUMMARY, *(f"metric.{name}{end}" for name in metrics for end in ends)}
    return frame[[name for name in frame if name in short]]


def _counts(figures: ComparisonFigures, release: str, table: pd.DataFrame) -> dict[str, Any]:
    runs: list[Run] = table["run"].tolist()
    answers = table[table["is_answer"]]
    run, answered = table["case"].nunique(), answers["case"].nunique()
    status = figures.statuses.get(release, ())
    compared = len(status) - status.count("missing")
    cases = len(figures.cases)
    return {
        "release": release,
        "release_tag": _listed(run.release_tag for run in runs),
        "release_id": _listed(run.release_id for run in runs),
        "environment": _listed(run.environment for run in runs),
        "cases": cases,
        **({} if figures.clusters is None else {"clusters": len(set(figures.clusters.tolist()))}),
        "n": answered,
        "missing": cases - run,
        "failed": run - answered,
        "rejected": int((answers.groupby("case")["state"].last() == "REJECTED").sum()),
        "runs": len(table),
        "changed_pct": 100 * status.count("differs") / compared if compared else None,
        "changed_n": compared,
    }


def _listed(values: Iterable[str | None]) -> str | None:
    return ", ".join(dict.fromkeys(filter(None, values))) or None


def _metric_figures(figures: ComparisonFigures, release: str, metric: str) -> dict[str, Any]:
    """Return the figures of one metric on one release."""
    scored, column = figures.scored[metric], figures.releases.index(release)
    result, judge = figures.result(release, metric), scored.metric
    return {
        **(result.mean or NO_ESTIMATE).columns("mean"),
        "errors": int(scored.failed[:, column].sum()),
        **(result.delta or NO_ESTIMATE).columns("delta"),
        "p": math.nan if result.p is None else result.p,
        "noise": math.nan if result.noise_band is None else result.noise_band,
        **(_judge_figures(figures, release, judge) if isinstance(judge, Judge) else {}),
    }


def _judge_figures(figures: ComparisonFigures, release: str, judge: Judge) -> dict[str, Any]:
    """Return the check of a judge, its noise, and means corrected by people's ratings."""
    check, (noise, answers) = figures.checks[judge.name], judge.noise()
    row: dict[str, Any] = {"check": check.problem or check.line}
    row |= {"judge_noise_pct": 100 * noise, "judge_noise_n": answers}
    values, base = (
        np.array([figures.values("rating", name), judge.sign * figures.values(judge.name, name)])
        for name in (release, figures.baseline)
    )
    gaps = values - (base if release != figures.baseline else np.nan)
    means_of = {"corrected": (values, _RATED_ENDS), "corrected_delta": (gaps, _DELTA_ENDS)}
    for name, ((people, verdicts), ends) in means_of.items():
        has = ~np.isnan(verdicts)
        rated, unrated = has & ~np.isnan(people), has & np.isnan(people)
        mean = stats.corrected_mean(people[rated], verdicts[rated], verdicts[unrated], ends=ends)
        row |= mean.columns(name)
    return row


def _verdict_figures(figures: ComparisonFigures, release: str) -> dict[str, Any]:
    """Return wins and losses by the first metric; None for the baseline."""
    result = figures.result(release, figures.metrics[0].name)
    is_compared = result.verdict is not None
    counts = {
        "wins": result.better,
        "ties": result.same + result.noise,
        "losses": result.worse,
        "unscored": result.unscored,
        "errors": result.error,
    }
    floor = result.noise_floor
    return {
        **(counts if is_compared else dict.fromkeys(counts)),
        "p": result.p,
        "sign_p": result.sign_p,
        "noise_floor_pct": None if floor is None else 100 * floor,
        "noise_floor_n": result.noise_pairs,
        "test": result.test or None,
        **({"interval": result.interval or None} if figures.is_stopped else {}),
        "finding": result.verdict or "baseline",
    }


def slice_frame(
    figures: ComparisonFigures, by: str, metric: str | None, release: str | None
) -> pd.DataFrame:
    """Return the frame documented in `Comparison.slices`."""
    name, releases = figures.metric_name(metric), figures.others_of(release)
    figures.check_others()
    if figures.is_stopped:
        msg = (
            "slices() needs all cases, because intervals by slice are invalid after an early stop; "
            "run the remaining cases with sweep.resume()"
        )
        raise InputError(msg)
    groups = grouped_by_text(case_values(figures.cases, "by", by))
    rows = [row for one in releases for row in _rows(figures, groups, name, one)]
    rows.sort(key=lambda row: row.pop("order"))
    frame = frame_of_cells({column: [row[column] for row in rows] for column in _COLUMNS})
    figures_of = [column for column in _COLUMNS if column.startswith(("mean", "delta", "p"))]
    return frame.astype(dict.fromkeys(figures_of, "float64"))


def _rows(
    figures: ComparisonFigures, groups: dict[str, list[int]], metric: str, release: str
) -> Iterator[dict[str, Any]]:
    """Yield one row per slice of a release, with p corrected over its slices."""
    made = [figures.against_on(cases, release, metric) for cases in groups.values()]
    corrected = stats.holm([one.change.p for one in made])
    tested = sum(one.change.n > 0 for one in made)
    sign = figures.scored[metric].metric.sign
    for (value, cases), one, p in zip(groups.items(), made, corrected, strict=True):
        finding: str = release_finding(one, p, sign, figures.alpha)
        if finding == "undecided" and one.shortage(figures.alpha / tested):
            finding = NOT_ENOUGH
        change = one.change
        gain = sign * change.mean if change.n else math.inf
        yield {
            "release": printable(release),
            "value": value,
            "cases": len(cases),
            "n": change.n,
            **figures.estimate(metric, release, cases).columns("mean"),
            **change.columns("delta"),
            "p": math.nan if p is None else p,
            "finding": finding,
            "order": (finding in {NOT_ENOUGH, "missing"}, gain),
        }
