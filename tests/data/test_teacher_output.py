"""Raw LLM text, of the kinds that real teachers write, is split into rationale and answer.

Most cases are texts in which «the rationale» and ‹the answer› are marked.
"""

import collections
import json
import re

import pytest

from qcrd_jax.data.answers import answers_match, canonical
from qcrd_jax.data.teacher_output import MAX_TEXT, parse_answer


def unmarked(text):
    """The text without its marks, the «rationale» in it and the ‹answer›; '' for what is not there.

    The answer may stand in the rationale.
    """
    found = [re.search(marks, text, re.DOTALL) for marks in ('«(.*)»', '‹(.*)›')]
    return [re.sub('[«»‹›]', '', part) for part in (text, *(f[1] if f else '' for f in found))]


@pytest.mark.parametrize(
    ('marked', 'value'),
    [
        # A turn of the model's own invention follows, with an answer that is not to this question.
        (
            (
                '«So 84 / 2 = 42.» The answer is (84 / 2).\n\nQ: Trees?\nA: 6. The answer is (21 '
                '- 15).'
            ),
            42,
        ),
        # The calculation continues after the closing bracket.
        ('«11 each.» The answer is (102 * 11) - 8.', 1114),
        (' Rationale: «18 - 10 = 8», hence the answer is 8.', 8),
        ('Rationale: «We divide.» Hence the answer is 36 / 4 = 9 bags.', 9),
        # The last statement counts.
        ('«We add.» Hence the answer is 9.0 - 7.0 = 2.0 emails. Answer: 2.0 emails.', 2),
        ('«We add.» Hence the answer is Answer: 3168.0', 3168),
        ('«31 * 61 pages.» Answer: 1,891', 1891),
        ('«It costs $4 - $3 = $1.» Hence the answer is $1.', 1),
        # No statement, but a calculation that ends.
        (' «43 - 2 = 41 apples»', 41),
        ('«4 boys\n8 / 4 = 2\nEach boy gets 2 marbles»', 2),
        ('«He had 6 and she had 5, so he had 1 more.»', 1),
        (' «36 + 13 = 49\n\nRationale: Add both.»', 49),
        ('«He spends 6 * 2 = 12 hours in 2 days.»', 12),
        # An answer and nothing else.
        (' 30', 30),
        ('The answer is 5.', 5),
        # Unreadable.
        ('', None),
        ('«He had x.» The answer is (23 + x).', None),
        ('The answer is (2', None),
        ('Hence the answer is 24 flowers and 84 sticks.', None),
        ('«3 birds and 10 storks are on the fence.»', None),
    ],
)
def test_rationale_and_answer(marked, value):
    text, rationale, _ = unmarked(marked)
    parsed_rationale, answer = parse_answer(text, 'equation')
    assert parsed_rationale == rationale
    assert canonical(answer, 'equation') == value
    assert (answer == '') == (value is None)


def test_a_text_cut_off_by_a_length_limit_has_no_answer():
    # The last number stands in a sentence that never ends.
    text = 'She has 5 pens. ' * 30 + 'So she needs to add 7'
    assert parse_answer(text, 'equation')[1] == ''
    assert parse_answer(text + '.', 'equation')[1] == 'she needs to add 7'


_PLACES = ('bank', 'train station', 'math problem', 'park', 'bridge')


