"""Batches hold what the examples hold: nothing lost, nothing cut unseen, every example in turn."""

import dataclasses

import numpy as np
import pytest
from tokenizers import processors

from qcrd_jax.data import batches
from qcrd_jax.data.encoded import Encoded, Groups, Ragged
from qcrd_jax.data.encoding import Encoding, encode, with_negatives
from qcrd_jax.data.lengths import Lengths, measure_lengths
from qcrd_jax.data.schema import Example, TeacherSample
from qcrd_jax.data.sources import mwp
from qcrd_jax.data.tokenizer import train_tokenizer
from qcrd_jax.errors import InputError

PREFIXES = ('predict: ', 'explain: ')
ENCODING = Encoding(PREFIXES, 'equation')


def sample(rationale, answer):
    return TeacherSample(text=rationale, rationale=rationale, answer=answer, source='t')


EXAMPLES = (
    Example('0', 'One and 2?', '( 1 + 2 )', (sample('1 + 2 = 3', '3'), sample('1 - 2', '-1'))),
    Example('1', 'Two?', '2', ()),
    Example('2', 'Four?', '4', (sample('a', '4'), sample('b b', '4'), sample('c', '4'))),
)


@pytest.fixture(scope='module')
def tokenizer():
    texts = [e.input for e in EXAMPLES] + ['1 + 2 = 3', '1 - 2', 'a b b c']
    return train_tokenizer(texts, required=PREFIXES)


@pytest.fixture(scope='module')
def encoded(tokenizer):
    return encode(EXAMPLES, tokenizer, ENCODING)


def numbered(number):
    """A split whose example i has the question tokens [10 + i, EOS]."""
    ids = Ragged.of([np.array([10 + i, 1], np.int32) for i in range(number)])
    none = Groups.of([[]] * number)
    return Encoded(ids, ids, ids, ids, none, none, pad_id=0, eos_id=1)


SHAPE = Lengths(source=2, label=2, rationale=1, positives=1, negatives=1)


def text(tokenizer, ids):
    return tokenizer.decode(ids[ids != 0], skip_special_tokens=True)


def test_collated_rows_decode_to_the_examples(encoded, tokenizer):
    lengths = Lengths(source=16, label=12, rationale=12, positives=3, negatives=2)
    batch = batches.collate(encoded, lengths, [2, 0])
    assert text(tokenizer, batch['predict_ids'][1]) == 'predict: One and 2?'
    assert text(tokenizer, batch['explain_ids'][0]) == 'explain: Four?'
    assert text(tokenizer, batch['question_ids'][1]) == 'One and 2?'
    assert text(tokenizer, batch['label_ids'][1]) == '( 1 + 2 )'
    assert [text(tokenizer, ids) for ids in batch['positive_ids'][0]] == ['a', 'b b', 'c']
    assert [text(tokenizer, ids) for ids in batch['positive_ids'][1]] == ['1 + 2 = 3', '', '']
    assert [text(tokenizer, ids) for ids in batch['negative_ids'][1]] == ['1 - 2', '']
    np.testing.assert_array_equal(batch['positive_mask'], [[True] * 3, [True, False, False]])
    np.testing.assert_array_equal(batch['negative_mask'], [[False] * 2, [True, False]])
    np.testing.assert_array_equal(batch['example_index'], [2, 0])
    assert batch['example_mask'].all()
    for name, values in batch.items():
        assert values.dtype == (bool if name.endswith('mask') else np.int32), name
    for name in ('predict', 'explain', 'question', 'label'):
        for row in batch[f'{name}_ids']:
            real = row[row != 0]
            assert real[-1] == 1  # EOS
            np.testing.assert_array_equal(row[len(real) :], 0)  # padding only at the end


def test_the_first_k_samples_are_used(tokenizer):
    encoded = encode(EXAMPLES, tokenizer, dataclasses.replace(ENCODING, samples=1))
    assert [len(group) for group in encoded.positives] == [1, 0, 1]
    assert [len(group) for group in encoded.negatives] == [0, 0, 0]


