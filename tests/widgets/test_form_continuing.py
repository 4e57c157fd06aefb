"""Continue from an answer: the next turn of a chat, the next question, the execution."""

from dataclasses import replace
from itertools import count

import pytest
from form_kit import (
    PATIENCE,
    SPEC,
    answer,
    box,
    classes,
    parts,
    press,
    ran,
    release,
    shown,
    variable,
)

from vellum_nb.widgets.spec import TagChoice

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
    """Return the turns in the fields; `form.value` has only those with a text."""
    rows = [row.children for row in parts(form, "vnb-turn-row")]
    return [{"role": role.value, "text": text.value} for role, text, *_ in rows]


def write(form, text, turn=-1):
    parts(form, "vnb-turn-row")[turn].children[1].value = text


def run_again(form):
    form.submit()
    return {run.release_tag: run for run in form.wait(PATIENCE)}


def test_continue_adds_the_answer_and_an_empty_turn(ask):
    form, recorder = ask()
    press(form, "v2", "continue")
    assert turns(form) == [*ASKED, said("Not before Monday."), EMPTY]
    assert len(recorder.requests) == 1


def test_next_turn_is_sent_with_the_previous_execution(ask):
    form, recorder = ask()
    press(form, "v2", "continue")
    write(form, "Why?")
    run_again(form)
    assert recorder.requests[1].previous_execution_id == "e-1"
    assert recorder.requests[1].inputs["messages"][-1] == {"role": "USER", "text": "Why?"}


def test_empty_turn_is_only_counted_before_a_run_is_tried(ask):
    form, _ = ask()
    press(form, "v2", "continue")
    assert form.errors == {"messages": "Turn 4 has no text: write it, or remove the turn."}
    assert "Turn 4 has no text" not in shown(form)
    assert "1 field to fill" in shown(form)


def test_empty_turn_is_reported_after_a_run_is_tried(ask):
    form, recorder = ask()
    press(form, "v2", "continue")
    form.submit()
    assert "Turn 4 has no text" in shown(form)
    assert len(recorder.requests) == 1
    rows = parts(form, "vnb-turn-row")
    assert ["vnb-turn-bad" in classes(row) for row in rows] == [False, False, False, True]


def test_continue_again_replaces_the_answer(ask):
    form, _ = ask()
    (run,) = form.runs
    form.continue_from(run)
    write(form, "And why?")
    form.continue_from(run.model_copy(update={"outputs": {"reply": "Tuesday."}}))
    assert turns(form) == [*ASKED, said("Tuesday."), {"role": "USER", "text": "And why?"}]


@pytest.fixture
def asked(ask):
    """Return a form with a field for the question, continued from the first answer."""
    chat = variable("messages", "CHAT_HISTORY", required=False)
    form, _ = ask([variable("question"), chat], {"question": "When?"})
    form.continue_from(form.runs[0])
    return form


def test_question_of_its_own_field_joins_the_chat(asked):
    question = {"role": "USER", "text": "When?"}
    assert turns(asked) == [question, said("Not before Monday.")]
    assert asked.value == {"messages": [question, said("Not before Monday.")]}


def test_second_question_joins_the_chat_and_leaves_the_field_as_typed(asked):
    asked.value = {**asked.value, "question": "Why?"}
    run_again(asked)
    box(asked, "question *").value = "a new one"
    asked.continue_from(asked.runs[0])
    assert [turn["text"] for turn in turns(asked)[2:]] == ["Why?", "Not before Monday."]
    assert asked.value["question"] == "a new one"


@pytest.mark.parametrize(
    ("history", "added"),
    [
        ([*ASKED, {"role": "ASSISTANT", "text": "Monday."}], ["Monday."]),
        ("text", ["text"]),
        *((odd, []) for odd in ([], None, ["x"], [{"role": "ASSISTANT", "text": 5}])),
    ],
)
def test_last_turn_of_an_answered_chat_is_added(ask, history, added):
    outputs = {"outputs": {"history": history, "long": "x" * 100 if added == ["Monday."] else ""}}
    form, _ = ask(**outputs, output_types={"history": "CHAT_HISTORY", "long": "STRING"})
    form.continue_from(form.runs[0])
    assert turns(form) == [*ASKED, *map(said, added), EMPTY]


def test_continue_without_a_chat_shows_the_previous_execution(ask):
    form, recorder = ask([variable("ticket")], {"ticket": "hi"})
    press(form, "v2", "continue")
    assert "vnb-open" in classes(parts(form, "vnb-fold")[0])
    run_again(form)
    assert [r.previous_execution_id for r in recorder.requests] == [None, "e-1"]


@pytest.mark.parametrize("turn", [{"role": "KING"}, 7, None])
def test_unreadable_turns_of_an_old_run_are_skipped(ask, turn):
    form, _ = ask()
    old = form.runs[0].model_copy(update={"inputs": {"messages": [turn]}})
    form.continue_from(old)
    assert turns(form) == [said("Not before Monday."), ASKED[1]]


V1_AND_V2 = ("v1", "v2")


