"""The word problems are what they claim to be, and so are the teacher's slips."""

import collections
import dataclasses
import functools
import hashlib
import json
import re
import string

import pytest

from qcrd_jax.data.answers import answers_match, canonical
from qcrd_jax.data.self_consistency import split_samples
from qcrd_jax.data.sources import mwp, stories
from qcrd_jax.errors import InputError

SMALL = mwp.Settings(train=600, validation=50, test=100)
PINNED = (
    'mwp-test-000000',
    'Cara has 89 eggs, sells 16 and loses 44. How many are left?',
    '( ( 89 - 16 ) - 44 )',
)

DIGEST = '5b27bbcd87b1f59292deb2e78e8d0a301bc47a26f39befa785af0c24236f3d6e'


@pytest.fixture(scope='module')
def splits():
    return mwp.generate(SMALL)


def everything(splits):
    return [example for examples in splits.values() for example in examples]


def test_sizes_and_determinism(splits):
    assert {split: len(examples) for split, examples in splits.items()} == {
        'train': 600,
        'validation': 50,
        'test': 100,
    }
    assert mwp.generate(SMALL) == splits
    assert mwp.generate(mwp.Settings(train=600, validation=50, test=100, seed=1)) != splits


def test_the_first_problem_is_pinned(splits):
    example = splits['test'][0]
    assert (example.id, example.input, example.label) == PINNED


def test_the_default_dataset_is_pinned():
    # Measured when there were but four stories per operation: later ones leave it as it was.
    splits = mwp.generate(mwp.Settings(train=50, validation=50, test=50))
    records = {
        split: [dataclasses.asdict(example) for example in examples]
        for split, examples in splits.items()
    }
    assert hashlib.sha256(json.dumps(records).encode()).hexdigest() == DIGEST


def test_no_question_occurs_twice(splits):
    questions = [example.input for example in everything(splits)]
    assert len(set(questions)) == len(questions)


def test_test_problems_do_not_depend_on_the_number_of_training_problems(splits):
    other = mwp.generate(mwp.Settings(train=10, validation=50, test=100))
    assert other['test'] == splits['test']
    assert other['validation'] == splits['validation']


def test_label_takes_its_numbers_from_the_question_in_order(splits):
    for example in everything(splits):
        numbers = re.findall(r'\d+', example.label)
        rest = re.findall(r'\d+', example.input)
        for number in numbers:  # a subsequence: distractors may stand between
            rest = rest[rest.index(number) + 1 :]
        value = canonical(example.label, 'equation')
        assert value >= 1
        assert value.denominator == 1


def test_settings_shape_the_problems():
    plain = mwp.generate(
        mwp.Settings(
            train=200, max_number=20, two_step=0.0, distractors=0.0, operations='+-', stories=1
        )
    )
    for example in everything(plain):
        assert re.fullmatch(r'\( (\d+) [+-] (\d+) \)', example.label)
        numbers = [int(number) for number in re.findall(r'\d+', example.input)]
        assert len(numbers) == 2
        assert max(numbers) <= 20
        assert 'buys' in example.input or 'gives away' in example.input

    hard = everything(mwp.generate(mwp.Settings(train=300, two_step=1.0, distractors=1.0)))
    assert all(example.label.count('(') == 2 for example in hard)
    assert all(len(re.findall(r'\d+', example.input)) == 4 for example in hard)


def test_shares_of_two_step_problems_and_distractors():
    examples = everything(mwp.generate(mwp.Settings(train=4000, two_step=0.3, distractors=0.2)))
    two_step = [example.label.count('(') == 2 for example in examples]
    operands = [len(re.findall(r'\d+', example.label)) for example in examples]
    numbers = [len(re.findall(r'\d+', example.input)) for example in examples]
    extra = [n > o for n, o in zip(numbers, operands, strict=True)]
    # Binomial with n = 4700: three standard deviations are 0.02.
    assert sum(two_step) / len(examples) == pytest.approx(0.3, abs=0.02)
    assert sum(extra) / len(examples) == pytest.approx(0.2, abs=0.02)


def test_rationales_compute_what_they_state_without_slips():
    splits = mwp.generate(mwp.Settings(train=500, samples=3, teacher_temperature=0.0))
    for example in everything(splits):
        for sample in example.samples:
            assert answers_match(sample.answer, example.label, 'equation')
            for left, result in re.findall(r'(\d+ [-+*/] \d+) = (\d+)', sample.rationale):
                assert canonical(left, 'equation') == canonical(result, 'equation')
            assert sample.text == f'{sample.rationale} The answer is {sample.answer}.'
            assert sample.source == 'mwp-teacher'


