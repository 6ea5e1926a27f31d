"""A method on several devices: where its arguments, its generators and its results live.

The method itself knows no device. What is said here lets XLA's partitioner spread a step over the
questions of a batch (or over seeds) and keep parameters split, and gathers what is decoded with
once, before the loop over tokens.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from qcrd_jax.methods.method import Around, Method, Spreading, over
from qcrd_jax.methods.metrics import Metrics
from qcrd_jax.methods.rationales import Batch
from qcrd_jax.methods.state import Progress, TrainState
from qcrd_jax.models.lora import LoraStudent
from qcrd_jax.models.protocol import Params
from qcrd_jax.placement import Placement
from qcrd_jax.ring import Ring

_FEW = 64
"""Sequences that a device decodes at once, up to which reading the weights takes most of the time:
then each device decodes with few generators for many questions, and not the other way round."""


def layout(placement: Placement, progress: Progress) -> Progress:
    """Returns where the leaves of a progress live, by their shapes."""
    state, ring = progress
    return Progress(
        layout_of_state(placement, state),
        None if ring is None else Ring(placement.parameters(ring.slots, lead=1)),
    )


def layout_of_state(placement: Placement, state: TrainState) -> TrainState:
    """Returns where the leaves of a state live, by their shapes."""
    parameters = placement.parameters
    return TrainState(
        params=parameters(state.params),
        opt_state=parameters(state.opt_state),
        step=placement.everywhere,
        discriminator=parameters(state.discriminator),
    )


def on(method: Method, placement: Placement) -> Method:
    """Returns the method whose arrays live on a mesh; its numbers are those of one device.

    Args:
      method: of one run, or `programs.over_seeds` of several where the placement is that of seeds.
      placement: on a mesh.
    """
    if placement.alone:
        return method
    if isinstance(method, Spreading):
        method = method.spread(placement.shards)
    return _Placed(method, placement)


@dataclasses.dataclass(frozen=True)
class _Placed(Around):
    """A method on a mesh."""

    placement: Placement

    def sample(self, generators: Params | None, batches: Batch, keys: Key[Array, '*lead']) -> Any:
        if generators is None:
            return self.method.sample(generators, batches, keys)
        place, student = self.placement, self.student
        if place.seeds:
            return self._sampled_by_seeds(generators, batches, keys)
        # Cast before they are gathered: what is computed with them is the same.
        generators = student.narrowed(generators, student.encoder.compute_dtype)
        method = self.method
        if isinstance(student, LoraStudent):
            method = over(method, place.shared(student.base))
        if keys.ndim and self._spreads_generators(batches['explain_ids'].shape):
            sampled = self._sampled_by_generators(method, generators, batches, keys)
        else:
            batches = place.constrained(batches, place.rows(batches, keys.ndim))
            sampled = method.sample(place.shared(generators), batches, keys)
        return place.constrained(sampled, place.rows(sampled, keys.ndim))

    def _sampled_by_seeds(self, generators: Params, batches: Batch, keys: Any) -> Any:
        """Each device samples the generators of its own seeds.

        Of J steps and P seeds, the seeds come first: they are one axis for the sampler.
        """
        place, ahead = self.placement, keys.ndim == 2

        def turned(tree: Any) -> Any:
            return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), tree) if ahead else tree

        generators, batches, keys = turned((generators, batches, keys))
        generators = place.constrained(generators, place.rows(generators))
        batches = place.constrained(batches, place.rows(batches))
        sampled = self.method.sample(generators, batches, keys)
        return turned(place.constrained(sampled, place.rows(sampled)))

    def _spreads_generators(self, shape: tuple[int, ...]) -> bool:
        lag, questions, _ = shape
        data = self.placement.mesh.shape['data']
        assert self.negatives is not None
        rows = questions * self.negatives.count
        return data > 1 and lag > 1 and rows <= _FEW

    def _sampled_by_generators(
        self, method: Method, generators: Params, batches: Batch, keys: Any
    ) -> Any:
        """Each place of `data` samples its own generators: one, where there are enough places.

        Their number is filled up to a multiple of the places by copies, whose samples are left out.
        """
        place, lag = self.placement, keys.shape[0]
        data = place.mesh.shape['data']
        filled = jnp.minimum(jnp.arange(math.ceil(lag / data) * data), lag - 1)
        generators, batches, keys = jax.tree.map(
            lambda leaf: leaf[filled], (generators, batches, keys)
        )
        generators = place.constrained(generators, place.generators(generators))
        batches = place.constrained(batches, place.of_generators(batches))
        sampled = method.sample(generators, batches, keys)
        # Where they are written; only afterwards they go to where they are read.
        sampled = place.constrained(sampled, place.of_generators(sampled))
        return jax.tree.map(lambda leaf: leaf[:lag], sampled)

    def update(
        self, state: TrainState, batch: Batch, sampled: Any, key: Key[Array, '*seeds']
    ) -> tuple[TrainState, Metrics]:
        place = self.placement
        batch, sampled = (place.constrained(tree, place.rows(tree)) for tree in (batch, sampled))
        with place.reading():
            state, metrics = self.method.update(state, batch, sampled, key)
        # Those of seeds stay where they are: there is one process that reads them.
        metrics = (
            place.constrained(metrics, place.rows(metrics))
            if place.seeds
            else place.shared(metrics)
        )
        return place.constrained(state, layout_of_state(place, state)), metrics
