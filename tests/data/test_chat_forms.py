"""How chat models lay out an answer: blocks and entries of its own, verdicts, checks behind it."""

import pytest

from qcrd_jax.data.answers import canonical
from qcrd_jax.data.schema import NLI_CLASSES
from qcrd_jax.data.teacher_output import parse_answer

_PLACES = ('bank', 'library', 'department store', 'mall', 'new york')


@pytest.mark.parametrize(
    ('text', 'value', 'rationale'),
    [
        ('84 / 2 = 42.\n\n**The final answer is:**\n\n**42**', 42, '84 / 2 = 42.'),
        ('Half.\n**Final Answer:**\n\n$$\n42\n$$', 42, 'Half.'),
        ('Half.\n**Final Answer:**\n\\[\n84 \\div 2 = 42\n\\]', 42, 'Half.'),
        ('Half.\n### Answer\n\n$$\n84 \\div 2 = 42\n$$', 42, 'Half.'),
        ('Half.\n**Answer:**\n```\n42\n```', 42, 'Half.'),
        ('Half.\n**Answer:**\n> 42', 42, 'Half.'),
        ('Half.\n**Final Answer:**\n---\n42', 42, 'Half.'),
        # A bullet is no minus, and a minus is one.
        ('Half.\n**Final Answer:**\n- 42 points', 42, 'Half.'),
        ('Half.\n**Final Answer:**\n- **42 points**', 42, 'Half.'),
        ('Half.\nAnswer:\n-42', -42, 'Half.'),
        ('Half.\nThe answer is:\n1. 5\n2. 6', None, 'Half.'),
        ('Half.\n(so the answer is 42)\n\nAnswer: 42', 42, 'Half.\n('),
        # What only announces an answer, or states a step, is reasoning.
        (
            "Here's how to find the answer:\n\n84 / 2 = 42 points\n\n**Answer: 42**",
            42,
            "Here's how to find the answer:\n\n84 / 2 = 42 points",
        ),
        (
            'First, 7 × 6 = \\boxed{42} apples. Then 42 - 2 = 40. The answer is 40.',
            40,
            'First, 7 × 6 = \\boxed{42} apples. Then 42 - 2 = 40.',
        ),
        ('Half. Answer: $\\boxed{42}$', 42, 'Half.'),
        # What checks an answer does not take it back; what takes it back does.
        ('Half. The answer is 42.\n\n42 × 2 = 84, so the answer is correct.', 42, 'Half.'),
        (
            '**Answer: 42**\n\nExplanation: the answer is found by dividing 84 by 2.',
            42,
            'the answer is found by dividing 84 by 2.',
        ),
        ('The answer is 5. Wait, no. The answer is 6.', 6, 'The answer is 5. Wait, no.'),
        # An operand is no answer.
        ('The answer is obtained by subtracting 28 from 63, which is 35.', 35, ''),
        ('The answer is obtained by subtracting 28 from 63.', None, ''),
        ('The answer is 50% of 80.', None, ''),
        ('The answer is 42 points in 2 rounds.', 42, ''),
        ('5 ⋅ 3 pens. The answer is 5 ⋅ 3.', 15, '5 ⋅ 3 pens.'),
        (
            'Here is it:\n```json\n{"rationale": "84 / 2 = 42", "answer": "42"}\n```',
            42,
            '84 / 2 = 42',
        ),
        ('```json\n{"reasoning": "Half.", "answer": "42"}\n```', 42, 'Half.'),
        ('```json\n{"reasoning": "Half.", "answer": "42"}', 42, 'Half.'),  # not closed
    ],
)
def test_equations(text, value, rationale):
    read, answer = parse_answer(text, 'equation')
    assert (canonical(answer, 'equation'), read) == (value, rationale)


def test_a_formula_that_ends_a_long_text():
    text = f'{"We share the points of both rounds. " * 12}\n\\[\n84 \\div 2 = 42\n\\]'
    assert canonical(parse_answer(text, 'equation')[1], 'equation') == 42


@pytest.mark.parametrize(
    ('text', 'place', 'rationale'),
    [
        ('Books.\n\n**The correct answer is:**\n**B. library**', 1, 'Books.'),
        ('A bank keeps money.\n\nBest choice: **(b) library**', 1, 'A bank keeps money.'),
        ('A bank keeps money.\n\nConclusion: (b) library', 1, 'A bank keeps money.'),
        # A first line that mentions an option, and another one at the end: neither is read.
        ('A bank keeps money.\n\nThe best pick is **(b) library**.', None, None),
        ('It is a library.\nBooks are there.', 1, 'Books are there.'),
        (
            '**Answer: (b) library**\n\nThe answer is supported by what a bank lacks.',
            1,
            'The answer is supported by what a bank lacks.',
        ),
        (
            'The correct answer is B) library\n\n- A bank keeps money.\n- A mall sells.',
            1,
            '- A bank keeps money.\n- A mall sells.',
        ),
        ('The answer is:\n- bank\n- library', None, None),
        ('The answer is:\n- bank\n\n- library', None, None),
    ],
)
def test_choices(text, place, rationale):
    read, answer = parse_answer(text, 'choice', _PLACES)
    assert canonical(answer, 'choice', _PLACES) == (None if place is None else _PLACES[place])
    assert rationale is None or read == rationale


@pytest.mark.parametrize(
    ('text', 'label', 'rationale'),
    [
        ("Let's check for entailment.\n\nHe runs.\n\nThe hypothesis is neutral.", None, None),
        ('The premise entails little.\n\nNo age.\n\n**Relationship: Neutral**', 'neutral', None),
        ('He runs. He sleeps.\n\n**Relationship:** contradiction', 'contradiction', None),
        ('He runs. He sleeps.\n### Conclusion\nContradiction', 'contradiction', None),
        (
            'We find the correct label: entailment, neutral, or contradiction.\n\nHe runs, so he '
            'moves.\n\nLabel: entailment',
            'entailment',
            'We find the correct label: entailment, neutral, or contradiction.\n\nHe runs, so he '
            'moves.',
        ),
    ],
)
def test_classes(text, label, rationale):
    read, answer = parse_answer(text, 'class', NLI_CLASSES)
    assert canonical(answer, 'class', NLI_CLASSES) == label
    assert rationale is None or read == rationale
