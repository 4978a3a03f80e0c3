"""The plan: drawn from a seed, absolute, at the rate that was asked for."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest

from streamproof.load.arrivals import NS_PER_S, Poisson


def test_equal_seeds_plan_equal_moments():
    """Equal seeds plan the same arrivals, another seed plans others."""
    first = list(islice(Poisson(200).moments(7), 100))
    assert first == list(islice(Poisson(200).moments(7), 100))
    assert first != list(islice(Poisson(200).moments(8), 100))


def test_moments_do_not_decrease_and_keep_the_rate():
    """Over many arrivals the mean gap is one over the rate, and none goes back in time."""
    moments = list(islice(Poisson(200).moments(1), 20_000))
    assert moments == sorted(moments)
    # The mean of 20,000 exponential gaps has a standard error of 0.7 %.
    assert moments[-1] / NS_PER_S == pytest.approx(100, rel=0.03)


def test_gaps_are_exponential():
    """As many gaps are shorter than the median of an exponential distribution as are longer."""
    moments = list(islice(Poisson(100).moments(3), 10_001))
    gaps = [(b - a) / NS_PER_S for a, b in pairwise(moments)]
    assert sum(gap < 0.00693147 for gap in gaps) / len(gaps) == pytest.approx(0.5, abs=0.02)


def test_the_rate_can_be_replaced():
    """An option's rate makes another plan of the same kind."""
    assert Poisson(200).at_rate(50) == Poisson(50)


@pytest.mark.parametrize("rate", [0, -1, 1e9])
def test_an_impossible_rate_is_refused(rate):
    """A rate that cannot be kept is an error, not an endless loop."""
    with pytest.raises(ValueError, match="per second"):
        Poisson(rate)