def test_counts(encoded):
    assert encoded.counts() == {
        'examples': 3,
        'positives': 4,
        'negatives': 1,
        'without_positive': 1,
        'without_negative': 2,
        'without_label': 0,
    }


def test_eos_is_appended_where_the_tokenizer_does_not(encoded):
    tokenizer = train_tokenizer([e.input for e in EXAMPLES], required=PREFIXES)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single='$A')
    assert tokenizer('2')['input_ids'][-1] != tokenizer.eos_token_id
    bare = encode(EXAMPLES, tokenizer, ENCODING)
    for ids in (*bare.predict, *bare.explain, *bare.label, *bare.positives[2]):
        assert list(ids).count(1) == 1
        assert ids[-1] == 1


def test_lengths_hold_everything_and_are_rounded_up(encoded):
    caps = {'source': 100, 'label': 100, 'rationale': 100}
    lengths, cut = measure_lengths({'train': encoded}, caps, bucket=8)
    longest = max(len(ids) for ids in [*encoded.predict, *encoded.explain])
    assert lengths.source == -(-longest // 8) * 8
    assert (lengths.label, lengths.rationale) == (8, 8)  # 6 and 6 tokens
    assert (lengths.positives, lengths.negatives) == (3, 1)
    assert cut == []
    exact, _ = measure_lengths({'train': encoded}, caps, bucket=1)
    assert (exact.label, exact.rationale) == (6, 6)


def test_lengths_serve_all_splits():
    sequence = Ragged.of([np.array([5] * 9 + [1], np.int32)])
    none = Groups.of([[]])
    long = Encoded(sequence, sequence, sequence, sequence, none, none, pad_id=0, eos_id=1)
    caps = {'source': 100, 'label': 100, 'rationale': 100}
    lengths, _ = measure_lengths({'train': numbered(2), 'test': long}, caps, bucket=4)
    assert (lengths.source, lengths.label, lengths.rationale) == (12, 12, 4)
    assert (lengths.positives, lengths.negatives) == (1, 1)  # slots, though nothing fills them


def test_a_cap_cuts_counts_and_keeps_eos(encoded):
    caps = {'source': 100, 'label': 4, 'rationale': 3}
    lengths, cut = measure_lengths({'train': encoded}, caps, bucket=8)
    assert (lengths.label, lengths.rationale) == (4, 3)
    reported = {(c.field, c.cut, c.total, c.longest) for c in cut}
    assert reported == {('label', 1, 3, 6), ('positives', 1, 4, 6), ('negatives', 1, 1, 4)}
    assert str(cut[0]) == ('train: 1 of 3 label sequences are cut to 4 tokens (the longest has 6)')
    batch = batches.collate(encoded, lengths, [0])
    np.testing.assert_array_equal(batch['label_ids'][0], [*encoded.label[0][:3], 1])
    np.testing.assert_array_equal(batch['positive_ids'][0, 0], [*encoded.positives[0][0][:2], 1])


def test_every_epoch_visits_every_example_once_in_another_order():
    # Batches of 4 over 10 examples: epochs run across batch borders.
    stream = batches.training_batches(numbered(10), SHAPE, batch_size=4, seed=3)
    order = np.concatenate([stream[step]['example_index'] for step in range(10)])
    epochs = order.reshape(4, 10)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(10))
    assert len({tuple(epoch) for epoch in epochs}) == 4
    for step in range(10):
        np.testing.assert_array_equal(
            stream[step]['predict_ids'][:, 0], 10 + stream[step]['example_index']
        )


def test_batches_are_random_access_and_seeded():
    def stream(seed):
        return batches.training_batches(numbered(50), SHAPE, batch_size=8, seed=seed)

    backwards = [stream(0)[step]['example_index'] for step in reversed(range(20))]
    forwards = [stream(0)[step]['example_index'] for step in range(20)]
    np.testing.assert_array_equal(backwards[::-1], forwards)
    assert not np.array_equal(stream(0)[0]['example_index'], stream(1)[0]['example_index'])


