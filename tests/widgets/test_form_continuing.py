"""Going on from an answer: the next turn of a chat, the next question, the previous execution."""

from dataclasses import replace

import pytest
from form_kit import PATIENCE, SPEC, answer, classes, parts, press, ran, shown, variable

CHAT = variable("messages", "CHAT_HISTORY")
ASKED = [{"role": "SYSTEM", "text": "Be brief."}, {"role": "USER", "text": "When?"}]
EMPTY = {"role": "USER", "text": ""}


def said(text: str) -> dict[str, str]:
    return {"role": "ASSISTANT", "text": text}


@pytest.fixture
def ask(make):
    def ask(variables=(CHAT,), value=None, **more):
        outputs = {"outputs": {"kind": "date", "reply": "Not before Monday."}}
        fields = {"execution_id": "e-1", **outputs, **more}
        form, recorder = make(
            lambda request, _: answer(request, **fields),
            spec=replace(SPEC, variables=tuple(variables)),
        )
        ran(form, **(value or {"messages": ASKED}))
        return form, recorder

    return ask


def turns(form):
    return list(form._fields["messages"].typed)


def test_continue_adds_the_answer_and_an_empty_turn_which_is_no_alarm_before_a_try_to_run(ask):
    form, recorder = ask()
    press(form, "v2", "continue")
    assert turns(form) == [*ASKED, said("Not before Monday."), EMPTY]
    assert len(recorder.requests) == 1
    form._fields["messages"].typed = [*turns(form)[:-1], {"role": "USER", "text": "Why?"}]
    form.submit()
    form.wait(PATIENCE)
    assert recorder.requests[1].previous_execution_id == "e-1"
    assert recorder.requests[1].inputs["messages"][-1] == {"role": "USER", "text": "Why?"}
    form, recorder = ask()
    press(form, "v2", "continue")
    assert form.errors == {"messages": "Turn 4 has no text: write it, or remove the turn."}
    assert "Turn 4 has no text" not in shown(form)
    assert "1 field to fill" in shown(form)
    form.submit()
    assert "Turn 4 has no text" in shown(form)
    assert len(recorder.requests) == 1
    rows = parts(form, "vnb-turn-row")
    assert ["vnb-turn-bad" in classes(row) for row in rows] == [False, False, False, True]


def test_continue_once_more_replaces_the_answer_and_a_question_of_its_own_field_joins_the_chat(ask):
    form, _ = ask()
    (run,) = form.runs
    form.continue_from(run)
    form._fields["messages"].typed = [*turns(form)[:-1], {"role": "USER", "text": "And why?"}]
    form.continue_from(run.model_copy(update={"outputs": {"reply": "Tuesday."}}))
    assert turns(form) == [*ASKED, said("Tuesday."), {"role": "USER", "text": "And why?"}]
    chat = variable("messages", "CHAT_HISTORY", required=False)
    form, _ = ask([variable("question"), chat], {"question": "When?"})
    form.continue_from(form.runs[0])
    asked = {"role": "USER", "text": "When?"}
    assert turns(form) == [asked, said("Not before Monday.")]
    assert form.value == {"messages": [asked, said("Not before Monday.")]}
    form.value = {**form.value, "question": "Why?"}
    form.submit()
    form.wait(PATIENCE)
    form._fields["question"].typed = "a new one"
    form.continue_from(form.runs[0])
    assert [turn["text"] for turn in turns(form)[2:]] == ["Why?", "Not before Monday."]
    assert form.value["question"] == "a new one"


@pytest.mark.parametrize(
    ("history", "added"),
    [
        ([*ASKED, {"role": "ASSISTANT", "text": "Monday."}], ["Monday."]),
        ("text", ["text"]),
        *((odd, []) for odd in ([], None, ["x"], [{"role": "ASSISTANT", "text": 5}])),
    ],
)
def test_a_chat_that_a_workflow_answers_with_gives_its_last_turn(ask, history, added):
    outputs = {"outputs": {"history": history, "long": "x" * 100 if added == ["Monday."] else ""}}
    form, _ = ask(**outputs, output_types={"history": "CHAT_HISTORY", "long": "STRING"})
    form.continue_from(form.runs[0])
    assert turns(form) == [*ASKED, *map(said, added), EMPTY]


def test_without_a_chat_continue_sets_the_previous_execution_and_unfolds_it(ask):
    form, recorder = ask([variable("ticket")], {"ticket": "hi"})
    press(form, "v2", "continue")
    assert "vnb-open" in classes(parts(form, "vnb-fold")[0])
    form.submit()
    form.wait(PATIENCE)
    assert [r.previous_execution_id for r in recorder.requests] == [None, "e-1"]


@pytest.mark.parametrize("turn", [{"role": "KING"}, 7, None])
def test_turns_of_an_old_run_that_cannot_be_read_are_left_out_and_what_is_typed_stays(ask, turn):
    form, _ = ask()
    old = form.runs[0].model_copy(update={"inputs": {"messages": [turn]}})
    form.continue_from(old)
    assert turns(form) == [said("Not before Monday."), ASKED[1]]
