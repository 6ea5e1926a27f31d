"""The discriminator: how likely is it that a rationale is a good one (QCRD section 3.3.1).

The encoder of a T5, or the body of a decoder-only student, reads the question and the rationale as
one sequence; the maximum over the real positions goes through two linear layers and a sigmoid.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from qcrd_jax.models.base import apply
from qcrd_jax.models.layers import last_true, whole
from qcrd_jax.models.protocol import Dropping, Encoder, Params


class _Head(nn.Module):
    """Linear, GELU, linear to one number; float32."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = nn.Dense(x.shape[-1], name='hidden')(x)
        return nn.Dense(1, name='out')(nn.gelu(hidden, approximate=False))[..., 0]


@dataclasses.dataclass(frozen=True)
class Discriminator:
    """Pure functions over the parameters `{'encoder', 'head'}`.

    Attributes:
      encoder: what reads; the head is float32 in whatever precision it computes.
      frozen: whether only the head learns; the encoder has no gradient.
    """

    encoder: Encoder
    frozen: bool = False

    @property
    def pad_id(self) -> int:
        """Id of padding."""
        return self.encoder.pad_id

    @property
    def eos_id(self) -> int:
        """Id that ends every sequence."""
        return self.encoder.eos_id

    def init(self, key: jax.Array) -> Params:
        """Returns random float32 parameters."""
        encoder_key, head_key = jax.random.split(key)
        head = _Head().init(head_key, jnp.zeros((1, self.encoder.width)))['params']
        return {'encoder': self.encoder.init(encoder_key), 'head': head}

    def with_encoder(self, params: Params, encoder_params: Params) -> Params:
        """Returns parameters with another encoder, that of `load_encoder` or of a student.

        Args:
          params: those of `init`.
          encoder_params: those of the encoder; what else the tree holds is left out.
        """
        encoder = self.encoder.take(encoder_params)
        ours, theirs = jax.tree.map(jnp.shape, (params['encoder'], encoder))
        if ours != theirs:
            raise ValueError(f'encoder_params: expected the shapes {ours}, got {theirs}')
        return {**params, 'encoder': encoder}

    def logits(
        self,
        params: Params,
        ids: Int[Array, 'B R U'],
        mask: Bool[Array, 'B R U'],
        dropout: Dropping = None,
    ) -> Float[Array, 'B R']:
        """Returns the log-odds that each rationale is a good one.

        Args:
          params: those of `init`.
          ids: question and rationale as one sequence, see `join`.
          mask: True at real tokens; a row with none pools to zeros and stays finite.
          dropout: where given, the encoder drops out, for every rationale another way.
        """
        encoder = lax.stop_gradient(params['encoder']) if self.frozen else params['encoder']
        states = self.encoder.states(encoder, ids, mask, dropout).astype(jnp.float32)
        real = mask[..., None]
        pooled = jnp.where(real, states, jnp.finfo(jnp.float32).min).max(axis=-2)
        pooled = jnp.where(real.any(axis=-2), pooled, 0.0)
        return apply(_Head(), jax.tree.map(whole, params['head']), pooled)

    def scores(
        self,
        params: Params,
        ids: Int[Array, 'B R U'],
        mask: Bool[Array, 'B R U'],
        dropout: Dropping = None,
    ) -> Float[Array, 'B R']:
        """Returns the probability, in (0, 1), that each rationale is a good one."""
        return jax.nn.sigmoid(self.logits(params, ids, mask, dropout))


def join(
    question_ids: Int[Array, 'B S'],
    rationale_ids: Int[Array, 'B R T'],
    *,
    pad_id: int,
    eos_id: int,
) -> tuple[Int[Array, 'B R U'], Bool[Array, 'B R U']]:
    """Joins each question with each of its rationales into one contiguous sequence.

    The question loses its last EOS (one between premise and hypothesis stays) and its padding, the
    rationale keeps its EOS, and all padding goes to the end: in a gap T5's relative positions would
    see how long the question's padding was.

    Args:
      question_ids: questions, padded anywhere.
      rationale_ids: R rationales of each question, padded anywhere.
      pad_id: id of padding.
      eos_id: id that ends a sequence.

    Returns:
      The ids, U = S + T long, and the mask that is True at their real tokens.

    >>> ids, mask = join(jnp.array([[7, 8, 1, 0]]), jnp.array([[[5, 1]]]), pad_id=0, eos_id=1)
    >>> ids.tolist(), mask.tolist()
    ([[[7, 8, 5, 1, 0, 0]]], [[[True, True, True, True, False, False]]])
    """
    batch, rows, _ = rationale_ids.shape
    real = question_ids != pad_id
    last = last_true(real) & (question_ids == eos_id)
    questions = jnp.where(last, pad_id, question_ids)
    questions = jnp.broadcast_to(questions[:, None], (batch, rows, questions.shape[1]))
    ids = jnp.concatenate([questions, rationale_ids], axis=-1)
    order = jnp.argsort(ids == pad_id, axis=-1, stable=True)
    ids = jnp.take_along_axis(ids, order, axis=-1)
    return ids, ids != pad_id
