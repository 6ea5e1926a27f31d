"""The floor of a step: what is counted by hand, and what XLA counts, are the same operations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax.models import architectures, parameter_count
from qcrd_jax.models.t5.config import T5Config
from tests.support import REPOSITORY

# One layer each, for XLA counts the body of a loop once.
T5 = T5Config(
    vocab_size=512,
    d_model=128,
    d_kv=32,
    d_ff=384,
    num_heads=4,
    encoder_layers=1,
    decoder_layers=1,
)
# By hand, per layer: 4 matrices of 128 x 128 to read, 6 to decode, 2 of 128 x 384.
READING = 4 * 128**2 + 2 * 128 * 384
DECODING = 6 * 128**2 + 2 * 128 * 384 + 128 * 512
B, S, R, T = 2, 16, 3, 8


@pytest.fixture
def floor(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY)
    import benchmarks.floor

    return benchmarks.floor


def test_operations_of_t5_by_hand(floor):
    questions, targets = np.full(B, S), [np.full(R, T)] * B
    assert floor.reading_weights(T5) == READING
    assert floor.decoding_weights(T5) == DECODING
    # Two operations per weight and token; scores and sums over values, 4 x 128 per pair of tokens.
    assert floor.reading(T5, questions) == B * S * (2 * READING + 4 * 128 * S)
    tokens, pairs = B * R * T, B * R * (T * S + T * (T + 1) / 2)
    keys_and_values = B * S * 2 * (2 * 128**2)
    assert floor.decoding(T5, questions, targets) == (
        tokens * 2 * DECODING + 4 * 128 * pairs + keys_and_values
    )


@pytest.mark.parametrize('what', ['reading', 'decoding'])
def test_xla_counts_as_many_operations(floor, what):
    """It counts norms, softmax and masked pairs too, a few in a hundred at this width."""
    student = architectures.student_of(T5, jnp.float32)
    params = jax.eval_shape(student.init, jax.random.key(0))
    ids, targets = jnp.ones((B, S), jnp.int32), jnp.ones((B, R, T), jnp.int32)

    def encode(params):
        return student.encode(params, ids, ids != 0)

    questions = np.full(B, S)
    expected = floor.reading(T5, questions)
    function, arguments = encode, (params,)
    if what == 'decoding':
        expected = floor.decoding(T5, questions, [np.full(R, T)] * B)
        context = jax.eval_shape(encode, params)
        function, arguments = (lambda p, c: student.decode(p, c, targets)), (params, context)
    counted = jax.jit(function).lower(*arguments).cost_analysis()['flops']
    np.testing.assert_allclose(counted, expected, rtol=0.1)


@pytest.mark.parametrize(
    ('size', 'version'),
    [('base', 'v1.0'), ('small', 'v1.1'), ('135m', 'smollm2'), ('0.5b', 'qwen2.5')],
)
def test_parameters_are_those_of_the_student_but_for_norms_and_biases(floor, size, version):
    config = architectures.named(size, version)
    student = architectures.student_of(config, jnp.float32)
    real = parameter_count(jax.eval_shape(student.init, jax.random.key(0)))
    assert 0.999 * real < floor.parameters(config) <= real


def test_the_parts_of_a_step_by_hand(floor):
    n = 128 * 512 + READING + (8 * 128**2 + 2 * 128 * 384)
    counted = floor.Counted(
        questions=np.full(B, S),
        labels=[np.array([4])] * B,
        rationales=[np.full(R, T)] * B,
        contrasted=2 * B,
        prompts=2,
        samples=1,
        sampled=T,
        scored=2,
        judged=4,
        update_every=10,
    )
    student, optimizer, sampling, scores, discriminator = floor.parts(T5, counted, element=2)
    questions = np.full(B, S)
    compared = floor.decoding(T5, questions, [np.full(R, T)] * B)
    # Two of three rationales are learned from, and each learned operation is three.
    assert student.operations == pytest.approx(
        3 * 2 * floor.reading(T5, questions)
        + 3 * floor.decoding(T5, questions, [np.array([4])] * B)
        + compared * (1 + 2 * 2 / 3)
    )
    assert student.moved == n * (4 + 2 + 4)
    assert (optimizer.operations, optimizer.moved) == (0, n * 28)
    # Weights once a token, keys and values of two questions and of the tokens so far.
    cached = 2 * 128 * (B * S * T + B * T * (T + 1) / 2)
    assert sampling.moved == 2 * (DECODING * T + cached)
    joined = floor.reading(T5, np.full(B, S + T))
    assert (scores.operations, scores.moved) == (2 * joined, READING * 4)
    assert discriminator.operations == pytest.approx(3 * 4 * joined / 10)
    assert discriminator.moved == pytest.approx(READING * (10 + 28) / 10)


def test_a_part_takes_the_longer_of_computing_and_moving(floor):
    work = floor.Work('part', operations=6.0, moved=8.0)
    assert work.seconds(operations_per_second=2.0, bytes_per_second=4.0) == 3.0
    assert work.seconds(operations_per_second=6.0, bytes_per_second=4.0) == 2.0


def test_fine_tuning_reads_one_prompt_and_decodes_no_rationale(floor):
    questions, labels = np.full(B, S), [np.array([4])] * B
    counted = floor.Counted(questions, labels, [np.zeros(0, int)] * B, contrasted=0, prompts=1)
    student, optimizer = floor.parts(T5, counted, element=4)
    expected = 3 * (floor.reading(T5, questions) + floor.decoding(T5, questions, labels))
    assert (student.operations, optimizer.part) == (expected, 'optimizer')