@pytest.fixture
def talk(make):
    """Return a form on two releases that answer differently."""

    def talk(variables=(CHAT,), releases=V1_AND_V2, failed=()):
        numbers = count(1)

        def execute(request, _):
            number, tag = next(numbers), request.release_tag
            said = {"outputs": {"reply": f"{tag} says {len(str(request.inputs))}"}}
            execution_id = None if tag in failed else f"{tag}-{number}"
            return answer(request, execution_id=execution_id, **said)

        tags = tuple(TagChoice(tag, (tag,)) for tag in ("v1", "v2", "v3"))
        spec = replace(SPEC, variables=tuple(variables), tags=tags, latest_release_id="v3")
        form, recorder = make(execute, spec=spec, read=lambda tag: release(tag, variables))
        form.release_tags = list(releases)
        return form, recorder

    return talk


@pytest.mark.parametrize("clicked", V1_AND_V2)
def test_each_release_continues_its_own_answer(talk, clicked):
    form, recorder = talk()
    ran(form, messages=ASKED)
    expected = {tag: list(ASKED) for tag in V1_AND_V2}
    for text in ("Why?", "Really?"):
        before = {run.release_tag: run for run in form.runs}
        press(form, clicked, "continue")
        assert f"the form shows that of {clicked}" in shown(form)
        write(form, text)
        run_again(form)
        requests = {request.release_tag: request for request in recorder.requests[-2:]}
        for tag in V1_AND_V2:
            own = said(before[tag].outputs["reply"])
            expected[tag] += [own, {"role": "USER", "text": text}]
            assert requests[tag].previous_execution_id == before[tag].execution_id
            assert requests[tag].inputs["messages"] == expected[tag]


def test_each_release_continues_its_own_execution_without_a_chat(talk):
    form, recorder = talk([variable("ticket")])
    ran(form, ticket="hi")
    own = {run.release_tag: run.execution_id for run in form.runs}
    press(form, "v2", "continue")
    run_again(form)
    assert {r.release_tag: r.previous_execution_id for r in recorder.requests[-2:]} == own


def test_a_question_of_its_own_field_joins_the_chat_of_each_release(talk):
    chat = variable("messages", "CHAT_HISTORY", required=False)
    form, recorder = talk([variable("question"), chat])
    ran(form, question="When?")
    answers = {run.release_tag: run.outputs["reply"] for run in form.runs}
    press(form, "v1", "continue")
    form.value = {**form.value, "question": "Why?"}
    run_again(form)
    for request in recorder.requests[-2:]:
        own = [{"role": "USER", "text": "When?"}, said(answers[request.release_tag])]
        assert request.inputs == {"question": "Why?", "messages": own}


@pytest.mark.parametrize("alone", ["added", "failed"])
def test_release_without_an_answer_continues_the_displayed_one(talk, alone):
    form, recorder = talk(failed=("v2",) if alone == "failed" else ())
    ran(form, messages=ASKED)
    (shown_run,) = (run for run in form.runs if run.release_tag == "v1")
    press(form, "v1", "continue")
    other = "v2" if alone == "failed" else "v3"
    form.release_tags = ["v1", other]
    assert f"Without an answer of their own, {other} continue it" in shown(form)
    write(form, "Why?")
    run_again(form)
    for request in recorder.requests[-2:]:
        assert request.previous_execution_id == shown_run.execution_id
        assert request.inputs["messages"][-2] == said(shown_run.outputs["reply"])


def test_edited_turns_are_sent_to_all_releases(talk):
    form, recorder = talk()
    ran(form, messages=ASKED)
    press(form, "v1", "continue")
    write(form, "mine", turn=2)
    write(form, "Why?")
    run_again(form)
    edited = [*ASKED, said("mine"), {"role": "USER", "text": "Why?"}]
    assert [request.inputs["messages"] for request in recorder.requests[-2:]] == [edited] * 2


def test_edited_previous_execution_is_sent_to_all_releases(talk):
    form, recorder = talk()
    ran(form, messages=ASKED)
    press(form, "v1", "continue")
    write(form, "Why?")
    box(form, "previous execution").value = "another"
    assert "continues its own answer" not in shown(form)
    run_again(form)
    assert [r.previous_execution_id for r in recorder.requests[-2:]] == ["another"] * 2


def test_another_single_release_continues_its_own_answer(talk):
    form, recorder = talk()
    ran(form, messages=ASKED)
    own = {run.release_tag: run for run in form.runs}
    press(form, "v1", "continue")
    form.release_tags = ["v2"]
    write(form, "Why?")
    run_again(form)
    (request,) = recorder.requests[2:]
    assert request.previous_execution_id == own["v2"].execution_id
    assert request.inputs["messages"][2] == said(own["v2"].outputs["reply"])


def test_form_says_that_all_releases_get_an_edited_chat(talk):
    form, recorder = talk()
    ran(form, messages=ASKED)
    press(form, "v1", "continue")
    write(form, "Answer in one word.", turn=0)
    write(form, "Why?")
    assert "every release is sent the chat that the form shows" in shown(form)
    displayed = turns(form)
    run_again(form)
    assert [r.inputs["messages"] for r in recorder.requests[2:]] == [displayed] * 2
