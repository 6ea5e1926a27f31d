"""The compiled programs of a method, which take the steps that `programs` specifies.

Where the negatives of J steps are sampled together, sampling and learning are programs of their
own: each of the J updates has the shape of its own batch, and the single steps before the end of a
window learn by the same program.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key

from qcrd_jax import interruption
from qcrd_jax.data.batches import BatchStream
from qcrd_jax.data.lengths import Lengths
from qcrd_jax.methods import placed, programs
from qcrd_jax.methods.method import Method, over
from qcrd_jax.methods.metrics import Metrics
from qcrd_jax.methods.programs import Fixed, Progress
from qcrd_jax.methods.rationales import Batch
from qcrd_jax.methods.state import NOTHING_FIXED
from qcrd_jax.models.protocol import Params
from qcrd_jax.placement import Placement, one_device


class Prepared(NamedTuple):
    """The batches of the next step, or of those of a chunk.

    Attributes:
      batches: of each step.
      questions: of a chunk, `programs.questions_of` them; else None.
    """

    batches: tuple[Batch, ...]
    questions: Batch | None = None


class Apart(NamedTuple):
    """Sampling and learning as programs of their own, of `programs` the functions of these names.

    Attributes:
      sample_ahead: for J steps.
      sample_now: for one.
      learn: the progress donated.
    """

    sample_ahead: Any
    sample_now: Any
    learn: Any


@dataclasses.dataclass(frozen=True)
class Programs:
    """The compiled programs of a method.

    Attributes:
      method: of one run, or `programs.over_seeds` of several.
      placement: where its arrays live.
      step: `take_step`, the progress donated; taken where nothing is `apart`.
      apart: where the negatives of several steps are sampled together.
      seen: the shapes that were asked for.
    """

    method: Method
    placement: Placement
    step: Any
    apart: Apart | None
    seen: set[Any] = dataclasses.field(default_factory=set, compare=False)

    def advance(
        self,
        progress: Progress,
        batches: BatchStream,
        key: Key[Array, '*seeds'],
        step: int,
        limit: int,
        fixed: Fixed = NOTHING_FIXED,
    ) -> tuple[Progress, int, Metrics]:
        """Takes one step, or a chunk of them if they all end by `limit`.

        The buffers of `progress` are donated.

        Args:
          progress: before step `step`.
          batches: of every step.
          key: the run's base key.
          step: t.
          limit: no step from here on is taken.
          fixed: what is read beside them.

        Returns:
          The progress, the next step, and the metrics of what was taken.
        """
        count = self.steps_at_once(step, limit)
        ready = self.placed(self.prepared(batches, step, count))
        progress, metrics = self.take(progress, ready, key, fixed)
        return progress, step + count, metrics

    def steps_at_once(self, step: int, limit: int) -> int:
        """Returns how many steps are taken next: those of a chunk, or one."""
        together = programs.steps_together(self.method)
        return together if step + together <= limit else 1

    def prepared(self, batches: BatchStream, step: int, count: int) -> Prepared:
        """Returns what `count` steps from a step on read, on the host."""
        taken = tuple(batches.fitted(t) for t in range(step, step + count))
        if count == 1:
            return Prepared(taken)
        return Prepared(taken, self._questions(taken, batches.largest))

    def placed(self, ready: Prepared) -> Prepared:
        """Returns what is read where the devices read it."""
        rows = self.placement.rows
        where = Prepared(rows(ready.batches), rows(ready.questions, lead=1))
        return self.placement.placed(ready, where)

    def is_new(self, ready: Prepared) -> bool:
        """Whether a program for these shapes is asked for the first time, and compiled."""
        asked: set[Any] = {('learn', _shapes(batch)) for batch in ready.batches}
        if ready.questions is None:
            asked.add(('now', _shapes(ready.batches[0])))
        else:
            asked.add(('ahead', _shapes(ready.questions)))
        new = not asked <= self.seen
        self.seen.update(asked)
        return new

    def take(
        self,
        progress: Progress,
        ready: Prepared,
        key: Key[Array, '*seeds'],
        fixed: Fixed = NOTHING_FIXED,
    ) -> tuple[Progress, Metrics]:
        """Takes the steps whose batches are prepared; see `advance`."""
        if self.apart is None:
            return self.step(progress, ready.batches[0], key, fixed)
        if ready.questions is None:
            (batch,) = ready.batches
            sampled = self.apart.sample_now(progress, batch, key, fixed)
            return self.apart.learn(progress, batch, sampled, key, fixed)
        sampled, metrics = self.apart.sample_ahead(progress, ready.questions, key, fixed), []
        for turn, batch in enumerate(ready.batches):
            drawn = _of_turn(sampled, turn, batch['positive_ids'].shape[-1], self._pad_id)
            progress, taken = self.apart.learn(progress, batch, drawn, key, fixed)
            metrics.append(taken)
        return progress, _stacked(*metrics)

    def all(
        self,
        progress: Any,
        batch: Any,
        key: Any,
        fixed: Any = NOTHING_FIXED,
        *,
        largest: Lengths,
        steps: int,
    ) -> list[Any]:
        """Returns the programs that run, compiled by themselves.

        Where the same program is run afterwards it is found compiled, so that this costs no time.

        Args:
          progress: arrays or their shapes, as all that follows.
          batch: of any step.
          key: the run's base key.
          fixed: what is read beside them.
          largest: the shape that holds all batches.
          steps: in a row; a chunk is taken where they are enough.
        """
        asked = progress, batch, key, fixed
        if self.apart is None:
            return [self.step.lower(*asked).compile()]
        sampling = self.apart.sample_now.lower(*asked)
        if (together := self.steps_at_once(0, steps)) > 1:
            blank = {name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in batch.items()}
            questions = self._questions([blank] * together, largest)
            questions = self.placed(Prepared((), questions)).questions
            sampling = self.apart.sample_ahead.lower(progress, questions, key, fixed)
        drawn = jax.eval_shape(self.apart.sample_now, *asked)
        learning = self.apart.learn.lower(progress, batch, drawn, key, fixed)
        return [sampling.compile(), learning.compile()]

    def _questions(self, batches: Sequence[Batch], largest: Lengths) -> Batch:
        negatives = self.method.negatives
        return programs.questions_of(
            batches,
            largest,
            self._pad_id,
            positives=negatives is not None and negatives.reference,
        )

    @property
    def _pad_id(self) -> int:
        return self.method.student.pad_id


def programs_of(method: Method, placement: Placement | None = None) -> Programs:
    """Returns the programs of a method; runs that follow one another compile them once.

    Args:
      method: of one run, or `programs.over_seeds` of several.
      placement: where its arrays live, that of seeds for several; None: on one device.
    """
    return _programs_of(method, placement or one_device())


@functools.lru_cache(maxsize=1)
def _programs_of(method: Method, placement: Placement) -> Programs:
    on_mesh = placed.on(method, placement)

    def program(function: Callable[..., Any], **options: Any) -> Any:
        return jax.jit(functools.partial(function, on_mesh), **options)

    def moved(function: Callable[..., Any]) -> Any:
        """A function that leaves the progress, which is donated, where it lives."""

        def run(method: Method, *given: Any) -> Any:
            progress, metrics = function(method, *given)
            return placement.constrained(progress, placed.layout(placement, progress)), metrics

        return program(run, donate_argnums=0)

    step = moved(programs.take_step)
    if programs.steps_together(method) == 1:
        return Programs(method, placement, step, None)
    apart = Apart(
        # What is not read counts too: it takes memory while the program runs.
        program(programs.sample_ahead, keep_unused=True),
        program(programs.sample_now, keep_unused=True),
        moved(programs.learn),
    )
    return Programs(method, placement, step, apart)


_of_turn = jax.jit(programs.of_turn, static_argnums=(1, 2, 3))
_stacked = jax.jit(lambda *metrics: programs.stack_trees(metrics))


def _shapes(batch: Batch) -> tuple[Any, ...]:
    return tuple((name, leaf.shape) for name, leaf in sorted(batch.items()))


def sampling_seconds(
    made: Programs,
    generators: Params,
    batches: BatchStream,
    key: Key[Array, ''],
    *,
    base: Params | None = None,
    repeats: int = 5,
) -> float:
    """Median wall time of sampling for one step, measured by itself.

    Args:
      made: programs of the method that samples.
      generators: those of the steps that are sampled together, on a leading axis; or of one.
      batches: of every step.
      key: of the draws.
      base: the frozen weights of a student with adapters.
      repeats: timed runs, after one that compiles.
    """
    count = programs.steps_together(made.method)
    ready = made.placed(made.prepared(batches, 0, count))
    arguments = (base, generators, ready.batches[0], key)
    if ready.questions is not None:
        arguments = (base, generators, ready.questions, jax.random.split(key, count))
    on_mesh = placed.on(made.method, made.placement)
    sample = jax.jit(lambda base, *given: over(on_mesh, base).sample(*given))
    seconds = []
    for _ in range(repeats + 1):
        interruption.check()
        start = time.perf_counter()
        jax.block_until_ready(sample(*arguments))
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:])) / count