@pytest.mark.parametrize(('temperature', 'rate'), [(0.7, 0.193), (1.5, 0.339)])
def test_slips_follow_the_temperature(temperature, rate):
    settings = mwp.Settings(
        train=1500, two_step=0.0, distractors=0.5, teacher_temperature=temperature
    )
    examples = mwp.generate(settings)['train']
    wrong = [
        not answers_match(sample.answer, example.label, 'equation')
        for example in examples
        for sample in example.samples
    ]
    # 1 / (1 + exp(1 / T)); a few slips do no harm (2 + 2 for 2 * 2). 7500 draws: 3 sd are 0.017.
    assert sum(wrong) / len(wrong) == pytest.approx(rate, abs=0.02)


def test_every_kind_of_slip_occurs():
    settings = mwp.Settings(train=1500, two_step=0.0, distractors=1.0, operations='-')
    kinds = set()
    for example in mwp.generate(settings)['train']:
        a, b = re.findall(r'\d+', example.label)
        for sample in example.samples:
            step = re.search(r'(\d+) ([-+*/]) (\d+) = (-?\d+)', sample.rationale).groups()
            if step[:3] == (b, '-', a):
                kinds.add('swapped operands')
            elif step[:3] == (a, '-', b):
                kinds.add('right' if int(a) - int(b) == int(step[3]) else 'arithmetic slip')
            elif step[0] == a and step[2] == b:
                kinds.add('wrong operation')
            elif step[:2] == (a, '-'):
                assert step[2] in re.findall(r'\d+', example.input)
                kinds.add('distractor used')
    assert kinds == {
        'right', 'swapped operands', 'arithmetic slip', 'wrong operation', 'distractor used',
    }  # fmt: skip


def test_self_consistency_is_better_than_one_sample(splits):
    labels = [canonical(example.label, 'equation') for example in splits['train']]
    votes = [split_samples(e.samples, e.label, 'equation').vote for e in splits['train']]
    singles = [canonical(e.samples[0].answer, 'equation') for e in splits['train']]
    right = sum(vote == label for vote, label in zip(votes, labels, strict=True)) / 600
    single = sum(vote == label for vote, label in zip(singles, labels, strict=True)) / 600
    assert right > 0.93 > 0.85 > single


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('train', 0),
        ('max_number', 3),
        ('two_step', 1.5),
        ('distractors', -0.1),
        ('operations', '+^'),
        ('operations', ''),
        ('stories', 0),
        ('first_story', -1),
        ('teacher_temperature', -1.0),
    ],
)
def test_bad_settings_are_named(field, value):
    with pytest.raises(InputError, match=f'data.mwp.{field}'):
        mwp.Settings(**{field: value})


def test_more_problems_than_there_are_is_an_error(monkeypatch):
    monkeypatch.setattr(mwp, '_ATTEMPTS', 20)
    with pytest.raises(InputError, match=r'raise data\.mwp\.max_number'):
        mwp.generate(
            mwp.Settings(train=200_000, max_number=9, two_step=0.0, distractors=0.0, operations='/',
                         stories=1, samples=0)
        )  # fmt: skip


def test_operations_without_a_story_of_two_steps():
    with pytest.raises(InputError, match=r'data\.mwp\.two_step'):
        mwp.Settings(operations='*')


# --- Stories --------------------------------------------------------------------------------------


def fields(text):
    return [field for _, field, _, _ in string.Formatter().parse(text) if field]


@pytest.mark.parametrize('story', stories.STORIES, ids=lambda story: story.facts)
def test_a_story_states_its_numbers_in_order_and_asks_without_one(story):
    letters = [field for field in fields(story.facts) if len(field) == 1]
    assert letters == list('abc'[: len(story.operations) + 1])
    assert set(fields(story.question)) <= {'name', 'other', 'things'}
    assert set(fields(story.facts)) - set(letters) <= {'name', 'other', 'things'}
    text = f'{story.facts} {story.question}'
    assert text.isascii()
    assert story.facts.endswith('.')
    assert story.question.endswith('?')
    bare = re.sub(r'\{\w+\}', '', text)
    assert not re.search(r'\d|\b(two|three|four|five|six|ten|half|twice|double)\b', bare)
    # Whoever the question names was met in the facts.
    assert set(fields(story.question)) - {'things'} <= set(fields(story.facts))
    assert 'things' in fields(story.facts) or story.unit
    assert set(story.operations) <= set('+-*/')


def test_a_story_counts_things_unless_it_says_what():
    # A question about money, distance or time is not answered in pens.
    words = {'dollars': 'much', 'miles': 'far|miles', 'years': 'old'}
    for story in stories.STORIES:
        asked = re.search(r'How much|How far|[Hh]ow old|years', story.question)
        assert not asked or story.unit
        if story.unit in words:
            assert re.search(words[story.unit], story.question)
        elif story.unit:
            assert story.unit in story.question or story.unit.rstrip('s') in story.question


