"""How much memory training takes, by the compiled program's own analysis, and how many seeds fit.

The program that is analysed is the one that will run, with the shapes that it will have: its
activations, logits and gradients are in its analysis, and so is the discriminator's update, a
branch of it. JAX keeps what was compiled for the analysis, and training finds it there.
"""

import dataclasses
import os
import pathlib
import resource
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qcrd_jax import processes
from qcrd_jax.data import batches
from qcrd_jax.errors import in_units, is_exhaustion
from qcrd_jax.methods import compiled, programs
from qcrd_jax.methods.compiled import Programs
from qcrd_jax.methods.programs import Progress
from qcrd_jax.methods.state import DiscriminatorState, Fixed
from qcrd_jax.models.protocol import parameter_bytes
from qcrd_jax.placement import one_device
from qcrd_jax.runs import pretraining_steps
from qcrd_jax.runs.exhaustion import out_of_memory
from qcrd_jax.runs.run import Run

_SHARE = 0.9  # of the free memory that a group of seeds may take: the rest is lost between buffers
_BLIND = 3  # times what is kept: what a seed takes on a backend that has no analysis


class Need(NamedTuple):
    """Bytes of a device's memory.

    Attributes:
      kept: from step to step: students, moments, rings, discriminators.
      working: at most beside it: activations, logits, gradients, a batch; or the copies that are
        made where seeds are joined into one program and taken apart to be saved.
    """

    kept: int
    working: int

    @property
    def total(self) -> int:
        """Of both."""
        return self.kept + self.working


# --- What a run takes -----------------------------------------------------------------------------


def needed(run: Run, count: int = 1) -> Need | None:
    """Returns what training `count` seeds of a run takes in one program; None if nobody knows.

    It compiles that program, which takes as long as at the start of training, and only once.

    Args:
      run: any of the seeds.
      count: P, seeds that are trained together.
    """
    progress = _progress(run, count)
    method = run.method if count == 1 else programs.over_seeds(run.method)
    batch, key, generator = jax.eval_shape(
        lambda *one: jax.tree.map(lambda leaf: _on_axis(leaf, count), one),
        run.training_batches()[0],
        jax.random.key(0),
        _fixed_generator(run),
    )
    fixed = Fixed(generator, _base(run))
    made = compiled.programs_of(method, run.placement if count == 1 else None)
    steps = longest_window(run)
    largest = run.corpus.lengths
    working = _most(made.all(progress, batch, key, fixed, largest=largest, steps=steps))
    if working is None:
        return None
    kept = parameter_bytes(progress) + parameter_bytes(fixed)
    working += parameter_bytes(batch) * made.steps_at_once(0, steps)
    copied = parameter_bytes(progress) if count > 1 else 0
    first = _pretraining(run, count) - kept  # before there is any of that
    return Need(kept, max(working, copied, first))


def longest_window(run: Run) -> int:
    """Returns how many steps may be taken in a row, with nothing between them."""
    train = run.config.train
    return min(train.log_every, train.evaluate_every, train.checkpoint_every, train.steps)


def _progress(run: Run, count: int) -> Progress:
    """The shapes of what `count` seeds keep."""
    one = run.progress_shape
    if count == 1:
        return one
    return jax.eval_shape(lambda *runs: programs.stack(runs), *[one] * count)


def _fixed_generator(run: Run) -> Any:
    negatives = run.method.negatives
    if negatives is None or negatives.lag:
        return None
    return jax.eval_shape(run.method.student.init, jax.random.key(0))


def _base(run: Run) -> Any:
    """The shapes of the frozen weights, which seeds share; None where all are trained."""
    if run.frozen is None:
        return None
    narrow, dtype = run.student.narrowed, run.student.encoder.compute_dtype
    return jax.eval_shape(lambda params: narrow(params, dtype), run.frozen.params)


def _on_axis(leaf: jax.Array, count: int) -> jax.Array:
    return leaf if count == 1 else jnp.broadcast_to(leaf, (count, *leaf.shape))


def _most(made: Sequence[Any]) -> int | None:
    """What that one of some compiled programs takes which takes most; None if nobody knows."""
    found = [_working(each) for each in made]
    return max((working for working in found if working is not None), default=None)


def _working(program: Any) -> int | None:
    """What a compiled program takes beside its arguments; donated ones are counted once."""
    found = program.memory_analysis()
    if found is None:
        return None
    return (
        found.temp_size_in_bytes
        + found.output_size_in_bytes
        - found.alias_size_in_bytes
        + found.generated_code_size_in_bytes
    )


