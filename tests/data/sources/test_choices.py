"""Choices: which a question has, whether its text lists them, and which one is the label."""

import time

import pytest

from qcrd_jax.data.sources.choices import labelled, options_of, with_options
from qcrd_jax.data.sources.questions import Unexpected, with_choices

OPTIONS = ['zoo', 'river']


@pytest.mark.parametrize(
    'text',
    [
        'Where?\n(a) zoo\n(b) river',
        'Where?\nAnswer Choices:\n(a) zoo\n(b) river',
        'Where? (a) zoo (b) river',
        'Where? (a)zoo(b)river',
        'Where? (A) zoo, (B) river.',
        'Where? (a) zoo or (b) river?',
        'Where? (a) zoo; and (b) river',
        'A. zoo\nB. river',
        'A. zoo B. river',
        'A) zoo\nB) river\n\nAnswer:',
        'a: zoo\na bank is none\na: zoo\nb: river',
        'Option A: zoo\nOption B: river',
        '[a] zoo\n[b] river',
        '**A.** zoo\n**B.** river',
        '**A. zoo**\n**B. river**',
        '(a) "zoo" (b) "river"',
        '(a)  Zoo\n\n(b)   RIVER  ',
        '1. zoo\n2. river',
        'Where? 1) zoo 2) river',
        'Options:\n- zoo\n- river',
        '  * zoo\r\n  * river\r\n',
        '- (a) zoo\n- (b) river',
        '• zoo\n• river',
    ],
)
def test_a_list_of_every_choice_stays_as_it_is(text):
    assert with_options(text, OPTIONS) == text


@pytest.mark.parametrize(
    ('text', 'options'),
    [
        ('Do you know?', ['no', 'yes']),
        ('Is it a zoo or a river?', OPTIONS),
        ('zoo\nriver', OPTIONS),
        ('The zoo (a) and the river (b)', OPTIONS),
        ('(a) zoo', OPTIONS),  # one is missing
        ('(a) zoo\n\nOther: (b) bank', OPTIONS),
        ('(a) zoo keeper (b) river bank', OPTIONS),  # other choices than these
        ('(a) zoology (b) rivers', OPTIONS),
        ('- river\n- zoo', OPTIONS),  # no letters: those of their order are appended
        ('What is 5 - 3 - 2', ['3', '2']),
        ('(a) 2.5 (b) 3.5', ['2', '3']),
        ('(a) 5% (b) 7%', ['5', '7']),
        ('In 1. zoo and in 3. river', OPTIONS),
    ],
)
def test_other_choices_are_appended_with_letters(text, options):
    lettered = ''.join(f'\n({letter}) {o}' for letter, o in zip('ab', options, strict=True))
    assert with_options(text, options) == f'{text}\nAnswer Choices:{lettered}'


@pytest.mark.parametrize(
    'text',
    ['(a) river (b) zoo', 'A. river\nB. zoo', '(b) zoo\n(c) river', '(a) park (b) zoo (c) river'],
)
def test_letters_of_another_order_are_refused(text):
    with pytest.raises(Unexpected, match='the order in which the input has them'):
        with_options(text, OPTIONS)


@pytest.mark.parametrize(
    'options',
    [
        ['river', 'river bank'],
        ['A. Lincoln', 'B. Franklin'],
        ['1/2', '3/4'],
        ['zoo', 'river', 'zoo'],
        ['why (a)?', 'b) or not', '- 3'],
        ['x ', ' y\nz'],
        ['.', '!'],
    ],
)
def test_what_was_appended_is_a_list_of_every_choice(options):
    text = with_choices('Which?', options)
    assert with_options(text, options) == text
    if '\n' not in ''.join(options) and '.' not in options:  # also where words follow it
        assert with_options(f'{text}\nThink.', options) == f'{text}\nThink.'


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('Where?\n(a) Zoo\n(b) Park', ('Zoo', 'Park')),
        ('A. x\nB. y\nC. z', ('x', 'y', 'z')),
        ('A) x y\n\nB) z', ('x y', 'z')),
        ('Where? (a) one, (b) two or (c) three', ('one', 'two', 'three')),
        ('Which holds?\n(a) p\n(b) q\nOf these:\n(a) 1\n(b) 2\n(c) 3', ('1', '2', '3')),
        ('(b) x\n(a) y', None),
        ('(a) x\n(c) y', None),
        ('Where? A zoo, or B?', None),
        ('', None),
    ],
)
def test_choices_are_read_from_the_last_list_of_the_text(text, expected):
    if expected is None:
        with pytest.raises(Unexpected, match='at least two choices'):
            options_of(text, [])
    else:
        assert options_of(text, []) == expected
        assert with_options(text, expected) == text


def test_letters_in_front_of_every_choice_are_dropped():
    assert options_of('q', ['A)21', 'B) 22']) == ('21', '22')
    assert options_of('q', ['(a) x', '(b) y']) == ('x', 'y')
    assert options_of('q', ['B) x', 'A) y']) == ('B) x', 'A) y')
    assert options_of('q', ['A. Lincoln', 'Franklin']) == ('A. Lincoln', 'Franklin')
    assert options_of('q', ['a', 'b']) == ('a', 'b')


@pytest.mark.parametrize(
    ('label', 'expected'),
    [
        *[(label, 'river') for label in ('river', ' River. ', 'the river', 'b', 'B', '(b)', 'b.')],
        *[(label, 'river') for label in ('b) river', '(B) The River', '**b**')],
        *[(label, 'river') for label in ('Option b', 'Answer: (b)', 'b: river')],
        *[(label, None) for label in ('c', '(c)', 'z)', 'know', 'river bank', 'not zoo', '2', '?')],
        *[(label, None) for label in ('(a) river', 'zoo or river', 'zoo, since', 'x. river')],
    ],
)
def test_a_label_is_one_of_the_choices(label, expected):
    if expected is None:
        with pytest.raises(Unexpected, match="one of zoo, river in field 'label'"):
            labelled(label, 'Where?', OPTIONS)
    else:
        assert labelled(label, 'Where?', OPTIONS) == expected


def test_a_label_may_be_the_number_of_a_list():
    assert labelled('2', '1. zoo\n2. river', OPTIONS) == 'river'
    assert labelled('2', '1. zoo\n2. river', ['2', 'zoo']) == '2'
    with pytest.raises(Unexpected):
        labelled('3', '1. zoo\n2. river', OPTIONS)
    with pytest.raises(Unexpected):
        labelled('2', 'A. zoo\nB. river', OPTIONS)


def test_words_win_over_letters_and_the_exact_choice_over_a_similar_one():
    assert labelled('a', '', ['b', 'a']) == 'a'
    assert labelled('(a)', '', ['b', 'a']) == 'b'
    assert labelled('a zoo', '', ['zoo', 'a zoo']) == 'a zoo'


def test_hostile_texts_are_read_in_no_time():
    start = time.monotonic()
    for text in ('(a) ' * 4000, '(a) zoo ' * 4000, '(a) x' + ' ' * 200_000, 'A.' * 9000,
                 '- ' * 9000, '\n' * 90_000, '(a) x, or ' * 4000, '*' * 90_000):  # fmt: skip
        for options in (OPTIONS, [f'(a) {n}' for n in range(26)], ['x' * 1000, 'y ' * 1000]):
            try:
                with_options(text, options)
                options_of(text, [])
                labelled(text, text, options)
            except Unexpected:
                pass
    assert time.monotonic() - start < 60
