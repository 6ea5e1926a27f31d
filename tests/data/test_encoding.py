"""Splits kept on disk as token ids are the splits that were encoded."""

import dataclasses
import os

import numpy as np
import pytest
import transformers
from absl import logging
from tokenizers import processors

from qcrd_jax import sums
from qcrd_jax.data import batches, encoding
from qcrd_jax.data.encoded import Groups, Ragged
from qcrd_jax.data.encoding import Encoding, encode, encode_once
from qcrd_jax.data.lengths import Lengths
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


def entries(cache):
    """The splits in a cache; anything else in it is a lock, which stays."""
    assert all(path.is_dir() or path.suffix == '.lock' for path in cache.iterdir())
    return [path for path in cache.iterdir() if path.is_dir()]


def same(left, right):
    """Whether two encoded splits hold the same ids."""
    lengths = Lengths(source=4, label=4, rationale=4, positives=1, negatives=1)
    digests = {batches.fingerprint(split, lengths, batch_size=1, seed=0) for split in (left, right)}
    return len(digests) == 1 and left.counts() == right.counts()


def test_a_target_has_no_bos_in_front_whatever_the_tokenizer_puts_before_a_text(tokenizer):
    # As Llama's and Mistral's do; an answer stands behind a prompt, which has one.
    backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    backend.add_special_tokens(['<s>'])
    bos = processors.TemplateProcessing(
        single='<s> $A', special_tokens=[('<s>', backend.token_to_id('<s>'))]
    )
    backend.post_processor = bos
    llama = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token='</s>', pad_token='<pad>', unk_token='<unk>'
    )
    encoded, plain = encode(EXAMPLES, llama, ENCODING), encode(EXAMPLES, tokenizer, ENCODING)
    bos_id, eos_id = backend.token_to_id('<s>'), tokenizer.eos_token_id
    for number in range(len(EXAMPLES)):
        assert encoded.predict[number].tolist() == [bos_id, *plain.predict[number].tolist()]
        assert encoded.label[number].tolist() == plain.label[number].tolist()
        assert encoded.label[number].tolist().count(eos_id) == 1
    for groups in ('positives', 'negatives'):
        ours, theirs = (getattr(split, groups).items for split in (encoded, plain))
        assert [ids.tolist() for ids in ours] == [ids.tolist() for ids in theirs]


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
    assert len(entries(tmp_path)) == 1


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
    assert len(entries(tmp_path)) == 7


def _bit(path, number):
    data = bytearray(path.read_bytes())
    data[number % len(data)] ^= 1 << number % 8
    path.write_bytes(data)


def _fewer(folder):
    """Whole, but of fewer examples."""
    sizes = np.fromfile(folder / 'label.sizes', np.int64)
    ids = np.fromfile(folder / 'label.ids', np.int32)
    ids[: -sizes[-1]].tofile(folder / 'label.ids')
    sizes[:-1].tofile(folder / 'label.sizes')


def _set(folder, name, place, value):
    dtype = np.int32 if name.endswith('ids') else np.int64
    array = np.fromfile(folder / name, dtype)
    array[place] = value
    array.tofile(folder / name)


def _overflow(folder):
    """Sizes whose sum is right but for 64 bits."""
    sizes = np.fromfile(folder / 'negatives.groups', np.int64)
    sizes[:4] += 1 << 62
    sizes.tofile(folder / 'negatives.groups')


DAMAGE = {
    'truncated': lambda folder: os.truncate(folder / 'label.ids', 4),
    'torn': lambda folder: os.truncate(folder / 'label.ids', 5),
    'emptied': lambda folder: os.truncate(folder / 'label.ids', 0),
    'trailing bytes': lambda folder: (folder / 'label.ids').write_bytes(
        (folder / 'label.ids').read_bytes() + bytes(4)
    ),
    'missing': lambda folder: (folder / 'positives.groups').unlink(),
    'too few': _fewer,
    'no id': lambda folder: _set(folder, 'predict.ids', 0, 10_000),
    'a negative id': lambda folder: _set(folder, 'positives.ids', -1, -1),
    'a negative size': lambda folder: _set(folder, 'label.sizes', slice(0, 2), (-1, 9)),
    'sizes that do not add up': lambda folder: _set(folder, 'positives.groups', 1, 1),
    'sizes that overflow': _overflow,
}


@pytest.fixture
def said(monkeypatch):
    """The lines of the log that are loud."""
    lines = []
    monkeypatch.setattr(logging, 'error', lambda text, *args: lines.append(text % args))
    return lines


@pytest.mark.parametrize('summed', [False, True], ids=['by its digests', 'by its content'])
@pytest.mark.parametrize('damage', DAMAGE)
def test_a_damaged_entry_is_made_again(tmp_path, tokenizer, damage, summed, said):
    whole = encode(EXAMPLES, tokenizer, ENCODING)
    encode_once(EXAMPLES, tokenizer, ENCODING, cache=tmp_path, fingerprint='a')
    (folder,) = entries(tmp_path)
    DAMAGE[damage](folder)
    if summed:  # by somebody who did not look at it
        sums.write(folder)
    assert said == []
    mended = encode_once(EXAMPLES, tokenizer, ENCODING, cache=tmp_path, fingerprint='a')
    assert same(mended, whole)
    (line,) = said
    assert line.startswith(f'{folder} is not whole (') and line.endswith('is tokenised again.')
    again = encode_once(EXAMPLES, tokenizer, ENCODING, cache=tmp_path, fingerprint='a')
    assert same(again, whole) and len(said) == 1
    assert entries(tmp_path) == [folder]


def test_a_flip_in_any_file_is_mended(tmp_path, tokenizer, said):
    whole = encode(EXAMPLES, tokenizer, ENCODING)
    encode_once(EXAMPLES, tokenizer, ENCODING, cache=tmp_path, fingerprint='a')
    (folder,) = entries(tmp_path)
    names = sorted(os.listdir(folder))
    assert len(names) == 4 * 2 + 2 * 3 + 2
    for number, name in enumerate(names):
        _bit(folder / name, 13 * number)
        mended = encode_once(EXAMPLES, tokenizer, ENCODING, cache=tmp_path, fingerprint='a')
        assert same(mended, whole)
        assert len(said) == number + 1, name


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
    lengths = Lengths(source=32, label=8, rationale=16, positives=2, negatives=2)
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
