"""Conversations as cases: each release continues its own answers, and each turn is sent once."""

import json
import os
import random
import time
from collections import Counter

import pandas as pd
import pytest
from counting_server import FAULTS, KEY
from runs_kit import progress_of
from sweep_processes import wait_until

import vellum_nb as vnb
from vellum_nb.errors import InputError
from vellum_nb.local import ChatHistory, Reject, State
from vellum_nb.sweep.cases import CaseFile

TAGS = ["v1", "v2"]
BOTH = {"release_tags": TAGS, "progress": False}
TALKS = int(os.environ.get("SWEEP_TALKS", "2"))
TURNS = ["my name is Ann", "hello", "who am I?"]


def remember(message: str, state: State) -> str:
    """Answer with everything that was said."""
    if message == "no":
        raise Reject("I do not know that")
    state["said"] = [*state.get("said", []), message]
    return " | ".join(state["said"])


def forget(message: str, state: State) -> str:
    """Answer with the last two messages."""
    state["said"] = [*state.get("said", []), message][-2:]
    return " | ".join(state["said"])


def chat(messages: ChatHistory, mood: str = "calm") -> str:
    """Answer with the whole chat history."""
    return f"{mood}: " + " | ".join(f"{each['role']} {each['text']}" for each in messages)


def ask(question: str, chat_history: ChatHistory | None = None) -> str:
    """Answer with the number of earlier messages."""
    return f"{question} after {len(chat_history or [])}"


@pytest.fixture
def server():
    with vnb.LocalServer() as server:
        server.deploy(remember, name="bot", release_tags=["v1"])
        server.deploy(forget, name="bot", release_tags=["v2"])
        server.deploy(chat, name="chat", release_tags=["v1", "v2"])
        server.deploy(ask, name="ask", release_tags=["v1", "v2"])
        yield server


def said(sweep, tag, output="output"):
    """Return the answers of a release, by conversation and turn."""
    runs = sorted(sweep.runs(), key=lambda run: run.turn)
    answers = {}
    for run in runs:
        if run.release_tag == tag:
            answers.setdefault(run.conversation_id, []).append(run.outputs.get(output))
    return list(answers.values())


def test_each_release_continues_its_own_state(ws):
    sweep = ws.sweep("bot", [{"turns": TURNS}], **BOTH)
    first, second, third = TURNS
    assert said(sweep, "v1") == [[first, f"{first} | {second}", " | ".join(TURNS)]]
    assert said(sweep, "v2") == [[first, f"{first} | {second}", f"{second} | {third}"]]
    runs = {(run.release_tag, run.turn): run for run in sweep.runs()}
    assert runs["v1", 1].previous_execution_id is None
    assert runs["v1", 3].previous_execution_id == runs["v1", 2].execution_id
    assert len({run.case_id for run in runs.values()}) == 1
    assert len({run.conversation_id for run in runs.values()}) == 2


def test_chat_history_grows_by_the_message_and_the_own_reply(ws):
    sweep = ws.sweep("chat", [{"turns": ["a", "b"], "mood": "sad"}], **BOTH)
    assert said(sweep, "v1") == [["sad: USER a", "sad: USER a | ASSISTANT sad: USER a | USER b"]]
    assert {run.previous_execution_id for run in sweep.runs()} == {None}


def test_message_and_chat_history_can_be_two_inputs(ws):
    sweep = ws.sweep("ask", [{"turns": ["a", "b", "c"]}], **BOTH)
    assert said(sweep, "v2") == [["a after 0", "b after 2", "c after 4"]]
    last = max(sweep.runs(), key=lambda run: run.turn)
    assert [(each["role"], each["text"]) for each in last.inputs["chat_history"]] == [
        ("USER", "a"),
        ("ASSISTANT", "a after 0"),
        ("USER", "b"),
        ("ASSISTANT", "b after 2"),
    ]


def test_history_and_state_are_carried_together(ws):
    both = vnb.Conversation(carry="both")
    sweep = ws.sweep("ask", [{"turns": ["a", "b"]}], conversation=both, **BOTH)
    runs = {run.turn: run for run in sweep.runs() if run.release_tag == "v1"}
    assert runs[2].previous_execution_id == runs[1].execution_id
    assert runs[2].outputs["output"] == "b after 2"


def test_rows_with_conversation_and_turn_are_the_same_cases_as_a_list(ws, tmp_path):
    path = tmp_path / "talks.csv"
    path.write_text(
        "conversation,turn,message,expected.output\nx,2,b,a | b\ny,1,c,\nx,1,a,\n",
        encoding="utf-8",
    )
    plan = ws.sweep("bot", path, dry_run=True, **BOTH)
    assert (plan.cases, plan.conversations, plan.least_calls, plan.calls) == (3, 2, 4, 6)
    assert repr(plan) == (
        "<SweepPlan of bot: 2 conversations of 3 turns x 2 release tags = 4 to 6 calls>"
    )
    sweep = ws.sweep("bot", path, **BOTH)
    listed = [{"turns": ["a", "b"], "expected.output": "a | b"}, {"turns": ["c"]}]
    assert ws.sweep("bot", listed, **BOTH).id == sweep.id
    frame = sweep.frame()
    assert frame.loc[frame["turn"] == 2, "expected.output"].tolist() == ["a | b"] * 2


