"""The families of students there are: all that outside of its own files is particular to one.

A new family is a file of its own and an entry in `FAMILIES`.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from qcrd_jax.models.decoder import llama, mistral, qwen2, qwen3
from qcrd_jax.models.decoder.checkpoint import DecoderCheckpoint
from qcrd_jax.models.decoder.config import DecoderConfig
from qcrd_jax.models.decoder.student import DecoderEncoder, DecoderStudent
from qcrd_jax.models.protocol import Encoder, Params, Student
from qcrd_jax.models.t5 import checkpoint as t5_checkpoint
from qcrd_jax.models.t5 import config as t5_config
from qcrd_jax.models.t5.config import T5Config
from qcrd_jax.models.t5.student import T5Encoder, T5Student
from qcrd_jax.models.tensor_places import Opened

Architecture = T5Config | DecoderConfig


@runtime_checkable
class Checkpoint(Protocol):
    """How folders in Hugging Face's format are read and written; a module or an object."""

    def open_student(self, folder: pathlib.Path) -> Opened:
        """Maps a whole model."""
        ...

    def open_encoder(self, folder: pathlib.Path) -> Opened:
        """Maps what an encoder needs, of a whole model or saved by itself."""
        ...

    def read_config(self, path: pathlib.Path) -> Any:
        """Reads a config.json; whether the head is tied may be for the tensors to say."""
        ...

    def to_tensors(self, config: Any, params: Params) -> dict[str, np.ndarray]:
        """Returns what is written, by name."""
        ...

    def to_config_json(self, config: Any) -> dict[str, Any]:
        """Returns the config.json that transformers reads."""
        ...

    def to_generation_json(self, config: Any) -> dict[str, Any]:
        """Returns the generation_config.json that transformers reads."""
        ...

    def finish_tokenizer(self, folder: pathlib.Path) -> None:
        """Sees to it that `AutoTokenizer` reads the tokenizer that was saved."""
        ...


@dataclasses.dataclass(frozen=True)
class Family:
    """What is particular to one family.

    Attributes:
      model_types: what config.json may call it; the first is what we write.
      student: its student, of an architecture, a compute dtype, and whether it rematerialises.
      encoder: its encoder, of the same.
      checkpoint: its folders.
      versions: the named sizes of each version.
      random_name: how a random student of a version and size is called.
      continues_prompt: an answer follows the prompt, after `architectures.answer_start`; else it
        starts from the token that the architecture names.
      adapters: whether adapters (`lora`) can be trained beside its weights.
    """

    model_types: tuple[str, ...]
    student: Callable[[Any, Any, bool], Student]
    encoder: Callable[[Any, Any, bool], Encoder]
    checkpoint: Checkpoint
    versions: Mapping[str, Mapping[str, Architecture]]
    random_name: str
    continues_prompt: bool
    adapters: bool


def _decoder(checkpoint: DecoderCheckpoint, versions: Mapping[str, Any]) -> Family:
    return Family(
        model_types=(checkpoint.model_type,),
        student=DecoderStudent,
        encoder=DecoderEncoder,
        checkpoint=checkpoint,
        versions=versions,
        random_name='{version}-{size}',
        continues_prompt=True,
        adapters=True,
    )


FAMILIES = (
    Family(
        model_types=('t5', 'mt5'),
        student=T5Student,
        encoder=T5Encoder,
        checkpoint=t5_checkpoint,
        versions=t5_config.VERSIONS,
        random_name='t5-{version}-{size}',
        continues_prompt=False,
        adapters=False,
    ),
    _decoder(qwen2.CHECKPOINT, qwen2.VERSIONS),
    _decoder(qwen3.CHECKPOINT, qwen3.VERSIONS),
    _decoder(llama.CHECKPOINT, llama.VERSIONS),
    _decoder(mistral.CHECKPOINT, mistral.VERSIONS),
)

BY_MODEL_TYPE = {name: family for family in FAMILIES for name in family.model_types}
BY_VERSION = {version: family for family in FAMILIES for version in family.versions}


def family_of(architecture: Architecture) -> Family:
    """Returns the family of an architecture."""
    if architecture.model_type not in BY_MODEL_TYPE:
        raise ValueError(
            f'model_type: expected {" | ".join(BY_MODEL_TYPE)}, got {architecture.model_type!r}'
        )
    return BY_MODEL_TYPE[architecture.model_type]
