"""Judges, duels, the bias of judges and proposed failure names read whole conversations."""

import pytest

import vellum_nb as vnb
from vellum_nb.errors import InputError
from vellum_nb.local import ChatHistory

BOTH = {"release_tags": ["v1", "v2"], "progress": False}
SCRIPT = {"turns": ["a", "b"]}
TALKS = {
    "v1": "User: a\nAssistant: A\nUser: b\nAssistant: B",
    "v2": "User: a\nAssistant: pardon?\nUser: b\nAssistant: B",
}


def loud(message: str) -> str:
    """Answer with the message in capitals."""
    return message.upper()


def late(message: str) -> str:
    """Answer "a" with a question, and others as `loud`."""
    return "pardon?" if message == "a" else message.upper()


@pytest.fixture
def server():
    with vnb.LocalServer() as server:
        server.deploy(loud, name="bot", release_tags=["v1"])
        server.deploy(late, name="bot", release_tags=["v2"])
        yield server


@pytest.fixture
def cmp(ws):
    return ws.sweep("bot", [SCRIPT], **BOTH).compare()


def judge_inputs(ws, name):
    """Return the inputs of all runs of a judge, oldest first."""
    return [run.inputs for run in reversed(ws.history.runs(deployment=name))]


def test_judge_without_inputs_gets_the_transcript(ws, server):
    def polite(inputs: dict, outputs: dict, expected: dict) -> bool:
        return "pardon" not in outputs["transcript"]

    server.deploy(polite, name="polite")
    ws.sweep("bot", [SCRIPT], **BOTH).compare(metrics=ws.judge("polite"), progress=False)
    outputs = [inputs["outputs"] for inputs in judge_inputs(ws, "polite")]
    assert sorted(outputs, key=str) == [
        {"output": "B", "transcript": TALKS["v1"]},
        {"output": "B", "transcript": TALKS["v2"]},
    ]


def test_output_called_transcript_is_next_to_that_of_the_conversation(ws, server):
    def judge(inputs: dict, outputs: dict, expected: dict) -> bool:
        return True

    def noted(message: str) -> dict[str, object]:
        return {"transcript": message.upper()}

    server.deploy(judge, name="judge")
    server.deploy(noted, name="noted")
    sweep = ws.sweep("noted", [SCRIPT], release_tags=["LATEST"], progress=False)
    sweep.compare(metrics=ws.judge("judge"), progress=False)
    (inputs,) = judge_inputs(ws, "judge")
    assert inputs["outputs"] == {"transcript": "B", "conversation.transcript": TALKS["v1"]}


def test_judge_without_inputs_gets_the_outputs_of_a_single_turn(ws, server):
    def judge(inputs: dict, outputs: dict, expected: dict) -> bool:
        return True

    server.deploy(judge, name="judge")
    cases = [{"message": "b"}]
    ws.sweep("bot", cases, **BOTH).compare(metrics=ws.judge("judge"), progress=False)
    assert judge_inputs(ws, "judge") == [
        {"inputs": {"message": "b"}, "outputs": {"output": "B"}, "expected": {}}
    ]


def calm(first: str, second: str) -> str:
    return "second" if "?" in first else "first"


COLUMNS = {
    "first": "first_conversation.transcript",
    "second": "second_conversation.transcript",
}


def test_duel_judge_reads_both_transcripts(ws, server, cmp):
    server.deploy(calm, name="calm")
    duels = cmp.duels(ws.duel_judge("calm", inputs=COLUMNS), progress=False)
    assert duels.frame()[["winner", "kind"]].to_numpy().tolist() == [["v1", "judged"]]
    inputs = sorted((each["first"], each["second"]) for each in judge_inputs(ws, "calm"))
    assert inputs == [(TALKS["v1"], TALKS["v2"]), (TALKS["v2"], TALKS["v1"])]


def test_duel_judge_reads_the_messages(ws, server, cmp):
    def same_length(first: ChatHistory, second: ChatHistory) -> str:
        return "tie" if (len(first), len(second)) == (4, 4) else "first"

    server.deploy(same_length, name="same-length")
    columns = {"first": "first_conversation.messages", "second": "second_conversation.messages"}
    duels = cmp.duels(ws.duel_judge("same-length", inputs=columns), progress=False)
    assert duels.frame()[["winner", "kind"]].to_numpy().tolist() == [["tie", "judged"]]


def test_function_for_the_inputs_of_a_duel_judge_gets_both_conversations(ws, server, cmp):
    server.deploy(calm, name="calm")

    def inputs(first, second, expected, first_conversation, second_conversation):
        return {
            "first": first_conversation.transcript,
            "second": second_conversation.transcript,
        }

    duels = cmp.duels(ws.duel_judge("calm", inputs=inputs), progress=False)
    assert duels.frame()["winner"].tolist() == ["v1"]


def test_duel_judge_without_inputs_gets_both_transcripts(ws, server, cmp):
    def first_talk(inputs: dict, first: dict, second: dict, expected: dict) -> str:
        return calm(first["transcript"], second["transcript"])

    server.deploy(first_talk, name="calm")
    duels = cmp.duels(ws.duel_judge("calm"), progress=False)
    assert duels.frame()["winner"].tolist() == ["v1"]


def test_duel_judge_of_a_single_turn_reads_its_transcript(ws, server):
    server.deploy(calm, name="calm")
    cmp = ws.sweep("bot", [{"message": "a"}], **BOTH).compare()
    duels = cmp.duels(ws.duel_judge("calm", inputs=COLUMNS), progress=False)
    assert duels.frame()["winner"].tolist() == ["v1"]