def test_plan_of_a_stopped_sweep_counts_the_turns_that_can_be_left_out(ws):
    talks = [{"turns": ["a", "b", "c"]}, {"turns": ["no", "d"]}, {"turns": ["e", "f"]}]
    options = {"release_tags": ["v1"], "concurrency": 1, "progress": False}
    ws.sweep("bot", talks, limits={"max_calls": 2}, **options)
    plan = ws.sweep("bot", talks, dry_run=True, **options)
    # b and e are sent in any case, c and f only after an answer; d is not sent.
    assert (plan.found, plan.least_calls, plan.calls) == (3, 2, 4)
    assert plan.headline.startswith("3 conversations of 7 turns × 1 release tag = 7 runs: ")  # noqa: RUF001
    assert "3 found, 2 to 4 to be sent" in plan.headline


@pytest.mark.parametrize(("limit", "note"), [(3, "will"), (4, "can"), (5, "can")])
def test_plan_says_whether_a_limit_can_stop_the_conversations(ws, limit, note):
    talks = [{"turns": ["a", "b"]}, {"turns": ["c"]}]
    plan = ws.sweep("bot", talks, limits={"max_calls": limit}, dry_run=True, **BOTH)
    assert plan.notes == (f"max_calls={limit}: it {note} stop there",)


def test_plan_runs_each_conversation_one_turn_at_a_time(ws):
    ws.converse("bot", TURNS, release_tag="v1")
    plan = ws.sweep("bot", [{"turns": TURNS}, {"turns": ["a"]}], dry_run=True, **BOTH)
    assert plan.at_once == 4


@pytest.mark.parametrize(
    ("cases", "options", "problem"),
    [
        ([{"turns": []}], {}, "has .* as its turns"),
        ([{"turns": '["a"'}], {}, "as its turns"),
        ([{"turns": "[" * 9_000}], {}, "as its turns"),
        ([{"turns": {"a": 1}}], {}, "as its turns"),
        ([{"turns": [{"words": "a"}]}], {}, "message"),
        ([{"conversation": "x", "turn": 10**9, "message": "a"}], {}, "turn=the number 1000000000"),
        ([{"conversation": "x", "turn": "²", "message": "a"}], {}, "turn="),
        ([{"conversation": None, "turn": 1, "message": "a"}], {}, "conversation="),
        ([{"turns": "a"}], {}, "text 'a' as its turns"),
        (
            [{"turns": ["a", {"message": "b", "expected.output": "c"}], "expected.output": "d"}],
            {},
            "Case 1 of the list has expected.output for the conversation and for its last turn",
        ),
        ([{"conversation": "x", "turn": 2, "message": "a"}], {}, "has the turns 2"),
        ([{"conversation": "x", "turn": "?", "message": "a"}], {}, "turn=the text '\\?'"),
        ([{"message": "a"}], {"conversation": vnb.Conversation()}, "have no turns"),
        ([{"turns": ["a"]}], {"stop_when": "decided"}, "stop_when"),
        ([{"turns": ["a"]}], {"existing": "reuse"}, "reuse"),
        ([{"turns": ["a"]}], {"conversation": vnb.Conversation(input="msg")}, "message"),
        ([{"turns": ["a"]}], {"conversation": vnb.Conversation(carry="history")}, "CHAT_HISTORY"),
        ([{"turns": ["a", 3]}], {}, "message"),
    ],
)
def test_conversations_that_do_not_fit_are_refused_before_a_call(ws, cases, options, problem):
    with pytest.raises(InputError, match=problem):
        ws.sweep("bot", cases, **BOTH, **options)
    assert ws.history.count() == 0


def test_another_way_to_continue_is_another_sweep(ws):
    cases = [{"turns": ["a", "b"]}]
    history = ws.sweep("ask", cases, **BOTH)
    both = ws.sweep("ask", cases, conversation=vnb.Conversation(carry="both"), **BOTH)
    assert both.id != history.id
    assert ws.sweep("ask", cases, conversation=vnb.Conversation(carry="history"), **BOTH).id == (
        history.id
    )


def test_unknown_option_of_a_conversation_is_refused():
    with pytest.raises(InputError, match="'history', 'state', 'both'"):
        vnb.Conversation(carry="memory")


