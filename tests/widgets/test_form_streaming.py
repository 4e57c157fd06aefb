"""The form while answers stream: text, progress and end."""

import threading
from dataclasses import replace

import pytest
from dom_kit import text_of
from form_kit import PATIENCE, SPEC, answer, bars, click, page, parts, ran, release, shown

from vellum_nb.models import RunError
from vellum_nb.widgets.results import live_texts
from vellum_nb.widgets.spec import Progressing

WITH_OUTPUTS = replace(SPEC, outputs=("reply", "actions"))


class Stream:
    """Streams on demand: `tell` the progress, then `end`."""

    def __init__(self):
        self._tells = {}
        self._begun = threading.Condition()
        self._ends = {}
        self.runs = {}

    def __call__(self, request, cancel, tell):
        tag = request.release_tag
        end = self._ends[tag] = threading.Event()
        with self._begun:
            self._tells[tag] = tell
            self._begun.notify_all()
        cancel.add_callback(end.set)
        assert end.wait(PATIENCE)
        if cancel.cancelled:
            error = RunError(code="CANCELLED", message="cancelled")
            return answer(request, state="CANCELLED", error=error, outputs={"reply": "half"})
        return answer(request, **self.runs.get(tag, {}))

    def tell(self, tag, **progressing):
        with self._begun:
            assert self._begun.wait_for(lambda: tag in self._tells, PATIENCE)
        self._tells[tag](Progressing(**progressing))

    def end(self, tag, **run):
        self.runs[tag] = run
        del self._tells[tag]
        self._ends[tag].set()


@pytest.fixture
def stream():
    return Stream()


def start(form, *tags):
    form.value = {"ticket": "hi"}
    form.release_tags = list(tags) or ["v2"]
    form.streaming = True
    form.submit()
    return form


class Seen:
    """Waits for changes of the displayed answers."""

    def __init__(self, form):
        self._changed = threading.Condition()
        self._form = form
        answers = parts(form, "vnb-answers")[0]
        for widget, name in ((bars(form), "live"), (answers, "value"), (self._bar, "value")):
            widget.observe(self._notify, name)

    @property
    def _bar(self):
        return parts(self._form, "vnb-progress")[0]

    def _notify(self, _):
        with self._changed:
            self._changed.notify_all()

    def until(self, holds):
        with self._changed:
            assert self._changed.wait_for(holds, PATIENCE)


def insertions(form):
    return [text_of(ins) for ins in page(form).select("dd ins")]


def live(form, at=0):
    return dict(bars(form).live[at]) if len(bars(form).live) > at else {}


def test_streamed_text_is_shown_until_the_answer_arrives(make, stream):
    form, recorder = make(stream=stream, spec=WITH_OUTPUTS)
    seen = Seen(start(form))
    stream.tell(
        "v2", texts={"reply": "Hi", "<new>": "there"}, node="Draft", nodes_done=2, first_s=0.62
    )
    seen.until(lambda: live(form).get("texts") == ["Hi", "", "there"])
    assert "<new>" in [dt.text for dt in page(form).select("dt")]
    assert live(form)["facts"] == "streaming · first words after 0.62 s · 2 words"
    seen.until(lambda: "node 3 · Draft · " in shown(form))
    assert bars(form).bars[0]["rates"] is False
    stream.end("v2", outputs={"reply": "Hi, Ann."})
    assert form.wait(PATIENCE)[0].outputs == {"reply": "Hi, Ann."}
    assert (bars(form).live, recorder.requests) == ([], [])
    assert page(form).select(".vnb-live") == []


def test_previous_answer_stays_until_text_arrives(make, stream):
    form, _ = make(stream=stream)
    start(form)
    stream.tell("v2")
    stream.end("v2", outputs={"reply": "the first answer"})
    form.wait(PATIENCE)
    seen = Seen(form)
    form.submit()
    stream.tell("v2", node="Think")
    seen.until(lambda: "node 1 · Think" in shown(form))
    assert "the first answer" in shown(form)
    stream.tell("v2", texts={"reply": "the second"})
    seen.until(lambda: "the first answer" not in shown(form))
    stream.end("v2")


def test_finished_answer_is_shown_beside_a_stream(make, stream):
    form, _ = make(stream=stream, read=lambda _: release("v2"))
    seen = Seen(start(form, "v1", "v2"))
    stream.tell("v1", texts={"reply": "one"})
    stream.tell("v2", texts={"reply": "tw"})
    seen.until(lambda: live(form).get("texts") == ["one"] and live(form, 1).get("texts") == ["tw"])
    stream.end("v1", outputs={"reply": "one.", "tags": ["a"]})
    seen.until(lambda: live(form) == {} and live(form, 1).get("texts") == ["tw", ""])
    assert "1 of 2" in shown(form)
    assert "one." in shown(form)
    assert insertions(form) == []
    stream.end("v2", outputs={"reply": "two."})
    form.wait(PATIENCE)
    assert insertions(form) == ["two"]


def test_cancel_keeps_the_streamed_text(make, stream):
    form, _ = make(stream=stream)
    start(form)
    stream.tell("v2", texts={"reply": "half"})
    click(form, "vnb-cancel")
    (run,) = form.wait(PATIENCE)
    assert (run.state, run.outputs) == ("CANCELLED", {"reply": "half"})
    assert "half" in shown(form)


def test_switch_turns_streaming_on_and_off(make, stream):
    form, recorder = make(stream=stream)
    [switch] = parts(form, "vnb-stream")
    switch.value = True
    assert form.streaming
    form.streaming = False
    assert not switch.value
    assert len(ran(form)) == len(recorder.requests) == 1


def test_form_that_cannot_stream_has_no_switch(make):
    form, recorder = make()
    assert parts(form, "vnb-stream") == []
    start(form).wait(PATIENCE)
    assert len(recorder.requests) == 1


@pytest.mark.parametrize(
    ("streamed", "text"),
    [
        ("ok \ud83d", "ok \ufffd"),
        ("\ud83d\ude00", "\U0001f600"),
        ("x" * 200_000, "x" * 100_000 + "…"),
    ],
)
def test_streamed_text_is_valid_and_bounded(streamed, text):
    assert live_texts(Progressing({"a": streamed}), ["a"]) == [text]
