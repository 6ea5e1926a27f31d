"""Answers are compared by value."""

from fractions import Fraction

import pytest

from qcrd_jax.data.answers import MAX_CHARACTERS, answers_match, canonical
from qcrd_jax.data.schema import NLI_CLASSES


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('( 84.0 / 2.0 )', 42),
        ('( ( 17.0 + 15.0 ) + 2.0 )', 34),
        ('(102 * 11) - 8', 1114),
        ('2 + 3 * 4', 14),
        ('(2 + 3) * 4', 20),
        ('7 - 2 - 1', 4),
        ('64 / 8 / 2', 4),
        ('2 / 4 * 2', 1),
        ('-( 3 + 2 )', -5),
        ('2 * -3', -6),
        ('3 - -4', 7),
        ('is -5', -5),
        ('6-2', 4),
        ('28,462', 28462),
        ('1,234.50 dollars', Fraction(2469, 2)),
        ('( 0.1 + 0.2 )', Fraction(3, 10)),
        ('10 / 3', Fraction(10, 3)),
        ('$4 / 2 = $2', 2),
        ('84 points / 2 rounds', 42),
        ('84 points / 2 rounds = 42 points per round', 42),
        ('16 - (-11) = 27 more', 27),
        ('53 x 57', 3021),
        ('8 ÷ 2 − 1', 3),
        ('**42**', 42),
        ('(which is 42)', 42),
        ('35 (thirty-five)', 35),
        ('x = 3', 3),
        ('146 g', 146),
        ('3 packs of 10-year-old cheese and 3 more', None),
        ('5 apples or 5', 5),
        ('eight', 8),
        ('no more than two cookies', 2),
        (r'\( 84 \div 2 = 42 \)', 42),
        (r'$\boxed{6 \times 7}$', 42),
        (r'\frac{84}{2} \text{ points}', 42),
        (r'28{,}462 + \$1', 28463),
        ('**5** + **6** = **11**', 11),
    ],
)
def test_value_of_what_an_answer_states(text, value):
    assert canonical(text, 'equation') == (None if value is None else Fraction(value))


@pytest.mark.parametrize(
    'text',
    [
        '',
        'no number here',
        '( 84 / )',
        '( 84 / 2',
        '84 / 2 )',
        '( )',
        '5 = ',
        '5 = 3 + ',
        '(5 + x)',
        'x - 5',
        'apples - 5',
        '2x + 3',
        '3 birds and 10 storks',
        '12,34',
        '3e5',
        '1e1',
        '0x10',
        '5_000',
        '10:30',
        '1 / 0',
        '1 / ( 2 - 2 )',
        '9**9**9',
        '9 ** 9',
        '9**9**',
        '2^10',
        '5²',
        '½',
        '٣',
        '４２',
        'NaN',
        'inf',
        '__import__("os").system("true")',
        'abs(5)',
        '[5, 6][0]',
        '9' * 19,
        '+'.join(['1'] * 200),
    ],
)
def test_text_without_one_value_is_no_answer(text):
    assert canonical(text, 'equation') is None


def test_number_of_digits_and_tokens_bound_the_arithmetic():
    longest = '*'.join(['9' * 18] * 50)
    value = canonical(longest, 'equation')
    assert value == int('9' * 18) ** 50


def test_equality_is_by_value_not_by_spelling():
    assert answers_match('( 84 / 2 )', '( 84.0 / 2.0 )', 'equation')
    assert answers_match('42', '( 84.0 / 2.0 )', 'equation')
    assert answers_match('( 2 * 21 )', '( 84.0 / 2.0 )', 'equation')
    assert not answers_match('( 2 / 84 )', '( 84.0 / 2.0 )', 'equation')
    assert not answers_match('', '( 84.0 / 2.0 )', 'equation')


def test_an_unreadable_label_matches_nothing():
    assert not answers_match('', '', 'equation')
    assert not answers_match('x', 'x', 'equation')


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('(d) Math  problem.', 'math problem'),
        ('d) math problem', 'math problem'),
        ('math problem', 'math problem'),
        ('**(d)** math problem', 'math problem'),
        ('  ', None),
    ],
)
def test_a_choice_without_its_options_is_its_words(text, value):
    assert canonical(text, 'choice') == value


_PLACES = ('bank', 'math problem', 'grocery store', 'bank vault', "neighbor's house")


