"""Simulated users: each message is planned, stored before it is sent, and paid for once."""

import json
import random
import time
from collections import Counter
from itertools import count
from typing import TypedDict

import pytest
from counting_server import FAULTS, KEY
from runs_kit import progress_of
from sweep_processes import wait_until

import vellum_nb as vnb
from vellum_nb.errors import InputError, VellumNBError
from vellum_nb.local import ChatHistory, Reject, State

TAGS = ["v1", "v2"]


def echo(message: str, state: State) -> str:
    """Answer with everything that was said."""
    state["said"] = [*state.get("said", []), message]
    return " | ".join(state["said"])


def forget(message: str) -> str:
    """Answer with the last message."""
    return message


def chat(messages: ChatHistory) -> str:
    """Answer with the number of messages."""
    return f"{len(messages)} messages"


class Said(TypedDict):
    text: str
    done: bool


def curious(transcript: str, turn: float, goal: str = "more") -> Said:
    """Ask until the fourth turn."""
    last = transcript.rpartition("Assistant: ")[2]
    return {"text": f"{turn:.0f}: {goal} than {last!r}", "done": turn > 3}


@pytest.fixture
def server():
    with vnb.LocalServer() as server:
        server.deploy(echo, name="bot", release_tags=["v1"])
        server.deploy(forget, name="bot", release_tags=["v2"])
        server.deploy(chat, name="chat", release_tags=["v1"])
        server.deploy(curious, name="user", release_tags=["v1"])
        yield server


def talk(ws, max_turns=None, **options):
    user = ws.user("user", **{"release_tag": "v1", "stop": "done", **options})
    return vnb.Conversation(user=user, max_turns=max_turns)


def swept(ws, turns, *, tags=("v1",), max_turns=None, user=None, expected=None, **options):
    made = talk(ws, max_turns, **(user or {}))
    cases = [{"turns": turns, "goal": "less", **(expected or {})}]
    return ws.sweep("bot", cases, release_tags=tags, conversation=made, progress=False, **options)


def said(sweep, tag="v1"):
    """Return the messages of the user in the only conversation of a release."""
    runs = sorted((run for run in sweep.runs() if run.release_tag == tag), key=lambda r: r.turn)
    assert [run.turn for run in runs] == list(range(1, len(runs) + 1))
    return [run.inputs["message"] for run in runs]


def test_user_continues_a_script_until_it_stops(ws):
    sweep = swept(ws, ["a", "b"], tags=TAGS)
    assert said(sweep, "v1") == ["a", "b", "3: less than 'a | b'"]
    assert said(sweep, "v2") == ["a", "b", "3: less than 'b'"]
    assert (sweep.state, progress_of(sweep).done, progress_of(sweep).planned) == ("done", 10, 10)


USER = {"deployment": "user", "release_tag": "v1", "stop": "done"}


def test_user_of_a_case_file_continues_its_scripts(ws, tmp_path):
    path = tmp_path / "cases.jsonl"
    row = {"turns": ["a"], "goal": "less", "user": USER, "max_turns": 2}
    path.write_text(json.dumps(row), encoding="utf-8")
    sweep = ws.sweep("bot", path, release_tags=["v1"], progress=False)
    assert said(sweep) == ["a", "2: less than 'a'"]
    given = swept(ws, ["a"], max_turns=2)
    assert {run.case_id for run in given.runs()} == {run.case_id for run in sweep.runs()}


def test_column_user_without_objects_is_a_label(ws):
    sweep = ws.sweep("bot", [{"turns": ["a"], "user": "ann"}], release_tags=["v1"], progress=False)
    assert sweep.frame()["label.user"].tolist() == ["ann"]


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        ([{"user": USER}, {"user": USER | {"stop": None}}], "rows 1 and 2 differ"),
        ([{"user": USER | {"tag": "v1"}}], "has no option 'tag'; available: deployment, "),
        ([{"user": {"stop": "done"}}], "deployment"),
        ([{"user": USER, "max_turns": "many"}], "max_turns"),
    ],
)
def test_invalid_user_of_a_case_is_refused(ws, cases, message):
    with pytest.raises(InputError, match=message):
        ws.sweep("bot", [{"turns": ["a"], **case} for case in cases], release_tags=["v1"])


