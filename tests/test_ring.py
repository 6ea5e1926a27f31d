"""The ring holds exactly theta_(t - lag) .. theta_(t - 1): checked on values, step by step."""

import jax.numpy as jnp
import pytest

from qcrd_jax.ring import Ring


def theta(step):
    return {'w': jnp.full((2,), float(step))}


def value(params):
    return int(params['w'][0])


@pytest.mark.parametrize('lag', [1, 2, 3, 5, 6])
def test_the_generator_is_theta_of_lag_steps_before(lag):
    ring = Ring.create(theta(0), lag)
    for t in range(4 * lag + 3):
        assert value(ring.generator(t)) == max(t - lag, 0)
        expected = [max(s, 0) for s in range(t - lag, t)]
        assert [value(params) for params in ring.oldest_first(t)] == expected
        rebuilt = Ring.from_oldest_first(ring.oldest_first(t), t)
        assert [value(a) for a in rebuilt.slots] == [value(a) for a in ring.slots]
        ring = ring.push(t, theta(t))


def test_the_first_slots_are_copies_of_their_own():
    # A slot that shared a buffer with another would be deleted with it when that one is donated.
    params = theta(7)
    ring = Ring.create(params, 3)
    ring.generator(0)['w'].delete()
    assert value(ring.generator(1)) == value(ring.generator(2)) == value(params) == 7


def test_a_ring_needs_a_lag():
    with pytest.raises(ValueError, match='lag: expected at least 1'):
        Ring.create(theta(0), 0)