def test_there_are_as_many_stories_of_every_operation():
    counts = collections.Counter(story.operations for story in stories.STORIES)
    pairs = {operations for operations in counts if len(operations) == 2}
    assert {operation: counts[operation] for operation in '+-*/'} == dict.fromkeys(
        '+-*/', stories.PLACES
    )
    assert {counts[pair] for pair in pairs} == {stories.PLACES // stories.PAIR_STEP}
    assert len({story.facts for story in stories.STORIES}) == len(stories.STORIES)


# What a reader would do with the wording alone, by the words that give it away.
WORKED = (
    ('Ida has 14 pens now, after buying 5. How many pens did Ida have before?', 9),
    ('Ida has 14 pens, which is 5 fewer than Ben has. How many pens does Ben have?', 19),
    ('Ida has 14 pens, which is 5 more than Ben has. How many pens does Ben have?', 9),
    ('Ida has 20 pens, which is 5 times as many as Ben has. How many pens does Ben have?', 4),
    ('Ida packs 20 pens in bags of 5. How many bags does Ida fill?', 4),
    ('Ida spent 14 dollars and has 5 dollars left. How much money did Ida start with?', 19),
    ('After giving away 14 pens, Ida still has 5. How many pens did Ida have at first?', 19),
    ('Of 14 pens, 5 are red, 2 are blue and the rest are green. How many pens are green?', 7),
    ('Of 14 pens, Ida lost 5. The others lie in rows of 3. How many rows are there?', 3),
    ('A hall has 14 rows of 5 seats. In all, 20 seats are empty. How many seats are taken?', 50),
)


@pytest.mark.parametrize(('text', 'answer'), WORKED)
def test_stories_that_mislead_have_the_right_operations(text, answer):
    numbers = [int(number) for number in re.findall(r'\d+', text)]
    words = {'name': 'Ida', 'other': 'Ben', 'things': 'pens'}
    words |= dict(zip('abc', map(str, numbers), strict=False))
    told = [
        story
        for story in stories.STORIES
        if len(story.operations) == len(numbers) - 1
        and f'{story.facts} {story.question}'.format(**words) == text
    ]
    (story,) = told
    problem = mwp.Problem(text, tuple(numbers), story.operations, 'pens', None)
    assert canonical(problem.label, 'equation') == answer


def story_of(example):
    """The one story that tells an example's question, whatever its words and its aside."""
    question = re.sub(r'(^| )\w+ also sees \d+ \w+\.', '', example.input).strip()
    (story,) = [story for story, shape in shapes() if shape.fullmatch(question)]
    return story


@functools.cache
def shapes():
    shapes = []
    for story in stories.STORIES:
        text = re.sub(r'([.?])', r'\\\1', f'{story.facts} {story.question}')
        text = re.sub(r'\{\w\w+\}', r'\\w+', re.sub(r'\{\w\}', r'\\d+', text))
        shapes.append((story, re.compile(text)))
    return shapes


def test_places_that_do_not_overlap_share_no_story():
    chosen = {
        first: mwp.generate(
            mwp.Settings(train=1500, samples=0, stories=number, first_story=first, two_step=0.4)
        )
        for first, number in ((0, 4), (4, 12))
    }
    told = {first: {story_of(e) for e in everything(splits)} for first, splits in chosen.items()}
    assert not told[0] & told[4]
    # 4 + 12 of each operation, 1 + 3 of each of 8 pairs; 1500 draws of 72 stories miss none.
    assert (len(told[0]), len(told[4])) == (24, 72)
    assert told[0] | told[4] == set(stories.STORIES)


def test_results_of_later_stories_are_named_by_their_unit():
    settings = mwp.Settings(
        train=600, samples=1, first_story=4, stories=12, teacher_temperature=0.0
    )
    for example in mwp.generate(settings)['train']:
        story = story_of(example)
        unit = re.search(r'(\w+)\.$', example.samples[0].rationale).group(1)
        assert unit == story.unit if story.unit else unit in mwp._THINGS
        assert unit in example.input or story.unit in {'years', 'bags', 'rows', 'packs', 'children'}


@pytest.mark.parametrize(
    ('settings', 'missing'),
    [
        ({'first_story': 16}, r'left for \+, -, \*, /, two steps at the places 16 to 19'),
        ({'first_story': 5, 'stories': 3}, 'left for two steps at the places 5 to 7'),
        ({'first_story': 20, 'two_step': 0.0, 'operations': '-'}, 'left for - at the places 20'),
    ],
)
def test_places_without_a_story_are_an_error(settings, missing):
    with pytest.raises(InputError, match=rf'data\.mwp\.first_story: no story is {missing}'):
        mwp.Settings(**settings)
    assert mwp.Settings(first_story=5, stories=3, two_step=0.0)