def test_user_begins_a_conversation_without_a_script(ws):
    assert said(swept(ws, [], max_turns=2)) == [
        "1: less than ''",
        "2: less than \"1: less than ''\"",
    ]


def test_conversation_ends_after_max_turns(ws):
    assert len(said(swept(ws, ["a"], max_turns=2))) == 2
    assert len(said(swept(ws, ["a"], max_turns=1))) == 1


def test_messages_are_runs_of_the_user_that_belong_to_the_conversation(ws):
    sweep = swept(ws, ["a"])
    messages = ws.history.runs(deployment="user")[::-1]
    assert [run.outputs["text"] for run in messages[:2]] == said(sweep)[1:]
    assert messages[0].inputs == {"transcript": "User: a\nAssistant: a", "turn": 2, "goal": "less"}
    assert {run.sweep_id for run in messages} == {sweep.id}
    assert [run.outputs["done"] for run in messages] == [False, False, True]
    turns = ws.history.conversation(messages[0].conversation_id)
    assert [run.deployment for run in turns] == ["bot"] * 3


def test_plan_counts_the_calls_of_the_user(ws):
    plan = swept(ws, ["a", "b"], tags=TAGS, max_turns=5, dry_run=True)
    assert (plan.conversations, plan.user_calls, plan.least_calls, plan.calls) == (1, 3, 2, 16)
    assert "(1 conversation of up to 5 turns + 3 messages) × 2 release tags" in plan.headline  # noqa: RUF001
    release = ws.releases("user")["release_id"].iloc[0]
    assert plan.notes[-1] == (
        f"user on v1 (release {release}) writes the messages of the user after the script"
    )


def test_message_goes_into_the_chat_history(ws):
    made = talk(ws, 3)
    runs = ws.converse("chat", ["a"], release_tag="v1", conversation=made)
    assert [run.outputs["output"] for run in runs] == ["1 messages", "3 messages", "5 messages"]
    assert runs[1].inputs["messages"][-1]["text"] == "2: more than '1 messages'"


def test_opened_sweep_continues_conversations_of_a_chat_input(ws):
    options = {"release_tags": ["v1"], "conversation": talk(ws, 3), "progress": False}
    limits = {"max_calls": 1}
    sweep = ws.sweep("chat", [{"turns": []}], limits=limits, **options)
    assert sweep.state == "stopped"
    opened = ws.open_sweep(sweep.id).resume(limits={"max_calls": None}, progress=False)
    runs = sorted(opened.runs(), key=lambda run: run.turn)
    assert [run.outputs["output"] for run in runs] == ["1 messages", "3 messages", "5 messages"]
    assert runs[0].inputs["messages"][0]["text"] == "1: more than ''"


def test_user_can_read_what_the_case_expects(ws):
    expected = {"expected.output": "x"}
    user = {"inputs": {"goal": "expected.output"}}
    assert said(swept(ws, ["a"], max_turns=2, user=user, expected=expected))[1] == "2: x than 'a'"


def test_stopped_conversation_continues_with_the_stored_message(ws, server):
    numbers = count()
    server.deploy(lambda turn: f"{turn:.0f}.{next(numbers)}", name="user", release_tags=["v1"])
    options = {"max_turns": 3, "user": {"stop": None}, "concurrency": 1}
    first = swept(ws, ["a"], limits={"max_calls": 2}, **options)
    assert (first.state, [run.turn for run in first.runs()]) == ("stopped", [1])
    sweep = swept(ws, ["a"], **options)
    assert (sweep.id, said(sweep)) == (first.id, ["a", "2.0", "3.1"])
    assert ws.history.count() == 5


