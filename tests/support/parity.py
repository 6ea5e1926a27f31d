"""What a student of ours computes, in the names and layout of PyTorch's references beside."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from qcrd_jax.models import Params, architectures, huggingface
from tests.support import GOLDEN, folders


def random_params(model, seed: int = 0) -> Params:
    """Returns parameters for `model`, norms perturbed, without compiling its `init`."""
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        centre = 1.0 if getattr(path[-1], 'key', None) == 'scale' else 0.0
        return jnp.asarray(centre + 0.3 * rng.standard_normal(leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, jax.eval_shape(model.init, jax.random.key(0)))


def run(
    config: architectures.Architecture,
    params: Params,
    batch: dict[str, np.ndarray],
    gradients: bool = True,
) -> dict[str, np.ndarray]:
    """Returns encoder states, logits, mean token loss, greedy tokens, and gradients as a tree."""
    tokens, mask, targets = (jnp.asarray(batch[k]) for k in ('tokens', 'mask', 'targets'))
    return _run(
        architectures.student_of(config, jnp.float32), gradients, params, tokens, mask, targets
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(student, with_gradients, params, tokens, mask, targets):
    def loss(params):
        context = student.encode(params, tokens, mask)
        logits = student.decode(params, context, targets)
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)[..., 0]
        real = targets != student.pad_id
        return -(picked * real).sum() / real.sum(), (context, logits)

    if with_gradients:
        (value, (context, logits)), gradients = jax.value_and_grad(loss, has_aux=True)(params)
    else:
        (value, (context, logits)), gradients = loss(params), None
    return {
        'states': student.encoder.states(params, tokens, mask),
        'logits': logits,
        'loss': value,
        'greedy': _greedy(student, student.cast_for_decoding(params), context, targets.shape[2]),
        'gradients': gradients,
    }


def _greedy(student, params, context, length):
    cache = student.start_decoding(params, context, 1, length)

    def step(carry, _):
        token, done, cache = carry
        logits, cache = student.decode_step(params, cache, token)
        token = jnp.where(done, student.pad_id, logits.argmax(-1).astype(jnp.int32))
        return (token, done | (token == student.eos_id), cache), token[:, 0]

    batch = context.mask.shape[0]
    start = jnp.full((batch, 1), student.start_id, jnp.int32)
    _, tokens = jax.lax.scan(step, (start, start != start, cache), length=length)
    return tokens.T


def assert_close(ours, theirs, mask, *, logits_atol=1e-5):
    """States at real tokens and loss within 1e-5, logits within `logits_atol`; greedy tokens equal.

    The sums in float32 are taken in another order.
    """
    real = mask[..., None]
    np.testing.assert_allclose(ours['states'] * real, theirs['states'] * real, atol=1e-5)
    np.testing.assert_allclose(ours['logits'], theirs['logits'], atol=logits_atol)
    np.testing.assert_allclose(ours['loss'], theirs['loss'], rtol=1e-5)
    np.testing.assert_array_equal(ours['greedy'], theirs['greedy'])


def assert_gradients_close(
    config: architectures.Architecture,
    gradients: Params,
    theirs: dict[str, np.ndarray],
    folder: pathlib.Path,
    *,
    rtol: float = 1e-5,
) -> None:
    """Each within `rtol` of the largest element of its tensor.

    Written to a folder as a checkpoint, they come out under the names that PyTorch gives them.
    """
    huggingface.save_student(folder, config, gradients)
    written = folders.tensors_of(folder)
    expected = {
        name.removeprefix('gradient/'): gradient
        for name, gradient in theirs.items()
        if name.startswith('gradient/')
    }
    assert set(written) == set(expected)
    for name, gradient in written.items():
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(gradient, expected[name], atol=rtol * scale, err_msg=name)


def load_golden(
    name: str, folder: pathlib.Path
) -> tuple[architectures.Architecture, Params, dict[str, np.ndarray]]:
    """Reads a checkpoint of PyTorch's that is kept with what PyTorch computed from it.

    Returns:
      The architecture and parameters as `load_student` reads them, and the arrays.
    """
    golden = dict(np.load(GOLDEN / f'{name}.npz'))
    (folder / 'config.json').write_text(str(golden['config']))
    tensors = {k.removeprefix('tensor/'): v for k, v in golden.items() if k.startswith('tensor/')}
    folders.rewrite(folder, tensors)
    return *huggingface.load_student(folder), golden
