"""What a soak holds a run against: an undisturbed run of the same configuration, bit for bit."""

import hashlib
import itertools
import json
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from qcrd_jax.runs.timing import TIMES

# Files that are the same bytes whenever a run ended well.
SAME_BYTES = (
    'predictions.jsonl',
    'scores.json',
    'examples.jsonl',
    'case_study.jsonl',
    'votes.jsonl',
    'leaks.jsonl',
    'prepare.json',
)
FOLDERS_OF_SAME_BYTES = ('hf', 'data/tokens')
_LEFTOVER = re.compile(r'\.tmp$|\.orbax-checkpoint-tmp|incomplete')
_SET_ASIDE = re.compile(
    r'.*-damaged.*|previous-\d+|data|\.lock|SHA256SUMS'
)  # what may stand beside results


def differences(workdir: pathlib.Path, reference: pathlib.Path) -> list[str]:
    """Returns in what the results of a workdir differ from the reference's; empty if in nothing.

    Times are left out, and a file's pictures of times with them.
    """
    found = [*_folder_differences(workdir, reference)]
    for name in SAME_BYTES:
        found += _byte_differences(workdir, reference, name)
    found += _picture_differences(workdir, reference)
    try:
        summary, wanted = (
            _without_times(_json(each, 'summary.json')) for each in (workdir, reference)
        )
        found += [
            f'summary.json: {name} is {summary.get(name)!r}, not {wanted.get(name)!r}'
            for name in sorted(summary.keys() | wanted.keys())
            if summary.get(name, '') != wanted.get(name, '')
        ]
    except (OSError, ValueError) as error:
        found.append(f'summary.json: {error}')
    found += _config_differences(workdir, reference)
    found += log_differences(_lines(workdir), _lines(reference))
    found += _checkpoint_differences(workdir, reference)
    found += wrong_sums(workdir)
    found += _leftovers(workdir, reference)
    return found


