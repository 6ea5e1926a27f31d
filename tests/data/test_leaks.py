"""Questions that stand in more than one split: counted, named, dropped, and never taught."""

import itertools
import json

import pytest
from absl import logging

from qcrd_jax import modes
from qcrd_jax.config import base_config
from qcrd_jax.data.leaks import KINDS, LeakSearch, as_text, counts
from qcrd_jax.data.schema import Example
from qcrd_jax.data.sources import builders
from qcrd_jax.data.sources.questions import with_choices
from qcrd_jax.errors import InputError

STORY = 'Faye was placing her pencils into {} rows with {} pencils in each row. How many are there?'


def plain(identity, text):
    return Example(identity, text, 'x')


def chosen(identity, text, *options):
    return Example(identity, with_choices(text, options), options[0], options=options)


def found(train, test, answer_type='equation', validation=()):
    search = LeakSearch({'validation': validation, 'test': test}, answer_type)
    assert list(search.look('train', train)) == list(train)
    list(search.look('validation', validation))
    return search.leaks()


def kinds(train, test, answer_type='equation'):
    return [(leak.id, leak.found_id, leak.kind) for leak in found(train, test, answer_type)]


def test_every_kind_of_a_word_problem():
    train = [
        plain('a', STORY.format(7, 36)),
        plain('b', 'Tom ran 3 miles on each of 5 days. How far did Tom run in all?'),
        plain('c', 'A train leaves the station at noon and arrives 5 hours later. When is that?'),
    ]
    test = [
        plain('exact', STORY.format(7, 36).upper().replace('.', ' !')),
        plain('numbers', STORY.format('1,250', 2.5)),
        plain('near', 'Tom ran 4 miles on each of 6 days. How far did Anna run in all?'),
        plain('other', 'Jo baked 9 cakes and sold 4 of them. How many cakes are left?'),
    ]
    assert kinds(train, test) == [
        ('exact', 'a', 'exact'),
        ('numbers', 'a', 'numbers'),
        ('near', 'b', 'near'),
    ]
    (*_, near) = found(train, test)
    # 12 of 13 words (a number is one) and 14 pairs of neighbours, of which one name changes 2.
    words, pairs = (11 / 13), (12 / 16)
    assert words > near.similarity > pairs
    assert near.input == test[2].input and near.found_input == train[1].input


def test_the_closest_is_named_whatever_the_order():
    exact, numbers = plain('exact', STORY.format(1, 2)), plain('numbers', STORY.format(3, 2))
    near = plain('near', STORY.format(1, 2).replace('each', 'every'))
    for train in ([exact, numbers, near], [near, numbers, exact]):
        assert kinds(train, [plain('t', STORY.format(1, 2))]) == [('t', 'exact', 'exact')]
    assert kinds([near, numbers], [plain('t', STORY.format(1, 2))]) == [('t', 'numbers', 'numbers')]


def test_sums_without_words_are_distinguished_by_their_numbers():
    assert kinds([plain('a', '12 + 5 ='), plain('b', '12 - 7 =')], [plain('t', '12 - 5 =')]) == []
    assert kinds([plain('a', '12 - 5 =')], [plain('t', '12-5=?')]) == [('t', 'a', 'exact')]


def test_a_premise_that_is_asked_twice_is_no_leak_but_the_same_hypothesis_is():
    premise = 'A man in a red shirt is playing the guitar on a bench in the park'
    train = [plain('a', f'{premise}</s>A man makes music outside with his old guitar today.')]
    near = f'{premise}.</s>A man makes music outside with his new guitar today.'
    other = f'{premise}</s>Nobody is in the park at all.'
    elsewhere = 'Two dogs run.</s>A man makes music outside with his old guitar today.'
    test = [plain('near', near), plain('other', other), plain('elsewhere', elsewhere)]
    assert kinds(train, test, 'class') == [('near', 'a', 'near')]
    assert kinds(train, [plain('t', train[0].input.upper().replace('</S>', '</s>'))], 'class') == [
        ('t', 'a', 'exact')
    ]