def test_a_turn_without_an_answer_ends_its_conversation(ws):
    sweep = ws.sweep("bot", [{"turns": ["a", "no", "b", "c"]}], release_tags=["v1"], progress=False)
    runs = {run.turn: run for run in sweep.runs()}
    assert [runs[turn].state for turn in (1, 2, 3, 4)] == [
        "FULFILLED",
        "REJECTED",
        "FAILED",
        "FAILED",
    ]
    assert runs[4].error.code == "CONVERSATION_ENDED"
    assert runs[4].error.message == "turn 2 was REJECTED, so this turn was not sent"
    assert (sweep.state, runs[3].execution_id) == ("done", None)
    cmp = sweep.compare()
    frame = cmp.frame()
    assert frame.loc[0, ["state@v1", "turns@v1", "first_failed_turn@v1"]].tolist() == [
        "FAILED",
        1,
        2,
    ]


def test_conversation_that_ends_early_is_one_failure(ws):
    cases = [{"turns": ["a", "no", "b", "c", "d"]}, {"turns": ["a", "b"]}]
    limits = {"stop_after_failures": 2}
    sweep = ws.sweep("bot", cases, release_tags=["v1"], limits=limits, progress=False)
    now = progress_of(sweep)
    assert (sweep.state, now.done, now.failed, now.unsent, now.ended) == ("done", 3, 1, 3, 7)
    assert sweep.failed()["turn"].tolist() == [2]
    assert repr(sweep) == "<Sweep of bot on v1: done, 7 of 7 runs, 1 failed, 3 not sent>"
    counts = ws.sweeps()[["planned", "done", "failed", "unsent", "started", "to_go"]]
    assert counts.to_numpy().tolist() == [[7, 3, 1, 3, 0, 0]]
    reopened = progress_of(ws.open_sweep(sweep.id))
    assert (reopened.done, reopened.failed, reopened.unsent) == (3, 1, 3)


def test_failures_of_conversations_stop_a_sweep(ws):
    cases = [{"turns": ["no", "a", "b"]}] * 3
    limits = {"stop_after_failures": 2}
    options = {"limits": limits, "concurrency": 1, "progress": False}
    sweep = ws.sweep("bot", cases, release_tags=["v1"], **options)
    assert (sweep.state, progress_of(sweep).failed) == ("stopped", 2)
    assert ws.history.count(state="REJECTED") == 2


def test_failed_turns_are_repeated_from_where_the_conversation_ended(ws, server):
    cases = [{"turns": ["a", "no", "b"]}, {"turns": ["c"]}]
    sweep = ws.sweep("bot", cases, release_tags=["v1"], progress=False)
    server.deploy(forget, name="bot", release_tags=["v1"])
    sweep.retry_failed()
    assert sorted(said(sweep, "v1")) == [["a", "a | no", "no | b"], ["c"]]
    assert ws.history.count(state="FULFILLED") == 4


def test_limits_stop_between_turns_and_the_conversation_goes_on(ws):
    cases = [{"turns": TURNS}]
    options = {"release_tags": ["v1"], "progress": False}
    sweep = ws.sweep("bot", cases, limits={"max_calls": 2}, **options)
    assert (sweep.state, len(sweep.runs())) == ("stopped", 2)
    again = ws.sweep("bot", cases, **options)
    assert (again.id, said(again, "v1")[0][-1]) == (sweep.id, " | ".join(TURNS))
    reopened = ws.open_sweep(sweep.id)
    assert reopened.state == "done"


def test_a_conversation_is_one_case_of_a_comparison(ws):
    cases = [{"turns": TURNS, "expected.output": " | ".join(TURNS)}, {"turns": ["hello"]}]
    cmp = ws.sweep("bot", cases, repeats=2, **BOTH).compare()
    assert [case.turns for case in cmp.cases] == [3, 1]
    assert [len(runs) for runs in cmp.cases[0].tries.values()] == [2, 2]
    assert cmp.result("v2").worse == 1
    frame = cmp.frame()
    assert frame["first_changed_turn@v2"].tolist() == [3, pd.NA]
    assert frame["first_failed_turn@v2"].tolist() == [3, pd.NA]
    turns = cmp.turns()
    assert turns["turn"].tolist() == [1, 2, 3, 1]
    assert turns["changed@v2"].tolist() == [False, False, True, False]
    assert turns["input.message"].tolist() == [*TURNS, "hello"]


def test_turns_of_an_unfinished_conversation_count(ws):
    cases, limits = [{"turns": TURNS}], {"max_calls": 5}
    sweep = ws.sweep("bot", cases, limits=limits, concurrency=1, **BOTH)
    runs = sweep.frame()
    variants = runs.assign(variant=runs["release_tag"].map({"v1": "old", "v2": "new"}))
    by_tag, by_variant = sweep.compare().frame(), vnb.compare(variants, by="variant").frame()
    assert by_tag[["turns@v1", "turns@v2"]].to_numpy().tolist() == [[3, 2]]
    assert by_variant[["turns@old", "turns@new"]].to_numpy().tolist() == [[3, 2]]
    assert by_tag["state@v2"].tolist() == ["missing"]


