"""Going on from an answer: the next turn of a chat, the next question, the previous execution."""

from dataclasses import replace
from itertools import count

import pytest
from form_kit import PATIENCE, SPEC, answer, classes, parts, press, ran, shown, variable

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


def chat_field(form):
    return form._fields["messages"]  # `form.value` refuses turns without a text


def turns(form):
    return list(chat_field(form).typed)


def test_continue_adds_the_answer_and_an_empty_turn(ask):
    form, recorder = ask()
    press(form, "v2", "continue")
    assert turns(form) == [*ASKED, said("Not before Monday."), EMPTY]
    assert len(recorder.requests) == 1
    chat_field(form).typed = [*turns(form)[:-1], {"role": "USER", "text": "Why?"}]
    form.submit()
    form.wait(PATIENCE)
    assert recorder.requests[1].previous_execution_id == "e-1"
    assert recorder.requests[1].inputs["messages"][-1] == {"role": "USER", "text": "Why?"}


def test_empty_turn_is_an_error_only_after_a_try_to_run(ask):
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
    chat_field(form).typed = [*turns(form)[:-1], {"role": "USER", "text": "And why?"}]
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


V1_AND_V2 = ("v1", "v2")


@pytest.fixture
def talk(make):
    """Return a form on two releases, each of which answers in its own words."""

    def talk(variables=(CHAT,), releases=V1_AND_V2, failed=()):
        numbers = count(1)

        def execute(request, _):
            number, tag = next(numbers), request.release_tag
            said = {"outputs": {"reply": f"{tag} says {len(str(request.inputs))}"}}
            execution_id = None if tag in failed else f"{tag}-{number}"
            return answer(request, execution_id=execution_id, **said)

        tags = tuple(TagChoice(tag, (tag,)) for tag in ("v1", "v2", "v3"))
        spec = replace(SPEC, variables=tuple(variables), tags=tags, latest_release_id="v3")
        form, recorder = make(execute, spec=spec)
        form._releases._known = {tag: tuple(variables) for tag in ("v1", "v2", "v3")}
        form.release_tags = list(releases)
        return form, recorder

    return talk


def write(form, text):
    """Write the next turn and run."""
    chat_field(form).typed = [*turns(form)[:-1], {"role": "USER", "text": text}]
    form.submit()
    return {run.release_tag: run for run in form.wait(PATIENCE)}


@pytest.mark.parametrize("clicked", V1_AND_V2)
def test_each_release_continues_its_own_answer_and_execution_turn_after_turn(talk, clicked):
    form, recorder = talk()
    ran(form, messages=ASKED)
    expected = {tag: list(ASKED) for tag in V1_AND_V2}
    for text in ("Why?", "Really?"):
        before = {run.release_tag: run for run in form.runs}
        press(form, clicked, "continue")
        assert f"the form shows that of {clicked}" in shown(form)
        write(form, text)
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
    form.submit()
    form.wait(PATIENCE)
    assert {r.release_tag: r.previous_execution_id for r in recorder.requests[-2:]} == own


def test_a_question_of_its_own_field_joins_the_chat_of_each_release(talk):
    chat = variable("messages", "CHAT_HISTORY", required=False)
    form, recorder = talk([variable("question"), chat])
    ran(form, question="When?")
    answers = {run.release_tag: run.outputs["reply"] for run in form.runs}
    press(form, "v1", "continue")
    form.value = {**form.value, "question": "Why?"}
    form.submit()
    form.wait(PATIENCE)
    for request in recorder.requests[-2:]:
        own = [{"role": "USER", "text": "When?"}, said(answers[request.release_tag])]
        assert request.inputs == {"question": "Why?", "messages": own}


@pytest.mark.parametrize("alone", ["added", "failed"])
def test_a_release_without_an_answer_of_its_own_continues_the_one_that_is_shown(talk, alone):
    form, recorder = talk(failed=("v2",) if alone == "failed" else ())
    ran(form, messages=ASKED)
    (shown_run,) = (run for run in form.runs if run.release_tag == "v1")
    press(form, "v1", "continue")
    other = "v2" if alone == "failed" else "v3"
    form.release_tags = ["v1", other]
    assert f"Without an answer of their own, {other} continue it" in shown(form)
    write(form, "Why?")
    for request in recorder.requests[-2:]:
        assert request.previous_execution_id == shown_run.execution_id
        assert request.inputs["messages"][-2] == said(shown_run.outputs["reply"])


def test_turns_that_are_edited_and_another_previous_execution_are_sent_as_they_are(talk):
    form, recorder = talk()
    ran(form, messages=ASKED)
    press(form, "v1", "continue")
    edited = [*ASKED, said("mine"), {"role": "USER", "text": "Why?"}]
    chat_field(form).typed = edited
    form._options["previous execution"].value = "another"
    assert "continues its own answer" not in shown(form)
    form.submit()
    form.wait(PATIENCE)
    for request in recorder.requests[-2:]:
        assert (request.previous_execution_id, request.inputs["messages"]) == ("another", edited)


def test_another_single_release_continues_its_own_answer(talk):
    form, recorder = talk()
    ran(form, messages=ASKED)
    own = {run.release_tag: run for run in form.runs}
    press(form, "v1", "continue")
    form.release_tags = ["v2"]
    write(form, "Why?")
    (request,) = recorder.requests[2:]
    assert request.previous_execution_id == own["v2"].execution_id
    assert request.inputs["messages"][2] == said(own["v2"].outputs["reply"])


def test_an_edited_conversation_is_sent_as_displayed_and_the_form_says_so(talk):
    form, recorder = talk()
    ran(form, messages=ASKED)
    press(form, "v1", "continue")
    edited = [{"role": "USER", "text": "When exactly?"}, *turns(form)[1:-1]]
    chat_field(form).typed = [*edited, {"role": "USER", "text": "Why?"}]
    assert "every release is sent the chat that the form shows" in shown(form)
    form.submit()
    form.wait(PATIENCE)
    assert [request.inputs["messages"][:3] for request in recorder.requests[2:]] == [edited] * 2
