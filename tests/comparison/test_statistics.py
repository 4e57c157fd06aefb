"""Every figure against a peer library, R's answer or a published table; each test says which."""

from itertools import combinations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq
from statsmodels.stats import contingency_tables
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from vellum_nb.comparison.statistics import (
    holm,
    mcnemar,
    mean_interval,
    paired,
    paired_share,
    paired_share_p,
    pooled_variance,
    sequential_test,
    share_interval,
    sign_test,
    slope,
    standard_error,
    unlike_pairs,
    win_rate,
)


def test_holms_correction_of_a_published_example():
    # Benjamini and Hochberg (1995), the 15 p values of their example. R: p.adjust(p, "holm")
    given = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    given += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    wanted = [0.0015, 0.0056, 0.0247, 0.1140, 0.2211, 0.2780, 0.2780, 0.2780, 0.3213]
    assert holm(given) == pytest.approx(wanted + [1.0] * 6)
    assert holm(given) == pytest.approx(multipletests(given, method="holm")[1], abs=1e-9)
    assert holm(given[::-1]) == pytest.approx([1.0] * 6 + wanted[::-1])


@given(st.integers(1, 300), st.data())
def test_counts_have_the_intervals_and_p_values_of_scipy_and_statsmodels(number, data):
    won = data.draw(st.integers(0, number))
    found, rate = share_interval(won / number, number), win_rate(won, number - won)
    assert (found.low, found.high) == pytest.approx(
        proportion_confint(won, number, 0.05, method="beta"), abs=1e-9
    )
    theirs = stats.binomtest(won, number, 0.5)
    interval = theirs.proportion_ci(0.95, method="exact")
    assert (rate.low, rate.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert rate.p == pytest.approx(theirs.pvalue, abs=1e-9)
    table = [[0, won], [number - won, 0]]
    assert rate.p == pytest.approx(contingency_tables.mcnemar(table, exact=True).pvalue)


def test_the_interval_of_a_difference_of_shares_is_where_tangos_score_reaches_it():
    # Agresti (2002), Categorical Data Analysis, 10.1.1: -0.04 and (-0.06, -0.02)
    found = paired_share(86, 150, 1600)
    assert [round(each, 2) for each in (found.mean, found.low, found.high)] == [-0.04, -0.06, -0.02]
    # R: exact2x2::mcnemar.exact(matrix(c(794, 86, 150, 570), 2)), p-value = 3.716e-05
    assert sign_test(86, 150) == pytest.approx(3.716e-05, rel=1e-4)
    assert found.p == mcnemar(86, 150)
    # Where all cases agree the limit is z**2 / (n + z**2), Wilson's of none: Tango (1998)
    none = paired_share(0, 0, 10)
    wilson = proportion_confint(0, 10, 0.05, method="wilson")[1]
    assert (-none.low, none.high) == pytest.approx((wilson, wilson), abs=1e-6)
    gained = paired_share(10, 0, 10)
    assert (gained.high, gained.low < 0.5) == (1.0, True)
    for won, lost, number in [(1, 7, 21), (3, 0, 8), (5, 4, 40)]:
        found = paired_share(won, lost, number)
        for limit, sign in ((found.low, 1), (found.high, -1)):
            # with the likeliest share of losses where the difference is `limit`
            losses = np.linspace(max(0, -limit) + 1e-9, (1 - limit) / 2 - 1e-9, 200_001)
            likely = won * np.log(losses + limit) + lost * np.log(losses)
            likely += (number - won - lost) * np.log(1 - 2 * losses - limit)
            share = losses[likely.argmax()]
            deviation = np.sqrt(number * (2 * share + limit - limit**2))
            score = (won - lost - number * limit) / deviation
            assert score == pytest.approx(sign * stats.norm.isf(0.025), abs=1e-3)
            assert paired_share_p(won, lost, number, limit) == pytest.approx(0.05, abs=1e-6)


@given(st.integers(0, 80), st.integers(0, 80))
def test_mid_p_counts_half_the_probability_of_the_observed_table(gained, lost):
    exact, number = stats.binomtest(gained, max(1, gained + lost), 0.5).pvalue, gained + lost
    mid = exact - stats.binom.pmf(gained, number, 0.5) if gained != lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(mid, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("number", [6, 8, 16, 20, 50])
@pytest.mark.parametrize("differing", [0.1, 0.3, 0.6, 0.8])
def test_mid_p_errs_less_than_six_times_of_a_hundred(number, differing):
    wrong = 0.0
    for gained in range(number + 1):
        for lost in range(number - gained + 1):
            if mcnemar(gained, lost) <= 0.05:
                counts = [gained, lost, number - gained - lost]
                shares = [differing / 2, differing / 2, 1 - differing]
                wrong += stats.multinomial.pmf(counts, number, shares)
    assert wrong < 0.06


@pytest.mark.parametrize("size", [1, 2, 25])
def test_clusters_of_equal_size_have_the_interval_and_p_value_of_statsmodels(size):
    rng = np.random.default_rng(size)
    clusters = np.repeat(np.arange(12), size)
    half = rng.normal(0, 1, 6 * size) + np.repeat(rng.normal(0, 1, 6), size)
    values = 0.4 + np.concatenate([half, -half])  # not skewed
    order = rng.permutation(len(values))
    clusters, values = clusters[order], values[order]
    robust = sm.OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True
    )
    found = paired(values, clusters=clusters)
    assert standard_error(values, clusters) == pytest.approx(robust.bse[0], abs=1e-9)
    assert [found.low, found.high] == pytest.approx(robust.conf_int()[0], abs=1e-9)
    assert found.p == pytest.approx(robust.pvalues[0], abs=1e-9)


def test_clusters_of_unequal_size_have_the_standard_error_of_leaving_each_out():
    rng = np.random.default_rng(4)
    half, of_half = rng.normal(0, 1, 30), np.sort(rng.integers(0, 5, 30))
    values = 0.4 + np.concatenate([half, -half])  # not skewed
    clusters = np.concatenate([of_half, of_half + 5])
    without = np.array([values[clusters != each].mean() for each in range(10)])
    error = np.sqrt(9 / 10 * ((without - values.mean()) ** 2).sum())
    assert standard_error(values, clusters) == pytest.approx(error, abs=1e-9)
    sizes = np.bincount(clusters)
    free = sizes.sum() ** 2 / (sizes**2).sum() - 1
    assert free < 9
    found = paired(values, clusters=clusters)
    theirs = stats.t.interval(0.95, free, values.mean(), error)
    assert (found.low, found.high) == pytest.approx(theirs, abs=1e-9)
    one_has_most = paired(np.arange(60.0), clusters=np.maximum(np.arange(60) - 54, 0))
    assert (one_has_most.p, str(one_has_most.low)) == (None, "nan")


@given(st.lists(st.integers(1, 50), min_size=3, max_size=20, unique=True), st.integers(-60, 60))
def test_differences_that_are_not_skewed_have_the_interval_and_p_value_of_scipy(values, shift):
    given = np.concatenate([values, [-each for each in values]]) + shift * 0.5
    theirs, found = stats.ttest_rel(given, np.zeros(len(given))), paired(given)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval()))
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-6)


