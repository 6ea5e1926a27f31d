"""What takes less memory or time changes no number: parts, padding, a narrow ring, remat."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax.methods import optimizers
from qcrd_jax.methods.dss import Dss
from qcrd_jax.methods.objectives import Contrast, MutualInformation
from qcrd_jax.methods.qcrd import Qcrd
from qcrd_jax.methods.rationales import Rationales, concatenate, fitted
from qcrd_jax.models import T5Student
from tests.support import toys
from tests.support.toys import (
    CONFIG,
    DISCRIMINATOR,
    KEY,
    RATE,
    SAMPLING,
    STUDENT,
    make_batch,
    make_state,
    on_device,
    stepped,
)

OPTIMIZER = optimizers.adamw(RATE)
METHODS = {
    'qcrd': Qcrd(
        STUDENT, OPTIMIZER, Contrast(scheme='sampling', update_every=1), SAMPLING,
        DISCRIMINATOR, OPTIMIZER,
        MutualInformation(variant='official'),
    ),
    'dss': Dss(STUDENT, OPTIMIZER, shared=MutualInformation()),
}  # fmt: skip


@pytest.fixture(scope='module')
def initial():
    return toys.make_initial()


@pytest.fixture(scope='module')
def whole(initial):
    """What one step gives, by method."""
    return {name: taken(method, initial, make_batch()) for name, method in METHODS.items()}


def taken(method, initial, batch):
    optimizer = OPTIMIZER if method is not METHODS['dss'] else None
    state = make_state(initial, OPTIMIZER, optimizer)
    state, metrics = stepped(method)(state, initial[0], batch, KEY)
    return state.params, metrics


def assert_same(actual, expected, *, but=()):
    means = [
        {name: float(total / count) for name, (total, count) in metrics.items() if name not in but}
        for _, metrics in (actual, expected)
    ]
    assert means[0] == pytest.approx(means[1], rel=2e-5, abs=1e-6)
    # One Adam step moves a parameter by the whole rate, whichever way its gradient's sign is: where
    # that is all but zero, rounding decides.
    differ = [
        np.mean(np.abs(np.asarray(a - b)) > 1e-4)
        for a, b in zip(jax.tree.leaves(actual[0]), jax.tree.leaves(expected[0]), strict=True)
    ]
    assert np.mean(differ) < 0.01


@pytest.mark.parametrize('name', METHODS)
def test_a_batch_in_parts_is_the_batch(initial, whole, name):
    # Dropout and the draws of 'sampling' included; questions without a rationale are in one part.
    parts = dataclasses.replace(METHODS[name], parts=2)
    assert_same(taken(parts, initial, make_batch()), whole[name])


@pytest.mark.parametrize('name', METHODS)
def test_padding_is_invisible(initial, whole, name):
    batch = make_batch()
    wider = {'predict_ids': 3, 'explain_ids': 3, 'question_ids': 3, 'label_ids': 2,
             'positive_ids': 4, 'negative_ids': 6}  # fmt: skip
    padded = {
        key: np.pad(leaf, [(0, 0)] * (leaf.ndim - 1) + [(0, wider[key])]) if key in wider else leaf
        for key, leaf in batch.items()
    }
    assert_same(taken(METHODS[name], initial, padded), whole[name], but={'padding'})


def test_rationales_of_two_lengths_are_padded_to_the_longer():
    rows = (np.array([[[5, 1]]]), np.array([[[6, 7, 1], [8, 1, 9]]]))  # 9 is padding
    groups = [Rationales(jnp.array(ids), jnp.array(ids != 9), jnp.array([[True] * n]))
              for n, ids in enumerate(rows, 1)]  # fmt: skip
    both = concatenate(*groups, pad_id=9)
    assert both.ids.tolist() == [[[5, 1, 9], [6, 7, 1], [8, 1, 9]]]
    assert both.token_mask.tolist() == (both.ids != 9).tolist()
    assert both.mask.tolist() == [[True] * 3]
    cut = fitted(groups[1], 2, 9)
    assert cut.ids.tolist() == [[[6, 7], [8, 1]]] and cut.token_mask.shape == (1, 2, 2)


def test_the_share_of_padding_is_that_of_what_is_computed(whole):
    batch = make_batch()
    read = [batch[name] for name in ('predict_ids', 'explain_ids', 'label_ids')]
    read.append(batch['positive_ids'][:, :1])
    expected = sum(np.sum(ids == 0) for ids in read), sum(ids.size for ids in read)
    assert tuple(map(float, whole['dss'][1]['padding'])) == expected


def test_a_ring_in_the_type_that_is_computed_in_gives_the_same_samples(initial):
    student = T5Student(CONFIG, jnp.bfloat16)
    method = Qcrd(student, OPTIMIZER, Contrast(), SAMPLING)
    sample = jax.jit(method.sample)
    params = jax.tree.map(lambda leaf: leaf * 1.2345, initial[0])
    narrow = student.narrowed(params, jnp.bfloat16)
    kept = {
        path[-1].key
        for path, leaf in jax.tree.leaves_with_path(narrow)
        if leaf.dtype == jnp.float32
    }
    assert kept == {'scale', 'relative_bias'}
    batch = on_device(make_batch())
    wide, thin = sample(params, batch, KEY), sample(narrow, batch, KEY)
    np.testing.assert_array_equal(wide.ids, thin.ids)
    # What computes in more sees the difference, or this would show nothing.
    ids = batch['explain_ids']
    states = [STUDENT.encode(each, ids, ids != 0).states for each in (params, narrow)]
    assert np.abs(np.asarray(states[0] - states[1])).max() > 1e-3
