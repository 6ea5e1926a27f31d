"""Test questions in groups: which group a label is in, and the counts of each."""

import pytest

from qcrd_jax import config as configuration
from qcrd_jax import files
from qcrd_jax.report import groups
from tests.report.pages import rendered


def records(labels, question=''):
    return [{'label': label, 'input': question, 'correct': True} for label in labels]


def names_of(labels, kind, question=''):
    found = groups.grouped(records(labels, question), kind)
    return None if found is None else [found.names[place] for place in found.places]


@pytest.mark.parametrize(
    ('label', 'expected'),
    [
        ('( 8.0 - 3.0 )', '−'),
        ('8-3', '−'),
        ('7 × 3 ÷ 2', '× ÷'),
        ('2 * (3 + 4)', '+ ×'),
        ('3 - -4', '−'),  # a sign is no operation
        ('(-5 + 3)', '+'),
        ('-5', 'none'),
        ('84 points / 2 rounds = 42 points', '÷'),
        ('60 km/h', 'none'),
        ('1 + 2 + 3', '+ +'),
        ('1 + 2 + 3 + 4', 'three or more'),
        ('', 'none'),
        ('+-*/', 'none'),
    ],
)
def test_operations_are_those_between_operands(label, expected):
    assert groups.operations(label) == expected


def test_operations_are_in_the_order_of_the_page():
    labels = ['x', '1 + 2 * 3 - 4', '2 / 1', '1 + 2 * 3', '2 * 1', '1 + 1 + 1', '2 - 1', '1 + 1']
    found = groups.grouped(records(labels), 'equation')
    assert found.by == 'operation'
    assert found.names == ('+', '−', '×', '÷', '+ +', '+ ×', 'three or more', 'none')
    assert found.places == (7, 6, 3, 5, 2, 4, 1, 0)


def test_choices_are_grouped_by_the_letter_of_the_right_one():
    question = 'Where?\nAnswer Choices:\n(a) zoo\n(b) river\n(c) Zoo\n(d) sea'
    labels = ['river', 'sea', 'River ', 'zoo', 'moon']  # two choices are a zoo, none the moon
    expected = ['(b)', '(d)', '(b)', 'other', 'other']
    assert names_of(labels, 'choice', question) == expected
    assert groups.grouped(records(labels, question), 'choice').names[-1] == 'other'


def test_classes_are_groups_and_free_text_only_where_it_repeats():
    labels = ['Entailment', 'neutral', ' entailment', 'contradiction']
    expected = ['entailment', 'neutral', 'entailment', 'contradiction']
    assert names_of(labels, 'class') == expected
    assert names_of(['yes', 'no', 'Yes', 'no'], 'text') == ['yes', 'no', 'yes', 'no']
    assert names_of([str(i) for i in range(20)], 'text') is None
    assert names_of(['yes', 'no', 'perhaps'], 'text') is None
    assert names_of([], 'equation') is None


def test_the_rarest_of_many_classes_are_joined_and_last():
    labels = [f'class {i:02}' for i in range(20) for _ in range(1 + (i < 15))]
    found = groups.grouped(records(labels), 'class')
    assert found.names == (*(f'class {i:02}' for i in range(15)), 'other')
    assert found.places.count(15) == 5


def test_the_table_counts_labels_and_rationales_of_each_group(tmp_path):
    # Of + 3 of 4 labels and 1 of 2 read rationales are right, of ÷ none of one.
    lines = [
        {'id': '1', 'label': '1 + 1', 'correct': True, 'rationale_correct': True},
        {'id': '2', 'label': '1 + 2', 'correct': True, 'rationale_correct': False},
        {'id': '3', 'label': '1 + 3', 'correct': True, 'rationale_correct': 'yes'},
        {'id': '4', 'label': '1 + 4', 'correct': 'true'},
        {'id': '5', 'label': '4 / 2', 'correct': False, 'rationale_correct': False},
    ]
    config = configuration.base_config().to_dict()
    files.write_json(tmp_path / 'config.json', config)  # of SVAMP: equations
    files.write_jsonl(tmp_path / 'predictions.jsonl', lines)
    text = rendered(tmp_path).text
    assert 'Accuracy by operation' in text
    # Wilson's interval of 3 of 4 is 30.1 to 95.4 %, of 1 of 2 9.5 to 90.5, of 0 of 1 0 to 79.3.
    assert '+ 4 3: 75.0 % 30.1 to 95.4 1: 50.0 % 9.5 to 90.5' in text
    assert '÷ 1 0: 0.0 % 0.0 to 79.3 0: 0.0 % 0.0 to 79.3' in text


def test_labels_of_free_text_have_no_groups(tmp_path):
    lines = [{'id': str(i), 'label': f'answer {i}', 'correct': True} for i in range(30)]
    files.write_jsonl(tmp_path / 'predictions.jsonl', lines)
    elements = rendered(tmp_path)
    assert 'free text of many kinds, so there are no groups' in elements.text
    assert 'group' not in elements.values('name')


def test_a_label_without_end_is_read_in_no_time():
    long = '1 ' + ' ' * 10_000_000 + '+ 1'
    assert groups.operations(long) == 'none'