@given(st.lists(st.integers(0, 50), min_size=6, max_size=20, unique=True))
def test_skewed_values_have_halls_interval_where_it_is_wider(values):
    given = np.exp(np.array(values) / 10)
    t = stats.ttest_1samp(given, 0)
    skew, error = stats.skew(given, bias=False) / np.sqrt(len(given)), stats.sem(given)

    def cubic(mean: float) -> float:  # Hall's function of t
        each = (given.mean() - mean) / error
        return each + skew * each**2 / 3 + skew**2 * each**3 / 27 + skew / 6

    edge = stats.t.isf(0.025, len(given) - 1)
    far = given.mean() - 99 * error, given.mean() + 99 * error
    low, high = (brentq(lambda mean, q=q: cubic(mean) - q, *far) for q in (edge, -edge))
    found, (low_t, high_t) = mean_interval(given), t.confidence_interval()
    assert (found.low, found.high) == pytest.approx((min(low, low_t), max(high, high_t)), rel=1e-6)
    p = 2 * stats.t.sf(abs(cubic(0.0)), len(given) - 1)
    assert found.p == pytest.approx(max(p, t.pvalue), rel=1e-6)


def test_skewed_clusters_of_equal_size_have_halls_interval_of_their_means():
    rng = np.random.default_rng(3)
    values, clusters = rng.exponential(size=(12, 4)) + rng.exponential(3, (12, 1)), np.arange(12)
    found = mean_interval(values.ravel(), clusters=np.repeat(clusters, 4))
    means = mean_interval(values.mean(axis=1))
    assert (found.low, found.high) == pytest.approx((means.low, means.high), abs=1e-9)
    assert found.p == pytest.approx(means.p)
    student = stats.ttest_1samp(values.mean(axis=1), 0).confidence_interval()
    assert found.high > student.high + 0.1


