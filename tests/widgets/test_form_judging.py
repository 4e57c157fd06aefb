"""Answers that are rated, corrected and traced in the form."""

import threading

import pytest
from dom_kit import text_of
from form_kit import PATIENCE, answer, bar, bars, press, ran, release, shown
from wire_kit import Page

from vellum_nb.errors import APIConnectionError
from vellum_nb.models import NodeRun, RunError

OUTPUTS = {"category": "account", "score": 1, "tags": ["card"], "long": "a" * 50_000}


class Judge:
    """Rates as a workspace does, and collects what it is called with."""

    def __init__(self):
        self.calls = []
        self.problem = None

    def __call__(self, run, quality, desired):
        self.calls.append((run.release_tag, quality, desired))
        if self.problem:
            raise self.problem
        return run.model_copy(update={"quality": quality, "desired": desired or run.desired})


@pytest.fixture
def judge():
    return Judge()


@pytest.fixture
def form(make, judge):
    more = {"outputs": OUTPUTS, "execution_id": "e1"}
    form = make(lambda request, _: answer(request, **more), rate=judge)[0]
    ran(form)
    return form


def test_a_thumb_rates_the_run_and_pressed_again_is_undone(form, judge):
    for quality in (1, 0, None):
        press(form, "v2", "rate", quality=quality)
        assert (bar(form, "v2")["quality"], form.runs[0].quality) == (quality, quality)
    assert judge.calls == [("v2", 1, None), ("v2", 0, None), ("v2", None, None)]


def test_a_rating_that_fails_is_shown_and_changes_nothing(form, judge, monkeypatch):
    failed = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: failed.set())
    judge.problem = APIConnectionError("the server <refused>")
    press(form, "v2", "rate", quality=1)
    state = bar(form, "v2")
    assert (state["problem"], state["quality"], state["busy"]) == ("the server <refused>", None, "")
    judge.problem = ZeroDivisionError("planted")
    press(form, "v2", "rate", quality=1)
    assert failed.wait(PATIENCE)
    assert "ZeroDivisionError: planted" in shown(form)
    judge.problem = None
    press(form, "v2", "rate", quality=1)
    assert (bar(form, "v2")["problem"], form.runs[0].quality) == ("", 1)


def test_a_correction_keeps_what_was_changed_and_the_thumb(form, judge):
    press(form, "v2", "rate", quality=0)
    press(form, "v2", "correct")
    offered = [(each["name"], each["text"], each["json"]) for each in bar(form, "v2")["editor"]]
    tags = ("tags", '["card"]', True)
    assert "Too long to correct here: long." in bar(form, "v2")["problem"]
    assert offered == [("category", "account", False), ("score", "1", True), tags]
    texts = {"category": "billing", "score": "1", "tags": '["card", "risk"]'}
    press(form, "v2", "save", texts=texts)
    wanted = {"category": "billing", "tags": ["card", "risk"]}
    assert (judge.calls[-1], form.runs[0].desired) == (("v2", 0, wanted), wanted)
    state = bar(form, "v2")
    assert (state["note"], state["saved"], state["problem"]) == ("corrected: category, tags", 1, "")
    press(form, "v2", "correct")  # it begins with the first one, and adds to it
    assert bar(form, "v2")["editor"][0]["text"] == "billing"
    press(form, "v2", "save", texts={"category": "billing", "score": "2"})
    assert judge.calls[-1][2] == wanted | {"score": 2}


def test_a_correction_that_cannot_be_saved_is_explained_and_stays_open(form, judge):
    press(form, "v2", "correct")
    press(form, "v2", "save", texts={"tags": "[1, ]"})
    assert "tags: Not valid JSON, line 1, column 3" in bar(form, "v2")["problem"]
    press(form, "v2", "save", texts={"tags": '["card"]', "score": "1.0"})
    assert "Nothing was changed" in bar(form, "v2")["problem"]
    assert judge.calls == []
    judge.problem = APIConnectionError("refused")
    press(form, "v2", "save", texts={"category": "billing"})
    state = bar(form, "v2")
    assert (state["problem"], state["saved"], len(state["editor"])) == ("refused", 0, 3)


@pytest.mark.parametrize(
    "content",
    [
        {"event": "rate"},
        {"event": "rate", "id": "v2", "quality": 7},
        {"event": "rate", "id": "v2", "quality": "1"},
        {"event": "rate", "id": "v2", "quality": [1]},
        {"event": "rate", "id": ["v2"], "quality": 1},
        {"event": ["rate"], "id": "v2", "quality": 1},
        {"event": "nonsense", "id": "v2"},
        {"event": "save", "id": "v2", "texts": ["category"]},
        {"event": "save", "id": "v2", "texts": {"nope": "x", "category": 5}},
        {"event": "rate", "id": "", "quality": 1},
    ],
)
def test_a_message_that_no_bar_sends_does_nothing(form, judge, content):
    Page(bars(form)).send(**content)
    assert bars(form).wait(PATIENCE)
    assert judge.calls == []


