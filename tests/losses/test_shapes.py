"""What a user of the losses gets wrong; in a process without the tests' own checks."""

import json
import subprocess
import sys

import pytest

from tests.support import REPOSITORY

SCRIPT = """
import json
import jax
import jax.numpy as jnp
import numpy as np
from qcrd_jax import losses

x, mask = jnp.ones((2, 4)), jnp.ones((2, 4), bool)
narrow, one, k = mask[:, :1], jnp.ones((2, 1), bool), jnp.ones((2, 3))
tokens = jnp.zeros((2, 5), int)
CALLS = {
    'broadcast': lambda: losses.contrastive_loss(x, k, x, k, narrow, one),
    'axis': lambda: losses.contrastive_loss(x, k, x, x, mask, mask[:, :3]),
    'rank': lambda: losses.contrastive_loss(x[0], k, x, k, mask, mask[:, :3]),
    'float mask': lambda: losses.discriminator_loss(x, k, mask * 1.0, mask[:, :3]),
    'draws': lambda: losses.select(x, mask, scheme='sampling', side='positive', draws=x[:, :2]),
    'lead': lambda: losses.sequence_cross_entropy(jnp.ones((2, 5, 9)), tokens, mask[:, :1]),
    'jit': lambda: jax.jit(losses.masked_mean)(x, narrow),
    'linear': lambda: losses.linear_cross_entropy(jnp.ones((2, 5, 3)), jnp.ones((9, 4)), tokens),
    'side': lambda: losses.select(x, mask, scheme='min_max', side='left'),
    'scheme': lambda: losses.rationale_weights(x, x, mask, scheme='best', side='positive'),
    'kind': lambda: losses.discriminator_loss(x, x, mask, mask, kind='hinge'),
    'numpy': lambda: losses.masked_mean(np.ones((2, 4), np.float32), np.ones((2, 4), bool)),
    'batched': lambda: jax.vmap(losses.masked_mean)(x, mask),
}
said = {}
for name, call in CALLS.items():
    try:
        said[name] = np.asarray(call()).tolist()
    except ValueError as error:
        said[name] = str(error)
print(json.dumps(said))
"""


@pytest.fixture(scope='module')
def said():
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        (
            'broadcast',
            'contrastive_loss: positive_mask: expected shape [B, M] with B = 2, M = 4, got [2, 1].',
        ),
        (
            'axis',
            'contrastive_loss: negative_scores: expected shape [B, K] with B = 2, K = 3, '
            'got [2, 4].',
        ),
        ('rank', 'contrastive_loss: positive_losses: expected shape [B, M], got [4].'),
        ('float mask', 'discriminator_loss: positive_mask: expected bool, got float32.'),
        ('draws', 'select: draws: expected shape [B, R] with B = 2, R = 4, got [2, 2].'),
        (
            'lead',
            'sequence_cross_entropy: mask: expected shape [*batch, T] with *batch = [2], T = 5, '
            'got [2, 1].',
        ),
        ('jit', 'masked_mean: mask: expected shape [*shape] with *shape = [2, 4], got [2, 1].'),
        ('linear', 'linear_cross_entropy: table: expected shape [V, D] with D = 3, got [9, 4].'),
        ('side', "side: expected one of ('positive', 'negative'), got 'left'."),
        (
            'scheme',
            "scheme: expected one of ('min_max', 'max_min', 'sampling', 'mean', 'weighted_mean'), "
            "got 'best'.",
        ),
        ('kind', "kind: expected one of ('ratio', 'info_nce', 'bce'), got 'hinge'."),
    ],
)
def test_a_wrong_call_is_named(said, name, message):
    assert said[name] == message


def test_right_calls_are_let_through(said):
    assert said['numpy'] == 1.0
    assert said['batched'] == [1.0, 1.0]
