"""Questions decoded together, in fewer and fewer rows, are answered as each is by the sampler."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax import sampling
from qcrd_jax.evaluation import decoding
from qcrd_jax.models import DecoderStudent, T5Config, T5Student
from tests.support import small

COUNT, SOURCE, LENGTH = 11, 20, 23
CONFIG = T5Config(
    vocab_size=9, d_model=16, d_kv=4, d_ff=24, num_heads=3, encoder_layers=1, decoder_layers=1
)
T5 = T5Student(CONFIG)
STUDENTS = {'t5': T5, 'decoder': DecoderStudent(small.decoder('qwen2', vocab_size=9, num_layers=1))}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Numbers so small that a few questions go through all that many do."""
    for name, number in {'ENCODED': 4, 'FEWEST': 4, 'SHORTEST': 8}.items():
        monkeypatch.setattr(decoding, name, number)


@functools.cache
def weights(name):
    initial = jax.jit(STUDENTS[name].init)(jax.random.key(3))
    return jax.tree.map(lambda leaf: leaf * 1.6, initial)


@pytest.fixture(params=STUDENTS)
def subject(request):
    """A student, and weights with which it ends some answers soon and others not at all."""
    return STUDENTS[request.param], weights(request.param)


def ask(student, temperature, seed=0):
    """Questions from the shortest to the longest, with numbers of their own."""
    rng = np.random.default_rng(seed)
    lengths = np.sort(rng.integers(1, SOURCE + 1, COUNT))
    prompts = rng.integers(3, student.vocab_size, (COUNT, SOURCE))
    prompts = np.where(np.arange(SOURCE) < lengths[:, None], prompts, student.pad_id)
    rows = rng.permutation(100)[:COUNT]
    return decoding.Asked(prompts.astype(np.int32), rows, jax.random.key(7), temperature)


@functools.partial(jax.jit, static_argnames=('student', 'temperature'))
def sampled(student, params, prompts, rows, key, temperature):
    context = student.encode(params, prompts, prompts != student.pad_id)
    keys = sampling.sequence_keys(key, rows, 1)
    return sampling.sample(
        student, params, context, keys, max_length=LENGTH, temperature=temperature
    ).ids[:, 0]


def decode(student, params, asked):
    return decoding.decode(student, params, decoding.cast_params(student, params), asked, LENGTH)


def record(monkeypatch, name):
    """Lets a function of the module report its arguments and its result."""
    calls, function = [], getattr(decoding, name)

    def recorded(*arguments):
        before = arguments[3].position.item() if name == '_run' else None
        result = function(*arguments)
        calls.append((arguments, before, result))
        return result

    monkeypatch.setattr(decoding, name, recorded)
    return calls


def test_ids_are_those_of_the_sampler(subject):
    student, params = subject
    for temperature in (0.0, 2.0):
        asked = ask(student, temperature)
        expected = np.asarray(sampled(student, params, *asked))
        np.testing.assert_array_equal(decode(student, params, asked), expected)
    assert len({*np.sum(expected != student.pad_id, axis=1).tolist()}) > 3
    # What is drawn for a question does not depend on those beside it.
    some = np.array([9, 2, 5])
    part = asked._replace(prompts=asked.prompts[some], rows=asked.rows[some])
    np.testing.assert_array_equal(decode(student, params, part), expected[some])


class Scripted(T5Student):
    """Ends each answer after as many tokens as its question's first token says."""

    def encode(self, params, tokens, mask, dropout=None):
        return tokens[:, 0]

    def cast_for_decoding(self, params):
        return params

    @property
    def cache_axes(self):
        return {'ends': 0, 'position': None}

    def start_decoding(self, params, context, num_rationales, max_length):
        return {'ends': context, 'position': jnp.int32(1)}

    def decode_step(self, params, cache, token):
        token = jnp.where(cache['position'] == cache['ends'], self.eos_id, 5)
        logits = 10.0 * jax.nn.one_hot(token, self.vocab_size)[:, None]
        return logits, cache | {'position': cache['position'] + 1}

    def lengthen(self, params, cache, max_length):
        return cache


def test_rows_that_are_done_are_left_out(monkeypatch):
    ends = np.array([3, 1, 20, 3, 9, 5, 50, 3, 4, 3, 3])
    monkeypatch.setattr(decoding, 'FEWEST', 2)
    monkeypatch.setattr(decoding, 'SHORTEST', 4)
    runs = record(monkeypatch, '_run')
    asked = decoding.Asked(ends[:, None].astype(np.int32), np.arange(11), jax.random.key(0))
    ids = decoding.decode(Scripted(CONFIG), {}, {}, asked, 25)
    shapes = [
        (*rows.ids.shape, rows.position.item() - before) for _, before, (rows, _) in runs
    ]  # rows, length of the buffers, tokens decoded
    assert shapes == [
        (12, 4, 3),  # twelve, until at most eight are left: five are
        (8, 4, 1),  # the buffers are full; four are left
        (4, 8, 4),  # one is done after 5 tokens, the buffers are full
        (4, 16, 1),  # another after 9, which leaves two
        (2, 16, 7),
        (2, 25, 9),
    ]
    expected = np.full((11, 25), CONFIG.pad_id)
    for row, end in enumerate(ends):
        expected[row, :end] = 5
        expected[row, end - 1 : end] = CONFIG.eos_id
    np.testing.assert_array_equal(ids, expected)


def test_prompts_are_encoded_only_as_long_as_the_longest_of_a_few(monkeypatch):
    starts = record(monkeypatch, '_start')
    prompts = np.zeros((11, 30), np.int32)
    for row, length in enumerate([2, 3, 4, 5, 9, 9, 9, 15, 20, 29, 30]):
        prompts[row, :length] = 6
    decode(Scripted(CONFIG), {}, decoding.Asked(prompts, np.arange(11), jax.random.key(0)))
    assert [arguments[4].shape for arguments, *_ in starts] == [(4, 8), (4, 16), (4, 30)]


def test_all_temperatures_share_one_program(monkeypatch):
    monkeypatch.setattr(decoding, 'SHORTEST', LENGTH)  # one length, and
    monkeypatch.setattr(decoding, 'FEWEST', 16)  # one number of rows
    params, count = weights('t5'), decoding._run._cache_size()
    for temperature in (0.0, 0.7, 1.5):
        decode(T5, params, ask(T5, temperature))
    assert decoding._run._cache_size() == count + 1


@pytest.mark.parametrize(('temperature', 'length'), [(-1.0, 4), (1.0, 0)])
def test_bad_options_are_refused(temperature, length):
    asked = ask(T5, temperature)
    with pytest.raises(ValueError, match='expected'):
        decoding.decode(T5, {}, {}, asked, length)
