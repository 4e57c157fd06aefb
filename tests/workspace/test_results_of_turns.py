"""The result of a conversation is that of all its turns."""

import pytest
from dom_kit import text_of

import vellum_nb as vnb
from vellum_nb.comparison.lines import CaseOrder, line_html
from vellum_nb.local import ChatHistory, Reject, State
from vellum_nb.widgets.grid_rows import row

BOTH = {"release_tags": ["v1", "v2"], "progress": False}
EARLY = [{"turns": [{"message": "a", "expected.output": "a"}, "b"]}]  # v2 misses it in turn 1


def plain(message: str) -> str:
    """Answer with the message."""
    return message


def late(message: str, state: State) -> str:
    """Answer the first message wrongly, and the others as `plain`."""
    is_first = "said" not in state
    state["said"] = True
    return "pardon" if is_first else message


@pytest.fixture
def server():
    with vnb.LocalServer() as server:
        server.deploy(plain, name="bot", release_tags=["v1"])
        server.deploy(late, name="bot", release_tags=["v2"])
        yield server


@pytest.fixture
def cmp(ws):
    return ws.sweep("bot", EARLY, **BOTH).compare()


def test_conversation_differs_if_any_turn_differs(cmp):
    assert cmp.cases[0].status("v2") == "differs"
    assert cmp.frame()["changed@v2"].tolist() == [True]


def test_expected_value_of_an_early_turn_is_checked(cmp):
    case = cmp.cases[0]
    assert (case.checks("v1"), case.checks("v2")) == ({"output": True}, {"output": False})


def test_output_is_as_expected_if_every_turn_is(ws):
    turns = [{"message": "a", "expected.output": "a"}, {"message": "b", "expected.output": "b"}]
    case = ws.sweep("bot", [{"turns": turns}], **BOTH).compare().cases[0]
    assert (case.checks("v1"), case.checks("v2")) == ({"output": True}, {"output": False})


def test_frame_has_the_values_expected_at_the_end_and_turns_have_all(ws):
    early = {"message": "a", "expected.output": "a"}
    cases = [
        {"turns": [early, "b"]},
        {"turns": [early, "d"], "expected.output": "d"},
        {"turns": ["c", {"message": "b", "expected.output": "b"}]},
    ]
    cmp = ws.sweep("bot", cases, **BOTH).compare()
    frame, turns = cmp.frame(), cmp.turns()
    assert frame["expected.output"].fillna("").tolist() == ["", "d", "b"]
    assert frame["output.output@v1"].tolist() == ["b", "d", "b"]
    assert turns["expected.output"].fillna("").tolist() == ["a", "", "a", "d", "", "b"]


def test_turn_of_a_case_has_its_run_and_its_expected_values(cmp):
    first, last = cmp.cases[0].by_turn
    assert (first.turn, first.expected, first.runs["v2"].outputs) == (
        1,
        {"output": "a"},
        {"output": "pardon"},
    )
    assert (last.turn, last.expected, last.status("v2")) == (2, {}, "same")


@pytest.mark.parametrize(
    ("turns", "decisive"),
    [
        (["a", "b"], 1),  # the first that differs
        ([{"message": "a", "expected.output": "pardon"}, "b"], 1),
        (["a", {"message": "b", "expected.output": "c"}], 2),  # not as expected on both
        (["a"], 0),
    ],
)
def test_turn_that_explains_the_result(ws, turns, decisive):
    assert ws.sweep("bot", [{"turns": turns}], **BOTH).compare().cases[0].decisive.turn == decisive


def test_last_turn_explains_a_result_without_differences(ws):
    runs = ws.sweep("bot", [{"turns": ["a", "b"]}], release_tags=["v1"], progress=False)
    assert runs.compare().cases[0].decisive.turn == 2


def test_line_shows_the_turn_that_explains_the_result(cmp):
    html = line_html(cmp.figures, cmp.cases[0], None, str)
    assert "turn 1 of 2" in html
    assert "pardon, expected a" in text_of(html)


def test_repeats_differ_if_any_turn_differs(ws, server):
    answers = iter(["a", "b", "c", "b"])

    def moody(message: str) -> str:
        return next(answers)

    server.deploy(moody, name="moody", release_tags=["v1"])
    options = {"release_tags": ["v1"], "repeats": 2, "concurrency": 1, "progress": False}
    cmp = ws.sweep("moody", [{"turns": ["x", "y"]}], **options).compare()
    assert cmp.cases[0].is_unstable
    assert len(cmp.frame(only="unstable")) == 1