def test_conversations_that_are_equal_in_every_turn_are_a_tie_without_a_call(ws, server):
    server.deploy(calm, name="calm")
    cmp = ws.sweep("bot", [{"turns": ["c", "b"]}], **BOTH).compare()
    judge = ws.duel_judge("calm", inputs=COLUMNS)
    assert cmp.duels(judge, progress=False).frame()["kind"].tolist() == ["same"]
    assert ws.history.count(deployment="calm") == 0


def test_unknown_part_of_a_conversation_in_a_duel_is_refused(ws):
    columns = {**COLUMNS, "second": "second_conversation.text"}
    with pytest.raises(InputError, match="second_conversation.transcript or second_conversation.m"):
        ws.duel_judge("calm", inputs=columns)


def test_blind_duels_of_unrated_conversations_are_ties_only_if_every_turn_is_equal(ws):
    cases = [{"turns": ["a", "c"]}, {"turns": ["a", "b"]}, {"turns": ["c", "b"]}]
    cmp = ws.sweep("bot", cases, **BOTH).compare()
    session = cmp.blind()
    session.rate("A")
    session.finish()
    assert sorted(cmp.duels().frame()["kind"]) == ["judged", "open", "same"]


def rated(ws, turns):
    """Sweep 40 conversations whose first reply grows, and rate their last turn."""

    def verbose(message: str) -> str:
        return "word " * int(message) if message.isdigit() else "bye"

    ws.server.deploy(verbose, name="verbose", release_tags=["v1"])
    cases = [{"turns": [str(n * 37 % 200 + 1), *turns]} for n in range(40)]
    sweep = ws.sweep("verbose", cases, release_tags=["v1"], progress=False)
    for at, case in enumerate(sweep.compare().cases):
        ws.rate(case.runs["v1"], quality=at % 3 / 2)
    return sweep


def length_bias(ws, inputs):
    def likes_length(talk: str) -> bool:
        return len(talk) > 500

    ws.server.deploy(likes_length, name="likes-length")
    judge = ws.judge("likes-length", inputs=inputs)
    cmp = rated(ws, ["thanks"]).compare(metrics=judge, progress=False)
    return cmp.judge_check().bias(["length"]).iloc[0]


def test_bias_counts_the_replies_of_a_conversation_that_the_judge_reads(ws):
    row = length_bias(ws, {"talk": "conversation.transcript"})
    assert (row["finding"], row["n"]) == ("too high", 40)


def test_bias_counts_the_last_reply_if_the_judge_reads_no_other(ws):
    assert length_bias(ws, {"talk": "output.output"})["finding"] == "missing"  # all are "bye"


@pytest.mark.parametrize(
    ("inputs", "characters"),
    [
        (None, 8),
        ({"talk": "conversation.messages", "end": "output.output"}, 8),
        (lambda run, expected, conversation: {"given": [run, expected, conversation]}, 8),
        (lambda run, expected: {"given": [run, expected]}, 1),
        ({"end": "output.output"}, 1),
    ],
)
def test_length_is_that_of_the_replies_that_the_judge_reads(ws, cmp, inputs, characters):
    case = cmp.cases[0]  # v2 answers "pardon?" and "B"
    assert ws.judge("any", inputs=inputs).characters(case.conversation(case.runs["v2"])) == (
        characters
    )


def test_judge_of_transcripts_is_checked_by_failure_name(ws, server):
    def judge(talk: str) -> dict:
        failures = ["begs pardon"] if "pardon" in talk else []
        return {"score": 1.0, "failures": failures}

    server.deploy(judge, name="judge")
    metric = ws.judge("judge", inputs={"talk": "conversation.transcript"})
    cmp = ws.sweep("bot", [SCRIPT], **BOTH).compare(metrics=metric, progress=False)
    ws.history.annotate(cmp.cases[0].runs["v2"].id, tags=["failure:begs pardon"])
    assert cmp.failure_checks()[["name", "people", "judge"]].to_numpy().tolist() == [
        ["begs pardon", 1, 1]
    ]


@pytest.fixture
def namer(server):
    def namer(answers: list[dict]) -> dict:
        return {"failures": {"begs pardon": [1]}}

    server.deploy(namer, name="namer")
    return "namer"


def test_failure_namer_reads_the_transcript(ws, cmp, namer):
    ws.history.annotate(cmp.cases[0].runs["v2"].id, note="rude")
    cmp.propose_failures(namer, progress=False)
    (answer,) = judge_inputs(ws, namer)[0]["answers"]
    assert answer == {
        "id": 1,
        "release": "v2",
        "inputs": {"turns": "a\nb"},
        "outputs": {"output": "B", "transcript": TALKS["v2"]},
        "expected": {},
        "note": "rude",
    }


def worse(ws, turns):
    case = {"turns": [{"message": "a", "expected.output": "A"}, *turns]}
    return ws.sweep("bot", [case], **BOTH).compare()


def test_example_of_a_failure_without_a_note_is_its_transcript(ws, namer):
    proposals = worse(ws, ["b"]).propose_failures(namer, progress=False)
    assert proposals.frame()["text_1"].tolist() == [TALKS["v2"]]


def test_transcripts_of_failures_are_cut(ws, namer):
    proposals = worse(ws, ["b" * 9_000]).propose_failures(namer, progress=False)
    (answer,) = judge_inputs(ws, namer)[0]["answers"]
    example = proposals.frame()["text_1"].item()
    assert answer["outputs"]["transcript"] == example
    assert (len(example), example[-1]) == (4_000, "…")
