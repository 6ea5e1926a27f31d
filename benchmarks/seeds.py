"""What training several seeds in one program gains over one after another.

    python -m benchmarks.seeds --size tiny --method qcrd --seeds 5 --json seeds.json

Both ways are measured in one process: a step of one seed, and a step of all of them, with the
programs, weights and batches of `benchmarks.step`. The gain is the time that P single steps take
over that of one step of P seeds; compilation, which one program saves P - 1 times, is not in it.
"""

import argparse
import dataclasses
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import describe_machine, peak_memory
from benchmarks.setting import SIZES, Setting
from benchmarks.subject import Subject
from qcrd_jax import files
from qcrd_jax.data.batches import BatchStream
from qcrd_jax.methods import METHODS, Method, compiled, programs
from qcrd_jax.methods.programs import Progress

_WARM_UP = 2  # calls; the first one compiles


def measure(setting: Setting, count: int) -> dict[str, Any]:
    """Seconds per step of one seed and of `count` seeds together, and what each took to compile."""
    single = Subject(setting)
    one, one_compile = _seconds(
        single.method, single.initial(), single.batches, single.key, setting
    )
    stacked = programs.stack([single.initial() for _ in range(count)])
    together, together_compile = _seconds(
        programs.over_seeds(single.method),
        stacked,
        programs.StackedBatches([single.batches] * count),
        jnp.stack([jax.random.key(seed) for seed in range(count)]),
        setting,
    )
    memory, memory_of = peak_memory()
    return {
        'setting': dataclasses.asdict(setting),
        'seeds': count,
        'machine': describe_machine(),
        'seconds_one': one,
        'seconds_together': together,
        'gain': count * one / together,
        'compile_one': one_compile,
        'compile_together': together_compile,
        'peak_memory_bytes': memory,
        'peak_memory_of': memory_of,
    }


def _seconds(
    method: Method, progress: Progress, batches: BatchStream, key: jax.Array, setting: Setting
) -> tuple[float, float]:
    """Median seconds per step, and those of compilation."""
    step, calls, first, made = 0, [], 0.0, compiled.programs_of(method)
    while len(calls) < _WARM_UP or step < setting.steps + _WARM_UP * setting.lag:
        start = time.perf_counter()
        progress, after, metrics = made.advance(progress, batches, key, step, step + setting.lag)
        jax.block_until_ready((progress, metrics))
        seconds = time.perf_counter() - start
        first = first or seconds
        calls.append((seconds, after - step))
        step = after
    timed = [seconds / taken for seconds, taken in calls[_WARM_UP:]]
    median = float(np.median(timed))
    return median, first - median * calls[0][1]


def main(argv: Sequence[str] | None = None) -> None:
    """Measures what the command line asks for, prints it and writes it."""
    default = Setting(size='tiny')
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.seeds', description=(__doc__ or '').splitlines()[0]
    )
    parser.add_argument('--size', choices=SIZES, default=default.size)
    parser.add_argument('--method', choices=tuple(METHODS), default=default.method)
    parser.add_argument('--batch', type=int, default=default.batch)
    parser.add_argument('--steps', type=int, default=default.steps)
    parser.add_argument('--dtype', choices=('float32', 'bfloat16'), default=default.dtype)
    parser.add_argument('--seeds', type=int, default=5, help='P (default: %(default)s)')
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the result here')
    arguments = vars(parser.parse_args(argv))
    path, count = arguments.pop('json'), arguments.pop('seeds')
    result = measure(dataclasses.replace(default, **arguments), count)
    print(
        f'{result["setting"]["method"]}, {result["setting"]["size"]}: one seed '
        f'{result["seconds_one"]:.4f} s per step, {count} seeds together '
        f'{result["seconds_together"]:.4f} s: {result["gain"]:.2f} times as fast as one by one; '
        f'compilation {result["compile_one"]:.1f} s and {result["compile_together"]:.1f} s'
    )
    if path is not None:
        files.write_json(path, result)


if __name__ == '__main__':
    main()
