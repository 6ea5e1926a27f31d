"""Seconds per training step, and what they are spent on.

    python -m benchmarks.step --size small --method qcrd --steps 20 --json step.json

Weights and tokens are random, no position is padding, and sampling decodes its full length, so the
numbers only depend on the shapes. Batches are made beforehand; the steps, their buffers and the
chunks of `--lag` steps are those of training.

What is measured, each after it was compiled and until its result is ready:

* seconds per step: a chunk of J steps counts as J steps of a J-th of its time each;
* compile seconds: the first call's time less the median call's;
* sampling: the negatives' generation as a program of its own, per step;
* discriminator: scoring the two rationales per question that carry gradient, and the online update
  on all of them, as programs of their own; the update counts one `--update-every`-th;
* shares: of the median step. Inside of a step the programs overlap, so they are estimates;
* tokens: of the prompts that are encoded and of the targets that are decoded by the student in
  training: per question S + L (fine-tuning), 2 S + L + T (DSS, MI) or 2 S + L + (m + k) T (QCRD).
  Sampled tokens are counted by themselves, against the seconds of sampling;
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
from benchmarks.setting import SIZES, RandomBatches, Setting
from qcrd_jax import config as configuration
from qcrd_jax import files
from qcrd_jax.methods import METHODS, Method, Parts, optimizers, programs
from qcrd_jax.methods.discriminator import score_rationales, update_discriminator
from qcrd_jax.methods.dss import Dss, Finetune
from qcrd_jax.methods.programs import Progress
from qcrd_jax.methods.rationales import (
    Rationales,
    concatenate,
    teacher_negatives,
    teacher_positives,
)
from qcrd_jax.methods.state import DiscriminatorState, TrainState
from qcrd_jax.models import Discriminator, architectures, parameter_count
from qcrd_jax.ring import Ring

LEARNING_RATE = 5e-5
TEMPERATURE = 1.5
_WARM_UP = 2  # calls; the first one compiles
_REPEATS = 5  # timed runs of a program of its own


class Measurement:
    """The models, the data and the programs of one setting."""

    def __init__(self, setting: Setting):
        self.setting = setting
        self.config = architectures.named(setting.size, setting.version)
        self.student = architectures.student_of(self.config, jnp.dtype(setting.dtype))
        self.optimizer = optimizers.adamw(LEARNING_RATE)
        config, entry = _configuration(setting), METHODS[setting.method]
        self.discriminator = Discriminator(self.student.encoder) if entry.weighs(config) else None
        length = setting.rationale_length
        parts = Parts(self.student, self.optimizer, self.discriminator, self.optimizer, length)
        self.method = _without_eos(entry.build(config, parts))
        self.batches = RandomBatches(setting, self.config, setting.lag)
        self.key = jax.random.key(0)

    @property
    def trained_tokens(self) -> int:
        """Tokens per step: see the module's docstring."""
        setting, prompts = self.setting, 2
        match self.method:
            case Finetune():
                prompts, rationales = 1, 0
            case Dss():
                rationales = 1
            case _:
                rationales = setting.positives + setting.negatives
        targets = setting.label_length + rationales * setting.rationale_length
        return setting.batch * (prompts * setting.source_length + targets)

    @property
    def sampled_together(self) -> int:
        """Steps that one decoding loop samples for; 0 where nothing is sampled."""
        negatives = self.method.negatives
        if negatives is None:
            return 0
        return negatives.lag if negatives.together else 1

    def run(self) -> dict[str, Any]:
        """Takes the steps, then measures their parts."""
        setting = self.setting
        progress = self.initial()
        parameters = parameter_count(progress.state.params)
        progress, calls, compile_seconds = self._take_steps(progress)
        memory, memory_of = peak_memory()
        seconds = np.repeat([seconds for seconds, _ in calls], [count for _, count in calls])
        median = float(np.median(seconds))
        sampling = self._sampling_seconds(progress) if self.sampled_together else 0.0
        scoring, updating = 0.0, 0.0
        if self.discriminator is not None:
            scoring, updating = self._discriminator_seconds(progress)
        every = setting.update_every
        scores = scoring + (updating / every if every else 0.0)
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
            'discriminator_share': scores / median,
            'tokens_per_step': self.trained_tokens,
            'tokens_per_second': self.trained_tokens / median,
            'sampled_tokens_per_second': sampled / sampling if sampling else None,
            'peak_memory_bytes': memory,
            'peak_memory_of': memory_of,
        }

    def initial(self) -> Progress:
        """Random weights before step 0, in buffers of their own."""
        params = jax.jit(self.student.init)(jax.random.key(1))
        discriminator = None
        if self.discriminator is not None:
            weights = jax.jit(self.discriminator.init)(jax.random.key(2))
            discriminator = DiscriminatorState.create(weights, self.optimizer)
        state = TrainState.create(params, self.optimizer, discriminator)
        lag = programs.lag(self.method)
        return Progress(state, Ring.create(params, lag) if lag else None)

    def _take_steps(self, progress: Progress) -> tuple[Progress, list[tuple[float, int]], float]:
        """Returns seconds per step and number of steps of every timed call, and compile seconds."""
        compiled, step, first = programs.compiled(self.method), 0, 0.0
        calls: list[tuple[float, int]] = []
        warm_up = _WARM_UP
        while sum(count for _, count in calls) < self.setting.steps:
            start = time.perf_counter()
            progress, after, metrics = compiled.advance(
                progress, self.batches, self.key, step, step + self.setting.lag
            )
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

    def _sampling_seconds(self, progress: Progress) -> float:
        together, ring = self.sampled_together, progress.ring
        assert ring is not None
        return programs.sampling_seconds(
            self.method,
            ring.slots[:together],
            [self.batches[t] for t in range(together)],
            self.key,
            repeats=_REPEATS,
        )

    def _discriminator_seconds(self, progress: Progress) -> tuple[float, float]:
        """Seconds to score the rationales that carry gradient, and of one online update."""
        assert self.discriminator is not None
        discriminator = self.discriminator
        state, batch = progress.state.discriminator, jax.tree.map(jnp.asarray, self.batches[0])
        positives = teacher_positives(batch, self.config.pad_id)
        negatives = teacher_negatives(batch, self.config.pad_id)
        sampled = _first(positives, self.setting.negatives) if self.sampled_together else None
        selected = positives.ids[:, : 1 + (sampled is not None)]
        if sampled is not None:
            negatives = concatenate(sampled, negatives)

        @jax.jit
        def score(state, batch, ids):
            return score_rationales(discriminator, state.params, batch, ids, None)

        @jax.jit
        def update(state, batch, positives, negatives):
            return update_discriminator(
                discriminator,
                self.optimizer,
                state,
                batch,
                positives,
                negatives,
                self.key,
                due=jnp.bool_(True),
                alpha=jnp.float32(0.5),
                kind='ratio',
            )

        scoring = _median_seconds(lambda: score(state, batch, selected))
        if not self.setting.update_every:
            return scoring, 0.0
        return scoring, _median_seconds(lambda: update(state, batch, positives, negatives))


def _configuration(setting: Setting) -> Any:
    """The configuration of a run with this setting, as far as a method reads it."""
    config = configuration.base_config()
    config.method = setting.method
    config.discriminator.weigh = setting.discriminator
    config.discriminator.update_every = setting.update_every
    config.negatives.update(
        count=setting.negatives, lag=setting.lag, together=setting.together, temperature=TEMPERATURE
    )
    return config


def _without_eos(method: Any) -> Method:
    """The method with sampling that always decodes its full length."""
    if method.negatives is None:
        return method
    negatives = dataclasses.replace(method.negatives, stop_at_eos=False)
    return dataclasses.replace(method, negatives=negatives)


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
        prog='python -m benchmarks.step', description=(__doc__ or '').splitlines()[0]
    )
    default = Setting()

    def add(name: str, about: str, **options: Any) -> None:
        flag = '--' + name.replace('_', '-')
        about += ' (default: %(default)s)'
        parser.add_argument(flag, default=getattr(default, name), help=about, **options)

    add('size', 'of student and discriminator', choices=SIZES)
    add('version', 'of T5, or of a decoder-only student', choices=tuple(architectures.SIZES))
    add('method', 'which step', choices=tuple(METHODS))
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
