"""Preferences: who is chosen, in what form, and how many, read from the files and by hand."""

import collections
import itertools
import json

import pytest

from qcrd_jax import modes
from qcrd_jax.config import base_config
from qcrd_jax.data.pairs import Pairing, preferences
from qcrd_jax.data.schema import Example, TeacherSample
from qcrd_jax.errors import InputError

# Of each question: the split, the gold answer, and (rationale, what it states) of the samples.
QUESTIONS = [
    ('train', 'cat', [('It purrs.', 'cat'), ('It mews.', 'cat'), ('It barks.', 'dog')]),
    ('train', 'dog', [('It purrs.', 'cat'), ('It sits.', 'cat'), ('It barks.', 'dog')]),
    ('train', 'dog', [('It barks.', 'dog'), ('It digs.', 'dog')]),
    ('train', 'cat', [('Who knows.', ''), ('Nobody does.', '')]),
    ('train', 'cat', [('It is  one.', 'cat'), ('It is one.', 'dog'), ('It is  one.', 'cat')]),
    ('train', 'cat', [('', 'cat'), ('', 'dog')]),
    ('train', 'cat', []),
    ('validation', 'cat', [('It naps.', 'cat'), ('It howls.', 'dog')]),
    ('test', 'cat', [('It hunts.', 'cat'), ('It fetches.', 'dog')]),
]


def write_questions(path, questions=QUESTIONS):
    records = [
        {
            'id': f'q{number}',
            'split': split,
            'input': f'Animal {number}?',
            'options': ['cat', 'dog'],
            'label': label,
            'samples': [
                {'teacher': 't', 'text': f'{why} So the answer is {answer}.' if answer else why}
                for why, answer in samples
            ],
        }
        for number, (split, label, samples) in enumerate(questions)
    ]
    path.write_text(''.join(json.dumps(record) + '\n' for record in records))
    return str(path)


@pytest.fixture
def config(tmp_path):
    config = base_config()
    source = write_questions(tmp_path / 'mine.jsonl')
    config.data.update(name='custom', answer_type='choice', source=source, samples=3)
    return config


def read(path):
    return [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]


def wordings(records):
    return [(r['id'], r['chosen'], r['rejected']) for r in records]


