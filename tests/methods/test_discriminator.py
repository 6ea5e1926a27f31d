"""The discriminator in training: what it can learn, and what its scores do not depend on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from qcrd_jax.methods import discriminator, optimizers
from qcrd_jax.methods.discriminator import joined_length, make_discriminator_step, score_rationales
from qcrd_jax.methods.state import DiscriminatorState
from qcrd_jax.models import Discriminator, T5Encoder
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


def test_of_a_frozen_one_only_the_head_learns(initial):
    optimizer, batch = optimizers.adamw(3e-3), make_batch()
    frozen = dataclasses.replace(DISCRIMINATOR, frozen=True)
    before = DiscriminatorState.create(initial[1], optimizer)
    after, metrics = jax.jit(make_discriminator_step(frozen, optimizer))(before, batch, KEY)
    toys.assert_trees_close(after.params['encoder'], before.params['encoder'], rtol=0, atol=0)
    moved = jax.tree.map(
        lambda new, old: np.abs(new - old).max(), after.params['head'], before.params['head']
    )
    assert min(jax.tree.leaves(moved)) > 1e-3
    _, whole = jax.jit(make_discriminator_step(DISCRIMINATOR, optimizer))(before, batch, KEY)
    assert float(metrics['loss'][0]) == float(whole['loss'][0])


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


@pytest.mark.parametrize(('tokens', 'remat'), [(1, False), (2 * 5 * (S + T), False), (1, True)])
@pytest.mark.parametrize('kind', ['ratio', 'bce'])
def test_learning_from_parts_of_a_batch_is_learning_from_all_of_it(
    initial, monkeypatch, tokens, remat, kind
):
    # One question at a time, or two. The third is no example, and the last has no negative.
    batch = make_batch()
    batch['example_mask'][2] = False
    batch['negative_mask'][1, 0] = True
    batch['negative_ids'][1, 0, :2] = 9, 1

    def learned(model):
        optimizer = optax.sgd(1.0)
        step = jax.jit(make_discriminator_step(model, optimizer, kind=kind))
        return step(DiscriminatorState.create(initial[1], optimizer), on_device(batch), KEY)

    expected, its_metrics = learned(DISCRIMINATOR)
    monkeypatch.setattr(discriminator, 'TOKENS_AT_ONCE', tokens)
    state, metrics = learned(Discriminator(T5Encoder(DISCRIMINATOR.encoder.config, remat=remat)))
    toys.assert_trees_close(state.params, expected.params, rtol=1e-4, atol=1e-6)
    assert metrics.keys() == its_metrics.keys() > {'loss', 'positive_score', 'negative_score'}
    for name, (total, count) in metrics.items():
        np.testing.assert_allclose(total / count, np.divide(*its_metrics[name]), rtol=1e-5)
    moved = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), state.params, initial[1])
    assert max(map(float, jax.tree.leaves(moved))) > 1e-3  # or equal would mean nothing


@pytest.mark.parametrize(
    ('questions', 'tokens', 'parts'),
    [(8, 256, 1), (8, 257, 2), (8, 4000, 8), (6, 700, 3), (1, 9, 1)],
)
def test_into_how_many_parts(questions, tokens, parts):
    assert discriminator.TOKENS_AT_ONCE == 2048
    assert discriminator._parts(questions, tokens) == parts
