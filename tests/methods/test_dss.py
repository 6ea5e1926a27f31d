"""Fine-tuning, DSS and MI against loops in NumPy, and what they leave unread."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax import losses
from qcrd_jax.methods import optimizers
from qcrd_jax.methods.dss import Dss, Finetune
from qcrd_jax.methods.objectives import MutualInformation
from tests.support import toys
from tests.support.toys import (
    KEY,
    RATE,
    STILL,
    STUDENT,
    B,
    assert_trees_close,
    make_batch,
    make_state,
    stepped,
)


@pytest.fixture(scope='module')
def initial():
    return toys.make_initial()


def test_methods_without_rationales_ignore_them(initial):
    # Fine-tuning only sees the label; DSS the first rationale, where there is one.
    optimizer = optimizers.adamw(RATE)
    finetune = stepped(Finetune(STUDENT, optimizer))
    dss = stepped(Dss(STUDENT, optimizer, alpha=0.3))
    batch, other = make_batch(0), make_batch(1)
    swapped = batch | {k: other[k] for k in ('positive_ids', 'explain_ids')}
    state = make_state(initial, optimizer)
    one, two = (finetune(state, None, b, KEY)[0].params for b in (batch, swapped))
    assert_trees_close(one, two, rtol=0, atol=0)
    later = batch | {'positive_ids': np.concatenate(
        [batch['positive_ids'][:, :1], other['positive_ids'][:, 1:]], axis=1)}  # fmt: skip
    one, two = (dss(state, None, b, KEY)[1]['loss'][0] for b in (batch, later))
    assert one == two != dss(state, None, swapped, KEY)[1]['loss'][0]


def test_a_gradient_that_is_not_finite_changes_nothing(initial):
    optimizer = optimizers.adamw(RATE)
    step = stepped(Finetune(STUDENT, optimizer))
    state = make_state(initial, optimizer)
    broken = jax.tree.map(jnp.copy, state.params)
    broken['embedding'] = broken['embedding'].at[int(make_batch()['label_ids'][0, 0])].set(jnp.nan)
    state = dataclasses.replace(state, params=broken)
    after, metrics = step(state, None, make_batch(), KEY)
    assert metrics['nonfinite'][0] == 1.0
    assert int(after.step) == 1
    assert_trees_close((after.params, after.opt_state), (broken, state.opt_state), rtol=0, atol=0)


@pytest.mark.parametrize('variant', losses.MUTUAL_INFORMATION_VARIANTS)
def test_mi_adds_its_term_to_dss(initial, variant):
    # The term by loops over questions, in NumPy from the two tasks' logits; no dropout here.
    optimizer = optimizers.adamw(RATE)
    shared = MutualInformation(0.7, variant)
    batch = make_batch()
    state = make_state(initial, optimizer)
    plain, dss = (
        stepped(Dss(STILL, optimizer, alpha=0.3, shared=how))(state, None, batch, KEY)[1]
        for how in (shared, None)
    )
    predict, explain = (
        STILL.encode(initial[0], jnp.asarray(batch[name]), jnp.asarray(batch[name] != 0))
        for name in ('predict_ids', 'explain_ids')
    )
    label_ids, rationale_ids = batch['label_ids'], batch['positive_ids'][:, :1]
    labels = STILL.decode(initial[0], predict, jnp.asarray(label_ids)[:, None])[:, 0]
    rationales_ = STILL.decode(initial[0], explain, jnp.asarray(rationale_ids))[:, 0]

    def pool(logits, ids, longest):
        logits = np.asarray(logits, np.float64)
        probabilities = np.exp(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
        # The official code pools over the padding of its batch, up to the longest target of it.
        real = ids != 0 if variant == 'masked' else np.arange(len(ids)) < longest
        return probabilities[real].max(axis=0)

    values = []
    for i in range(B):
        if not batch['positive_mask'][i, 0]:
            continue
        label = pool(np.asarray(labels[i], np.float64), label_ids[i], _longest(label_ids))
        rationale = pool(
            np.asarray(rationales_[i], np.float64), rationale_ids[i, 0], _longest(rationale_ids)
        )
        if variant == 'masked':
            values.append(-(label / label.sum() * np.log(rationale / rationale.sum())).sum())
        else:
            values.append(-(label * (rationale - np.log(np.exp(rationale).sum()))).sum())
    expected = np.mean(values)
    np.testing.assert_allclose(plain['mutual_information_loss'][0], expected, rtol=1e-5)
    np.testing.assert_allclose(plain['loss'][0] - dss['loss'][0], 0.7 * expected, rtol=1e-4)


def _longest(ids):
    return max(np.count_nonzero(row) for row in ids.reshape(-1, ids.shape[-1]))
