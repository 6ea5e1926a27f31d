"""Seconds per training step, and what they are spent on.

    python -m benchmarks.step --size small --method qcrd --steps 20 --json step.json

Weights and tokens are random, no position is padding, and sampling decodes its full length, so the
numbers depend on the shapes alone. Batches are made beforehand; the steps, their buffers and the
chunks of `--lag` steps are those of `qcrd_jax.train`.

What is measured, each after it was compiled and until its result is ready:

* seconds per step: a chunk of J steps counts as J steps of a J-th of its time each;
* compile seconds: the first call's time less the median call's;
* sampling: the negatives' generation as a program of its own, per step;
* discriminator: scoring the two rationales per question that carry gradient, and the online update
  on all of them, as programs of their own; the update counts one `--update-every`-th;
* shares: of the median step. Inside of a step the programs overlap, so they are estimates;
* tokens: of the prompts that are encoded and of the targets that are decoded by the student in
  training: per question S + L (finetune), 2 S + L + T (dss) or 2 S + L + (m + k) T (qcrd).
  Sampled tokens are counted apart, against the seconds of sampling;
* peak memory: of the device where it keeps count (GPU), else of the whole process (CPU), at the
  end of the steps and before the single programs.
"""

import argparse
import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import describe_machine, peak_memory
from qcrd_jax import files
from qcrd_jax.methods import optimizers, stepping, steps
from qcrd_jax.methods.discriminator import (
    DiscriminatorState,
    score_rationales,
    update_discriminator,
)
from qcrd_jax.methods.rationales import (
    NegativeSampling,
    Rationales,
    concatenate,
    teacher_negatives,
    teacher_positives,
)
from qcrd_jax.models import Discriminator, architectures, parameter_count
from qcrd_jax.ring import Ring

SIZES = ('tiny', 'small', 'base', '0.5b')
METHODS = ('finetune', 'dss', 'qcrd')
LEARNING_RATE = 5e-5
TEMPERATURE = 1.5
_WARM_UP = 2  # calls; the first one compiles
_REPEATS = 5  # timed runs of a program of its own


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is measured; the fields are the flags of the command line."""

    size: str = 'small'
    version: str = 'v1.0'
    method: str = 'qcrd'
    batch: int = 8
    source_length: int = 64
    rationale_length: int = 64
    label_length: int = 16
    positives: int = 5
    negatives: int = 1
    lag: int = 5
    steps: int = 20
    dtype: str = 'float32'
    together: bool = True
    discriminator: bool = True
    update_every: int = 100

    @property
    def samples(self) -> bool:
        """Whether a step samples negatives from a ring of past parameters."""
        return self.method == 'qcrd' and self.negatives > 0

    @property
    def judges(self) -> bool:
        """Whether a step has a discriminator."""
        return self.method == 'qcrd' and self.discriminator

    @property
    def sampled_together(self) -> int:
        """Steps that one decoding loop samples for."""
        return self.lag if self.samples and self.together else 1

    @property
    def trained_tokens(self) -> int:
        """Tokens per step: see the module's docstring."""
        rationales = {'finetune': 0, 'dss': 1, 'qcrd': self.positives + self.negatives}[self.method]
        prompts = 1 if self.method == 'finetune' else 2
        targets = self.label_length + rationales * self.rationale_length
        return self.batch * (prompts * self.source_length + targets)


class RandomBatches:
    """A few batches of random tokens, over and over."""

    def __init__(self, setting: Setting, config: architectures.Architecture, count: int):
        rng = np.random.default_rng(0)
        self._batches = [_random_batch(rng, setting, config) for _ in range(count)]

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        return self._batches[step % len(self._batches)]


