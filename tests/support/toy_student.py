"""A student of one matrix, which compiles in a moment: for tests of what is around a student."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from qcrd_jax.models import architectures, huggingface


@dataclasses.dataclass(frozen=True)
class ToyEncoder:
    """States are the embeddings of tokens."""

    config: Any  # T5Config, of which only ids and vocabulary are read
    width: int = 4

    @property
    def vocab_size(self):
        return self.config.vocab_size

    @property
    def pad_id(self):
        return self.config.pad_id

    @property
    def eos_id(self):
        return self.config.eos_id

    def init(self, key):
        return {'embedding': jax.random.normal(key, (self.vocab_size, self.width))}

    def take(self, params):
        return params

    remat = False
    compute_dtype = jnp.dtype('float32')

    def states(self, params, tokens, mask, dropout=None):
        return params['embedding'][tokens] * mask[..., None]


@dataclasses.dataclass(frozen=True)
class ToyStudent(ToyEncoder):
    """The next token is like the last one and like the question."""

    @property
    def encoder(self):
        return ToyEncoder(self.config)

    @property
    def start_id(self):
        return self.config.start_id

    @property
    def cache_axes(self):
        return 0

    @property
    def decoding_axes(self):
        return 0

    def encode(self, params, tokens, mask, dropout=None):
        total = jnp.sum(self.states(params, tokens, mask), axis=-2)  # [B, ..., D]
        return total / jnp.maximum(jnp.sum(mask, axis=-1, keepdims=True), 1)

    def decode_states(self, params, groups, dropout=None):
        return [self._states(params, *group) for group in groups]

    def head(self, params):
        return params['embedding']

    def narrowed(self, params, dtype):
        return jax.tree.map(lambda leaf: leaf.astype(dtype), params)

    def _states(self, params, context, targets):
        start = jnp.full_like(targets[..., :1], self.start_id)
        before = jnp.concatenate([start, targets[..., :-1]], axis=-1)
        return params['embedding'][before] + context[:, None, None]

    def decode(self, params, context, targets, dropout=None):
        return self._states(params, context, targets) @ params['embedding'].T

    def cast_for_decoding(self, params):
        return params

    def start_decoding(self, params, context, num_rationales, max_length):
        return context

    def decode_step(self, params, cache, token):
        states = params['embedding'][token] + cache[:, None]
        return states @ params['embedding'].T, cache

    def lengthen(self, params, cache, max_length):
        return cache


def use_toy_students(patch: pytest.MonkeyPatch) -> None:
    """Makes every student and every encoder a toy, and its export without weights."""

    def student(architecture, tokenizer, **_):
        return ToyStudent(_with_ids(architecture, tokenizer))

    def encoder(architecture, tokenizer, **_):
        return ToyEncoder(_with_ids(architecture, tokenizer))

    def save(folder, *_, texts, **__):
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        (pathlib.Path(folder) / 'model.safetensors').touch()
        for name, text in {'config.json': '{}', **texts}.items():
            (pathlib.Path(folder) / name).write_text(text)

    patch.setattr(architectures, 'student_for', student)
    patch.setattr(architectures, 'encoder_for', encoder)
    patch.setattr(huggingface, 'save_student', save)


def _with_ids(architecture, tokenizer):
    ids = {'pad_id': tokenizer.pad_token_id, 'eos_id': tokenizer.eos_token_id}
    return dataclasses.replace(architecture, **ids)
