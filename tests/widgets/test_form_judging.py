"""Ratings, corrections, look-ups and traces in the bars of the form."""

import json
import threading

import pytest
from dom_kit import text_of
from form_kit import PATIENCE, answer, bar, bars, press, ran, release, shown
from wire_kit import Page

from vellum_nb.errors import APIConnectionError
from vellum_nb.models import NodeRun, RunError

REPLY = {"to": "Ann", "urgent": False, "links": ["a"]}
OUTPUTS = {"category": "account", "score": 1, "tags": ["card"], "long": "a" * 50_000}


class Judge:
    """Rates runs as a workspace does and records the calls."""

    def __init__(self):
        self.calls = []
        self.problem = None

    def __call__(self, run, quality, desired):
        self.calls.append((run.release_tag, quality, desired))
        if self.problem:
            raise self.problem
        desired = {**(run.desired or {}), **(desired or {})} or None
        return run.model_copy(update={"quality": quality, "desired": desired})


@pytest.fixture
def judge():
    return Judge()


@pytest.fixture
def answered(make):
    """Return a function that makes a form, runs it, and returns it with its answer."""

    def answered(fields=None, **actions):
        form, _ = make(lambda request, _: answer(request, **fields or {}), **actions)
        ran(form)
        return form

    return answered


@pytest.fixture
def form(answered, judge):
    return answered({"outputs": OUTPUTS, "execution_id": "e1"}, rate=judge)


def by_path(texts):
    """Return texts by the names of their fields; a dot separates the keys of an object."""
    return {json.dumps(name.split(".")): text for name, text in texts.items()}


def test_thumb_rates_the_run(form, judge):
    for quality in (1, 0, None):
        press(form, "v2", "rate", quality=quality)
        assert (bar(form, "v2")["quality"], form.runs[0].quality) == (quality, quality)
    assert judge.calls == [("v2", 1, None), ("v2", 0, None), ("v2", None, None)]


def test_failed_rating_is_shown(form, judge):
    judge.problem = APIConnectionError("the server <refused>")
    press(form, "v2", "rate", quality=1)
    state = bar(form, "v2")
    assert (state["problem"], state["quality"], state["busy"]) == ("the server <refused>", None, "")
    judge.problem = None
    press(form, "v2", "rate", quality=1)
    assert (bar(form, "v2")["problem"], form.runs[0].quality) == ("", 1)


def test_fault_while_rating_is_shown(form, judge, monkeypatch):
    failed = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: failed.set())
    judge.problem = ZeroDivisionError("planted")
    press(form, "v2", "rate", quality=1)
    assert failed.wait(PATIENCE)
    assert "ZeroDivisionError: planted" in shown(form)


def test_editor_offers_the_outputs_that_are_short_enough(form):
    press(form, "v2", "correct")
    offered = [(f["label"], f["text"], f["kind"]) for f in bar(form, "v2")["editor"]]
    tags = ("tags", '["card"]', "json")
    assert offered == [("category", "account", "text"), ("score", "1", "number"), tags]
    assert "Too long to correct here: long." in bar(form, "v2")["problem"]


@pytest.fixture
def corrected(form):
    """Return a form whose answer was rated 0 and corrected."""
    press(form, "v2", "rate", quality=0)
    press(form, "v2", "correct")
    texts = {"category": "billing", "score": "1", "tags": '["card", "risk"]'}
    press(form, "v2", "save", texts=by_path(texts))
    return form


CORRECTED = {"category": "billing", "tags": ["card", "risk"]}


def test_correction_stores_the_changed_outputs_and_keeps_the_rating(corrected, judge):
    assert (judge.calls[-1], corrected.runs[0].desired) == (("v2", 0, CORRECTED), CORRECTED)
    state = bar(corrected, "v2")
    assert (state["note"], state["saved"], state["problem"]) == ("corrected: category, tags", 1, "")


