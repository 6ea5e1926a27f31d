"""`--mode=prepare`: what it says of a dataset, counted by hand."""

import json

import pytest

from qcrd_jax import modes
from qcrd_jax.config import base_config

# Of each question: the split, the gold answer, and what the samples state ('' nothing readable).
QUESTIONS = [
    ('train', 'cat', ['cat', 'cat', 'dog']),  # the vote is right
    ('train', 'dog', ['cat', 'dog', 'cat']),  # the vote is wrong
    ('train', 'dog', ['dog', 'dog', 'dog']),  # only right ones
    ('train', 'cat', ['', '', 'dog']),  # only wrong ones
    ('train', 'cat', []),
    ('validation', 'cat', ['', 'cat', 'cat']),
    ('test', 'cat', ['cat', 'dog', 'dog', 'cat', 'cat']),  # of which three are used: dog
]


def write_questions(path):
    records = [
        {
            'id': f'q{number}',
            'split': split,
            'input': f'Animal {number}?',
            'options': ['cat', 'dog'],
            'label': label,
            'samples': [
                {
                    'teacher': 'one' if place == 0 else 'two',
                    'text': f'It is so. So the answer is {answer}.' if answer else 'Who knows.',
                }
                for place, answer in enumerate(answers)
            ],
        }
        for number, (split, label, answers) in enumerate(QUESTIONS)
    ]
    path.write_text(''.join(json.dumps(record) + '\n' for record in records))
    return path


@pytest.fixture
def config(tmp_path):
    config = base_config()
    config.data.update(
        name='custom',
        answer_type='choice',
        source=str(write_questions(tmp_path / 'mine.jsonl')),
        samples=3,
        max_source_length=8,
    )
    config.student.update(pretrained='', size='tiny')
    return config


def test_the_report_is_what_a_count_by_hand_gives(config, tmp_path, capsys):
    modes.run('prepare', config, tmp_path / 'run')
    report = json.loads((tmp_path / 'run' / 'prepare.json').read_text())
    train = report['train']
    cut = train.pop('truncated')
    assert train.pop('unknown')['question']['unknown'] == 0
    assert train == {
        'questions': 5,
        'samples': 12,
        'unreadable': 2,
        'right_per_question': pytest.approx(6 / 4),
        'sample_accuracy': pytest.approx(6 / 12),
        'vote_accuracy': pytest.approx(2 / 4),  # of the questions that have samples
        'only_positive': pytest.approx(1 / 4),
        'only_negative': pytest.approx(1 / 4),
    }
    assert report['validation']['vote_accuracy'] == 1.0
    assert report['validation']['sample_accuracy'] == pytest.approx(2 / 3)
    assert report['test']['samples'] == 3
    assert report['test']['vote_accuracy'] == 0.0
    printed = capsys.readouterr().out
    assert '| accuracy of a sample           | 50.0%' in printed
    assert '| share of the vote              | 66.7%' in printed  # (2/3 + 2/3 + 1 + 1/3) / 4
    assert 'cut: train: 5 of 5 predict sequences are cut to 8 tokens' in printed
    lines = [line for line in printed.splitlines() if line.startswith('cut: train')]
    assert cut == sum(int(line.split()[2]) for line in lines) > 0


def test_votes_are_written_question_by_question(config, tmp_path):
    modes.run('prepare', config, tmp_path / 'run')
    lines = (tmp_path / 'run' / 'votes.jsonl').read_text().splitlines()
    votes = [json.loads(line) for line in lines]
    assert [(v['id'], v['answer'], v['right']) for v in votes] == [
        ('q0', 'cat', True),
        ('q1', 'cat', False),
        ('q2', 'dog', True),
        ('q3', 'dog', False),
        ('q5', 'cat', True),
        ('q6', 'dog', False),
    ]
    assert [round(vote['share'], 3) for vote in votes] == [0.667, 0.667, 1.0, 0.333, 0.667, 0.667]


def test_no_samples_is_no_division_by_zero(config, tmp_path, capsys):
    path = tmp_path / 'bare.jsonl'
    lines = [json.dumps({'id': str(i), 'input': 'q', 'label': 'l'}) for i in range(30)]
    path.write_text('\n'.join(lines))
    config.data.update(source=str(path), answer_type='text')
    modes.run('prepare', config, tmp_path / 'run')
    report = json.loads((tmp_path / 'run' / 'prepare.json').read_text())
    assert {split: counts['questions'] for split, counts in report.items()} == {
        'train': 24,
        'validation': 3,
        'test': 3,
    }
    for counts in report.values():
        assert counts['samples'] == counts['unreadable'] == 0
        assert counts['sample_accuracy'] is counts['vote_accuracy'] is None
    assert (tmp_path / 'run' / 'votes.jsonl').read_text() == ''
    assert 'teacher' not in capsys.readouterr().out
