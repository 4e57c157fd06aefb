"""Answers that are rated, corrected and traced in the form."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from form_kit import PATIENCE, answer, bar, bars, press, release, shown

from vellum_nb.errors import APIConnectionError
from vellum_nb.models import NodeRun, Run, RunError
from vellum_nb.widgets import RunForm
from vellum_nb.widgets.base import static_html

OUTPUTS = {"category": "account", "score": 1, "tags": ["card"]}


class Judge:
    """Rates as a workspace does, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float | None, Any]] = []
        self.problem: Exception | None = None

    def __call__(self, run: Run, quality: float | None, desired: Mapping[str, Any] | None) -> Run:
        self.asked.append((run.release_tag, quality, desired))
        if self.problem:
            raise self.problem
        return run.model_copy(update={"quality": quality, "desired": desired or run.desired})


@pytest.fixture
def judge() -> Judge:
    return Judge()


@pytest.fixture
def form(make, judge) -> RunForm:
    more = {"outputs": OUTPUTS, "execution_id": "e1"}
    return answered(make(lambda request, _: answer(request, **more), rate=judge)[0])


def answered(form: RunForm) -> RunForm:
    form.value = {"ticket": "hi"}
    form.submit()
    form.wait(PATIENCE)
    return form


def test_a_thumb_rates_the_run_and_pressed_again_takes_that_back(form, judge):
    press(form, "v2", "rate", quality=1)
    assert (bar(form, "v2")["quality"], form.runs[0].quality) == (1, 1)
    press(form, "v2", "rate", quality=0)
    assert (bar(form, "v2")["quality"], form.runs[0].quality) == (0, 0)
    press(form, "v2", "rate", quality=None)
    assert (bar(form, "v2")["quality"], form.runs[0].quality) == (None, None)
    assert judge.asked == [("v2", 1, None), ("v2", 0, None), ("v2", None, None)]


def test_a_rating_that_fails_is_told_and_changes_nothing(form, judge):
    judge.problem = APIConnectionError("the server <refused>")
    press(form, "v2", "rate", quality=1)
    assert bar(form, "v2")["problem"] == "the server <refused>"
    assert bar(form, "v2")["quality"] is None
    assert bar(form, "v2")["busy"] == ""
    judge.problem = None
    press(form, "v2", "rate", quality=1)
    assert (bar(form, "v2")["problem"], bar(form, "v2")["quality"]) == ("", 1)


def test_a_fault_while_rating_is_shown_and_later_clicks_are_heard(form, judge, monkeypatch):
    heard = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: heard.set())
    judge.problem = ZeroDivisionError("planted")
    press(form, "v2", "rate", quality=1)
    assert heard.wait(PATIENCE)
    assert "ZeroDivisionError: planted" in shown(form)
    judge.problem = None
    press(form, "v2", "rate", quality=1)
    assert form.runs[0].quality == 1


def test_correct_offers_texts_as_they_are_and_the_rest_as_json(form):
    press(form, "v2", "correct")
    offered = [(each["name"], each["text"], each["json"]) for each in bar(form, "v2")["editor"]]
    assert offered == [
        ("category", "account", False),
        ("score", "1", True),
        ("tags", '["card"]', True),
    ]


def test_a_correction_keeps_what_was_changed_and_the_thumb(form, judge):
    press(form, "v2", "rate", quality=0)
    texts = {"category": "billing", "score": "1", "tags": '["card", "risk"]'}
    press(form, "v2", "save", texts=texts)
    wanted = {"category": "billing", "tags": ["card", "risk"]}
    assert judge.asked[-1] == ("v2", 0, wanted)
    assert form.runs[0].desired == wanted
    state = bar(form, "v2")
    assert (state["note"], state["saved"], state["problem"]) == (
        "corrected: category, tags",
        1,
        "",
    )


def test_a_second_correction_begins_with_the_first_and_adds_to_it(form, judge):
    press(form, "v2", "save", texts={"category": "billing"})
    press(form, "v2", "correct")
    assert bar(form, "v2")["editor"][0]["text"] == "billing"
    press(form, "v2", "save", texts={"category": "billing", "score": "2"})
    assert judge.asked[-1][2] == {"category": "billing", "score": 2}


def test_a_correction_that_is_no_json_or_changes_nothing_is_told_and_not_saved(form, judge):
    press(form, "v2", "save", texts={"tags": "[1, ]"})
    assert "tags: Not valid JSON, line 1, column 3" in bar(form, "v2")["problem"]
    press(form, "v2", "save", texts={"tags": '["card"]', "score": "1.0"})
    assert "Nothing was changed" in bar(form, "v2")["problem"]
    assert (judge.asked, bar(form, "v2")["saved"]) == ([], 0)


def test_a_correction_that_could_not_be_saved_stays_open(form, judge):
    judge.problem = APIConnectionError("refused")
    press(form, "v2", "correct")
    press(form, "v2", "save", texts={"category": "billing"})
    state = bar(form, "v2")
    assert (state["problem"], state["saved"], len(state["editor"])) == ("refused", 0, 3)


