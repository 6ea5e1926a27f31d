"""Labels, rationales and scores are the same in the smaller portions that memory holds."""

import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax import sampling
from qcrd_jax.errors import InputError, OutOfMemory, asked_for, is_exhaustion
from qcrd_jax.evaluation import decoding, scoring
from qcrd_jax.evaluation.answering import Answering
from qcrd_jax.evaluation.portions import Portions
from tests.support import toys

FULL = jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 3221225472 bytes.')


class Ids:
    """A tokenizer that shows the ids."""

    @staticmethod
    def batch_decode(ids, **_):
        return [' '.join(map(str, row)) for row in ids]


@pytest.fixture(scope='module')
def params():
    return toys.make_initial()


def batches(size, count=7):
    """The same questions in batches of a size; the last is filled up by rows of its last one."""
    rng = np.random.default_rng(3)
    prompts = rng.integers(3, toys.CONFIG.vocab_size, (count, toys.S)).astype(np.int32)
    made = []
    for start in range(0, count, size):
        index = np.minimum(np.arange(start, start + size), count - 1).astype(np.int32)
        made.append(
            {
                'predict_ids': prompts[index],
                'explain_ids': prompts[index],
                'example_mask': np.arange(start, start + size) < count,
                'example_index': index,
            }
        )
    return made


def ask(params):
    """Everything that is asked of a student, four questions together."""
    asked = Answering(toys.STUDENT, Ids(), label_length=5, rationale_length=6, together=4)
    written = [
        asked.labels(params, batches(4)),
        asked.rationales(params, batches(4)),
        asked.rationales(params, batches(4), 1.5),
        [ids.tolist() for _, ids in asked.rationale_ids(params, batches(4), 2.0, toys.KEY)],
    ]
    return written, asked.portions.most


@jax.jit
def sampled(params, prompts):
    """What the sampler draws for the questions, all at once and all as long as the longest."""
    context = toys.STUDENT.encode(params, prompts, prompts != 0)
    keys = sampling.sequence_keys(toys.KEY, jnp.arange(len(prompts)), 1)
    return sampling.sample(toys.STUDENT, params, context, keys, max_length=6, temperature=2.0).ids


def limit(monkeypatch, most):
    """Lets decoding run out of memory for more rows than `most`; returns how many were tried."""
    decode, tried = decoding.decode, []

    def limited(student, params, cast, asked, *others):
        tried.append(len(asked.rows))
        if tried[-1] > most:
            raise FULL
        return decode(student, params, cast, asked, *others)

    monkeypatch.setattr(decoding, 'decode', limited)
    return tried


@pytest.mark.parametrize(('most', 'sizes'), [(3, [4, 2]), (1, [4, 2, 1])])
def test_answers_are_the_same_in_portions(params, monkeypatch, caplog, most, sizes):
    whole, unlimited = ask(params[0])
    assert unlimited is None
    assert (
        len({each.text for each in whole[2]}) == 7
    )  # what is drawn differs from question to question
    tried = limit(monkeypatch, most)
    portions, size = ask(params[0])
    assert portions == whole
    assert size == sizes[-1]
    assert list(dict.fromkeys(tried)) == sizes  # so few shapes are compiled
    assert all(tried.count(failed) == 1 for failed in sizes[:-1])  # found once, and remembered
    assert caplog.text.count('memory ran out (3.0 GiB asked for)') == len(sizes) - 1


def test_answers_come_back_in_the_order_of_the_questions(params):
    sizes, rng = [7, 2, 5, 3, 6, 1, 4], np.random.default_rng(4)
    prompts = rng.integers(3, toys.CONFIG.vocab_size, (7, toys.S)).astype(np.int32)
    prompts = np.where(np.arange(toys.S) < np.array(sizes)[:, None], prompts, 0)
    asked = batches(4)
    for batch in asked:
        batch['explain_ids'] = prompts[batch['example_index']]
    asked[1]['explain_ids'] = asked[1]['explain_ids'][:, :6]  # a batch of its own length
    answering = Answering(toys.STUDENT, Ids(), label_length=5, rationale_length=6, together=3)
    written = list(answering.rationale_ids(params[0], asked, 2.0, toys.KEY))
    expected = sampled(params[0], jnp.asarray(prompts))
    for (batch, ids), given in zip(written, asked, strict=True):
        assert batch is given
        # Rows that fill up a batch have what the row has that they are copies of.
        np.testing.assert_array_equal(ids, expected[batch['example_index']])


def test_no_questions_have_no_answers(params):
    answering = Answering(toys.STUDENT, Ids(), label_length=5, rationale_length=6)
    assert answering.labels(params[0], []) == []


def test_a_rationale_is_as_long_as_it_is_and_ended_where_it_has_eos(params):
    asked = batches(4)
    answering = Answering(toys.STUDENT, Ids(), label_length=5, rationale_length=6)
    eos, found = toys.STUDENT.eos_id, set()
    for temperature in (0.0, 1.5, 5.0):
        for text, tokens, ended in answering.rationales(params[0], asked, temperature):
            ids = [int(word) for word in text.split()]
            assert ended == (eos in ids)
            assert tokens == (ids.index(eos) if ended else 6)
            found.add(ended)
    assert found == {True, False}


