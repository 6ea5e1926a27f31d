"""The architectures there are: by name, and as a student or an encoder with a tokenizer's ids.

This module and `huggingface` know every architecture; outside of `models` none is told apart.
"""

import dataclasses
from typing import Any

from qcrd_jax.models.decoder import config as qwen2_config
from qcrd_jax.models.decoder.config import Qwen2Config
from qcrd_jax.models.decoder.student import Qwen2Encoder, Qwen2Student
from qcrd_jax.models.protocol import Encoder, Student
from qcrd_jax.models.t5 import config as t5_config
from qcrd_jax.models.t5.config import T5Config
from qcrd_jax.models.t5.student import T5Encoder, T5Student

Architecture = T5Config | Qwen2Config

QWEN = 'qwen2.5'
# The sizes of every version.
SIZES: dict[str, tuple[str, ...]] = {**t5_config.SIZES, QWEN: qwen2_config.SIZES}

_STUDENTS = {T5Config: T5Student, Qwen2Config: Qwen2Student}
_ENCODERS = {T5Config: T5Encoder, Qwen2Config: Qwen2Encoder}


def named(size: str, version: str) -> Architecture:
    """Returns a published architecture with its own vocabulary.

    Args:
      size: one of `SIZES[version]`.
      version: of T5, or 'qwen2.5'.
    """
    if version == QWEN:
        return Qwen2Config.named(size)
    return T5Config.named(size, version=version)


def random_architecture(size: str, version: str, tokenizer: Any) -> Architecture:
    """Returns the architecture of `named` for the vocabulary of a tokenizer, to start at random."""
    ids = {'pad_id': tokenizer.pad_token_id, 'eos_id': tokenizer.eos_token_id}
    if version == QWEN:
        start_id = answer_start(tokenizer)
        return Qwen2Config.named(size, vocab_size=len(tokenizer), start_id=start_id, **ids)
    architecture = T5Config.named(size, len(tokenizer), version)
    return dataclasses.replace(architecture, start_id=tokenizer.pad_token_id, **ids)


def student_for(
    architecture: Architecture, tokenizer: Any, *, dropout_rate: float, compute_dtype: Any
) -> Student:
    """Returns the student of an architecture that reads and writes a tokenizer's ids.

    Data is padded and ended as the tokenizer says, so its ids hold. An answer of a T5 starts after
    the token that it was trained with; that of a Qwen2.5 after `answer_start`.
    """
    ids = {'pad_id': tokenizer.pad_token_id, 'eos_id': tokenizer.eos_token_id}
    if isinstance(architecture, Qwen2Config):
        ids['start_id'] = answer_start(tokenizer)
    architecture = dataclasses.replace(architecture, dropout_rate=dropout_rate, **ids)
    return _STUDENTS[type(architecture)](architecture, compute_dtype)


def encoder_for(
    architecture: Architecture, tokenizer: Any, *, dropout_rate: float, compute_dtype: Any
) -> Encoder:
    """Returns the encoder of an architecture that reads a tokenizer's ids."""
    ids = {'pad_id': tokenizer.pad_token_id, 'eos_id': tokenizer.eos_token_id}
    architecture = dataclasses.replace(architecture, dropout_rate=dropout_rate, **ids)
    return _ENCODERS[type(architecture)](architecture, compute_dtype)


def student_of(architecture: Architecture, compute_dtype: Any) -> Student:
    """Returns the student of an architecture, with the ids that the architecture has."""
    return _STUDENTS[type(architecture)](architecture, compute_dtype)


def answer_start(tokenizer: Any) -> int:
    """Returns the token after which a decoder alone starts its answer: a newline.

    Where a tokenizer has none, as that trained on the data, it is EOS: such a student reads a
    prompt just as the tokenizer ends it.
    """
    ids = tokenizer('\n', add_special_tokens=False)['input_ids']
    newline = len(ids) == 1 and tokenizer.decode(ids) == '\n'
    return ids[0] if newline else tokenizer.eos_token_id


def describe(size: str, version: str) -> str:
    """Returns how a random student is called.

    >>> describe('tiny', 'v1.0'), describe('0.5b', 'qwen2.5')
    ('t5-v1.0-tiny', 'qwen2.5-0.5b')
    """
    return f'{version}-{size}' if version == QWEN else f't5-{version}-{size}'