def test_an_output_too_long_to_correct_in_the_page_is_named(make, judge):
    outputs = {"long": "a" * 50_000, "short": "b"}
    form, _ = make(lambda request, _: answer(request, outputs=outputs), rate=judge)
    press(answered(form), "v2", "correct")
    assert [each["name"] for each in bar(form, "v2")["editor"]] == ["short"]
    assert "Too long to correct here: long." in bar(form, "v2")["problem"]


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {"event": "rate"},
        {"event": "rate", "id": "v2", "quality": 7},
        {"event": "rate", "id": "v2", "quality": "1"},
        {"event": "rate", "id": ["v2"], "quality": 1},
        {"event": ["rate"], "id": "v2", "quality": 1},
        {"event": "nonsense", "id": "v2"},
        {"event": "save", "id": "v2", "texts": ["category"]},
        {"event": "save", "id": "v2", "texts": {"nope": "x", "category": 5}},
        {"event": "rate", "id": "", "quality": 1},
    ],
)
def test_a_message_that_no_bar_sends_does_nothing(form, judge, content):
    bars(form)._handle_custom_msg(content, [])
    assert bars(form).wait(PATIENCE)
    assert judge.asked == []


def test_an_answer_without_outputs_is_not_rated(make, judge):
    error = RunError(code="NODE_EXECUTION", message="no")
    more = {"state": "REJECTED", "outputs": {}, "error": error, "execution_id": "e1"}
    form, _ = make(lambda request, _: answer(request, **more), rate=judge)
    state = bar(answered(form), "v2")
    assert (state["rates"], state["goes_on"], state["traces"]) == (False, True, True)


def test_only_what_the_form_was_handed_can_be_done(make, judge):
    assert bars(make()[0]).controls == []
    assert bars(make(rate=judge)[0]).controls == ["rate"]
    assert bars(make(rate=judge, trace=lambda _: ())[0]).controls == ["rate", "trace"]


def test_a_rating_goes_to_its_own_answer_though_others_have_come(make, judge):
    gate, rating = threading.Event(), threading.Event()
    numbers = iter("1234")

    def slow(run: Run, quality: float | None, desired: Mapping[str, Any] | None) -> Run:
        rating.set()
        assert gate.wait(PATIENCE)
        return judge(run, quality, desired)

    def execute(request: Any, _: Any) -> Run:
        return answer(request).model_copy(update={"id": next(numbers)})

    form, _ = make(execute, rate=slow)
    answered(form)
    bars(form)._handle_custom_msg({"event": "rate", "id": "1", "quality": 1}, [])
    assert rating.wait(PATIENCE)
    assert bar(form, "v2")["busy"] == "saving…"
    answered(form)
    gate.set()
    assert bars(form).wait(PATIENCE)
    assert [(run.id, run.quality) for run in form.runs] == [("2", None)]
    assert (bar(form, "v2")["id"], bar(form, "v2")["quality"]) == ("2", None)


def test_an_answer_is_rated_while_another_is_still_under_way(make, judge):
    gate, first = threading.Event(), threading.Event()

    def execute(request: Any, _: Any) -> Run:
        if request.release_tag == "v2":
            assert gate.wait(PATIENCE)
        return answer(request)

    form, _ = make(execute, rate=judge, read=lambda _: release("v2"))
    form.value = {"ticket": "hi"}
    form.release_tags = ["v1", "v2"]
    bars(form).observe(lambda now: now["new"][0]["id"] and first.set(), "bars")
    form.submit()
    assert first.wait(PATIENCE)
    press(form, "v1", "rate", quality=1)
    gate.set()
    assert [run.quality for run in form.wait(PATIENCE)] == [1, None]
    assert [bar["quality"] for bar in bars(form).bars] == [1, None]


def test_a_trace_is_read_once_and_shown(make):
    nodes = [NodeRun(name="Draft <reply>", state="FULFILLED")]
    read: list[str] = []

    def trace(run: Run) -> Sequence[NodeRun]:
        read.append(run.release_tag)
        return nodes

    form, _ = make(lambda request, _: answer(request, execution_id="e1"), trace=trace)
    press(answered(form), "v2", "trace")
    assert "Draft &lt;reply&gt;" in bar(form, "v2")["trace"]
    press(form, "v2", "trace")
    assert read == ["v2"]
    assert form.runs[0].nodes == tuple(nodes)
    assert "Draft &lt;reply&gt;" in static_html(form)  # also where there is no kernel any more


def test_a_trace_that_the_run_brings_is_not_read(make):
    def trace(run: Run) -> Sequence[NodeRun]:
        raise AssertionError(run)

    nodes = (NodeRun(name="Draft", state="REJECTED", error="too <long>"),)
    form, _ = make(lambda request, _: answer(request, nodes=nodes), trace=trace)
    press(answered(form), "v2", "trace")
    assert "too &lt;long&gt;" in bar(form, "v2")["trace"]


def test_a_trace_that_cannot_be_read_is_told(make):
    def trace(run: Run) -> Sequence[NodeRun]:
        raise APIConnectionError(f"no trace of {run.execution_id}")

    form, _ = make(lambda request, _: answer(request, execution_id="e1"), trace=trace)
    press(answered(form), "v2", "trace")
    assert (bar(form, "v2")["problem"], bar(form, "v2")["trace"]) == ("no trace of e1", "")


def test_closing_the_form_waits_for_what_is_being_saved(make, judge):
    form = make(rate=judge)[0]
    answered(form)
    bars(form)._handle_custom_msg({"event": "rate", "id": "v2", "quality": 1}, [])
    form.close()
    assert judge.asked == [("v2", 1, None)]