def test_finished_sweep_with_a_user_is_returned(ws):
    sweep = swept(ws, ["a"])
    assert swept(ws, ["a"]).id == sweep.id
    assert ws.open_sweep(sweep.id).state == "done"
    assert ws.sweeps()[["state", "to_go"]].to_numpy().tolist() == [["done", 0]]


def test_user_and_its_release_are_part_of_the_case(ws, server):
    sweep = swept(ws, ["a"])
    server.deploy(curious, name="user", release_tags=["v1"])
    later, longer = swept(ws, ["a"]), swept(ws, ["a"], max_turns=2)
    ids = {made.runs()[0].case_id for made in (sweep, later, longer)}
    assert len(ids) == len({sweep.id, later.id, longer.id}) == 3


def test_sweep_does_not_continue_with_another_release_of_the_user(ws, server):
    sweep = swept(ws, ["a"], limits={"max_calls": 2}, concurrency=1)
    server.deploy(forget, name="user", release_tags=["v1"])
    with pytest.raises(VellumNBError, match="user, user on v1, has moved to another release"):
        ws.open_sweep(sweep.id).resume(limits={"max_calls": None}, progress=False)
    assert ws.history.count() == 2


def test_user_that_rejects_ends_the_conversation_as_one_failure(ws, server):
    def sullen(transcript: str) -> dict[str, object]:
        raise Reject("no")

    server.deploy(sullen, name="user", release_tags=["v1"])
    sweep = swept(ws, ["a"], user={"stop": None, "message": "text"}, max_turns=3)
    now = progress_of(sweep)
    assert (sweep.state, now.done, now.failed, now.unsent) == ("done", 1, 1, 3)
    assert sweep.failed()["deployment"].tolist() == ["user"]
    last = max(sweep.runs(), key=lambda run: run.turn)
    assert last.error.message == "the simulated user was REJECTED, so this turn was not sent"


def test_comparison_counts_the_last_turn_of_each_release(ws):
    expected = {"expected.output": "3: less than 'b'"}
    cmp = swept(ws, ["a", "b"], tags=TAGS, expected=expected).compare()
    frame = cmp.frame()
    assert frame[["turns@v1", "turns@v2"]].to_numpy().tolist() == [[3, 3]]
    assert frame[["metric.score@v1", "metric.score@v2"]].to_numpy().tolist() == [[0.0, 1.0]]
    assert cmp.turns()["turn"].tolist() == [1, 2, 3]


def test_unfinished_conversations_are_missing_from_a_comparison(ws):
    cmp = swept(ws, ["a"], tags=TAGS, limits={"max_calls": 4}, concurrency=1).compare()
    assert cmp.result("v2").missing == 1


def test_comparison_names_the_noise_of_the_user(ws, server):
    numbers = count()
    server.deploy(lambda turn: f"{turn:.0f}.{next(numbers)}", name="user", release_tags=["v1"])
    noisy = swept(ws, ["a"], repeats=2, max_turns=2, user={"stop": None})
    assert "user on v1 wrote different messages after 1 of 1 conversations" in str(noisy.compare())
    once = swept(ws, ["b"], max_turns=2, user={"stop": None})
    assert "user on v1: its noise is unknown" in str(once.compare())


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"deployment": "bot"}, "'bot' cannot talk to itself"),
        ({"inputs": {"transcript": "story"}}, "'story' is not a column"),
        ({"inputs": {"words": "transcript"}}, "no input 'words'"),
        ({"stop": "over"}, "stop: 'over' is not an output"),
        ({"message": "words"}, "message: 'words' is not an output"),
    ],
)
def test_user_that_does_not_fit_is_refused_before_a_call(ws, options, problem):
    user = ws.user(**{"deployment": "user", "release_tag": "v1", "stop": "done", **options})
    with pytest.raises(InputError, match=problem):
        ws.converse("bot", ["a"], conversation=vnb.Conversation(user=user))
    assert ws.history.count() == 0


