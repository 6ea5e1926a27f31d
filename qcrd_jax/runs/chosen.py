"""The student that a run chose, by itself: neither the data nor a teacher is needed to ask it."""

import dataclasses
import pathlib
from typing import Any, NamedTuple

from ml_collections import config_dict

from qcrd_jax.data import tokenizer as tokenizers
from qcrd_jax.errors import InputError
from qcrd_jax.evaluation import task as tasks
from qcrd_jax.models import architectures, huggingface
from qcrd_jax.models.base import compute_dtype
from qcrd_jax.models.families import Architecture
from qcrd_jax.models.lora import merge_adapters
from qcrd_jax.models.protocol import Params
from qcrd_jax.pipeline import Pipeline
from qcrd_jax.placement import Placement
from qcrd_jax.runs import exported, frozen, scales
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.runs.checkpoint import Checkpointer


class Chosen(NamedTuple):
    """The student that validation chose.

    Attributes:
      pipeline: the student, and how it is asked.
      scales: sizes of its parameters before training, by which `scales.check` knows what has blown
        up; None of one that was checked.
    """

    pipeline: Pipeline
    scales: Any


def load(config: config_dict.ConfigDict, workdir: pathlib.Path) -> Chosen:
    """Reads the selected student of a workdir, from its latest checkpoint, else from its export.

    Args:
      config: of the run; the groups `student`, `lora`, `evaluation` and `mesh` are read.
      workdir: of the run.

    Raises:
      InputError: if there is neither, or what is there is damaged.
    """
    described = exported.folder_of(workdir)
    task, tokenizer = tasks.read(described), tokenizers.load_tokenizer(str(described))
    architecture, params, sizes = _weights(config, workdir, described)
    student = architectures.student_for(
        architecture, tokenizer, compute_dtype=compute_dtype(config.student.compute_dtype)
    )
    placement = Placement.of(config.mesh.data, config.mesh.fsdp)
    together = config.evaluation.together
    return Chosen(Pipeline(student, params, tokenizer, task, together, placement), sizes)


def export(workdir: pathlib.Path, chosen: Chosen) -> pathlib.Path:
    """Writes the student to the workdir's `hf/`, as Hugging Face transformers loads it.

    Raises:
      InputError: if its weights are not finite, or have grown beyond all measure.
    """
    pipeline = chosen.pipeline
    if chosen.scales is not None:
        scales.check(pipeline.params, chosen.scales)
    architecture, tokenizer = pipeline.student.config, pipeline.tokenizer
    return exported.save(workdir, architecture, pipeline.params, tokenizer, pipeline.task)


def _weights(
    config: config_dict.ConfigDict, workdir: pathlib.Path, described: pathlib.Path
) -> tuple[Architecture, Params, Any]:
    """The architecture, the weights, and their sizes before training where they are known."""
    if not workdirs.started(workdir):
        return *huggingface.load_student(described), None
    with Checkpointer(workdirs.checkpoints(workdir)) as checkpointer:
        restored = checkpointer.restore_part('best')
    if restored is None:
        raise InputError(
            f'--workdir: {workdir} has no checkpoint yet, only a discriminator that is being '
            'pretrained; run --mode=train there first.'
        )
    architecture = huggingface.read_config(described / 'config.json')
    params = restored.state
    if config.lora.rank:
        weights = frozen.of(huggingface.load_student(config.student.pretrained)[1])
        frozen.check(weights, config, restored.metadata)
        params = merge_adapters(weights.params, params, config.lora.alpha)
    # Of a T5 the arrays say whether it has a head of its own.
    architecture = dataclasses.replace(architecture, tied_head='head' not in params)
    return architecture, params, restored.metadata['scales']
