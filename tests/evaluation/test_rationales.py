"""How good rationales are: against the gold answer, and against the student's own label."""

from fractions import Fraction

import pytest

from qcrd_jax.data.schema import Example
from qcrd_jax.evaluation import rationales
from qcrd_jax.evaluation.metrics import Ratio
from qcrd_jax.evaluation.written import Written

PENS = Example('q', 'Ava has 2 pens and gets 3.', '( 2 + 3 )')
CHOICE = Example('q', 'Where are paintings?', 'museum', options=('bank', 'museum'))


@pytest.mark.parametrize(
    ('text', 'prediction', 'answer', 'correct', 'agrees'),
    [
        ('2 + 3 = 5 pens.', '( 2 + 3 )', '5', True, True),
        ('2 + 3 = 5 pens.', '( 3 + 2 )', '5', True, True),  # by value
        ('2 + 3 = 5 pens.', '( 2 * 3 )', '5', True, False),
        ('2 + 3 = 6 pens.', '( 2 + 3 )', '6', False, False),
        ('2 * 3 = 6 pens.', '( 2 * 3 )', '6', False, True),  # wrong together
        ('2 + 3 = 5.0', '5', '5', True, True),
        ('Add both.', '( 2 + 3 )', None, False, False),
        ('Add both.', 'no idea', None, False, False),  # two that are unread do not agree
        ('2 + 3 = 5', '', '5', True, False),
    ],
)
def test_a_rationale_beside_gold_and_prediction(text, prediction, answer, correct, agrees):
    reading = rationales.read(Written(text, 9, True), PENS, prediction, 'equation')
    assert (reading.answer, reading.correct, reading.agrees) == (answer, correct, agrees)
    assert (reading.tokens, reading.ended) == (9, True)


def test_a_choice_agrees_by_its_letter_too():
    written = Written('Only museums have paintings.', 5, False)
    reading = rationales.read(written, CHOICE, '(b)', 'choice')
    assert reading == rationales.Reading('museum', True, True, 5, False)
    assert reading.fields('rationale_t0.7') == {
        'rationale_t0.7_answer': 'museum',
        'rationale_t0.7_correct': True,
        'rationale_t0.7_agrees': True,
        'rationale_t0.7_tokens': 5,
        'rationale_t0.7_ended': False,
    }


def test_every_question_counts_once():
    readings = [
        rationales.Reading('5', True, True, 4, True),
        rationales.Reading('6', False, True, 6, True),
        rationales.Reading(None, False, False, 8, False),
        rationales.Reading('5', True, False, 2, True),
    ]
    found = rationales.quality(readings)
    assert found.correct == Ratio(2, 4)
    assert found.agreeing == Ratio(2, 4)
    assert found.unread == Ratio(1, 4)
    assert found.ended == Ratio(3, 4)
    summary = rationales.summary('rationale', found)
    # Wilson's interval of 2 of 4, computed by hand: 0.5 +- 0.35.
    low, high = summary.pop('rationale_interval')
    assert (round(low, 2), round(high, 2)) == (0.15, 0.85)
    assert summary == {
        'rationale_accuracy': 0.5,
        'rationale_agreement': 0.5,
        'rationale_unread': 0.25,
        'rationale_tokens': 5.0,
        'rationale_ended': 0.75,
    }


def test_a_student_that_learned_no_rationales_has_no_quality():
    summary = rationales.summary('rationale_t0.7', None)
    assert summary.keys() == {f'rationale_t0.7_{measure}' for measure in rationales.MEASURES}
    assert set(summary.values()) == {None}
    assert set(rationales.summary('rationale', rationales.quality([])).values()) == {None}


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (Fraction(7), '7'),
        (Fraction(-7, 2), '-3.5'),
        (Fraction(1200), '1200'),
        (Fraction(28, 3), '28/3'),
        (Fraction(10**17), '1' + '0' * 17),
        (Fraction(1, 8), '0.125'),
        ('museum', 'museum'),
    ],
)
def test_a_value_as_text(value, text):
    assert rationales._spelled(value) == text
