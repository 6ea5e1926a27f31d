"""Scores that are read off texts, by the gold answer or as somebody gave them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax import files, modes
from qcrd_jax.data import batches
from qcrd_jax.data.corpus import Corpus
from qcrd_jax.data.encoding import Encoding, encode
from qcrd_jax.data.lengths import measure_lengths
from qcrd_jax.data.schema import Example, TeacherSample
from qcrd_jax.data.sources import raw_samples
from qcrd_jax.data.tokenizer import train_tokenizer
from qcrd_jax.errors import InputError
from qcrd_jax.methods import optimizers
from qcrd_jax.methods.host_scores import HostScores
from qcrd_jax.methods.objectives import Contrast
from qcrd_jax.methods.qcrd import Qcrd
from qcrd_jax.runs import text_scores
from tests.support import toys
from tests.support.runs import read_metrics
from tests.support.small_grid import small_run
from tests.support.toy_student import use_toy_students
from tests.support.toys import KEY, SAMPLING, STILL, B, make_batch, make_state

PREFIXES = ('predict: ', 'explain: ')


def sample(rationale, answer, score=None):
    return TeacherSample(rationale, rationale, answer, 't', score)


EXAMPLES = (
    Example('0', 'Add 3 and 4.', '( 3 + 4 )', (
        sample('3 + 4 = 7', '7', 0.75), sample('3 + 4 = 8', '8', 0.25),
        sample('so 7 = 3 + 4', '7', 0.5),
    )),
    Example('1', 'Take 2 from 9.', '( 9 - 2 )', (
        sample('9 - 2 = 7 , for 9 is 2 more than 7', '7', 1.0), sample('2 - 9 = -7', '-7', 0.0),
    )),
)  # fmt: skip


def make_corpus(examples=EXAMPLES, cap=64):
    texts = [text for each in EXAMPLES for text in (each.input, *(s.text for s in each.samples))]
    tokenizer = train_tokenizer(texts, required=PREFIXES)
    encoded = encode(examples, tokenizer, Encoding(PREFIXES, 'equation'))
    caps = {'source': 64, 'label': 64, 'rationale': cap}
    lengths, _ = measure_lengths({'train': encoded}, caps, 1)
    return Corpus({'train': examples}, {'train': encoded}, tokenizer, lengths, [], 'equation')


def scores_of(function, corpus, order=(1, 0)):
    batch = batches.collate(corpus.encoded['train'], corpus.lengths, order)
    scores = HostScores(function)
    return [
        np.asarray(jax.jit(scores.of)(batch, batch[f'{kind}_ids']))
        for kind in ('positive', 'negative')
    ]


def test_the_gold_answer_scores_where_a_rationale_arrives():
    corpus = make_corpus()
    positive, negative = scores_of(text_scores.GoldScores(corpus), corpus)
    np.testing.assert_array_equal(negative[:, 0], [0, 0])
    assert positive[1, 0] == 1  # 3 + 4 = 7
    assert not positive[0, 1:].any()  # padding
    # The teacher's majority is wrong of this one, and so is its positive.
    other = dataclasses.replace(EXAMPLES[0], label='8')
    corpus = make_corpus((other, EXAMPLES[1]))
    positive, negative = scores_of(text_scores.GoldScores(corpus), corpus)
    assert positive[1, 0] == 0 and negative[1, 0] == 1


def test_given_scores_follow_their_rationales_also_where_they_are_cut():
    corpus = make_corpus()
    positive, negative = scores_of(text_scores.GivenScores(corpus, 5), corpus)
    assert (positive[:, 0].tolist(), negative[:, 0].tolist()) == ([1, 0.75], [0, 0.25])
    corpus = make_corpus(cap=6)  # less than the second question's positive has
    assert corpus.encoded['train'].positives[1][0].size > 6
    positive, _ = scores_of(text_scores.GivenScores(corpus, 5), corpus)
    assert positive[0, 0] == 1
    batch = batches.collate(corpus.encoded['train'], corpus.lengths, [0])
    unseen = HostScores(text_scores.GivenScores(corpus, 5)).of(
        batch, jnp.asarray(batch['explain_ids'])[:, None]
    )
    assert not np.asarray(unseen).any()  # of what no teacher wrote


@pytest.mark.parametrize(
    ('score', 'message'),
    [(None, 'got none for 1 of 5'), (1.5, r'from 0 to 1, for they are weights, got 1.5')],
)
def test_scores_that_are_no_weights_are_refused(score, message):
    first = dataclasses.replace(EXAMPLES[0].samples[0], score=score)
    samples = (first, *EXAMPLES[0].samples[1:])
    examples = (dataclasses.replace(EXAMPLES[0], samples=samples), EXAMPLES[1])
    with pytest.raises(InputError, match=message):
        text_scores.GivenScores(make_corpus(examples), 5)


def test_a_score_is_read_beside_its_answer(tmp_path):
    path = tmp_path / 'samples.jsonl'
    record = {'id': 'q', 'input': '3 and 4?', 'label': '7', 'teacher': 't', 'text': '3 + 4 = 7'}
    given = [record | {'sample': n, 'score': score} for n, score in enumerate((0.5, None, 1))]
    files.write_jsonl(path, given)
    (example,) = raw_samples.QuestionFile(path, 'equation').splits()['train']
    assert [each.score for each in example.samples] == [0.5, None, 1.0]
    for bad in ('0.5', True, [1]):
        files.write_jsonl(path, [record | {'score': bad}])
        with pytest.raises(InputError, match=r"line 1: field 'score': expected a finite number"):
            raw_samples.QuestionFile(path, 'equation')


def step_with(scores, parts=1, discriminator=None):
    method = Qcrd(
        STILL, optimizers.adamw(1e-2), Contrast(margin=9.0), SAMPLING, discriminator,
        scores=scores, parts=parts,
    )  # fmt: skip
    initial = toys.make_initial()
    batch = make_batch(2) | {'example_index': np.arange(10, 10 + B, dtype=np.int32)}
    state = make_state(initial, method.optimizer)
    return method, state, batch, toys.stepped(method)(state, initial[0], batch, KEY)[1]


def test_scores_weigh_what_is_learned():
    asked = []

    def by_place(value):
        def function(places, ids):
            asked.append(places.tolist())
            return np.full(ids.shape[:2], value, np.float32)

        return HostScores(function)

    *_, plain = step_with(None)
    *_, zero = step_with(by_place(0.0))
    *_, half = step_with(by_place(0.5))
    *_, cut = step_with(by_place(0.5), parts=2)
    assert asked[0] == [10, 11, 12, 13]
    assert sorted(map(len, asked)) == [2, 2, 4, 4]
    loss = {name: float(m['loss'][0]) for name, m in
            {'plain': plain, 'zero': zero, 'half': half, 'cut': cut}.items()}  # fmt: skip
    # Plain has weight 1 on both sides, so half a score leaves half of both.
    prediction = float(plain['prediction_loss'][0])
    contrast = (loss['plain'] - 0.5 * prediction) / 0.5
    assert loss['half'] == pytest.approx(0.5 * prediction + 0.5 * contrast / 2, rel=1e-5)
    assert loss['cut'] == pytest.approx(loss['half'], rel=1e-5)
    assert float(half['positive_score'][0]) / float(half['positive_score'][1]) == 0.5
    # A score of 0 leaves the negatives alone, with their whole weight.
    assert loss['zero'] < loss['half']


def test_several_seeds_ask_for_their_own_questions():
    def place_over_hundred(places, ids):
        return np.repeat(places[:, None] / 100, ids.shape[1], axis=1)

    scores = HostScores(place_over_hundred)
    places = jnp.arange(8).reshape(2, 4)
    found = jax.jit(jax.vmap(lambda places, ids: scores.of({'example_index': places}, ids)))(
        places, jnp.ones((2, 4, 3, 5), jnp.int32)
    )
    np.testing.assert_allclose(found, np.repeat(np.arange(8).reshape(2, 4, 1) / 100, 3, axis=2))


@pytest.mark.parametrize('method', ['qcrd', 'advdistill'])
def test_a_run_needs_no_discriminator_for_the_gold_answers_scores(tmp_path, monkeypatch, method):
    use_toy_students(monkeypatch)
    config = small_run()
    config.method, config.discriminator.scores = method, 'gold'
    modes.run('train', config, tmp_path)
    summary = files.read_json(tmp_path / 'summary.json')
    assert summary['discriminator_auc'] is None and summary['pretraining_seconds'] is None
    (logged,) = read_metrics(tmp_path, 'train')
    if method == 'qcrd':
        assert logged['positive_score'] > 0.5 > logged['negative_score'] == 0