class Measurement:
    """The models, the data and the programs of one setting."""

    def __init__(self, setting: Setting):
        self.setting = setting
        dtype = jnp.dtype(setting.dtype)
        self.config = architectures.named(setting.size, setting.version)
        self.student = architectures.student_of(self.config, dtype)
        self.judge = Discriminator(self.student.encoder) if setting.judges else None
        self.optimizer = optimizers.adamw(LEARNING_RATE)
        self.sampling = None
        if setting.samples:
            self.sampling = NegativeSampling(
                setting.negatives, TEMPERATURE, setting.rationale_length, stop_at_eos=False
            )
        self.contrast = steps.Contrast(update_every=setting.update_every)
        self.batches = RandomBatches(setting, self.config, setting.lag)
        self.key = jax.random.key(0)

    def run(self) -> dict[str, Any]:
        """Takes the steps, then measures their parts."""
        setting = self.setting
        progress = self.initial()
        parameters = parameter_count(progress.state.params)
        progress, calls, compile_seconds = self._take_steps(progress)
        memory, memory_of = peak_memory()
        seconds = np.repeat([seconds for seconds, _ in calls], [count for _, count in calls])
        median = float(np.median(seconds))
        sampling = self._sampling_seconds(progress) if setting.samples else 0.0
        scoring, updating = self._judging_seconds(progress) if setting.judges else (0.0, 0.0)
        every = setting.update_every
        judging = scoring + (updating / every if every else 0.0)
        sampled = setting.batch * setting.negatives * setting.rationale_length
        return {
            'setting': dataclasses.asdict(setting),
            'machine': describe_machine(),
            'parameters': parameters,
            'steps': len(seconds),
            'steps_per_call': calls[0][1],
            'seconds_per_step': median,
            'seconds_per_step_p10': float(np.percentile(seconds, 10)),
            'seconds_per_step_p90': float(np.percentile(seconds, 90)),
            'compile_seconds': compile_seconds,
            'sampling_seconds': sampling,
            'sampling_share': sampling / median,
            'discriminator_score_seconds': scoring,
            'discriminator_update_seconds': updating,
            'discriminator_share': judging / median,
            'tokens_per_step': setting.trained_tokens,
            'tokens_per_second': setting.trained_tokens / median,
            'sampled_tokens_per_second': sampled / sampling if sampling else None,
            'peak_memory_bytes': memory,
            'peak_memory_of': memory_of,
        }

    def initial(self) -> stepping.Progress:
        """Random weights before step 0, in buffers of their own."""
        params = jax.jit(self.student.init)(jax.random.key(1))
        judge = None
        if self.judge is not None:
            weights = jax.jit(self.judge.init)(jax.random.key(2))
            judge = DiscriminatorState(weights, self.optimizer.init(weights), jnp.int32(0))
        state = steps.TrainState.create(params, self.optimizer, judge)
        ring = Ring.create(params, self.setting.lag) if self.setting.samples else None
        return stepping.Progress(state, ring)

    def parts(self) -> tuple[Any, ...]:
        """What the programs of QCRD are made of, but for the sampling."""
        return self.student, self.optimizer, self.judge, self.optimizer, self.contrast

    def stepper(self) -> stepping.Stepper:
        """The programs of the method."""
        setting, chunk = self.setting, None
        if setting.method == 'finetune':
            step = steps.make_finetune_step(self.student, self.optimizer)
        elif setting.method == 'dss':
            step = steps.make_dss_step(self.student, self.optimizer)
        else:
            step = steps.make_qcrd_step(*self.parts(), self.sampling)
            if setting.sampled_together > 1:
                chunk = steps.make_qcrd_chunk(*self.parts(), self.sampling)
        lag = setting.lag if setting.samples else 0
        return stepping.Stepper(step, chunk, self.batches, self.key, lag=lag)

    def _take_steps(
        self, progress: stepping.Progress
    ) -> tuple[stepping.Progress, list[tuple[float, int]], float]:
        """Returns seconds per step and number of steps of every timed call, and compile seconds."""
        stepper, step, first = self.stepper(), 0, 0.0
        calls: list[tuple[float, int]] = []
        warm_up = _WARM_UP
        while sum(count for _, count in calls) < self.setting.steps:
            start = time.perf_counter()
            progress, after, metrics = stepper.advance(progress, step, step + self.setting.lag)
            jax.block_until_ready((progress, metrics))
            seconds = time.perf_counter() - start
            if warm_up:
                first = first or seconds
                warm_up -= 1
            else:
                calls.append((seconds / (after - step), after - step))
            step = after
        typical = float(np.median([seconds * count for seconds, count in calls]))
        return progress, calls, first - typical

    def _sampling_seconds(self, progress: stepping.Progress) -> float:
        together = self.setting.sampled_together
        return stepping.sampling_seconds(
            self.student,
            progress.ring.slots[:together],
            [self.batches[t] for t in range(together)],
            self.key,
            self.sampling,
            repeats=_REPEATS,
        )

    def _judging_seconds(self, progress: stepping.Progress) -> tuple[float, float]:
        """Seconds to score the rationales that carry gradient, and of one online update."""
        judge, batch = progress.state.discriminator, jax.tree.map(jnp.asarray, self.batches[0])
        positives = teacher_positives(batch, self.config.pad_id)
        negatives = teacher_negatives(batch, self.config.pad_id)
        sampled = _first(positives, self.setting.negatives) if self.sampling else None
        selected = positives.ids[:, : 1 + (sampled is not None)]
        if sampled is not None:
            negatives = concatenate(sampled, negatives)

        @jax.jit
        def score(judge, batch, ids):
            return score_rationales(self.judge, judge.params, batch, ids, None)

        @jax.jit
        def update(judge, batch, positives, negatives):
            return update_discriminator(
                self.judge,
                self.optimizer,
                judge,
                batch,
                positives,
                negatives,
                self.key,
                due=jnp.bool_(True),
                alpha=jnp.float32(0.5),
                kind=self.contrast.discriminator,
            )

        scoring = _median_seconds(lambda: score(judge, batch, selected))
        if not self.setting.update_every:
            return scoring, 0.0
        return scoring, _median_seconds(lambda: update(judge, batch, positives, negatives))