def log_differences(lines: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Returns how one metrics log differs from another, times apart.

    Examples:
      >>> line = '{"phase": "train", "step": 4, "loss": 0.5, "seconds_per_step": 9}'
      >>> log_differences([line], [line.replace('9', '8')])
      []
      >>> log_differences([line, line], [line])
      ['metrics.jsonl, line 2: train 4 is too much']
    """
    found = []
    pairs = itertools.zip_longest(map(_record, lines), map(_record, wanted))
    for number, (record, reference) in enumerate(pairs, start=1):
        where = f'metrics.jsonl, line {number}'
        if record is None:
            found.append(f'{where}: {_named(reference)} is missing')
        elif reference is None:
            found.append(f'{where}: {_named(record)} is too much')
        elif record != reference:
            fields = sorted(record.keys() | reference.keys())
            other = [name for name in fields if record.get(name) != reference.get(name)]
            values = f'{record.get(other[0])!r}, not {reference.get(other[0])!r}'
            found.append(f'{where}: {_named(record)}: {other[0]} is {values}')
        if found:
            break  # all that follows is shifted
    return found


def lost_lines(
    before: Sequence[str],
    after: Sequence[str],
    *,
    resumed: int | None = None,
    pretraining: int | None = None,
) -> list[str]:
    """Returns the lines of a log that a process lost, and was not bound to write again.

    Args:
      before: lines of `metrics.jsonl` before the process.
      after: after it.
      resumed: the step that it resumed from; None if it came to no training, and then all is kept.
      pretraining: likewise, of the discriminator's pretraining.
    """
    kept = [_record(line) for line in after]
    lost = []
    for line in before:
        record = _record(line)
        if 'step' not in record or record in kept:
            continue  # a torn line is no loss
        phase, step = record['phase'], record['step']
        start = pretraining if phase == 'discriminator' else resumed
        if start is None or (step <= start and phase != 'test'):
            lost.append(_named(record))
    return lost


def wrong_sums(workdir: pathlib.Path) -> list[str]:
    """Returns the files that a `SHA256SUMS` of the workdir names and that are others or gone."""
    found = []
    for sums in sorted(workdir.rglob('SHA256SUMS*')):
        for line in sums.read_text(encoding='utf-8', errors='replace').splitlines():
            digest, _, name = line.partition('  ')
            path = sums.parent / name
            stated = re.fullmatch('[0-9a-f]{64}', digest) and name
            if stated and (not path.is_file() or digest_of(path) != digest):
                found.append(f'{path.relative_to(workdir)} is not what {sums.name} says')
    return found


def digest_of(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _leftovers(workdir: pathlib.Path, reference: pathlib.Path) -> list[str]:
    """What a run should have removed, or nobody knows."""
    known = {path.name for path in reference.iterdir()}
    return [
        f'{path.relative_to(workdir)} was left over'
        for path in sorted(workdir.rglob('*'))
        if _LEFTOVER.search(path.name)
        or (path.parent == workdir and path.name not in known and not _SET_ASIDE.match(path.name))
    ]


def _byte_differences(workdir: pathlib.Path, reference: pathlib.Path, name: str) -> list[str]:
    wanted, path = reference / name, workdir / name
    if not wanted.is_file():
        return []
    if not path.is_file():
        return [f'{name} is missing']
    return [] if path.read_bytes() == wanted.read_bytes() else [f'{name} has other bytes']


def _config_differences(workdir: pathlib.Path, reference: pathlib.Path) -> list[str]:
    try:
        found, wanted = (_json(each, 'config.json') for each in (workdir, reference))
        for config in (found, wanted):
            config['data'].pop('cache')  # fields that an episode sets
            config['train'].pop('restart', None)
    except (OSError, ValueError, LookupError) as error:
        return [f'config.json: {type(error).__name__}: {error}']
    return [] if found == wanted else ['config.json is that of another run']


def _folder_differences(workdir: pathlib.Path, reference: pathlib.Path) -> Iterator[str]:
    for folder in FOLDERS_OF_SAME_BYTES:
        if not (workdir / folder).is_dir() and folder.startswith('data'):
            continue  # the data is kept elsewhere
        for path in sorted((reference / folder).rglob('*')):
            if path.is_file():
                name = str(path.relative_to(reference))
                yield from _byte_differences(workdir, reference, name)


def _picture_differences(workdir: pathlib.Path, reference: pathlib.Path) -> list[str]:
    names = {path.name for path in (reference / 'report').glob('*.png')} - {'step_time.png'}
    others = [
        name for name in sorted(names) if _byte_differences(workdir, reference, f'report/{name}')
    ]
    return [f'report: {len(others)} pictures are others, {others[0]} first'] if others else []


def _checkpoint_differences(workdir: pathlib.Path, reference: pathlib.Path) -> list[str]:
    """Compares the digests of the arrays in the last checkpoint, where the reference has them."""
    records = sorted((reference / 'checkpoints').glob('[0-9]*/record/metadata'))
    if not records:
        return []
    last = max(records, key=lambda path: int(path.parts[-3]))
    name = last.relative_to(reference)
    try:
        found, wanted = (
            json.loads((each / name).read_text())['arrays'] for each in (workdir, reference)
        )
    except (OSError, ValueError, KeyError) as error:
        return [f'{name}: {type(error).__name__}: {error}']
    names = sorted(found.keys() | wanted.keys())
    other = [each for each in names if found.get(each) != wanted.get(each)]
    return [f'{name}: {len(other)} arrays are others, {other[0]} first'] if other else []


def _without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in TIMES}


def _json(folder: pathlib.Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding='utf-8'))


def _lines(workdir: pathlib.Path) -> list[str]:
    return read_lines(workdir / 'metrics.jsonl')


def read_lines(path: pathlib.Path) -> list[str]:
    """Returns the lines of a file; of one that is not there none."""
    try:
        return path.read_text(encoding='utf-8', errors='replace').splitlines()
    except FileNotFoundError:
        return []


def _record(line: str) -> dict[str, Any]:
    """The record of a line without its times; a line that is no record stands for itself."""
    try:
        record = json.loads(line)
        return _without_times(record) if isinstance(record, dict) else {'line': line}
    except ValueError:
        return {'line': line}


def _named(record: dict[str, Any] | None) -> str:
    record = record or {}
    return f'{record.get("phase", "no phase")} {record.get("step", record)}'
