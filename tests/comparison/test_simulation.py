"""How often intervals hold and tests err: a small part of two simulations in benchmarks/."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest


def simulation(name):
    path = Path(__file__).parents[2] / "benchmarks" / f"simulate_{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_intervals_hold_and_tests_err_as_seldom_as_they_say():
    module = simulation("statistics")
    for title in module.SCENARIOS:
        for number in (6, 40):
            found = module.simulate(title, number, times=75)
            # by more than three standard errors of so few comparisons
            assert not module.defects(found, margins=(0.088, 0.088)), (title, number, found)


@pytest.mark.slow
def test_decisions_with_a_margin_err_as_seldom_as_they_say():
    module = simulation("statistics")
    for title in module.SCENARIOS:
        found = module.simulate_decisions(title, 30, times=75)
        assert not module.defects(found, margins=(0.088, 0.088)), (title, found)


@pytest.mark.slow
def test_additional_cases_of_an_open_decision_deliver_the_power():
    found = simulation("statistics").simulate_pilots("pass or fail, 70 %", 20, times=200)
    assert 0.72 <= found["delivered"] <= 0.94


@pytest.mark.slow
@pytest.mark.parametrize("right", [0.7, 0.9, 0.98])
def test_intervals_of_a_judge_and_of_raters_hold_the_truth(right):
    module, rng = simulation("agreement"), np.random.default_rng(17)
    kappa = 2 * right - 1  # where half of the answers pass
    held = []
    for _ in range(600):
        found = module.drawn(rng, 40, 0.5, right)
        truth = (kappa, kappa**2, 0.5, -module.EFFECT)
        held.append([own.low <= true <= own.high for own, true in zip(found, truth, strict=True)])
    assert np.mean(held, axis=0).min() >= 0.93


@pytest.mark.slow
def test_equal_releases_win_few_duels_and_abilities_are_in_their_intervals():
    module = simulation("duels")
    for title in module.ARENAS:
        wins, held = module.simulate(title, 20, times=50)
        # by more than three standard errors of so few comparisons
        assert wins <= module.MOST + 0.1, (title, wins)
        assert held >= module.LEAST - 0.11, (title, held)


@pytest.mark.slow
def test_unchanged_releases_rarely_have_a_trend():
    module, rng = simulation("statistics"), np.random.default_rng(17)
    reported = 0
    for _ in range(150):
        values = module.grown(rng, "noisy", 20, 8, growth=0.12)
        change = dict(module.levels(values, module.scored_of(values), None))[7][2]
        reported += change.p <= module.WRONG
    assert reported / 150 <= module.WRONG + 0.054  # three standard errors


@pytest.mark.slow
def test_watches_find_a_drop_and_rarely_err():
    module, rng = simulation("statistics"), np.random.default_rng(17)
    years = [module.alarms(module.grown(rng, "noisy", 40, 365, growth=0.0)) for _ in range(60)]
    assert sum(map(bool, years)) <= 6  # 5 of 100, and two standard errors
    drops = [
        module.alarms(module.grown(rng, "almost", 40, 60, growth=0.0, drop_at=28))
        for _ in range(20)
    ]
    assert sum(bool(alarms) and alarms[0] <= 28 + 20 for alarms in drops) == 20