def test_second_correction_adds_to_the_first(corrected, judge):
    press(corrected, "v2", "correct")
    assert bar(corrected, "v2")["editor"][0]["text"] == "billing"
    press(corrected, "v2", "save", texts=by_path({"category": "billing", "score": "2"}))
    assert judge.calls[-1][2] == {"score": 2}
    assert corrected.runs[0].desired == CORRECTED | {"score": 2}


def test_second_correction_of_an_object_keeps_the_first(letter, judge):
    for texts in ({"reply.to": "Bob"}, {"reply.urgent": "true"}):
        press(letter, "v2", "save", texts=by_path(texts))
    assert letter.runs[0].desired == {"reply": REPLY | {"to": "Bob", "urgent": True}}


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ({"tags": "[1, ]"}, "tags: Not valid JSON, line 1, column 3"),
        ({"tags": '["card"]', "score": "1.0"}, "Nothing was changed"),
        ({"score": "high"}, "score: 'high' is not a number"),
        ({"score": '"2"'}, """score: '"2"' is not a number"""),
        ({"score": "1e400"}, "score: '1e400' is not a number"),
        ({"score": "1" * 5_000}, "is not a number"),
        ({"tags": "[-1e400]"}, "tags: Not valid JSON: -1e400 is not a JSON number"),
        ({"tags": f"[{'1' * 5_000}]"}, "tags: Not valid JSON that can be sent: it has an integer"),
    ],
)
def test_correction_without_a_valid_change_is_refused(form, judge, texts, problem):
    press(form, "v2", "correct")
    press(form, "v2", "save", texts=by_path(texts))
    assert problem in bar(form, "v2")["problem"]
    assert judge.calls == []


def test_line_ends_of_a_browser_are_no_correction(answered, judge):
    outputs = {"reply": "Dear Ann,\r\nyes", "score": 1}
    form = answered({"outputs": outputs, "execution_id": "e1"}, rate=judge)
    press(form, "v2", "save", texts=by_path({"reply": "Dear Ann,\nyes", "score": "2"}))
    assert judge.calls[-1][2] == {"score": 2}
    press(form, "v2", "save", texts=by_path({"reply": "Dear Bob,\nyes"}))
    assert judge.calls[-1][2] == {"reply": "Dear Bob,\r\nyes"}


@pytest.fixture
def letter(answered, judge):
    """Return a form whose answer is an object."""
    return answered({"outputs": {"reply": REPLY}, "execution_id": "e1"}, rate=judge)


def test_object_has_one_field_per_value(letter):
    press(letter, "v2", "correct")
    fields = [(f["label"], f["text"], f["kind"]) for f in bar(letter, "v2")["editor"]]
    assert fields == [
        ("reply.to", "Ann", "text"),
        ("reply.urgent", "false", "boolean"),
        ("reply.links", '["a"]', "json"),
    ]


def test_corrected_values_of_an_object_replace_only_themselves(letter, judge):
    press(letter, "v2", "save", texts=by_path({"reply.urgent": "true", "reply.links": "[]"}))
    assert judge.calls[-1][2] == {"reply": {"to": "Ann", "urgent": True, "links": []}}


def test_object_with_too_many_values_is_corrected_as_json(answered, judge):
    table = {f"key {number}": number for number in range(60)}
    form = answered({"outputs": {"table": table}, "execution_id": "e1"}, rate=judge)
    press(form, "v2", "correct")
    assert [f["kind"] for f in bar(form, "v2")["editor"]] == ["json"]
    press(form, "v2", "save", texts=by_path({"table": "{}"}))
    assert judge.calls[-1][2] == {"table": {}}


def test_correction_that_cannot_be_saved_stays_open(form, judge):
    press(form, "v2", "correct")
    judge.problem = APIConnectionError("refused")
    press(form, "v2", "save", texts=by_path({"category": "billing"}))
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
def test_invalid_message_does_nothing(form, judge, content):
    Page(bars(form)).send(**content)
    assert bars(form).wait(PATIENCE)
    assert judge.calls == []