def test_search_finds_an_answer_of_an_early_turn(cmp):
    assert CaseOrder(cmp.figures, None).find((), {}, (), "pardon") == [0]


def test_chip_names_the_turn_that_is_not_as_expected(cmp):
    assert "output ✗ expected a in turn 1" in row(cmp, cmp.cases[0], None, frozenset(), {})["html"]


def figures_of(ws, turns, metrics=None):
    """Return the figures of a conversation on v1 and v2 by the first metric."""
    cmp = ws.sweep("bot", [{"turns": turns}], **BOTH).compare(metrics=metrics)
    frame, name = cmp.frame(), cmp.metrics[0].name
    return [frame.loc[0, f"metric.{name}@{tag}"] for tag in ("v1", "v2")]


def test_score_is_the_mean_of_the_turns_with_expected_values(ws):
    turns = [
        {"message": "a", "expected.output": "a"},
        "b",
        {"message": "c", "expected.output": "c"},
    ]
    assert figures_of(ws, turns) == [1.0, 0.5]


def test_exact_requires_every_turn(ws):
    turns = [{"message": "a", "expected.output": "a"}, {"message": "b", "expected.output": "b"}]
    assert figures_of(ws, turns, vnb.metrics.exact) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("aggregate", "figures"),
    [("mean", [2, 3]), ("min", [1, 1]), ("max", [3, 6]), ("last", [3, 3]), ("sum", [8, 12])],
)
def test_figures_of_turns_are_aggregated(ws, aggregate, figures):
    length = vnb.Metric(lambda run: len(run.outputs["output"]), name="n", aggregate=aggregate)
    frame = figures_of(ws, ["aa", "b", "cc", "ddd"], length)
    assert frame == figures


@pytest.mark.parametrize(
    ("fn", "figures"),
    [
        (lambda run: run.outputs["output"] != "pardon", [1, 0]),  # every turn must pass
        (lambda run: float(run.outputs["output"] != "pardon"), [1, 0.5]),
    ],
)
def test_default_aggregate_is_min_of_checks_and_mean_of_numbers(ws, fn, figures):
    assert figures_of(ws, ["a", "b"], fn) == figures


def test_unknown_aggregate_is_refused():
    with pytest.raises(
        vnb.InputError,
        match="aggregate must be 'mean', 'min', 'max', 'last' or 'sum', not 'median'",
    ):
        vnb.Metric(len, aggregate="median")


def test_built_in_metric_can_have_another_aggregate(ws):
    last = vnb.Metric(vnb.metrics.contains("pardon"), aggregate="last")
    assert last.name == "contains"
    assert figures_of(ws, ["a", "b"], [vnb.metrics.contains("pardon")]) == [0, 1]
    assert figures_of(ws, ["a", "b"], last) == [0, 0]


def test_metric_with_a_parameter_expected_skips_turns_without_expected_values(ws):
    turns = ["b", {"message": "a", "expected.output": "a"}]
    same = vnb.Metric(lambda run, expected: run.outputs["output"] == expected["output"], name="m")
    assert figures_of(ws, turns, same) == [1, 1]


def test_error_of_a_metric_names_the_turn(ws):
    def fails(run):
        return run.outputs["output"] == "pardon" or run.outputs["none"]

    with pytest.warns(UserWarning, match="failed on 2 of 2 runs"):
        cmp = ws.sweep("bot", [{"turns": ["a", "b"]}], **BOTH).compare(metrics=fails)
    assert cmp.errors()["message"].tolist() == [
        "turn 1: KeyError: 'none'",
        "turn 2: KeyError: 'none'",
    ]


def test_conversation_rejected_in_its_last_turn_has_no_part_of_a_score(ws, server):
    def refuses(message: str) -> str:
        if message == "b":
            raise Reject("no")
        return message

    server.deploy(refuses, name="bot", release_tags=["v2"])
    turns = [{"message": "a", "expected.output": "a"}, {"message": "b", "expected.output": "b"}]
    assert figures_of(ws, turns) == [1.0, 0.0]


def many(number):
    """Return conversations that v2 fails in the first turn only."""
    return [
        {"turns": [{"message": f"{n}", "expected.output": f"{n}"}, "bye"]} for n in range(number)
    ]


def test_conversation_that_misses_an_early_value_is_worse(ws):
    cmp = ws.sweep("bot", many(8), **BOTH).compare()
    assert (cmp.result("v2").verdict, cmp.result("v2").worse) == ("worse", 8)
    assert cmp.decide()["v2"].verdict == "should not replace"
    assert cmp.decide()["v2"].n == 8  # conversations, not turns