def test_only_what_an_answer_and_the_form_allow_can_be_done(make, judge):
    error = RunError(code="NODE_EXECUTION", message="no")
    more = {"state": "REJECTED", "outputs": {}, "error": error, "execution_id": "e1"}
    form, _ = make(lambda request, _: answer(request, **more), rate=judge)
    ran(form)
    state = bar(form, "v2")
    assert (state["rates"], state["goes_on"], state["traces"]) == (False, True, True)
    assert bars(form).controls == ["rate"]
    assert bars(make()[0]).controls == []
    assert bars(make(rate=judge, trace=lambda _: ())[0]).controls == ["rate", "trace"]


def test_a_rating_goes_to_its_own_answer_though_others_have_come(make, judge):
    gate, rating = threading.Event(), threading.Event()
    numbers = iter("1234")

    def slow(run, quality, desired):
        rating.set()
        assert gate.wait(PATIENCE)
        return judge(run, quality, desired)

    def execute(request, _):
        return answer(request).model_copy(update={"id": next(numbers)})

    form, _ = make(execute, rate=slow)
    ran(form)
    Page(bars(form)).send(event="rate", id="1", quality=1)
    assert rating.wait(PATIENCE)
    assert bar(form, "v2")["busy"] == "saving…"
    ran(form)
    gate.set()
    assert bars(form).wait(PATIENCE)
    assert [(run.id, run.quality) for run in form.runs] == [("2", None)]
    assert (bar(form, "v2")["id"], bar(form, "v2")["quality"]) == ("2", None)


def test_an_answer_is_rated_while_another_is_still_under_way(make, judge):
    gate, first = threading.Event(), threading.Event()

    def execute(request, _):
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
    Page(bars(form)).send(event="rate", id="v2", quality=0)
    form.close()  # waits for what is being saved
    assert judge.calls[-1] == ("v2", 0, None)


def test_run_in_doubt_is_looked_up_and_its_answer_replaces_it(make):
    found = []

    def look_up(run):
        if not found:
            raise APIConnectionError("the server <refused>")
        return run.model_copy(update=found[0])

    error = RunError(code="CANCELLED", message="cancelled before an answer came")
    doubt = {"state": "CANCELLED", "doubt": "SENT", "outputs": {}, "error": error}
    form, _ = make(lambda request, _: answer(request, **doubt), look_up=look_up)
    ran(form)
    assert bars(form).controls == ["look up"]
    assert bar(form, "v2")["in_doubt"]
    press(form, "v2", "look up")
    state = bar(form, "v2")
    assert (state["problem"], state["in_doubt"]) == ("the server <refused>", True)
    found.append({"execution_id": "e1", "doubt": "EXECUTED"})
    press(form, "v2", "look up")
    state = bar(form, "v2")
    assert (state["problem"], state["looked_up"]) == ("", "It is still running.")
    assert "it was executed" in shown(form)
    settled = {"state": "FULFILLED", "doubt": None, "error": None, "cost_usd": 0.5}
    found[0] = {**settled, "outputs": {"reply": "at last"}}
    press(form, "v2", "look up")
    state = bar(form, "v2")
    assert (state["in_doubt"], state["rates"]) == (False, True)
    assert state["looked_up"] == "Looked up: it ended as FULFILLED."
    assert "at last" in shown(form)
    assert "in doubt" not in shown(form)
    assert form.runs[0].cost_usd == 0.5


def test_a_trace_is_read_once_and_shown_or_explained(make):
    nodes = [NodeRun(name="Draft <reply>", state="FULFILLED")]
    read = []

    def trace(run):
        read.append(run.release_tag)
        return nodes

    form, _ = make(lambda request, _: answer(request, execution_id="e1"), trace=trace)
    ran(form)
    press(form, "v2", "trace")
    assert "Draft <reply>" in text_of(bar(form, "v2")["trace"])
    press(form, "v2", "trace")
    assert (read, form.runs[0].nodes) == (["v2"], tuple(nodes))
    assert "Draft <reply>" in text_of(form.static_html())  # also where the kernel has ended
    own = (NodeRun(name="Draft", state="REJECTED", error="too <long>"),)
    form, _ = make(lambda request, _: answer(request, nodes=own), trace=trace)
    ran(form)
    press(form, "v2", "trace")
    assert "too <long>" in text_of(bar(form, "v2")["trace"])
    assert read == ["v2"]  # the run brought it

    def refuse(run):
        raise APIConnectionError(f"no trace of {run.execution_id}")

    form, _ = make(lambda request, _: answer(request, execution_id="e1"), trace=refuse)
    ran(form)
    press(form, "v2", "trace")
    assert (bar(form, "v2")["problem"], bar(form, "v2")["trace"]) == ("no trace of e1", "")
