"""The result of a conversation is that of all its turns."""

import pytest
from dom_kit import text_of

import vellum_nb as vnb
from vellum_nb.comparison.lines import CaseOrder, line_html
from vellum_nb.local import State
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


def test_markdown_shows_the_turn_that_explains_the_result(cmp):
    text = cmp.to_markdown()
    assert "| turn 1 of 2 | <code>v1</code> (baseline) | <code>v2</code> |" in text
    assert "| <code>output</code><br>expected <code>a</code> | <code>a</code> |" in text


def test_report_shows_the_turn_that_explains_the_result(cmp):
    html = cmp.to_html()
    assert "<td>turn 1 of 2</td>" in html
    assert '<td data-release="v2" class="vnb-wrong">' in html


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
