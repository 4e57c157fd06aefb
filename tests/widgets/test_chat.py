"""The chat of a form: each selected release continues its own conversation."""

import json
import threading
from typing import TypedDict

import pytest
from form_kit import PATIENCE, box, click, parts, shown, tree
from wire_kit import Page

import vellum_nb as vnb
from vellum_nb.errors import VellumNBError
from vellum_nb.local import ChatHistory, Reject, State

TURNS = ["my name is Ann", "hello", "who am I?"]


def remember(message: str, state: State) -> str:
    """Answer with everything that was said."""
    state["said"] = [*state.get("said", []), message]
    return " | ".join(state["said"])


def forget(message: str, state: State) -> str:
    """Answer with the last two messages."""
    if message == "no":
        raise Reject("I do not know that")
    state["said"] = [*state.get("said", []), message][-2:]
    return " | ".join(state["said"])


def chat(messages: ChatHistory) -> str:
    """Answer with the whole chat history."""
    return " | ".join(f"{each['role']} {each['text']}" for each in messages)


def moody(messages: ChatHistory, mood: str = "calm") -> str:
    """Answer with the mood and the chat history."""
    return f"{mood}: {chat(messages)}"


class Answer(TypedDict):
    answer: str
    hint: str


def ask(question: str, chat_history: ChatHistory | None = None) -> Answer:
    """Answer with the number of earlier messages."""
    return {"answer": f"{question} after {len(chat_history or [])}", "hint": "none"}


def required(question: str, chat_history: ChatHistory) -> str:
    """Answer with the number of earlier messages; the history is a required input."""
    return f"{question} after {len(chat_history)}"


def plain(question: str, detail: str = "") -> str:
    """Answer without a conversation."""
    return f"{question}{detail}"


@pytest.fixture
def ws(tmp_path):
    with vnb.LocalServer() as server:
        server.deploy(remember, name="bot", release_tags=["v1"])
        server.deploy(forget, name="bot", release_tags=["v2"])
        server.deploy(chat, name="chat", release_tags=["v1", "v2"])
        server.deploy(moody, name="moody", release_tags=["v1"])
        server.deploy(ask, name="ask", release_tags=["v1", "v2"])
        server.deploy(plain, name="plain", release_tags=["v1"])
        server.deploy(required, name="required", release_tags=["v1", "v2"])
        with vnb.connect(server, history=tmp_path / "runs.db") as ws:
            yield ws


@pytest.fixture
def talk(ws):
    """Open the chat of a deployment and send messages."""

    def talk(name, *messages, tags=("v1", "v2"), **options):
        form = ws.form(name, **options)
        parts(form, "vnb-mode")[0].value = "Chat"
        form.release_tags = tags
        for message in messages:
            say(form, message)
        return form

    return talk


def say(form, message):
    write(form, message)
    click(form)
    return form.wait(PATIENCE)


def write(form, message):
    parts(form, "vnb-say")[0].value = message


def modes(form):
    return [mode for group in parts(form, "vnb-mode") for mode in group.options]


def by_turn(runs):
    """Return what each turn was sent and what it continued, without the ids."""
    runs = sorted(runs, key=lambda run: run.turn)
    ids = [run.execution_id for run in runs]
    return [
        (
            run.inputs,
            run.outputs,
            run.previous_execution_id and ids.index(run.previous_execution_id),
        )
        for run in runs
    ]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bot", {}),
        ("chat", {}),
        ("ask", {"conversation": vnb.Conversation(reply="answer")}),
        ("ask", {"conversation": vnb.Conversation(reply="answer", carry="both")}),
        ("required", {}),
    ],
)
def test_chat_sends_the_same_turns_as_a_sweep(ws, talk, name, options):
    last = {run.release_tag: run for run in talk(name, *TURNS, **options).runs}
    for tag, run in last.items():
        swept = ws.converse(name, TURNS, release_tag=tag, **options)
        chatted = ws.history.conversation(run.conversation_id)
        assert [each.turn for each in chatted] == [1, 2, 3]
        assert by_turn(chatted) == by_turn(swept)


def test_conversations_of_one_chat_are_one_case(ws, talk):
    talk("bot", *TURNS)
    talk("bot", *TURNS[:2])
    frame = ws.compare("bot", release_tags=["v1", "v2"]).frame()
    assert sorted(frame["turns@v2"]) == [2, 3]
    assert sorted(frame["first_changed_turn@v2"].dropna()) == [3]


@pytest.mark.parametrize(
    ("name", "options", "offered"),
    [
        ("bot", {}, True),
        ("ask", {}, True),
        ("plain", {}, False),
        ("plain", {"conversation": vnb.Conversation(input="question")}, True),
    ],
)
def test_chat_is_offered_for_a_chat_history_or_a_single_text(ws, name, options, offered):
    assert ("Chat" in modes(ws.form(name, **options))) == offered


