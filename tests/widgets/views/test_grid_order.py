"""Filters, search and order of the cases in the grid."""

import pytest
from dom_kit import text_of
from view_kit import known, run, wrong

import vellum_nb as vnb
from vellum_nb import History


@pytest.fixture
def page(grid):
    runs = [(wrong if number == 1 else run)(number, "v1") for number in range(6)]
    runs += [run(0, "v2"), run(1, "v2"), wrong(2, "v2"), wrong(3, "v2")]
    # Case 5 differs in a text without an expected value; case 6 was not run on v2.
    runs.append(run(4, "v2", outputs={"category": "billing", "reply": "Sorry."}))
    return grid(runs, cases=known(*range(6), labels=["refund", "outage"]))


def test_regressions_are_listed_first(page):
    assert page.numbers() == [3, 4, 6, 2, 5, 1]
    head = page.state("_head")
    assert head["order"] == "regressions first"
    counts = {option["name"]: option["count"] for option in head["filters"]}
    assert counts == {"": 6, "different": 4, "regressions": 2, "missing": 1, "unstable": 0}


@pytest.mark.parametrize(
    ("states", "numbers"),
    [
        (["nonsense", 7], [3, 4, 6, 2, 5, 1]),
        (["regressions"], [3, 4]),
        (["missing"], [6]),
        (["regressions", "missing"], [3, 4, 6]),
        (["different"], [3, 4, 2, 5]),
        (["unstable"], []),
    ],
)
def test_cases_are_filtered_by_state(page, states, numbers):
    assert page.numbers(states=states) == numbers


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({"labels": {"topic": ["outage"]}}, [4, 6, 2]),
        ({"labels": {"topic": ["outage"]}, "states": ["regressions"]}, [4]),
        ({"labels": {"topic": ["refund", "outage"]}}, [3, 4, 6, 2, 5, 1]),
        ({"labels": {"unknown": ["x"]}}, []),
    ],
)
def test_cases_are_filtered_by_label(page, query, numbers):
    assert page.numbers(**query) == numbers


def test_invalid_label_filter_is_refused(page):
    page.numbers(labels={"unknown": ["x"]})
    assert page.numbers(labels=["topic"]) == []  # the previous rows
    assert "labels" in page.view.error


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("TICKET 3", [4]),  # an input
        ("sorry", [5]),  # an output
        ("sorry 4", [5]),  # both in one run
        ("sor", [5]),  # by the beginning of a word
        ("orry", []),
        ('"ticket 3"', [4]),
        ('"sor"', []),  # in quotes: whole words
        ("category", []),  # a name is no value
        ("???", []),
        ("", [3, 4, 6, 2, 5, 1]),
    ],
)
def test_search_covers_inputs_and_outputs(page, text, numbers):
    assert page.numbers(search=text) == numbers


def test_search_matches_the_same_runs_as_the_history(grid, tmp_path):
    texts = ["Größe 12", "refunds and policies", "e-mail", "policy refund", "naïve café", "東京"]
    texts.append('say "hi"\nto Zoë caf\\e9 12.5')
    runs = [run(at, "v1", outputs={"reply": text}) for at, text in enumerate(texts)]
    page = grid(runs)
    assert page.numbers(search="hi zoe") == page.numbers(search='"to zoë"') == [7]
    with History(tmp_path / "runs.db") as history:
        history.merge(runs)
        for text in [
            *["grosse", "mail", "polic", "CAFE", "京", "and", "??", "12.5"],
            '"e mail"',
            "refund policy",
        ]:
            found = {each.case_id for each in history.runs(search=text)}
            cases = {at for at, each in enumerate(runs, 1) if each.case_id in found}
            assert set(page.numbers(search=text)) == cases, text


def test_unstable_cases_follow_missing_ones(grid):
    runs = [wrong(0, "v1"), run(0, "v2"), run(1, "v1"), run(2, "v1"), run(2, "v2")]
    runs.append(run(2, "v2", 1, outputs={"category": "billing", "reply": "Sorry."}))
    assert grid(runs, cases=known(0, 1, 2)).numbers() == [2, 3, 1]


def test_states_apply_to_one_release(grid):
    runs = [run(n, "v1") for n in range(3)] + [wrong(0, "v2"), run(1, "v2"), run(2, "v2")]
    runs += [run(0, "v3"), wrong(1, "v3"), run(2, "v3")]
    page = grid(runs, tags=("v1", "v2", "v3"), cases=known(0, 1, 2))
    assert page.numbers(states=["regressions"]) == [1, 2]
    assert page.numbers(states=["regressions"], release="v3") == [2]
    assert page.numbers(states=["regressions"], release="v1") == [1, 2]  # not compared: on any


def test_largest_loss_is_listed_first(grid):
    runs = [run(number, "v1") for number in range(3)]
    runs += [run(0, "v2"), wrong(1, "v2"), run(2, "v2")]
    runs += [wrong(0, "v3"), wrong(1, "v3"), run(2, "v3")]
    page = grid(runs, tags=("v1", "v2", "v3"), cases=known(0, 1, 2))
    assert page.numbers() == [2, 1, 3]


def test_different_answers_are_listed_first_without_a_metric(grid):
    page = grid([run(0, "v1"), run(0, "v2"), run(1, "v1"), wrong(1, "v2"), run(2, "v1")])
    assert page.numbers() == [2, 3, 1]
    assert page.state("_head")["order"] == "those that differ first"
    filters = [each["name"] for each in page.state("_head")["filters"]]
    assert filters == ["", "different", "missing", "unstable"]
    assert page.cell(2, "v2")["word"] == "differs"
    assert "1 differs · 1 identical · 1 without an answer" in page.release("v2")


def test_case_with_different_repeats_is_unstable(grid):
    runs = [run(0, "v1"), run(0, "v2"), wrong(0, "v2", 1), run(0, "v2", 2), run(1, "v1")]
    page = grid(runs, cases=known(0, 1))
    assert page.numbers(states=["unstable"]) == [1]
    assert ("differs in 1 of 3 repeats", "warn") in page.cell(1, "v2")["chips"]
    assert ["unstable" in text_of(row["html"]) for row in page.rows()["rows"]] == [False, True]


@pytest.fixture
def two_metrics(grid):
    runs = [run(0, "v1"), wrong(0, "v2"), run(1, "v1"), run(1, "v2", latency_s=9.0)]
    return grid(runs, metrics=[vnb.metrics.contains("billing", "category"), vnb.metrics.latency_s])


def test_selected_metric_determines_the_regressions(two_metrics):
    assert two_metrics.numbers(states=["regressions"]) == [1]
    two_metrics.send(kind="metric", name="latency_s")
    assert two_metrics.view.error == ""
    assert two_metrics.numbers(states=["regressions"]) == [2]
    assert two_metrics.state("_head")["metric"] == "latency_s"


def test_unknown_metric_is_refused(two_metrics):
    two_metrics.send(kind="metric", name="charm")
    assert "Unknown metric 'charm'" in two_metrics.view.error


def test_rating_does_not_change_the_order(grid, actions):
    runs = [run(n, tag, quality=0.5) for n in range(3) for tag in ("v1", "v2")]
    page = grid(runs, actions=actions[0])
    before = page.numbers()
    page.act("rate", before[2], release="v2", quality=0.0)
    assert page.whole.wait(10)
    assert page.numbers() == before
    assert page.state("_head")["columns"][1]["remark"] == "= 2  ↓ 1"
    page.send(kind="baseline", release="v2")
    assert page.numbers() == [3, 1, 2]