@pytest.mark.parametrize(
    'marked',
    [
        # PaLM, as Distilling step-by-step released it: `the answer must be` begins the reasoning.
        (
            '«The answer must be a place. Of the above choices, only trains stop there.» So the '
            'answer is ‹(b) train station›.\n\nQ: Next?\nAnswer Choices:\n(a) x\nA: It is (a)'
        ),
        (
            '«The answer should be a place. Of the above choices, the closest answer is (d) '
            'park.» So the answer is ‹(d) park›.'
        ),
        '«Only these two.» So the answer is either (a) bank or (d) park.\n\nQ: x',
        '«Cut off.» So the answer is ‹(b›',
        '«Cut off. So the»',
        # Llama: a next question on the same line, the answer twice, the options again.
        '«Trains stop.» So the answer is ‹(b) train station›. Q: If',
        ' Rationale: «Trains stop», hence the answer is Answer: ‹(b)›',
        '(b) train station\n\n«Trains stop there.» Hence the answer is ‹train station›.',
        '«(a) bank\n\nTrains stop there.» Hence the answer is ‹train station›.',
        '«Answer Choices:\n(a) bank\n(b) train station\nA: Trains stop there.» The answer is ‹(b)›',
        # Chat models: Markdown, LaTeX, headings, numbered steps.
        '«Trains stop there.»\n\n**Answer:** ‹(b)›',
        '«Trains stop there.»\n\n**Answer: ‹(b) train station›**',
        '«Trains stop there.»\n\n### Final Answer\n\n**‹(b)›**',
        '«Trains stop.» The final answer is $\\boxed{\\text{‹(b)›}}$.',
        '«1. **Bank**: no trains.\n2. **Park**: no rails.»\n\nThe correct option is **‹(b)›**.',
        'The correct answer is:\n\n‹B. Train station›\n\nExplanation: «Trains stop there.»',
        # No statement: only the first line, or a conclusion.
        '‹(b) train station›\n\n«Trains stop there.»',
        '‹Train station›',
        '«(a) bank\n\nTrains need rails. So it is the train station.»',
        '‹B›\n\n«Trains stop there.»',
        '‹A›\n\n«Money is kept there.»',
        'A: «Money is kept there.» The answer is ‹(a)›.',
        '«Trains need rails. Therefore, ‹it is the train station›.»',
        '«(a) bank: no.\n(b) train station: yes.»',
        '«Sorry. I cannot say.»',
        '«The answer is not (b).»',
        '«The answer must be a place like a bank is.»',
    ],
)
def test_choices(marked):
    text, *expected = unmarked(marked)
    assert parse_answer(text, 'choice', _PLACES) == tuple(expected)


def test_choices_without_options_are_read_as_they_stand():
    text = 'Only trains fit. So the answer is (b) train station.\n\nQ: Next?'
    assert parse_answer(text, 'choice') == ('Only trains fit.', '(b) train station')


@pytest.mark.parametrize(
    'marked',
    [
        # PaLM on ANLI and on e-SNLI, adding premises of its own.
        (
            '«Oxford Street is not on the continent.» So the answer is ‹contradiction›.\n\n'
            'Premise: The season.\nHypothesis: The season.\nAnswer: The same. So the answer is '
            'entailment.'
        ),
        (
            '«The woman is not necessarily young.»\nAnswer: ‹neutral›\n\nPremise: A woman.\n'
            'Hypothesis: A woman.\nReasonings: The same.\nAnswer: entailment\n\nPre'
        ),
        # Llama: the next question on the same line, in lower case; letters for the classes.
        (
            '«it presently has four routes», So the answer is ‹neutral› premise: The system., '
            'hypothesis: It has four. A: the same. So the answer is entailment'
        ),
        ' Rationale: «The first store was in London», hence the answer is ‹(b)›',
        ' contradiction\n\nRationale: «He died.» Hence the answer is ‹contradiction›.',
        '‹(b) neutral›',
        # The question repeated in front, or after a colon, is no next turn.
        (
            '«**Premise:** A man sleeps.\n**Hypothesis:** He is awake.\n\nBoth cannot be.»\n\n'
            '**Answer:** ‹contradiction›\n\n**Premise:** A dog.\n\n**Answer:** neutral'
        ),
        '«Compare the two:\n\nPremise: A man sleeps.\nHypothesis: He is awake.»\nAnswer: ‹no›',
        # An invented turn, where this one was never answered.
        '«He sleeps.»\n\nPremise: A dog.\nHypothesis: A cat.\nAnswer: neutral',
        '\n\nPremise: A dog.\nHypothesis: A cat.\nAnswer: neutral',
        '«He sleeps.» The answer is neutral or contradiction.',
        '«Nothing is said of it.»\n\n**Label:** ‹neutral›',
    ],
)
def test_classes(marked):
    text, *expected = unmarked(marked)
    assert parse_answer(text, 'class') == tuple(expected)


