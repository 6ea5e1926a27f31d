"""What is marked as incorrect in an arithmetic rationale, case by case."""

import time

import pytest

from qcrd_jax.data.marking import mark

QUESTION = (
    'Ava had 84 marbles and 2 friends, 3 of them late, and paid 10.50 dollars for 1,000 pens.'
)


def marked(rationale, question=QUESTION):
    pieces = mark(rationale, question)
    assert ''.join(piece.text for piece in pieces) == rationale
    assert all(piece.text for piece in pieces)
    return [(piece.text, piece.fault) for piece in pieces if piece.fault]


@pytest.mark.parametrize(
    'rationale',
    [
        '',
        'No number at all.',
        'Ava shared 84 marbles among 2 friends. 84 / 2 = 42. So 42 marbles.',
        '84 marbles / 2 friends = 42 marbles',
        '( 84 / 2 ) = 42',
        'That is (84 - 2) * 3 = 246 pens.',
        '84 x 2 = 168, 84 × 2 = 168, 84 ÷ 2 = 42 and 84 − 2 = 82',
        '$84 + $10.50 = $94.50',
        '$ 84 + $ 2 = $ 86, or $ 84 plus $ 2 is $86',
        '1,000 + 84 = 1,084 and 1084 - 1000 = 84.0',
        '2 - 84 = -82',
        '-2 + 84 = 82',
        '10 / 3 = 3.33',  # rounded
        '2 / 3 = 0.7',
        '84 + 2 = 86 - 3 = 83',  # run on, as children write
        '3 + 3 = 2 * 3',
        '2 / 84 = 1/42',
        'Two times 84',
        'A total of 84 marbles + 2 marbles = 86 marbles, so 86.',
        '84 divided by 2 is 42 and 42 plus 2 equals 44; 44 times 3 is 132, so 132.',
        '2 - 84 = -82\n-82 + 84 = 2',  # a line ends an equation
        # What cannot be read is not judged.
        'half of 84 + 2 = 44',
        '1/3 of 84 + 2 = 30',
        '84 miles/hour * 2 hours = 168 miles, 168 in all',
        'the rest + 84 + 2 = 90',
        '2 ^ 3 + 3 = 11',
        '3 / 2 = 150%',
        '2 3 + 3 = 90',
        '84 / 2 marbles each friend gets all of = 41',
        '84 / 0',
        'x = 84',
        '2 + = 3',
    ],
)
def test_nothing_is_marked_where_nothing_is_wrong_or_readable(rationale):
    question = f'{QUESTION} 10 11 150 90 44 41 0 1 30 42'
    assert marked(rationale, question) == []


@pytest.mark.parametrize(
    ('rationale', 'faults'),
    [
        ('84 / 2 = 41.', [('84 / 2 = 41', 'equation')]),
        ('So 84 marbles / 2 friends = 41 each.', [('84 marbles / 2 friends = 41', 'equation')]),
        ('(84 - 2) * 3 = 240', [('(84 - 2) * 3 = 240', 'equation')]),
        ('A total of 84 pens + 2 pens = 85 pens.', [('84 pens + 2 pens = 85', 'equation')]),
        ('84 divided by 2 is 41.', [('84 divided by 2 is 41', 'equation')]),
        ('There are 85. It is 3 times as many, 7.', [('85', 'number'), ('7', 'number')]),
        ('84 - 2 = 8 2', [('84 - 2 = 8', 'equation')]),
        ('84 / 2 = -42', [('84 / 2 = -42', 'equation')]),
        ('2 / 3 = 0.6', [('2 / 3 = 0.6', 'equation')]),  # 0.67
        ('2 / 3 = 1', [('2 / 3 = 1', 'equation')]),  # whole numbers are not rounded
        ('84 + 2 = 86 - 3 = 84', [('86 - 3 = 84', 'equation')]),
        ('84 + 2 = 87 - 3 = 83', [('84 + 2 = 87', 'equation'), (' - 3 = 83', 'equation')]),
        ('Ava had 85 marbles.', [('85', 'number')]),
        ('80 / 2 = 40, so 40.', [('80', 'number')]),
        ('She gets 42, as 84 / 2 = 42.', [('42', 'number')]),  # before it was computed
        # An error is marked once, not again where it is carried on; nor are its own operands.
        ('84 / 7 = 13. 13 * 2 = 26. It is 26.', [('84 / 7 = 13', 'equation')]),
        ('It is little (3 + 2 = 4).', [('3 + 2 = 4', 'equation')]),
        ('$5.25', [('$5.25', 'number')]),
        (f'{"9" * 30} pens', [('9' * 30, 'number')]),
    ],
)
def test_faults(rationale, faults):
    assert marked(rationale) == faults


def test_numbers_of_the_question_may_be_words():
    question = 'Three boys have twice as many pens as seven girls. A dozen is lost.'
    assert marked('3 boys, 7 girls, 2 * 7 = 14, 12 lost', question) == []
    assert marked('4 boys', question) == [('4', 'number')]


@pytest.mark.parametrize(
    'text',
    ['1=' * 20_000, '(' * 40_000, '2+' * 20_000, 'a ' * 20_000, '1,111' * 9_000, '9' * 40_000],
)
def test_hostile_text_takes_no_time(text):
    start = time.perf_counter()
    marked(text)
    assert time.perf_counter() - start < 5