def test_equal_values_have_p_1_and_no_interval_except_as_shares():
    assert (sign_test(0, 0), paired(np.zeros(8)).p, paired(np.zeros(0)).p) == (1.0, 1.0, None)
    assert np.isnan(mean_interval(np.full(9, 3.0)).low)
    assert np.isnan(mean_interval(np.arange(5.0)).low)  # not enough data
    assert np.isnan(paired(np.zeros(9)).low)
    assert np.isnan(paired(np.array([5e-324, 0.0, 0.0])).low)
    huge, usual = paired(np.arange(6.0) * 1e110), paired(np.arange(6.0))
    assert (huge.low, huge.p) == pytest.approx((usual.low * 1e110, usual.p))
    found = mean_interval(np.ones(18), clusters=np.repeat(np.arange(6), 3), is_share=True)
    assert (found.low < 0.75, found.high) == (True, 1.0)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_clusters_that_all_agree_are_no_more_certain_than_as_many_cases(value):
    values, clusters = np.full(60, value), np.repeat(np.arange(30), 2)
    found = mean_interval(values, clusters=clusters, is_share=True)
    peer = stats.binomtest(int(30 * value), 30).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx(peer, abs=1e-6)
    change, cases = paired(values, clusters=clusters, is_share=True), int(30 * value)
    alone = paired_share(cases, 0, 30)
    assert (change.low, change.high) == pytest.approx((alone.low, alone.high), abs=1e-6)


def test_few_differences_are_not_enough_data():
    three, five = np.array([1.0, 2, 3, 0, 0, 0, 0]), np.arange(1.0, 6)
    for few in (three, five, np.array([0.5])):
        assert np.isnan(paired(few).low)
    assert paired(three).p is None
    assert paired(np.append(five, 0.0)).low > 0
    assert paired(np.arange(1.0, 13), clusters=np.repeat([0, 1, 2, 3], 3)).p is None
    assert paired(np.full(9, 0.5)).p == sign_test(9, 0)  # which all equal differences have
    third = paired(np.array([1 / 3] + [0.0] * 5), is_share=True)
    assert (third.low < 0, third.high < 0.5, third.p) == (True, True, 1.0)
    assert mean_interval(np.ones(6), is_share=True).high == 1.0  # shares are at most 1
    assert paired(np.array([1.0, 0.5] * 3), is_share=True).p == sign_test(6, 0)


@given(st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 3.0]), min_size=2, max_size=40))
def test_p_is_small_just_where_the_interval_leaves_no_difference_out(values):
    won, lost = sum(v > 0 for v in values), sum(v < 0 for v in values)
    rate = win_rate(won, lost)
    assert not won + lost or (rate.low > 0.5 or rate.high < 0.5) == (rate.p < 0.05)
    found = paired(np.array(values))
    if not np.isnan(found.low):
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
    flipped = paired(-np.array(values))
    assert (flipped.low, flipped.high, flipped.p) == pytest.approx(
        (-found.high, -found.low, found.p), nan_ok=True
    )


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), max_size=60))
def test_the_sequential_test_bets_as_krichevsky_and_trofimov(signs):
    won, lost = signs.count(1.0), signs.count(-1.0)
    log = stats.betabinom.logpmf(won, won + lost, 0.5, 0.5) - stats.binom.logpmf(
        won, won + lost, 0.5
    )
    found = sequential_test(signs, alpha=1e-9)
    assert found.evidence >= np.exp(log) * (1 - 1e-6)
    if signs and log > 0 and won * lost == 0:
        assert found.evidence == pytest.approx(np.exp(log), rel=1e-6)


