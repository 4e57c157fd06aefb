"""One row of the grid as it travels: its case, and a cell a release, as plain texts cut to size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vellum_nb.experiments import Comparison
from vellum_nb.experiments.cases import Case
from vellum_nb.experiments.metrics.metric import Metric
from vellum_nb.experiments.wording import value_text
from vellum_nb.history.reading.records import Record
from vellum_nb.history.rows.rows import clean
from vellum_nb.models import Run
from vellum_nb.widgets.grid.chips import chips
from vellum_nb.widgets.grid.pieces import changed, differing, plain, short
from vellum_nb.widgets.grid.shelf import inputs_of, label_text
from vellum_nb.widgets.markup import shown_name
from vellum_nb.widgets.outputs import latency_text

__all__ = ["MAX_ROW", "Shown", "row"]

MAX_ROW = 40_000  # bytes of one row
_INPUT, _INPUTS = 320, 6
_LABEL, _LABELS = 40, 8
_TEXT, _OUTPUTS = 700, 8  # characters of an output, and how many outputs
_LEAST = 24
_INLINE = 40  # outputs as short as this stand beside each other

Cell = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """What rows are made of.

    Attributes
    ----------
    comparison : Comparison
        Whose cases they are.
    metric : str or None
        By which metric cases are better or worse.
    replays : frozenset of str
        The releases on which a missing case can be run.
    busy : mapping
        (case id, release) to what is under way there, or what went wrong.
    early : bool
        Whether no figure is known yet; then only the texts are held against each other.
    """

    comparison: Comparison
    metric: str | None
    replays: frozenset[str] = frozenset()
    busy: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    early: bool = False

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics whose figures are shown."""
        return () if self.early else self.comparison.metrics


def row(shown: Shown, case: Case) -> dict[str, Any]:
    """Return what travels for one case; never more than about `MAX_ROW`."""
    limit = _TEXT
    while True:
        made = _row(shown, case, limit)
        if len(json.dumps(made)) <= MAX_ROW or limit <= _LEAST:
            return made
        limit //= 2


def _row(shown: Shown, case: Case, limit: int) -> dict[str, Any]:
    comparison = shown.comparison
    inputs = [(name, value) for name, value in inputs_of(case).items() if value is not None]
    size = min(_INPUT, limit)
    labels = [(name, value) for name, value in case.labels.items() if value is not None]
    return {
        "id": case.case_id,
        "n": case.number,
        "labels": [[short(n, _LABEL), short(label_text(v), _LABEL)] for n, v in labels[:_LABELS]],
        "unstable": case.is_unstable,
        "inputs": [
            [_name(name) if len(inputs) > 1 else "", short(_input(value), size)]
            for name, value in inputs[:_INPUTS]
        ],
        "more": max(0, len(inputs) - _INPUTS),
        "cells": [
            _cell(shown, case, each, limit) for each in (comparison.baseline, *comparison.others)
        ],
    }


def _name(name: str) -> str:
    return short(shown_name(name), _LABEL)


def _input(value: object) -> str:
    is_media = isinstance(value, dict) and isinstance(value.get("src"), str)
    return value_text(value, "IMAGE" if is_media else "JSON")


def _cell(shown: Shown, case: Case, release: str, limit: int) -> Cell:
    found = case.counting(release)
    busy, problem = shown.busy.get((case.case_id, release), ("", ""))
    head: Cell = {"busy": clean(busy), "problem": short(problem, 300)}
    if found is None or not found.is_answer:
        return head | _gap(shown, case, release, found)
    base = case.counting(case.baseline)
    base = base if base is not None and base.is_answer else None
    kind, word = _verdict(shown, case, release, base)
    against = None if release == case.baseline else base
    outputs, is_cut = _outputs(found.run, None if against is None else against.run, limit)
    unlike, answers = case.repeats(release)
    return head | {
        "kind": kind,
        "word": word,
        "run": found.id,
        "quality": found.quality,
        "latency": latency_text(found.latency_s),
        "error": _error(found, limit),
        "outputs": outputs,
        "cut": is_cut,
        "chips": chips(shown.comparison, case, release, shown.metrics),
        "unstable": f"differs in {unlike:,} of {answers:,} repeats" if unlike else "",
    }


