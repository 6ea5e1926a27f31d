"""Corruptions differ from their source, change what carries the reasoning, and are reproducible."""

import re
from fractions import Fraction

import numpy as np
import pytest

from qcrd_jax.data import lexicon
from qcrd_jax.data.augment import MASK, Word, corrupt

ARITHMETIC = 'Anna gave 12 pens to Ben. 30 - 12 = 18 pens are left.'
PLACE = 'The answer must be a place where sermons are given. Of the above choices, only churches give sermons.'  # noqa: E501
DENIAL = "The boy isn't leaving. Not all boys play football."


def corruptions(text, number=150, **kwargs):
    rng = np.random.default_rng(0)
    return [corrupt(text, rng, **kwargs) for _ in range(number)]


def changed_words(text, corrupted):
    """(before, after) of the words that differ; no word is inserted or deleted in these tests."""
    before, after = text.split(), corrupted.split()
    assert len(before) == len(after)
    return [(old, new) for old, new in zip(before, after, strict=True) if old != new]


@pytest.mark.parametrize(
    'text',
    ['', ' ', '...', '1', '+', '_', '😀', 'it is', 'not', 'a  b\nc', 'é 7,000.5', '٣ + ٤',
     '彼は本を読んだ。', 'Она дала 12 книг.', '"\\{}%s\x00\ud800', ARITHMETIC, PLACE, DENIAL],
)  # fmt: skip
@pytest.mark.parametrize('arithmetic', [True, False])
def test_differs_by_more_than_punctuation(text, arithmetic):
    words = re.findall(r'\w+|[-+*/]', text)
    for corrupted in corruptions(text, 50, arithmetic=arithmetic):
        assert re.findall(r'\w+|[-+*/]', corrupted) != words


