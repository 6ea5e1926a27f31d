"""Kills, damages and fills the disk at random, and holds every run to an undisturbed one.

    make soak ARGS='--seed 3 --minutes 5'

A seed and a number make an episode (`soak_faults.plan`): the stage of a run from which it begins,
what is done to it, and when. Then the same command is run again, what its error lines say is done,
and once it ends with status 0 its results must be those of the reference, bit for bit, times apart.
What is not so is a finding, printed with how to repeat it; the soak then ends with status 1.

The moment of a signal is drawn by the seed; how far the machine has come by then is not.
"""

import argparse
import collections
import hashlib
import importlib.metadata
import json
import os
import pathlib
import shutil
import signal
import sys
import time
from collections.abc import Sequence

from benchmarks import soak_compare, soak_disk, soak_faults
from benchmarks.soak_children import REPOSITORY, Child, Children, opened
from benchmarks.soak_life import Ground, Life

_OUTCOMES = ('tried', 'survived', 'loudly', 'failed', 'skipped')


def main(arguments: Sequence[str] | None = None) -> int:
    """Soaks; returns the status of the process."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = _parse(arguments)
    soak_disk.enter_namespace(arguments)
    # What a shell starts in the background ignores Ctrl-C, and what it starts would do so too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    scratch = pathlib.Path(options.scratch).resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    with opened(scratch) as children:
        ground = prepare(children, scratch / f'ground-{_identity()}')
        return 1 if soak(ground, scratch, options) else 0


def soak(ground: Ground, scratch: pathlib.Path, options: argparse.Namespace) -> int:
    """Goes through episodes until the time is over; returns how many failed."""
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    deadline, failed = time.monotonic() + 60 * options.minutes, []
    number = options.episode or 0
    while True:
        episode = soak_faults.plan(options.seed, number)
        if not options.only or episode.kind in options.only.split(','):
            folder = scratch / 'episodes' / str(number)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            start, life = time.monotonic(), Life(ground, episode, folder)
            try:
                life.live()
            finally:
                life.close()
            outcome = _outcome(life)
            counts[episode.kind].update(['tried', outcome])
            print(f'{episode}: {outcome}, {time.monotonic() - start:.0f} s', flush=True)
            _print_life(life, outcome)
            if outcome == 'failed':
                failed.append(number)
            else:
                shutil.rmtree(folder, ignore_errors=True)
        number += 1
        if options.episode is not None or time.monotonic() > deadline:
            break
    print(f'\n{table(counts)}')
    if failed:
        print(f'\nfailed: {", ".join(map(str, failed))}; repeat one by')
        print(f"make soak ARGS='--seed {options.seed} --episode {failed[0]}'")
    return len(failed)


def _outcome(life: Life) -> str:
    if life.findings:
        return 'failed'
    if life.skipped:
        return 'skipped'
    return 'loudly' if life.loud else 'survived'


def _print_life(life: Life, outcome: str) -> None:
    for note in life.notes:
        print(f'    {note}')
    if outcome == 'skipped':
        print(f'    skipped: {life.skipped}')
    for finding in dict.fromkeys(life.findings):
        print(f'  FINDING: {finding}')
    if life.findings:
        print(
            f"  repeat: make soak ARGS='--seed {life.episode.seed} "
            f"--episode {life.episode.number}'; it lies in {life.folder}",
            flush=True,
        )


def table(counts: dict[str, collections.Counter]) -> str:
    """Returns the faults that were tried, by kind, as Markdown."""
    lines = [f'| fault | {" | ".join(_OUTCOMES)} |', '|---|' + '---|' * len(_OUTCOMES)]
    total: collections.Counter = collections.Counter()
    for kind in soak_faults.KINDS:
        if kind in counts:
            total += counts[kind]
            values = ' | '.join(str(counts[kind][outcome]) for outcome in _OUTCOMES)
            lines.append(f'| {kind} | {values} |')
    lines.append(f'| all | {" | ".join(str(total[outcome]) for outcome in _OUTCOMES)} |')
    return '\n'.join(lines)


# --- The ground -----------------------------------------------------------------------------------


def prepare(children: Children, folder: pathlib.Path) -> Ground:
    """Makes the reference and the stages, or finds them made by the same code.

    The reference is made twice, with an empty cache of compilations and with a full one: both must
    have the same results, for what is disturbed later finds a full one.
    """
    reference, stages, foreign = (folder / name for name in ('reference', 'stages', 'foreign'))
    ready = folder / 'ready.json'
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        stages.mkdir(parents=True)
        print('a reference that nothing disturbs', flush=True)
        _expect_good(children.start(reference, afresh=True))
        print('the same again, with its stages', flush=True)
        second = folder / 'second'
        child = children.start(second)
        _take_stages(child, stages)
        _expect_good(child)
        shutil.copytree(second, stages / 'finished')
        if found := soak_compare.differences(second, reference):
            raise SystemExit('two runs that nothing disturbed differ: ' + '; '.join(found))
        print('another run with the same shapes', flush=True)
        other = children.start(foreign, ['--config.optimizer.learning_rate=0.001'])
        while other.running and not any(step >= 12 for step in soak_faults.steps_of(foreign)):
            time.sleep(0.05)
        other.send(signal.SIGKILL)
        other.wait()
        lines = soak_compare.read_lines(reference / 'metrics.jsonl')
        ready.write_text(json.dumps({'longest_step': longest_step(lines)}))
    settings = json.loads(ready.read_text())
    return Ground(children, reference, stages, foreign, settings['longest_step'])


def _take_stages(child: Child, stages: pathlib.Path) -> None:
    """Copies the workdir of a run as it is at some stages; the run stands still meanwhile."""
    log = child.workdir / 'metrics.jsonl'
    conditions = {
        'prepared': lambda: child.reached('pretraining'),
        'pretraining': lambda: bool(soak_compare.read_lines(log)),
        'training': lambda: any(step >= 12 for step in soak_faults.steps_of(child.workdir)),
    }
    for name, condition in conditions.items():
        while child.running and not condition():
            time.sleep(0.005)
        child.send(signal.SIGSTOP)
        shutil.copytree(child.workdir, stages / name, symlinks=True)
        child.send(signal.SIGCONT)


def _expect_good(child: Child) -> None:
    ended = child.wait()
    if ended.status or ended.faults():
        raise SystemExit(f'a run that nothing disturbed: status {ended.status}, {ended.err[-5:]}')


def longest_step(lines: Sequence[str]) -> float:
    """Returns the seconds that the slowest step took at most, compilation included.

    Examples:
      >>> longest_step(['{"step": 3, "seconds_per_step": 2.0}'])
      6.0
    """
    longest, before = 0.0, 0
    for record in map(json.loads, lines):
        steps = record['step'] - (before if before < record['step'] else 0)
        longest = max(longest, steps * record.get('seconds_per_step', 0.0))
        before = record['step']
    return longest


def _identity() -> str:
    """Of the code that is soaked, the configuration and the libraries that decide bits."""
    digest = hashlib.sha256()
    names = [REPOSITORY / 'run.py', REPOSITORY / 'benchmarks' / 'soak_config.py']
    for path in (*names, *sorted((REPOSITORY / 'qcrd_jax').rglob('*.py'))):
        digest.update(path.read_bytes())
    for package in ('jax', 'jaxlib', 'flax', 'optax', 'numpy'):
        digest.update(importlib.metadata.version(package).encode())
    return digest.hexdigest()[:12]


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='make soak', description='Disturbs runs at random.')
    parser.add_argument('--seed', type=int, default=0, help='of what is done (default 0)')
    parser.add_argument(
        '--minutes', type=float, default=5.0, help='after which no episode is begun (default 5)'
    )
    parser.add_argument('--episode', type=int, help='only this one')
    parser.add_argument('--only', default='', help='only these kinds of faults, with commas')
    parser.add_argument(
        '--scratch', default=os.fspath(REPOSITORY / 'runs' / 'soak'), help='folder to work in'
    )
    return parser.parse_args(arguments)


if __name__ == '__main__':
    sys.exit(main())
