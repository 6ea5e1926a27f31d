"""All that is to be known of a GPU, in minutes and one table.

    python -m benchmarks.gpu --json gpu.json

Each row is a run of `benchmarks.step` in a process of its own. Rows come in the order of how much
is wanted of them, and what does not fit into the time says so. The GPU needs nothing that is
downloaded: weights and tokens are random. `--cpu` tries the flow with tiny models.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks import flags
from qcrd_jax import files

_HERE = pathlib.Path(__file__).resolve().parents[1]
_BASE = ('--size=base', '--dtype=bfloat16')
_SMALL = ('--size=small', '--dtype=bfloat16')
_SMOL = ('--size=135m', '--version=smollm2', '--dtype=bfloat16')
_TINY = ('--size=tiny', '--batch=2', '--lag=2', '--steps=4')
_SHORT = ('--source-length=16', '--rationale-length=16', '--label-length=8')


class Row(NamedTuple):
    """A row of the table: what is measured, and the flags that say so."""

    name: str
    flags: tuple[str, ...]


ROWS = (
    Row('T5-base qcrd', (*_BASE, '--method=qcrd')),
    Row('T5-base dss', (*_BASE, '--method=dss')),
    Row('T5-base finetune', (*_BASE, '--method=finetune')),
    Row('T5-base qcrd, D every step', (*_BASE, '--method=qcrd', '--update-every=1')),
    Row('T5-small qcrd', (*_SMALL, '--method=qcrd')),
    Row('SmolLM2-135M qcrd', (*_SMOL, '--method=qcrd')),
    Row('T5-small dss', (*_SMALL, '--method=dss')),
    Row('T5-base qcrd, SVAMP lengths', (*_BASE, '--method=qcrd', '--lengths=svamp')),
    Row('T5-base qcrd, one by one', (*_BASE, '--method=qcrd', '--no-together')),
)
TRIAL = (
    Row('tiny finetune', (*_TINY, *_SHORT, '--method=finetune')),
    Row('tiny dss', (*_TINY, *_SHORT, '--method=dss')),
)
"""Of `--cpu`."""


def accelerator() -> str:
    """Returns the name of the accelerator; '' where there is none.

    Asked in a process of its own: the one that asks may hold the memory of a GPU.
    """
    ask = 'import jax; d = jax.devices()[0]; print(d.device_kind if d.platform != "cpu" else "")'
    answer = subprocess.run([sys.executable, '-c', ask], capture_output=True, text=True)
    return answer.stdout.strip()


def measure(rows: Sequence[Row], seconds: float) -> list[dict[str, Any]]:
    """Measures one row after another; those that the time is not enough for have an 'error'.

    Args:
      rows: what is measured.
      seconds: for all of them.
    """
    end, results = time.monotonic() + seconds, []
    with tempfile.TemporaryDirectory() as folder:
        for place, row in enumerate(rows):
            results.append({'name': row.name} | _measure(row, end, f'{folder}/{place}.json'))
            print(_line(results[-1]), flush=True)
    return results


def _measure(row: Row, end: float, path: str) -> dict[str, Any]:
    left = end - time.monotonic()
    command = [sys.executable, '-m', 'benchmarks.step', *row.flags, f'--json={path}']
    if left <= 0:
        return {'error': 'not measured: no time was left'}
    try:
        done = subprocess.run(
            command, cwd=_HERE, env=os.environ, capture_output=True, text=True, timeout=left
        )
    except subprocess.TimeoutExpired:
        return {'error': 'not measured: the time was over'}
    if done.returncode:
        return {'error': f'failed: {done.stderr.strip().splitlines()[-1:]}', 'log': done.stderr}
    return json.loads(pathlib.Path(path).read_text())


def _head() -> str:
    columns = (
        'ms/step',
        'p90',
        'floor',
        'tokens/s',
        'sampled/s',
        'compile s',
        'peak GB',
        'plan GB',
    )
    return f'{"":30}' + ''.join(f'{name:>11}' for name in columns) + f'{"launches":>11}'


def _line(result: dict[str, Any]) -> str:
    """A row of the table."""
    if 'error' in result:
        return f'{result["name"]:30}  {result["error"]}'
    floor, sampled = result['floor'], result['sampled_tokens_per_second']
    values = (
        f'{result["seconds_per_step"] * 1e3:.2f}',
        f'{result["seconds_per_step_p90"] * 1e3:.2f}',
        f'{floor["seconds"] * 1e3:.2f}' if floor else '-',
        f'{result["tokens_per_second"]:.0f}',
        f'{sampled:.0f}' if sampled else '-',
        f'{result["compile_seconds"]:.1f}',
        f'{result["peak_memory_bytes"] / 1e9:.2f}',
        f'{result["program_memory_bytes"]["total"] / 1e9:.2f}',
        f'{result["program_kernels"]["launches"] / result["steps_per_call"]:.0f}',
    )
    return f'{result["name"]:30}' + ''.join(f'{value:>11}' for value in values)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures all rows and prints the table; without an accelerator it says so."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.gpu', description=(__doc__ or '').splitlines()[0]
    )
    parser.add_argument(
        '--minutes', type=flags.at_least(1), default=8, help='at most (default: %(default)s)'
    )
    parser.add_argument('--cpu', action='store_true', help='try the flow with tiny models')
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the result here')
    arguments = parser.parse_args(argv)
    began = time.monotonic()
    device = 'the CPU' if arguments.cpu else accelerator()
    if not device:
        print('JAX finds no accelerator here: nothing is measured. --cpu tries the flow.')
        return
    print(f'on {device}; per step, the median of the timed ones')
    print(_head())
    left = arguments.minutes * 60 - (time.monotonic() - began)
    results = measure(TRIAL if arguments.cpu else ROWS, left)
    if arguments.json is not None:
        files.write_json(arguments.json, {'device': device, 'rows': results})
    for result in results:
        if 'log' in result:
            print(f'\n{result["name"]}:\n{result["log"]}', file=sys.stderr)


if __name__ == '__main__':
    main()
