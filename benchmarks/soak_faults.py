"""The faults of a soak: which comes when, by seed, and how files are damaged."""

import dataclasses
import os
import pathlib
import shutil
import time

import numpy as np

from benchmarks.soak_children import MOMENTS

# How far a run has come before its files are damaged or it is disturbed.
STAGES = ('none', 'prepared', 'pretraining', 'training', 'finished')

SIGNALS = ('SIGKILL', 'SIGTERM', 'SIGINT', 'SIGINT twice', 'signal while importing')
DAMAGES = ('flip', 'zeros', 'truncate', 'empty', 'delete', 'swap', 'append')
CHECKPOINTS = (
    'checkpoint renamed',
    'checkpoint copied',
    'checkpoint of another run',
    'checkpoints deleted',
    'checkpoints all damaged',
    'metrics deleted',
    'metrics line changed',
)
PLACES = (
    'file times ahead',
    'workdir moved',
    'workdir is a link',
    'data deleted',
    'folders of data swapped',
)
DISK = ('disk of 30 MB', 'disk fills up', 'disk is read-only')
TWO = ('two in a workdir', 'two on a cache', 'one of two on a cache killed')
KINDS = (*SIGNALS, *DAMAGES, *CHECKPOINTS, *PLACES, *DISK, *TWO)
# Those of which a round has more than one.
_MORE = {'SIGKILL': 3, 'SIGTERM': 2, 'SIGINT': 2, 'flip': 5, 'delete': 2, 'truncate': 2}
_ROUND = tuple(kind for kind in KINDS for _ in range(_MORE.get(kind, 1)))

_STEPS = ('checkpoints', 'pretraining')  # folders that have a folder for each saved step

# Seconds within which a fault comes after its moment, at most.
_SPANS = dict(zip(MOMENTS, (2.0, 2.0, 4.0, 6.0, 0.3, 2.0, 3.0, 3.0, 5.0), strict=True))


@dataclasses.dataclass(frozen=True)
class Episode:
    """What one life of a run has to stand.

    Attributes:
      seed: of the soak.
      number: of the episode.
      kind: one of `KINDS`.
      stage: one of `STAGES`, where it begins.
      moments: when it is disturbed, and how many seconds later.
      damages: how many files are damaged.
    """

    seed: int
    number: int
    kind: str
    stage: str
    moments: tuple[tuple[str, float], ...]
    damages: int

    @property
    def rng(self) -> np.random.Generator:
        """Draws what is left open: files, bytes, remedies; the same at every call."""
        return np.random.default_rng((self.seed, self.number, 2))

    def __str__(self) -> str:
        when = ', '.join(f'{moment} + {seconds:.2f} s' for moment, seconds in self.moments)
        return f'episode {self.number}: {self.kind}, from {self.stage}' + (
            f', at {when}' if when else ''
        )