def test_gates_fail_for_an_early_value(ws):
    cmp = ws.sweep("bot", many(8), **BOTH).compare()
    with pytest.raises(vnb.RegressionError, match="should not replace"):
        cmp.assert_not_worse()
    with pytest.raises(vnb.RegressionError, match="8 worse"):
        cmp.assert_no_regressions()
    assert cmp.to_junit().count("<failure") >= 8


def test_judge_reads_the_transcript(ws, server):
    def polite(talk: str) -> float:
        """Return whether the assistant never begs pardon."""
        return float("pardon" not in talk)

    server.deploy(polite, name="polite")
    judge = ws.judge("polite", inputs={"talk": "conversation.transcript"})
    assert figures_of(ws, ["a", "b"], judge) == [1, 0]


def test_judge_reads_the_messages(ws, server):
    def count(talk: ChatHistory) -> int:
        return len(talk)

    server.deploy(count, name="count")
    judge = ws.judge("count", inputs={"talk": "conversation.messages"})
    assert figures_of(ws, ["a", "b"], judge) == [4, 4]


def test_function_for_the_inputs_of_a_judge_gets_the_conversation(ws, server):
    def polite(talk: str) -> float:
        return float("pardon" not in talk)

    server.deploy(polite, name="polite")

    def inputs(run, expected, conversation):
        return {"talk": conversation.transcript if run and expected is not None else ""}

    assert figures_of(ws, ["a", "b"], ws.judge("polite", inputs=inputs)) == [1, 0]


def test_judge_without_the_transcript_judges_the_last_turn(ws, server):
    def grade(answer: str) -> float:
        return float(answer == "b")

    server.deploy(grade, name="grade")
    judge = ws.judge("grade", inputs={"answer": "output.output"})
    assert figures_of(ws, ["a", "b"], judge) == [1, 1]


def test_unknown_part_of_a_conversation_is_refused(ws):
    with pytest.raises(
        vnb.InputError,
        match=r"conversation.transcript or conversation.messages, not 'conversation.text'",
    ):
        ws.judge("polite", inputs={"talk": "conversation.text"})


def test_rating_with_a_desired_value_of_an_early_turn_changes_the_result(ws):
    cmp = ws.sweep("bot", [{"turns": ["a", "b"]}], **BOTH).compare()
    first = cmp.cases[0].by_turn[0].runs["v2"]
    again = cmp.with_runs([ws.rate(first.id, desired={"output": "a"})])
    assert again.cases[0].checks("v2") == {"output": False}
    assert len(again.cases[0].tries["v2"]) == 1


def test_turns_show_an_updated_run(ws):
    cmp = ws.sweep("bot", EARLY, **BOTH).compare()
    first = cmp.cases[0].by_turn[0].runs["v2"]
    again = cmp.with_runs([first.model_copy(update={"outputs": {"output": "a"}})])
    assert again.turns()["output.output@v2"].tolist() == ["a", "b"]
    assert again.frame()["metric.score@v2"].tolist() == [1.0]


@pytest.mark.parametrize("without", [[], ["case_id"]])
def test_turns_of_a_frame_are_paired_by_position(ws, server, without):
    def chat(messages: ChatHistory) -> str:
        return f"{len(messages)}"

    def other(messages: ChatHistory) -> str:
        return f"{len(messages)} messages"

    server.deploy(chat, name="chat", release_tags=["v1"])
    server.deploy(other, name="chat", release_tags=["v2"])
    frame = ws.sweep("chat", [{"turns": ["a", "b"]}], **BOTH).frame()
    cmp = vnb.compare(frame.drop(columns=without))
    assert cmp.cases[0].inputs == {"turns": "a\nb"}
    assert cmp.turns()["output.output@v2"].tolist() == ["1 messages", "3 messages"]


def test_chart_has_the_score_of_each_turn_with_its_interval(ws):
    cmp = ws.sweep("bot", many(8), **BOTH).compare()
    (rows,) = cmp.chart("turns").chart.to_dict()["datasets"].values()
    assert [(row["turn"], row["release"], row["mean"], row["n"]) for row in rows] == [
        (1, "v1", 1.0, 8),
        (1, "v2", 0.0, 8),
    ]
    assert rows[1]["high"] < rows[0]["low"]


def test_chart_of_turns_needs_conversations(ws):
    ws.run("bot", {"message": "a"}, release_tag="v1")
    with pytest.raises(vnb.InputError, match="no conversations"):
        ws.compare("bot").chart("turns")
