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
        # The slot that is sampled i steps from now holds theta_(t + i - lag).
        expected = [max(t + int(turn) - lag, 0) for turn in ring.turns(t)]
        assert ring.slots['w'][:, 0].tolist() == expected
        assert sorted(ring.turns(t).tolist()) == list(range(lag))
        ring = ring.push(t, theta(t))


def test_a_slot_is_written_in_the_type_of_the_ring():
    ring = Ring.create({'w': jnp.zeros((2,), jnp.bfloat16)}, 2)
    ring = ring.push(3, {'w': jnp.full((2,), 1.001, jnp.float32)})
    assert ring.slots['w'].dtype == jnp.bfloat16
    assert ring.slots['w'][:, 0].tolist() == [0.0, 1.0]  # to eight bits


def test_a_ring_needs_a_lag():
    with pytest.raises(ValueError, match='lag: expected at least 1'):
        Ring.create(theta(0), 0)
