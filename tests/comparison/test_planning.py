"""Plans: how many cases and repeats would show that a release loses less than a margin."""

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.power import TTestPower

import vellum_nb as vnb
from vellum_nb.comparison import statistics as stats
from vellum_nb.comparison.planning import Assumptions, planned_cases, power
from vellum_nb.comparison.statistics import Pilot, cases_for, paired_share
from vellum_nb.errors import InputError

OPTIONS = {"margin": 0.08, "alpha": 0.05}


def compared(number, repeats=1, *, hard=0.3, seed=0, **options):
    """Compare two releases that answer each case right with the same probability."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "release_tag": tag,
            "input.n": case,
            "output.answer": "right" if rng.random() > hard else "wrong",
            "expected.answer": "right",
            "latency_s": 2.0,
            "cost_usd": 0.01,
        }
        for case in range(number)
        for tag in ("v1", "v2")
        for _ in range(repeats)
    ]
    return vnb.compare(pd.DataFrame(rows), **{"metrics": "exact"} | options)


def test_plan_lists_the_calls_that_are_still_to_be_made():
    plan = compared(40, repeats=2).plan(margin=0.1, concurrency=4).set_index(["cases", "repeats"])
    assert plan.loc[(40, 2), "calls"] == 0
    assert plan.loc[(40, 3), "calls"] == 80
    assert plan.loc[(100, 1), "calls"] == 200 - 80
    assert plan["time_s"].tolist() == (plan["calls"] * 2.0 / 4).tolist()
    assert plan["cost_usd"].tolist() == pytest.approx((plan["calls"] * 0.01).tolist())


def test_cheapest_plan_has_the_fewest_calls_of_those_with_enough_power():
    plan = compared(40, repeats=2).plan(margin=0.1, power=0.9)
    enough = plan[plan["power"] >= 0.9]
    assert plan["cheapest"].sum() == 1
    assert plan.loc[plan["cheapest"], "calls"].item() == enough["calls"].min()


def test_power_grows_with_cases_and_with_repeats():
    plan = compared(40, repeats=2).plan(margin=0.1)
    table = plan.pivot_table(index="cases", columns="repeats", values="power")
    assert table.columns.tolist() == [1, 2, 3, 5]
    assert (np.diff(table, axis=0) >= 0).all()
    assert (np.diff(table.loc[100:], axis=1) >= 0).all()


def test_without_repeats_the_noise_is_unknown_and_one_repeat_is_planned():
    once = compared(40)
    assert set(once.plan()["repeats"]) == {1}
    assert set(once.plan(assume={"noise": 0.2})["repeats"]) == {1, 2, 3, 5}


def test_noise_of_repeats_is_separated_from_differences_between_cases():
    """Cases that differ by chance alone need half as many cases with two repeats."""
    plan = compared(400, repeats=2).plan(margin=0.02, repeats=(1, 2))
    needed = plan[plan["power"] >= 0.8].groupby("repeats")["cases"].min()
    assert needed[1] / needed[2] == pytest.approx(2, rel=0.25)


def test_a_plan_without_runs_needs_assumptions():
    few = compared(4)
    with pytest.raises(InputError, match="a plan needs 6 compared cases, or assume="):
        few.plan()
    with pytest.raises(InputError, match="a plan needs 6 compared cases"):
        few.plan(assume={"noise": 0.1})
    plan = few.plan(assume={"discordance": 0.2, "latency_s": 10}, repeats=iter([1]))
    assert plan["time_s"].iloc[0] == 10 * plan["calls"].iloc[0]
    assert plan["cheapest"].sum() == 1


def test_an_expected_loss_needs_more_cases():
    comparison = compared(40)
    needed = [
        plan.loc[plan["cheapest"], "cases"].item()
        for plan in (
            comparison.plan(margin=0.1, assume={"discordance": 0.2, "difference": loss})
            for loss in (0.0, -0.05)
        )
    ]
    assert needed[1] > 3 * needed[0]
    hopeless = comparison.plan(margin=0.1, assume={"discordance": 0.2, "difference": -0.1})
    assert not hopeless["cheapest"].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -1}, "margin must be a number such as 0.05, or '10%' of the baseline's mean"),
        ({"margin": 5}, "margin must be below 1 for a score or pass rate, not 5"),
        ({"margin": {"speed": 0.1}}, "no metric 'speed'; available: exact"),
        ({"power": 80}, "power must be a number between 0 and 1"),
        ({"power": "0.8"}, "power must be a number above 0, not '0.8'"),
        ({"repeats": [0]}, "repeats must be"),
        ({"repeats": 5}, r"repeats must be a list of whole numbers, such as \[1, 2\], not 5"),
        ({"repeats": ()}, "repeats must be a list of whole numbers"),
        ({"repeats": [2, 3]}, "the noise of repeats is unknown"),
        ({"assume": ["noise"]}, "assume must be a mapping"),
        ({"assume": {"discordance": None}}, "must be a number of at least 0, not None"),
        ({"assume": {"disc": 1}}, "'disc' is unknown; available: difference, discordance"),
        ({"assume": {"noise": math.nan}}, "must be a number of at least 0, not nan"),
        ({"assume": {"discordance": 5}}, "must be a number of at most 1, not 5"),
        ({"assume": {"difference": "5%"}}, "must be a number above -inf, not '5%'"),
        ({"assume": {"spread": math.inf}}, r"must be a number of at most 1e\+100"),
        ({"release": "v1"}, "v1 is the baseline; available: v2"),
        ({"metric": "score"}, "no metric 'score'"),
    ],
)
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(InputError, match=message):
        compared(6).plan(**options)


def test_margin_of_a_plan_is_that_of_the_decision():
    def sizes(comparison, *args, **options):
        return comparison.plan(*args, **options)["cases"].tolist()

    assert sizes(compared(40)) == sizes(compared(40), margin=0.05)
    assert sizes(compared(40, margin=0.1)) == sizes(compared(40), margin=0.1)
    assert sizes(compared(40), margin={"exact": 0.1}) == sizes(compared(40), "exact", margin=0.1)


def test_a_plan_in_seconds_needs_a_margin():
    comparison = compared(40, metrics=["exact", "latency_s"])
    with pytest.raises(InputError, match="latency_s needs a margin"):
        comparison.plan("latency_s")
    assume = {"spread": 0.5}
    relative = comparison.plan("latency_s", margin="10%", assume=assume)
    assert relative.equals(comparison.plan("latency_s", margin=0.2, assume=assume))
    assert relative.equals(comparison.plan("latency_s", margin={"latency_s": 0.2}, assume=assume))


@pytest.mark.parametrize("number", [10, 40, 300])
def test_power_of_numbers_is_that_of_statsmodels(number):
    assumptions = Assumptions(variance=0.3, noise=0.4, is_share=False, difference=0.02)
    peer = TTestPower().power(0.1 / math.sqrt(0.5), number, 0.025, alternative="larger")
    assert power(assumptions, number, 2, **OPTIONS) == pytest.approx(peer, abs=1e-6)


@pytest.mark.slow
def test_planned_cases_with_repeats_deliver_the_power():
    repeats = 3
    rng = np.random.default_rng(repeats)
    chance = rng.beta(3, 1, (200_000, 1)) + 0.1 * rng.choice([-1, 1], (200_000, 2))
    chance = np.clip(chance, 0, 1)
    noise = float((chance * (1 - chance)).mean(axis=0).sum())
    between = float((chance[:, 1] - chance[:, 0]).var())
    assumptions = Assumptions(variance=between, noise=noise)
    number = planned_cases(assumptions, repeats, target=0.8, **OPTIONS)
    hits = 0
    for _ in range(500):
        of = chance[rng.integers(0, len(chance), number)]
        means = (rng.random((repeats, number, 2)) < of).mean(axis=0)
        delta = means[:, 1] - means[:, 0]
        hits += stats.paired(delta, is_share=True).low > -OPTIONS["margin"]
    assert 0.75 <= hits / 500 <= 0.87


def test_additional_cases_of_twenty_decide_four_times_of_five():
    rng = np.random.default_rng(0)
    decided = []
    for _ in range(200):
        gained, lost = rng.multinomial(20, [0.15, 0.15, 0.7])[:2]
        pilot = Pilot.of_shares(gained, lost, 20, 0.1)
        total = cases_for(partial(pilot.power, alpha=0.05), least=21)
        more = rng.multinomial(total - 20, [0.15, 0.15, 0.7])
        counts = int(gained + more[0]), int(lost + more[1])
        found = paired_share(*counts, total)
        decided.append(found.low > -0.1 or (found.p <= 0.05 and found.mean < 0))
    assert 0.78 <= np.mean(decided) <= 0.85