class Answers:
    """A tokenizer that reads any ids as the same text, of which it counts the words."""

    def batch_decode(self, ids, **_):
        return ['2 + 3 = 5 . The answer is ( 2 + 3 )' for _ in ids]

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens
        return {'input_ids': text.split()}


def test_a_label_and_a_rationale_of_one_text_are_decoded_once(params, monkeypatch):
    tried = limit(monkeypatch, 7)
    joint = Answering(
        toys.STUDENT, Answers(), label_length=5, rationale_length=6, joint=True, together=7
    )
    labels, written = joint.answers(params[0], batches(4))
    assert tried == [7]
    assert labels == ['( 2 + 3 )'] * 7
    assert {each[:2] for each in written} == {('2 + 3 = 5 .', 6)}  # its own part
    assert labels == joint.labels(params[0], batches(4))
    assert written == joint.rationales(params[0], batches(4))


def test_a_question_that_does_not_fit_by_itself_raises_what_was_raised(params, monkeypatch):
    limit(monkeypatch, 0)
    with pytest.raises(jax.errors.JaxRuntimeError, match='RESOURCE_EXHAUSTED'):
        ask(params[0])


@pytest.mark.parametrize(('most', 'expected'), [(5, [12, 6, 3]), (1, [12, 6, 3, 2, 1])])
def test_scores_are_the_same_in_portions(params, monkeypatch, most, expected):
    batch = toys.make_batch()
    question, rationales = batch['question_ids'], batch['positive_ids']
    whole = scoring.score(toys.DISCRIMINATOR, params[1], question, rationales)
    given, compute = [], scoring._score

    def limited(discriminator, place, params, question, rationales):
        given.append(rationales.shape[0] * rationales.shape[1])
        if given[-1] > most:
            raise FULL
        return compute(discriminator, place, params, question, rationales)

    monkeypatch.setattr(scoring, '_score', limited)
    portions = scoring.scored_portions()
    for _ in range(2):
        scores = scoring.score(toys.DISCRIMINATOR, params[1], question, rationales, portions)
        np.testing.assert_allclose(scores, whole, rtol=1e-5)
    assert list(dict.fromkeys(given)) == expected
    assert given.count(12) == 1


class TestPortions:
    """Of rows in general."""

    @staticmethod
    def square(rows):
        return rows**2

    @pytest.mark.parametrize('rows', [1, 2, 5, 8, 13])
    @pytest.mark.parametrize('most', [1, 2, 3, 8, 20])
    def test_every_row_is_computed_once_in_portions_of_one_size(self, rows, most):
        sizes = []

        def some(chosen):
            sizes.append(len(chosen))
            if len(chosen) > most:
                raise MemoryError
            return self.square(chosen)

        portions = Portions('numbers')
        for _ in range(2):
            sizes.clear()
            found = portions.compute(rows, lambda: some(np.arange(rows)), some)
            assert found.tolist() == [number**2 for number in range(rows)]
        assert len(set(sizes)) == 1  # the second time the size is known
        assert min(rows, most) >= sizes[0] > min(rows, most) / 2 - 1

    def test_another_error_is_none_of_its_business(self):
        def fail():
            raise RuntimeError('INTERNAL: no')

        with pytest.raises(RuntimeError, match='INTERNAL'):
            Portions('numbers').compute(4, fail, self.square)

    def test_what_failed_is_let_go_before_less_is_tried(self):
        class Buffers:
            pass

        references = []

        def whole():
            held = Buffers()
            references.append(weakref.ref(held))
            raise MemoryError

        def some(chosen):
            assert references[0]() is None
            return chosen

        assert Portions('numbers').compute(2, whole, some).tolist() == [0, 1]


def test_memory_that_ran_out_is_recognised():
    with pytest.raises(MemoryError) as numpy_error:
        np.zeros(2**55)
    with pytest.raises(jax.errors.JaxRuntimeError) as jax_error:
        jax.numpy.zeros(2**50).block_until_ready()
    for error, size in ((numpy_error.value, '256.0 PiB'), (jax_error.value, '4.0 PiB')):
        assert is_exhaustion(error)
        assert asked_for(error) == size
    wrapped = ValueError('could not save')
    wrapped.__cause__ = jax_error.value
    for error in (
        RuntimeError('INTERNAL: CUBLAS_STATUS_ALLOC_FAILED'),
        RuntimeError('INTERNAL: Failed to load in-memory CUBIN: CUDA_ERROR_OUT_OF_MEMORY'),
        OSError(12, 'Cannot allocate memory'),
        OutOfMemory('training'),
        wrapped,
    ):
        assert is_exhaustion(error)
    for error in (InputError('x'), OSError(28, 'No space left'), RuntimeError('INTERNAL: no')):
        assert not is_exhaustion(error)
