"""Cases on one line, and the verdicts above them."""

import pytest
from dom_kit import dom, text_of
from view_kit import known, rejected, run, wrong

from vellum_nb.models.sweeps import SweepCase


def answer(number, tag, category, priority, repeat=0, **more):
    outputs = {"category": category, "priority": priority, "reply": "A long reply. " * 4}
    return run(number, tag, repeat, outputs=outputs | more)


def expecting(number, **expected):
    planned = known(number)[0]
    return SweepCase(number, planned.case_id, planned.inputs, expected, {})


@pytest.fixture
def page(grid, actions):
    """Return a grid of four cases: one part wrong, all wrong, identical, and missing."""
    runs = [answer(n, "v1", "billing", "high") for n in range(4)]
    runs += [answer(0, "v2", "account", "high"), answer(1, "v2", "how-to", "low")]
    runs.append(answer(2, "v2", "billing", "high"))
    cases = [expecting(n, category="billing", priority="high") for n in range(4)]
    return grid(runs, cases=cases, actions=actions[0])


def test_line_shows_the_expected_values_of_wrong_ones(page):
    lines = {line[0]: line[1:] for line in page.lines()}
    assert lines["case 1 ticket 0"] == [
        "v1 baseline as expected billing · high 1.00",
        "v2 worse account, expected billing · high \N{MINUS SIGN}0.50",
    ]
    assert lines["case 2 ticket 1"][1] == (
        "v2 worse how-to · low, expected billing · high \N{MINUS SIGN}1.00"
    )


def test_identical_outputs_are_an_equals_sign(page):
    assert page.lines()[-1] == [
        "case 3 ticket 2",
        "v1 baseline as expected billing · high 1.00",
        "v2 = identical",
    ]


def test_missing_answer_can_be_run_from_its_line(page):
    row = next(row for row in page.rows(full=False)["rows"] if row["number"] == 4)
    cell = dom(row["html"]).select(".vnb-grid-cell")[2]
    assert text_of(cell) == "v2 missing: not run Run"
    assert cell.select_one("button")["data-replay"] == "v2"


def test_line_names_values_in_its_tooltip(page):
    row = next(row for row in page.rows(full=False)["rows"] if row["number"] == 1)
    title = dom(row["html"]).select(".vnb-grid-cell")[2]["title"]
    assert title == "category: account, expected billing; priority: high"


def test_line_shows_repeats_that_disagree(grid):
    runs = [answer(0, "v1", "billing", "high")]
    runs += [answer(0, "v2", c, "high", n) for n, c in enumerate(("refund", "billing", "billing"))]
    (line,) = grid(runs, cases=[expecting(0, category="billing")]).lines()
    assert "~ 2 of 3" in line[2]


def test_line_names_a_longer_output_that_differs(grid):
    runs = [answer(0, "v1", "billing", "high"), answer(0, "v2", "billing", "high", reply="Other")]
    runs[1] = runs[1].model_copy(update={"outputs": runs[1].outputs | {"reply": "Another " * 9}})
    (line,) = grid(runs).lines()
    assert line[2] == "v2 differs billing · high · reply differs"


def test_line_shows_the_error_of_a_rejected_run(grid):
    (line,) = grid([run(0, "v1"), rejected(0, "v2")], cases=known(0)).lines()
    assert "USER_DEFINED_ERROR: no such plan" in line[2]


def test_verdict_is_the_sentence_of_decide(grid):
    runs = [run(n, tag) for n in range(60) for tag in ("v1", "v2")]
    runs += [(run if n else wrong)(n, "v3") for n in range(60)]
    page = grid(runs, tags=("v1", "v2", "v3"), cases=known(*range(60)), margin=0.1)
    (icon, text, step), (_, other, show) = page.verdicts
    decided = page.whole.comparison.decide()
    assert (icon, text, step) == ("FULFILLED", decided["v2"].sentence, {})
    assert other == f"{decided['v3'].sentence} Show 1 regression"
    assert show == {
        "data-show": "regressions", "data-release": "v3", "data-metric": "score"
    }  # fmt: skip


def test_verdict_without_a_metric_leads_to_a_blind_rating(grid, actions):
    runs = [run(0, "v1"), wrong(0, "v2"), run(1, "v1"), run(1, "v2"), run(2, "v1")]
    (verdict,) = grid(runs, actions=actions[0]).verdicts
    assert verdict[0] == "differs"
    assert verdict[1] == (
        "v2 differs from v1 on 1 of 2 cases. 1 case has no answer. No metric says which is better. "
        "Rate the answers blind, or give a metric or expected outputs. Rate blind"
    )
    assert verdict[2]["data-show"] == "blind"
    ((*_, step),) = grid(runs).verdicts  # read-only
    assert step["data-show"] == "different"


def test_verdict_mentions_added_latency_and_cost(grid):
    runs = [run(n, "v1", latency_s=1.0, cost_usd=0.01) for n in range(3)]
    runs += [run(n, "v2", latency_s=1.5, cost_usd=0.0102) for n in range(3)]
    ((_, text, _),) = grid(runs, cases=known(0, 1, 2)).verdicts
    assert "It takes 500 ms longer." in text


def test_verdict_omits_latency_that_cannot_be_noticed(grid):
    runs = [run(n, "v1", latency_s=0.001) for n in range(3)]
    runs += [run(n, "v2", latency_s=0.0014) for n in range(3)]
    ((_, text, _),) = grid(runs, cases=known(0, 1, 2)).verdicts
    assert "It takes" not in text