@pytest.mark.parametrize(
    'part', ['word ', '1', '1 + ', '(', 'a1+', 'not ', "n't", '1.', ' ', '\n', '😀']
)
def test_ten_megabytes_are_survived(part):
    text = part * (10_000_000 // len(part))
    rng = np.random.default_rng(0)
    for arithmetic in (True, False):
        corrupted = corrupt(text, rng, arithmetic=arithmetic)
        assert corrupted != text
        assert len(corrupted) == pytest.approx(len(text), abs=10_000)  # of which all is one number


def test_the_generator_decides():
    assert corruptions(PLACE, arithmetic=False) == corruptions(PLACE, arithmetic=False)
    assert len(set(corruptions(PLACE, arithmetic=False))) > 30


class TestArithmetic:
    def test_one_number_or_operator_changes_and_its_result_perhaps(self):
        seen = set()
        for corrupted in corruptions(ARITHMETIC):
            changed = changed_words(ARITHMETIC, corrupted)
            places = {old for old, _ in changed}
            seen |= places
            assert places <= {'12', '30', '-', '18'}
            assert len(changed) == 1 or places == {'-', '18'}
        assert seen == {'12', '30', '-', '18'}

    def test_a_wrong_operation_keeps_the_result_or_has_its_own(self):
        ends = {c.partition('. 30 ')[2] for c in corruptions('Ben has 12. 30 - 12 = 18 pens.', 500)}
        wrong = {end for end in ends if end.startswith(('+', '*', '/'))}
        # 30 + 12 = 42, 30 * 12 = 360; 30 / 12 is not whole.
        assert wrong == {
            '+ 12 = 18 pens.', '+ 12 = 42 pens.', '* 12 = 18 pens.', '* 12 = 360 pens.',
            '/ 12 = 18 pens.',
        }  # fmt: skip

    def test_a_recalculated_result_is_written_as_the_old_one(self):
        results = {c.partition('= ')[2] for c in corruptions('2,000.0 / 4.0 = 500.00', 500)}
        assert '8000.00' in results  # the model 500.00 has decimals and no separator
        assert '8,000.0' in {
            c.partition('= ')[2] for c in corruptions('4,000.0 - 2 = 3,998.0', 300)
        }

    @pytest.mark.parametrize(
        'text', ['2 + 2 = 4', '7 / 1 = 7', '7 * 1 = 7', '5 - 0 = 5', '5 + 0 = 5']
    )
    def test_no_operator_of_the_same_value(self, text):
        calculate = {
            '+': lambda a, b: a + b,
            '-': lambda a, b: a - b,
            '*': lambda a, b: a * b,
            '/': lambda a, b: Fraction(a, b) if b else None,
        }
        a, sign, b = text.split()[:3]
        operators = set()
        for corrupted in corruptions(text):
            left, operator, right = corrupted.split()[:3]
            if (left, right) == (a, b) and operator in calculate:
                operators.add(operator)
        same = {
            o for o, f in calculate.items() if f(int(a), int(b)) == calculate[sign](int(a), int(b))
        }
        assert operators - {sign}
        assert operators & same <= {sign}  # there where the result was changed

    def test_numbers_take_another_value(self):
        text = 'He has 12.0 and 12 and 1,200 and 1200.'
        values = [12, 12, 1200, 1200]
        for corrupted in corruptions(text):
            numbers = re.findall(r'[0-9][0-9,.]*(?=\s|\.$)', corrupted)
            if MASK not in corrupted:
                found = [Fraction(number.replace(',', '')) for number in numbers]
                assert sum(a != b for a, b in zip(found, values, strict=True)) == 1

    def test_operands_are_never_swapped(self):
        assert not any('7 + 3' in c for c in corruptions('3 + 7 = 10', 300))

    def test_hyphens_years_and_signs_are_no_operators(self):
        text = 'In 2010-2014 push-ups and t - shirts of covid-19 cost -5.'
        for corrupted in corruptions(text):
            assert corrupted.count('-') == text.count('-')

    def test_marks_of_a_list_stay(self):
        text = '1. He has 5 pens.\n2) He buys 6.\nStep 3: 5 + 6 = 11'
        for corrupted in corruptions(text):
            assert re.match(r'1\. .*\n2\) .*\nStep 3: ', corrupted)

    def test_long_numbers(self):
        for corrupted in corruptions('9' * 5000, 20):
            assert corrupted in ('9' * 4999 + '0', MASK)


class TestStatements:
    def test_only_content_changes(self):
        text = 'Anna gave the books to her friend and 3 pens to Ben.'
        kept = {'the', 'to', 'her', 'and'}
        places = set()
        for corrupted in corruptions(text, arithmetic=False):
            changed = changed_words(text, corrupted)
            assert 1 <= len(changed) <= 3
            places |= {old.strip('.') for old, _ in changed}
        assert places.isdisjoint(kept)
        assert {'gave', 'books', 'friend', '3'} <= places

    def test_denials_lose_their_not(self):
        results = set(corruptions(DENIAL, arithmetic=False))
        assert 'The boy is leaving. Not all boys play football.' in results
        assert "The boy isn't leaving. All boys play football." in results

    @pytest.mark.parametrize(
        ('text', 'turned'),
        [
            ('A dog is an animal.', 'A dog is not an animal.'),
            ('A dog can swim.', 'A dog cannot swim.'),
            ('A dog cannot swim.', 'A dog can swim.'),
            ("They won't swim.", 'They will swim.'),
            ("It doesn't swim.", 'It does swim.'),
            ('Only a jar holds it.', 'Only a jar does not hold it.'),
            ('He eats more than she.', 'He eats less than she.'),
            ('There is no proof.', 'There is some proof.'),
            ('It is the same as rain.', 'It is different from rain.'),
            ('The hypothesis contradicts the premise.', 'The hypothesis supports the premise.'),
            ('EVERYONE sees it.', 'NO ONE sees it.'),
        ],
    )
    def test_claims_are_turned_round(self, text, turned):
        assert turned in corruptions(text, arithmetic=False)

    @pytest.mark.parametrize(
        'text',
        [
            'It does not mean that they are sisters.',  # `are not` would say the same
            'If it is so, they are sisters.',
            'They may be sisters.',
            'The answer must be a bird.',
        ],
    )
    def test_no_not_where_it_says_nothing(self, text):
        for corrupted in corruptions(text, arithmetic=False):
            assert len(re.findall(r'\bnot\b', corrupted)) <= len(re.findall(r'\bnot\b', text))

    def test_the_longest_phrase_is_turned(self):
        results = corruptions('Not all boys swim. It is the same as rain.', arithmetic=False)
        assert not any('Not few' in c or 'a different as' in c for c in results)

    def test_a_denied_verb_is_not_denied_again(self):
        for corrupted in corruptions('That does not imply a game.', arithmetic=False):
            assert 'do not' not in corrupted

    def test_compounds_and_frames_stay_whole(self):
        text = 'The first sentence tells of a motor boat and of a boat.'
        for corrupted in corruptions(text, arithmetic=False):
            assert 'The first sentence' in corrupted
            assert 'motor boat' in corrupted

    def test_at_most_one_claim_is_turned(self):
        text = 'Rain is wet. Snow is cold. Ice is hard.'
        assert {c.count(' not ') for c in corruptions(text, arithmetic=False)} == {0, 1}

    def test_words_are_replaced_by_their_kind(self):
        text = 'Three red cars were parked on Monday.'
        cars = {
            lexicon.inflect(word, 's') for word in ('boat', 'train', 'plane', 'bicycle', 'truck')
        }
        new = [pair for c in corruptions(text, 400, arithmetic=False) if ' not ' not in c
               for pair in changed_words(text, c)]  # fmt: skip
        numbers = {after for before, after in new if before == 'Three'}
        vehicles = [after for before, after in new if before == 'cars']
        assert {'Two', 'Four', 'Twelve', MASK} <= numbers
        assert all(number == MASK or number[0].isupper() for number in numbers)
        assert sum(vehicle in cars for vehicle in vehicles) > len(vehicles) / 2
        assert all(vehicle == MASK or vehicle.endswith('s') for vehicle in vehicles)

    def test_articles_follow(self):
        for corrupted in corruptions('He is an actor in a store.', arithmetic=False):
            for article, word in re.findall(r'\b(an?) ([a-z]+)', corrupted):
                assert (article == 'an') == (word[0] in 'aeiou')

    def test_peers_are_not_swapped(self):
        for corrupted in corruptions('He sailed from Norway to Iceland.', 600, arithmetic=False):
            assert 'from Iceland to Norway' not in corrupted

    def test_names_change_seldom(self):
        text = 'Anna saw the garden and the house of Ben.'
        changed = [before.strip('.') for c in corruptions(text, 400, arithmetic=False)
                   for before, _ in changed_words(text, c)]  # fmt: skip
        names = changed.count('Anna') + changed.count('Ben')
        assert 0 < names < (changed.count('garden') + changed.count('house')) / 4

    def test_masks_are_a_tenth(self):
        changed = [after for c in corruptions(PLACE, 500, arithmetic=False)
                   for after in c.split() if after not in PLACE.split()]  # fmt: skip
        masked = sum(MASK in word for word in changed) / len(changed)
        assert 0.06 < masked < 0.14

    def test_other_scripts_get_no_english_words(self):
        text = 'Она дала сестре книги и письма.'
        for corrupted in corruptions(text, arithmetic=False):
            assert not re.search('[a-z]', corrupted)

    def test_punctuation_is_no_word_even_if_tagged(self):
        tagged = corrupt('?!', np.random.default_rng(0), tagger=lambda _: [Word(0, 2, 'PUNCT')])
        assert tagged == f'?! {MASK}'

    def test_the_tagger_decides_what_is_content(self):
        def tagger(text):
            return [Word(0, 3, 'NOUN'), Word(4, 7, 'PUNCT'), Word(8, 11, 'DET')]

        for corrupted in corruptions('foo bar baz', 50, arithmetic=False, tagger=tagger):
            assert corrupted.endswith(' bar baz')


def test_every_opposite_is_another_word():
    tables = [lexicon.FLIPS, *lexicon.OPPOSITES.values()]
    assert all(word != opposite for table in tables for word, opposite in table.items())
    for (_, word), group in lexicon.EXCLUSIVE.items():
        assert word in group
        assert len(set(group)) == len(group) > 1
