"""This checkout beside an earlier one: seconds per step, memory, compilation, kernels.

    git worktree add /tmp/old 04c4247
    python -m benchmarks.against --old /tmp/old --size small --method qcrd --lengths svamp

Each checkout has a process of its own, and both have the same weights, shapes and batches
(`benchmarks.step` describes them). They take calls in turns, only one of them at a time, so that
whatever else the machine does slows down both; a call is a step, or a chunk of steps. Commits from
04c4247 on can be measured. The memory must hold both.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import flags, worker
from benchmarks.setting import Setting
from qcrd_jax import files
from qcrd_jax.errors import InputError

_HERE = pathlib.Path(__file__).resolve()
_WARM_UP = 2  # calls at least, and every batch once


class Side:
    """A process that takes steps of one checkout when it is told to."""

    def __init__(self, checkout: pathlib.Path, setting: Setting):
        self.checkout = checkout
        self._process = worker.start(checkout, 'stepping', dataclasses.asdict(setting))
        self.compiled = self._answer()
        self.first: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []

    def warm_up(self) -> None:
        """Takes every batch once, so that what is timed later is compiled."""
        while len(self.first) < _WARM_UP or self._taken(self.first) < self.compiled['batches']:
            self.first.append(self._step())

    def take(self) -> None:
        """Takes a call that counts."""
        self.calls.append(self._step())

    def close(self) -> dict[str, Any]:
        """Ends the process; returns what was measured."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        memory = self._answer()
        self._process.wait()
        per_step = [call['seconds'] / call['steps'] for call in self.calls]
        machine = self.compiled['machine']
        return memory | {
            'checkout': str(self.checkout),
            'machine': machine,
            'steps_per_call': self.calls[0]['steps'],
            'seconds_per_step': float(np.median(per_step)),
            'all_seconds_per_step': per_step,
            'compile_seconds': self._compile_seconds(),
            'program_memory_bytes': self.compiled['memory'],
            'program_kernels': self.compiled['kernels'],
        }

    def kill(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._process.wait()

    @property
    def timed(self) -> int:
        """Steps that were timed."""
        return self._taken(self.calls)

    def _compile_seconds(self) -> float:
        """The first program's, and of every other first call what it took longer than later."""
        later = {call['place']: call['seconds'] for call in self.calls}
        typical = float(np.median([call['seconds'] for call in self.calls]))
        excess = [call['seconds'] - later.get(call['place'], typical) for call in self.first]
        return self.compiled['compile_seconds'] + sum(max(seconds, 0.0) for seconds in excess)

    def _step(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write('step\n')
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise InputError(
                f'{self.checkout}: its process ended with status {code}; what it said is above '
                '(status -9: the memory was not enough for both).'
            )
        return json.loads(line)

    @staticmethod
    def _taken(calls: Sequence[dict[str, Any]]) -> int:
        return sum(call['steps'] for call in calls)


def measure(
    old: pathlib.Path, new: pathlib.Path, setting: Setting, rounds: int = 1
) -> dict[str, Any]:
    """Takes `rounds` times the setting's steps of both checkouts, in turns."""
    sides: list[Side] = []
    try:
        for checkout in (old, new):
            side = Side(checkout, setting)
            sides.append(side)
            side.warm_up()
        while min(side.timed for side in sides) < rounds * setting.steps:
            for side in sides:
                side.take()
        before, after = (side.close() for side in sides)
    except BaseException:
        for side in sides:
            side.kill()
        raise
    pairs = zip(after['all_seconds_per_step'], before['all_seconds_per_step'], strict=True)
    ratios = [mine / theirs for mine, theirs in pairs]
    return {
        'setting': dataclasses.asdict(setting),
        'old': before,
        'new': after,
        'ratio': after['seconds_per_step'] / before['seconds_per_step'],
        'ratio_of_pairs': [float(np.percentile(ratios, share)) for share in (10, 50, 90)],
    }


def summarise(result: dict[str, Any]) -> str:
    """The result as a table for people."""
    setting, sides = result['setting'], (result['old'], result['new'])
    low, middle, high = result['ratio_of_pairs']
    each = f'{setting["update_every"]} steps' if setting['update_every'] else 'none'
    lines = [
        f'{setting["method"]}, {setting["version"]} {setting["size"]}, {setting["dtype"]}, '
        f'batch {setting["batch"]}, lengths {setting["lengths"]}, discriminator updated every '
        f'{each}, on {sides[0]["machine"]["device"]}, {sides[0]["machine"]["cpus"]} CPUs',
        f'{"":28}{"old":>12}{"new":>12}{"new / old":>12}',
    ]
    rows = [
        ('seconds per step', [side['seconds_per_step'] for side in sides], '.4f'),
        ('compile seconds', [side['compile_seconds'] for side in sides], '.1f'),
        ('peak memory, MiB', [side['peak_memory_bytes'] / 2**20 for side in sides], '.0f'),
    ]
    for name in ('total', 'between'):
        values = [side['program_memory_bytes'][name] / 2**20 for side in sides]
        rows.append((f'program memory, {name}, MiB', values, '.0f'))
    for name in ('kernels', 'launches'):
        rows.append((name, [float(side['program_kernels'][name]) for side in sides], '.0f'))
    for name, (theirs, mine), form in rows:
        ratio = f'{mine / theirs:12.3f}' if theirs else f'{"-":>12}'
        lines.append(f'{name:28}{theirs:12{form}}{mine:12{form}}{ratio}')
    calls, steps = len(sides[0]['all_seconds_per_step']), sides[0]['steps_per_call']
    lines.append(
        f'call by call: median {middle:.3f}, p10 {low:.3f}, p90 {high:.3f} '
        f'({calls} calls each, of {steps} steps)'
    )
    return '\n'.join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures what the command line asks for, prints it and writes it."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.against', description=(__doc__ or '').splitlines()[0]
    )
    parser.add_argument('--old', required=True, type=pathlib.Path, help='the earlier checkout')
    here = _HERE.parents[1]
    parser.add_argument('--new', default=here, type=pathlib.Path, help='default: this one')
    parser.add_argument('--rounds', type=flags.at_least(1), default=1, help='times --steps')
    flags.add_setting(parser)
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the result here')
    arguments = vars(parser.parse_args(argv))
    setting = flags.take_setting(parser, arguments)
    for name in ('old', 'new'):
        if not (arguments[name] / 'qcrd_jax').is_dir():
            parser.error(f'argument --{name}: {arguments[name]} is no checkout of this project.')
    old, new = (arguments[name].resolve() for name in ('old', 'new'))
    try:
        result = measure(old, new, setting, arguments['rounds'])
    except InputError as error:
        sys.exit(f'error: {error}')
    print(summarise(result))
    if arguments['json'] is not None:
        files.write_json(arguments['json'], result)


if __name__ == '__main__':
    main()