def _gap(shown: Shown, case: Case, release: str, found: Record | None) -> Cell:
    tries = len(case.tries.get(release, ()))
    name = _name(release)
    times = "1 try" if tries == 1 else f"{tries:,} tries"
    what = f"No answer from {name} in {times}." if tries else f"Not run on {name}."
    error = "" if found is None or found.error is None else ": ".join(filter(None, found.error))
    return {
        "kind": "missing",
        "word": "missing",
        "run": "" if found is None else found.id,
        "gap": f"{what} Counted as missing, never as a pass.",
        "error": short(error, 300),
        "replay": release in shown.replays,
    }


def _verdict(shown: Shown, case: Case, release: str, base: Record | None) -> tuple[str, str]:
    if release == case.baseline:
        return "baseline", ""
    if base is None:
        return "alone", f"nothing to hold against: no answer on {_name(case.baseline)}"
    differs = case.status(release) == "differs"
    if shown.metric is None or shown.early:
        return _plainly(differs=differs)
    verdict = shown.comparison.verdict(case, release, shown.metric)
    if verdict == "same" and not differs:
        return _plainly(differs=False)
    name = short(shown_name(shown.metric), _LABEL)
    words = {
        "better": "better",
        "worse": "worse",
        "noise": "within the noise",
        "error": f"{name} failed",
        "same": f"same {name}",
    }
    return (verdict, words[verdict]) if verdict in words else _plainly(differs=differs)


def _plainly(*, differs: bool) -> tuple[str, str]:
    return ("differs", "differs") if differs else ("same", "same")


def _error(found: Record, limit: int) -> str:
    if found.error is None:
        return ""
    return short(": ".join(filter(None, found.error)), limit)


def _outputs(run: Run, base: Run | None, limit: int) -> tuple[list[dict[str, Any]], bool]:
    """Return the outputs, short ones to stand in a line, and whether something is left out."""
    names = list(dict.fromkeys([*(base.outputs if base else ()), *run.outputs]))
    if not run.outputs:
        return [], False
    made = [_output(name, run, base, limit) for name in names[:_OUTPUTS]]
    cut = len(names) > _OUTPUTS or any(each.pop("cut") for each in made)
    long = sum(not each["inline"] for each in made)
    for each in made:
        each["told"] = not each.pop("is_text") or (long > 1 and not each["inline"])
    return made, cut


def _output(name: str, run: Run, base: Run | None, limit: int) -> dict[str, Any]:
    told = base is not None and bool(base.outputs)
    old = _value(base, name) if base is not None and told else None
    new = _value(run, name)
    note = ""
    if new is None:
        (pieces, cut), note = changed(value_text(*(old or ("", ""))), "", limit), "missing"
    elif not told:
        pieces, cut = plain(value_text(*new), limit)
    elif old is None:
        (pieces, cut), note = changed("", value_text(*new), limit), "new"
    else:
        pieces, cut = differing(old[0], new[0], (old[1], new[1]), limit)
    sides = ("".join(text for mark, text in pieces if mark != gone) for gone in "+-")
    inline = not cut and all(len(text) <= _INLINE and "\n" not in text for text in sides)
    is_text = isinstance((new or old or ("",))[0], str)
    made = {"name": _name(name), "pieces": pieces, "cut": cut, "note": note, "inline": inline}
    return made | {"is_text": is_text}  # a bare number says nothing without its name


def _value(run: Run, name: str) -> tuple[Any, str] | None:
    """Return an output and its type; None where there is none."""
    if name not in run.outputs:
        return None
    value = run.outputs[name]
    return value, run.output_types.get(name, "STRING" if isinstance(value, str) else "JSON")
