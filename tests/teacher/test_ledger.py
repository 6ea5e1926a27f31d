"""The ledger adds up, and what fits never exceeds a limit."""

import pytest

from qcrd_jax.errors import InputError
from qcrd_jax.teacher.ledger import Ledger, Limits
from qcrd_jax.teacher.responses import Usage


def test_tokens_and_cost_are_those_of_the_usage():
    ledger = Ledger(Limits(input_price=0.5, output_price=1.5))
    ledger.charge(Usage(1_000_000, 200_000))
    ledger.charge(Usage(300, 70, estimated=True))
    assert (ledger.prompt_tokens, ledger.completion_tokens) == (1_000_300, 200_070)
    assert ledger.estimated_tokens == 370
    assert ledger.tokens == 1_200_370
    # 1.0003 million at 0.5 and 0.20007 million at 1.5.
    assert ledger.cost == pytest.approx(0.50015 + 0.300105, abs=1e-12)


def test_requests_in_flight_count_at_their_worst():
    ledger = Ledger(Limits(max_tokens_total=100))
    worst = Usage(30, 20)
    assert ledger.fits(worst)
    ledger.reserve(worst)
    assert ledger.fits(worst)  # 50 + 50 is 100
    ledger.reserve(worst)
    assert not ledger.fits(Usage(1, 0))
    ledger.settle(worst, Usage(30, 5))
    assert ledger.fits(Usage(15, 0))  # 35 spent, 50 in flight
    assert not ledger.fits(Usage(15, 1))
    ledger.settle(worst, None)  # a fault that costs nothing
    assert ledger.tokens == 35
    assert ledger.fits(Usage(65, 0))
    assert not ledger.fits(Usage(65, 1))


def test_a_budget_in_dollars_knows_the_two_prices():
    ledger = Ledger(Limits(input_price=1.0, output_price=10.0, budget=0.001))
    # 500 tokens in are 0.0005 $, 50 tokens out as well.
    assert ledger.fits(Usage(500, 50))
    assert not ledger.fits(Usage(500, 51))
    ledger.reserve(Usage(500, 0))
    assert not ledger.fits(Usage(0, 51))


def test_no_limit_is_no_limit():
    assert Ledger(Limits()).fits(Usage(1 << 40, 1 << 40))


def test_a_budget_without_prices_would_never_stop_anything():
    with pytest.raises(InputError, match='input_price'):
        Limits(budget=1.0)