@pytest.mark.parametrize(
    'marked',
    [
        '«Add 4 and 3. 4 + 3 = 7 nuts.» The answer is ‹7›.',
        '«1. 2 + 3 = 5.\n2. 5 * 2 = 10.»\n\nThe answer is: **‹10›**',
        '«That is \\( 84 \\div 2 \\).»\n\n\\[\n\\boxed{‹42›}\n\\]',
        '«Halve it.» Answer: $\\boxed{‹\\frac{84}{2}›}$.',
        '«Halve it.»\n#### ‹42›',
        '«Halve all of it.»\n\n## Question 2\nThe answer is 5.',
    ],
)
def test_equations_of_chat_models(marked):
    text, *expected = unmarked(marked)
    assert parse_answer(text, 'equation') == tuple(expected)


def test_free_text():
    assert parse_answer('It is in France. The answer is **Paris**.', 'text') == (
        'It is in France.',
        'Paris',
    )
    assert parse_answer('The answer is $x + y$.', 'text') == ('', 'x + y')
    assert parse_answer('Paris', 'text') == ('', 'Paris')
    long = 'It is a large and old town on the Seine.'
    assert parse_answer(long, 'text') == (long, '')


def test_classes_of_other_datasets():
    text = 'They won. The answer is sports.'
    assert parse_answer(text, 'class', ['sports', 'world']) == ('They won.', 'sports')
    assert parse_answer(text, 'class') == ('They won.', '')


def test_hostile_text_is_data():
    hostile = 'The answer is __import__("os").system("touch pwned").'
    assert parse_answer(hostile, 'equation') == ('', '')
    text = 'x' * (MAX_TEXT - 20) + ' The answer is 42.'
    assert parse_answer(text, 'equation')[1] == '42'
    assert parse_answer(text.rjust(MAX_TEXT + 1), 'equation') == ('', '')


def test_what_is_read_can_be_written():
    rationale, answer = parse_answer('Half \ud800 of it. The answer is \udfff42.', 'equation')
    assert (rationale, answer) == ('Half ? of it.', '?42')


def test_real_answers_of_every_teacher(shared_data):
    read, right, answers = (collections.Counter() for _ in range(3))
    for line in (shared_data / 'teacher' / 'svamp_samples.jsonl').read_text().splitlines():
        question = json.loads(line)
        for sample in question['samples']:
            answer = parse_answer(sample['text'], 'equation')[1]
            answers[sample['teacher']] += 1
            read[sample['teacher']] += bool(answer)
            right[sample['teacher']] += answers_match(answer, question['label'], 'equation')
    # Pinned: docs/teacher-answers.md quotes them. What is unread was looked at, see there.
    teachers = ['palm-540b'] + [
        f'llama-3-8b/{shots}' for shots in ('retrieved-shots', 'random-shots-a', 'random-shots-b')
    ]
    assert [answers[teacher] for teacher in teachers] == [1000, 1000, 800, 800]
    assert [read[teacher] for teacher in teachers] == [965, 978, 774, 772]
    assert [right[teacher] for teacher in teachers] == [751, 724, 573, 560]


@pytest.mark.parametrize(
    ('split', 'parts', 'answers', 'read', 'right'),
    [('train', 10, 9741, 9453, 7344), ('test', 2, 1221, 1196, 959)],
)
def test_real_answers_to_choices(shared_data, split, parts, answers, read, right):
    folder = shared_data / 'dss' / 'cqa'
    lines = (folder / f'cqa_{split}.json').read_text().splitlines()
    texts = [
        text
        for part in range(parts)
        for text in json.loads((folder / 'llm' / f'{split}_CoT_{part}.json').read_text())
    ]
    assert len(lines) == len(texts) == answers
    parsed = []
    for line, text in zip(lines, texts, strict=True):
        question = json.loads(line)
        options = question['choices']
        rationale, answer = parse_answer(text, 'choice', options)
        parsed.append((answer, answers_match(answer, question['answer'], 'choice', options)))
        # The same rationale as Distilling step-by-step trains on.
        assert rationale == text.split('Q:')[0].split('So the answer is')[0].rstrip()
    # Pinned: docs/teacher-answers.md quotes them.
    assert sum(bool(answer) for answer, _ in parsed) == read
    assert sum(matches for _, matches in parsed) == right