def test_choices_count():
    train = [
        chosen('a', 'Where would one find a snake in a cage?', 'zoo', 'forest', 'woods', 'shop'),
        chosen('b', 'What is 3 plus 4, said the old man?', '7', '8', '12'),
    ]
    test = [
        chosen('exact', 'where would one find a snake in a cage', 'Zoo', 'forest', 'woods', 'shop'),
        chosen('choices', 'Where would one find a snake in a cage?', 'bus', 'tin', 'sea'),
        chosen('numbers', 'What is 5 plus 6, said the old man?', '11', '9', '1'),
        chosen(
            'order', 'Where would one find a snake in a cage?', 'shop', 'zoo', 'woods', 'forest'
        ),
        chosen('near', 'Where would one find a snake in a swamp?', 'zoo', 'forest', 'woods', 'hut'),
        chosen('template', 'Where would one find a toothbrush in a cage?', 'a', 'b', 'c', 'd'),
    ]
    assert kinds(train, test, 'choice') == [
        ('exact', 'a', 'exact'),
        ('choices', 'a', 'choices'),
        ('numbers', 'b', 'numbers'),
        ('order', 'a', 'choices'),
        ('near', 'a', 'near'),
    ]


def test_the_templates_of_questions_with_choices_are_no_leaks():
    text = 'If you do not have one at home and all of the shops in your town are closed for the day'
    text += ', from whom of all the people that you know would you most likely be able to get a {}?'
    train = [chosen('a', text.format('pen'), 'teacher', 'clerk'), plain('b', text.format('pen'))]
    test = [chosen('t', text.format('dog'), 'breeder', 'farmer'), plain('u', text.format('dog'))]
    assert kinds(train[:1], test[:1], 'choice') == []
    assert kinds(train[1:], test[1:], 'text') == [('u', 'b', 'near')]


def test_every_pair_of_splits_is_counted_apart():
    text = STORY.format(1, 2)
    leaks = found([plain('a', text)], [plain('t', text)], validation=[plain('v', text)])
    assert [(leak.split, leak.found_in, leak.found_id) for leak in leaks] == [
        ('test', 'train', 'a'),
        ('test', 'validation', 'v'),
        ('validation', 'train', 'a'),
    ]
    nothing = dict.fromkeys(KINDS, 0)
    assert counts(leaks, 'test') == {
        'train': nothing | {'exact': 1},
        'validation': nothing | {'exact': 1},
    }
    text = as_text(leaks, {'train': 1, 'validation': 1, 'test': 1})
    assert text.startswith('1 of 1 test questions stand in train: 1 word for word\n  t is a word')


def test_many_questions_of_one_template_end_soon():
    """Questions of one template are all like each other: 4 million pairs, of which few are read."""
    names = [f'name{place}' for place in range(2000)]
    text = 'If {} buys pens on every day of the week how many pens are bought in that week?'
    train = [plain(f'a{name}', text.format(name)) for name in names]
    test = [plain(f't{name}', text.format(f'{name}x')) for name in names]
    leaks = found(train, test)
    assert len(leaks) == 2000
    assert {leak.kind for leak in leaks} == {'near'}


def test_real_word_problems_as_by_comparing_all(shared_data, tmp_path):
    config = base_config()
    config.data.source = str(shared_data / 'dss')
    dataset = builders.load(config.data, tmp_path)
    train, test = (list(dataset.splits[split]) for split in ('train', 'test'))
    leaks = found(train, test)

    def shingles(text):
        words = [
            '#' if word[0].isdigit() else word.strip('.,?\'"-')
            for word in text.lower().replace('-', ' ').replace("'", '').split()
        ]
        words = [word for word in words if word]
        return {*words, *itertools.pairwise(words)}

    sets = [shingles(example.input) for example in train]
    expected = {}
    for example in test:
        mine = shingles(example.input)
        best = max(len(mine & other) / len(mine | other) for other in sets)
        expected[example.id] = best
    near = {leak.id: leak.similarity for leak in leaks}
    # The two ways to cut words differ in a few questions.
    agree = [abs(near[name] - expected[name]) < 0.002 for name in near]
    assert sum(agree) > 0.9 * len(agree)
    sure = {name for name, value in expected.items() if value >= 0.73}
    assert sure <= near.keys()
    assert all(expected[name] > 0.67 for name in near)