def plan(seed: int, number: int) -> Episode:
    """Returns an episode; every kind comes in every round, in an order of its own.

    Examples:
      >>> plan(3, 5) == plan(3, 5)
      True
    """
    order = np.random.default_rng((seed, number // len(_ROUND), 0)).permutation(len(_ROUND))
    kind = _ROUND[order[number % len(_ROUND)]]
    rng = np.random.default_rng((seed, number, 1))
    stage, damages = str(rng.choice(_may(kind))), 0
    moments: tuple[tuple[str, float], ...] = ()
    if kind in DAMAGES:
        damages = int(rng.integers(1, 4))
    elif kind in (*SIGNALS[:4], *TWO, 'disk fills up'):
        count = 1 + (kind in SIGNALS and rng.random() < 0.3)
        after = {'none': 0, 'prepared': 2, 'training': 3, 'finished': 6}
        later = MOMENTS[after.get(stage, 2) :]
        if kind == 'two on a cache':
            later = MOMENTS[:1]
        elif kind == 'one of two on a cache killed':
            later = MOMENTS[:3]
        chosen = sorted(int(i) for i in rng.integers(len(later), size=count))
        moments = tuple((later[i], float(rng.random() * _SPANS[later[i]])) for i in chosen)
    elif kind == 'signal while importing':
        moments = (('start', float(rng.random() * 8)),)
    return Episode(seed, number, kind, stage, moments, damages)


def _may(kind: str) -> tuple[str, ...]:
    """The stages that an episode may begin at."""
    if kind in ('two on a cache', 'one of two on a cache killed', 'disk of 30 MB'):
        return ('none',)
    if kind in ('data deleted', 'folders of data swapped'):
        return ('prepared', 'training')
    if kind in ('metrics deleted', 'metrics line changed'):
        return ('pretraining', 'training', 'finished')
    if kind == 'checkpoints all damaged':
        return ('training',)
    if kind.startswith('checkpoint'):
        return ('training', 'finished')
    if kind in (*SIGNALS, 'disk fills up'):
        return ('none', 'none', 'prepared', 'training', 'training', 'finished')
    return ('prepared', 'pretraining', 'training', 'training', 'finished')


@dataclasses.dataclass(frozen=True)
class Damage:
    """A file or folder that was damaged, and what it was before.

    Attributes:
      path: under the workdir, or under the folder of the data.
      what: was done.
      before: its bytes; None for a folder.
    """

    path: pathlib.PurePath
    what: str
    before: bytes | None

    def named(self, lines: list[str]) -> bool:
        """Returns whether lines of a log name the file, or its folder."""
        first, *others = self.path.parts
        if first in _STEPS:
            words = ('checkpoint', *others[:1])
            return any(all(word in line for word in words) for line in lines)
        names = [str(self.path), *(str(each) for each in self.path.parents if len(each.parts) > 2)]
        return any(name in line for line in lines for name in names) or any(
            self.path.name in line and self.path.parent.name in line for line in lines
        )

    def healed(self, root: pathlib.Path) -> bool:
        """Returns whether the file is what it was before."""
        path = root / self.path
        return self.before is not None and path.is_file() and path.read_bytes() == self.before


def damage_files(
    root: pathlib.Path, kind: str, count: int, rng: np.random.Generator
) -> list[Damage]:
    """Damages some files under a folder, of different groups where there are as many.

    Args:
      root: the folder.
      kind: one of `DAMAGES`.
      count: of files.
      rng: chooses.
    """
    groups: dict[str, list[pathlib.Path]] = {}
    for path in sorted(root.rglob('*')):
        if path.is_file() and not path.is_symlink():
            groups.setdefault(group_of(path.relative_to(root)), []).append(path)
    names = sorted(groups)
    weights = np.array([3.0 if name.startswith(('data', *_STEPS)) else 1.0 for name in names])
    chosen = rng.choice(
        len(names), size=min(count, len(names)), replace=False, p=weights / weights.sum()
    )
    damages = []
    for place in chosen:
        paths = groups[names[place]]
        path = paths[int(rng.integers(len(paths)))]
        others = [each for each in paths if each != path] or [
            each for name in names for each in groups[name] if each != path
        ]
        other = others[int(rng.integers(len(others)))]
        damages += damage_file(root, path, kind, rng, other)
    return damages


def group_of(path: pathlib.PurePath) -> str:
    """Returns what a file of a workdir belongs to.

    Examples:
      >>> group_of(pathlib.PurePath('checkpoints/12/state/_METADATA'))
      'checkpoints/state'
      >>> group_of(pathlib.PurePath('data/tokens/12ab/label.ids'))
      'data/tokens'
      >>> group_of(pathlib.PurePath('metrics.jsonl'))
      'metrics.jsonl'
    """
    first, *others = path.parts
    if first in _STEPS:
        return '/'.join([first, *others[1:2]])
    return '/'.join([first, *others[:1]]) if first == 'data' else first


def damage_file(
    root: pathlib.Path,
    path: pathlib.Path,
    kind: str,
    rng: np.random.Generator,
    other: pathlib.Path | None = None,
) -> list[Damage]:
    """Damages one file; `other` is what it is swapped with."""
    data = path.read_bytes()
    name, place = path.relative_to(root), int(rng.integers(max(len(data), 1)))
    if kind == 'flip':
        bit = int(rng.integers(8))
        changed = bytearray(data or b'\0')
        changed[place] ^= 1 << bit
        what = f'bit {bit} of byte {place} of {len(data)} flipped in {name}'
    elif kind == 'zeros':
        changed = bytearray(data)
        changed[place : place + 512] = bytes(len(data[place : place + 512]))
        what = f'512 bytes from {place} of {len(data)} are zero in {name}'
    elif kind == 'truncate':
        changed, what = data[:place], f'{name} cut to {place} of {len(data)} bytes'
    elif kind == 'append':
        changed, what = data + b'\xff{"phase"', f'bytes appended to {name}'
    elif kind == 'empty':
        changed, what = b'', f'{name} emptied'
    elif kind == 'delete':
        path.unlink()
        return [Damage(name, f'{name} deleted', data)]
    else:
        assert kind == 'swap' and other is not None, kind
        theirs, second = other.read_bytes(), other.relative_to(root)
        path.write_bytes(theirs)
        other.write_bytes(data)
        what = f'{name} and {second} swapped'
        return [Damage(name, what, data), Damage(second, what, theirs)]
    path.write_bytes(changed)
    return [Damage(name, what, data)]


def steps_of(workdir: pathlib.Path) -> list[int]:
    """Returns the steps that have a checkpoint, ascending."""
    folder = workdir / 'checkpoints'
    names = os.listdir(folder) if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdigit())


def damage_checkpoints(
    workdir: pathlib.Path, kind: str, rng: np.random.Generator, foreign: pathlib.Path
) -> list[Damage]:
    """Does what is particular to checkpoints and the log.

    Args:
      workdir: of a run that has checkpoints.
      kind: one of `CHECKPOINTS`.
      rng: chooses.
      foreign: workdir of another run with the same shapes.
    """
    folder, steps = workdir / 'checkpoints', steps_of(workdir)
    log = workdir / 'metrics.jsonl'
    if kind == 'metrics deleted':
        return damage_file(workdir, log, 'delete', rng)
    if kind == 'metrics line changed':
        return [_change_line(workdir, log, rng)]
    if kind == 'checkpoints deleted':
        shutil.rmtree(folder)
        if rng.random() < 0.5:
            folder.mkdir()
        return [Damage(pathlib.PurePath('checkpoints'), f'checkpoints {steps} deleted', None)]
    if kind == 'checkpoints all damaged':
        damages = []
        for step in steps:
            files = [path for path in (folder / str(step)).rglob('*') if path.is_file()]
            largest = max(files, key=lambda path: path.stat().st_size)
            damages += damage_file(workdir, largest, 'empty', rng)
        return damages
    step = int(rng.choice(steps))
    if kind == 'checkpoint of another run':
        theirs = steps_of(foreign)[-1]
        later = steps[-1] + 1 if rng.random() < 0.5 else steps[-1]
        shutil.rmtree(folder / str(later), ignore_errors=True)
        shutil.copytree(foreign / 'checkpoints' / str(theirs), folder / str(later))
        what = f'checkpoint {theirs} of another run copied to {later}'
        return [Damage(pathlib.PurePath('checkpoints', str(later)), what, None)]
    later = steps[-1] + int(rng.integers(1, 8))
    if kind == 'checkpoint copied':
        shutil.copytree(folder / str(step), folder / str(later))
    else:
        (folder / str(step)).rename(folder / str(later))
    what = f'{kind}, {step} to {later}'
    return [Damage(pathlib.PurePath('checkpoints', str(later)), what, None)]


def _change_line(workdir: pathlib.Path, log: pathlib.Path, rng: np.random.Generator) -> Damage:
    """Makes a line of the log another that reads as well."""
    data = log.read_bytes()
    lines = data.splitlines(keepends=True)
    place = int(rng.integers(len(lines)))
    how = str(rng.choice(['removed', 'doubled', 'altered', 'emptied']))
    line = lines[place]
    digits = [i for i, byte in enumerate(line) if 0x31 <= byte <= 0x38 and line[i - 1 : i] == b'.']
    changed = bytearray(line)
    for i in digits[:1]:
        changed[i] += 1
    lines[place] = {
        'removed': b'',
        'doubled': line + line,
        'altered': bytes(changed),
        'emptied': b'\n',
    }[how]
    log.write_bytes(b''.join(lines))
    return Damage(log.relative_to(workdir), f'line {place + 1} of metrics.jsonl {how}', data)


def swap_folders(root: pathlib.Path, rng: np.random.Generator) -> Damage:
    """Swaps two of the folders that tokenised splits are in."""
    folders = sorted(path for path in (root / 'data' / 'tokens').iterdir() if path.is_dir())
    # The two smallest are those of validation and test, which hold as many questions.
    folders.sort(key=lambda folder: (folder / 'question.ids').stat().st_size)
    first, second = rng.permutation(len(folders))[:2] if rng.random() < 0.3 else (0, 1)
    first, second = folders[int(first)], folders[int(second)]
    aside = first.with_name('aside')
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    what = f'data/tokens/{first.name} and {second.name} swapped'
    return Damage(first.relative_to(root), what, None)


def set_times_ahead(workdir: pathlib.Path, seconds: float = 86400.0) -> None:
    """Gives every file a time in the future, as if the clock had gone back since."""
    then = time.time() + seconds
    for path in workdir.rglob('*'):
        os.utime(path, (then, then), follow_symlinks=False)
