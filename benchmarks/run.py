"""A whole short run, from reading data to the report, and what its seconds are spent on.

    python -m benchmarks.run
    python -m benchmarks.run --old /tmp/old --rounds 3 --config configs/svamp.py \
        --config.data.teacher_samples=samples.jsonl --config.student.tokenizer=<folder> \
        --config.student.pretrained= --config.student.size=small --config.train.steps=200

Without `--config` it is the demonstration, cut short (`SHORT`): synthetic questions, a tiny
student, everything that a run does. Flags `--config.<field>=<value>` override the configuration, as
those of `run.py` do. With `--old` another checkout does the same in turns, in its own processes.

Compiled programs are kept by none for another, unless it is `--warm`.

The phases: imports, data (reading, tokenising, counting), pretraining of the discriminator,
compilation (by XLA, wherever it happens, within the other phases), training (steps, with tracing
and logging), validation, checkpoint (only while the loop waits for it), test (test split, export,
scores, case study), report, other. Two rows are per step: the median over the windows of the log,
as the run's summary has it, and the phase of training over all steps.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import flags, worker
from qcrd_jax import files
from qcrd_jax.errors import InputError

SHORT = (
    '--config=configs/demo.py',
    '--config.data.mwp.train=2000',
    '--config.data.mwp.validation=50',
    '--config.data.mwp.test=50',
    '--config.discriminator.pretrain_steps=20',
    '--config.discriminator.update_every=20',
    '--config.train.steps=60',
    '--config.optimizer.warmup_steps=10',
    '--config.train.log_every=10',
    '--config.train.evaluate_every=30',
    '--config.train.checkpoint_every=20',
    '--config.train.checkpoint_minutes=0',
    '--config.evaluation.examples=2',
)
PHASES = (
    'imports', 'data', 'pretraining', 'compilation', 'training', 'validation', 'checkpoint', 'test',
    'report', 'other',
)  # fmt: skip
_HERE = pathlib.Path(__file__).resolve().parents[1]


def run_once(
    checkout: pathlib.Path, command: Sequence[str], caches: str | None = None
) -> dict[str, Any]:
    """Makes one run of a checkout in a folder of its own; returns what it took.

    Args:
      checkout: of the project.
      command: the flags of `run.py`.
      caches: where compiled programs are kept between runs; None: nothing is found.
    """
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        arguments = {'flags': list(command), 'workdir': f'{folder}/run', 'began': began}
        caches = caches or f'{folder}/caches'
        process = worker.start(checkout, 'phases', arguments, XDG_CACHE_HOME=caches)
        try:
            out, _ = process.communicate()
        except BaseException:
            process.kill()
            process.wait()
            raise
    if process.returncode or not out:
        raise InputError(
            f'{checkout}: its run ended with status {process.returncode}; what it said is above.'
        )
    return json.loads(out.splitlines()[-1])


def measure(
    checkouts: Sequence[pathlib.Path], command: Sequence[str], rounds: int, *, warm: bool = False
) -> list[list[dict[str, Any]]]:
    """Runs the checkouts in turns; returns the runs of each.

    Args:
      checkouts: of the project.
      command: the flags of `run.py`.
      rounds: runs of each.
      warm: compiled programs are found that an earlier run kept, which does not count.
    """
    runs: list[list[dict[str, Any]]] = [[] for _ in checkouts]
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds + warm):
            for place, checkout in enumerate(checkouts):
                caches = f'{folder}/{place}' if warm else None
                runs[place].append(run_once(checkout, command, caches))
    return [mine[warm:] for mine in runs]


def medians(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The rows of the table: seconds by phase, in all and per step, and the peak memory in MiB."""
    rows = {
        phase: float(np.median([run['seconds'].get(phase, 0.0) for run in runs]))
        for phase in PHASES
    }
    rows['all'] = float(np.median([sum(run['seconds'].values()) for run in runs]))
    per_step = [run['summary']['seconds_per_step'] for run in runs]
    rows['training, per step'] = rows['training'] / runs[0]['summary']['steps']
    rows['per step'] = float(np.median([np.nan if value is None else value for value in per_step]))
    rows['peak memory, MiB'] = float(np.median([run['peak_memory_bytes'] for run in runs])) / 2**20
    return rows


def summarise(columns: dict[str, dict[str, float]]) -> str:
    """A table of the rows of `medians`; of two columns also what the second is of the first."""
    several = len(columns) > 1
    lines = [f'{"seconds":20}' + ''.join(f'{name:>12}' for name in columns)]
    lines[0] += f'{"ratio":>12}' if several else ''
    for name in next(iter(columns.values())):
        values = [rows[name] for rows in columns.values()]
        line = f'{name:20}' + ''.join(f'{value:12.3f}' for value in values)
        if several:
            line += f'{values[1] / values[0]:12.3f}' if values[0] else f'{"-":>12}'
        lines.append(line)
    return '\n'.join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures what the command line asks for, prints it and writes it."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.run', description=(__doc__ or '').splitlines()[0]
    )
    parser.add_argument('--config', help='file of a configuration; default: a short demonstration')
    parser.add_argument('--old', type=pathlib.Path, help='an earlier checkout, for comparison')
    parser.add_argument('--rounds', type=flags.at_least(1), default=1, help='runs of each')
    parser.add_argument(
        '--warm', action='store_true', help='let each find what a run before it compiled'
    )
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the result here')
    arguments, overrides = parser.parse_known_args(argv)
    for flag in overrides:
        if not flag.startswith('--config.'):
            parser.error(f'unrecognized arguments: {flag}')
    begin = SHORT
    if arguments.config:
        begin = (f'--config={pathlib.Path(arguments.config).resolve()}',)
    checkouts = {'this': _HERE}
    if arguments.old is not None:
        if not (arguments.old / 'qcrd_jax').is_dir():
            parser.error(f'argument --old: {arguments.old} is no checkout of this project.')
        checkouts = {'old': arguments.old.resolve(), 'new': _HERE}
    command = (*begin, *overrides)
    try:
        runs = measure(list(checkouts.values()), command, arguments.rounds, warm=arguments.warm)
    except InputError as error:
        sys.exit(f'error: {error}')
    print(summarise(dict(zip(checkouts, map(medians, runs), strict=True))))
    if arguments.json is not None:
        result = {'flags': command, 'runs': dict(zip(checkouts, runs, strict=True))}
        files.write_json(arguments.json, result)


if __name__ == '__main__':
    main()