def test_other_inputs_are_sent_with_each_turn(talk):
    form = talk("moody", tags=["v1"])
    box(form, "mood").value = "sad"
    assert say(form, "a")[0].outputs["output"] == "sad: USER a"
    assert say(form, "b")[0].outputs["output"] == "sad: USER a | ASSISTANT sad: USER a | USER b"
    assert form.value == {"mood": "sad"}


def test_rejected_turn_ends_the_conversation_of_its_release_only(ws, talk):
    form = talk("bot", "a", "no", "b")
    assert [(run.release_tag, run.turn) for run in form.runs] == [("v1", 3)]
    assert "v2 ended at turn 2" in shown(form)
    assert "turn 2 was REJECTED, so this turn was not sent" in shown(form)
    assert parts(form, "vnb-run")[0].description == "Send to 1"
    assert ws.history.count(release_tag="v2") == 2


def test_chat_whose_conversations_have_all_ended_sends_nothing(talk):
    form = talk("bot", "no", tags=["v2"])
    assert parts(form, "vnb-run")[0].disabled
    click(form, "vnb-dialog-new")
    assert not parts(form, "vnb-run")[0].disabled


def test_new_conversation_does_not_continue_the_one_before(talk):
    form = talk("bot", "a", tags=["v1"])
    click(form, "vnb-dialog-new")
    assert not parts(form, "vnb-dialog-turn")
    (run,) = say(form, "b")
    assert (run.outputs["output"], run.turn, run.previous_execution_id) == ("b", 1, None)


def test_releases_are_fixed_by_the_first_turn(talk):
    form = talk("bot", "a", tags=["v1"])
    assert all(chip.children[0].disabled for chip in parts(form, "vnb-chip"))
    form.release_tags = ["v1", "v2"]
    assert [run.release_tag for run in say(form, "b")] == ["v1"]
    parts(form, "vnb-mode")[0].value = "One input"
    assert not any(chip.children[0].disabled for chip in parts(form, "vnb-chip"))


def test_empty_message_is_not_sent(ws, talk):
    form = talk("bot")
    assert "to fix" not in shown(form)
    say(form, "  ")
    assert "1 field to fix:" in shown(form)
    assert ws.history.count() == 0


def test_message_that_cannot_be_sent_returns_to_the_box(ws, talk):
    form = talk("ask", "a")
    assert "Conversation(reply=...): give the output with the answer" in shown(form)
    assert parts(form, "vnb-say")[0].value == "a"
    assert (form.busy, ws.history.count()) == (False, 0)


def test_markup_in_a_message_is_text(talk):
    form = talk("bot", "<img src=x onerror=alert(1)>", tags=["v1"])
    assert "<img" not in "".join(part.value for part in parts(form, "vnb-turn-said"))
    assert "<img" not in form.static_html()
    assert "turn 1 <img src=x" in shown(form)


def test_cancelled_turn_stays_and_ends_the_conversation(tmp_path):
    begun, go_on = threading.Event(), threading.Event()

    def slow(message: str, state: State) -> str:
        begun.set()
        go_on.wait(PATIENCE)
        return message

    with vnb.LocalServer() as server, vnb.connect(server, history=tmp_path / "slow.db") as ws:
        server.deploy(slow, name="slow", release_tags=["v1"])
        form = ws.form("slow")
        parts(form, "vnb-mode")[0].value = "Chat"
        write(form, "a")
        click(form)
        assert begun.wait(PATIENCE)
        click(form, "vnb-cancel")
        (run,) = form.wait(PATIENCE)
        go_on.set()
        assert (run.state, run.in_doubt) == ("CANCELLED", True)
        assert ws.history.get(run.id).turn == 1
        assert "ended at turn 1" in shown(form)


def test_answers_of_an_earlier_turn_are_rated(ws, talk):
    form = talk("bot", "a", "b", tags=["v1"])
    bars = parts(parts(form, "vnb-dialog-turn")[0], "vnb-results")[0].children[-1]
    Page(bars).send(event="rate", id=bars.bars[0]["id"], quality=1)
    assert bars.wait(PATIENCE)
    assert [run.quality for run in ws.history.conversation(form.runs[0].conversation_id)] == [
        1,
        None,
    ]
    assert form.runs[0].turn == 2


def test_static_html_has_the_conversation(talk):
    html = talk("bot", *TURNS[:2]).static_html()
    assert html.index("turn 1") < html.index("my name is Ann | hello")
    assert html.count("my name is Ann | hello") == 2


def test_closed_chat_cannot_be_continued(talk):
    form = talk("bot", "a")
    form.close()
    with pytest.raises(VellumNBError, match="is closed"):
        form.submit()


def edit(form, turn):
    parts(form, "vnb-dialog-edit")[turn - 1].click()


def saved(form):
    """Return the case that *Save as case* shows."""
    parts(form, "vnb-dialog-save")[0].value = True
    return json.loads(parts(form, "vnb-dialog-case")[0].value)


