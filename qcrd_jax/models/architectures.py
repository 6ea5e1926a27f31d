"""Architectures by name, and as a student or an encoder with a tokenizer's ids.

Outside of `models` no family is distinguished from another; within, `families` lists them.
"""

import dataclasses
from typing import Any

from qcrd_jax.models.families import BY_VERSION, Family, family_of
from qcrd_jax.models.families import Architecture as Architecture  # others name it from here
from qcrd_jax.models.protocol import Encoder, Student

# The sizes of every version.
SIZES: dict[str, tuple[str, ...]] = {
    version: tuple(family.versions[version]) for version, family in BY_VERSION.items()
}


def named(size: str, version: str) -> Architecture:
    """Returns a published architecture with its own vocabulary, or `tiny`, which is ours.

    Args:
      size: one of `SIZES[version]`.
      version: of T5 ('v1.0', 'v1.1'), or 'qwen2.5', 'qwen3', 'llama3', 'smollm2', 'mistral'.

    >>> named('135m', 'smollm2').num_layers
    30
    """
    if version not in SIZES:
        raise ValueError(f'version: expected one of {", ".join(SIZES)}; got {version!r}')
    if size not in SIZES[version]:
        raise ValueError(f'size: expected one of {", ".join(SIZES[version])}; got {size!r}')
    return BY_VERSION[version].versions[version][size]


def random_architecture(size: str, version: str, tokenizer: Any) -> Architecture:
    """Returns the architecture of `named` for the vocabulary of a tokenizer, to start at random."""
    architecture = named(size, version)
    ids = _ids(BY_VERSION[version], tokenizer)
    start_id = ids.get('start_id', tokenizer.pad_token_id)
    return dataclasses.replace(
        architecture, **{**ids, 'start_id': start_id}, vocab_size=len(tokenizer)
    )


def student_for(
    architecture: Architecture, tokenizer: Any, *, dropout_rate: float, compute_dtype: Any
) -> Student:
    """Returns the student of an architecture that reads and writes a tokenizer's ids.

    Data is padded and ended as the tokenizer says, so its ids hold. An answer of a T5 starts after
    the token that it was trained with; that of a decoder-only student after `answer_start`.
    """
    ids = _ids(family_of(architecture), tokenizer)
    architecture = dataclasses.replace(architecture, dropout_rate=dropout_rate, **ids)
    return student_of(architecture, compute_dtype)


def encoder_for(
    architecture: Architecture, tokenizer: Any, *, dropout_rate: float, compute_dtype: Any
) -> Encoder:
    """Returns the encoder of an architecture that reads a tokenizer's ids."""
    ids = {'pad_id': tokenizer.pad_token_id, 'eos_id': tokenizer.eos_token_id}
    architecture = dataclasses.replace(architecture, dropout_rate=dropout_rate, **ids)
    return family_of(architecture).encoder(architecture, compute_dtype)


def student_of(architecture: Architecture, compute_dtype: Any) -> Student:
    """Returns the student of an architecture, with the ids that the architecture has."""
    return family_of(architecture).student(architecture, compute_dtype)


def answer_start(tokenizer: Any) -> int:
    """Returns the token after which a decoder-only student starts its answer: a newline.

    Where a tokenizer has none, as that trained on the data, it is EOS: such a student reads a
    prompt just as the tokenizer ends it.
    """
    # Tokenizers of SentencePiece's kind put a space before it.
    last = tokenizer('\n', add_special_tokens=False)['input_ids'][-1:]
    return last[0] if last and tokenizer.decode(last) == '\n' else tokenizer.eos_token_id


def describe(size: str, version: str) -> str:
    """Returns how a random student is called.

    >>> describe('tiny', 'v1.0'), describe('0.5b', 'qwen2.5')
    ('t5-v1.0-tiny', 'qwen2.5-0.5b')
    """
    return BY_VERSION[version].random_name.format(version=version, size=size)


def _ids(family: Family, tokenizer: Any) -> dict[str, int]:
    """Returns the ids of a tokenizer that are fields of an architecture of this family."""
    ids = {'pad_id': tokenizer.pad_token_id, 'eos_id': tokenizer.eos_token_id}
    if family.continues_prompt:
        ids['start_id'] = answer_start(tokenizer)
    return ids
