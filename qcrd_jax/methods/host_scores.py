"""Scores of rationales that come from their texts: worked out on the host, within a step.

A discriminator is one judge of a rationale; the gold answer is another, or whoever wrote a score
beside each of the teacher's answers. What they need is text, which no device reads.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from qcrd_jax.methods.rationales import Batch

ScoresSource = Literal['discriminator', 'gold', 'samples']

ScoreTexts = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From questions' places in the training split [N] and rationales [N, R, T] to scores [N, R]."""


@dataclasses.dataclass(frozen=True)
class HostScores:
    """Scores in [0, 1] that a function of the host gives; equal if the function is the same one."""

    function: ScoreTexts

    def of(self, batch: Batch, ids: Int[Array, 'B R T']) -> Float[Array, 'B R']:
        """Returns the scores of rationales of a batch's questions, constant for all gradients.

        Args:
          batch: its `example_index` is read.
          ids: of the rationales, as far as they are sampled inside the step too.
        """
        shape = jax.ShapeDtypeStruct(ids.shape[:-1], jnp.float32)
        places, ids = lax.stop_gradient((batch['example_index'], ids))
        return jax.pure_callback(self._called, shape, places, ids, vmap_method='broadcast_all')

    def _called(self, places: Any, ids: Any) -> np.ndarray:
        """The scores of all questions, whatever axes a `vmap` has put before them."""
        places, ids = np.asarray(places), np.asarray(ids)
        flat = self.function(places.reshape(-1), ids.reshape(-1, *ids.shape[-2:]))
        return flat.reshape(ids.shape[:-1]).astype(np.float32)
