"""The rivals' losses against what their authors' code computed, and against NumPy.

`tests/golden/preference.npz` holds random log-probabilities, and what these functions made of them
in float64, gradients too: `spin_loss` of uclaml/SPIN (a12ba80), `simpo_loss` of princeton-nlp/SimPO
(1b3e8f3), the odds ratio of xfactlab/orpo (208d2d6), the loss type `reinforce` of
Tim-Siu/reinforcement-distillation (dda07d2), and the losses of `DPOTrainer` and `KTOTrainer` in
ContextualAI/HALOs (4831988).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax import losses
from tests.support import REPOSITORY

GOLDEN = np.load(REPOSITORY / 'tests/golden/preference.npz')
SUMS, MEANS = ('pos', 'neg', 'rpos', 'rneg'), ('mean_pos', 'mean_neg')


@pytest.mark.parametrize(
    ('name', 'loss', 'read'),
    [
        ('redi', losses.redi_loss, MEANS),
        ('spin', losses.spin_loss, SUMS),
        ('dpo', losses.dpo_loss, SUMS),
        ('simpo', losses.simpo_loss, MEANS),
        ('orpo', losses.orpo_loss, MEANS),
    ],
)
def test_values_and_gradients_are_those_of_the_authors_code(name, loss, read):
    given = [jnp.asarray(GOLDEN[each], jnp.float32) for each in read]
    np.testing.assert_allclose(loss(*given), GOLDEN[name], rtol=1e-5, atol=1e-6)
    # REDI's code takes sums and divides by lengths: the gradient of a mean is as much larger.
    scale = GOLDEN['lengths'] if name == 'redi' else np.ones((2, 1))
    for place in range(2):
        gradient = jax.grad(lambda *each: loss(*each).sum(), place)(*given)
        expected = GOLDEN[f'{name}_gradient{place}'] * scale[place]
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_kto_is_that_of_the_authors_code():
    rewards = [jnp.asarray(GOLDEN[p] - GOLDEN[r]) for p, r in (('pos', 'rpos'), ('neg', 'rneg'))]
    others = jnp.asarray(GOLDEN['other'] - GOLDEN['other_ref'])
    z = losses.kto_divergence(others, jnp.ones(others.shape, bool))
    np.testing.assert_allclose(z, GOLDEN['kto_z'], rtol=1e-5)
    assert z > 0  # or the clamp at 0 would be all that is compared
    for side, reward in enumerate(rewards):

        def loss(reward, z, side=side):
            return losses.kto_loss(reward, z, desirable=side == 0)

        np.testing.assert_allclose(loss(reward, z), GOLDEN['kto'][side], rtol=1e-5, atol=1e-6)
        gradient = jax.grad(lambda *each: loss(*each).sum(), (0, 1))(reward, z)
        expected = GOLDEN[f'kto_gradient{side}']
        np.testing.assert_allclose(gradient[0], expected, rtol=1e-4, atol=1e-7)
        assert gradient[1] == 0


def test_a_divergence_below_zero_is_zero_and_what_is_masked_does_not_count():
    rewards, mask = jnp.array([-3.0, 1.0, jnp.nan]), jnp.array([True, True, False])
    assert losses.kto_divergence(rewards, mask) == 0
    assert losses.kto_divergence(rewards, jnp.zeros(3, bool)) == 0


def test_smoothing_is_the_mean_over_both_ways_round():
    given = [jnp.asarray(GOLDEN[each], jnp.float32) for each in SUMS]
    turned = [given[1], given[0], given[3], given[2]]
    smoothed = losses.dpo_loss(*given, smoothing=0.3)
    expected = 0.7 * losses.dpo_loss(*given) + 0.3 * losses.dpo_loss(*turned)
    np.testing.assert_allclose(smoothed, expected, rtol=1e-5)


def test_no_gradient_reaches_a_reference():
    given = [jnp.asarray(GOLDEN[each], jnp.float32) for each in SUMS]
    for loss in (losses.dpo_loss, losses.spin_loss):
        gradients = jax.grad(lambda *each, loss=loss: loss(*each).sum(), (2, 3))(*given)
        assert not any(gradient.any() for gradient in gradients)


def test_unlikelihood_against_numpy():
    rng = np.random.default_rng(1)
    tokens = -rng.exponential(1.0, (5, 6)).astype(np.float32)
    mask = np.arange(6) < rng.integers(0, 7, (5, 1))
    mask[0] = False
    expected = [
        np.mean([-np.log(1 - np.exp(value)) for value in row[own].astype(float)] or [0.0])
        for row, own in zip(tokens, mask, strict=True)
    ]
    found = losses.unlikelihood_loss(jnp.asarray(tokens), jnp.asarray(mask))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_is_certain_or_impossible_makes_no_nan():
    extreme = jnp.array([0.0, -1e-9, -1e4])

    def total(values):
        one = jnp.broadcast_to(jnp.float32(-1.0), values.shape)
        return (
            losses.unlikelihood_loss(values[None], jnp.ones((1, 3), bool)).sum()
            + losses.orpo_loss(values, one).sum()
            + losses.orpo_loss(one, values).sum()
            + losses.simpo_loss(values, one).sum()
            + losses.dpo_loss(values, one, one, values).sum()
            + losses.kto_loss(values, jnp.float32(1.0), desirable=False).sum()
        )

    value, gradient = jax.value_and_grad(total)(extreme)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_advantages_against_numpy():
    rewards = np.array([[1.0, 0.0, 0.0, 5.0], [0.2, 0.9, 0.4, 0.1], [1.0, 1.0, 1.0, 1.0]])
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 1, 0]], bool)
    for temperature in (1.0, 0.5):
        found = losses.advantage_weights(
            jnp.asarray(rewards), jnp.asarray(mask), temperature=temperature
        )
        for row, own, weights in zip(rewards, mask, np.asarray(found), strict=True):
            kept = row[own]
            advantage = (kept - kept.mean()) / (kept.std() or 1)
            expected = np.exp(advantage / temperature) / np.exp(advantage / temperature).sum()
            np.testing.assert_allclose(weights[own], expected, rtol=1e-5)
            assert not weights[~own].any()
    nothing = losses.advantage_weights(jnp.ones((1, 2)), jnp.zeros((1, 2), bool), temperature=1e-3)
    assert not np.asarray(nothing).any()
    sharp = losses.advantage_weights(
        jnp.array([[0.0, 1.0]]), jnp.ones((1, 2), bool), temperature=1e-3
    )
    np.testing.assert_allclose(sharp, [[0.0, 1.0]], atol=1e-6)