@pytest.mark.parametrize(
    ('text', 'place'),
    [
        # A letter, spelled as letters are.
        *((text, 2) for text in ('(c)', 'c', 'C.', 'c)', '(c', '[c]', '**C**', 'option c',
                                 'Option (c)', 'choice C.', r'\text{(c)}', '(c) is right',
                                 '(c) since the bank is closed', 'Option C is the best choice')),
        # The words, whatever their case, punctuation, spacing, hyphens and articles.
        *((text, 2) for text in ('grocery store', ' Grocery  Store. ', 'the grocery store',
                                 'a grocery-store!', '"grocery store"', 'grocery\nstore')),
        ('neighbor’s house', 4),
        ('neighbors house', 4),
        # Both. The words win; words that are no option shorten or explain that of the letter.
        ('(c) grocery store', 2),
        ('c: grocery store', 2),
        ('C. Grocery store.', 2),
        ('c - grocery store', 2),
        ('c grocery store', 2),
        ('grocery store (c)', 2),
        ('(b) grocery store', 2),
        ('(b) the grocery store', 2),
        ('(z) grocery store', 2),
        ('(c) grocery', 2),
        ('(e) because it is near', 4),
        ('(b) math problem, which is no bank', 1),
        # A phrase with one option in it. Of options in one another the longer one is meant.
        ('It is most likely the grocery store', 2),
        ('a bank vault', 3),
        ('the vault of the bank', 0),
        ('the bank, not the bank vault', 0),
        ('the bank rather than a grocery store', 0),
        ('a bank', 0),
        # None, several, denied, or beyond the options.
        *((text, None) for text in ('', '()', 'school', 'banks', '(f)', 'z', '(f) school',
                                    'none of the above', 'bank or grocery store', '(a) or (b)',
                                    'either (a) bank or (d) bank vault', '(a), (b), and (c)',
                                    '(a) bank(c) grocery store', 'not (c)', 'not the bank',
                                    'it is no bank', '(b) (c) bank',
                                    'bank but not the bank', '(a) next to a grocery store',
                                    'a, b and c')),
    ],
)  # fmt: skip
def test_choice_by_letter_or_words(text, place):
    assert canonical(text, 'choice', _PLACES) == (None if place is None else _PLACES[place])


@pytest.mark.parametrize(
    ('text', 'options', 'value'),
    [
        # Options that are letters: a bracketed letter is a place, a bare one the option itself.
        ('a', ('b', 'a'), 'a'),
        ('(a)', ('b', 'a'), 'b'),
        ('(a) b', ('b', 'a'), 'b'),
        ('it is a bird', ('a', 'b'), None),
        ('a', ('bird', 'fish'), 'bird'),
        ('a bird', ('fish', 'bird'), 'bird'),
        ('vitamin c', ('vitamin c', 'vitamin d'), 'vitamin c'),
        # Options with the same words: only their own spelling distinguishes them.
        ('C++', ('C', 'C++'), 'c++'),
        ('C', ('Java', 'C', 'C++'), 'c'),
        ('in C++', ('C', 'C++'), None),
        ('it is in C++', ('in C', 'in C++'), None),
        # Numbers.
        ('5', ('-5', '5', '5.5'), '5'),
        ('it is -5', ('-5', '5', '5.5'), '-5'),
        ('it is 5.5.', ('-5', '5', '5.5'), '5.5'),
        ('2 apples', ('2 apples', '12 apples'), '2 apples'),
        # An article of the option may be missing; one that distinguishes options may not.
        ('store', ('the store', 'a bank'), 'the store'),
        ('the store', ('store', 'the store'), 'the store'),
        ('store', ('store', 'the store'), 'store'),
        ('a store', ('store', 'the store'), 'store'),
        # Overlapping options.
        ('new york city', ('new york', 'york city'), None),
        ('new york city', ('new york', 'new york city'), 'new york city'),
        # The same option twice, and one that is empty.
        ('(e)', ('bridge', 'x', 'y', 'z', 'bridge'), 'bridge'),
        ('(a) or (b)', ('bridge', 'bridge'), 'bridge'),
        ('', ('', 'bank'), None),
        ('(a)', ('', 'bank'), None),
        # A denial inside an option is part of it.
        ('do not go', ('do not go', 'go'), 'do not go'),
        ('(b) not sure', ('sure', 'not sure'), 'not sure'),
        ('Москва', ('москва', 'Минск'), 'москва'),
        ('cafe\u0301', ('café', 'bar'), 'café'),
    ],
)
def test_choices_among_options_that_are_easily_confused(text, options, value):
    assert canonical(text, 'choice', options) == value