def test_the_frame_of_the_history_compares_the_same_conversations(ws):
    sweep = ws.sweep("bot", [{"turns": TURNS}, {"turns": TURNS[1:]}], **BOTH)
    cmp = vnb.compare(sweep.frame())
    assert [case.turns for case in cmp.cases] == [3, 2]
    assert cmp.with_baseline("v2").turns()["changed@v1"].sum() == 1


def test_a_comparison_without_conversations_has_no_turns(ws):
    ws.run("bot", {"message": "a"}, release_tag="v1")
    cmp = ws.compare("bot")
    assert (len(cmp.turns()), [name for name in cmp.frame() if "turn" in name]) == (0, [])


@pytest.mark.parametrize("number", [1, 3])  # of turns that arrive together
def test_new_conversation_is_added_to_a_comparison(ws, number):
    cmp = ws.sweep("bot", [{"turns": TURNS[:2]}], **BOTH).compare()
    runs = [run for tag in TAGS for run in ws.converse("bot", TURNS, release_tag=tag)]
    for at in range(0, len(runs), number):
        cmp = cmp.with_runs(runs[at : at + number])
    assert [(case.number, case.turns, case.status("v2")) for case in cmp.cases] == [
        (1, 2, "same"),
        (2, 3, "differs"),
    ]
    assert cmp.turns()["output.output@v2"].tolist()[2:] == [
        run.outputs["output"] for run in runs[3:]
    ]
    total = sum(run.latency_s for run in runs[3:])
    assert cmp.cases[1].runs["v2"].latency_s == pytest.approx(total)


def test_another_conversation_of_a_case_is_a_repeat(ws):
    cmp = ws.sweep("bot", [{"turns": TURNS}], **BOTH).compare()
    more = cmp.replay(release_tag="v1", progress=False).runs()
    (last,) = (run for run in more if run.turn == 3)
    again = cmp.with_runs(more)
    assert [run.turn for run in again.cases[0].tries["v1"]] == [3, 3]
    assert again.with_runs(without=[last.id]).cases[0].repeats("v1") == (0, 1)


def test_case_of_another_deployment_is_not_added(ws):
    cmp = ws.sweep("bot", [{"turns": TURNS}], **BOTH).compare()
    with pytest.raises(InputError, match="of none of the cases compared"):
        cmp.with_runs(ws.converse("ask", TURNS, release_tag="v1"))


def test_conversations_are_replayed_with_their_scripts(ws, server):
    talks = [{"turns": TURNS, "conversation": "name", "expected.output": "Ann"}]
    cmp = ws.sweep("bot", talks, **BOTH).compare()
    server.deploy(remember, name="bot", release_tags=["v3"])
    replay = cmp.replay(cmp.frame("changed"), release_tag="v3", progress=False)
    (case,) = cmp.cases
    assert said(replay, "v3") == said(ws.open_sweep(case.runs["v1"].sweep_id), "v1")
    frame = replay.frame().sort_values("turn")
    assert set(frame["case_id"]) == {case.case_id}
    assert set(frame["label.replay_of"]) == {case.runs["v1"].id}
    assert set(frame["label.conversation"]) == {"name"}
    assert frame["expected.output"].tolist()[2] == "Ann"
    assert ws.compare("bot", release_tags=["v1", "v3"]).cases[0].status("v3") == "same"
    again = cmp.replay(case.runs["v2"], release_tag="v3", progress=False)
    assert again.id == replay.id


def test_replayed_conversation_keeps_its_history_and_inputs(ws, server):
    both = vnb.Conversation(carry="both")
    talks = [{"turns": ["a", {"messages": "b", "mood": "sad"}], "mood": "calm"}]
    cmp = ws.sweep("chat", talks, conversation=both, **BOTH).compare()
    server.deploy(chat, name="chat", release_tags=["v3"])
    replay = cmp.replay(release_tag="v3", progress=False)
    assert said(replay, "v3") == said(ws.open_sweep(cmp.cases[0].runs["v1"].sweep_id), "v1")
    first, second = sorted(replay.runs(), key=lambda run: run.turn)
    assert second.previous_execution_id == first.execution_id
    assert first.case_id == cmp.cases[0].case_id


def test_replayed_conversations_and_single_cases_are_two_sweeps(ws):
    ws.run("bot", {"message": "a"}, release_tag="v1")
    ws.converse("bot", TURNS, release_tag="v1")
    cmp, before = ws.compare("bot"), ws.history.count()
    with pytest.raises(InputError, match="do not fit in one sweep"):
        cmp.replay(release_tag="v2", progress=False)
    assert ws.history.count() == before