def _pretraining(run: Run, count: int) -> int:
    """What pretraining a discriminator takes, at most; 0 where training surely takes more.

    Seeds pretrain together. Their step does what the update in training does, on the rationales
    of its own batch: where those are fewer, nothing is compiled to find it smaller.
    """
    settings, lengths = run.config.discriminator, run.corpus.lengths
    discriminator = run.discriminator
    if discriminator is None or not settings.pretrain_steps:
        return 0
    negatives = max(lengths.positives, lengths.negatives)  # balanced: as many as positives
    pretrained = settings.batch_size * (lengths.positives + negatives)
    sampled = run.method.negatives.count if run.method.negatives else 0
    updated = lengths.positives + lengths.negatives + sampled
    if settings.update_every and run.config.train.batch_size * updated >= pretrained:
        return 0
    state = jax.eval_shape(
        lambda key: DiscriminatorState.create(discriminator.init(key), run.pretraining_optimizer),
        jax.random.key(0),
    )
    batch = batches.collate(
        run.corpus.encoded['train'],
        dataclasses.replace(lengths, negatives=negatives),
        np.zeros(settings.batch_size, int),
    )
    theta_0 = jax.eval_shape(run.student.init, jax.random.key(0))
    state, batch, key, theta_0 = jax.eval_shape(
        lambda *one: jax.tree.map(lambda leaf: _on_axis(leaf, count), one),
        state, batch, jax.random.key(0), theta_0,
    )  # fmt: skip
    step = pretraining_steps.compiled(
        discriminator,
        run.pretraining_optimizer,
        run.config.loss.discriminator,
        count > 1,
        run.placement if count == 1 else one_device(),
    )
    working = _working(step.lower(state, batch, key).compile()) or 0
    copied = parameter_bytes(state) if count > 1 else 0  # where seeds are joined and taken apart
    return parameter_bytes((state, batch, theta_0)) + max(working, copied)


# --- Against what there is ------------------------------------------------------------------------


def seeds_that_fit(run: Run, limit: int) -> int:
    """Returns how many seeds of a run the device holds in one program, at least one.

    The program of `limit` seeds is compiled; where it takes too much, that of as many as would
    have their share. A seed by itself is not looked at: there is nothing less to try. Seeds that
    are spread over devices are as many on one as on another.

    Args:
      run: any of the seeds.
      limit: seeds that are to be trained.
    """
    devices = run.placement.mesh.size
    if devices > 1:
        count = devices * _fitting(run, -(-limit // devices))
        return limit if limit <= min(count, devices) else min(count, limit // devices * devices)
    return _fitting(run, limit)


def _fitting(run: Run, limit: int) -> int:
    """The seeds that one device holds in one program."""
    memory = _SHARE * free()
    kept = parameter_bytes(_progress(run, 1))
    count = min(limit, int(memory // kept))
    while count > 1:
        try:
            need = needed(run, count)
        except Exception as error:
            if not is_exhaustion(error):
                raise
            count //= 2  # not even compiled
            continue
        if need is None:
            return max(1, min(count, int(memory // (_BLIND * kept))))
        if need.total <= memory:
            return count
        count = min(count - 1, int(count * memory / need.total))
    return 1


def check(
    run: Run,
    program: Programs,
    progress: Progress,
    batch: Any,
    key: jax.Array,
    fixed: Fixed,
    *,
    steps: int,
) -> None:
    """Refuses steps that memory cannot hold beside what it holds already, before they are taken.

    What runs out of memory on a GPU says so; on a CPU it may be ended by the system, or crash.

    Args:
      run: one that is trained.
      program: its program, or that of several seeds.
      progress: theirs.
      batch: of a step.
      key: theirs.
      fixed: what they read and do not change.
      steps: that are left.

    Raises:
      OutOfMemory: naming the fields to lower.
    """
    steps = min(steps, longest_window(run))
    asked = progress, batch, key, fixed
    working = _most(program.all(*asked, largest=run.corpus.lengths, steps=steps))
    there = free()
    if processes.of_any(working is not None and working > there):
        why = (
            f' before the first step, which takes {in_units(working or 0)} beside the '
            f'{in_units(parameter_bytes(progress))} that are kept, of {in_units(there)} free'
        )
        raise out_of_memory(run.config, 'training', why, run.corpus.lengths)


def free() -> int:
    """Returns the free bytes of the first device: of an accelerator its own, else the host's."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if 'bytes_limit' in stats:
        return stats['bytes_limit'] - stats.get('bytes_in_use', 0)
    return host_free()


def host_free() -> int:
    """Returns what the process may still take of the host's memory, whoever limits it."""
    limits = [_free_of_machine(), _free_of_process(), _free_of_container()]
    return max(0, min(limit for limit in limits if limit is not None))


def _free_of_machine() -> int | None:
    info = _numbers(pathlib.Path('/proc/meminfo'))
    if 'MemAvailable' in info:
        return 1024 * (info['MemAvailable'] + info.get('SwapFree', 0))
    return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def _free_of_process() -> int | None:
    """Of what `ulimit -v` allows."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    return limit - 1024 * _numbers(pathlib.Path('/proc/self/status')).get('VmSize', 0)


def _free_of_container() -> int | None:
    """Of what a control group allows, as containers and batch systems set it."""
    group = pathlib.Path('/sys/fs/cgroup')
    for names in (
        ('memory.max', 'memory.current', 'memory.stat'),
        ('memory/memory.limit_in_bytes', 'memory/memory.usage_in_bytes', 'memory/memory.stat'),
    ):
        try:
            limit, used = (int((group / name).read_text()) for name in names[:2])
        except (OSError, ValueError):  # no such group, or no limit
            continue
        cached = _numbers(group / names[2]).get('inactive_file', 0)
        return limit - used + cached
    return None


def _numbers(path: pathlib.Path) -> dict[str, int]:
    """The numbers of a file of lines 'name: number' or 'name number'."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    words = [line.replace(':', ' ').split() for line in lines]
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdigit()}