def test_the_sequential_test_decides_as_soon_as_it_can_and_gives_up_when_it_cannot():
    assert sequential_test([1.0] * 6).side == 0
    assert sequential_test([1.0] * 7).side == 1
    found = sequential_test([-3.0] * 4 + [0.0] + [-1.0] * 40 + [1.0] * 40)
    assert (found.side, found.cases < 20) == (-1, True)  # what came later takes nothing back
    assert sequential_test([], left=7).can_decide
    assert not sequential_test([], left=6).can_decide
    assert not sequential_test([1.0, -1.0] * 9, left=9).can_decide
    assert sequential_test([1.0] * 2000).evidence > 1e300


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


def rated(rng, number, bias):
    """Return errors, lengths, ratings and cases of a judge with verdicts, on two releases."""
    shape = (number, 2)
    spread = 0.84 * rng.normal(size=(number, 1)) + 0.54 * rng.normal(size=shape)
    hundreds = 1.5 * np.exp(0.6 * spread)
    passed = (rng.random(shape) < stats.logistic.cdf(1 + spread / 2)).astype(float)
    chance = np.where(passed == 1, 0.85, 0.2) + bias * (hundreds - 1.8)
    errors = (rng.random(shape) < chance) - passed
    cases = np.repeat(np.arange(number), 2)
    return errors.ravel(), hundreds.ravel(), passed.reshape(-1, 1), cases


def test_a_slope_has_the_interval_and_p_value_of_a_wild_bootstrap_with_refits():
    errors, hundreds, passed, cases = rated(np.random.default_rng(3), 24, 0.07)
    found = slope(errors, hundreds, passed, cases)
    controls = sm.add_constant(passed)
    design = np.column_stack([hundreds, controls])
    leverage = np.bincount(cases, np.diag(controls @ np.linalg.pinv(controls)))
    residuals = sm.OLS(errors, controls).fit().resid / (1 - leverage)[cases]
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (4999, 24))
    left = sm.OLS(hundreds, controls).fit().resid

    def fitted(samples):
        slopes, *_ = np.linalg.lstsq(design, samples, rcond=None)
        products = left[:, None] * (samples - design @ slopes)
        sums = np.array([products[cases == case].sum(axis=0) for case in range(24)])
        return slopes[0], np.sqrt((sums**2).sum(axis=0)) / (left @ left)

    (mean,), (error,) = fitted(errors[:, None])
    means, errors_of = fitted(signs.T[cases] * residuals[:, None])
    ratios = np.abs(means) / errors_of
    edge = error * np.quantile(ratios, 0.95, method="higher")
    assert (found.mean, found.low, found.high) == pytest.approx((mean, mean - edge, mean + edge))
    assert found.p == pytest.approx((1 + (ratios >= abs(mean) / error).sum()) / 5000, abs=0.001)


def test_a_slope_between_two_values_has_students_test_of_the_contributions_of_cases():
    values, x = np.random.default_rng(1).normal(size=40), np.repeat([0.0, 1.0], [30, 10])
    found = slope(values, x, np.zeros((40, 0)), np.arange(40))
    test = stats.ttest_1samp((x - x.mean()) * (values - values.mean()), 0.0)
    statistic = test.statistic * 39 / 40  # corrected for the leverage of each case
    assert found.p == pytest.approx(2 * stats.t.sf(abs(statistic), 39))
    assert found.mean == pytest.approx(values[30:].mean() - values[:30].mean())


def test_a_bias_of_verdicts_by_length_is_found_four_times_of_five_in_110_cases():
    rng = np.random.default_rng(0)
    found = [slope(*rated(rng, 110, 0.07)).p <= 0.025 for _ in range(60)]  # Holm, two columns
    assert sum(found) >= 48
