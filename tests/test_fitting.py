"""Wrong kinds of arguments: each public function says so in a sentence, before it does anything.

The callables and their arguments are found, so that a new method is tried by itself.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import vellum_nb as vnb
from vellum_nb.errors import HistoryError, InputError, VellumNBError

DEPLOYMENT = "ticket-triage"
INPUTS = {"ticket": "I was charged twice"}
pytestmark = pytest.mark.filterwarnings("ignore:.* has no run:UserWarning")
FUNCTIONS = [
    *(vnb.read_csv, vnb.read_jsonl, vnb.read_parquet, vnb.check_history, vnb.repair_history),
    *(vnb.connect, vnb.compare, vnb.Metric, vnb.LocalServer, vnb.Client),
    *(getattr(vnb.metrics, name) for name in vnb.metrics.__all__),
]


class Odd:
    """Of no kind that anything takes."""


def odd_values(folder: Path) -> list[Any]:
    closed = vnb.History(":memory:")
    closed.close()
    frame = pd.DataFrame({"a": [1], "b": [2]})
    plain = [3, -1, 10**30, float("nan"), b"", "0", "", "a\0b", "x" * 5_000, None]
    return [*plain, [3], {}, Odd(), folder, frame, io.BytesIO(), closed]


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[vnb.Workspace]:
    path = tmp_path_factory.mktemp("odd") / "runs.db"
    with vnb.connect("local", history=path) as ws:
        for tag in ("v1", "v2"):
            ws.run(DEPLOYMENT, INPUTS, release_tag=tag)
        yield ws


def good_arguments(ws: vnb.Workspace, folder: Path) -> dict[str, Any]:
    """Return something that each required argument takes, by its name."""
    run = ws.history.runs()[0]
    frame = ws.history.frame()
    named: dict[str, Any] = {"deployment": DEPLOYMENT, "release": "v2", "release_tag": "v2"}
    named |= {"tag": "v2", "to": "v2", "max_connections": 1, "max_tries": 1}
    named |= {"old": "v1", "new": "v2", "baseline": "v1", "release_tags": ["v1", "v2"]}
    named |= {"id": run.id, "run": run, "ids": [run.id], "runs": [run], "sweep_id": "none"}
    named |= {"execution_id": run.execution_id, "span_id": "none", "name": "v2", "nodes": []}
    named |= {"inputs": INPUTS, "cases": [INPUTS], "case": run.case_id, "pairs": ["ticket=a"]}
    named |= {"callback": print, "fn": print, "target": print, "check": bool, "what": "metric"}
    named |= {"before": "2020-01-01", "text": "charged", "number": 3, "status": "same"}
    named |= {"path": folder / "out", "file": io.StringIO(), "frame": frame, "other": []}
    named |= {"pattern": "a", "schema": {}, "actuals": [], "content": b"a"}
    named |= {"release_id_or_release_tag": "v2", "history_id_or_release_tag": "v2"}
    return named | {"client": ws.client, "history": ws.history}


def parameters(function: Any) -> list[inspect.Parameter]:
    found = inspect.signature(function).parameters.values()
    return [each for each in found if each.name != "self" and each.kind is not each.VAR_KEYWORD]


def keywords(function: Any) -> list[str]:
    """Return the names that ``**filters: Unpack[Filters]`` stands for."""
    kind = inspect.Parameter.VAR_KEYWORD
    found = [each for each in inspect.signature(function).parameters.values() if each.kind is kind]
    known = getattr(inspect.unwrap(function), "__globals__", {})
    texts = [str(each.annotation).removeprefix("Unpack[").removesuffix("]") for each in found]
    return [name for text in texts for name in getattr(known.get(text), "__annotations__", {})]


def public_methods(kind: type) -> list[str]:
    methods = [name for name in dir(kind) if inspect.isfunction(getattr(kind, name))]
    return [m for m in methods if m[0] != "_" and parameters(getattr(kind, m))]


def called(function: Any, arguments: dict[str, Any]) -> str | None:
    """Call it; return what was raised that is not ours."""
    try:
        result = function(**arguments)
        if isinstance(result, Iterator):
            next(result, None)
    except VellumNBError:
        return None
    except Exception as exc:  # noqa: BLE001 - this is what is looked for
        return f"{exc!r:.200}"
    return None


def faults(function: Any, good: dict[str, Any], folder: Path) -> list[str]:
    """Try each argument with each odd value; return what came from deep within."""
    required = [each.name for each in parameters(function) if each.default is each.empty]
    arguments = {name: good[name] for name in required}
    names = [each.name for each in parameters(function)] + keywords(function)
    return [
        f"{name}={value!r:.40}: {raised}"
        for name in names
        for value in odd_values(folder)
        if (raised := called(function, {**arguments, name: value}))
    ]


def label(function: Any) -> str:
    return str(function.__name__)


@pytest.mark.parametrize("function", FUNCTIONS, ids=label)
def test_functions_refuse_wrong_kinds_in_a_sentence(ws, function, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert faults(function, good_arguments(ws, tmp_path), tmp_path) == []


@pytest.mark.parametrize("method", public_methods(vnb.History))
def test_a_history_refuses_wrong_kinds_in_a_sentence(ws, method, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with vnb.History(tmp_path / "odd.db") as history:
        history.merge(ws.history.runs())
        assert faults(getattr(history, method), good_arguments(ws, tmp_path), tmp_path) == []


@pytest.mark.parametrize("method", public_methods(vnb.Workspace))
def test_a_workspace_refuses_wrong_kinds_in_a_sentence(ws, method, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert faults(getattr(ws, method), good_arguments(ws, tmp_path), tmp_path) == []


@pytest.mark.parametrize("method", public_methods(vnb.Client))
def test_a_client_refuses_wrong_kinds_in_a_sentence(ws, method, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    good = good_arguments(ws, tmp_path) | {"inputs": [], "id": DEPLOYMENT}
    assert faults(getattr(ws.client, method), good, tmp_path) == []


@pytest.mark.parametrize("method", public_methods(vnb.Comparison))
def test_a_comparison_refuses_wrong_kinds_in_a_sentence(ws, method, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    compared = ws.compare(DEPLOYMENT)
    good = good_arguments(ws, tmp_path) | {"case": compared.cases[0]}
    assert faults(getattr(compared, method), good, tmp_path) == []


def test_the_sentence_says_what_was_tried_with_which_value_and_what_to_give(ws):
    with pytest.raises(HistoryError) as caught:
        ws.history.page(offset="0")
    assert str(caught.value) == "History.page: offset='0' does not fit: give a whole number"
    with pytest.raises(InputError, match=r"Workspace\.run: deployment=3 does not fit: give a t"):
        ws.run(3, INPUTS)
    with pytest.raises(InputError, match=r"variables=\[3\] does not fit: give a list of VellumVar"):
        ws.form(DEPLOYMENT, variables=[3])


def test_true_is_no_number_of_anything(ws):
    ids = [run.id for run in ws.history.runs()]
    deletion = ws.history.delete(ids)
    with pytest.raises(HistoryError, match="deletion=True does not fit: give a whole number"):
        ws.history.undelete(deletion=True)
    assert len(ws.history.undelete(deletion.number).runs) == len(ids)


def test_a_value_is_told_in_short(ws):
    run = ws.history.runs()[0]
    with pytest.raises(HistoryError, match=r"id=<Run ticket-triage \S+: FULF.*… does not fit"):
        ws.history.get(run)
    empty = ws.history.frame(limit=0)
    for call in (ws.history.delete, ws.history.merge, vnb.History):
        with pytest.raises(HistoryError, match="DataFrame") as caught:
            call(empty)
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(HistoryError, match="a list of Run, not the number 5"):
        ws.history.merge([run, 5])


def test_a_password_is_not_told():
    for call in (
        lambda: vnb.Client(api_key=b"hunter2"),
        lambda: vnb.History(["postgresql://ada:hunter2@db.example/team"]),
        lambda: vnb.read_csv(["postgresql://ada:hunter2@db.example/team"]),
    ):
        with pytest.raises(VellumNBError, match="does not fit: give|is no history") as caught:
            call()
        assert "hunter2" not in str(caught.value)


def test_what_numpy_and_pandas_have_of_a_kind_fits(ws, tmp_path):
    class Place:
        def __fspath__(self) -> str:
            return str(tmp_path / "runs.csv")

    history = ws.history
    assert len(history.page(offset=np.int64(0), limit=np.uint8(1), whole=np.True_)) == 1
    history.annotate(history.runs()[0].id, quality=np.float32(0.5), tags=pd.Index(["a"]))
    assert history.to_csv(Place(), columns=pd.Series(["id"])).is_file()
    assert ws.run(DEPLOYMENT, pd.Series(INPUTS), release_tag=np.str_("v1")).inputs == INPUTS
    assert ws.compare(DEPLOYMENT, since=pd.Timestamp("2020-01-01")).releases[:2] == ("v1", "v2")
