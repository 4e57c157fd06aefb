"""Every figure against R's answer or a published table; each test says which."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vellum_nb.comparison.statistics import (
    cases_needed,
    cohen_kappa,
    corrected_mean,
    holm,
    krippendorff_alpha,
    mean_interval,
    paired,
    paired_share,
    pooled_variance,
    share_interval,
    sign_test,
    unlike_pairs,
    win_rate,
)

SLEEP = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
"""Student (1908): hours of sleep gained by the second drug over the first; R's `sleep`."""


def test_the_sign_test_is_mcnemars_exact_test_in_r():
    # R: exact2x2::mcnemar.exact(matrix(c(794, 86, 150, 570), 2)), p-value = 3.716e-05
    assert sign_test(86, 150) == pytest.approx(3.716e-05, rel=1e-4)
    # sleep: 9 of 9 without the tie: R: binom.test(9, 9), p-value = 0.003906
    assert sign_test(9, 0) == pytest.approx(0.003906, 1e-3)
    assert sign_test(0, 0) == 1.0


@pytest.mark.parametrize(
    ("pairs", "least"),
    [(6, 0), (8, 0), (9, 1), (11, 1), (12, 2), (15, 3), (17, 4), (20, 5), (25, 7), (30, 9),
     (40, 13)],
)  # fmt: skip
def test_the_critical_values_are_those_of_the_published_table(pairs, least):
    # Dixon and Mood (1946), "The statistical sign test", table 1, 5 %, two-sided
    assert sign_test(least, pairs - least) <= 0.05 < sign_test(least + 1, pairs - least - 1)


def test_the_interval_of_a_win_rate_is_that_of_binom_test_in_rs_manual():
    """Conover's Mendelian inheritance, 682 of 925: the example of ``?binom.test``."""
    found = win_rate(682, 243)
    assert found.mean == pytest.approx(0.7372973, abs=5e-8)
    assert (found.low, found.high) == pytest.approx((0.7076683, 0.7654066), abs=5e-8)


def test_p_is_small_just_where_the_interval_leaves_no_difference_out():
    for won, lost in [(w, n) for w in range(13) for n in range(13) if w + n]:
        found = win_rate(won, lost)
        assert (found.low > 0.5 or found.high < 0.5) == (found.p < 0.05)
    rng = np.random.default_rng(3)
    for shift in (0.0, 0.2, 0.3, 0.5):
        found = paired(rng.normal(shift, 1, 60), seed=5)
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_holms_correction_of_a_published_example():
    # Benjamini and Hochberg (1995), the 15 p values of their example. R: p.adjust(p, "holm")
    given = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    given += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    wanted = [0.0015, 0.0056, 0.0247, 0.1140, 0.2211, 0.2780, 0.2780, 0.2780, 0.3213]
    assert holm(given) == pytest.approx(wanted + [1.0] * 6)
    assert holm(given[::-1]) == pytest.approx([1.0] * 6 + wanted[::-1])


@pytest.mark.parametrize(
    ("passed", "number", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)],
)
def test_the_interval_of_a_share_is_the_published_one(passed, number, low, high):
    # Newcombe (1998), Statistics in Medicine 17:857, table I, method 3
    found = share_interval(passed / number, number)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_the_interval_of_a_difference_of_shares_is_the_published_one():
    # Agresti (2002), Categorical Data Analysis, 10.1.1: -0.04 and (-0.06, -0.02)
    found = paired_share(86, 150, 1600)
    assert [round(each, 2) for each in (found.mean, found.low, found.high)] == [-0.04, -0.06, -0.02]
    assert found.p == sign_test(86, 150)
    assert paired_share(10, 0, 10).low < 0.8  # it is still wide where all cases agree
    assert paired_share(0, 0, 10).high > 0.1


def test_the_bootstrap_interval_is_scipys():
    theirs = stats.bootstrap(
        (SLEEP,), np.mean, method="percentile", n_resamples=9_999
    ).confidence_interval
    found = paired(SLEEP, seed=0)
    assert found.mean == pytest.approx(1.58)  # R: t.test(..., paired = TRUE), mean 1.58
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.06)


def test_the_p_value_of_few_differences_is_never_below_what_an_exact_test_reaches():
    # three differences of one sign: 2 / 2**3, which a bootstrap alone would call sure
    assert paired(np.array([1.0, 2.0, 3.0]), seed=0).p == 0.25
    assert paired(SLEEP, seed=0).p == pytest.approx(2 / 2**9)
    assert paired(np.array([0.5]), seed=0).p == 1.0


