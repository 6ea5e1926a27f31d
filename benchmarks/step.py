"""Seconds per training step, and what they are spent on.

    python -m benchmarks.step --size small --method qcrd --steps 20 --json step.json

Weights and tokens are random and sampling does not stop at EOS, so the numbers only depend on the
lengths. By default no position is padding. With `--lengths svamp` sequences are as long as real
ones (`benchmarks.lengths`), and sampling decodes as many tokens as the longest of so many real
rationales has. Batches are made beforehand, as training makes them; the steps, their buffers and
the chunks of `--lag` steps are those of training.

What is measured, each after it was compiled and until its result is ready:

* seconds per step: a chunk of J steps counts as J steps of a J-th of its time each;
* compile seconds: of every program, at its first call, less what that call takes later;
* sampling: the negatives' generation as a program of its own, per step;
* discriminator: scoring the two rationales per question that carry gradient, and the online update
  on all of them, as programs of their own; the update counts one `--update-every`-th;
* shares: of the median step. Inside of a step the programs overlap, so they are estimates;
* tokens: real ones, of the prompts that are encoded and of the targets that are decoded by the
  student in training: per question S + L (fine-tuning), 2 S + L + T (DSS, MI) or
  2 S + L + (m + k) T (QCRD). Sampled tokens are counted by themselves, against their seconds;
* peak memory: of the device where it keeps count (GPU), else of the whole process (CPU), at the
  end of the steps and before the single programs; and that of the program, as compiled;
* kernels: of the compiled programs (`benchmarks.program`), their launches for all steps of a chunk;
* floor: the least time that operations and bytes allow (`benchmarks.floor`) on this device
  (`benchmarks.peaks`).
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

from benchmarks import flags, program
from benchmarks import peaks as device_peaks
from benchmarks.machine import describe_machine, peak_memory
from benchmarks.setting import Setting
from benchmarks.subject import Subject
from qcrd_jax import files
from qcrd_jax.methods import compiled, programs
from qcrd_jax.methods.discriminator import score_rationales, update_discriminator
from qcrd_jax.methods.programs import Progress
from qcrd_jax.methods.rationales import (
    Rationales,
    concatenate,
    teacher_negatives,
    teacher_positives,
)
from qcrd_jax.models import architectures, parameter_count

_REPEATS = 5  # timed runs of a program of its own


class Measurement:
    """The steps of one setting, and their parts."""

    def __init__(self, setting: Setting):
        self.setting = setting
        self.subject = Subject(setting)

    @property
    def sampled_together(self) -> int:
        """Steps that one decoding loop samples for; 0 where nothing is sampled."""
        method = self.subject.method
        return programs.steps_together(method) if method.negatives else 0

    def run(self) -> dict[str, Any]:
        """Takes the steps, then measures their parts."""
        setting, subject = self.setting, self.subject
        progress = subject.initial()
        parameters = parameter_count(progress.state.params)
        made, seconds = subject.compile(progress)
        progress, timed = subject.take_steps(progress, seconds)
        memory, memory_of = peak_memory()
        median = float(np.median(timed.per_step))
        sampling = self._sampling_seconds(progress) if self.sampled_together else 0.0
        scoring, updating = 0.0, 0.0
        if subject.discriminator is not None:
            scoring, updating = self._discriminator_seconds(progress)
        every = setting.update_every
        scores = scoring + (updating / every if every else 0.0)
        sampled = setting.batch * setting.negatives * subject.sampled_length
        return {
            'setting': dataclasses.asdict(setting),
            'machine': describe_machine(),
            'parameters': parameters,
            'steps': len(timed.per_step),
            'steps_per_call': timed.steps[0],
            'seconds_per_step': median,
            'seconds_per_step_p10': float(np.percentile(timed.per_step, 10)),
            'seconds_per_step_p90': float(np.percentile(timed.per_step, 90)),
            'compile_seconds': timed.compile_seconds,
            'sampling_seconds': sampling,
            'sampling_share': sampling / median,
            'discriminator_score_seconds': scoring,
            'discriminator_update_seconds': updating,
            'discriminator_share': scores / median,
            'tokens_per_step': subject.trained_tokens,
            'tokens_per_second': subject.trained_tokens / median,
            'sampled_tokens_per_second': sampled / sampling if sampling else None,
            'peak_memory_bytes': memory,
            'peak_memory_of': memory_of,
            'program_memory_bytes': program.most_memory(made),
            'program_kernels': program.all_kernels(made, timed.steps[0], subject.sampled_length),
            'floor': self._floor(),
        }

    def _floor(self) -> dict[str, Any] | None:
        """The least time of a step on this device; None where its peaks are not known."""
        peaks = device_peaks.of_device(jax.devices()[0])
        if peaks is None:
            return None
        element = jnp.dtype(self.setting.dtype).itemsize
        rate, bandwidth = peaks.operations[self.setting.dtype], peaks.bandwidth
        works = self.subject.floor(element)
        return {
            'seconds': sum(work.seconds(rate, bandwidth) for work in works),
            'parts': [
                work._asdict() | {'seconds': work.seconds(rate, bandwidth)} for work in works
            ],
            'operations_per_second': rate,
            'bytes_per_second': bandwidth,
            'source': peaks.source,
        }

    def _sampling_seconds(self, progress: Progress) -> float:
        subject, count, ring = self.subject, self.sampled_together, progress.ring
        assert ring is not None
        return compiled.sampling_seconds(
            compiled.programs_of(subject.method),
            ring.slots if count > 1 else ring.generator(0),
            subject.batches,
            subject.key,
            repeats=_REPEATS,
        )

    def _discriminator_seconds(self, progress: Progress) -> tuple[float, float]:
        """Seconds to score the rationales that carry gradient, and of one online update."""
        subject, discriminator = self.subject, self.subject.discriminator
        assert discriminator is not None
        state = progress.state.discriminator
        batch = jax.tree.map(jnp.asarray, subject.batches[0])
        positives = teacher_positives(batch, subject.config.pad_id)
        negatives = teacher_negatives(batch, subject.config.pad_id)
        sampled = _first(positives, self.setting.negatives) if self.sampled_together else None
        selected = positives.ids[:, : 1 + (sampled is not None)]
        if sampled is not None:
            negatives = concatenate(sampled, negatives, pad_id=discriminator.pad_id)

        @jax.jit
        def score(state, batch, ids):
            return score_rationales(discriminator, state.params, batch, ids, None)

        @jax.jit
        def update(state, batch, positives, negatives):
            return update_discriminator(
                discriminator,
                subject.optimizer,
                state,
                batch,
                positives,
                negatives,
                subject.key,
                due=jnp.bool_(True),
                alpha=jnp.float32(0.5),
                kind='ratio',
            )

        scoring = _median_seconds(lambda: score(state, batch, selected))
        if not self.setting.update_every:
            return scoring, 0.0
        return scoring, _median_seconds(lambda: update(state, batch, positives, negatives))


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
    kernels, planned = result['program_kernels'], result['program_memory_bytes']['total']
    lines += [
        f'tokens per second  {result["tokens_per_second"]:.0f} '
        f'({result["tokens_per_step"]:.0f} trained on per step)',
        f'peak memory        {result["peak_memory_bytes"] / 2**20:.0f} MiB '
        f'of the {result["peak_memory_of"]}; {planned / 2**20:.0f} MiB by the compiled program',
        f'kernels            {kernels["kernels"]} ({kernels["fusions"]} fusions, '
        f'{kernels["products"]} products) in {kernels["loops"]} loops and around them: '
        f'{kernels["launches"]} launches per call',
    ]
    if result['floor']:
        lines += _floor_lines(result['floor'], median)
    return '\n'.join(lines)


def _floor_lines(floor: dict[str, Any], median: float) -> list[str]:
    """The least time of a step beside the measured one, and of its parts."""
    parts = ', '.join(f'{part["part"]} {part["seconds"] * 1e3:.2f}' for part in floor['parts'])
    return [
        f'floor              {floor["seconds"] * 1e3:.2f} ms of {median * 1e3:.2f} ms measured '
        f'({floor["seconds"] / median:.0%}): {parts}',
        f'                   at {floor["operations_per_second"] / 1e12:.3g} TFLOP/s and '
        f'{floor["bytes_per_second"] / 1e9:.4g} GB/s ({floor["source"]})',
    ]


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
    flags.add_setting(parser)
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the result here')
    arguments = vars(parser.parse_args(argv))
    setting, path = flags.take_setting(parser, arguments), arguments['json']
    if path is not None and path.is_dir():
        parser.error(f'argument --json: {path} is a folder; name a file.')
    return setting, path


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
