"""The folder of a run's student: described as the run starts, exported with its weights later.

`student/` is the student without weights, which are in the checkpoints; `hf/` is the whole of it.
So whoever asks the student needs neither the data nor a teacher (`chosen`).
"""

import json
import pathlib
import shutil
from typing import Any

import jax

from qcrd_jax import processes
from qcrd_jax.errors import InputError
from qcrd_jax.evaluation import task as tasks
from qcrd_jax.evaluation.task import Task
from qcrd_jax.models import huggingface
from qcrd_jax.models.families import Architecture
from qcrd_jax.models.protocol import Params
from qcrd_jax.runs import scales
from qcrd_jax.runs.run import Run
from qcrd_jax.runs.scales import Scales

DESCRIBED, EXPORTED = 'student', 'hf'


def task_of(workdir: pathlib.Path) -> Task:
    """Returns how the student of a workdir is asked.

    Raises:
      InputError: if there is no student yet, or it is not described as it should be.
    """
    return tasks.read(folder_of(workdir))


def folder_of(workdir: pathlib.Path) -> pathlib.Path:
    """Returns the folder of the student of a workdir, whole or only described.

    Raises:
      InputError: if there is none.
    """
    folder = workdir / (EXPORTED if is_exported(workdir) else DESCRIBED)
    if not folder.is_dir():
        raise InputError(
            f'--workdir: {workdir} has no student to ask; run --mode=train there first.'
        )
    return folder


def is_exported(workdir: pathlib.Path) -> bool:
    """Whether the folder holds a whole student that can be asked."""
    return (workdir / EXPORTED / tasks.FILE).is_file()


def describe(run: Run) -> None:
    """Writes the run's student without weights to `student/`."""
    if processes.is_first():
        _save(run.workdir / DESCRIBED, run.student.config, None, run.corpus.tokenizer, run.task)


def export(run: Run, params: Params, before: Scales) -> pathlib.Path:
    """Writes a student of the run to `hf/`, as Hugging Face transformers loads it.

    Args:
      run: the run.
      params: of its student.
      before: sizes of the parameters before training.

    Raises:
      InputError: if its weights are not finite, or have grown beyond all measure.
    """
    scales.check(params, before)
    return save(run.workdir, run.student.config, params, run.corpus.tokenizer, run.task)


def save(
    workdir: pathlib.Path, architecture: Architecture, params: Params, tokenizer: Any, task: Task
) -> pathlib.Path:
    """Writes a student to `hf/`, in the place of what only describes it."""
    folder = workdir / EXPORTED
    if processes.is_first():
        _save(folder, architecture, params, tokenizer, task)
        shutil.rmtree(workdir / DESCRIBED, ignore_errors=True)
    return folder


def _save(
    folder: pathlib.Path,
    architecture: Architecture,
    params: Params | None,
    tokenizer: Any,
    task: Task,
) -> None:
    text = json.dumps(task.to_json(), indent=2, ensure_ascii=False) + '\n'
    huggingface.save_student(
        folder,
        architecture,
        None if params is None else jax.device_get(params),
        tokenizer,
        longest=task.longest,
        texts={tasks.FILE: text},
    )