def test_processes_read_their_own_rows_of_the_same_batch():
    def stream(own):
        split = numbered(11)
        return batches.training_batches(split, SHAPE, batch_size=4, seed=5, own=own)

    whole, parts = stream(None), [stream(slice(0, 1)), stream(slice(1, 4))]
    for step in range(4):
        first, second = (part.fitted(step) for part in parts)
        for name, rows in whole.fitted(step).items():
            for part in (first, second):
                assert part[name].shape == rows.shape and part[name].dtype == rows.dtype
            joined = np.concatenate([first[name][:1], second[name][1:]])
            np.testing.assert_array_equal(joined, rows)
        assert not first['predict_ids'][1:].any()


def test_fewer_examples_than_a_batch_still_fill_it():
    stream = batches.training_batches(numbered(3), SHAPE, batch_size=8, seed=0)
    counts = np.bincount(stream[0]['example_index'], minlength=3)
    assert sorted(counts) == [2, 3, 3]
    with pytest.raises(InputError, match='training split is empty'):
        batches.training_batches(numbered(0), SHAPE, batch_size=8, seed=0)


@pytest.mark.parametrize('number', [1, 7, 8, 9])
def test_evaluation_counts_every_example_once(number):
    stream = batches.evaluation_batches(numbered(number), SHAPE, batch_size=4)
    assert len(stream) == -(-number // 4)
    seen = np.concatenate([batch['example_index'][batch['example_mask']] for batch in stream])
    np.testing.assert_array_equal(seen, np.arange(number))
    assert all(batch['predict_ids'].shape == (4, 2) for batch in stream)


def test_take_and_with_negatives(encoded, tokenizer):
    taken = encoded.take([2, 0])
    assert len(taken) == 2
    np.testing.assert_array_equal(taken.label[1], encoded.label[0])
    assert [len(group) for group in taken.positives] == [3, 1]
    changed = with_negatives(encoded, tokenizer, [['a'], [], ['b', 'c']])
    assert [len(group) for group in changed.negatives] == [1, 0, 2]
    np.testing.assert_array_equal(changed.negatives[2][1], encoded.positives[2][2])
    assert changed.positives is encoded.positives


def test_fingerprint_changes_with_all_that_matters(encoded, tokenizer):
    lengths = Lengths(source=16, label=12, rationale=12, positives=3, negatives=2)

    def fingerprint(encoded=encoded, lengths=lengths, batch_size=4, seed=0):
        return batches.fingerprint(encoded, lengths, batch_size=batch_size, seed=seed)

    same = encode(EXAMPLES, tokenizer, ENCODING)
    assert fingerprint(same) == fingerprint()
    moved = with_negatives(encoded, tokenizer, [[], ['1 - 2'], []])
    others = [
        fingerprint(seed=1),
        fingerprint(batch_size=8),
        fingerprint(lengths=SHAPE),
        fingerprint(encoded.take([0, 2, 1])),
        fingerprint(encoded.take([0, 1])),
        fingerprint(moved),  # the same rationale, at another question
    ]
    assert len({fingerprint(), *others}) == 7


def test_a_word_problem_survives_the_whole_way():
    examples = mwp.generate(mwp.Settings(train=100, validation=1, test=1))['train']
    corpus = [t for e in examples for t in (e.input, e.label, *(s.rationale for s in e.samples))]
    tokenizer = train_tokenizer(corpus, required=PREFIXES)
    encoded = encode(examples, tokenizer, ENCODING)
    caps = {'source': 64, 'label': 64, 'rationale': 64}
    lengths, cut = measure_lengths({'train': encoded}, caps)
    assert not cut
    batch = batches.training_batches(encoded, lengths, batch_size=5, seed=0)[3]
    for row, index in enumerate(batch['example_index']):
        example = examples[index]
        assert text(tokenizer, batch['question_ids'][row]) == example.input
        assert text(tokenizer, batch['label_ids'][row]) == example.label
        rationales = [
            text(tokenizer, ids)
            for kind in ('positive', 'negative')
            for ids in batch[f'{kind}_ids'][row][batch[f'{kind}_mask'][row]]
        ]
        assert set(rationales) == {sample.rationale for sample in example.samples}
        assert len(rationales) <= 5
