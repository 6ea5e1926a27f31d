"""Folds: every question is tested once, by texts alone, and none is trained on word for word."""

import itertools
import json
import random

import pytest

from qcrd_jax import validation
from qcrd_jax.config import base_config
from qcrd_jax.data.folds import cross_validated
from qcrd_jax.data.schema import Example, TeacherSample
from qcrd_jax.data.sources import builders
from qcrd_jax.data.splits import Dataset
from qcrd_jax.errors import InputError
from tests.data.sources import test_dss

SAMPLE = TeacherSample('1 + 1. The answer is 2.', '1 + 1.', '2', 'a')


def question(name, text=None, samples=(SAMPLE,)):
    return Example(name, text or f'How many {name}?', '( 2.0 )', samples)


def dataset(sizes=(40, 5, 12), **others):
    names = iter(range(sum(sizes)))
    splits = {
        split: [question(f'q{next(names)}') for _ in range(size)]
        for split, size in zip(('train', 'validation', 'test'), sizes, strict=True)
    }
    for split, examples in others.items():
        splits[split] += examples
    return Dataset(splits, 'equation', 'pool')


def ids(made):
    return {split: [each.id for each in examples] for split, examples in made.splits.items()}


def test_every_question_is_a_test_question_once():
    whole = dataset()
    everything = sorted(itertools.chain.from_iterable(ids(whole).values()))
    made = [ids(cross_validated(whole, 5, fold)) for fold in range(5)]
    assert sorted(name for each in made for name in each['test']) == everything
    assert sorted(len(each['test']) for each in made) == [11, 11, 11, 12, 12]
    for each in made:
        assert (
            sorted(itertools.chain.from_iterable(each.values())) == everything
        )  # none is lost, none is there twice
        assert len(each['validation']) == 5  # a tenth of 45 or 46, rounded up
    assert len({cross_validated(whole, 5, fold).fingerprint for fold in range(5)}) == 5


def test_texts_decide_and_no_order():
    whole = dataset()
    pooled = [each for examples in whole.splits.values() for each in examples]
    random.Random(3).shuffle(pooled)
    # Other splits, another order, and ids of their places: what a file in another order gives.
    renamed = [question(f'place{i}', each.input) for i, each in enumerate(pooled)]
    other = Dataset(
        {'train': renamed[:7], 'validation': renamed[7:9], 'test': renamed[9:]}, 'equation', 'other'
    )
    for fold in range(3):
        one, two = (cross_validated(each, 3, fold) for each in (whole, other))
        for split in one.splits:
            texts = [[each.input for each in made.splits[split]] for made in (one, two)]
            assert texts[0] == texts[1]


def test_one_wording_is_in_one_split():
    twice = [question('a', 'How  many q3'), question('b', 'HOW MANY Q3?'), question('c', 'q3?')]
    whole = dataset(test=twice)
    for fold in range(4):
        made = ids(cross_validated(whole, 4, fold))
        (where,) = {split for split, names in made.items() if {'q3', 'a', 'b'} & {*names}}
        assert {'q3', 'a', 'b'} <= {*made[where]}


def test_large_groups_are_dealt_out_evenly():
    same = [question(f'same{i}', 'Why?') for i in range(10)]
    sizes = [len(cross_validated(dataset(train=same), 4, fold).splits['test']) for fold in range(4)]
    assert sum(sizes) == 67
    assert max(sizes) - min(sizes) <= 10


def test_too_few_questions():
    with pytest.raises(InputError, match='4 questions of 4 different wordings are too few for 5'):
        cross_validated(dataset((2, 1, 1)), 5, 0)
    with pytest.raises(InputError, match='leaves no question to train on'):
        cross_validated(dataset((1, 1, 1)), 2, 0)  # two of which are in fold 0
    made = ids(cross_validated(dataset((1, 1, 1)), 3, 0))
    assert [len(made[split]) for split in ('train', 'validation', 'test')] == [1, 1, 1]
    for folds, fold in ((1, 0), (3, 3), (3, -1)):
        with pytest.raises(ValueError, match='fold'):
            cross_validated(dataset(), folds, fold)


def test_how_many_train_on_their_label_only(caplog):
    silent = [question(f'silent{i}', samples=()) for i in range(10)]
    made = cross_validated(dataset(test=silent), 5, 0)
    number = sum(not each.samples for each in made.splits['train'])
    assert 0 < number < 10
    assert f'{number} of {len(made.splits["train"])} training questions of fold 0' in caplog.text
    caplog.clear()
    cross_validated(dataset(), 5, 0)
    assert not caplog.text


def test_teacher_answers_of_test_questions_are_trained_on(tmp_path):
    source = test_dss.write_dataset(tmp_path / 'dss' / 'svamp')  # 30 for training, 4 for testing
    with open(tmp_path / 'samples.jsonl', 'w') as file:
        for line in (source / 'svamp_test.json').read_text().splitlines():
            record = json.loads(line)
            samples = [{'teacher': 'a', 'text': 'Well. The answer is 1.'}]
            content = {'input': record['input'], 'label': record['label'], 'split': 'test'}
            file.write(json.dumps(content | {'samples': samples}) + '\n')
    data = base_config().data
    data.update(name='svamp', source=str(source.parent), folds=3)
    data.teacher_samples = str(tmp_path / 'samples.jsonl')
    trained = {}
    for data.fold in range(3):
        splits = builders.load(data, tmp_path / 'data').splits
        assert sum(map(len, splits.values())) == 34
        trained |= {each.id: len(each.samples) for each in splits['train']}
    assert {trained[name] for name in trained if name.startswith('svamp-test')} == {1}
    # Prepared once, whatever the fold.
    assert len(list((tmp_path / 'data' / 'svamp').glob('[!.]*'))) == 1


@pytest.mark.parametrize('name', ['mwp', 'custom'])
def test_folds_of_other_datasets(tmp_path, name):
    data = base_config().data
    data.update(name=name, folds=2)
    data.mwp.update(train=40, validation=5, test=10)
    if name == 'custom':
        path = tmp_path / 'questions.jsonl'
        lines = ({'input': f'What is {i}?', 'label': f'{i}'} for i in range(55))
        path.write_text('\n'.join(map(json.dumps, lines)))
        data.source = str(path)
    tests = []
    for data.fold in (0, 1):
        splits = builders.load(data, tmp_path / 'data').splits
        assert {split: len(examples) > 0 for split, examples in splits.items()} == dict.fromkeys(
            ('train', 'validation', 'test'), True
        )
        tests += [each.id for each in splits['test']]
    assert len(tests) == len(set(tests)) == 55
    data.update(fold=0, fraction=0.5, leaks='drop')  # which apply to the training part
    part = builders.load(data, tmp_path / 'data').splits
    data.update(fraction=1.0, leaks='keep')
    full = builders.load(data, tmp_path / 'data').splits
    assert len(part['train']) == round(0.5 * len(full['train']))
    assert len(part['test']) == len(full['test'])


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'folds': 1}, r'data\.folds: expected 0 .* or at least 2'),
        ({'folds': -2}, r'data\.folds: expected at least 0'),
        ({'fold': 1}, r'data\.fold: expected 0 where data\.folds is 0, got 1'),
        ({'folds': 5, 'fold': 5}, r'data\.fold: expected 0 to 4, got 5'),
    ],
)
def test_folds_that_cannot_be(fields, message):
    config = base_config()
    config.data.update(fields)
    with pytest.raises(InputError, match=message):
        validation.validate(config)
