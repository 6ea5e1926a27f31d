"""What a step must at least compute and move: the time below which no implementation can come.

Operations (a product and a sum are two) and bytes are counted from the architecture and from the
real tokens of a batch, part by part. A part takes at least the longer of its operations at the
device's rate and of its bytes at its bandwidth (`peaks`), and parts follow one another.

Of T5, per layer, with d = d_model, i = heads x d_kv, f = d_ff (three matrices where it is gated):

  encoder   4 d i + 2 d f weights per token; its attention 4 S i operations per token
  decoder   6 d i + 2 d f weights per target token (q, k, v, o; q and o for the question), 2 d i
            per question token (k and v, once for all its targets); its attention 4 S i and
            4 i (T + 1) / 2 operations per target token
  head      d V weights per target token

Of a decoder-only student 2 d (i + g) + 3 d f weights per token, g = kv heads x d_kv, and attention
to what precedes the token. A weight is two operations per token, and six where it is learned.

Bytes: parameters are read once forward (float32) and once backward (in the type of the products),
gradients are written once; AdamW reads gradient, parameter and two moments and writes the last
three, all float32. A sampled token reads the weights that decode it once, for all questions
together, and the keys and values so far. Nothing is counted for activations, nor for the ring: the
new parameters are written into its oldest slot. So a floor is a bound, and no prediction.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qcrd_jax.models.architectures import Architecture
from qcrd_jax.models.t5.config import T5Config

_FLOAT32 = 4
_ADAMW = 7 * _FLOAT32  # four numbers read and three written per parameter
_LEARNED = 3  # times the operations forward: gradients of the inputs and of the weights


class Work(NamedTuple):
    """A part of a step: operations that it must at least compute, bytes that it must move."""

    part: str
    operations: float
    moved: float

    def seconds(self, operations_per_second: float, bytes_per_second: float) -> float:
        """The longer of both."""
        return max(self.operations / operations_per_second, self.moved / bytes_per_second)


class Counted(NamedTuple):
    """The real tokens of a step; lists have an entry for each question.

    Attributes:
      questions: tokens of each.
      labels: tokens of each label, an array of one.
      rationales: tokens of each of its rationales that the student decodes, sampled ones too.
      contrasted: how many of those are learned from, of all questions together.
      prompts: for how many tasks each question is encoded.
      samples: sampled rationales per question.
      sampled: tokens that one has.
      scored: rationales per question that the discriminator scores.
      judged: rationales per question that its update learns from.
      update_every: steps from one update to the next; 0: never.
    """

    questions: np.ndarray
    labels: Sequence[np.ndarray]
    rationales: Sequence[np.ndarray]
    contrasted: int
    prompts: int
    samples: int = 0
    sampled: int = 0
    scored: float = 0
    judged: float = 0
    update_every: int = 0


def parts(config: Architecture, counted: Counted, element: int) -> list[Work]:
    """Returns the parts of one step.

    Args:
      config: of the student; the discriminator has the same size.
      counted: the tokens of the step.
      element: bytes of a number in the type of the products.
    """
    weights, judge = parameters(config), reading_weights(config)
    learned = _FLOAT32 + element + _FLOAT32
    found = [
        Work('student', _student_operations(config, counted), weights * learned),
        Work('optimizer', 0.0, weights * _ADAMW),
    ]
    if counted.samples:
        found.append(_sampling(config, counted, element))
    joined = _joined_operations(config, counted)
    if counted.scored:
        found.append(Work('scores', counted.scored * joined, judge * _FLOAT32))
    if counted.judged and (every := counted.update_every):
        operations, moved = _LEARNED * counted.judged * joined, judge * (learned + _ADAMW)
        found.append(Work('discriminator', operations / every, moved / every))
    return found


def _student_operations(config: Architecture, counted: Counted) -> float:
    """Both tasks are learned; of the rationales all are compared, and some are learned from."""
    operations = _LEARNED * counted.prompts * reading(config, counted.questions)
    operations += _LEARNED * decoding(config, counted.questions, counted.labels)
    if counted.prompts == 1:
        return operations
    share = counted.contrasted / max(sum(map(len, counted.rationales)), 1)
    compared = decoding(config, counted.questions, counted.rationales)
    return operations + compared * (1 + (_LEARNED - 1) * share)


def _sampling(config: Architecture, counted: Counted, element: int) -> Work:
    """The generator encodes the questions, then decodes token after token."""
    questions, tokens = counted.questions, counted.sampled
    targets = [np.full(counted.samples, tokens)] * len(questions)
    operations = reading(config, questions) + decoding(config, questions, targets)
    own = len(questions) * counted.samples * tokens * (tokens + 1) / 2
    cached = 2 * _key_width(config) * (float(questions.sum()) * tokens + own)
    return Work('sampling', operations, element * (decoding_weights(config) * tokens + cached))


def _joined_operations(config: Architecture, counted: Counted) -> float:
    """To read every question joined with one rationale, of their mean length."""
    lengths = np.concatenate([np.zeros(0), *counted.rationales])
    return reading(config, counted.questions + (lengths.mean() if lengths.size else 0))


# --- Architectures --------------------------------------------------------------------------------


def reading(config: Architecture, lengths: np.ndarray) -> float:
    """Operations to read sequences of these lengths, each by itself."""
    attended = lengths if isinstance(config, T5Config) else (lengths + 1) / 2
    attention = 4 * _inner(config) * _reading_layers(config) * attended
    return float(np.sum((2 * reading_weights(config) + attention) * lengths))


def decoding(config: Architecture, questions: np.ndarray, targets: Sequence[np.ndarray]) -> float:
    """Operations to decode the targets of each question, with the head."""
    layers, of_questions = _writing_layers(config), 0.0
    if isinstance(config, T5Config):
        of_questions = 2 * 2 * config.d_model * _inner(config) * layers * float(questions.sum())
    weights, attention = decoding_weights(config), 4 * _inner(config) * layers
    return of_questions + sum(
        float(np.sum((2 * weights + attention * (question + (lengths + 1) / 2)) * lengths))
        for question, lengths in zip(questions, targets, strict=True)
    )


def reading_weights(config: Architecture) -> int:
    """Weights that reading a token uses: the encoder's or the body's."""
    return _reading_layer(config) * _reading_layers(config)


def decoding_weights(config: Architecture) -> int:
    """Weights that decoding a token uses, the head's too."""
    layer = _reading_layer(config)
    if isinstance(config, T5Config):
        layer += 2 * config.d_model * _inner(config)
    return layer * _writing_layers(config) + config.d_model * config.vocab_size


