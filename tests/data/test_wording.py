"""Which questions are the same: words, numbers and operations count, dress does not."""

import pytest

from qcrd_jax.data.schema import Example
from qcrd_jax.data.wording import without_numbers, wording, words_of


@pytest.mark.parametrize(
    ('one', 'other'),
    [
        ('How many pens?', 'how  many\npens ?'),
        ('“How many” pens…', '"How many" pens'),
        ('It costs $1,250.', 'It costs $1250'),
        ("Don't stop", 'Don’t stop'),
        ('ＡＢＣ ﬁve', 'abc five'),
        ('Straße', 'STRASSE'),
        ('day.If he', 'day. If he'),
        ('a well-known man', 'a well known man'),
        ('Tom - who ran - won', 'Tom, who ran, won'),
        ('12 × 5 − 3', '12*5 - 3'),
        ('(3 + 4) / 2', '( 3 + 4 )/2'),
        ('zero\u200bwidth', 'zerowidth'),
        ('café', 'cafe\u0301'),
        ('日本 の 人', '日本の人'),
        ('____ is blue', 'is blue'),
    ],
)
def test_dress_does_not_count(one, other):
    assert words_of(one) == words_of(other)


@pytest.mark.parametrize(
    ('one', 'other'),
    [
        ('12 + 5', '12 - 5'),
        ('12 * 5', '12 / 5'),
        ('12.5 pens', '125 pens'),
        ('12.5 pens', '12 5 pens'),
        ('-5 degrees', '5 degrees'),
        ('20% of 5', '20 of 5'),
        ('$5', '€5'),
        ('7 rows', '8 rows'),
        ('कि', 'की'),  # Hindi: only a mark differs
        ('the pens', 'pens the'),
        ('???', '!!!'),  # no words at all
    ],
)
def test_what_is_said_does(one, other):
    assert words_of(one) != words_of(other)


def test_numbers_are_masked_where_words_are_left():
    masked = without_numbers(words_of('She paid $1,250.50 for -3 of 20% at once'))
    assert masked == ('she', 'paid', '$', '#', 'for', '#', 'of', '#', '٪', 'at', 'once')
    bare = words_of('12 + 5 = ?')
    assert without_numbers(bare) == bare == ('12', '+', '5', '=')
    assert without_numbers(('12',), few=0) == ('#',)
    words = words_of('The b52s and 3d glasses')
    assert without_numbers(words) == words  # names, no numbers


def test_premise_and_hypothesis_and_choices_are_apart():
    assert wording(Example('1', 'A dog.</s>It runs.', ''), 'class')[:2] == (
        ('a', 'dog'),
        ('it', 'runs'),
    )
    text = 'Where?\nAnswer Choices:\n(a) The Zoo\n(b) park'
    both = wording(Example('1', text, '', options=('The Zoo', 'park')), 'choice')
    assert both == (('where',), ('the zoo', 'park'), True)