def test_the_bootstrap_is_right_as_often_as_it_says():
    rng = np.random.default_rng(11)
    held = [(e := paired(rng.normal(0.3, 1, 50), seed=0)).low <= 0.3 <= e.high for _ in range(300)]
    assert 0.90 <= sum(held) / 300 <= 0.98


def test_equal_seeds_give_equal_figures_and_no_difference_has_p_1():
    assert paired(SLEEP, seed=4) == paired(SLEEP, seed=4) != paired(SLEEP, seed=5)
    assert paired(np.zeros(8), seed=0).p == 1.0
    assert paired(np.zeros(0), seed=0).p is None


def test_many_values_have_the_normal_interval():
    values = np.random.default_rng(2).normal(2, 3, 4_000)
    found = mean_interval(values, seed=0)
    theirs = stats.norm.interval(0.95, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(theirs)
    test = stats.norm.sf(abs(values.mean() / stats.sem(values))) * 2
    assert paired(values - 2, seed=0).p == pytest.approx(
        2 * stats.norm.sf(abs((values.mean() - 2) / stats.sem(values)))
    )
    assert paired(values, seed=0).p == pytest.approx(test)


def test_the_variance_between_repeats_is_rs_residual_mean_square():
    # R: anova(lm(weight ~ group, PlantGrowth)), Residuals 27, Mean Sq 0.3886
    ctrl = [4.17, 5.58, 5.18, 6.11, 4.50, 4.61, 5.17, 4.53, 5.33, 5.14]
    trt1 = [4.81, 4.17, 4.41, 3.59, 5.87, 3.83, 6.03, 4.89, 4.32, 4.69]
    trt2 = [6.31, 5.12, 5.54, 5.50, 5.37, 5.29, 4.92, 6.15, 5.80, 5.26]
    groups = np.repeat([0, 7, 9], 10)
    found = pooled_variance(groups, np.array(ctrl + trt1 + trt2))
    assert found == pytest.approx(0.3886, abs=5e-5)
    assert pooled_variance(np.arange(5), np.arange(5.0)) is None


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), max_size=30))
def test_pairs_that_differ_are_those_one_can_count(runs):
    pairs = [(a, b) for a, b in combinations(runs, 2) if a[0] == b[0]]
    cells = np.array([cell for cell, _ in runs], dtype=np.intp)
    kinds = np.array([kind for _, kind in runs], dtype=np.intp)
    assert unlike_pairs(cells, kinds) == (sum(a != b for a, b in pairs), len(pairs))


def test_how_many_cases_would_show_a_difference_is_rs_answer():
    # R: pwr::pwr.norm.test(d = 0.5, power = 0.8), n = 31.39544; d = 0.2, n = 196.2215
    assert cases_needed(0.5, 1.0) == 32
    assert cases_needed(-0.2, 1.0) == 197
    assert cases_needed(0.0, 1.0) is None
    assert cases_needed(0.9, 0.01) == 6  # fewer can never be shown: 2 / 2**5 > 0.05


@pytest.mark.parametrize("right", [0.7, 0.9, 0.98])
def test_intervals_of_a_judge_and_of_raters_hold_the_truth(right):
    """As benchmarks/simulate_agreement.py, with fewer comparisons."""
    rng = np.random.default_rng(17)
    held = {"kappa": [], "alpha": [], "corrected": []}
    true = 2 * right - 1  # where half of the answers pass
    for _ in range(600):
        truth = rng.random(160) < 0.5
        judge = truth ^ (rng.random(160) >= right)
        counts = np.bincount(2 * ~truth[:40] + ~judge[:40], minlength=4)
        kappa = cohen_kappa(counts.reshape(2, 2).tolist())
        held["kappa"].append(kappa.low <= true <= kappa.high)
        raters = ((rng.random((3, 40)) < right) == truth[:40]).sum(axis=0)
        alpha = krippendorff_alpha(raters.tolist(), [3] * 40)
        held["alpha"].append(alpha.low <= true**2 <= alpha.high)
        sides = truth[:40].astype(float), judge[:40].astype(float), judge[40:].astype(float)
        mean = corrected_mean(*sides, ends=(0, 1))
        held["corrected"].append(mean.low <= 0.5 <= mean.high)
    assert min(np.mean(each) for each in held.values()) >= 0.93
