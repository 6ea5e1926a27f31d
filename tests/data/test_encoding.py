"""Splits kept on disk as token ids are the splits that were encoded."""

import dataclasses

import numpy as np
import pytest

from qcrd_jax.data import batches, encoding
from qcrd_jax.data.encoding import Encoding, encode, encode_once
from qcrd_jax.data.ragged import Groups, Ragged
from qcrd_jax.data.schema import Example, TeacherSample
from qcrd_jax.data.tokenizer import train_tokenizer

PREFIXES = ('predict: ', 'explain: ')
ENCODING = Encoding(PREFIXES, 'equation')


def sample(rationale, answer):
    return TeacherSample(text=rationale, rationale=rationale, answer=answer, source='t')


EXAMPLES = tuple(
    Example(
        str(i),
        f'What is {i} + 1?',
        f'( {i} + 1 )',
        tuple(sample(f'{i} + 1 = {i + 1 + slip}', str(i + 1 + slip)) for slip in slips),
    )
    for i, slips in enumerate([(0, 0, 1), (), (1, 0), (1, 0, 0), (2, 2, 0)])
)


@pytest.fixture(scope='module')
def tokenizer():
    return train_tokenizer([example.input for example in EXAMPLES], required=PREFIXES)


def same(left, right):
    """Whether two encoded splits hold the same ids."""
    lengths = batches.Lengths(source=4, label=4, rationale=4, positives=1, negatives=1)
    digests = {batches.fingerprint(split, lengths, batch_size=1, seed=0) for split in (left, right)}
    return len(digests) == 1 and left.counts() == right.counts()


def test_ragged_and_groups_by_hand():
    ragged = Ragged.of([np.array([5, 6], np.int32), np.array([], np.int32), np.array([7])])
    assert [ids.tolist() for ids in ragged] == [[5, 6], [], [7]]
    assert [ids.tolist() for ids in ragged.take(np.array([2, 0]))] == [[7], [5, 6]]
    groups = Groups.of([[np.array([1])], [], [np.array([2, 3]), np.array([4])]])
    assert [[ids.tolist() for ids in group] for group in groups] == [[[1]], [], [[2, 3], [4]]]
    taken = groups.take(np.array([2, 1, 0, 2]))
    assert [ids.tolist() for ids in taken.flat()] == [[2, 3], [4], [1], [2, 3], [4]]
    assert taken.sizes.tolist() == [2, 0, 1, 2]
    assert ragged[1:3][1].tolist() == [7]


def test_what_is_stored_part_by_part_is_what_was_encoded(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(encoding, '_PART', 2)
    stored = encode_once(EXAMPLES, tokenizer, ENCODING, cache=tmp_path, fingerprint='a')
    assert same(stored, encode(EXAMPLES, tokenizer, ENCODING))
    assert isinstance(stored.predict.items, np.memmap)
    assert len(list(tmp_path.iterdir())) == 1  # and no temporary folder


def test_a_split_is_tokenised_once(tmp_path, tokenizer, monkeypatch):
    first = encode_once(EXAMPLES, tokenizer, ENCODING, cache=tmp_path, fingerprint='a')
    monkeypatch.setattr(encoding, 'encode', None)  # calling it would raise
    again = encode_once(EXAMPLES, tokenizer, ENCODING, cache=tmp_path, fingerprint='a')
    assert same(first, again)


def test_whatever_changes_the_ids_is_another_entry(tmp_path, tokenizer):
    other = train_tokenizer(['something else'], required=PREFIXES)
    for fingerprint, arguments in (
        ('a', (tokenizer, ENCODING)),
        ('b', (tokenizer, ENCODING)),
        ('a', (other, ENCODING)),
        ('a', (tokenizer, dataclasses.replace(ENCODING, samples=1))),
        ('a', (tokenizer, dataclasses.replace(ENCODING, positives='gold'))),
        ('a', (tokenizer, dataclasses.replace(ENCODING, labels='teacher'))),
        ('a', (tokenizer, dataclasses.replace(ENCODING, prefixes=('p', 'e')))),
    ):
        stored = encode_once(EXAMPLES, *arguments, cache=tmp_path, fingerprint=fingerprint)
        assert same(stored, encode(EXAMPLES, *arguments))
    assert len(list(tmp_path.iterdir())) == 7


@pytest.mark.parametrize('damage', ['truncated', 'torn', 'missing', 'too few'])
def test_a_damaged_entry_is_made_again(tmp_path, tokenizer, damage):
    whole = encode(EXAMPLES, tokenizer, ENCODING)
    encode_once(EXAMPLES, tokenizer, ENCODING, cache=tmp_path, fingerprint='a')
    (folder,) = tmp_path.iterdir()
    if damage == 'truncated':
        (folder / 'label.ids').write_bytes((folder / 'label.ids').read_bytes()[:-4])
    elif damage == 'torn':
        (folder / 'label.ids').write_bytes((folder / 'label.ids').read_bytes()[:-1])
    elif damage == 'missing':
        (folder / 'positives.groups').unlink()
    else:  # whole, but of fewer examples
        sizes = np.fromfile(folder / 'label.sizes', np.int64)
        ids = np.fromfile(folder / 'label.ids', np.int32)
        ids[: -sizes[-1]].tofile(folder / 'label.ids')
        sizes[:-1].tofile(folder / 'label.sizes')
    mended = encode_once(EXAMPLES, tokenizer, ENCODING, cache=tmp_path, fingerprint='a')
    assert same(mended, whole)
    assert len(list(tmp_path.iterdir())) == 1


def test_labels_of_a_teacher_are_what_it_states(tokenizer):
    def labels(how):
        encoded = encode(EXAMPLES, tokenizer, dataclasses.replace(ENCODING, labels=how))
        return [tokenizer.decode(ids, skip_special_tokens=True) for ids in encoded.label]

    assert labels('gold') == ['( 0 + 1 )', '( 1 + 1 )', '( 2 + 1 )', '( 3 + 1 )', '( 4 + 1 )']
    assert labels('teacher') == ['1', '', '4', '5', '7']  # the first sample, right or wrong
    # A tie goes to the answer seen first; two of three slipped in the last.
    assert labels('self_consistency') == ['1', '', '4', '4', '7']


def test_a_missing_label_has_no_tokens_at_all(tokenizer):
    encoded = encode(EXAMPLES, tokenizer, dataclasses.replace(ENCODING, labels='teacher'))
    assert encoded.counts()['without_label'] == 1
    lengths = batches.Lengths(source=32, label=8, rationale=16, positives=2, negatives=2)
    batch = batches.collate(encoded, lengths, [1, 0])
    assert (batch['label_ids'][0] == tokenizer.pad_token_id).all()
    assert (batch['label_ids'][1] != tokenizer.pad_token_id).sum() == 2  # `1` and EOS


def test_single_task_puts_the_first_rationale_before_the_label(tokenizer):
    # The first rationale counts, right or wrong; without one there is only the answer.
    encoding = Encoding(PREFIXES, 'equation', positives='first', joint=True)
    encoded = encode(EXAMPLES, tokenizer, encoding)
    for example, ids in zip(EXAMPLES, encoded.label, strict=True):
        rationale = next((sample.rationale for sample in example.samples if sample.rationale), '')
        target = f'{rationale} The answer is {example.label}'.strip()
        assert ids.tolist() == tokenizer(target)['input_ids']
    plain = encode(EXAMPLES, tokenizer, dataclasses.replace(encoding, joint=False))
    assert [ids.tolist() for ids in plain.label] == [
        tokenizer(example.label)['input_ids'] for example in EXAMPLES
    ]
