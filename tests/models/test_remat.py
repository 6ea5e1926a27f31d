"""Layers whose activations are computed once more: same values, same parameters, less memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax.models.architectures import student_of
from tests.support import parity, small
from tests.support.toys import assert_trees_close

CONFIGS = {
    't5': small.t5(dropout_rate=0.3),  # two layers of the encoder are in line, three are a loop
    'decoder': small.decoder(dropout_rate=0.3),
}
KEY = jax.random.key(5)


def loss_of(student):
    """The mean log-probability of targets, and of what reads: as student and discriminator do."""

    def loss(params, tokens, targets):
        mask = tokens != 0
        states = student.encoder.states(student.encoder.take(params), tokens, mask, KEY)
        context = student.encode(params, tokens, mask, KEY)
        log_probs = jax.nn.log_softmax(student.decode(params, context, targets, KEY))
        chosen = jnp.take_along_axis(log_probs, targets[..., None], axis=-1)
        return jnp.mean(states**2) - jnp.mean(chosen)

    return loss


def ids(vocab_size, *shape):
    return np.random.default_rng(1).integers(3, vocab_size, shape).astype(np.int32)


@pytest.mark.parametrize('name', CONFIGS)
def test_loss_and_gradients_are_the_same(name):
    """To the rounding of float32: the same sums, in programs that are fused otherwise."""
    kept = student_of(CONFIGS[name], jnp.float32)
    again = dataclasses.replace(kept, remat=True)
    assert again.encoder.remat
    params = parity.random_params(kept)
    shapes = [jax.eval_shape(student.init, KEY) for student in (kept, again)]
    assert jax.tree.structure(shapes[0]) == jax.tree.structure(shapes[1])
    assert jax.tree.leaves(shapes[0]) == jax.tree.leaves(shapes[1])
    arguments = params, ids(31, 2, 9), ids(31, 2, 3, 6)
    (loss, gradient), (other, others) = (
        jax.jit(jax.value_and_grad(loss_of(student)))(*arguments) for student in (kept, again)
    )
    np.testing.assert_allclose(loss, other, rtol=1e-6)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient))
    assert_trees_close(others, gradient, rtol=1e-4, atol=1e-6 * largest)


@pytest.mark.parametrize('name', CONFIGS)
def test_the_compiled_gradient_takes_less_memory(name):
    """Of deep students: what is kept of a layer is its input, not the many arrays within it."""
    deep = {'encoder_layers': 8, 'decoder_layers': 8} if name == 't5' else {'num_layers': 8}
    student = student_of(dataclasses.replace(CONFIGS[name], **deep), jnp.float32)

    def temporary(student):
        shapes = jax.eval_shape(student.init, KEY), ids(31, 4, 64), ids(31, 4, 3, 64)
        compiled = jax.jit(jax.grad(loss_of(student))).lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(dataclasses.replace(student, remat=True)) < 0.5 * temporary(student)