# --- Through prepare ------------------------------------------------------------------------------


def write(path, records):
    path.write_text(''.join(json.dumps(record) + '\n' for record in records))
    return str(path)


def record(identity, split, text, label='7'):
    sample = {'teacher': 't', 'text': f'It is {label}. The answer is {label}.'}
    fields = {'id': identity, 'split': split, 'input': text, 'label': label}
    return fields | {'samples': [sample]}


RECORDS = [
    record('a', 'train', STORY.format(7, 36)),
    record('b', 'train', STORY.format(7, 30)),
    record('c', 'train', 'Tom ran 3 miles on each of 5 days. How far did he run?'),
    record('v', 'validation', 'Jo baked 9 cakes and sold 4 of them. How many cakes are left?'),
    record('t', 'test', STORY.format(7, 36).lower()),
    record('u', 'test', 'What do 4 pens cost at 3 dollars each, if all pens cost the same?'),
]


def configured(tmp_path, **fields):
    config = base_config()
    source = write(tmp_path / 'mine.jsonl', RECORDS)
    config.data.update(name='custom', answer_type='equation', source=source, **fields)
    config.student.update(pretrained='', size='tiny')
    return config


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(logging, 'warning', lambda text, *args: said.append(text % args))
    return said


def test_prepare_counts_names_and_warns(tmp_path, capsys, warnings):
    modes.run('prepare', configured(tmp_path), tmp_path / 'run')
    report = json.loads((tmp_path / 'run' / 'prepare.json').read_text())
    assert report['test']['leaks'] == {'train': {'exact': 1, 'numbers': 0, 'choices': 0, 'near': 0}}
    assert report['validation']['leaks'] == {}
    assert 'leaks' not in report['train']
    (line,) = (tmp_path / 'run' / 'leaks.jsonl').read_text().splitlines()
    assert json.loads(line) == {
        'split': 'test',
        'id': 't',
        'found_in': 'train',
        'found_id': 'a',
        'kind': 'exact',
        'similarity': 1.0,
        'input': STORY.format(7, 36).lower(),
        'found_input': STORY.format(7, 36),
    }
    printed = capsys.readouterr().out
    assert '1 of 2 test questions stand in train: 1 word for word\n  t is a word' in printed
    assert '0 of 1 validation questions stand in train\n' in printed
    assert str(tmp_path / 'run' / 'leaks.jsonl') in printed
    (warning,) = (text for text in warnings if 'stand in train' in text)
    assert '1 test questions' in warning and 't is a' in warning and 'data.leaks=drop' in warning


def test_training_questions_that_stand_in_test_can_be_dropped(tmp_path, warnings):
    kept = builders.load(configured(tmp_path).data, tmp_path / 'data')
    config = configured(tmp_path, leaks='drop')
    dropped = builders.load(config.data, tmp_path / 'data')
    assert [example.id for example in kept.splits['train']] == ['a', 'b', 'c']
    assert [example.id for example in dropped.splits['train']] == ['b', 'c']
    assert [example.id for example in dropped.splits['test']] == ['t', 'u']
    assert dropped.fingerprint != kept.fingerprint
    modes.run('prepare', config, tmp_path / 'run')
    report = json.loads((tmp_path / 'run' / 'prepare.json').read_text())
    assert report['train']['questions'] == 2
    assert report['test']['leaks']['train'] == {
        'exact': 0, 'numbers': 1, 'choices': 0, 'near': 0
    }  # fmt: skip
    assert not [text for text in warnings if 'stand in train' in text]