def test_rejected_answer_can_be_continued_and_traced_but_not_rated(answered, judge):
    error = RunError(code="NODE_EXECUTION", message="no")
    fields = {"state": "REJECTED", "outputs": {}, "error": error, "execution_id": "e1"}
    state = bar(answered(fields, rate=judge), "v2")
    assert (state["rates"], state["goes_on"], state["traces"]) == (False, True, True)


def test_form_without_a_workspace_only_continues(make):
    form, _ = make()
    assert bars(form).controls == ["continue"]


def test_rating_of_a_replaced_answer_does_not_change_the_new_one(make, judge):
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


def test_answer_is_rated_while_another_release_runs(make, judge):
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


@pytest.fixture
def doubtful(answered):
    """Return a form with a run in doubt, and the updates of its next look-up."""
    updates = {}

    def look_up(run):
        if not updates:
            raise APIConnectionError("the server <refused>")
        return run.model_copy(update=updates)

    error = RunError(code="CANCELLED", message="cancelled before an answer came")
    doubt = {"state": "CANCELLED", "doubt": "SENT", "outputs": {}, "error": error}
    return answered(doubt, look_up=look_up), updates


def test_run_in_doubt_can_be_looked_up(doubtful):
    form, _ = doubtful
    assert bars(form).controls == ["rate", "trace", "look up", "continue"]
    assert bar(form, "v2")["in_doubt"]


def test_failed_look_up_is_shown(doubtful):
    form, _ = doubtful
    press(form, "v2", "look up")
    state = bar(form, "v2")
    assert (state["problem"], state["in_doubt"]) == ("the server <refused>", True)


def test_looked_up_run_that_is_still_running_stays_in_doubt(doubtful):
    form, updates = doubtful
    updates.update(execution_id="e1", doubt="EXECUTED")
    press(form, "v2", "look up")
    state = bar(form, "v2")
    assert (state["problem"], state["looked_up"]) == ("", "It is still running.")
    assert "it was executed" in shown(form)


def test_looked_up_answer_replaces_the_run_in_doubt(doubtful):
    form, updates = doubtful
    updates.update(state="FULFILLED", doubt=None, error=None, cost_usd=0.5)
    updates["outputs"] = {"reply": "at last"}
    press(form, "v2", "look up")
    state = bar(form, "v2")
    assert (state["in_doubt"], state["rates"]) == (False, True)
    assert state["looked_up"] == "Looked up: it ended as FULFILLED."
    assert "at last" in shown(form)
    assert "in doubt" not in shown(form)
    assert form.runs[0].cost_usd == 0.5


def test_trace_is_read_once(answered):
    nodes = (NodeRun(name="Draft <reply>", state="FULFILLED"),)
    read = []

    def trace(run):
        read.append(run.release_tag)
        return list(nodes)

    form = answered({"execution_id": "e1"}, trace=trace)
    for _ in range(2):
        press(form, "v2", "trace")
        assert "Draft <reply>" in text_of(bar(form, "v2")["trace"])
    assert (read, form.runs[0].nodes) == (["v2"], nodes)
    assert "Draft <reply>" in text_of(form.static_html())


def test_recorded_trace_is_not_read_again(answered):
    nodes = (NodeRun(name="Draft", state="REJECTED", error="too <long>"),)
    form = answered({"nodes": nodes}, trace=lambda _: pytest.fail("read again"))
    press(form, "v2", "trace")
    assert "too <long>" in text_of(bar(form, "v2")["trace"])


def test_trace_that_cannot_be_read_is_reported(answered):
    def refuse(run):
        raise APIConnectionError(f"no trace of {run.execution_id}")

    form = answered({"execution_id": "e1"}, trace=refuse)
    press(form, "v2", "trace")
    assert (bar(form, "v2")["problem"], bar(form, "v2")["trace"]) == ("no trace of e1", "")