def test_conversation_without_its_sweep_is_not_replayed(ws, tmp_path):
    ws.converse("bot", TURNS, release_tag="v1")
    path = ws.history.to_jsonl(tmp_path / "runs.jsonl")
    with vnb.connect(ws.client.base_url, api_key=KEY, history=":memory:") as other:
        other.history.merge(path)
        with pytest.raises(InputError, match="no sweep with the script of the conversation"):
            other.compare("bot").replay(release_tag="v2")


def test_one_conversation_is_run_and_read_back(ws):
    runs = ws.converse("bot", TURNS, release_tag="v2")
    assert [run.turn for run in runs] == [1, 2, 3]
    stored = ws.history.conversation(runs[0].conversation_id)
    assert [run.id for run in stored] == [run.id for run in runs]
    assert ws.converse("bot", TURNS, release_tag="v2")[0].id == runs[0].id
    with pytest.raises(vnb.HistoryError, match="no conversation 'x'"):
        ws.history.conversation("x")


def test_exports_keep_the_conversation(ws, tmp_path):
    runs = ws.converse("bot", TURNS, release_tag="v1")
    read = vnb.read_jsonl(ws.history.to_jsonl(tmp_path / "runs.jsonl"))
    assert sorted(read["turn"]) == [1, 2, 3]
    with vnb.History(tmp_path / "other.db") as other:
        other.merge(tmp_path / "runs.jsonl")
        assert len(other.conversation(runs[0].conversation_id)) == 3


@pytest.mark.slow
def test_kernels_killed_at_every_turn_execute_every_turn_once(kernels, counting, place):
    """The server lists executions late, and 15 % of the calls fail; a kernel makes one call.

    ``SWEEP_TALKS=60 pytest tests/workspace/test_turns.py -k every_turn -s`` runs 600 turns.
    """
    chance = random.Random(29)  # noqa: S311
    scale = 0.15 / sum(FAULTS.values())
    counting.faults = {name: share * scale for name, share in FAULTS.items() if name != "hang"}
    counting.lag = 0.1
    cases = [{"turns": [f"{at}.{turn}" for turn in range(5)]} for at in range(TALKS)]
    order = {"tags": ["v1", "v2"], "read": 2, "options": {"concurrency": 2}}
    kills, kernel = 0, None
    while kernel is None or not kernel.outcome_exists:
        posts = counting.posts
        counting.most = posts + 1
        kernel = kernels.start(counting.url, place, cases, **order)
        wait_until(lambda k=kernel, n=posts: counting.posts > n or k.outcome_exists, 300)
        time.sleep(chance.uniform(0, 0.02))  # the kill is before, during or after the answer
        kernel.kill()
        kills += not kernel.outcome_exists
    with vnb.connect(counting.url, api_key=KEY, history=place) as ws:
        sweep = ws.open_sweep(ws.history.runs()[0].sweep_id)
        runs, stored = sweep.runs(), [*said(sweep, "v1", "said"), *said(sweep, "v2", "said")]
    planned = [[f"{tag} {at}.{turn}" for turn in range(5)] for at in range(TALKS) for tag in TAGS]
    counts = f"{kills} kills, {counting.posts} calls, {counting.lookups} look-ups"
    print(f"{counts}, {len(runs)} turns")  # noqa: T201
    assert dict(counting.executed) == {run.external_id: 1 for run in runs}
    assert sorted(stored) == sorted(planned)
    assert sorted(executed_conversations(counting)) == sorted(planned)
    assert kills >= len(runs) - 1  # the last turn can end before its kernel is killed


def executed_conversations(counting):
    """Return the answers of each conversation as the server executed it."""
    executions = {execution["span_id"]: execution for execution in counting.kept.values()}
    for last in executions.keys() - {each["previous"] for each in executions.values()}:
        answers, execution = [], executions[last]
        while execution is not None:
            answers.insert(0, execution["value"])
            execution = executions.get(execution["previous"])
        yield answers


def test_first_conversations_of_a_file_are_run_whole(ws, tmp_path):
    path = tmp_path / "talks.jsonl"
    lines = [json.dumps({"turns": [f"{n}a", f"{n}b"]}) for n in range(3)]
    path.write_text("\n".join(lines), encoding="utf-8")
    plan = ws.sweep("bot", CaseFile(str(path), None, first=2), dry_run=True, **BOTH)
    assert (plan.conversations, plan.cases, plan.omitted) == (2, 4, 1)
    assert "the first 2 of the 3 cases of talks.jsonl" in plan.notes


def test_releases_need_an_input_for_the_history(ws, server):
    server.deploy(lambda question: question, name="ask", release_tags=["v1"])
    with pytest.raises(InputError, match="v1 has no single input of type CHAT_HISTORY"):
        ws.sweep("ask", [{"turns": ["a", "b"]}], **BOTH)
    assert ws.history.count() == 0


