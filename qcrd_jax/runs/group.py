"""Runs that advance in one program: one run, or several that only differ in their seed."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from qcrd_jax.data.batches import BatchStream
from qcrd_jax.methods import compiled, programs
from qcrd_jax.methods.compiled import Prepared, Programs
from qcrd_jax.methods.programs import Fixed, Progress
from qcrd_jax.models.protocol import Params
from qcrd_jax.placement import Placement
from qcrd_jax.runs.checkpoint import Checkpointer
from qcrd_jax.runs.log import MetricsLog
from qcrd_jax.runs.run import Run


class Records(NamedTuple):
    """A run that is being trained, and where its records go."""

    run: Run
    checkpointer: Checkpointer
    log: MetricsLog


class Group(NamedTuple):
    """Runs that advance in one program."""

    records: Sequence[Records]
    programs: Programs
    batches: BatchStream
    key: jax.Array
    fixed: Fixed

    @property
    def several(self) -> bool:
        """Whether there are several."""
        return len(self.records) > 1

    def joined(self, runs: Sequence[Progress]) -> Progress:
        """The progress of the runs as the program takes it."""
        return programs.stack(runs, self.programs.placement) if self.several else runs[0]

    def of(self, progress: Progress, place: int) -> Progress:
        """The progress of one run."""
        if not self.several:
            return progress
        return programs.unstack(progress, place, self.programs.placement)

    def prepared(self, step: int, count: int) -> Prepared:
        """What `count` steps from a step on read, placed."""
        return self.programs.placed(self.programs.prepared(self.batches, step, count))


def placed(runs: Sequence[Run]) -> list[Run]:
    """Returns the runs where they are trained: several each on a device, one on the whole mesh.

    Raises:
      InputError: if the batch of one does not divide.
    """
    if len(runs) == 1:
        runs[0].check_batches()
        return list(runs)
    place = runs[0].placement.of_seed
    return [replace(run, placement=place(i, len(runs))) for i, run in enumerate(runs)]


def group_of(records: Sequence[Records], generators: Sequence[Params | None]) -> Group:
    """Returns the group of some runs, all before the same step.

    Args:
      records: of the runs.
      generators: what each samples where there is no ring.
    """
    runs = [each.run for each in records]
    method, streams = runs[0].method, [run.training_batches() for run in runs]
    keys = [run.key('train') for run in runs]
    if len(runs) == 1:
        made = compiled.programs_of(method, runs[0].placement)
        fixed = Fixed(generators[0], base_of(runs[0], runs[0].placement))
        return Group(records, made, streams[0], keys[0], fixed)
    place = Placement.of_seeds([run.placement for run in runs])
    return Group(
        records,
        compiled.programs_of(programs.over_seeds(method), place),
        programs.StackedBatches(streams),
        jnp.stack(keys),
        Fixed(place.joined(generators), base_of(runs[0], place)),
    )


def base_of(run: Run, placement: Placement) -> Params | None:
    """Returns the frozen weights as programs read them; None where all weights are trained.

    Args:
      run: any of those that share them.
      placement: where they live.
    """
    if run.frozen is None:
        return None
    # What is computed with them is the same in the dtype that is computed in.
    narrow = run.student.narrowed(run.frozen.params, run.student.encoder.compute_dtype)
    return placement.placed(narrow, placement.frozen(narrow))