def summarise(result: dict[str, Any]) -> str:
    """The result in a few lines for people."""
    setting, machine = result['setting'], result['machine']
    median, low, high = (result[f'seconds_per_step{suffix}'] for suffix in ('', '_p10', '_p90'))
    student = architectures.describe(setting['size'], setting['version'])
    lines = [
        f'{setting["method"]}, {student} ({result["parameters"] / 1e6:.1f} M), '
        f'{setting["dtype"]}, batch {setting["batch"]}, on {machine["device"]}, '
        f'{machine["cpus"]} CPUs, jax {machine["jax"]}',
        f'seconds per step   median {median:.4f}, p10 {low:.4f}, p90 {high:.4f} '
        f'({result["steps"]} steps, {result["steps_per_call"]} per call)',
        f'compile seconds    {result["compile_seconds"]:.1f}',
    ]
    if result['sampling_seconds']:
        lines.append(
            f'sampling           {result["sampling_share"]:.1%} of a step: '
            f'{result["sampling_seconds"]:.4f} s, '
            f'{result["sampled_tokens_per_second"]:.0f} tokens per second'
        )
    if result['discriminator_score_seconds']:
        lines.append(
            f'discriminator      {result["discriminator_share"]:.1%} of a step: '
            f'{result["discriminator_score_seconds"]:.4f} s to score, '
            f'{result["discriminator_update_seconds"]:.4f} s to update every '
            f'{setting["update_every"]} steps'
        )
    lines += [
        f'tokens per second  {result["tokens_per_second"]:.0f} '
        f'({result["tokens_per_step"]} trained on per step)',
        f'peak memory        {result["peak_memory_bytes"] / 2**20:.0f} MiB '
        f'of the {result["peak_memory_of"]}',
    ]
    return '\n'.join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures what the command line asks for, prints it and writes it."""
    setting, path = _parse(argv)
    result = Measurement(setting).run()
    print(summarise(result))
    if path is not None:
        files.write_json(path, result)


def _parse(argv: Sequence[str] | None) -> tuple[Setting, pathlib.Path | None]:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.step', description=__doc__.splitlines()[0]
    )
    default = Setting()

    def add(name: str, about: str, **options: Any) -> None:
        flag = '--' + name.replace('_', '-')
        about += ' (default: %(default)s)'
        parser.add_argument(flag, default=getattr(default, name), help=about, **options)

    add('size', 'of student and discriminator', choices=SIZES)
    add('version', 'of T5, or of a decoder-only student', choices=tuple(architectures.SIZES))
    add('method', 'which step', choices=METHODS)
    add('batch', 'B, questions per step', type=_at_least(1))
    add('source_length', 'S, tokens of a question', type=_at_least(1))
    add('rationale_length', 'T, tokens of a rationale, sampled ones too', type=_at_least(1))
    add('label_length', 'L, tokens of a label', type=_at_least(1))
    add('positives', 'm, positive rationales per question', type=_at_least(1))
    add('negatives', 'k, sampled negatives per question; 0: none', type=_at_least(0))
    add('lag', 'j, steps between the student and its generator', type=_at_least(1))
    add('steps', 'steps that are timed, rounded up to whole chunks', type=_at_least(1))
    add('dtype', 'of the matrix products', choices=('float32', 'bfloat16'))
    switch = argparse.BooleanOptionalAction
    add('together', 'sample the negatives of `lag` steps in one loop', action=switch)
    add('discriminator', 'weigh the rationales by their scores', action=switch)
    add('update_every', 'steps between updates of the discriminator; 0: never', type=_at_least(0))
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the result here')
    arguments = vars(parser.parse_args(argv))
    path = arguments.pop('json')
    sizes = architectures.SIZES[arguments['version']]
    if arguments['size'] not in sizes:
        parser.error(f'argument --size: {arguments["version"]} has {", ".join(sizes)}.')
    if path is not None and path.is_dir():
        parser.error(f'argument --json: {path} is a folder; name a file.')
    return Setting(**arguments), path


def _at_least(smallest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = smallest - 1
        if value < smallest:
            raise argparse.ArgumentTypeError(
                f'expected a whole number of at least {smallest}, got {text!r}'
            )
        return value

    return parse


def _random_batch(
    rng: np.random.Generator, setting: Setting, config: architectures.Architecture
) -> dict[str, np.ndarray]:
    """Full sequences, each with its EOS at the end; the teacher slipped once per question."""
    special = 1 + max(config.pad_id, config.eos_id, config.start_id)

    def sequences(*shape: int) -> np.ndarray:
        ids = rng.integers(special, config.vocab_size, shape, dtype=np.int32)
        ids[..., -1] = config.eos_id
        return ids

    size, source, length = setting.batch, setting.source_length, setting.rationale_length
    return {
        'predict_ids': sequences(size, source),
        'explain_ids': sequences(size, source),
        'question_ids': sequences(size, source),
        'label_ids': sequences(size, setting.label_length),
        'positive_ids': sequences(size, setting.positives, length),
        'positive_mask': np.ones((size, setting.positives), bool),
        'negative_ids': sequences(size, 1, length),
        'negative_mask': np.ones((size, 1), bool),
        'example_mask': np.ones(size, bool),
    }


def _first(rationales: Rationales, count: int) -> Rationales:
    """`count` rationales per question, repeated where there are fewer."""
    places = np.arange(count) % rationales.mask.shape[1]
    return jax.tree.map(lambda leaf: leaf[:, places], rationales)


def _median_seconds(call: Callable[[], Any]) -> float:
    """Median wall time of a compiled program, after one call that compiles it."""
    seconds = []
    for _ in range(_REPEATS + 1):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:]))


if __name__ == '__main__':
    main()
