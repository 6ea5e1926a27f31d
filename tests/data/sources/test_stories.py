"""The stories of the word problems: what they state and ask, and which dataset tells which."""

import collections
import functools
import itertools
import re
import string

import pytest

from qcrd_jax.data.answers import canonical
from qcrd_jax.data.sources import mwp, stories
from qcrd_jax.errors import InputError


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


# What a reader would do who has only the wording, by the words that give it away.
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
    told = {
        first: {story_of(example) for example in itertools.chain(*splits.values())}
        for first, splits in chosen.items()
    }
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