def test_max_turns_needs_a_user():
    with pytest.raises(InputError, match="max_turns"):
        vnb.Conversation(max_turns=3)


@pytest.mark.slow
def test_kernels_killed_in_simulated_conversations_pay_for_every_message_once(
    kernels, counting, place
):
    """The server lists executions late, and 15 % of the calls fail."""
    chance = random.Random(31)  # noqa: S311
    scale = 0.15 / sum(FAULTS.values())
    counting.faults = {name: share * scale for name, share in FAULTS.items() if name != "hang"}
    counting.lag = 0.1
    cases = [{"turns": [f"talk {at}"]} for at in range(3)]
    user = {"deployment": "user", "inputs": {"text": "transcript"}, "message": "said"}
    order = {"tags": TAGS, "read": 2, "options": {"concurrency": 2}, "user": user, "max_turns": 4}
    kernel = None
    while kernel is None or not kernel.outcome_exists:
        posts = counting.posts
        kernel = kernels.start(counting.url, place, cases, **order)
        wait_until(lambda k=kernel, n=posts: counting.posts > n or k.outcome_exists, 300)
        time.sleep(chance.uniform(0, 0.02))  # the kill is before, during or after the answer
        kernel.kill()
    with vnb.connect(counting.url, api_key=KEY, history=place) as ws:
        runs, messages = ws.history.runs(deployment="count"), ws.history.runs(deployment="user")
    assert (len(runs), len(messages)) == (3 * 2 * 4, 3 * 2 * 3)
    assert dict(counting.executed) == {run.external_id: 1 for run in (*runs, *messages)}
    written = Counter((run.conversation_id, run.outputs["said"]) for run in messages)
    sent = Counter((run.conversation_id, run.inputs["text"]) for run in runs if run.turn > 1)
    assert sent == written
    assert {run.state for run in runs} == {"FULFILLED"}
    by_turn = {(run.conversation_id, run.turn): run.execution_id for run in runs}
    for run in runs:
        before = by_turn.get((run.conversation_id, run.turn - 1))
        assert run.previous_execution_id == counting.kept[run.external_id]["previous"] == before


@pytest.mark.parametrize("turns", [[], ["a", "b"]])
def test_replay_has_the_same_user_and_script(ws, server, turns):
    sweep = swept(ws, turns, expected={"expected.output": "x"})
    server.deploy(echo, name="bot", release_tags=["v3"])
    replay = sweep.compare().replay(release_tag="v3", progress=False)
    assert said(replay, "v3") == said(sweep)
    assert {run.case_id for run in replay.runs()} == {run.case_id for run in sweep.runs()}
    last = replay.compare(metrics="exact").cases[0]
    assert (last.expected, last.conversations.expected) == ({"output": "x"}, {})


def test_replay_where_the_user_begins_a_chat(ws, server):
    options = {"conversation": talk(ws), "release_tags": ["v1"], "progress": False}
    sweep = ws.sweep("chat", [{"turns": [], "goal": "less"}], **options)
    server.deploy(chat, name="chat", release_tags=["v3"])
    replay = sweep.compare().replay(release_tag="v3", progress=False)
    assert {run.case_id for run in replay.runs()} == {run.case_id for run in sweep.runs()}
    assert [run.inputs for run in replay.runs()] == [run.inputs for run in sweep.runs()]


def test_conversations_with_a_user_are_bisected(ws, server):
    server.deploy(forget, name="bot", release_tags=["v3"])
    found = ws.bisect("bot", swept(ws, ["a"]).runs()[0])
    assert (found.last_same, found.first_changed) == ("v1", "v2")
    again = ws.bisect("bot", found.runs[0])
    assert again.reused == len(again.runs)
