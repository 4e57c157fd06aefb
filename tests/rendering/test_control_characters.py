"""Control characters from a server, a file or a history are escaped in every text that we make."""

import importlib
import inspect
import pkgutil
import re
from datetime import UTC, datetime

import pytest
from runs_kit import bundle_of, later_run, progress_of

import vellum_nb as vnb
from vellum_nb import History, errors
from vellum_nb.comparison.judge_calls import JudgePlan
from vellum_nb.escaping import printable
from vellum_nb.history import Sweeps
from vellum_nb.history.check import HistoryCheck
from vellum_nb.history.merge import Conflict, SyncReport
from vellum_nb.history.writes import Deletion, Restored
from vellum_nb.models import RunError
from vellum_nb.models.sweeps import SweepCase, SweepRecord
from vellum_nb.rendering.diff import CodeDiff, difference
from vellum_nb.sweep import SweepPlan
from vellum_nb.sweep.plan import TagPlan

EVIL = "a\x1b[2J\x07\x9b31m\x85\u2028\u202eb\u2066\rc\x00"
CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
NOON = datetime(2026, 7, 1, tzinfo=UTC)
SWEEP = "00000000-0000-0000-0000-000000000001"


def shown(*values):
    """Return every text that a terminal or a notebook shows of `values`."""
    texts = []
    for value in values:
        texts += [repr(value), str(value)]
        if not isinstance(value, str | tuple | list | BaseException):
            texts += [text for text in bundle_of(value).values() if isinstance(text, str)]
    return texts


def run_of(tag=EVIL, **fields):
    fields = {"deployment": EVIL, "external_id": EVIL, "note": EVIL, "tags": (EVIL,)} | fields
    return later_run(tag, {EVIL: EVIL}, {EVIL: EVIL}, **fields)


def history_of(path):
    with History(path) as history:
        history.merge(
            [run_of(), run_of(f"{EVIL}2"), run_of(error=RunError(code=EVIL), state="FAILED")]
        )
        record = SweepRecord(
            id=SWEEP, deployment=EVIL, release_tags=(EVIL, "v"), cases=1, signature="s",
            created=NOON, why=EVIL, ended=NOON,
        )  # fmt: skip
        Sweeps(history).add(record, [SweepCase(0, "c", {EVIL: EVIL}, {EVIL: 1}, {EVIL: 2})])
    return path


def of_runs(path):
    failed = run_of(state="REJECTED", error=RunError(code=EVIL, message=EVIL))
    return [run_of(), failed]


def of_a_history(path):
    with History(path) as history:
        deletion = history.delete([history.runs()[0].id], why=EVIL)
        return [*shown(history, deletion), *shown(history.undelete())]


def of_results(path):
    report = SyncReport(unreadable=(EVIL,), conflicts=(Conflict(EVIL, (EVIL,)),))
    check = HistoryCheck(path, (EVIL,), (EVIL,), 1, 2)
    return [report, report.conflicts, check, Deletion(1, 1, (EVIL,), (EVIL,)), Restored(1, (EVIL,))]


def of_a_workspace(path):
    with vnb.connect("http://127.0.0.1:9", api_key="k" * 20, history=path) as workspace:
        sweep = workspace.open_sweep(SWEEP)
        return shown(workspace, sweep, progress_of(sweep))


def of_a_comparison(path):
    with vnb.connect("http://127.0.0.1:9", api_key="k" * 20, history=path) as workspace:
        exact = vnb.metrics.exact()
        cmp = workspace.compare(EVIL, release_tags=[EVIL, f"{EVIL}2"], metrics=[exact])
        release = f"{EVIL}2"
        result = cmp.result(release)
        texts = [result.line, result.remark, repr(result), str(cmp), cmp.to_markdown()]
        error = errors.RegressionError(f"{EVIL} is worse")
        return [*texts, *shown(cmp, exact, cmp.view(), error)]


def of_plans(path):
    tag = TagPlan(EVIL, EVIL, calls=4)
    return [SweepPlan(EVIL, cases=4, repeats=1, tags=(tag,), notes=(EVIL,)), JudgePlan(())]


def of_differences(path):
    code = CodeDiff(EVIL, EVIL, f"{EVIL}2", {EVIL: EVIL}, {EVIL: f"{EVIL}x"})
    return [difference({EVIL: EVIL}, {EVIL: 1}, "JSON"), difference(EVIL, "x", "STRING"), code]


def of_errors(path):
    problem = errors.InputProblem(EVIL, EVIL)
    found = [errors.InputError(EVIL, [problem]), errors.HistoryError(EVIL), problem]
    found += [errors.APIStatusError(EVIL, status_code=500, body=EVIL), errors.RegressionError(EVIL)]
    found[0].add_note(EVIL)
    return [
        *found,
        "".join(found[0]._render_traceback_()).replace("\x1b[31m", "").replace("\x1b[0m", ""),
    ]


OBJECTS = (
    of_runs, of_a_history, of_results, of_a_workspace, of_a_comparison, of_plans, of_differences,
    of_errors,
)  # fmt: skip


@pytest.mark.parametrize("make", OBJECTS, ids=lambda make: make.__name__)
def test_no_text_of_an_object_controls_a_terminal(make, tmp_path):
    found = make(history_of(tmp_path / "runs.db"))
    texts = [
        text
        for value in found
        for text in (shown(value) if not isinstance(value, str) else [value])
    ]
    assert texts
    for text in texts:
        assert not CONTROLS.search(text), text
    assert any("\\x1b[2J" in text for text in texts)


def test_controls_are_written_as_python_writes_them():
    assert printable("a\x1b[2J\u202eb\x07\rb\tc") == "a\\x1b[2J\\u202eb\\x07\\rb\tc"
    assert printable("lines\r\nof a mail") == "lines\nof a mail"
    letters = "Größe 東京 👩‍🔬 \U0001fa77 \U0001f3f4\U000e0067\U000e007f שלום\u200f"
    assert printable(letters) == letters
    assert printable(printable(EVIL)) == printable(EVIL)


def test_every_class_escapes_what_it_shows():
    unsafe = set()
    for module in pkgutil.walk_packages(vnb.__path__, "vellum_nb."):
        if "samples.projects" in module.name or module.name.endswith("__main__"):
            continue
        for name, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            methods = {"__repr__", "__str__", "_repr_html_"} & vars(kind).keys()
            own = kind.__module__ == module.name
            for method in methods if own else ():
                function = vars(kind)[method]
                is_made = function.__module__ != kind.__module__  # by dataclasses or pydantic
                is_made = is_made or "__create_fn__" in function.__qualname__
                if not is_made and not hasattr(function, "__wrapped__"):
                    unsafe.add(f"{name}.{method}")
    assert unsafe <= {"DatabaseUrl.__repr__"}
