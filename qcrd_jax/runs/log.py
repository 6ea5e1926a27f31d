"""The record of a run: `metrics.jsonl`, and the same numbers as TensorBoard events."""

import json
import math
import pathlib
from typing import Any

import tensorboardX
from absl import logging

from qcrd_jax import files


class MetricsLog:
    """Appends one JSON object a line, flushed as it is written.

    A run that resumes from step s forgets what it had logged after s, a torn last line included:
    it is going to log that again.
    """

    def __init__(self, workdir: pathlib.Path, *, resume_step: int | None):
        """Opens the log.

        Args:
          workdir: of the run.
          resume_step: the step the run resumes from; None starts the log anew.
        """
        self._path = pathlib.Path(workdir) / 'metrics.jsonl'
        kept = [] if resume_step is None else _records_until(self._path, resume_step)
        files.write_jsonl(self._path, kept)
        self._file = open(self._path, 'a', encoding='utf-8')  # noqa: SIM115, closed by `close`
        # A folder for each phase: TensorBoard purges all of a folder from a step on, and the steps
        # of the discriminator's pretraining are not those of the training that resumes.
        self._events: dict[str, tensorboardX.SummaryWriter] = {}
        self._events_folder = pathlib.Path(workdir) / 'tensorboard'
        self._purge_step = 0 if resume_step is None else resume_step + 1

    def __enter__(self) -> 'MetricsLog':
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Writes out what TensorBoard still buffers."""
        self._file.close()
        for events in self._events.values():
            events.close()

    def write(self, phase: str, step: int, values: dict[str, Any]) -> None:
        """Logs values of one step; a number that is not finite is written as null."""
        values = {name: _finite(value) for name, value in values.items()}
        record = {'phase': phase, 'step': step, **values}
        self._file.write(json.dumps(record) + '\n')
        self._file.flush()
        if phase not in self._events:
            self._events[phase] = tensorboardX.SummaryWriter(
                str(self._events_folder / phase), purge_step=self._purge_step
            )
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self._events[phase].add_scalar(f'{phase}/{name}', value, step)


def read(workdir: pathlib.Path, phase: str) -> list[dict[str, Any]]:
    """The records of one phase, in order."""
    path = pathlib.Path(workdir) / 'metrics.jsonl'
    return [record for _, record in files.read_jsonl(path) if record.get('phase') == phase]


def _records_until(path: pathlib.Path, step: int) -> list[dict[str, Any]]:
    """The records up to a step; a last line that was torn by a kill is dropped, others loudly."""
    if not path.exists():
        logging.warning('%s is gone; it starts anew at step %d.', path, step)
        return []
    kept = []
    lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            earlier = record['phase'] == 'discriminator' or record['step'] <= step
        except (ValueError, KeyError, TypeError):
            if number < len(lines):
                logging.warning('%s, line %d is damaged and was dropped.', path, number)
            continue
        if earlier and record['phase'] != 'test':
            kept.append(record)
    return kept


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