def parameters(config: Architecture) -> int:
    """Numbers in the student's matrices: layers, embedding, head where it is not the embedding."""
    tables = (1 if config.tied_head else 2) * config.d_model * config.vocab_size
    total = reading_weights(config) + tables
    if isinstance(config, T5Config):
        layer = _reading_layer(config) + 4 * config.d_model * _inner(config)
        total += layer * config.decoder_layers
    return total


def _reading_layer(config: Architecture) -> int:
    d, inner = config.d_model, _inner(config)
    if isinstance(config, T5Config):
        return 4 * d * inner + (3 if config.gated else 2) * d * config.d_ff
    return 2 * d * (inner + config.num_kv_heads * config.d_kv) + 3 * d * config.d_ff


def _inner(config: Architecture) -> int:
    return config.num_heads * config.d_kv


def _reading_layers(config: Architecture) -> int:
    return config.encoder_layers if isinstance(config, T5Config) else config.num_layers


def _writing_layers(config: Architecture) -> int:
    return config.decoder_layers if isinstance(config, T5Config) else config.num_layers


def _key_width(config: Architecture) -> int:
    """Numbers in the keys of one token, of all layers."""
    heads = config.num_heads if isinstance(config, T5Config) else config.num_kv_heads
    return heads * config.d_kv * _writing_layers(config)
