"""The sampler against exact probabilities, plain loops, and itself in other company."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from qcrd_jax import sampling
from qcrd_jax.models import T5Config, T5Context, T5Student

CONFIG = T5Config(
    vocab_size=9, d_model=16, d_kv=4, d_ff=24, num_heads=3, encoder_layers=1, decoder_layers=2
)
STUDENT = T5Student(CONFIG)
QUESTIONS = jnp.array([[3, 4, 1, 0, 0], [5, 6, 7, 8, 1], [8, 1, 0, 0, 0]], jnp.int32)


@pytest.fixture(scope='module')
def params():
    # Weights larger than at initialisation: distributions far from uniform, but not peaked.
    return jax.tree.map(lambda leaf: leaf * 1.6, jax.jit(STUDENT.init)(jax.random.key(3)))


@jax.jit
def encode(params, questions):
    return STUDENT.encode(params, questions, questions != 0)


@functools.partial(jax.jit, static_argnames=('max_length', 'temperature'))
def draw(params, questions, keys, max_length, temperature):
    return sampling.sample(
        STUDENT,
        params,
        encode(params, questions),
        keys,
        max_length=max_length,
        temperature=temperature,
    )


@functools.partial(jax.jit, static_argnames=('max_length', 'temperature'))
def draw_each(params, questions, keys, max_length, temperature):
    return sampling.sample_each(
        STUDENT,
        params,
        jax.vmap(encode, in_axes=(0, None))(params, questions),
        keys,
        max_length=max_length,
        temperature=temperature,
    )


decode = jax.jit(STUDENT.decode)


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_sampled_pairs_follow_the_exact_softmax(params):
    # Every sequence of two tokens has a known probability: softmax(logits / T) over all tokens but
    # padding (id 0), twice, from the teacher-forced pass; after EOS (id 1) nothing follows.
    # Chi-square over all sequences.
    count, temperature = 4000, 1.5
    keys = sampling.sequence_keys(jax.random.key(0), jnp.arange(2), count)
    samples = draw(params, QUESTIONS[:2], keys, max_length=2, temperature=temperature)
    v = CONFIG.vocab_size
    targets = jnp.broadcast_to(jnp.arange(v)[None, :, None], (2, v, 2)).astype(jnp.int32)
    logits = decode(params, encode(params, QUESTIONS[:2]), targets)
    for question in range(2):
        allowed = np.where(np.arange(v) == 0, -np.inf, np.asarray(logits[question]))
        first = np.exp(log_softmax(allowed[0, 0] / temperature))
        second = np.exp(log_softmax(allowed[:, 1] / temperature))
        expected = first[:, None] * second
        expected[1] = 0.0
        expected[1, 0] = first[1]  # EOS, then padding
        ids = np.asarray(samples.ids[question])
        observed = np.zeros((v, v))
        np.add.at(observed, (ids[:, 0], ids[:, 1]), 1)
        assert observed[expected == 0].sum() == 0
        common = expected * count >= 5  # the rest goes into one cell, as the test requires
        cells = [np.append(x[common], x[~common].sum()) for x in (observed, expected * count)]
        assert stats.chisquare(*cells).pvalue > 1e-3
        # The same counts are not those of another temperature: the test has power.
        cold = np.exp(log_softmax(allowed[0, 0]))[1:]
        assert stats.chisquare(observed.sum(1)[1:], cold * count).pvalue < 1e-6


def test_log_probs_are_those_before_temperature(params):
    keys = sampling.sequence_keys(jax.random.key(1), jnp.arange(3), 4)
    samples = draw(params, QUESTIONS, keys, max_length=6, temperature=1.5)
    logits = decode(params, encode(params, QUESTIONS), samples.ids)
    exact = np.take_along_axis(log_softmax(logits), np.asarray(samples.ids)[..., None], -1)[..., 0]
    mask = np.asarray(samples.mask)
    assert 0 < mask.sum() < mask.size  # lengths differ
    np.testing.assert_allclose(np.asarray(samples.log_probs)[mask], exact[mask], atol=1e-4)
    np.testing.assert_array_equal(np.asarray(samples.log_probs)[~mask], 0.0)


def test_a_sequence_ends_with_its_eos(params):
    keys = sampling.sequence_keys(jax.random.key(2), jnp.arange(3), 16)
    samples = draw(params, QUESTIONS, keys, max_length=8, temperature=2.0)
    for ids, mask in zip(
        np.asarray(samples.ids).reshape(-1, 8), np.asarray(samples.mask).reshape(-1, 8), strict=True
    ):
        ends = np.flatnonzero(ids == 1)
        length = ends[0] + 1 if ends.size else 8
        np.testing.assert_array_equal(mask, np.arange(8) < length)
        np.testing.assert_array_equal(ids[length:], 0)


def test_temperature_zero_is_greedy(params):
    keys = sampling.sequence_keys(jax.random.key(4), jnp.arange(3), 1)
    samples = draw(params, QUESTIONS, keys, max_length=7, temperature=0.0)
    for row in range(3):  # one question at a time, the whole prefix decoded anew for every token
        context = encode(params, QUESTIONS[row : row + 1])
        ids = []
        while len(ids) < 7 and 1 not in ids:
            targets = jnp.array([[[*ids, *[0] * (7 - len(ids))]]], jnp.int32)
            ids.append(int(decode(params, context, targets)[0, 0, len(ids)].argmax()))
        np.testing.assert_array_equal(samples.ids[row, 0, : len(ids)], ids)


def test_a_draw_depends_only_on_its_own_key(params):
    # Neither on the other questions, nor on how many sequences there are, nor on padding.
    keys = sampling.sequence_keys(jax.random.key(5), jnp.arange(3), 3)
    together = draw(params, QUESTIONS, keys, max_length=6, temperature=1.0)
    for row in range(3):
        real = QUESTIONS[row][QUESTIONS[row] != 0][None]
        single = draw(params, real, keys[row : row + 1, 1:2], max_length=6, temperature=1.0)
        np.testing.assert_array_equal(single.ids[0, 0], together.ids[row, 1])


def test_students_sampled_together_draw_what_each_draws_by_itself(params):
    students = [params, jax.tree.map(lambda leaf: leaf * 0.7, params)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *students)
    keys = jnp.stack(
        [sampling.sequence_keys(jax.random.key(i), jnp.arange(3), 4) for i in range(2)]
    )
    together = draw_each(stacked, QUESTIONS, keys, max_length=6, temperature=1.5)
    for i, student in enumerate(students):
        single = draw(student, QUESTIONS, keys[i], max_length=6, temperature=1.5)
        np.testing.assert_array_equal(together.ids[i], single.ids)
        np.testing.assert_array_equal(together.mask[i], single.mask)


@dataclasses.dataclass(frozen=True)
class ScriptedStudent(T5Student):
    """Writes a script, one row of tokens per question, and reports its steps."""

    script: tuple[tuple[int, ...], ...] = ()
    report: Callable[..., None] = print

    def cast_for_decoding(self, params):
        return params

    def start_decoding(self, params, context, num_rationales, max_length):
        return jnp.int32(0)

    def decode_step(self, params, cache, token):
        jax.debug.callback(self.report, cache)
        column = jnp.asarray(self.script)[:, cache]
        return jax.nn.one_hot(column, self.vocab_size)[:, None] * 10.0, cache + 1


@pytest.mark.parametrize(('stop', 'steps'), [(True, 3), (False, 6)])
def test_the_loop_ends_when_every_row_has_its_eos(stop, steps):
    calls = []
    script = ((1, 2, 2, 2, 2, 2), (3, 4, 1, 2, 2, 2))
    student = ScriptedStudent(CONFIG, script=script, report=calls.append)
    keys = sampling.sequence_keys(jax.random.key(0), jnp.arange(2), 1)
    context = T5Context(jnp.zeros((2, 1, 1)), jnp.ones((2, 1), bool))
    result = sampling.sample(
        student, {}, context, keys, max_length=6, temperature=0.0, stop_at_eos=stop
    )
    jax.effects_barrier()
    assert len(calls) == steps
    expected = [[1, 0, 0, 0, 0, 0], [3, 4, 1, 0, 0, 0]] if stop else script
    np.testing.assert_array_equal(result.ids[:, 0], expected)


@dataclasses.dataclass(frozen=True)
class Padding(ScriptedStudent):
    """Nearly always wants to write padding."""

    def decode_step(self, params, cache, token):
        scores = jnp.array([9.0, 0.0, 2.0, 1.0, 0.0])
        return jnp.broadcast_to(scores, (len(self.script), 1, 5)), cache + 1


def test_padding_is_never_drawn():
    student = Padding(dataclasses.replace(CONFIG, vocab_size=5), script=((),) * 400)
    keys = sampling.sequence_keys(jax.random.key(1), jnp.arange(400), 1)
    context = T5Context(jnp.zeros((400, 1, 1)), jnp.ones((400, 1), bool))
    ids = {}
    for temperature in (0.0, 1.0):
        how = {'max_length': 8, 'temperature': temperature, 'stop_at_eos': False}
        ids[temperature], log_probs, _ = sampling.sample(student, {}, context, keys, **how)
    np.testing.assert_array_equal(ids[0.0], 2)
    # The rest is drawn as if padding did not exist; log-probabilities are the student's own.
    drawn, counts = np.unique(ids[1.0], return_counts=True)
    weights = np.exp([0.0, 2.0, 1.0, 0.0])
    assert drawn.tolist() == [1, 2, 3, 4]
    assert stats.chisquare(counts, counts.sum() * weights / weights.sum()).pvalue > 1e-3
    own = np.array([9.0, 0.0, 2.0, 1.0, 0.0]) - np.log(np.exp(9) + weights.sum())
    np.testing.assert_allclose(log_probs, own[ids[1.0]], rtol=1e-5)


@pytest.mark.parametrize('options', [{'temperature': -1.0}, {'max_length': 0}])
def test_bad_options_are_refused(params, options):
    keys = sampling.sequence_keys(jax.random.key(0), jnp.arange(3), 1)
    with pytest.raises(ValueError, match='expected'):
        draw(params, QUESTIONS, keys, **({'max_length': 2, 'temperature': 1.0} | options))


def test_one_key_serves_all_questions(params):
    samples = sampling.generate(
        STUDENT, params, QUESTIONS, jax.random.key(5), max_length=4, temperature=1.3, count=2
    )
    keys = sampling.sequence_keys(jax.random.key(5), jnp.arange(3), 2)
    expected = draw(params, QUESTIONS, keys, 4, 1.3)
    np.testing.assert_array_equal(samples.ids, expected.ids)
    assert samples.ids.shape == (3, 2, 4)
    greedy = sampling.generate(STUDENT, params, QUESTIONS, jax.random.key(5), max_length=4)
    np.testing.assert_array_equal(greedy.ids, draw(params, QUESTIONS, keys[:, :1], 4, 0.0).ids)


def test_a_limit_cuts_a_question_and_changes_nothing_before_it(params):
    keys = sampling.sequence_keys(jax.random.key(5), jnp.arange(3), 4)
    contexts, limits = encode(params, QUESTIONS), jnp.array([1, 3, 9])
    decode = functools.partial(
        sampling.sample, STUDENT, params, contexts, keys, max_length=6, temperature=1.5
    )
    free, cut = jax.jit(decode)(), jax.jit(lambda: decode(limits=limits))()
    for question, limit in enumerate((1, 3, 6)):
        for whole, part in zip(free, cut, strict=True):
            np.testing.assert_array_equal(part[question, :, :limit], whole[question, :, :limit])
            assert not np.any(part[question, :, limit:])
    assert np.any(free.mask[0, :, 1:]) and np.any(free.mask[1, :, 3:])  # or nothing was cut
