"""Power and numbers of cases against enumeration, and against a peer."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from vellum_nb.comparison.power import (
    cases_for,
    cases_needed,
    mean_power,
    share_margin_power,
    share_power,
)
from vellum_nb.comparison.statistics import mcnemar, paired_share


def drawn(number: int, gained: float, lost: float, times: int = 3_000):
    """Return drawn numbers of gained and lost cases."""
    rng = np.random.default_rng(5)
    return rng.multinomial(number, [gained, lost, 1 - gained - lost], size=times)[:, :2].tolist()


@pytest.mark.parametrize(("number", "gained", "lost"), [(12, 0.1, 0.4), (20, 0.5, 0.2), (9, 0, 0)])
def test_power_of_mcnemars_test_is_the_sum_over_all_tables(number, gained, lost):
    power = sum(
        stats.multinomial.pmf(
            [up, down, number - up - down], number, [gained, lost, 1 - gained - lost]
        )
        for up in range(number + 1)
        for down in range(number - up + 1)
        if mcnemar(up, down) <= 0.05
    )
    assert share_power(gained, lost, number) == pytest.approx(power, abs=1e-9)


def test_power_of_the_paired_test_is_statsmodels():
    for mean, number in ((0.5, 20), (-0.3, 100)):
        peer = TTestPower().power(abs(mean), number, 0.05)
        assert mean_power(mean, 1.0, number) == pytest.approx(peer, abs=1e-3)


def test_cases_needed_deliver_the_power():
    assert cases_needed(0.5, 1.0) == 34  # R: pwr.t.test(d = 0.5, power = 0.8, type = "paired")
    assert cases_needed(0.0, 1.0) is None
    number = cases_needed(-0.2, 0.6, shares=(0.1, 0.3))
    shown = [mcnemar(up, down) <= 0.05 for up, down in drawn(number, 0.1, 0.3)]
    assert 0.78 < np.mean(shown) < 0.85


def test_cases_that_exclude_a_loss_deliver_the_power():
    assert cases_for(lambda n: share_margin_power(0, 0, n, 0.05)) == 73  # z**2 (1 - m) / m
    number = cases_for(lambda n: share_margin_power(0.1, 0.1, n, 0.1))
    excluded = [paired_share(up, down, number).low > -0.1 for up, down in drawn(number, 0.1, 0.1)]
    assert 0.76 < np.mean(excluded) < 0.86


def test_an_infeasible_number_of_cases_is_none():
    assert cases_needed(1e-5, 1.0) is None
    assert cases_for(lambda n: share_margin_power(0.1, 0.2, n, 0.1)) is None
