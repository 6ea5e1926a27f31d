"""The step of the discriminator's pretraining, and its batches: of one run, or several seeds."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import optax

from qcrd_jax import losses
from qcrd_jax.data.batches import BatchStream
from qcrd_jax.methods.discriminator import joined_length, make_discriminator_step
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.placement import Placement


@functools.lru_cache(maxsize=1)
def compiled(
    discriminator: Discriminator,
    optimizer: optax.GradientTransformation,
    kind: losses.DiscriminatorLoss,
    several: bool,
    placement: Placement,
) -> Any:
    """Returns the jitted step `(state, batch, key, length) -> (state, metrics)`, state donated.

    Runs that pretrain one after another compile it once.

    Args:
      discriminator: of the runs.
      optimizer: of their pretraining.
      kind: of the loss.
      several: whether all arguments but the length are those of several runs, stacked.
      placement: where the arrays live.
    """
    shards = placement.shards
    one = make_discriminator_step(discriminator, optimizer, kind=kind, shards=shards)

    def step(state: Any, batch: Any, key: Any, length: int | None = None) -> Any:
        advance = functools.partial(one, length=length)
        batch = placement.constrained(batch, placement.rows(batch))
        with placement.reading():
            state, metrics = (jax.vmap(advance) if several else advance)(state, batch, key)
        state = placement.constrained(state, placement.parameters(state))
        return state, placement.shared(metrics)

    return jax.jit(step, donate_argnames='state', static_argnames='length')


def batch(
    streams: Sequence[BatchStream], step: int, pad_id: int
) -> tuple[dict[str, np.ndarray], int]:
    """Returns the batch of a step, and how many tokens hold its longest joined sequence.

    Those of several runs are stacked, each padded to what holds them all.
    """
    own = [stream[step] for stream in streams]
    length = max(joined_length(batch, pad_id) for batch in own)
    return (own[0] if len(own) == 1 else _stacked(own, pad_id)), length


def _stacked(own: Sequence[dict[str, np.ndarray]], pad_id: int) -> dict[str, np.ndarray]:
    """The batches of several runs as one: `pad_id` fills up ids, False fills up masks."""

    def stack(name: str, arrays: Sequence[np.ndarray]) -> np.ndarray:
        shape = np.max([array.shape for array in arrays], axis=0)
        fill = pad_id if name.endswith('_ids') else 0
        stacked = np.full((len(arrays), *shape), fill, arrays[0].dtype)
        for row, array in zip(stacked, arrays, strict=True):
            row[tuple(map(slice, array.shape))] = array
        return stacked

    return {name: stack(name, [batch[name] for batch in own]) for name in own[0]}