def test_turn_without_a_message_has_the_history_only(ws):
    talks = [{"turns": ["a", {"mood": "sad", "messages": []}]}]
    last = max(ws.sweep("chat", talks, **BOTH).runs(), key=lambda run: run.turn)
    assert [each["role"] for each in last.inputs["messages"]] == ["USER", "ASSISTANT"]


@pytest.mark.parametrize("text", ["[urgent] help", "[]", "[1"])
def test_text_in_brackets_is_a_message(ws, text):
    run = ws.converse("chat", [text], release_tag="v1")[0]
    assert [each["text"] for each in run.inputs["messages"]] == [text]


def test_inputs_can_be_called_turn_and_turns(ws, server):
    server.deploy(lambda turns: turns, name="turns", release_tags=["v1"])
    server.deploy(lambda turn, text: f"{turn} {text}", name="turn", release_tags=["v1"])
    options = {"release_tags": ["v1"], "progress": False}
    assert ws.sweep("turns", [{"turns": "a"}], **options).runs()[0].turn is None
    rows = [{"conversation": "x", "turn": "1", "text": "a"}]
    assert ws.sweep("turn", rows, **options).runs()[0].turn is None
    talks = [{"turns": [{"turn": "a", "text": "b"}]}]
    talk = vnb.Conversation(input="text")
    assert ws.sweep("turn", talks, conversation=talk, **options).runs()[0].inputs == {
        "turn": "a",
        "text": "b",
    }


def test_repeats_are_not_mixed(ws, server):
    answers = iter(["ok", "ok", "no", "no"])

    def moody(message: str) -> str:
        if next(answers) == "no":
            raise Reject("no")
        return message

    server.deploy(moody, name="moody", release_tags=["v1"])
    options = {"release_tags": ["v1"], "repeats": 2, "concurrency": 1, "progress": False}
    cmp = ws.sweep("moody", [{"turns": ["a", "b", "c"]}], **options).compare()
    shown = cmp.cases[0].runs["v1"]
    stored = [run.state for run in ws.history.conversation(shown.conversation_id)]
    assert cmp.turns()["state@v1"].tolist() == stored


def test_cost_and_latency_of_a_conversation_are_those_of_all_turns(ws):
    runs = ws.converse("bot", TURNS, release_tag="v1")
    ws.converse("bot", TURNS, release_tag="v2")
    shown = ws.compare("bot").cases[0].runs["v1"]
    assert shown.latency_s == pytest.approx(sum(run.latency_s for run in runs))


def test_part_of_a_conversation_can_be_compared(ws):
    frame = ws.sweep("bot", [{"turns": TURNS}], **BOTH).frame()
    cmp = vnb.compare(frame[frame["turn"] == 2])
    assert (len(cmp.cases), len(cmp.turns())) == (1, 1)


@pytest.mark.parametrize("turn", ["first", 1.5, -1, True, float("inf")])
def test_a_column_turn_of_a_user_is_not_a_conversation(turn):
    frame = pd.DataFrame({"release_tag": ["v1", "v2"], "input.q": ["x", "x"], "output.o": "y"})
    assert vnb.compare(frame.assign(turn=turn)).cases[0].turns == 0


def test_a_deleted_turn_ends_its_conversation_only(ws):
    talks = [{"turns": TURNS}, {"turns": ["a", "b"]}]
    options = {"release_tags": ["v1"], "concurrency": 1, "progress": False}
    sweep = ws.sweep("bot", talks, limits={"max_calls": 3}, **options)
    second = next(run for run in sweep.runs() if run.turn == 2)
    ws.history.delete([second.id])
    assert ws.sweep("bot", talks, **options).state == "done"
    first, third = ws.history.conversation(second.conversation_id)
    assert (first.state, third.state, third.error.message) == (
        "FULFILLED",
        "FAILED",
        "the turn before was deleted, so this turn was not sent",
    )
    assert ws.history.count(state="FULFILLED") == 3


def test_turns_that_were_not_sent_do_not_count_as_calls(ws):
    talks = [{"turns": ["no", "a", "b"]}, {"turns": ["c", "d"]}]
    options = {"release_tags": ["v1"], "concurrency": 1, "progress": False}
    ws.sweep("bot", talks, limits={"max_calls": 1}, **options)
    sweep = ws.sweep("bot", talks, limits={"max_calls": 3}, **options)
    sent = [run for run in sweep.runs() if run.execution_id is not None]
    assert (sweep.state, len(sent)) == ("done", 3)


def test_stored_turns_are_not_cases(ws):
    sweep = ws.sweep("bot", [{"turns": TURNS}], **BOTH)
    for cases in (sweep.frame(), sweep.runs()):
        with pytest.raises(InputError, match="runs of conversations"):
            ws.sweep("bot", cases, **BOTH)


