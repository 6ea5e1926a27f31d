"""Where arrays live: a mesh of devices, the rule for parameters, batches that are spread over it.

What computes is written for one device, and XLA's partitioner makes it a program for all of them
(the axes are of the type Auto). Here is all that is said of devices, and it is said of arrays:

* A batch is spread over its questions, on both axes of the mesh.
* A parameter is split along its largest axis that the axis `fsdp` divides, but never along that of
  stacked layers, which a scan runs over; a layer's are gathered when it is run. Vectors and small
  matrices are everywhere. So are all along `data`.
* Several seeds that are one program are spread over `data`, and each stays on its device.

On a mesh of one device nothing is said at all.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from qcrd_jax.errors import InputError

AXES = ('data', 'fsdp')
_STACKED = 'layers'  # what the leaves are under whose first axis is that of layers


@dataclasses.dataclass(frozen=True)
class Placement:
    """Says of pytrees of arrays where they live.

    Attributes:
      mesh: with the axes `data` and `fsdp`.
      seeds: whether what is computed is that of several seeds, spread over `data`.
      smallest: elements that a parameter of one layer has at least, to be split.
    """

    mesh: Mesh | AbstractMesh
    seeds: bool = False
    smallest: int = 2**12

    @classmethod
    def of(cls, data: int = -1, fsdp: int = 1) -> 'Placement':
        """Returns the placement on a mesh of so many devices, the first of all processes'.

        Args:
          data: devices along `data`; -1: as many as there are.
          fsdp: devices along `fsdp`.

        Raises:
          InputError: if there are not so many devices, or a process would be left without any.
        """
        devices = jax.devices()
        count = len(devices)
        rows = count // fsdp if data == -1 else data
        used = rows * fsdp
        if used < 1 or used > count or (data == -1 and used < count):
            fitting = ', '.join(f'{count // n}x{n}' for n in range(1, count + 1) if count % n == 0)
            raise InputError(
                f'--config.mesh: data {data} times fsdp {fsdp} does not fit the {count} device(s) '
                f'that there are; data x fsdp may be {fitting}, and data -1 is what fsdp leaves.'
            )
        if len({device.process_index for device in devices[:used]}) < jax.process_count():
            raise InputError(
                f'--config.mesh: data {data} times fsdp {fsdp} leaves processes without a device; '
                f'{count} devices of {jax.process_count()} processes are there.'
            )
        return cls(_mesh(devices[:used], rows, fsdp))

    def of_seed(self, place: int, count: int) -> 'Placement':
        """Returns the placement of one of so many seeds by itself: on its device."""
        devices = self._devices
        used = _dividing(count, len(devices))
        return Placement(_mesh([devices[place * used // count]], 1, 1))

    @classmethod
    def of_seeds(cls, each: Sequence['Placement']) -> 'Placement':
        """Returns the placement of seeds in one program, by those of each (`of_seed`)."""
        devices = list(dict.fromkeys(place._devices[0] for place in each))
        used = _dividing(len(each), len(devices))
        return cls(_mesh(devices[:used], used, 1), seeds=True)

    @property
    def shards(self) -> int:
        """Into how many parts the questions of a batch are spread."""
        return 1 if self.seeds else self.mesh.size

    @property
    def alone(self) -> bool:
        """Whether there is but one device."""
        return self.mesh.size == 1

    def check_batch(self, field: str, size: int, parts: int = 1) -> None:
        """Refuses batches that do not divide.

        Args:
          field: of the configuration that the size is in.
          size: questions of a batch.
          parts: into which it is cut, one after another in memory.

        Raises:
          InputError: naming sizes that do.
        """
        least = self.shards * parts
        if size % least:
            below = f'{size // least * least} or ' if size > least else ''
            cut = f' in {parts} parts' if parts > 1 else ''
            raise InputError(
                f'--config.{field}: {size} questions{cut} do not divide over the {self.shards} '
                f'devices of --config.mesh; give a multiple of {least} ({below}'
                f'{(size // least + 1) * least}), or fewer devices.'
            )

    def own(self, size: int) -> slice | None:
        """Returns the rows of a batch of so many that this process holds; None: all of them."""
        if jax.process_count() == 1:
            return None
        spread = self.rows(jax.ShapeDtypeStruct((size,), jnp.int32))
        (parts,) = zip(*spread.addressable_devices_indices_map((size,)).values(), strict=True)
        bounds = [part.indices(size) for part in parts]
        return slice(min(start for start, *_ in bounds), max(stop for _, stop, _ in bounds))

    @property
    def _devices(self) -> list[jax.Device]:
        assert isinstance(self.mesh, Mesh)
        return list(self.mesh.devices.flat)

    @property
    def _device(self) -> jax.Device | None:
        """The one device; None where it is the first, on which all else is that names none."""
        device = self._devices[0]
        return None if device == jax.local_devices()[0] else device

    # --- Where trees live -------------------------------------------------------------------------

    @property
    def everywhere(self) -> NamedSharding:
        """What every device holds whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    def rows(self, tree: Any, lead: int = 0) -> Any:
        """Returns the shardings of a batch, or of what is computed for its rows.

        Args:
          tree: of arrays or shapes. Leaves whose rows do not divide are everywhere.
          lead: axes before that of the questions (before that of the seeds, where there is one).
        """
        axis = 'data' if self.seeds else AXES
        return self._spread(tree, lead, axis)

    def parameters(self, tree: Any, lead: int = 0) -> Any:
        """Returns the shardings of parameters, of moments, or of a ring.

        Args:
          tree: of arrays or shapes.
          lead: axes before those of a model's parameters: that of a ring's slots (with several
            seeds: axes before that of the seeds).
        """
        if self.seeds:
            return self.rows(tree, lead)
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: NamedSharding(self.mesh, self._split(path, leaf.shape, lead)), tree
        )

    def frozen(self, tree: Any) -> Any:
        """Returns the shardings of weights that are not trained; seeds share them."""
        if self.seeds:
            return jax.tree.map(lambda _: self.everywhere, tree)
        return self.parameters(tree)

    def generators(self, tree: Any) -> Any:
        """Returns the shardings of generators on a first axis, one or more for each of `data`."""
        return self._spread(tree, 0, 'data')

    def of_generators(self, tree: Any) -> Any:
        """Returns the shardings of the batches of `generators`, whose questions `fsdp` shares."""
        return self._spread(tree, 0, 'data', 'fsdp')

    def _spread(self, tree: Any, lead: int, *axes: Any) -> Any:
        """Spreads axes from `lead` on, where the mesh divides them."""

        def part(leaf: Any, place: int, axis: Any) -> Any:
            size = self.mesh.size if axis == AXES else self.mesh.shape[axis]
            return axis if leaf.ndim > place and leaf.shape[place] % size == 0 else None

        def of(leaf: Any) -> NamedSharding:
            parts = [part(leaf, place, axis) for place, axis in enumerate(axes, lead)]
            return NamedSharding(self.mesh, PartitionSpec(*[None] * lead, *parts))

        return jax.tree.map(of, tree)

    def _split(self, path: Any, shape: tuple[int, ...], lead: int) -> PartitionSpec:
        names = [getattr(entry, 'key', None) for entry in path]
        first, size = lead + (_STACKED in names), self.mesh.shape['fsdp']
        own = shape[first:]
        fitting = [axis for axis, length in enumerate(own) if length % size == 0]
        few = len(own) < 2 or int(np.prod(own)) < self.smallest
        if size == 1 or not fitting or few:
            return PartitionSpec()
        largest = max(fitting, key=lambda axis: (own[axis], axis))
        return PartitionSpec(*[None] * (first + largest), 'fsdp')

    def reading(self) -> contextlib.AbstractContextManager[Any]:
        """While this is open in a program, weights are gathered where they are read."""
        if self.seeds or self.mesh.shape['fsdp'] == 1:
            return contextlib.nullcontext()
        return jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh)

    # --- Moving trees -----------------------------------------------------------------------------

    def constrained(self, tree: Any, shardings: Any) -> Any:
        """Returns a tree that lives where it should, inside of a program."""
        return tree if self.alone else jax.lax.with_sharding_constraint(tree, shardings)

    def shared(self, tree: Any) -> Any:
        """Returns a tree that every device holds whole, inside of a program."""
        return self.constrained(tree, jax.tree.map(lambda _: self.everywhere, tree))

    def placed(self, tree: Any, shardings: Any) -> Any:
        """Returns arrays where they should live; of the host's arrays each device gets its part.

        Args:
          tree: arrays of NumPy that every process has alike, or of devices.
          shardings: of its leaves.
        """
        if self.alone:
            return jax.device_put(tree, self._device)
        return jax.tree.map(_placed, tree, shardings)

    def living(self, shapes: Any, shardings: Any) -> Any:
        """Returns the shapes of arrays that live somewhere; on one device, just the shapes."""
        if self.alone:
            return shapes
        return jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            shapes,
            shardings,
        )

    def made(self, make: Callable[..., Any], shardings: Callable[[Any], Any], *given: Any) -> Any:
        """Returns what a function makes, of which no device ever holds more than its part.

        Args:
          make: a pure function.
          shardings: of what it makes, by its shapes.
          given: its arguments.
        """
        if self.alone:
            return jax.device_put(make(*given), self._device)
        wanted = shardings(jax.eval_shape(make, *given))
        return jax.jit(make, out_shardings=wanted)(*given)

    def joined(self, trees: Sequence[Any], axis: int = 0) -> Any:
        """Returns the trees of seeds on an axis of their own; each stays on its device.

        Args:
          trees: of arrays of the same shapes, best each where `of_seed` has it; or of None.
          axis: place of the axis in every leaf.
        """
        if self.alone:
            trees = [jax.device_put(tree, self._device) for tree in trees]
            return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis), *trees)
        devices, each = self._devices, len(trees) // self.mesh.size

        def join(*leaves: jax.Array) -> jax.Array:
            there = [
                jax.device_put(leaf, devices[place // each]) for place, leaf in enumerate(leaves)
            ]
            parts = [
                jnp.stack(there[place : place + each], axis) for place in range(0, len(there), each)
            ]
            shape = list(parts[0].shape)
            shape[axis] = len(trees)
            sharding = NamedSharding(self.mesh, PartitionSpec(*[None] * axis, 'data'))
            return jax.make_array_from_single_device_arrays(tuple(shape), sharding, parts)

        return jax.tree.map(join, *trees)

    def taken_apart(self, tree: Any, place: int, axis: int = 0) -> Any:
        """Returns what `joined` had from the seed at a place, on its device."""
        before = (slice(None),) * axis

        def take(leaf: jax.Array) -> jax.Array:
            if self.alone:
                return leaf[(*before, place)]
            each = leaf.shape[axis] // self.mesh.size
            parts = sorted(leaf.addressable_shards, key=lambda shard: shard.index[axis].start or 0)
            return parts[place // each].data[(*before, place % each)]

        return jax.tree.map(take, tree)

    @staticmethod
    def host(tree: Any) -> Any:
        """Returns arrays of NumPy, whole, in every process (a leaf at a time on the devices)."""
        return jax.tree.map(whole, tree)


def _mesh(devices: Sequence[jax.Device], data: int, fsdp: int) -> Mesh:
    places = np.array(devices).reshape(data, fsdp)
    return Mesh(places, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def whole(leaf: Any) -> np.ndarray:
    """Returns an array of NumPy, whole; all of several processes must ask for it."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        if not leaf.is_fully_replicated:
            sharding = leaf.sharding
            assert isinstance(sharding, NamedSharding)
            leaf = _gathered(NamedSharding(sharding.mesh, PartitionSpec()))(leaf)
        leaf = leaf.addressable_data(0)
    return np.asarray(leaf)


def _dividing(count: int, most: int) -> int:
    """The largest number up to `most` that divides a count."""
    return max(n for n in range(1, most + 1) if count % n == 0)


@functools.lru_cache
def _gathered(everywhere: NamedSharding) -> Any:
    return jax.jit(lambda leaf: leaf, out_shardings=everywhere)


def _placed(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if isinstance(leaf, np.ndarray):
        return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])
    return jax.device_put(leaf, sharding)


def one_device() -> Placement:
    """Returns the placement on the first device of this process."""
    return Placement(_mesh(jax.local_devices()[:1], 1, 1))