def test_a_long_text_only_mentions_an_option():
    words = ' '.join(['word'] * 40)
    assert canonical(f'{words} bank', 'choice', _PLACES) is None
    assert canonical(f'bank because {words}', 'choice', _PLACES) == 'bank'


def test_labels_and_predictions_meet_by_their_options():
    assert answers_match('(b)', 'math problem', 'choice', _PLACES)
    assert answers_match('(a) math problem', 'math problem', 'choice', list(_PLACES))
    assert not answers_match('(a)', 'math problem', 'choice', _PLACES)
    assert not answers_match('(b)', 'math problem', 'choice')
    assert answers_match('yes', 'Entailment', 'class', NLI_CLASSES)


@pytest.mark.parametrize(
    ('name', 'texts'),
    [
        ('entailment', ('Entailment', 'The answer is Entailment.', 'entails', 'it is entailed',
                        'Yes.', 'yes', 'True', 'definitely true', 'The hypothesis is true.', '(a)',
                        'entailment because it does not contradict', '**entailment**')),
        ('neutral', ('NEUTRAL', 'maybe', 'possibly', 'Unknown.', 'undetermined', 'inconclusive',
                     'It is not possible to tell.', 'not possible to tell whether it is true',
                     'cannot be determined', "It can't be determined.", 'not necessarily true',
                     'might be true', 'neither entailed nor contradicted', '(b)', 'b',
                     'It neither contradicts nor entails it', 'neutral, not contradiction',
                     'impossible to say', 'not enough information', '(a) neutral')),
        ('contradiction', ('contradiction', 'contradicts', 'contradictory', 'is contradicted', 'No',
                           'no.', 'No, it contradicts the premise.', 'FALSE', 'definitely false',
                           'impossible', 'untrue', '(c)', 'option c')),
        (None, ('', 'not entailment', 'not entailed', 'does not contradict', "doesn't contradict",
                'not neutral', 'no contradiction', 'there is no entailment', 'non-entailment',
                'not true', 'without contradiction', 'neutral or contradiction', 'true or false',
                'yes and no', 'entailment, neutral', '(d)', 'probably', 'nothing', 'neutrality',
                'Yes, it is a contradiction', 'unentailed', 'contradictionentailment')),
    ],
)  # fmt: skip
def test_classes_of_inference_and_their_synonyms(name, texts):
    assert {text: canonical(text, 'class') for text in texts} == dict.fromkeys(texts, name)


@pytest.mark.parametrize(
    ('text', 'classes', 'value'),
    [
        ('It is Very Negative!', ('very negative', 'negative', 'positive'), 'very negative'),
        ('negative', ('very negative', 'negative', 'positive'), 'negative'),
        ('positive and negative', ('very negative', 'negative', 'positive'), None),
        ('positively', ('negative', 'positive'), None),
        ('not positive', ('negative', 'positive'), None),
        ('not_entailment', ('entailment', 'not_entailment'), 'not_entailment'),
        ('not entailment', ('entailment', 'not_entailment'), 'not_entailment'),
        ('yes', ('entailment', 'not_entailment'), None),
        ('no', ('yes', 'no'), 'no'),
        ('No, it does not.', ('yes', 'no'), 'no'),
        ('(b)', ('sports', 'world'), 'world'),
        ('a good team', ('a', 'b'), None),
        ('Contradiction', ('contradiction', 'entailment', 'neutral'), 'contradiction'),
        ('(a)', ('contradiction', 'entailment', 'neutral'), 'contradiction'),
    ],
)
def test_classes_of_other_datasets(text, classes, value):
    assert canonical(text, 'class', classes) == value


@pytest.mark.parametrize(
    ('text', 'value'), [(' Yes,  it\nis. ', 'yes, it is'), ('', None), (' . ', None)]
)
def test_free_text_is_compared_casefolded(text, value):
    assert canonical(text, 'text') == value


def test_what_is_longer_than_an_answer_is_not_read():
    for answer_type, answer in (('equation', '42'), ('class', 'neutral'), ('text', 'x'),
                                ('choice', '(b)')):  # fmt: skip
        padded = answer.ljust(MAX_CHARACTERS)
        assert canonical(padded, answer_type, _options(answer_type)) is not None
        assert canonical(padded + ' ', answer_type, _options(answer_type)) is None


def _options(answer_type):
    return {'choice': _PLACES, 'class': NLI_CLASSES}.get(answer_type, ())