def test_right_and_wrong_of_the_vote_are_paired(config, tmp_path, capsys):
    modes.run('pairs', config, tmp_path / 'run')
    records = read(tmp_path / 'run' / 'pairs.jsonl')
    assert wordings(records) == [
        ('q0', 'It purrs.', 'It barks.'),
        ('q0', 'It mews.', 'It barks.'),
        ('q1', 'It purrs.', 'It barks.'),  # the vote is wrong, as it is for a student
        ('q1', 'It sits.', 'It barks.'),
    ]
    assert {tuple(record) for record in records} == {('prompt', 'chosen', 'rejected', 'id')}
    for record in records:
        assert record['prompt'].startswith(f'Animal {record["id"][1:]}?\n')
        assert record['prompt'].endswith('\n')  # a trainer joins prompt and completion as they are
        assert 'cat' in record['prompt'] and 'dog' in record['prompt']
    report = json.loads((tmp_path / 'run' / 'pairs.json').read_text())
    assert report == {
        'train': {
            'pairs': 4, 'paired': 2, 'only_right': 1, 'only_wrong': 1, 'only_equal': 1,
            'no_rationale': 2,
        }
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert 'train: 4 pairs; of 7 questions 2 have a right and a wrong rationale' in printed
    assert not (tmp_path / 'run' / 'config.json').exists()  # bound to no one student


def test_the_label_decides_where_it_shall(config, tmp_path):
    config.data.positives = 'gold'
    modes.run('pairs', config, tmp_path / 'run')
    assert wordings(read(tmp_path / 'run' / 'pairs.jsonl'))[2:] == [
        ('q1', 'It barks.', 'It purrs.'),
        ('q1', 'It barks.', 'It sits.'),
    ]


def test_only_the_first_samples_are_used(config, tmp_path):
    config.data.samples = 2
    config.data.positives = 'gold'
    with pytest.raises(InputError, match=r'train: 0 pairs; of 7 questions .*--config.data.samples'):
        modes.run('pairs', config, tmp_path / 'run')
    assert not list((tmp_path / 'run').glob('pairs*'))


def test_each_split_has_a_file_and_test_only_if_it_is_named(config, tmp_path):
    modes.run('pairs', config, tmp_path / 'one')
    assert [path.name for path in sorted((tmp_path / 'one').glob('pairs*'))] == [
        'pairs.json', 'pairs.jsonl',
    ]  # fmt: skip
    everything = (tmp_path / 'one' / 'pairs.jsonl').read_text()
    assert 'naps' not in everything and 'hunts' not in everything
    config.pairs.splits = ('validation', 'test')
    modes.run('pairs', config, tmp_path / 'two')
    assert wordings(read(tmp_path / 'two' / 'pairs.validation.jsonl')) == [
        ('q7', 'It naps.', 'It howls.')
    ]
    assert wordings(read(tmp_path / 'two' / 'pairs.test.jsonl')) == [
        ('q8', 'It hunts.', 'It fetches.')
    ]
    assert not (tmp_path / 'two' / 'pairs.jsonl').exists()


def test_messages_say_the_same(config, tmp_path):
    modes.run('pairs', config, tmp_path / 'run')
    texts = read(tmp_path / 'run' / 'pairs.jsonl')
    config.pairs.format = 'conversational'
    modes.run('pairs', config, tmp_path / 'run')
    for text, record in zip(texts, read(tmp_path / 'run' / 'pairs.jsonl'), strict=True):
        for field, role in (('prompt', 'user'), ('chosen', 'assistant'), ('rejected', 'assistant')):
            assert record[field] == [{'role': role, 'content': text[field].rstrip('\n')}]
        assert record['id'] == text['id']


def test_a_rule_without_wrong_ones_is_refused(config, tmp_path):
    config.data.positives = 'first'
    with pytest.raises(InputError, match=r'--config.data.positives: .* self_consistency or gold'):
        modes.run('pairs', config, tmp_path / 'run')


def test_what_was_written_stays_where_nothing_can_be(config, tmp_path):
    modes.run('pairs', config, tmp_path / 'run')
    before = (tmp_path / 'run' / 'pairs.jsonl').read_bytes()
    only_right = [(split, label, samples[:1]) for split, label, samples in QUESTIONS]
    config.data.source = write_questions(tmp_path / 'other.jsonl', only_right)
    with pytest.raises(InputError, match='train: 0 pairs'):
        modes.run('pairs', config, tmp_path / 'run')
    assert (tmp_path / 'run' / 'pairs.jsonl').read_bytes() == before
    assert [path.name for path in (tmp_path / 'run').glob('.*tmp')] == []


# --- Without files --------------------------------------------------------------------------------


def question(name, right, wrong, text='What is 6 * 7?'):
    samples = [TeacherSample('', why, '42', '') for why in right]
    samples += [TeacherSample('', why, '43', '') for why in wrong]
    return Example(name, text, '42', tuple(samples))


def paired(examples, **changes):
    pairing = Pairing('equation', **{'positives': 'gold', 'samples': 99} | changes)
    return list(preferences(examples, pairing, collections.Counter()))


def test_some_of_many_are_drawn_the_same_whatever_else_there_is():
    right, wrong = [f'right {n}' for n in range(6)], [f'wrong {n}' for n in range(7)]
    questions = [question(name, right, wrong) for name in 'abc']
    everything = set(itertools.product(right, wrong))
    all_of_a = paired(questions[:1])
    assert {(r['chosen'], r['rejected']) for r in all_of_a} == everything
    assert len(all_of_a) == 42
    drawn = paired(questions, most=5)
    by_question = {
        name: [(r['chosen'], r['rejected']) for r in drawn if r['id'] == name] for name in 'abc'
    }
    for pairs in by_question.values():
        assert len(set(pairs)) == len(pairs) == 5
        assert set(pairs) <= everything
    assert by_question['a'] != by_question['b']
    assert paired(questions[1:2], most=5) == [r for r in drawn if r['id'] == 'b']
    assert paired(questions, most=5, seed=1) != drawn
    assert paired(questions, most=42) == paired(questions, most=100) == paired(questions)


def test_a_wording_counts_once_and_is_never_both():
    example = question('a', ['6 * 7 is 42.', '6 * 7  is\n42.'], ['6*7 is 43.', ' 6 * 7 is 42. '])
    (record,) = paired([example])
    assert (record['chosen'], record['rejected']) == ('6 * 7 is 42.', '6*7 is 43.')


def test_blank_rationales_are_none():
    assert paired([question('a', [' \n'], ['6 * 7 is 43.'])]) == []


def test_the_end_of_a_sequence_is_no_part_of_a_prompt():
    example = question('a', ['x'], ['y'], text='It rains.</s>It is wet.')
    (record,) = paired([example])
    assert record['prompt'] == 'Premise: It rains.\nHypothesis: It is wet.\n'


def test_questions_are_read_one_by_one():
    read_so_far = []

    def stream():
        for number in range(10**9):
            read_so_far.append(number)
            yield question(str(number), ['x'], ['y'])

    counts = collections.Counter()
    records = preferences(stream(), Pairing('equation', 'gold'), counts)
    assert [next(records)['id'] for _ in range(3)] == ['0', '1', '2']
    assert read_so_far == [0, 1, 2]
    assert counts == {'paired': 3, 'pairs': 3}


def test_real_answers_are_paired_by_what_they_state(shared_data, tmp_path):
    config = base_config()
    config.data.update(
        name='svamp',
        source=str(shared_data / 'dss'),
        teacher_samples=str(shared_data / 'teacher' / 'svamp_samples.jsonl'),
    )
    modes.run('pairs', config, tmp_path / 'run')
    records = read(tmp_path / 'run' / 'pairs.jsonl')
    questions = json.loads((tmp_path / 'run' / 'pairs.json').read_text())['train']
    assert len(records) == questions['pairs'] > 1000
    assert len({r['id'] for r in records}) == questions['paired'] > 300
    assert sum(questions.values()) - questions['pairs'] == 720
    # Every rationale is a part of one of the raw answers to its question.
    raw = collections.defaultdict(list)
    for line in (shared_data / 'teacher' / 'svamp_samples.jsonl').read_text().splitlines():
        answered = json.loads(line)
        raw[answered['id']] += [' '.join(s['text'].split()) for s in answered['samples'][:5]]
    for record in records:
        assert record['chosen'] != record['rejected']
        for side in ('chosen', 'rejected'):
            begin = ' '.join(record[side].split())[:40]
            assert any(begin in text for text in raw[record['id']])