def test_a_turn_that_is_repeated_continues_the_same_answer(counting):
    counting.script.extend(["answer cancelled", "none", "answer cancelled"])
    with vnb.connect(counting.url, api_key=KEY, history=":memory:") as ws:
        ws.sweep("count", [{"turns": ["a", "b", "c"]}], release_tags=["v1"], progress=False)
        runs = ws.history.runs()
    assert Counter((run.turn, run.state) for run in runs) == {
        (1, "CANCELLED"): 1,
        (2, "CANCELLED"): 1,
        **{(turn, "FULFILLED"): 1 for turn in (1, 2, 3)},
    }
    answered = {run.turn: run.execution_id for run in runs if run.state == "FULFILLED"}
    for run in runs:
        before = answered.get(run.turn - 1)
        assert run.previous_execution_id == counting.kept[run.external_id]["previous"] == before


def test_what_the_user_says_is_the_input_of_the_case(ws):
    talks = [{"turns": TURNS}]
    assert ws.sweep("bot", talks, **BOTH).compare().cases[0].inputs == {"turns": "\n".join(TURNS)}
    talks = [{"turns": ["a", "b"]}]
    assert ws.sweep("chat", talks, **BOTH).compare().cases[0].inputs == {"turns": "a\nb"}
    talks = [{"turns": ["a", {"messages": [("user", "b")], "mood": "sad"}]}]
    turns = ws.sweep("chat", talks, **BOTH).compare().cases[0].inputs["turns"]
    assert (turns[0], turns[1]["mood"]) == ("a", "sad")


def scored(ws, metric, turns, *, bot="bot", **options):
    """Return the figures of one conversation, by release."""
    frame = ws.sweep(bot, [{"turns": turns}], **BOTH).compare(metrics=metric, **options).frame()
    return [frame.loc[0, f"metric.{metric.name}@{tag}"] for tag in ("v1", "v2")]


@pytest.mark.parametrize(
    "fn",
    [
        lambda conversation: conversation.turns,
        lambda run, conversation: len(conversation.runs) if run else None,
        lambda run, expected, conversation: conversation.turns if run else expected,
        lambda run, conversation, expected: conversation.turns if run else expected,
        lambda run, *, conversation: conversation.turns if run else None,
    ],
)
def test_metric_with_a_parameter_conversation_gets_all_turns(ws, fn):
    assert scored(ws, vnb.Metric(fn, name="turns"), TURNS) == [3, 3]


def test_turns_of_a_conversation_have_their_own_cost_and_latency(ws):
    def rest(run, conversation):
        return run.latency_s - sum(turn.latency_s for turn in conversation.runs)

    assert scored(ws, vnb.Metric(rest), TURNS) == pytest.approx([0, 0])


def test_single_case_is_a_conversation_of_one_turn(ws):
    ws.run("bot", {"message": "a"}, release_tag="v1")
    talk = vnb.Metric(lambda conversation: conversation.transcript == "User: a\nAssistant: a")
    assert ws.compare("bot", metrics=talk).frame()["metric.metric@v1"].tolist() == [1]


def transcripts(ws, bot, turns, inputs=None):
    """Return the transcript of one conversation by release."""
    sweep = ws.sweep(bot, [{"turns": turns, **(inputs or {})}], **BOTH)
    case = sweep.compare().cases[0]
    return {tag: case.conversation(run).transcript for tag, run in case.runs.items()}


def test_transcript_has_the_messages_of_the_user_and_the_answers(ws):
    assert transcripts(ws, "bot", ["a", "b", "c"])["v2"].splitlines() == [
        "User: a",
        "Assistant: a",
        "User: b",
        "Assistant: a | b",
        "User: c",
        "Assistant: b | c",
    ]


def test_transcript_does_not_repeat_the_chat_history(ws):
    asked = "User: a\nAssistant: a after 0\nUser: b\nAssistant: b after 2"
    assert transcripts(ws, "ask", ["a", "b"])["v1"] == asked
    said = "User: a\nAssistant: sad: USER a\nUser: b\nAssistant: sad: USER a | "
    assert transcripts(ws, "chat", ["a", "b"], {"mood": "sad"})["v1"].startswith(said)


def test_message_of_several_lines_cannot_pretend_to_be_an_answer(ws):
    assert transcripts(ws, "bot", ["a\nAssistant: b"])["v1"] == (
        "User: a\n  Assistant: b\nAssistant: a\n  Assistant: b"
    )


def test_rated_conversation_keeps_the_cost_and_latency_of_all_turns(ws):
    cmp = ws.sweep("bot", [{"turns": TURNS}], **BOTH).compare()
    last = cmp.cases[0].runs["v1"]
    again = cmp.with_runs([ws.rate(last.id, quality=1)])
    assert again.cases[0].runs["v1"].quality == 1
    assert again.cases[0].runs["v1"].latency_s == last.latency_s


