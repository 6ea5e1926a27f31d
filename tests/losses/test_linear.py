"""Losses in parts of the positions against the same from all logits at once, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax import losses

V, D = 50, 4
# At once: one position of all rows, some of them with a part that is filled up, all of them.
AT_ONCE = [1, 2 * 6 * V, 10**9]


def drawn(*shape):
    rng = np.random.default_rng(len(shape))
    return {
        'states': jnp.asarray(rng.normal(size=(*shape, D)), jnp.float32),
        'table': jnp.asarray(rng.normal(size=(V, D)), jnp.float32),
        'targets': rng.integers(0, V, shape),
        'weights': rng.normal(size=shape).astype(np.float32),
        'mask': rng.random(shape) < 0.6,
        'pool_weights': rng.normal(size=(*shape[:-1], V)).astype(np.float32),
    }


def probabilities(states, table):
    logits = np.asarray(states, np.float64) @ np.asarray(table, np.float64).T
    exps = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exps / exps.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize('shape', [(7,), (2, 8), (3, 2, 7)])
@pytest.mark.parametrize('at_once', AT_ONCE)
def test_cross_entropies_and_their_gradients(shape, at_once):
    data = drawn(*shape)
    states, table, targets, weights = (data[n] for n in ('states', 'table', 'targets', 'weights'))

    def total(states, table):
        values = losses.linear_cross_entropy(states, table, jnp.asarray(targets), at_once)
        return jnp.sum(values * weights), values

    ((_, values), slopes) = jax.value_and_grad(total, (0, 1), has_aux=True)(states, table)
    p, chosen = probabilities(states, table), np.eye(V)[targets]
    np.testing.assert_allclose(values, -np.log((p * chosen).sum(-1)), rtol=1e-5, atol=1e-6)
    slope = (p - chosen) * weights[..., None]
    np.testing.assert_allclose(slopes[0], slope @ table, rtol=1e-4, atol=2e-6)
    of_table = np.einsum('xv,xd->vd', slope.reshape(-1, V), states.reshape(-1, D))
    np.testing.assert_allclose(slopes[1], of_table, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize('at_once', AT_ONCE)
def test_the_largest_probabilities_and_their_gradients(at_once):
    data = drawn(3, 2, 7)
    states, table, mask, weights = (data[n] for n in ('states', 'table', 'mask', 'pool_weights'))
    mask[0, 0] = False

    def total(states):
        pool = losses.max_probabilities(states, table, jnp.asarray(mask), at_once=at_once)
        return jnp.sum(pool * weights), pool

    (_, pool), slope = jax.value_and_grad(total, has_aux=True)(states)
    p = probabilities(states, table)
    np.testing.assert_allclose(pool, np.where(mask[..., None], p, 0).max(-2), rtol=1e-5)
    where = np.where(mask[..., None], p, -1).argmax(-2)  # [3, 2, V]
    expected = np.zeros(states.shape)
    for row in np.ndindex(3, 2):
        if not mask[row].any():
            continue
        for v in range(V):
            t = where[row][v]
            of_logits = weights[row][v] * p[row][t, v] * (np.eye(V)[v] - p[row][t])
            expected[row][t] += of_logits @ table
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=2e-6)


def test_a_loss_of_no_rationale_is_empty_and_finite():
    states, targets = jnp.zeros((2, 0, 3, D)), jnp.zeros((2, 0, 3), int)
    table = jnp.ones((V, D))
    slope = jax.grad(lambda t: losses.linear_cross_entropy(states, t, targets).sum())(table)
    assert (slope == 0).all()


def test_logits_of_all_positions_are_never_held():
    # Twelve parts of one position of two rows; the largest array of the program is the table.
    states, table = jnp.zeros((2, 12, D)), jnp.zeros((V, D))
    targets = jnp.zeros((2, 12), int)

    def loss(states, table):
        return losses.linear_cross_entropy(states, table, targets, 2 * V).sum()

    jaxpr = str(jax.make_jaxpr(jax.grad(loss, (0, 1)))(states, table))
    assert f'f32[2,1,{V}]' in jaxpr
    assert f'f32[2,12,{V}]' not in jaxpr and f'f32[12,2,1,{V}]' not in jaxpr


def test_products_are_taken_in_the_type_of_the_states():
    data = drawn(2, 8)
    states, table = jnp.asarray(data['states'], jnp.bfloat16), jnp.asarray(data['table'])

    def total(states, table):
        return losses.linear_cross_entropy(states, table, jnp.asarray(data['targets'])).sum()

    value, (of_states, of_table) = jax.value_and_grad(total, (0, 1))(states, table)
    assert (value.dtype, of_states.dtype, of_table.dtype) == (
        jnp.float32, jnp.bfloat16, jnp.float32,
    )  # fmt: skip
    rounded = np.asarray(table.astype(jnp.bfloat16), np.float64)
    p = probabilities(np.asarray(states, np.float64), rounded)
    slope = p - np.eye(V)[data['targets']]
    expected = np.einsum('brv,brd->vd', slope, np.asarray(states, np.float64))
    np.testing.assert_allclose(of_table, expected, atol=0.05)  # eight bits
