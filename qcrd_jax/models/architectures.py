"""Architectures by name, and as a student or an encoder with a tokenizer's ids.

Outside of `models` no family is distinguished from another; within, `families` lists them.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp

from qcrd_jax.errors import InputError
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
    """Returns the architecture of `named` for the vocabulary of a tokenizer, to start at random.

    Where ids of the tokenizer have gaps between them, those are rows of the embedding too.
    """
    architecture = named(size, version)
    ids = _ids(BY_VERSION[version], tokenizer)
    start_id = ids.get('start_id', tokenizer.pad_token_id)
    return dataclasses.replace(
        architecture, **{**ids, 'start_id': start_id}, vocab_size=_highest_id(tokenizer) + 1
    )


def student_for(
    architecture: Architecture,
    tokenizer: Any,
    *,
    dropout_rate: float = 0.0,
    compute_dtype: Any = jnp.float32,
    remat: bool = False,
) -> Student:
    """Returns the student of an architecture that reads and writes a tokenizer's ids.

    Data is padded and ended as the tokenizer says, so its ids hold. An answer of a T5 starts after
    the token that it was trained with; that of a decoder-only student after `answer_start`.

    Args:
      architecture: of `huggingface.load_student`, or one of `SIZES`.
      tokenizer: a Hugging Face tokenizer.
      dropout_rate: in training.
      compute_dtype: of activations and matrix products; parameters are float32.
      remat: whether layers are computed once more for the gradient, which takes less memory.

    Raises:
      InputError: if the tokenizer is not that of the architecture.
    """
    _check_tokenizer('student', architecture, tokenizer)
    ids = _ids(family_of(architecture), tokenizer)
    architecture = dataclasses.replace(architecture, dropout_rate=dropout_rate, **ids)
    return student_of(architecture, compute_dtype, remat)


def encoder_for(
    architecture: Architecture,
    tokenizer: Any,
    *,
    dropout_rate: float,
    compute_dtype: Any,
    remat: bool = False,
) -> Encoder:
    """Returns the encoder of an architecture that reads a tokenizer's ids.

    Raises:
      InputError: if the tokenizer is not that of the architecture.
    """
    _check_tokenizer('discriminator', architecture, tokenizer)
    ids = {'pad_id': tokenizer.pad_token_id, 'eos_id': tokenizer.eos_token_id}
    architecture = dataclasses.replace(architecture, dropout_rate=dropout_rate, **ids)
    return family_of(architecture).encoder(architecture, compute_dtype, remat)


def student_of(architecture: Architecture, compute_dtype: Any, remat: bool = False) -> Student:
    """Returns the student of an architecture, with the ids that the architecture has."""
    return family_of(architecture).student(architecture, compute_dtype, remat)


def takes_adapters(architecture: Architecture) -> bool:
    """Returns whether adapters (`lora`) can be trained beside the weights of an architecture."""
    return family_of(architecture).adapters


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


def _check_tokenizer(who: str, architecture: Architecture, tokenizer: Any) -> None:
    """Refuses a tokenizer whose ids mean something else to the architecture, or nothing.

    A T5's config.json and its tokenizer agree on padding and EOS. Published decoder-only models
    differ: the tokenizer of an instructed one ends a turn, where the model ends a text. What an
    encoder was padded with does not matter.
    """
    highest = _highest_id(tokenizer)
    if highest >= architecture.vocab_size:
        raise InputError(
            f'--config.{who}.pretrained: its embedding has {architecture.vocab_size} rows, and the '
            f'tokenizer has ids up to {highest}; name the tokenizer that belongs to it by '
            '--config.student.tokenizer.'
        )
    theirs = (architecture.pad_id, architecture.eos_id)
    ours = (tokenizer.pad_token_id, tokenizer.eos_token_id)
    starts_apart = not family_of(architecture).continues_prompt
    if who == 'student' and starts_apart and theirs != ours:
        raise InputError(
            f'--config.{who}.pretrained: its config.json has pad_token_id {theirs[0]} and '
            f'eos_token_id {theirs[1]}, the tokenizer has {ours[0]} ({tokenizer.pad_token!r}) and '
            f'{ours[1]} ({tokenizer.eos_token!r}); name the tokenizer that belongs to it by '
            '--config.student.tokenizer, or correct the file that is wrong.'
        )


def _highest_id(tokenizer: Any) -> int:
    return max(tokenizer.get_vocab().values())


def _ids(family: Family, tokenizer: Any) -> dict[str, int]:
    """Returns the ids of a tokenizer that are fields of an architecture of this family."""
    ids = {'pad_id': tokenizer.pad_token_id, 'eos_id': tokenizer.eos_token_id}
    if family.continues_prompt:
        ids['start_id'] = answer_start(tokenizer)
    return ids
