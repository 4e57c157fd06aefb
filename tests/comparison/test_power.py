"""Power and numbers of cases against enumeration, and against a peer."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import stats

from vellum_nb.comparison.statistics import (
    Pilot,
    cases_for,
    mean_power,
    paired_share,
    share_margin_power,
)

share = cache(paired_share)  # of counts that are drawn again and again


def drawn(number: int, gained: float, lost: float, times: int = 3_000):
    """Return drawn numbers of gained and lost cases."""
    rng = np.random.default_rng(5)
    return rng.multinomial(number, [gained, lost, 1 - gained - lost], size=times)[:, :2].tolist()


@pytest.mark.parametrize(("gained", "lost"), [(2, 3), (5, 2), (1, 6)])
def test_power_of_a_pilot_is_the_share_of_samples_that_decide(gained, lost):
    number, margin, total = 60, 0.1, 150
    pilot = Pilot.of_shares(gained, lost, number, margin)
    rng = np.random.default_rng(4)
    hits = np.zeros(2)
    for unequal in rng.beta(gained + lost + 0.5, number - gained - lost + 0.5, 1_500):
        shares = (unequal + pilot.expected) / 2, (unequal - pilot.expected) / 2
        if min(shares) < 0:
            shares = (unequal, 0.0) if pilot.expected > 0 else (0.0, unequal)
        up, down, _ = rng.multinomial(total - number, [*shares, 1 - sum(shares)])
        estimate = share(gained + int(up), lost + int(down), total)
        hits += estimate.low > -margin, estimate.mean < 0 and estimate.p <= 0.05
    assert pilot.power(total, 0.05) == pytest.approx(max(hits) / 1_500, abs=0.06)


def test_power_of_numbers_includes_the_uncertainty_of_their_spread():
    rng = np.random.default_rng(2)
    pilot = Pilot.of_numbers(0.0, 1.0, 12, 0.5)
    spreads = np.sqrt(11 / rng.chisquare(11, 4_000))
    means = rng.normal(0, spreads * np.sqrt(28)) / 40
    edges = stats.t.ppf(0.975, 39) * spreads / np.sqrt(40)
    assert pilot.power(40, 0.05) == pytest.approx(np.mean(means + 0.5 > edges), abs=0.03)
    one = np.ones(1)
    known = replace(pilot, spreads=one, at_margin=one, at_zero=one)
    assert known.power(40, 0.05) > pilot.power(40, 0.05)


def test_cases_that_exclude_a_loss_deliver_the_power():
    assert cases_for(lambda n: share_margin_power(0, 0, n, 0.05)) == 73  # z**2 (1 - m) / m
    number = cases_for(lambda n: share_margin_power(0, 0.2, n, 0.1))
    excluded = [share(up, down, number).low > -0.1 for up, down in drawn(number, 0.1, 0.1)]
    assert 0.76 < np.mean(excluded) < 0.86


def test_an_infeasible_number_of_cases_is_none():
    assert cases_for(lambda n: mean_power(1e-5, 1.0, n)) is None
    assert cases_for(lambda n: share_margin_power(-0.1, 0.3, n, 0.1)) is None