def test_edited_turn_is_rerun_from_its_place(ws, talk):
    form = talk("bot", "a", "b", "c", tags=["v1"])
    edit(form, 2)
    assert parts(form, "vnb-say")[0].value == "b"
    assert "Editing turn 2: Send replaces it and the turns after it." in shown(form)
    (run,) = say(form, "x")
    assert (run.outputs["output"], run.turn) == ("a | x", 2)
    assert len(parts(form, "vnb-dialog-turn")) == 2
    assert [run.outputs["output"] for run in say(form, "y")] == ["a | x | y"]
    assert ws.history.count() == 5


def test_fork_is_a_conversation_of_its_own(ws, talk):
    form = talk("bot", "a", "b", tags=["v1"])
    original = form.runs[0]
    edit(form, 2)
    (fork,) = say(form, "x")
    assert [run.turn for run in ws.history.conversation(original.conversation_id)] == [1, 2]
    assert [run.turn for run in ws.history.conversation(fork.conversation_id)] == [2]
    assert fork.case_id != original.case_id


def test_same_fork_of_two_chats_is_one_case(talk):
    forks = []
    for _ in range(2):
        form = talk("bot", "a", "b", tags=["v1"])
        edit(form, 2)
        say(form, "x")
        forks += [say(form, "y")[0]]
    assert forks[0].conversation_id != forks[1].conversation_id
    assert forks[0].case_id == forks[1].case_id


@pytest.mark.parametrize("name", ["bot", "chat", "required"])
def test_chat_is_the_same_case_as_its_script_in_a_sweep(ws, talk, name):
    form = talk(name, "a", "b", "c")
    parts(form, "vnb-dialog-save")[0].value = True
    case = json.loads(parts(form, "vnb-dialog-case")[0].value)
    in_chat = {run.case_id for run in ws.history.runs()}
    sweep = ws.sweep(name, [case], release_tags=["v1", "v2"], progress=False)
    assert in_chat == {run.case_id for run in sweep.runs()}
    (compared,) = ws.compare(name).cases
    assert (len(compared.tries["v1"]), compared.is_unstable) == (2, False)


def test_release_whose_conversation_ended_goes_on_from_an_edited_turn(talk):
    form = talk("bot", "a", "no")
    edit(form, 2)
    assert parts(form, "vnb-run")[0].description == "Send to 2"
    assert {run.release_tag: run.outputs["output"] for run in say(form, "b")} == {
        "v1": "a | b",
        "v2": "a | b",
    }


def test_first_turn_is_edited(talk):
    form = talk("bot", "no", "b")
    edit(form, 1)
    assert [run.outputs["output"] for run in say(form, "a")] == ["a", "a"]


def test_discarded_edit_keeps_all_turns(talk):
    form = talk("bot", "a", "b", tags=["v1"])
    edit(form, 1)
    click(form, "vnb-dialog-discard")
    assert parts(form, "vnb-say")[0].value == ""
    assert [run.outputs["output"] for run in say(form, "c")] == ["a | b | c"]


def test_conversation_saved_as_a_case_is_repeated_by_a_sweep(ws, talk):
    form = talk("moody", tags=["v1"])
    box(form, "mood").value = "sad"
    say(form, "a")
    (run,) = say(form, "b")
    assert saved(form) == {"turns": ["a", "b"], "mood": "sad"}
    sweep = ws.sweep("moody", [saved(form)], release_tags=["v1"], progress=False)
    assert by_turn(sweep.runs()) == by_turn(ws.history.conversation(run.conversation_id))


def test_other_inputs_that_change_are_saved_with_their_turn(talk):
    form = talk("moody", "a", tags=["v1"])
    box(form, "mood").value = "sad"
    say(form, "b")
    assert saved(form) == {
        "turns": [{"messages": "a", "mood": "calm"}, {"messages": "b", "mood": "sad"}]
    }


def test_shown_case_grows_with_the_conversation(talk):
    form = talk("bot", "a", tags=["v1"])
    assert saved(form) == {"turns": ["a"]}
    say(form, "b")
    assert saved(form) == {"turns": ["a", "b"]}


def test_answers_of_a_chat_are_streamed(talk):
    form = talk("bot", tags=["v1", "v2"])
    form.streaming = True
    say(form, "no")
    assert [(run.turn, run.outputs["output"]) for run in say(form, "b")] == [(2, "no | b")]


def add_to_set(form, name):
    """Add the conversation to a case set; return what the form then says."""
    parts(form, "vnb-dialog-save")[0].value = True
    next(each for each in tree(form) if getattr(each, "description", "") == "Case set").value = name
    click(form, "vnb-dialog-add")
    form.wait(PATIENCE)
    return parts(form, "vnb-dialog-saved")[0].value


def test_conversation_is_added_to_a_case_set(ws, talk):
    form = talk("bot", "a", "b", tags=["v1"])
    assert "talks, version 1: 1 added" in add_to_set(form, "talks")
    sweep = ws.sweep("bot", ws.case_set("talks"), release_tags=["v1"], progress=False)
    assert by_turn(sweep.runs()) == by_turn(ws.history.conversation(form.runs[0].conversation_id))


def test_case_set_without_a_name_is_refused(ws, talk):
    assert 'role="alert"' in add_to_set(talk("bot", "a", tags=["v1"]), " ")
    assert ws.case_sets.empty
