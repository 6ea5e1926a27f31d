"""A student and a discriminator of a few thousand parameters, and batches for them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from qcrd_jax.methods import programs
from qcrd_jax.methods.rationales import NegativeSampling
from qcrd_jax.methods.state import DiscriminatorState, TrainState
from qcrd_jax.models import T5Config, T5Encoder, T5Student
from qcrd_jax.models.discriminator import Discriminator

CONFIG = T5Config(
    vocab_size=23, d_model=16, d_kv=4, d_ff=24, num_heads=2, encoder_layers=1, decoder_layers=1
)
STUDENT, DISCRIMINATOR = T5Student(CONFIG), Discriminator(T5Encoder(CONFIG))
STILL = T5Student(dataclasses.replace(CONFIG, dropout_rate=0.0))
B, S, L, T, M, K = 4, 7, 4, 6, 3, 2
RATE = 1e-2
SAMPLING = NegativeSampling(count=2, max_length=T, temperature=1.5, lag=2)
KEY = jax.random.key(11)


def make_initial(seed=11):
    """Parameters of the student and of the discriminator."""
    student = jax.jit(STUDENT.init)(jax.random.key(seed))
    return student, jax.jit(DISCRIMINATOR.init)(jax.random.key(seed + 1))


def make_batch(seed=0):
    rng = np.random.default_rng(seed)

    def sequences(*shape):
        ids = rng.integers(3, CONFIG.vocab_size, shape)
        lengths = rng.integers(2, shape[-1] + 1, shape[:-1])[..., None]
        places = np.arange(shape[-1])
        ids = np.where(places == lengths - 1, 1, ids)
        return np.where(places < lengths, ids, 0).astype(np.int32)

    positive_mask = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]], bool)
    negative_mask = np.array([[1, 1], [0, 0], [1, 0], [0, 0]], bool)
    return {
        'predict_ids': sequences(B, S),
        'explain_ids': sequences(B, S),
        'question_ids': sequences(B, S),
        'label_ids': sequences(B, L),
        'positive_ids': sequences(B, M, T) * positive_mask[..., None],
        'positive_mask': positive_mask,
        'negative_ids': sequences(B, K, T) * negative_mask[..., None],
        'negative_mask': negative_mask,
        'example_mask': np.array([True, True, True, True]),
        'rationale_limit': np.full(B, T, np.int32),
    }


def on_device(batch):
    return jax.tree.map(jnp.asarray, batch)


def make_state(initial, optimizer, discriminator_optimizer=None):
    student, discriminator = jax.tree.map(jnp.copy, initial)
    state = None
    if discriminator_optimizer is not None:
        state = DiscriminatorState.create(discriminator, discriminator_optimizer)
    return TrainState.create(student, optimizer, state)


def stepped(method):
    """The compiled step of a method without a ring, on a generator that it is given."""

    @jax.jit
    def step(state, generator, batch, key):
        progress, metrics = programs.take_step(
            method, programs.Progress(state, None), batch, key, programs.Fixed(generator)
        )
        return progress.state, metrics

    return step


def assert_trees_close(actual, expected, **tolerance):
    paths = jax.tree.leaves_with_path(expected)
    for (path, want), got in zip(paths, jax.tree.leaves(actual), strict=True):
        np.testing.assert_allclose(got, want, err_msg=jax.tree_util.keystr(path), **tolerance)
