"""Release tags side by side over stored runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import vellum_nb as vnb
from vellum_nb.comparison import Comparison
from vellum_nb.errors import InputError
from vellum_nb.models import Run, RunError, case_id
from vellum_nb.rendering.values import same_value, value_text

_NUMBERS = count(1)
_START = datetime(2026, 11, 24, tzinfo=UTC)


def run(tag: str, ticket: str = "a", *, category: str | None = "billing", **fields: Any) -> Run:
    number = next(_NUMBERS)
    inputs = {"ticket": ticket}
    known = {
        "id": str(number),
        "deployment": "triage",
        "release_tag": tag,
        "release_id": f"release-of-{tag}",
        "timestamp": _START + timedelta(seconds=number),
        "inputs": inputs,
        "outputs": {} if category is None else {"category": category},
        "case_id": case_id(inputs),
        "state": "FULFILLED",
    }
    return Run(**(known | fields))


def rejected(tag: str, ticket: str = "a", message: str = "no") -> Run:
    error = RunError(code="USER_DEFINED_ERROR", message=message)
    return run(tag, ticket, category=None, state="REJECTED", error=error)


def compared(*runs: Run, tags: tuple[str, ...] = ("v1", "v2"), **options: Any) -> Comparison:
    return Comparison(runs, deployment="triage", release_tags=tags, **options)


def test_the_frame_has_one_row_a_case_and_one_column_an_output_and_tag() -> None:
    frame = compared(run("v1"), run("v2", category="account"), run("v1", "b")).frame()
    assert list(frame.columns) == [
        "case_id",
        "changed",
        "input.ticket",
        "output.category@v1",
        "output.category@v2",
        "state@v1",
        "state@v2",
        "answers@v1",
        "answers@v2",
        "changed@v2",
    ]
    assert frame["input.ticket"].tolist() == ["a", "b"]
    assert frame["output.category@v2"].tolist()[:1] == ["account"]
    assert frame["output.category@v2"].isna().tolist() == [False, True]
    assert frame["state@v2"].tolist() == ["FULFILLED", "missing"]


def test_changed_is_true_false_or_unknown_never_a_pass_for_a_missing_case() -> None:
    frame = compared(
        run("v1", "a"), run("v2", "a"),
        run("v1", "b"), run("v2", "b", category="account"),
        run("v1", "c"),
    ).frame()  # fmt: skip
    assert frame["changed"].tolist() == [False, True, pd.NA]


def test_the_newest_answer_counts() -> None:
    answers = [run("v1"), run("v2", category="old"), run("v2", category="new")]
    lost = run("v2", category=None, state="FAILED", error=RunError(code="CONNECTION"))
    frame = compared(*reversed([*answers, lost])).frame()
    assert frame["output.category@v2"].tolist() == ["new"]


def test_a_failed_run_is_no_answer_and_its_state_is_told() -> None:
    comparison = compared(run("v1"), run("v2", category=None, state="FAILED"))
    assert comparison.count("v2", "missing") == 1
    assert comparison.frame()["state@v2"].tolist() == ["FAILED"]


def test_a_rejected_run_is_an_answer() -> None:
    same = compared(rejected("v1"), rejected("v2"))
    other = compared(rejected("v1"), rejected("v2", message="not today"))
    against_outputs = compared(run("v1"), rejected("v2"))
    assert [c.count("v2", "same") for c in (same, other, against_outputs)] == [1, 0, 0]
    assert [c.count("v2", "differs") for c in (same, other, against_outputs)] == [0, 1, 1]


def test_runs_of_other_deployments_and_tags_are_left_out() -> None:
    comparison = compared(run("v1"), run("v3", "b"), run("v1", "c", deployment="other"))
    assert len(comparison.cases) == 1


def test_the_baseline_may_be_any_tag() -> None:
    comparison = compared(run("v1"), run("v2"), baseline="v2")
    assert comparison.others == ("v1",)


def test_an_unknown_baseline_is_refused_with_the_tags_there_are() -> None:
    with pytest.raises(InputError, match=r"'v9' is not among those compared: v1, v2"):
        compared(run("v1"), baseline="v9")


def test_no_release_tag_is_refused() -> None:
    with pytest.raises(InputError, match="needs release tags"):
        compared(tags=())


def test_a_tag_that_moved_is_named() -> None:
    comparison = compared(
        run("v1"), run("v2"), run("v1", "b"), run("v2", "b", release_id="another")
    )
    assert comparison.moved_tags == ("v2",)
    assert compared(run("v1", tag_moved=True)).moved_tags == ("v1",)


def test_the_csv_reads_back_to_the_frame(tmp_path: Path) -> None:
    comparison = compared(
        run("v1", "=1+1", category="@SUM(A1)"),
        run("v2", "=1+1", category=""),
        run("v1", "b", outputs={"n": 1, "list": [1, {"a": "é"}], "ok": True}),
    )
    path = comparison.to_csv(tmp_path / "cmp.csv")
    pd.testing.assert_frame_equal(vnb.read_csv(path), comparison.frame())
    assert '"\'=1+1"' in path.read_text(encoding="utf-8")


def test_structured_outputs_are_canonical_json_in_the_frame() -> None:
    frame = compared(run("v1", outputs={"tags": ["b", {"z": 1, "a": 2}]})).frame()
    assert frame["output.tags@v1"].tolist() == ['["b",{"a":2,"z":1}]']


def test_repr_counts() -> None:
    comparison = compared(
        run("v1"), run("v2", category="account"), run("v1", "b"), tags=("v1", "v2", "v3")
    )
    assert repr(comparison) == (
        "<Comparison of triage against v1, 2 cases: v2 1 differs, 1 missing; v3 2 missing>"
    )


def test_an_empty_comparison_says_so_and_still_has_a_frame() -> None:
    comparison = compared()
    assert repr(comparison) == "<Comparison of triage: no stored runs on v1, v2>"
    assert "no stored runs" in comparison.to_html()
    assert comparison.frame().empty


def test_a_comparison_by_hand_shows_itself_as_escaped_html() -> None:
    comparison = compared(run("v1", "<script>x</script>"))
    assert comparison.view() is comparison
    html = comparison._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_cases_come_in_the_order_of_their_first_run() -> None:
    runs = [run("v1", "b"), run("v1", "a"), run("v2", "b")]
    cases = compared(*reversed(runs)).cases
    assert [case.inputs["ticket"] for case in cases] == ["b", "a"]


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (float("nan"), float("nan"), True),
        ({"a": [1], "b": None}, {"b": None, "a": [1.0]}, True),
        ({"a": None}, {}, False),
        ([1, 2], [2, 1], False),
        ("1", 1, False),
    ],
)
def test_values_are_the_same_when_their_json_is(a: object, b: object, same: bool) -> None:  # noqa: FBT001
    assert same_value(a, b) is same


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (3.0, "NUMBER", "3"),
        (0.1, "NUMBER", "0.1"),
        (10**400, "NUMBER", "1" + "0" * 400),
        ([{"role": "USER", "text": "hi"}], "CHAT_HISTORY", "USER: hi"),
        ("not a list", "CHAT_HISTORY", "not a list"),
        ({"name": "pay", "arguments": {"n": 1}}, "FUNCTION_CALL", "pay(n=1)"),
        ({"code": "X", "message": "no"}, "ERROR", "X: no"),
        ([{"type": "STRING", "value": "a"}, {"type": "NUMBER", "value": 2}], "ARRAY", "a\n2"),
        ({"src": "https://e.com/a.png"}, "IMAGE", "https://e.com/a.png"),
        ({"b": 1, "a": float("nan")}, "JSON", '{"a": NaN, "b": 1}'),
        (None, "STRING", "null"),
        ([1], "SEARCH_RESULTS", "[1]"),
    ],
)
def test_values_have_a_text_to_compare(value: object, kind: str, text: str) -> None:
    assert value_text(value, kind) == text


def test_a_data_url_is_named_by_its_type_size_and_digest() -> None:
    text = value_text({"src": "data:image/png;base64," + "A" * 5000}, "IMAGE")
    assert text.startswith("[image/png, 5,022 characters, sha256 ")
    assert len(text) < 60


def test_answers_are_one_tidy_frame_one_row_a_run() -> None:
    runs = [run("v1"), run("v1", category="account"), run("v2"), run("v2", "b", state="FAILED")]
    comparison = compared(*runs, metrics=["length"])
    table = comparison.answers
    assert table[["case", "release", "repeat", "counts"]].to_numpy().tolist() == [
        [0, 0, 0, False],
        [0, 0, 1, True],
        [0, 1, 0, True],
        [1, 1, 0, True],
    ]
    assert table["kind"].tolist() == [0, 1, 0, -1]
    assert table["metric.length"].tolist()[:3] == [7, 7, 7]
    assert table.groupby("release")["is_answer"].sum().tolist() == [2, 1]