def test_a_share_of_the_training_questions_is_drawn_from_what_is_left(tmp_path):
    config = configured(tmp_path, leaks='drop', fraction=0.5)
    (example,) = builders.load(config.data, tmp_path / 'data').splits['train']
    assert example.id in ('b', 'c')


def test_dropping_every_training_question_is_an_error(tmp_path):
    config = configured(tmp_path, leaks='drop')
    text = STORY.format(1, 2)
    splits = ('train', 'validation', 'test')
    write(tmp_path / 'mine.jsonl', [record(split, split, text) for split in splits])
    with pytest.raises(InputError, match=r'data\.leaks: every training question'):
        builders.load(config.data, tmp_path / 'data')
    config.data.leaks = 'sometimes'
    with pytest.raises(InputError, match=r'data\.leaks: expected keep \| drop'):
        modes.run('prepare', config, tmp_path / 'run')


# --- Samples of test questions --------------------------------------------------------------------

SAME = 'Tom has 3 pens and 4 more. How many has he?'


def taught(tmp_path, samples):
    """The samples of the questions of a dataset whose train and test have one text in common."""
    source = [
        record('a', 'train', SAME),
        record('b', 'train', 'A pen costs 3 dollars. What do 4 cost?', '12'),
        record('v', 'validation', 'Jo has 2 cakes. How many are 2 cakes?', '2'),
        record('t', 'test', SAME.replace(' ', '  ')),
    ]
    config = configured(tmp_path)
    config.data.source = write(tmp_path / 'source.jsonl', source)
    config.data.teacher_samples = write(tmp_path / 'samples.jsonl', samples)
    splits = builders.load(config.data, tmp_path / 'data').splits
    return {
        example.id: [sample.source for sample in example.samples]
        for split in splits.values()
        for example in split
    }


def answer(teacher, text=SAME, **fields):
    said = {'teacher': teacher, 'text': 'It is 3 + 4 = 7. The answer is 7.'}
    return {'input': text, 'label': '7', **said, **fields}


def test_samples_of_a_test_question_are_not_given_to_a_training_question_of_its_text(
    tmp_path, warnings
):
    samples = [answer('of t', id='t', split='test')]
    assert taught(tmp_path, samples) == {'a': [], 'b': [], 'v': [], 't': ['of t']}
    (warning,) = (text for text in warnings if 'training questions' in text)
    assert '1 training questions have the text of one of validation or test' in warning


def test_those_of_the_training_question_are_though_those_of_the_test_question_come_first(tmp_path):
    samples = [answer('of t', id='t', split='test'), answer('of a', id='a', split='train')]
    assert taught(tmp_path, samples) == {'a': ['of a'], 'b': [], 'v': [], 't': ['of t']}


def test_an_id_says_whose_sample_it_is_where_no_split_does(tmp_path):
    assert taught(tmp_path, [answer('of t', id='t')])['a'] == []
    assert taught(tmp_path, [answer('anyone', id='zzz')])['a'] == ['anyone']
    # An id that a test question of another text happens to have says nothing.
    cheap = 'A pen costs 3 dollars. What do 4 cost?'
    assert taught(tmp_path, [answer('of b', cheap, id='t', label='12')])['b'] == ['of b']


def test_validation_samples_are_not_trained_on_either(tmp_path):
    assert taught(tmp_path, [answer('v', id='x', split='validation')])['a'] == []


def test_samples_of_training_records_are_given_to_the_questions_held_out_of_train(tmp_path):
    """DSS's validation is held out of train: there, too, records say train."""
    samples = [answer('of v', 'Jo has 2 cakes. How many are 2 cakes?', id='v', label='2')]
    assert taught(tmp_path, samples)['v'] == ['of v']