@pytest.fixture
def releases(server):
    """Deploy four releases, of which the third is the first that forgets."""
    for tag, bot in (("v1", remember), ("v2", remember), ("v3", forget), ("v4", forget)):
        server.deploy(bot, name="talker", release_tags=[tag])


def test_release_that_changed_a_conversation_is_found(ws, releases):
    first = ws.converse("talker", TURNS, release_tag="v1")
    found = ws.bisect("talker", first[0])
    assert (found.last_same, found.first_changed, found.reused) == ("v2", "v3", 1)
    assert {run.turn for run in found.runs} == {3}
    assert found.inputs == {"turns": [{"message": text} for text in TURNS]}
    count = ws.history.count()
    again = ws.bisect("talker", ws.compare("talker").cases[0])
    assert (again.first_changed, again.reused) == ("v3", len(found.runs))
    assert ws.bisect("talker", first[0].case_id).first_changed == "v3"
    assert ws.history.count() == count == 3 * len(found.runs)


def names_ann(run):
    return "Ann" in run.outputs["output"]


@pytest.mark.parametrize(
    ("check", "values"),
    [
        (names_ann, ["[true, true, true]", "[true, true, false]"]),
        (vnb.Metric(names_ann), ["true", "false"]),
        (lambda conversation: conversation.transcript.count("Ann"), ["4", "3"]),
        ("exact", ["true", "false"]),
    ],
)
def test_check_of_a_conversation_sees_all_turns(ws, releases, check, values):
    talks = [{"turns": TURNS, "expected.output": " | ".join(TURNS)}]
    run = ws.sweep("talker", talks, release_tags=["v1"], progress=False).runs()[0]
    check = vnb.metrics.exact() if check == "exact" else check
    found = ws.bisect("talker", run, check)
    assert found.first_changed == "v3"
    assert found.frame()["value"].unique().tolist() == values


def test_conversation_that_a_release_rejects_is_a_change(ws, server):
    def echo(message: str) -> str:
        return message

    server.deploy(echo, name="talker", release_tags=["v1"])
    server.deploy(remember, name="talker", release_tags=["v2"])
    run = ws.converse("talker", ["a", "no", "b"], release_tag="v1")[0]
    found = ws.bisect("talker", run, lambda conversation: conversation.runs[1].state)
    assert found.frame()["value"].unique().tolist() == ["FULFILLED", "REJECTED"]
    assert ws.bisect("talker", run).reused == len(found.runs)


def test_bisection_of_a_conversation_continues_an_interrupted_one(ws, releases):
    options = {"release_tags": ["v4"], "limits": {"max_calls": 1}, "progress": False}
    (begun,) = ws.sweep("talker", [{"turns": TURNS}], **options).runs()
    run = ws.converse("talker", TURNS, release_tag="v1")[0]
    found = ws.bisect("talker", run)
    assert found.first_changed == "v3"
    assert begun.conversation_id in {run.conversation_id for run in found.runs}


def required(question: str, chat_history: ChatHistory) -> str:
    """Answer with the number of earlier messages; the history is a required input."""
    return f"{question} after {len(chat_history)}"


def test_required_chat_history_begins_empty(ws, server):
    server.deploy(required, name="required", release_tags=["v1", "v2"])
    sweep = ws.sweep("required", [{"turns": ["a", "b"]}], **BOTH)
    assert sorted(run.outputs["output"] for run in sweep.runs()) == [
        *("a after 0", "a after 0", "b after 2", "b after 2")
    ]
    case = sweep.compare().cases[0]
    assert case.inputs == {"turns": "a\nb"}
    assert case.conversation(case.runs["v1"]).transcript == (
        "User: a\nAssistant: a after 0\nUser: b\nAssistant: b after 2"
    )


def test_given_chat_history_is_continued(ws, server):
    server.deploy(required, name="required", release_tags=["v1", "v2"])
    history = [{"role": "USER", "text": "hi"}, {"role": "ASSISTANT", "text": "hello"}]
    sweep = ws.sweep("required", [{"turns": ["a", "b"], "chat_history": history}], **BOTH)
    assert sorted(run.outputs["output"] for run in sweep.runs()) == [
        *("a after 2", "a after 2", "b after 4", "b after 4")
    ]


def test_reply_of_a_deployment_without_declared_outputs_is_named(ws, server):
    def undeclared(messages: ChatHistory) -> dict:
        return {"answer": f"{len(messages)}"}

    server.deploy(undeclared, name="undeclared", release_tags=["v1", "v2"])
    talk = vnb.Conversation(reply="answer")
    sweep = ws.sweep("undeclared", [{"turns": ["a", "b"]}], conversation=talk, **BOTH)
    answers = sorted(run.outputs["answer"] for run in sweep.runs())
    assert answers == ["1", "1", "3", "3"]
