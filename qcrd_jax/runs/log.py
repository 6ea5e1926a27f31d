"""The record of a run: `metrics.jsonl`, and the same numbers as TensorBoard events."""

import hashlib
import json
import math
import pathlib
from typing import Any, NamedTuple

from absl import logging

from qcrd_jax import files
from qcrd_jax.errors import InputError
from qcrd_jax.runs.events import Events
from qcrd_jax.runs.wandb_run import WandbRun

_NAME = 'metrics.jsonl'
_TEST = b'{"phase": "test"'  # how a line begins that is logged after the last step
_ASIDE = 'metrics-damaged'


class Mark(NamedTuple):
    """A place in the log, and a digest of what is before it.

    Attributes:
      step: that was logged last; of the phase that was under way.
      size: bytes up to the place.
      sha256: of these bytes.
    """

    step: int
    size: int
    sha256: str


class MetricsLog:
    """Appends one JSON object a line, flushed as it is written.

    It begins where the log of the workdir ends.
    """

    def __init__(self, workdir: pathlib.Path, project: str = ''):
        """Opens the log.

        Args:
          workdir: of the run.
          project: of Weights & Biases, which gets the same numbers; '': none.
        """
        self._path = pathlib.Path(workdir) / _NAME
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._open()
        # A folder for each phase: TensorBoard purges all of a folder from a step on, and the steps
        # of the discriminator's pretraining are not those of the training that resumes.
        self._events: dict[str, Events] = {}
        self._events_folder = pathlib.Path(workdir) / 'tensorboard'
        self._purge_step = 0
        self._wandb = WandbRun(project, workdir) if project else None

    def __enter__(self) -> 'MetricsLog':
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        for events in self._events.values():
            events.close()
        if self._wandb is not None:
            self._wandb.close()

    def rewind(self, mark: Mark) -> None:
        """Goes back to a mark, at which a run resumes; before anything is written.

        What follows it is forgotten, a torn last line included: the run is going to log that again.
        """
        self._file.close()
        _cut(self._path, mark)
        self._open()
        self._purge_step = mark.step + 1

    def _open(self) -> None:
        self._file = open(self._path, 'ab')  # noqa: SIM115, closed by `close`
        self._digest = _digest_of(self._path)

    def mark(self, step: int) -> Mark:
        """Returns the present end of the log, for a checkpoint of a step."""
        return Mark(step, self._file.tell(), self._digest.hexdigest())

    def write(self, phase: str, step: int, values: dict[str, Any]) -> None:
        """Logs values of one step; a number that is not finite is written as null."""
        values = {name: _finite(value) for name, value in values.items()}
        line = (json.dumps({'phase': phase, 'step': step, **values}) + '\n').encode()
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise InputError(
                f'{self._path}: cannot be written ({error.strerror}); mend that, and run the same '
                'command again to resume.'
            ) from error
        self._digest.update(line)
        if phase not in self._events:
            self._events[phase] = Events(self._events_folder / phase, self._purge_step)
        numbers = {
            f'{phase}/{name}': value
            for name, value in values.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        self._events[phase].write(step, numbers)
        if self._wandb is not None:
            self._wandb.write(phase, step, numbers)


class NoLog(MetricsLog):
    """Writes nothing: of all but the first of several processes."""

    def __init__(self) -> None:
        pass

    def close(self) -> None:
        """Does nothing."""

    def rewind(self, mark: Mark) -> None:
        """Does nothing."""

    def mark(self, step: int) -> Mark:
        """Returns a mark that nobody reads."""
        return Mark(step, 0, '')

    def write(self, phase: str, step: int, values: dict[str, Any]) -> None:
        """Does nothing."""


def reopened(workdir: pathlib.Path, step: int, project: str = '') -> MetricsLog:
    """Opens the log of a run that has taken its last step, to log its test; an earlier one goes.

    Args:
      workdir: of the run.
      step: the last one.
      project: as `MetricsLog` has it.
    """
    path, digest, size = pathlib.Path(workdir) / _NAME, hashlib.sha256(), 0
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
        if line.startswith(_TEST):
            break
        digest.update(line)
        size += len(line)
    log = MetricsLog(workdir, project)
    log.rewind(Mark(step, size, digest.hexdigest()))
    return log


def read(workdir: pathlib.Path, phase: str) -> list[dict[str, Any]]:
    """The records of one phase, in order."""
    path = pathlib.Path(workdir) / _NAME
    return [record for _, record in files.read_jsonl(path) if record.get('phase') == phase]


def _cut(path: pathlib.Path, mark: Mark) -> None:
    """Drops what follows a mark; where the bytes before it have changed, says so and sets aside."""
    if mark.size and not path.stat().st_size:
        logging.error('%s: what was written up to step %d is gone.', path, mark.step)
        return
    if path.stat().st_size >= mark.size and _digest_of(path, mark.size).hexdigest() == mark.sha256:
        with open(path, 'rb+') as file:
            file.truncate(mark.size)
        return
    aside = path.with_name(f'{_ASIDE}.jsonl')
    while aside.exists():
        aside = aside.with_stem(f'{aside.stem}-again')
    files.write_bytes(aside, path.read_bytes())
    kept = _records_until(path, mark.step)
    logging.error(
        '%s is not what was written up to step %d; it is set aside as %s. %d records can be read '
        'and are kept: do not trust them.', path, mark.step, aside.name, len(kept),
    )  # fmt: skip
    files.write_jsonl(path, kept)


def _records_until(path: pathlib.Path, step: int) -> list[dict[str, Any]]:
    """The records up to a step; a last line that was torn by a kill is dropped, others loudly."""
    kept = []
    lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            earlier = record['phase'] == 'discriminator' or record['step'] <= step
        except (ValueError, KeyError, TypeError, RecursionError):
            if number < len(lines):
                logging.error('%s, line %d is damaged and was dropped.', path, number)
            continue
        if earlier and record['phase'] != 'test':
            kept.append(record)
    return kept


def _digest_of(path: pathlib.Path, size: int | None = None) -> Any:
    """A running SHA-256 of a file, or of its first bytes."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        digest.update(file.read() if size is None else file.read(size))
    return digest


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
