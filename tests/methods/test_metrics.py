"""Metrics are sums and counts until the very end."""

import jax
import jax.numpy as jnp

from qcrd_jax.methods import metrics as step_metrics


def test_over_takes_what_the_mask_leaves():
    # What is masked may be anything, NaN too.
    values = jnp.array([[1.0, 2.0, jnp.nan], [jnp.inf, 5.0, 7.0]], jnp.bfloat16)
    mask = jnp.array([[True, True, False], [False, True, False]])
    total, count = step_metrics.over(values, mask)
    assert (float(total), float(count)) == (8.0, 3.0)
    assert total.dtype == count.dtype == jnp.float32


def test_a_mean_weighs_every_rationale_alike_not_every_step():
    few = {'score': step_metrics.over(jnp.array([1.0]), jnp.array([True]))}
    many = {'score': step_metrics.over(jnp.array([0.0, 0.0, 1.0]), jnp.array([True] * 3))}
    none = {'score': step_metrics.over(jnp.array([9.0]), jnp.array([False]))}
    assert step_metrics.mean([few, many, none]) == {'score': 2 / 4}


def test_a_chunk_with_a_leading_axis_is_so_many_steps():
    steps = [{'loss': step_metrics.single(jnp.float32(value))} for value in (1.0, 2.0, 6.0)]
    chunk = jax.tree.map(lambda *leaves: jnp.stack(leaves), *steps[:2])
    assert step_metrics.mean([chunk, steps[2]]) == step_metrics.mean(steps) == {'loss': 3.0}


def test_nothing_counted_has_no_mean():
    empty = {'discriminator_loss': (jnp.float32(0), jnp.float32(0))}
    later = {
        'discriminator_loss': step_metrics.single(jnp.float32(2)),
        'loss': step_metrics.single(jnp.float32(4)),
    }
    assert step_metrics.mean([empty]) == {'discriminator_loss': None}
    # A metric that only some steps have is a mean over those.
    assert step_metrics.mean([empty, later]) == {'discriminator_loss': 2.0, 'loss': 4.0}
    assert step_metrics.mean([]) == {}


def test_long_sums_are_taken_in_double_precision():
    # In float32 the sum 2^24 + 1 + 1 + ... would stay where it is.
    one, zero = jnp.float32(1), jnp.float32(0)
    steps = [{'loss': (jnp.float32(2**24), one)}] + [{'loss': (one, zero)}] * 16
    assert step_metrics.mean(steps) == {'loss': 2.0**24 + 16}
