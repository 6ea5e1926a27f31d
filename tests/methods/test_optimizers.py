"""The learning rate by hand, AdamW in plain NumPy, and updates that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax.methods import optimizers


@pytest.mark.parametrize(
    ('schedule', 'warmup', 'expected'),
    [
        ('linear', 0, [8, 6, 4, 2, 0, 0]),
        ('linear', 2, [0, 4, 8, 4, 0, 0]),
        ('linear', 4, [0, 2, 4, 6, 8, 0]),  # nothing is left to fall over
        ('constant', 0, [8, 8, 8, 8, 8, 8]),
        ('constant', 2, [0, 4, 8, 8, 8, 8]),
    ],
)
def test_schedules_by_hand(schedule, warmup, expected):
    rate = optimizers.learning_rate_schedule(8.0, schedule=schedule, steps=4, warmup_steps=warmup)
    assert [float(rate(step)) for step in range(6)] == expected


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="schedule: expected 'linear' or 'constant', got 'cosine'"):
        optimizers.learning_rate_schedule(1.0, schedule='cosine', steps=1)


def plain_adamw(params, gradients, rates, *, clip, decay, b1, b2, eps):
    """AdamW of one vector in float64, from the papers' formulas."""
    first = second = np.zeros_like(params)
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        norm = np.sqrt((gradient**2).sum())
        gradient = gradient * min(1.0, clip / norm) if clip else gradient
        first = b1 * first + (1 - b1) * gradient
        second = b2 * second + (1 - b2) * gradient**2
        slope = first / (1 - b1**t) / (np.sqrt(second / (1 - b2**t)) + eps)
        params = params - rate * (slope + decay * params)
    return params


@pytest.mark.parametrize(('clip', 'decay'), [(0.0, 0.0), (1.0, 0.0), (1.0, 0.1)])
def test_adamw_against_its_formulas(clip, decay):
    # Norms 5, 0.5 and 20: the first and the last are clipped. The two leaves share one norm.
    gradients = np.array([[3.0, -4.0], [0.3, 0.4], [-16.0, 12.0]])
    constants = {'b1': 0.8, 'b2': 0.9, 'eps': 1e-3}
    rate = optimizers.learning_rate_schedule(0.1, schedule='linear', steps=4)
    optimizer = optimizers.adamw(rate, clip_norm=clip, weight_decay=decay, **constants)
    params = {'a': jnp.array([1.0]), 'b': jnp.array([-2.0])}
    state = optimizer.init(params)
    for gradient in gradients.astype(np.float32):
        tree = {'a': gradient[:1], 'b': gradient[1:]}
        params, state, applied = optimizers.apply_if_finite(optimizer, tree, state, params)
        assert applied == 1.0
    expected = plain_adamw(
        np.array([1.0, -2.0]), gradients, [0.1, 0.075, 0.05], clip=clip, decay=decay, **constants
    )
    np.testing.assert_allclose([params['a'][0], params['b'][0]], expected, rtol=1e-6)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_applied(bad):
    # One bad number of one leaf keeps all leaves as they are; more of them in a row than
    # `optax.apply_if_finite` would bear, and then training continues as if they had not been
    # (also on the way of a schedule, which counts the steps).
    rate = optimizers.learning_rate_schedule(0.1, schedule='linear', steps=5)
    optimizer = optimizers.adamw(rate, clip_norm=1.0)
    params = {'a': jnp.array([1.0, 2.0]), 'b': jnp.array([3.0])}
    good = {'a': jnp.array([0.5, -0.5]), 'b': jnp.array([1.0])}
    broken = {'a': jnp.array([0.5, bad]), 'b': jnp.array([1.0])}
    update = jax.jit(
        lambda gradient, state, params: optimizers.apply_if_finite(
            optimizer, gradient, state, params
        )
    )

    def train(gradients):
        now, state = params, optimizer.init(params)
        flags = []
        for gradient in gradients:
            now, state, applied = update(gradient, state, now)
            flags.append(float(applied))
        return (now, state), flags

    expected, _ = train([good, good])
    actual, flags = train([good, *[broken] * 10, good])
    assert flags == [1.0, *[0.0] * 10, 1.0]
    for want, got in zip(jax.tree.leaves(expected), jax.tree.leaves(actual), strict=True):
        np.testing.assert_array_equal(got, want)
