"""The discriminator in training: what it can learn, and what its scores do not depend on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax.methods import optimizers
from qcrd_jax.methods.discriminator import joined_length, make_discriminator_step, score_rationales
from qcrd_jax.methods.state import DiscriminatorState
from tests.support import toys
from tests.support.toys import (
    DISCRIMINATOR,
    KEY,
    B,
    S,
    T,
    make_batch,
    on_device,
)


@pytest.fixture(scope='module')
def initial():
    return toys.make_initial()


def test_pretraining_separates_what_can_be_separated(initial):
    # Positives end in token 5, negatives in token 6: the discriminator has to find it.
    optimizer = optimizers.adamw(3e-3)
    step = jax.jit(make_discriminator_step(DISCRIMINATOR, optimizer))
    state = DiscriminatorState.create(initial[1], optimizer)
    for t in range(150):
        batch = make_batch(t)
        for kind, token in (('positive', 5), ('negative', 6)):
            ids = np.where(np.isin(batch[f'{kind}_ids'], (5, 6)), 7, batch[f'{kind}_ids'])
            ids[..., 0] = token
            batch[f'{kind}_ids'] = ids * batch[f'{kind}_mask'][..., None]
        state, metrics = step(state, batch, KEY)
    mean = {name: float(total / count) for name, (total, count) in metrics.items()}
    assert mean['positive_score'] > 0.9
    assert mean['negative_score'] < 0.1
    assert mean['nonfinite'] == 0

    # A gradient that is not finite is counted, and changes nothing but the count of steps.
    broken = dataclasses.replace(
        state, params=jax.tree.map(lambda leaf: leaf * np.nan, state.params)
    )
    after, metrics = step(broken, batch, KEY)
    assert float(metrics['nonfinite'][0]) == 1
    toys.assert_trees_close(after.opt_state, state.opt_state, rtol=0, atol=0)
    assert int(after.updates) == int(state.updates) + 1


def test_scores_do_not_depend_on_the_padding_that_is_cut(initial):
    batch = make_batch()
    ids = jnp.asarray(batch['positive_ids'])
    length = joined_length(batch, 0, bucket=1)
    tokens = [
        (batch['question_ids'][i] != 0).sum() - 1 + (rationale != 0).sum()
        for i in range(B)
        for rationale in [*batch['positive_ids'][i], *batch['negative_ids'][i]]
    ]
    assert length == max(tokens) < S + T
    whole, cut = (
        score_rationales(DISCRIMINATOR, initial[1], on_device(batch), ids, None, n)
        for n in (None, length)
    )
    np.testing.assert_allclose(cut, whole, atol=1e-6)
