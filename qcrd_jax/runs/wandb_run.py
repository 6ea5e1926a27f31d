"""The same numbers in Weights & Biases, where that package is installed and a project is named."""

import hashlib
import importlib
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import logging

from qcrd_jax import files
from qcrd_jax.errors import InputError, reason
from qcrd_jax.runs.workdir import CONFIG


class WandbRun:
    """A run of a project, which is found again when ours resumes.

    It only repeats `metrics.jsonl`: what goes wrong there ends no run, but the copy, with a line.
    The key comes from the environment or `wandb login`; WANDB_MODE=offline keeps all on disk.
    """

    def __init__(self, project: str, workdir: pathlib.Path):
        """Opens it.

        Args:
          project: of Weights & Biases.
          workdir: of the run; its path is its identity.

        Raises:
          InputError: if the package is not installed.
        """
        self._run: Any = None
        self._phases: set[str] = set()
        try:
            wandb = importlib.import_module('wandb')
        except ImportError as error:
            raise InputError(
                f'--config.train.wandb: {project}: the package wandb is not installed; pip install '
                'wandb, or leave the field empty.'
            ) from error
        path = pathlib.Path(workdir).absolute()
        try:
            self._run = wandb.init(
                project=project,
                id=hashlib.sha256(str(path).encode()).hexdigest()[:16],
                name=f'{path.parent.name}/{path.name}',
                dir=path,
                config=files.read_json(path / CONFIG) if (path / CONFIG).is_file() else None,
                resume='allow',
                reinit='create_new',
                settings=wandb.Settings(silent=True),
            )
        except Exception as error:  # of any type: of its network, of its process
            self._give_up(error)

    def write(self, phase: str, step: int, values: Mapping[str, int | float]) -> None:
        """Logs numbers of a step, by their tags; every phase counts its own steps."""
        if self._run is None:
            return
        axis = f'{phase}/step'
        try:
            if phase not in self._phases:
                self._phases.add(phase)
                self._run.define_metric(f'{phase}/*', step_metric=axis)
            self._run.log({axis: step, **values})
        except Exception as error:
            self._give_up(error)

    def close(self) -> None:
        """Ends it."""
        run, self._run = self._run, None
        if run is not None:
            try:
                run.finish()
            except Exception as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._run = None
        logging.warning(
            'Weights & Biases gets no more of this run (%s); metrics.jsonl has all of it.',
            reason(error),
        )
